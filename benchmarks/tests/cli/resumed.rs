//! Runs of the frameworks that stop and go on.

use pc_bench::checkpoint::Checkpoint;

use crate::common::pc_bench_in;

#[cfg(feature = "burn")]
#[test]
fn on_burn() {
    come_to_the_same_bits("burn", "standard");
}

#[cfg(feature = "tch")]
#[test]
fn on_tch() {
    come_to_the_same_bits("tch", "fixed-prediction");
}

/// Weights, the framework's own optimiser and the place in the data come back from a file as they
/// were.
fn come_to_the_same_bits(backend: &str, schedule: &str) {
    let folder = tempfile::tempdir().unwrap();
    for (model, optimiser) in [("cnn", "adam"), ("lstm", "adamw"), ("mlp", "sgd")] {
        let train = |words: &str| {
            let args = ["train", "--no-report", "--threads", "1", "--json"];
            pc_bench_in(
                folder.path(),
                &[&args[..], &words.split_whitespace().collect::<Vec<_>>()].concat(),
            )
            .events()
        };
        let settings = format!(
            "--backend {backend} --model {model} --optimiser {optimiser} --schedule {schedule} \
             --samples 160"
        );
        train(&format!("{settings} --epochs 3 --save whole.safetensors"));
        train(&format!("{settings} --epochs 1 --save part.safetensors"));
        train("--resume part.safetensors --epochs 3 --save part.safetensors");
        let read = |name: &str| Checkpoint::<f32>::read(&folder.path().join(name)).unwrap();
        let (whole, part) = (read("whole.safetensors"), read("part.safetensors"));
        let state = if optimiser == "sgd" { ".velocity" } else { ".second" };
        let kept = whole
            .tensors
            .keys()
            .filter(|name| name.starts_with("optimiser.") && name.ends_with(state))
            .count();
        assert_eq!(
            kept,
            whole.tensors.keys().filter(|name| !name.starts_with("optimiser.")).count(),
            "{model}: one for each parameter"
        );
        assert_eq!(whole.tensors, part.tensors, "{model} by {optimiser} on {backend}");
        assert_eq!(whole.metadata["counts"], part.metadata["counts"]);
    }
    // The file is the host's kind of file, and says which backend's run it is.
    let host = [
        "train",
        "--backend",
        "host",
        "--resume",
        "part.safetensors",
        "--epochs",
        "4",
        "--no-report",
    ];
    pc_bench_in(folder.path(), &host).refuses(&["--backend host contradicts"]);
}
