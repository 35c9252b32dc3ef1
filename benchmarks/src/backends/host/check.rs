//! A subject's graph, relaxed by any schedule.

use pc_core::{
    Learning, ParamId, Relaxation, Schedule, Status, Tensor,
    host::{Element, HostTensor},
};

use crate::{
    contract::check::{Checked, Subject},
    error::CommandError,
};

/// A subject, and its twin for Z-IL, with identity vertices where an edge spans more than one
/// level.
pub(super) struct Host<F: Element> {
    plain: Subject<F>,
    levelled: Subject<F>,
}

impl<F: Element> Host<F> {
    pub(super) fn new(subject: &Subject<F>) -> Result<Self, CommandError> {
        let twin = subject.converted::<F>()?;
        let levelled = Subject { model: twin.model.levelled()?, ..twin };
        Ok(Self { plain: subject.converted()?, levelled })
    }
}

impl<F: Element> Checked<F> for Host<F> {
    fn structure(&self) -> Result<String, CommandError> {
        let graph = &self.plain.model.graph;
        Ok(format!(
            "{} vertices ({} levelled), {} numbers in {} parameters, depth {}",
            graph.topology().len(),
            self.levelled.model.graph.topology().len(),
            graph.parameter_count(),
            graph.parameters().len(),
            self.depth()
        ))
    }

    fn depth(&self) -> usize {
        self.plain.depth()
    }

    fn gradients(&mut self, schedule: Schedule) -> Result<Vec<Vec<f64>>, CommandError> {
        let subject = if schedule.learning() == Learning::AtLevel {
            &mut self.levelled
        } else {
            &mut self.plain
        };
        let clamps = subject.clamps();
        let mut relaxation = Relaxation::new(&subject.model.graph, schedule)?;
        let outcome = relaxation.run(&mut subject.model.graph, &clamps)?;
        let diverged = outcome.status == Status::Diverged;
        let list = |(index, parameter): (usize, &HostTensor<F>)| {
            let zeros = || vec![0.0; parameter.data().len()];
            match relaxation.gradients().get(ParamId::new(index)) {
                _ if diverged => vec![f64::NAN; parameter.data().len()],
                gradient => gradient.map_or_else(zeros, Tensor::to_vec),
            }
        };
        Ok(subject.model.graph.parameters().iter().enumerate().map(list).collect())
    }
}
