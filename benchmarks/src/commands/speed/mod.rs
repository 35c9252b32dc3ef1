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
        speed::{Case, GEMM_SIDE, Measured, Median, Target, TimedKind},
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

Counted is the arithmetic of products and convolutions only, as their definitions have it; \
tiles of convolutions take less. Backprop: the pass forward, weight gradients of all layers, \
input gradients of all but the first. Standard PC: the pass forward, a pullback and a new \
prediction a step of all layers but the first, whose input is held, and weight gradients. \
GFLOP/s are that arithmetic over the whole step's time. Schedules that relax take --steps \
steps (20; vgg5: 8) at rate 0.1. forward is setting up and the pass forward; learn, the \
weight gradients at the end, is timed in a twin whose loss notes when the net is evaluated; \
relax is the rest. Where weights learn \
while states move the two are one figure, and backprop's learn is its pass backward.";

const EXAMPLES: &str = "\
Nets:
  mlp  784-512-512-10, relu
  cnn  a LeNet: 1x28x28, conv 6 of 5x5 pad 2, conv 16 of 5x5, 2x2 max-pool after
       each, 120-84-10, relu
  vgg5 3x32x32, conv 128, 256, 512 and 512 of 3x3 pad 1, 2x2 max-pool after each,
       2048-10, relu; on the host alone, and slow: `all` leaves it out
  The others are those of `train`, for 28x28 pictures. On the host, mlp, cnn and vgg5
  take another --activation, mlp other --widths, and all nets other --steps.

Examples:
  pc-bench speed
  pc-bench speed --model cnn --schedule standard --repeats 100
  pc-bench speed --model mlp --widths 784,128,128,128,10 --batch 128 --steps 8 --activation gelu
  pc-bench speed --model vgg5 --schedule standard --activation gelu
  pc-bench speed --model all --threads 2 --json | tail -1";

/// Arguments of `pc-bench speed`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SpeedArgs {
    /// What computes: a backend of this build, or all
    #[arg(long, value_name = "NAME", default_value = "all",
    value_parser = OrAll::<Backend>::from_str)]
    pub backend: OrAll<Backend>,
    /// mlp, cnn, rnn, lstm, residual, attention, vgg5, or all: these but vgg5, which is slow
    /// [default: mlp and cnn]
    #[arg(long, value_name = "NAME")]
    pub model: Option<OrAll<TimedKind>>,
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
    /// Steps of every relaxation [default: 20; vgg5: 8]
    #[arg(long, value_name = "T", value_parser = positive)]
    pub steps: Option<usize>,
    /// Samples in a batch [default: 64; vgg5: 16]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch: Option<usize>,
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
fn default_models(args: &SpeedArgs) -> Vec<TimedKind> {
    let kinds = [ModelKind::Mlp, ModelKind::Cnn].map(TimedKind::Model);
    kinds.into_iter().take(if args.widths.is_some() { 1 } else { 2 }).collect()
}

/// What is timed. Nets that are timed in one run have their batch and their steps in common: those
/// that come with others of their own come alone.
fn cases(args: &SpeedArgs) -> Result<Vec<Case>, CommandError> {
    let kinds =
        args.model.map_or_else(|| default_models(args), |model| model.among(TimedKind::MODELS));
    let case = |kind: TimedKind| {
        let case = Case {
            kind,
            batch: args.batch.unwrap_or(kind.batch()),
            activation: args.activation,
            widths: args.widths.clone(),
            steps: args.steps.unwrap_or(kind.steps()),
        };
        case.fits().map(|()| case)
    };
    kinds.into_iter().map(case).collect()
}

fn time(args: &SpeedArgs, output: Output) -> Result<(), CommandError> {
    let threads = rayon::current_num_threads();
    let precision = args.precision.name();
    let cases = cases(args)?;
    let varied = cases.iter().any(|case| case.varied().is_some());
    let named = matches!(args.model, Some(OrAll::One(_)));
    let as_they_come = |case: &Case| *case == Case::new(case.kind, case.kind.batch());
    let fair = threads == 1 && args.precision == Precision::F32 && cases.iter().all(as_they_come);
    let (mut all, mut targets) = (Vec::new(), Vec::new());
    for backend in Backend::chosen(args.backend)? {
        let has = backend.support();
        if varied && !has.varied && args.backend == OrAll::All {
            continue;
        }
        let rules = match backend.among("--schedule", args.schedule, ScheduleKind::ALL, has.rules) {
            // Of all backends, those that have it.
            Err(_) if args.backend == OrAll::All => continue,
            rules => rules?,
        };
        backend.among("--precision", OrAll::One(args.precision), Precision::ALL, has.precisions)?;
        let mut among = Vec::new();
        for case in &cases {
            match backend.among("--model", OrAll::One(case.kind), TimedKind::ALL, has.timed) {
                Ok(_) => among.push(case),
                // Of all nets, or of all backends, those that it has.
                Err(_) if !named || args.backend == OrAll::All => {}
                Err(error) => return Err(error),
            }
        }
        let Some(first) = among.first() else { continue };
        output.text(&format!(
            "on {backend} in {precision}, threads {threads}, batch {}, {} rounds in turn; \
             gradients only, no optimiser\n",
            first.batch, args.repeats
        ))?;
        let mut own = Vec::new();
        for case in among {
            let progress = Line::of(
                output.is_json(),
                format!("timing {} on {backend}", case.kind),
                measure::rounds(args.repeats),
            );
            let measure = match args.precision {
                Precision::F32 => measure::measure::<f32>,
                Precision::F64 => measure::measure::<f64>,
            };
            let measured = measure(backend, case, &rules, args.repeats, &progress)?;
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
            "command": "speed", "threads": threads, "precision": precision,
            "batch": cases.first().map(|case| case.batch), "repeats": args.repeats,
            "steps": cases.first().map(|case| case.steps),
            "activation": args.activation.map(ActivationKind::name), "widths": args.widths,
            "models": cases.iter().map(|case| case.kind.name()).collect::<Vec<_>>(),
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
    let model = measured.case.kind.name();
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
            "batch": measured.case.batch,
            "gemm_seconds": measured.gemm_seconds(),
            "gemm_gflops": measured.gemm_rate().scaled(1e-9),
            "disturbed": measured.disturbed(), "relaxation_steps": steps,
        }),
    )
}

fn show_targets(targets: &[Target], fair: bool, output: Output) -> Result<(), CommandError> {
    if !fair {
        return output.text(
            "(the targets are for one thread, f32 and batch 64, or 16 of vgg5, and the nets as \
             they are)",
        );
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: SpeedArgs,
    }

    fn cases_of(words: &str) -> Result<Vec<Case>, CommandError> {
        cases(
            &Line::try_parse_from(words.split(' '))
                .map_err(|e| CommandError::input(e.to_string()))?
                .args,
        )
    }

    #[test]
    fn nets_come_with_batches_and_steps_of_their_own() {
        let of = |kinds: &[TimedKind]| -> Vec<Case> {
            kinds.iter().map(|kind| Case::new(*kind, kind.batch())).collect()
        };
        for (words, kinds) in [
            ("speed", &TimedKind::MODELS[..2]),
            ("speed --model all", TimedKind::MODELS),
            ("speed --model vgg5", &[TimedKind::Vgg5]),
            ("speed --model lstm", &[TimedKind::Model(ModelKind::Lstm)]),
        ] {
            let cases = cases_of(words).unwrap();
            assert_eq!(cases, of(kinds), "{words}");
            // What the summary says of all of them at once.
            let common = |case: &Case| (case.batch, case.steps) == (cases[0].batch, cases[0].steps);
            assert!(cases.iter().all(common), "{words}");
        }
        assert_eq!((TimedKind::Vgg5.batch(), TimedKind::Vgg5.steps()), (16, 8));
    }

    #[test]
    fn what_is_asked_for_is_what_every_net_gets() {
        for kind in TimedKind::ALL {
            let case = &cases_of(&format!("speed --model {kind} --batch 3 --steps 4")).unwrap()[0];
            assert_eq!(*case, Case { steps: 4, ..Case::new(*kind, 3) });
            assert_eq!(case.varied(), Some("--steps"));
            let same = cases_of(&format!("speed --model {kind} --steps {}", kind.steps())).unwrap();
            assert_eq!(same[0].varied(), None, "{kind}");
            let takes = |flag: &str| cases_of(&format!("speed --model {kind} {flag}"));
            for (flag, takers) in
                [("--activation silu", &["mlp", "cnn", "vgg5"][..]), ("--widths 4,3", &["mlp"])]
            {
                match takes(flag) {
                    Ok(_) => assert!(takers.contains(&kind.name()), "{kind} {flag}"),
                    Err(error) => {
                        let text = error.to_string();
                        assert!(!takers.contains(&kind.name()), "{text}");
                        assert!(text.contains(kind.name()) && text.starts_with("--"), "{text}");
                    }
                }
            }
        }
    }
}
