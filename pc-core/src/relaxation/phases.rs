//! Several clamped phases, whose gradients are weighed and added.

use crate::{
    Error, Result,
    clamp::Clamps,
    gradients::Gradients,
    method::Method,
    network::Network,
    outcome::{Outcome, Status},
    relaxation::Relaxation,
    schedule::{Learning, Start},
};

impl<N: Network> Relaxation<N> {
    /// Relaxes one clamped phase after the other, each from where the last has ended, and leaves
    /// the sum of their gradients in [`Relaxation::gradients`], each phase's multiplied by its
    /// weight. The first phase starts as the schedule says.
    ///
    /// Equilibrium propagation (Scellier & Bengio 2017) is a free phase of weight `-1 / beta` and a
    /// phase whose loss has strength `beta`, of weight `1 / beta`. Contrastive Hebbian learning is
    /// a free phase of weight -1 and a clamped one of weight 1.
    ///
    /// If a phase diverges, the later ones are left out and there are no gradients. Otherwise there
    /// is an outcome for each phase.
    ///
    /// # Errors
    /// No phases; a weight that is not finite; a schedule that does not learn at the end from live
    /// states; what [`Relaxation::begin`] and [`Relaxation::advance`] report.
    ///
    /// # Example
    /// ```
    /// use pc_core::{
    ///     Clamps, Graph, Relaxation, Schedule, SquaredError,
    ///     host::{Activation, HostLayers, HostTensor, Init},
    /// };
    /// let mut init = Init::new(7);
    /// let mut b = Graph::<HostTensor<f64>>::builder();
    /// let x = b.input("x", &[2])?;
    /// let h = b.dense("h", x, 8, Activation::Tanh, &mut init)?;
    /// let y = b.dense("y", h, 1, Activation::Identity, &mut init)?;
    /// let mut graph = b.build()?;
    /// let beta = 0.01;
    /// let target = HostTensor::new(&[1, 1], vec![1.0])?;
    /// let free = Clamps::new().hold(x, HostTensor::new(&[1, 2], vec![0.5, -1.0])?);
    /// let weak = free.clone().weak_loss(y, SquaredError::new(target), beta);
    /// let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.2, 200)?)?;
    /// let outcomes =
    ///     relaxation.run_phases(&mut graph, &[(-1.0 / beta, &free), (1.0 / beta, &weak)])?;
    /// assert_eq!(outcomes.len(), 2);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn run_phases(
        &mut self,
        network: &mut N,
        phases: &[(f64, &Clamps<N::Tensor>)],
    ) -> Result<Vec<Outcome>> {
        if phases.is_empty() {
            return Err(Error::misuse("there are no phases to relax"));
        }
        if let Some((weight, _)) = phases.iter().find(|(weight, _)| !weight.is_finite()) {
            return Err(Error::misuse(format!("a phase has a weight of {weight}")));
        }
        let at_end = self.frame.schedule.learning == Learning::AtEnd;
        if !at_end || !matches!(self.method, Method::Live) {
            return Err(Error::schedule(format!(
                "{}: phases go on from one another's states and learn at their ends, which takes \
                 live states",
                self.frame.schedule.name()
            )));
        }
        let mut batches = phases.iter().map(|(_, clamps)| clamps.batch(network.topology()));
        let first = batches.next().transpose()?;
        for batch in batches {
            if Some(batch?) != first {
                let why = "its phases go on from one another, so their batches are of one size";
                let name = self.frame.schedule.name();
                return Err(Error::schedule(format!("{name}: {why}")));
            }
        }
        let mut sum: Gradients<N::Tensor> = network.gradients();
        let mut outcomes = Vec::with_capacity(phases.len());
        let mut start = self.frame.schedule.start;
        for (weight, clamps) in phases {
            self.begin_from(network, clamps, start)?;
            let outcome = self.run_out(network)?;
            let diverged = outcome.status == Status::Diverged;
            outcomes.push(outcome);
            if diverged {
                sum.clear();
                break;
            }
            sum.axpy(*weight, &self.frame.gradients)?;
            start = Start::Carried;
        }
        self.frame.gradients = sum;
        Ok(outcomes)
    }
}
