//! A subject as a marked tch program, its gradients by any schedule.

use ::tch::{Kind, Tensor};
use pc_core::{Evaluation, Schedule, host::Element};

use super::{
    model::{TchNet, failed, from_host, rows},
    pass::{gradients, marked},
};
use crate::{
    contract::{
        ScheduleKind,
        check::{Checked, LossKind, Subject},
    },
    error::CommandError,
};

/// A subject's model, inputs and targets.
pub(super) struct Tch {
    net: TchNet,
    inputs: Vec<Tensor>,
    targets: Tensor,
    samples: usize,
    classes: i64,
    loss: LossKind,
    depth: usize,
    levelled: bool,
}

impl Tch {
    pub(super) fn new<F: Element>(subject: &Subject<F>) -> Result<Self, CommandError> {
        let tensors = |all: &[(pc_core::VertexId, pc_core::host::HostTensor<F>)]| {
            all.iter()
                .map(|(_, tensor)| from_host(tensor))
                .collect::<Result<Vec<_>, CommandError>>()
        };
        let classes = subject.model.classes as i64;
        let inputs = tensors(&subject.inputs)?;
        let samples = inputs.first().and_then(|x| x.size().first().copied()).unwrap_or(1);
        Ok(Self {
            net: TchNet::new(&subject.model)?,
            samples: usize::try_from(samples).unwrap_or(1),
            inputs,
            targets: rows(&tensors(&subject.targets)?, classes)?,
            classes,
            loss: subject.loss,
            depth: subject.depth(),
            levelled: subject.model.graph.topology().unlevelled_edge().is_none(),
        })
    }

    /// The mean over the samples.
    fn loss(&self) -> Result<Tensor, CommandError> {
        let logits = rows(&self.net.outputs(&self.inputs)?, self.classes)?;
        let sum = match self.loss {
            LossKind::SquaredError => logits
                .f_sub(&self.targets)
                .and_then(|e| e.f_square()?.f_sum(self.net.tensors)?.f_mul_scalar(0.5)),
            LossKind::CrossEntropy => {
                let logs = logits.f_log_softmax(-1, None::<Kind>);
                logs.and_then(|logs| logs.f_mul(&self.targets)?.f_sum(self.net.tensors)?.f_neg())
            }
        };
        sum.and_then(|sum| sum.f_div_scalar(self.samples as f64)).map_err(failed)
    }
}

impl<F: Element> Checked<F> for Tch {
    fn structure(&self) -> Result<String, CommandError> {
        let numbers: usize =
            self.net.parameters.iter().map(|(_, parameter)| parameter.numel()).sum();
        Ok(format!("marked program, {numbers} numbers in {} parameters", self.net.parameters.len()))
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn evaluations(&self, rule: ScheduleKind) -> Vec<Evaluation> {
        match rule {
            ScheduleKind::FixedPrediction => {
                vec![Evaluation::Simulate, Evaluation::Front, Evaluation::ClosedForm]
            }
            // A marked program is not levelled for what goes step by step.
            ScheduleKind::Zil if self.levelled => vec![Evaluation::Simulate, Evaluation::Front],
            ScheduleKind::Zil => vec![Evaluation::Front],
            _ => Vec::new(),
        }
    }

    fn has_the_hosts_vertices(&self) -> bool {
        true
    }

    fn gradients(&mut self, schedule: Schedule) -> Result<Vec<Vec<f64>>, CommandError> {
        let mut found = gradients(&self.net, marked(schedule), || self.loss())?.gradients;
        found.iter_mut().flatten().for_each(|gradient| *gradient *= self.samples as f64);
        Ok(found)
    }
}
