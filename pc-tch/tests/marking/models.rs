//! Models as tch programs have them, with marks.

use pc_tch::{named_vertex, vertex};
use tch::{
    Kind, Tensor,
    nn::{self, Module, ModuleT},
};

use crate::common::{Model, cross_entropy, device, new_store, settled};

/// LeNet with batch norm and dropout.
pub(crate) fn lenet(kind: Kind) -> Model {
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
        Tensor::randn([16, 1, 28, 28], (kind, device())),
        Tensor::randint(10, [16], (Kind::Int64, device())),
    );
    let loss = move || {
        let h = norm1.forward_t(&conv1.forward(&x), true).relu().max_pool2d_default(2);
        let h = norm2.forward_t(&conv2.forward(&vertex(&h)), true).relu().max_pool2d_default(2);
        let h = full1.forward(&vertex(&h).flatten(1, -1)).tanh().dropout(0.3, true);
        let h = full2.forward(&vertex(&h)).tanh().dropout(0.3, true);
        cross_entropy(&vertex(&full3.forward(&vertex(&h))), &y)
    };
    Model { name: "LeNet, batch norm, dropout", store, loss: Box::new(loss) }
}

/// The weights of one direction of one layer of an LSTM.
struct Cell {
    input: nn::Linear,
    hidden: nn::Linear,
    width: i64,
}

impl Cell {
    fn new(path: nn::Path<'_>, inputs: i64, width: i64) -> Self {
        Self {
            input: nn::linear(&path / "input", inputs, 4 * width, Default::default()),
            hidden: nn::linear(&path / "hidden", width, 4 * width, Default::default()),
            width,
        }
    }

    /// Over a sequence, with its gates as vertices. Every vertex of a step is as far from the next
    /// step as any other: `c` goes through a mark where the gates do.
    fn run(&self, steps: &[Tensor], backwards: bool) -> Vec<Tensor> {
        let first = steps.first().expect("a step");
        let zeros = || Tensor::zeros([first.size()[0], self.width], (first.kind(), first.device()));
        let (mut h, mut c) = (zeros(), zeros());
        let mut out: Vec<Tensor> = Vec::new();
        let order: Vec<&Tensor> =
            if backwards { steps.iter().rev().collect() } else { steps.iter().collect() };
        for x in order {
            let gates = named_vertex("gates", &(self.input.forward(x) + self.hidden.forward(&h)));
            let parts = gates.chunk(4, 1);
            c = named_vertex(
                "c",
                &(parts[1].sigmoid() * &c + parts[0].sigmoid() * parts[2].tanh()),
            );
            h = named_vertex("h", &(parts[3].sigmoid() * c.tanh()));
            out.push(h.shallow_clone());
        }
        if backwards {
            out.reverse();
        }
        out
    }
}

/// A two-layer LSTM over characters, whose gates, cells and outputs are vertices.
fn recurrent(kind: Kind, both_ways: bool) -> Model {
    let (batch, time, width) = (4, 6, 10);
    let store = new_store(kind);
    let root = store.root();
    let embedding = nn::embedding(&root / "embedding", 20, 8, Default::default());
    let ways: &[bool] = if both_ways { &[false, true] } else { &[false] };
    let across = width * ways.len() as i64;
    let layers: Vec<Vec<Cell>> = (0..2)
        .map(|layer| {
            let inputs = if layer == 0 { 8 } else { across };
            let path = |way: &bool| &root / format!("layer{layer}_{way}");
            ways.iter().map(|way| Cell::new(path(way), inputs, width)).collect()
        })
        .collect();
    let out = nn::linear(&root / "out", across, 20, Default::default());
    let store = settled(store, kind);
    let (x, y) = (
        Tensor::randint(20, [batch, time], (Kind::Int64, device())),
        Tensor::randint(20, [batch * time], (Kind::Int64, device())),
    );
    let loss = move || {
        let mut steps: Vec<Tensor> = embedding.forward(&x).unbind(1);
        for layer in &layers {
            let runs: Vec<Vec<Tensor>> =
                layer.iter().enumerate().map(|(way, cell)| cell.run(&steps, way == 1)).collect();
            steps = (0..steps.len())
                .map(|t| Tensor::cat(&runs.iter().map(|run| &run[t]).collect::<Vec<_>>(), 1))
                .collect();
        }
        let logits = out.forward(&Tensor::stack(&steps, 1));
        cross_entropy(&vertex(&logits.view([-1, 20])), &y)
    };
    let name = if both_ways { "2-layer LSTM, both ways" } else { "2-layer LSTM" };
    Model { name, store, loss: Box::new(loss) }
}

/// A two-layer LSTM.
pub(crate) fn lstm(kind: Kind) -> Model {
    recurrent(kind, false)
}

/// A two-layer LSTM that reads both ways.
pub(crate) fn two_ways(kind: Kind) -> Model {
    recurrent(kind, true)
}

/// One layer of a transformer's encoder, post-norm, with its embedding and head: queries, keys and
/// values, scores, what they mix and what goes on are vertices, each as far from the loss as the
/// others of its row.
pub(crate) fn transformer(kind: Kind) -> Model {
    let (width, heads, steps) = (16, 2, 7);
    let store = new_store(kind);
    let root = store.root();
    let embedding = nn::embedding(&root / "embedding", 30, width, Default::default());
    let parts = ["q", "k", "v", "mix"]
        .map(|name| nn::linear(&root / name, width, width, Default::default()));
    let norms = ["norm1", "norm2"]
        .map(|name| nn::layer_norm(&root / name, vec![width], Default::default()));
    let (wide, narrow) = (
        nn::linear(&root / "wide", width, 32, Default::default()),
        nn::linear(&root / "narrow", 32, width, Default::default()),
    );
    let out = nn::linear(&root / "out", width, 30, Default::default());
    let store = settled(store, kind);
    let (x, y) = (
        Tensor::randint(30, [4, steps], (Kind::Int64, device())),
        Tensor::randint(30, [4 * steps], (Kind::Int64, device())),
    );
    let loss = move || {
        let h = vertex(&embedding.forward(&x));
        let split = |h: Tensor| h.view([4, steps, heads, width / heads]).transpose(1, 2);
        let [q, k, v] = [0, 1, 2].map(|part| vertex(&parts[part].forward(&h)));
        let skip = vertex(&h);
        let (v, skip) = (vertex(&v), vertex(&skip));
        let scores = vertex(
            &(split(q).matmul(&split(k).transpose(-2, -1)) / ((width / heads) as f64).sqrt())
                .softmax(-1, kind)
                .dropout(0.1, true),
        );
        let joined = scores.matmul(&split(v)).transpose(1, 2).contiguous();
        let mixed = parts[3].forward(&joined.view([4, steps, width]));
        let h = vertex(&norms[0].forward(&(skip + mixed.dropout(0.1, true))));
        let (inner, skip) = (vertex(&wide.forward(&h).gelu("none")), vertex(&h));
        let h = vertex(&norms[1].forward(&(skip + narrow.forward(&inner))));
        cross_entropy(&vertex(&out.forward(&h).view([-1, 30])), &y)
    };
    Model { name: "transformer encoder layer", store, loss: Box::new(loss) }
}

/// A small ResNet with batch norm: each shortcut is marked as often as the way around it.
pub(crate) fn resnet(kind: Kind) -> Model {
    let store = new_store(kind);
    let root = store.root();
    let padded = || nn::ConvConfig { padding: 1, bias: false, ..Default::default() };
    let strided = || nn::ConvConfig { stride: 2, ..padded() };
    let norm = |name: &str, width| nn::batch_norm2d(&root / name, width, Default::default());
    let stem = nn::conv2d(&root / "stem", 3, 6, 3, padded());
    let stem_norm = norm("stem_norm", 6);
    let blocks: Vec<_> = [(6, 6), (6, 8), (8, 8)]
        .into_iter()
        .enumerate()
        .map(|(index, (from, to))| {
            let path = &root / format!("block{index}");
            let config = if from == to { padded() } else { strided() };
            let down = (from != to).then(|| {
                let config = nn::ConvConfig { stride: 2, bias: false, ..Default::default() };
                nn::conv2d(&path / "down", from, to, 1, config)
            });
            (
                nn::conv2d(&path / "conv1", from, to, 3, config),
                nn::batch_norm2d(&path / "norm1", to, Default::default()),
                nn::conv2d(&path / "conv2", to, to, 3, padded()),
                nn::batch_norm2d(&path / "norm2", to, Default::default()),
                down,
            )
        })
        .collect();
    let head = nn::linear(&root / "head", 8, 5, Default::default());
    let store = settled(store, kind);
    let (x, y) = (
        Tensor::randn([4, 3, 8, 8], (kind, device())),
        Tensor::randint(5, [4], (Kind::Int64, device())),
    );
    let loss = move || {
        let mut h = vertex(&stem_norm.forward_t(&stem.forward(&x), true).relu());
        for (conv1, norm1, conv2, norm2, down) in &blocks {
            let skip = vertex(&down.as_ref().map_or_else(|| h.shallow_clone(), |d| d.forward(&h)));
            let inner = vertex(&norm1.forward_t(&conv1.forward(&h), true).relu());
            h = vertex(&(norm2.forward_t(&conv2.forward(&inner), true) + skip).relu());
        }
        cross_entropy(&vertex(&head.forward(&h.mean_dim([2, 3].as_slice(), false, kind))), &y)
    };
    Model { name: "ResNet, batch norm", store, loss: Box::new(loss) }
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
        let h = vertex(&embedding.forward(&x));
        let h = vertex(&mix.forward(&h).tanh());
        cross_entropy(&vertex(&h.matmul(&embedding.ws.tr()).view([-1, 40])), &y)
    };
    Model { name: "tied embeddings", store, loss: Box::new(loss) }
}

/// All of them.
pub(crate) const MODELS: [fn(Kind) -> Model; 6] =
    [lenet, lstm, two_ways, transformer, resnet, tied];
