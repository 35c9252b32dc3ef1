//! Bidirectional PC: one net that classifies, generates and completes.

use pc_core::{
    Reduction, Schedule,
    host::{Adam, Init},
};
use pc_models::{Bidirectional, BidirectionalSettings, Host, Known};

use super::{
    Context, Experiment, Findings, Goal, Pictures, Published,
    labelled::{
        Classifier, T, accuracy, drawn, drawn_part, epoch, in_order, lower_half, one_of_each,
        repeated,
    },
};
use crate::{data::Images, error::CommandError};

const BOTH: &str = "bidirectional PC";
const BACKPROP: &str = "backprop classifier";
const WHOLE: &str = "whole picture, acc. %";
const HALF: &str = "lower half, acc. %";
const READ: &str = "generated, read %";
const READ_BY_OTHER: &str = "generated, read by backprop %";
const MISSING: &str = "upper half, mean square error";

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "bidirectional",
    about: "one net that classifies, generates and completes: two predictions of every vertex",
    paper: "Oliviers, Tang and Bogacz 2025: Bidirectional predictive coding",
    takes: "3 minutes",
    baseline: Some(BACKPROP),
    published: &[Published {
        row: BOTH,
        column: WHOLE,
        figure: 96.1,
        goal: Goal::AtLeast(95.5),
        source: "printed by a notebook of the group on 10,000 pictures and 10 epochs; reached \
                 within 0.6 points",
    }],
    run,
};

struct Size {
    hidden: Vec<usize>,
    count: usize,
    epochs: usize,
    batch: usize,
}

impl Size {
    fn of(context: &Context<'_>, images: &Images) -> Self {
        let large = images.features() > 64;
        match (context.full(), large) {
            (true, _) => Self { hidden: vec![256, 256], count: 10_000, epochs: 10, batch: 100 },
            (_, true) => Self { hidden: vec![128, 128], count: 5_000, epochs: 4, batch: 100 },
            _ => Self { hidden: vec![64, 64], count: 2_000, epochs: 10, batch: 50 },
        }
    }
}

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let data = context.pictures(Pictures::Mnist)?;
    let mut findings = Findings::new();
    findings.part(context, "bidirectional PC", |context| {
        let size = Size::of(context, &data.train);
        bidirectional(context, &size, &data.train, &data.test)
    })?;
    findings.part(context, "backprop", |context| {
        let size = Size::of(context, &data.train);
        backprop(context, &size, &data.train, &data.test)
    })?;
    Ok(findings)
}

fn settings(size: &Size, images: &Images) -> Result<BidirectionalSettings, CommandError> {
    let mut widths = vec![images.features()];
    widths.extend(&size.hidden);
    widths.push(images.classes);
    let mut settings = BidirectionalSettings::new(&widths)?;
    settings.learning = Schedule::standard(0.01, 20)?.reduced_by(Reduction::Mean);
    Ok(settings)
}

fn bidirectional(
    context: &mut Context<'_>,
    size: &Size,
    train: &Images,
    test: &Images,
) -> Result<Findings, CommandError> {
    let (mut findings, seed) = (Findings::new(), context.seed());
    let settings = settings(size, train)?;
    let mut net = Bidirectional::new(&Host::<f32>::new(), &settings, &mut Init::new(seed))?;
    let mut adam = Adam::new(1e-2)?;
    let mut curve = Vec::new();
    for k in 0..size.epochs {
        for batch in epoch(train, size.count, size.batch, (seed, k))? {
            let batch = batch?;
            let both = Known::picture(batch.pictures).and_label(batch.labels);
            net.train(&both, |graph, by| adam.step(graph.parameters_mut(), by))?;
        }
        let right = accuracy(test, test.len(), |pictures| {
            Ok(net.ask(&Known::picture(pictures.clone()))?.classes())
        })?;
        curve.push(((k + 1) as f64, right));
        context.say(format!("epoch {} of {}: {right:.2} %", k + 1, size.epochs));
        findings.cell(BOTH, WHOLE, right);
    }
    findings.curve("test accuracy, %", BOTH, ("epochs", "%"), curve);
    let shape = train.shape;
    let mask = lower_half(shape);

    // A part: the label, and the rest of the picture.
    let (mut right, mut all, mut apart) = (0, 0, 0.0);
    for batch in in_order(test, test.len())? {
        let batch = batch?;
        let part = Known::part(batch.pictures.clone(), repeated(&mask, batch.classes.len())?);
        let answer = net.ask(&part)?;
        right += answer.classes().iter().zip(&batch.classes).filter(|(a, b)| a == b).count();
        all += batch.classes.len();
        let pairs = answer.picture.data().iter().zip(batch.pictures.data());
        apart += pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    }
    findings.cell(BOTH, HALF, 100.0 * right as f64 / all.max(1) as f64);
    let missing = mask.iter().filter(|m| **m == 0.0).count() * all;
    findings.cell(BOTH, MISSING, apart / missing.max(1) as f64);

    // Every class, made from its label and read again.
    let each: Vec<usize> = (0..train.classes).collect();
    let made = net.ask(&Known::label(T::one_hot(&each, train.classes)?))?.picture;
    let read = net.ask(&Known::picture(made.clone()))?.classes();
    let known = read.iter().zip(&each).filter(|(a, b)| a == b).count();
    findings.cell(BOTH, READ, 100.0 * known as f64 / each.len() as f64);
    let mut reader = reader(size, train, seed)?;
    let read = reader.classify(&made)?;
    let known = read.iter().zip(&each).filter(|(a, b)| a == b).count();
    findings.cell(BOTH, READ_BY_OTHER, 100.0 * known as f64 / each.len() as f64);

    let given = one_of_each(test)?;
    let part = Known::part(given.pictures.clone(), repeated(&mask, given.classes.len())?);
    let completed = net.ask(&part)?.picture;
    findings.gallery(
        "Completed and generated by one bidirectional net",
        "Pictures of the test set, their lower halves, what the net makes of these, and what it \
         makes of labels alone.",
        vec![
            ("originals", drawn(shape, &given.pictures)?),
            ("halves", drawn_part(shape, &given.pictures, &mask)?),
            ("completed", drawn(shape, &completed)?),
            ("generated", drawn(shape, &made)?),
        ],
    );
    Ok(findings)
}

fn reader(size: &Size, train: &Images, seed: u64) -> Result<Classifier, CommandError> {
    Classifier::trained(train, size.count, &size.hidden, (size.batch, size.epochs, seed))
}

fn backprop(
    context: &mut Context<'_>,
    size: &Size,
    train: &Images,
    test: &Images,
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let mut net = reader(size, train, context.seed())?;
    findings.cell(BACKPROP, WHOLE, accuracy(test, test.len(), |x| net.classify(x))?);
    let mask = lower_half(train.shape);
    let half = accuracy(test, test.len(), |pictures| {
        let mut seen = pictures.clone();
        let rows = seen.data_mut().chunks_mut(mask.len());
        rows.for_each(|row| row.iter_mut().zip(&mask).for_each(|(x, m)| *x *= m));
        net.classify(&seen)
    })?;
    findings.cell(BACKPROP, HALF, half);
    findings.note("The backprop classifier reads a lower half with the upper half black.");
    Ok(findings)
}
