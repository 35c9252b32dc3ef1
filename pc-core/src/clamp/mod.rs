//! What holds a vertex: nothing, a value, part of one, a nudge, a loss, an intervention.

mod role;

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc};

use crate::{
    Error, Result,
    loss::Loss,
    tensor::Tensor,
    topology::{Topology, VertexId},
};

pub use role::Losses;
pub(crate) use role::Role;

/// A loss shared between the clamps of successive relaxations.
pub type SharedLoss<T> = Rc<RefCell<dyn Loss<T>>>;

/// How one vertex is held during a relaxation.
#[non_exhaustive]
#[derive(Clone)]
pub enum Clamp<T> {
    /// Free to move, as a vertex without a clamp is, but starting at this value instead of where
    /// the schedule would start it. A free vertex that nothing predicts, such as the input of a
    /// generative model, needs this.
    Free(T),
    /// Held at this value. The error `v - mu` of a held vertex that something predicts drives the
    /// rest.
    Held(T),
    /// Held where the mask is 1, free where it is 0: completing a part from the rest.
    Masked {
        /// The value of the held elements. If nothing predicts the vertex, the others start there
        /// too.
        value: T,
        /// 1 where held, 0 where free.
        mask: T,
    },
    /// Held at `mu + beta (target - mu)`, with `mu` the feed-forward prediction, set once at the
    /// start. Gradients come out multiplied by about `beta`.
    Nudged {
        /// What it is nudged towards.
        target: T,
        /// The strength; negative pushes away.
        beta: f64,
    },
    /// Not a state at all: the vertex follows its prediction, and its error is `-lambda dL/dmu`
    /// there. With `lambda = 1` and the squared error this is what holding does. Small `lambda` is
    /// the weak loss, whose relaxed gradients over `lambda` approach backprop's.
    Driven {
        /// The loss.
        loss: SharedLoss<T>,
        /// The strength `lambda`. At 0 the loss is measured and drives nothing; a negative one
        /// drives away.
        lambda: f64,
    },
    /// Held at this value, and its own error cut: the incoming predictions are ignored (Pearl's
    /// `do`).
    Intervened(T),
    /// An intervention on a part: held where the mask or the cut is 1, free where both are 0, and
    /// where the cut is 1 the vertex's own error is cut. Live states and simulated fixed prediction
    /// take it where they take a mask, for energies `1/2 pi e^2`, which have parts.
    PartIntervened {
        /// The value of the held elements. If nothing predicts the vertex, the others start there
        /// too.
        value: T,
        /// 1 where held, with an error that counts.
        mask: T,
        /// 1 where intervened on. No element is 1 in both.
        cut: T,
    },
}

impl<T> fmt::Debug for Clamp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Clamp::Free(_) => "Free",
            Clamp::Held(_) => "Held",
            Clamp::Masked { .. } => "Masked",
            Clamp::Nudged { .. } => "Nudged",
            Clamp::Driven { .. } => "Driven",
            Clamp::Intervened(_) => "Intervened",
            Clamp::PartIntervened { .. } => "PartIntervened",
        })
    }
}

/// The clamps of one relaxation, by vertex. Vertices without one are free.
///
/// # Example
/// ```
/// use pc_core::{Clamps, VertexId, host::HostTensor};
/// let (image, label) = (VertexId::new(0), VertexId::new(3));
/// let clamps = Clamps::new()
///     .hold(image, HostTensor::<f32>::new(&[1, 2], vec![0.5, 1.0])?)
///     .hold(label, HostTensor::new(&[1, 1], vec![1.0])?);
/// assert_eq!(clamps.iter().count(), 2);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Clamps<T> {
    clamps: BTreeMap<VertexId, Clamp<T>>,
    /// The batch size, where it is said.
    batch: Option<usize>,
}

impl<T> Default for Clamps<T> {
    fn default() -> Self {
        Self { clamps: BTreeMap::new(), batch: None }
    }
}

impl<T> Clamps<T> {
    /// No clamps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the clamp of a vertex, in place of any it had.
    #[must_use]
    pub fn with(mut self, vertex: VertexId, clamp: Clamp<T>) -> Self {
        self.clamps.insert(vertex, clamp);
        self
    }

    /// Says how many samples there are, which is needed where no clamp holds a tensor, and checked
    /// where one does.
    #[must_use]
    pub fn of_batch(mut self, batch: usize) -> Self {
        self.batch = Some(batch);
        self
    }

    /// [`Clamp::Free`] from a starting value.
    #[must_use]
    pub fn free(self, vertex: VertexId, start: T) -> Self {
        self.with(vertex, Clamp::Free(start))
    }

    /// [`Clamp::Held`].
    #[must_use]
    pub fn hold(self, vertex: VertexId, value: T) -> Self {
        self.with(vertex, Clamp::Held(value))
    }

    /// [`Clamp::Masked`].
    #[must_use]
    pub fn mask(self, vertex: VertexId, value: T, mask: T) -> Self {
        self.with(vertex, Clamp::Masked { value, mask })
    }

    /// [`Clamp::Nudged`].
    #[must_use]
    pub fn nudge(self, vertex: VertexId, target: T, beta: f64) -> Self {
        self.with(vertex, Clamp::Nudged { target, beta })
    }

    /// [`Clamp::Driven`] by a loss at strength 1.
    #[must_use]
    pub fn drive(self, vertex: VertexId, loss: impl Loss<T> + 'static) -> Self {
        self.weak_loss(vertex, loss, 1.0)
    }

    /// [`Clamp::Driven`] by a loss at strength `lambda`.
    #[must_use]
    pub fn weak_loss(self, vertex: VertexId, loss: impl Loss<T> + 'static, lambda: f64) -> Self {
        self.with(vertex, Clamp::Driven { loss: Rc::new(RefCell::new(loss)), lambda })
    }

    /// [`Clamp::Intervened`].
    #[must_use]
    pub fn intervene(self, vertex: VertexId, value: T) -> Self {
        self.with(vertex, Clamp::Intervened(value))
    }

    /// [`Clamp::PartIntervened`]: `mask` is 1 where the vertex is seen, `cut` where it is
    /// intervened on.
    #[must_use]
    pub fn intervene_part(self, vertex: VertexId, value: T, mask: T, cut: T) -> Self {
        self.with(vertex, Clamp::PartIntervened { value, mask, cut })
    }

    /// The clamp of a vertex.
    pub fn get(&self, vertex: VertexId) -> Option<&Clamp<T>> {
        self.clamps.get(&vertex)
    }

    /// The clamps, by vertex.
    pub fn iter(&self) -> impl Iterator<Item = (VertexId, &Clamp<T>)> {
        self.clamps.iter().map(|(vertex, clamp)| (*vertex, clamp))
    }
}

impl<T: Tensor> Clamps<T> {
    /// The batch size that the clamps agree on.
    ///
    /// # Errors
    /// They do not agree, with one another or with [`Clamps::of_batch`], or none of them has a
    /// tensor and nothing else says the size.
    pub fn batch(&self, topology: &Topology) -> Result<usize> {
        let mut found: Option<(usize, Option<VertexId>)> = self.batch.map(|batch| (batch, None));
        if self.batch == Some(0) {
            return Err(Error::clamp("a batch of no samples was asked for"));
        }
        for (vertex, clamp) in self.iter() {
            for tensor in clamp.tensors() {
                let batch = tensor.batch();
                if batch == 0 {
                    return Err(
                        Error::clamp("its clamp holds an empty batch").at(topology.label(vertex))
                    );
                }
                match found {
                    None => found = Some((batch, Some(vertex))),
                    Some((other, first)) if other != batch => {
                        let whose = match first {
                            Some(first) => format!("that of `{}` has", topology.label(first)),
                            None => "the batch was said to have".to_owned(),
                        };
                        return Err(Error::shape(format!(
                            "its clamp has a batch of {batch}, but {whose} {other}"
                        ))
                        .at(topology.label(vertex)));
                    }
                    Some(_) => {}
                }
            }
        }
        found.map(|(batch, _)| batch).ok_or_else(|| {
            Error::clamp(
                "no vertex is clamped, so there is nothing to start from: clamp one, or say \
                     the batch size (`Clamps::of_batch`)",
            )
        })
    }
}

impl<T> Clamp<T> {
    /// The tensors of the clamp.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &T> {
        let [first, second, third] = match self {
            Clamp::Free(value) | Clamp::Held(value) | Clamp::Intervened(value) => {
                [Some(value), None, None]
            }
            Clamp::Masked { value, mask } => [Some(value), Some(mask), None],
            Clamp::PartIntervened { value, mask, cut } => [Some(value), Some(mask), Some(cut)],
            Clamp::Nudged { target, .. } => [Some(target), None, None],
            Clamp::Driven { .. } => [None, None, None],
        };
        first.into_iter().chain(second).chain(third)
    }
}
