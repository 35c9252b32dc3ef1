//! What becomes of predictive coding as nets grow wide and deep, in closed form.

use pc_core::{
    Activation, Graph,
    host::{
        ConvLayer, Dense, Fan, HostLayers, Init, MuPc, Parameterisation, Planned, Starting, merges,
    },
};

use super::{
    Context, Experiment, Findings,
    nets::{Net, T64, equilibrium, normal, residual, steepest},
    wide_transformer::transformers,
};
use crate::{error::CommandError, statistics::greater};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "width-limit",
    about: "loss over equilibrium energy, and PC's gradients beside backprop's, as nets grow wide",
    paper: "Innocenti, Achour and Buckley 2025: muPC: scaling predictive coding to 100+ layer \
            networks; Innocenti, Achour, Singh and Buckley 2024: Only strict saddles in the energy \
            landscape of predictive coding networks?",
    takes: "12 minutes",
    baseline: None,
    published: &[],
    run,
};

const INPUTS: usize = 10;
const OUTPUTS: usize = 3;
/// Each with its name.
const WAYS: [(&str, Parameterisation); 3] = [
    ("standard", Parameterisation::Standard),
    ("NTP", Parameterisation::Ntk),
    ("muPC", Parameterisation::MuPc),
];

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let widths: &[usize] = context.by_size(&[4, 16, 64], &[2, 8, 32, 128, 512]);
    let depths: &[usize] = context.by_size(&[3, 8], &[3, 8, 16, 32]);
    for depth in depths {
        for (name, by) in WAYS {
            let row = format!("{name}, {depth} layers");
            findings.part(context, &row, |context| chains(context, &row, by, *depth, widths))?;
        }
    }
    let merged = context.by_size(12, 30);
    findings.part(context, "merges", |context| merging(context, merged))?;
    findings.part(context, "wide nets with tanh", |context| tanh(context, widths))?;
    findings.part(context, "convolutional nets", |context| convolutional(context, widths))?;
    findings.part(context, "transformers", |context| transformers(context, widths))?;
    findings.note(format!(
        "Chains of {INPUTS} inputs and {OUTPUTS} outputs with skips, one sample of normal numbers. \
         F* is the energy at the equilibrium; where it is the loss, PC is backprop."
    ));
    Ok(findings)
}

/// A chain with skips, in a parameterisation.
fn chain(
    by: Parameterisation,
    activation: Activation,
    width: usize,
    layers: usize,
    seed: u64,
) -> Result<Net, CommandError> {
    let mupc = MuPc::new(INPUTS, width, layers, activation).with_skips().parameterised(by);
    let (mut b, mut init) = (Graph::<T64>::builder(), Init::new(seed));
    let x = b.input("x", &[INPUTS])?;
    let mut vertices = vec![x, b.layer("h1", &[x], &mupc.first(), &mut init)?];
    for l in 2..layers {
        let below = vertices[l - 1];
        vertices.push(b.layer(&format!("h{l}"), &[below], &mupc.hidden(), &mut init)?);
    }
    let below = vertices[vertices.len() - 1];
    vertices.push(b.layer("y", &[below], &mupc.last(OUTPUTS), &mut init)?);
    Ok(Net { graph: b.build()?, vertices })
}

/// Linear chains: the closed form against relaxation, and the ratio as width grows.
fn chains(
    context: &mut Context<'_>,
    row: &str,
    by: Parameterisation,
    layers: usize,
    widths: &[usize],
) -> Result<Findings, CommandError> {
    let (mut findings, seed) = (Findings::new(), context.seed());
    let (x, y) = (normal(&[1, INPUTS], 2 * seed)?, normal(&[1, OUTPUTS], 2 * seed + 1)?);
    let (mut ratios, mut cosines, mut worst) = (Vec::new(), Vec::new(), 0.0_f64);
    for width in widths {
        let mut net = chain(by, Activation::Identity, *width, layers, seed)?;
        let theory = net.theory()?;
        let output = net.output();
        let r = residual(&y, &net.forward(&x, output)?);
        let energy = theory.energy(&r)?;
        let loss = 0.5 * r.iter().map(|r| r * r).sum::<f64>();
        ratios.push((*width as f64, loss / energy));
        findings.cell(row, format!("loss over F*, N = {width}"), loss / energy);
        let clamps = net.clamps(&x, &y);
        let schedule = equilibrium(steepest(&theory), 1e-10)?;
        let (outcome, cosine) = net.beside_backprop(schedule, &clamps)?;
        let apart = (outcome.energy.total() - energy).abs() / energy;
        worst = greater(worst, apart);
        cosines.push((*width as f64, cosine));
    }
    let last = cosines.last().map_or(f64::NAN, |(_, cosine)| *cosine);
    findings.cell(row, "cosine to backprop, widest", last);
    findings.cell(row, "F* by relaxation, relative difference", worst);
    findings.curve(format!("loss over F*, {layers} layers"), row, ("N", "ratio"), ratios.clone());
    findings.curve(format!("cosine to backprop, {layers} layers"), row, ("N", "cosine"), cosines);
    let what = format!("{row}: relaxation comes to the closed form of F* within 1e-12");
    findings.claim(what, worst <= 1e-12);
    if by == Parameterisation::MuPc {
        let falls = ratios.windows(2).all(|pair| pair[1].1 < pair[0].1);
        findings.claim(format!("{row}: the loss over F* falls as the net grows wide"), falls);
        let excess = |at: Option<&(f64, f64)>| at.map_or(f64::NAN, |(_, ratio)| ratio - 1.0);
        let shrinks = excess(ratios.last()) < 0.5 * excess(ratios.first());
        findings.claim(format!("{row}: it nears 1, by more than half of what was left"), shrinks);
    }
    Ok(findings)
}

/// A graph that is no chain: every vertex adds two weighted maps, of the two before it, to a skip.
fn merging(context: &mut Context<'_>, layers: usize) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let (width, seed) = (context.by_size(32, 64), context.seed());
    let mut sizes = Vec::new();
    for (name, by) in WAYS {
        let row = format!("{name}, {layers} merges of two maps and a skip");
        let mut net = merged(by, width, layers, seed)?;
        let x = normal(&[8, INPUTS], 7 + seed)?;
        let mut curve = Vec::new();
        for (k, vertex) in net.vertices.clone().iter().enumerate().skip(1).take(layers) {
            let value = net.forward(&x, *vertex)?;
            let squares = value.data().iter().map(|x| x * x).sum::<f64>();
            curve.push((k as f64, (squares / value.data().len() as f64).sqrt()));
        }
        let last = curve.last().map_or(f64::NAN, |(_, size)| *size);
        findings.cell(&row, "size of the last hidden values", last);
        findings.curve("size of hidden values", name, ("merge", "root mean square"), curve);
        let theory = net.theory()?;
        let x = normal(&[1, INPUTS], 8 + seed)?;
        let y = normal(&[1, OUTPUTS], 9 + seed)?;
        let output = net.output();
        let r = residual(&y, &net.forward(&x, output)?);
        let loss = 0.5 * r.iter().map(|r| r * r).sum::<f64>();
        findings.cell(&row, format!("loss over F*, N = {width}"), loss / theory.energy(&r)?);
        sizes.push(last);
    }
    let [standard, _, mupc] = sizes[..] else { return Ok(findings) };
    findings.claim(
        "with merges counted, muPC keeps hidden values between 1/3 and 3 on a graph of merges",
        (1.0 / 3.0..=3.0).contains(&mupc),
    );
    findings.claim("there standard weights let them grow beyond 10", standard > 10.0);
    Ok(findings)
}

fn merged(
    by: Parameterisation,
    width: usize,
    layers: usize,
    seed: u64,
) -> Result<Net, CommandError> {
    let pairs: Vec<[usize; 2]> = (0..=layers).map(|k| [k.max(1) - 1, k.max(2) - 2]).collect();
    let mut plan = vec![Planned::new(&[], &[]), Planned::new(&[0], &[])];
    for pair in pairs.iter().skip(2) {
        plan.push(Planned::new(pair, &pair[..1]));
    }
    let depth = merges(&plan)? + 2;
    let (mut b, mut init) = (Graph::<T64>::builder(), Init::new(seed));
    let dense = |outputs, fan| Dense::new(outputs).without_bias().parameterised(by, fan);
    let x = b.input("x", &[INPUTS])?;
    let first = dense(width, Fan::first(INPUTS));
    let mut vertices = vec![x, b.layer("h1", &[x], &first, &mut init)?];
    for k in 2..=layers {
        let last = vertices[k - 1];
        let before = vertices[(k - 2).max(1)];
        let own = dense(width, Fan::hidden(width).among(2).over(depth));
        let mix = b.layer(&format!("mix{k}"), &[last, before], &own, &mut init)?;
        vertices.push(b.sum(&format!("h{k}"), &[mix, last])?);
    }
    let below = vertices[vertices.len() - 1];
    let own = dense(OUTPUTS, Fan::last(width));
    vertices.push(b.layer("y", &[below], &own, &mut init)?);
    Ok(Net { graph: b.build()?, vertices })
}

/// Chains with tanh: there is no closed form, but the direction goes to backprop's all the same.
fn tanh(context: &mut Context<'_>, widths: &[usize]) -> Result<Findings, CommandError> {
    let (mut findings, seed) = (Findings::new(), context.seed());
    let (x, y) = (normal(&[4, INPUTS], 3 * seed)?, normal(&[4, OUTPUTS], 3 * seed + 1)?);
    let mut cosines = Vec::new();
    for width in widths {
        let mut net = chain(Parameterisation::MuPc, Activation::Tanh, *width, 8, seed)?;
        let clamps = net.clamps(&x, &y);
        let (_, cosine) = net.beside_backprop(equilibrium(20.0, 1e-8)?, &clamps)?;
        findings.cell("muPC, 8 layers, tanh", format!("cosine to backprop, N = {width}"), cosine);
        cosines.push((*width as f64, cosine));
    }
    let rises = cosines.windows(2).all(|pair| pair[1].1 > pair[0].1);
    findings.claim("with tanh the cosine to backprop rises with width", rises);
    findings.curve("cosine to backprop, 8 layers", "muPC, tanh", ("N", "cosine"), cosines);
    Ok(findings)
}

/// Convolutions by muPC: the fan of a weight is its channels times its window.
fn convolutional(context: &mut Context<'_>, channels: &[usize]) -> Result<Findings, CommandError> {
    let (mut findings, seed) = (Findings::new(), context.seed());
    let by = Parameterisation::MuPc;
    let (x, y) = (normal(&[2, 2, 6, 6], 4 * seed)?, normal(&[2, OUTPUTS], 4 * seed + 1)?);
    let mut cosines = Vec::new();
    // A convolution of many channels costs far more than a dense layer as wide.
    for channels in channels.iter().filter(|channels| **channels <= 128) {
        let (mut b, mut init) = (Graph::<T64>::builder(), Init::new(seed));
        let mut below = b.input("x", &[2, 6, 6])?;
        let mut vertices = vec![below];
        for l in 1..=4 {
            let inputs = if l == 1 { 9 * 2 } else { 9 * channels };
            let fan = if l == 1 { Fan::first(inputs) } else { Fan::hidden(inputs) };
            let own = ConvLayer::new(*channels, 3).padding(1).without_bias();
            let own = own.parameterised(by, fan);
            let own = if l == 1 { own } else { own.activation_before(Activation::Tanh) };
            below = b.conv(&format!("conv{l}"), below, &own, &mut init)?;
            vertices.push(below);
        }
        let inputs = 36 * channels;
        let own = Dense::new(OUTPUTS).without_bias().flatten().activation_before(Activation::Tanh);
        let own = own.start(Starting::Normal(1.0)).scale(by.factor(Fan::last(inputs)));
        vertices.push(b.layer("y", &[below], &own, &mut init)?);
        let mut net = Net { graph: b.build()?, vertices };
        let clamps = net.clamps(&x, &y);
        let (_, cosine) = net.beside_backprop(equilibrium(20.0, 1e-8)?, &clamps)?;
        let column = format!("cosine to backprop, N = {channels}");
        findings.cell("muPC, 4 convolutions, tanh", column, cosine);
        cosines.push((*channels as f64, cosine));
    }
    let rises = cosines.windows(2).all(|pair| pair[1].1 > pair[0].1);
    findings.claim("with convolutions the cosine to backprop rises with the channels", rises);
    findings.curve("cosine to backprop, convolutions", "muPC, tanh", ("N", "cosine"), cosines);
    Ok(findings)
}
