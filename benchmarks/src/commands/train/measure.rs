//! Figures on one fixed batch, at a run's final weights.

use pc_core::{Agreement, Schedule, host::Element};

use super::learner::Learner;
use crate::{
    contract::{
        ScheduleKind,
        train::{Batch, VertexTrace},
    },
    error::CommandError,
    report::{Layer, VertexEnergy},
    statistics::lesser,
};

/// The steps of relaxation whose energies are traced; those of more steps begin as these do.
pub(super) const TRACED: usize = 500;

/// What a schedule does with one batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// How its gradients agree with backprop's at the same weights, by layer (all parameters of a
    /// layer as one).
    pub layers: Vec<Layer>,
    /// The energy before each step and after the last, a sample; of many steps the first 500.
    pub trace: Vec<f64>,
    /// The same of each vertex, where that was asked for.
    pub vertices: Vec<VertexEnergy>,
}

impl Measured {
    /// The lowest cosine.
    pub fn min_cosine(&self) -> Option<f64> {
        self.layers.iter().map(|layer| layer.cosine).reduce(lesser)
    }
}

impl<F: Element> Learner<F> {
    /// Compares the schedule's gradients on one batch with backprop's at the same weights, and
    /// traces its energy. Weights stay where they are; the gradients of a schedule that learns at
    /// every step are summed over its steps. Backprop itself has nothing to compare, and a net with
    /// a latent nothing to compare with: backprop finds none.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    pub fn measure(&mut self, batch: &Batch) -> Result<Measured, CommandError> {
        self.measure_unless(batch, &|| false)
    }

    /// As [`Learner::measure`]; nothing where `stop` says so before it is done.
    ///
    /// # Errors
    /// As there.
    pub fn measure_unless(
        &mut self,
        batch: &Batch,
        stop: &dyn Fn() -> bool,
    ) -> Result<Measured, CommandError> {
        if self.settings.schedule == ScheduleKind::Backprop || stop() {
            return Ok(Measured::default());
        }
        if self.settings.details.has_latent() {
            let trace = self.trainee.gradients(batch, self.watched()?.traced())?.energy;
            return Ok(Measured { trace: a_sample(trace, batch), ..Measured::default() });
        }
        let ours = self.trainee.gradients(batch, self.settings.schedule()?)?.gradients;
        if stop() {
            return Ok(Measured::default());
        }
        let backprop =
            self.trainee.gradients(batch, ScheduleKind::Backprop.schedule(1.0, 1)?)?.gradients;
        let names = self.trainee.parameters()?.into_iter().map(|(name, _)| name);
        let mut layers: Vec<(String, Vec<f64>, Vec<f64>)> = Vec::new();
        for ((name, ours), theirs) in names.zip(ours).zip(backprop) {
            let layer = name.rsplit_once('.').map_or(name.as_str(), |(layer, _)| layer);
            match layers.iter_mut().find(|(known, ..)| known == layer) {
                Some((_, a, b)) => {
                    a.extend(ours);
                    b.extend(theirs);
                }
                None => layers.push((layer.to_owned(), ours, theirs)),
            }
        }
        let agree = |(name, ours, theirs): (String, Vec<f64>, Vec<f64>)| {
            let agreement = Agreement::of_slices(&ours, &theirs);
            Layer { name, cosine: agreement.cosine, norm_ratio: agreement.norm_ratio }
        };
        if stop() {
            return Ok(Measured::default());
        }
        let trace = self.trainee.gradients(batch, self.watched()?.traced())?.energy;
        Ok(Measured {
            layers: layers.into_iter().map(agree).collect(),
            trace: a_sample(trace, batch),
            vertices: Vec::new(),
        })
    }

    /// The energy of each vertex on one batch, before each step and after the last, a sample; of
    /// many steps the first 500. Weights stay where they are. Backprop takes no steps and has none.
    ///
    /// # Errors
    /// A batch that does not fit the model; a backend that cannot read them.
    pub fn energies(&mut self, batch: &Batch) -> Result<Vec<VertexEnergy>, CommandError> {
        if self.settings.schedule == ScheduleKind::Backprop {
            return Ok(Vec::new());
        }
        let vertices = self.trainee.energies(batch, self.watched()?)?;
        let shown = vertices.into_iter().map(|VertexTrace { name, energy }| VertexEnergy {
            name,
            trace: a_sample(energy, batch),
        });
        Ok(shown.collect())
    }

    /// The schedule to watch: simulated, step by step, also where the gradients have a closed form.
    fn watched(&self) -> Result<Schedule, CommandError> {
        Ok(self.settings.schedule_of(self.settings.steps.min(TRACED))?)
    }
}

/// The energies of a batch, a sample.
fn a_sample(energies: Vec<f64>, batch: &Batch) -> Vec<f64> {
    energies.into_iter().map(|energy| energy / batch.samples.max(1) as f64).collect()
}
