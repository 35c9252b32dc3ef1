//! Live rules, beside the host's graphs of equal vertices.

use pc_tch::{
    PredictiveCoding,
    pc_core::{
        Clamp, Clamps, Evaluation, Graph, Reduction, Relaxation, Schedule, Start, Status,
        Tensor as _,
        host::{Activation, ConvLayer, CrossEntropy, HostLayers, HostTensor, Init, Linear, Sgd},
        rule,
    },
    vertex,
};
use tch::{
    Kind, Tensor,
    nn::{self, Module, OptimizerConfig, VarStore},
};

use crate::common::{cross_entropy, device, new_store, seeded, settled};

/// A step of training on both sides.
struct Pair {
    name: &'static str,
    graph: Graph<HostTensor<f64>>,
    clamps: Clamps<HostTensor<f64>>,
    store: VarStore,
    /// The parameters in the host's order.
    parameters: Vec<Tensor>,
    loss: Box<dyn Fn() -> Tensor>,
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.detach().to_kind(Kind::Double).to_device(tch::Device::Cpu).reshape([-1]);
    Vec::try_from(flat).unwrap()
}

fn host(tensor: &Tensor) -> HostTensor<f64> {
    let shape: Vec<usize> = tensor.size().iter().map(|size| *size as usize).collect();
    HostTensor::new(&shape, numbers(tensor)).unwrap()
}

fn labels(y: &Tensor) -> Vec<usize> {
    numbers(y).iter().map(|label| *label as usize).collect()
}

type Builder = pc_tch::pc_core::GraphBuilder<HostTensor<f64>>;

/// Fills the host's parameters with the program's.
fn paired(
    name: &'static str,
    graph: Graph<HostTensor<f64>>,
    clamps: Clamps<HostTensor<f64>>,
    store: VarStore,
    parameters: Vec<Tensor>,
    loss: impl Fn() -> Tensor + 'static,
) -> Pair {
    let mut graph = graph;
    assert_eq!(graph.parameters().len(), parameters.len(), "{name}");
    for (own, theirs) in graph.parameters_mut().iter_mut().zip(&parameters) {
        *own = HostTensor::new(&own.shape(), numbers(theirs)).unwrap();
    }
    Pair { name, graph, clamps, store, parameters, loss: Box::new(loss) }
}

fn both(layer: &nn::Linear) -> [Tensor; 2] {
    [layer.ws.shallow_clone(), layer.bs.as_ref().unwrap().shallow_clone()]
}

/// A chain of dense layers.
fn mlp(kind: Kind) -> Pair {
    let store = new_store(kind);
    let widths = [7, 9, 8, 6, 5];
    let layers: Vec<nn::Linear> = widths
        .windows(2)
        .enumerate()
        .map(|(k, pair)| {
            nn::linear(store.root() / format!("l{k}"), pair[0], pair[1], Default::default())
        })
        .collect();
    let store = settled(store, kind);
    let x = Tensor::randn([6, 7], (kind, device()));
    let y = Tensor::randint(5, [6], (Kind::Int64, device()));
    let mut init = Init::new(1);
    let mut b: Builder = Graph::builder();
    let mut last = b.input("x", &[7]).unwrap();
    let input = last;
    for (k, width) in widths[1..].iter().enumerate() {
        let shape = if k == 3 { Activation::Identity } else { Activation::Tanh };
        last = b.dense(&format!("l{k}"), last, *width as usize, shape, &mut init).unwrap();
    }
    let clamps = Clamps::new()
        .hold(input, host(&x))
        .drive(last, CrossEntropy::labels(&labels(&y), 5).unwrap());
    let parameters = layers.iter().flat_map(both).collect();
    paired("mlp", b.build().unwrap(), clamps, store, parameters, move || {
        let mut h = x.shallow_clone();
        for (k, layer) in layers.iter().enumerate() {
            h = layer.forward(&h);
            h = vertex(&if k == 3 { h } else { h.tanh() });
        }
        cross_entropy(&h, &y)
    })
}

/// Two ways from one vertex that meet again, one of them a shortcut.
fn branches(kind: Kind) -> Pair {
    let store = new_store(kind);
    let linear =
        |name: &str, from, to| nn::linear(store.root() / name, from, to, Default::default());
    let (first, left, right) = (linear("a", 5, 6), linear("b", 6, 6), linear("c", 6, 6));
    let out = linear("d", 6, 4);
    let store = settled(store, kind);
    let x = Tensor::randn([8, 5], (kind, device()));
    let y = Tensor::randint(4, [8], (Kind::Int64, device()));
    let mut init = Init::new(1);
    let mut b: Builder = Graph::builder();
    let input = b.input("x", &[5]).unwrap();
    let h = b.dense("a", input, 6, Activation::Tanh, &mut init).unwrap();
    let l = b.dense("b", h, 6, Activation::Sigmoid, &mut init).unwrap();
    let r = b.dense("c", l, 6, Activation::Tanh, &mut init).unwrap();
    let sum = b.sum("sum", &[h, l, r]).unwrap();
    let last = b.dense("d", sum, 4, Activation::Identity, &mut init).unwrap();
    let clamps = Clamps::new()
        .hold(input, host(&x))
        .drive(last, CrossEntropy::labels(&labels(&y), 4).unwrap());
    let parameters = [&first, &left, &right, &out].into_iter().flat_map(both).collect();
    paired("branches", b.build().unwrap(), clamps, store, parameters, move || {
        let h = vertex(&first.forward(&x).tanh());
        let l = vertex(&left.forward(&h).sigmoid());
        let r = vertex(&right.forward(&l).tanh());
        cross_entropy(&vertex(&out.forward(&vertex(&(h + l + r)))), &y)
    })
}

/// One weight in two layers.
fn tied(kind: Kind) -> Pair {
    let store = new_store(kind);
    let shared = nn::linear(store.root() / "shared", 6, 6, Default::default());
    let out = nn::linear(store.root() / "out", 6, 3, Default::default());
    let store = settled(store, kind);
    let x = Tensor::randn([5, 6], (kind, device()));
    let y = Tensor::randint(3, [5], (Kind::Int64, device()));
    let mut b: Builder = Graph::builder();
    let input = b.input("x", &[6]).unwrap();
    let w = b.parameter("w", host(&shared.ws)).unwrap();
    let bias = b.parameter("b", host(shared.bs.as_ref().unwrap())).unwrap();
    let mut last = input;
    for name in ["one", "two", "three"] {
        let pre =
            b.vertex(&format!("{name} pre"), Box::new(Linear::new()), &[last], &[w, bias]).unwrap();
        last = b.activate(name, pre, Activation::Tanh).unwrap();
    }
    let mut init = Init::new(1);
    let last = b.dense("out", last, 3, Activation::Identity, &mut init).unwrap();
    let clamps = Clamps::new()
        .hold(input, host(&x))
        .drive(last, CrossEntropy::labels(&labels(&y), 3).unwrap());
    let parameters = [&shared, &out].into_iter().flat_map(both).collect();
    paired("tied weights", b.build().unwrap(), clamps, store, parameters, move || {
        let mut h = x.shallow_clone();
        for _ in 0..3 {
            h = vertex(&vertex(&shared.forward(&h)).tanh());
        }
        cross_entropy(&vertex(&out.forward(&h)), &y)
    })
}

/// A convolution with a pool, and a dense layer.
fn conv(kind: Kind) -> Pair {
    let store = new_store(kind);
    let config = nn::ConvConfig { padding: 1, ..Default::default() };
    let conv = nn::conv2d(store.root() / "conv", 2, 4, 3, config);
    let (full, out) = (
        nn::linear(store.root() / "full", 36, 7, Default::default()),
        nn::linear(store.root() / "out", 7, 3, Default::default()),
    );
    let store = settled(store, kind);
    let x = Tensor::randn([5, 2, 6, 6], (kind, device()));
    let y = Tensor::randint(3, [5], (Kind::Int64, device()));
    let mut init = Init::new(1);
    let mut b: Builder = Graph::builder();
    let input = b.input("x", &[2, 6, 6]).unwrap();
    let layer =
        ConvLayer::new(4, 3).padding(1).activation(Activation::Tanh).avg_pool(2, 2).flatten();
    let h = b.conv("conv", input, &layer, &mut init).unwrap();
    let h = b.dense("full", h, 7, Activation::Tanh, &mut init).unwrap();
    let last = b.dense("out", h, 3, Activation::Identity, &mut init).unwrap();
    let clamps = Clamps::new()
        .hold(input, host(&x))
        .drive(last, CrossEntropy::labels(&labels(&y), 3).unwrap());
    let mut parameters = vec![conv.ws.shallow_clone(), conv.bs.as_ref().unwrap().shallow_clone()];
    parameters.extend([&full, &out].into_iter().flat_map(both));
    paired("conv", b.build().unwrap(), clamps, store, parameters, move || {
        // tch's own default sums, where the host takes means.
        let two = [2, 2];
        let h = conv.forward(&x).tanh().avg_pool2d(two, two, [0, 0], false, true, None);
        let h = h.flatten(1, -1);
        let h = vertex(&full.forward(&vertex(&h)).tanh());
        cross_entropy(&vertex(&out.forward(&h)), &y)
    })
}

/// Two steps of an LSTM, each gate a vertex.
fn lstm(kind: Kind) -> Pair {
    let (inputs, width) = (4, 5);
    let store = new_store(kind);
    let gates: Vec<(nn::Linear, nn::Linear)> = ["input", "forget", "candidate", "output"]
        .iter()
        .map(|name| {
            let path = store.root() / *name;
            let bare = nn::LinearConfig { bias: false, ..Default::default() };
            (
                nn::linear(&path / "x", inputs, width, Default::default()),
                nn::linear(&path / "h", width, width, bare),
            )
        })
        .collect();
    let out = nn::linear(store.root() / "out", width, 3, Default::default());
    let store = settled(store, kind);
    let xs: Vec<Tensor> = (0..3).map(|_| Tensor::randn([4, inputs], (kind, device()))).collect();
    let y = Tensor::randint(3, [4], (Kind::Int64, device()));
    let zeros = Tensor::zeros([4, width], (kind, device()));
    let mut init = Init::new(1);
    let mut b: Builder = Graph::builder();
    let (h0, c0) = (b.input("h", &[5]).unwrap(), b.input("c", &[5]).unwrap());
    let parameters = b.lstm_parameters("lstm", 4, 5, &mut init).unwrap();
    let mut clamps = Clamps::new().hold(h0, host(&zeros)).hold(c0, host(&zeros));
    let (mut h, mut c) = (h0, c0);
    for (t, x) in xs.iter().enumerate() {
        let input = b.input(&format!("x{t}"), &[4]).unwrap();
        clamps = clamps.hold(input, host(x));
        let cell = b.lstm_cell(&format!("t{t}"), input, h, c, &parameters).unwrap();
        (h, c) = (cell.hidden, cell.cell);
    }
    let last = b.dense("out", h, 3, Activation::Identity, &mut init).unwrap();
    clamps = clamps.drive(last, CrossEntropy::labels(&labels(&y), 3).unwrap());
    let mut parameters = Vec::new();
    for (x, h) in &gates {
        let [ws, bs] = both(x);
        parameters.extend([ws, h.ws.shallow_clone(), bs]);
    }
    parameters.extend(both(&out));
    paired("LSTM", b.build().unwrap(), clamps, store, parameters, move || {
        let (mut h, mut c) = (zeros.shallow_clone(), zeros.shallow_clone());
        for x in &xs {
            let gate = |k: usize| gates[k].0.forward(x) + gates[k].1.forward(&h);
            let (i, f) = (vertex(&gate(0).sigmoid()), vertex(&gate(1).sigmoid()));
            let (g, o) = (vertex(&gate(2).tanh()), vertex(&gate(3).sigmoid()));
            c = vertex(&(f * &c + i * g));
            h = vertex(&(o * c.tanh()));
        }
        cross_entropy(&vertex(&out.forward(&h)), &y)
    })
}

/// Self-attention with two heads, its queries, keys, values, scores and weights vertices.
fn attention(kind: Kind) -> Pair {
    let (length, width, heads) = (4, 6, 2);
    let store = new_store(kind);
    let maps: Vec<nn::Linear> = ["q", "k", "v", "o"]
        .iter()
        .map(|name| nn::linear(store.root() / *name, width, width, Default::default()))
        .collect();
    let out = nn::linear(store.root() / "out", length * width, 3, Default::default());
    let store = settled(store, kind);
    // Small, so that scores are: what is steep there multiplies rounding in f32.
    let x = Tensor::randn([5, length, width], (kind, device())) * 0.3;
    let y = Tensor::randint(3, [5], (Kind::Int64, device()));
    let mut init = Init::new(1);
    let mut b: Builder = Graph::builder();
    let input = b.input("x", &[4, 6]).unwrap();
    let found = b.self_attention("attention", input, 2, false, &mut init).unwrap();
    let flat = b.flatten("flat", found.output).unwrap();
    let last = b.dense("out", flat, 3, Activation::Identity, &mut init).unwrap();
    let clamps = Clamps::new()
        .hold(input, host(&x))
        .drive(last, CrossEntropy::labels(&labels(&y), 3).unwrap());
    let parameters = maps.iter().chain([&out]).flat_map(both).collect();
    paired("attention", b.build().unwrap(), clamps, store, parameters, move || {
        let split = |t: Tensor| t.view([5, length, heads, width / heads]).transpose(1, 2);
        let [q, k, v] = [0, 1, 2].map(|map| vertex(&split(maps[map].forward(&x))));
        let scores = q.matmul(&k.transpose(-2, -1)) / ((width / heads) as f64).sqrt();
        let weights = vertex(&vertex(&scores).softmax(-1, kind));
        let mix = weights.matmul(&v).transpose(1, 2).reshape([5, length, width]);
        let o = vertex(&maps[3].forward(&vertex(&mix)));
        cross_entropy(&vertex(&out.forward(&vertex(&o.flatten(1, -1)))), &y)
    })
}

const PAIRS: [fn(Kind) -> Pair; 6] = [mlp, branches, tied, conv, lstm, attention];

/// The largest of some numbers.
fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0_f64, |most, x| most.max(x.abs()))
}

/// How far apart two lists of numbers are, of `scale`.
fn apart(ours: &[f64], theirs: &[f64], scale: f64) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let off = ours.iter().zip(theirs).fold(0.0_f64, |most, (a, b)| {
        let off = (a - b).abs();
        if off.is_nan() { f64::INFINITY } else { most.max(off) }
    });
    if off == 0.0 { 0.0 } else { off / scale }
}

/// One relaxation on both sides: gradients, energy and steps. False where both diverge.
fn alike(pair: &mut Pair, schedule: &Schedule, tolerance: f64) -> bool {
    let name = format!("{}, {schedule}", pair.name);
    let mean = schedule.clone().reduced_by(Reduction::Mean);
    let mut relaxation = Relaxation::new(&pair.graph, mean).unwrap();
    let expected = relaxation.run(&mut pair.graph, &pair.clamps).unwrap();
    for parameter in &mut pair.parameters {
        parameter.zero_grad();
    }
    let learned = PredictiveCoding::new(schedule.clone()).backward(|| (pair.loss)()).unwrap();
    assert_eq!(learned.outcome.steps, expected.steps, "{name}");
    assert_eq!(learned.outcome.status, expected.status, "{name}");
    if expected.status == Status::Diverged {
        println!("{name}: diverges on both sides");
        return false;
    }
    let (ours, theirs) = (learned.outcome.energy.total(), expected.energy.total());
    assert!((ours - theirs).abs() <= tolerance * theirs.abs(), "{name}: {ours} {theirs}");
    let mut worst = 0.0_f64;
    // Of the largest of all gradients: that of a key's bias is zero but for rounding.
    let all = relaxation.gradients().iter().filter_map(|(_, gradient)| gradient);
    let scale = all.map(|gradient| largest(&gradient.to_vec())).fold(0.0, f64::max);
    assert!(scale > 0.0, "{name}");
    for (parameter, (id, theirs)) in pair.parameters.iter().zip(relaxation.gradients().iter()) {
        let theirs = theirs.map_or_else(Vec::new, |tensor| tensor.to_vec());
        let ours = if theirs.is_empty() { Vec::new() } else { numbers(&parameter.grad()) };
        let off = apart(&ours, &theirs, scale);
        worst = worst.max(off);
        assert!(off <= tolerance, "{name}: parameter {} is off by {off:e}", id.index());
    }
    println!("{name}: off by {worst:.1e}");
    true
}

/// The named rules.
fn rules() -> Vec<Schedule> {
    let epc = Schedule::epc(0.05, 20).unwrap();
    let fixed = Schedule::fixed_prediction(0.2, 12).unwrap();
    vec![
        Schedule::standard(0.1, 20).unwrap(),
        Schedule::standard(0.1, 20).unwrap().traced(),
        epc.clone(),
        epc.with_momentum(0.5).unwrap(),
        fixed.clone(),
        fixed.clone().evaluated_by(Evaluation::Simulate),
        fixed.clone().evaluated_by(Evaluation::Front),
        fixed.starting(Start::Zero),
        Schedule::backprop(),
    ]
}

/// What steps states in other ways, some of which multiply rounding.
fn other_ways() -> Vec<Schedule> {
    let standard = Schedule::standard(0.1, 20).unwrap();
    vec![
        standard.clone().with_momentum(0.5).unwrap(),
        standard.clone().adaptive(),
        standard.clone().starting(Start::Zero),
        standard.clone().until(1e-2).unwrap(),
        standard.clone().ruled_by(rule::Adam::default()),
        standard.clone().ruled_by(rule::Nesterov::new(0.5).unwrap()),
        standard.ruled_by(rule::Heun),
    ]
}

#[test]
fn rules_are_the_hosts() {
    let _turn = seeded();
    for make in PAIRS {
        for (kind, tolerance) in [(Kind::Double, 1e-10), (Kind::Float, 1e-4)] {
            let mut pair = make(kind);
            for schedule in rules() {
                assert!(alike(&mut pair, &schedule, tolerance), "{schedule}");
            }
        }
        let mut pair = make(Kind::Double);
        let others = other_ways();
        let ended = others.iter().filter(|way| alike(&mut pair, way, 1e-10)).count();
        // Adam's steps are as long as its rate says, which is too long for one of these.
        assert!(ended + 1 >= others.len(), "{}: {ended}", pair.name);
    }
}

/// Training: after some steps by SGD the weights are the same. `change` is made between steps.
fn trains_alike(make: fn(Kind) -> Pair, schedule: &Schedule, kind: Kind, tolerance: f64) {
    let mut pair = make(kind);
    let name = format!("{}, {schedule}", pair.name);
    let mut sgd = Sgd::new(0.02).unwrap();
    let mean = schedule.clone().reduced_by(Reduction::Mean);
    let mut relaxation = Relaxation::new(&pair.graph, mean).unwrap();
    let mut opt = nn::Sgd::default().build(&pair.store, 0.02).unwrap();
    let mut pc = PredictiveCoding::new(schedule.clone());
    for step in 0..4 {
        relaxation
            .train(&mut pair.graph, &pair.clamps, |graph, gradients| {
                sgd.step(graph.parameters_mut(), gradients)
            })
            .unwrap();
        pc.learn(&mut opt, || (pair.loss)()).unwrap();
        let mut worst = 0.0_f64;
        for (ours, theirs) in pair.parameters.iter().zip(pair.graph.parameters()) {
            let theirs = theirs.to_vec();
            worst = worst.max(apart(&numbers(ours), &theirs, largest(&theirs)));
        }
        assert!(worst <= tolerance, "{name}: weights are off by {worst:e} after step {step}");
    }
}

#[test]
fn training_is_the_hosts() {
    let _turn = seeded();
    let carried = Schedule::standard(0.1, 5).unwrap().starting(Start::Carried);
    let schedules = [
        Schedule::ipc(0.1, 6).unwrap(),
        Schedule::ipc(0.1, 6).unwrap().starting(Start::Carried),
        Schedule::standard(0.1, 20).unwrap(),
        carried.clone(),
        carried.with_momentum(0.5).unwrap(),
        Schedule::fixed_prediction(0.2, 3).unwrap().starting(Start::Carried),
        Schedule::epc(0.05, 10).unwrap(),
    ];
    for make in PAIRS {
        for schedule in &schedules {
            trains_alike(make, schedule, Kind::Double, 1e-10);
            trains_alike(make, schedule, Kind::Float, 1e-4);
        }
    }
}

#[test]
fn a_weak_loss_is_the_hosts() {
    let _turn = seeded();
    let mut pair = mlp(Kind::Double);
    let schedule = Schedule::standard(0.1, 20).unwrap();
    let last = pair.graph.vertex("l3").unwrap();
    let Some(Clamp::Driven { loss, .. }) = pair.clamps.get(last).cloned() else {
        panic!("the output is driven")
    };
    pair.clamps = pair.clamps.clone().with(last, Clamp::Driven { loss, lambda: 0.1 });
    let mean = schedule.clone().reduced_by(Reduction::Mean);
    let mut relaxation = Relaxation::new(&pair.graph, mean).unwrap();
    let expected = relaxation.run(&mut pair.graph, &pair.clamps).unwrap();
    let mut pc = PredictiveCoding::new(schedule).with_weak_loss(0.1).unwrap();
    let learned = pc.backward(|| (pair.loss)()).unwrap();
    let (ours, theirs) = (learned.outcome.energy.total(), expected.energy.total());
    assert!((ours - theirs).abs() <= 1e-10 * theirs, "{ours} {theirs}");
    for (parameter, (_, theirs)) in pair.parameters.iter().zip(relaxation.gradients().iter()) {
        let theirs = theirs.unwrap().to_vec();
        assert!(apart(&numbers(&parameter.grad()), &theirs, largest(&theirs)) <= 1e-10);
    }
    for lambda in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(PredictiveCoding::new(Schedule::backprop()).with_weak_loss(lambda).is_err());
    }
}
