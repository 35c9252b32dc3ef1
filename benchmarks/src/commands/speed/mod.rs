//! `pc-bench speed`: what PC steps cost beside backprop steps, and beside what the machine can do.

mod gemm;
mod measure;

use std::str::FromStr;

use serde_json::json;

pub use gemm::Gemm;

use crate::{
    backends::Backend,
    contract::{
        OrAll, Precision, ScheduleKind,
        speed::{Case, GEMM_SIDE, Measured, Median, STEPS, Target},
    },
    error::CommandError,
    models::{ActivationKind, ModelKind},
    output::{Output, table},
    progress::Line,
    threads::Threads,
};

pub(crate) const TEACH: &str = "\
Times one step of each schedule, that is the gradients of one batch without an optimiser, beside a \
backprop step on the same net.

All are run in turn, round after round (A B C A B C ...), with one 512 x 512 x 512 matrix product \
among them that shows what the machine \
can do on as many threads. Shown are medians, with ratios found round by round and the 95% \
interval of their median. Data are random.

Counted is the arithmetic of products and convolutions only. Backprop: the pass forward, weight \
gradients of all layers, input gradients of all \
but the first. Standard PC: the pass forward, a pullback and a new prediction a step of all layers \
but the first, whose input is held, and weight \
gradients. GFLOP/s are that arithmetic over the whole step's time. Schedules that relax take \
--steps steps at rate 0.1. forward is setting up and the pass \
forward; learn, the weight gradients at the end, is timed in a twin whose loss notes when the net \
is evaluated; relax is the rest. Where weights learn \
while states move the two are one figure, and backprop's learn is its pass backward.";

const EXAMPLES: &str = "\
Nets:
  mlp  784-512-512-10, relu
  cnn  a LeNet: 1x28x28, conv 6 of 5x5 pad 2, conv 16 of 5x5, 2x2 max-pool after
       each, 120-84-10, relu
  The others are those of `train`, for 28x28 pictures. On the host, mlp and cnn take
  another --activation, mlp other --widths, and all nets other --steps.

Examples:
  pc-bench speed
  pc-bench speed --model cnn --schedule standard --repeats 100
  pc-bench speed --model mlp --widths 784,128,128,128,10 --batch 128 --steps 8 --activation gelu
  pc-bench speed --model all --threads 2 --json | tail -1";

/// Arguments of `pc-bench speed`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SpeedArgs {
    /// What computes: a backend of this build, or all
    #[arg(long, value_name = "NAME", default_value = "all",
    value_parser = OrAll::<Backend>::from_str)]
    pub backend: OrAll<Backend>,
    /// mlp, cnn, rnn, lstm, residual, attention, or all [default: mlp and cnn]
    #[arg(long, value_name = "NAME")]
    pub model: Option<OrAll<ModelKind>>,
    /// fixed-prediction, zil, standard, ipc, epc, backprop alone, or all
    #[arg(long, value_name = "NAME", default_value = "all")]
    pub schedule: OrAll<ScheduleKind>,
    /// The nonlinearity of hidden layers [default: relu]: identity, relu, leaky-relu, hard-tanh,
    /// tanh, sigmoid, gelu, silu, softplus
    #[arg(long, value_name = "NAME", value_parser = ActivationKind::from_str)]
    pub activation: Option<ActivationKind>,
    /// The mlp's layers, from the input to the classes, as 784,512,512,10
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', value_parser = positive)]
    pub widths: Option<Vec<usize>>,
    /// Steps of every relaxation
    #[arg(long, value_name = "T", default_value_t = STEPS, value_parser = positive)]
    pub steps: usize,
    /// Samples in a batch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    pub batch: usize,
    /// f32 or f64
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = Precision::from_str)]
    pub precision: Precision,
    /// Rounds of all
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = positive)]
    pub repeats: usize,
    /// How many threads.
    #[command(flatten)]
    pub threads: Threads,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("give at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// Runs the command.
///
/// # Errors
/// A relaxation that diverges, which the nets and rates here do not.
pub fn run(args: &SpeedArgs, json: bool) -> Result<(), CommandError> {
    args.threads.run(1, || time(args, Output::new(json)))
}

/// The nets where none is named: with widths, the one that is made of them.
fn default_models(args: &SpeedArgs) -> Vec<ModelKind> {
    if args.widths.is_some() { vec![ModelKind::Mlp] } else { vec![ModelKind::Mlp, ModelKind::Cnn] }
}

fn time(args: &SpeedArgs, output: Output) -> Result<(), CommandError> {
    let threads = rayon::current_num_threads();
    let precision = args.precision.name();
    let kinds =
        args.model.map_or_else(|| default_models(args), |model| model.among(&ModelKind::ALL));
    let case = |kind| Case {
        activation: args.activation,
        widths: args.widths.clone(),
        steps: args.steps,
        ..Case::new(kind, args.batch)
    };
    let varied = case(ModelKind::Mlp).varied();
    kinds.iter().try_for_each(|kind| case(*kind).fits())?;
    let named = matches!(args.model, Some(OrAll::One(_)));
    let fair =
        threads == 1 && args.precision == Precision::F32 && args.batch == 64 && varied.is_none();
    let (mut all, mut targets) = (Vec::new(), Vec::new());
    for backend in Backend::chosen(args.backend)? {
        let has = backend.support();
        if varied.is_some() && !has.varied && args.backend == OrAll::All {
            continue;
        }
        let rules = match backend.among("--schedule", args.schedule, ScheduleKind::ALL, has.rules) {
            // Of all backends, those that have it.
            Err(_) if args.backend == OrAll::All => continue,
            rules => rules?,
        };
        backend.among("--precision", OrAll::One(args.precision), Precision::ALL, has.precisions)?;
        let mut among = Vec::new();
        for kind in &kinds {
            if has.timed.contains(kind) || (named && args.backend != OrAll::All) {
                among.extend(backend.among(
                    "--model",
                    OrAll::One(*kind),
                    &ModelKind::ALL,
                    has.timed,
                )?);
            }
        }
        output.text(&format!(
            "on {backend} in {precision}, threads {threads}, batch {}, {} rounds in turn; \
             gradients only, no optimiser\n",
            args.batch, args.repeats
        ))?;
        let mut own = Vec::new();
        for kind in &among {
            let progress = Line::of(
                output.is_json(),
                format!("timing {kind} on {backend}"),
                measure::rounds(args.repeats),
            );
            let measure = match args.precision {
                Precision::F32 => measure::measure::<f32>,
                Precision::F64 => measure::measure::<f64>,
            };
            let measured = measure(backend, &case(*kind), &rules, args.repeats, &progress)?;
            drop(progress);
            show(&measured, output)?;
            events(&measured, backend, output)?;
            own.push(measured);
        }
        if fair {
            targets.extend(backend.targets(&own));
        }
        all.extend(own);
    }
    show_targets(&targets, fair, output)?;
    for target in &targets {
        let Target { what, bound, at_least, found } = target;
        output.event(
            "target",
            json!({ "what": what, "bound": bound, "at_least": at_least,
        "found": found, "met": target.met() }),
        )?;
    }
    output.event(
        "summary",
        json!({
            "command": "speed", "threads": threads, "precision": precision, "batch": args.batch,
            "repeats": args.repeats, "steps": args.steps,
            "activation": args.activation.map(ActivationKind::name), "widths": args.widths,
            "models": kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
            "gemm_gflops": all.first().map(|measured| measured.gemm_rate().median / 1e9),
            "targets": targets.len(),
            "targets_met": targets.iter().filter(|target| target.met()).count(),
        }),
    )
}

fn show(measured: &Measured, output: Output) -> Result<(), CommandError> {
    let milliseconds = |seconds: f64| format!("{:.2}", 1e3 * seconds);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<Vec<String>> = measured
        .shown()
        .map(|contender| {
            let name = contender.name;
            let parts = measured.parts(name);
            vec![
                name.to_owned(),
                or_dash(measured.seconds(name).map(|seconds| milliseconds(seconds.median))),
                or_dash(measured.ratio(name).map(|ratio| format!("{:.2}", ratio.median))),
                or_dash(
                    measured
                        .ratio(name)
                        .map(|ratio| format!("{:.2} to {:.2}", ratio.low, ratio.high)),
                ),
                or_dash(parts.map(|parts| milliseconds(parts.forward))),
                or_dash(parts.and_then(|parts| parts.relax).map(milliseconds)),
                or_dash(parts.and_then(|parts| parts.learn).map(milliseconds)),
                or_dash(measured.rate(name).map(|rate| format!("{:.1}", rate.median / 1e9))),
                or_dash(measured.share(name).map(percent)),
            ]
        })
        .collect();
    let header = [
        "schedule",
        "ms",
        "x backprop",
        "95% interval",
        "forward",
        "relax",
        "learn",
        "GFLOP/s",
        "of product",
    ];
    let gemm = (measured.gemm_seconds(), measured.gemm_rate());
    output.text(&format!(
        "{}\nproduct {GEMM_SIDE} x {GEMM_SIDE} x {GEMM_SIDE}: {} ms, {:.1} GFLOP/s",
        measured.description,
        milliseconds(gemm.0.median),
        gemm.1.median / 1e9
    ))?;
    output.text(&table(&header, 1, &rows))?;
    for (contender, (seconds, ratio)) in measured.relaxation_steps() {
        let (name, steps) = (contender.name, contender.steps);
        output.text(&format!(
            "one relaxation step of {name}, (t at T = {steps} - t at T = 0) / {steps}: {:.3} ms, \
             {:.2} backprop steps ({:.2} to {:.2})",
            1e3 * seconds.median,
            ratio.median,
            ratio.low,
            ratio.high
        ))?;
    }
    if measured.disturbed() {
        output.text(
            "(the product's time varied: the machine was busy with something else, and \
            these figures are too slow)",
        )?;
    }
    output.text("")
}

fn percent(share: Median) -> String {
    format!("{:.0}%", 100.0 * share.median)
}

fn events(measured: &Measured, backend: Backend, output: Output) -> Result<(), CommandError> {
    let model = measured.kind.name();
    for contender in measured.shown() {
        let name = contender.name;
        let parts = measured.parts(name);
        output.event(
            "step",
            json!({
                "backend": backend.name(), "model": model, "schedule": contender.rule.name(),
                "name": name, "steps": contender.steps,
                "seconds": measured.seconds(name), "over_backprop": measured.ratio(name),
                "forward_seconds": parts.map(|parts| parts.forward),
                "relax_seconds": parts.and_then(|parts| parts.relax),
                "learn_seconds": parts.and_then(|parts| parts.learn),
                "gflops": measured.rate(name).map(|rate| rate.scaled(1e-9)),
                "share_of_gemm": measured.share(name),
            }),
        )?;
    }
    let steps: serde_json::Map<String, serde_json::Value> = measured
        .relaxation_steps()
        .map(|(contender, (seconds, over_backprop))| {
            (
                contender.name.to_owned(),
                json!({ "seconds": seconds, "over_backprop": over_backprop }),
            )
        })
        .collect();
    output.event(
        "net",
        json!({
            "backend": backend.name(), "model": model, "description": measured.description,
            "gemm_seconds": measured.gemm_seconds(),
            "gemm_gflops": measured.gemm_rate().scaled(1e-9),
            "disturbed": measured.disturbed(), "relaxation_steps": steps,
        }),
    )
}

fn show_targets(targets: &[Target], fair: bool, output: Output) -> Result<(), CommandError> {
    if !fair {
        return output
            .text("(the targets are for one thread, f32 and batch 64, and the nets as they are)");
    }
    let rows: Vec<Vec<String>> = targets
        .iter()
        .map(|target| {
            let bound = format!(
                "{} {}",
                if target.at_least { "at least" } else { "at most" },
                target.bound
            );
            let met = if target.met() { "met" } else { "not met" };
            vec![target.what.to_owned(), met.to_owned(), format!("{:.2}", target.found), bound]
        })
        .collect();
    if rows.is_empty() {
        Ok(())
    } else {
        output.text(&table(&["target", "", "found", "wanted"], 2, &rows))
    }
}
