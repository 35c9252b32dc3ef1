//! Figures on one fixed batch, at a run's final weights.

use pc_core::{
    Agreement, Clamps, Graph, Relaxation, Schedule,
    host::{Element, HostTensor},
};

use super::{choices::ScheduleKind, dataset::Batch, learner::Learner};
use crate::{error::CommandError, models::OutputLoss, report::Layer};

/// What a schedule does with one batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// How its gradients agree with backprop's at the same weights, by layer (all parameters of a layer as one).
    pub layers: Vec<Layer>,
    /// The energy before each step and after the last, a sample.
    pub trace: Vec<f64>,
}

impl Measured {
    /// The lowest cosine.
    pub fn min_cosine(&self) -> Option<f64> {
        self.layers.iter().map(|layer| layer.cosine).reduce(|a, b| if b < a || b.is_nan() { b } else { a })
    }
}

impl<F: Element> Learner<F> {
    /// Compares the schedule's gradients on one batch with backprop's at the same weights, and traces its energy. Weights stay where they are; the
    /// gradients of a schedule that learns at every step are summed over its steps. Backprop itself has nothing to compare.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    pub fn measure(&mut self, batch: &Batch) -> Result<Measured, CommandError> {
        if self.settings.schedule == ScheduleKind::Backprop {
            return Ok(Measured::default());
        }
        let clamps = self.model.clamps(batch.features(), &batch.labels, OutputLoss::CrossEntropy)?;
        let graph = &mut self.model.graph;
        let (ours, _) = gradients(graph, &clamps, self.settings.schedule()?)?;
        let (backprop, _) = gradients(graph, &clamps, ScheduleKind::Backprop.schedule(1.0, 1)?)?;
        let mut layers: Vec<(String, Vec<f64>, Vec<f64>)> = Vec::new();
        for ((name, ours), theirs) in graph.topology().parameter_names().iter().zip(ours).zip(backprop) {
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
        let (_, trace) = gradients(graph, &clamps, self.settings.schedule()?.traced())?;
        Ok(Measured {
            layers: layers.into_iter().map(agree).collect(),
            trace: trace.into_iter().map(|energy| energy / batch.samples.max(1) as f64).collect(),
        })
    }
}

/// Every parameter's gradient, summed over the learning events, and the trace.
fn gradients<F: Element>(
    graph: &mut Graph<HostTensor<F>>,
    clamps: &Clamps<HostTensor<F>>,
    schedule: Schedule,
) -> Result<(Vec<Vec<f64>>, Vec<f64>), CommandError> {
    let mut sums: Vec<Vec<f64>> = graph.parameters().iter().map(|parameter| vec![0.0; parameter.data().len()]).collect();
    let outcome = Relaxation::new(graph, schedule)?.train(graph, clamps, |_, gradients| {
        for ((_, gradient), sum) in gradients.iter().zip(&mut sums) {
            for (s, g) in sum.iter_mut().zip(gradient.map(HostTensor::data).unwrap_or_default()) {
                *s += g.value();
            }
        }
        Ok(())
    })?;
    Ok((sums, outcome.trace))
}
