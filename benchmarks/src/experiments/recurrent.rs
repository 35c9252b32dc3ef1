//! The recurrent nets of Millidge, Tschantz and Buckley: names by an RNN, characters by an LSTM.

use pc_core::{Evaluation, Schedule};

use super::{
    Context, Experiment, Findings,
    sequences::{COSINE, Lesson, Moved, SIMULATED, Way, configuration, dataset, loss_after},
};
use crate::{data::Kind, error::CommandError};

const PAPER: &str = "Millidge, Tschantz and Buckley 2020: Predictive coding approximates backprop \
                     along arbitrary computation graphs (it shows curves that lie on each other, \
                     and no figures)";

pub(super) const NAMES: Experiment = Experiment {
    name: "names-rnn",
    about: "an RNN that tells languages by names, by predictive coding beside backprop: losses \
            and gradients, layer by layer, while it learns",
    paper: PAPER,
    takes: "10 minutes",
    baseline: Some(BACKPROP),
    published: &[],
    run: names,
};

pub(super) const CHARACTERS: Experiment = Experiment {
    name: "char-lstm",
    about: "an LSTM that predicts characters, by predictive coding beside backprop: losses, and \
            gradients layer by layer, while it learns",
    paper: PAPER,
    takes: "an hour",
    baseline: Some(BACKPROP),
    published: &[],
    run: characters,
};

const BACKPROP: &str = "backprop";
/// The rate of the states in the paper's text, and the doubled one of the authors' code.
const RATES: [f64; 2] = [0.1, 0.2];

/// What differs between the two.
struct Setting {
    kind: Kind,
    /// The authors' configuration.
    file: &'static str,
    /// Units of a quick run; a full one has the authors'.
    width: usize,
    window: usize,
    batch: usize,
    batches: usize,
    moved: Moved,
    /// Whether every step of the relaxation is taken in training too.
    simulated: bool,
    notes: &'static [&'static str],
}

fn names(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let file = include_str!("../../configs/millidge-rnn-names.toml");
    let own = configuration(file)?;
    let rate = own.optimiser.learning_rate.unwrap_or(1e-4);
    let full = context.full();
    let setting = Setting {
        kind: Kind::Names,
        file,
        width: 32,
        window: 16,
        batch: if full { own.batch.unwrap_or(1) } else { 8 },
        batches: if full { 150_000 } else { 300 },
        moved: if full { Moved::Sgd(rate, Some(50.0)) } else { Moved::Sgd(0.05, Some(50.0)) },
        simulated: !full,
        notes: &["Gradient descent with gradients cut off at 50, as the authors have it. Their \
                  two updates a batch are not copied."],
    };
    side_by_side(context, &setting)
}

fn characters(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let full = context.full();
    let setting = Setting {
        kind: Kind::Shakespeare,
        file: include_str!("../../configs/millidge-lstm-shakespeare.toml"),
        width: 24,
        window: if full { 50 } else { 10 },
        batch: if full { 64 } else { 8 },
        batches: if full { 20 } else { 200 },
        moved: Moved::Adam(if full { 1e-3 } else { 3e-3 }),
        simulated: !full,
        notes: &["Adam, where the authors have gradient descent at 1e-5 on sums over the batch. \
                  Neither their two updates a batch nor their bound of 50 on gradients is copied."],
    };
    side_by_side(context, &setting)
}

fn row(gamma: f64, how: &str) -> String {
    format!("PC, gamma {gamma}, {how}")
}

fn side_by_side(context: &mut Context<'_>, setting: &Setting) -> Result<Findings, CommandError> {
    let own = configuration(setting.file)?;
    let steps = own.schedule.iter().find_map(|entry| entry.steps).unwrap_or(100);
    let mut layers = own.layers;
    if let (false, Some(first)) = (context.full(), layers.first_mut()) {
        first.width = Some(setting.width);
    }
    let width = layers.first().and_then(|first| first.width).unwrap_or(0);
    let data = dataset(context, setting.kind, &layers, setting.window)?;
    let lesson = Lesson {
        dataset: &data,
        layers: &layers,
        batch: setting.batch,
        batches: setting.batches,
        looks: 6,
        probe: context.by_size([256, 32], [1024, 10_000]),
        // Weights and bias of a gate, or of the output, together.
        layer: |name| name.rsplit_once('.').map_or(name, |(layer, _)| layer).to_owned(),
    };
    let mut ways = vec![Way {
        name: BACKPROP.to_owned(),
        schedule: Schedule::backprop(),
        simulated: None,
        moved: setting.moved,
    }];
    for gamma in RATES {
        let schedule = || Schedule::fixed_prediction(gamma, steps);
        let simulated = schedule()?.evaluated_by(Evaluation::Simulate);
        ways.push(Way {
            name: row(gamma, "closed form"),
            schedule: schedule()?.evaluated_by(Evaluation::ClosedForm),
            simulated: Some(simulated.clone()),
            moved: setting.moved,
        });
        if setting.simulated && gamma == RATES[0] {
            let name = row(gamma, "step by step");
            ways.push(Way { name, schedule: simulated, simulated: None, moved: setting.moved });
        }
    }
    let mut findings = Findings::new();
    for way in &ways {
        findings.part(context, &way.name, |context| Ok(lesson.taught(context, way)?.1))?;
    }
    claims(&mut findings, &ways, &lesson.looked());
    findings.note(format!(
        "{width} units, windows of {} characters, batches of {}, {} batches, T {steps}. Losses are \
         means over the same training samples at each look, in nats a label. Cosines are of each \
         layer's gradients to backprop's on the same batch and weights; the report has them over \
         training.",
        setting.window, setting.batch, setting.batches
    ));
    findings.note(format!(
        "After T steps at gamma an error that has k edges to go has come with the weight \
         P[Binomial(T, gamma) >= k], so the farther back a step is, the less it learns. Gamma {} \
         is what the authors' code comes to, which writes the rate with a factor of 2.",
        RATES[1]
    ));
    setting.notes.iter().for_each(|note| findings.note(*note));
    Ok(findings)
}

fn claims(findings: &mut Findings, ways: &[Way], looked: &[usize]) {
    let [Some(first), Some(last)] = [looked.first(), looked.last()] else { return };
    let at = |row: &str, column: &str| findings.value(row, column).unwrap_or(f64::NAN);
    let (before, after) = (loss_after(*first), loss_after(*last));
    let backprop = at(BACKPROP, &after);
    let mut claims = vec![(
        "backprop's loss falls by a tenth or more".to_owned(),
        backprop <= 0.9 * at(BACKPROP, &before),
    )];
    for way in ways.iter().skip(1) {
        let name = &way.name;
        let near = (at(name, &after) / backprop - 1.0).abs() <= 0.02;
        claims.push((format!("{name}: the last loss is backprop's within 2 %"), near));
        claims.push((format!("{name}: no layer's cosine is below .5"), at(name, COSINE) >= 0.5));
        if way.simulated.is_some() {
            let same = at(name, SIMULATED) <= 1e-4;
            claims.push((format!("{name}: it is its simulation within 1e-4"), same));
        }
    }
    for (what, holds) in claims {
        findings.claim(what, holds);
    }
}
