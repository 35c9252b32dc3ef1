//! Incremental PC beside PC and backprop: epochs to one accuracy.

use pc_core::{
    Activation, Clamps, Graph, Reduction, Relaxation, Schedule,
    host::{Adam, CrossEntropy, HostLayers, Init},
};

use super::{
    Context, Experiment, Findings, Pictures,
    labelled::{T, accuracy, epoch},
};
use crate::{data::Images, error::CommandError, statistics::lesser};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "ipc",
    about: "incremental PC beside PC and backprop over depth and rate: epochs to one accuracy",
    paper: "Salvatori, Song, Yordanov, Millidge, Xu, Sha, Emde, Bogacz and Lukasiewicz 2024: A \
            stable, fast, and fully automatic learning algorithm for predictive coding networks",
    takes: "30 minutes",
    baseline: Some(BACKPROP),
    published: &[],
    run,
};

const BACKPROP: &str = "backprop";
/// Every rule with the ways that it infers.
const RULES: [(&str, &[Inference]); 3] = [(BACKPROP, &[]), (PC, WAYS), (IPC, WAYS)];
/// A rate and a momentum of the states.
type Inference = [f64; 2];
const PC: &str = "PC";
const IPC: &str = "iPC";
const WAYS: &[Inference] = &[[0.1, 0.0], [0.5, 0.0], [0.5, 0.5]];
const STEPS: usize = 8;
/// How often an epoch is judged.
const PARTS: usize = 4;

/// The rows of a rule, one for each way.
fn rows(rule: &str, ways: &[Inference]) -> Result<Vec<(String, Schedule)>, CommandError> {
    if ways.is_empty() {
        return Ok(vec![(rule.to_owned(), Schedule::backprop().reduced_by(Reduction::Mean))]);
    }
    let row = |[gamma, momentum]: &Inference| {
        let schedule = match rule {
            IPC => Schedule::ipc(*gamma, STEPS)?,
            _ => Schedule::standard(*gamma, STEPS)?,
        };
        let schedule = schedule.reduced_by(Reduction::Mean);
        let name = format!("{rule}, gamma {gamma}");
        if *momentum == 0.0 {
            return Ok((name, schedule));
        }
        Ok((format!("{name}, momentum {momentum}"), schedule.with_momentum(*momentum)?))
    };
    ways.iter().map(row).collect()
}

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let data = context.pictures(Pictures::Mnist)?;
    let mut findings = Findings::new();
    let wanted = if data.train.features() > 64 { 96.0 } else { 92.0 };
    let depths: &[usize] = context.by_size(&[1, 3], &[2, 4, 6]);
    let rates: &[f64] = context.by_size(&[1e-3, 4e-3], &[1e-4, 3e-4, 1e-3, 3e-3]);
    let most = context.by_size(12, 10);
    let mut fewer = 0;
    let mut curves = RULES.map(|(rule, _)| (rule, Vec::new()));
    for depth in depths {
        let mut least = [f64::INFINITY; RULES.len()];
        for ((rule, ways), least) in RULES.into_iter().zip(&mut least) {
            for (row, schedule) in rows(rule, ways)? {
                findings.part(context, &format!("{row}, {depth} hidden layers"), |context| {
                    let mut found = Findings::new();
                    let mut best = f64::INFINITY;
                    for rate in rates {
                        let set = [&data.train, &data.test];
                        let how = (&schedule, *depth, *rate);
                        let epochs = epochs(context, set, how, wanted, most)?;
                        context.say(format!("{row}, {depth} hidden, rate {rate}: {epochs:.2}"));
                        found.cell(&row, column(*depth, Some(*rate)), epochs);
                        best = best.min(epochs);
                    }
                    found.cell(&row, column(*depth, None), best);
                    Ok(found)
                })?;
                let best = findings.value(&row, &column(*depth, None)).unwrap_or(f64::NAN);
                *least = lesser(*least, best);
            }
        }
        for ((_, points), least) in curves.iter_mut().zip(least) {
            points.push((*depth as f64, least));
        }
        let [backprop, pc, ipc] = least;
        findings.claim(
            format!("{depth} hidden layers: iPC comes to {wanted} % in {most} epochs"),
            ipc < most as f64,
        );
        fewer += usize::from(ipc < backprop);
        let say = |than: &str, other: f64| {
            let word = if ipc < other { "fewer" } else { "not fewer" };
            format!("{word} epochs than {than} ({ipc:.2} and {other:.2})")
        };
        let (one, two) = (say(PC, pc), say(BACKPROP, backprop));
        findings.note(format!("{depth} hidden layers, at the best: iPC takes {one} and {two}."));
    }
    for (rule, points) in curves {
        findings.curve("epochs by depth", rule, ("hidden layers", "epochs"), points);
    }
    findings.note(format!(
        "iPC takes fewer epochs than backprop at {fewer} of {} depths. Its weights move at each of \
         {STEPS} steps of inference, so an epoch has {STEPS} times as many steps of Adam, and \
         costs about as much as one of PC. Layers 64 wide, tanh, cross-entropy, batches of 64; \
         gamma is the rate of inference, and what is best is chosen by these figures. The first \
         time counts that the test set is named so well, asked {PARTS} times an epoch; {most} \
         stands where {wanted} % was not reached in so many epochs.",
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
    (schedule, depth, rate): (&Schedule, usize, f64),
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
    let mut relaxation = Relaxation::new(&graph, schedule.clone())?;
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
