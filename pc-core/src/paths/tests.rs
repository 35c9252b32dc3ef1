//! Closed forms and reach, on topologies alone.

use super::{
    closed_form::{Form, Question, binomial_tails, find},
    reach::reach,
};
use crate::topology::{Prediction, Topology, VertexId};

/// The recursion that the errors themselves follow: a sum of positive terms.
fn by_steps(rate: f64, steps: usize, depth: usize) -> Vec<f64> {
    let mut tails = vec![0.0; depth + 2];
    tails[0] = 1.0;
    for _ in 0..steps {
        for k in (1..tails.len()).rev() {
            tails[k] = (1.0 - rate) * tails[k] + rate * tails[k - 1];
        }
    }
    tails
}

#[test]
fn tails_are_those_of_the_recursion() {
    for rate in [1e-9, 1e-3, 0.02, 0.1, 0.3, 0.5, 0.77, 0.999, 1.0] {
        for steps in [0, 1, 2, 5, 20, 33, 1000, 5000] {
            for depth in [0, 1, 3, 10, 64, 400] {
                let expected = by_steps(rate, steps, depth);
                let found = binomial_tails(rate, steps, depth);
                assert_eq!(found.len(), expected.len());
                for (k, (tail, wanted)) in found.iter().zip(&expected).enumerate() {
                    let off = (tail - wanted).abs();
                    let case = format!("rate {rate}, T {steps}, k {k}: {tail} is not {wanted}");
                    // The recursion rounds once a step.
                    assert!(off <= 1e-15 * (steps + 10) as f64 * wanted.max(1e-290), "{case}");
                }
            }
        }
    }
}

#[test]
fn any_number_of_steps_costs_the_same() {
    assert_eq!(binomial_tails(0.1, usize::MAX, 5), [1.0; 7]);
    assert_eq!(binomial_tails(1.0, usize::MAX, 1), [1.0; 3]);
    // Poisson's limit: P[N >= 1] = 1 - exp(-mean).
    let tails = binomial_tails(1e-15, 1_000_000_000_000_000, 2);
    assert!((tails[1] - (1.0 - (-1.0_f64).exp())).abs() < 1e-12, "{tails:?}");
}

fn topology(edges: &[(usize, &[usize])], count: usize) -> Topology {
    let predictions = edges.iter().map(|(of, parents)| {
        let parents = parents.iter().map(|p| VertexId::new(*p)).collect();
        Prediction::new(VertexId::new(*of), parents, Vec::new())
    });
    let names = (0..count).map(|v| format!("v{v}")).collect();
    Topology::new(names, Vec::new(), predictions.collect()).unwrap()
}

#[test]
fn a_chain_is_one_sweep_and_a_skip_is_not() {
    let chain = topology(&[(1, &[0]), (2, &[1]), (3, &[2])], 4);
    let free = [false, true, true, false];
    let order = chain.forward_order().unwrap();
    let question = Question {
        order,
        topology: &chain,
        free: &free,
        counts: &[true; 3],
        rate: 0.5,
        steps: 2,
        traverse: true,
        single: true,
    };
    // P[Bin(2, 1/2) >= 2], P[.. >= 1], and the held output itself.
    assert_eq!(find(&question).unwrap(), Form::Sweep(vec![0.25, 0.75, 1.0]));
    let exact = Question { rate: 1.0, steps: 3, ..question };
    assert_eq!(find(&exact).unwrap(), Form::Sweep(vec![1.0; 3]));
    let skip = topology(&[(1, &[0]), (2, &[1]), (3, &[2, 1])], 4);
    let order = skip.forward_order().unwrap();
    let skipping = Question { topology: &skip, order, ..question };
    assert_eq!(find(&skipping).unwrap(), Form::Layers(vec![1.0, 0.75, 0.25, 0.0]));
    assert!(find(&Question { single: false, ..skipping }).is_err());
    assert!(find(&Question { rate: 1.5, ..question }).is_err());
}

#[test]
fn errors_reach_one_edge_a_step_through_what_is_free() {
    // 0 -> 1 -> 2 -> 3, and 4 hangs off 1 with nothing below.
    let net = topology(&[(1, &[0]), (2, &[1]), (3, &[2]), (4, &[1])], 5);
    let free = [false, true, true, false, true];
    let found = |steps: usize, free: &[bool]| {
        let mut active = [false, false, true, false];
        reach(&net, free, &[true; 4], steps, &mut active);
        active
    };
    assert_eq!(found(0, &free), [false, false, true, false]);
    assert_eq!(found(1, &free), [false, true, true, false]);
    assert_eq!(found(9, &free), [true, true, true, false]);
    assert_eq!(found(9, &[false, true, false, false, true]), [false, false, true, false]);
}
