//! Generative PC: one net from labels to pictures that decodes, classifies and completes.

use pc_core::{
    Reduction, Schedule,
    host::{Adam, Init},
    rule,
};
use pc_models::{Generative, GenerativeSettings, Host, Known};

use super::{
    Context, Experiment, Findings, Pictures,
    labelled::{
        Classifier, Half, T, accuracy, blackened, drawn, drawn_part, epoch, lower_half,
        one_of_each, repeated, share,
    },
};
use crate::{data::Images, error::CommandError};

const GENERATIVE: &str = "generative PC";
const BACKPROP: &str = "backprop classifier";
const WHOLE: &str = "whole picture, acc. %";
const HALF: &str = "lower half, acc. %";
const READ: &str = "generated, read by backprop %";
const MISSING: &str = "upper half, mean square error";

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "generative",
    about: "one net from labels to pictures that decodes, completes and classifies by what is held",
    paper: "Rao and Ballard 1999; Sun and Orchard 2020: A predictive-coding network that is both \
            discriminative and generative",
    takes: "10 minutes",
    baseline: Some(BACKPROP),
    published: &[],
    run,
};

struct Size {
    hidden: Vec<usize>,
    count: usize,
    epochs: usize,
    batch: usize,
    /// How many pictures of the test set are asked about.
    asked: usize,
}

impl Size {
    fn of(context: &Context<'_>, images: &Images) -> Self {
        let large = images.features() > 64;
        match (context.full(), large) {
            (true, _) => {
                Self { hidden: vec![256, 256], count: 60_000, epochs: 5, batch: 100, asked: 10_000 }
            }
            (_, true) => {
                Self { hidden: vec![128], count: 5_000, epochs: 3, batch: 100, asked: 1_000 }
            }
            _ => Self { hidden: vec![64], count: 2_000, epochs: 10, batch: 50, asked: 1_000 },
        }
    }
}

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let data = context.pictures(Pictures::Mnist)?;
    let mut findings = Findings::new();
    findings.part(context, "generative PC", |context| {
        let size = Size::of(context, &data.train);
        generative(context, &size, &data.train, &data.test)
    })?;
    findings.part(context, "backprop", |context| {
        let size = Size::of(context, &data.train);
        backprop(context, &size, &data.train, &data.test)
    })?;
    let read = findings.value(GENERATIVE, READ).unwrap_or(f64::NAN) >= 90.0;
    findings.claim("at least 9 of 10 decoded digits are read rightly by the net by backprop", read);
    Ok(findings)
}

fn generative(
    context: &mut Context<'_>,
    size: &Size,
    train: &Images,
    test: &Images,
) -> Result<Findings, CommandError> {
    let (mut findings, seed) = (Findings::new(), context.seed());
    let mut widths = vec![train.features()];
    widths.extend(&size.hidden);
    widths.push(train.classes);
    let settings = GenerativeSettings {
        prior: 0.1,
        learning: Schedule::standard(0.1, 20)?.reduced_by(Reduction::Mean),
        asking: Schedule::standard(0.05, 200)?.ruled_by(rule::Adam::default()),
        ..GenerativeSettings::new(&widths)?
    };
    let mut net = Generative::new(&Host::<f32>::new(), &settings, &mut Init::new(seed))?;
    let mut adam = Adam::new(1e-3)?;
    let mut curve = Vec::new();
    for k in 0..size.epochs {
        let (mut energy, mut count) = (0.0, 0);
        for batch in epoch(train, size.count, size.batch, (seed, k))? {
            let batch = batch?;
            count += batch.classes.len();
            let both = Known::picture(batch.pictures).and_label(batch.labels);
            let outcome = net.train(&both, |graph, by| adam.step(graph.parameters_mut(), by))?;
            energy += outcome.energy.total();
        }
        let energy = energy / count.max(1) as f64;
        curve.push(((k + 1) as f64, energy));
        context.say(format!("epoch {} of {}: energy {energy:.3}", k + 1, size.epochs));
    }
    findings.curve("energy of a picture in training", GENERATIVE, ("epochs", "energy"), curve);

    let right = accuracy(test, size.asked, |pictures| {
        Ok(net.ask(&Known::picture(pictures.clone()))?.classes())
    })?;
    findings.cell(GENERATIVE, WHOLE, right);
    let mask = lower_half(train.shape);
    let half = Half::asked(test, size.asked, &mask, |part| Ok(net.ask(part)?))?;
    findings.cell(GENERATIVE, HALF, half.right);
    findings.cell(GENERATIVE, MISSING, half.apart);

    let each: Vec<usize> = (0..train.classes).collect();
    let made = net.ask(&Known::label(T::one_hot(&each, train.classes)?))?.picture;
    let read = reader(size, train, seed)?.classify(&made)?;
    findings.cell(GENERATIVE, READ, share(&read, &each));

    let given = one_of_each(test)?;
    let masks = repeated(&mask, given.classes.len())?;
    let part = Known::part(given.pictures.clone(), masks);
    let completed = net.ask(&part)?.picture;
    let told = net.ask(&part.and_label(given.labels))?.picture;
    let shape = train.shape;
    findings.gallery(
        "Completed and generated by one generative net",
        "Pictures of the test set, their lower halves, what the net makes of these alone and \
         with the label, and what it makes of labels alone.",
        vec![
            ("originals", drawn(shape, &given.pictures)?),
            ("halves", drawn_part(shape, &given.pictures, &mask)?),
            ("completed", drawn(shape, &completed)?),
            ("with the label", drawn(shape, &told)?),
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
    findings.cell(BACKPROP, WHOLE, accuracy(test, size.asked, |x| net.classify(x))?);
    let mask = lower_half(train.shape);
    let half = accuracy(test, size.asked, |x| net.classify(&blackened(x, &mask)))?;
    findings.cell(BACKPROP, HALF, half);
    findings.note("The backprop classifier reads a lower half with the upper half black.");
    Ok(findings)
}
