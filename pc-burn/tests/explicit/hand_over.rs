//! Weights handed between graphs of the host's tensors and of Burn's.

use burn::{
    module::Module,
    nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig},
    tensor::{DType, Device, Tensor as BurnTensorOf},
};
use pc_burn::{
    BurnTensor,
    explicit::{self, Activate, BurnVertex, MaxPool2d, ModuleGraph, Softmax},
};
use pc_core::{
    Activation, Agreement, Chain, Clamps, Graph, HandOver, ParamId, PredictionId, Relaxation,
    Residual, Result, Schedule, SumOf, Tensor, VertexId,
    backend::{GraphTensor, Structure},
    composites::rebuilt,
    host::{ConvLayer, Dense, Element, HostLayers, HostTensor, Init},
};

use crate::common::{device, tensor, wave};

/// The host's vertex, of Burn's tensors.
fn vertex(structure: &Structure) -> BurnVertex {
    let all = |parts: &[Structure]| parts.iter().map(vertex).collect::<Vec<_>>();
    match structure {
        Structure::Linear { bias } => Box::new(explicit::Linear::of(&[*bias]).transposed()),
        Structure::Activation(f) => Box::new(Activate(*f)),
        Structure::Chain(links) => Box::new(Chain::<BurnTensor>::new(all(links)).unwrap()),
        Structure::SumOf(parts) => Box::new(SumOf::new(all(parts))),
        Structure::Residual(inner) => Box::new(Residual::new(vertex(inner))),
        Structure::Conv2d { stride: 1, padding, bias: true } => {
            Box::new(explicit::Conv2d::padded(*padding))
        }
        Structure::MaxPool2d { size, stride } => Box::new(MaxPool2d::new(*size, *stride)),
        &Structure::MatMul { transpose_b, scale } => {
            Box::new(explicit::MatMul { transpose_b, scale })
        }
        Structure::Softmax { causal: true } => Box::new(Softmax::causal()),
        Structure::Softmax { causal: false } => Box::new(Softmax::new()),
        Structure::LayerNorm { epsilon } => Box::new(explicit::LayerNorm::new(*epsilon, true)),
        Structure::Embedding => Box::new(explicit::Embedding),
        other => rebuilt::<BurnTensor>(other).unwrap(),
    }
}

fn numbers_as(shape: &[usize], values: &[f64], dtype: DType) -> BurnTensor {
    BurnTensor::from_values(shape, values, &Device::flex(), dtype).unwrap()
}

/// The same graph of Burn's tensors, with other weights.
fn remade<F: Element>(graph: &Graph<HostTensor<F>>, dtype: DType) -> Graph<BurnTensor> {
    let topology = graph.topology();
    let mut b = Graph::<BurnTensor>::builder();
    for vertex in topology.vertices() {
        b.input(topology.name(vertex).unwrap(), graph.shape(vertex).unwrap()).unwrap();
    }
    for (name, parameter) in graph.named_parameters() {
        let count = parameter.data().len();
        b.parameter(name, numbers_as(parameter.dims(), &vec![0.25; count], dtype)).unwrap();
    }
    for (index, prediction) in topology.predictions().iter().enumerate() {
        let (structure, _) = graph.structure(PredictionId::new(index)).unwrap();
        let (parents, uses) = (&prediction.parents, &prediction.parameters);
        b.predict(prediction.of, vertex(&structure), parents, uses, prediction.precision).unwrap();
    }
    b.build().unwrap()
}

const KINDS: [&str; 5] = ["dense", "cnn", "lstm", "residual", "attention"];

/// A graph of one kind of layer, and what it is fed.
fn model(kind: &str, seed: u64) -> (Graph<HostTensor<f64>>, Vec<VertexId>) {
    let mut init = Init::new(seed);
    let mut b = Graph::<HostTensor<f64>>::builder();
    let mut held = Vec::new();
    let last = match kind {
        "dense" => {
            held.push(b.input("x", &[4]).unwrap());
            b.dense("h", held[0], 4, Activation::Tanh, &mut init).unwrap()
        }
        "cnn" => {
            held.push(b.input("x", &[2, 6, 6]).unwrap());
            let layer = ConvLayer::new(3, 3).padding(1).activation(Activation::Silu).max_pool(2, 2);
            b.conv("c", held[0], &layer.flatten(), &mut init).unwrap()
        }
        "lstm" => {
            let cell = b.lstm_parameters("cell", 3, 4, &mut init).unwrap();
            held = ["h", "c"].map(|name| b.input(name, &[4]).unwrap()).to_vec();
            let (mut h, mut c) = (held[0], held[1]);
            for t in 0..2 {
                held.push(b.input(&format!("x{t}"), &[3]).unwrap());
                let x = held[held.len() - 1];
                let step = b.lstm_cell(&format!("t{t}"), x, h, c, &cell).unwrap();
                (h, c) = (step.hidden, step.cell);
            }
            h
        }
        "residual" => {
            held.push(b.input("x", &[5]).unwrap());
            let layer = Dense::new(5).activation(Activation::Gelu).residual();
            let a = b.layer("a", &[held[0]], &layer, &mut init).unwrap();
            b.layer_norm("n", a).unwrap()
        }
        _ => {
            held.push(b.input("tokens", &[3]).unwrap());
            let e = b.embedding("e", held[0], 7, 6, &mut init).unwrap();
            let a = b.self_attention("a", e, 2, true, &mut init).unwrap();
            let s = b.sum("s", &[e, a.output]).unwrap();
            b.flatten("f", s).unwrap()
        }
    };
    held.push(b.dense("y", last, 3, Activation::Identity, &mut init).unwrap());
    (b.build().unwrap(), held)
}

/// One batch, and plain descent.
fn learn<T: GraphTensor>(
    graph: &mut Graph<T>,
    held: &[VertexId],
    (schedule, batch): (&Schedule, usize),
    make: impl Fn(&[usize], &[f64]) -> T,
) {
    let mut clamps = Clamps::new();
    for vertex in held {
        let mut shape = vec![2];
        shape.extend(graph.shape(*vertex).unwrap());
        let count: usize = shape.iter().product();
        let values: Vec<f64> = if graph.topology().name(*vertex).unwrap() == "tokens" {
            (0..count).map(|k| ((5 * k + batch) % 7) as f64).collect()
        } else {
            wave(count, batch as f64 + 0.1)
        };
        clamps = clamps.hold(*vertex, make(&shape, &values));
    }
    let mut rule = Relaxation::new(graph, schedule.clone()).unwrap();
    rule.train(graph, &clamps, |graph, by| {
        for (index, parameter) in graph.parameters_mut().iter_mut().enumerate() {
            if let Some(gradient) = by.get(ParamId::new(index)) {
                parameter.axpy(-0.05, gradient);
            }
        }
        Ok(())
    })
    .unwrap();
}

fn weights(of: &impl HandOver) -> Vec<f64> {
    of.named().1.iter().flat_map(Tensor::to_vec).collect()
}

/// Training that changes the backend twice comes to where it would have on the host; the numbers
/// cross from f64 to f64 without a change.
#[test]
fn training_goes_on_in_burn_and_back() {
    let here = |shape: &[usize], values: &[f64]| HostTensor::new(shape, values.to_vec()).unwrap();
    let there = |shape: &[usize], values: &[f64]| numbers_as(shape, values, DType::F64);
    for kind in KINDS {
        for schedule in [
            Schedule::backprop(),
            Schedule::standard(0.05, 6).unwrap(),
            Schedule::ipc(0.05, 4).unwrap(),
        ] {
            let ((mut whole, held), (mut graph, _)) = (model(kind, 1), model(kind, 1));
            let mut burn = remade(&model(kind, 2).0, DType::F64);
            (0..6).for_each(|batch| learn(&mut whole, &held, (&schedule, batch), here));
            (0..2).for_each(|batch| learn(&mut graph, &held, (&schedule, batch), here));
            burn.copy_parameters_from(&graph).unwrap();
            assert_eq!(weights(&burn), weights(&graph), "{kind}");
            (2..4).for_each(|batch| learn(&mut burn, &held, (&schedule, batch), there));
            graph.copy_parameters_from(&burn).unwrap();
            assert_eq!(weights(&graph), weights(&burn), "{kind}");
            (4..6).for_each(|batch| learn(&mut graph, &held, (&schedule, batch), here));
            let (found, wanted) = (weights(&graph), weights(&whole));
            let off = Agreement::of_slices(&found, &wanted).max_difference;
            assert!(off <= 1e-9, "{kind}, {schedule}: off by {off:.1e}");
            assert_ne!(wanted, weights(&model(kind, 1).0), "{kind}, {schedule}");
        }
    }
}

/// What f32 holds arrives, what is too large for a half is named, and nothing has changed then.
#[test]
fn numbers_are_rounded_to_what_the_receiver_holds() {
    let (mut graph, _) = model("dense", 1);
    let before = weights(&graph);
    let mut burn = remade(&graph, DType::F32);
    burn.copy_parameters_from(&graph).unwrap();
    for (sent, found) in before.iter().zip(weights(&burn)) {
        assert_eq!(f64::from(*sent as f32), found);
    }
    graph.copy_parameters_from(&burn).unwrap();
    assert_eq!(weights(&graph), weights(&burn));
    graph.parameters_mut()[2].fill(1e39);
    let kept = weights(&burn);
    let error = burn.copy_parameters_from(&graph).unwrap_err().to_string();
    assert!(error.contains("`y.weight` is too large"), "{error}");
    assert_eq!(weights(&burn), kept);
}

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    norm: BatchNorm,
    last: Linear,
}

/// Square matrices above all: `first` is one.
fn net(running: bool, from: &Device) -> (Net, Graph<BurnTensor>, explicit::Parameters) {
    let net = Net {
        first: LinearConfig::new(4, 4).init(from),
        norm: BatchNormConfig::new(4).init(from),
        last: LinearConfig::new(4, 3).with_bias(false).init(from),
    };
    let mut b = ModuleGraph::new();
    let x = b.input("x", &[4]).unwrap();
    let h = b.linear("first", x, &net.first, Activation::Tanh).unwrap();
    let n = match running {
        true => b.frozen_batch_norm("norm", h, &net.norm).unwrap(),
        false => b.batch_norm("norm", h, &net.norm).unwrap(),
    };
    b.linear("last", n, &net.last, Activation::Identity).unwrap();
    let (graph, parameters) = b.build().unwrap();
    (net, graph, parameters)
}

fn values<const D: usize>(of: BurnTensorOf<D>) -> Vec<f64> {
    BurnTensor::new(of).unwrap().to_vec()
}

fn feed(graph: &mut Graph<BurnTensor>, x: &BurnTensorOf<2>) -> Vec<f64> {
    let [x_id, y_id] = ["x", "last"].map(|name| graph.vertex(name).unwrap());
    let clamps = Clamps::new().hold(x_id, BurnTensor::new(x.clone()).unwrap());
    let mut rule = Relaxation::new(graph, Schedule::standard(0.1, 1).unwrap()).unwrap();
    rule.infer(graph, &clamps).unwrap();
    rule.value(graph, y_id).unwrap().to_vec()
}

/// Batch norm's running statistics are handed over with its gain and bias, whichever of the two
/// vertices has them, and what the graph has is what the module has.
#[test]
fn running_statistics_are_handed_over() {
    let on = device();
    let x = tensor([6, 4], 0.3, &on);
    for running in [false, true] {
        let (trained, mut from, _) = net(false, &on);
        (0..3).for_each(|_| drop(feed(&mut from, &x)));
        let (module, mut to, parameters) = net(running, &on);
        assert_ne!(
            values(module.norm.running_mean.value_sync()),
            values(trained.norm.running_mean.value_sync())
        );
        to.copy_parameters_from(&from).unwrap();
        let stored = parameters.store(&to, module).unwrap();
        for (found, wanted) in [
            (stored.norm.running_mean.value(), trained.norm.running_mean.value_sync()),
            (stored.norm.running_var.value(), trained.norm.running_var.value_sync()),
            (stored.norm.gamma.val(), trained.norm.gamma.val()),
        ] {
            assert_eq!(values(found), values(wanted));
        }
        // The module outside of training is the net with the running statistics.
        let plain = x.clone().inner();
        let valid = stored.valid();
        let h = burn::tensor::activation::tanh(valid.first.forward(plain.clone()));
        let wanted = values(valid.last.forward(valid.norm.forward(h)));
        if running {
            let off = Agreement::of_slices(&feed(&mut to, &x), &wanted).max_difference;
            assert!(off <= 1e-5, "off by {off:.1e}");
        }
    }
    // A graph without them is refused, whichever side it is on.
    let (_, mut graph, _) = net(true, &on);
    let mut b = ModuleGraph::new();
    let x = b.input("x", &[4]).unwrap();
    let own: Linear = LinearConfig::new(4, 4).init(&on);
    b.linear("first", x, &own, Activation::Tanh).unwrap();
    let (mut other, _) = b.build().unwrap();
    let (one, two) = (weights(&graph), weights(&other));
    let error = graph.copy_parameters_from(&other).unwrap_err().to_string();
    assert!(error.contains("norm.running_mean"), "{error}");
    let error = other.copy_parameters_from(&graph).unwrap_err().to_string();
    assert!(error.contains("norm.running_var"), "{error}");
    assert_eq!((weights(&graph), weights(&other)), (one, two));
}

/// A matrix of a module is `[inputs, outputs]` and the host's the other way round: they predict the
/// same after a hand-over, and Burn's own forward pass does.
#[test]
fn modules_and_host_layers_predict_the_same() -> Result<()> {
    let on = device();
    let mut init = Init::new(5);
    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &[4])?;
    let h = b.dense("a", x, 4, Activation::Tanh, &mut init)?;
    let y = b.dense("b", h, 3, Activation::Identity, &mut init)?;
    let host = b.build()?;

    let modules: [Linear; 2] =
        [LinearConfig::new(4, 4).init(&on), LinearConfig::new(4, 3).init(&on)];
    let mut b = ModuleGraph::new();
    let own = b.input("x", &[4])?;
    let own = b.linear("a", own, &modules[0], Activation::Tanh)?;
    b.linear("b", own, &modules[1], Activation::Identity)?;
    let (mut graph, parameters) = b.build()?;
    graph.copy_parameters_from(&host)?;
    let modules = parameters.store(&graph, modules)?;
    let input = tensor([5, 4], 0.3, &on);
    let found = values(
        modules[1].forward(burn::tensor::activation::tanh(modules[0].forward(input.clone()))),
    );
    let mut host = host;
    let held: Vec<f32> = values(input).iter().map(|x| *x as f32).collect();
    let clamps = Clamps::new().hold(x, HostTensor::new(&[5, 4], held)?);
    let mut rule = Relaxation::new(&host, Schedule::standard(0.1, 1)?)?;
    rule.infer(&mut host, &clamps)?;
    let wanted = rule.value(&host, y).unwrap().to_vec();
    let off = Agreement::of_slices(&found, &wanted).max_difference;
    assert!(off <= 1e-5, "off by {off:.1e}");
    // And back.
    let mut again = host;
    let sent = weights(&again);
    again.parameters_mut().iter_mut().for_each(|parameter| parameter.fill(0.5));
    again.copy_parameters_from(&graph)?;
    assert_eq!(weights(&again), sent);
    // A module of another graph, and numbers that are not finite.
    let other: Linear = LinearConfig::new(4, 4).init(&on);
    let error = parameters.store(&graph, other).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("another module"), "{error}");
    graph.parameters_mut()[1].fill(f64::NAN);
    let error = parameters.store(&graph, modules).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("`a.bias`") && error.contains("not finite"), "{error}");
    Ok(())
}
