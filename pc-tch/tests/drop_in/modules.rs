//! Ready modules: the plain ones' outputs, weight files and gradients.

use pc_tch::{
    PredictiveCoding,
    modules::{Attention, AttentionConfig, Gru, Lstm, ResidualBlock},
    pc_core::Schedule,
};
use tch::{
    Kind, Tensor,
    nn::{self, GRUState, LSTMState, Module, ModuleT, Path, RNN, RNNConfig, VarStore},
};

use crate::common::{device, seeded, take_gradients, worst};

fn off(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a - b).abs().max().double_value(&[])
}

/// What a recurrent layer gives of an input: outputs and final states.
type Run = Box<dyn Fn(&Tensor) -> Vec<Tensor>>;
type Make = fn(Path<'_>, RNNConfig) -> Run;

/// tch's own `seq` takes the first axis for the batch, wherever that is; so states are given.
fn samples(x: &Tensor, config: RNNConfig) -> i64 {
    x.size()[usize::from(!config.batch_first)]
}

fn of_lstm(net: impl RNN<State = LSTMState> + 'static, config: RNNConfig) -> Run {
    Box::new(move |x| {
        let (output, state) = net.seq_init(x, &net.zero_state(samples(x, config)));
        vec![output, state.h(), state.c()]
    })
}

fn of_gru(net: impl RNN<State = GRUState> + 'static, config: RNNConfig) -> Run {
    Box::new(move |x| {
        let (output, state) = net.seq_init(x, &net.zero_state(samples(x, config)));
        vec![output, state.value()]
    })
}

/// Each of ours beside tch's own.
const RECURRENT: [(&str, Make, Make); 2] = [
    (
        "LSTM",
        |path, config| of_lstm(Lstm::new(path, 3, 5, config), config),
        |path, config| of_lstm(nn::lstm(path, 3, 5, config), config),
    ),
    (
        "GRU",
        |path, config| of_gru(Gru::new(path, 3, 5, config), config),
        |path, config| of_gru(nn::gru(path, 3, 5, config), config),
    ),
];

fn configurations() -> Vec<RNNConfig> {
    let mut all = Vec::new();
    for bits in 0..16 {
        let bit = |k: i32| bits >> k & 1 == 1;
        all.push(RNNConfig {
            num_layers: if bit(0) { 3 } else { 1 },
            bidirectional: bit(1),
            has_biases: bit(2),
            batch_first: bit(3),
            b_ih_init: Some(nn::Init::Uniform { lo: -0.5, up: 0.5 }),
            b_hh_init: Some(nn::Init::Uniform { lo: -0.5, up: 0.5 }),
            ..Default::default()
        });
    }
    all
}

/// Weight files of tch's own layers, of both kinds, in every configuration, both ways.
#[test]
fn recurrent_layers_read_and_write_tchs_files() {
    let _turn = seeded();
    let folder = std::env::temp_dir().join(format!("pc-tch-modules-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut largest = 0.0_f64;
    for (name, ours, theirs) in RECURRENT {
        for config in configurations() {
            for file in ["net.safetensors", "net.ot"] {
                let file = folder.join(file);
                let (mut a, mut b) = (VarStore::new(device()), VarStore::new(device()));
                let (ours, theirs) =
                    (ours(a.root() / "net", config), theirs(b.root() / "net", config));
                let x = Tensor::randn([4, 6, 3], (Kind::Float, device()));
                let compare = || {
                    let pairs = ours(&x).into_iter().zip(theirs(&x));
                    pairs.map(|(a, b)| off(&a, &b)).fold(0.0_f64, f64::max)
                };
                assert!(compare() > 1e-3, "{name}: they differ at first");
                b.save(&file).unwrap();
                a.load(&file).unwrap();
                let read = compare();
                // And back: ours, moved, into theirs.
                tch::no_grad(|| {
                    for (_, mut variable) in a.variables() {
                        let _ = variable.g_mul_scalar_(0.7);
                    }
                });
                a.save(&file).unwrap();
                b.load(&file).unwrap();
                let written = compare();
                assert!(read < 1e-6 && written < 1e-6, "{name}, {config:?}: {read:e}, {written:e}");
                largest = largest.max(read).max(written);
            }
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    println!("recurrent layers: outputs differ by {largest:.1e} at most");
}

/// The layers' own dropout is libtorch's, draw by draw, and gradients are those of tch's layers.
#[test]
fn recurrent_layers_have_tchs_gradients() {
    let _turn = seeded();
    for (name, ours, theirs) in RECURRENT {
        for (bidirectional, dropout) in [(false, 0.0), (true, 0.0), (false, 0.4), (true, 0.4)] {
            let config = RNNConfig { num_layers: 3, bidirectional, dropout, ..Default::default() };
            let (mut a, mut b) = (VarStore::new(device()), VarStore::new(device()));
            let (ours, theirs) = (ours(a.root(), config), theirs(b.root(), config));
            a.copy(&b).unwrap();
            a.double();
            b.double();
            let x = Tensor::randn([4, 6, 3], (Kind::Double, device()));
            tch::manual_seed(3);
            theirs(&x)[0].square().sum(Kind::Double).backward();
            tch::manual_seed(3);
            ours(&x)[0].square().sum(Kind::Double).backward();
            let (far, whose) = worst(&take_gradients(&a), &take_gradients(&b));
            assert!(far < 1e-10, "{name}, {bidirectional}, {dropout}: {whose} is off by {far:e}");
        }
    }
}

/// By marks, an exact rule has the gradients of `backward()`; each gate is a vertex at every step.
#[test]
fn gates_are_vertices() {
    let _turn = seeded();
    for (name, make, _) in RECURRENT {
        let mut store = VarStore::new(device());
        let net = make(store.root(), RNNConfig { num_layers: 2, ..Default::default() });
        store.double();
        let x = Tensor::randn([4, 5, 3], (Kind::Double, device()));
        let loss = || net(&x)[0].square().sum(Kind::Double);
        loss().backward();
        let theirs = take_gradients(&store);
        let learned = PredictiveCoding::new(Schedule::backprop()).backward(loss).unwrap();
        let (far, whose) = worst(&take_gradients(&store), &theirs);
        assert!(far < 1e-12, "{name}: {whose} is off by {far:e}");
        let each = if name == "LSTM" { 6 } else { 4 };
        // The last step's outputs feed the loss alone, and are part of it.
        let (most, least) = (2 * 5 * each, 2 * 5 * each - 10);
        assert!(
            (least..=most).contains(&learned.vertices),
            "{name}: {} vertices, {least} to {most} were expected",
            learned.vertices
        );
        let learned = PredictiveCoding::new(Schedule::standard(0.1, 5).unwrap()).backward(loss);
        assert!(learned.unwrap().outcome.energy.total().is_finite());
    }
}

/// Libtorch's own attention, on the same queries, keys and values.
#[test]
fn attention_is_libtorchs() {
    let _turn = seeded();
    let kind = (Kind::Double, device());
    for (heads, causal, bias) in
        [(1, false, true), (2, true, true), (4, false, false), (4, true, true)]
    {
        let mut store = VarStore::new(device());
        let config = AttentionConfig { heads, causal, bias };
        if heads > 1 {
            let error = Attention::new(store.root(), 7, config).unwrap_err().to_string();
            assert!(error.contains("a width of 7"), "{error}");
        }
        let net = Attention::new(store.root(), 8, config).unwrap();
        store.double();
        let v = store.variables();
        let mut names: Vec<&str> = v.keys().map(String::as_str).collect();
        names.sort_unstable();
        let all = ["in_proj_bias", "in_proj_weight", "out_proj.bias", "out_proj.weight"];
        let weights = ["in_proj_weight", "out_proj.weight"];
        assert_eq!(names, if bias { &all[..] } else { &weights[..] });
        let x = Tensor::randn([3, 5, 8], kind);
        let all = x.linear(&v["in_proj_weight"], v.get("in_proj_bias"));
        let parts: Vec<Tensor> = all
            .chunk(3, -1)
            .iter()
            .map(|part| part.reshape([3, 5, heads, 8 / heads]).transpose(1, 2))
            .collect();
        let mixed = Tensor::scaled_dot_product_attention::<Tensor>(
            &parts[0], &parts[1], &parts[2], None, 0.0, causal, None, false,
        );
        let mixed = mixed.transpose(1, 2).reshape([3, 5, 8]);
        let theirs = mixed.linear(&v["out_proj.weight"], v.get("out_proj.bias"));
        let ours = net.forward(&x);
        let far = off(&ours, &theirs);
        assert!(far < 1e-12, "{heads} heads, causal {causal}: off by {far:e}");
        theirs.square().sum(Kind::Double).backward();
        let expected = take_gradients(&store);
        let loss = || net.forward(&x).square().sum(Kind::Double);
        let learned = PredictiveCoding::new(Schedule::backprop()).backward(loss).unwrap();
        let found = take_gradients(&store);
        let (far, whose) = worst(&found, &expected);
        // The keys' bias has no gradient, but for rounding.
        assert!(far < 1e-10, "{heads} heads, causal {causal}: {whose} is off by {far:e}");
        assert!(learned.vertices >= 6, "{} vertices", learned.vertices);
    }
}

/// Names are those of tch's ResNet; outputs, running statistics and gradients those of the plain
/// composition.
#[test]
fn residual_blocks_are_tchs() {
    let _turn = seeded();
    let resnet = VarStore::new(device());
    let _ = tch::vision::resnet::resnet18_no_final_layer(&resnet.root());
    let names = |store: &VarStore, under: &str| {
        let of = |name: String| name.strip_prefix(under).map(str::to_owned);
        let mut all: Vec<String> = store.variables().into_keys().filter_map(of).collect();
        all.sort();
        all
    };
    for (block, inputs, outputs, stride) in [("layer1.0.", 64, 64, 1), ("layer2.0.", 64, 128, 2)] {
        let store = VarStore::new(device());
        let _ = ResidualBlock::new(store.root(), inputs, outputs, stride);
        assert_eq!(names(&store, ""), names(&resnet, block));
    }
    for (inputs, outputs, stride) in [(4, 4, 1), (4, 6, 2)] {
        let mut store = VarStore::new(device());
        let block = ResidualBlock::new(store.root(), inputs, outputs, stride);
        store.double();
        let x = Tensor::randn([3, inputs, 6, 6], (Kind::Double, device()));
        for train in [true, false] {
            let v = store.variables();
            let copies = |name: &str| {
                ["running_mean", "running_var"].map(|k| v[&format!("{name}.{k}")].copy())
            };
            let conv = |x: &Tensor, name: &str, padding: i64, stride: i64| {
                let weight = &v[&format!("{name}.weight")];
                x.conv2d::<&Tensor>(weight, None, [stride; 2], [padding; 2], [1, 1], 1)
            };
            let norm = |x: &Tensor, name: &str| {
                let [mean, var] = copies(name);
                let get = |k: &str| Some(&v[&format!("{name}.{k}")]);
                x.batch_norm(
                    get("weight"),
                    get("bias"),
                    Some(&mean),
                    Some(&var),
                    train,
                    0.1,
                    1e-5,
                    true,
                )
            };
            let h = norm(&conv(&x, "conv1", 1, stride), "bn1").relu();
            let h = norm(&conv(&h, "conv2", 1, 1), "bn2");
            let past = if stride == 1 {
                x.shallow_clone()
            } else {
                norm(&conv(&x, "downsample.0", 0, stride), "downsample.1")
            };
            let theirs = (h + past).relu();
            theirs.square().sum(Kind::Double).backward();
            let expected = take_gradients(&store);
            let ours = block.forward_t(&x, train);
            assert!(off(&ours, &theirs) < 1e-12);
            let loss = || block.forward_t(&x, train).square().sum(Kind::Double);
            let _ = PredictiveCoding::new(Schedule::backprop()).backward(loss).unwrap();
            let (far, whose) = worst(&take_gradients(&store), &expected);
            assert!(far < 1e-10, "{whose} is off by {far:e}");
        }
    }
}
