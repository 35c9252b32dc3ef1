//! Random DAGs with branches, skips, shared parameters and several outputs: every exact rule
//! against a program of its own.

use pc_core::{
    Clamps, Evaluation, Gradients, Graph, ParamId, Relaxation, Schedule, SquaredError, Tensor,
    VertexId,
    host::{Element, HostTensor},
};
use proptest::prelude::*;

use crate::common::{Numbers, Plain, tensor};

const WIDTH: usize = 3;
const BATCH: usize = 2;

/// One vertex: the vertices it is predicted from, the weight of each edge, and whether through
/// tanh.
#[derive(Clone, Debug)]
struct Drawn {
    parents: Vec<usize>,
    weights: Vec<usize>,
    tanh: bool,
}

#[derive(Clone, Debug)]
struct Dag {
    roots: usize,
    drawn: Vec<Drawn>,
    weights: usize,
    /// Vertices with children that get an output of their own.
    tapped: Vec<usize>,
    seed: u64,
}

fn dag() -> impl Strategy<Value = Dag> {
    let vertex = (proptest::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 1..=3), any::<bool>());
    (
        1..=2_usize,
        proptest::collection::vec(vertex, 2..=7),
        1..=6_usize,
        any::<u32>(),
        proptest::collection::vec(0.0..1.0_f64, 0..=2),
    )
        .prop_map(|(roots, vertices, weights, seed, taps)| {
            let pick = |share: f64, count: usize| ((share * count as f64) as usize).min(count - 1);
            let mut drawn = Vec::new();
            for (k, (edges, tanh)) in vertices.into_iter().enumerate() {
                // Shares of the vertices before; squared, so that near ones are likelier and graphs
                // get deep.
                let parents: Vec<usize> = edges
                    .iter()
                    .map(|(share, _)| roots + k - 1 - pick(share * share, roots + k))
                    .collect();
                let weights = edges.iter().map(|(_, share)| pick(*share, weights)).collect();
                drawn.push(Drawn { parents, weights, tanh });
            }
            let count = drawn.len();
            let mut tapped: Vec<usize> =
                taps.into_iter().map(|share| roots + pick(share, count)).collect();
            tapped.sort_unstable();
            tapped.dedup();
            Dag { roots, drawn, weights, tapped, seed: u64::from(seed) }
        })
}

/// A list of numbers for each of several things.
type Lists = Vec<Vec<f64>>;

impl Dag {
    fn has_children(&self, vertex: usize) -> bool {
        self.drawn.iter().any(|d| d.parents.contains(&vertex))
    }

    /// The vertices that a loss reads: those without children, and the tapped.
    fn outputs(&self) -> Vec<usize> {
        (self.roots..self.roots + self.drawn.len())
            .filter(|&v| !self.has_children(v) || self.tapped.contains(&v))
            .collect()
    }

    fn numbers(&self) -> (Lists, Lists, Lists) {
        let mut n = Numbers::new(self.seed);
        let weights = (0..self.weights).map(|_| n.many(WIDTH * WIDTH, 0.8)).collect();
        let inputs = (0..self.roots).map(|_| n.many(BATCH * WIDTH, 1.0)).collect();
        let targets = self.outputs().iter().map(|_| n.many(BATCH * WIDTH, 1.0)).collect();
        (weights, inputs, targets)
    }

    /// Reverse-mode differentiation written out for this kind of graph.
    fn backprop(&self) -> Vec<Vec<f64>> {
        let (weights, inputs, targets) = self.numbers();
        let mut values = inputs;
        let mut slopes = vec![vec![1.0; BATCH * WIDTH]; self.roots];
        for d in &self.drawn {
            let mut a = vec![0.0; BATCH * WIDTH];
            for (parent, w) in d.parents.iter().zip(&d.weights) {
                for n in 0..BATCH {
                    for i in 0..WIDTH {
                        a[n * WIDTH + i] += (0..WIDTH)
                            .map(|j| weights[*w][i * WIDTH + j] * values[*parent][n * WIDTH + j])
                            .sum::<f64>();
                    }
                }
            }
            let slope =
                a.iter().map(|a| if d.tanh { 1.0 - a.tanh().powi(2) } else { 1.0 }).collect();
            values.push(a.into_iter().map(|a| if d.tanh { a.tanh() } else { a }).collect());
            slopes.push(slope);
        }
        let mut adjoint = vec![vec![0.0; BATCH * WIDTH]; values.len()];
        for (output, target) in self.outputs().into_iter().zip(&targets) {
            for (k, y) in target.iter().enumerate() {
                adjoint[output][k] += values[output][k] - y;
            }
        }
        let mut gradients = vec![vec![0.0; WIDTH * WIDTH]; self.weights];
        for (k, d) in self.drawn.iter().enumerate().rev() {
            let v = self.roots + k;
            let u: Vec<f64> = adjoint[v].iter().zip(&slopes[v]).map(|(a, s)| a * s).collect();
            for (parent, w) in d.parents.iter().zip(&d.weights) {
                for n in 0..BATCH {
                    for i in 0..WIDTH {
                        for j in 0..WIDTH {
                            gradients[*w][i * WIDTH + j] +=
                                u[n * WIDTH + i] * values[*parent][n * WIDTH + j];
                            adjoint[*parent][n * WIDTH + j] +=
                                weights[*w][i * WIDTH + j] * u[n * WIDTH + i];
                        }
                    }
                }
            }
        }
        gradients
    }

    fn graph<F: Element>(&self) -> (Graph<HostTensor<F>>, Clamps<HostTensor<F>>) {
        let (weights, inputs, targets) = self.numbers();
        let mut b = Graph::builder();
        let ids: Vec<ParamId> = weights
            .iter()
            .enumerate()
            .map(|(k, w)| b.parameter(&format!("w{k}"), tensor(&[WIDTH, WIDTH], w)).unwrap())
            .collect();
        let mut vertices: Vec<VertexId> =
            (0..self.roots).map(|k| b.input(&format!("x{k}"), &[WIDTH]).unwrap()).collect();
        let mut clamps = Clamps::new();
        for (vertex, input) in vertices.iter().zip(&inputs) {
            clamps = clamps.hold(*vertex, tensor(&[BATCH, WIDTH], input));
        }
        for (k, d) in self.drawn.iter().enumerate() {
            let parents: Vec<VertexId> = d.parents.iter().map(|p| vertices[*p]).collect();
            let uses: Vec<ParamId> = d.weights.iter().map(|w| ids[*w]).collect();
            let vertex = Box::new(Plain { parents: parents.len(), tanh: d.tanh });
            vertices.push(b.vertex(&format!("v{k}"), vertex, &parents, &uses).unwrap());
        }
        for (k, (output, target)) in self.outputs().into_iter().zip(&targets).enumerate() {
            let target = tensor(&[BATCH, WIDTH], target);
            if self.has_children(output) {
                let own = b.output(&format!("y{k}"), vertices[output]).unwrap();
                clamps = clamps.hold(own, target);
            } else if k % 2 == 0 {
                clamps = clamps.hold(vertices[output], target);
            } else {
                clamps = clamps.drive(vertices[output], SquaredError::new(target));
            }
        }
        (b.build().unwrap(), clamps)
    }
}

fn flat<F: Element>(gradients: &Gradients<HostTensor<F>>) -> Vec<Vec<f64>> {
    gradients
        .iter()
        .map(|(_, g)| g.map_or_else(|| vec![0.0; WIDTH * WIDTH], Tensor::to_vec))
        .collect()
}

/// The largest difference over the largest gradient, parameter by parameter.
fn difference(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    let relative = found.iter().zip(expected).map(|(a, b)| {
        let scale = crate::common::largest(b.iter().copied());
        let worst = crate::common::distance(a, b);
        if worst == 0.0 { 0.0 } else { worst / scale }
    });
    crate::common::largest(relative)
}

fn gradients_of<F: Element>(
    graph: &mut Graph<HostTensor<F>>,
    clamps: &Clamps<HostTensor<F>>,
    schedule: Schedule,
) -> Vec<Vec<f64>> {
    let mut relaxation = Relaxation::new(graph, schedule).unwrap();
    relaxation.run(graph, clamps).unwrap();
    flat(relaxation.gradients())
}

fn exact<F: Element>(dag: &Dag, tolerance: f64) -> Result<(), TestCaseError> {
    let expected = dag.backprop();
    let (mut graph, clamps) = dag.graph::<F>();
    let depth = graph.topology().depth().unwrap().max(1);
    let fixed =
        |evaluation| Schedule::fixed_prediction(1.0, depth).unwrap().evaluated_by(evaluation);
    for schedule in [
        fixed(Evaluation::Simulate),
        fixed(Evaluation::Front),
        fixed(Evaluation::ClosedForm),
        Schedule::backprop(),
    ] {
        let found = gradients_of(&mut graph, &clamps, schedule.clone());
        let off = difference(&found, &expected);
        prop_assert!(off <= tolerance, "{schedule}: off by {off:e}");
    }
    let mut levelled = graph.levelled().unwrap();
    for evaluation in [Evaluation::Simulate, Evaluation::Auto] {
        let found = gradients_of(&mut levelled, &clamps, Schedule::zil().evaluated_by(evaluation));
        let off = difference(&found, &expected);
        prop_assert!(off <= tolerance, "Z-IL, {evaluation:?}: off by {off:e}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None,
    rng_seed: proptest::test_runner::RngSeed::Fixed(20), ..ProptestConfig::default() })]

    #[test]
    fn exact_rules_give_backprop(dag in dag()) {
        exact::<f64>(&dag, 1e-10)?;
        exact::<f32>(&dag, 1e-5)?;
    }

    #[test]
    fn three_evaluations_agree(dag in dag(), rate in 0.02..=1.0_f64, steps in 1..=24_usize) {
        let (mut graph, clamps) = dag.graph::<f64>();
        let schedule = Schedule::fixed_prediction(rate, steps).unwrap();
        let simulated = gradients_of(&mut graph, &clamps,
        schedule.clone().evaluated_by(Evaluation::Simulate));
        // Where too few steps were taken for any error to arrive all are zero, so the scale is the
        // whole net's.
        let scale = crate::common::largest(simulated.iter().flatten().copied())
            .max(f64::MIN_POSITIVE);
        for evaluation in [Evaluation::Front, Evaluation::ClosedForm] {
            let found = gradients_of(&mut graph, &clamps,
            schedule.clone().evaluated_by(evaluation));
            let off = crate::common::distance(&found.concat(), &simulated.concat()) / scale;
            prop_assert!(off <= 1e-12, "{evaluation:?}: off by {off:e}");
        }
    }
}

#[test]
fn unlevelled_zil_is_refused_and_wrong() {
    let dag = Dag {
        roots: 1,
        drawn: vec![
            Drawn { parents: vec![0], weights: vec![0], tanh: true },
            Drawn { parents: vec![1], weights: vec![1], tanh: true },
            Drawn { parents: vec![2], weights: vec![2], tanh: true },
            Drawn { parents: vec![3, 1], weights: vec![3, 4], tanh: false },
        ],
        weights: 5,
        tapped: Vec::new(),
        seed: 3,
    };
    let (mut graph, clamps) = dag.graph::<f64>();
    let error = Relaxation::new(&graph, Schedule::zil()).unwrap_err();
    assert_eq!(error.vertex(), Some("v0"), "{error}");
    assert!(error.to_string().contains("levelled"), "{error}");
    let found = gradients_of(&mut graph, &clamps, Schedule::zil().even_unlevelled());
    assert!(difference(&found, &dag.backprop()) > 0.01, "without levels Z-IL is not backprop");
}

#[test]
fn zil_hands_out_each_weight_once_at_its_level() {
    use pc_core::Event;
    let dag = Dag {
        roots: 1,
        drawn: (0..4)
            .map(|k| Drawn { parents: vec![k], weights: vec![[0, 1, 0, 2][k]], tanh: true })
            .collect(),
        weights: 3,
        tapped: Vec::new(),
        seed: 4,
    };
    let (mut graph, clamps) = dag.graph::<f64>();
    for evaluation in [Evaluation::Simulate, Evaluation::Auto] {
        let mut relaxation =
            Relaxation::new(&graph, Schedule::zil().evaluated_by(evaluation)).unwrap();
        relaxation.begin(&mut graph, &clamps).unwrap();
        let mut order = Vec::new();
        let mut found = vec![Vec::new(); 3];
        while let Event::Learn = relaxation.advance(&mut graph).unwrap() {
            for (id, gradient) in relaxation.gradients().iter() {
                if let Some(gradient) = gradient {
                    order.push(id.index());
                    found[id.index()] = gradient.to_vec();
                }
            }
        }
        // The output's weight first; the shared one when its deeper use has been reached.
        assert_eq!(order, [2, 1, 0], "{evaluation:?}");
        assert!(difference(&found, &dag.backprop()) <= 1e-10);
    }
}
