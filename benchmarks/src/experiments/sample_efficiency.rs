//! How much of what a step of learning does is what was wanted.

use pc_core::{Activation, Schedule, host::Starting};

use super::{
    Context, Experiment, Findings, Goal, Published,
    nets::{Net, equilibrium, largest, normal, residual, steepest},
};
use crate::{error::CommandError, statistics::greater};

const BACKPROP: &str = "backprop";
const PC: &str = "PC";
const RATED: &str = "PC, rates by layer";
const OURS: &str = "computed by us in numpy from the formulas, 200 nets; within 0.02";

macro_rules! figures {
    ($($depth_and_width:literal: $backprop:literal, $pc:literal;)+) => {
        &[$(
            Published {
                row: BACKPROP,
                column: concat!("alignment, ", $depth_and_width),
                figure: $backprop,
                goal: Goal::AtMost($backprop + 0.02),
                source: OURS,
            },
            Published {
                row: PC,
                column: concat!("alignment, ", $depth_and_width),
                figure: $pc,
                goal: Goal::AtLeast($pc - 0.02),
                source: OURS,
            },
        )+]
    };
}

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "sample-efficiency",
    about: "target alignment as a measure of sample efficiency, by depth, width and layer rates",
    paper: "Song, Millidge, Salvatori, Lukasiewicz, Xu and Bogacz 2024 for the measure; the \
            expressions for linear nets are derived here",
    takes: "1 minute",
    baseline: Some(BACKPROP),
    published: figures! {
        "2 layers of 20": 0.913, 0.988;
        "5 layers of 20": 0.770, 0.924;
        "15 layers of 20": 0.644, 0.757;
        "15 layers of 64": 0.659, 0.799;
        "15 layers of 5": 0.619, 0.448;
    },
    run,
};

const SIZES: [(usize, usize); 5] = [(2, 20), (5, 20), (15, 20), (15, 64), (15, 5)];

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    for (depth, width) in SIZES {
        let name = format!("{depth} layers of {width}");
        findings.part(context, &name, |context| linear(context, &name, depth, width))?;
    }
    for (name, activation) in
        [("tanh", Activation::Tanh), ("leaky relu", Activation::LeakyRelu(0.1))]
    {
        findings.part(context, name, |context| bent(context, name, activation))?;
    }
    let known = findings.clone();
    let at = |row: &str, column: &str| known.value(row, column).unwrap_or(f64::NAN);
    let wide = SIZES[..4].iter().all(|(depth, width)| {
        let column = format!("alignment, {depth} layers of {width}");
        at(PC, &column) > at(BACKPROP, &column)
    });
    for row in [BACKPROP, PC] {
        let own = |depth| at(row, &format!("alignment, {depth} layers of 20"));
        let points = [2, 5, 15].map(|depth| (f64::from(depth), own(depth)));
        let figure = "alignment of linear nets 20 wide";
        findings.curve(figure, row, ("layers", "cosine"), points.to_vec());
    }
    let narrow = "alignment, 15 layers of 5";
    let crossed = at(PC, narrow) < at(BACKPROP, narrow);
    findings.claim("PC aims better than backprop at widths of 20 and 64", wide);
    findings.claim("in 15 layers of 5 backprop aims better", crossed);
    findings.note(
        "Nets of normal weights of variance 1 / width, one sample each, means over nets. Rates by \
         layer are in proportion to 1 / (v* . v), of what the layer is predicted from, relaxed and \
         feed-forward.",
    );
    Ok(findings)
}

/// `Delta y = sum_l c_l M_l s`, with `M_l = P_l P_l^T`: for backprop `c_l = |v_(l-1)|^2` and `s`
/// the residual; for PC `c_l = v*_(l-1) . v_(l-1)` and `s = S^-1` times the residual.
fn linear(
    context: &mut Context<'_>,
    name: &str,
    depth: usize,
    width: usize,
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let nets = context.by_size(if width > 20 { 10 } else { 40 }, 200);
    // What is exact is shown on the first nets; deep narrow ones take many steps to 1e-11.
    let exact = 3;
    let (mut sums, mut worst, mut unaligned) = ([0.0; 2], 0.0_f64, 0.0_f64);
    for k in 0..nets {
        let seed = 10_000 * context.seed() + k;
        let start = Starting::Normal(1.0 / (width as f64).sqrt());
        let mut net = Net::chain(&vec![width; depth + 1], Activation::Identity, start, seed)?;
        let (x, y) = (normal(&[1, width], 2 * seed)?, normal(&[1, width], 2 * seed + 1)?);
        let theory = net.theory()?;
        let output = net.output();
        let r = residual(&y, &net.forward(&x, output)?);
        let rescaled = theory.rescaled(&r)?;
        let (mut backprop, mut pc) = (vec![0.0; width], vec![0.0; width]);
        let mut rates = Vec::new();
        // The input is held, so what it is relaxed to is what it is.
        let mut relaxed = x.data().to_vec();
        for pair in net.vertices.clone().windows(2) {
            let [below, vertex] = pair else { continue };
            let forward = net.forward(&x, *below)?;
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let c = dot(&relaxed, forward.data());
            rates.push(1.0 / c);
            let p = theory.reach(*vertex).unwrap_or_default();
            let through = |s: &[f64]| -> Vec<f64> {
                let mut back = vec![0.0; p.first().map_or(0, Vec::len)];
                for (row, s) in p.iter().zip(s) {
                    back.iter_mut().zip(row).for_each(|(b, p)| *b += p * s);
                }
                p.iter().map(|row| dot(row, &back)).collect()
            };
            let square = dot(forward.data(), forward.data());
            let add = |sum: &mut [f64], by: f64, all: Vec<f64>| {
                sum.iter_mut().zip(all).for_each(|(sum, x)| *sum += by * x);
            };
            add(&mut backprop, square, through(&r));
            add(&mut pc, c, through(&rescaled));
            let shape = pc_core::host::HostTensor::new(&[1, relaxed.len()], relaxed)?;
            let up = net.graph.predict(&[(*below, &shape)], *vertex)?;
            let error = theory.errors(*vertex, &r)?;
            relaxed = up.data().iter().zip(error).map(|(mu, e)| mu + e).collect();
        }
        let schedule = || equilibrium(steepest(&theory), 1e-11);
        sums[0] += cosine(&backprop, &r);
        sums[1] += cosine(&pc, &r);
        if k < exact {
            for (expected, schedule) in [(&backprop, Schedule::backprop()), (&pc, schedule()?)] {
                let found = net.change(schedule, &x, &y, &[])?;
                let size = expected.iter().map(|x| x.abs()).fold(0.0, f64::max);
                let apart = largest(found.data(), expected) / size;
                worst = greater(worst, apart);
            }
            let least = rates.iter().fold(f64::INFINITY, |m: f64, rate| m.min(rate.abs()));
            let rates: Vec<f64> = rates.iter().map(|rate| rate / least).collect();
            let off = 1.0 - net.alignment(schedule()?, &x, &y, &rates)?;
            unaligned = greater(unaligned, off.abs());
        }
    }
    let column = format!("alignment, {name}");
    findings.cell(BACKPROP, &column, sums[0] / nets as f64);
    findings.cell(PC, &column, sums[1] / nets as f64);
    findings.cell(RATED, &column, 1.0 - unaligned);
    findings.cell("from the expressions, relative", &column, worst);
    let what = format!("{name}: changes of the output are the expressions within 1e-9");
    findings.claim(what, worst <= 1e-9);
    let what = format!("{name}: layer rates of 1 / c give an alignment of 1 within 1e-9");
    findings.claim(what, unaligned <= 1e-9);
    Ok(findings)
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    pc_core::Agreement::of_slices(a, b).cosine
}

/// Nets that are not linear, by the measure alone.
fn bent(
    context: &mut Context<'_>,
    name: &str,
    activation: Activation,
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let nets = context.by_size(6, 60);
    for (depth, width) in [(5, 20), (5, 5)] {
        let mut sums = [0.0; 2];
        for k in 0..nets {
            let seed = 20_000 * context.seed() + k;
            let start = Starting::Normal(1.0 / (width as f64).sqrt());
            let mut net = Net::chain(&vec![width; depth + 1], activation, start, seed)?;
            let (x, y) = (normal(&[1, width], 2 * seed)?, normal(&[1, width], 2 * seed + 1)?);
            let pc = equilibrium(4.0 * depth as f64, 1e-6)?;
            for (sum, schedule) in sums.iter_mut().zip([Schedule::backprop(), pc]) {
                *sum += net.alignment(schedule, &x, &y, &[])? / nets as f64;
            }
        }
        let column = format!("alignment, {name}, {depth} layers of {width}");
        findings.cell(BACKPROP, &column, sums[0]);
        findings.cell(PC, &column, sums[1]);
    }
    Ok(findings)
}
