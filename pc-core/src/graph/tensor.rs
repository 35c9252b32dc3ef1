//! What explicit graphs ask of a tensor beyond what the engine asks.

use crate::{
    Activation, Chain, Result,
    composites::blocks,
    graph::{GraphFrame, NodeState},
    tensor::Tensor,
    topology::PredictionId,
    vertex::Vertex,
};

/// A tensor that [`crate::Graph`]s can be made of: it says how a vertex is owned, on which threads
/// vertices run, and how the vertices that are written once for all backends
/// ([`crate::composites`]) get at numbers.
///
/// Only the first three items are required. The operations on numbers have defaults that copy the
/// numbers to lists in `f64` and back; a backend overrides those that it has itself. As with
/// [`Tensor`], shapes have been checked before, so that none of them fails. Axes are counted
/// without the batch.
pub trait GraphTensor: Tensor {
    /// How this backend owns a vertex of an explicit graph: `Box<dyn Vertex<Self>>`, with `Send +
    /// Sync` added where vertices run in parallel.
    type Vertex: Vertex<Self>;

    /// Owns a vertex of settings alone, such as [`crate::Identity`] (which levelling inserts): its
    /// `Box`.
    fn boxed(vertex: impl Vertex<Self> + Send + Sync + 'static) -> Self::Vertex;

    /// Owns a chain: its `Box`. It is as shareable as its links are.
    fn chained(chain: Chain<Self>) -> Self::Vertex;

    /// Runs `job` once for every node of an explicit graph: with the id of its prediction, which
    /// counts as the nodes do, its own state, and its own tensor of `outputs` (which may be empty).
    /// The jobs are independent of one another; a backend whose tensors are shareable runs them in
    /// parallel.
    fn for_each_node(
        nodes: &mut [NodeState<Self>],
        outputs: &mut [Self],
        frame: &GraphFrame<'_, Self>,
        job: NodeJob<Self>,
    ) {
        let mut outputs = outputs.iter_mut();
        for (index, node) in nodes.iter_mut().enumerate() {
            job(PredictionId::new(index), node, outputs.next(), frame);
        }
    }

    /// Reports what failed on this thread since this was last asked, in an operation that returns
    /// no error, such as reading numbers of a device that is lost: see [`Network::failure`].
    ///
    /// # Errors
    /// What failed.
    ///
    /// [`Network::failure`]: crate::Network::failure
    fn failure() -> Result<()> {
        Ok(())
    }

    /// Says that all of one step of a relaxation has been asked for: see [`Network::step_ends`]. A
    /// graph asks it of its first parameter, where it has one.
    ///
    /// # Errors
    /// What the device reports.
    ///
    /// [`Network::step_ends`]: crate::Network::step_ends
    fn step_ends(&self) -> Result<()> {
        Ok(())
    }

    /// The length along an axis; 1 where there is no such axis.
    fn length(&self, axis: usize) -> usize {
        self.shape().get(axis + 1).copied().unwrap_or(1)
    }

    /// `self <- a * b`, element by element.
    fn set_product(&mut self, a: &Self, b: &Self) {
        self.copy_from(a);
        self.multiply(b);
    }

    /// `self <- self + a * b`, element by element.
    fn add_product(&mut self, a: &Self, b: &Self) {
        let mut product = a.clone();
        product.multiply(b);
        self.axpy(1.0, &product);
    }

    /// `self <- f(a)`, or `self <- f(a + d) - f(a)` without cancellation where there is a `d`;
    /// `derivative <- f'` at `a` or `a + d`. Element by element.
    ///
    /// # Errors
    /// The backend does not know the activation.
    fn set_activation(
        &mut self,
        derivative: &mut Self,
        f: Activation,
        a: &Self,
        d: Option<&Self>,
    ) -> Result<()> {
        let outputs = &mut [derivative, self];
        match d {
            None => Self::by_rows(&[a], outputs, &mut |read, written| {
                if let ([a], [derivative, output]) = (read, written) {
                    f.evaluate_slices(a, None, derivative, output);
                }
            }),
            Some(d) => Self::by_rows(&[a, d], outputs, &mut |read, written| {
                if let ([a, d], [derivative, output]) = (read, written) {
                    f.evaluate_slices(a, Some(d), derivative, output);
                }
            }),
        }
        Ok(())
    }

    /// Adds `a x` to every sample, where `x` is a parameter of a sample's shape.
    fn add_to_samples(&mut self, a: f64, x: &Self) {
        let x = x.to_vec();
        Self::by_rows(&[], &mut [self], &mut |_, samples| {
            for sample in samples {
                sample.iter_mut().zip(&x).for_each(|(y, x)| *y += a * x);
            }
        });
    }

    /// Adds `a` times the sum of all samples of `x` to a parameter of a sample's shape: the
    /// transpose of [`GraphTensor::add_to_samples`].
    fn add_samples(&mut self, a: f64, x: &Self) {
        let mut sum = self.to_vec();
        Self::by_rows(&[x], &mut [], &mut |samples, _| {
            for sample in samples {
                sum.iter_mut().zip(*sample).for_each(|(y, x)| *y += a * x);
            }
        });
        self.assign(&sum);
    }

    /// The elements of `source` from `start` on along `axis`, as many as `self` has there.
    fn set_slice(&mut self, source: &Self, axis: usize, start: usize) {
        let (from, shape) = (source.to_vec(), self.shape());
        let mut to = vec![0.0; shape.iter().product()];
        blocks::cut(&from, &source.shape(), &mut to, &shape, axis, start);
        self.assign(&to);
    }

    /// The parts one after the other along `axis`, each with its length there; zeros where a part
    /// is `None`. Together they are as long as `self`.
    fn set_joined<'a>(
        &mut self,
        axis: usize,
        parts: impl Iterator<Item = (usize, Option<&'a Self>)>,
    ) where
        Self: 'a,
    {
        let shape = self.shape();
        let mut to = vec![0.0; shape.iter().product()];
        let mut start = 0;
        for (length, part) in parts {
            let part = part.map(Self::to_vec);
            blocks::lay(&mut to, &shape, axis, start..start + length, part.as_deref(), 0.0);
            start += length;
        }
        self.assign(&to);
    }

    /// The numbers of `source` in the same order; `self` keeps its shape.
    fn set_reshaped(&mut self, source: &Self) {
        self.assign(&source.to_vec());
    }

    /// `source` with its first two axes exchanged.
    fn set_swapped(&mut self, source: &Self) {
        let (from, shape) = (source.to_vec(), source.shape());
        let mut to = vec![0.0; from.len()];
        blocks::swap(&from, &shape, &mut to);
        self.assign(&to);
    }
}

/// A job of [`GraphTensor::for_each_node`]: the node of one prediction.
pub type NodeJob<T> = fn(PredictionId, &mut NodeState<T>, Option<&mut T>, &GraphFrame<'_, T>);
