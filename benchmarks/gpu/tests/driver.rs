//! The whole way to a GPU (driver calls, compilation and its cache, recordings, library products)
//! over a stand-in for the driver, which runs kernels on the CPU; and what is said where something
//! is missing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// A folder with the stand-in under the four names, made once.
fn stand_in() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let cuda = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pc-cuda");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-in");
        fs::create_dir_all(&folder).unwrap();
        let library = folder.join("libcuda.so");
        let mut compiler = Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()));
        compiler.args([
            "-std=c++17",
            "-O2",
            "-fPIC",
            "-shared",
            "-Wl,-Bsymbolic",
            "-ffp-contract=off",
            "-Wno-unknown-pragmas",
            "-DPC_SIM",
        ]);
        compiler
            .arg("-I")
            .arg(cuda.join("kernels"))
            .arg("-I")
            .arg(cuda.join("simulation"))
            .args(["-x", "c++"]);
        compiler.args(
            ["driver.cpp", "pc_sim.cpp", "kernels.cpp"]
                .map(|file| cuda.join("simulation").join(file)),
        );
        let output = compiler.arg("-o").arg(&library).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for other in ["libnvrtc.so", "libcublasLt.so", "libcublas.so"] {
            fs::copy(&library, folder.join(other)).unwrap();
        }
        folder
    })
}

struct Ran {
    status: Option<i32>,
    said: String,
    log: Vec<String>,
}

fn pc_gpu(libraries: &Path, cache: &Path, command: &[&str], settings: &[(&str, &str)]) -> Ran {
    let log = cache.join("log");
    let _ = fs::remove_file(&log);
    let mut program = Command::new(env!("CARGO_BIN_EXE_pc-gpu"));
    program
        .args(command)
        .env("LD_LIBRARY_PATH", libraries)
        .env("PC_CUDA_CACHE", cache.join("kernels"))
        .env("PC_STANDIN_LOG", &log);
    let Output { status, stdout, stderr } =
        program.envs(settings.iter().copied()).output().unwrap();
    let said = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(!said.contains("panicked"), "{said}");
    let log = fs::read_to_string(log).unwrap_or_default().lines().map(str::to_owned).collect();
    Ran { status: status.code(), said, log }
}

fn count(ran: &Ran, word: &str) -> usize {
    ran.log.iter().filter(|line| *line == word).count()
}

#[test]
fn all_agree_over_the_driver() {
    let cache = tempfile::tempdir().unwrap();
    let run = || pc_gpu(stand_in(), cache.path(), &["check", "quick"], &[]);
    let first = run();
    assert_eq!(first.status, Some(0), "{}", first.said);
    assert!(
        first.said.contains("all agree") && first.said.contains("stand-in (sm_90a"),
        "{}",
        first.said
    );
    assert!(
        first.said.contains("Graph")
            && first.said.contains("Cluster(8)")
            && first.said.contains("iPC"),
        "{}",
        first.said
    );
    // Every family once; recordings, of which those of iPC are used again and again.
    assert_eq!(count(&first, "compilation"), 10, "{}", first.said);
    let (recordings, replays) = (count(&first, "recording"), count(&first, "replay"));
    println!("{recordings} recordings, {replays} replays");
    assert!(recordings > 0 && replays > recordings);
    // Of an LSTM's gates, where there is cuBLAS; where there is none, one after the other.
    let products = count(&first, "products");
    assert!(products > 0, "no products in one call");

    // From the cache, and where an entry is damaged it alone is made again.
    assert_eq!(count(&run(), "compilation"), 0);
    let entry = fs::read_dir(cache.path().join("kernels")).unwrap().next().unwrap().unwrap().path();
    fs::write(&entry, b"damaged").unwrap();
    let again = run();
    assert_eq!((count(&again, "compilation"), again.status), (1, Some(0)));

    let fewer = tempfile::tempdir().unwrap();
    for library in ["libcuda.so", "libnvrtc.so", "libcublasLt.so"] {
        fs::copy(stand_in().join(library), fewer.path().join(library)).unwrap();
    }
    let ran = pc_gpu(fewer.path(), cache.path(), &["check", "quick"], &[]);
    assert_eq!(ran.status, Some(0), "{}", ran.said);
    // A machine with CUDA has the library elsewhere.
    assert!(count(&ran, "products") <= products);
}

#[test]
fn what_goes_wrong_is_said() {
    let cache = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    let said = |libraries: &Path, settings: &[(&str, &str)], status: i32, words: &str| {
        let ran = pc_gpu(libraries, cache.path(), &["check", "quick"], settings);
        assert_eq!(ran.status, Some(status), "{}", ran.said);
        assert!(ran.said.contains(words), "{}", ran.said);
    };
    said(stand_in(), &[("PC_STANDIN_DEVICES", "0")], 2, "no CUDA-capable device");
    said(
        stand_in(),
        &[("PC_STANDIN_LIMIT", "20000")],
        1,
        "out of memory; a smaller batch needs less",
    );
    for launches in ["0", "5", "50", "500"] {
        said(stand_in(), &[("PC_STANDIN_LOST", launches)], 1, "the device is lost to this process");
    }
    // The driver alone, without compiler and products; and the compiler too. A machine with CUDA
    // has them elsewhere.
    let listed = Command::new("ldconfig")
        .arg("-p")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if listed.is_ok_and(|listed| listed.contains("libnvrtc") || listed.contains("libcublasLt")) {
        println!("not looked at: this machine has CUDA's libraries");
        return;
    }
    fs::copy(stand_in().join("libcuda.so"), empty.path().join("libcuda.so")).unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let ran = pc_gpu(empty.path(), fresh.path(), &["check", "quick"], &[]);
    assert!(ran.status == Some(2) && ran.said.contains("NVRTC was not found"), "{}", ran.said);
    fs::copy(stand_in().join("libnvrtc.so"), empty.path().join("libnvrtc.so")).unwrap();
    said(empty.path(), &[], 1, "cuBLASLt was not found");
}
