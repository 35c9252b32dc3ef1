//! Burn models with marks, as a user would write them.

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Embedding, EmbeddingConfig, Linear,
        LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, Distribution, Int, Tensor, activation},
};
use pc_burn::{named_vertex, vertex};

/// 20 inputs, 5 classes, a chain.
#[derive(Module, Debug)]
pub(crate) struct Mlp {
    pub(crate) first: Linear,
    pub(crate) second: Linear,
    pub(crate) third: Linear,
}

impl Mlp {
    pub(crate) fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(20, 32).init(device),
            second: LinearConfig::new(32, 24).init(device),
            third: LinearConfig::new(24, 5).init(device),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = named_vertex("first", activation::tanh(self.first.forward(x)));
        let x = named_vertex("second", activation::tanh(self.second.forward(x)));
        named_vertex("third", self.third.forward(x))
    }
}

/// Batch norm, a skip, pooling.
#[derive(Module, Debug)]
pub(crate) struct Cnn {
    first: Conv2d,
    pub(crate) norm: BatchNorm,
    second: Conv2d,
    pool: MaxPool2d,
    out: Linear,
}

impl Cnn {
    pub(crate) fn new(device: &Device) -> Self {
        let conv = |from, to| {
            Conv2dConfig::new([from, to], [3, 3]).with_padding(PaddingConfig2d::Same).init(device)
        };
        Self {
            first: conv(1, 6),
            norm: BatchNormConfig::new(6).init(device),
            second: conv(6, 6),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            out: LinearConfig::new(6 * 16, 5).init(device),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = vertex(activation::relu(self.norm.forward(self.first.forward(x))));
        let x = vertex(activation::relu(self.second.forward(x.clone()) + x));
        let x: Tensor<2> = vertex(self.pool.forward(x).flatten(1, 3));
        vertex(self.out.forward(x))
    }
}

/// A skip over a vertex, a tied layer, dropout, and an output that is a concatenation: paths of
/// several lengths.
#[derive(Module, Debug)]
pub(crate) struct Residual {
    first: Linear,
    tied: Linear,
    out: Linear,
    dropout: Dropout,
}

impl Residual {
    pub(crate) fn new(device: &Device, dropout: f64) -> Self {
        Self {
            first: LinearConfig::new(20, 16).init(device),
            tied: LinearConfig::new(16, 16).init(device),
            out: LinearConfig::new(48, 5).init(device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let a = vertex(activation::tanh(self.first.forward(x)));
        let b = vertex(self.dropout.forward(activation::tanh(self.tied.forward(a.clone()))));
        let c = vertex(activation::tanh(self.tied.forward(b.clone() + a.clone())));
        vertex(self.out.forward(Tensor::cat(vec![a, b, c], 1)))
    }
}

/// An LSTM over 6 steps whose gates are vertices of their own.
#[derive(Module, Debug)]
pub(crate) struct Lstm {
    embedding: Embedding,
    input: Linear,
    recurrent: Linear,
    out: Linear,
}

impl Lstm {
    pub(crate) const HIDDEN: usize = 10;

    pub(crate) fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(12, 8).init(device),
            input: LinearConfig::new(8, 4 * Self::HIDDEN).init(device),
            recurrent: LinearConfig::new(Self::HIDDEN, 4 * Self::HIDDEN)
                .with_bias(false)
                .init(device),
            out: LinearConfig::new(Self::HIDDEN, 5).init(device),
        }
    }

    pub(crate) fn forward(&self, x: Tensor<2, Int>) -> Tensor<2> {
        let [batch, steps] = x.dims();
        let embedded = vertex(self.embedding.forward(x));
        let device = embedded.device();
        let mut hidden: Tensor<2> = Tensor::zeros([batch, Self::HIDDEN], &device);
        let mut cell: Tensor<2> = Tensor::zeros([batch, Self::HIDDEN], &device);
        for step in 0..steps {
            let now: Tensor<2> = embedded.clone().narrow(1, step, 1).squeeze_dim(1);
            let all = self.input.forward(now) + self.recurrent.forward(hidden);
            let gate = |index: usize| all.clone().narrow(1, index * Self::HIDDEN, Self::HIDDEN);
            let i = named_vertex("input gate", activation::sigmoid(gate(0)));
            let f = named_vertex("forget gate", activation::sigmoid(gate(1)));
            let g = named_vertex("candidate", activation::tanh(gate(2)));
            let o = named_vertex("output gate", activation::sigmoid(gate(3)));
            cell = named_vertex("cell", f * cell + i * g);
            hidden = named_vertex("hidden", o * activation::tanh(cell.clone()));
        }
        named_vertex("output", self.out.forward(hidden))
    }
}

/// Single-head self-attention with a skip.
#[derive(Module, Debug)]
pub(crate) struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
}

impl Attention {
    pub(crate) fn new(device: &Device) -> Self {
        let linear = || LinearConfig::new(8, 8).init(device);
        // A key's bias has no gradient: softmax does not see it.
        let key = LinearConfig::new(8, 8).with_bias(false).init(device);
        Self { query: linear(), key, value: linear(), out: LinearConfig::new(8, 5).init(device) }
    }

    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let q = named_vertex("query", self.query.forward(x.clone()));
        let k = named_vertex("key", self.key.forward(x.clone()));
        let v = named_vertex("value", self.value.forward(x.clone()));
        let scores = named_vertex("scores", q.matmul(k.transpose()) / (8.0_f64).sqrt());
        let weights = named_vertex("weights", activation::softmax(scores, 2));
        let mixed = named_vertex("mixed", weights.matmul(v) + x);
        let pooled: Tensor<2> = mixed.mean_dim(1).squeeze_dim(1);
        named_vertex("output", self.out.forward(pooled))
    }
}

pub(crate) fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, targets)
}

pub(crate) fn targets(batch: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::arange(0..batch as i64, device) % 5
}

pub(crate) fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// Tokens of a vocabulary of 12.
pub(crate) fn tokens(batch: usize, steps: usize, device: &Device) -> Tensor<2, Int> {
    (Tensor::<1, Int>::arange(0..(batch * steps) as i64, device) * 7 % 12).reshape([batch, steps])
}
