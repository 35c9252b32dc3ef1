//! Hybrid PC: how many steps of inference an amortised guess saves.

use pc_core::{
    Reduction, Schedule, Start,
    host::{Adam, Init},
};
use pc_models::{GenerativeSettings, Host, Hybrid, HybridSettings, Known};

use super::{
    Context, Experiment, Findings, Pictures,
    labelled::{accuracy, epoch, in_order, share},
};
use crate::{data::Images, error::CommandError};

const HYBRID: &str = "from the guess";
const ZERO: &str = "from zero";
const GUESS: &str = "the guess alone";
const STEPS: &str = "steps to the same energy";
const START: &str = "energy at the start";
const RIGHT: &str = "acc. %";

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "hybrid",
    about: "an amortised network guesses the states and predictive coding refines them",
    paper: "Tschantz, Millidge, Seth and Buckley 2023: Hybrid predictive coding: inferring, fast \
            and slow",
    takes: "20 minutes",
    baseline: Some(ZERO),
    published: &[],
    run,
};

struct Size {
    hidden: Vec<usize>,
    count: usize,
    epochs: usize,
    batch: usize,
    /// Steps of inference, in learning and in asking.
    steps: (usize, usize),
    /// How many pictures of the test set are asked about.
    asked: usize,
}

impl Size {
    fn of(context: &Context<'_>, images: &Images) -> Self {
        let large = images.features() > 64;
        let hidden = if context.full() { vec![500, 500] } else { vec![64, 64] };
        let [count, epochs, batch, asked] = match (context.full(), large) {
            (true, _) => [20_000, 4, 100, 1_000],
            (_, true) => [3_000, 3, 100, 500],
            _ => [2_000, 6, 50, 300],
        };
        let steps = context.by_size((20, 300), (100, 500));
        Self { hidden, count, epochs, batch, steps, asked }
    }
}

/// The rate of inference. The paper's is 0.01 for an energy of whole squares; ours has halves.
const RATE: f64 = 0.02;

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let data = context.pictures(Pictures::Mnist)?;
    let mut findings = Findings::new();
    findings.part(context, "hybrid PC", |context| {
        let size = Size::of(context, &data.train);
        hybrid(context, &size, &data.train, &data.test)
    })?;
    if context.full() {
        findings.note(
            "Adam's rate is 1e-3 (the paper's is 1e-4), labels are 1 (.94), on 20,000 pictures.",
        );
    }
    let at = |row| findings.value(row, STEPS).unwrap_or(f64::NAN);
    let fewer = at(HYBRID) < at(ZERO);
    findings.claim("inference from the guess takes fewer steps than from zero", fewer);
    Ok(findings)
}

fn hybrid(
    context: &mut Context<'_>,
    size: &Size,
    train: &Images,
    test: &Images,
) -> Result<Findings, CommandError> {
    let (mut findings, seed) = (Findings::new(), context.seed());
    let mut widths = vec![train.features()];
    widths.extend(&size.hidden);
    widths.push(train.classes);
    let settings = HybridSettings {
        generative: GenerativeSettings {
            learning: Schedule::standard(RATE, size.steps.0)?.reduced_by(Reduction::Mean),
            asking: Schedule::standard(RATE, size.steps.1)?,
            ..GenerativeSettings::new(&widths)?
        },
        ..HybridSettings::new(&widths)?
    };
    let mut net = Hybrid::new(&Host::<f32>::new(), &settings, &mut Init::new(seed))?;
    let (mut slow, mut fast) = (Adam::new(1e-3)?, Adam::new(1e-3)?);
    let mut curves = [const { Vec::new() }; 3];
    for k in 0..=size.epochs {
        if k > 0 {
            for batch in epoch(train, size.count, size.batch, (seed, k))? {
                let batch = batch?;
                net.train(
                    &Known::picture(batch.pictures).and_label(batch.labels),
                    |graph, by| slow.step(graph.parameters_mut(), by),
                    |graph, by| fast.step(graph.parameters_mut(), by),
                )?;
            }
        }
        let last = k == size.epochs;
        let paths = Paths::of(&mut net, size, test)?;
        let reached = paths.reached();
        curves[0].push((k as f64, reached[0] as f64));
        curves[1].push((k as f64, reached[1] as f64));
        let guessed = accuracy(test, size.asked, |x| Ok(net.guess(x)?.classes()))?;
        curves[2].push((k as f64, guessed));
        context.say(format!("epoch {k} of {}: steps {reached:?}", size.epochs));
        if last {
            let rows = [HYBRID, ZERO].into_iter().zip(reached).zip(paths.energies);
            for ((row, reached), path) in rows {
                findings.cell(row, STEPS, reached as f64);
                findings.cell(row, START, path.first().copied().unwrap_or(f64::NAN));
                let points = path.iter().enumerate().map(|(step, e)| (step as f64, *e)).collect();
                findings.curve("energy of a picture", row, ("steps", "energy"), points);
            }
            findings.cell(HYBRID, RIGHT, paths.right[0]);
            findings.cell(ZERO, RIGHT, paths.right[1]);
            findings.cell(GUESS, RIGHT, guessed);
        }
    }
    let [guessed, zero, right] = curves;
    let title = "steps to the energy that inference from zero comes to";
    findings.curve(title, HYBRID, ("epochs", "steps"), guessed);
    findings.curve(title, ZERO, ("epochs", "steps"), zero);
    findings.curve("accuracy of the guess, %", GUESS, ("epochs", "%"), right);
    findings.note(format!(
        "Pictures of the test set are held and all else is inferred. The energy to reach is 1% \
         above the higher of those that {} steps come to from the guess and from zero.",
        size.steps.1
    ));
    Ok(findings)
}

/// Inference on pictures of the test set, from the guess and from zero.
struct Paths {
    /// By step, for one picture.
    energies: [Vec<f64>; 2],
    /// Accuracies at the end.
    right: [f64; 2],
}

impl Paths {
    fn of(net: &mut Hybrid<Host<f32>>, size: &Size, test: &Images) -> Result<Self, CommandError> {
        let mut paths = Self { energies: [Vec::new(), Vec::new()], right: [0.0; 2] };
        let (mut found, mut wanted) = ([Vec::new(), Vec::new()], Vec::new());
        for batch in in_order(test, size.asked)? {
            let batch = batch?;
            let known = Known::picture(batch.pictures);
            let traced = Schedule::standard(RATE, size.steps.1)?.traced();
            for (k, start) in [Start::Forward, Start::Zero].into_iter().enumerate() {
                net.generative_mut().ask_by(traced.clone().starting(start))?;
                let answer = match start {
                    Start::Zero => net.generative_mut().ask(&known)?,
                    _ => net.ask(&known)?,
                };
                found[k].extend(answer.classes());
                let own = &mut paths.energies[k];
                own.resize(answer.outcome.trace.len(), 0.0);
                own.iter_mut().zip(&answer.outcome.trace).for_each(|(sum, e)| *sum += e);
            }
            wanted.extend(batch.classes);
        }
        for (own, right) in found.iter().zip(&mut paths.right) {
            *right = share(own, &wanted);
        }
        let mean = 1.0 / wanted.len().max(1) as f64;
        paths.energies.iter_mut().flatten().for_each(|e| *e *= mean);
        Ok(paths)
    }

    /// The steps that each takes to the energy that both come to.
    fn reached(&self) -> [usize; 2] {
        let least = |path: &Vec<f64>| path.iter().copied().fold(f64::INFINITY, f64::min);
        let goal = 1.01 * self.energies.iter().map(least).fold(f64::NEG_INFINITY, f64::max);
        [&self.energies[0], &self.energies[1]]
            .map(|path| path.iter().position(|e| *e <= goal).unwrap_or(path.len()))
    }
}
