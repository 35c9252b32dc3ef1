//! What is printed reads back to the same bits, and so does what was interrupted.

use pc_bench::{
    commands::train::{Dataset, Learner, Step, TrainArgs, TrainingPlan},
    contract::ScheduleKind,
    models::ModelKind,
};
use pc_core::{Agreement, Tensor};

use super::{epoch, learned, plan, plan_with};

/// A file that says nearly everything.
pub(crate) const ALL: &str = r#"
seed = 5
epochs = 2
batch = 16
report = "best-epoch"

[data]
kind = "digits"
samples = 96
validation = 0.25
flip = true
mean = 0.3
deviation = 0.4
crop = 1

[[layers]]
kind = "conv"
name = "below"
channels = 4
kernel = 3
stride = 1
padding = 1
activation = "leaky-relu"
slope = 0.1
activation-at = "after"
bias = false
start = "he-normal"
precision = 0.5

[[layers]]
kind = "conv"
channels = 4
kernel = 3
padding = 1
scale = 0.5

[[layers]]
kind = "residual"
from = "below"

[[layers]]
kind = "activation"
activation = "gelu"

[[layers]]
kind = "max-pool"
size = 2

[[layers]]
kind = "dense"
width = 12
activation = "tanh"
parameterisation = "ntk"

[[layers]]
kind = "dense"
start = "uniform"
spread = 0.2

[loss]
kind = "squared-error"
strength = 0.5

[[schedule]]
rule = "standard"
rate = 0.05
steps = 6
learning-rate = 0.001
start = "forward"
beyond = 100.0

[[schedule]]
rule = "backprop"

[states]
rule = "momentum"
momentum = 0.4
pace = "exponential"
decay = 0.01

[states.rates]
below = 0.5

[optimiser]
kind = "adamw"
learning-rate = 0.002
first = 0.8
second = 0.99
weight-decay = 0.001
clip-norm = 5.0
warm-up = 0.5
warm-up-from = 0.0001
anneal = "cosine"
last = 0.0002
"#;

/// Everything else: rules of states, starts, clamps.
const OTHERS: &[&str] = &[
    "[schedule]\nrule = \"standard\"\nstart = \"zero\"\nuntil = 0.01\n\
     [states]\nrule = \"adaptive\"",
    "[schedule]\nrule = \"standard\"\nstart = \"noise\"\ndeviation = 0.1",
    "[schedule]\nrule = \"standard\"\ntemperature = 0.01\nburn-in = 4\nevery = 2\nsteps = 9",
    "[schedule]\nrule = \"standard\"\nreduction = \"sum\"\nunbounded = true",
    "[schedule]\nrule = \"fixed-prediction\"\nevaluation = \"simulate\"",
    "[schedule]\nrule = \"fixed-prediction\"\nerrors = \"activations\"",
    "[schedule]\nrule = \"epc\"\nerrors = \"noise\"\nerrors-deviation = 0.1",
    "[schedule]\nrule = \"ipc\"\nsteps = 3\n[states]\nby-precision = true",
    "[schedule]\nrule = \"standard\"\n[states]\nrule = \"adam\"",
    "[schedule]\nrule = \"standard\"\n[states]\nrule = \"nesterov\"\nmomentum = 0.5",
    "[schedule]\nrule = \"standard\"\n[states]\nrule = \"heun\"\npace = \"inverse\"\ndecay = 0.1",
    "[schedule]\nrule = \"epc\"\n[states]\nrule = \"anderson\"\ncolumns = 3",
    "[schedule]\nrule = \"standard\"\n[states]\npace = \"table\"\ntable = [1.0, 0.5]",
    "[loss]\nkind = \"squared-error\"\n[clamp]\noutput = \"held\"",
    "[loss]\nkind = \"squared-error\"\n[clamp]\noutput = \"nudged\"\nbeta = -0.5\ngrowth = -0.1",
    "[loss]\nstrength = 0.01\n[optimiser]\nkind = \"sgd\"\nmomentum = 0.5\nclip-value = 0.1\n\
     updates = 2",
];

/// Prints a plan, and reads it again.
fn again(plan: &TrainingPlan) -> TrainingPlan {
    let text = plan.configuration().unwrap();
    let back = super::plan(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(back.runs, plan.runs, "{text}");
    assert_eq!((back.epochs, back.threads), (plan.epochs, plan.threads), "{text}");
    assert_eq!(back.configuration().unwrap(), text);
    back
}

#[test]
fn flags_printed_and_read_back_are_the_same_run_for_all_models_by_all_rules() {
    for model in ModelKind::ALL {
        for rule in ScheduleKind::ALL {
            let flags = TrainArgs {
                model: Some(model),
                schedule: vec![*rule],
                samples: Some(24),
                batch: Some(8),
                seed: Some(9),
                steps: rule.takes_rate().then_some(3),
                no_report: true,
                ..TrainArgs::default()
            };
            let given = TrainingPlan::new(&flags).unwrap();
            let back = again(&given);
            assert_eq!(learned(&back, 2), learned(&given, 2), "{model} by {rule}");
        }
    }
}

#[test]
fn files_printed_and_read_back_are_the_same_run() {
    let small = "batch = 8\nmodel = \"mlp\"\n[data]\nsamples = 24\n";
    let texts = OTHERS.iter().map(|rest| format!("{small}{rest}\n")).chain([ALL.to_owned()]);
    let plain = learned(&plan(small).unwrap(), 2);
    for text in texts {
        let given = plan(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let found = learned(&given, 2);
        assert_eq!(learned(&again(&given), 2), found, "{text}");
        assert!(found.iter().any(|run| !plain.contains(run)), "nothing comes of {text}");
    }
}

#[test]
fn z_il_on_a_graph_as_it_is_learns_something_else() {
    let zil = "batch = 8\nmodel = \"residual\"\n[data]\nsamples = 8\n[schedule]\nrule = \"zil\"\n";
    let (levelled, not) = (plan(zil).unwrap(), plan(&format!("{zil}unlevelled = true")).unwrap());
    assert!(learned(&levelled, 1)[0].1 != learned(&again(&not), 1)[0].1);
}

/// By plain descent gradients that are applied twice are a doubled rate, bounds of clipping and the
/// beta of a nudge included; Adam's moments see every one.
#[test]
fn gradients_that_are_applied_twice_are_a_doubled_rate() {
    let nudged = "[loss]\nkind = \"squared-error\"\n[clamp]\noutput = \"nudged\"\nbeta = -0.5\n";
    for (optimiser, same) in [("sgd", true), ("adam", false)] {
        for (before, rule) in [("", "backprop"), ("", "ipc"), (nudged, "standard")] {
            for clip in ["", "clip-value = 0.02"] {
                // How far all weights have come after so many batches.
                let of = |how: &str, batches: usize| -> Vec<f64> {
                    let momentum = if same { "momentum = 0.0" } else { "" };
                    let text = format!(
                        "batch = 6\n[data]\nkind = \"digits\"\n{before}[schedule]\n\
                         rule = \"{rule}\"\n[optimiser]\nkind = \"{optimiser}\"\n\
                         {momentum}\n{clip}\n{how}\n"
                    );
                    let parameters = learned(&plan(&text).unwrap(), batches).remove(0).1;
                    parameters.iter().flat_map(|(_, numbers)| numbers.to_vec()).collect()
                };
                let moved = |how: &str| -> Vec<f64> {
                    of(how, 3).iter().zip(of(how, 0)).map(|(now, start)| now - start).collect()
                };
                let twice = moved("learning-rate = 0.001\nupdates = 2");
                let from = |other: &str| Agreement::of_slices(&twice, &moved(other)).relative_norm;
                let (once, doubled) =
                    (from("learning-rate = 0.001"), from("learning-rate = 0.002"));
                let what = format!("{optimiser}, {rule}, {clip}: off by {doubled:e}, {once:e}");
                assert!(once > 0.1, "{what}");
                assert!(if same { doubled <= 1e-3 } else { doubled > 1e-2 }, "{what}");
            }
        }
    }
}

#[test]
fn a_run_goes_on_to_the_same_bits_with_all_of_a_file() {
    let plan = plan(ALL).unwrap();
    let data = Dataset::load(&plan.runs[0], None).unwrap();
    for settings in &plan.runs {
        let mut whole = Learner::<f32>::new(settings, &data).unwrap();
        epoch(&mut whole, &data);
        epoch(&mut whole, &data);
        for stop in 0..2 * data.batches(16) {
            let mut part = Learner::<f32>::new(settings, &data).unwrap();
            let mut done = 0;
            while done < stop {
                let mut watch = |_| {
                    done += 1;
                    done < stop
                };
                if part.epoch(&data, &mut watch).unwrap() == Step::Stopped {
                    break;
                }
            }
            let saved = part.checkpoint().unwrap();
            let mut rest = Learner::<f32>::new(settings, &data).unwrap();
            rest.restore("run".as_ref(), saved).unwrap();
            while rest.progress().epoch < 2 {
                epoch(&mut rest, &data);
            }
            let (a, b) = (whole.checkpoint().unwrap(), rest.checkpoint().unwrap());
            assert_eq!(a.tensors, b.tensors, "stopped after {stop} batches");
        }
    }
}

#[test]
fn flags_come_before_what_a_file_says() {
    let flags = TrainArgs {
        seed: Some(8),
        rate: Some(0.07),
        schedule: vec![ScheduleKind::Ipc, ScheduleKind::Standard],
        ..TrainArgs::default()
    };
    let found = plan_with(ALL, flags).unwrap();
    let of_file = plan(ALL).unwrap();
    let rules: Vec<ScheduleKind> = found.runs.iter().map(|run| run.schedule).collect();
    assert_eq!(rules, [ScheduleKind::Ipc, ScheduleKind::Standard]);
    for run in &found.runs {
        assert_eq!((run.seed, run.rate, run.batch), (8, 0.07, 16));
    }
    // What the file says of a rule stays, but for what the flags say.
    assert_eq!(found.runs[1].details, of_file.runs[0].details);
    assert_eq!(found.runs[1].steps, 6);
    let error = plan_with(ALL, TrainArgs { batch: Some(0), ..TrainArgs::default() }).unwrap_err();
    assert!(error.to_string().starts_with("--batch 0"), "{error}: not a line of the file");
}

#[test]
fn no_run_is_saved_that_could_not_go_on_to_the_same_bits() {
    for entry in ["start = \"noise\"\ndeviation = 0.1", "start = \"carried\"", "temperature = 0.1"]
    {
        let text = format!("[schedule]\nrule = \"standard\"\n{entry}\n");
        let folder = tempfile::tempdir().unwrap();
        let save = Some(folder.path().join("run.safetensors"));
        let error = plan_with(&text, TrainArgs { save, ..TrainArgs::default() }).unwrap_err();
        assert!(error.to_string().contains("--save: a run with schedule."), "{error}");
    }
}
