//! How long a sequence of patterns a memory holds: temporal PC beside asymmetric Hopfield networks.

use pc_core::{
    Activation, Schedule,
    host::{Adam, HostTensor, Init, Sgd},
};
use pc_models::{
    AsymmetricHopfield, Backend, Host, Temporal, TemporalPc,
    hopfield::{Identity, Softmax},
    to_signs,
};

use super::{Context, Experiment, Findings};
use crate::error::CommandError;

type T = HostTensor<f64>;

const ONE: &str = "temporal PC, one layer";
const TWO: &str = "temporal PC, two layers";
const CLASSICAL: &str = "asymmetric Hopfield";
const MODERN: &str = "asymmetric Hopfield, softmax";
const ROWS: [&str; 4] = [ONE, TWO, CLASSICAL, MODERN];

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "temporal-capacity",
    about: "the longest sequence of patterns that is recalled, by how alike the patterns are",
    paper: "Tang, Barron and Bogacz 2023: Sequential memory with temporal predictive coding",
    takes: "25 minutes",
    baseline: Some(CLASSICAL),
    // The paper has curves only.
    published: &[],
    run,
};

struct Size {
    width: usize,
    draws: usize,
    iterations: usize,
    lengths: &'static [usize],
    correlations: &'static [f64],
}

const QUICK: Size = Size {
    width: 40,
    draws: 2,
    iterations: 200,
    lengths: &[5, 10, 20, 30, 40],
    correlations: &[0.0, 0.3, 0.6, 0.9],
};

const FULL: Size = Size {
    width: 100,
    draws: 10,
    iterations: 800,
    lengths: &[5, 10, 20, 30, 40, 60, 80, 100, 120],
    correlations: &[0.0, 0.3, 0.6, 0.9],
};

/// A sequence counts as recalled with fewer wrong bits than this share.
const RECALLED: f64 = 0.01;

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let size = context.by_size(&QUICK, &FULL);
    let mut findings = Findings::new();
    for correlation in size.correlations {
        findings.part(context, &format!("correlation {correlation}"), |context| {
            by_length(context, size, *correlation)
        })?;
    }
    findings.note(format!(
        "{} patterns of {} signs a length; two of them are alike in (1 + c) / 2 of their bits, the \
         correlation c. Recall is online: the true pattern asks for the next one.",
        size.draws, size.width
    ));
    findings.note(
        "One layer learns by gradient descent at 0.5, with momentum 0.9, on the mean square error \
         of all transitions at once; two layers, with twice as many latents as signs, take 5 \
         steps of inference at 0.1 \
         and learn by Adam at 0.01.",
    );
    findings.note("Softmax: beta = 1 on the products of patterns.");
    Ok(findings)
}

/// All lengths at one correlation.
fn by_length(
    context: &Context<'_>,
    size: &Size,
    correlation: f64,
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let mut curves = ROWS.map(|_| Vec::new());
    let mut held = ROWS.map(|_| 0);
    let mut below = true;
    for length in size.lengths {
        let mut wrong = [0.0; ROWS.len()];
        for draw in 0..size.draws {
            let seed = context.seed().wrapping_mul(1000).wrapping_add(draw as u64);
            let shares = one_sequence(size, *length, correlation, seed)?;
            wrong.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
        }
        for (k, wrong) in wrong.iter_mut().enumerate() {
            *wrong /= size.draws as f64;
            curves[k].push((*length as f64, 100.0 * *wrong));
            // Where a shorter one was not recalled, a longer one is luck.
            let unbroken = curves[k].iter().all(|(_, wrong)| *wrong < 100.0 * RECALLED);
            if unbroken {
                held[k] = *length;
            }
        }
        below &= wrong[0] < wrong[2] || wrong[2] == 0.0 && wrong[0] == 0.0;
        context.say(format!("correlation {correlation}, length {length}"));
    }
    let figure = format!("wrong bits at correlation {correlation}, %");
    for ((row, curve), held) in ROWS.into_iter().zip(curves).zip(held) {
        findings.cell(row, format!("c = {correlation}: recalled"), held as f64);
        let last = curve.last().map_or(f64::NAN, |(_, wrong)| *wrong);
        findings.cell(row, format!("c = {correlation}: wrong of the longest, %"), last);
        findings.curve(figure.as_str(), row, ("length", "%"), curve);
    }
    findings.claim(
        format!("at correlation {correlation} one layer has fewer wrong bits than {CLASSICAL}"),
        below,
    );
    Ok(findings)
}

/// The share of wrong bits, by row.
fn one_sequence(
    size: &Size,
    length: usize,
    correlation: f64,
    seed: u64,
) -> Result<[f64; ROWS.len()], CommandError> {
    let mut init = Init::new(seed);
    let patterns = patterns(size.width, length, correlation, &mut init)?;
    let host = Host::<f64>::new();
    let stack = |rows: &[Vec<f64>]| host.tensor(&[rows.len(), size.width], &rows.concat());
    let last = length - 1;
    let (earlier, later) = (stack(&patterns[..last])?, stack(&patterns[1..])?);
    let transitions = [earlier.clone(), later.clone()];

    let one = Temporal::one_layer(size.width);
    let mut one = TemporalPc::new(&host, &one, &mut init)?;
    let weight = one.graph().parameter("observed.weight")?;
    one.graph_mut().set_parameter(weight, T::zeroed(&[size.width, size.width])?)?;
    let mut sgd = Sgd::new(0.5 / (size.width * last) as f64)?.with_momentum(0.9)?;
    for _ in 0..size.iterations {
        one.learn_sequence(&transitions, |graph, g| sgd.step(graph.parameters_mut(), g))?;
    }
    let schedule = Schedule::standard(0.1, 5)?;
    let two = Temporal::two_layers(size.width, 2 * size.width, schedule);
    let two = two.activation(Activation::Tanh);
    let mut two = TemporalPc::new(&host, &two, &mut init)?;
    let mut adam = Adam::new(0.01)?;
    for _ in 0..size.iterations {
        two.learn_sequence(&transitions, |graph, g| adam.step(graph.parameters_mut(), g))?;
    }
    let classical = AsymmetricHopfield::store(&transitions, Identity)?;
    let modern = AsymmetricHopfield::store(&transitions, Softmax::new(size.width as f64)?)?;
    let only = |recalled: Vec<T>| recalled.into_iter().next().unwrap_or_else(|| later.clone());
    let recalled = [
        only(one.recall_online(&transitions)?),
        only(two.recall_online(&transitions)?),
        classical.next(&earlier)?,
        modern.next(&earlier)?,
    ];
    let mut wrong = [0.0; ROWS.len()];
    for (wrong, mut recalled) in wrong.iter_mut().zip(recalled) {
        to_signs(&mut recalled)?;
        let pairs = recalled.data().iter().zip(later.data());
        *wrong = pairs.filter(|(a, b)| a != b).count() as f64 / later.data().len() as f64;
    }
    Ok(wrong)
}

/// Patterns of signs, each as a common one but for a bit in so many.
fn patterns(
    width: usize,
    length: usize,
    correlation: f64,
    init: &mut Init,
) -> Result<Vec<Vec<f64>>, CommandError> {
    let sign = |x: f64| if x < 0.0 { -1.0 } else { 1.0 };
    let drawn: T = init.uniform(&[length + 1, width], 1.0)?;
    let mut rows = drawn.data().chunks(width);
    let common: Vec<f64> =
        rows.next().map(|row| row.iter().map(|x| sign(*x)).collect()).unwrap_or_default();
    let share = correlation.sqrt();
    Ok(rows
        .map(|row| row.iter().zip(&common).map(|(x, c)| c * sign(x + share)).collect())
        .collect())
}
