//! What the tests have in common.

use dfdx::prelude::*;
use pc_dfdx::Scalar;

/// The numbers of a model's tensors, or those of their gradients.
pub(crate) struct Numbers<'a, E: Unit> {
    gradients: Option<&'a Gradients<E, Cpu>>,
    found: Vec<Vec<f64>>,
}

impl<E: Scalar> TensorVisitor<E, Cpu> for Numbers<'_, E>
where
    Cpu: Device<E>,
{
    type Viewer = ViewTensorRef;
    type Err = CpuError;
    type E2 = E;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, Cpu>,
        tensor: &Tensor<S, E, Cpu>,
    ) -> Result<Option<Tensor<S, E, Cpu>>, CpuError> {
        match self.gradients {
            Some(gradients) if options.do_gradient_update => {
                let of = gradients.get(tensor).as_vec();
                self.found.push(of.into_iter().map(|x| x.value()).collect());
            }
            Some(_) => {}
            None => self.found.push(tensor.as_vec().into_iter().map(|x| x.value()).collect()),
        }
        Ok(None)
    }
}

fn walk<M: TensorCollection<E, Cpu>, E: Scalar>(
    model: &M,
    gradients: Option<&Gradients<E, Cpu>>,
) -> Vec<Vec<f64>>
where
    Cpu: Device<E>,
{
    let mut numbers = Numbers { gradients, found: Vec::new() };
    M::iter_tensors(&mut RecursiveWalker { m: model, f: &mut numbers }).unwrap();
    numbers.found
}

pub(crate) fn numbers<M: TensorCollection<E, Cpu>, E: Scalar>(model: &M) -> Vec<Vec<f64>>
where
    Cpu: Device<E>,
{
    walk(model, None)
}

pub(crate) fn gradients<M: TensorCollection<E, Cpu>, E: Scalar>(
    model: &M,
    gradients: &Gradients<E, Cpu>,
) -> Vec<Vec<f64>>
where
    Cpu: Device<E>,
{
    walk(model, Some(gradients))
}

/// The largest difference over the largest gradient; panics beyond `tolerance`.
pub(crate) fn close(found: &[Vec<f64>], wanted: &[Vec<f64>], tolerance: f64, what: &str) {
    let shape = |all: &[Vec<f64>]| all.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(shape(found), shape(wanted), "{what}");
    let largest = wanted.iter().flatten().fold(0.0_f64, |m, x| m.max(x.abs()));
    assert!(largest > 0.0, "{what}: nothing to compare");
    for (k, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        for (a, b) in found.iter().zip(wanted) {
            assert!((a - b).abs() <= tolerance * largest, "{what}: tensor {k} has {a}, not {b}");
        }
    }
}

/// How far two lists are apart, as in [`close`].
pub(crate) fn apart(found: &[Vec<f64>], wanted: &[Vec<f64>]) -> f64 {
    let largest = wanted.iter().flatten().fold(0.0_f64, |m, x| m.max(x.abs()));
    let pairs = found.iter().flatten().zip(wanted.iter().flatten());
    pairs.fold(0.0_f64, |m, (a, b)| m.max((a - b).abs())) / largest
}

/// Calls a loss with what a forward pass gave, which tells the closure what it takes.
pub(crate) fn apply<A, R>(mut loss: impl FnMut(A) -> R, found: A) -> R {
    loss(found)
}
