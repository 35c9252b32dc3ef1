//! Models as tch programs have them.

use tch::{
    Kind, Tensor,
    nn::{self, Module, ModuleT, RNN},
};

use crate::common::{Model, cross_entropy, device, new_store, settled};

/// LeNet with batch norm and dropout.
pub(crate) fn lenet(kind: Kind) -> Model {
    lenet_of(kind, 16)
}

/// The same, for a batch of this size.
pub(crate) fn lenet_of(kind: Kind, batch: i64) -> Model {
    let store = new_store(kind);
    let root = store.root();
    let conv1 =
        nn::conv2d(&root / "conv1", 1, 6, 5, nn::ConvConfig { padding: 2, ..Default::default() });
    let norm1 = nn::batch_norm2d(&root / "norm1", 6, Default::default());
    let conv2 = nn::conv2d(&root / "conv2", 6, 16, 5, Default::default());
    let norm2 = nn::batch_norm2d(&root / "norm2", 16, Default::default());
    let (full1, full2) = (
        nn::linear(&root / "full1", 400, 120, Default::default()),
        nn::linear(&root / "full2", 120, 84, Default::default()),
    );
    let full3 = nn::linear(&root / "full3", 84, 10, Default::default());
    let store = settled(store, kind);
    let (x, y) = (
        Tensor::randn([batch, 1, 28, 28], (kind, device())),
        Tensor::randint(10, [batch], (Kind::Int64, device())),
    );
    let loss = move || {
        let h = norm1.forward_t(&conv1.forward(&x), true).relu().max_pool2d_default(2);
        let h =
            norm2.forward_t(&conv2.forward(&h), true).relu().max_pool2d_default(2).flatten(1, -1);
        let h = full1.forward(&h).tanh().dropout(0.3, true);
        cross_entropy(&full3.forward(&full2.forward(&h).tanh().dropout(0.3, true)), &y)
    };
    Model { name: "LeNet, batch norm, dropout", store, loss: Box::new(loss) }
}

/// A two-layer LSTM over characters, 20 steps.
pub(crate) fn lstm(kind: Kind) -> Model {
    lstm_of(kind, 8)
}

/// The same, for a batch of this size.
pub(crate) fn lstm_of(kind: Kind, batch: i64) -> Model {
    let store = new_store(kind);
    let root = store.root();
    let embedding = nn::embedding(&root / "embedding", 65, 32, Default::default());
    let config = nn::RNNConfig { num_layers: 2, ..Default::default() };
    let lstm = nn::lstm(&root / "lstm", 32, 48, config);
    let out = nn::linear(&root / "out", 48, 65, Default::default());
    let store = settled(store, kind);
    let (x, y) = (
        Tensor::randint(65, [batch, 20], (Kind::Int64, device())),
        Tensor::randint(65, [batch * 20], (Kind::Int64, device())),
    );
    let loss = move || {
        let (h, _) = lstm.seq(&embedding.forward(&x));
        cross_entropy(&out.forward(&h).view([-1, 65]), &y)
    };
    Model { name: "2-layer LSTM, 20 steps", store, loss: Box::new(loss) }
}

/// One layer of a transformer's encoder, post-norm, with its embedding and head.
pub(crate) fn transformer(kind: Kind) -> Model {
    let (width, heads, steps) = (32, 4, 12);
    let store = new_store(kind);
    let root = store.root();
    let embedding = nn::embedding(&root / "embedding", 65, width, Default::default());
    let parts = ["q", "k", "v", "mix"]
        .map(|name| nn::linear(&root / name, width, width, Default::default()));
    let norms = ["norm1", "norm2"]
        .map(|name| nn::layer_norm(&root / name, vec![width], Default::default()));
    let (wide, narrow) = (
        nn::linear(&root / "wide", width, 64, Default::default()),
        nn::linear(&root / "narrow", 64, width, Default::default()),
    );
    let out = nn::linear(&root / "out", width, 65, Default::default());
    let store = settled(store, kind);
    let (x, y) = (
        Tensor::randint(65, [8, steps], (Kind::Int64, device())),
        Tensor::randint(65, [8 * steps], (Kind::Int64, device())),
    );
    let loss = move || {
        let h = embedding.forward(&x);
        let split = |h: Tensor| h.view([8, steps, heads, width / heads]).transpose(1, 2);
        let [q, k, v] = [0, 1, 2].map(|part| split(parts[part].forward(&h)));
        let scores = (q.matmul(&k.transpose(-2, -1)) / ((width / heads) as f64).sqrt())
            .softmax(-1, kind)
            .dropout(0.1, true);
        let mixed = parts[3]
            .forward(&scores.matmul(&v).transpose(1, 2).contiguous().view([8, steps, width]));
        let h = norms[0].forward(&(h + mixed.dropout(0.1, true)));
        let h = norms[1].forward(&(&h + narrow.forward(&wide.forward(&h).gelu("none"))));
        cross_entropy(&out.forward(&h).view([-1, 65]), &y)
    };
    Model { name: "transformer encoder layer", store, loss: Box::new(loss) }
}

/// Twenty residual layers.
pub(crate) fn residual(kind: Kind) -> Model {
    let store = new_store(kind);
    let root = store.root();
    let first = nn::linear(&root / "first", 10, 24, Default::default());
    let layers: Vec<_> = (0..20)
        .map(|layer| nn::linear(&root / format!("layer{layer:02}"), 24, 24, Default::default()))
        .collect();
    let last = nn::linear(&root / "last", 24, 5, Default::default());
    let store = settled(store, kind);
    let (x, y) =
        (Tensor::randn([12, 10], (kind, device())), Tensor::randn([12, 5], (kind, device())));
    let loss = move || {
        let h = layers.iter().fold(first.forward(&x), |h, layer| &h + layer.forward(&h).tanh());
        last.forward(&h).mse_loss(&y, tch::Reduction::Mean)
    };
    Model { name: "20-layer residual net", store, loss: Box::new(loss) }
}

/// An embedding whose weight is the output's too.
pub(crate) fn tied(kind: Kind) -> Model {
    let store = new_store(kind);
    let root = store.root();
    let embedding = nn::embedding(&root / "embedding", 40, 16, Default::default());
    let mix = nn::linear(&root / "mix", 16, 16, Default::default());
    let store = settled(store, kind);
    let (x, y) = (
        Tensor::randint(40, [9, 7], (Kind::Int64, device())),
        Tensor::randint(40, [63], (Kind::Int64, device())),
    );
    let loss = move || {
        let h = mix.forward(&embedding.forward(&x)).tanh();
        cross_entropy(&h.matmul(&embedding.ws.tr()).view([-1, 40]), &y)
    };
    Model { name: "tied embeddings", store, loss: Box::new(loss) }
}

/// All of them.
pub(crate) const MODELS: [fn(Kind) -> Model; 5] = [lenet, lstm, transformer, residual, tied];
