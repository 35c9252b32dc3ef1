//! How many passes errors take to the equilibrium as coordinates, and how many states take.

use pc_core::{
    Activation, Clamps, Graph, Relaxation, Schedule, SquaredError, Status,
    host::{HostLayers, Init},
};

use super::{Context, Experiment, Findings, Pictures, labelled::gather, nets::T64};
use crate::{data::Images, error::CommandError};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "error-based",
    about: "passes to the equilibrium of 4 and 20 layers, by states and by errors as coordinates",
    paper: "Goemaere, Oliviers, Bogacz and Demeester 2025: Error optimization: overcoming \
            exponential signal decay in deep predictive coding networks",
    takes: "15 minutes",
    baseline: None,
    published: &[],
    run,
};

const RATES: [f64; 6] = [0.02, 0.05, 0.1, 0.2, 0.3, 0.5];
const TOLERANCES: [f64; 2] = [1e-2, 1e-4];

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let data = context.pictures(Pictures::Mnist)?;
    let mut findings = Findings::new();
    let most = context.by_size(4_000, 40_000);
    for layers in [4, 20] {
        for (name, errors) in [("states", false), ("errors", true)] {
            let row = format!("{name}, {layers} layers");
            findings.part(context, &row, |context| {
                one(context, &row, &data.train, layers, errors, most)
            })?;
        }
        for tolerance in TOLERANCES {
            let column = passes_to(tolerance);
            let at = |name: &str| {
                let row = format!("{name}, {layers} layers");
                findings.value(&row, &column).unwrap_or(f64::NAN)
            };
            let (states, errors) = (at("states"), at("errors"));
            let what =
                format!("{layers} layers, to {tolerance}: errors take fewer passes than states");
            findings.claim(what, errors < states);
        }
    }
    findings.note(format!(
        "Relaxed until the gradient of the energy in the states is so small beside the drive, by \
         the best of the rates {RATES:?}, from the feed-forward values of an untrained net of \
         gelu; \
         {most} stands where none of them came there in so many. A pass evaluates all predictions \
         and their pullbacks once; an error-based pass goes through the layers one by one."
    ));
    Ok(findings)
}

fn passes_to(tolerance: f64) -> String {
    format!("passes to {tolerance}")
}

struct Built {
    graph: Graph<T64>,
    clamps: Clamps<T64>,
}

fn built(context: &Context<'_>, train: &Images, layers: usize) -> Result<Built, CommandError> {
    let width = context.by_size(32, 128);
    let batch = gather(train, &(0..context.by_size(8, 64)).collect::<Vec<_>>())?;
    let wide = |tensor: &super::labelled::T| {
        T64::new(tensor.dims(), tensor.data().iter().map(|x| f64::from(*x)).collect())
    };
    let (mut b, mut init) = (Graph::<T64>::builder(), Init::new(context.seed()));
    let x = b.input("x", &[train.features()])?;
    let mut below = x;
    for l in 1..layers {
        below = b.dense(&format!("h{l}"), below, width, Activation::Gelu, &mut init)?;
    }
    let y = b.dense("y", below, train.classes, Activation::Identity, &mut init)?;
    let clamps = Clamps::new().hold(x, wide(&batch.pictures)?);
    let clamps = clamps.drive(y, SquaredError::new(wide(&batch.labels)?));
    Ok(Built { graph: b.build()?, clamps })
}

fn one(
    context: &mut Context<'_>,
    row: &str,
    train: &Images,
    layers: usize,
    errors: bool,
    most: usize,
) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    let Built { mut graph, clamps } = built(context, train, layers)?;
    let mut curve = Vec::new();
    for tolerance in TOLERANCES {
        let (mut least, mut best) = (most, f64::NAN);
        for rate in RATES {
            context.say(format!("{row}, to {tolerance}, rate {rate}"));
            let schedule =
                if errors { Schedule::epc(rate, least)? } else { Schedule::standard(rate, least)? };
            let mut rule = Relaxation::new(&graph, schedule.until(tolerance)?)?;
            let outcome = rule.infer(&mut graph, &clamps)?;
            if outcome.status == Status::Converged && rule.passes() < least {
                (least, best) = (rule.passes(), rate);
            }
        }
        findings.cell(row, passes_to(tolerance), least as f64);
        if best.is_finite() {
            findings.cell(row, format!("best rate to {tolerance}"), best);
        }
        curve.push((tolerance.log10(), least as f64));
    }
    findings.curve("passes", row, ("log10 of the tolerance", "passes"), curve);
    Ok(findings)
}
