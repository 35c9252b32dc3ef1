//! Forward and backward passes of a tch program, and its relaxations by marks, timed.

use std::time::Instant;

use ::tch::{Reduction::Mean, Tensor};
use pc_core::{
    Evaluation, Result, Schedule,
    host::{Element, Init},
};
use pc_tch::{Pc, PredictiveCoding};

use super::{
    model::{TchNet, failed, inputs, rows},
    pass::{Still, learned, marked},
};
use crate::{
    contract::{
        ScheduleKind,
        speed::{Arithmetic, Contender, ContenderRole, RATE, STEPS, Seconds, Timed},
    },
    error::CommandError,
    models::{Features, InputShape, ModelKind, Size, build},
};

const CLASSES: usize = 10;
const SEED: u64 = 7;

/// What a step calls between the loss and the gradients.
enum Way {
    /// `loss.backward()`.
    Backprop,
    /// `pc.backward(&loss)`, on the graph of operations.
    DropIn(Pc),
    /// The program's marks as vertices.
    Marked(Box<PredictiveCoding>),
}

/// A net with a batch of random numbers.
pub(super) struct Tch {
    description: String,
    net: TchNet,
    inputs: Vec<Tensor>,
    labels: Tensor,
    contenders: Vec<Contender>,
    ways: Vec<Way>,
}

impl Tch {
    pub(super) fn new<F: Element>(
        kind: ModelKind,
        batch: usize,
        rules: &[ScheduleKind],
    ) -> std::result::Result<Self, CommandError> {
        let model =
            build::<F>(kind, &InputShape::Image([1, 28, 28]), CLASSES, SEED, Size::Standard)?;
        let pixels = Init::new(SEED + 1).uniform::<f32>(&[batch, 784], 1.0)?;
        let clamps = model.feed(Features::Pixels(pixels.data()))?;
        let labels: Vec<i64> = (0..batch as i64).map(|sample| sample % CLASSES as i64).collect();
        let topology = model.graph.topology();
        let (contenders, ways) = contenders(rules, topology.depth().unwrap_or(0).max(1))?;
        Ok(Self {
            description: format!("{}, by libtorch", model.description),
            net: TchNet::new(&model)?,
            inputs: inputs(&model, &clamps)?,
            labels: Tensor::from_slice(&labels),
            contenders,
            ways,
        })
    }
}

/// Backprop first; then the drop-in at rate 1, and at the rate and steps of the other backends;
/// then the rules by marks.
fn contenders(rules: &[ScheduleKind], depth: usize) -> Result<(Vec<Contender>, Vec<Way>)> {
    let (mut all, mut ways) = (Vec::new(), Vec::new());
    let marked = |schedule: &Schedule| Way::Marked(Box::new(marked(schedule.clone())));
    let mut add = |rule, name, steps, schedule: Schedule, role, way| {
        all.push(Contender { rule, name, schedule, steps, role });
        ways.push(way);
    };
    add(
        ScheduleKind::Backprop,
        "backprop",
        0,
        Schedule::backprop(),
        ContenderRole::Shown,
        Way::Backprop,
    );
    if rules.contains(&ScheduleKind::FixedPrediction) {
        let rule = ScheduleKind::FixedPrediction;
        add(
            rule,
            "drop-in, rate 1",
            0,
            Schedule::backprop(),
            ContenderRole::Shown,
            Way::DropIn(Pc::exact()),
        );
        let closed = Schedule::fixed_prediction(RATE, STEPS)?;
        add(
            rule,
            "fixed-prediction",
            STEPS,
            closed.clone(),
            ContenderRole::Shown,
            Way::DropIn(Pc::new(closed).even_shallow()),
        );
        for (steps, role) in [(STEPS, ContenderRole::Shown), (STEPS / 2, ContenderRole::Half)] {
            let schedule =
                Schedule::fixed_prediction(RATE, steps)?.evaluated_by(Evaluation::Simulate);
            add(
                rule,
                "fixed-prediction, simulated",
                steps,
                schedule.clone(),
                role,
                Way::DropIn(Pc::new(schedule).even_shallow()),
            );
        }
    }
    for &rule in rules {
        let (name, steps, schedule) = match rule {
            ScheduleKind::Backprop => continue,
            ScheduleKind::FixedPrediction => {
                ("marked, rate 1", depth, Schedule::fixed_prediction(1.0, depth)?)
            }
            ScheduleKind::Zil => ("zil", 0, Schedule::zil()),
            ScheduleKind::Standard => ("standard", STEPS, Schedule::standard(RATE, STEPS)?),
            ScheduleKind::Ipc => ("ipc", STEPS, Schedule::ipc(RATE, STEPS)?),
            ScheduleKind::Epc => ("epc", STEPS, Schedule::epc(RATE, STEPS)?),
        };
        let way = marked(&schedule);
        add(rule, name, steps, schedule.clone(), ContenderRole::Shown, way);
        if rule == ScheduleKind::Standard {
            let schedule = schedule.unrelaxed();
            let way = marked(&schedule);
            add(rule, "standard T=0", 0, schedule, ContenderRole::Shown, way);
        }
    }
    Ok((all, ways))
}

impl Timed for Tch {
    fn description(&self) -> String {
        self.description.clone()
    }

    fn arithmetic(&self) -> Option<Arithmetic> {
        None
    }

    fn contenders(&self) -> Vec<Contender> {
        self.contenders.clone()
    }

    fn step(&mut self, contender: usize) -> std::result::Result<Seconds, CommandError> {
        let start = Instant::now();
        let Self { net, inputs, labels, ways, .. } = self;
        let loss = || {
            rows(&net.outputs(inputs)?, CLASSES as i64)?
                .f_cross_entropy_loss(&*labels, None::<Tensor>, Mean, -100, 0.0)
                .map_err(failed)
        };
        let mut forward = None;
        match &mut ways[contender] {
            Way::Backprop => {
                let loss = loss()?;
                forward = Some(start.elapsed().as_secs_f64());
                loss.f_backward().map_err(failed)?;
            }
            Way::DropIn(pc) => {
                let loss = loss()?;
                forward = Some(start.elapsed().as_secs_f64());
                let _ = pc.f_backward(&loss)?;
            }
            Way::Marked(pc) => {
                let outcome = learned(pc, &mut Still::of(net), loss)?.outcome;
                self.contenders[contender].must_hold(outcome.status)?;
            }
        }
        let total = start.elapsed().as_secs_f64();
        // Gradients are zeroed in place, outside the time.
        for (_, parameter) in &self.net.parameters {
            let mut gradient = parameter.f_grad().map_err(failed)?;
            if gradient.defined() {
                let _ = gradient.f_zero_().map_err(failed)?;
            }
        }
        Ok(Seconds { forward, relaxed: None, total })
    }
}
