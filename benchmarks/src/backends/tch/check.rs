//! A subject as a tch program, its gradients by any schedule.

use ::tch::{Kind, Tensor};
use pc_core::{Evaluation, Schedule, Status, host::Element};
use pc_tch::Pc;

use super::model::{TchNet, failed, from_host, rows};
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
    classes: i64,
    loss: LossKind,
    depth: usize,
    vertices: usize,
}

impl Tch {
    pub(super) fn new<F: Element>(subject: &Subject<F>) -> Result<Self, CommandError> {
        let tensors = |all: &[(pc_core::VertexId, pc_core::host::HostTensor<F>)]| {
            all.iter()
                .map(|(_, tensor)| from_host(tensor))
                .collect::<Result<Vec<_>, CommandError>>()
        };
        let classes = subject.model.classes as i64;
        let mut made = Self {
            net: TchNet::new(&subject.model)?,
            inputs: tensors(&subject.inputs)?,
            targets: rows(&tensors(&subject.targets)?, classes)?,
            classes,
            loss: subject.loss,
            depth: 0,
            vertices: 0,
        };
        let (outputs, loss) = made.forward()?;
        let outcome = Pc::exact().f_backward_from(&loss, &outputs.iter().collect::<Vec<_>>())?;
        made.net.take_gradients()?;
        (made.depth, made.vertices) = (outcome.depth, outcome.vertices);
        Ok(made)
    }

    fn forward(&self) -> Result<(Vec<Tensor>, Tensor), CommandError> {
        let outputs = self.net.outputs(&self.inputs)?;
        let logits = rows(&outputs, self.classes)?;
        let loss = match self.loss {
            LossKind::SquaredError => logits
                .f_sub(&self.targets)
                .and_then(|e| e.f_square()?.f_sum(self.net.tensors)?.f_mul_scalar(0.5)),
            LossKind::CrossEntropy => {
                let logs = logits.f_log_softmax(-1, None::<Kind>);
                logs.and_then(|logs| logs.f_mul(&self.targets)?.f_sum(self.net.tensors)?.f_neg())
            }
        };
        Ok((outputs, loss.map_err(failed)?))
    }
}

impl<F: Element> Checked<F> for Tch {
    fn structure(&self) -> Result<String, CommandError> {
        let numbers: usize =
            self.net.parameters.iter().map(|(_, parameter)| parameter.numel()).sum();
        Ok(format!(
            "{} operations, {numbers} numbers in {} parameters, depth {}",
            self.vertices,
            self.net.parameters.len(),
            self.depth
        ))
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn evaluations(&self, rule: ScheduleKind) -> Vec<Evaluation> {
        match rule {
            ScheduleKind::FixedPrediction => {
                vec![Evaluation::Simulate, Evaluation::Front, Evaluation::ClosedForm]
            }
            _ => Vec::new(),
        }
    }

    fn gradients(&mut self, schedule: Schedule) -> Result<Vec<Vec<f64>>, CommandError> {
        let (outputs, loss) = self.forward()?;
        let diverged = if schedule.name() == ScheduleKind::Backprop.name() {
            loss.f_backward().map_err(failed)?;
            false
        } else {
            Pc::new(schedule)
                .even_shallow()
                .measured()
                .f_backward_from(&loss, &outputs.iter().collect::<Vec<_>>())?
                .status
                == Status::Diverged
        };
        let gradients = self.net.take_gradients()?;
        Ok(if diverged {
            gradients.into_iter().map(|list| vec![f64::NAN; list.len()]).collect()
        } else {
            gradients
        })
    }
}
