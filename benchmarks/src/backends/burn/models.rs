//! The models as Burn modules, with a mark where the host's graph has a vertex.

use burn::{
    module::Module,
    module::Param,
    nn::{
        LayerNorm, Linear,
        conv::Conv2d,
        pool::{AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig},
    },
    tensor::{
        Bool, Device, Tensor, TensorData,
        activation::{log_softmax, relu, sigmoid, softmax, tanh},
    },
};
use pc_burn::named_vertex;
use pc_core::{
    Result,
    host::{Element, HostTensor},
};

use super::layers::{Layers, tensor};
use crate::models::{InputShape, Model, ModelKind, OutputLoss};

/// Images from this side up are halved early, as on the host.
const LARGE: usize = 16;

/// A batch's inputs.
#[derive(Clone, Debug)]
pub(super) enum Input {
    Flat(Tensor<2>),
    Steps(Tensor<3>),
    Picture(Tensor<4>),
}

impl Input {
    /// Of the host's tensor.
    pub(super) fn new<F: Element>(host: &HostTensor<F>, device: &Device) -> Result<Self> {
        Ok(match host.dims().len() {
            2 => Self::Flat(tensor(host, device)?),
            3 => Self::Steps(tensor(host, device)?),
            _ => Self::Picture(tensor(host, device)?),
        })
    }

    fn samples(&self) -> usize {
        match self {
            Self::Flat(x) => x.dims()[0],
            Self::Steps(x) => x.dims()[0],
            Self::Picture(x) => x.dims()[0],
        }
    }

    fn flat(&self) -> Tensor<2> {
        match self.clone() {
            Self::Flat(x) => x,
            Self::Steps(x) => x.flatten(1, 2),
            Self::Picture(x) => x.flatten(1, 3),
        }
    }

    fn steps(&self) -> Tensor<3> {
        match self.clone() {
            Self::Steps(x) => x,
            // A flat row is one step.
            other => other.flat().unsqueeze_dim(1),
        }
    }

    fn picture(&self) -> Tensor<4> {
        match self.clone() {
            Self::Picture(x) => x,
            other => other.steps().unsqueeze_dim(1),
        }
    }
}

/// A batch: inputs and one row of targets for each label, sample by sample.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) input: Input,
    pub(super) targets: Tensor<2>,
    pub(super) loss: OutputLoss,
}

impl Task {
    /// How many samples there are: what the loss's mean is over.
    pub(super) fn samples(&self) -> usize {
        self.input.samples().max(1)
    }
}

/// Any of the models.
#[derive(Module, Debug)]
pub(super) enum BurnNet {
    Mlp(Mlp),
    Cnn(Cnn),
    Rnn(Rnn),
    Lstm(Lstm),
    DenseResidual(DenseResidual),
    ConvResidual(ConvResidual),
    Attention(Attention),
}

impl BurnNet {
    /// The model with the parameters of the host's.
    pub(super) fn new<F: Element>(
        model: &Model<F>,
        per_step: bool,
        device: &Device,
    ) -> Result<Self> {
        let l = Layers::of(model, device);
        let picture = model.shape.picture();
        Ok(match (model.kind, picture) {
            (ModelKind::Mlp, _) => Self::Mlp(Mlp {
                dense1: l.linear("dense1")?,
                dense2: l.linear("dense2")?,
                head: l.linear("head")?,
            }),
            (ModelKind::Cnn, _) => Self::Cnn(Cnn::new(&l, model.shape)?),
            (ModelKind::Rnn, _) => {
                Self::Rnn(Rnn { cell: Gate::new(&l, "rnn")?, head: l.linear("head")?, per_step })
            }
            (ModelKind::Lstm, _) => Self::Lstm(Lstm {
                input: Gate::new(&l, "lstm.input")?,
                forget: Gate::new(&l, "lstm.forget")?,
                candidate: Gate::new(&l, "lstm.candidate")?,
                output: Gate::new(&l, "lstm.output")?,
                head: l.linear("head")?,
                per_step,
            }),
            (ModelKind::Residual, None) => Self::DenseResidual(DenseResidual {
                stem: l.linear("stem")?,
                block1: DenseBlock { f: l.linear("block1.f")?, g: l.linear("block1.g")? },
                block2: DenseBlock { f: l.linear("block2.f")?, g: l.linear("block2.g")? },
                head: l.linear("head")?,
            }),
            (ModelKind::Residual, Some([_, height, width])) => Self::ConvResidual(ConvResidual {
                stem: l.conv("stem", 1)?,
                stem_pool: (height.min(width) >= LARGE).then(pool),
                block1: ConvBlock { f: l.conv("block1.f", 1)?, g: l.conv("block1.g", 1)? },
                block2: ConvBlock { f: l.conv("block2.f", 1)?, g: l.conv("block2.g", 1)? },
                pool: AvgPool2dConfig::new([2, 2]).init(),
                head: l.linear("head")?,
            }),
            (ModelKind::Attention, _) => Self::Attention(Attention {
                embed: l.linear("embed")?,
                positions: l.parameter("positions.weight")?,
                queries: l.linear("attention.queries")?,
                keys: l.linear("attention.keys")?,
                values: l.linear("attention.values")?,
                output: l.linear("attention.output")?,
                norm1: l.norm("norm1")?,
                wide: l.linear("wide")?,
                narrow: l.linear("narrow")?,
                norm2: l.norm("norm2")?,
                head: l.linear("head")?,
                per_step,
            }),
        })
    }

    /// Logits, a row for each label, sample by sample.
    pub(super) fn forward(&self, input: &Input) -> Tensor<2> {
        match self {
            Self::Mlp(net) => net.forward(input.flat()),
            Self::Cnn(net) => net.forward(input.picture()),
            Self::Rnn(net) => net.forward(input.steps()),
            Self::Lstm(net) => net.forward(input.steps()),
            Self::DenseResidual(net) => net.forward(input.flat()),
            Self::ConvResidual(net) => net.forward(input.picture()),
            Self::Attention(net) => net.forward(input.steps()),
        }
    }

    /// The loss, its mean over the samples.
    pub(super) fn loss(&self, task: &Task) -> Tensor<1> {
        let logits = self.forward(&task.input);
        let targets = task.targets.clone();
        let sum = match task.loss {
            OutputLoss::CrossEntropy => (log_softmax(logits, 1) * targets).sum().neg(),
            OutputLoss::SquaredError => (logits - targets).square().sum().mul_scalar(0.5),
        };
        // Not `div_scalar`: its backward rounds the factor to f32 in Burn 0.22.
        sum.mul_scalar(1.0 / task.samples() as f64)
    }
}

fn pool() -> MaxPool2d {
    MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init()
}

/// One step of a sequence.
fn step(x: &Tensor<3>, step: usize) -> Tensor<2> {
    x.clone().narrow(1, step, 1).squeeze_dim(1)
}

/// The head at the last state, or at every one: rows sample by sample, and in each step by step.
fn heads(head: &Linear, states: Vec<Tensor<2>>, per_step: bool) -> Tensor<2> {
    let from = if per_step { 0 } else { states.len().saturating_sub(1) };
    let outputs: Vec<Tensor<3>> = states
        .into_iter()
        .skip(from)
        .map(|state| named_vertex("head", head.forward(state)).unsqueeze_dim(1))
        .collect();
    Tensor::cat(outputs, 1).flatten(0, 1)
}

/// Two hidden relu layers.
#[derive(Module, Debug)]
pub(super) struct Mlp {
    pub(super) dense1: Linear,
    pub(super) dense2: Linear,
    pub(super) head: Linear,
}

impl Mlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = named_vertex("dense1", relu(self.dense1.forward(x)));
        let x = named_vertex("dense2", relu(self.dense2.forward(x)));
        named_vertex("head", self.head.forward(x))
    }
}

/// Two convolutions, three dense layers.
#[derive(Module, Debug)]
pub(super) struct Cnn {
    pub(super) conv1: Conv2d,
    pub(super) pool1: Option<MaxPool2d>,
    pub(super) conv2: Conv2d,
    pub(super) pool2: MaxPool2d,
    pub(super) dense1: Linear,
    pub(super) dense2: Linear,
    pub(super) head: Linear,
}

impl Cnn {
    fn new<F: Element>(l: &Layers<'_, F>, shape: InputShape) -> Result<Self> {
        let large = shape.picture().is_some_and(|[_, height, width]| height.min(width) >= LARGE);
        let paddings = if large { [2, 0] } else { [1, 1] };
        Ok(Self {
            conv1: l.conv("conv1", paddings[0])?,
            pool1: large.then(pool),
            conv2: l.conv("conv2", paddings[1])?,
            pool2: pool(),
            dense1: l.linear("dense1")?,
            dense2: l.linear("dense2")?,
            head: l.linear("head")?,
        })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.conv1.forward(x));
        let x =
            named_vertex("conv1", self.pool1.as_ref().map_or(x.clone(), |pool| pool.forward(x)));
        let x = named_vertex("conv2", self.pool2.forward(relu(self.conv2.forward(x))));
        let x = named_vertex("dense1", relu(self.dense1.forward(x.flatten(1, 3))));
        let x = named_vertex("dense2", relu(self.dense2.forward(x)));
        named_vertex("head", self.head.forward(x))
    }
}

/// `W_x x + W_h h + b`.
#[derive(Module, Debug)]
pub(super) struct Gate {
    of_input: Linear,
    of_hidden: Linear,
}

impl Gate {
    fn new<F: Element>(l: &Layers<'_, F>, name: &str) -> Result<Self> {
        Ok(Self {
            of_input: l.linear_of(&format!("{name}.input_weight"), None)?,
            of_hidden: l
                .linear_of(&format!("{name}.hidden_weight"), Some(&format!("{name}.bias")))?,
        })
    }

    fn forward(&self, x: Tensor<2>, h: Tensor<2>) -> Tensor<2> {
        self.of_input.forward(x) + self.of_hidden.forward(h)
    }

    /// A state of zeros before the first step.
    fn zeros(&self, samples: usize) -> Tensor<2> {
        let weight = self.of_hidden.weight.val();
        Tensor::zeros([samples, weight.dims()[0]], (&weight.device(), weight.dtype()))
    }
}

/// A tanh recurrent net.
#[derive(Module, Debug)]
pub(super) struct Rnn {
    cell: Gate,
    head: Linear,
    per_step: bool,
}

impl Rnn {
    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [samples, steps, _] = x.dims();
        let mut h = self.cell.zeros(samples);
        let mut states = Vec::with_capacity(steps);
        for number in 0..steps {
            h = named_vertex("h", tanh(self.cell.forward(step(&x, number), h)));
            states.push(h.clone());
        }
        heads(&self.head, states, self.per_step)
    }
}

/// An LSTM, every gate a vertex.
#[derive(Module, Debug)]
pub(super) struct Lstm {
    input: Gate,
    forget: Gate,
    candidate: Gate,
    output: Gate,
    head: Linear,
    per_step: bool,
}

impl Lstm {
    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [samples, steps, _] = x.dims();
        let (mut h, mut c) = (self.input.zeros(samples), self.input.zeros(samples));
        let mut states = Vec::with_capacity(steps);
        for number in 0..steps {
            let now = step(&x, number);
            let gate = |gate: &Gate| gate.forward(now.clone(), h.clone());
            let input = named_vertex("input", sigmoid(gate(&self.input)));
            let forget = named_vertex("forget", sigmoid(gate(&self.forget)));
            let candidate = named_vertex("candidate", tanh(gate(&self.candidate)));
            let output = named_vertex("output", sigmoid(gate(&self.output)));
            c = named_vertex("cell", forget * c + input * candidate);
            h = named_vertex("hidden", output * tanh(c.clone()));
            states.push(h.clone());
        }
        heads(&self.head, states, self.per_step)
    }
}

/// A dense block with a skip.
#[derive(Module, Debug)]
pub(super) struct DenseBlock {
    f: Linear,
    g: Linear,
}

impl DenseBlock {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let f = named_vertex("f", relu(self.f.forward(x.clone())));
        let g = named_vertex("g", self.g.forward(f));
        named_vertex("relu", relu(named_vertex("sum", x + g)))
    }
}

/// Dense blocks with skips.
#[derive(Module, Debug)]
pub(super) struct DenseResidual {
    stem: Linear,
    block1: DenseBlock,
    block2: DenseBlock,
    head: Linear,
}

impl DenseResidual {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = named_vertex("stem", relu(self.stem.forward(x)));
        named_vertex("head", self.head.forward(self.block2.forward(self.block1.forward(x))))
    }
}

/// A block of convolutions with a skip.
#[derive(Module, Debug)]
pub(super) struct ConvBlock {
    f: Conv2d,
    g: Conv2d,
}

impl ConvBlock {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let f = named_vertex("f", relu(self.f.forward(x.clone())));
        let g = named_vertex("g", self.g.forward(f));
        named_vertex("relu", relu(named_vertex("sum", x + g)))
    }
}

/// Blocks of convolutions with skips.
#[derive(Module, Debug)]
pub(super) struct ConvResidual {
    stem: Conv2d,
    stem_pool: Option<MaxPool2d>,
    block1: ConvBlock,
    block2: ConvBlock,
    pool: AvgPool2d,
    head: Linear,
}

impl ConvResidual {
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(x));
        let x =
            named_vertex("stem", self.stem_pool.as_ref().map_or(x.clone(), |pool| pool.forward(x)));
        let x = self.block2.forward(self.block1.forward(x));
        let [_, _, height, width] = x.dims();
        let x = if height.min(width) >= 2 { named_vertex("pool", self.pool.forward(x)) } else { x };
        named_vertex("head", self.head.forward(x.flatten(1, 3)))
    }
}

/// A transformer block.
#[derive(Module, Debug)]
pub(super) struct Attention {
    embed: Linear,
    positions: Param<Tensor<2>>,
    queries: Linear,
    keys: Linear,
    values: Linear,
    output: Linear,
    norm1: LayerNorm,
    wide: Linear,
    narrow: Linear,
    norm2: LayerNorm,
    head: Linear,
    per_step: bool,
}

impl Attention {
    const HEADS: usize = 2;

    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let x = named_vertex("embed", self.embed.forward(x));
        let placed = named_vertex("positions", x + self.positions.val().unsqueeze_dim(0));
        let output = named_vertex("output", self.output.forward(self.mix(&placed)));
        let normed =
            named_vertex("norm1", self.norm1.forward(named_vertex("skip1", placed + output)));
        let wide = named_vertex("wide", relu(self.wide.forward(normed.clone())));
        let narrow = named_vertex("narrow", self.narrow.forward(wide));
        let normed =
            named_vertex("norm2", self.norm2.forward(named_vertex("skip2", normed + narrow)));
        if self.per_step {
            named_vertex("head", self.head.forward(normed)).flatten(0, 1)
        } else {
            named_vertex("head", self.head.forward(normed.flatten(1, 2)))
        }
    }

    /// The heads' weighted values, one after the other.
    fn mix(&self, x: &Tensor<3>) -> Tensor<3> {
        let [samples, length, width] = x.dims();
        let part = width / Self::HEADS;
        let project = |name, of: &Linear| -> Tensor<4> {
            named_vertex(
                name,
                of.forward(x.clone()).reshape([samples, length, Self::HEADS, part]).swap_dims(1, 2),
            )
        };
        let (queries, keys, values) = (
            project("queries", &self.queries),
            project("keys", &self.keys),
            project("values", &self.values),
        );
        let scores = queries.matmul(keys.transpose()).mul_scalar(1.0 / (part as f64).sqrt());
        let mut scores = named_vertex("scores", scores);
        if self.per_step {
            let later = (0..length * length).map(|index| index % length > index / length).collect();
            let later = Tensor::<2, Bool>::from_data(
                TensorData::new::<bool, _>(later, [length, length]),
                &x.device(),
            );
            scores = scores.mask_fill(
                later.unsqueeze::<4>().expand([samples, Self::HEADS, length, length]),
                f64::NEG_INFINITY,
            );
        }
        let weights = named_vertex("weights", softmax(scores, 3));
        named_vertex(
            "mix",
            weights.matmul(values).swap_dims(1, 2).reshape([samples, length, width]),
        )
    }
}
