//! Steps that are recorded and replayed: the same bits as on a device that has met nothing before.

use pc_core::{
    Clamps, Graph, HandOver, Relaxation, Result, Schedule, Tensor,
    host::{ConvLayer, HostLayers, HostTensor, Init},
};
use pc_cuda::{Device, DeviceProps, DeviceTensor, Precision, Sgd, Simulation, graph_to_device};

use crate::{
    graphs::{
        models::{MODELS, Model, model},
        upload,
    },
    rounded::rounded,
};

/// The held values, each times a factor; whole numbers, which may be indices, as they are.
fn clamps(device: &Device, held: &Model<f32>, factor: f32) -> Result<Clamps<DeviceTensor>> {
    let mut clamps = Clamps::new();
    for (vertex, value) in &held.held {
        let indices = value.data().iter().all(|x| x.fract() == 0.0);
        let factor = if indices { 1.0 } else { factor };
        let numbers = value.data().iter().map(|x| factor * x).collect();
        let value = HostTensor::<f32>::new(value.dims(), numbers)?;
        clamps = clamps.hold(*vertex, upload(device, &value)?);
    }
    Ok(clamps)
}

/// What a net has learned in one batch.
fn learned(
    net: &mut Graph<DeviceTensor>,
    rule: &mut Relaxation<Graph<DeviceTensor>>,
    clamps: &Clamps<DeviceTensor>,
) -> Result<Vec<Vec<f32>>> {
    let mut sgd = Sgd::new(0.01)?;
    rule.train(net, clamps, |net, gradients| sgd.step(net, gradients))?;
    net.parameters().iter().map(DeviceTensor::numbers).collect()
}

/// Every model by live, frozen and incremental schedules, batch after batch, with other numbers in
/// the batch, another rate, and weights that were written from outside in between.
#[test]
fn replayed_steps_have_the_bits_of_first_ones() {
    for (index, name) in MODELS.into_iter().enumerate() {
        let Model { graph, held } = model::<f32>(name).unwrap();
        let held = Model { graph, held };
        let seed = index as u64;
        let fresh = || Device::simulated(&Simulation::new(seed)).unwrap();
        let device = fresh();
        let mut net = graph_to_device(&held.graph, &device, Precision::F32).unwrap();
        let schedules = |rate: f64| {
            [
                Schedule::standard(rate, 6).unwrap(),
                Schedule::fixed_prediction(rate, 6)
                    .unwrap()
                    .evaluated_by(pc_core::Evaluation::Simulate),
                Schedule::ipc(rate, 6).unwrap(),
            ]
        };
        let rules = |net: &Graph<DeviceTensor>, rate| {
            schedules(rate).map(|schedule| Relaxation::new(net, schedule).unwrap())
        };
        let mut kept = [rules(&net, 0.1), rules(&net, 0.05)];
        for (batch, factor) in [1.0, 0.5, 1.0, -1.0, 1.0].into_iter().enumerate() {
            let rate = usize::from(batch == 3);
            for (kind, rule) in kept[rate].iter_mut().enumerate() {
                if batch == 4 {
                    net.copy_parameters_from(&held.graph).unwrap();
                }
                // The twin begins where this net is, on a device of its own.
                let other = fresh();
                let mut twin = graph_to_device(&held.graph, &other, Precision::F32).unwrap();
                for (to, from) in twin.parameters_mut().iter_mut().zip(net.parameters()) {
                    to.set_numbers(&from.numbers().unwrap()).unwrap();
                }
                let mut once = rules(&twin, [0.1, 0.05][rate]).into_iter().nth(kind).unwrap();
                let on = clamps(&other, &held, factor).unwrap();
                let wanted = learned(&mut twin, &mut once, &on).unwrap();
                let on = clamps(&device, &held, factor).unwrap();
                let found = learned(&mut net, rule, &on).unwrap();
                assert_eq!(found, wanted, "{name}, batch {batch}, schedule {kind}");
            }
        }
        assert!(device.replayed() >= 15, "{name}: {} pieces were replayed", device.replayed());
    }
}

/// A tensor's memory that goes back while work with it is only collected.
#[test]
fn work_is_done_before_its_memory_goes() {
    let device = Device::simulated(&Simulation::new(0)).unwrap();
    let mut sum = device.tensor(&[8], &[0.0; 8]).unwrap();
    for k in 0..6u8 {
        let mut own = device.tensor(&[8], &[f32::from(k); 8]).unwrap();
        for _ in 0..4 {
            own.scale(0.5);
        }
        sum.axpy(16.0, &own);
        drop(own);
    }
    assert_eq!(sum.numbers().unwrap(), [15.0; 8]);
}

#[test]
fn convolutions_of_bf16_are_near_the_hosts() {
    for (seed, schedule) in
        [Schedule::standard(0.2, 8).unwrap(), Schedule::fixed_prediction(0.2, 8).unwrap()]
            .into_iter()
            .enumerate()
    {
        let device = Device::simulated(&Simulation::new(seed as u64)).unwrap();
        let (off, _) = rounded(&device, schedule.clone()).unwrap();
        assert!(off > 1e-6 && off <= 2e-2, "{schedule}: off by {off:.1e}");
    }
}

/// More samples than have their patches made at a time: the gradients are those of the host.
#[test]
fn a_batch_is_taken_in_groups() {
    let (side, batch) = (16, 45);
    let mut init = Init::new(1);
    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &[1, side, side]).unwrap();
    let layer = ConvLayer::new(2, 3).padding(1).stride(2);
    let first = b.conv("first", x, &layer, &mut init).unwrap();
    let y = b.conv("y", first, &ConvLayer::new(1, 3).stride(2), &mut init).unwrap();
    let mut graph = b.build().unwrap();
    // As little as a GPU of one multiprocessor takes at a time.
    let small = DeviceProps { multiprocessors: 1, ..DeviceProps::a100() };
    let device = Device::simulated(&Simulation::new(2).of(small)).unwrap();
    let mut there = graph_to_device(&graph, &device, Precision::F32).unwrap();
    let (mut on, mut off) = (Clamps::new(), Clamps::new());
    for vertex in [x, y] {
        let mut shape = graph.shape(vertex).unwrap().to_vec();
        shape.insert(0, batch);
        let held: HostTensor<f32> = init.uniform(&shape, 1.0).unwrap();
        on = on.hold(vertex, upload(&device, &held).unwrap());
        off = off.hold(vertex, held);
    }
    let schedule = Schedule::standard(0.2, 3).unwrap();
    let mut rule = Relaxation::new(&there, schedule.clone()).unwrap();
    rule.run(&mut there, &on).unwrap();
    let found: Vec<_> = rule.gradients().iter().map(|(_, g)| g.unwrap().to_vec()).collect();
    let mut rule = Relaxation::new(&graph, schedule).unwrap();
    rule.run(&mut graph, &off).unwrap();
    for ((_, wanted), found) in rule.gradients().iter().zip(&found) {
        let wanted = wanted.unwrap().to_vec();
        let off = pc_core::Agreement::of_slices(found, &wanted).relative_norm;
        assert!(off <= 1e-5, "off by {off:.1e}");
    }
}

/// The steps of an LSTM at all times are the same launches: what is asked for grows with the times,
/// and what becomes of it does not.
#[test]
fn times_of_an_lstm_share_launches() {
    let made = |times: usize| {
        let mut init = Init::new(0);
        let mut b = Graph::<HostTensor<f32>>::builder();
        let parameters = b.lstm_parameters("lstm", 3, 4, &mut init).unwrap();
        let (mut h, mut c) = (b.input("h", &[4]).unwrap(), b.input("c", &[4]).unwrap());
        let mut held = vec![(h, 4), (c, 4)];
        for time in 0..times {
            let x = b.input(&format!("x{time}"), &[3]).unwrap();
            held.push((x, 3));
            let cell = b.lstm_cell(&format!("t{time}"), x, h, c, &parameters).unwrap();
            (h, c) = (cell.hidden, cell.cell);
        }
        held.push((h, 4));
        let device = Device::simulated(&Simulation::new(3)).unwrap();
        let mut net = graph_to_device(&b.build().unwrap(), &device, Precision::F32).unwrap();
        let mut clamps = Clamps::new();
        for (vertex, width) in held {
            let value: HostTensor<f32> = init.uniform(&[2, width], 1.0).unwrap();
            clamps = clamps.hold(vertex, upload(&device, &value).unwrap());
        }
        let mut rule = Relaxation::new(&net, Schedule::standard(0.1, 20).unwrap()).unwrap();
        // Errors reach one time further a step, so that a step is met again in the next run.
        for _ in 0..3 {
            rule.run(&mut net, &clamps).unwrap();
        }
        let before = device.launches();
        rule.run(&mut net, &clamps).unwrap();
        let after = device.launches();
        [after.asked - before.asked, after.made - before.made].map(|count| count as f64 / 20.0)
    };
    let ([few, _], [many, made]) = (made(3), made(28));
    println!("28 times: {made} launches a step of {many}, forward pass and gradients included");
    assert!(many > 3.0 * few, "{many} and {few} were asked for a step");
    assert!(made < 0.15 * many && made < 60.0, "{made} were made of {many}");
}

/// Every kernel of the step-by-step graphs writes only what it says it writes.
#[test]
fn kernels_write_what_they_say() {
    for name in MODELS {
        let Model { graph, held } = model::<f32>(name).unwrap();
        let held = Model { graph, held };
        let device = Device::simulated(&Simulation::new(2).watched()).unwrap();
        for schedule in [Schedule::standard(0.1, 2).unwrap(), Schedule::ipc(0.1, 2).unwrap()] {
            let mut net = graph_to_device(&held.graph, &device, Precision::F32).unwrap();
            let mut rule = Relaxation::new(&net, schedule.clone()).unwrap();
            let on = clamps(&device, &held, 1.0).unwrap();
            learned(&mut net, &mut rule, &on).map_err(|e| format!("{name}: {e}")).unwrap();
        }
    }
}
