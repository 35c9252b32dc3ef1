//! Checks, before anything is compiled against it, that the libtorch that `LIBTORCH` names is there
//! and is of the version that pc-tch is built for.
//!
//! It is a crate of its own because Cargo runs the build script of `torch-sys`, which ends in a C++
//! compiler's errors, before that of any crate that depends on it. Cargo promises no order between
//! the two: where `torch-sys` comes first, the header in `missing/` makes the compiler say the same
//! (in this workspace, by `.cargo/config.toml`), and `torch-sys` itself tells which version it
//! expects. The whole of the crate is a build script; there is nothing to call but [`VERSION`].

/// The version of libtorch that pc-tch is built for.
///
/// # Example
/// ```
/// assert!(pc_libtorch::VERSION.starts_with("2."));
/// ```
pub const VERSION: &str = include_str!("../version").trim_ascii();
