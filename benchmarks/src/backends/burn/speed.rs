//! Marked Burn modules, and explicit graphs of them, timed beside Burn's own backprop.

use std::time::Instant;

use pc_burn::{BurnTensor, LossReduction, PredictiveCoding};
use pc_core::{
    Evaluation, Graph, Relaxation, Schedule,
    host::{Element, HostTensor, Init},
};

use super::{
    explicit::Explicit,
    layers,
    models::{BurnNet, Input, Task},
    pass::{backward, devices},
};
use crate::{
    contract::{
        ScheduleKind,
        speed::{
            Arithmetic, Contender, ContenderRole, Measured, RATE, STEPS, Seconds, Target, Timed,
            TimedKind,
        },
    },
    error::CommandError,
    models::{InputShape, ModelKind, OutputLoss, Size, build},
};

const CLASSES: usize = 10;
const SEED: u64 = 7;
/// What fixed prediction that is backprop itself is called here.
const EXACT: &str = "fixed-prediction, rate 1";
/// Standard PC on an explicit graph.
const EXPLICIT: &str = "standard, explicit graph";

/// A net and its contenders.
pub(super) struct Burn {
    description: String,
    arithmetic: Option<Arithmetic>,
    net: BurnNet,
    batch: Task,
    contenders: Vec<Contender>,
    runners: Vec<Runner>,
}

/// What runs a contender.
enum Runner {
    Backprop,
    Marked(Box<PredictiveCoding>),
    Explicit(Box<(Explicit, Relaxation<Graph<BurnTensor>>)>),
}

impl Burn {
    pub(super) fn new<F: Element>(
        kind: ModelKind,
        batch: usize,
        rules: &[ScheduleKind],
    ) -> Result<Self, CommandError> {
        let (_, device) = devices();
        let model =
            build::<F>(kind, &InputShape::Image([1, 28, 28]), CLASSES, SEED, Size::Standard)?;
        let depth = model.graph.topology().depth().unwrap_or(0).max(1);
        let mut numbers = Init::new(SEED + 1);
        let pixels: Vec<f32> = numbers.uniform::<f32>(&[batch, 28 * 28], 1.0)?.data().to_vec();
        let input = model.input(crate::models::Features::Pixels(&pixels))?;
        let mut targets = HostTensor::<F>::zeroed(&[batch, CLASSES])?;
        for (sample, row) in targets.data_mut().chunks_exact_mut(CLASSES).enumerate() {
            row[sample % CLASSES] = F::one();
        }
        let batch = Task {
            input: Input::new(&input, &device)?,
            targets: layers::tensor(&targets, &device)?,
            loss: OutputLoss::SquaredError,
        };
        let net = BurnNet::new(&model, false, &device)?;
        let mut contenders = contenders(rules, depth)?;
        if model.graph.topology().unlevelled_edge().is_some() {
            // Marked programs cannot be levelled.
            contenders.retain(|contender| contender.rule != ScheduleKind::Zil);
        }
        let samples = batch.samples();
        let mut runners = Vec::with_capacity(contenders.len());
        for Contender { rule, schedule, .. } in &contenders {
            runners.push(match rule {
                ScheduleKind::Backprop => Runner::Backprop,
                _ => Runner::Marked(Box::new(PredictiveCoding::new(
                    schedule.clone(),
                    LossReduction::MeanOver(samples),
                ))),
            });
        }
        for contender in on_explicit_graphs(rules)? {
            if let Some(explicit) = Explicit::new(&net, &batch)? {
                let relaxation = Relaxation::new(&explicit.graph, contender.schedule.clone())?;
                runners.push(Runner::Explicit(Box::new((explicit, relaxation))));
                contenders.push(contender);
            }
        }
        Ok(Self {
            description: format!("{}, marked Burn modules on Flex", model.description),
            arithmetic: Arithmetic::of(kind, samples),
            net,
            batch,
            contenders,
            runners,
        })
    }
}

fn contenders(rules: &[ScheduleKind], depth: usize) -> Result<Vec<Contender>, CommandError> {
    let mut all = Vec::new();
    let mut add = |rule, name, steps, schedule| {
        all.push(Contender { rule, name, schedule, steps, role: ContenderRole::Shown })
    };
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

/// The rules whose steps are many, without autograd.
fn on_explicit_graphs(rules: &[ScheduleKind]) -> Result<Vec<Contender>, CommandError> {
    let mut all = Vec::new();
    let mut add = |rule, name, steps, schedule| {
        all.push(Contender { rule, name, schedule, steps, role: ContenderRole::Shown })
    };
    for &rule in rules {
        match rule {
            ScheduleKind::FixedPrediction => {
                let schedule = Schedule::fixed_prediction(RATE, STEPS)?;
                add(rule, "fixed-prediction, explicit graph", STEPS, schedule.clone());
                add(
                    rule,
                    "fixed-prediction, simulated, explicit graph",
                    STEPS,
                    schedule.evaluated_by(Evaluation::Simulate),
                );
            }
            ScheduleKind::Standard => {
                let schedule = Schedule::standard(RATE, STEPS)?;
                add(rule, EXPLICIT, STEPS, schedule.clone());
                add(rule, "standard, explicit graph T=0", 0, schedule.unrelaxed());
            }
            _ => {}
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
        let Self { net, batch, contenders, runners, .. } = self;
        let start = Instant::now();
        let outcome = match &mut runners[contender] {
            Runner::Backprop => {
                let gradients = backward(net, batch);
                drop(gradients);
                None
            }
            Runner::Marked(pc) if contenders[contender].rule == ScheduleKind::Ipc => {
                let mut own = net.clone();
                Some(pc.train(&mut own, |net: &BurnNet| net.loss(batch), |net, _| net)?.outcome)
            }
            Runner::Marked(pc) => Some(pc.learn(net, |net: &BurnNet| net.loss(batch))?.outcome),
            Runner::Explicit(own) => {
                let (Explicit { graph, clamps }, relaxation) = &mut **own;
                Some(relaxation.run(graph, clamps)?)
            }
        };
        let total = start.elapsed().as_secs_f64();
        if let Some(outcome) = outcome {
            contenders[contender].must_hold(outcome.status)?;
        }
        Ok(Seconds { forward: None, relaxed: None, total })
    }
}

/// What marks, and steps on explicit graphs, are to cost at most.
pub(super) fn targets(measured: &[Measured]) -> Vec<Target> {
    let mut targets = Vec::new();
    for own in measured {
        let (exact, closed, (step, bound)) = match own.case.kind {
            TimedKind::Model(ModelKind::Mlp) => (
                "Burn mlp: exact fixed prediction over backprop, upper end",
                "Burn mlp: closed form over backprop, upper end",
                (
                    "Burn mlp: one relaxation step of standard PC, explicit, over backprop, upper \
                     end",
                    0.42,
                ),
            ),
            TimedKind::Model(ModelKind::Cnn) => (
                "Burn LeNet: exact fixed prediction over backprop, upper end",
                "Burn LeNet: closed form over backprop, upper end",
                (
                    "Burn LeNet: one relaxation step of standard PC, explicit, over backprop, \
                     upper end",
                    0.60,
                ),
            ),
            _ => continue,
        };
        for (what, name) in [(exact, EXACT), (closed, "fixed-prediction")] {
            targets.extend(own.ratio(name).map(|ratio| Target {
                what,
                bound: 1.15,
                at_least: false,
                found: ratio.high,
            }));
        }
        targets.extend(own.relaxation_step(EXPLICIT).map(|(_, ratio)| Target {
            what: step,
            bound,
            at_least: false,
            found: ratio.high,
        }));
    }
    targets
}
