//! libtorch for pc-tch, from the Python package index.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::step::{Failure, Step, timed};

/// The version that tch is made for; pc-tch reads it from the same file.
const VERSION: &str = include_str!("../../pc-tch/libtorch/version").trim_ascii();

/// Where `.cargo/config.toml` lets LIBTORCH point.
const FOLDER: &str = ".cache/libtorch";

/// What a CPU build on Linux needs. The CUDA libraries are small, and libtorch asks for them by
/// name whether it uses them or not.
const WHEELS: [&str; 3] = ["torch==", "nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85"];

const UNPACK: &str = include_str!("libtorch/unpack.py");

/// Sets libtorch up where it is missing or of another version. A `LIBTORCH` of the user's own is
/// left alone.
pub(crate) fn set_up() -> Result<(), Failure> {
    let own = std::env::var_os("LIBTORCH").map(PathBuf::from).filter(|own| !is_ours(own));
    if let Some(own) = own {
        return complaint(&own).map_or(Ok(()), |complaint| {
            Err(Failure::new(
                "LIBTORCH",
                format!(
                    "{complaint}: unset LIBTORCH, and `cargo xtask libtorch` sets up {VERSION}"
                ),
            ))
        });
    }
    let folder = Path::new(FOLDER);
    if is_complete(folder) {
        return make_linkable(folder);
    }
    if !cfg!(target_os = "linux") {
        return Err(Failure::new(
            "libtorch",
            format!("only set up on Linux: set LIBTORCH to a libtorch {VERSION} of your own"),
        ));
    }
    timed(format!("libtorch {VERSION} into {FOLDER}"), || fetch(folder))
}

/// What is wrong with a libtorch of the user's own.
fn complaint(own: &Path) -> Option<String> {
    // Either may be elsewhere.
    let lacks = |variable: &str, part: &str| {
        std::env::var_os(variable).is_none() && !own.join(part).is_dir()
    };
    if lacks("LIBTORCH_INCLUDE", "include") || lacks("LIBTORCH_LIB", "lib") {
        return Some(format!("there is no libtorch in {}", own.display()));
    }
    let found = version(own).filter(|found| plain(found) != VERSION)?;
    Some(format!("the libtorch in {} is version {found}", own.display()))
}

/// Downloads and unpacks beside the folder, and puts the whole into place when it is complete.
fn fetch(folder: &Path) -> Result<(), Failure> {
    let doing = |what: &str, path: &Path| {
        Failure::new("libtorch", format!("cannot {what} {}", path.display()))
    };
    let half = folder.with_extension("unfinished");
    let (wheels, unpacked) = (half.join("wheels"), half.join("libtorch"));
    let _ = fs::remove_dir_all(&half);
    fs::create_dir_all(&wheels).map_err(|_| doing("make", &wheels))?;
    let names: Vec<String> =
        WHEELS.iter().map(|wheel| wheel.replace("torch==", &format!("torch=={VERSION}"))).collect();
    let to = wheels.to_string_lossy().into_owned();
    let mut args =
        vec!["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", &to];
    args.extend(names.iter().map(String::as_str));
    Step::new("python3", &args).run()?;
    let script = half.join("unpack.py");
    fs::write(&script, UNPACK).map_err(|_| doing("write", &script))?;
    Step::new("python3", &[&script.to_string_lossy(), &to, &unpacked.to_string_lossy()]).run()?;
    fs::write(unpacked.join("build-version"), format!("{VERSION}\n"))
        .map_err(|_| doing("write", &unpacked))?;
    if !is_complete(&unpacked) {
        return Err(Failure::new("libtorch", "the downloaded packages lack part of it"));
    }
    make_linkable(&unpacked)?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(&unpacked, folder).map_err(|_| doing("replace", folder))?;
    let _ = fs::remove_dir_all(&half);
    Ok(())
}

/// Puts a linker's script in the place of `libtorch.so`. The library itself holds nothing, but asks
/// for libtorch_cuda.so, which is left out: Rust's linkers drop what nothing is taken from, and a
/// C++ program's would stop.
fn make_linkable(folder: &Path) -> Result<(), Failure> {
    const SCRIPT: &str = "/* GNU ld script */\nINPUT(libtorch_cpu.so libc10.so)\n";
    let library = folder.join("lib/libtorch.so");
    if fs::read(&library).is_ok_and(|bytes| bytes == SCRIPT.as_bytes()) {
        return Ok(());
    }
    fs::write(&library, SCRIPT)
        .map_err(|error| Failure::new("libtorch", format!("{}: {error}", library.display())))
}

fn is_ours(folder: &Path) -> bool {
    // Cargo has made the path that `.cargo/config.toml` gives absolute.
    folder == Path::new(FOLDER)
        || std::env::current_dir().is_ok_and(|root| folder == root.join(FOLDER))
}

fn is_complete(folder: &Path) -> bool {
    let parts = [
        "include/torch/csrc/autograd/node.h",
        "lib/libtorch_cpu.so",
        "lib/libtorch.so",
        "lib/libc10.so",
    ];
    version(folder).is_some_and(|found| plain(&found) == VERSION)
        && parts.iter().all(|part| folder.join(part).is_file())
}

fn version(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join("build-version")).ok().map(|text| text.trim().to_owned())
}

/// A version without what comes after a plus sign: `2.13.0+cpu` is `2.13.0`.
fn plain(version: &str) -> &str {
    version.split_once('+').map_or(version, |(plain, _)| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_without_their_build() {
        assert_eq!(plain("2.13.0+cpu"), "2.13.0");
        assert_eq!(plain(VERSION), VERSION);
    }

    #[test]
    fn the_folder_links_whatever_lies_there() {
        let folder = std::env::temp_dir().join(format!("xtask-libtorch-{}", std::process::id()));
        fs::create_dir_all(folder.join("lib")).expect("a folder");
        let library = folder.join("lib/libtorch.so");
        for before in ["an ELF file", "/* GNU ld script */"] {
            fs::write(&library, before).expect("a file");
            make_linkable(&folder).expect("a script");
            let script = fs::read_to_string(&library).expect("a script");
            assert!(script.contains("INPUT(libtorch_cpu.so libc10.so)"), "{script}");
        }
        fs::remove_dir_all(&folder).expect("the folder is removed");
        assert!(make_linkable(&folder).is_err());
    }

    #[test]
    fn a_folder_that_lacks_anything_is_not_complete() {
        assert!(!is_complete(Path::new("no/such/folder")));
        assert!(is_ours(Path::new(FOLDER)) && !is_ours(Path::new("/usr/lib/libtorch")));
        assert!(
            complaint(Path::new("no/such/folder"))
                .is_some_and(|words| words.contains("no/such/folder"))
        );
    }
}
