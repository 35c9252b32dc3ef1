//! Gradients beside an oracle's, parameter by parameter.

use std::cmp::Ordering;

use pc_core::Agreement;
use serde_json::{Value, json};

use crate::statistics::{greater, lesser};

/// What gradients are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Oracle {
    /// Backprop: the same pullbacks, but another traversal of the net.
    ReverseSweep,
    /// Finite differences of the loss, by forward passes alone.
    Differences,
    /// The reverse sweep in f64 at the same numbers.
    DoubleSweep,
    /// The plain step-by-step simulation of the same rate and steps.
    Simulation,
    /// The host's step-by-step simulation, in f64, of the same schedule on the same vertices.
    HostSimulation,
}

impl Oracle {
    /// Its name in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ReverseSweep => "reverse-sweep",
            Self::Differences => "finite-differences",
            Self::DoubleSweep => "reverse-sweep-f64",
            Self::Simulation => "simulation",
            Self::HostSimulation => "host-simulation-f64",
        }
    }
}

/// What was computed, and how.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Case {
    /// The schedule's name on the command line.
    pub(super) schedule: &'static str,
    /// How it was evaluated.
    pub(super) evaluation: &'static str,
    /// Gamma.
    pub(super) rate: f64,
    /// T.
    pub(super) steps: usize,
    /// The arithmetic.
    pub(super) precision: &'static str,
    /// The loss.
    pub(super) loss: &'static str,
}

/// How one parameter's gradient agrees with the oracle's.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) parameter: String,
    /// `max |difference| / max |g|`. Where `g` is zero but for rounding, `max |g|` is that of the
    /// whole net.
    pub(super) max_difference: f64,
    /// `|difference| / |g|`, with the same exception.
    pub(super) relative_norm: f64,
    /// The cosine; none where `g` is zero but for rounding.
    pub(super) cosine: Option<f64>,
}

/// One set of gradients beside one oracle.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    pub(super) case: Case,
    pub(super) oracle: Oracle,
    pub(super) tolerance: f64,
    pub(super) rows: Vec<Row>,
}

/// Which of two figures is larger in magnitude; a NaN, of either sign, is larger than any number.
pub(super) fn by_size(a: f64, b: f64) -> Ordering {
    a.abs().total_cmp(&b.abs())
}

/// The largest magnitude; NaN where there is one.
fn largest(list: &[f64]) -> f64 {
    list.iter().map(|x| x.abs()).fold(0.0, greater)
}

fn norm(list: &[f64]) -> f64 {
    list.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The gradients of all parameters, or of some entries of each.
pub(super) type Lists = Vec<Vec<f64>>;

impl Comparison {
    /// Compares `found` with `reference`, whose parameters are zero but for rounding where
    /// `vanishing`.
    pub(super) fn new(
        case: Case,
        oracle: Oracle,
        tolerance: f64,
        names: &[String],
        found: &Lists,
        reference: &Lists,
        vanishing: &[bool],
    ) -> Self {
        let net = reference.iter().map(|list| largest(list)).fold(0.0, f64::max);
        let rows = names.iter().zip(found.iter().zip(reference)).zip(vanishing).map(
            |((name, (found, reference)), vanishing)| {
                if found.len() != reference.len() {
                    return Row {
                        parameter: name.clone(),
                        max_difference: f64::NAN,
                        relative_norm: f64::NAN,
                        cosine: None,
                    };
                }
                let agreement = Agreement::of_slices(found, reference);
                let differences: Vec<f64> =
                    found.iter().zip(reference).map(|(a, b)| a - b).collect();
                Row {
                    parameter: name.clone(),
                    max_difference: if *vanishing {
                        largest(&differences) / net
                    } else {
                        agreement.max_difference
                    },
                    relative_norm: if *vanishing {
                        norm(&differences) / net
                    } else {
                        agreement.relative_norm
                    },
                    cosine: (!vanishing).then_some(agreement.cosine),
                }
            },
        );
        Self { case, oracle, tolerance, rows: rows.collect() }
    }

    /// The parameter that agrees worst; a NaN is worse than any number.
    pub(super) fn worst(&self) -> Option<&Row> {
        self.rows.iter().max_by(|a, b| by_size(a.max_difference, b.max_difference))
    }

    /// Whether every parameter agrees. A NaN never does.
    pub(super) fn passed(&self) -> bool {
        !self.rows.iter().any(|row| !(row.max_difference <= self.tolerance))
    }

    /// The least cosine of any parameter that has one.
    pub(super) fn min_cosine(&self) -> Option<f64> {
        self.rows.iter().filter_map(|row| row.cosine).reduce(lesser)
    }

    /// The largest relative norm of any parameter.
    pub(super) fn max_norm(&self) -> Option<f64> {
        self.rows.iter().map(|row| row.relative_norm).max_by(|a, b| by_size(*a, *b))
    }

    /// As the fields of a JSON object, with each parameter where asked for.
    pub(super) fn to_json(&self, backend: &str, model: &str, verbose: bool) -> Value {
        let Case { schedule, evaluation, rate, steps, precision, loss } = &self.case;
        let worst = self.worst();
        let mut value = json!({
            "backend": backend, "model": model, "loss": loss, "schedule": schedule,
            "evaluation": evaluation, "rate": rate,
            "steps": steps, "precision": precision, "against": self.oracle.name(),
            "tolerance": self.tolerance, "passed": self.passed(),
            "max_difference": worst.map(|row| row.max_difference),
            "worst_parameter": worst.map(|row| row.parameter.as_str()),
            "relative_norm": self.max_norm(), "min_cosine": self.min_cosine(),
        });
        if verbose && let Value::Object(fields) = &mut value {
            let rows = self.rows.iter().map(|row| {
                json!({ "parameter": row.parameter, "max_difference": row.max_difference,
                "relative_norm": row.relative_norm, "cosine": row.cosine })
            });
            fields.insert("parameters".to_owned(), rows.collect());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(found: &[f64], reference: &[f64], vanishing: bool) -> Comparison {
        let case = Case {
            schedule: "zil",
            evaluation: "simulation",
            rate: 1.0,
            steps: 1,
            precision: "f64",
            loss: "squared-error",
        };
        let (names, large) = (["a".to_owned(), "b".to_owned()], vec![2.0, -4.0]);
        let (found, reference) =
            (vec![large.clone(), found.to_vec()], vec![large, reference.to_vec()]);
        Comparison::new(
            case,
            Oracle::ReverseSweep,
            1e-10,
            &names,
            &found,
            &reference,
            &[false, vanishing],
        )
    }

    #[test]
    fn beyond_tolerance_fails_and_so_does_nan() {
        assert!(compare(&[1.0, 2.0], &[1.0, 2.0], false).passed());
        assert!(!compare(&[1.0, 2.0 + 1e-9], &[1.0, 2.0], false).passed());
        let nan = compare(&[1.0, f64::NAN], &[1.0, 2.0], false);
        assert!(!nan.passed());
        assert_eq!(nan.worst().map(|row| row.parameter.as_str()), Some("b"));
        assert!(by_size(-f64::NAN, f64::INFINITY).is_gt());
        assert!(!compare(&[f64::NAN, 0.0], &[0.0, 0.0], true).passed());
        assert!(!compare(&[1.0], &[1.0, 2.0], false).passed());
    }

    #[test]
    fn rounding_is_measured_against_the_net() {
        assert!(!compare(&[1e-17, -2e-17], &[2e-17, 1e-17], false).passed());
        let row = compare(&[4e-13, 0.0], &[0.0, 0.0], true).rows[1].clone();
        assert!((row.max_difference - 1e-13).abs() < 1e-16 && row.cosine.is_none());
        assert!(!compare(&[1e-9, 0.0], &[0.0, 0.0], true).passed());
    }
}
