//! pc-bench
fn main() {}
