//! Tests that no other test may draw beside. Burn's generator belongs to the process, so where
//! another thread draws while a program is surveyed, it is surveyed again; and what a program
//! draws depends on what others drew.

use std::{env, process::Command};

const ALONE: &str = "PC_BURN_TEST_ALONE";

/// Runs `body`, the test named `test` (as `cargo test` prints it), in a process of its own.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    if env::var_os(ALONE).is_some() {
        return body();
    }
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = [child.stdout, child.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    // A name that no test has would run none, and pass.
    let ran = said[0].contains("test result: ok. 1 passed");
    assert!(child.status.success() && ran, "{test}, {}:\n{}", child.status, said.concat());
}
