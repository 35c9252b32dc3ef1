//! Compiles the kernels for the CPU where the feature `simulation` asks for it, and takes in
//! machine code where `PC_CUDA_CUBINS` names a folder of it (`cargo xtask cuda` makes one).

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=simulation");
    println!("cargo::rerun-if-env-changed=PC_CUDA_CUBINS");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut code = String::from("pub(crate) const CUBINS: &[(&str, &str, &[u8])] = &[\n");
    if let Some(folder) = env::var_os("PC_CUDA_CUBINS").map(PathBuf::from) {
        println!("cargo::rerun-if-changed={}", folder.display());
        for entry in fs::read_dir(&folder)? {
            let path = fs::canonicalize(entry?.path())?;
            let Some((family, architecture)) = parts(&path) else { continue };
            code.push_str(&format!(
                "    ({family:?}, {architecture:?}, include_bytes!({path:?})),\n"
            ));
        }
    }
    code.push_str("];\n");
    fs::write(out.join("cubins.rs"), code)?;
    simulation();
    Ok(())
}

/// `family.sm_90a.cubin`, of a family that there is: each is a file of `kernels`.
fn parts(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_str()?.strip_suffix(".cubin")?;
    let (family, architecture) = name.split_once('.')?;
    Path::new("kernels")
        .join(format!("{family}.cu"))
        .is_file()
        .then(|| (family.to_owned(), architecture.to_owned()))
}

#[cfg(not(feature = "simulation"))]
fn simulation() {}

#[cfg(feature = "simulation")]
fn simulation() {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .define("PC_SIM", None)
        .include("kernels")
        .include("simulation");
    // No contraction: the device layer's plain operations round alike on host and device.
    build.flag("-ffp-contract=off").flag("-Wno-unknown-pragmas").flag("-x").flag("c++");
    build.file("simulation/pc_sim.cpp").file("simulation/kernels.cpp");
    build.compile("pc_simulation");
}
