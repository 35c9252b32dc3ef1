//! `pc-bench gradients`: the fixture, a plain program, and files that are refused.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use crate::{
    common::{Ran, names, pc_bench_in},
    plain::{Found, Plain},
};

/// The backends of this build that have the command.
const BACKENDS: &[&str] = &[
    "host",
    #[cfg(feature = "burn")]
    "burn",
    #[cfg(feature = "tch")]
    "tch",
];

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f64>)>;

fn to_bytes(values: &[f64], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F64 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        // Of numbers that have no more digits than these types.
        Dtype::BF16 => halves(values, |bits| (bits >> 16) as u16),
        Dtype::F16 => halves(values, |bits| match bits << 1 {
            0 => 0,
            _ => {
                (bits >> 16 & 0x8000 | ((bits >> 23 & 0xff) - 112) << 10 | bits >> 13 & 0x3ff)
                    as u16
            }
        }),
        _ => values.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
    }
}

fn halves(values: &[f64], to: impl Fn(u32) -> u16) -> Vec<u8> {
    values.iter().flat_map(|x| to((*x as f32).to_bits()).to_le_bytes()).collect()
}

fn write(path: &Path, tensors: &Tensors, dtype: Dtype) {
    let raw: Vec<Vec<u8>> = tensors.values().map(|(_, values)| to_bytes(values, dtype)).collect();
    let views = tensors.iter().zip(&raw).map(|((name, (shape, _)), raw)| {
        (name, TensorView::new(dtype, shape.clone(), raw).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn read(path: &Path, dtype: Dtype) -> Tensors {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |view: &TensorView<'_>| -> Vec<f64> {
        assert_eq!(view.dtype(), dtype);
        match dtype {
            Dtype::F64 => {
                view.data().chunks(8).map(|x| f64::from_le_bytes(x.try_into().unwrap())).collect()
            }
            _ => view
                .data()
                .chunks(4)
                .map(|x| f64::from(f32::from_le_bytes(x.try_into().unwrap())))
                .collect(),
        }
    };
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), numbers(&view))))
        .collect()
}

fn flat(values: &[Vec<f64>]) -> Vec<f64> {
    values.concat()
}

fn tensors(net: &Plain) -> Tensors {
    let (batch, last) = (net.x.len(), net.widths.len() - 1);
    let mut all = Tensors::new();
    all.insert("x".to_owned(), (vec![batch, net.widths[0]], flat(&net.x)));
    all.insert("y".to_owned(), (vec![batch, net.widths[last]], flat(&net.y)));
    for l in 0..last {
        all.insert(
            format!("layers.{l}.weight"),
            (vec![net.widths[l + 1], net.widths[l]], flat(&net.weights[l])),
        );
        all.insert(format!("layers.{l}.bias"), (vec![net.widths[l + 1]], net.biases[l].clone()));
    }
    all
}

/// A file with a net, and a tensor `more` that is of no use.
pub(crate) fn net_with_more(path: &Path) {
    let mut all = tensors(&Plain::new("tanh", &[3, 4, 2], 2));
    all.insert("more".to_owned(), (vec![1], vec![0.0]));
    write(path, &all, Dtype::F64);
}

/// Runs the command on `net.safetensors` in a folder, towards `out.safetensors`, with these words
/// after.
fn gradients(folder: &Path, activation: &str, words: &str) -> Ran {
    let mut args = vec![
        "gradients",
        "--net",
        "net.safetensors",
        "--output",
        "out.safetensors",
        "--activation",
        activation,
    ];
    args.extend(words.split_whitespace());
    pc_bench_in(folder, &args)
}

#[track_caller]
fn close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let off = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |m: f64, x| if x > m || x.is_nan() { x } else { m });
    assert!(off <= tolerance, "{what}: off by {off:e}, more than {tolerance:e}");
}

/// As [`close`], but of numbers above 1 the tolerance is relative: at rate 1 states grow.
#[track_caller]
fn near(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    close(what, found, expected, expected.iter().fold(1.0, |m: f64, x| m.max(x.abs())) * tolerance);
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

#[test]
fn every_row_of_the_fixture() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../pc-core/tests/engine/golden.json");
    let fixture: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let dims: Vec<usize> = numbers(&fixture["dims"]).iter().map(|x| *x as usize).collect();
    let batch = fixture["B"].as_u64().unwrap() as usize;
    let mut net = Tensors::new();
    net.insert("x".to_owned(), (vec![batch, dims[0]], numbers(&fixture["X"])));
    net.insert("y".to_owned(), (vec![batch, dims[3]], numbers(&fixture["Y"])));
    for l in 0..3 {
        net.insert(
            format!("layers.{l}.weight"),
            (vec![dims[l + 1], dims[l]], numbers(&fixture["W"][l])),
        );
        net.insert(format!("layers.{l}.bias"), (vec![dims[l + 1]], numbers(&fixture["b"][l])));
    }
    let mut rows: Vec<(&str, String)> = vec![
        ("backprop", "--schedule backprop".to_owned()),
        ("standard_pc_gamma0.1_T0", "--schedule standard --rate 0.1 --steps 0".to_owned()),
        ("standard_pc_gamma0.1_T1", "--schedule standard --rate 0.1 --steps 1".to_owned()),
        ("standard_pc_gamma0.1_T20", "--schedule standard --rate 0.1 --steps 20".to_owned()),
        ("standard_pc_equilibrium", "--schedule standard --rate 0.1 --steps 20000".to_owned()),
        ("zil", "--schedule zil".to_owned()),
        ("zil", "--schedule zil --steps 3".to_owned()),
        ("zil", "--schedule zil --evaluation front".to_owned()),
    ];
    for (name, rate, steps) in [
        ("fixed_pred_gamma1_T3", 1.0, 3),
        ("fixed_pred_gamma0.1_T5", 0.1, 5),
        ("fixed_pred_gamma0.1_T20", 0.1, 20),
        ("fixed_pred_gamma0.1_T50", 0.1, 50),
        ("fixed_pred_gamma0.1_T100", 0.1, 100),
        ("fixed_pred_gamma0.1_T200", 0.1, 200),
        ("fixed_pred_gamma0.5_T20", 0.5, 20),
    ] {
        for evaluation in ["auto", "simulate", "front", "closed-form"] {
            rows.push((
                name,
                format!(
                    "--schedule fixed-prediction --rate {rate} --steps {steps} \
                --evaluation {evaluation}"
                ),
            ));
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let settings = BACKENDS
        .iter()
        .flat_map(|backend| [(backend, Dtype::F64, 1e-12), (backend, Dtype::F32, 1e-5)]);
    for (backend, dtype, tolerance) in settings {
        write(&folder.path().join("net.safetensors"), &net, dtype);
        for (name, words) in &rows {
            let words = &format!("{words} --backend {backend}");
            gradients(folder.path(), "tanh", words).succeeds();
            let found = read(&folder.path().join("out.safetensors"), dtype);
            let row = &fixture["results"][name];
            for l in 0..3 {
                close(
                    &format!("{words}, dW[{l}]"),
                    &found[&format!("layers.{l}.weight")].1,
                    &numbers(&row["dW"][l]),
                    tolerance,
                );
                close(
                    &format!("{words}, db[{l}]"),
                    &found[&format!("layers.{l}.bias")].1,
                    &numbers(&row["db"][l]),
                    tolerance,
                );
            }
            if let Some(energy) = row["energy"].as_f64() {
                close(
                    words,
                    &found["energy"].1[found["energy"].1.len() - 1..],
                    &[energy],
                    tolerance,
                );
            }
            if !row["z"].is_null() {
                for l in 0..2 {
                    close(
                        words,
                        &found[&format!("values.{l}")].1,
                        &numbers(&row["z"][l]),
                        tolerance,
                    );
                }
            }
            close(words, &found["values.2"].1, &numbers(&fixture["Y"]), tolerance);
            seen.insert((*name).to_owned());
        }
    }
    let linear = |name: &str| name.starts_with("linear");
    let all: Vec<&String> =
        fixture["results"].as_object().unwrap().keys().filter(|name| !linear(name)).collect();
    assert_eq!(all, seen.iter().collect::<Vec<_>>());

    write(&folder.path().join("net.safetensors"), &net, Dtype::F64);
    for backend in BACKENDS {
        gradients(
            folder.path(),
            "identity",
            &format!("--schedule standard --rate 0.1 --steps 40000 --backend {backend}"),
        )
        .succeeds();
        let found = read(&folder.path().join("out.safetensors"), Dtype::F64);
        close(
            "linear",
            &found["energy"].1[40000..],
            &[fixture["results"]["linear"]["energy"].as_f64().unwrap()],
            1e-12,
        );
        close(
            "linear",
            &found["layers.0.weight"].1,
            &numbers(&fixture["results"]["linear_equilibrium"]["dW"][0]),
            1e-12,
        );
    }
}

#[test]
fn a_plain_program_agrees_on_every_number() {
    let folder = tempfile::tempdir().unwrap();
    let agrees = |what: &str, net: &Plain, expected: &Found, dtype: Dtype, tolerance: f64| {
        let found = read(&folder.path().join("out.safetensors"), dtype);
        let layers = expected.weights.len();
        assert_eq!(found.len(), 3 * layers + 1, "{what}: tensors");
        assert_eq!(found["energy"].0, [expected.energy.len()], "{what}");
        near(what, &found["energy"].1, &expected.energy, tolerance);
        for l in 0..layers {
            let shape = [net.widths[l + 1], net.widths[l]];
            assert_eq!(found[&format!("layers.{l}.weight")].0, shape, "{what}");
            assert_eq!(found[&format!("layers.{l}.bias")].0, shape[..1], "{what}");
            assert_eq!(found[&format!("values.{l}")].0, [net.x.len(), shape[0]], "{what}");
            near(
                &format!("{what}, weight {l}"),
                &found[&format!("layers.{l}.weight")].1,
                &expected.weights[l],
                tolerance,
            );
            near(
                &format!("{what}, bias {l}"),
                &found[&format!("layers.{l}.bias")].1,
                &expected.biases[l],
                tolerance,
            );
            near(
                &format!("{what}, value {l}"),
                &found[&format!("values.{l}")].1,
                &expected.values[l],
                tolerance,
            );
        }
    };
    let compare = |net: &Plain, words: &str, expected: &Found, dtype: Dtype, tolerance: f64| {
        // Single precision on all of them is the fixture's part: every run loads every framework.
        for backend in BACKENDS.iter().filter(|backend| **backend == "host" || dtype == Dtype::F64)
        {
            gradients(folder.path(), net.activation, &format!("{words} --backend {backend}"))
                .succeeds();
            agrees(
                &format!("{backend}, {} {words} {dtype:?}", net.activation),
                net,
                expected,
                dtype,
                tolerance,
            );
        }
    };
    for (dtype, tolerance) in [(Dtype::F64, 1e-12), (Dtype::F32, 1e-5)] {
        for activation in ["tanh", "sigmoid", "relu", "gelu", "identity"] {
            let net = Plain::new(activation, &[5, 4, 6, 3, 2], 3);
            write(&folder.path().join("net.safetensors"), &tensors(&net), dtype);
            for (rate, steps) in [(0.2, 0), (0.2, 1), (0.3, 7)] {
                let words =
                    |schedule: &str| format!("--schedule {schedule} --rate {rate} --steps {steps}");
                compare(
                    &net,
                    &words("standard"),
                    &net.states(rate, steps, false, false),
                    dtype,
                    tolerance,
                );
                compare(
                    &net,
                    &words("fixed-prediction"),
                    &net.states(rate, steps, true, false),
                    dtype,
                    tolerance,
                );
                compare(&net, &words("epc"), &net.errors(rate, steps), dtype, tolerance);
            }
            compare(&net, "--schedule zil", &net.states(1.0, 3, false, true), dtype, tolerance);
            compare(
                &net,
                "--schedule zil --steps 5",
                &net.states(1.0, 5, false, true),
                dtype,
                tolerance,
            );
            compare(
                &net,
                "--schedule backprop",
                &net.states(1.0, 3, true, false),
                dtype,
                tolerance,
            );
        }
        // A net without hidden layers has nothing to relax.
        let net = Plain::new("tanh", &[4, 3], 2);
        write(&folder.path().join("net.safetensors"), &tensors(&net), dtype);
        for words in ["--schedule zil", "--schedule backprop"] {
            compare(&net, words, &net.states(1.0, 0, false, false), dtype, tolerance);
        }
        for schedule in ["standard", "fixed-prediction", "epc"] {
            let words = format!("--schedule {schedule} --rate 0.5 --steps 3");
            compare(&net, &words, &net.states(0.5, 3, false, false), dtype, tolerance);
        }
    }
}

#[test]
fn people_and_machines_are_told_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut net = tensors(&Plain::new("tanh", &[3, 4, 2], 2));
    net.insert("other".to_owned(), (vec![1], vec![0.0]));
    write(&folder.path().join("net.safetensors"), &net, Dtype::F64);
    let ran = gradients(folder.path(), "tanh", "--schedule standard --rate 0.1 --steps 4");
    ran.succeeds();
    for word in ["standard PC", "3-4-2", "layers.1", "after 4 steps", "out.safetensors"] {
        assert!(ran.stdout.contains(word), "no `{word}` in {}", ran.stdout);
    }
    assert!(ran.stderr.contains("other"), "{}", ran.stderr);
    let events =
        gradients(folder.path(), "tanh", "--schedule epc --rate 0.1 --steps 4 --json").events();
    assert_eq!(events.iter().filter(|event| event["event"] == "layer").count(), 2);
    let summary = events.last().unwrap();
    assert_eq!((&summary["steps"], &summary["schedule"]), (&4.into(), &"epc".into()));
    assert!(summary["energy_last"].as_f64() < summary["energy_first"].as_f64());
    assert_eq!(names(folder.path()), ["net.safetensors", "out.safetensors"]);
}

#[test]
fn schedules_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write(
        &folder.path().join("net.safetensors"),
        &tensors(&Plain::new("tanh", &[3, 4, 2], 2)),
        Dtype::F64,
    );
    for (words, said) in [
        ("--schedule ipc --rate 0.1 --steps 4", &["ipc", "weight rate"][..]),
        ("--schedule zil --rate 1", &["zil", "no rate"]),
        ("--schedule zil --steps 0", &["--steps 0", "leave --steps out"]),
        ("--schedule zil --evaluation closed-form", &["Z-IL", "closed form"]),
        ("--schedule backprop --rate 1", &["backprop", "no rate"]),
        ("--schedule backprop --steps 2", &["backprop", "no steps"]),
        ("--schedule standard --steps 4", &["needs a --rate"]),
        ("--schedule standard --rate 0.1", &["--steps"]),
        ("--schedule standard --rate 0 --steps 4", &["rate must be a positive number"]),
        ("--schedule standard --rate nan --steps 4", &["rate must be a positive number"]),
        ("--schedule epc --rate inf --steps 4", &["rate must be a positive number"]),
        ("--schedule fixed-prediction --rate -0.1 --steps 4", &["rate must be a positive number"]),
        ("--schedule fixed-prediction --rate 0.1 --steps -4", &["--steps"]),
        (
            "--schedule fixed-prediction --rate 1.5 --steps 4 --evaluation closed-form",
            &["closed form"],
        ),
        ("--schedule standard --rate 0.1 --steps 4 --evaluation front", &["--evaluation"]),
        (
            "--schedule standard --rate 0.1 --steps 4 --evaluation fast",
            &["--evaluation", "closed-form"],
        ),
        ("--schedule standard --rate 50 --steps 400", &["diverged", "--rate"]),
        ("--schedule standard --rate 0.1 --steps 4 --threads 0", &["--threads"]),
    ] {
        gradients(folder.path(), "tanh", words).refuses(said);
        assert_eq!(names(folder.path()), ["net.safetensors"], "{words}");
    }
    let args = [
        "gradients",
        "--net",
        "net.safetensors",
        "--activation",
        "tanh",
        "--schedule",
        "zil",
        "--output",
    ];
    pc_bench_in(folder.path(), &[&args[..], &["nowhere/out.safetensors"]].concat())
        .refuses(&["nowhere/out.safetensors"]);
    pc_bench_in(folder.path(), &[&args[..], &["./net.safetensors"]].concat())
        .refuses(&["is the net itself"]);
    pc_bench_in(folder.path(), &[&args[..], &[".."]].concat()).refuses(&["cannot write"]);
    assert_eq!(names(folder.path()), ["net.safetensors"]);
}

#[test]
fn biases_that_are_left_out_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let [net, out] = ["net", "out"].map(|name| folder.path().join(format!("{name}.safetensors")));
    let mut whole = tensors(&Plain::new("tanh", &[3, 4, 2], 2));
    whole.get_mut("layers.0.bias").unwrap().1.fill(0.0);
    let words = "--schedule standard --rate 0.1 --steps 5";
    let found = |net_of: &Tensors, words: &str| {
        write(&net, net_of, Dtype::F64);
        let ran = gradients(folder.path(), "tanh", words);
        ran.succeeds();
        (ran, read(&out, Dtype::F64))
    };
    let (_, mut expected) = found(&whole, words);
    whole.remove("layers.0.bias");
    let (_, without) = found(&whole, words);
    assert!(expected.remove("layers.0.bias").is_some());
    assert_eq!(without, expected);
    let (ran, _) = found(&whole, &format!("{words} --json"));
    let layers = ran.events();
    assert!(layers[0]["bias_gradient_norm"].is_null() && layers[1]["bias_gradient_norm"].is_f64());
}

#[test]
fn half_types_are_read_and_computed_in_single_precision() {
    let folder = tempfile::tempdir().unwrap();
    let [net, out] = ["net", "out"].map(|name| folder.path().join(format!("{name}.safetensors")));
    let mut whole = tensors(&Plain::new("tanh", &[3, 4, 2], 2));
    for (_, values) in whole.values_mut() {
        values.iter_mut().for_each(|x| *x = (*x * 16.0).round() / 16.0);
    }
    let found = |dtype| {
        write(&net, &whole, dtype);
        gradients(folder.path(), "tanh", "--schedule epc --rate 0.1 --steps 5").succeeds();
        read(&out, Dtype::F32)
    };
    let single = found(Dtype::F32);
    assert!(single["layers.0.weight"].1.iter().any(|x| *x != 0.0));
    assert_eq!(found(Dtype::F16), single);
    assert_eq!(found(Dtype::BF16), single);
}

#[test]
fn files_that_hold_no_net_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let whole = tensors(&Plain::new("tanh", &[3, 4, 2], 2));
    let refused = |words: &[&str]| {
        gradients(folder.path(), "tanh", "--schedule zil").refuses(words);
        assert_eq!(names(folder.path()), ["net.safetensors"], "{words:?}");
    };
    write(&path, &whole, Dtype::F64);
    let bytes = fs::read(&path).unwrap();
    for length in [0, 4, 8, 60, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        refused(&["net.safetensors", "not a whole safetensors file"]);
    }
    fs::write(&path, [&bytes[..], &[0; 8]].concat()).unwrap();
    refused(&["net.safetensors"]);
    fs::write(&path, "layers.0.weight = [[1, 2], [3, 4]]").unwrap();
    refused(&["net.safetensors", "not a whole safetensors file"]);

    for (name, said) in [
        ("x", "`x` is missing"),
        ("y", "`y` is missing"),
        ("layers.0.weight", "`layers.0.weight` is missing"),
    ] {
        let mut some = whole.clone();
        some.remove(name);
        write(&path, &some, Dtype::F64);
        refused(&["net.safetensors", said]);
    }
    let with = |changes: &[(&str, &[usize], f64)]| {
        let mut changed = whole.clone();
        for (name, shape, value) in changes {
            changed
                .insert((*name).to_owned(), (shape.to_vec(), vec![*value; shape.iter().product()]));
        }
        changed
    };
    for (changes, said) in [
        (
            &[("layers.3.weight", &[2, 2][..], 0.1), ("layers.3.bias", &[2], 0.1)][..],
            &["layer 2 is missing"][..],
        ),
        (&[("layers.01.weight", &[2, 2], 0.1)], &["layers.01.weight"]),
        (&[("layers.one.bias", &[2], 0.1)], &["layers.one.bias"]),
        (&[("layers.1.weight", &[2, 5], 0.1)], &["layers.1.weight", "[2, 5]", "layer 0 gives 4"]),
        (&[("layers.0.weight", &[4, 2], 0.1)], &["layers.0.weight", "x gives 3"]),
        (&[("layers.0.weight", &[12], 0.1)], &["layers.0.weight", "[12]", "[out, in]"]),
        (&[("layers.0.bias", &[4, 1], 0.1)], &["layers.0.bias", "[4, 1]"]),
        (&[("layers.1.bias", &[3], 0.1)], &["layers.1.bias", "[3]"]),
        (&[("x", &[2, 3, 1], 0.1)], &["`x`", "[2, 3, 1]"]),
        (&[("x", &[3, 3], 0.1)], &["`x` holds a batch of 3", "`y` one of 2"]),
        (&[("x", &[0, 3], 0.1), ("y", &[0, 2], 0.1)], &["`x`", "the batch is empty"]),
        (&[("y", &[2, 3], 0.1)], &["`y`", "[2, 3]", "2 outputs"]),
        (&[("x", &[2, 3], f64::NAN)], &["`x` holds NaN", "position 0"]),
        (&[("y", &[2, 2], f64::INFINITY)], &["`y` holds inf"]),
        (&[("layers.1.weight", &[2, 4], f64::NAN)], &["`layers.1.weight` holds NaN"]),
        (&[("layers.0.bias", &[4], f64::NEG_INFINITY)], &["`layers.0.bias` holds -inf"]),
    ] {
        for dtype in [Dtype::F64, Dtype::F32] {
            write(&path, &with(changes), dtype);
            refused(said);
        }
    }
    write(
        &path,
        &[("x".to_owned(), whole["x"].clone()), ("y".to_owned(), whole["y"].clone())].into(),
        Dtype::F64,
    );
    refused(&["no layers"]);
    refuses_other_types(&path, &whole, &refused);
}

fn refuses_other_types(path: &Path, whole: &Tensors, refused: &dyn Fn(&[&str])) {
    for (odd, dtype, said) in [
        ("y", Dtype::F32, "`y` holds F32 numbers"),
        ("x", Dtype::I64, "`x` holds I64 numbers"),
        ("layers.0.bias", Dtype::BF16, "BF16"),
    ] {
        let mut raw = BTreeMap::new();
        for (name, (shape, values)) in whole {
            let own = if name == odd { dtype } else { Dtype::F64 };
            let bytes = match own {
                Dtype::BF16 => vec![0; 2 * values.len()],
                Dtype::I64 => vec![0; 8 * values.len()],
                other => to_bytes(values, other),
            };
            raw.insert(name, (own, shape.clone(), bytes));
        }
        let views = raw.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
        refused(&[said]);
    }
}
