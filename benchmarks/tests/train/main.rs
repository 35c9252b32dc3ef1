//! Training: every model by every schedule, checkpoints, reproducibility, and what is refused.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod by_vertex;
mod keep;
mod program;

use std::path::{Path, PathBuf};

use pc_bench::{
    checkpoint::Checkpoint,
    commands::train::{Dataset, Learner, Measured, RunSettings, Step, TrainArgs, TrainingPlan},
    contract::ScheduleKind,
    data::{Data, Kind, Sequences, Text},
    models::{Features, InputShape, ModelKind, OutputLoss, Predictor, Size, build, build_per_step},
};
use pc_core::{Relaxation, Status, host::Element};

fn settings(args: &TrainArgs) -> RunSettings {
    TrainingPlan::new(args).unwrap().runs[0].clone()
}

/// A quick run on the digits.
fn quick(model: ModelKind, schedule: ScheduleKind) -> RunSettings {
    settings(&TrainArgs {
        model: Some(model),
        schedule: vec![schedule],
        samples: Some(320),
        seed: Some(3),
        ..TrainArgs::default()
    })
}

fn digits(settings: &RunSettings) -> Dataset {
    Dataset::load(settings, None).unwrap()
}

fn finish<F: Element>(learner: &mut Learner<F>, data: &Dataset, epochs: usize) {
    while learner.progress().epoch < epochs {
        match learner.epoch(data, &mut |_| true).unwrap() {
            Step::Finished(_) => {}
            other => panic!("{} did not finish: {other:?}", learner.settings().schedule),
        }
    }
}

fn bits<F: Element>(learner: &Learner<F>) -> Vec<u64> {
    let parameters = learner.trainee().parameters().unwrap();
    parameters
        .iter()
        .flat_map(|(_, parameter)| parameter.data().iter().map(|x| x.value().to_bits()))
        .collect()
}

#[test]
fn the_loss_falls_for_every_schedule() {
    for model in [ModelKind::Mlp, ModelKind::Cnn] {
        for &schedule in ScheduleKind::ALL {
            let settings = quick(model, schedule);
            let data = digits(&settings);
            let mut learner = Learner::<f32>::new(&settings, &data).unwrap();
            finish(&mut learner, &data, 6);
            let history = &learner.progress().history;
            let losses: Vec<f64> = history.iter().map(|epoch| epoch.train_loss).collect();
            assert!(losses[5] < 0.6 * losses[0], "{model} by {schedule}: {losses:?}");
            assert!(history[5].train_accuracy.unwrap() > 0.8, "{model} by {schedule}: {history:?}");
            assert_eq!(history[5].energy.is_none(), schedule == ScheduleKind::Backprop);
        }
    }
}

/// One batch by every schedule, in f64: finite, and backprop's gradients where they should be.
fn learns(settings: &RunSettings, data: &Dataset) {
    let RunSettings { model, schedule, .. } = settings;
    let mut learner = Learner::<f64>::new(settings, data).unwrap();
    let before = bits(&learner);
    let batch = data.epoch(8, 0, 0, 0).unwrap().next().unwrap().unwrap();
    let measured = learner.measure(&batch).unwrap();
    assert_eq!(bits(&learner), before, "measuring moved the weights of {model} by {schedule}");
    for layer in &measured.layers {
        assert!(
            layer.cosine.is_finite() && layer.norm_ratio.is_finite(),
            "{model} by {schedule}: {layer:?}"
        );
        if *schedule == ScheduleKind::Zil {
            let off = (layer.cosine - 1.0).abs().max((layer.norm_ratio - 1.0).abs());
            assert!(off < 1e-9, "{model}: Z-IL is not backprop: {layer:?}");
        }
    }
    let energy = learner.learn(&batch).unwrap();
    let after = bits(&learner);
    assert!(energy.is_finite() && energy > 0.0, "{model} by {schedule}: energy {energy}");
    assert!(
        after.iter().all(|bits| f64::from_bits(*bits).is_finite()),
        "{model} by {schedule}: weights are not finite"
    );
    assert_ne!(before, after, "{model} by {schedule} learned nothing");
}

#[test]
fn every_model_learns_from_pictures_by_every_schedule() {
    for model in ModelKind::ALL {
        for &schedule in ScheduleKind::ALL {
            let settings = quick(model, schedule);
            learns(&settings, &digits(&settings));
        }
    }
}

fn names() -> Data {
    let samples: Vec<Vec<usize>> =
        (0..40).map(|k| (0..3 + k % 4).map(|i| (k + i * (1 + k % 2)) % 6).collect()).collect();
    let labels = (0..40).map(|k| k % 2).collect();
    let alphabet = "abcdef".chars().collect();
    let all = Sequences {
        samples,
        labels,
        alphabet,
        classes: 2,
        class_names: vec!["even".into(), "odd".into()],
    };
    Data::Sequences(all.split(0.25, 0).unwrap())
}

#[test]
fn every_model_that_reads_sequences_learns_from_them() {
    for model in ModelKind::ALL.into_iter().filter(|model| *model != ModelKind::Cnn) {
        for &schedule in ScheduleKind::ALL {
            let settings =
                RunSettings { data: Kind::Names, samples: None, ..quick(model, schedule) };
            let data = Dataset::new("names", names(), 0, model, None).unwrap();
            learns(&settings, &data);
        }
    }
    let settings = RunSettings {
        data: Kind::Names,
        samples: None,
        ..quick(ModelKind::Cnn, ScheduleKind::Standard)
    };
    let data = Dataset::new("names", names(), 0, ModelKind::Cnn, None).unwrap();
    let error = Learner::<f32>::new(&settings, &data).unwrap_err();
    assert!(error.status() == 2 && error.to_string().contains("cnn does not fit names"), "{error}");
}

#[test]
fn text_is_predicted_at_every_step_by_models_that_go_by_step_and_else_at_the_end() {
    let text = Text::new(&"to be or not to be that is the question ".repeat(40)).split().unwrap();
    for model in [ModelKind::Rnn, ModelKind::Lstm, ModelKind::Attention, ModelKind::Mlp] {
        let settings = RunSettings {
            data: Kind::Shakespeare,
            samples: None,
            ..quick(model, ScheduleKind::Backprop)
        };
        let data = Dataset::new("text", Data::Text(text.clone()), 0, model, Some(16)).unwrap();
        assert_eq!(data.per_step, model.goes_by_step());
        let batch = data.epoch(4, 0, 0, 0).unwrap().next().unwrap().unwrap();
        assert_eq!(batch.labels.len(), if data.per_step { 4 * 32 } else { 4 });
        learns(&settings, &data);
    }
    // Levelling a recurrent net with a loss at each step takes identities in the square of its
    // length; a short one will do.
    let shape = InputShape::Sequence { length: 5, vocabulary: 3 };
    let mut model = build_per_step::<f64>(ModelKind::Rnn, &shape, 3, 0, Size::Small)
        .unwrap()
        .levelled()
        .unwrap();
    let clamps = model
        .clamps(Features::Symbols(&[0, 1, 2, 1, 0]), &[1, 2, 1, 0, 1], OutputLoss::CrossEntropy)
        .unwrap();
    let schedule = ScheduleKind::Zil.schedule(1.0, 1).unwrap();
    let outcome =
        Relaxation::new(&model.graph, schedule).unwrap().run(&mut model.graph, &clamps).unwrap();
    assert_eq!(outcome.status, Status::Spent);
    assert!(build_per_step::<f64>(ModelKind::Residual, &shape, 3, 0, Size::Small).is_err());
}

#[test]
fn short_names_are_padded_before_and_long_ones_cut() {
    let data = Dataset::new("names", names(), 0, ModelKind::Rnn, None).unwrap();
    assert_eq!(data.shape, InputShape::Sequence { length: 6, vocabulary: 7 });
    let batch = data.test(100).unwrap().next().unwrap().unwrap();
    let Features::Symbols(symbols) = batch.features() else { panic!("names are symbols") };
    assert_eq!(symbols.len(), 6 * batch.samples);
    for name in symbols.chunks(6) {
        let padding = name.iter().take_while(|symbol| **symbol == 6).count();
        assert!(padding <= 3 && name[padding..].iter().all(|symbol| *symbol < 6), "{name:?}");
    }
}

#[test]
fn equal_seeds_give_equal_bits() {
    for schedule in [ScheduleKind::Standard, ScheduleKind::Backprop] {
        let run = |seed: u64| {
            let settings =
                RunSettings { seed, samples: Some(96), ..quick(ModelKind::Cnn, schedule) };
            let data = digits(&settings);
            let mut learner = Learner::<f32>::new(&settings, &data).unwrap();
            finish(&mut learner, &data, 2);
            bits(&learner)
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }
    let shape = InputShape::Image([1, 8, 8]);
    for kind in ModelKind::ALL {
        let [a, b] = [0, 0].map(|seed| build::<f64>(kind, &shape, 10, seed, Size::Small).unwrap());
        assert_eq!(a.graph.parameters(), b.graph.parameters(), "{kind}");
    }
}

#[test]
fn a_resumed_run_comes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let optimisers = ["adam", "adamw", "sgd"];
    for (schedule, optimiser) in [ScheduleKind::Standard, ScheduleKind::Ipc, ScheduleKind::Backprop]
        .into_iter()
        .zip(optimisers)
    {
        let settings = settings(&TrainArgs {
            model: Some(ModelKind::Mlp),
            schedule: vec![schedule],
            optimiser: Some(optimiser.parse().unwrap()),
            samples: Some(160),
            seed: Some(3),
            ..TrainArgs::default()
        });
        let data = digits(&settings);
        let mut whole = Learner::<f32>::new(&settings, &data).unwrap();
        finish(&mut whole, &data, 4);

        let path = folder.path().join(format!("{schedule}.safetensors"));
        let mut first = Learner::<f32>::new(&settings, &data).unwrap();
        finish(&mut first, &data, 2);
        first.save(&path).unwrap();
        let mut second = Learner::<f32>::new(&settings, &data).unwrap();
        second.resume(&path).unwrap();
        assert_eq!(bits(&first), bits(&second));
        assert_eq!(format!("{:?}", first.progress()), format!("{:?}", second.progress()));
        // Stopped again in the middle of the third epoch.
        assert_eq!(second.epoch(&data, &mut |done| done < 3).unwrap(), Step::Stopped);
        second.save(&path).unwrap();
        let mut third = Learner::<f32>::new(&settings, &data).unwrap();
        third.resume(&path).unwrap();
        assert_eq!((third.progress().epoch, third.progress().batch), (2, 3));
        finish(&mut third, &data, 4);
        assert_eq!(bits(&whole), bits(&third), "{schedule} with {optimiser}");
        let figures = |learner: &Learner<f32>| {
            learner.progress().history.iter().map(|e| (e.epoch, e.test_loss)).collect::<Vec<_>>()
        };
        assert_eq!(figures(&whole), figures(&third));
    }
}

#[test]
fn scoring_and_measuring_hear_the_user_and_go_on_to_the_same_bits() {
    let settings =
        RunSettings { samples: Some(64), ..quick(ModelKind::Mlp, ScheduleKind::Standard) };
    let data = digits(&settings);
    let mut whole = Learner::<f32>::new(&settings, &data).unwrap();
    finish(&mut whole, &data, 1);
    // Two batches of the epoch, then batches that are scored.
    for heard in 3..6 {
        let mut learner = Learner::<f32>::new(&settings, &data).unwrap();
        let mut asked = 0;
        let mut watch = |_| {
            asked += 1;
            asked < heard
        };
        let stopped = learner.epoch(&data, &mut watch).unwrap();
        if stopped != Step::Stopped {
            assert!(heard > 4, "asked {asked} times");
            continue;
        }
        assert_eq!((learner.progress().epoch, learner.progress().batch), (0, 2));
        let path = tempfile::tempdir().unwrap().path().join("unused");
        let saved = learner.checkpoint().unwrap();
        let mut again = Learner::<f32>::new(&settings, &data).unwrap();
        again.restore(&path, saved).unwrap();
        finish(&mut again, &data, 1);
        assert_eq!(bits(&again), bits(&whole));
        let losses = |run: &Learner<f32>| run.progress().history.last().map(|e| e.test_loss);
        assert_eq!(losses(&again), losses(&whole));
    }
    let batch = data.epoch(8, 0, 0, 0).unwrap().next().unwrap().unwrap();
    let calls = std::cell::Cell::new(0);
    let stop = || {
        calls.set(calls.get() + 1);
        calls.get() > 2
    };
    assert_eq!(whole.measure_unless(&batch, &stop).unwrap(), Measured::default());
    assert_eq!(calls.get(), 3);
}

#[test]
fn damaged_and_foreign_checkpoints_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let settings =
        RunSettings { samples: Some(64), ..quick(ModelKind::Mlp, ScheduleKind::Standard) };
    let data = digits(&settings);
    let mut learner = Learner::<f32>::new(&settings, &data).unwrap();
    finish(&mut learner, &data, 1);
    learner.save(&path).unwrap();
    let good = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        let path = folder.path().join("bad.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let mut fresh = Learner::<f32>::new(&settings, &data).unwrap();
        let error = fresh.resume(&path).unwrap_err();
        assert!(error.status() == 2 && error.to_string().contains("bad.safetensors"), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    };
    refused(&[], "truncated");
    refused(&good[..good.len() - 5], "truncated");
    refused(&good[..20], "truncated");
    refused(b"not a checkpoint at all", "damaged");
    let mut flipped = good.clone();
    let last = flipped.len() - 3;
    flipped[last] ^= 1;
    refused(&flipped, "check sum");
    let changed = |change: &dyn Fn(&mut Checkpoint<f32>)| {
        let mut saved = learner.checkpoint().unwrap();
        change(&mut saved);
        let path = folder.path().join("changed.safetensors");
        saved.write(&path).unwrap();
        std::fs::read(&path).unwrap()
    };
    refused(
        &changed(&|saved| drop(saved.metadata.insert("schedule".into(), "guesswork".into()))),
        "unknown schedule 'guesswork'",
    );
    refused(
        &changed(&|saved| drop(saved.metadata.insert("seed".into(), "4".into()))),
        "other settings",
    );
    refused(&changed(&|saved| drop(saved.metadata.remove("epoch"))), "`epoch`");
    let nan = changed(&|saved| {
        let name = "optimiser.head.weight.first";
        saved.tensors.get_mut(name).unwrap().data_mut()[0] = f32::NAN;
    });
    refused(&nan, "`optimiser.head.weight.first` holds a NaN");
    refused(
        &changed(&|saved| drop(saved.tensors.remove("head.weight"))),
        "no parameter `head.weight`",
    );
    refused(
        &changed(&|saved| drop(saved.tensors.remove("optimiser.head.weight.first"))),
        "not complete",
    );
    let swapped = changed(&|saved| {
        drop(saved.tensors.insert("head.weight".into(), saved.tensors["head.bias"].clone()))
    });
    refused(&swapped, "shape");
    let error = Learner::<f64>::new(
        &RunSettings { precision: "f64".parse().unwrap(), ..settings.clone() },
        &data,
    )
    .unwrap()
    .resume(&path);
    assert!(error.unwrap_err().to_string().contains("precision"));
}

#[test]
fn divergence_is_a_result_and_says_what_to_lower() {
    let settings = RunSettings { rate: 60.0, ..quick(ModelKind::Mlp, ScheduleKind::Standard) };
    let data = digits(&settings);
    let mut learner = Learner::<f32>::new(&settings, &data).unwrap();
    let Step::Diverged(why) = learner.epoch(&data, &mut |_| true).unwrap() else {
        panic!("it should diverge")
    };
    assert!(
        why.contains("standard diverged in epoch 1") && why.contains("--rate (now 60)"),
        "{why}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let args = || TrainArgs { report: folder.path().join("report"), ..TrainArgs::default() };
    let refused = |args: TrainArgs, what: &str| {
        let error = pc_bench::commands::train::run(args, true).unwrap_err();
        assert_eq!(error.status(), 2, "{error}");
        assert!(error.to_string().contains(what), "expected {what:?} in {error}");
    };
    refused(TrainArgs { steps: Some(0), ..args() }, "zero steps");
    refused(TrainArgs { rate: Some(0.0), ..args() }, "rate");
    refused(TrainArgs { rate: Some(f64::NAN), ..args() }, "NaN");
    refused(TrainArgs { rate: Some(-0.1), ..args() }, "rate");
    refused(TrainArgs { epochs: Some(0), ..args() }, "--epochs 0");
    refused(TrainArgs { batch: Some(0), ..args() }, "--batch 0");
    refused(TrainArgs { samples: Some(0), ..args() }, "--samples 0");
    refused(TrainArgs { samples: Some(10_000), ..args() }, "1438");
    refused(TrainArgs { threads: Some(0), ..args() }, "--threads 0");
    refused(TrainArgs { learning_rate: Some(f64::INFINITY), ..args() }, "learning rate");
    refused(TrainArgs { decay: Some(1.5), ..args() }, "--decay");
    refused(TrainArgs { decay: Some(f64::NAN), ..args() }, "--decay");
    refused(
        TrainArgs { schedule: vec![ScheduleKind::Zil], rate: Some(0.1), ..args() },
        "zil takes neither",
    );
    refused(TrainArgs { schedule: vec![ScheduleKind::Ipc; 2], ..args() }, "twice");
    refused(TrainArgs { data: Some(Kind::Mnist), ..args() }, "--data-dir");
    refused(
        TrainArgs { data: Some(Kind::Mnist), data_dir: Some(folder.path().join("none")), ..args() },
        "none",
    );
    refused(
        TrainArgs { save: Some(folder.path().join("none/run.safetensors")), ..args() },
        "no folder",
    );
    refused(TrainArgs { save: Some(folder.path().to_path_buf()), ..args() }, "a file is needed");
    refused(
        TrainArgs { resume: Some(folder.path().join("none.safetensors")), ..args() },
        "none.safetensors",
    );
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    refused(TrainArgs { report: file.clone(), ..args() }, "is a file");
    let by_vertex = || TrainArgs { energy_by_vertex: true, ..args() };
    refused(TrainArgs { no_report: true, ..by_vertex() }, "--no-report");
    refused(
        TrainArgs { schedule: vec![ScheduleKind::Backprop], ..by_vertex() },
        "--energy-by-vertex: backprop takes no steps",
    );
    assert!(!folder.path().join("report").exists(), "something was written");
}

#[test]
fn a_checkpoint_says_what_to_go_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.safetensors");
    let args = TrainArgs {
        model: Some(ModelKind::Mlp),
        schedule: vec![ScheduleKind::FixedPrediction, ScheduleKind::Epc],
        samples: Some(64),
        epochs: Some(1),
        learning_rate: Some(0.123_456_789_012_345_67),
        save: Some(path),
        no_report: true,
        ..TrainArgs::default()
    };
    pc_bench::commands::train::run(args.clone(), true).unwrap();
    let files: Vec<PathBuf> = ["fixed-prediction", "epc"]
        .map(|name| folder.path().join(format!("run.{name}.safetensors")))
        .into();
    // One file a run, and one that says which there are.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    let resume = |path: &Path| TrainArgs {
        resume: Some(path.to_path_buf()),
        no_report: true,
        ..TrainArgs::default()
    };
    let plan =
        TrainingPlan::new(&TrainArgs { compare_backprop: true, ..resume(&files[1]) }).unwrap();
    let all = TrainingPlan::new(&TrainArgs { save: None, ..args }).unwrap();
    assert_eq!(plan.runs[1], all.runs[1]);
    assert_eq!(plan.runs[0].schedule, ScheduleKind::Backprop);
    let error =
        |args: TrainArgs| pc_bench::commands::train::run(args, true).unwrap_err().to_string();
    assert!(
        error(TrainArgs { seed: Some(9), ..resume(&files[0]) }).contains("--seed 9 contradicts")
    );
    assert!(
        error(TrainArgs { model: Some(ModelKind::Cnn), ..resume(&files[0]) })
            .contains("--model cnn contradicts")
    );
    assert!(
        error(TrainArgs { epochs: Some(1), ..resume(&files[0]) })
            .contains("has done 1 epochs already")
    );
}

#[test]
fn a_predictor_agrees_with_the_relaxation_s_forward_pass() {
    let mut model =
        build::<f64>(ModelKind::Mlp, &InputShape::Image([1, 2, 2]), 3, 1, Size::Small).unwrap();
    let pixels = [0.1, 0.9, 0.4, 0.2, 0.7, 0.3, 0.5, 0.8];
    let labels = [2, 0];
    let score =
        Predictor::new(&model.graph).score(&mut model, Features::Pixels(&pixels), &labels).unwrap();
    let clamps =
        model.clamps(Features::Pixels(&pixels), &labels, OutputLoss::CrossEntropy).unwrap();
    let schedule = ScheduleKind::Backprop.schedule(1.0, 1).unwrap();
    let outcome =
        Relaxation::new(&model.graph, schedule).unwrap().run(&mut model.graph, &clamps).unwrap();
    assert!((outcome.energy.loss - score.loss).abs() < 1e-12);
    assert_eq!(score.count, 2);
    assert!(model.clamps(Features::Pixels(&pixels), &[2], OutputLoss::SquaredError).is_err());
    assert!(
        model.clamps(Features::Pixels(&pixels[1..]), &labels, OutputLoss::SquaredError).is_err()
    );
    assert!(model.clamps(Features::Symbols(&[1]), &labels, OutputLoss::SquaredError).is_err());
    assert!(model.clamps(Features::Pixels(&pixels), &[2, 3], OutputLoss::SquaredError).is_err());
}
