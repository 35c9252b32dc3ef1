//! One vertex alone.

use crate::{
    Error, Result,
    graph::GraphTensor,
    topology::{ParamId, VertexId},
    vertex::{Cache, GradientSlot, Inputs, Pulled, Vertex},
};

/// A vertex evaluated outside any graph: it holds the parents' references and displacements and the
/// parameters, and calls the vertex as a relaxation would. For testing a vertex, and for looking at
/// one. Results start as NaN, which shows up a vertex that reads what it should overwrite.
///
/// # Example
/// ```
/// use pc_core::{Tensor, host::{HostTensor, Probe, Scale}};
/// let x = HostTensor::new(&[1, 2], vec![1.0, 2.0])?;
/// let mut probe = Probe::<HostTensor<f64>>::new(Box::new(Scale(2.0)), vec![x.clone()], vec![])?;
/// assert_eq!(probe.predict()?.to_vec(), [2.0, 4.0]);
/// probe.displace(0, &HostTensor::new(&[1, 2], vec![1e-9, 0.0])?)?;
/// assert_eq!(probe.change()?.to_vec(), [2e-9, 0.0]);
/// probe.pull(&x, 1.0)?;
/// assert_eq!(probe.force(0).map(Tensor::to_vec), Some(vec![2.0, 4.0]));
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct Probe<T: GraphTensor> {
    vertex: T::Vertex,
    point: Point<T>,
    cache: Cache<T>,
    predicted: T,
    changed: T,
    forces: Vec<Option<T>>,
    gradients: Vec<GradientSlot<T>>,
}

/// Where the vertex is evaluated.
struct Point<T> {
    values: Vec<T>,
    references: Vec<T>,
    displacements: Vec<T>,
    moved: Vec<bool>,
    parents: Vec<VertexId>,
    parameters: Vec<T>,
    uses: Vec<ParamId>,
    plastic: bool,
}

impl<T> Point<T> {
    fn inputs(&self) -> Inputs<'_, T> {
        Inputs {
            values: &self.values,
            references: &self.references,
            displacements: &self.displacements,
            moved: &self.moved,
            parents: &self.parents,
            parameters: &self.parameters,
            uses: &self.uses,
            plastic: self.plastic,
            live: true,
        }
    }
}

impl<T: GraphTensor> std::fmt::Debug for Probe<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Probe({})", self.vertex.kind())
    }
}

impl<T: GraphTensor> Probe<T> {
    /// A vertex with its parents at these references (batch first) and with these parameters.
    ///
    /// # Errors
    /// Shapes that do not fit; no parents, or parents of different batches.
    pub fn new(vertex: T::Vertex, references: Vec<T>, parameters: Vec<T>) -> Result<Self> {
        let shapes: Vec<Vec<usize>> = references.iter().map(T::shape).collect();
        let Some(&batch) = shapes.first().and_then(|shape| shape.first()) else {
            return Err(Error::graph("a probe needs a parent with a batch"));
        };
        if let Some(other) = shapes.iter().find(|shape| shape.first() != Some(&batch)) {
            return Err(Error::shape(format!("the batch is {batch}, but a parent is {other:?}")));
        }
        let parents: Vec<&[usize]> = shapes.iter().map(|shape| &shape[1..]).collect();
        let parameter_shapes: Vec<Vec<usize>> = parameters.iter().map(T::shape).collect();
        if parameters.len() != vertex.parameters() {
            return Err(Error::graph(format!(
                "a {} vertex takes {} parameters, not {}",
                vertex.kind(),
                vertex.parameters(),
                parameters.len()
            )));
        }
        let shape = vertex
            .shape(&parents, &parameter_shapes.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        let full: Vec<usize> = std::iter::once(batch).chain(shape).collect();
        let zeros = |tensors: &[T]| {
            tensors.iter().map(|tensor| tensor.zeros(&tensor.shape())).collect::<Vec<T>>()
        };
        let mut predicted = references[0].zeros(&full);
        let (mut forces, mut gradients) = (zeros(&references), zeros(&parameters));
        // What is stale must not be read: a vertex that does gives itself away.
        forces
            .iter_mut()
            .chain(&mut gradients)
            .chain([&mut predicted])
            .for_each(|tensor| tensor.fill(f64::NAN));
        let point = Point {
            values: references.clone(),
            displacements: zeros(&references),
            moved: vec![false; references.len()],
            parents: (0..references.len()).map(VertexId::new).collect(),
            uses: (0..parameters.len()).map(ParamId::new).collect(),
            plastic: false,
            references,
            parameters,
        };
        Ok(Self {
            vertex,
            point,
            cache: Cache::default(),
            changed: predicted.clone(),
            forces: forces.into_iter().map(Some).collect(),
            gradients: gradients
                .into_iter()
                .map(|tensor| GradientSlot { tensor: Some(tensor), defined: false })
                .collect(),
            predicted,
        })
    }

    /// Says whether parameters may move between [`Probe::predict`] and [`Probe::change`].
    pub fn plastic(&mut self, plastic: bool) {
        self.point.plastic = plastic;
    }

    /// The prediction at the references; forgets all displacements.
    ///
    /// # Errors
    /// As [`Vertex::predict`].
    pub fn predict(&mut self) -> Result<&T> {
        let Point { values, references, moved, .. } = &mut self.point;
        moved.fill(false);
        for (value, reference) in values.iter_mut().zip(references) {
            value.copy_from(reference);
        }
        self.vertex.predict(&self.point.inputs(), &mut self.cache, &mut self.predicted)?;
        Ok(&self.predicted)
    }

    /// Moves parent `k` to its reference plus `displacement`.
    ///
    /// # Errors
    /// No such parent, or another shape.
    pub fn displace(&mut self, k: usize, displacement: &T) -> Result<()> {
        let Point { values, references, displacements, moved, .. } = &mut self.point;
        let reference =
            references.get(k).ok_or_else(|| Error::graph(format!("there is no parent {k}")))?;
        if !displacement.has_shape(&reference.shape()) {
            return Err(Error::shape(format!(
                "parent {k} has shape {:?}, not {:?}",
                reference.shape(),
                displacement.shape()
            )));
        }
        values[k].set_sum(reference, displacement);
        displacements[k].copy_from(displacement);
        moved[k] = true;
        Ok(())
    }

    /// Sets parameter `k`.
    ///
    /// # Errors
    /// No such parameter, or another shape.
    pub fn set_parameter(&mut self, k: usize, value: &T) -> Result<()> {
        let held = self
            .point
            .parameters
            .get_mut(k)
            .ok_or_else(|| Error::graph(format!("there is no parameter {k}")))?;
        if !value.has_shape(&held.shape()) {
            return Err(Error::shape(format!(
                "parameter {k} has shape {:?}, not {:?}",
                held.shape(),
                value.shape()
            )));
        }
        held.copy_from(value);
        Ok(())
    }

    /// The change of the prediction since [`Probe::predict`], by the displacements and, where
    /// plastic, the parameters.
    ///
    /// # Errors
    /// As [`Vertex::change`].
    pub fn change(&mut self) -> Result<&T> {
        self.vertex.change(
            &self.point.inputs(),
            &mut self.cache,
            &self.predicted,
            &mut self.changed,
        )?;
        Ok(&self.changed)
    }

    /// Pulls `cotangent` back, at the references after [`Probe::predict`] and at the displaced
    /// point after [`Probe::change`]: replaces the forces, and adds `scale` times the parameter
    /// gradients to those of earlier pulls.
    ///
    /// # Errors
    /// A cotangent of another shape than the prediction's; as [`Vertex::pull`].
    pub fn pull(&mut self, cotangent: &T, scale: f64) -> Result<()> {
        self.pull_for(cotangent, scale, true, true)
    }

    /// As [`Probe::pull`], for the forces or for the parameter gradients alone.
    ///
    /// # Errors
    /// As [`Probe::pull`].
    pub fn pull_for(
        &mut self,
        cotangent: &T,
        scale: f64,
        forces: bool,
        gradients: bool,
    ) -> Result<()> {
        if !cotangent.has_shape(&self.predicted.shape()) {
            return Err(Error::shape(format!(
                "the prediction has shape {:?}, not {:?}",
                self.predicted.shape(),
                cotangent.shape()
            )));
        }
        let mut pulled = Pulled {
            forces: if forces { &mut self.forces } else { &mut [] },
            gradients: if gradients && !self.point.uses.is_empty() {
                Some(&mut self.gradients)
            } else {
                None
            },
            uses: &self.point.uses,
            scale,
        };
        self.vertex.pull(&self.point.inputs(), &mut self.cache, cotangent, &mut pulled)
    }

    /// The force on parent `k` of the last pull.
    pub fn force(&self, k: usize) -> Option<&T> {
        self.forces.get(k)?.as_ref()
    }

    /// The gradient of parameter `k` from all pulls so far. Returns `None` before the first pull.
    pub fn gradient(&self, k: usize) -> Option<&T> {
        self.gradients.get(k).filter(|slot| slot.defined)?.tensor.as_ref()
    }
}
