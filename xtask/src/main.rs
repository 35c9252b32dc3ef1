//! The commands that check this workspace. `cargo xtask help` lists them.

mod cuda;
mod deps;
mod devices;
mod drill;
mod libtorch;
mod lines;
mod sanitize;
mod step;

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Instant;

use step::{Failure, Step};

/// What is built for tests and checks: everything but Burn's GPU backends, which take long to
/// compile and cannot run without a GPU.
pub(crate) const FEATURES: &str = "pc-core/conformance,pc-core/ndarray,pc-burn/train,\
                                   pc-cuda/simulation,pc-models/burn,pc-models/tch,\
                                   pc-bench/burn,pc-bench/tch,pc-bench/dfdx,\
                                   pc-bench/cuda-simulation";

const HELP: &str = "\
Usage: cargo xtask <command>

  test [words]  run all tests, doc tests included, on every CPU backend;
                further words go to cargo test, for example a filter
  lint          check format, clippy, documentation and dependencies
  libtorch      set up libtorch for pc-tch in .cache/libtorch (540 MB of
                downloads), where LIBTORCH names none; test and lint do it too
  asan [words]  run pc-tch's tests with its C++ under AddressSanitizer; further
                words go to the test program
  drill [words] kill and resume pc-bench over a hundred times, on every model:
                each run comes to the bits of one that was never killed; takes
                minutes, and is no part of test. Further words go to cargo test
                (--release), those after -- to the test program (--nocapture)
  cuda          compile the CUDA kernels for every architecture, with a
                compiler fetched once into .cache/cuda (190 MB), and hold them
                to their budgets; test does it too
  gpu           build pc-gpu, which checks and times pc-cuda on a machine with
                a GPU, with the kernels' machine code in it
  wgpu [words]  build pc-burn with Burn's wgpu, and run its tests there: on a
                GPU, or on a software driver of Vulkan; no part of test, since
                it takes minutes to build. Further words go to the test program
  remote [words]
                build pc-burn with Burn's remote devices, and run its tests on
                servers in processes of their own; no part of test either
  help          show this text

A command that fails prints which of its steps failed and exits with 1.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Err(error) = std::env::set_current_dir(root()) {
        eprintln!("error: cannot enter {}: {error}", root().display());
        return ExitCode::FAILURE;
    }
    let start = Instant::now();
    let (command, failures) = match words.as_slice() {
        [] | ["help" | "-h" | "--help", ..] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["test", more @ ..] => ("test", test(more)),
        ["drill", more @ ..] => ("drill", drill::run(more).err().into_iter().collect()),
        ["cuda"] => ("cuda", cuda::compile()),
        ["gpu"] => ("gpu", cuda::program()),
        ["wgpu", more @ ..] => ("wgpu", devices::wgpu(more).err().into_iter().collect()),
        ["remote", more @ ..] => ("remote", devices::remote(more).err().into_iter().collect()),
        ["lint"] => ("lint", lint()),
        ["libtorch"] => ("libtorch", libtorch::set_up().err().into_iter().collect()),
        ["asan", more @ ..] => (
            "asan",
            libtorch::set_up().and_then(|()| sanitize::run(more)).err().into_iter().collect(),
        ),
        ["lint" | "libtorch" | "cuda" | "gpu", word, ..] => {
            eprintln!("error: {} takes no further words, found `{word}`", words[0]);
            return ExitCode::FAILURE;
        }
        [word, ..] => {
            eprintln!("error: no command `{word}`; `cargo xtask help` lists the commands");
            return ExitCode::FAILURE;
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    if failures.is_empty() {
        println!("{command} passed in {seconds:.1} s");
        return ExitCode::SUCCESS;
    }
    for failure in failures {
        eprintln!("error: {command} failed at {failure}");
    }
    ExitCode::FAILURE
}

/// The folder of the workspace.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map(PathBuf::from).unwrap_or(package)
}

/// All tests, and where none was singled out the kernels' compilation for real devices.
fn test(more: &[&str]) -> Vec<Failure> {
    let step = Step::cargo(&["test", "--workspace", "--features", FEATURES]).args(more);
    let tested =
        libtorch::set_up().and_then(|()| cuda::with_compiler(step)).and_then(|step| step.run());
    let mut failures: Vec<Failure> = tested.err().into_iter().collect();
    if more.is_empty() {
        failures.extend(cuda::compile());
    }
    failures
}

/// Runs every check, so that one call shows everything there is to repair.
fn lint() -> Vec<Failure> {
    if let Err(failure) = components().and_then(|()| libtorch::set_up()) {
        return vec![failure];
    }
    // Documentation has to build without libtorch: there is none where this points.
    let documented = format!("{FEATURES},pc-tch/doc-only");
    let steps = [
        Step::cargo(&["fmt", "--all", "--check"]),
        Step::cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            FEATURES,
            "--",
            "-D",
            "warnings",
        ]),
        Step::cargo(&["doc", "--no-deps", "--workspace", "--features", &documented])
            .env("RUSTDOCFLAGS", "-D warnings")
            .env("LIBTORCH", "no/libtorch/here"),
    ];
    let mut failures: Vec<Failure> = steps.iter().filter_map(|s| s.run().err()).collect();
    failures.extend(deps::check());
    failures.extend(lines::check());
    failures
}

/// Adds rustfmt and clippy where rustup left them out.
fn components() -> Result<(), Failure> {
    for (word, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        let found = Step::cargo(&[word, "--version"])
            .command()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !found.is_ok_and(|status| status.success()) {
            Step::new("rustup", &["component", "add", component]).run()?;
        }
    }
    Ok(())
}
