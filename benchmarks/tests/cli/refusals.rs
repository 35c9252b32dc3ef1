//! Bad input: a clear error, exit status 2, no panic, nothing half-written.

use std::fs;

use crate::common::{names, pc_bench, pc_bench_in};

#[cfg(not(feature = "dfdx"))]
#[test]
fn a_backend_that_this_build_lacks_is_refused_by_name() {
    for command in ["check", "speed", "train"] {
        pc_bench(&[command, "--backend", "dfdx"])
            .refuses(&["this build lacks the backend dfdx", "host"]);
    }
}

#[test]
fn unknown_names_are_refused_by_name() {
    for (args, words) in [
        (&["teach"][..], &["teach"][..]),
        (&["check", "--model", "mpl"], &["mpl", "residual"]),
        (&["check", "--schedule", "standard"], &["standard", "another learner"]),
        (&["check", "--schedule", "sgd"], &["sgd", "fixed-prediction"]),
        (&["check", "--precision", "f16"], &["f16", "f64"]),
        (&["check", "--backend", "gpu"], &["no backend is called gpu"]),
        (&["check", "--threads", "0"], &["--threads"]),
        (&["check", "--quietly"], &["--quietly"]),
        (&["speed", "--model", "vgg"], &["vgg", "mlp", "vgg5"]),
        (&["speed", "--schedule", "slow"], &["slow", "zil"]),
        (&["speed", "--repeats", "0"], &["--repeats", "at least 1"]),
        (&["speed", "--batch", "many"], &["--batch", "many"]),
        (&["speed", "--activation", "sine"], &["sine", "softplus"]),
        (
            &["speed", "--model", "rnn", "--activation", "gelu"],
            &["--activation", "rnn", "cnn", "vgg5"],
        ),
        (&["speed", "--model", "cnn", "--widths", "4,2"], &["--widths", "mlp", "cnn"]),
        (&["speed", "--model", "vgg5", "--widths", "4,2"], &["--widths", "mlp", "vgg5"]),
        (&["speed", "--model", "vgg5", "--steps", "1"], &["--steps 1", "at least 2"]),
        (&["speed", "--model", "vgg5", "--batch", "0"], &["--batch", "at least 1"]),
        (&["speed", "--widths", "4"], &["--widths", "inputs"]),
        (&["speed", "--widths", "4,0,2"], &["--widths", "at least 1"]),
        (&["speed", "--steps", "1"], &["--steps 1", "at least 2"]),
        (&["train", "--model", "mpl"], &["mpl"]),
        (&["train", "--data", "emnist"], &["emnist"]),
        (&["train", "--schedule", "sgd"], &["sgd"]),
        (
            &[
                "gradients",
                "--net",
                "n",
                "--output",
                "o",
                "--activation",
                "tanh",
                "--schedule",
                "sgd",
            ],
            &["sgd"],
        ),
        (
            &[
                "gradients",
                "--net",
                "n",
                "--output",
                "o",
                "--activation",
                "swish",
                "--schedule",
                "zil",
            ],
            &["swish", "gelu"],
        ),
        (
            &[
                "gradients",
                "--net",
                "none.st",
                "--output",
                "o",
                "--activation",
                "tanh",
                "--schedule",
                "zil",
            ],
            &["none.st"],
        ),
        (&["gradients", "--schedule", "zil"], &["--net"]),
    ] {
        pc_bench(args).refuses(words);
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    for (args, words) in [
        (&["train", "--steps", "0"][..], &["step"][..]),
        (&["train", "--rate", "0"], &["rate"]),
        (&["train", "--rate", "nan"], &["rate"]),
        (&["train", "--rate", "-0.1"], &["rate"]),
        (&["train", "--rate", "fast"], &["rate", "fast"]),
        (&["train", "--epochs", "0"], &["epoch"]),
        (&["train", "--batch", "0"], &["batch"]),
        (&["train", "--samples", "0"], &["sample"]),
        (&["train", "--threads", "0"], &["threads"]),
        (&["train", "--threads", "20000"], &["--threads 20000", "at most"]),
        (&["check", "--threads", "20000"], &["--threads 20000", "at most"]),
        (&["speed", "--threads", "20000"], &["--threads 20000", "at most"]),
        (&["train", "--learning-rate", "nan"], &["rate"]),
        (&["train", "--schedule", "standard", "--steps", "-3"], &["-3"]),
    ] {
        pc_bench(args).refuses(words);
    }
}

/// The bytes of an IDX file.
fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    bytes.extend(data);
    bytes
}

#[test]
fn data_that_are_missing_or_damaged_are_refused_by_file() {
    pc_bench(&["train", "--data", "mnist"]).refuses(&["mnist", "--data-dir"]);
    pc_bench(&["train", "--data", "mnist", "--data-dir", "nowhere"]).refuses(&["nowhere"]);

    let whole = idx(&[2, 28, 28], &[7; 2 * 784]);
    let labels = idx(&[2], &[3, 4]);
    for (images, labels, words) in [
        (&whole[..100], &labels[..], &["train-images-idx3-ubyte"][..]),
        (&whole[..], &labels[..9], &["train-labels-idx1-ubyte"]),
        (&[], &labels, &["train-images-idx3-ubyte"]),
        (&idx(&[0, 28, 28], &[]), &idx(&[0], &[]), &["train-"]),
        (&whole, &idx(&[3], &[3, 4, 5]), &["3"]),
        (&whole, &idx(&[2], &[3, 40]), &["40"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("mnist")).unwrap();
        for part in ["train", "t10k"] {
            fs::write(data.join(format!("mnist/{part}-images-idx3-ubyte")), images).unwrap();
            fs::write(data.join(format!("mnist/{part}-labels-idx1-ubyte")), labels).unwrap();
        }
        pc_bench_in(
            folder.path(),
            &["train", "--data", "mnist", "--data-dir", "data", "--epochs", "1"],
        )
        .refuses(words);
        assert_eq!(names(folder.path()), ["data"]);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    for data in ["mnist", "fashion-mnist", "cifar10", "names", "shakespeare"] {
        pc_bench_in(folder.path(), &["train", "--data", data, "--data-dir", "data"])
            .refuses(&["data"]);
        assert_eq!(names(folder.path()), ["data"]);
    }
}

#[test]
fn checkpoints_that_are_damaged_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cut.safetensors"), [16, 0, 0, 0, 0, 0, 0, 0, b'{']).unwrap();
    pc_bench_in(folder.path(), &["train", "--resume", "cut.safetensors", "--epochs", "2"])
        .refuses(&["cut.safetensors"]);
    pc_bench_in(folder.path(), &["train", "--resume", "none.safetensors"])
        .refuses(&["none.safetensors"]);
    assert_eq!(names(folder.path()), ["cut.safetensors"]);
}
