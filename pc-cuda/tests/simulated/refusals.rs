//! What is refused, and how it is said; weights in and out.

use pc_core::{
    Clamps, ErrorKind, Event, Graph, GraphBuilder, HandOver, Identity, Interval, Laplace, Network,
    ParamId, Relaxation, Result, Schedule, SquaredError, Tensor, VertexId, ZeroDiagonal,
    host::{Activation, Dense, HostLayers, HostTensor, Init, Linear},
};
use pc_cuda::{
    AdamW, CrossEntropy, Device, DeviceProps, FusedNet, Kernel, NetShape, Output, Precision,
    Simulation, Strategy, plan,
};

use crate::common::chain;

fn device() -> Device {
    Device::simulated(&Simulation::new(0)).unwrap()
}

#[test]
fn a_vertex_that_is_not_linear_is_named() {
    let mut init = Init::new(1);
    let dense = Dense::new(4);
    for (layer, name) in [
        (dense.clone().activation(Activation::Gelu), "Gelu"),
        (dense.clone().activation(Activation::HardTanh), "HardTanh"),
        (dense.clone().activation_before(Activation::Tanh), "Tanh"),
        (dense.clone().scale(0.5), "scale"),
        (dense.residual(), "residual"),
    ] {
        let mut b = Graph::<HostTensor<f32>>::builder();
        let x = b.input("x", &[4]).unwrap();
        let h = b.layer("hidden", &[x], &layer, &mut init).unwrap();
        b.dense("y", h, 2, Activation::Identity, &mut init).unwrap();
        let graph = b.build().unwrap();
        let error = FusedNet::from_graph(&graph, &device(), Precision::F32).unwrap_err();
        assert_eq!((error.kind(), error.vertex()), (ErrorKind::Unsupported, Some("hidden")));
        assert!(error.to_string().contains(name), "{error}");
    }

    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &[4]).unwrap();
    let one = b.dense("one", x, 4, Activation::Tanh, &mut init).unwrap();
    let two = b.dense("two", x, 4, Activation::Tanh, &mut init).unwrap();
    b.sum("sum", &[one, two]).unwrap();
    let error = FusedNet::from_graph(&b.build().unwrap(), &device(), Precision::F32).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Unsupported, Some("x")));

    let mut b = Graph::<HostTensor<f32>>::builder();
    b.input("stray", &[2]).unwrap();
    let x = b.input("x", &[4]).unwrap();
    b.dense("one", x, 4, Activation::Tanh, &mut init).unwrap();
    assert!(FusedNet::from_graph(&b.build().unwrap(), &device(), Precision::F32).is_err());
}

#[test]
fn what_a_graph_has_beside_its_layers_is_named() {
    type Add = fn(&mut GraphBuilder<HostTensor<f32>>, [VertexId; 3]) -> Result<()>;
    let additions: [(&str, Add); 6] = [
        ("laplace", |b, [_, h, _]| b.energy(b.prediction_of(h)?, Laplace::new(1.0)?, &[])),
        ("interval", |b, [_, h, _]| b.project(h, Interval::non_negative())),
        ("zero diagonal", |b, [_, h, _]| {
            let weight = b.parameter("square", HostTensor::zeroed(&[4, 4])?)?;
            b.constrain(weight, ZeroDiagonal)?;
            b.predict(h, Box::new(Linear::without_bias()), &[h], &[weight], 1.0).map(|_| ())
        }),
        ("buffer", |b, _| b.buffer("statistics", HostTensor::zeroed(&[4])?).map(|_| ())),
        ("cut", |b, [_, h, y]| b.cut(b.prediction_of(y)?, &[h])),
        ("term", |b, [_, _, y]| b.term("decay", 0.1, Box::new(Identity), &[y], &[]).map(|_| ())),
    ];
    let build = |add: Option<Add>| {
        let mut init = Init::new(1);
        let mut b = Graph::<HostTensor<f32>>::builder();
        let x = b.input("x", &[4]).unwrap();
        let h = b.dense("h", x, 4, Activation::Tanh, &mut init).unwrap();
        let y = b.dense("y", h, 2, Activation::Identity, &mut init).unwrap();
        if let Some(add) = add {
            add(&mut b, [x, h, y]).unwrap();
        }
        b.build().unwrap()
    };
    for (name, add) in additions {
        let graph = build(Some(add));
        let error = FusedNet::from_graph(&graph, &device(), Precision::F32).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    let mut graph = build(None);
    FusedNet::from_graph(&graph, &device(), Precision::F32).unwrap();
    graph.freeze(ParamId::new(0), true).unwrap();
    let error = FusedNet::from_graph(&graph, &device(), Precision::F32).unwrap_err();
    assert!(error.to_string().contains("frozen `h.weight`"), "{error}");
}

#[test]
fn clamps_are_checked() {
    let (graph, x, y) = chain(&[3, 5, 2], Activation::Tanh, Activation::Identity, 1).unwrap();
    let (here, there) = (device(), device());
    let mut net = FusedNet::from_graph(&graph, &here, Precision::F32).unwrap();
    let mut rule = Relaxation::new(&net, Schedule::standard(0.1, 3).unwrap()).unwrap();
    let good = here.tensor(&[1, 3], &[1.0; 3]).unwrap();
    let wrong =
        Clamps::new().hold(x, good.clone()).hold(y, here.tensor(&[1, 3], &[1.0; 3]).unwrap());
    assert_eq!(rule.run(&mut net, &wrong).unwrap_err().kind(), ErrorKind::Shape);
    let elsewhere =
        Clamps::new().hold(x, good.clone()).hold(y, there.tensor(&[1, 2], &[1.0; 2]).unwrap());
    assert!(rule.run(&mut net, &elsewhere).unwrap_err().to_string().contains("another device"));
    let target = there.tensor(&[1, 2], &[1.0; 2]).unwrap();
    for loss in [true, false] {
        let clamps = Clamps::new().hold(x, good.clone());
        let clamps = if loss {
            clamps.drive(y, CrossEntropy::new(target.clone()))
        } else {
            clamps.drive(y, SquaredError::new(target.clone()))
        };
        assert!(rule.run(&mut net, &clamps).unwrap_err().to_string().contains("different devices"));
    }
    let mut sum = good.clone();
    sum.axpy(1.0, &there.tensor(&[1, 3], &[1.0; 3]).unwrap());
    assert!(sum.numbers().unwrap_err().to_string().contains("different devices"));
    assert_eq!(sum.numbers().unwrap(), [1.0; 3]);
    let nan = Clamps::new()
        .hold(x, good.clone())
        .hold(y, here.tensor(&[1, 2], &[1.0, f32::NAN]).unwrap());
    assert_eq!(rule.run(&mut net, &nan).unwrap_err().kind(), ErrorKind::NotFinite);
    let right = Clamps::new().hold(x, good).hold(y, here.tensor(&[1, 2], &[1.0; 2]).unwrap());
    assert!(rule.run(&mut net, &right).is_ok());
    assert!(here.tensor(&[2, 2], &[1.0; 3]).is_err());
    assert!(net.relaxed_by(Strategy::Cluster(16)).plan(4, true).is_err());
}

#[test]
fn weights_travel_as_safetensors_and_back_to_the_graph() {
    let (mut graph, ..) = chain(&[3, 5, 2], Activation::Tanh, Activation::Identity, 1).unwrap();
    let (other, ..) = chain(&[3, 5, 2], Activation::Tanh, Activation::Identity, 2).unwrap();
    let net = FusedNet::from_graph(&graph, &device(), Precision::F32).unwrap();
    let mut second = FusedNet::from_graph(&other, &device(), Precision::F32).unwrap();
    let file = net.to_safetensors().unwrap();
    second.load_safetensors(&file).unwrap();
    for (a, b) in net.parameters().iter().zip(second.parameters()) {
        assert_eq!(a.numbers().unwrap(), b.numbers().unwrap());
    }
    let before: Vec<f32> = graph.parameters()[0].data().to_vec();
    graph.parameters_mut()[0].fill(0.0);
    graph.copy_parameters_from(&second).unwrap();
    assert_eq!(graph.parameters()[0].data(), before);

    assert!(second.load_safetensors(b"no file").is_err());
    let (narrow, ..) = chain(&[3, 4, 2], Activation::Tanh, Activation::Identity, 1).unwrap();
    let narrow = FusedNet::from_graph(&narrow, &device(), Precision::F32).unwrap();
    let error = second.load_safetensors(&narrow.to_safetensors().unwrap()).unwrap_err();
    assert!(error.to_string().contains("l1.weight"), "{error}");
    assert_eq!(second.parameters()[0].numbers().unwrap(), before);
    let (mut short, ..) = chain(&[3, 2], Activation::Tanh, Activation::Identity, 1).unwrap();
    assert!(short.copy_parameters_from(&net).is_err());
}

#[test]
fn the_planner_chooses_by_device() {
    let net = |widths: &[usize], batch, live, precision| {
        let (widths, output) = (widths.to_vec(), Output::Held);
        NetShape { widths, batch, live, precision, relu: false, output }
    };
    let mnist = [784, 512, 512, 10];
    let deep = [64, 128, 128, 128, 128, 128, 128, 128, 128, 128, 10];
    let wide = [1024, 4096, 4096, 10];
    use Precision::{F32, Tf32};
    let cluster = |blocks, clusters| Some((blocks, clusters));
    // For an A100, an RTX 4090 and an H100: the blocks of a cluster and how many clusters, or none
    // for `relax_graph`.
    let entropy =
        |widths: &[usize]| NetShape { output: Output::CrossEntropy, ..net(widths, 64, true, Tf32) };
    let table = [
        (net(&mnist, 64, true, Tf32), [None, None, cluster(8, 8)]),
        (net(&mnist, 64, false, Tf32), [None, None, cluster(8, 8)]),
        (net(&mnist, 64, true, F32), [None, None, cluster(8, 8)]),
        (net(&mnist, 64, false, F32), [None, None, cluster(8, 8)]),
        (net(&[20, 16, 4], 8, true, F32), [None, None, cluster(1, 1)]),
        (net(&deep, 32, true, Tf32), [None, None, cluster(8, 4)]),
        (net(&wide, 64, true, Tf32), [None, None, None]),
        (net(&[10; 19], 8, true, F32), [None, None, None]),
        (NetShape { relu: true, ..net(&mnist, 64, true, Tf32) }, [None, None, cluster(8, 8)]),
        (entropy(&mnist), [None, None, cluster(8, 8)]),
        // All of a softmax lies in one block, and this one is too large for it.
        (entropy(&[784, 512, 512, 1000]), [None, None, None]),
    ];
    for (net, expected) in table {
        for (props, expected) in [DeviceProps::a100(), DeviceProps::rtx_4090(), DeviceProps::h100()]
            .into_iter()
            .zip(expected)
        {
            let chosen = plan(&net, &props).unwrap();
            let found = match chosen.kernel() {
                Kernel::Cluster { blocks, clusters, shared } => {
                    assert!(*shared <= props.shared_memory);
                    Some((*blocks, *clusters))
                }
                Kernel::Gemm { .. } | Kernel::Graph { .. } => None,
            };
            println!("{}\n", chosen.explain());
            assert_eq!(found, expected, "{net:?} on {props}:\n{}", chosen.explain());
            assert_eq!(plan(&net, &props).unwrap(), chosen);
            assert!(chosen.explain().contains("chosen: relax_"), "{}", chosen.explain());
        }
    }
    // Wide nets take grouped products where they may be rounded, a recorded graph where not.
    for (precision, grouped) in [(Precision::Bf16, true), (Tf32, true), (F32, false)] {
        for live in [true, false] {
            let chosen = plan(&net(&[1024; 11], 256, live, precision), &DeviceProps::h100());
            let found = matches!(chosen.unwrap().kernel(), Kernel::Gemm { .. });
            assert_eq!(found, grouped, "{precision:?}, live {live}");
        }
    }
    assert!(plan(&net(&[4], 1, true, F32), &DeviceProps::h100()).is_err());
    assert!(plan(&net(&[4, 0, 1], 1, true, F32), &DeviceProps::h100()).is_err());
    assert!(plan(&net(&[4, 2], 0, true, F32), &DeviceProps::h100()).is_err());
}

#[test]
fn two_nets_on_two_threads_do_not_disturb_each_other() {
    let run = |seed: u64| {
        let (graph, x, y) =
            chain(&[6, 20, 4], Activation::Tanh, Activation::Identity, seed).unwrap();
        let device = device();
        let mut net = FusedNet::from_graph(&graph, &device, Precision::F32).unwrap();
        let mut init = Init::new(seed);
        let mut held = |n| {
            let t: HostTensor<f32> = init.uniform(&[9, n], 1.0).unwrap();
            device.tensor(t.dims(), t.data()).unwrap()
        };
        let clamps = Clamps::new().hold(x, held(6)).hold(y, held(4));
        let mut rule = Relaxation::new(&net, Schedule::standard(0.1, 9).unwrap()).unwrap();
        rule.run(&mut net, &clamps).unwrap();
        rule.gradients()
            .iter()
            .flat_map(|(_, g)| g.unwrap().to_vec())
            .map(f64::to_bits)
            .collect::<Vec<_>>()
    };
    let alone = [run(1), run(2)];
    let together = std::thread::scope(|scope| {
        let both = [scope.spawn(|| run(1)), scope.spawn(|| run(2))];
        both.map(|thread| thread.join().unwrap())
    });
    assert_eq!(alone, together);
}

/// Two streams in one thread, their relaxations a learning event in turn.
#[test]
fn two_streams_take_turns() {
    let numbers = |seed: u64, n: usize| Init::new(seed).uniform::<f32>(&[9, n], 1.0).unwrap();
    let set_up = |seed: u64| {
        let (graph, x, y) =
            chain(&[6, 20, 4], Activation::Tanh, Activation::Identity, seed).unwrap();
        let device = device();
        let mut net = FusedNet::from_graph(&graph, &device, Precision::F32)
            .unwrap()
            .relaxed_by(Strategy::Graph);
        let held = |n| device.tensor(&[9, n], numbers(seed, n).data()).unwrap();
        let clamps = Clamps::new().hold(x, held(6)).hold(y, held(4));
        let mut rule = Relaxation::new(&net, Schedule::ipc(0.2, 6).unwrap()).unwrap();
        rule.begin(&mut net, &clamps).unwrap();
        (net, rule, pc_cuda::Sgd::new(0.01).unwrap())
    };
    let bits = |net: &FusedNet| -> Vec<u32> {
        net.parameters().iter().flat_map(|p| p.numbers().unwrap()).map(f32::to_bits).collect()
    };
    let step = |(net, rule, sgd): &mut (FusedNet, Relaxation<FusedNet>, pc_cuda::Sgd)| match rule
        .advance(net)
        .unwrap()
    {
        Event::Learn => {
            sgd.step(net, rule.gradients()).unwrap();
            true
        }
        Event::Step => true,
        Event::Finished(_) => false,
    };
    let alone = [1, 2].map(|seed| {
        let mut one = set_up(seed);
        while step(&mut one) {}
        bits(&one.0)
    });
    let (mut one, mut other) = (set_up(1), set_up(2));
    while step(&mut one) & step(&mut other) {}
    assert_eq!(alone, [bits(&one.0), bits(&other.0)]);
}

/// What fails on a device is an error at the next call that can say so, wherever it happens, and
/// nothing panics on the way.
#[test]
fn failures_are_errors_wherever_they_happen() {
    let run = |simulation: Simulation, schedule: Schedule| -> pc_core::Result<f64> {
        let (mut graph, x, y) = chain(&[3, 6, 2], Activation::Tanh, Activation::Identity, 1)?;
        let device = Device::simulated(&simulation)?;
        let mut net = FusedNet::from_graph(&graph, &device, Precision::F32)?;
        let target = device.tensor(&[2, 2], &[0.5, 0.5, 1.0, 0.0])?;
        let clamps = Clamps::new()
            .hold(x, device.tensor(&[2, 3], &[0.5; 6])?)
            .drive(y, CrossEntropy::new(target));
        let mut rule = Relaxation::new(&net, schedule)?;
        let mut adam = AdamW::new(0.01)?;
        let mut energy = 0.0;
        for _ in 0..2 {
            energy = rule.train(&mut net, &clamps, |net, g| adam.step(net, g))?.energy.total();
        }
        graph.copy_parameters_from(&net)?;
        device.synchronize()?;
        Ok(energy)
    };
    for schedule in [
        Schedule::standard(0.1, 3).unwrap(),
        Schedule::ipc(0.1, 3).unwrap(),
        Schedule::epc(0.1, 3).unwrap(),
        Schedule::backprop(),
    ] {
        let whole = run(Simulation::new(0), schedule.clone()).unwrap();
        assert!(whole.is_finite());
        // Every call once as the first that fails.
        let mut calls = 0;
        while let Err(error) = run(Simulation::new(0).lost_after(calls), schedule.clone()) {
            assert_eq!(error.kind(), ErrorKind::Backend, "{schedule}, call {calls}: {error}");
            assert!(
                error.to_string().contains("the device is lost"),
                "{schedule}, call {calls}: {error}"
            );
            calls += 1;
        }
        let mut memory = 0;
        while let Err(error) = run(Simulation::new(0).with_memory(memory), schedule.clone()) {
            assert!(
                error.to_string().contains("out of memory"),
                "{schedule}, {memory} bytes: {error}"
            );
            memory += 16;
        }
        println!("{schedule}: {calls} calls, {memory} bytes");
        assert!(calls > 50 && memory > 500);
        // Recordings go by addresses, so that a run may take some calls more than another.
        let enough = Simulation::new(0).lost_after(2 * calls).with_memory(memory);
        assert_eq!(run(enough, schedule).unwrap(), whole);
    }
}

#[test]
fn without_a_gpu_the_error_says_what_is_missing() {
    match Device::cuda(0) {
        Ok(device) => assert!(!device.props().name.is_empty()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Backend);
            assert!(
                error.to_string().contains("driver") || error.to_string().contains("GPU"),
                "{error}"
            );
        }
    }
}

#[test]
fn intermediate_schedules_go_through_the_engine() {
    // An input that is free, a driven output: nothing is fused, and nothing is wrong.
    let (graph, x, y) = chain(&[3, 5, 2], Activation::Tanh, Activation::Identity, 1).unwrap();
    let device = device();
    let mut net = FusedNet::from_graph(&graph, &device, Precision::F32).unwrap();
    let clamps = Clamps::new()
        .free(x, device.tensor(&[1, 3], &[0.1; 3]).unwrap())
        .hold(y, device.tensor(&[1, 2], &[1.0; 2]).unwrap());
    let mut rule = Relaxation::new(&net, Schedule::standard(0.1, 30).unwrap().traced()).unwrap();
    let outcome = rule.run(&mut net, &clamps).unwrap();
    assert_eq!(outcome.trace.len(), 31);
    assert!(outcome.trace.windows(2).all(|pair| pair[1] <= pair[0]), "{:?}", outcome.trace);
    assert_eq!(net.topology().len(), 3);
}
