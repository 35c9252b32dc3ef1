//! A vertex of an explicit graph: how its parents predict it, and how errors are pulled back
//! through that prediction.

use crate::{
    Error, Result,
    structure::Structure,
    tensor::Tensor,
    topology::{ParamId, VertexId},
};

/// A prediction `mu = f(parents; parameters)` with its pullbacks.
///
/// A vertex object holds settings only; what one evaluation leaves for the next lies in a
/// [`Cache`], of which every linearisation has its own. Shapes leave the batch out: a tensor has
/// the shape `[batch, shape...]`.
///
/// Only [`Vertex::shape`], [`Vertex::predict`] and [`Vertex::pull`] are required.
/// [`Vertex::change`] has a default by direct subtraction, which loses digits in `f32`. Write it if
/// the difference can be computed without cancellation.
pub trait Vertex<T: Tensor> {
    /// What it is, for error messages: `linear`, `conv2d`, ...
    fn kind(&self) -> &str;

    /// The shape (without the batch) of the prediction for parents and parameters of these shapes.
    ///
    /// # Errors
    /// They do not fit; the graph adds the vertex's name.
    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>>;

    /// Writes `f(value(0), value(1), ...)` to `output`, and keeps in `cache` what [`Vertex::pull`]
    /// and [`Vertex::change`] need there.
    ///
    /// # Errors
    /// What the framework reports; numbers that cannot be used, such as an index out of range.
    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()>;

    /// Writes `f(reference + displacement) - f(reference)` to `output`, after a [`Vertex::predict`]
    /// at the reference, whose result was `predicted`; leaves `cache` ready for [`Vertex::pull`] at
    /// the displaced values. If [`Inputs::plastic`] is true, the parameters may have moved since.
    /// Then the difference is from the old parameters at the reference to the new ones at the
    /// displaced values.
    ///
    /// # Errors
    /// As [`Vertex::predict`].
    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        self.predict(at, cache, output)?;
        output.axpy(-1.0, predicted);
        Ok(())
    }

    /// Pulls `cotangent` back: writes `J_k^T cotangent` to every force that is wanted, and adds `(d
    /// mu / d theta_k)^T cotangent` to every parameter gradient that is wanted.
    ///
    /// # Errors
    /// What the framework reports.
    fn pull(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()>;

    /// Whether [`Vertex::pull`] reads [`Inputs::value`]s to find forces. If it does not, a chain of
    /// vertices does not compute the values between them. Parameter gradients may read them in any
    /// case.
    fn reads_values(&self) -> bool {
        true
    }

    /// How many parameters it takes; a chain of vertices shares its parameters out by this.
    fn parameters(&self) -> usize {
        0
    }

    /// What it is made of, for a backend that has its own code for some predictions and takes a
    /// whole graph over.
    fn structure(&self) -> Structure {
        Structure::Opaque
    }

    /// Whether parameter `k` is a matrix `[inputs, outputs]`, where the host's linear maps have
    /// `[outputs, inputs]`. Such a matrix is turned when it is handed from one network to another.
    fn inputs_first(&self, _k: usize) -> bool {
        false
    }

    /// Copies of what it keeps beside parameters and changes by itself, by name, such as running
    /// means. They are handed over with the parameters.
    fn statistics(&self) -> Vec<(String, T)> {
        Vec::new()
    }

    /// Puts these in the place of what [`Vertex::statistics`] gives, in order and of the same
    /// shapes.
    ///
    /// # Errors
    /// What the framework reports.
    fn set_statistics(&self, _statistics: Vec<T>) -> Result<()> {
        Ok(())
    }
}

impl<T: Tensor, V: Vertex<T> + ?Sized> Vertex<T> for Box<V> {
    fn kind(&self) -> &str {
        (**self).kind()
    }
    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        (**self).shape(parents, parameters)
    }
    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        (**self).predict(at, cache, output)
    }
    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        (**self).change(at, cache, predicted, output)
    }
    fn pull(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        (**self).pull(at, cache, cotangent, pulled)
    }
    fn reads_values(&self) -> bool {
        (**self).reads_values()
    }
    fn parameters(&self) -> usize {
        (**self).parameters()
    }
    fn structure(&self) -> Structure {
        (**self).structure()
    }
    fn inputs_first(&self, k: usize) -> bool {
        (**self).inputs_first(k)
    }
    fn statistics(&self) -> Vec<(String, T)> {
        (**self).statistics()
    }
    fn set_statistics(&self, statistics: Vec<T>) -> Result<()> {
        (**self).set_statistics(statistics)
    }
}

/// What a prediction is evaluated at: its parents' values, references and displacements, and its
/// parameters.
#[derive(Debug)]
pub struct Inputs<'a, T> {
    pub(crate) values: &'a [T],
    pub(crate) references: &'a [T],
    pub(crate) displacements: &'a [T],
    pub(crate) moved: &'a [bool],
    pub(crate) parents: &'a [VertexId],
    pub(crate) parameters: &'a [T],
    pub(crate) uses: &'a [ParamId],
    pub(crate) plastic: bool,
    pub(crate) live: bool,
}

impl<'a, T> Inputs<'a, T> {
    /// The number of parents.
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there is no parent.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// The value of parent `k`: reference plus displacement.
    pub fn value(&self, k: usize) -> &'a T {
        &self.values[self.parents[k].index()]
    }

    /// The reference of parent `k`, from which displacements are counted.
    pub fn reference(&self, k: usize) -> &'a T {
        &self.references[self.parents[k].index()]
    }

    /// The displacement of parent `k` from its reference. Returns `None` if it is zero.
    pub fn displacement(&self, k: usize) -> Option<&'a T> {
        let index = self.parents[k].index();
        self.moved[index].then(|| &self.displacements[index])
    }

    /// Parameter `k` of this vertex.
    pub fn parameter(&self, k: usize) -> &'a T {
        &self.parameters[self.uses[k].index()]
    }

    /// The number of parameters.
    pub fn parameter_count(&self) -> usize {
        self.uses.len()
    }

    /// Whether parameters may move while states relax, so that [`Vertex::predict`] must keep what
    /// [`Vertex::change`] will compare with.
    pub fn plastic(&self) -> bool {
        self.plastic
    }

    /// Whether predictions are re-evaluated during relaxation, so that work spent once in
    /// [`Vertex::predict`] is repaid. Pullbacks are told what their prediction was told.
    pub fn live(&self) -> bool {
        self.live
    }

    /// The inputs of one link of a chain inside a vertex: one parent with this value, reference and
    /// displacement, and the parameters `[first, first + count)` of the outer vertex.
    pub fn link<'b>(
        &'b self,
        value: &'b T,
        reference: &'b T,
        displacement: Option<&'b T>,
        first: usize,
        count: usize,
    ) -> Inputs<'b, T> {
        const FIRST: &[VertexId] = &[VertexId::FIRST];
        Inputs {
            values: std::slice::from_ref(value),
            references: std::slice::from_ref(reference),
            displacements: displacement.map_or(&[], std::slice::from_ref),
            moved: if displacement.is_some() { &[true] } else { &[false] },
            parents: FIRST,
            uses: &self.uses[first..first + count],
            ..*self
        }
    }

    /// The same inputs with the parameters `[first, first + count)` alone.
    pub fn share(&self, first: usize, count: usize) -> Inputs<'a, T> {
        Inputs { uses: &self.uses[first..first + count], ..*self }
    }
}

impl<T: Tensor> Inputs<'_, T> {
    /// Checks that all parents and parameters can meet in one operation: see
    /// [`Tensor::check_like`].
    ///
    /// # Errors
    /// Two of them cannot; it says what differs.
    pub fn agree(&self) -> Result<()> {
        let parents = (0..self.len()).map(|k| self.value(k));
        let mut all = parents.chain((0..self.parameter_count()).map(|k| self.parameter(k)));
        let Some(first) = all.next() else { return Ok(()) };
        all.try_for_each(|other| first.check_like(other))
    }
}

/// What an evaluation keeps for the next: numbered slots of tensors and of indices, allocated at
/// first use and reused after.
#[derive(Clone, Debug)]
pub struct Cache<T> {
    tensors: Vec<Option<T>>,
    indices: Vec<Vec<u32>>,
    children: Vec<Cache<T>>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { tensors: Vec::new(), indices: Vec::new(), children: Vec::new() }
    }
}

impl<T: Tensor> Cache<T> {
    /// The tensor in `slot`. If it is missing or has another shape, it is made anew, as zeros, on
    /// the device of `like`.
    pub fn slot(&mut self, slot: usize, shape: &[usize], like: &T) -> &mut T {
        if self.tensors.len() <= slot {
            self.tensors.resize_with(slot + 1, || None);
        }
        let held = &mut self.tensors[slot];
        if held.as_ref().is_some_and(|tensor| !tensor.has_shape(shape)) {
            *held = None;
        }
        held.get_or_insert_with(|| like.zeros(shape))
    }

    /// Takes the tensor out of `slot`. If it is missing or has another shape, it is made anew. Give
    /// it back with [`Cache::put`]. This is for working with two slots at once.
    pub fn take(&mut self, slot: usize, shape: &[usize], like: &T) -> T {
        if self.tensors.len() <= slot {
            self.tensors.resize_with(slot + 1, || None);
        }
        self.tensors[slot]
            .take()
            .filter(|tensor| tensor.has_shape(shape))
            .unwrap_or_else(|| like.zeros(shape))
    }

    /// As [`Cache::take`], in the shape of `like`; nothing is allocated where one is there.
    pub fn take_like(&mut self, slot: usize, like: &T) -> T {
        match self.tensors.get_mut(slot).and_then(Option::take) {
            Some(held) if held.is_like(like) => held,
            _ => like.zeros(&like.shape()),
        }
    }

    /// Takes out the tensor that an earlier call left in `slot`; give it back with [`Cache::put`].
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub fn take_out(&mut self, slot: usize) -> Result<T> {
        self.get(slot)?;
        self.tensors
            .get_mut(slot)
            .and_then(Option::take)
            .ok_or_else(|| Error::misuse("a cache slot is empty"))
    }

    /// Puts a tensor into `slot`.
    pub fn put(&mut self, slot: usize, tensor: T) {
        if self.tensors.len() <= slot {
            self.tensors.resize_with(slot + 1, || None);
        }
        self.tensors[slot] = Some(tensor);
    }

    /// The tensor that an earlier call left in `slot`.
    ///
    /// # Errors
    /// Nothing was left in it: the vertex was pulled or changed before it was predicted.
    pub fn get(&self, slot: usize) -> Result<&T> {
        self.tensors.get(slot).and_then(Option::as_ref).ok_or_else(|| {
            Error::misuse(format!(
                "cache slot {slot} is empty: a vertex was used before its prediction was evaluated"
            ))
        })
    }

    /// Whether `slot` holds a tensor.
    pub fn has(&self, slot: usize) -> bool {
        self.tensors.get(slot).is_some_and(Option::is_some)
    }

    /// The list of indices in `slot`, empty at first.
    pub fn indices(&mut self, slot: usize) -> &mut Vec<u32> {
        if self.indices.len() <= slot {
            self.indices.resize_with(slot + 1, Vec::new);
        }
        &mut self.indices[slot]
    }

    /// The cache of the inner vertex `k` of a chain.
    pub fn child(&mut self, k: usize) -> &mut Cache<T> {
        if self.children.len() <= k {
            self.children.resize_with(k + 1, Cache::default);
        }
        &mut self.children[k]
    }
}

/// Where [`Vertex::pull`] puts its results.
#[derive(Debug)]
pub struct Pulled<'a, T> {
    pub(crate) forces: &'a mut [Option<T>],
    pub(crate) gradients: Option<&'a mut [GradientSlot<T>]>,
    pub(crate) uses: &'a [ParamId],
    /// Weight on what is added to the parameter gradients.
    pub(crate) scale: f64,
}

impl<'a, T: Tensor> Pulled<'a, T> {
    /// The force on parent `k`, to be **overwritten**. Returns `None` if it is not wanted.
    pub fn force(&mut self, k: usize) -> Option<&mut T> {
        self.forces.get_mut(k).and_then(Option::as_mut)
    }

    /// Whether any force is wanted.
    pub fn wants_forces(&self) -> bool {
        self.forces.iter().any(Option::is_some)
    }

    /// Whether parameter gradients are wanted.
    pub fn wants_gradients(&self) -> bool {
        self.gradients.is_some()
    }

    /// What to multiply a parameter gradient by before it is added: 1, or the weight that a closed
    /// form gives this vertex.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The gradient of parameter `k`, to be **added to** after multiplication by [`Pulled::scale`].
    /// Returns `None` if it is not wanted.
    pub fn gradient(&mut self, k: usize) -> Option<&mut T> {
        self.gradient_or_fresh(k).map(|(gradient, fresh)| {
            if fresh {
                gradient.fill(0.0);
            }
            gradient
        })
    }

    /// As [`Pulled::gradient`], without zeroing. If the flag is true, the contents are stale and
    /// must be **overwritten**; if it is false, they must be added to.
    pub fn gradient_or_fresh(&mut self, k: usize) -> Option<(&mut T, bool)> {
        let slot = self.gradients.as_mut()?.get_mut(self.uses.get(k)?.index())?;
        let fresh = !std::mem::replace(&mut slot.defined, true);
        slot.tensor.as_mut().map(|tensor| (tensor, fresh))
    }

    /// The same results for one link of a chain: its one force is `force`, its parameters `[first,
    /// first + count)`.
    pub fn link<'b>(
        &'b mut self,
        force: &'b mut [Option<T>],
        first: usize,
        count: usize,
    ) -> Pulled<'b, T> {
        Pulled {
            forces: force,
            gradients: self.gradients.as_deref_mut(),
            uses: &self.uses[first..first + count],
            scale: self.scale,
        }
    }

    /// The same results with the parameters `[first, first + count)` alone.
    pub fn share(&mut self, first: usize, count: usize) -> Pulled<'_, T> {
        Pulled {
            forces: self.forces,
            gradients: self.gradients.as_deref_mut(),
            uses: &self.uses[first..first + count],
            scale: self.scale,
        }
    }
}

/// One parameter's gradient buffer: kept between uses, and only meaningful where `defined`.
#[derive(Clone, Debug)]
pub(crate) struct GradientSlot<T> {
    pub(crate) tensor: Option<T>,
    pub(crate) defined: bool,
}
