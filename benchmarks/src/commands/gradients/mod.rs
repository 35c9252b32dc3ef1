//! `pc-bench gradients`: one batch's gradients of a net from a file, for comparison with anyone's
//! own code.

mod file;
mod ways;

use std::{fs, path::PathBuf, str::FromStr};

use pc_core::{
    Evaluation,
    host::{Activation, HostTensor},
};
use safetensors::Dtype;
use serde_json::json;

pub use self::{
    file::{LayerChain, Number},
    ways::{Findings, Ways},
};

use self::file::NetFile;
use crate::{
    backends::Backend,
    cli::{OrAll, Threads},
    commands::train::{Precision, ScheduleKind},
    error::CommandError,
    output::{Output, table, write_whole},
};

pub(crate) const TEACH: &str = "\
Computes one batch's gradients of your own net by predictive coding, for comparison with your own \
code in any language.

The net is a chain of layers: prediction f(W z + b), with f the --activation on hidden layers and \
the identity at the output; the loss is \
1/2 |y - prediction|^2, and the output is held at y. Values start at the feed-forward pass and \
move synchronously, z += rate * (-e + J^T e \
of the next layer), with e = value minus prediction. After --steps such updates the gradients are \
taken, with the sign of dL/dtheta, \
summed over the batch. gelu is the erf form; relu'(0) = 0.

Input file, safetensors, all F32 or all F64 and computed in that type; l from 0:
  layers.{l}.weight [out, in]   x [batch, in]
  layers.{l}.bias [out]         y [batch, out]
Output file, of the same type:
  layers.{l}.weight, layers.{l}.bias   the gradients
  energy [steps + 1]                   before each step and after the last
  values.{l}                           layer l's value after the last step
                                       (the last layer's is y)";

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
    pub activation: Nonlinearity,
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

/// The activations that this command knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum Nonlinearity {
    Tanh,
    Sigmoid,
    Relu,
    Gelu,
    Identity,
}

impl Nonlinearity {
    fn function(self) -> Activation {
        match self {
            Self::Tanh => Activation::Tanh,
            Self::Sigmoid => Activation::Sigmoid,
            Self::Relu => Activation::Relu,
            Self::Gelu => Activation::Gelu,
            Self::Identity => Activation::Identity,
        }
    }
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
    fn need_rate(&self) -> Result<f64, CommandError> {
        self.rate.ok_or_else(|| {
            CommandError::input(format!("--schedule {} needs a --rate", self.schedule))
        })
    }

    fn need_steps(&self) -> Result<usize, CommandError> {
        self.steps.ok_or_else(|| {
            CommandError::input(format!("--schedule {} needs a number of --steps", self.schedule))
        })
    }

    fn refuse_rate(&self, why: &str) -> Result<(), CommandError> {
        match self.rate {
            Some(rate) => Err(CommandError::input(format!(
                "--rate {rate}: {} takes no rate ({why})",
                self.schedule
            ))),
            None => Ok(()),
        }
    }

    fn refuse_steps(&self, why: &str) -> Result<(), CommandError> {
        match self.steps {
            Some(steps) => Err(CommandError::input(format!(
                "--steps {steps}: {} takes no steps ({why})",
                self.schedule
            ))),
            None => Ok(()),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A file that cannot be read, or does not hold a net and a batch that fit; a schedule that is
/// refused or diverges. No output file is left then.
pub fn run(args: &GradientsArgs, json: bool) -> Result<(), CommandError> {
    args.backend.ready()?;
    let same =
        fs::canonicalize(&args.net).and_then(|net| Ok(net == fs::canonicalize(&args.output)?));
    if same.unwrap_or(false) {
        return Err(CommandError::input(format!(
            "--output {} is the net itself; choose another name",
            args.output.display()
        )));
    }
    let bytes = file::read(&args.net)?;
    let file = NetFile::open(&args.net, &bytes)?;
    let dtype = file.dtype()?;
    args.threads.run(0, || match dtype {
        Dtype::F32 => run_in::<f32>(&file, args, json),
        _ => run_in::<f64>(&file, args, json),
    })
}

fn run_in<F: Number>(
    file: &NetFile<'_>,
    args: &GradientsArgs,
    json: bool,
) -> Result<(), CommandError> {
    let output = Output::new(json);
    let net = file.net::<F>()?;
    if !net.ignored.is_empty() {
        eprintln!("note: {} in {} is not used", net.ignored.join(", "), args.net.display());
    }
    let batch = net.x.dims()[0];
    let mut widths = vec![net.x.dims()[1].to_string()];
    widths.extend(net.layers.iter().map(|(weight, _)| weight.dims()[0].to_string()));
    // Explicit graphs are relaxed by every rule on every backend.
    let precision = if F::DTYPE == Dtype::F64 { Precision::F64 } else { Precision::F32 };
    args.backend.among(
        "--precision",
        OrAll::One(precision),
        Precision::ALL,
        args.backend.support().precisions,
    )?;
    let ways = Ways::new(args, net.layers.len() - 1)?;
    let found = args.backend.gradients(net, &ways)?;
    let energy = HostTensor::new(
        &[found.energy.len()],
        found.energy.iter().map(|energy| F::of(*energy)).collect(),
    )?;

    let mut tensors = vec![("energy".to_owned(), energy)];
    let mut rows = Vec::new();
    for (l, ((weight, bias), value)) in found.gradients.into_iter().zip(found.values).enumerate() {
        let norms =
            [&weight, &bias, &value].map(|tensor| pc_core::Tensor::norm_squared(tensor).sqrt());
        output.event(
            "layer",
            json!({ "layer": l, "weight_gradient_norm": norms[0], "bias_gradient_norm": norms[1],
            "value_norm": norms[2] }),
        )?;
        let shape = format!("{} -> {}", weight.dims()[1], weight.dims()[0]);
        rows.push(
            [vec![format!("layers.{l}"), shape], norms.map(|norm| format!("{norm:.6e}")).to_vec()]
                .concat(),
        );
        tensors.push((format!("layers.{l}.weight"), weight));
        tensors.push((format!("layers.{l}.bias"), bias));
        tensors.push((format!("values.{l}"), value));
    }
    let activation = clap::ValueEnum::to_possible_value(&args.activation)
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default();
    write_whole(
        &args.output,
        &file::bytes(&tensors, &format!("gradients of {}, {activation}", found.schedule))?,
    )?;

    let (first, last) = (found.energy.first().copied(), found.energy.last().copied());
    let precision = if F::DTYPE == Dtype::F64 { "f64" } else { "f32" };
    output.text(&format!(
        "{}\nnet {}, {activation}, {precision}, batch {batch}",
        found.schedule,
        widths.join("-")
    ))?;
    output.text(&table(
        &["layer", "shape", "|weight gradient|", "|bias gradient|", "|value|"],
        2,
        &rows,
    ))?;
    if let (Some(first), Some(last)) = (first, last) {
        let steps = found.energy.len() - 1;
        output.text(&format!(
            "energy {first:.6} at the start, {last:.6} after {steps} steps\nwrote {}",
            args.output.display()
        ))?;
    }
    output.event(
        "summary",
        json!({
            "command": "gradients", "backend": args.backend.name(),
            "schedule": args.schedule.name(), "evaluated_as": found.schedule, "rate": args.rate,
            "steps": found.energy.len().saturating_sub(1), "activation": activation,
            "precision": precision, "batch": batch,
            "layers": rows.len(), "energy_first": first, "energy_last": last,
            "output": args.output.display().to_string(),
        }),
    )
}
