//! A character LSTM on a licence text, its gates vertices of predictive coding, trained in a loop
//! of one's own.
//!
//! `cargo run --release -p pc-burn --example text_lstm -- --updates 200 --hidden 64`
#![allow(missing_docs)]

use std::error::Error;

use burn::{
    module::Module,
    nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamConfig, GradientsParams},
    tensor::{Device, Int, Tensor, TensorData, activation},
};
use pc_burn::{LossReduction, PredictiveCoding, named_vertex};
use pc_core::Schedule;

/// The text.
const TEXT: &str = include_str!("../../LICENSE-APACHE");

/// Predicts the next character from those before it.
#[derive(Module, Debug)]
struct CharLstm {
    embedding: Embedding,
    input: Linear,
    recurrent: Linear,
    out: Linear,
    hidden: usize,
}

impl CharLstm {
    fn new(characters: usize, hidden: usize, device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(characters, 16).init(device),
            input: LinearConfig::new(16, 4 * hidden).init(device),
            recurrent: LinearConfig::new(hidden, 4 * hidden).with_bias(false).init(device),
            out: LinearConfig::new(hidden, characters).init(device),
            hidden,
        }
    }

    /// From `[batch, length]` characters to `[batch * length, characters]` logits.
    fn forward(&self, text: Tensor<2, Int>) -> Tensor<2> {
        let [batch, length] = text.dims();
        let embedded = self.input.forward(self.embedding.forward(text));
        let mut hidden: Tensor<2> = Tensor::zeros([batch, self.hidden], &embedded.device());
        let mut cell = hidden.clone();
        let mut states = Vec::with_capacity(length);
        for step in 0..length {
            let now = embedded.clone().narrow(1, step, 1).squeeze_dim::<2>(1);
            let gates = now + self.recurrent.forward(hidden);
            let gate = |index: usize| gates.clone().narrow(1, index * self.hidden, self.hidden);
            let input = named_vertex("input gate", activation::sigmoid(gate(0)));
            let forget = named_vertex("forget gate", activation::sigmoid(gate(1)));
            let candidate = named_vertex("candidate", activation::tanh(gate(2)));
            let output = named_vertex("output gate", activation::sigmoid(gate(3)));
            cell = named_vertex("cell", forget * cell + input * candidate);
            hidden = named_vertex("hidden", output * activation::tanh(cell.clone()));
            states.push(hidden.clone());
        }
        let states: Tensor<2> = Tensor::stack::<3>(states, 1).flatten(0, 1);
        named_vertex("logits", self.out.forward(states))
    }

    fn loss(&self, text: Tensor<2, Int>, next: Tensor<1, Int>) -> Tensor<1> {
        let logits = self.forward(text);
        CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, next)
    }
}

/// The text as numbers, its last tenth held out.
struct Corpus {
    characters: usize,
    train: Vec<i64>,
    test: Vec<i64>,
}

impl Corpus {
    fn new(text: &str) -> Self {
        let mut known: Vec<char> = text.chars().collect();
        known.sort_unstable();
        known.dedup();
        let mut train: Vec<i64> = text
            .chars()
            .filter_map(|c| known.binary_search(&c).ok())
            .map(|index| index as i64)
            .collect();
        let test = train.split_off(train.len() * 9 / 10);
        Self { characters: known.len(), train, test }
    }
}

/// Windows of `length` characters that begin at `starts`, and the characters that follow each of
/// theirs.
fn windows(
    text: &[i64],
    starts: impl Iterator<Item = usize>,
    length: usize,
    device: &Device,
) -> (Tensor<2, Int>, Tensor<1, Int>) {
    let (mut inputs, mut next, mut count) = (Vec::new(), Vec::new(), 0);
    for start in starts {
        inputs.extend_from_slice(&text[start..start + length]);
        next.extend_from_slice(&text[start + 1..=start + length]);
        count += 1;
    }
    (
        Tensor::from_data(TensorData::new(inputs, [count, length]), device),
        Tensor::from_data(TensorData::new(next, [count * length]), device),
    )
}

/// `--updates 200`, and so on.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) updates: usize,
    pub(crate) batch: usize,
    pub(crate) length: usize,
    pub(crate) hidden: usize,
    pub(crate) learning_rate: f64,
    pub(crate) seed: u64,
}

impl Options {
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut options =
            Self { updates: 100, batch: 16, length: 16, hidden: 48, learning_rate: 1e-2, seed: 0 };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
            match name.as_str() {
                "--updates" => options.updates = value.parse()?,
                "--batch" => options.batch = value.parse()?,
                "--length" => options.length = value.parse()?,
                "--hidden" => options.hidden = value.parse()?,
                "--learning-rate" => options.learning_rate = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(options)
    }
}

/// Held-out loss in nats per character, before and after training by one rule.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) rule: &'static str,
    pub(crate) before: f64,
    pub(crate) after: f64,
}

/// Trains from the same weights on the same batches, by each rule in turn.
pub(crate) fn run(options: &Options) -> Result<Vec<Figures>, Box<dyn Error>> {
    // Weights of incremental PC move at every one of its steps: its rate is smaller by as many.
    const INCREMENTAL: usize = 6;
    // At rate 1 it is there once it has taken as many steps as the graph is deep: three vertices a
    // character.
    let length = options.length;
    let rules = [
        ("backprop", None, options.learning_rate),
        (
            "fixed prediction",
            Some(Schedule::fixed_prediction(1.0, 4 * length)),
            options.learning_rate,
        ),
        ("standard PC", Some(Schedule::standard(0.1, 20)), options.learning_rate),
        (
            "incremental PC",
            Some(Schedule::ipc(0.2, INCREMENTAL)),
            options.learning_rate / INCREMENTAL as f64,
        ),
    ];
    rules
        .into_iter()
        .map(|(rule, schedule, rate)| train(rule, schedule.transpose()?, rate, options))
        .collect()
}

fn train(
    rule: &'static str,
    schedule: Option<Schedule>,
    rate: f64,
    options: &Options,
) -> Result<Figures, Box<dyn Error>> {
    let corpus = Corpus::new(TEXT);
    let length = options.length;
    let device = Device::flex().autodiff();
    device.seed(options.seed);
    let mut model = CharLstm::new(corpus.characters, options.hidden, &device);
    let mut optimiser = AdamConfig::new().init();
    let (text, next) = windows(
        &corpus.test,
        (0..corpus.test.len() - length).step_by(length),
        length,
        &device.clone().inner(),
    );
    let held_out =
        |model: &CharLstm| model.valid().loss(text.clone(), next.clone()).into_scalar::<f64>();
    let before = held_out(&model);

    // A mean over all characters of the batch: each drives its own output by its own loss.
    let reduction = LossReduction::MeanOver(options.batch * length);
    let mut pc = schedule.map(|schedule| PredictiveCoding::new(schedule, reduction));
    for update in 0..options.updates {
        let starts = (0..options.batch)
            .map(|row| (update * options.batch + row) * 7919 % (corpus.train.len() - length));
        let (text, next) = windows(&corpus.train, starts, length, &device);
        match &mut pc {
            None => {
                let gradients =
                    GradientsParams::from_grads(model.loss(text, next).backward(), &model);
                model = optimiser.step(rate, model, gradients);
            }
            // At every step of the relaxation the optimiser is called.
            Some(pc) if rule == "incremental PC" => {
                pc.train(
                    &mut model,
                    |model| model.loss(text.clone(), next.clone()),
                    |model, gradients| optimiser.step(rate, model, gradients),
                )?;
            }
            Some(pc) => {
                let gradients =
                    pc.learn(&model, |model| model.loss(text.clone(), next.clone()))?.gradients;
                model = optimiser.step(rate, model, gradients);
            }
        }
    }
    Ok(Figures { rule, before, after: held_out(&model) })
}

#[allow(dead_code)]
fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    println!(
        "held-out loss in nats per character (perplexity), before and after {} updates",
        options.updates
    );
    for Figures { rule, before, after } in run(&options)? {
        println!(
            "{rule:<17} {before:.3} ({:>5.1})  ->  {after:.3} ({:>5.1})",
            before.exp(),
            after.exp()
        );
    }
    Ok(())
}
