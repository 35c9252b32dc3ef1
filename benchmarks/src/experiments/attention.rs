//! A decoder-only transformer of characters that learns by predictive coding.

use std::f64::consts::LN_2;

use pc_core::{Evaluation, Schedule};

use super::{
    Context, Experiment, Findings,
    sequences::{COSINE, HELD_OUT, Lesson, Moved, SIMULATED, Way, dataset},
};
use crate::{
    data::{Data, Kind, Text, invented, seeded},
    error::CommandError,
    models::{Predictor, decoder},
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "attention",
    about: "a decoder-only transformer that predicts characters, by exact, standard and \
            incremental PC beside backprop, with texts that each goes on with",
    paper: "Salvatori, Song, Xu, Lukasiewicz and Bogacz 2022: Reverse differentiation via \
            predictive coding (a transformer's gradients, no figures of its learning); Pinchetti, \
            Salvatori, Yordanov, Millidge, Song and Lukasiewicz 2022: Predictive coding beyond \
            Gaussian distributions (transformers that learn)",
    takes: "20 minutes",
    baseline: Some(BACKPROP),
    published: &[],
    run,
};

const BACKPROP: &str = "backprop";
const EXACT: &str = "exact PC";
const STANDARD: &str = "standard PC";
const INCREMENTAL: &str = "iPC";

/// Bits per character of held-out text.
const BITS: &str = "held-out bits per character";
const BLOCKS: usize = 4;
/// Adam's.
const RATE: f64 = 3e-3;
const TEMPERATURE: f64 = 0.8;
/// Stream of the draws of a continuation.
const DRAWS: u64 = 1 << 61;

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let (width, heads) = context.by_size((16, 2), (64, 4));
    let layers = decoder(BLOCKS, width, heads);
    let window = context.by_size(16, 32);
    let data = dataset(context, Kind::Shakespeare, &layers, window)?;
    let Data::Text(text) = context.data(Kind::Shakespeare)? else {
        return Err(CommandError::input("what was read is no text"));
    };
    let lesson = Lesson {
        dataset: &data,
        layers: &layers,
        batch: context.by_size(8, 16),
        batches: context.by_size(150, 400),
        looks: 5,
        probe: context.by_size([64, 16], [256, 64]),
        // A block is one; what is around the blocks is itself.
        layer: |name| name.split('.').next().unwrap_or(name).to_owned(),
    };
    let depth = lesson.model(context.seed())?.graph.topology().depth().unwrap_or(0);
    let mut findings = Findings::new();
    // The wider the stream, the steeper the energy: at .01 the wider net diverges at once.
    let gamma = context.by_size(0.01, 0.002);
    for way in ways(depth, gamma)? {
        findings.part(context, &way.name, |context| {
            let (mut model, mut found) = lesson.taught(context, &way)?;
            let loss = found.value(&way.name, HELD_OUT).unwrap_or(f64::NAN);
            found.cell(&way.name, BITS, loss / LN_2);
            let begin = text.test.ids.get(..window).unwrap_or_default();
            let mut rng = seeded(context.seed(), DRAWS);
            let mut predictor = Predictor::new(&model.graph);
            let count = context.by_size(80, 300);
            if loss.is_finite() {
                let drawn =
                    predictor.continuation(&mut model, begin, count, TEMPERATURE, &mut rng)?;
                let [begin, drawn] = [begin, &drawn].map(|ids| shown(&text.test, ids));
                let (begin, drawn) = (begin?, drawn?);
                found.note(format!(
                    "{}, temperature {TEMPERATURE}, goes on with \"{begin}\": \"{drawn}\".",
                    way.name
                ));
            }
            Ok(found)
        })?;
    }
    let chance = of_letters(&text.train, &text.test) / LN_2;
    claims(&mut findings, chance, context.read() == ["invented text"]);
    findings.note(format!(
        "{BLOCKS} blocks, width {width}, {heads} heads, windows of {window} characters, batches of \
         {}, {} batches, Adam at {RATE}. The longest way of an error, from the output to the \
         embedding, has {depth} steps; standard PC (rate at most .1, adaptive) and iPC \
         (rate {gamma}) take {STEPS} more. iPC moves weights at each of them, at a fifteenth of \
         the rate. Exact PC learns in closed form, and the first look and the last compare that \
         with all its steps simulated.",
        lesson.batch, lesson.batches
    ));
    findings.note("In texts / stands for the end of a line.");
    findings.note(format!("Characters by how often each comes take {chance:.3} bits."));
    Ok(findings)
}

/// Steps beyond those that an error takes to the embedding.
const STEPS: usize = 8;

fn ways(depth: usize, gamma: f64) -> Result<[Way; 4], CommandError> {
    let steps = depth + STEPS;
    let exact = || Schedule::fixed_prediction(1.0, depth);
    let way = |name: &str, schedule, rate| Way {
        name: name.to_owned(),
        schedule,
        simulated: None,
        moved: Moved::Adam(rate),
    };
    let simulated = Some(exact()?.evaluated_by(Evaluation::Simulate));
    Ok([
        way(BACKPROP, Schedule::backprop(), RATE),
        Way { simulated, ..way(EXACT, exact()?, RATE) },
        // Keys and values of a whole window make the energy steep: plain steps at .05 diverge.
        way(STANDARD, Schedule::standard(0.1, steps)?.adaptive(), RATE),
        way(INCREMENTAL, Schedule::ipc(gamma, steps)?, RATE / 15.0),
    ])
}

/// Characters with the ends of lines shown.
fn shown(text: &Text, ids: &[usize]) -> Result<String, CommandError> {
    Ok(text.decode(ids)?.replace('\n', " / "))
}

/// The mean loss on `test` of the shares that characters have in `train`; each is counted once more
/// than it came.
fn of_letters(train: &Text, test: &Text) -> f64 {
    let mut counts = vec![1.0; train.alphabet.len()];
    train.ids.iter().for_each(|id| counts[*id] += 1.0);
    let all: f64 = counts.iter().sum();
    test.ids.iter().map(|id| -(counts[*id] / all).ln()).sum::<f64>() / test.len() as f64
}

fn claims(findings: &mut Findings, chance: f64, invented: bool) {
    let at = |row: &str, column: &str| findings.value(row, column).unwrap_or(f64::NAN);
    let bits = [BACKPROP, EXACT, STANDARD, INCREMENTAL].map(|row| (row, at(row, BITS)));
    let near = (at(EXACT, HELD_OUT) / at(BACKPROP, HELD_OUT) - 1.0).abs() <= 0.01;
    let same = at(EXACT, COSINE) >= 0.9999;
    let simulated = at(EXACT, SIMULATED) <= 1e-4;
    findings.claim("exact PC's held-out loss is backprop's within 1 %", near);
    findings.claim("exact PC's gradients have a cosine of .9999 or more in every block", same);
    findings.claim("exact PC in closed form is its simulation within 1e-4", simulated);
    for (row, bits) in bits {
        let what = format!("{row} predicts better than the characters' shares do");
        findings.claim(what, bits < chance);
        if invented {
            let what = format!("{row} is not better than the text's entropy allows");
            findings.claim(what, bits >= 0.9 * invented::text_bits());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_characters_are_those_of_the_training_text() {
        let text = Text::new("aabb");
        let (train, test) = (Text::new("aaab"), Text { ids: vec![1], ..text });
        // 4 of 6 and 2 of 6.
        assert!((of_letters(&train, &test) - 3.0_f64.ln()).abs() < 1e-12);
    }
}
