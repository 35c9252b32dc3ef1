//! pc-bench.
