//! What `T` frozen steps come to, without taking them.
//!
//! From zero errors, `e_i(T) = sum over k of P[Binomial(T, gamma) >= k] delta_i^(k)`, where
//! `delta_i^(k)` is the error that reaches vertex `i` over paths of `k` edges. Everything here is a
//! function of a topology and a few flags.

use crate::{
    Error, Result,
    topology::{PredictionId, Topology, VertexId},
};

/// What a closed form is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) topology: &'a Topology,
    /// The predictions of the forward pass, in order.
    pub(crate) order: &'a [PredictionId],
    /// By vertex: whether it moves.
    pub(crate) free: &'a [bool],
    /// By prediction: whether its error counts.
    pub(crate) counts: &'a [bool],
    /// `gamma`.
    pub(crate) rate: f64,
    /// `T`.
    pub(crate) steps: usize,
    /// Whether the network can be traversed whole, and pulled vertex by vertex.
    pub(crate) traverse: bool,
    pub(crate) single: bool,
}

/// What a frozen relaxation can be computed by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    /// One reverse sweep, with a weight for each prediction.
    Sweep(Vec<f64>),
    /// One pull for each vertex and path length, weighed by these tails.
    Layers(Vec<f64>),
}

/// Finds the closed form.
///
/// # Errors
/// Where it does not hold, with the vertex that stands in its way.
pub(crate) fn find(question: &Question<'_>) -> Result<Form> {
    let Question { topology, free, counts, rate, steps, traverse, .. } = *question;
    let predictions = topology.predictions();
    single(topology, free, counts).map_err(|vertex| {
        obstacle("it moves, and has several predictions").at(topology.label(vertex))
    })?;
    let mut common: Option<(f64, VertexId)> = None;
    for vertex in topology.vertices().filter(|vertex| free[vertex.index()]) {
        let Some(first) = topology.own(vertex).first() else { continue };
        let precision = topology.at(*first).precision;
        if common.get_or_insert((precision, vertex)).0 != precision {
            let why = "free vertices differ in precision, so they relax at different rates";
            return Err(obstacle(why).at(topology.label(vertex)));
        }
    }
    let (precision, first) = common.unwrap_or((1.0, VertexId::FIRST));
    let named = |why: &str| Err(obstacle(why).at(topology.label(first)));
    let rate = rate * precision;
    if !(rate <= 1.0) {
        return named("rate times precision is above 1");
    }
    let lengths = path_lengths(question);
    let depth = lengths.iter().flatten().map(|(_, longest)| *longest).max().unwrap_or(0);
    if rate == 1.0 && steps >= depth && traverse {
        return Ok(Form::Sweep(vec![1.0; predictions.len()]));
    }
    let tails = binomial_tails(rate, steps, depth);
    if traverse && lengths.iter().flatten().all(|(shortest, longest)| shortest == longest) {
        let weight = |of: VertexId| match lengths[of.index()] {
            Some((length, _)) if free[of.index()] => tails[length],
            _ => 1.0,
        };
        return Ok(Form::Sweep(predictions.iter().map(|p| weight(p.of)).collect()));
    }
    if question.single {
        return Ok(Form::Layers(tails));
    }
    named("paths of several lengths meet, and the network cannot be pulled vertex by vertex")
}

fn obstacle(why: &str) -> Error {
    Error::schedule(format!("the closed form does not hold here: {why}"))
}

/// By vertex: the shortest and the longest path from it to a vertex that does not move, through
/// such as do, in edges; `None` if there is no path.
fn path_lengths(question: &Question<'_>) -> Vec<Option<(usize, usize)>> {
    let Question { topology, order, free, counts, .. } = *question;
    let mut lengths: Vec<Option<(usize, usize)>> =
        free.iter().map(|free| (!free).then_some((0, 0))).collect();
    // Against the order, every child of a vertex that moves comes before the vertex.
    for vertex in order.iter().rev().map(|id| topology.at(*id).of) {
        if free[vertex.index()] {
            let mut own = None;
            for (child, _) in topology
                .uses(vertex)
                .iter()
                .filter(|(child, slot)| counts[child.index()] && topology.at(*child).sends(*slot))
            {
                if let Some((shortest, longest)) = lengths[topology.at(*child).of.index()] {
                    let (low, high) = own.unwrap_or((usize::MAX, 0));
                    own = Some((low.min(shortest + 1), high.max(longest + 1)));
                }
            }
            lengths[vertex.index()] = own;
        }
    }
    lengths
}

/// Checks that every vertex that moves has one prediction whose error counts. A sweep, and the
/// closed form, go by one prediction of each vertex.
///
/// # Errors
/// The first vertex that has several.
pub(crate) fn single(
    topology: &Topology,
    free: &[bool],
    counts: &[bool],
) -> std::result::Result<(), VertexId> {
    let several = |vertex: &VertexId| {
        let own = topology.own(*vertex);
        free[vertex.index()] && own.iter().filter(|id| counts[id.index()]).count() > 1
    };
    topology.vertices().find(several).map_or(Ok(()), Err)
}

/// `P[Binomial(steps, rate) >= k]` for `k` up to `depth + 1`, at a cost that does not grow with
/// `steps`.
///
/// Probabilities are found relative to that of the most likely count, from which they fall off on
/// both sides, and then divided by their sum. All terms are positive, so nothing cancels.
pub(crate) fn binomial_tails(rate: f64, steps: usize, depth: usize) -> Vec<f64> {
    let last = depth + 1;
    if rate == 1.0 {
        return (0..=last).map(|k| if k <= steps { 1.0 } else { 0.0 }).collect();
    }
    let (n, odds) = (steps as f64, rate / (1.0 - rate));
    let mean = n * rate;
    // Beyond this many standard deviations a tail is 1 to the last digit (Chernoff's bound).
    if mean - last as f64 > 40.0 * (mean + 1.0).sqrt() {
        return vec![1.0; last + 1];
    }
    let mode = (((n + 1.0) * rate) as usize).min(steps);
    let up = |k: usize| (n - k as f64) / (k + 1) as f64 * odds;
    let mut above = vec![1.0];
    let mut term = 1.0;
    let mut floor = 0.0;
    for k in mode..steps {
        // Beyond the last `k` asked for, terms fall off ever faster, and soon no longer count.
        if k == last.max(mode) {
            floor = 1e-18 * term;
        }
        term *= up(k);
        if term <= floor {
            break;
        }
        above.push(term);
    }
    let mut below = Vec::new();
    term = 1.0;
    for k in (0..mode).rev() {
        term /= up(k);
        below.push(term);
    }
    // Smallest first.
    let mut tails = vec![0.0; (mode + above.len()).max(last) + 1];
    let mut sum = 0.0;
    for (offset, term) in above.iter().enumerate().rev() {
        sum += term;
        tails[mode + offset] = sum;
    }
    for (offset, term) in below.iter().enumerate() {
        sum += term;
        tails[mode - 1 - offset] = sum;
    }
    let total = tails[0];
    tails.truncate(last + 1);
    tails.iter().map(|tail| tail / total).collect()
}
