//! Says what is wrong with the libtorch at hand, in one message, before a C++ compiler says it in
//! hundreds of lines.

use std::{env, fs, path::Path, process::ExitCode};

/// Variables that send torch-sys elsewhere; it does its own checks there.
const ELSEWHERE: [&str; 4] =
    ["LIBTORCH_USE_PYTORCH", "LIBTORCH_BYPASS_VERSION_CHECK", "LIBTORCH_INCLUDE", "LIBTORCH_LIB"];
/// Set by Cargo where documentation alone is built.
const DOC_ONLY: &str = "CARGO_FEATURE_DOC_ONLY";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    for name in ELSEWHERE {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if ELSEWHERE.iter().chain([&DOC_ONLY]).any(|name| env::var_os(name).is_some()) {
        return ExitCode::SUCCESS;
    }
    let Some(folder) = env::var_os("LIBTORCH") else { return ExitCode::SUCCESS };
    let folder = Path::new(&folder);
    println!("cargo::rerun-if-changed={}", folder.join("build-version").display());
    match complaint(folder) {
        None => ExitCode::SUCCESS,
        Some(complaint) => {
            println!(
                "cargo::error={complaint}; `cargo xtask libtorch` (in pc-tch's workspace) sets one \
                 up, \
                 or set LIBTORCH to a folder that has one, with its `include`, `lib` and \
                 `build-version`"
            );
            ExitCode::FAILURE
        }
    }
}

fn complaint(folder: &Path) -> Option<String> {
    let wanted = include_str!("version").trim();
    let shown = folder.display();
    if !folder.join("include").is_dir() || !folder.join("lib").is_dir() {
        return Some(format!("there is no libtorch in {shown}, where LIBTORCH points"));
    }
    // torch-sys does not ask for this file either.
    let found = fs::read_to_string(folder.join("build-version")).ok()?;
    let found = found.trim();
    let plain = found.split_once('+').map_or(found, |(plain, _)| plain);
    (plain != wanted).then(|| {
        format!("the libtorch in {shown} is version {found}, and pc-tch is built for {wanted}")
    })
}
