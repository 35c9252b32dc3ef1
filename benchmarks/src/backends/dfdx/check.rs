//! A subject as a dfdx model, beside dfdx's own backward pass.

use pc_core::{Schedule, Status, Tensor as _, host::Element};

use super::{
    models::Built,
    net::{Batch, Net},
};
use crate::{
    contract::{
        ScheduleKind,
        check::{Checked, LossKind, Subject},
    },
    error::CommandError,
    models::{OutputLoss, Size},
};

/// A subject's model and batch.
pub(super) struct Dfdx<E: Built + Element> {
    net: Box<dyn Net<E>>,
    batch: Batch<E>,
    depth: usize,
    structure: String,
}

impl<E: Built + Element> Dfdx<E> {
    pub(super) fn new(subject: &Subject<E>) -> Result<Self, CommandError> {
        let model = &subject.model;
        let (loss, per_step) = match subject.loss {
            LossKind::SquaredError => (OutputLoss::SquaredError, false),
            LossKind::CrossEntropy => (OutputLoss::CrossEntropy, model.kind.goes_by_step()),
        };
        let mut net = E::net(model.kind, model.shape, model.classes, Size::Small, per_step)?;
        net.set_parameters(model.graph.parameters())?;
        let [input, targets] = subject.batch()?;
        let batch = Batch { input, targets, loss };
        let read = net.read(&batch)?;
        Ok(Self {
            depth: subject.depth(),
            structure: format!(
                "{} vertices read off a type, {} numbers in {} parameters",
                read.graph.topology().len(),
                read.graph.parameter_count(),
                read.graph.parameters().len()
            ),
            net,
            batch,
        })
    }
}

impl<F: Element, E: Built + Element> Checked<F> for Dfdx<E> {
    fn structure(&self) -> Result<String, CommandError> {
        Ok(self.structure.clone())
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn has_the_hosts_vertices(&self) -> bool {
        true
    }

    fn gradients(&mut self, schedule: Schedule) -> Result<Vec<Vec<f64>>, CommandError> {
        let found = if schedule.name() == ScheduleKind::Backprop.name() {
            self.net.backprop(&self.batch)?
        } else {
            let mut pc = E::learning(schedule);
            self.net.relax(&mut pc, &self.batch)?
        };
        let diverged = found.outcome.is_some_and(|outcome| outcome.status == Status::Diverged);
        let numbers = |gradient: &pc_core::host::HostTensor<E>| match diverged {
            true => vec![f64::NAN; gradient.data().len()],
            false => gradient.to_vec(),
        };
        Ok(found.gradients.iter().map(numbers).collect())
    }
}
