//! `pc-bench gradients`: one batch's gradients of a net from a file, for comparison with anyone's
//! own code.

mod args;
mod file;
mod ways;

use pc_core::host::HostTensor;
use safetensors::Dtype;
use serde_json::json;

pub use self::args::GradientsArgs;
use self::{file::NetFile, ways::ways};
use crate::{
    contract::{OrAll, Precision, gradients::Number},
    error::CommandError,
    output::{Output, note, table},
    places::{self, write_whole},
    progress::Line,
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

Input file, safetensors, all F32 or all F64 and computed in that type, or all F16 or BF16 and \
computed in F32; l from 0:
  layers.{l}.weight [out, in]   x [batch, in]
  layers.{l}.bias [out]         y [batch, out]
A bias that is left out is none. Output file, of the type that was computed in:
  layers.{l}.weight, layers.{l}.bias   the gradients
  energy [steps + 1]                   before each step and after the last
  values.{l}                           layer l's value after the last step
                                       (the last layer's is y)";

/// Runs the command.
///
/// # Errors
/// A file that cannot be read, or does not hold a net and a batch that fit; a schedule that is
/// refused or diverges. No output file is left then.
pub fn run(args: &GradientsArgs, json: bool) -> Result<(), CommandError> {
    args.backend.ready()?;
    if places::same(&args.net, &args.output) {
        return Err(CommandError::input(format!(
            "--output {} is the net itself; choose another name",
            args.output.display()
        )));
    }
    let bytes = file::read(&args.net)?;
    let file = NetFile::open(&args.net, &bytes)?;
    let dtype = file.dtype()?;
    args.threads.run(0, || match dtype {
        Dtype::F64 => run_in::<f64>(&file, args, json),
        _ => run_in::<f32>(&file, args, json),
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
        note(&format!("note: {} in {} is not used", net.ignored.join(", "), args.net.display()));
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
    let ways = ways(args, net.layers.len() - 1)?;
    let progress = Line::open(json, format!("relaxing by {}", args.schedule));
    let found = args.backend.gradients(net, &ways)?;
    drop(progress);
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
            json!({ "layer": l, "weight_gradient_norm": norms[0],
            "bias_gradient_norm": file.has_bias(l).then_some(norms[1]), "value_norm": norms[2] }),
        )?;
        let shape = format!("{} -> {}", weight.dims()[1], weight.dims()[0]);
        let mut norms = norms.map(|norm| format!("{norm:.6e}"));
        if !file.has_bias(l) {
            norms[1] = "-".to_owned();
        }
        rows.push([vec![format!("layers.{l}"), shape], norms.to_vec()].concat());
        tensors.push((format!("layers.{l}.weight"), weight));
        if file.has_bias(l) {
            tensors.push((format!("layers.{l}.bias"), bias));
        }
        tensors.push((format!("values.{l}"), value));
    }
    let activation = args.activation;
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
            "steps": found.energy.len().saturating_sub(1), "activation": activation.name(),
            "precision": precision, "batch": batch,
            "layers": rows.len(), "energy_first": first, "energy_last": last,
            "output": args.output.display().to_string(),
        }),
    )
}
