//! Marked Burn modules, timed beside Burn's own backprop.

use std::time::Instant;

use pc_burn::{LossReduction, PredictiveCoding};
use pc_core::{
    Schedule, Status,
    host::{Element, HostTensor, Init},
};

use super::{
    backward, devices, layers,
    models::{Input, Net, Task},
};
use crate::{
    backends::Timed,
    commands::{
        speed::{Arithmetic, Contender, Measured, RATE, Role, STEPS, Seconds, Target},
        train::ScheduleKind,
    },
    error::CommandError,
    models::{InputShape, ModelKind, OutputLoss, Size, build},
};

const CLASSES: usize = 10;
const SEED: u64 = 7;
/// What fixed prediction that is backprop itself is called here.
const EXACT: &str = "fixed-prediction, rate 1";

/// A net and its contenders.
pub(super) struct Burn {
    description: String,
    arithmetic: Option<Arithmetic>,
    net: Net,
    batch: Task,
    contenders: Vec<Contender>,
    relaxations: Vec<PredictiveCoding>,
}

impl Burn {
    pub(super) fn new<F: Element>(kind: ModelKind, batch: usize, rules: &[ScheduleKind]) -> Result<Self, CommandError> {
        let (_, device) = devices();
        let model = build::<F>(kind, &InputShape::Image([1, 28, 28]), CLASSES, SEED, Size::Standard)?;
        let depth = model.graph.topology().depth().unwrap_or(0).max(1);
        let mut numbers = Init::new(SEED + 1);
        let pixels: Vec<f32> = numbers.uniform::<f32>(&[batch, 28 * 28], 1.0).data().to_vec();
        let input = model.input(crate::models::Features::Pixels(&pixels))?;
        let mut targets = HostTensor::<F>::zeroed(&[batch, CLASSES]);
        for (sample, row) in targets.data_mut().chunks_exact_mut(CLASSES).enumerate() {
            row[sample % CLASSES] = F::one();
        }
        let batch =
            Task { input: Input::new(&input, &device)?, targets: layers::tensor(&targets, &device)?, loss: OutputLoss::SquaredError };
        let net = Net::new(&model, false, &device)?;
        let mut contenders = contenders(rules, depth)?;
        if model.graph.topology().unlevelled_edge().is_some() {
            // Marked programs cannot be levelled.
            contenders.retain(|contender| contender.rule != ScheduleKind::Zil);
        }
        let samples = batch.samples();
        let relaxation = |contender: &Contender| PredictiveCoding::new(contender.schedule.clone(), LossReduction::MeanOver(samples));
        Ok(Self {
            description: format!("{}, marked Burn modules on Flex", model.description),
            arithmetic: Arithmetic::of(kind, samples),
            net,
            batch,
            relaxations: contenders.iter().map(relaxation).collect(),
            contenders,
        })
    }
}

fn contenders(rules: &[ScheduleKind], depth: usize) -> Result<Vec<Contender>, CommandError> {
    let mut all = Vec::new();
    let mut add = |rule, name, steps, schedule| all.push(Contender { rule, name, schedule, steps, role: Role::Shown });
    add(ScheduleKind::Backprop, "backprop", 0, Schedule::backprop());
    for &rule in rules {
        match rule {
            ScheduleKind::Backprop => {}
            ScheduleKind::FixedPrediction => {
                add(rule, EXACT, depth, Schedule::fixed_prediction(1.0, depth)?);
                add(rule, "fixed-prediction", STEPS, Schedule::fixed_prediction(RATE, STEPS)?);
            }
            ScheduleKind::Zil => add(rule, "zil", 0, Schedule::zil()),
            ScheduleKind::Standard => {
                let schedule = Schedule::standard(RATE, STEPS)?;
                add(rule, "standard", STEPS, schedule.clone());
                add(rule, "standard T=0", 0, schedule.unrelaxed());
            }
            ScheduleKind::Ipc => add(rule, "ipc", STEPS, Schedule::ipc(RATE, STEPS)?),
            ScheduleKind::Epc => add(rule, "epc", STEPS, Schedule::epc(RATE, STEPS)?),
        }
    }
    Ok(all)
}

impl Timed for Burn {
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
        let Self { net, batch, contenders, relaxations, .. } = self;
        let start = Instant::now();
        let outcome = match contenders[contender].rule {
            ScheduleKind::Backprop => {
                let gradients = backward(net, batch);
                drop(gradients);
                None
            }
            ScheduleKind::Ipc => {
                let mut own = net.clone();
                Some(relaxations[contender].train(&mut own, |net: &Net| net.loss(batch), |net, _| net)?.outcome)
            }
            _ => Some(relaxations[contender].learn(net, |net: &Net| net.loss(batch))?.outcome),
        };
        let total = start.elapsed().as_secs_f64();
        if outcome.is_some_and(|outcome| outcome.status == Status::Diverged) {
            return Err(CommandError::input(format!("{} diverged, so its time means nothing", contenders[contender].name)));
        }
        Ok(Seconds { forward: None, relaxed: None, total })
    }
}

/// What the marks are to cost at most.
pub(super) fn targets(measured: &[Measured]) -> Vec<Target> {
    let mut targets = Vec::new();
    for own in measured {
        let (exact, closed) = match own.kind {
            ModelKind::Mlp => {
                ("Burn mlp: exact fixed prediction over backprop, upper end", "Burn mlp: closed form over backprop, upper end")
            }
            ModelKind::Cnn => {
                ("Burn LeNet: exact fixed prediction over backprop, upper end", "Burn LeNet: closed form over backprop, upper end")
            }
            _ => continue,
        };
        for (what, name) in [(exact, EXACT), (closed, "fixed-prediction")] {
            targets.extend(own.ratio(name).map(|ratio| Target { what, bound: 1.15, at_least: false, found: ratio.high }));
        }
    }
    targets
}
