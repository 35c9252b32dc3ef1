//! The choices of a schedule's rates.

use crate::{Error, Pace, Result, Schedule, topology::VertexId};

impl Schedule {
    /// Moves one vertex at `factor` times the rate. A network without this vertex is refused.
    ///
    /// The rest points of a relaxation do not depend on rates; how far it is after some steps does,
    /// and so does what noise samples along the way, though not its stationary density.
    ///
    /// # Errors
    /// A factor that is not a positive number.
    ///
    /// # Example
    /// ```
    /// # use pc_core::{Graph, Schedule, host::HostTensor};
    /// # let mut b = Graph::<HostTensor<f64>>::builder();
    /// let slow = b.input("slow", &[2])?;
    /// let schedule = Schedule::standard(0.2, 50)?.with_rate_of(slow, 0.1)?;
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn with_rate_of(mut self, vertex: VertexId, factor: f64) -> Result<Self> {
        if !(factor > 0.0 && factor.is_finite()) {
            return Err(Error::schedule(format!(
                "{}: the factor of the rate of vertex {} must be a positive number, not {factor}",
                self.name,
                vertex.index()
            )));
        }
        self.rates.of.retain(|(other, _)| *other != vertex);
        self.rates.of.push((vertex, factor));
        Ok(self)
    }

    /// Lets the rate go over the steps. An adaptive rule, which finds its rate by the energy, is
    /// refused with it.
    ///
    /// # Errors
    /// A decay that is negative; a table that is empty or has a factor that is not positive;
    /// numbers that are not finite.
    pub fn paced(mut self, pace: Pace) -> Result<Self> {
        if let Some(fault) = pace.fault() {
            return Err(Error::schedule(format!("{}: {fault}", self.name)));
        }
        self.rates.pace = pace;
        Ok(self)
    }

    /// Divides the rate of every vertex by the sum of the precisions around it: of its own
    /// predictions, and of those it is a parent of. For linear predictions with weights of norm 1
    /// at most, that keeps every vertex's own step stable at any `gamma` up to 1.
    #[must_use]
    pub fn rate_by_precision(mut self) -> Self {
        self.rates.by_precision = true;
        self
    }
}
