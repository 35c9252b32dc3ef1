//! The command line of `gradients`.

use std::{path::PathBuf, str::FromStr};

use pc_core::Evaluation;

use crate::{
    backends::Backend, contract::ScheduleKind, error::CommandError, models::ActivationKind,
    threads::Threads,
};

const SCHEDULES: &str = "\
Schedules:
  standard          predictions follow the values
  fixed-prediction  predictions, slopes and inputs keep their feed-forward
                    values; however --evaluation computes it, the numbers are
                    the same
  zil               standard at rate 1 (give no --rate); the weights k layers
                    below the output are read after k steps
  epc               --rate and --steps act on the errors:
                    e += rate * (-e - dE_out/de), value = prediction + e
  backprop          takes neither --rate nor --steps; its energy and values are
                    those of fixed-prediction at rate 1, one step a layer
  --steps 0 is allowed here: weights learn from the errors at the start.
  ipc is refused: its gradients depend on a weight rate too.

Example:
  pc-bench gradients --net net.safetensors --activation tanh \\
      --schedule standard --rate 0.1 --steps 20 --output grads.safetensors";

/// Arguments of `pc-bench gradients`.
#[derive(Debug, clap::Args)]
#[command(after_help = SCHEDULES)]
pub struct GradientsArgs {
    /// What computes; `host` is this program's own CPU backend, others are Cargo features
    #[arg(long, value_name = "NAME", default_value = "host", value_parser = Backend::from_str)]
    pub backend: Backend,
    /// The net and its batch, a safetensors file
    #[arg(long, value_name = "FILE")]
    pub net: PathBuf,
    /// standard, fixed-prediction, zil, epc or backprop; see below
    #[arg(long, value_name = "NAME", value_parser = ScheduleKind::from_str)]
    pub schedule: ScheduleKind,
    /// How far a step goes (gamma)
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// How many steps to take
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub steps: Option<usize>,
    /// The nonlinearity of hidden layers
    #[arg(long, value_enum, value_name = "NAME")]
    pub activation: ActivationKind,
    /// Where to write the gradients, a safetensors file
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
    /// How to compute fixed-prediction (or zil, whose front is its levels): auto, simulate, front,
    /// closed-form
    #[arg(long, value_name = "WAY", default_value = "auto", value_parser = evaluation)]
    pub evaluation: Evaluation,
    /// How many threads.
    #[command(flatten)]
    pub threads: Threads,
}

fn evaluation(name: &str) -> Result<Evaluation, String> {
    match name {
        "auto" => Ok(Evaluation::Auto),
        "simulate" => Ok(Evaluation::Simulate),
        "front" => Ok(Evaluation::Front),
        "closed-form" => Ok(Evaluation::ClosedForm),
        _ => Err("there are auto, simulate, front and closed-form".to_owned()),
    }
}

impl GradientsArgs {
    pub(super) fn need_rate(&self) -> Result<f64, CommandError> {
        self.rate.ok_or_else(|| {
            CommandError::input(format!("--schedule {} needs a --rate", self.schedule))
        })
    }

    pub(super) fn need_steps(&self) -> Result<usize, CommandError> {
        self.steps.ok_or_else(|| {
            CommandError::input(format!("--schedule {} needs a number of --steps", self.schedule))
        })
    }

    pub(super) fn refuse_rate(&self, why: &str) -> Result<(), CommandError> {
        match self.rate {
            Some(rate) => Err(CommandError::input(format!(
                "--rate {rate}: {} takes no rate ({why})",
                self.schedule
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn refuse_steps(&self, why: &str) -> Result<(), CommandError> {
        match self.steps {
            Some(steps) => Err(CommandError::input(format!(
                "--steps {steps}: {} takes no steps ({why})",
                self.schedule
            ))),
            None => Ok(()),
        }
    }
}
