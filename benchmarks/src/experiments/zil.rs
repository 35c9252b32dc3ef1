//! Z-IL beside backprop, on graphs of every kind, levelled and not.

use std::time::Instant;

use pc_core::{
    Clamps, Graph, Relaxation, Schedule, Tensor,
    host::{CrossEntropy, Dense, HostLayers, HostTensor, Init},
};

use super::{
    Context, Experiment, Findings, Goal, Published,
    nets::{T64, largest, normal, settled},
};
use crate::{
    contract::speed::Median,
    error::CommandError,
    models::{InputShape, Model, ModelKind, Size, build},
    statistics::greater,
};

const LEVELLED: &str = "levelled, largest difference";
const UNLEVELLED: &str = "not levelled, largest difference";
const TIME: &str = "time, times backprop";
const ELSEWHERE: &str = "quoted by others from the paper, of larger nets";

macro_rules! times {
    ($($row:literal: $figure:literal;)+) => {
        &[$(Published {
            row: $row,
            column: TIME,
            figure: $figure,
            goal: Goal::AtMost(1.1),
            source: ELSEWHERE,
        },)+]
    };
}

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "zil",
    about: "Z-IL's gradients beside backprop's, on graphs that are levelled and not, and its time",
    paper: "Song, Lukasiewicz, Xu and Bogacz 2020: Can the brain do backpropagation?; Salvatori, \
            Song, Xu, Lukasiewicz and Bogacz 2022: Reverse differentiation via predictive coding",
    takes: "1 minute",
    baseline: None,
    published: times! {
        "mlp": 1.024;
        "cnn": 1.029;
        "rnn": 1.005;
        "residual": 1.008;
        "attention": 1.005;
    },
    run,
};

const CLASSES: usize = 5;

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    for kind in ModelKind::ALL {
        let name = kind.to_string();
        findings.part(context, &name, |context| {
            let small = model(kind, context.seed(), Size::Small)?;
            let mut found = diverges(&name, &small)?;
            let size = context.by_size(Size::Small, Size::Standard);
            let ratio = time(model(kind, context.seed(), size)?, context.by_size(20, 200))?;
            found.cell(&name, TIME, ratio);
            if context.full() {
                found.claim(format!("{name}: Z-IL takes at most 1.1 times backprop"), ratio <= 1.1);
            }
            Ok(found)
        })?;
    }
    let graphs = context.by_size(10, 100);
    findings.part(context, "random graphs", |context| {
        let mut found = Findings::new();
        let (mut levelled, mut unlevelled) = (0.0_f64, 0.0_f64);
        for k in 0..graphs {
            let drawn = random(1_000 * context.seed() + k)?;
            let (with, without) = (drawn.apart(true)?, drawn.apart(false)?);
            levelled = greater(levelled, with);
            unlevelled = unlevelled.max(without);
        }
        found.cell("random graphs with skips", LEVELLED, levelled);
        found.cell("random graphs with skips", UNLEVELLED, unlevelled);
        claim(&mut found, "random graphs with skips", levelled);
        found.claim("graphs with skips that are not levelled differ", unlevelled > 1e-3);
        let points = vec![(0.0, unlevelled), (1.0, levelled)];
        let axes = ("0 without levels, 1 with", "largest difference");
        found.curve("Z-IL on random graphs", "difference", axes, points);
        Ok(found)
    })?;
    findings.note(
        "Differences of all weight gradients, over the largest of backprop's, in f64; pictures of \
         normal numbers. Where a model has levels as it is, both columns are the same. A skip that \
         is not levelled gives wrong gradients. Medians of steps taken in turns, energies \
         measured.",
    );
    Ok(findings)
}

/// A graph with its data, built anew for each use.
struct Task {
    build: Box<dyn Fn() -> Result<Graph<T64>, CommandError>>,
    clamps: Clamps<T64>,
}

impl Task {
    /// The largest difference to backprop.
    fn apart(&self, levelled: bool) -> Result<f64, CommandError> {
        let mut graph = (self.build)()?;
        let exact = settled(&mut graph, Schedule::backprop(), &self.clamps)?.1;
        let exact = by_parameter(&exact);
        let (mut graph, rule) = if levelled {
            (graph.levelled()?, Schedule::zil())
        } else {
            (graph, Schedule::zil().even_unlevelled())
        };
        let mut relaxation = Relaxation::new(&graph, rule)?;
        relaxation.run(&mut graph, &self.clamps)?;
        let found = by_parameter(&relaxation);
        let size = exact.iter().flatten().fold(0.0_f64, |m, x| m.max(x.abs()));
        let zeros = |other: &[f64]| vec![0.0; other.len()];
        let apart = found.iter().zip(&exact).map(|(ours, theirs)| {
            let ours = if ours.is_empty() { zeros(theirs) } else { ours.clone() };
            largest(&ours, theirs)
        });
        Ok(apart.fold(0.0, greater) / size)
    }
}

fn by_parameter(relaxation: &Relaxation<Graph<T64>>) -> Vec<Vec<f64>> {
    let all = relaxation.gradients().iter();
    all.map(|(_, gradient)| gradient.map(Tensor::to_vec).unwrap_or_default()).collect()
}

fn claim(findings: &mut Findings, name: &str, apart: f64) {
    let what = format!("{name}: levelled, Z-IL gives backprop's gradients within 1e-12");
    findings.claim(what, apart <= 1e-12);
}

fn model(kind: ModelKind, seed: u64, size: Size) -> Result<Model<f64>, CommandError> {
    let side = if size == Size::Small { 8 } else { 16 };
    Ok(build::<f64>(kind, &InputShape::Image([1, side, side]), CLASSES, seed, size)?)
}

/// Normal numbers for all inputs, nothing for what starts at zero, and a label for each sample.
fn clamps(model: &Model<f64>, batch: usize) -> Result<Clamps<T64>, CommandError> {
    let mut clamps = Clamps::new();
    for (k, input) in model.inputs.iter().enumerate() {
        let shape = [&[batch], model.graph.shape(*input)?].concat();
        clamps = clamps.hold(*input, normal(&shape, k as u64)?);
    }
    for zero in &model.zeros {
        let shape = [&[batch], model.graph.shape(*zero)?].concat();
        clamps = clamps.hold(*zero, T64::zeroed(&shape)?);
    }
    for output in &model.outputs {
        let labels: Vec<usize> = (0..batch).map(|k| k % CLASSES).collect();
        clamps = clamps.drive(*output, CrossEntropy::labels(&labels, CLASSES)?);
    }
    Ok(clamps)
}

fn diverges(name: &str, model: &Model<f64>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let (kind, shape) = (model.kind, model.shape);
    let seeded = move || Ok(build::<f64>(kind, &shape, CLASSES, 0, Size::Small)?.graph);
    let task = Task { build: Box::new(seeded), clamps: clamps(model, 3)? };
    let (levelled, unlevelled) = (task.apart(true)?, task.apart(false)?);
    findings.cell(name, LEVELLED, levelled);
    findings.cell(name, UNLEVELLED, unlevelled);
    claim(&mut findings, name, levelled);
    if model.graph.topology().unlevelled_edge().is_some() {
        let what = format!("{name}: not levelled, it does not");
        findings.claim(what, !(unlevelled <= 1e-6));
    }
    Ok(findings)
}

/// The median time of a step of Z-IL over that of backprop, in turns.
fn time(model: Model<f64>, steps: usize) -> Result<f64, CommandError> {
    let clamps = clamps(&model, 32)?;
    let mut plain = model.graph;
    let mut exact = Relaxation::new(&plain, Schedule::backprop())?;
    exact.run(&mut plain, &clamps)?;
    let kind = (model.kind, model.shape);
    let size = if kind.1.features() == 64 { Size::Small } else { Size::Standard };
    let mut levelled = build::<f64>(kind.0, &kind.1, CLASSES, 0, size)?.graph.levelled()?;
    let mut zil = Relaxation::new(&levelled, Schedule::zil())?;
    zil.run(&mut levelled, &clamps)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..steps {
        let start = Instant::now();
        zil.run(&mut levelled, &clamps)?;
        ours.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        exact.run(&mut plain, &clamps)?;
        theirs.push(start.elapsed().as_secs_f64());
    }
    Ok(Median::of(ours).median / Median::of(theirs).median)
}

/// Eight tanh layers, each from the one before and from one or two that are drawn.
fn random(seed: u64) -> Result<Task, CommandError> {
    const WIDTH: usize = 6;
    let build = move || {
        let (mut b, mut init) = (Graph::<T64>::builder(), Init::new(seed));
        let x = b.input("x", &[WIDTH])?;
        let mut all = vec![x];
        for layer in 1..=8 {
            let mut parents = vec![all[layer - 1]];
            let draws: HostTensor<f64> = init.uniform(&[2], 0.5)?;
            for draw in draws.data() {
                let from = all[((draw + 0.5) * layer as f64) as usize % layer];
                if !parents.contains(&from) {
                    parents.push(from);
                }
            }
            let own = Dense::new(WIDTH).activation(pc_core::Activation::Tanh);
            all.push(b.layer(&format!("h{layer}"), &parents, &own, &mut init)?);
        }
        b.layer("y", &[all[8]], &Dense::new(CLASSES), &mut init)?;
        Ok(b.build()?)
    };
    let graph: Graph<T64> = build()?;
    let (x, y) = (graph.vertex("x")?, graph.vertex("y")?);
    let clamps = Clamps::new().hold(x, normal(&[3, WIDTH], seed)?);
    let clamps = clamps.drive(y, CrossEntropy::labels(&[0, 1, 2], CLASSES)?);
    Ok(Task { build: Box::new(build), clamps })
}
