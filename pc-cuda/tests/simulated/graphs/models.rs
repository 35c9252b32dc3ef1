//! The usual models against the host in f64, by every kind of rule.

use pc_core::{
    Agreement, Clamps, Evaluation, Gradients, Graph, HandOver, Identity, Learning, ParamId,
    Relaxation, Result, Schedule, Tensor, VertexId,
    host::{self, Activation, ConvLayer, Dense, Element, HostLayers, HostTensor, Init},
};
use pc_cuda::{Device, DeviceTensor, Precision, Sgd, Simulation, graph_to_device};

use super::upload;

const BATCH: usize = 3;
const RATE: f64 = 0.01;

/// A graph with what it is held at.
pub(crate) struct Model<F: Element> {
    pub(crate) graph: Graph<HostTensor<F>>,
    pub(crate) held: Vec<(VertexId, HostTensor<f32>)>,
}

pub(crate) const MODELS: [&str; 6] = ["cnn", "decoder", "rnn", "lstm", "residual", "attention"];

pub(crate) fn model<F: Element>(name: &str) -> Result<Model<F>> {
    let mut init = Init::new(5);
    let mut b = Graph::<HostTensor<F>>::builder();
    let mut held = Vec::new();
    let mut outputs = Vec::new();
    let tanh = |outputs: usize| Dense::new(outputs).activation(Activation::Tanh);
    match name {
        "cnn" => {
            let x = b.input("x", &[2, 9, 8])?;
            let c = ConvLayer::new(4, 3).padding(1).activation(Activation::Relu).max_pool(2, 2);
            let c = b.conv("c1", x, &c, &mut init)?;
            let d = ConvLayer::new(5, 3).activation(Activation::Silu).avg_pool(2, 1).flatten();
            let d = b.conv("c2", c, &d, &mut init)?;
            held.push(x);
            outputs.push(b.dense("y", d, 3, Activation::Identity, &mut init)?);
        }
        "decoder" => {
            // Small images, for which the rate of the other models is small enough.
            let x = b.input("x", &[4, 2, 2])?;
            let c = ConvLayer::new(3, 3).stride(2).padding(1).transposed(1);
            let c = b.conv("c1", x, &c.activation(Activation::Silu), &mut init)?;
            held.push(x);
            let d = ConvLayer::new(2, 3).padding(1).transposed(0);
            outputs.push(b.conv("y", c, &d, &mut init)?);
        }
        "rnn" => {
            let cell = b.gate_parameters("cell", 3, 4, Activation::Tanh, &mut init)?;
            let mut h = b.input("h", &[4])?;
            held.push(h);
            for t in 0..3 {
                let x = b.input(&format!("x{t}"), &[3])?;
                held.push(x);
                h = b.rnn_cell(&format!("h{t}"), x, h, &cell)?;
                let y = b.dense(&format!("y{t}"), h, 2, Activation::Identity, &mut init)?;
                outputs.push(y);
            }
        }
        "lstm" => {
            let cell = b.lstm_parameters("cell", 3, 4, &mut init)?;
            let (mut h, mut c) = (b.input("h", &[4])?, b.input("c", &[4])?);
            held.extend([h, c]);
            for t in 0..2 {
                let x = b.input(&format!("x{t}"), &[3])?;
                held.push(x);
                let step = b.lstm_cell(&format!("t{t}"), x, h, c, &cell)?;
                (h, c) = (step.hidden, step.cell);
            }
            outputs.push(b.dense("y", h, 2, Activation::Identity, &mut init)?);
        }
        "residual" => {
            let x = b.input("x", &[6])?;
            held.push(x);
            let a = b.layer("a", &[x], &tanh(6).residual(), &mut init)?;
            let n = b.layer_norm("n", a)?;
            let c = b.dense("c", n, 6, Activation::Gelu, &mut init)?;
            let s = b.sum("s", &[c, a])?;
            outputs.push(b.dense("y", s, 3, Activation::Identity, &mut init)?);
        }
        _ => {
            let tokens = b.input("tokens", &[4])?;
            held.push(tokens);
            let e = b.embedding("e", tokens, 7, 6, &mut init)?;
            let p = b.add_parameter("p", e, 0.1, &mut init)?;
            let a = b.self_attention("a", p, 2, true, &mut init)?;
            let s = b.sum("s", &[p, a.output])?;
            let n = b.layer_norm("n", s)?;
            let f = b.flatten("f", n)?;
            outputs.push(b.dense("y", f, 3, Activation::Identity, &mut init)?);
        }
    }
    let graph = b.build()?;
    let mut drawn = Vec::new();
    for vertex in held.into_iter().chain(outputs) {
        let shape: Vec<usize> =
            std::iter::once(BATCH).chain(graph.shape(vertex)?.iter().copied()).collect();
        let mut numbers: HostTensor<f32> = init.uniform(&shape, 1.0)?;
        if graph.topology().name(vertex)? == "tokens" {
            let indices = numbers.data_mut().iter_mut().enumerate();
            indices.for_each(|(k, x)| *x = (k * 5 % 7) as f32);
        }
        drawn.push((vertex, numbers));
    }
    Ok(Model { graph, held: drawn })
}

/// The model in f64 with the very numbers of the one in f32.
pub(crate) fn wide(name: &str) -> Result<Model<f64>> {
    let (mut wide, narrow) = (model::<f64>(name)?, model::<f32>(name)?);
    for (to, from) in wide.graph.parameters_mut().iter_mut().zip(narrow.graph.parameters()) {
        to.assign(&from.to_vec());
    }
    wide.held = narrow.held;
    Ok(wide)
}

/// Every learning event's gradients; zeros where no error has arrived.
fn numbers<T: Tensor>(gradients: &Gradients<T>, parameters: &[T]) -> Vec<Vec<f64>> {
    let list = |(index, parameter): (usize, &T)| {
        let zeros = || vec![0.0; parameter.shape().iter().product()];
        gradients.get(ParamId::new(index)).map_or_else(zeros, Tensor::to_vec)
    };
    parameters.iter().enumerate().map(list).collect()
}

fn schedules(depth: usize) -> Result<Vec<Schedule>> {
    Ok(vec![
        Schedule::backprop(),
        Schedule::fixed_prediction(1.0, depth)?.evaluated_by(Evaluation::Simulate),
        Schedule::fixed_prediction(0.3, 7)?,
        Schedule::standard(0.05, 12)?,
        Schedule::standard(0.05, 6)?.with_momentum(0.5)?,
        Schedule::ipc(0.05, 5)?,
        Schedule::epc(0.05, 6)?,
    ])
}

/// The gradients of two batches' learning events on the host in f64, weights moving between them.
fn expected(name: &str, schedule: &Schedule) -> Result<Vec<Vec<f64>>> {
    let Model { mut graph, held } = wide(name)?;
    let mut clamps = Clamps::new();
    for (vertex, value) in held {
        let mut numbers = HostTensor::<f64>::zeroed(value.dims())?;
        numbers.assign(&value.to_vec());
        clamps = clamps.hold(vertex, numbers);
    }
    let (mut rule, mut sgd) =
        (Relaxation::new(&graph, schedule.clone())?, host::Sgd::new(RATE)?.with_momentum(0.5)?);
    let mut all = Vec::new();
    for _ in 0..2 {
        rule.train(&mut graph, &clamps, |graph, gradients| {
            all.extend(numbers(gradients, graph.parameters()));
            sgd.step(graph.parameters_mut(), gradients)?;
            // Weights are f32 on the device.
            for parameter in graph.parameters_mut() {
                parameter.data_mut().iter_mut().for_each(|x| *x = f64::from(*x as f32));
            }
            Ok(())
        })?;
    }
    Ok(all)
}

/// The largest difference over the largest gradient. Where that is nothing but the host's rounding
/// (softmax does not see the keys' bias), the largest gradient here.
fn distance(found: &[f64], wanted: &[f64]) -> f64 {
    if wanted.iter().all(|x| x.abs() < 1e-13) {
        return found.iter().fold(0.0, |most: f64, x| {
            if most.is_nan() || x.abs() <= most { most } else { x.abs() }
        });
    }
    Agreement::of_slices(found, wanted).max_difference
}

/// The same on the device: the worst distance of any gradient from the host's, and that of all
/// together.
fn distances(
    name: &str,
    schedule: &Schedule,
    device: &Device,
    precision: Precision,
) -> Result<[f64; 2]> {
    let wanted = expected(name, schedule)?;
    let Model { mut graph, held } = model::<f32>(name)?;
    let mut there = graph_to_device(&graph, device, precision)?;
    let mut clamps = Clamps::new();
    for (vertex, value) in held {
        clamps = clamps.hold(vertex, upload(device, &value)?);
    }
    let (mut rule, mut sgd) =
        (Relaxation::new(&there, schedule.clone())?, Sgd::new(RATE)?.with_momentum(0.5)?);
    let mut all: Vec<Vec<f64>> = Vec::new();
    for _ in 0..2 {
        rule.train(&mut there, &clamps, |there, gradients| {
            all.extend(numbers(gradients, there.parameters()));
            sgd.step(there, gradients)
        })?;
    }
    device.synchronize()?;
    assert_eq!(all.len(), wanted.len(), "{name}, {schedule}");
    let mut worst = 0f64;
    for (found, wanted) in all.iter().zip(&wanted) {
        let off = distance(found, wanted);
        // A NaN stays.
        worst = if worst.is_nan() || off <= worst { worst } else { off };
    }
    graph.copy_parameters_from(&there)?;
    let back = |(host, device): (&HostTensor<f32>, &DeviceTensor)| {
        host.data() == device.numbers().unwrap()
    };
    assert!(graph.parameters().iter().zip(there.parameters()).all(back), "{name}");
    Ok([worst, distance(&all.concat(), &wanted.concat())])
}

#[test]
fn every_model_learns_as_on_the_host_by_every_rule() {
    let mut failed = Vec::new();
    for (index, name) in MODELS.into_iter().enumerate() {
        let depth = model::<f32>(name).unwrap().graph.topology().depth().unwrap();
        let device = Device::simulated(&Simulation::new(index as u64)).unwrap();
        for schedule in schedules(depth).unwrap() {
            let [worst, _] = distances(name, &schedule, &device, Precision::F32).unwrap();
            println!("{name}, {schedule}: {worst:.1e}");
            if !(worst <= 1e-5) {
                failed.push(format!("{name}, {schedule}: off by {worst:.1e}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Z-IL asks for levels, which identities on the device make.
#[test]
fn a_levelled_model_learns_by_zil() {
    let (host, device) =
        (wide("residual").unwrap(), Device::simulated(&Simulation::new(2)).unwrap());
    let schedule = Schedule::zil().evaluated_by(Evaluation::Simulate);
    assert_eq!(schedule.learning(), Learning::AtLevel);
    let mut host_graph = host.graph.levelled().unwrap();
    let mut graph = graph_to_device(&host_graph, &device, Precision::F32).unwrap();
    let (mut here, mut there) = (Clamps::new(), Clamps::new());
    for (vertex, value) in &host.held {
        let name =
            model::<f32>("residual").unwrap().graph.topology().name(*vertex).unwrap().to_owned();
        let vertex = host_graph.vertex(&name).unwrap();
        let mut numbers = HostTensor::<f64>::zeroed(value.dims()).unwrap();
        numbers.assign(&value.to_vec());
        here = here.hold(vertex, numbers);
        there = there.hold(vertex, upload(&device, value).unwrap());
    }
    let mut rule = Relaxation::new(&graph, schedule.clone()).unwrap();
    rule.run(&mut graph, &there).unwrap();
    let found = numbers(rule.gradients(), graph.parameters());
    let mut rule = Relaxation::new(&host_graph, schedule).unwrap();
    rule.run(&mut host_graph, &here).unwrap();
    let wanted = numbers(rule.gradients(), host_graph.parameters());
    for (found, wanted) in found.iter().zip(&wanted) {
        let off = distance(found, wanted);
        assert!(off <= 1e-5, "off by {off:.1e}");
    }
}

/// Two instruments report one position, the second three times as precise: it settles at the mean
/// of both, weighted by their precisions.
#[test]
fn a_vertex_settles_between_its_two_predictions() {
    let mut b = Graph::<HostTensor<f32>>::builder();
    let [rough, fine] = ["rough", "fine"].map(|name| b.input(name, &[1]).unwrap());
    let position = b.vertex("position", Box::new(Identity), &[rough], &[]).unwrap();
    b.predict(position, Box::new(Identity), &[fine], &[], 3.0).unwrap();
    let device = Device::simulated(&Simulation::new(3)).unwrap();
    let mut graph = graph_to_device(&b.build().unwrap(), &device, Precision::F32).unwrap();
    let mut rule = Relaxation::new(&graph, Schedule::standard(0.1, 100).unwrap()).unwrap();
    for [one, other] in [[1.0, 4.0], [-2.0, 6.0]] {
        let at = |x: f32| device.tensor(&[1, 1], &[x]).unwrap();
        let clamps = Clamps::new().hold(rough, at(one)).hold(fine, at(other));
        rule.infer(&mut graph, &clamps).unwrap();
        let found = rule.value(&graph, position).unwrap().numbers().unwrap()[0];
        let wanted = (one + 3.0 * other) / 4.0;
        assert!((found - wanted).abs() <= 1e-5, "{found}, not {wanted}");
    }
}

/// Rounded products are near the host's and are not its, bf16's further off than tf32's: a single
/// gradient whose terms cancel less near than all together. A net that is all relus and live has
/// none.
#[test]
fn precisions_round_what_they_may() {
    let device = Device::simulated(&Simulation::new(1)).unwrap();
    let live = Schedule::standard(0.05, 12).unwrap();
    for (name, rounds) in
        [("rnn", true), ("lstm", true), ("residual", true), ("decoder", true), ("cnn", false)]
    {
        let [off, all] = distances(name, &live, &device, Precision::Tf32).unwrap();
        assert!(all <= 3e-3, "{name}: all gradients are off by {all:.1e}");
        assert!(off <= if rounds { 1e-2 } else { 1e-5 }, "{name} is off by {off:.1e}");
        let [further, all] = distances(name, &live, &device, Precision::Bf16).unwrap();
        assert!(all <= 2e-2, "{name}: all gradients are off by {all:.1e}");
        assert!(further <= if rounds { 5e-2 } else { 1e-5 }, "{name} is off by {further:.1e}");
        assert_eq!(further > off, rounds, "{name}: {further:.1e} in bf16, {off:.1e} in tf32");
        let [full, _] = distances(name, &live, &device, Precision::F32).unwrap();
        assert_eq!(off.to_bits() != full.to_bits(), rounds, "{name}: {off:.1e} and {full:.1e}");
    }
}
