//! Closed forms of linear graphs against relaxation and against plain matrices, and the measure of
//! how a step aims against the closed form.

use pc_core::{
    Activation, Clamps, Graph, ParamId, Relaxation, Schedule, SquaredError, Tensor, VertexId,
    host::{Dense, HostLayers, HostTensor, Init},
};
use pc_models::{
    Host,
    theory::{LinearTheory, output_change, target_alignment},
};

use crate::linear::{Rows, product, solved, transposed, unit};

type T = HostTensor<f64>;

/// A graph with a branch, a skip and a shared weight: `h3 = W h1 + W h2 + h1`.
fn branched(activation: Activation) -> (Graph<T>, Vec<VertexId>) {
    let (mut b, mut init) = (Graph::<T>::builder(), Init::new(3));
    let x = b.input("x", &[4]).unwrap();
    let plain = |n: usize| Dense::new(n).without_bias();
    let h1 = b.layer("h1", &[x], &plain(5), &mut init).unwrap();
    let h2 = b.dense("h2", h1, 5, activation, &mut init).unwrap();
    let both = b.layer("both", &[h1, h2], &plain(5), &mut init).unwrap();
    let h3 = b.sum("h3", &[both, h1]).unwrap();
    let y = b.layer("y", &[h3], &plain(3), &mut init).unwrap();
    (b.build().unwrap(), vec![x, h1, h2, both, h3, y])
}

fn settled() -> Schedule {
    Schedule::epc(0.02, 50_000).unwrap().until(1e-11).unwrap().with_momentum(0.8).unwrap()
}

fn numbers(shape: &[usize], seed: u64) -> T {
    let mut tensor = T::zeroed(shape).unwrap();
    tensor.add_normal(1.0, seed);
    tensor
}

fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |m, x| if x > m || x.is_nan() { x } else { m })
}

#[test]
fn relaxation_comes_to_the_closed_form_on_a_graph_with_skips() {
    let (mut graph, v) = branched(Activation::Identity);
    let theory = LinearTheory::of(&Host::<f64>::new(), &mut graph, v[5]).unwrap();
    for (round, lambda) in [1.0, 0.1, 7.0].into_iter().enumerate() {
        // Called again with something changed in between: other data, another strength.
        let (x, y) = (numbers(&[1, 4], 5 + round as u64), numbers(&[1, 3], 6));
        let theory = theory.clone().with_strength(lambda).unwrap();
        let out = graph.predict(&[(v[0], &x)], v[5]).unwrap();
        let residual: Vec<f64> = y.data().iter().zip(out.data()).map(|(y, o)| y - o).collect();
        let mut rule = Relaxation::new(&graph, settled()).unwrap();
        let clamps = Clamps::new().hold(v[0], x);
        let clamps = clamps.weak_loss(v[5], SquaredError::new(y), lambda);
        let outcome = rule.run(&mut graph, &clamps).unwrap();
        let energy = theory.energy(&residual).unwrap();
        assert!((outcome.energy.total() - energy).abs() <= 1e-12 * energy, "{outcome:?} {energy}");
        for vertex in &v[1..5] {
            let id = graph.topology().predictions_of(*vertex).unwrap()[0];
            let expected = theory.errors(*vertex, &residual).unwrap();
            let found = rule.error(id).unwrap().to_vec();
            assert!(apart(&found, &expected) <= 1e-9, "{vertex:?}: {found:?} {expected:?}");
        }
        let rescaled = theory.rescaled(&residual).unwrap();
        let expected: Vec<f64> = theory.errors(v[5], &residual).unwrap();
        assert_eq!(rescaled, expected);
    }
    assert!(theory.reach(v[0]).is_none());
}

#[test]
fn a_chain_agrees_with_plain_matrices() {
    let (mut b, mut init) = (Graph::<T>::builder(), Init::new(1));
    let x = b.input("x", &[2]).unwrap();
    let h = b.layer("h", &[x], &Dense::new(4).without_bias(), &mut init).unwrap();
    let y = b.layer("y", &[h], &Dense::new(3).without_bias(), &mut init).unwrap();
    let mut graph = b.build().unwrap();
    let w: Rows = graph.parameters()[1].data().chunks(4).map(<[f64]>::to_vec).collect();
    let mut s = product(&w, &transposed(&w));
    s.iter_mut().zip(unit(3)).for_each(|(row, one)| {
        row.iter_mut().zip(one).for_each(|(x, one)| *x += one);
    });
    let residual = vec![0.3, -1.0, 2.0];
    let expected = solved(&s, &residual.iter().map(|r| vec![*r]).collect()).concat();
    let theory = LinearTheory::of(&Host::<f64>::new(), &mut graph, y).unwrap();
    assert!(apart(&theory.rescaled(&residual).unwrap(), &expected) < 1e-13);
    assert!(apart(&theory.rescaling().concat(), &s.concat()) < 1e-13);
}

#[test]
fn what_has_no_closed_form_is_refused() {
    let host = Host::<f64>::new();
    for activation in [Activation::Tanh, Activation::Relu] {
        let (mut graph, v) = branched(activation);
        let error = LinearTheory::of(&host, &mut graph, v[5]).unwrap_err();
        assert!(error.to_string().contains("not linear"), "{error}");
    }
    let (mut graph, v) = branched(Activation::Identity);
    assert!(LinearTheory::of(&host, &mut graph, v[0]).is_err());
    assert!(LinearTheory::of(&host, &mut graph, v[2]).is_err());
    let theory = LinearTheory::of(&host, &mut graph, v[5]).unwrap();
    assert!(theory.energy(&[1.0]).unwrap_err().to_string().contains("3 numbers, not 1"));
    assert!(theory.energy(&[f64::NAN, 0.0, 0.0]).is_err());
    assert!(theory.with_strength(0.0).is_err());
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[2]).unwrap();
    let y = b.layer("y", &[x], &Dense::new(2).precision(0.5), &mut Init::new(0)).unwrap();
    assert!(LinearTheory::of(&host, &mut b.build().unwrap(), y).is_err());
}

/// `Delta y = sum_l |v_(l-1)|^2 M_l r` of backprop, and with layer rates.
#[test]
fn the_change_of_the_output_is_the_closed_form() {
    let (mut b, mut init) = (Graph::<T>::builder(), Init::new(4));
    let x = b.input("x", &[6]).unwrap();
    let h = b.layer("h", &[x], &Dense::new(6).without_bias(), &mut init).unwrap();
    let y = b.layer("y", &[h], &Dense::new(6).without_bias(), &mut init).unwrap();
    let mut graph = b.build().unwrap();
    let theory = LinearTheory::of(&Host::<f64>::new(), &mut graph, y).unwrap();
    let (input, target) = (numbers(&[1, 6], 1), numbers(&[1, 6], 2));
    let hidden = graph.predict(&[(x, &input)], h).unwrap();
    let out = graph.predict(&[(x, &input)], y).unwrap();
    let residual: Vec<f64> = target.data().iter().zip(out.data()).map(|(y, o)| y - o).collect();
    let mut rule = Relaxation::new(&graph, Schedule::backprop()).unwrap();
    rule.run(&mut graph, &Clamps::new().hold(x, input.clone()).hold(y, target.clone())).unwrap();
    let before = graph.parameters().to_vec();
    for rates in [[1.0, 1.0], [0.5, 3.0]] {
        let by = [(ParamId::new(0), rates[0]), (ParamId::new(1), rates[1])];
        let found = output_change(&mut graph, &[(x, &input)], y, rule.gradients(), &by).unwrap();
        let mut expected = vec![0.0; 6];
        for (vertex, below, rate) in [(h, &input, rates[0]), (y, &hidden, rates[1])] {
            let p: Rows = theory.reach(vertex).unwrap().to_vec();
            let m = product(&p, &transposed(&p));
            for (row, own) in m.iter().zip(&mut expected) {
                let along: f64 = row.iter().zip(&residual).map(|(m, r)| m * r).sum();
                *own += rate * below.norm_squared() * along;
            }
        }
        assert!(apart(&found.to_vec(), &expected) < 1e-9, "{found:?} {expected:?}");
        assert_eq!(graph.parameters(), before);
    }
    let unknown = [(ParamId::new(9), 1.0)];
    let known = [(x, &input)];
    assert!(output_change(&mut graph, &known, y, rule.gradients(), &unknown).is_err());
    let wild = [(ParamId::new(0), f64::NAN)];
    assert!(output_change(&mut graph, &known, y, rule.gradients(), &wild).is_err());
    // No angle where nothing is wanted, and unequal shapes.
    assert!(target_alignment(&out, &target, &target).is_err());
    assert!(target_alignment(&out, &numbers(&[2, 3], 0), &target).is_err());
    let doubled = T::new(&[1, 6], residual.iter().map(|r| 2.0 * r).collect()).unwrap();
    assert!((target_alignment(&doubled, &out, &target).unwrap() - 1.0).abs() < 1e-12);
}
