//! The associative memories of PCX's benchmark: pictures stored by predictive coding in nets that
//! begin with a latent, and recalled from noise or from their upper halves.

use super::{
    Context, Experiment, Findings, Pictures,
    released::{Released, config, words},
};
use crate::{
    commands::train::Dataset,
    data::{Batches, Split},
    error::CommandError,
    models::LayerKind,
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "pcx-memory",
    about: "PCX's memories: pictures recalled from noise and from halves",
    paper: "Pinchetti et al. 2024: Benchmarking predictive coding networks - made simple",
    takes: "weeks on one core; each part says what it takes",
    baseline: None,
    published: &[],
    run,
};

/// A released setting: the width of its layers, the pictures that it stores, its file.
struct Setting {
    width: usize,
    count: usize,
    file: (&'static str, &'static str),
}

macro_rules! settings {
    ($corruption:literal: $(($width:literal, $count:literal)),+) => {
        &[$(Setting {
            width: $width,
            count: $count,
            file: config!("pcx-memory-", $corruption, "-", $width, "-", $count),
        }),+]
    };
}

const NOISE: &[Setting] = settings!("noise":
    (512, 50), (512, 100), (512, 250), (512, 500), (512, 1000),
    (1024, 50), (1024, 100), (1024, 250), (1024, 500), (1024, 1000),
    (2048, 50), (2048, 100), (2048, 250), (2048, 500), (2048, 1000));

const HALVES: &[Setting] = settings!("mask":
    (512, 50), (512, 100), (512, 250), (512, 500),
    (1024, 50), (1024, 100), (1024, 250), (1024, 500),
    (2048, 50), (2048, 100), (2048, 250), (2048, 500));

/// The most pictures that a setting stores.
const MOST: usize = 1000;

/// A quick run: the width of all layers, the epochs, and the most steps of a recall.
const QUICK: (usize, usize, usize) = (128, 60, 1000);

/// What a quick run multiplies the learning rate by, for it has few epochs.
const FASTER: f64 = 5.0;

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let (name, pictures) = match context.has_tiny_imagenet() {
        _ if context.has_digits_alone() => ("digits", Pictures::Cifar10),
        true => ("Tiny ImageNet", Pictures::TinyImagenet),
        false => ("CIFAR-10", Pictures::Cifar10),
    };
    let images = context.pictures(pictures)?;
    // As many as any setting stores, so that no more have to be copied.
    let order = Batches::new(images.train.len(), MOST, context.seed(), 0)?.next();
    let train = images.train.select(&order.unwrap_or_default())?;
    let images = Split { test: train.clone(), train };
    for (what, settings) in [("noise", NOISE), ("upper half", HALVES)] {
        for Setting { width, count, file } in settings {
            if !context.full() && (*width, *count) != (512, 50) {
                continue;
            }
            let mut released = Released::new(*file, (pictures.kind(), context.seed()))?;
            let mut width = *width;
            if !context.full() {
                width = quickened(&mut released);
            }
            let data = released.dataset(name, images.clone(), Some(*count))?;
            let row = format!("two layers of {width}");
            let of = format!("{what}, {count} stored");
            let part = format!("{name}, {row}: {of}");
            let names = [&row, &of, &part].map(String::as_str);
            findings.part(context, &part, |context| asked(context, &released, &data, names))?;
            let value =
                |kind: &str| findings.value(&row, &format!("{of}: {kind}")).unwrap_or(f64::NAN);
            let holds = value("recalled") < value("given");
            findings.claim(format!("{part}: nearer to what was stored than what was given"), holds);
        }
    }
    findings.note(format!(
        "All figures are mean squared errors x 1e-3 of a number of a picture of {name}: of what \
         was given, of what is recalled from it, cut off at 0 and 1, and of what the latent \
         predicts that is found from the whole picture."
    ));
    if name != "Tiny ImageNet" {
        findings.note(format!(
            "The published task stores pictures of Tiny ImageNet, 12,288 numbers each; the folder \
             of data has none, and these are {}.",
            if name == "digits" { "8x8 digits of 64 numbers" } else { "of 3,072 numbers" }
        ));
    }
    if !context.full() {
        findings.note(
            "A quick run: latent and layers of 128, 60 epochs at five times the learning rate, at \
             most 1,000 steps to recall.",
        );
    }
    Ok(findings)
}

/// Stores pictures, and asks for them.
fn asked(
    context: &Context<'_>,
    released: &Released,
    data: &Dataset,
    [row, of, part]: [&str; 3],
) -> Result<Findings, CommandError> {
    let timed = released.timed(data, 2)?;
    let seconds = timed.epoch([data.train_len(); 2]) * released.epochs as f64;
    context.tell(&format!("{part}: about {} to store", words(seconds)));
    let mut learner = released.learner(data)?;
    let diverged = learner.through(data, released.epochs, &mut |epoch| {
        let error = 1e3 * epoch.test_loss;
        context.say(format!("{part}: epoch {} of {}, {error:.3}e-3", epoch.epoch, released.epochs));
    })?;
    let recalled = match &diverged {
        None => learner.recall(data)?,
        Some(_) => None,
    };
    let stored = learner.progress().history.last().filter(|_| diverged.is_none());
    let mut found = Findings::new();
    for (kind, error) in [
        ("given", recalled.map(|own| own.given)),
        ("recalled", recalled.map(|own| own.error)),
        ("from the whole", stored.map(|epoch| epoch.test_loss)),
    ] {
        found.cell(row, format!("{of}: {kind}"), 1e3 * error.unwrap_or(f64::NAN));
    }
    let points = learner.progress().history.iter();
    let points = points.map(|epoch| (epoch.epoch as f64, 1e3 * epoch.test_loss)).collect();
    found.curve(format!("stored, {of}: from the whole"), row, ("epoch", "MSE x 1e-3"), points);
    if let Some(why) = diverged {
        found.note(format!("{part}: {why}."));
    }
    Ok(found)
}

/// Makes a released setting quick; says how wide its layers are.
fn quickened(released: &mut Released) -> usize {
    let (width, epochs, steps) = QUICK;
    let run = &mut released.run;
    for layer in &mut run.details.layers {
        if layer.kind == LayerKind::Latent || layer.width.is_some() {
            layer.width = Some(width);
        }
    }
    if let Some(recall) = &mut run.details.recall {
        recall.steps = recall.steps.min(steps);
    }
    run.learning_rate *= FASTER;
    released.epochs = epochs;
    width
}
