//! dfdx's own traced step, and what stands in its place, timed.

use std::time::Instant;

use pc_core::host::{Element, HostTensor, Init};
use pc_dfdx::PredictiveCoding;

use super::{
    models::Built,
    net::{Batch, Net},
};
use crate::{
    backends::host,
    contract::{
        ScheduleKind,
        speed::{
            Arithmetic, Contender, ContenderRole, Measured, STEPS, Seconds, Target, Timed,
            TimedKind,
        },
    },
    error::CommandError,
    models::{InputShape, ModelKind, OutputLoss, Size, build},
};

const CLASSES: usize = 10;
const SEED: u64 = 7;

/// A net with a batch of random numbers.
pub(super) struct Dfdx<E: Built + Element> {
    description: String,
    arithmetic: Option<Arithmetic>,
    net: Box<dyn Net<E>>,
    batch: Batch<E>,
    contenders: Vec<Contender>,
    /// None for backprop.
    ways: Vec<Option<PredictiveCoding<E>>>,
}

impl<E: Built + Element> Dfdx<E> {
    pub(super) fn new(
        kind: ModelKind,
        samples: usize,
        rules: &[ScheduleKind],
    ) -> Result<Self, CommandError> {
        let shape = InputShape::Image([1, 28, 28]);
        let model = build::<E>(kind, &shape, CLASSES, SEED, Size::Standard)?;
        let mut net = E::net(kind, shape, CLASSES, Size::Standard, false)?;
        net.set_parameters(model.graph.parameters())?;
        let pixels = Init::new(SEED + 1).uniform::<f32>(&[samples, 784], 1.0)?;
        let labels: Vec<usize> = (0..samples).map(|sample| sample % CLASSES).collect();
        let batch = Batch {
            input: model.input(crate::models::Features::Pixels(pixels.data()))?,
            targets: HostTensor::one_hot(&labels, CLASSES)?,
            loss: OutputLoss::CrossEntropy,
        };
        // Moments of the relaxation are the host's to watch; weights that move need an optimiser.
        let contenders: Vec<Contender> = host::contenders(rules, STEPS)?
            .into_iter()
            .filter(|one| one.role != ContenderRole::Watched && one.rule != ScheduleKind::Ipc)
            .collect();
        let way = |one: &Contender| {
            (one.rule != ScheduleKind::Backprop).then(|| E::learning(one.schedule.clone()))
        };
        Ok(Self {
            description: format!("{}, by dfdx", model.description),
            arithmetic: Arithmetic::of(kind, samples),
            net,
            batch,
            ways: contenders.iter().map(way).collect(),
            contenders,
        })
    }
}

impl<E: Built + Element> Timed for Dfdx<E> {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn arithmetic(&self) -> Option<Arithmetic> {
        self.arithmetic.clone()
    }

    fn contenders(&self) -> Vec<Contender> {
        self.contenders.clone()
    }

    fn step(&mut self, contender: usize) -> Result<Seconds, CommandError> {
        let start = Instant::now();
        let outcome = match &mut self.ways[contender] {
            None => {
                self.net.run_backprop(&self.batch)?;
                None
            }
            Some(pc) => Some(self.net.run_relaxed(pc, &self.batch)?),
        };
        let total = start.elapsed().as_secs_f64();
        if let Some(outcome) = outcome {
            self.contenders[contender].must_hold(outcome.status)?;
        }
        Ok(Seconds { forward: None, relaxed: None, total })
    }
}

/// What stands in the place of dfdx's own backward pass is to cost at most.
pub(super) fn targets(measured: &[Measured]) -> Vec<Target> {
    let mlps = measured.iter().filter(|own| own.case.kind == TimedKind::Model(ModelKind::Mlp));
    let bounds = [
        ("dfdx mlp: closed form over dfdx's backprop, upper end", "fixed-prediction", 1.15),
        ("dfdx mlp: standard PC of 20 steps over dfdx's backprop, upper end", "standard", 8.0),
    ];
    mlps.flat_map(|own| {
        bounds.iter().filter_map(|(what, name, bound)| {
            let found = own.ratio(name)?.high;
            Some(Target { what, bound: *bound, at_least: false, found })
        })
    })
    .collect()
}
