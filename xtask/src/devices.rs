//! pc-burn's tests on devices that other builds leave out: Burn's wgpu, and servers.
//!
//! Neither is part of `test`: they compile a few hundred crates of their own, in a profile that
//! optimises them little, since it is the driver and the wire that take their time.

use crate::step::{Failure, Step};

/// What both are built with, so that the second finds the crates of the first.
const BUILD: [&str; 6] = [
    "--profile",
    "devices",
    "-p",
    "pc-burn",
    "--features",
    "train,wgpu,remote-websocket,remote-server",
];

fn tests(name: &str, more: &[&str]) -> Result<(), Failure> {
    Step::cargo(&["test"])
        .args(&BUILD)
        .args(&["--test", name, "--", "--nocapture"])
        .args(more)
        .run()
}

/// The tests on wgpu, which say so where there is no adapter.
pub(crate) fn wgpu(more: &[&str]) -> Result<(), Failure> {
    tests("wgpu", more)
}

/// The server, and the tests that start it.
pub(crate) fn remote(more: &[&str]) -> Result<(), Failure> {
    Step::cargo(&["build"]).args(&BUILD).args(&["--example", "serve"]).run()?;
    tests("remote", more)
}
