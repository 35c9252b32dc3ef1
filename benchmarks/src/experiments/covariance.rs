//! Covariance-learning memories: explicit, implicit and dendritic, one against the others.

use std::time::Instant;

use pc_core::{Schedule, host::Adam};
use pc_models::{Covariance, CovarianceMemory, Host};

use super::{
    Context, Experiment, Findings, Pictures,
    stored::{Set, below, masked, mean, squared_errors},
};
use crate::error::CommandError;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "covariance",
    about: "explicit, implicit and dendritic covariance memories complete half pictures",
    paper: "Tang, Salvatori, Millidge, Song, Lukasiewicz and Bogacz 2023, Recurrent predictive \
            coding models for associative memory employing covariance learning",
    takes: "an hour",
    baseline: Some("explicit"),
    // The paper has curves, and no figures.
    published: &[],
    run,
};

/// The largest mean squared error of a pixel that counts as completed.
const CORRECT: f64 = 0.005;

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let set = Set::read(context, Pictures::Mnist)?;
    let small = set.name == "digits";
    let counts: &[usize] = match (context.full(), small) {
        (true, _) => &[16, 32, 64, 128],
        (false, true) => &[8, 16, 32],
        (false, false) => &[8, 16],
    };
    let mut all = Findings::new();
    for kind in [Covariance::Explicit, Covariance::Implicit, Covariance::Dendritic] {
        for count in counts {
            let name = format!("{kind}, {count} pictures");
            all.part(context, &name, |context| one(context, &set, kind, *count))?;
        }
    }
    for column in ["error of a missing pixel", "completed (%)", "steps"] {
        for kind in ["explicit", "implicit", "dendritic"] {
            let points = counts.iter().filter_map(|count| {
                let figure = all.value(kind, &format!("{count} stored: {column}"))?;
                Some((*count as f64, figure))
            });
            let points = points.collect();
            all.curve(format!("{}: {column}", set.name), kind, ("stored", column), points);
        }
    }
    let name = set.name;
    all.note(format!(
        "Pictures of {name}, of which the upper half is known. Completed: a squared error below \
         {CORRECT}, as a mean over the missing pixels. Error: the root of that mean, over all \
         pictures."
    ));
    let few = all.cells.iter().map(|cell| cell.column.clone());
    let few: Vec<String> = few.filter(|column| column.ends_with("completed (%)")).collect();
    if let Some(column) = few.first() {
        for kind in [Covariance::Implicit, Covariance::Dendritic] {
            let holds = all.value(&kind.to_string(), column) == Some(100.0);
            let stored = column.split(" stored").next().unwrap_or_default();
            all.claim(format!("of {stored} stored, {kind} completes every picture"), holds);
        }
    }
    all.note(
        "Each learns by Adam for the same number of rounds, and relaxes at the largest rate of 1, \
         1/2, 1/4, ... that does not diverge, until the slope of its energy has fallen to 1e-3 of \
         what it was.",
    );
    Ok(all)
}

fn one(
    context: &mut Context<'_>,
    set: &Set,
    kind: Covariance,
    count: usize,
) -> Result<Findings, CommandError> {
    let (pictures, _) = set.drawn(count)?;
    let known = set.upper(count, 0.5)?;
    let part = masked(&pictures, &known);
    let rounds = context.by_size(300, 2000);
    let most = context.by_size(1000, 10_000);
    let host = Host::<f32>::new();
    let new = |rate: f64| -> pc_core::Result<_> {
        let recall = Schedule::standard(rate, most)?.until(1e-3)?.diverged_beyond(10.0)?;
        CovarianceMemory::new(&host, kind, set.pixels(), recall)
    };
    let mut memory = new(1.0)?;
    let mut adam = Adam::new(1e-2)?;
    for round in 0..rounds {
        // Smaller steps towards the end.
        if round == rounds / 2 {
            adam.set_rate(1e-3)?;
        }
        memory.store(&pictures, |graph, gradients| adam.step(graph.parameters_mut(), gradients))?;
    }
    let mut rate = 1.0;
    let started = Instant::now();
    let (completed, outcome) = loop {
        let mut own = new(rate)?;
        for (id, value) in memory.graph().parameters().iter().enumerate() {
            own.graph_mut().set_parameter(pc_core::ParamId::new(id), value.clone())?;
        }
        match own.complete(&part, &known) {
            Err(_) if rate > 1e-4 => rate /= 2.0,
            done => break done?,
        }
    };
    let missing = (known.data().iter().filter(|x| **x == 0.0).count() / count.max(1)) as f64;
    let errors: Vec<f64> =
        squared_errors(&completed, &pictures).iter().map(|error| error / missing).collect();
    let row = kind.to_string();
    let mut found = Findings::new();
    let column = |what: &str| format!("{count} stored: {what}");
    found.cell(&row, column("error of a missing pixel"), mean(&errors).sqrt());
    found.cell(&row, column("completed (%)"), below(&errors, CORRECT));
    found.cell(&row, column("steps"), outcome.steps as f64);
    found.cell(&row, column("rate"), rate);
    context.say(format!("{row}: completed in {:.1?}", started.elapsed()));
    let rows = vec![
        ("stored", set.gallery(&pictures, 8)?),
        ("given", set.gallery(&part, 8)?),
        ("completed", set.gallery(&completed, 8)?),
    ];
    found.gallery(format!("{row}, {count} stored"), "the first eight", rows);
    Ok(found)
}
