//! Compiles pc-cuda's kernels for each architecture, without a GPU.
//!
//! The compiler comes from PyPI wheels, fetched once into `.cache/cuda` and checked by pip. A
//! kernel that spills registers, needs a stack, or goes over its budget of registers fails.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::step::{Failure, Step, timed};

/// The compiler in its parts, and the one that programs call at run time.
const WHEELS: [&str; 5] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-nvrtc==13.0.88",
];
const FOLDER: &str = ".cache/cuda";
const KERNELS: &str = "pc-cuda/kernels";
const ARCHITECTURES: [&str; 3] = ["80", "89", "90a"];

/// The most registers a thread of a kernel may take, by the start of its name: a block of 512
/// threads fits a multiprocessor's 65536 at 128, three of 256 at 80.
const BUDGETS: [(&str, usize); 3] = [("pc_relax_", 128), ("pc_weight_gradients", 96), ("pc_", 80)];
/// The most shared memory that a kernel may take beside what it is launched with, in bytes.
const STATIC_SHARED: usize = 0;

/// What the assembler said of one kernel.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Report {
    kernel: String,
    registers: usize,
    shared: usize,
    stack: usize,
    spills: usize,
}

/// Where the wheels run.
const HERE: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// A step whose programs find the compiler for run time, and must.
pub(crate) fn with_compiler(step: Step) -> Result<Step, Failure> {
    if !HERE {
        return Ok(step);
    }
    let home = fs::canonicalize(toolkit()?).map_err(|error| Failure::new(FOLDER, error))?;
    let before = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = std::iter::once(home.join("lib"))
        .chain(env::split_paths(&before).filter(|path| !path.as_os_str().is_empty()));
    let path = env::join_paths(folders).map_err(|error| Failure::new("LD_LIBRARY_PATH", error))?;
    Ok(step.env("LD_LIBRARY_PATH", &path.to_string_lossy()).env("PC_CUDA_NVRTC", "required"))
}

/// Builds `pc-gpu` with the kernels' machine code in it, and looks that it needs nothing of CUDA to
/// start.
pub(crate) fn program() -> Vec<Failure> {
    let mut failures = compile();
    let cubins =
        fs::canonicalize(cubins()).map_err(|error| Failure::new(cubins().display(), error));
    let built = cubins.and_then(|cubins| {
        Step::cargo(&["build", "--release", "-p", "pc-gpu"])
            .env("PC_CUDA_CUBINS", &cubins.to_string_lossy())
            .run()?;
        let program = target().join("release").join("pc-gpu").to_string_lossy().into_owned();
        let needs = Step::new("ldd", &[&program]).read()?;
        if let Some(line) = needs
            .lines()
            .find(|line| ["cuda", "nvrtc", "cublas"].iter().any(|word| line.contains(word)))
        {
            return Err(Failure::new(&program, format!("it links {}", line.trim())));
        }
        let said = Step::new(&program, &["help"]).read()?;
        let carried =
            ARCHITECTURES.iter().all(|architecture| said.contains(&format!("sm_{architecture}")));
        let said = said.lines().last().unwrap_or_default().to_owned();
        println!("    {program}: {said}");
        if carried { Ok(()) } else { Err(Failure::new(&program, said)) }
    });
    failures.extend(built.err());
    failures
}

/// Compiles everything. Returns the folder of machine code through `PC_CUDA_CUBINS`'s own
/// convention: `family.sm_NN.cubin`.
pub(crate) fn compile() -> Vec<Failure> {
    if !HERE {
        println!("skipped: the CUDA compiler's wheels are for Linux on x86-64");
        return Vec::new();
    }
    timed("kernels for three architectures", || match compile_all() {
        Ok(failures) => failures,
        Err(failure) => vec![failure],
    })
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

fn cubins() -> PathBuf {
    target().join("cuda").join("cubins")
}

fn compile_all() -> Result<Vec<Failure>, Failure> {
    let home = toolkit()?;
    let out = cubins();
    fs::create_dir_all(&out)
        .map_err(|error| Failure::new(format!("mkdir {}", out.display()), error))?;
    let mut failures = Vec::new();
    println!(
        "    {:22} {:>7} {:>9} {:>7} {:>6} {:>6}",
        "kernel", "", "registers", "static", "stack", "spills"
    );
    for family in families()? {
        for architecture in ARCHITECTURES {
            let cubin = out.join(format!("{family}.sm_{architecture}.cubin"));
            let source = format!("{KERNELS}/{family}.cu");
            let step = Step::new(
                &home.join("bin").join("nvcc").to_string_lossy(),
                &["-std=c++17", "-cubin", "-Xptxas", "-v", "-o"],
            )
            .args(&[
                &*cubin.to_string_lossy(),
                &format!("-gencode=arch=compute_{architecture},code=sm_{architecture}"),
                &source,
            ])
            .env("CUDA_HOME", &home.to_string_lossy());
            let said = step.read_both()?;
            for report in parse(&said) {
                println!(
                    "    {:22} {:>7} {:>9} {:>7} {:>6} {:>6}",
                    report.kernel,
                    format!("sm_{architecture}"),
                    report.registers,
                    report.shared,
                    report.stack,
                    report.spills
                );
                failures.extend(over(&report).map(|why| {
                    Failure::new(format!("{} for sm_{architecture}", report.kernel), why)
                }));
            }
        }
    }
    println!(
        "    static: bytes of shared memory beside what a launch brings, which `cargo run -p \
         pc-cuda --example plan` prints"
    );
    println!(
        "    machine code in {} (build with PC_CUDA_CUBINS set to it to embed it)",
        out.display()
    );
    Ok(failures)
}

/// The families of kernels, each a file.
fn families() -> Result<Vec<String>, Failure> {
    let fail = |error| Failure::new(KERNELS, error);
    let mut all = Vec::new();
    for entry in fs::read_dir(KERNELS).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
        all.extend(name.strip_suffix(".cu").map(str::to_owned));
    }
    all.sort_unstable();
    if all.is_empty() { Err(Failure::new(KERNELS, "there are no kernels")) } else { Ok(all) }
}

/// Why a kernel is refused.
fn over(report: &Report) -> Option<String> {
    let budget = BUDGETS
        .iter()
        .find(|(start, _)| report.kernel.starts_with(start))
        .map_or(0, |(_, budget)| *budget);
    if report.spills > 0 {
        Some(format!("{} bytes of registers are spilled", report.spills))
    } else if report.stack > 0 {
        Some(format!("{} bytes of stack: an array is not in registers", report.stack))
    } else if report.registers > budget {
        Some(format!("{} registers, over its budget of {budget}", report.registers))
    } else if report.shared > STATIC_SHARED {
        Some(format!("{} bytes of static shared memory", report.shared))
    } else {
        None
    }
}

/// The number before the first of these words.
fn before(line: &str, word: &str) -> usize {
    let words: Vec<&str> = line.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let sought: Vec<&str> = word.split(' ').collect();
    let found = words.windows(sought.len()).position(|window| window == sought);
    found.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
}

/// Reads what `ptxas -v` prints.
fn parse(said: &str) -> Vec<Report> {
    let mut reports: Vec<Report> = Vec::new();
    for line in said.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            reports.push(Report {
                kernel: rest.split('\'').next().unwrap_or_default().to_owned(),
                ..Report::default()
            });
        } else if let Some(report) = reports.last_mut() {
            if line.contains("bytes stack frame") {
                report.stack = report.stack.max(before(line, "bytes stack frame"));
                report.spills +=
                    before(line, "bytes spill stores") + before(line, "bytes spill loads");
            } else if line.contains("Used ") {
                report.registers = before(line, "registers");
                report.shared = before(line, "bytes smem");
            }
        }
    }
    reports
}

/// The compiler's folder, put together at the first call, beside its place and moved there when it
/// is whole.
fn toolkit() -> Result<PathBuf, Failure> {
    let folder = Path::new(FOLDER);
    let home = |folder: &Path| folder.join("nvidia").join("cu13");
    let wanted = WHEELS.join("\n");
    if fs::read_to_string(folder.join("complete")).is_ok_and(|held| held == wanted) {
        return Ok(home(folder));
    }
    let half = folder.with_extension("unfinished");
    let _ = fs::remove_dir_all(&half);
    Step::new(
        "python3",
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
            "--target",
        ],
    )
    .args(&[&*half.to_string_lossy()])
    .args(&WHEELS)
    .run()?;
    executable(&home(&half).join("bin"))?;
    executable(&home(&half).join("nvvm").join("bin"))?;
    let fail = |error| Failure::new(FOLDER, error);
    fs::write(half.join("complete"), wanted).map_err(fail)?;
    let _ = fs::remove_dir_all(folder);
    fs::rename(&half, folder).map_err(fail)?;
    Ok(home(folder))
}

/// Unpacking may have dropped the right to run.
#[cfg(unix)]
fn executable(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let fail = |error| Failure::new(format!("chmod {}", folder.display()), error);
    for entry in fs::read_dir(folder).map_err(fail)? {
        fs::set_permissions(entry.map_err(fail)?.path(), fs::Permissions::from_mode(0o755))
            .map_err(fail)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn executable(_folder: &Path) -> Result<(), Failure> {
    Err(Failure::new("xtask cuda", "the compiler's wheels are for Linux"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'pc_adamw' for 'sm_80'
ptxas info    : Function properties for pc_adamw
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 39 registers, used 0 barriers, 1912 bytes cmem[0]
ptxas info    : Compiling entry function 'pc_relax_live_f32' for 'sm_90a'
    128 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 200 registers, used 1 barriers, 64 bytes smem
";

    #[test]
    fn reports_are_read() {
        let reports = parse(SAID);
        assert_eq!(reports.len(), 2);
        assert_eq!(
            reports[0],
            Report { kernel: "pc_adamw".to_owned(), registers: 39, ..Report::default() }
        );
        let wanted = Report {
            kernel: "pc_relax_live_f32".to_owned(),
            registers: 200,
            shared: 64,
            stack: 128,
            spills: 16,
        };
        assert_eq!(reports[1], wanted);
    }

    #[test]
    fn budgets_are_kept() {
        let report = |kernel: &str, registers, stack, spills, shared| Report {
            kernel: kernel.to_owned(),
            registers,
            stack,
            spills,
            shared,
        };
        assert_eq!(over(&report("pc_map", 20, 0, 0, 0)), None);
        assert!(over(&report("pc_map", 81, 0, 0, 0)).is_some());
        assert_eq!(over(&report("pc_relax_live_f32", 128, 0, 0, 0)), None);
        assert!(over(&report("pc_relax_live_f32", 129, 0, 0, 0)).is_some());
        assert!(over(&report("pc_map", 20, 8, 0, 0)).is_some());
        assert!(over(&report("pc_map", 20, 0, 4, 0)).is_some());
        assert!(over(&report("pc_map", 20, 0, 0, 4)).is_some());
        assert!(over(&report("unknown", 1, 0, 0, 0)).is_some());
    }
}
