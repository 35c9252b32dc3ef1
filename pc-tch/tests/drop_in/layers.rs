//! Explicit graphs of tch's layers, with its weights, losses and optimisers.

use pc_tch::{
    CrossEntropy, Function, LossFunction, StoredWeights, TchLayers, TchTensor, identity,
    pc_core::{
        Clamps, ErrorKind, Graph, Loss, Relaxation, Schedule, Tensor as _, VertexId,
        host::{self, HostTensor},
    },
};
use tch::{
    Kind, Tensor,
    nn::{self, Module, OptimizerConfig, VarStore},
};

use crate::common::{device, seeded, tensor};

/// A small convolutional net as an explicit graph, on a store's weights.
fn graph(store: &VarStore) -> (Graph<TchTensor>, VertexId, VertexId) {
    let mut b = Graph::<TchTensor>::builder();
    let root = store.root();
    let x = b.input("x", &[2, 6, 6]).unwrap();
    let c = nn::ConvConfig { padding: 1, stride: 2, ..Default::default() };
    let c = b.conv2d(&(&root / "conv"), x, 4, 3, c, Tensor::f_tanh).unwrap();
    let c = b.function("flat", &[c], |x| x[0].f_flatten(1, -1)).unwrap();
    let n = b.layer_norm(&(&root / "norm"), c, &[36], Default::default()).unwrap();
    let h = b.linear(&(&root / "full"), n, 7, Default::default(), Tensor::f_sigmoid).unwrap();
    let y = b.linear(&(&root / "out"), h, 3, Default::default(), identity).unwrap();
    (b.build().unwrap(), x, y)
}

/// The same net as a tch program, on the variables that the graph's layers have made.
fn program(store: &VarStore, x: &Tensor) -> Tensor {
    let v = store.variables();
    let get = |name: &str| &v[name];
    let h = x.conv2d(get("conv.weight"), Some(get("conv.bias")), [2, 2], [1, 1], [1, 1], 1).tanh();
    let h = h.flatten(1, -1);
    let h = h.layer_norm([36], Some(get("norm.weight")), Some(get("norm.bias")), 1e-5, true);
    let h = h.linear(get("full.weight"), Some(get("full.bias"))).sigmoid();
    h.linear(get("out.weight"), Some(get("out.bias")))
}

fn store(kind: Kind) -> VarStore {
    let mut store = VarStore::new(device());
    store.set_kind(kind);
    store
}

/// Steps of tch's Adam on an explicit graph by backprop are those of the program, and both end with
/// the same file.
#[test]
fn tchs_optimisers_move_graphs() {
    let _turn = seeded();
    let kind = (Kind::Double, device());
    let (x, y) =
        (Tensor::randn([5, 2, 6, 6], kind), Tensor::randint(3, [5], (Kind::Int64, device())));
    let ours = store(Kind::Double);
    let (mut net, input, output) = graph(&ours);
    let mut theirs = store(Kind::Double);
    let _ = graph(&theirs);
    theirs.copy(&ours).unwrap();
    let weights = StoredWeights::new(&net, &ours).unwrap();
    let mut opt = nn::Adam::default().build(&ours, 0.01).unwrap();
    let mut plain = nn::Adam::default().build(&theirs, 0.01).unwrap();
    let mut rule = Relaxation::new(&net, Schedule::backprop()).unwrap();
    for step in 0..6 {
        let loss = CrossEntropy::labels(&y, 3).unwrap();
        let clamps = Clamps::new().hold(input, TchTensor::new(&x)).drive(output, loss);
        let _ = rule
            .train(&mut net, &clamps, |net, by| {
                if step == 3 {
                    weights.give_gradients(by)?;
                    opt.clip_grad_norm(0.1);
                    opt.step();
                    weights.load(net)
                } else {
                    weights.step(&mut opt, net, by)
                }
            })
            .unwrap();
        let loss = program(&theirs, &x).cross_entropy_loss::<Tensor>(
            &y,
            None,
            tch::Reduction::Sum,
            -100,
            0.0,
        );
        if step == 3 {
            plain.backward_step_clip_norm(&loss, 0.1);
        } else {
            plain.backward_step(&loss);
        }
        for (name, variable) in theirs.variables() {
            let off = (&ours.variables()[&name] - variable).abs().max().double_value(&[]);
            assert!(off < 1e-12, "step {step}, {name}: off by {off:e}");
        }
    }
    // A weight file of the plain program, into the graph and out again.
    let folder = std::env::temp_dir().join(format!("pc-tch-layers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["weights.safetensors", "weights.ot"] {
        let (file, mut fresh) = (folder.join(file), store(Kind::Double));
        let (mut net, input, output) = graph(&fresh);
        let weights = StoredWeights::new(&net, &fresh).unwrap();
        theirs.save(&file).unwrap();
        fresh.load(&file).unwrap();
        weights.load(&mut net).unwrap();
        let found = net.predict(&[(input, &TchTensor::new(&x))], output).unwrap();
        let off = (found.tensor() - program(&theirs, &x)).abs().max().double_value(&[]);
        assert!(off < 1e-12, "{}: off by {off:e}", file.display());
        // Out again: numbers that only the graph has.
        net.parameters_mut()[0].scale(2.0);
        weights.save(&net).unwrap();
        fresh.save(&file).unwrap();
        let mut back = store(Kind::Double);
        let _ = graph(&back);
        back.load(&file).unwrap();
        let off = program(&back, &x) - program(&fresh, &x);
        assert_eq!(off.abs().max().double_value(&[]), 0.0);
        assert!(!program(&back, &x).equal(&program(&theirs, &x)));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn weights_that_do_not_fit() {
    let _turn = seeded();
    let (ours, other) = (store(Kind::Double), store(Kind::Double));
    let (net, ..) = graph(&ours);
    let error = StoredWeights::new(&net, &other).unwrap_err();
    assert!(error.to_string().contains("conv.weight"), "{error}");
    let float = store(Kind::Float);
    let _ = graph(&float);
    let error = StoredWeights::new(&net, &float).unwrap_err();
    assert!(error.to_string().contains("Float"), "{error}");
    let weights = StoredWeights::new(&net, &ours).unwrap();
    let mut b = Graph::<TchTensor>::builder();
    let x = b.input("x", &[3]).unwrap();
    b.linear(&(other.root() / "a"), x, 2, Default::default(), identity).unwrap();
    let error = weights.load(&mut b.build().unwrap()).unwrap_err();
    assert!(error.to_string().contains("another graph"), "{error}");

    let mut b = Graph::<TchTensor>::builder();
    let x = b.input("x", &[3]).unwrap();
    let error = b.linear(&other.root(), x, 2, Default::default(), identity).unwrap_err();
    assert!(error.to_string().contains("path"), "{error}");
    let conv = b.conv2d(&(other.root() / "c"), x, 2, 3, Default::default(), identity).unwrap_err();
    assert!(conv.kind() == ErrorKind::Shape && conv.to_string().contains("channels"), "{conv}");
    let sparse = nn::EmbeddingConfig { sparse: true, ..Default::default() };
    let error = b.embedding(&(other.root() / "e"), x, 5, 2, sparse).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

/// Indices are held as numbers; the table's gradient is libtorch's.
#[test]
fn embeddings_are_vertices() {
    let _turn = seeded();
    let store = store(Kind::Double);
    let mut b = Graph::<TchTensor>::builder();
    let x = b.input("x", &[3]).unwrap();
    let e = b.embedding(&(store.root() / "table"), x, 6, 4, Default::default()).unwrap();
    let mut net = b.build().unwrap();
    let indices = tensor(&[1_i64, 4, 1, 0, 5, 5]).view([2, 3]);
    let clamps = Clamps::new()
        .hold(x, TchTensor::new(&indices.to_kind(Kind::Double)))
        .drive(e, LossFunction::new(|mu| mu.f_pow_tensor_scalar(3)?.f_sum(Kind::Double)));
    let mut rule = Relaxation::new(&net, Schedule::standard(0.1, 3).unwrap()).unwrap();
    let _ = rule.run(&mut net, &clamps).unwrap();
    let table = &store.variables()["table.weight"];
    let loss = Tensor::embedding(table, &indices, -1, false, false).pow_tensor_scalar(3);
    loss.sum(Kind::Double).backward();
    let found = rule.gradients().iter().next().unwrap().1.unwrap().tensor().shallow_clone();
    assert!(found.allclose(&table.grad(), 1e-12, 0.0, false));
}

/// As the host's own, at large logits and at soft targets too.
#[test]
fn cross_entropy_is_the_hosts() {
    let _turn = seeded();
    let logits = [3.0, -800.0, 0.5, 700.0, 1.0, 2.0];
    let soft = [0.25, 0.0, 0.5, 0.0, 1.0, 0.5];
    let tch = |numbers: &[f64]| tensor(numbers).view([2, 3]);
    let host = |numbers: &[f64]| HostTensor::<f64>::new(&[2, 3], numbers.to_vec()).unwrap();
    let (mut drive, mut expected) = (TchTensor::new(&tch(&logits)), host(&logits));
    let labels = tensor(&[2_i64, 0]);
    let pairs = [
        (CrossEntropy::new(&tch(&soft)), host::CrossEntropy::new(host(&soft))),
        (
            CrossEntropy::labels(&labels, 3).unwrap(),
            host::CrossEntropy::labels(&[2, 0], 3).unwrap(),
        ),
    ];
    for (mut ours, mut theirs) in pairs {
        let a = ours.evaluate(&TchTensor::new(&tch(&logits)), &mut drive).unwrap();
        let b = theirs.evaluate(&host(&logits), &mut expected).unwrap();
        assert!((a - b).abs() <= 1e-12 * b.abs(), "{a} is not {b}");
        for (a, b) in drive.to_vec().iter().zip(expected.to_vec()) {
            assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        }
    }
    assert!(CrossEntropy::labels(&(labels + 1), 3).is_err());
    assert!(CrossEntropy::labels(&tch(&soft), 3).is_err());
    let narrow = TchTensor::new(&tch(&logits).narrow(1, 0, 2));
    assert!(CrossEntropy::new(&tch(&soft)).evaluate(&narrow, &mut drive).is_err());
}

fn builds(
    function: Function,
) -> Result<(Graph<TchTensor>, VertexId, VertexId), pc_tch::pc_core::Error> {
    let mut b = Graph::<TchTensor>::builder();
    let x = b.input("x", &[40, 2]).unwrap();
    let y = b.vertex("y", Box::new(function), &[x], &[])?;
    Ok((b.build()?, x, y))
}

/// What would be another function at every evaluation is refused, whenever it shows; what would not
/// is right.
#[test]
fn functions_that_change_from_one_evaluation_to_the_next() {
    let _turn = seeded();
    let double = (Kind::Double, device());
    let dropout = |p: f64| Function::new("drop", double, 0, move |x, _| x[0].f_dropout(p, true));
    let error = builds(dropout(0.5)).map(drop).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Unsupported && error.to_string().contains("random"),
        "{error}"
    );
    // It draws, and changes nothing.
    assert!(builds(dropout(0.0)).is_ok());
    // Switched on later.
    let train = std::rc::Rc::new(std::cell::Cell::new(false));
    let switch = std::rc::Rc::clone(&train);
    let later = Function::new("drop", double, 0, move |x, _| x[0].f_dropout(0.5, switch.get()));
    let (mut net, x, y) = builds(later).unwrap();
    let clamps = Clamps::new()
        .hold(x, TchTensor::new(&Tensor::ones([3, 40, 2], double)))
        .hold(y, TchTensor::new(&Tensor::zeros([3, 40, 2], double)));
    let mut rule = Relaxation::new(&net, Schedule::standard(0.1, 2).unwrap()).unwrap();
    assert!(rule.run(&mut net, &clamps).is_ok());
    train.set(true);
    let error = rule.run(&mut net, &clamps).map(drop).unwrap_err();
    assert!(error.to_string().contains("random"), "{error}");
    assert!(Tensor::ones([2], double).set_requires_grad(true).tanh().requires_grad());

    let norm = |training: bool, running: bool| {
        let statistics = [0.0, 1.0].map(|x| Tensor::full([40], x, double));
        let kept = statistics.each_ref().map(Tensor::shallow_clone);
        let function = Function::new("norm", double, 0, move |x, _| {
            let of = |k: usize| running.then(|| &statistics[k]);
            x[0].f_batch_norm(
                None::<&Tensor>,
                None::<&Tensor>,
                of(0),
                of(1),
                training,
                0.1,
                1e-5,
                false,
            )
        });
        (function, kept)
    };
    let error = builds(norm(true, true).0).map(drop).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Unsupported && error.to_string().contains("running"),
        "{error}"
    );
    for (training, running) in [(false, true), (true, false)] {
        let (function, kept) = norm(training, running);
        let (mut net, x, y) = builds(function).unwrap();
        let clamps = Clamps::new()
            .hold(x, TchTensor::new(&Tensor::randn([3, 40, 2], double)))
            .hold(y, TchTensor::new(&Tensor::zeros([3, 40, 2], double)));
        let mut rule = Relaxation::new(&net, Schedule::standard(0.1, 2).unwrap()).unwrap();
        let _ = rule.run(&mut net, &clamps).unwrap();
        assert_eq!(kept[0].abs().max().double_value(&[]), 0.0, "they have not moved");
    }
}

/// A panic in a function goes through, and leaves gradients as they were.
#[test]
fn a_function_that_panics() {
    let _turn = seeded();
    for on in [true, false] {
        let _off = (!on).then(tch::no_grad_guard);
        let broken = Function::new("broken", (Kind::Double, device()), 0, |_, _| panic!("broken"));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builds(broken)));
        assert!(panic.is_err());
        let linear = nn::linear(VarStore::new(device()).root(), 2, 2, Default::default());
        let x = Tensor::ones([1, 2], (Kind::Float, device()));
        assert_eq!(linear.forward(&x).requires_grad(), on);
    }
}
