//! How a relaxation ends.

/// How a relaxation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The gradient of the energy fell under the tolerance.
    Converged,
    /// All steps were taken.
    Spent,
    /// The energy passed its bound, or a number was no longer finite. There are no gradients then.
    Diverged,
}

/// The energy `F`, in parts, summed over the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Energy {
    /// `sum 1/2 pi |e|^2` over the predictions of vertices that have states.
    pub internal: f64,
    /// `lambda L`, summed over driven vertices.
    pub loss: f64,
}

impl Energy {
    /// The whole.
    pub fn total(&self) -> f64 {
        self.internal + self.loss
    }
}

/// The end of a relaxation, as a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub status: Status,
    /// The steps taken.
    pub steps: usize,
    /// The energy at the end. After a frozen relaxation it is the energy of the frozen, linear
    /// problem. When Z-IL is simulated whole, levels that have learned go on moving at rate 1, so
    /// the energy may be anything, without bound; the gradients were read before that.
    pub energy: Energy,
    /// The norm of the energy's gradient in the free states. It is `None` if it was not measured,
    /// which only a tolerance asks for.
    pub residual: Option<f64>,
    /// The energy before each step and after the last. It is empty if the schedule is not traced.
    pub trace: Vec<f64>,
    /// Fewer steps than the graph is deep were taken: some vertices had no error yet, so their
    /// weights learned nothing.
    pub shallow: bool,
}

/// Where [`crate::Relaxation::advance`] has stopped.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// There are gradients to learn from, in [`crate::Relaxation::gradients`]. Move the weights,
    /// then advance again.
    Learn,
    /// A step is next, or the last has been taken; only an observed relaxation stops here
    /// ([`crate::Schedule::observed`]). Values, errors and energies can be read by id from the
    /// relaxation.
    Step,
    /// It is over.
    Finished(Outcome),
}
