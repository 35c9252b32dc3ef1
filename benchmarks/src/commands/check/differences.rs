//! The oracle that knows nothing of pullbacks: derivatives of the loss from forward passes alone.

use pc_core::{
    Network, ParamId,
    backend::{Forward, GraphLinearisation, Settings},
    host::HostTensor,
};

use crate::{
    contract::check::{LossKind, Subject},
    error::CommandError,
};

/// Entries of a parameter that are differentiated; all of smaller ones.
const ENTRIES: usize = 20;
/// Steps to try, as powers of two: long ones have the least rounding, short ones stay clear of the
/// kinks of relu and max-pool.
const STEPS: [i32; 5] = [-6, -9, -12, -15, -18];

/// Some entries of a parameter's gradient.
#[derive(Clone, Debug)]
pub(super) struct Sampled {
    /// Their positions.
    pub(super) entries: Vec<usize>,
    /// `dL/dtheta` there.
    pub(super) derivatives: Vec<f64>,
}

/// The loss as a function of the parameters.
struct ForwardLoss<'a> {
    subject: &'a mut Subject<f64>,
    values: Vec<HostTensor<f64>>,
    follows: Vec<bool>,
    at: GraphLinearisation<HostTensor<f64>>,
}

/// Differentiates the loss by every parameter of a net: at the entries where `gradients` (one list
/// a parameter, which says where to look and nothing else) is largest, and at others spread over
/// the parameter.
pub(super) fn derivatives(
    subject: &mut Subject<f64>,
    gradients: &[Vec<f64>],
) -> Result<Vec<Sampled>, CommandError> {
    let mut loss = ForwardLoss::new(subject)?;
    let mut sampled = Vec::with_capacity(gradients.len());
    for (index, gradient) in gradients.iter().enumerate() {
        let entries = entries(gradient);
        let parameter = ParamId::new(index);
        let derivatives = entries
            .iter()
            .map(|&entry| loss.derivative(parameter, entry))
            .collect::<Result<Vec<f64>, CommandError>>()?;
        sampled.push(Sampled { entries, derivatives });
    }
    Ok(sampled)
}

fn entries(gradient: &[f64]) -> Vec<usize> {
    if gradient.len() <= ENTRIES {
        return (0..gradient.len()).collect();
    }
    let largest = gradient
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))
        .map(|(index, _)| index);
    // Steps of the golden ratio visit rows and columns alike.
    let spread = (1..ENTRIES)
        .map(|k| ((k as f64 * 0.618_033_988_749_895).fract() * gradient.len() as f64) as usize);
    let mut entries: Vec<usize> = largest.into_iter().chain(spread).collect();
    entries.sort_unstable();
    entries.dedup();
    entries
}

impl<'a> ForwardLoss<'a> {
    fn new(subject: &'a mut Subject<f64>) -> Result<Self, CommandError> {
        let clamps = subject.clamps();
        let mut values = Vec::new();
        let graph = &mut subject.model.graph;
        graph.prepare(&clamps, &mut values)?;
        for (vertex, value) in &subject.inputs {
            values[vertex.index()].clone_from(value);
        }
        let topology = graph.topology();
        let follows = topology.vertices().map(|vertex| !topology.is_root(vertex)).collect();
        let at = graph.linearisation();
        Ok(Self { subject, values, follows, at })
    }

    /// By Richardson extrapolation of central differences, three to an estimate, at the step whose
    /// last two estimates agree best.
    fn derivative(&mut self, parameter: ParamId, entry: usize) -> Result<f64, CommandError> {
        let mut best = (f64::NAN, f64::INFINITY);
        for power in STEPS {
            let h = 2f64.powi(power);
            let [a, b, c] = [
                self.central(parameter, entry, h)?,
                self.central(parameter, entry, h / 2.0)?,
                self.central(parameter, entry, h / 4.0)?,
            ];
            let (first, second) = ((4.0 * b - a) / 3.0, (4.0 * c - b) / 3.0);
            let estimate = (16.0 * second - first) / 15.0;
            let doubt = (estimate - second).abs();
            if doubt < best.1 {
                best = (estimate, doubt);
            }
            if doubt <= 1e-11 * (1.0 + estimate.abs()) {
                break;
            }
        }
        Ok(best.0)
    }

    fn central(&mut self, parameter: ParamId, entry: usize, h: f64) -> Result<f64, CommandError> {
        let index = parameter.index();
        let held = self.subject.model.graph.parameters()[index].data()[entry];
        let (above, below) = (held + h, held - h);
        self.subject.model.graph.parameters_mut()[index].data_mut()[entry] = above;
        let high = self.loss();
        self.subject.model.graph.parameters_mut()[index].data_mut()[entry] = below;
        let low = self.loss();
        self.subject.model.graph.parameters_mut()[index].data_mut()[entry] = held;
        Ok((high? - low?) / (above - below))
    }

    /// One forward pass, and the loss written out again: not the code that drives the outputs.
    fn loss(&mut self) -> Result<f64, CommandError> {
        let order = self.subject.model.graph.topology().forward_order()?.to_vec();
        let pass = Forward {
            values: &mut self.values,
            order: &order,
            follows: &self.follows,
            projects: &self.follows,
            offsets: &[],
            settings: Settings::default(),
            sweep: None,
        };
        self.subject.model.graph.forward(pass, &mut self.at)?;
        let classes = self.subject.model.classes.max(1);
        let mut total = 0.0;
        for (vertex, target) in &self.subject.targets {
            let value = self.values[vertex.index()].data();
            total += match self.subject.loss {
                LossKind::SquaredError => value
                    .iter()
                    .zip(target.data())
                    .map(|(v, y)| 0.5 * (y - v) * (y - v))
                    .sum::<f64>(),
                LossKind::CrossEntropy => {
                    let rows = value.chunks_exact(classes).zip(target.data().chunks_exact(classes));
                    rows.map(|(logits, target)| {
                        let log_sum = logits.iter().map(|x| x.exp()).sum::<f64>().ln();
                        logits.iter().zip(target).map(|(x, y)| y * (log_sum - x)).sum::<f64>()
                    })
                    .sum()
                }
            };
        }
        Ok(total)
    }
}
