//! Pictures that are given again: `target = "input"`, with an encoder or a latent in its place.

use pc_bench::{
    commands::train::{Dataset, Learner, TrainingPlan},
    models::{Features, InputShape, LayerEntry, LayerKind, Predictor, Wanted, build_layers},
};
use pc_core::host::{HostTensor, Init};

use super::{epoch, plan};

const LATENTS: [&str; 2] =
    ["kind = \"latent\"\nwidth = 6", "kind = \"latent\"\nchannels = 2\nsize = 4"];

/// Layers that end with a picture of 1x8x8: dense, or transposed above a picture.
const DECODERS: [&str; 2] = [
    "[[layers]]\nkind = \"dense\"\nwidth = 12\nactivation = \"tanh\"\n\
     [[layers]]\nkind = \"dense\"\n",
    "[[layers]]\nkind = \"conv-transpose\"\nchannels = 3\nkernel = 3\nactivation = \"hard-tanh\"\n\
     padding = 1\n[[layers]]\nkind = \"conv-transpose\"\nchannels = 1\nkernel = 5\nstride = 2\n\
     padding = 2\noutput-padding = 1\nstart = \"torch\"\n",
];

/// A file; `first` is the first layer, and the rest what follows the layers.
fn text(first: &str, decoder: &str, rest: &str) -> String {
    format!(
        "target = \"input\"\nbatch = 8\nepochs = 2\n[data]\nsamples = 40\n[[layers]]\n{first}\n\
         {decoder}[loss]\nkind = \"squared-error\"\n{rest}"
    )
}

fn errors(plan: &TrainingPlan) -> Vec<f64> {
    let data = Dataset::load(&plan.runs[0], None).unwrap();
    let run = |settings| {
        let mut learner = Learner::<f32>::new(settings, &data).unwrap();
        assert_eq!(learner.through_all(&data), None);
        let epochs = &learner.progress().history;
        assert!(epochs.iter().all(|epoch| epoch.test_accuracy.is_none()), "nothing is a class");
        epochs.last().unwrap().test_loss
    };
    plan.runs.iter().map(run).collect()
}

/// Two epochs of any learner.
trait Through {
    fn through_all(&mut self, data: &Dataset) -> Option<String>;
}

impl Through for Learner<f32> {
    fn through_all(&mut self, data: &Dataset) -> Option<String> {
        use pc_bench::commands::train::Step;
        while self.progress().epoch < 2 {
            match self.epoch(data, &mut |_| true).unwrap() {
                Step::Diverged(why) => return Some(why),
                Step::Stopped | Step::Finished(_) => (),
            }
        }
        None
    }
}

#[test]
fn every_latent_is_found_by_every_rule_that_can_and_refused_by_the_others() {
    let clamps = ["", "[clamp]\noutput = \"held\"\n", "[clamp]\noutput = \"nudged\"\nbeta = 0.5\n"];
    let starts = ["zero", "forward", "noise", "carried"];
    let mut seen = Vec::new();
    let layers = [(LATENTS[0], DECODERS[0]), (LATENTS[1], DECODERS[0]), (LATENTS[1], DECODERS[1])];
    for (latent, decoder) in layers {
        for rule in ["standard", "ipc", "epc", "fixed-prediction", "zil", "backprop"] {
            for start in starts {
                for clamp in clamps {
                    let relaxes = matches!(rule, "standard" | "ipc");
                    if !relaxes && start != "zero" {
                        continue;
                    }
                    let deviation = if start == "noise" { "\ndeviation = 0.1" } else { "" };
                    let more = if relaxes {
                        format!("rate = 0.1\nsteps = 5\nstart = \"{start}\"{deviation}\n")
                    } else {
                        String::new()
                    };
                    let rest = format!("{clamp}[schedule]\nrule = \"{rule}\"\n{more}");
                    let text = text(latent, decoder, &rest);
                    let found = plan(&text);
                    let nudged = clamp.contains("nudged") && start == "zero";
                    if relaxes && nudged {
                        let error = found.expect_err(&text).to_string();
                        assert!(error.contains("feed-forward prediction"), "{error}");
                        continue;
                    }
                    if relaxes && matches!(start, "zero" | "forward") {
                        let plan = found.unwrap_or_else(|error| panic!("{error}\n{text}"));
                        let back = super::plan(&plan.configuration().unwrap()).unwrap();
                        assert_eq!(back.runs, plan.runs);
                        let error = errors(&plan);
                        assert_eq!(error, errors(&back), "{text}");
                        assert!(error[0].is_finite(), "{text}");
                        seen.push(error[0]);
                        continue;
                    }
                    let error = found.expect_err(&text).to_string();
                    let says = if relaxes { "starts at zero" } else { "finds no latent" };
                    assert!(error.contains("run.toml:") && error.contains(says), "{error}");
                }
            }
        }
    }
    // Zero has two clamps, forward three.
    assert_eq!(seen.len(), 3 * 2 * 5);
    // Every choice changes what comes out, but that what is held may be what is driven.
    seen.sort_by(f64::total_cmp);
    seen.dedup_by(|a, b| (*a - *b).abs() < 1e-7);
    assert!(seen.len() >= 3 * 2 * 3, "{seen:?}");
}

#[test]
fn an_encoder_learns_by_every_rule() {
    let encoder = "kind = \"dense\"\nwidth = 6\nactivation = \"tanh\"";
    for rule in ["backprop", "fixed-prediction", "zil", "standard", "ipc", "epc"] {
        let rest = format!("[schedule]\nrule = \"{rule}\"\nlearning-rate = 0.002\n");
        let plan = plan(&text(encoder, DECODERS[0], &rest)).unwrap();
        let data = Dataset::load(&plan.runs[0], None).unwrap();
        let mut learner = Learner::<f32>::new(&plan.runs[0], &data).unwrap();
        assert_eq!(learner.through_all(&data), None, "{rule}");
        let losses: Vec<f64> = learner.progress().history.iter().map(|e| e.train_loss).collect();
        assert!(losses[1] < losses[0], "{rule}: {losses:?}");
    }
}

/// What is judged changes nothing of what is learned, and a run that is kept goes on to the same
/// bits.
#[test]
fn a_run_with_a_latent_goes_on_to_the_same_bits() {
    for rule in ["standard", "ipc"] {
        let rest = format!(
            "[clamp]\noutput = \"held\"\n[schedule]\nrule = \"{rule}\"\nsteps = 4\n[states]\n\
             rule = \"momentum\"\nmomentum = 0.3\n[optimiser]\ndecay = 1.0\n"
        );
        let plan = plan(&text(LATENTS[1], DECODERS[1], &rest)).unwrap();
        let settings = &plan.runs[0];
        let data = Dataset::load(settings, None).unwrap();
        let mut whole = Learner::<f32>::new(settings, &data).unwrap();
        let mut unjudged = Learner::<f32>::new(settings, &data).unwrap();
        for number in 0..2 {
            epoch(&mut whole, &data);
            for batch in data.epoch(8, settings.seed, number, 0).unwrap() {
                unjudged.learn(&batch.unwrap()).unwrap();
            }
        }
        let mut first = Learner::<f32>::new(settings, &data).unwrap();
        epoch(&mut first, &data);
        let mut rest = Learner::<f32>::new(settings, &data).unwrap();
        rest.restore("run".as_ref(), first.checkpoint().unwrap()).unwrap();
        epoch(&mut rest, &data);
        let (a, b) = (whole.checkpoint().unwrap(), rest.checkpoint().unwrap());
        assert_eq!(a.tensors, b.tensors, "{rule}");
        assert_eq!(whole.progress().history[1].test_loss, rest.progress().history[1].test_loss);
        let same =
            whole.trainee().parameters().unwrap() == unjudged.trainee().parameters().unwrap();
        assert!(same, "{rule}: judging has moved something");
    }
}

/// At a rate that is too large, states leave what any weights explain and stay finite numbers.
#[test]
fn an_unbounded_schedule_goes_on_where_another_has_diverged() {
    let rest = |more: &str| {
        format!(
            "[clamp]\noutput = \"held\"\n[schedule]\nrule = \"ipc\"\nsteps = 20\nrate = 0.6\n\
             start = \"zero\"\n{more}[states]\nrule = \"momentum\"\nmomentum = 0.6\n"
        )
    };
    let run = |more: &str| {
        let decoder = DECODERS[0].replace("tanh", "gelu");
        let plan = plan(&text(LATENTS[0], &decoder, &rest(more))).unwrap();
        let data = Dataset::load(&plan.runs[0], None).unwrap();
        let mut learner = Learner::<f32>::new(&plan.runs[0], &data).unwrap();
        (learner.through_all(&data), learner.progress().history.clone())
    };
    for bounded in ["", "beyond = 1e300\n"] {
        let (why, history) = run(bounded);
        let why = why.expect("it should diverge");
        assert!(why.contains("diverged in epoch 1") && history.is_empty(), "{why}");
    }
    let (why, history) = run("unbounded = true\n");
    assert_eq!(why, None);
    // No picture of numbers between 0 and 1 is as far off.
    assert!(history.len() == 2 && history[0].train_loss > 10.0, "{history:?}");
}

#[test]
fn the_error_is_the_mean_of_squares() {
    let mut dense = LayerEntry::of(LayerKind::Dense);
    let mut latent = LayerEntry::of(LayerKind::Latent);
    (latent.width, dense.bias) = (Some(3), Some(false));
    let shape = InputShape::Image([1, 2, 2]);
    let mut model =
        build_layers::<f64>(&[latent, dense], &shape, 10, 1, false, Wanted::Input).unwrap();
    let vertex = model.latent.unwrap();
    let pixels = [0.0, 0.25, 0.5, 1.0, 0.5, 0.5, 0.0, 0.125];
    let z: HostTensor<f64> = Init::new(4).uniform(&[2, 3], 1.0).unwrap();
    let weight = model.graph.parameters()[0].data().to_vec();
    let mut expected = 0.0;
    for (z, picture) in z.data().chunks(3).zip(pixels.chunks(4)) {
        for (row, x) in weight.chunks(3).zip(picture) {
            let found: f64 = row.iter().zip(z).map(|(w, z)| w * z).sum();
            expected += (found - f64::from(*x)).powi(2) / 4.0;
        }
    }
    let mut predictor = Predictor::new(&model.graph);
    let features = Features::Pixels(&pixels);
    let score = predictor.score_again(&mut model, features, Some((vertex, &z))).unwrap();
    assert!((score.loss - expected).abs() < 1e-12, "{} {expected}", score.loss);
    assert_eq!((score.count, score.correct), (2, 0));
}

#[test]
fn what_makes_no_sense_is_named_with_its_line() {
    let held = "[clamp]\noutput = \"held\"\n[schedule]\nrule = \"standard\"\n";
    let good = text(LATENTS[0], DECODERS[0], held);
    plan(&good).unwrap();
    for (from, to, line, words) in [
        ("target = \"input\"\n", "target = \"label\"\n", 7, "reads no data"),
        ("target = \"input\"\n", "target = \"itself\"\n", 1, "unknown variant"),
        ("samples = 40", "kind = \"names\"", 1, "is for pictures"),
        ("[loss]\nkind = \"squared-error\"\n[clamp]\noutput = \"held\"\n", "", 1, "squared-error"),
        ("width = 6", "channels = 3", 6, "a width, or channels and a size"),
        ("width = 6", "width = 6\nsize = 2", 6, "a width, or channels and a size"),
        ("width = 6", "width = 6\nactivation = \"tanh\"", 9, "has none"),
        ("width = 6", "width = 0", 8, "at least 1"),
        ("width = 12", "width = 12\noutput-padding = 1", 12, "has none"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good, "{from}");
        let error = plan(&text).expect_err(&text).to_string();
        let at = format!("run.toml:{line}: ");
        assert!(error.contains(&at) && error.contains(words), "{error}\n{text}");
    }
    // What only the net knows.
    for (from, to, words) in [
        ("[[layers]]\nkind = \"dense\"\n[loss]", "[loss]", "a picture's 64 numbers"),
        ("[loss]", "[[layers]]\nkind = \"latent\"\nwidth = 3\n[loss]", "only be the first layer"),
    ] {
        let text = good.replacen(from, to, 1);
        let made = plan(&text).and_then(|plan| {
            let data = Dataset::load(&plan.runs[0], None)?;
            Learner::<f32>::new(&plan.runs[0], &data).map(|_| ())
        });
        let error = made.expect_err(&text).to_string();
        assert!(error.contains(words), "{error}");
    }
    let named = "target = \"input\"\nmodel = \"mlp\"\n[loss]\nkind = \"squared-error\"\n";
    let error = plan(named).unwrap_err().to_string();
    assert!(error.contains("run.toml:1: ") && error.contains("[[layers]]"), "{error}");
}
