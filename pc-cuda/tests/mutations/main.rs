//! Would the tests notice? Every barrier and wait of the kernels is taken out in turn, every bound
//! is put off by one, buffers are swapped; each of these mutants is run, under the address
//! sanitizer, through a battery of relaxations, and has to fail it. The kernels as they are have to
//! pass.
//!
//! Mutants are compiled many at a time, each behind a switch, and run in processes of their own,
//! since they may crash or never end. `PC_CUDA_MUTANT` runs only those whose names contain it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../simulated/blocks.rs"]
#[allow(dead_code)]
mod blocks;

#[path = "../simulated/common.rs"]
#[allow(dead_code)]
mod common;

#[path = "../simulated/stepped.rs"]
#[allow(dead_code)]
mod stepped;

#[path = "../simulated/rounded.rs"]
mod rounded;

mod battery;
mod generate;
mod graphs;
mod layers;
mod mutated;
mod swaps;
mod wgmma;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use generate::Mutant;

/// Mutants that behave as the kernels do, on a GPU or at least here, and why.
const EQUIVALENT: &[(&str, &str)] = &[
    (
        "relax_cluster.cu: one further in for ( 2 of pc_await_weights, `q < size`",
        "rounds words that are set only later, or are rounded",
    ),
    (
        "relax_cluster.cu: one further in for ( 3 of pc_relax_live, `q < PC_SLICE * ((y.n + 15) & \
         ~15)`",
        "clears a word that is set only later",
    ),
    (
        "relax_cluster.cu: one further in for ( 7 of pc_relax_frozen, `l < last`",
        "writes the held output's error back as it was read",
    ),
    (
        "relax_cluster.cu: one further in for ( 4 of pc_relax_live, `l < last`",
        "goes through the output, which has no receivers (its `senders` is 0)",
    ),
    (
        "relax_cluster.cu: one further in for ( 11 of pc_relax_live, `l < last`",
        "goes through the output, which has no senders, so that it gets a force of zero, and is \
         sent to no one; a thread stores what only it reads",
    ),
    (
        "relax_cluster.cu: without pc_block_sync(); 3 of pc_relax_frozen",
        "here all have met at the cluster barrier before it, and whoever has met sees what was \
         written; on a GPU that barrier publishes nothing, since it was arrived at by a note",
    ),
    (
        "pc_products.cuh: one further in for ( 1 of pc_pull_mma, `first < tiles`",
        "sums a tile of columns from K on, of which none is sent; it reads at most 8 floats behind \
         the weight, and the gates lie there",
    ),
    (
        "pc_products.cuh: one further in for ( 1 of pc_pull_f32, `first < K`",
        "sums column K, which is there, since the stride is at least K + 8, and sends none of it",
    ),
    (
        "relax_gemm.cu: one further in for ( 4 of pc_gemm, `c < PC_GEMM_STAGES - 1`",
        "fetches chunk 3 twice, to the same place, and waits for one group more",
    ),
    (
        "relax_gemm.cu: `false` for `column >= y.columns` (2 of 2, pc_gemm_pack)",
        "writes zeros to rows behind the last, which are there up to a whole tile, and are zeros",
    ),
    (
        "relax_gemm.cu: `block` for `(block - y.first)` (2 of 4, pc_gemm_pack)",
        "begins elsewhere in a row of tiles; as many blocks as it has still take each tile once",
    ),
    (
        "relax_gemm.cu: `block` for `(block - y.first)` (4 of 4, pc_gemm)",
        "begins elsewhere in a row of tiles; as many blocks as it has still take each tile once",
    ),
    (
        "relax_wgmma.cu: one further in for ( 1 of pc_wg_prefetch, `q < PC_WG_ROWS * lines`",
        "asks for numbers ahead that nobody reads",
    ),
    (
        "learn.cu: one further in for ( 1 of pc_weight_gradients, `s0 < p.batch`",
        "a further pass over no samples adds zeros",
    ),
    (
        "layers.cu: one further in for ( 1 of pc_layer_products, `from < p.k`",
        "a further pass over no columns adds zeros",
    ),
    (
        "pooled.cu: one further in for ( 1 of pc_pooled_window, `first < count`",
        "a further turn in which no product is inside",
    ),
    (
        "pooled.cu: one further in for ( 3 of pc_pooled_back, `start <= to`",
        "a further turn over windows behind the last, in which no place lies",
    ),
    (
        "pooled.cu: one further in for ( 7 of pc_pooled_back, `t < turns`",
        "ends at once, since there are no more places",
    ),
    (
        "pooled.cu: one further in for ( 10 of pc_pooled_back, `part < parts`",
        "passes over channels that there are not",
    ),
    (
        "pooled.cu: one further in for ( 11 of pc_pooled_back, `t < turns`",
        "ends at once, since there are no more places",
    ),
    (
        "pooled.cu: `number > end` for `number >= end` (1 of 2, pc_pooled_back)",
        "sums for a place more, and writes none of it",
    ),
    (
        "functions.cu: `s[k] >= best` for `s[k] > best` (1 of 1, pc_function_softmax_change)",
        "counts from another of several largest classes, the same in all lanes; each serves",
    ),
    (
        "functions.cu: `there > place` for `there < place` (1 of 1, pc_function_softmax_change)",
        "counts from another of several largest classes, the same in all lanes; each serves",
    ),
];

const FAMILIES: [&str; 10] = [
    "relax_cluster",
    "relax_gemm",
    "relax_wgmma",
    "relax_graph",
    "learn",
    "tensor",
    "primitives",
    "layers",
    "pooled",
    "functions",
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn compiler() -> Command {
    let mut command = Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    command.args([
        "-std=c++17",
        "-O1",
        "-g1",
        "-fPIC",
        "-fsanitize=address",
        "-ffp-contract=off",
        "-w",
        "-DPC_SIM",
    ]);
    // A loop over an array is not taken to end where the array does.
    command.arg("-fno-aggressive-loop-optimizations").arg("-I").arg(folder("simulation"));
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Does all of it, as many at once as there are processors.
fn each<T: Sync>(work: &[T], body: impl Fn(usize, &T) + Sync) {
    let next = Mutex::new(work.iter().enumerate());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some((index, one)) = next.lock().unwrap().next() else { return };
                    body(index, one);
                }
            });
        }
    });
}

/// A library for each group of mutants.
fn libraries(scratch: &Path, mutants: &[Mutant], groups: &[usize]) -> Vec<PathBuf> {
    let count = groups.iter().max().map_or(1, |last| last + 1);
    let shared = scratch.join("switch.cpp");
    fs::write(
        &shared,
        "#include <cstdlib>\nextern \"C\" { int pcsim_kernels = 1; int pcsim_mutant = \
            atoi(getenv(\"PC_CUDA_SWITCH\")); }\n",
    )
    .unwrap();
    fs::write(scratch.join("switch.h"), "extern \"C\" int pcsim_mutant;\n").unwrap();
    let mut sources = vec![
        (folder("simulation").join("pc_sim.cpp"), scratch.join("pc_sim.o")),
        (shared, scratch.join("switch.o")),
    ];
    let mut objects = vec![vec![scratch.join("pc_sim.o"), scratch.join("switch.o")]; count];
    for (group, objects) in objects.iter_mut().enumerate() {
        let own = scratch.join(format!("group{group}"));
        let members: Vec<(usize, &Mutant)> = mutants
            .iter()
            .zip(groups)
            .enumerate()
            .filter(|(_, (_, of))| **of == group)
            .map(|(i, (mutant, _))| (i + 1, mutant))
            .collect();
        generate::write(&folder("kernels"), &own, &members);
        // What has no mutant of this group is compiled once, with the first group.
        let header = members.iter().any(|(_, mutant)| mutant.file.ends_with(".cuh"));
        for family in FAMILIES {
            let file = format!("{family}.cu");
            let has = header || members.iter().any(|(_, mutant)| mutant.file == file);
            let object = |folder: &Path| folder.join(format!("{family}.o"));
            if group > 0 && !has {
                objects.push(object(&scratch.join("group0")));
                continue;
            }
            sources.push((own.join(file), object(&own)));
            objects.push(object(&own));
        }
    }
    let switch = scratch.join("switch.h");
    each(&sources, |_, (source, object)| {
        run(compiler()
            .args(["-x", "c++", "-c", "-include"])
            .arg(&switch)
            .arg(source)
            .arg("-o")
            .arg(object));
    });
    let linked: Vec<PathBuf> =
        (0..count).map(|group| scratch.join(format!("group{group}.so"))).collect();
    each(&linked, |group, library| {
        run(compiler().arg("-shared").args(&objects[group]).arg("-o").arg(library))
    });
    linked
}

/// The sanitizer's own library, which has to come first in a process whose program was built
/// without it.
fn sanitizer() -> PathBuf {
    let output = compiler().arg("-print-file-name=libasan.so").output().unwrap();
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    assert!(path.is_absolute(), "the compiler does not come with libasan.so");
    path
}

/// What such a run of the battery says.
fn log(library: &Path, switch: usize, file: &str) -> PathBuf {
    library.with_extension(format!("{switch}.{file}.log"))
}

/// Runs the battery with the kernels of this library and the mistake of this switch, which is in
/// this file and function (0 and nothing for no mistake); what it had to object.
fn objection(
    library: &Path,
    sanitizer: &Path,
    switch: usize,
    (file, function): (&str, &str),
) -> Option<String> {
    let path = log(library, switch, file);
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "battery::battery", "--nocapture"])
        .env("PC_CUDA_BATTERY", library)
        .env("PC_CUDA_SWITCH", switch.to_string())
        .env("PC_CUDA_MUTATED", file)
        .env("PC_CUDA_MUTATED_IN", function)
        .env("LD_PRELOAD", sanitizer)
        .env("RUST_BACKTRACE", "0")
        .env(
            "ASAN_OPTIONS",
            "detect_leaks=0:detect_stack_use_after_return=0:verify_asan_link_order=0:symbolize=0",
        )
        .stdout(Stdio::null())
        .stderr(fs::File::create(&path).unwrap())
        .spawn()
        .unwrap();
    // A mutant may never end; the kernels as they are go through all cases, and are only slow.
    let most = Duration::from_secs(if switch == 0 { 900 } else { 120 });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > most {
            child.kill().unwrap();
            child.wait().unwrap();
            return Some("objection: it never ended".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if status.success() {
        return None;
    }
    let log = fs::read_to_string(&path).unwrap_or_default();
    let line = log
        .lines()
        .find(|line| line.contains("ERROR: AddressSanitizer") || line.contains("objection:"));
    Some(line.map_or_else(|| format!("it ended with {status}"), |line| line.trim().to_owned()))
}

#[test]
fn the_kernels_pass_and_every_mutant_fails() {
    let start = Instant::now();
    let scratch = tempfile::tempdir().unwrap();
    let mutants = generate::mutants(&folder("kernels"));
    let groups = generate::groups(&mutants);
    let libraries = libraries(scratch.path(), &mutants, &groups);
    println!(
        "{} mutants in {} libraries, {:.1} s",
        mutants.len(),
        libraries.len(),
        start.elapsed().as_secs_f64()
    );

    let sanitizer = sanitizer();
    // All of the battery with the first library, and with another what its own mutants are held to.
    let mut clean = vec![(0, "")];
    for (mutant, group) in mutants.iter().zip(&groups).filter(|(_, group)| **group > 0) {
        if !clean.contains(&(*group, mutant.file)) {
            clean.push((*group, mutant.file));
        }
    }
    each(&clean, |_, (group, file)| {
        let library = &libraries[*group];
        if let Some(objection) = objection(library, &sanitizer, 0, (file, "")) {
            let log = fs::read_to_string(log(library, 0, file)).unwrap_or_default();
            panic!("the kernels themselves do not pass: {objection}\n{log}");
        }
    });
    println!(
        "the kernels pass, under the address sanitizer, {:.1} s",
        start.elapsed().as_secs_f64()
    );

    let only = env::var("PC_CUDA_MUTANT").ok();
    let chosen: Vec<usize> = (0..mutants.len())
        .filter(|&index| {
            only.as_ref().is_none_or(|only| mutants[index].name.contains(only.as_str()))
        })
        .collect();
    let survivors = Mutex::new(Vec::new());
    each(&chosen, |_, &index| {
        let (Mutant { name, file, function, .. }, start) = (&mutants[index], Instant::now());
        match objection(&libraries[groups[index]], &sanitizer, index + 1, (file, function)) {
            Some(objection) => {
                let said: String = objection.chars().take(110).collect();
                println!("caught    {name}: {said} ({:.1} s)", start.elapsed().as_secs_f64());
            }
            None => {
                println!("SURVIVED  {name} ({:.1} s)", start.elapsed().as_secs_f64());
                survivors.lock().unwrap().push(name.clone());
            }
        }
    });
    let survivors = survivors.into_inner().unwrap();
    let known =
        |name: &str| EQUIVALENT.iter().find(|(known, _)| *known == name).map(|(_, why)| *why);
    for name in &survivors {
        println!("survivor: {name}: {}", known(name).unwrap_or("NOT EXPLAINED"));
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} mutants, {} caught, {} survivors, {seconds:.0} s",
        chosen.len(),
        chosen.len() - survivors.len(),
        survivors.len()
    );
    let unexplained: Vec<&String> = survivors.iter().filter(|name| known(name).is_none()).collect();
    assert!(
        unexplained.is_empty(),
        "{} mutants survived without a reason: {unexplained:#?}",
        unexplained.len()
    );
    if only.is_none() {
        assert!(chosen.len() >= 40, "only {} mutants", chosen.len());
        let stale: Vec<&str> = EQUIVALENT
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| !survivors.iter().any(|survivor| survivor == name))
            .collect();
        assert!(stale.is_empty(), "no longer survivors: {stale:#?}");
    }
}
