//! What a mutant has to survive.

use std::{cell::OnceCell, collections::HashMap, env};

use pc_core::{
    Clamps, Loss, Relaxation, Result, Schedule, Start, Tensor,
    host::{Activation, Adam, CrossEntropy, HostTensor, Init, Sgd},
};
use pc_cuda::{AdamW, Device, DeviceProps, FusedNet, Precision, Strategy};

use crate::{
    common::{Case, Expected, Top, chain},
    graphs::{STEPPED, step_by_step},
    mutated::{device, object},
};

/// Widths whose rows can be copied in vectors, and some that cannot; blocks without rows; a block
/// alone; a last slice that is not full; rows long enough for every warp to take two turns; a last
/// layer much smaller than a tile, and one that ends within the last four of sixteen rows; as many
/// layers as a launch takes; outputs that are held, and driven by either loss, with fewer and with
/// more classes than a warp has lanes, and as many as there is room for; live relus.
fn relaxations() -> Result<Vec<(String, Case, f64)>> {
    use Activation::{Identity, Relu, Tanh};
    let shapes = [
        (vec![9, 37, 21, 10], 11, Tanh, Identity, Top::Held),
        (vec![12, 64, 96, 28, 6], 5, Tanh, Tanh, Top::Squared(0.7)),
        (vec![8, 200, 3], 2, Tanh, Identity, Top::Held),
        (vec![4; 17], 1, Tanh, Tanh, Top::Entropy(1.0)),
        (vec![9, 37, 21, 10], 11, Relu, Identity, Top::Held),
        (vec![6, 20, 48], 9, Tanh, Tanh, Top::Entropy(0.7)),
        (vec![6, 520, 15], 2, Tanh, Identity, Top::Held),
    ];
    let mut cases = Vec::new();
    for (widths, batch, act, out, top) in shapes {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            for live in [true, false] {
                // Relus have to cross zero both ways.
                let (rate, steps) = if act == Relu { (0.4, 9) } else { (0.2, 4) };
                let schedule = if live {
                    Schedule::standard(rate, steps)?
                } else {
                    Schedule::fixed_prediction(rate, steps)?
                };
                let blocks = if widths[1] > 500 { 1 } else { 4 };
                for strategy in [Strategy::Cluster(blocks), Strategy::Graph] {
                    let name = format!(
                        "{widths:?} {act:?} {out:?} {precision:?} live {live} {top:?} {strategy:?}"
                    );
                    // A library's products are as good as another's, and bf16's numbers come from
                    // the same places as tf32's.
                    let few = widths.len() == 4 || widths[1] > 500;
                    if precision == Precision::Bf16 && (strategy == Strategy::Graph || !few) {
                        continue;
                    }
                    // Live relus have split products, which have the digits of both parts.
                    let tolerance = match (precision, act == Relu && live) {
                        (Precision::F32, _) | (Precision::Tf32, true) => 1e-5,
                        (Precision::Tf32, false) => 3e-3,
                        (Precision::Bf16, true) => 1e-4,
                        (Precision::Bf16, false) => 2e-2,
                    };
                    let (widths, schedule) = (widths.clone(), schedule.clone());
                    cases.push((
                        name,
                        Case {
                            widths,
                            act,
                            out,
                            batch,
                            schedule,
                            precision,
                            strategy,
                            top,
                            seed: 3,
                        },
                        tolerance,
                    ));
                }
            }
        }
    }
    // Weights that move meanwhile, and a net of more elements than one block of an
    // element-by-element kernel takes.
    for (widths, batch, top) in
        [(vec![9, 37, 21, 10], 11, Top::Held), (vec![7, 130, 6], 17, Top::Entropy(1.0))]
    {
        let (precision, strategy, schedule) =
            (Precision::F32, Strategy::Graph, Schedule::ipc(0.2, 4)?);
        let name = format!("{widths:?} {schedule} {top:?}");
        cases.push((
            name,
            Case {
                widths,
                act: Tanh,
                out: Identity,
                batch,
                schedule,
                precision,
                strategy,
                top,
                seed: 3,
            },
            1e-5,
        ));
    }
    Ok(cases)
}

/// Grouped products. Rows of fewer chunks than there are stages, of as many, and of more; widths
/// that are odd and even, below a tile's, a tile's own and above; fewer samples than a tile has
/// rows, as many, and more. A start at zero, so that the first layer has a residual. Small ones
/// come first, since most mutants fail them.
fn grouped() -> Result<Vec<(String, Case, f64)>> {
    use Activation::{Identity, Relu, Tanh};
    let steps = |rate, count| -> Result<_> {
        Ok([Schedule::standard(rate, count)?, Schedule::fixed_prediction(rate, count)?])
    };
    let (few, both) = (steps(0.2, 2)?, steps(0.2, 3)?);
    // Relus have to cross zero both ways.
    let long = steps(0.4, 9)?;
    let elsewhere = both.clone().map(|schedule| schedule.starting(Start::Zero));
    let shapes = [
        (vec![6, 33, 20, 7], 3, Tanh, Tanh, Top::Squared(0.7), &both),
        (vec![9, 37, 21, 10], 11, Tanh, Identity, Top::Held, &elsewhere),
        (vec![9, 37, 21, 10], 11, Relu, Identity, Top::Held, &long),
        (vec![3, 34, 6], 128, Tanh, Identity, Top::Held, &both),
        (vec![4, 64, 128, 35], 5, Tanh, Tanh, Top::Entropy(1.0), &both),
        (vec![5, 70, 131, 9], 130, Tanh, Identity, Top::Held, &few),
        (vec![3, 388, 200, 6], 7, Tanh, Identity, Top::Held, &few),
        (vec![3, 388, 6], 140, Tanh, Identity, Top::Held, &few),
    ];
    let mut cases = Vec::new();
    for (widths, batch, act, out, top, schedules) in shapes {
        for precision in [Precision::Tf32, Precision::Bf16] {
            for schedule in schedules {
                // Live relus have split products, which have the digits of both parts: 11 and 11
                // bits, or 8 and 8. The kernels' own errors were 4e-7 and 6e-6; those of frozen
                // relus, which are not split, 4e-4 and 2e-3.
                let split = act == Relu && *schedule == long[0];
                let tolerance = match (precision, split) {
                    (Precision::Bf16, false) => 2e-2,
                    (Precision::Bf16, true) => 1e-4,
                    (_, false) => 3e-3,
                    (_, true) => 1e-5,
                };
                let name = format!("{widths:?} {act:?} {out:?} {precision:?} {schedule} {top:?}");
                cases.push((
                    format!("{name} in groups"),
                    Case {
                        widths: widths.clone(),
                        act,
                        out,
                        batch,
                        schedule: schedule.clone(),
                        precision,
                        strategy: Strategy::Gemm,
                        top,
                        seed: 3,
                    },
                    tolerance,
                ));
            }
        }
    }
    Ok(cases)
}

/// Two steps of training by an optimiser on each side, with weights that move while states relax
/// and with momentum of the states.
fn training(device: &Device, adam: bool, schedule: &Schedule) -> Result<f64> {
    let widths = [5, 39, 35, 3];
    let (mut graph, x, y) = chain(&widths, Activation::Tanh, Activation::Identity, 4)?;
    let mut init = Init::new(5);
    let (input, target): (HostTensor<f32>, HostTensor<f32>) =
        (init.uniform(&[33, 5], 1.0).unwrap(), init.uniform(&[33, 3], 1.0).unwrap());
    let mut net = FusedNet::from_graph(&graph, device, Precision::F32)?.relaxed_by(Strategy::Graph);
    let clamps = Clamps::new()
        .hold(x, device.tensor(input.dims(), input.data())?)
        .hold(y, device.tensor(target.dims(), target.data())?);
    let held = Clamps::new().hold(x, input).hold(y, target);
    let (mut here, mut there) =
        (Relaxation::new(&net, schedule.clone())?, Relaxation::new(&graph, schedule.clone())?);
    let (mut sgd, mut adam_w) = (
        pc_cuda::Sgd::new(0.002)?.with_momentum(0.5)?.with_decay(0.01)?,
        AdamW::new(0.002)?.with_decay(0.1)?,
    );
    let (mut host_sgd, mut host_adam) = (
        Sgd::new(0.002)?.with_momentum(0.5)?.with_decay(0.01)?,
        Adam::new(0.002)?.with_decay(0.1)?,
    );
    let mut off = 0f64;
    for _ in 0..2 {
        let outcome = here.train(&mut net, &clamps, |net, g| {
            if adam { adam_w.step(net, g) } else { sgd.step(net, g) }
        })?;
        let expected = there.train(&mut graph, &held, |net, g| {
            if adam {
                host_adam.step(net.parameters_mut(), g)
            } else {
                host_sgd.step(net.parameters_mut(), g)
            }
        })?;
        assert!(expected.energy.total().is_finite());
        off = off.max((outcome.energy.total() / expected.energy.total() - 1.0).abs());
        off = if off.is_nan() { f64::INFINITY } else { off };
    }
    for (found, wanted) in net.parameters().iter().zip(graph.parameters()) {
        let agreement =
            pc_core::Agreement::of_slices(&found.to_vec(), &wanted.to_vec()).relative_norm;
        off = if off.is_nan() || agreement <= off { off } else { agreement };
    }
    Ok(off)
}

/// The loss and its drive, for fewer and for more classes than a warp has lanes.
fn cross_entropy(device: &Device) -> Result<f64> {
    let mut init = Init::new(8);
    let mut off = 0f64;
    for (rows, classes) in [(9, 10), (3, 65)] {
        let mu: HostTensor<f32> = init.uniform(&[rows, classes], 9.0).unwrap();
        let mut target: HostTensor<f32> = init.uniform(&[rows, classes], 0.5).unwrap();
        target.data_mut().iter_mut().for_each(|x| *x = x.abs());
        let upload = |t: &HostTensor<f32>| device.tensor(t.dims(), t.data());
        let (mut on, mut off_device) = (upload(&mu)?, mu.clone());
        let found =
            pc_cuda::CrossEntropy::new(upload(&target)?).evaluate(&upload(&mu)?, &mut on)?;
        let wanted = CrossEntropy::new(target).evaluate(&mu, &mut off_device)?;
        let drive =
            pc_core::Agreement::of_slices(&on.to_vec(), &off_device.to_vec()).max_difference;
        for other in [(found / wanted - 1.0).abs(), drive] {
            off = if off.is_nan() || other <= off { off } else { other };
        }
    }
    device.synchronize()?;
    Ok(if off.is_nan() { f64::INFINITY } else { off })
}

/// What is no single relaxation.
fn others(device: &Device, seed: u64) {
    match cross_entropy(device) {
        Ok(off) if off <= 1e-5 => {}
        Ok(off) => object(&format!("cross-entropy, seed {seed}: off by {off:.1e}")),
        Err(error) => object(&format!("cross-entropy, seed {seed}: {error}")),
    }
    let schedules = [
        (false, Schedule::ipc(0.2, 4).unwrap()),
        (true, Schedule::standard(0.1, 4).unwrap().with_momentum(0.5).unwrap()),
    ];
    for (adam, schedule) in schedules {
        match training(device, adam, &schedule) {
            // Two f32 computations, one of them by Adam, which divides by small roots.
            Ok(off) if off <= 1e-4 => {}
            Ok(off) => object(&format!("training by {schedule}, seed {seed}: off by {off:.1e}")),
            Err(error) => object(&format!("training by {schedule}, seed {seed}: {error}")),
        }
    }
}

#[test]
fn battery() {
    if env::var_os("PC_CUDA_BATTERY").is_none() {
        return;
    }
    // A mistake in a family's file has to show in what that family does, which saves time; one in
    // `pc_math.cuh` may show anywhere.
    let [file, function] =
        ["PC_CUDA_MUTATED", "PC_CUDA_MUTATED_IN"].map(|name| env::var(name).unwrap_or_default());
    let about = |files: &[&str]| {
        ["", "pc_math.cuh"].contains(&file.as_str()) || files.contains(&file.as_str())
    };
    let on_graphs = about(&["relax_graph.cu", "learn.cu", "tensor.cu"]);
    let mut cases = relaxations().unwrap();
    cases.retain(|(_, case, _)| match case.strategy {
        Strategy::Graph => on_graphs,
        _ => about(&["relax_cluster.cu", "pc_products.cuh"]),
    });
    if about(&["pc_grouped.cuh", "relax_gemm.cu", "relax_wgmma.cu"]) {
        cases.extend(grouped().unwrap());
    }
    // Only bf16 has products of warpgroups.
    if file == "relax_wgmma.cu" {
        cases.retain(|(_, case, _)| case.precision == Precision::Bf16);
    }
    // Some devices multiply by warps, and some by warpgroups.
    let all = [DeviceProps::h100(), DeviceProps::a100()];
    let devices = match file.as_str() {
        "relax_gemm.cu" => &all[1..],
        "" | "pc_math.cuh" | "pc_grouped.cuh" => &all[..],
        _ => &all[..1],
    };
    // Most mutants fail early, so the oracle is asked for one case after the other.
    let oracle: Vec<OnceCell<Expected>> = cases.iter().map(|_| OnceCell::new()).collect();
    let mut prints: HashMap<(&str, &str), u64> = HashMap::new();
    for (seed, props) in (0..4).flat_map(|seed| devices.iter().map(move |props| (seed, props))) {
        let device = device(seed, props);
        if seed < 2 && on_graphs {
            others(&device, seed);
        }
        if seed > 0 && seed < 3 && about(&STEPPED) {
            step_by_step(&device, seed, &function);
        }
        for (index, ((name, case, tolerance), expected)) in cases.iter().zip(&oracle).enumerate() {
            if props.clusters.is_empty() && case.strategy != Strategy::Gemm {
                continue;
            }
            // Every case in order, and in one of the unfair orders.
            if seed > 0 && !(index + seed as usize).is_multiple_of(3) {
                continue;
            }
            // The graph's kernels have no order to get wrong, and many tiles no other than few.
            let large = case.strategy == Strategy::Gemm && case.batch > 100;
            if seed > 1 && (case.strategy == Strategy::Graph || large) {
                continue;
            }
            match case.compare(&device, expected.get_or_init(|| case.expected().unwrap())) {
                Ok(verdict) if verdict.worst <= *tolerance => {
                    // The order of threads may not show in a single bit.
                    if *prints.entry((name, &props.name)).or_insert(verdict.fingerprint)
                        != verdict.fingerprint
                    {
                        object(&format!("{name}: seed {seed} has other bits"));
                    }
                }
                Ok(verdict) => {
                    object(&format!("{name}, seed {seed}: off by {:.1e}", verdict.worst))
                }
                Err(error) => object(&format!("{name}, seed {seed}: {error}")),
            }
        }
    }
}
