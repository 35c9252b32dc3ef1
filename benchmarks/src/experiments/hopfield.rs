//! Universal Hopfield networks: which similarity, and which separation, stores most.

use pc_core::host::HostTensor;
use pc_models::hopfield::{
    Cosine, Dot, Euclidean, Identity, JensenShannon, KullbackLeibler, Manhattan, Max, Memory,
    Normalised, Polynomial, Reciprocal, ReverseKullbackLeibler, Softmax,
};

use super::{
    Context, Experiment, Findings, Pictures,
    stored::{Set, below, masked, noisy, squared_errors},
};
use crate::error::CommandError;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "hopfield",
    about: "similarities and separations of one-shot memories: capacity and robustness",
    paper: "Millidge, Salvatori, Song, Lukasiewicz and Bogacz 2022, Universal Hopfield Networks: A \
            General Framework for Single-Shot Associative Memory Models",
    takes: "10 minutes",
    baseline: Some("dot, max"),
    // The paper has curves, and no figures.
    published: &[],
    run,
};

/// The largest squared error of a picture that counts as recalled, for MNIST and CIFAR-10.
const CORRECT: f64 = 50.0;

/// Gives a memory its similarity and separation.
type With = fn(Memory) -> Result<Memory, pc_core::Error>;

/// By the names of their rows. What is recalled is a mean, so that weights sum to 1.
const WAYS: [(&str, With); 13] = [
    ("dot, max", |m| Ok(m.similarity(Dot).separation(Max))),
    ("cosine, max", |m| Ok(m.similarity(Cosine).separation(Max))),
    ("Euclidean, max", |m| Ok(m.similarity(Euclidean).separation(Max))),
    ("Manhattan, max", |m| Ok(m.similarity(Manhattan).separation(Max))),
    ("KL, max", |m| Ok(m.similarity(KullbackLeibler).separation(Max))),
    ("reverse KL, max", |m| Ok(m.similarity(ReverseKullbackLeibler).separation(Max))),
    ("Jensen-Shannon, max", |m| Ok(m.similarity(JensenShannon).separation(Max))),
    ("dot, identity", |m| Ok(m.similarity(Dot).separation(Normalised(Identity)))),
    ("dot, polynomial 10", |m| Ok(m.similarity(Dot).separation(Normalised(Polynomial::new(10)?)))),
    ("dot, softmax", |m| Ok(m.similarity(Dot).separation(Softmax::new(1.0)?))),
    ("1/Manhattan, identity", |m| {
        Ok(m.similarity(Reciprocal(Manhattan)).separation(Normalised(Identity)))
    }),
    ("1/Manhattan, polynomial 10", |m| {
        Ok(m.similarity(Reciprocal(Manhattan)).separation(Normalised(Polynomial::new(10)?)))
    }),
    ("Manhattan, softmax", |m| Ok(m.similarity(Manhattan).separation(Softmax::new(1.0)?))),
];

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut all = Findings::new();
    let mut seen = Vec::new();
    for which in [Pictures::Mnist, Pictures::Cifar10] {
        let set = Set::read(context, which)?;
        // Without a folder of data both are the digits.
        if !seen.contains(&set.name) {
            seen.push(set.name);
            all.part(context, set.name, |context| one_set(context, &set))?;
        }
    }
    all.note(
        "A picture counts as recalled if the squared error summed over its pixels is below 50 \
         (below 4.1 for the 8x8 digits, the same error of a pixel of MNIST).",
    );
    all.note(
        "Capacity is asked with the lower half of each picture black; noise is normal and cut off \
         at 0 and 1. Max is what softmax comes to at a large beta.",
    );
    Ok(all)
}

fn one_set(context: &mut Context<'_>, set: &Set) -> Result<Findings, CommandError> {
    let name = set.name;
    let bound = if name == "digits" { CORRECT * 64.0 / 784.0 } else { CORRECT };
    let counts: &[usize] =
        context.by_size(&[10, 25, 50, 100, 200], &[10, 25, 50, 100, 200, 300, 500, 700, 1000]);
    let largest = counts.iter().copied().max().unwrap_or(1);
    let stored = context.by_size(50, 100);
    let noises = [0.1, 0.2, 0.3, 0.5, 0.7, 1.0];
    let shares = [0.1, 0.3, 0.5, 0.7, 0.9];
    let mut found = Findings::new();
    for (row, with) in WAYS {
        context.say(format!("{name}: {row}"));
        let ask = |pictures: &HostTensor<f32>, queries: &HostTensor<f32>| {
            let recalled = with(Memory::new(pictures)?)?.recall(queries)?;
            Ok::<_, CommandError>(below(&squared_errors(&recalled, pictures), bound))
        };
        let mut capacity = Vec::new();
        for count in counts {
            let (pictures, _) = set.drawn(*count)?;
            let part = masked(&pictures, &set.upper(*count, 0.5)?);
            capacity.push((*count as f64, ask(&pictures, &part)?));
        }
        let (pictures, _) = set.drawn(stored)?;
        let mut robust = Vec::new();
        for deviation in noises {
            let queries = noisy(&pictures, deviation, context.seed());
            robust.push((deviation, ask(&pictures, &queries)?));
        }
        let mut partial = Vec::new();
        for share in shares {
            let part = masked(&pictures, &set.upper(stored, share)?);
            partial.push((share, ask(&pictures, &part)?));
        }
        let mean = |points: &[(f64, f64)]| {
            points.iter().map(|(_, percent)| percent).sum::<f64>() / points.len() as f64
        };
        found.cell(
            row,
            format!("{name}: of {largest}, from a half (%)"),
            capacity[capacity.len() - 1].1,
        );
        found.cell(row, format!("{name}: capacity, mean (%)"), mean(&capacity));
        found.cell(row, format!("{name}: noise, mean (%)"), mean(&robust));
        found.cell(row, format!("{name}: masks, mean (%)"), mean(&partial));
        let percent = "recalled (%)";
        found.curve(format!("{name}: capacity, from a half"), row, ("stored", percent), capacity);
        let title = format!("{name}: noise, {stored} stored");
        found.curve(title, row, ("standard deviation", percent), robust);
        let title = format!("{name}: masks, {stored} stored");
        found.curve(title, row, ("known share", percent), partial);
    }
    for column in ["capacity", "noise"] {
        let column = format!("{name}: {column}, mean (%)");
        for better in ["Manhattan, max", "Euclidean, max"] {
            let figures = found.value(better, &column).zip(found.value("dot, max", &column));
            let holds = figures.is_some_and(|(better, dot)| better > dot);
            found.claim(format!("{better} recalls more than dot, max ({column})"), holds);
        }
    }
    Ok(found)
}
