//! The memory: what is stored, and how it is asked.

use std::sync::Arc;

use pc_core::{Error, ErrorKind, GraphBuilder, Result, Tensor, VertexId, backend::GraphTensor};

use super::{
    rows::Rows,
    separation::{Separation, Softmax},
    similarity::{Dot, Similarity},
    vertex::Retrieval,
};
use crate::Backend;

/// What is done for one query: with its scores, itself, and its rows of the outputs.
type QueryJob<'a> = dyn FnMut(&[f64], &[f64], &mut [&mut [f64]]) + 'a;

/// A universal Hopfield network (Millidge et al. 2022): `z = P sep(sim(M, q))`, with stored keys
/// `M`, stored values `P` (the keys themselves unless others are given), a [`Similarity`] and a
/// [`Separation`]. It is asked once, and needs no training.
///
/// # Example
/// ```
/// use pc_core::host::HostTensor;
/// use pc_models::hopfield::{Manhattan, Memory, Softmax};
/// let patterns = HostTensor::<f32>::new(&[2, 3], vec![1.0, 0.0, 0.0, 0.0, 1.0, 1.0])?;
/// let memory = Memory::new(&patterns)?.similarity(Manhattan).separation(Softmax::new(50.0)?);
/// let found = memory.recall(&HostTensor::new(&[1, 3], vec![0.1, 0.9, 0.4])?)?;
/// assert!((0.999..=1.0).contains(&found.data()[2]));
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Memory {
    keys: Rows,
    values: Option<Rows>,
    similarity: Arc<dyn Similarity>,
    separation: Arc<dyn Separation>,
    bipolar: bool,
}

impl Memory {
    /// Stores patterns `[count, shape...]`: auto-associative, with [`Dot`] and [`Softmax`] of
    /// `beta = 1` (attention) unless others are set.
    ///
    /// # Errors
    /// No patterns; numbers that are not finite.
    pub fn new<T: Tensor>(patterns: &T) -> Result<Self> {
        Ok(Self {
            keys: Rows::new("patterns", patterns)?,
            values: None,
            similarity: Arc::new(Dot),
            separation: Arc::new(Softmax::new(1.0)?),
            bipolar: false,
        })
    }

    /// Stores values under keys of their own: hetero-associative.
    ///
    /// # Errors
    /// As [`Memory::new`]; other numbers of keys and of values.
    pub fn of_pairs<T: Tensor>(keys: &T, values: &T) -> Result<Self> {
        let (memory, values) = (Self::new(keys)?, Rows::new("values", values)?);
        if values.count() != memory.keys.count() {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("{} keys cannot have {} values", memory.keys.count(), values.count()),
            ));
        }
        Ok(Self { values: Some(values), ..memory })
    }

    /// Compares in this way.
    #[must_use]
    pub fn similarity(mut self, similarity: impl Similarity + 'static) -> Self {
        self.similarity = Arc::new(similarity);
        self
    }

    /// Separates in this way.
    #[must_use]
    pub fn separation(mut self, separation: impl Separation + 'static) -> Self {
        self.separation = Arc::new(separation);
        self
    }

    /// Takes the sign of what is recalled, for patterns of 1 and -1; 0 becomes 1.
    #[must_use]
    pub fn bipolar(mut self) -> Self {
        self.bipolar = true;
        self
    }

    /// The number of patterns.
    pub fn len(&self) -> usize {
        self.keys.count()
    }

    /// Whether nothing is stored, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What comes out for a batch of queries, `[batch, shape of a value...]`.
    ///
    /// # Errors
    /// Queries of another shape than the keys; numbers that are not finite, or that the similarity
    /// is not defined for; a result that is not finite.
    pub fn recall<T: Tensor>(&self, queries: &T) -> Result<T> {
        let values = self.values.as_ref().unwrap_or(&self.keys);
        let mut shape = vec![queries.batch()];
        shape.extend(values.shape());
        let mut found = queries.zeros(&shape);
        let mut weights = vec![0.0; self.len()];
        self.each(queries, &mut [&mut found], &mut |scores, _, outputs| {
            self.separation.separate(scores, &mut weights);
            for (weight, value) in weights.iter().zip(values.iter()) {
                if *weight != 0.0 {
                    outputs[0].iter_mut().zip(value).for_each(|(to, v)| *to += weight * v);
                }
            }
            if self.bipolar {
                outputs[0].iter_mut().for_each(|x| *x = if *x < 0.0 { -1.0 } else { 1.0 });
            }
        })?;
        if found.is_finite() {
            return Ok(found);
        }
        let message = format!(
            "what is recalled is not finite: the {} separation of {} scores is too large",
            self.separation.kind(),
            self.similarity.kind()
        );
        Err(Error::new(ErrorKind::NotFinite, message))
    }

    /// Recalls so many times, asking with what came out last.
    ///
    /// # Errors
    /// As [`Memory::recall`]; values of another shape than the keys.
    pub fn recall_again<T: Tensor>(&self, queries: &T, times: usize) -> Result<T> {
        let mut found = queries.clone();
        for _ in 0..times {
            found = self.recall(&found)?;
        }
        Ok(found)
    }

    /// The scores `sim(M, q)` of a batch of queries, `[batch, count]`.
    ///
    /// # Errors
    /// As [`Memory::recall`].
    pub fn scores<T: Tensor>(&self, queries: &T) -> Result<T> {
        let mut found = queries.zeros(&[queries.batch(), self.len()]);
        self.each(queries, &mut [&mut found], &mut |scores, _, outputs| {
            outputs[0].copy_from_slice(scores);
        })?;
        Ok(found)
    }

    /// The energy of each query, `E(q) = r(q) - G(sim(M, q))`, where the weights are the gradient
    /// of `G` ([`Separation::potential`]), and `r(q)` is `1/2 |q|^2` for [`Dot`] and 0 for the
    /// other similarities ([`Similarity::rest`]).
    ///
    /// `G` is convex, so `E` lies below `r(q) - sum_k w_k s_k(q)` plus a constant, and touches it
    /// at the query. Where recall goes to the minimum of that, `E` falls at every recall. This is
    /// so for
    /// - [`Dot`] with [`super::Identity`], [`super::Polynomial`], [`Softmax`] or [`super::Max`],
    ///   bipolar or not (where it is, from a query of 1 and -1 on);
    /// - [`super::Euclidean`] with [`Softmax`] or [`super::Max`];
    /// - every distance with [`super::Max`].
    ///
    /// # Errors
    /// As [`Memory::recall`]; a memory with values of their own, or a separation without a convex
    /// potential.
    pub fn energy<T: Tensor>(&self, queries: &T) -> Result<Vec<f64>> {
        if self.values.is_some() {
            let message = "a memory with values of their own has no energy: recall leads elsewhere";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let mut energies = Vec::with_capacity(queries.batch());
        self.each(queries, &mut [], &mut |scores, query, _| {
            let potential = self.separation.potential(scores);
            energies.push(potential.map(|potential| self.similarity.rest(query) - potential));
        })?;
        energies.into_iter().collect::<Option<Vec<f64>>>().ok_or_else(|| {
            let kind = self.separation.kind();
            let message = format!("the {kind} separation has no convex potential, so no energy");
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    /// This memory as a vertex of a graph, to be given its keys and its values as parameters, of
    /// the shapes `[count, shape...]`.
    ///
    /// # Errors
    /// The memory is bipolar: a sign has no slope.
    pub fn vertex(&self) -> Result<Retrieval> {
        if self.bipolar {
            let message = "a bipolar memory cannot be a vertex: a sign has no slope";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(Retrieval::new(Arc::clone(&self.similarity), Arc::clone(&self.separation)))
    }

    /// Adds a vertex `name` to a graph that is predicted as what this memory recalls for `parent`,
    /// with the buffers `name.keys` and `name.values` (one, `name.keys`, where the two are the
    /// same).
    ///
    /// # Errors
    /// As [`Memory::vertex`]; a parent of another shape than a key; what the builder reports.
    ///
    /// # Example
    /// A vertex that settles between what it is held to and what the memory knows:
    /// ```
    /// use pc_core::{Graph, host::HostTensor};
    /// use pc_models::{Host, hopfield::Memory};
    /// let patterns = HostTensor::<f64>::new(&[2, 2], vec![1.0, 0.0, 0.0, 1.0])?;
    /// let mut b = Graph::builder();
    /// let h = b.input("h", &[2])?;
    /// let recalled = Memory::new(&patterns)?.add(&Host::<f64>::new(), &mut b, "recalled", h)?;
    /// assert_eq!(b.shape(recalled)?, [2]);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn add<B: Backend>(
        &self,
        backend: &B,
        b: &mut GraphBuilder<B::Tensor>,
        name: &str,
        parent: VertexId,
    ) -> Result<VertexId> {
        let vertex = self.vertex()?;
        b.all_or_nothing(|b| {
            let mut buffer = |name: String, rows: &Rows| {
                let own = backend.tensor(&rows.whole(), rows.numbers())?;
                b.buffer(&name, own)
            };
            let keys = buffer(format!("{name}.keys"), &self.keys)?;
            let values = match &self.values {
                Some(values) => buffer(format!("{name}.values"), values)?,
                None => keys,
            };
            let vertex = <B::Tensor as GraphTensor>::boxed(vertex);
            b.vertex(name, vertex, &[parent], &[keys, values])
        })
    }

    /// Calls `job` for every query.
    fn each<T: Tensor>(
        &self,
        queries: &T,
        outputs: &mut [&mut T],
        job: &mut QueryJob<'_>,
    ) -> Result<()> {
        let batch = queries.batch();
        if batch == 0 || !queries.has_batch_shape(batch, self.keys.shape()) {
            return Err(Error::new(
                ErrorKind::Shape,
                format!(
                    "queries of the shape {:?} are no batch of {:?}, as the keys are",
                    queries.shape(),
                    self.keys.shape()
                ),
            ));
        }
        if !queries.is_finite() {
            return Err(Error::new(ErrorKind::NotFinite, "a number of the queries is not finite"));
        }
        for key in self.keys.iter() {
            self.similarity.check(key)?;
        }
        let mut scores = vec![0.0; self.len()];
        let mut failure = Ok(());
        T::by_rows(&[queries], outputs, &mut |rows, outputs| {
            let checked = self.similarity.check(rows[0]);
            if checked.is_err() && failure.is_ok() {
                failure = checked;
            }
            if failure.is_err() {
                return;
            }
            for (score, key) in scores.iter_mut().zip(self.keys.iter()) {
                *score = self.similarity.score(key, rows[0]);
            }
            if let Some(place) = scores.iter().position(|score| !score.is_finite()) {
                let (kind, score) = (self.similarity.kind(), scores[place]);
                failure = Err(Error::new(
                    ErrorKind::NotFinite,
                    format!("the {kind} similarity to key {place} is {score}: scale the patterns"),
                ));
                return;
            }
            job(&scores, rows[0], outputs);
        });
        failure
    }
}
