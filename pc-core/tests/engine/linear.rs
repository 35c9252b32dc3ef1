//! Linear graphs, cyclic ones among them: relaxation reaches the minimum that a direct solve finds.

use pc_core::{
    Clamps, Evaluation, Graph, Relaxation, Schedule, Start, Status, Tensor, VertexId,
    host::HostTensor,
};

use crate::common::{Numbers, Plain, close, tensor};

const WIDTH: usize = 3;

/// Gaussian elimination with partial pivoting.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&i, &j| a[i][column].abs().total_cmp(&a[j][column].abs()))
            .expect("a row");
        a.swap(column, pivot);
        b.swap(column, pivot);
        for row in column + 1..n {
            let factor = a[row][column] / a[column][column];
            let (above, below) = a.split_at_mut(row);
            for (x, y) in below[0][column..].iter_mut().zip(&above[column][column..]) {
                *x -= factor * y;
            }
            b[row] -= factor * b[column];
        }
    }
    for row in (0..n).rev() {
        let known: f64 = (row + 1..n).map(|j| a[row][j] * b[j]).sum();
        b[row] = (b[row] - known) / a[row][row];
    }
    b
}

/// A linear graph: by predicted vertex its parents; all vertices as wide; some held.
struct Case {
    parents: Vec<(usize, Vec<usize>)>,
    held: Vec<usize>,
    vertices: usize,
    precisions: Vec<f64>,
}

struct Built {
    graph: Graph<HostTensor<f64>>,
    ids: Vec<VertexId>,
    clamps: Clamps<HostTensor<f64>>,
    minimum: Vec<f64>,
    energy: f64,
}

impl Case {
    fn build(&self, seed: u64) -> Built {
        let mut numbers = Numbers::new(seed);
        let mut b = Graph::builder();
        let ids: Vec<VertexId> = (0..self.vertices)
            .map(|i| b.input(&format!("v{i}"), &[WIDTH]).expect("vertex"))
            .collect();
        // e = A v + 0, with rows weighted by the root of the precision.
        let size = self.vertices * WIDTH;
        let mut rows: Vec<Vec<f64>> = Vec::new();
        for ((of, parents), precision) in self.parents.iter().zip(&self.precisions) {
            let mut weights = Vec::new();
            let first = rows.len();
            for row in 0..WIDTH {
                let mut line = vec![0.0; size];
                line[of * WIDTH + row] = precision.sqrt();
                rows.push(line);
            }
            for (k, parent) in parents.iter().enumerate() {
                let w = numbers.tensor::<f64>(&[WIDTH, WIDTH], 0.5);
                for row in 0..WIDTH {
                    for column in 0..WIDTH {
                        rows[first + row][parent * WIDTH + column] -=
                            precision.sqrt() * w.data()[row * WIDTH + column];
                    }
                }
                weights.push(b.parameter(&format!("w{of}.{k}.{first}"), w).expect("weight"));
            }
            let parents: Vec<VertexId> = parents.iter().map(|p| ids[*p]).collect();
            b.predict(
                ids[*of],
                Box::new(Plain { parents: parents.len(), tanh: false }),
                &parents,
                &weights,
                *precision,
            )
            .expect("prediction");
        }
        let mut clamps = Clamps::new();
        let mut state = vec![0.0; size];
        for &held in &self.held {
            let value = numbers.many(WIDTH, 1.0);
            state[held * WIDTH..(held + 1) * WIDTH].copy_from_slice(&value);
            clamps = clamps.hold(ids[held], tensor(&[1, WIDTH], &value));
        }
        let free: Vec<usize> = (0..size).filter(|i| !self.held.contains(&(i / WIDTH))).collect();
        let dot = |line: &[f64], v: &[f64]| line.iter().zip(v).map(|(a, b)| a * b).sum::<f64>();
        let normal = free
            .iter()
            .map(|&i| free.iter().map(|&j| rows.iter().map(|r| r[i] * r[j]).sum()).collect())
            .collect();
        let right = free
            .iter()
            .map(|&i| -rows.iter().map(|r| r[i] * dot(r, &state)).sum::<f64>())
            .collect();
        for (i, x) in free.iter().zip(solve(normal, right)) {
            state[*i] = x;
        }
        let energy = 0.5 * rows.iter().map(|r| dot(r, &state).powi(2)).sum::<f64>();
        Built { graph: b.build().expect("graph"), ids, clamps, minimum: state, energy }
    }

    fn check(&self, what: &str, seed: u64, schedule: Schedule) {
        let mut built = self.build(seed);
        let mut relaxation = Relaxation::new(&built.graph, schedule).expect(what);
        let outcome = relaxation.run(&mut built.graph, &built.clamps).expect(what);
        assert_eq!(outcome.status, Status::Converged, "{what}: {outcome:?}");
        let found: Vec<f64> = built
            .ids
            .iter()
            .flat_map(|id| relaxation.value(&built.graph, *id).expect("a value").to_vec())
            .collect();
        close(&format!("{what}: states"), &found, &built.minimum, 1e-9);
        close(&format!("{what}: energy"), &[outcome.energy.total()], &[built.energy], 1e-9);
    }
}

/// A DAG with a skip, its ends held.
fn dag(precisions: &[f64]) -> Case {
    Case {
        parents: vec![(1, vec![0]), (2, vec![1]), (3, vec![2, 1]), (4, vec![3])],
        held: vec![0, 4],
        vertices: 5,
        precisions: precisions.to_vec(),
    }
}

#[test]
fn standard_pc_reaches_the_minimum_of_a_linear_dag() {
    for seed in 0..5 {
        dag(&[1.0; 4]).check(
            "plain",
            seed,
            Schedule::standard(0.1, 100_000).unwrap().until(1e-12).unwrap(),
        );
        dag(&[1.0; 4]).check(
            "momentum",
            seed,
            Schedule::standard(0.1, 100_000)
                .unwrap()
                .until(1e-12)
                .unwrap()
                .with_momentum(0.7)
                .unwrap(),
        );
        dag(&[1.0; 4]).check(
            "from zero",
            seed,
            Schedule::standard(0.1, 100_000).unwrap().until(1e-12).unwrap().starting(Start::Zero),
        );
        dag(&[1.0; 4]).check(
            "from noise",
            seed,
            Schedule::standard(0.1, 100_000)
                .unwrap()
                .until(1e-12)
                .unwrap()
                .starting(Start::Noise { deviation: 1.0, seed }),
        );
        dag(&[0.5, 2.0, 1.0, 1.5]).check(
            "precisions",
            seed,
            Schedule::standard(0.1, 100_000).unwrap().until(1e-12).unwrap(),
        );
    }
}

#[test]
fn error_based_pc_reaches_the_same_minimum() {
    for seed in 0..5 {
        dag(&[1.0; 4]).check(
            "plain",
            seed,
            Schedule::epc(0.1, 100_000).unwrap().until(1e-12).unwrap(),
        );
        dag(&[0.5, 2.0, 1.0, 1.5]).check(
            "precisions",
            seed,
            Schedule::epc(0.1, 100_000).unwrap().until(1e-12).unwrap(),
        );
    }
}

#[test]
fn an_adaptive_step_descends_from_a_rate_far_too_large() {
    for seed in 0..3 {
        let adaptive = Schedule::standard(20.0, 100_000).unwrap().adaptive().traced();
        let mut built = dag(&[1.0; 4]).build(seed);
        let outcome = Relaxation::new(&built.graph, adaptive)
            .unwrap()
            .run(&mut built.graph, &built.clamps)
            .unwrap();
        close("energy", &[outcome.energy.total()], &[built.energy], 1e-9);
        let plain = Schedule::standard(20.0, 2_000).unwrap();
        let plain = Relaxation::new(&built.graph, plain)
            .unwrap()
            .run(&mut built.graph, &built.clamps)
            .unwrap();
        assert_eq!(plain.status, Status::Diverged);
        let errors = Schedule::epc(20.0, 100_000).unwrap().adaptive();
        let outcome = Relaxation::new(&built.graph, errors)
            .unwrap()
            .run(&mut built.graph, &built.clamps)
            .unwrap();
        close("energy in errors", &[outcome.energy.total()], &[built.energy], 1e-9);
    }
}

#[test]
fn a_cyclic_graph_settles_where_a_direct_solve_says() {
    // 1 -> 2 -> 3 -> 1, with 0 feeding 1 and 4 reading 3: no order, so no forward start.
    let cyclic = Case {
        parents: vec![(1, vec![0, 3]), (2, vec![1]), (3, vec![2]), (4, vec![3])],
        held: vec![0, 4],
        vertices: 5,
        precisions: vec![1.0; 4],
    };
    for seed in 0..5 {
        cyclic.check(
            "cycle",
            seed,
            Schedule::standard(0.1, 100_000).unwrap().until(1e-12).unwrap().starting(Start::Zero),
        );
    }
    let mut built = cyclic.build(0);
    let forward = Schedule::standard(0.1, 10).unwrap();
    let mut relaxation = Relaxation::new(&built.graph, forward).unwrap();
    let error = relaxation.run(&mut built.graph, &built.clamps).unwrap_err();
    assert!(error.to_string().contains("cycle"), "{error}");
    let mut relaxation = Relaxation::new(&built.graph, Schedule::epc(0.1, 10).unwrap()).unwrap();
    let error = relaxation.run(&mut built.graph, &built.clamps).unwrap_err();
    assert!(error.to_string().contains("cycle"), "{error}");
    assert!(Relaxation::new(&built.graph, Schedule::zil()).is_err());
}

#[test]
fn a_cycle_that_is_held_somewhere_has_an_order() {
    // The same cycle, held at 1: from there outward it is a graph without one.
    let cyclic = Case {
        parents: vec![(1, vec![0, 3]), (2, vec![1]), (3, vec![2]), (4, vec![3])],
        held: vec![0, 1, 4],
        vertices: 5,
        precisions: vec![1.0, 0.5, 0.5, 2.0],
    };
    for seed in 0..5 {
        for epc in [Schedule::epc(0.1, 100_000), Schedule::standard(0.1, 100_000)] {
            cyclic.check("held cycle", seed, epc.unwrap().until(1e-12).unwrap());
        }
        let mut built = cyclic.build(seed);
        let mut gradients = |schedule: Schedule| {
            let mut relaxation = Relaxation::new(&built.graph, schedule).unwrap();
            relaxation.run(&mut built.graph, &built.clamps).unwrap();
            let all = relaxation.gradients().iter();
            let all: Vec<f64> = all.flat_map(|(_, g)| g.expect("reached").to_vec()).collect();
            (all, relaxation.evaluation())
        };
        let fixed =
            |evaluation| Schedule::fixed_prediction(0.3, 2).unwrap().evaluated_by(evaluation);
        let (plain, _) = gradients(fixed(Evaluation::Simulate));
        let (closed, how) = gradients(fixed(Evaluation::ClosedForm));
        assert!(how.starts_with("closed form"), "{how}");
        close("closed form", &closed, &plain, 1e-13);
        close("front", &gradients(fixed(Evaluation::Front)).0, &plain, 1e-13);
    }
}

#[test]
fn backprop_on_a_held_cycle_is_the_derivative() {
    let cyclic = Case {
        parents: vec![(1, vec![0, 3]), (2, vec![1]), (3, vec![2]), (4, vec![3])],
        held: vec![0, 1, 4],
        vertices: 5,
        precisions: vec![1.0; 4],
    };
    let mut built = cyclic.build(7);
    let mut relaxation = Relaxation::new(&built.graph, Schedule::backprop()).unwrap();
    let energy = |built: &mut Built, relaxation: &mut Relaxation<Graph<HostTensor<f64>>>| {
        let start = Schedule::standard(0.1, 1).unwrap().unrelaxed();
        let mut at = Relaxation::new(&built.graph, start).unwrap();
        let outcome = at.run(&mut built.graph, &built.clamps).unwrap();
        relaxation.run(&mut built.graph, &built.clamps).unwrap();
        outcome.energy.total()
    };
    energy(&mut built, &mut relaxation);
    let gradients: Vec<Vec<f64>> =
        relaxation.gradients().iter().map(|(_, g)| g.expect("reached").to_vec()).collect();
    for (parameter, gradient) in gradients.iter().enumerate() {
        for (k, expected) in gradient.iter().enumerate() {
            let mut moved = |by: f64| {
                built.graph.parameters_mut()[parameter].data_mut()[k] += by;
                let energy = energy(&mut built, &mut relaxation);
                built.graph.parameters_mut()[parameter].data_mut()[k] -= by;
                energy
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - expected).abs() < 1e-8, "{parameter} {k}: {slope} {expected}");
        }
    }
}

#[test]
fn two_predictions_of_one_vertex_are_both_heeded() {
    // Up and down between each pair: bidirectional PC, whose forward pass follows the first
    // prediction of each vertex.
    let both = Case {
        parents: vec![(1, vec![0]), (2, vec![1]), (1, vec![2]), (0, vec![1])],
        held: vec![0, 2],
        vertices: 3,
        precisions: vec![1.0, 1.0, 0.3, 0.1],
    };
    for seed in 0..5 {
        both.check(
            "bidirectional",
            seed,
            Schedule::standard(0.1, 100_000).unwrap().until(1e-12).unwrap().starting(Start::Zero),
        );
        // Errors as coordinates: of the prediction that sets a vertex; the others drive.
        let epc = |rate| Schedule::epc(rate, 100_000).unwrap();
        both.check("bidirectional, by errors", seed, epc(0.1).until(1e-12).unwrap());
    }
}
