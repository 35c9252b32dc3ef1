//! Nothing: burn's own `tch` backend is not used in this workspace. `ARCHITECTURE.md` says why this
//! crate is here.
