//! The nets of the table: MLP, CNN with batch norm, residual, LSTM, attention.

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear,
        LinearConfig, Lstm, LstmConfig, PaddingConfig2d,
        attention::{MhaInput, MultiHeadAttention, MultiHeadAttentionConfig},
        conv::{Conv2d, Conv2dConfig},
        pool::{
            AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, AvgPool2d, AvgPool2dConfig, MaxPool2d,
            MaxPool2dConfig,
        },
    },
    tensor::{Int, Tensor as BurnTensorOf, activation},
};
use pc_burn::{
    BurnTensor,
    explicit::{ModuleGraph, Reshape},
    with_operations_only,
};
use pc_core::host::Activation;

use crate::common::{backward, device, exact, held, tensor};

#[derive(Module, Debug)]
struct Mlp {
    a: Linear,
    b: Linear,
    c: Linear,
}

#[test]
fn mlp() {
    let d = device();
    let m = Mlp {
        a: LinearConfig::new(10, 16).init(&d),
        b: LinearConfig::new(16, 12).init(&d),
        c: LinearConfig::new(12, 4).with_bias(false).init(&d),
    };
    let (x, y) = (tensor([5, 10], 0.1, &d), tensor([5, 4], 0.7, &d));
    let forward = |x| m.c.forward(activation::gelu(m.b.forward(activation::tanh(m.a.forward(x)))));
    let burns = backward(&m, forward(x.clone()), y.clone());
    let build = || {
        let mut b = ModuleGraph::new();
        let input = b.input("x", &[10]).unwrap();
        let h = b.linear("a", input, &m.a, Activation::Tanh).unwrap();
        let h = b.linear("b", h, &m.b, Activation::Gelu).unwrap();
        let output = b.linear("c", h, &m.c, Activation::Identity).unwrap();
        let clamps = held(&[
            (input, BurnTensor::new(x.clone()).unwrap()),
            (output, BurnTensor::new(y.clone()).unwrap()),
        ]);
        exact(&mut b.build().unwrap(), &clamps, &m, &burns, 5);
    };
    build();
    with_operations_only(build);
}

#[derive(Module, Debug)]
struct Cnn {
    c1: Conv2d,
    bn: BatchNorm,
    c2: Conv2d,
    c3: Conv2d,
    max: MaxPool2d,
    avg: AvgPool2d,
    adaptive: AdaptiveAvgPool2d,
    fc: Linear,
}

#[test]
fn cnn_with_batch_norm_skip_and_pooling() {
    let d = device();
    let conv = |from, to, padding| Conv2dConfig::new([from, to], [3, 3]).with_padding(padding);
    let m = Cnn {
        c1: conv(2, 6, PaddingConfig2d::Same).init(&d),
        bn: BatchNormConfig::new(6).init(&d),
        c2: conv(6, 6, PaddingConfig2d::Explicit(1, 1, 1, 1)).with_groups(2).init(&d),
        c3: conv(6, 4, PaddingConfig2d::Valid).with_stride([2, 1]).with_bias(false).init(&d),
        max: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        avg: AvgPool2dConfig::new([2, 2]).with_strides([1, 1]).init(),
        adaptive: AdaptiveAvgPool2dConfig::new([2, 2]).init(),
        fc: LinearConfig::new(16, 3).init(&d),
    };
    let (x, y) = (tensor([4, 2, 14, 14], 0.2, &d), tensor([4, 3], 0.9, &d));
    let forward = |x: BurnTensorOf<4>| {
        let a = activation::relu(m.bn.forward(m.c1.forward(x)));
        let b = m.max.forward(activation::relu(m.c2.forward(a.clone()) + a));
        let c = m.adaptive.forward(m.avg.forward(activation::sigmoid(m.c3.forward(b))));
        m.fc.forward(c.flatten::<2>(1, 3))
    };
    let burns = backward(&m, forward(x.clone()), y.clone());
    let build = || {
        let mut b = ModuleGraph::new();
        let input = b.input("x", &[2, 14, 14]).unwrap();
        let h = b.conv2d("c1", input, &m.c1, Activation::Identity, None).unwrap();
        let h = b.batch_norm("bn", h, &m.bn).unwrap();
        let a = b.activate("a", h, Activation::Relu).unwrap();
        let h = b.conv2d("c2", a, &m.c2, Activation::Identity, None).unwrap();
        let h = b.sum("skip", &[h, a]).unwrap();
        let h = b.activate("b", h, Activation::Relu).unwrap();
        let h = b.max_pool2d("max", h, &m.max).unwrap();
        let h = b.conv2d("c3", h, &m.c3, Activation::Sigmoid, None).unwrap();
        let h = b.avg_pool2d("avg", h, &m.avg).unwrap();
        let h = b.adaptive_avg_pool2d("adaptive", h, &m.adaptive).unwrap();
        let h = b.flatten("flat", h).unwrap();
        let output = b.linear("fc", h, &m.fc, Activation::Identity).unwrap();
        let clamps = held(&[
            (input, BurnTensor::new(x.clone()).unwrap()),
            (output, BurnTensor::new(y.clone()).unwrap()),
        ]);
        exact(&mut b.build().unwrap(), &clamps, &m, &burns, 9);
    };
    build();
    with_operations_only(build);
}

#[derive(Module, Debug)]
struct Residual {
    embed: Embedding,
    norm: LayerNorm,
    block: Linear,
    read: Linear,
}

#[test]
fn residual_net_with_tied_weights_embedding_and_layer_norm() {
    let d = device();
    let m = Residual {
        embed: EmbeddingConfig::new(9, 8).init(&d),
        norm: LayerNormConfig::new(8).init(&d),
        block: LinearConfig::new(8, 8).init(&d),
        read: LinearConfig::new(40, 3).init(&d),
    };
    let words = BurnTensorOf::<2, Int>::from_ints([[0, 3, 8, 3, 1], [2, 2, 7, 5, 4]], &d);
    let y = tensor([2, 3], 0.4, &d);
    let forward = |words| {
        let a = m.embed.forward(words);
        // The block twice: its weights are shared.
        let b = a.clone() + activation::silu(m.block.forward(m.norm.forward(a)));
        let c = b.clone() + activation::softplus(m.block.forward(b), 1.0);
        m.read.forward(c.flatten::<2>(1, 2))
    };
    let burns = backward(&m, forward(words.clone()), y.clone());
    let build = || {
        let mut b = ModuleGraph::new();
        let input = b.input("words", &[5]).unwrap();
        let a = b.embedding("embed", input, &m.embed).unwrap();
        let n = b.layer_norm("norm", a, &m.norm, 1e-5).unwrap();
        let p = b.linear("block", n, &m.block, Activation::Silu).unwrap();
        let s = b.sum("b", &[a, p]).unwrap();
        let q = b.linear("again", s, &m.block, Activation::Softplus).unwrap();
        let t = b.sum("c", &[s, q]).unwrap();
        let f = b.flatten("flat", t).unwrap();
        let output = b.linear("read", f, &m.read, Activation::Identity).unwrap();
        let clamps = held(&[
            (input, BurnTensor::new(words.clone().float()).unwrap()),
            (output, BurnTensor::new(y.clone()).unwrap()),
        ]);
        exact(&mut b.build().unwrap(), &clamps, &m, &burns, 7);
    };
    build();
    with_operations_only(build);
}

#[derive(Module, Debug)]
struct Reader {
    lstm: Lstm,
    read: Linear,
}

#[test]
fn lstm_over_time_with_a_loss_at_each_step() {
    let d = device();
    let m = Reader {
        lstm: LstmConfig::new(3, 5, true).init(&d),
        read: LinearConfig::new(5, 2).init(&d),
    };
    let (x, y) = (tensor([2, 4, 3], 0.3, &d), tensor([2, 4, 2], 0.8, &d));
    let burns = backward(&m, m.read.forward(m.lstm.forward(x.clone(), None).0), y.clone());
    let build = || {
        let mut b = ModuleGraph::new();
        let zero = BurnTensor::new(BurnTensorOf::<2>::zeros([2, 5], &d)).unwrap();
        let (mut h, mut c) = (b.input("h", &[5]).unwrap(), b.input("c", &[5]).unwrap());
        let mut clamps = vec![(h, zero.clone()), (c, zero)];
        for t in 0..4 {
            let input = b.input(&format!("x{t}"), &[3]).unwrap();
            let step = |all: &BurnTensorOf<3>| {
                BurnTensor::new(all.clone().narrow(1, t, 1).squeeze_dim::<2>(1)).unwrap()
            };
            let cell = b.lstm_cell(&format!("step{t}"), input, h, c, &m.lstm).unwrap();
            let output =
                b.linear(&format!("y{t}"), cell.hidden, &m.read, Activation::Identity).unwrap();
            clamps.extend([(input, step(&x)), (output, step(&y))]);
            (h, c) = (cell.hidden, cell.cell);
        }
        exact(&mut b.build().unwrap(), &held(&clamps), &m, &burns, 18);
    };
    build();
    with_operations_only(build);
}

#[derive(Module, Debug)]
struct Attending {
    attention: MultiHeadAttention,
    read: Linear,
}

#[test]
fn self_attention_causal_and_not() {
    let d = device();
    let attention = MultiHeadAttentionConfig::new(6, 2).with_dropout(0.0).init(&d);
    let m = Attending { attention, read: LinearConfig::new(6, 2).init(&d) };
    let (x, y) = (tensor([3, 5, 6], 0.6, &d), tensor([3, 5, 2], 0.2, &d));
    for causal in [false, true] {
        let mut asked = MhaInput::self_attn(x.clone());
        if causal {
            asked = asked.mask_attn(burn::nn::attention::generate_autoregressive_mask(3, 5, &d));
        }
        let attended = m.attention.forward(asked).context;
        let burns = backward(&m, m.read.forward(attended + x.clone()), y.clone());
        let build = || {
            let mut b = ModuleGraph::new();
            let input = b.input("x", &[5, 6]).unwrap();
            let attention = b.self_attention("attention", input, &m.attention, causal).unwrap();
            let skip = b.sum("skip", &[attention.output, input]).unwrap();
            let output = b.linear("read", skip, &m.read, Activation::Identity).unwrap();
            let clamps = held(&[
                (input, BurnTensor::new(x.clone()).unwrap()),
                (output, BurnTensor::new(y.clone()).unwrap()),
            ]);
            exact(&mut b.build().unwrap(), &clamps, &m, &burns, 9);
        };
        build();
        with_operations_only(build);
    }
}

#[test]
fn reshaping_vertices_can_be_put_together_directly() {
    let mut b = ModuleGraph::new();
    let x = b.input("x", &[2, 6]).unwrap();
    let y = b.vertex("y", Box::new(Reshape::to(&[3, 4])), &[x], &[]).unwrap();
    assert_eq!(b.shape(y).unwrap(), [3, 4]);
}
