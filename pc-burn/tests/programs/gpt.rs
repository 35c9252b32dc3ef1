//! Burn's example `text-generation`, a model like GPT: every token from those before it, by a
//! transformer with an autoregressive mask, and a loss that is a mean over all tokens.

use burn::{
    module::Module,
    nn::{
        Embedding, EmbeddingConfig, Linear, LinearConfig,
        attention::generate_autoregressive_mask,
        loss::CrossEntropyLossConfig,
        transformer::{TransformerEncoder, TransformerEncoderConfig},
    },
    tensor::{Device, Int, Tensor, TensorData},
};
use pc_burn::{LossReduction, vertex};

use crate::check;

const WIDTH: usize = 12;
const TEXT: &str = "errors move before weights do, and weights follow errors. ";

#[derive(Module, Debug)]
struct TextGeneration {
    transformer: TransformerEncoder,
    embedding_token: Embedding,
    embedding_pos: Embedding,
    output: Linear,
}

/// Tokens, and for each the one that follows it.
type Batch = (Tensor<2, Int>, Tensor<2, Int>);

fn vocabulary() -> Vec<char> {
    let mut letters: Vec<char> = TEXT.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    letters
}

impl TextGeneration {
    fn new(length: usize, device: &Device) -> Self {
        let letters = vocabulary().len();
        check::fixed(Self {
            transformer: TransformerEncoderConfig::new(WIDTH, 24, 2, 2)
                .with_dropout(0.0)
                .with_norm_first(true)
                .init(device),
            embedding_token: EmbeddingConfig::new(letters, WIDTH).init(device),
            embedding_pos: EmbeddingConfig::new(length, WIDTH).init(device),
            output: LinearConfig::new(WIDTH, letters).init(device),
        })
    }

    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, length] = tokens.dims();
        let device = tokens.device();
        let positions =
            Tensor::arange(0..length as i64, &device).reshape([1, length]).repeat_dim(0, batch);
        let mask = generate_autoregressive_mask(batch, length, &device);
        let embedded =
            (self.embedding_pos.forward(positions) + self.embedding_token.forward(tokens)) / 2;
        let mut x = vertex(embedded);
        for layer in &self.transformer.layers {
            x = vertex(layer.forward(x, None, Some(mask.clone())));
        }
        vertex(self.output.forward(x))
    }

    fn loss(&self, (tokens, targets): &Batch) -> Tensor<1> {
        let output = self.forward(tokens.clone());
        let [batch, length, letters] = output.dims();
        CrossEntropyLossConfig::new().init(&output.device()).forward(
            output.reshape([batch * length, letters]),
            targets.clone().reshape([batch * length]),
        )
    }
}

fn batch(count: usize, length: usize, device: &Device) -> Batch {
    let letters = vocabulary();
    let code = |c: char| letters.iter().position(|other| *other == c).unwrap() as i64;
    let text: Vec<i64> = TEXT.chars().map(code).collect();
    let letter = |k: usize| text[k % text.len()];
    let from = |first: usize| {
        let tokens: Vec<i64> = (0..count)
            .flat_map(|k| (0..length).map(move |j| k * 5 + j + first))
            .map(letter)
            .collect();
        Tensor::from_data(TensorData::new(tokens, [count, length]), device)
    };
    (from(0), from(1))
}

/// The mean is over all tokens: of 4 sentences of 6, and of 6 of 4.
#[test]
fn a_gpt_learns() {
    let device = check::device();
    let model = TextGeneration::new(6, &device);
    let batches = [batch(4, 6, &device), batch(6, 4, &device)];
    let reduction = LossReduction::MeanOver(24);
    check::exact(&model, &batches, reduction, TextGeneration::loss);
    check::trains(
        &model,
        &batches[..1],
        reduction,
        (0.01, 100),
        check::standard(),
        0.4,
        TextGeneration::loss,
    );
}
