//! Predictive coding along any computation graph, by the fixed-prediction assumption.

use pc_core::{
    Activation, Clamps, Graph, Map, Reduction, Relaxation, Schedule, SquaredError, SumOf, Tensor,
    host::{Adam, ConvLayer, CrossEntropy, HostLayers, HostTensor, HostVertex, Init},
};

use super::{
    Context, Experiment, Findings, Goal, Pictures, Published,
    labelled::{T, accuracy, epoch},
    nets::T64,
};
use crate::{
    data::{Images, Split},
    error::CommandError,
    statistics::lesser,
};

const GRAPH: &str = "toy graph";
const OURS: &str = "computed by us in numpy";

macro_rules! steps {
    ($($rate:literal: $steps:literal;)+) => {
        &[
            Published {
                row: GRAPH,
                column: "dL/dy0, T = 3",
                figure: -31.8273,
                goal: Goal::Shown,
                source: OURS,
            },
            Published {
                row: GRAPH,
                column: "dL/dy0, T = 1",
                figure: -11.3705,
                goal: Goal::Shown,
                source: OURS,
            },
            $(Published {
                row: GRAPH,
                column: concat!("steps at gamma ", $rate),
                figure: $steps as f64,
                goal: Goal::AtMost($steps as f64),
                source: OURS,
            },)+
        ]
    };
}

const STEPS: [(f64, usize); 6] =
    [(0.02, 352), (0.05, 139), (0.1, 68), (0.2, 32), (0.5, 11), (1.0, 2)];

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "any-graph",
    about: "backprop by predictive coding on a graph of functions, and on a CNN beside backprop",
    paper: "Millidge, Tschantz and Buckley 2020: Predictive coding approximates backprop along \
            arbitrary computation graphs",
    takes: "5 minutes, and as much again where the folder of data has SVHN",
    baseline: None,
    published: steps! {
        "0.02": 352;
        "0.05": 139;
        "0.1": 68;
        "0.2": 32;
        "0.5": 11;
        "1": 2;
    },
    run,
};

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    findings.part(context, "the toy graph", |_| toy())?;
    let data = context.pictures(Pictures::Cifar10)?;
    findings.part(context, CNN, |context| cnn(context, CNN, &data))?;
    if context.has_svhn() {
        let data = context.pictures(Pictures::Svhn)?;
        findings.part(context, SVHN, |context| cnn(context, SVHN, &data))?;
    }
    findings.note(
        "Steps to 0.1 % relative error of dL/dy0. The paper's name RNN and its character LSTM are \
         names-rnn and char-lstm; SVHN is run where the folder of data has it. Weights move by \
         Adam at 1e-3; configs/millidge-cnn-* have the authors' setting, with their quirks.",
    );
    Ok(findings)
}

/// `y1 = 2 y0, y2 = sqrt y1, y3 = y0^2, y4 = tan y2 + sin y3` at `y0 = 5`, `L = 1/2 (T - y4)^2`.
fn toy() -> Result<Findings, CommandError> {
    let mut b = Graph::<T64>::builder();
    let map = |name: &str, f: fn(f64) -> f64, slope: fn(f64) -> f64| Map::new(name, f, slope);
    let y0 = b.input("y0", &[1])?;
    let y1 = b.vertex("y1", Box::new(map("double", |x| 2.0 * x, |_| 2.0)), &[y0], &[])?;
    let root = map("root", f64::sqrt, |x| 0.5 / x.sqrt());
    let y2 = b.vertex("y2", Box::new(root), &[y1], &[])?;
    let y3 = b.vertex("y3", Box::new(map("square", |x| x * x, |x| 2.0 * x)), &[y0], &[])?;
    let both: Vec<HostVertex<f64>> = vec![
        Box::new(map("tan", f64::tan, |x| 1.0 / x.cos().powi(2))),
        Box::new(map("sin", f64::sin, f64::cos)),
    ];
    let y4 = b.vertex("y4", Box::new(SumOf::new(both)), &[y2, y3], &[])?;
    let mut graph = b.build()?;
    // The derivative by hand, by the chain rule.
    let exact = |target: f64| {
        let (y2, y3) = (10.0_f64.sqrt(), 25.0_f64);
        let error = target - (y2.tan() + y3.sin());
        -error * (1.0 / y2.cos().powi(2) / y2 + y3.cos() * 10.0)
    };
    let one = |x: f64| HostTensor::new(&[1, 1], vec![x]);
    let mut found = |schedule: Schedule, target: f64| -> Result<f64, CommandError> {
        let mut relaxation = Relaxation::new(&graph, schedule)?;
        relaxation.ask_forces(&graph, &[y0])?;
        let clamps = Clamps::new().hold(y0, one(5.0)?).drive(y4, SquaredError::new(one(target)?));
        relaxation.run(&mut graph, &clamps)?;
        let force = relaxation.force(y0).map(Tensor::to_vec).unwrap_or_default();
        Ok(-force.first().copied().unwrap_or(f64::NAN))
    };
    let mut findings = Findings::new();
    for (target, published) in [(3.0, -31.8273), (1.0, -11.3705)] {
        let value = found(Schedule::fixed_prediction(1.0, 3)?, target)?;
        findings.cell(GRAPH, format!("dL/dy0, T = {target}"), value);
        let same = (value - exact(target)).abs() <= 1e-12 * value.abs();
        findings.claim(format!("T = {target}: dL/dy0 is that by hand within 1e-12"), same);
        let near = (value - published).abs() <= 5e-5;
        findings.claim(format!("T = {target}: dL/dy0 is {published}"), near);
    }
    let (mut all, mut curve) = (true, Vec::new());
    for (rate, published) in STEPS {
        let close = |value: f64, target: f64| (value / exact(target) - 1.0).abs() <= 1e-3;
        let mut steps = [0; 2];
        for (steps, target) in steps.iter_mut().zip([3.0, 1.0]) {
            *steps = 1;
            while !close(found(Schedule::fixed_prediction(rate, *steps)?, target)?, target) {
                *steps += 1;
                if *steps > 1_000 {
                    return Err(CommandError::Beyond(format!("rate {rate}: no steps suffice")));
                }
            }
        }
        findings.cell(GRAPH, format!("steps at gamma {rate}"), steps[0] as f64);
        all &= steps == [published; 2];
        curve.push((rate, steps[0] as f64));
    }
    findings.claim("steps to 0.1 % are 352, 139, 68, 32, 11 and 2, for both targets", all);
    findings.curve("steps to 0.1 %", GRAPH, ("gamma", "steps"), curve);
    Ok(findings)
}

const CNN: &str = "CNN";
const SVHN: &str = "CNN on SVHN";
const WAYS: [&str; 2] = ["backprop", "PC (gamma 0.1, T 100)"];

/// The paper's net (with smaller windows for small pictures), twice from the same weights.
fn cnn(
    context: &mut Context<'_>,
    what: &str,
    Split { train, test }: &Split<Images>,
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let large = train.features() > 64;
    let count = context.by_size(if large { 2_000 } else { train.len() }, train.len());
    let epochs = context.by_size(if large { 2 } else { 12 }, 10);
    let window = if large { 5 } else { 3 };
    let (wide, narrow) = if large { (200, 150) } else { (32, 24) };
    let mut losses = Vec::new();
    for (way, name) in WAYS.into_iter().enumerate() {
        let name = &format!("{what}, {name}");
        let seed = context.seed();
        let (mut b, mut init) = (Graph::<T>::builder(), Init::new(seed));
        let x = b.input("x", &train.shape)?;
        let first = ConvLayer::new(6, window).activation(Activation::Relu).max_pool(2, 2);
        let h1 = b.conv("conv1", x, &first, &mut init)?;
        let second = ConvLayer::new(16, if large { 5 } else { 2 }).activation(Activation::Relu);
        let h2 = b.conv("conv2", h1, &second.flatten(), &mut init)?;
        let h3 = b.dense("dense1", h2, wide, Activation::Relu, &mut init)?;
        let h4 = b.dense("dense2", h3, narrow, Activation::Relu, &mut init)?;
        let y = b.dense("y", h4, train.classes, Activation::Identity, &mut init)?;
        let mut graph = b.build()?;
        let exact = || Schedule::backprop().reduced_by(Reduction::Mean);
        let pc = Schedule::fixed_prediction(0.1, 100)?.reduced_by(Reduction::Mean);
        let mut rule = Relaxation::new(&graph, if way == 0 { exact() } else { pc })?;
        let mut beside = Relaxation::new(&graph, exact())?;
        let mut adam = Adam::new(1e-3)?;
        let (mut curve, mut least, mut last) = (Vec::new(), Vec::<f64>::new(), f64::NAN);
        for round in 0..epochs {
            let (mut sum, mut seen) = (0.0, 0.0);
            for (k, batch) in epoch(train, count, 64, (seed, round))?.enumerate() {
                let batch = batch?;
                let shape = [&[batch.classes.len()], train.shape.as_slice()].concat();
                let pictures = T::new(&shape, batch.pictures.data().to_vec())?;
                let loss = || CrossEntropy::labels(&batch.classes, train.classes);
                let clamps = Clamps::new().hold(x, pictures).drive(y, loss()?);
                let watched = way == 1 && k % 10 == 0;
                if watched {
                    beside.run(&mut graph, &clamps)?;
                }
                let outcome = rule.train(&mut graph, &clamps, |graph, gradients| {
                    if watched {
                        let all = gradients.agreement(beside.gradients());
                        let cosines: Vec<f64> = all.iter().map(|own| own.cosine).collect();
                        if least.is_empty() {
                            least = cosines;
                        } else {
                            let pairs = least.iter_mut().zip(cosines);
                            pairs.for_each(|(m, x)| *m = lesser(*m, x));
                        }
                    }
                    adam.step(graph.parameters_mut(), gradients)
                })?;
                sum += outcome.energy.loss;
                seen += batch.classes.len() as f64;
            }
            last = sum / seen;
            curve.push(((round + 1) as f64, last));
            context.say(format!("{name}, epoch {}: loss {last:.4}", round + 1));
        }
        let right = accuracy(test, context.by_size(2_000, test.len()), |pictures| {
            let count = pictures.dims().first().copied().unwrap_or(0);
            let shape = [&[count], train.shape.as_slice()].concat();
            let pictures = T::new(&shape, pictures.data().to_vec())?;
            Ok(pc_models::classes(&graph.predict(&[(x, &pictures)], y)?))
        })?;
        findings.cell(name, "final training loss", last);
        findings.cell(name, "test acc. %", right);
        if way == 1 {
            for (parameter, cosine) in graph.named_parameters().map(|(name, _)| name).zip(&least) {
                findings.cell(name, format!("least cosine, {parameter}"), *cosine);
            }
        }
        findings.curve(format!("training loss, {what}"), name, ("epochs", "loss"), curve);
        losses.push(last);
    }
    let [backprop, pc] = losses[..] else { return Ok(findings) };
    let near = (pc / backprop - 1.0).abs() <= 0.02;
    findings.claim(format!("{what}: final losses by PC and backprop are within 2 %"), near);
    Ok(findings)
}
