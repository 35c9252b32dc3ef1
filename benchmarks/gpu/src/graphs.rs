//! How long whole training passes of nets take that are no chains of dense layers, by
//! [`pc_cuda::graph_to_device`]: all vertices step by step.

use pc_core::{
    Clamps, Evaluation, Graph, GraphBuilder, Relaxation, Result, Schedule, VertexId,
    host::{Activation, ConvLayer, HostLayers, HostTensor, Init},
};
use pc_cuda::{Device, Precision, graph_to_device};

use crate::{
    bench::{Peer, word},
    nets::over_time,
};

const STEPS: usize = 20;
const WARM: usize = 5;
const ROUNDS: usize = 20;

/// What is held: each root and output.
type Held = Vec<VertexId>;

/// A net to time.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    batch: usize,
    precisions: &'static [Precision],
    net: fn(&mut GraphBuilder<HostTensor<f32>>, &mut Init) -> Result<Held>,
    peer: Option<&'static str>,
}

const ALL: &[Precision] = &[Precision::Bf16, Precision::Tf32, Precision::F32];

/// The nets.
pub(crate) const CASES: [Case; 4] = [
    Case {
        name: "vgg5",
        batch: 128,
        precisions: ALL,
        net: |b, init| vgg5(b, init, false),
        peer: Some(include_str!("../vgg5_torch.py")),
    },
    Case {
        name: "vgg5-max",
        batch: 128,
        precisions: &[Precision::F32],
        net: |b, init| vgg5(b, init, true),
        peer: None,
    },
    Case { name: "lenet", batch: 64, precisions: &[Precision::F32], net: lenet, peer: None },
    Case { name: "lstm", batch: 64, precisions: &[Precision::F32], net: lstm, peer: None },
];

fn vgg5(b: &mut GraphBuilder<HostTensor<f32>>, init: &mut Init, largest: bool) -> Result<Held> {
    let x = b.input("x", &[3, 32, 32])?;
    let mut at = x;
    for (index, channels) in [128, 256, 512, 512].into_iter().enumerate() {
        let layer = ConvLayer::new(channels, 3).padding(1).activation(Activation::Tanh);
        let layer = if largest { layer.max_pool(2, 2) } else { layer.avg_pool(2, 2) };
        let layer = if index == 3 { layer.flatten() } else { layer };
        at = b.conv(&format!("conv{}", index + 1), at, &layer, init)?;
    }
    let y = b.dense("y", at, 10, Activation::Identity, init)?;
    Ok(vec![x, y])
}

fn lenet(b: &mut GraphBuilder<HostTensor<f32>>, init: &mut Init) -> Result<Held> {
    let x = b.input("x", &[1, 28, 28])?;
    let first = ConvLayer::new(6, 5).padding(2).activation(Activation::Tanh).avg_pool(2, 2);
    let second = ConvLayer::new(16, 5).activation(Activation::Tanh).avg_pool(2, 2).flatten();
    let at = b.conv("conv1", x, &first, init)?;
    let at = b.conv("conv2", at, &second, init)?;
    let at = b.dense("dense1", at, 120, Activation::Tanh, init)?;
    let at = b.dense("dense2", at, 84, Activation::Tanh, init)?;
    let y = b.dense("y", at, 10, Activation::Identity, init)?;
    Ok(vec![x, y])
}

fn lstm(b: &mut GraphBuilder<HostTensor<f32>>, init: &mut Init) -> Result<Held> {
    over_time(b, init, [28, 128, 10], 28)
}

/// Times one net in each of its precisions.
pub(crate) fn time(device: &Device, case: &Case) -> Result<()> {
    let mut init = Init::new(0);
    let mut b = Graph::<HostTensor<f32>>::builder();
    let held = (case.net)(&mut b, &mut init)?;
    let graph = b.build()?;
    let mut clamps = Clamps::new();
    for vertex in &held {
        let shape = [&[case.batch], graph.shape(*vertex)?].concat();
        let numbers: HostTensor<f32> = init.uniform(&shape, 1.0)?;
        clamps = clamps.hold(*vertex, device.tensor(&shape, numbers.data())?);
    }
    println!(
        "{}, tanh, batch {}, T = {STEPS}, forward pass and gradients included: medians of {ROUNDS} \
         in microseconds, by device events",
        case.name, case.batch
    );
    let peer = case.peer.map(|program| {
        let words = case.precisions.iter().map(|p| word(*p)).collect::<Vec<_>>().join(",");
        Peer::run("PyTorch, CUDA graph", program, &[case.batch.to_string(), words])
    });
    for &precision in case.precisions {
        let mut net = graph_to_device(&graph, device, precision)?;
        for (mode, schedule) in [
            ("live", Schedule::standard(0.05, STEPS)?),
            ("frozen", Schedule::fixed_prediction(0.05, STEPS)?.evaluated_by(Evaluation::Simulate)),
            ("backprop", Schedule::backprop()),
        ] {
            let mut rule = Relaxation::new(&net, schedule)?;
            let mut times = Vec::with_capacity(ROUNDS);
            let mut before = device.launches();
            for round in 0..WARM + ROUNDS {
                if round == WARM {
                    before = device.launches();
                }
                let seconds = device.time(|| rule.run(&mut net, &clamps).map(|_| ()))?;
                if round >= WARM {
                    times.push(seconds);
                }
            }
            times.sort_by(f64::total_cmp);
            let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
            let launches = device.launches();
            let [asked, made] = [launches.asked - before.asked, launches.made - before.made]
                .map(|all| all / ROUNDS as u64);
            let how = format!("step by step, {made} launches of {asked}");
            println!("{:6} {mode:8} {how:43} {:9.1}", word(precision), median * 1e6);
            if let Some(peer) = &peer {
                peer.print(word(precision), mode);
            }
        }
    }
    Ok(())
}
