//! What predictive coding's equilibrium is, and where a step of learning moves the output.

use pc_core::{
    Activation, Clamps, Graph, Schedule, Tensor,
    host::{Dense, HostLayers, Init, Starting},
};

use super::{
    Context, Experiment, Findings, Goal, Published,
    nets::{Net, T64, equilibrium, largest, normal, residual, settled, steepest},
};
use crate::error::CommandError;

const PC: &str = "PC";
const BACKPROP: &str = "backprop";
const READ: &str = "read off a figure by others; there the nets learn at a rate";

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "prospective",
    about: "equilibria of linear nets, target propagation as their limit, and target alignment",
    paper: "Song, Millidge, Salvatori, Lukasiewicz, Xu and Bogacz 2024: Inferring neural activity \
            before plasticity as a foundation for learning beyond backpropagation; Millidge, Song, \
            Salvatori, Lukasiewicz and Bogacz 2022: A theoretical framework for inference and \
            learning in predictive coding networks",
    takes: "1 minute",
    baseline: Some(BACKPROP),
    published: &[
        Published {
            row: PC,
            column: "alignment, linear, 25 layers",
            figure: 0.95,
            goal: Goal::Shown,
            source: READ,
        },
        Published {
            row: BACKPROP,
            column: "alignment, linear, 25 layers",
            figure: 0.6,
            goal: Goal::Shown,
            source: READ,
        },
    ],
    run,
};

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    findings.part(context, "linear equilibrium", |context| two_layers(context))?;
    findings.part(context, "target propagation", |context| target_propagation(context))?;
    let depths: &[usize] = context.by_size(&[1, 2, 5, 10], &[1, 2, 5, 10, 15, 25]);
    for (name, activation) in [("linear", Activation::Identity), ("tanh", Activation::Tanh)] {
        findings.part(context, &format!("alignment of {name} nets"), |context| {
            alignment(context, name, activation, depths)
        })?;
    }
    findings.note(
        "Target alignment: the cosine between what an infinitely small step of learning does to \
         the output and what it should do; nets 64 wide, Xavier normal, means over nets.",
    );
    Ok(findings)
}

/// `(I + W2^T W2) h* = W1 x + W2^T y`, on a net of one hidden layer.
fn two_layers(context: &Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let mut worst = 0.0_f64;
    for k in 0..10 {
        let seed = 100 * context.seed() + k;
        let mut net = Net::chain(&[5, 20, 5], Activation::Identity, Starting::XavierNormal, seed)?;
        let (x, y) = (normal(&[1, 5], 2 * seed)?, normal(&[1, 5], 2 * seed + 1)?);
        let clamps = net.clamps(&x, &y);
        // The states move here, and not the errors: Xavier weights of 5 and 20 are below 2 in norm.
        let schedule = Schedule::standard(0.2, 20_000)?.until(1e-13)?;
        let (_, relaxed) = settled(&mut net.graph, schedule, &clamps)?;
        let hidden = net.vertices.get(1).copied().unwrap_or(net.output());
        let value = relaxed.value(&net.graph, hidden).map(|h| h.to_vec()).unwrap_or_default();
        let [w1, w2] = net.graph.parameters() else { continue };
        let up = |w: &T64, v: &[f64]| -> Vec<f64> {
            let rows = w.data().chunks(v.len().max(1));
            rows.map(|row| row.iter().zip(v).map(|(w, v)| w * v).sum()).collect()
        };
        let down = |w: &T64, v: &[f64]| {
            let columns = w.dims().last().copied().unwrap_or(1).max(1);
            let mut sum = vec![0.0; columns];
            for (row, v) in w.data().chunks(columns).zip(v) {
                sum.iter_mut().zip(row).for_each(|(s, w)| *s += w * v);
            }
            sum
        };
        let plus =
            |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
        let left = plus(&value, &down(w2, &up(w2, &value)));
        let right = plus(&up(w1, x.data()), &down(w2, y.data()));
        worst = worst.max(largest(&left, &right));
        // And the same by the closed form for any linear graph.
        let theory = net.theory()?;
        let forward = net.forward(&x, hidden)?;
        let r = residual(&y, &net.forward(&x, net.output())?);
        let closed = plus(forward.data(), &theory.errors(hidden, &r)?);
        worst = worst.max(largest(&value, &closed));
    }
    findings.cell("one hidden layer", "from closed forms, largest", worst);
    findings.claim("equilibria of linear nets are the closed forms within 1e-9", worst <= 1e-9);
    Ok(findings)
}

/// With the first prediction's precision going to 0, values go to what inverses of the weights
/// give, and with a free input they are that.
fn target_propagation(context: &Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let (width, seed) = (5, context.seed());
    let (x, y) = (normal(&[1, width], 2 * seed)?, normal(&[1, width], 2 * seed + 1)?);
    let mut curve = Vec::new();
    for precision in [1.0, 0.1, 0.01, 0.001, 0.0] {
        let (mut b, mut init) = (Graph::<T64>::builder(), Init::new(seed));
        let input = b.input("x", &[width])?;
        let mut below = input;
        let mut vertices = Vec::new();
        for layer in 1..=3 {
            // A small map and the parent itself: a weight with an inverse.
            let own = Dense::new(width).without_bias().start(Starting::Normal(0.15)).residual();
            let own = if layer == 1 && precision > 0.0 { own.precision(precision) } else { own };
            below = b.layer(&format!("h{layer}"), &[below], &own, &mut init)?;
            vertices.push(below);
        }
        let mut graph = b.build()?;
        let clamps = Clamps::new().hold(below, y.clone());
        let clamps = if precision > 0.0 {
            clamps.hold(input, x.clone())
        } else {
            clamps.free(input, x.zeros(&[1, width]))
        };
        let schedule = Schedule::standard(0.2, 1_000_000)?.until(1e-12)?.with_momentum(0.8)?;
        let (_, relaxed) = settled(&mut graph, schedule, &clamps)?;
        // A target is one whose map is the target above.
        let mut apart = 0.0_f64;
        for pair in vertices.windows(2) {
            let [lower, upper] = pair else { continue };
            let value = relaxed.value(&graph, *lower).ok_or_else(missing)?;
            let above = relaxed.value(&graph, *upper).ok_or_else(missing)?;
            let mapped = graph.predict(&[(*lower, &value)], *upper)?;
            apart = apart.max(largest(mapped.data(), above.data()));
        }
        let column = "from target propagation, largest";
        let row = if precision > 0.0 {
            format!("precision of the input's prediction {precision}")
        } else {
            "input free".to_owned()
        };
        findings.cell(row, column, apart);
        curve.push((precision, apart));
    }
    let at = |k: usize| curve.get(k).map_or(f64::NAN, |(_, apart)| *apart);
    let slope = at(2) / at(3);
    findings.claim(
        "values near those of target propagation in proportion to the precision, within 5%",
        (slope - 10.0).abs() <= 0.5,
    );
    findings.claim("with a free input they are those, within 1e-9", at(4) <= 1e-9);
    let points = curve.iter().filter(|(p, _)| *p > 0.0).map(|(p, d)| (p.log10(), d.log10()));
    findings.curve(
        "distance from target propagation",
        "three layers",
        ("log10 of the precision", "log10 of the distance"),
        points.collect(),
    );
    Ok(findings)
}

fn missing() -> CommandError {
    CommandError::input("a vertex has no value")
}

fn alignment(
    context: &mut Context<'_>,
    name: &str,
    activation: Activation,
    depths: &[usize],
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let (nets, width) = (context.by_size(3, 30), 64);
    let (mut pc, mut backprop) = (Vec::new(), Vec::new());
    for depth in depths {
        let (mut ours, mut theirs) = (0.0, 0.0);
        for k in 0..nets {
            context.say(format!("{name}, {depth} layers, net {} of {nets}", k + 1));
            let seed = 1000 * context.seed() + k;
            let widths = vec![width; depth + 1];
            let mut net = Net::chain(&widths, activation, Starting::XavierNormal, seed)?;
            let (x, y) = (normal(&[1, width], 2 * seed)?, normal(&[1, width], 2 * seed + 1)?);
            // The same weights without tanh bound what it can do; its bends add to that.
            let start = Starting::XavierNormal;
            let mut straight = Net::chain(&widths, Activation::Identity, start, seed)?;
            let bound = 1.5 * steepest(&straight.theory()?);
            let own = net.alignment(equilibrium(bound, 1e-6)?, &x, &y, &[])?;
            ours += own / nets as f64;
            theirs += net.alignment(Schedule::backprop(), &x, &y, &[])? / nets as f64;
        }
        let column = format!("alignment, {name}, {depth} layers");
        findings.cell(PC, &column, ours);
        findings.cell(BACKPROP, &column, theirs);
        pc.push((*depth as f64, ours));
        backprop.push((*depth as f64, theirs));
    }
    let deep = pc.iter().zip(&backprop).skip(1);
    let above = deep.clone().all(|(ours, theirs)| ours.1 > theirs.1);
    findings.claim(format!("{name}: PC's alignment is above backprop's from 2 layers on"), above);
    let figure = format!("target alignment, {name} nets");
    findings.curve(&figure, PC, ("layers", "cosine"), pc);
    findings.curve(&figure, BACKPROP, ("layers", "cosine"), backprop);
    Ok(findings)
}
