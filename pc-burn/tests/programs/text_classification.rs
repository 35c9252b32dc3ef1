//! Burn's example `text-classification`: embeddings of tokens and positions, a transformer encoder
//! with padding masks, and the class from the first position.

use burn::{
    module::Module,
    nn::{
        Embedding, EmbeddingConfig, Linear, LinearConfig,
        loss::CrossEntropyLossConfig,
        transformer::{TransformerEncoder, TransformerEncoderConfig},
    },
    tensor::{Bool, Device, Int, Tensor, TensorData},
};
use pc_burn::{LossReduction, vertex};

use crate::check;

const VOCABULARY: usize = 12;
const LENGTH: usize = 6;
const WIDTH: usize = 8;
const PAD: i64 = 0;

#[derive(Clone, Debug)]
struct Batch {
    tokens: Tensor<2, Int>,
    mask_pad: Tensor<2, Bool>,
    labels: Tensor<1, Int>,
}

#[derive(Module, Debug)]
struct TextClassification {
    transformer: TransformerEncoder,
    embedding_token: Embedding,
    embedding_pos: Embedding,
    output: Linear,
}

impl TextClassification {
    fn new(device: &Device) -> Self {
        check::fixed(Self {
            transformer: TransformerEncoderConfig::new(WIDTH, 16, 2, 2)
                .with_dropout(0.0)
                .init(device),
            embedding_token: EmbeddingConfig::new(VOCABULARY, WIDTH).init(device),
            embedding_pos: EmbeddingConfig::new(LENGTH, WIDTH).init(device),
            output: LinearConfig::new(WIDTH, 2).init(device),
        })
    }

    fn forward(&self, batch: &Batch) -> Tensor<2> {
        let [batch_size, length] = batch.tokens.dims();
        let device = batch.tokens.device();
        let positions = Tensor::arange(0..length as i64, &device)
            .reshape([1, length])
            .repeat_dim(0, batch_size);
        let embedded = (self.embedding_pos.forward(positions)
            + self.embedding_token.forward(batch.tokens.clone()))
            / 2;
        let mut x = vertex(embedded);
        for layer in &self.transformer.layers {
            x = vertex(layer.forward(x, Some(batch.mask_pad.clone()), None));
        }
        let first = x.narrow(1, 0, 1).reshape([batch_size, WIDTH]);
        vertex(self.output.forward(first))
    }

    fn loss(&self, batch: &Batch) -> Tensor<1> {
        let output = self.forward(batch);
        CrossEntropyLossConfig::new().init(&output.device()).forward(output, batch.labels.clone())
    }
}

/// Sentences of several lengths. The class is whether token 3 comes in them.
fn batch(count: usize, device: &Device) -> Batch {
    let sentence = |k: usize| -> Vec<i64> {
        let length = 3 + k % 4;
        let mut tokens: Vec<i64> =
            (0..length).map(|j| 4 + ((k * 5 + j * 3) % (VOCABULARY - 4)) as i64).collect();
        if k.is_multiple_of(2) {
            tokens[1 + k / 2 % (length - 1)] = 3;
        }
        tokens.resize(LENGTH, PAD);
        tokens
    };
    let tokens: Vec<i64> = (0..count).flat_map(sentence).collect();
    let labels: Vec<i64> = (0..count).map(|k| i64::from(k.is_multiple_of(2))).collect();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(tokens, [count, LENGTH]), device);
    Batch {
        mask_pad: tokens.clone().equal_elem(PAD),
        tokens,
        labels: Tensor::from_data(TensorData::new(labels, [count]), device),
    }
}

#[test]
fn text_classification_learns() {
    let device = check::device();
    let model = TextClassification::new(&device);
    let batches = [batch(16, &device), batch(10, &device)];
    check::exact(&model, &batches, LossReduction::Mean, TextClassification::loss);
    let one = &batches[..1];
    check::trains(
        &model,
        one,
        LossReduction::Mean,
        (0.01, 80),
        check::standard(),
        0.3,
        TextClassification::loss,
    );
}
