//! A subject as a Burn module, beside Burn's own backward pass.

use pc_core::{Schedule, host::Element};

use super::{
    layers,
    models::{BurnNet, Input, Task},
    pass::{devices, gradients},
};
use crate::{
    contract::{
        ScheduleKind,
        check::{Checked, LossKind, Subject},
    },
    error::CommandError,
    models::OutputLoss,
};

/// A subject's model and batch.
pub(super) struct Burn {
    net: BurnNet,
    batch: Task,
    depth: usize,
    structure: String,
}

impl Burn {
    pub(super) fn new<F: Element>(subject: &Subject<F>) -> Result<Self, CommandError> {
        let (_, device) = devices();
        let graph = &subject.model.graph;
        let [input, target] = subject.batch()?;
        let rows = target.data().len() / subject.model.classes.max(1);
        let target =
            pc_core::host::HostTensor::new(&[rows, subject.model.classes], target.data().to_vec())?;
        let loss = match subject.loss {
            LossKind::SquaredError => OutputLoss::SquaredError,
            LossKind::CrossEntropy => OutputLoss::CrossEntropy,
        };
        let per_step = loss == OutputLoss::CrossEntropy && subject.model.kind.goes_by_step();
        Ok(Self {
            net: BurnNet::new(&subject.model, per_step, &device)?,
            batch: Task {
                input: Input::new(&input, &device)?,
                targets: layers::tensor(&target, &device)?,
                loss,
            },
            depth: subject.depth(),
            structure: format!(
                "marked modules, {} numbers in {} parameters",
                graph.parameter_count(),
                graph.parameters().len()
            ),
        })
    }
}

impl<F: Element> Checked<F> for Burn {
    fn structure(&self) -> Result<String, CommandError> {
        Ok(self.structure.clone())
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn refuses(&mut self, rule: ScheduleKind) -> Option<String> {
        // Marked programs cannot be levelled: where they are not level by themselves, the library
        // says so.
        match rule {
            ScheduleKind::Zil => gradients(&self.net, &self.batch, Schedule::zil())
                .err()
                .map(|error| error.to_string()),
            _ => None,
        }
    }

    fn has_the_hosts_vertices(&self) -> bool {
        true
    }

    fn gradients(&mut self, schedule: Schedule) -> Result<Vec<Vec<f64>>, CommandError> {
        let samples = self.batch.samples() as f64;
        let (mut gradients, _) = gradients(&self.net, &self.batch, schedule)?;
        gradients.iter_mut().flatten().for_each(|gradient| *gradient *= samples);
        Ok(gradients)
    }
}
