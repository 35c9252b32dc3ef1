//! Causal graphs: found in data, and asked what would be.

use pc_core::{
    Activation, Clamps, Schedule, Tensor, VertexId,
    host::{Adam, HostTensor, Init},
    rule::Anderson,
};
use pc_models::{Causal, Host, StructureSearch, Variable};

use super::{Context, Experiment, Findings};
use crate::error::CommandError;

/// See [`super::EXPERIMENTS`].
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "causal",
    about: "the structure of causal graphs from data, and conditionals, do() and counterfactuals",
    paper: "Salvatori, Pinchetti, M'Charrak, Millidge and Lukasiewicz 2024, Predictive coding \
            beyond correlations; Zheng, Aragam, Ravikumar and Xing 2018, DAGs with NO TEARS",
    takes: "1 minute",
    baseline: None,
    published: &[],
    run,
};

type Tensor64 = HostTensor<f64>;

/// The model whose mechanisms are given.
const EXACT: &str = "true model";
/// What is asked; the third is a wrong answer to the second.
const COLUMNS: [&str; 4] = ["seeing", "doing", "doing by seeing", "counterfactual"];

/// What a variable is set to.
const SET: f64 = 2.0;

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let sizes: &[(usize, usize)] =
        context.by_size(&[(6, 6), (10, 10), (10, 20)], &[(10, 10), (10, 20), (20, 20), (20, 40)]);
    for (variables, edges) in sizes {
        let name = format!("{variables} nodes, {edges} edges");
        findings.part(context, &name, |context| one(context, &name, *variables, *edges))?;
    }
    findings.note(
        "One random graph a seed and size, linear, with weights of .5 to 2 of either sign and \
         noise of variance 1 everywhere: equal variances are what tells causes from effects. \
         Learned from 1000 samples; edges are weights above .3.",
    );
    findings.note(
        "The distance counts edges to add, to take away and to turn. The last columns are mean \
         absolute errors over all other variables where each in turn is seen at 2, or set to 2, in \
         20 new samples for counterfactuals; doing by seeing answers what is set as if it were \
         seen.",
    );
    Ok(findings)
}

/// A linear structural model: `x = w x + n`, variables in causal order, then shuffled.
struct Truth {
    /// `[effect][cause]`.
    w: Vec<Vec<f64>>,
    /// Causes before effects.
    order: Vec<usize>,
}

impl Truth {
    fn new(variables: usize, edges: usize, init: &mut Init) -> Result<Self, CommandError> {
        let mut one =
            || -> Result<f64, CommandError> { Ok(init.uniform::<f64>(&[1], 1.0)?.data()[0]) };
        let mut order: Vec<usize> = (0..variables).collect();
        for k in (1..variables).rev() {
            let other = (((one()? + 1.0) / 2.0) * (k + 1) as f64) as usize;
            order.swap(k, other.min(k));
        }
        let chance = edges as f64 / (variables * (variables - 1) / 2) as f64;
        let mut w = vec![vec![0.0; variables]; variables];
        for (place, effect) in order.iter().enumerate() {
            for cause in &order[..place] {
                let (there, size) = ((one()? + 1.0) / 2.0 < chance, one()?);
                if there {
                    w[*effect][*cause] = size.signum() * (0.5 + 1.5 * size.abs());
                }
            }
        }
        Ok(Self { w, order })
    }

    /// The values of this noise, where one variable may be set.
    fn values(&self, noise: &[f64], set: Option<(usize, f64)>) -> Vec<f64> {
        let mut x = vec![0.0; noise.len()];
        for k in &self.order {
            let causes = self.w[*k].iter().zip(&x).map(|(w, x)| w * x).sum::<f64>();
            x[*k] = match set {
                Some((which, to)) if which == *k => to,
                _ => causes + noise[*k],
            };
        }
        x
    }

    /// Samples and their noise, row by row.
    fn samples(&self, count: usize, seed: u64) -> Result<(Vec<f64>, Vec<f64>), CommandError> {
        let d = self.order.len();
        let mut noise = Tensor64::zeroed(&[count, d])?;
        noise.add_normal(1.0, seed);
        let rows = noise.data().chunks(d);
        Ok((rows.flat_map(|row| self.values(row, None)).collect(), noise.to_vec()))
    }

    /// What is expected of all where one is seen.
    fn seen(&self, which: usize, at: f64) -> Vec<f64> {
        let d = self.order.len();
        let unit = |k: usize| (0..d).map(|j| f64::from(u8::from(j == k))).collect::<Vec<_>>();
        let effects: Vec<Vec<f64>> = (0..d).map(|k| self.values(&unit(k), None)).collect();
        let covariance = |j: usize| effects.iter().map(|e| e[j] * e[which]).sum::<f64>();
        (0..d).map(|j| covariance(j) / covariance(which) * at).collect()
    }
}

/// Whether edges `(cause, effect)` leave an order, which it then is.
fn order(d: usize, edges: &[(usize, usize)]) -> Option<Vec<usize>> {
    let mut order = Vec::with_capacity(d);
    while order.len() < d {
        let free = |k: &usize| {
            let waits = edges.iter().any(|(cause, effect)| effect == k && !order.contains(cause));
            !order.contains(k) && !waits
        };
        order.push((0..d).find(free)?);
    }
    Some(order)
}

fn one(
    context: &mut Context<'_>,
    name: &str,
    d: usize,
    edges: usize,
) -> Result<Findings, CommandError> {
    let mut init = Init::new(context.seed());
    let truth = Truth::new(d, edges, &mut init)?;
    let (data, _) = truth.samples(1000, 2 * context.seed() + 1)?;
    let data = Tensor64::new(&[1000, d], data)?;
    let names: Vec<String> = (0..d).map(|k| format!("x{k}")).collect();
    let found = search(context, name, &data, &names)?;
    let mut findings = Findings::new();
    findings.curve("distance from no cycle", name, ("round", "h(W)"), found.rounds);

    let is: Vec<(usize, usize)> =
        (0..d * d).filter(|k| truth.w[k / d][k % d] != 0.0).map(|k| (k % d, k / d)).collect();
    let both = found.edges.iter().filter(|edge| is.contains(edge)).count() as f64;
    let turned = found.edges.iter().filter(|(a, b)| is.contains(&(*b, *a))).count() as f64;
    findings.cell(name, "true edges", is.len() as f64);
    findings.cell(name, "precision, %", 100.0 * both / found.edges.len().max(1) as f64);
    findings.cell(name, "recall, %", 100.0 * both / is.len().max(1) as f64);
    let wrong = (found.edges.len() + is.len()) as f64 - 2.0 * both - turned;
    findings.cell(name, "distance", wrong);

    let exact = Diagram { edges: is, weights: Some(&truth.w) };
    let known = Diagram { edges: exact.edges.clone(), weights: None };
    let searched = Diagram { edges: found.edges, weights: None };
    for (what, diagram) in
        [(EXACT, exact), ("true graph, learned", known), ("found graph, learned", searched)]
    {
        context.say(format!("{name}: {what}"));
        let errors = ask(context, &truth, &data, &names, &diagram)?;
        let row = format!("{name}: {what}");
        for (column, error) in COLUMNS.iter().zip(errors) {
            findings.cell(&row, *column, error);
        }
        if what == EXACT {
            let off = [errors[0], errors[1], errors[3]].into_iter().fold(0.0, f64::max);
            let holds = off < 1e-6 && errors.iter().all(|error| error.is_finite());
            findings.claim("with the true mechanisms every answer is the closed form's", holds);
        }
    }
    Ok(findings)
}

struct Found {
    edges: Vec<(usize, usize)>,
    rounds: Vec<(f64, f64)>,
}

/// The graph that the data say.
fn search(
    context: &mut Context<'_>,
    name: &str,
    data: &Tensor64,
    names: &[String],
) -> Result<Found, CommandError> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut init = Init::new(context.seed());
    let f = Activation::Identity;
    let mut search = StructureSearch::new(&Host::<f64>::new(), &names, f, 0.02, &mut init)?;
    let mut rounds = Vec::new();
    for round in 0..12 {
        let mut adam = Adam::new(0.01)?;
        for step in 0..1500 {
            // The last steps are small ones.
            adam.set_rate(if step < 900 { 0.02 } else { 0.004 })?;
            search.learn(data, |graph, gradients| adam.step(graph.parameters_mut(), gradients))?;
        }
        let h = search.tighten(4.0)?;
        rounds.push((f64::from(round + 1), h));
        context.say(format!("{name}: round {}, h = {h:.1e}", round + 1));
    }
    let mut threshold = 0.3;
    let edges = loop {
        let edges = search.edges(threshold);
        if order(names.len(), &edges).is_some() {
            break edges;
        }
        threshold *= 1.05;
    };
    Ok(Found { edges, rounds })
}

/// Which variables cause which, and by how much, where that is known.
struct Diagram<'a> {
    edges: Vec<(usize, usize)>,
    weights: Option<&'a Vec<Vec<f64>>>,
}

/// The errors of conditionals, interventions, interventions answered by conditionals, and
/// counterfactuals.
fn ask(
    context: &Context<'_>,
    truth: &Truth,
    data: &Tensor64,
    names: &[String],
    diagram: &Diagram<'_>,
) -> Result<[f64; 4], CommandError> {
    let d = names.len();
    let mut model = model(context, data, names, diagram)?;
    let vertices: Vec<VertexId> =
        names.iter().map(|name| model.graph().vertex(name)).collect::<Result<_, _>>()?;
    let (units, noise) = truth.samples(20, 2 * context.seed() + 2)?;
    let column = |k: usize| -> Result<Tensor64, CommandError> {
        let numbers: Vec<f64> = units.iter().skip(k).step_by(d).copied().collect();
        Ok(Tensor64::new(&[20, 1], numbers)?)
    };
    let mut evidence = Clamps::new();
    for (k, vertex) in vertices.iter().enumerate() {
        evidence = evidence.hold(*vertex, column(k)?);
    }
    let mut errors = [0.0; 4];
    for (k, vertex) in vertices.iter().enumerate() {
        let set = || Tensor64::new(&[1, 1], vec![SET]);
        let all = |world: &pc_models::World<Tensor64>| -> Vec<f64> {
            in_order(world, names).iter().map(|x| x.data()[0]).collect()
        };
        let seen = all(&model.query(&Clamps::new().hold(*vertex, set()?))?);
        let done = all(&model.query(&Clamps::new().intervene(*vertex, set()?))?);
        let is_seen = truth.seen(k, SET);
        let is_done = truth.values(&vec![0.0; d], Some((k, SET)));
        let distance = |a: &[f64], b: &[f64]| -> f64 {
            a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / (d * (d - 1)) as f64
        };
        errors[0] += distance(&seen, &is_seen);
        errors[1] += distance(&done, &is_done);
        errors[2] += distance(&seen, &is_done);
        let action = Clamps::new().intervene(*vertex, Tensor64::new(&[20, 1], vec![SET; 20])?);
        let world = model.counterfactual(&evidence, &action)?;
        let found = in_order(&world, names);
        for (unit, noise) in noise.chunks(d).enumerate() {
            let is = truth.values(noise, Some((k, SET)));
            let found: Vec<f64> = found.iter().map(|x| x.data()[unit]).collect();
            errors[3] += distance(&found, &is) / 20.0;
        }
    }
    Ok(errors)
}

/// Variables by their numbers, and not by the diagram's order.
fn in_order<'a>(world: &'a pc_models::World<Tensor64>, names: &[String]) -> Vec<&'a Tensor64> {
    names.iter().filter_map(|name| world.get(name).ok()).collect()
}

/// A model of a diagram, its mechanisms given or learned from the data.
fn model(
    context: &Context<'_>,
    data: &Tensor64,
    names: &[String],
    diagram: &Diagram<'_>,
) -> Result<Causal<Host<f64>>, CommandError> {
    let d = names.len();
    let order = order(d, &diagram.edges)
        .ok_or_else(|| CommandError::input("the edges that were found make a cycle"))?;
    let causes: Vec<Vec<usize>> = (0..d)
        .map(|k| diagram.edges.iter().filter(|(_, to)| *to == k).map(|(from, _)| *from).collect())
        .collect();
    let parents: Vec<Vec<&str>> =
        causes.iter().map(|own| own.iter().map(|k| names[*k].as_str()).collect()).collect();
    let variables: Vec<Variable<'_>> =
        order.iter().map(|k| Variable::new(&names[*k], 1, &parents[*k])).collect();
    let schedule = Schedule::standard(0.02, 20_000)?.until(1e-10)?.ruled_by(Anderson::new(8)?);
    let (f, mut init) = (Activation::Identity, Init::new(context.seed()));
    let mut model = Causal::new(&Host::<f64>::new(), &variables, f, schedule, &mut init)?;
    if let Some(weights) = diagram.weights {
        for (k, own) in causes.iter().enumerate() {
            for (slot, cause) in own.iter().enumerate() {
                let several = if own.len() > 1 { format!(".{slot}") } else { String::new() };
                let id = model.graph().parameter(&format!("{}.weight{several}", names[k]))?;
                let weight = Tensor64::new(&[1, 1], vec![weights[k][*cause]])?;
                model.graph_mut().set_parameter(id, weight)?;
            }
        }
        return Ok(model);
    }
    let mut clamps = Clamps::new();
    for (k, name) in names.iter().enumerate() {
        let column: Vec<f64> = data.data().iter().skip(k).step_by(d).copied().collect();
        let column = Tensor64::new(&[column.len(), 1], column)?;
        clamps = clamps.hold(model.graph().vertex(name)?, column);
    }
    let mut adam = Adam::new(0.05)?;
    for step in 0..600 {
        adam.set_rate(if step < 300 { 0.05 } else { 0.005 })?;
        model.learn(&clamps, |graph, gradients| adam.step(graph.parameters_mut(), gradients))?;
    }
    Ok(model)
}
