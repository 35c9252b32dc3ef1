//! Incremental PC beside PC and backprop: epochs to one accuracy.

use pc_core::{
    Activation, Clamps, Graph, Reduction, Relaxation, Schedule,
    host::{Adam, CrossEntropy, HostLayers, Init},
};

use super::{
    Context, Experiment, Findings, Pictures,
    labelled::{T, accuracy, epoch},
};
use crate::{data::Images, error::CommandError};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "ipc",
    about: "incremental PC beside PC and backprop over depth and rate: epochs to one accuracy",
    paper: "Salvatori, Song, Yordanov, Millidge, Xu, Sha, Emde, Bogacz and Lukasiewicz 2024: A \
            stable, fast, and fully automatic learning algorithm for predictive coding networks",
    takes: "hours: 20 minutes and more for each of nine parts; --save keeps them",
    baseline: Some("backprop"),
    published: &[],
    run,
};

const RULES: [&str; 3] = ["backprop", "PC", "iPC"];
const STEPS: usize = 8;
/// How often an epoch is judged.
const PARTS: usize = 4;

fn schedule(rule: &str) -> Result<Schedule, CommandError> {
    let own = match rule {
        "PC" => Schedule::standard(0.1, STEPS)?,
        "iPC" => Schedule::ipc(0.1, STEPS)?,
        _ => Schedule::backprop(),
    };
    Ok(own.reduced_by(Reduction::Mean))
}

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let data = context.pictures(Pictures::Mnist)?;
    let mut findings = Findings::new();
    let wanted = if data.train.features() > 64 { 96.0 } else { 92.0 };
    let depths: &[usize] = context.by_size(&[1, 3], &[2, 4, 6]);
    let rates: &[f64] = context.by_size(&[1e-3, 4e-3], &[1e-4, 3e-4, 1e-3, 3e-3]);
    let most = context.by_size(12, 10);
    let mut fewer = 0;
    for depth in depths {
        for rule in RULES {
            findings.part(context, &format!("{rule}, {depth} hidden layers"), |context| {
                let mut found = Findings::new();
                let mut best = f64::INFINITY;
                for rate in rates {
                    let set = [&data.train, &data.test];
                    let epochs = epochs(context, set, (rule, *depth, *rate), wanted, most)?;
                    found.cell(rule, column(*depth, Some(*rate)), epochs);
                    best = best.min(epochs);
                }
                found.cell(rule, column(*depth, None), best);
                Ok(found)
            })?;
        }
        let at = |rule: &str| findings.value(rule, &column(*depth, None)).unwrap_or(f64::NAN);
        let (backprop, pc, ipc) = (at("backprop"), at("PC"), at("iPC"));
        findings.claim(
            format!("{depth} hidden layers: iPC comes to {wanted} % in {most} epochs"),
            ipc < most as f64,
        );
        fewer += usize::from(ipc < backprop);
        let say = |than: &str, other: f64| {
            let word = if ipc < other { "fewer" } else { "not fewer" };
            format!("{word} epochs than {than} ({ipc:.2} and {other:.2})")
        };
        let (one, two) = (say("PC", pc), say("backprop", backprop));
        findings.note(format!("{depth} hidden layers, best rates: iPC takes {one} and {two}."));
    }
    for rule in RULES {
        let points = depths.iter().map(|depth| {
            let best = findings.value(rule, &column(*depth, None)).unwrap_or(f64::NAN);
            (*depth as f64, best)
        });
        let points: Vec<_> = points.collect();
        findings.curve("epochs by depth", rule, ("hidden layers", "epochs"), points);
    }
    findings.note(format!(
        "iPC takes fewer epochs than backprop at {fewer} of {} depths. Its weights move at each of \
         {STEPS} steps of inference, so an epoch has {STEPS} times as many steps of Adam, and \
         costs \
         about as much as one of PC. Layers 64 wide, tanh, cross-entropy, batches of 64, rate of \
         inference 0.1. The first time counts that the test set is named so well, asked {PARTS} \
         times an epoch; \
         {most} stands where {wanted} % was not reached in so many epochs.",
        depths.len()
    ));
    Ok(findings)
}

fn column(depth: usize, rate: Option<f64>) -> String {
    let of = rate.map_or_else(|| "best rate".to_owned(), |rate| format!("rate {rate}"));
    format!("epochs, {depth} hidden, {of}")
}

/// Epochs until the accuracy is there, in parts of an epoch; `most` where it never is.
fn epochs(
    context: &Context<'_>,
    [train, test]: [&Images; 2],
    (rule, depth, rate): (&str, usize, f64),
    wanted: f64,
    most: usize,
) -> Result<f64, CommandError> {
    let (mut b, mut init) = (Graph::<T>::builder(), Init::new(context.seed()));
    let x = b.input("x", &[train.features()])?;
    let mut below = x;
    for k in 1..=depth {
        below = b.dense(&format!("h{k}"), below, 64, Activation::Tanh, &mut init)?;
    }
    let y = b.dense("y", below, train.classes, Activation::Identity, &mut init)?;
    let mut graph = b.build()?;
    let mut relaxation = Relaxation::new(&graph, schedule(rule)?)?;
    let mut adam = Adam::new(rate)?;
    let batches = train.len() / 64;
    let each = (batches / PARTS).max(1);
    for round in 0..most {
        for (k, batch) in epoch(train, train.len(), 64, (context.seed(), round))?.enumerate() {
            let batch = batch?;
            let loss = CrossEntropy::labels(&batch.classes, train.classes)?;
            let clamps = Clamps::new().hold(x, batch.pictures).drive(y, loss);
            relaxation
                .train(&mut graph, &clamps, |graph, g| adam.step(graph.parameters_mut(), g))?;
            if (k + 1) % each == 0 {
                let right = accuracy(test, test.len().min(2_000), |pictures| {
                    Ok(pc_models::classes(&graph.predict(&[(x, pictures)], y)?))
                })?;
                if right >= wanted {
                    return Ok(round as f64 + (k + 1) as f64 / batches as f64);
                }
            }
        }
    }
    Ok(most as f64)
}
