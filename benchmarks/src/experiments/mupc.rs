//! Very deep nets that predictive coding trains.

use pc_core::{
    Activation, Clamps, Graph, Reduction, Relaxation, Schedule, Status, VertexId,
    host::{Adam, HostLayers, Init, MuPc, Parameterisation},
};

use super::{
    Context, Experiment, Findings, Goal, Pictures, Published,
    labelled::{Labelled, T, accuracy, epoch},
};
use crate::{data::Images, error::CommandError};

const DEEP: &str = "muPC, 30 layers of 128";
const JPC: &str = "printed by the notebook of jpc; 85, 92 and 93 % are wanted";

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "mupc",
    about: "residual nets of many layers in the muPC scaling, and rates that carry over",
    paper: "Innocenti, Achour and Buckley 2025: muPC: scaling predictive coding to 100+ layer \
            networks",
    takes: "40 minutes",
    baseline: None,
    published: &[
        Published {
            row: DEEP,
            column: "acc. %, 100 batches",
            figure: 85.83,
            goal: Goal::AtLeast(85.0),
            source: JPC,
        },
        Published {
            row: DEEP,
            column: "acc. %, 500 batches",
            figure: 91.84,
            goal: Goal::AtLeast(92.0),
            source: JPC,
        },
        Published {
            row: DEEP,
            column: "acc. %, 900 batches",
            figure: 93.26,
            goal: Goal::AtLeast(93.0),
            source: JPC,
        },
    ],
    run,
};

const WAYS: [(&str, Parameterisation); 2] =
    [("muPC", Parameterisation::MuPc), ("standard", Parameterisation::Standard)];

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let data = context.pictures(Pictures::Mnist)?;
    let mut findings = Findings::new();
    let quick = context.by_size(true, false);
    if !quick {
        findings.part(context, DEEP, |context| {
            let net = Deep { width: 128, layers: 30, by: Parameterisation::MuPc, rate: 0.1 };
            learned(context, DEEP, &net, [&data.train, &data.test], &[100, 500, 900])
        })?;
    }
    // Rates that are the best for one width and depth, beside those for others.
    let rates: &[f64] = &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0];
    let sizes: &[(usize, usize)] =
        context.by_size(&[(16, 4), (64, 4), (16, 16)], &[(32, 8), (128, 8), (32, 32)]);
    let batches = context.by_size(60, 150);
    for (name, by) in WAYS {
        for (width, layers) in sizes {
            let row = format!("{name}, {layers} layers of {width}");
            findings.part(context, &row, |context| {
                let net = Deep { width: *width, layers: *layers, by, rate: 0.0 };
                transfer(context, &row, net, [&data.train, &data.test], rates, batches)
            })?;
        }
    }
    let best = |name: &str| -> Vec<f64> {
        let row = |(width, layers): &(usize, usize)| format!("{name}, {layers} layers of {width}");
        let of = |size| findings.value(&row(size), BEST).unwrap_or(f64::NAN);
        sizes.iter().map(of).collect()
    };
    let spread = |rates: &[f64]| {
        let most = rates.iter().fold(f64::NEG_INFINITY, |m, x| m.max(*x));
        most / rates.iter().fold(f64::INFINITY, |m, x| m.min(*x))
    };
    let (mupc, standard) = (spread(&best("muPC")), spread(&best("standard")));
    findings.claim(
        "the best rate of muPC is the same, or the next of the grid, over width and depth",
        mupc <= 4.0,
    );
    findings.note(format!(
        "The best rates lie within a factor of {mupc:.1} by muPC and {standard:.1} by standard \
         weights. They are chosen on the test set, so they say which rate is the best and not how \
         well it would do elsewhere."
    ));
    let (width, layers, batches) = context.by_size((32, 32, 130), (128, 128, 938));
    for (name, by) in WAYS {
        let row = format!("{name}, {layers} layers of {width}, deep");
        findings.part(context, &row, |context| {
            deep(context, &row, (width, layers, by), [&data.train, &data.test], batches)
        })?;
    }
    let reached = |name: &str| {
        let row = format!("{name}, {layers} layers of {width}, deep");
        findings.value(&row, "acc. %").unwrap_or(f64::NAN)
    };
    let (ours, theirs) = (reached("muPC"), reached("standard"));
    findings.claim(format!("{layers} layers train by muPC, to 80 % or more"), ours >= 80.0);
    findings.claim(format!("{layers} layers of standard weights stay below 50 %"), theirs < 50.0);
    findings.note(
        "Adam; one step of inference a layer, of rate 0.5 over the batch of 64. Standard weights \
         are given the best of the rates 0.1, 0.01 and 0.001.",
    );
    Ok(findings)
}

const BEST: &str = "best rate";
const BATCH: usize = 64;

#[derive(Clone, Copy)]
struct Deep {
    width: usize,
    layers: usize,
    by: Parameterisation,
    rate: f64,
}

struct Built {
    graph: Graph<T>,
    ends: (VertexId, VertexId),
    rule: Relaxation<Graph<T>>,
    adam: Adam<f32>,
}

impl Deep {
    fn built(&self, inputs: usize, classes: usize, seed: u64) -> Result<Built, CommandError> {
        let Self { width, layers, by, rate } = *self;
        let mupc =
            MuPc::new(inputs, width, layers, Activation::Relu).with_skips().parameterised(by);
        let (mut b, mut init) = (Graph::<T>::builder(), Init::new(seed));
        let x = b.input("x", &[inputs])?;
        let mut h = b.layer("h1", &[x], &mupc.first(), &mut init)?;
        for l in 2..layers {
            h = b.layer(&format!("h{l}"), &[h], &mupc.hidden(), &mut init)?;
        }
        let y = b.layer("y", &[h], &mupc.last(classes), &mut init)?;
        let graph = b.build()?;
        // The paper's energy is the mean over the batch, and ours the sum: its rate of 0.5 for
        // states is 0.5 / 64 here, and the weights' gradients are the mean, since Adam's epsilon
        // sees their size.
        let rule = Schedule::standard(0.5 / BATCH as f64, layers)?.reduced_by(Reduction::Mean);
        let rule = Relaxation::new(&graph, rule)?;
        Ok(Built { graph, ends: (x, y), rule, adam: Adam::new(rate)? })
    }
}

/// Pictures of mean 0 and variance 1, over all of MNIST and about so for the digits.
fn normalised(mut pictures: T) -> T {
    let large = pictures.dims().last().is_some_and(|numbers| *numbers > 64);
    let (mean, deviation) = if large { (0.1307, 0.3081) } else { (0.3053, 0.3760) };
    pictures.data_mut().iter_mut().for_each(|x| *x = (*x - mean) / deviation);
    pictures
}

impl Built {
    /// Whether it has learned from the batch.
    fn learn(&mut self, batch: Labelled) -> Result<bool, CommandError> {
        let clamps = Clamps::new().hold(self.ends.0, normalised(batch.pictures));
        let clamps = clamps.hold(self.ends.1, batch.labels);
        let Self { graph, rule, adam, .. } = self;
        let outcome = rule.train(graph, &clamps, |graph, g| adam.step(graph.parameters_mut(), g));
        Ok(outcome.is_ok_and(|outcome| outcome.status != Status::Diverged))
    }

    /// The accuracy, which is 0 where an output is not finite.
    fn judge(&mut self, test: &Images) -> Result<f64, CommandError> {
        accuracy(test, test.len(), |pictures| {
            let pictures = normalised(pictures.clone());
            let count = pictures.dims().first().copied().unwrap_or(0);
            Ok(match self.graph.predict(&[(self.ends.0, &pictures)], self.ends.1) {
                Ok(scores) => pc_models::classes(&scores),
                Err(_) => vec![usize::MAX; count],
            })
        })
    }
}

/// Learns, and is judged after each of these numbers of batches.
fn trained(
    context: &Context<'_>,
    net: &Deep,
    [train, test]: [&Images; 2],
    after: &[usize],
) -> Result<Vec<f64>, CommandError> {
    let seed = context.seed();
    let mut built = net.built(train.features(), train.classes, seed)?;
    let (mut done, mut round, mut found) = (0, 0, Vec::new());
    let last = after.last().copied().unwrap_or(0);
    'all: loop {
        for batch in epoch(train, train.len(), BATCH, (seed, round))? {
            // A net that has diverged once does not come back.
            let learns = built.learn(batch?)?;
            done += 1;
            if after.contains(&done) || !learns {
                let right = built.judge(test)?;
                context.say(format!("{done} batches: {right:.2} %"));
                found.push(right);
            }
            if done >= last || !learns {
                break 'all;
            }
        }
        round += 1;
    }
    Ok(found)
}

fn learned(
    context: &mut Context<'_>,
    row: &str,
    net: &Deep,
    data: [&Images; 2],
    after: &[usize],
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let found = trained(context, net, data, after)?;
    for (batches, right) in after.iter().zip(&found) {
        findings.cell(row, format!("acc. %, {batches} batches"), *right);
    }
    let points = after.iter().map(|batches| *batches as f64).zip(found).collect();
    findings.curve("test accuracy", row, ("batches", "%"), points);
    Ok(findings)
}

fn transfer(
    context: &mut Context<'_>,
    row: &str,
    net: Deep,
    data: [&Images; 2],
    rates: &[f64],
    batches: usize,
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let mut curve = Vec::new();
    for rate in rates {
        let net = Deep { rate: *rate, ..net };
        let right = trained(context, &net, data, &[batches])?.last().copied().unwrap_or(0.0);
        findings.cell(row, format!("acc. %, rate {rate}"), right);
        curve.push((*rate, right));
    }
    let best = curve.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    findings.cell(row, BEST, best.map_or(f64::NAN, |(rate, _)| rate));
    findings.curve("accuracy by rate", row, ("rate", "%"), curve);
    Ok(findings)
}

fn deep(
    context: &mut Context<'_>,
    row: &str,
    (width, layers, by): (usize, usize, Parameterisation),
    data: [&Images; 2],
    batches: usize,
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let rates: &[f64] = if by == Parameterisation::MuPc { &[0.1] } else { &[0.1, 0.01, 0.001] };
    let mut best = (f64::NAN, f64::NEG_INFINITY);
    for rate in rates {
        let net = Deep { width, layers, by, rate: *rate };
        let right = trained(context, &net, data, &[batches])?.last().copied().unwrap_or(0.0);
        if right > best.1 {
            best = (*rate, right);
        }
    }
    findings.cell(row, "acc. %", best.1);
    findings.cell(row, BEST, best.0);
    Ok(findings)
}
