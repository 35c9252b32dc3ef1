//! The net as a graph, and its relaxation.

use pc_core::{
    Clamps, Evaluation, Graph, Outcome, Relaxation, Schedule, Status, VertexId,
    host::{Activate, Activation, Chain, HostTensor, HostVertex, Linear},
};

use super::{
    GradientsArgs,
    file::{Net, Number},
};
use crate::{commands::train::ScheduleKind, error::CommandError};

/// What came of it.
#[derive(Debug)]
pub(super) struct Findings<F> {
    /// The gradients of each layer's weight and bias.
    pub(super) gradients: Vec<(HostTensor<F>, HostTensor<F>)>,
    /// The energy before each step and after the last.
    pub(super) energy: Vec<f64>,
    /// The value of each layer's output.
    pub(super) values: Vec<HostTensor<F>>,
    /// The schedule and how it was computed.
    pub(super) schedule: String,
}

/// The schedule that gives the gradients, and where that one cannot be watched step by step another that goes the same way and can.
struct Plan {
    gradients: Schedule,
    watched: Option<Schedule>,
}

/// Runs a schedule on a net.
pub(super) fn compute<F: Number>(net: Net<F>, args: &GradientsArgs) -> Result<Findings<F>, CommandError> {
    let plan = Plan::new(args, net.layers.len() - 1)?;
    let count = net.layers.len();
    let (mut graph, layers, clamps) = build(net, args.activation.function())?;
    let mut relaxation = Relaxation::new(&graph, plan.gradients)?;
    let outcome = relaxation.run(&mut graph, &clamps)?;
    check(&outcome, relaxation.schedule())?;
    let schedule = format!("{} by {}", relaxation.schedule(), relaxation.evaluation());
    let (energy, watched) = match plan.watched {
        None => (outcome.trace, None),
        Some(schedule) => {
            let mut watched = Relaxation::new(&graph, schedule)?;
            let outcome = watched.run(&mut graph, &clamps)?;
            check(&outcome, watched.schedule())?;
            (outcome.trace, Some(watched))
        }
    };
    let state = watched.as_ref().unwrap_or(&relaxation);
    let mut gradients = Vec::with_capacity(count);
    let mut values = Vec::with_capacity(count);
    for (l, vertex) in layers.iter().enumerate() {
        // What no error has reached has no gradient: it is zero.
        let gradient = |name: &str| -> Result<HostTensor<F>, CommandError> {
            let id = graph.parameter(&format!("layers.{l}.{name}"))?;
            let zero = || HostTensor::zeroed(graph.parameters()[id.index()].dims());
            Ok(relaxation.gradients().get(id).cloned().unwrap_or_else(zero))
        };
        gradients.push((gradient("weight")?, gradient("bias")?));
        values.extend(state.value(&graph, *vertex));
    }
    Ok(Findings { gradients, energy, values, schedule })
}

fn check(outcome: &Outcome, schedule: &Schedule) -> Result<(), CommandError> {
    if outcome.status == Status::Diverged {
        return Err(CommandError::input(format!(
            "{schedule} diverged at step {}: a number is no longer finite; a smaller --rate or fewer --steps may help",
            outcome.steps
        )));
    }
    Ok(())
}

type Built<F> = (Graph<HostTensor<F>>, Vec<VertexId>, Clamps<HostTensor<F>>);

fn build<F: Number>(net: Net<F>, activation: Activation) -> Result<Built<F>, CommandError> {
    let mut builder = Graph::builder();
    let input = builder.input("x", &net.x.dims()[1..])?;
    let last = net.layers.len() - 1;
    let mut layers = Vec::with_capacity(net.layers.len());
    let mut below = input;
    for (l, (weight, bias)) in net.layers.into_iter().enumerate() {
        let weight = builder.parameter(&format!("layers.{l}.weight"), weight)?;
        let bias = builder.parameter(&format!("layers.{l}.bias"), bias)?;
        let linear: HostVertex<F> = Box::new(Linear::new());
        let vertex = if l == last || activation == Activation::Identity {
            linear
        } else {
            Box::new(Chain::new(vec![linear, Box::new(Activate(activation))])?)
        };
        below = builder.vertex(&format!("layers.{l}"), vertex, &[below], &[weight, bias])?;
        layers.push(below);
    }
    Ok((builder.build()?, layers, Clamps::new().hold(input, net.x).hold(below, net.y)))
}

impl Plan {
    /// For a chain of this depth: edges from the first predicted layer to the last.
    fn new(args: &GradientsArgs, depth: usize) -> Result<Self, CommandError> {
        let rule = args.schedule;
        if args.evaluation != Evaluation::Auto && !matches!(rule, ScheduleKind::FixedPrediction | ScheduleKind::Zil) {
            return Err(CommandError::input(format!("--evaluation: there is one way only to compute {rule}")));
        }
        let alone = |gradients| Ok(Self { gradients, watched: None });
        match rule {
            ScheduleKind::Ipc => Err(CommandError::input(
                "--schedule ipc: its weights move with its states, so its gradients depend on a weight rate too; \
                 take `pc-bench train --schedule ipc`",
            )),
            ScheduleKind::Backprop => {
                args.refuse_rate("it does not relax")?;
                args.refuse_steps("it does not relax")?;
                // What it is the short cut of: one step a layer, at rate 1.
                let watched = with_steps(Schedule::fixed_prediction, 1.0, depth)?.evaluated_by(Evaluation::Simulate).traced();
                Ok(Self { gradients: Schedule::backprop(), watched: Some(watched) })
            }
            ScheduleKind::FixedPrediction => {
                let schedule = with_steps(Schedule::fixed_prediction, args.need_rate()?, args.need_steps()?)?;
                let simulated = schedule.clone().evaluated_by(Evaluation::Simulate).traced();
                match args.evaluation {
                    Evaluation::Auto | Evaluation::Simulate => alone(simulated),
                    Evaluation::Front => alone(schedule.evaluated_by(Evaluation::Front).traced()),
                    Evaluation::ClosedForm => {
                        Ok(Self { gradients: schedule.evaluated_by(Evaluation::ClosedForm), watched: Some(simulated) })
                    }
                }
            }
            ScheduleKind::Zil => {
                args.refuse_rate("its rate is 1")?;
                let steps = args.steps.unwrap_or(depth);
                if steps < depth {
                    return Err(CommandError::input(format!(
                        "--steps {steps}: Z-IL reads the first layer's weights after {depth} steps in a net of {} layers; leave --steps out",
                        depth + 1
                    )));
                }
                let evaluation = if args.evaluation == Evaluation::Auto { Evaluation::Simulate } else { args.evaluation };
                // Its states move as standard PC's at rate 1 do; only when weights learn is its own.
                let watched = with_steps(Schedule::standard, 1.0, steps)?.traced();
                Ok(Self { gradients: Schedule::zil().evaluated_by(evaluation), watched: Some(watched) })
            }
            ScheduleKind::Standard => alone(with_steps(Schedule::standard, args.need_rate()?, args.need_steps()?)?.traced()),
            ScheduleKind::Epc => alone(with_steps(Schedule::epc, args.need_rate()?, args.need_steps()?)?.traced()),
        }
    }
}

/// A schedule of any number of steps: none is allowed here, to see what learning from the start gives.
fn with_steps(make: fn(f64, usize) -> pc_core::Result<Schedule>, rate: f64, steps: usize) -> Result<Schedule, CommandError> {
    let schedule = make(rate, steps.max(1))?;
    Ok(if steps == 0 { schedule.unrelaxed() } else { schedule })
}
