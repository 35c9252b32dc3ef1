//! Relaxing without learning.

use crate::{
    Result,
    clamp::Clamps,
    network::Network,
    outcome::{Event, Outcome, Status},
    relaxation::Relaxation,
    schedule::Start,
    tensor::Tensor,
};

/// The first of the random streams that inferences draw from; batches that learn are counted from 1
/// and never come here.
const INFERENCES: u64 = 1 << 63;

/// Where the last batch that may learn has left the states, while inferences go on from there.
#[derive(Debug)]
pub(super) struct Kept<T> {
    values: Vec<T>,
    status: Status,
}

impl<N: Network> Relaxation<N> {
    /// Begins and relaxes to the end without learning: no weight gradients are pulled, and
    /// [`Relaxation::gradients`] is empty afterwards. This is how a trained network is asked: the
    /// class of a picture (hold the picture), the rest of a part (hold the part by a mask), a
    /// picture of a class. Values, errors and energies can then be read by
    /// [`Relaxation::value`], [`Relaxation::error`] and [`Relaxation::energy`].
    ///
    /// Every schedule relaxes as it does when it learns:
    /// - [`Schedule::ipc`](crate::Schedule::ipc) takes its steps at fixed weights, so it needs no
    ///   optimiser here.
    /// - [`Schedule::zil`](crate::Schedule::zil) moves level by level and finds each level's error
    ///   at its step.
    /// - [`Schedule::backprop`](crate::Schedule::backprop) and fixed prediction find errors at the
    ///   feed-forward values. A value is then prediction plus error, so where nothing drives the
    ///   network, values are the feed-forward ones.
    ///
    /// The energy is always measured, even by a schedule that is
    /// [`unmeasured`](crate::Schedule::unmeasured).
    ///
    /// A later [`Relaxation::run`] or [`Relaxation::train`] is as if this had not been called.
    /// Inferences draw random numbers of their own. With [`Start::Carried`] an inference starts
    /// where the last batch has left the states, and further inferences where the one before has;
    /// what learns next starts where the last batch that learned has left them.
    ///
    /// # Errors
    /// As [`Relaxation::begin`] and [`Relaxation::advance`].
    ///
    /// # Example
    /// ```
    /// use pc_core::{
    ///     Clamps, Graph, Relaxation, Schedule,
    ///     host::{Activation, HostLayers, HostTensor, Init},
    /// };
    /// let mut init = Init::new(7);
    /// let mut b = Graph::<HostTensor<f64>>::builder();
    /// let x = b.input("x", &[2])?;
    /// let y = b.dense("y", x, 3, Activation::Tanh, &mut init)?;
    /// let mut graph = b.build()?;
    /// let mut relaxation = Relaxation::new(&graph, Schedule::ipc(0.1, 20)?)?;
    /// let picture = HostTensor::new(&[1, 2], vec![0.5, -1.0])?;
    /// let outcome = relaxation.infer(&mut graph, &Clamps::new().hold(x, picture.clone()))?;
    /// assert_eq!(outcome.energy.total(), 0.0); // Nothing contradicts the predictions.
    /// assert_eq!(relaxation.value(&graph, y), Some(graph.predict(&[(x, &picture)], y)?));
    /// assert!(relaxation.gradients().iter().all(|(_, gradient)| gradient.is_none()));
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn infer(&mut self, network: &mut N, clamps: &Clamps<N::Tensor>) -> Result<Outcome> {
        let (draws, settings) = (self.frame.draws, self.frame.settings);
        self.frame.draws = INFERENCES.wrapping_add(self.inferences);
        self.inferences = self.inferences.wrapping_add(1);
        self.frame.settings.plastic = false;
        self.frame.infers = true;
        let begun = self.begin(network, clamps);
        let outcome = begun.and_then(|()| self.run_out(network));
        self.frame.infers = false;
        self.frame.settings = settings;
        self.frame.draws = draws;
        outcome
    }

    /// Advances to the end, past all learning events.
    pub(super) fn run_out(&mut self, network: &mut N) -> Result<Outcome> {
        loop {
            if let Event::Finished(outcome) = self.advance(network)? {
                return Ok(outcome);
            }
        }
    }

    /// Before a batch: keeps carried states from an inference, or puts them back after it. True
    /// where those put back are of another batch size than there is room for.
    pub(super) fn keep_carried(&mut self) -> bool {
        if self.frame.schedule.start != Start::Carried {
            return false;
        }
        let values = &mut self.frame.point.state.values;
        match (self.frame.infers, self.kept.take()) {
            (true, None) => {
                self.kept = Some(Kept { values: values.clone(), status: self.watch.status });
                false
            }
            (true, kept) => {
                self.kept = kept;
                false
            }
            (false, None) => false,
            (false, Some(kept)) => {
                let batch = |values: &[N::Tensor]| values.first().map(Tensor::batch);
                let same = batch(&kept.values) == batch(values);
                *values = kept.values;
                self.watch.status = kept.status;
                !same
            }
        }
    }
}
