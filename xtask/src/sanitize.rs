//! pc-tch's tests with its C++ under AddressSanitizer.

use crate::{
    FEATURES,
    step::{Failure, Step},
};

/// Leaks that are not the shim's.
const SUPPRESSIONS: &str = "pc-tch/shim/leaks.supp";

/// Builds the shim with the sanitizer and runs its tests with the sanitizer's runtime loaded first.
pub(crate) fn run(more: &[&str]) -> Result<(), Failure> {
    let runtime = Step::new("c++", &["-print-file-name=libasan.so"]).read()?;
    let runtime = std::fs::canonicalize(runtime.trim())
        .map_err(|_| Failure::new("asan", "the C++ compiler has no libasan.so"))?;
    let suppressions = std::fs::canonicalize(SUPPRESSIONS)
        .map_err(|_| Failure::new("asan", format!("no {SUPPRESSIONS}")))?;
    // A runner, so that Cargo and the compiler run without it.
    let runner = format!(
        "env LD_PRELOAD={} ASAN_OPTIONS=detect_leaks=1:halt_on_error=1 \
         LSAN_OPTIONS=suppressions={}:print_suppressions=0",
        runtime.display(),
        suppressions.display()
    );
    let target = Step::new("rustc", &["-vV"]).read()?;
    let host = target.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let variable = format!("CARGO_TARGET_{}_RUNNER", host.replace(['-', '.'], "_").to_uppercase());
    // As `cargo xtask test` builds it, so that after that nothing but the shim is compiled again.
    let tests = ["--test", "drop_in", "--test", "marking"];
    Step::cargo(&["test", "--workspace", "--features", FEATURES])
        .args(&tests)
        .args(&["--"])
        .args(more)
        .env("PC_TCH_SANITIZE", "address")
        .env(&variable, &runner)
        .run()
}
