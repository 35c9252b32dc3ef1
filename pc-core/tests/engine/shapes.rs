//! Vertices of users: without parents, and such that write other shapes than they say.

use pc_core::{
    Chain, Clamps, ErrorKind, Graph, Relaxation, Result, Schedule, Tensor, VertexId,
    backend::{Cache, Inputs, Pulled, Vertex},
    host::{Activate, Activation, HostLayers, HostTensor, HostVertex},
};

use crate::common::{close, tensor};

type T = HostTensor<f64>;

/// A parameter as a prediction: no parents.
#[derive(Debug)]
struct Constant;

impl Vertex<T> for Constant {
    fn kind(&self) -> &str {
        "constant"
    }
    fn shape(&self, _parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        Ok(parameters[0].to_vec())
    }
    fn parameters(&self) -> usize {
        1
    }
    fn predict(&self, at: &Inputs<'_, T>, _cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        let row = at.parameter(0).data();
        output.data_mut().chunks_exact_mut(row.len()).for_each(|y| y.copy_from_slice(row));
        Ok(())
    }
    fn pull(
        &self,
        _at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        let scale = pulled.scale();
        if let Some(gradient) = pulled.gradient(0) {
            let length = gradient.data().len();
            for row in cotangent.data().chunks_exact(length) {
                gradient.data_mut().iter_mut().zip(row).for_each(|(g, u)| *g += scale * u);
            }
        }
        Ok(())
    }
}

/// `y = x tanh(p)` with `p` a parameter, whose tanh is a chain from no parent or two vertices.
fn gradient(chained: bool, schedule: Schedule) -> Vec<f64> {
    let mut b = Graph::builder();
    let x = b.input("x", &[2]).unwrap();
    let p = b.parameter("p", tensor(&[2], &[0.3, -0.7])).unwrap();
    let t = if chained {
        let links: Vec<HostVertex<f64>> =
            vec![Box::new(Constant), Box::new(Activate(Activation::Tanh))];
        b.vertex("t", Box::new(Chain::<T>::new(links).unwrap()), &[], &[p]).unwrap()
    } else {
        let c = b.vertex("c", Box::new(Constant), &[], &[p]).unwrap();
        b.activate("t", c, Activation::Tanh).unwrap()
    };
    let y = b.product("y", &[x, t]).unwrap();
    let mut graph = b.build().unwrap();
    let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
    // Twice, with another batch the second time.
    for batch in [3, 2] {
        let numbers = |from: f64| (0..2 * batch).map(|k| from + 0.2 * f64::from(k)).collect();
        let (x_values, y_values): (Vec<f64>, Vec<f64>) = (numbers(0.1), numbers(-0.4));
        let shape = [batch as usize, 2];
        let clamps =
            Clamps::new().hold(x, tensor(&shape, &x_values)).hold(y, tensor(&shape, &y_values));
        relaxation.run(&mut graph, &clamps).unwrap();
    }
    relaxation.gradients().get(p).unwrap().to_vec()
}

#[test]
fn a_chain_from_no_parent() {
    let (one, two) = (gradient(true, Schedule::backprop()), gradient(false, Schedule::backprop()));
    assert!(one.iter().all(|x| *x != 0.0));
    close("backprop", &one, &two, 1e-15);
    // A live rule evaluates changes too.
    let live = gradient(true, Schedule::standard(0.1, 5).unwrap());
    assert!(live.iter().all(|x| x.is_finite() && *x != 0.0));
}

/// The identity, but for one call, which replaces the tensor it is handed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Misshapen {
    Predict,
    Change,
    Pull,
    Never,
}

impl Vertex<T> for Misshapen {
    fn kind(&self) -> &str {
        "misshapen"
    }
    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        Ok(parents[0].to_vec())
    }
    fn predict(&self, at: &Inputs<'_, T>, _cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        output.copy_from(at.value(0));
        if *self == Self::Predict {
            *output = output.zeros(&[2, 4]);
        }
        Ok(())
    }
    fn change(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        output.set_difference(at.value(0), predicted);
        if *self == Self::Change {
            *output = output.zeros(&[1, 3]);
        }
        Ok(())
    }
    fn pull(
        &self,
        _at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.copy_from(cotangent);
            if *self == Self::Pull {
                *force = force.zeros(&[3, 2]);
            }
        }
        Ok(())
    }
}

fn misshapen(how: Misshapen) -> (Graph<T>, VertexId, VertexId) {
    let mut b = Graph::builder();
    let x = b.input("x", &[3]).unwrap();
    let h = b.activate("h", x, Activation::Tanh).unwrap();
    let bad = b.vertex("bad", Box::new(how), &[h], &[]).unwrap();
    (b.build().unwrap(), x, bad)
}

#[test]
fn other_shapes_than_a_vertex_says() {
    let ones = || tensor(&[2, 3], &[1.0; 6]);
    for (how, what, shape) in [
        (Misshapen::Predict, "prediction", "[2, 4]"),
        (Misshapen::Change, "change", "[1, 3]"),
        (Misshapen::Pull, "force", "[3, 2]"),
    ] {
        let (mut graph, x, bad) = misshapen(how);
        let clamps = Clamps::new().hold(x, ones()).hold(bad, ones());
        let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 3).unwrap()).unwrap();
        // The wrong tensor does not stay, so that the second try says the same.
        for _ in 0..2 {
            let error = relaxation.run(&mut graph, &clamps).unwrap_err();
            assert_eq!((error.kind(), error.vertex()), (ErrorKind::Shape, Some("bad")), "{error}");
            for word in [what, shape, "misshapen"] {
                assert!(error.to_string().contains(word), "`{error}` does not say `{word}`");
            }
        }
    }
    let (mut graph, x, bad) = misshapen(Misshapen::Never);
    let clamps = Clamps::new().hold(x, ones()).hold(bad, ones());
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 3).unwrap()).unwrap();
    relaxation.run(&mut graph, &clamps).unwrap();
}

#[test]
fn a_force_of_another_shape_in_backprop() {
    let (mut graph, x, bad) = misshapen(Misshapen::Pull);
    let ones = || tensor(&[2, 3], &[1.0; 6]);
    let clamps = Clamps::new().hold(x, ones()).hold(bad, ones());
    let mut relaxation = Relaxation::new(&graph, Schedule::backprop()).unwrap();
    let error = relaxation.run(&mut graph, &clamps).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Shape, Some("bad")), "{error}");
}
