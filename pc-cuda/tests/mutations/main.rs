//! Would the tests notice? Every barrier and wait of the kernels is taken out in turn, every bound is put off by one, buffers are swapped; each of these
//! mutants is compiled with the address sanitizer and run through a battery of relaxations, and has to fail it. The kernels as they are have to pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../simulated/common.rs"]
#[allow(dead_code)]
mod common;

mod battery;
mod generate;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use generate::Mutant;

/// Mutants that behave as the kernels do, and why.
const EQUIVALENT: &[(&str, &str)] = &[
    ("relax_cluster: one further in for ( 3 of pc_forward_f32, `k < K`", "column K is padding, zero in weights and displacements"),
    (
        "relax_cluster: one further in for ( 1 of pc_pull_tf32, `tile * 16 < K`",
        "a further tile has no columns inside the matrix, and sends nothing",
    ),
    (
        "relax_cluster: one further in for ( 6 of pc_load_weights, `q < pc_stored(p.layer[l]) * pc_stride(p.layer[l - 1].n)`",
        "rounds a word that is set only later",
    ),
    ("relax_cluster: one further in for ( 3 of pc_relax_live, `q < PC_SLICE * pc_stride(y.n)`", "clears a word that is set only later"),
    (
        "relax_cluster: one further in for ( 4 of pc_relax_live, `l < last`",
        "the held output's displacement, zero, over others that are zero yet",
    ),
    ("relax_cluster: one further in for ( 7 of pc_relax_frozen, `l < last`", "writes the held output's error back as it was read"),
    ("learn: one further in for ( 1 of pc_weight_gradients, `s0 < p.batch`", "a further pass over no samples adds zeros"),
    (
        "relax_cluster: `high = low` for `high = column + 8 < K` (1)",
        "columns beyond the matrix are computed from other numbers, and not sent",
    ),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn compiler() -> Command {
    let mut command = Command::new(env::var_os("CXX").unwrap_or_else(|| "g++".into()));
    command.args(["-std=c++17", "-O1", "-g1", "-fPIC", "-fsanitize=address", "-ffp-contract=off", "-w", "-DPC_SIM"]);
    command.arg("-I").arg(folder("kernels")).arg("-I").arg(folder("simulation"));
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Compiles `source` as a family of kernels.
fn compile(source: &Path, object: &Path) -> Result<(), String> {
    run(compiler().args(["-x", "c++", "-c"]).arg(source).arg("-o").arg(object))
}

/// The library made of these objects.
fn link(objects: &[PathBuf], library: &Path) -> Result<(), String> {
    run(compiler().arg("-shared").args(objects).arg("-o").arg(library))
}

/// The sanitizer's own library, which has to come first in a process whose program was built without it.
fn sanitizer() -> Option<PathBuf> {
    let output = compiler().arg("-print-file-name=libasan.so").output().ok()?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    path.is_absolute().then_some(path)
}

/// Runs the battery with the kernels of this library; what it had to object.
fn objection(library: &Path) -> Option<String> {
    let sanitizer = sanitizer().expect("the compiler comes with libasan");
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "battery::battery", "--nocapture"])
        .env("PC_CUDA_BATTERY", library)
        .env("LD_PRELOAD", sanitizer)
        .env("RUST_BACKTRACE", "0")
        .env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0:verify_asan_link_order=0")
        .stdout(Stdio::null())
        .stderr(fs::File::create(library.with_extension("log")).unwrap())
        .spawn()
        .unwrap();
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            if status.success() {
                return None;
            }
            let log = fs::read_to_string(library.with_extension("log")).unwrap_or_default();
            let line = log.lines().find(|line| line.contains("ERROR: AddressSanitizer") || line.contains("objection:"));
            return Some(line.unwrap_or("it ended without a word").trim().to_owned());
        }
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            return Some("objection: it never ended".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All kernels but the family `without`, and the runner.
fn objects(folder_of: &Path) -> Vec<(String, PathBuf)> {
    let mut made = Vec::new();
    let families = generate::FAMILIES.map(|family| (family.to_owned(), folder("kernels").join(format!("{family}.cu"))));
    let runner = [("pc_sim".to_owned(), folder("simulation").join("pc_sim.cpp"))];
    for (name, source) in families.into_iter().chain(runner) {
        let object = folder_of.join(format!("{name}.o"));
        compile(&source, &object).unwrap_or_else(|error| panic!("{name}: {error}"));
        made.push((name, object));
    }
    let anchor = folder_of.join("anchor.cpp");
    fs::write(&anchor, "extern \"C\" { int pcsim_kernels = 1; }\n").unwrap();
    let object = folder_of.join("anchor.o");
    compile(&anchor, &object).unwrap();
    made.push(("anchor".to_owned(), object));
    made
}

#[test]
fn the_kernels_pass_and_every_mutant_fails() {
    let scratch = tempfile::tempdir().unwrap();
    let objects = objects(scratch.path());
    let whole = scratch.path().join("whole.so");
    link(&objects.iter().map(|(_, object)| object.clone()).collect::<Vec<_>>(), &whole).unwrap();
    if let Some(objection) = objection(&whole) {
        panic!("the kernels themselves do not pass: {objection}\n{}", fs::read_to_string(whole.with_extension("log")).unwrap_or_default());
    }
    println!("the kernels pass, under the address sanitizer");

    let mutants = generate::mutants(&folder("kernels"));
    let only = env::var("PC_CUDA_MUTANT").ok();
    let mutants: Vec<Mutant> = mutants.into_iter().filter(|m| only.as_ref().is_none_or(|only| m.name.contains(only.as_str()))).collect();
    let (next, survivors) = (Mutex::new(mutants.iter().enumerate()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some((index, mutant)) = next.lock().unwrap().next() else { return };
                    let base = scratch.path().join(format!("mutant{index}"));
                    let (source, object, library) = (base.with_extension("cu"), base.with_extension("o"), base.with_extension("so"));
                    fs::write(&source, &mutant.source).unwrap();
                    let found = compile(&source, &object).map(|()| {
                        let others = objects.iter().filter(|(name, _)| *name != mutant.family).map(|(_, object)| object.clone());
                        link(&others.chain([object.clone()]).collect::<Vec<_>>(), &library).unwrap();
                        objection(&library)
                    });
                    match found {
                        Err(error) => panic!("{}: does not compile: {error}", mutant.name),
                        Ok(Some(objection)) => println!("caught    {}: {}", mutant.name, objection.chars().take(110).collect::<String>()),
                        Ok(None) => {
                            println!("SURVIVED  {}", mutant.name);
                            survivors.lock().unwrap().push(mutant.name.clone());
                        }
                    }
                }
            });
        }
    });
    let survivors = survivors.into_inner().unwrap();
    let known = |name: &str| EQUIVALENT.iter().find(|(known, _)| *known == name).map(|(_, why)| *why);
    for name in &survivors {
        println!("survivor: {name}: {}", known(name).unwrap_or("NOT EXPLAINED"));
    }
    println!("{} mutants, {} caught, {} survivors", mutants.len(), mutants.len() - survivors.len(), survivors.len());
    let unexplained: Vec<&String> = survivors.iter().filter(|name| known(name).is_none()).collect();
    assert!(unexplained.is_empty(), "{} mutants survived without a reason: {unexplained:#?}", unexplained.len());
    if only.is_none() {
        assert!(mutants.len() >= 40, "only {} mutants", mutants.len());
        let stale: Vec<&str> =
            EQUIVALENT.iter().map(|(name, _)| *name).filter(|name| !survivors.iter().any(|survivor| survivor == name)).collect();
        assert!(stale.is_empty(), "no longer survivors: {stale:#?}");
    }
}
