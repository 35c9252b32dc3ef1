//! The autoencoders of dense layers of PCX's benchmark: pictures from latents that relaxation
//! finds, beside an encoder and a decoder trained by backprop.

use super::{
    Context, Experiment, Findings, Goal, Pictures, Published,
    released::{Method, Released, config, words},
};
use crate::{
    commands::train::Dataset,
    contract::{
        details::Figures,
        train::{Batch, Inputs},
    },
    data::Kind,
    error::CommandError,
    statistics::greater,
};

/// The error of the best epoch, as PCX reports it.
const BEST: &str = "best on test, MSE x 1e-3";
/// That of the last one.
const LAST: &str = "last epoch, MSE x 1e-3";
/// The row of a picture that no latent says anything of.
const MEAN: &str = "mean picture";

const SOURCE: &str = "the paper's table, from memory; there and here it is the best test epoch. \
                      Reached: at most 5 % above it";

const fn published(row: &'static str, figure: f64) -> Published {
    Published { row, column: BEST, figure, goal: Goal::AtMost(1.05 * figure), source: SOURCE }
}

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "pcx-autoencoder",
    about: "PCX's autoencoders: latents by relaxation, beside an encoder by backprop",
    paper: "Pinchetti et al. 2024: Benchmarking predictive coding networks - made simple",
    takes: "45 minutes for a seed",
    baseline: None,
    published: &[
        published("MNIST PC", 9.25),
        published("MNIST iPC", 9.09),
        published("MNIST BP", 9.08),
        published("FMNIST PC", 10.56),
        published("FMNIST iPC", 10.11),
        published("FMNIST BP", 10.0),
    ],
    run,
};

/// One set of pictures with its settings.
struct Set {
    name: &'static str,
    pictures: Pictures,
    kind: Kind,
    methods: [Method; 3],
}

macro_rules! methods {
    ($set:literal) => {
        [
            Method { name: "BP", file: config!("pcx-autoencoder-", $set, "-bp") },
            Method { name: "PC", file: config!("pcx-autoencoder-", $set, "-pc") },
            Method { name: "iPC", file: config!("pcx-autoencoder-", $set, "-ipc") },
        ]
    };
}

const SETS: [Set; 2] = [
    Set { name: "MNIST", pictures: Pictures::Mnist, kind: Kind::Mnist, methods: methods!("mnist") },
    Set {
        name: "FMNIST",
        pictures: Pictures::FashionMnist,
        kind: Kind::FashionMnist,
        methods: methods!("fmnist"),
    },
];

/// A quick run: training pictures, samples in a batch, epochs. The few pictures want small batches
/// for as many updates as they have time for.
const QUICK: (usize, usize, usize) = (1400, 20, 20);

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let digits = !context.full() && context.has_digits_alone();
    for set in &SETS {
        // The second set would be the digits again.
        if digits && set.kind != Kind::Mnist {
            continue;
        }
        let (name, kind) = if digits { ("digits", Kind::Digits) } else { (set.name, set.kind) };
        let mut runs = Vec::with_capacity(set.methods.len());
        for method in &set.methods {
            let mut released = Released::new(method.file, (kind, context.seed()))?;
            if !context.full() {
                (_, released.run.batch, released.epochs) = QUICK;
            }
            runs.push((method.name, released));
        }
        let Some((_, first)) = runs.first() else { continue };
        let most = context.by_size(Some(QUICK.0), None);
        let data = first.dataset(name, context.pictures(set.pictures)?, most)?;
        if context.full() {
            let mut left = 0.0;
            for (method, run) in &runs {
                if !context.is_done(&format!("{name} {method}")) {
                    let timed = run.timed(&data, 5)?;
                    left += timed.epoch([data.train_len(), data.test_len()]) * run.epochs as f64;
                }
            }
            context.tell(&format!("{name}: about {} to go, by five batches of each", words(left)));
        }
        findings.cell(format!("{name} {MEAN}"), BEST, 1e3 * of_mean(&data)?);
        for (method, run) in &runs {
            let row = format!("{name} {method}");
            findings.part(context, &row, |context| learned(context, (name, method), run, &data))?;
        }
        claims(&mut findings, name);
    }
    findings.note(
        "MSE is the mean squared error of a number of a picture that is given again. By PC and iPC \
         the decoder has no encoder: its latent of 64 numbers, free of any prior, is found in the \
         steps of the settings from states that are all zero, of training and of test pictures.",
    );
    findings.note(
        "BP is an encoder and its mirror. The released code applies no activation between their \
         layers, so BP here is linear, and no linear net of 64 numbers is better than principal \
         components.",
    );
    findings.note(
        "best on test: the best epoch by the test set itself, as PCX reports it, which flatters \
         every method; last epoch: chosen by nothing.",
    );
    Ok(findings)
}

/// Learns to the end.
fn learned(
    context: &Context<'_>,
    (set, method): (&str, &str),
    run: &Released,
    data: &Dataset,
) -> Result<Findings, CommandError> {
    let row = format!("{set} {method}");
    let mut learner = run.learner(data)?;
    let mut findings = Findings::new();
    let diverged = learner.through(data, run.epochs, &mut |epoch| {
        let error = 1e3 * epoch.test_loss;
        context.say(format!("{row}, epoch {} of {}: {error:.3}e-3", epoch.epoch, run.epochs));
    })?;
    let progress = learner.progress();
    let error = |which| {
        let epoch = progress.reported(which).filter(|_| diverged.is_none());
        1e3 * epoch.map_or(f64::NAN, |epoch| epoch.test_loss)
    };
    findings.cell(&row, BEST, error(Figures::BestEpoch));
    findings.cell(&row, LAST, error(Figures::LastEpoch));
    let points = progress.history.iter().map(|epoch| (epoch.epoch as f64, 1e3 * epoch.test_loss));
    let title = format!("test error, {set}");
    findings.curve(title, method, ("epoch", "MSE x 1e-3"), points.collect());
    if let Some(why) = &diverged {
        findings.note(format!("{row}: {why}."));
    }
    Ok(findings)
}

/// The mean squared error on the test set of the mean of 2,000 training pictures.
fn of_mean(data: &Dataset) -> Result<f64, CommandError> {
    const SOME: usize = 2000;
    let features = data.shape.features();
    let (mut mean, mut count) = (vec![0.0; features], 0);
    let pixels = |batch: Batch| match batch.inputs {
        Inputs::Pixels(pixels) => pixels,
        Inputs::Symbols(_) => Vec::new(),
    };
    for batch in data.probe(SOME, SOME, 0)? {
        count += batch.samples;
        for picture in pixels(batch).chunks_exact(features) {
            mean.iter_mut().zip(picture).for_each(|(sum, x)| *sum += f64::from(*x));
        }
    }
    mean.iter_mut().for_each(|sum| *sum /= count.max(1) as f64);
    let (mut squares, mut numbers) = (0.0, 0);
    for batch in data.test(SOME)? {
        for picture in pixels(batch?).chunks_exact(features) {
            let pairs = picture.iter().zip(&mean);
            squares += pairs.map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum::<f64>();
            numbers += features;
        }
    }
    Ok(squares / numbers.max(1) as f64)
}

fn claims(findings: &mut Findings, set: &str) {
    let value = |method: &str, column| {
        findings.value(&format!("{set} {method}"), column).unwrap_or(f64::NAN)
    };
    let mean = value(MEAN, BEST);
    let worst = ["BP", "PC", "iPC"].map(|method| value(method, LAST)).into_iter();
    let worst = worst.reduce(greater).unwrap_or(f64::NAN);
    let (pc, ipc) = (value("PC", BEST), value("iPC", BEST));
    findings.claim(
        format!("{set}: each method leaves less than half of the mean picture's error"),
        worst < 0.5 * mean,
    );
    findings.claim(format!("{set}: iPC leaves less error than PC"), ipc < pc);
}
