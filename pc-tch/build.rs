//! Compiles the shim against the libtorch that torch-sys found, and tells binaries and tests where
//! it lies.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=shim");
    println!("cargo::rerun-if-env-changed=PC_TCH_SANITIZE");
    // torch-sys says nothing where only documentation is built (its feature `doc-only`).
    let Some(lib) = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from) else { return };
    let root = env::var_os("LIBTORCH_INCLUDE")
        .map(PathBuf::from)
        .or_else(|| lib.parent().map(PathBuf::from))
        .unwrap_or_default();
    let include = root.join("include");
    let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".to_owned());

    let mut build = cc::Build::new();
    build.cpp(true).pic(true).std("c++17").include("shim");
    build.files([
        "shim/pc_tch.cpp",
        "shim/pc_tch_marks.cpp",
        "shim/pc_tch_memo.cpp",
        "shim/pc_tch_optimizer.cpp",
        "shim/pc_tch_reduction.cpp",
        "shim/pc_tch_watch.cpp",
    ]);
    // As libtorch itself is compiled: some of its classes have other members without it.
    build.define("NDEBUG", None);
    // libtorch's headers are not ours to warn about.
    for folder in [include.clone(), include.join("torch/csrc/api/include")] {
        build.flag(format!("-isystem{}", folder.display()));
    }
    build.flag(format!("-D_GLIBCXX_USE_CXX11_ABI={abi}")).flag("-DGLOG_USE_GLOG_EXPORT");
    build.flag_if_supported("-Wno-unused-parameter");
    // The same code wherever it is called from: little of the time is spent here, and most of the
    // compiler's goes into headers.
    build.opt_level(1);
    let sanitize = env::var("PC_TCH_SANITIZE").ok();
    if let Some(sanitizer) = &sanitize {
        build.flag(format!("-fsanitize={sanitizer}")).flag("-fno-omit-frame-pointer").flag("-g");
    }
    build.compile("pc_tch");
    if sanitize.as_deref() == Some("address") {
        if let Some(folder) = runtime(&build.get_compiler(), "libasan.so") {
            println!("cargo::rustc-link-search=native={}", folder.display());
        }
        println!("cargo::rustc-link-lib=dylib=asan");
    }
    // The shim comes before libtorch on the linker's line, and these after it.
    for library in ["torch_cpu", "torch", "c10"] {
        println!("cargo::rustc-link-lib={library}");
    }
    println!("cargo::rustc-link-search=native={}", lib.display());
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
    // For the build scripts of crates with binaries of their own: DEP_PC_TCH_LIBTORCH_LIB.
    println!("cargo::metadata=libtorch_lib={}", lib.display());
}

/// The folder of a library that comes with the compiler.
fn runtime(compiler: &cc::Tool, library: &str) -> Option<PathBuf> {
    let output = compiler.to_command().arg(format!("-print-file-name={library}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.parent().map(PathBuf::from)
}
