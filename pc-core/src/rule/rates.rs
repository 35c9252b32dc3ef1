//! Rates: of each vertex, and over the steps.

use crate::{
    Error, Result,
    topology::{Topology, VertexId},
};

/// How the rate goes over the steps, as a factor of `gamma` at step `t = 0, 1, ...`.
///
/// # Example
/// ```
/// use pc_core::{Pace, Schedule};
/// let cooled = Schedule::standard(0.2, 500)?.paced(Pace::Inverse(0.05))?;
/// let by_hand = Schedule::epc(0.2, 3)?.paced(Pace::Table(vec![1.0, 0.5, 0.25]))?;
/// # Ok::<(), pc_core::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Pace {
    /// 1.
    #[default]
    Constant,
    /// `1 / (1 + k t)`: slow enough for noise to average out (Robbins and Monro 1951).
    Inverse(f64),
    /// `exp(-k t)`.
    Exponential(f64),
    /// These, one a step; the last goes on.
    Table(Vec<f64>),
}

impl Pace {
    /// The factor at a step.
    pub(crate) fn at(&self, step: usize) -> f64 {
        let t = step as f64;
        match self {
            Self::Constant => 1.0,
            Self::Inverse(k) => 1.0 / (1.0 + k * t),
            Self::Exponential(k) => (-k * t).exp(),
            Self::Table(factors) => factors.get(step).or(factors.last()).copied().unwrap_or(1.0),
        }
    }

    /// What is wrong with its numbers.
    pub(crate) fn fault(&self) -> Option<String> {
        match self {
            Self::Inverse(k) | Self::Exponential(k) if !(*k >= 0.0 && k.is_finite()) => Some(
                format!("the decay of its rate must be a number that is not negative, not {k}"),
            ),
            Self::Table(factors) if factors.is_empty() => {
                Some("the table of its rates is empty".to_owned())
            }
            Self::Table(factors) => {
                let bad = factors.iter().enumerate().find(|(_, f)| !(**f > 0.0 && f.is_finite()));
                bad.map(|(step, factor)| {
                    format!("the table of its rates has {factor} at step {step}: not positive")
                })
            }
            _ => None,
        }
    }
}

/// What a schedule chooses of its rates, beside `gamma`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) pace: Pace,
    /// Factors of `gamma`, 1 where a vertex has none.
    pub(crate) of: Vec<(VertexId, f64)>,
    /// Whether `gamma` is divided by the sum of the precisions around a vertex.
    pub(crate) by_precision: bool,
}

impl Rates {
    /// Whether every vertex moves at `gamma` at every step.
    pub(crate) fn are_plain(&self) -> bool {
        *self == Self::default()
    }

    /// By vertex, the factor of `gamma` that does not depend on the step.
    ///
    /// # Errors
    /// A vertex that is not in the network.
    pub(crate) fn factors(&self, name: &str, topology: &Topology) -> Result<Vec<f64>> {
        let mut factors = vec![1.0; topology.len()];
        if self.by_precision {
            let mut around = vec![0.0; topology.len()];
            for prediction in topology.predictions() {
                around[prediction.of.index()] += prediction.precision;
                for (slot, parent) in prediction.parents.iter().enumerate() {
                    // Of a parent that enters twice, or predicts itself, once.
                    let again = prediction.parents[..slot].contains(parent);
                    if !again && *parent != prediction.of {
                        around[parent.index()] += prediction.precision;
                    }
                }
            }
            for (factor, around) in factors.iter_mut().zip(around).filter(|(_, sum)| *sum > 0.0) {
                *factor = 1.0 / around;
            }
        }
        for (vertex, own) in &self.of {
            let Some(factor) = factors.get_mut(vertex.index()) else {
                return Err(Error::schedule(format!(
                    "{name}: a rate is given for vertex {}, which is not in this network",
                    vertex.index()
                )));
            };
            *factor *= own;
        }
        Ok(factors)
    }
}
