//! pc-burn's tests on devices that other builds leave out: Burn's wgpu, and servers.
//!
//! Neither is part of `test`: each compiles a few hundred crates of its own, in a profile that
//! optimises them little, since it is the driver and the wire that take their time.

use crate::step::{Failure, Step};

/// What both are built with.
const PROFILE: [&str; 4] = ["--profile", "devices", "-p", "pc-burn"];

fn build(command: &str, features: &str, target: [&str; 2]) -> Step {
    Step::cargo(&[command]).args(&PROFILE).args(&["--features", features]).args(&target)
}

/// The tests on wgpu, which say so where there is no adapter.
pub(crate) fn wgpu(more: &[&str]) -> Result<(), Failure> {
    build("test", "wgpu,train", ["--test", "wgpu"]).args(&["--", "--nocapture"]).args(more).run()
}

/// The server, and the tests that start it.
pub(crate) fn remote(more: &[&str]) -> Result<(), Failure> {
    const FEATURES: &str = "remote-websocket,remote-server,train";
    build("build", FEATURES, ["--example", "serve"]).run()?;
    build("test", FEATURES, ["--test", "remote"]).args(&["--", "--nocapture"]).args(more).run()
}
