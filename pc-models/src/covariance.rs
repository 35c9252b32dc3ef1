//! Memories of one layer that learn how pixels covary.

use std::fmt;

use pc_core::{
    Clamps, Error, ErrorKind, Gradients, Graph, LearnedMatrixPrecision, Outcome, Prior, Relaxation,
    Result, Schedule, Start, VertexId, ZeroDiagonal, backend::GraphTensor,
};

use crate::{Backend, Dense, settled::settled};

/// Where a [`CovarianceMemory`] keeps how pixels covary, and how it completes a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covariance {
    /// A learned mean and precision matrix, `F = 1/2 (x - m)^T Pi (x - m) - 1/2 log det Pi`: pixels
    /// follow `-Pi (x - m)`. What is missing comes to the mean of the Gaussian given what is known.
    Explicit,
    /// Recurrent weights without a diagonal, `F = 1/2 |e|^2` with `e = x - W x - b`: pixels follow
    /// `-e + W^T e`. What is missing comes to the mean, given what is known, of the Gaussian of
    /// precision `(I - W)^T (I - W)`. Where the energy of what is stored is 0, what is stored is
    /// where it comes to rest. Of data in general that Gaussian is not the data's own, which
    /// [`Covariance::Dendritic`] has.
    Implicit,
    /// The same weights, learned in the same way; pixels follow `-e` alone, the error that a neuron
    /// has in its own dendrite. With learned weights, `I - W` is the data's precision matrix with
    /// each row divided by its diagonal, so what is missing comes to the mean of the data's
    /// Gaussian given what is known, as for [`Covariance::Explicit`].
    Dendritic,
}

impl fmt::Display for Covariance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explicit => "explicit",
            Self::Implicit => "implicit",
            Self::Dendritic => "dendritic",
        })
    }
}

/// A recurrent memory by covariance learning (Tang, Salvatori, Millidge, Song, Lukasiewicz and
/// Bogacz, "Recurrent predictive coding models for associative memory employing covariance
/// learning", PLOS Computational Biology 2023), in the three forms of [`Covariance`].
///
/// Weights learn from held pictures by local rules, `dW = e x^T` and `db = e`; the precision matrix
/// `Pi = L L^T` by the slope of its energy in `L`.
///
/// # Example
/// Two pixels that are always equal:
/// ```
/// use pc_core::{Schedule, host::{HostTensor, Sgd}};
/// use pc_models::{Covariance, CovarianceMemory, Host};
/// let recall = Schedule::standard(0.2, 500)?.until(1e-8)?;
/// let mut memory =
///     CovarianceMemory::new(&Host::<f64>::new(), Covariance::Dendritic, 2, recall)?;
/// let pictures = HostTensor::new(&[3, 2], vec![1.0, 1.0, 0.5, 0.5, -1.0, -1.0])?;
/// let mut sgd = Sgd::new(0.1)?;
/// for _ in 0..500 {
///     memory.store(&pictures, |graph, gradients| sgd.step(graph.parameters_mut(), gradients))?;
/// }
/// let part = HostTensor::new(&[1, 2], vec![0.7, 0.0])?;
/// let known = HostTensor::new(&[1, 2], vec![1.0, 0.0])?;
/// let (completed, _) = memory.complete(&part, &known)?;
/// assert!((completed.data()[1] - 0.7).abs() < 1e-6);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct CovarianceMemory<B: Backend> {
    kind: Covariance,
    graph: Graph<B::Tensor>,
    pixels: VertexId,
    learning: Relaxation<Graph<B::Tensor>>,
    recall: Relaxation<Graph<B::Tensor>>,
}

impl<B: Backend> CovarianceMemory<B> {
    /// An empty memory for pictures of so many pixels: mean 0, all weights 0, or a precision matrix
    /// of 1. `recall` is how what is missing relaxes; it has to be a schedule with live
    /// predictions, [`Schedule::standard`] for one. Where it starts by a forward pass, missing
    /// pixels start at 0 instead, since a pixel's prediction takes all the others.
    ///
    /// # Errors
    /// No pixels; a schedule that the network cannot honour; what the backend reports.
    pub fn new(backend: &B, kind: Covariance, pixels: usize, recall: Schedule) -> Result<Self> {
        let mut b = Graph::builder();
        let x = b.input("pixels", &[pixels])?;
        let mut matrix = vec![0.0; pixels * pixels];
        if kind == Covariance::Explicit {
            matrix.iter_mut().step_by(pixels + 1).for_each(|diagonal| *diagonal = 1.0);
        }
        let matrix = backend.tensor(&[pixels, pixels], &matrix)?;
        let zeros = backend.tensor(&[pixels], &vec![0.0; pixels])?;
        if kind == Covariance::Explicit {
            let mean = b.parameter("mean", zeros)?;
            let factor = b.parameter("factor", matrix)?;
            let prior = <B::Tensor as GraphTensor>::boxed(Prior);
            let prediction = b.predict(x, prior, &[], &[mean], 1.0)?;
            b.energy(prediction, LearnedMatrixPrecision, &[factor])?;
        } else {
            let weight = b.parameter("weight", matrix)?;
            let bias = b.parameter("bias", zeros)?;
            b.constrain(weight, ZeroDiagonal)?;
            let recurrent = backend.dense(&Dense::new(pixels), 1)?;
            let prediction = b.predict(x, recurrent, &[x], &[weight, bias], 1.0)?;
            if kind == Covariance::Dendritic {
                b.cut(prediction, &[x])?;
            }
        }
        let graph = b.build()?;
        // Everything is held where the memory learns, so there is nothing to relax.
        let learning = Relaxation::new(&graph, Schedule::standard(1.0, 1)?.unrelaxed())?;
        // On a cycle a forward pass leads nowhere.
        let recall = match recall.start() {
            Start::Forward => recall.starting(Start::Zero),
            _ => recall,
        };
        let recall = Relaxation::new(&graph, recall)?;
        Ok(Self { kind, graph, pixels: x, learning, recall })
    }

    /// Which of the three it is.
    pub fn kind(&self) -> Covariance {
        self.kind
    }

    /// The graph: one vertex, `pixels`, with the parameters `weight` and `bias`, or `factor` (the
    /// `L` of `Pi = L L^T`) and `mean`.
    pub fn graph(&self) -> &Graph<B::Tensor> {
        &self.graph
    }

    /// The graph, to be loaded, frozen, or learned by another rule.
    pub fn graph_mut(&mut self) -> &mut Graph<B::Tensor> {
        &mut self.graph
    }

    /// The vertex of the pixels.
    pub fn pixels(&self) -> VertexId {
        self.pixels
    }

    /// One round of storing pictures `[batch, pixels]`, by `learn`. Gradients are summed over the
    /// batch.
    ///
    /// # Errors
    /// As [`Relaxation::train`].
    pub fn store(
        &mut self,
        pictures: &B::Tensor,
        learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<Outcome> {
        let clamps = Clamps::new().hold(self.pixels, pictures.clone());
        settled(self.learning.train(&mut self.graph, &clamps, learn)?, "learning")
    }

    /// Completes pictures from a part: pixels are held where the mask is 1, and found where it is
    /// 0. What `pictures` has there says nothing, but has to be finite.
    ///
    /// # Errors
    /// As [`Relaxation::infer`]; a relaxation that diverges.
    pub fn complete(
        &mut self,
        pictures: &B::Tensor,
        mask: &B::Tensor,
    ) -> Result<(B::Tensor, Outcome)> {
        let clamps = Clamps::new().mask(self.pixels, pictures.clone(), mask.clone());
        let what = format!("completion by the {} covariance", self.kind);
        let outcome = settled(self.recall.infer(&mut self.graph, &clamps)?, &what)?;
        let found = self.recall.value(&self.graph, self.pixels);
        let found = found
            .ok_or_else(|| Error::new(ErrorKind::Misuse, "nothing was completed").at("pixels"))?;
        Ok((found, outcome))
    }
}
