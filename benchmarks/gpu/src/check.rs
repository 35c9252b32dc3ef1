//! Is the device what the tests take it for, and are its gradients right?

use pc_core::{
    Agreement, Clamps, Evaluation, Network, Relaxation, Result, Schedule, Tensor, host::Activation,
};
use pc_cuda::{
    AllReduce, Device, FusedNet, Nccl, Precision, Simulation, Strategy, graph_to_device, primitives,
};

use crate::nets::Pair;

/// Widths, batch and steps.
type Shape = (&'static [usize], usize, usize);

const SHAPES: [Shape; 4] = [
    (&[20, 37, 21, 10], 11, 6),
    (&[30, 64, 48, 64, 10], 16, 50),
    (&[10, 24, 24, 24, 24, 24, 24, 24, 24, 24, 6], 13, 30),
    (&[784, 512, 512, 10], 64, 20),
];

/// How far gradients may lie off, by precision.
const TOLERANCES: [(Precision, f64); 3] =
    [(Precision::F32, 1e-5), (Precision::Tf32, 3e-3), (Precision::Bf16, 2e-2)];

/// Everything; false where anything is off.
pub(crate) fn check(device: &Device) -> Result<bool> {
    check_on(device, &SHAPES)
}

/// The smallest net alone.
pub(crate) fn quick(device: &Device) -> Result<bool> {
    check_on(device, &SHAPES[..1])
}

fn check_on(device: &Device, shapes: &[Shape]) -> Result<bool> {
    let bits = primitives_agree(device)?;
    let chains = gradients_agree(device, shapes)?;
    let graphs = graphs_agree(device)?;
    let sums = sums_agree(device)?;
    let all = bits && chains && graphs && sums;
    println!("{}", if all { "all agree" } else { "NOT all agree" });
    Ok(all)
}

fn primitives_agree(device: &Device) -> Result<bool> {
    let host = Device::simulated(&Simulation::new(0).of(device.props().clone()))?;
    let mut good = true;
    for (found, wanted) in primitives::outputs(device)?.iter().zip(primitives::outputs(&host)?) {
        let differing = found.bits.iter().zip(&wanted.bits).filter(|(a, b)| a != b).count();
        let first = found.bits.iter().zip(&wanted.bits).position(|(a, b)| a != b);
        let whole = found.bits.len() == wanted.bits.len();
        println!(
            "{}: {} words, {differing} differ{}",
            found.name,
            found.bits.len(),
            first.map_or(String::new(), |i| format!(", the first at {i}"))
        );
        good &= whole && differing == 0;
    }
    Ok(good)
}

/// Every strategy that the device has, at least the library's products.
fn strategies(device: &Device) -> Vec<Strategy> {
    let clusters = device.props().clusters.iter().map(|(blocks, _)| Strategy::Cluster(*blocks));
    clusters.chain([Strategy::Gemm, Strategy::Graph, Strategy::Fastest]).collect()
}

fn gradients_agree(device: &Device, shapes: &[Shape]) -> Result<bool> {
    let mut good = true;
    for &(widths, batch, steps) in shapes {
        for seed in 0..4u64 {
            let act = if seed == 3 { Activation::Relu } else { Activation::Tanh };
            let mut pair = Pair::new(device, widths, act, batch, seed % 2 == 1, seed)?;
            for schedule in [
                Schedule::standard(0.1, steps)?,
                Schedule::fixed_prediction(0.1, steps)?,
                Schedule::ipc(0.1, steps)?,
            ] {
                let schedule = schedule.evaluated_by(Evaluation::Simulate);
                let wanted = gradients(&mut pair.there, &pair.off, &schedule)?;
                for strategy in strategies(device) {
                    for (precision, tolerance) in TOLERANCES {
                        let mut net = FusedNet::from_graph(&pair.here, device, precision)?
                            .relaxed_by(strategy)
                            .timed();
                        if net.plan(batch, true).is_err() || net.plan(batch, false).is_err() {
                            continue;
                        }
                        let found = gradients(&mut net, &pair.on, &schedule)?;
                        device.synchronize()?;
                        let worst = worst(&found, &wanted);
                        // What the net left to the engine says nothing of its kernels.
                        let fine =
                            worst <= tolerance && (steps < 3 || net.last_relaxation().is_some());
                        good &= fine;
                        let word = if fine { "ok    " } else { "FAILED" };
                        println!(
                            "{word} {widths:?} {act:?} batch {batch} seed {seed} {schedule} \
                             {precision:?} {strategy:?}: {worst:.1e}"
                        );
                    }
                }
            }
        }
    }
    Ok(good)
}

/// Convolutions and an LSTM step by step, three times each: first as they are asked for, then
/// recorded with several launches in one, then replayed.
fn graphs_agree(device: &Device) -> Result<bool> {
    let mut good = true;
    for (name, seed) in [("convolutions", 0), ("convolutions", 1), ("lstm", 2)] {
        let mut pair = match name {
            "lstm" => Pair::lstm(device, 5, seed)?,
            _ => Pair::convolutions(device, 5, seed)?,
        };
        for schedule in [
            Schedule::standard(0.1, 12)?,
            Schedule::fixed_prediction(0.1, 12)?,
            Schedule::ipc(0.1, 12)?,
        ] {
            let schedule = schedule.evaluated_by(Evaluation::Simulate);
            let wanted = gradients(&mut pair.there, &pair.off, &schedule)?;
            for (precision, tolerance) in TOLERANCES {
                let mut net = graph_to_device(&pair.here, device, precision)?;
                for round in 1..=3 {
                    let (before, asked) = (device.replayed(), device.launches());
                    let found = gradients(&mut net, &pair.on, &schedule)?;
                    device.synchronize()?;
                    let worst = worst(&found, &wanted);
                    let fine = worst <= tolerance;
                    good &= fine;
                    let launches = device.launches();
                    println!(
                        "{} {name} seed {seed} {schedule} {precision:?} round {round}, {} \
                         replayed, {} launches of {}: {worst:.1e}",
                        if fine { "ok    " } else { "FAILED" },
                        device.replayed() - before,
                        launches.made - asked.made,
                        launches.asked - asked.asked
                    );
                }
            }
        }
    }
    Ok(good)
}

/// NCCL's sum over one GPU, where it is: the numbers themselves. It says that the library is found,
/// joined and called rightly, if no more.
fn sums_agree(device: &Device) -> Result<bool> {
    let mut nccl = match Nccl::new(std::slice::from_ref(device)) {
        Ok(nccl) => nccl,
        Err(error) => {
            println!("absent NCCL: {error}");
            return Ok(true);
        }
    };
    let numbers: Vec<f32> = (0..1000u16).map(|k| f32::from(k) * 0.25 - 7.0).collect();
    let mut tensor = device.tensor(&[1000], &numbers)?;
    // Work that is only collected when NCCL is called.
    tensor.scale(2.0);
    nccl.sum(&mut [vec![&mut tensor]])?;
    tensor.scale(0.5);
    let good = tensor.numbers()? == numbers;
    println!("{} NCCL, a sum over one GPU", if good { "ok    " } else { "FAILED" });
    Ok(good)
}

/// How far gradients lie from others at most, relative to their norms; a NaN stays.
fn worst(found: &[Vec<f64>], wanted: &[Vec<f64>]) -> f64 {
    let off = found.iter().zip(wanted).map(|(a, b)| Agreement::of_slices(a, b).relative_norm);
    off.fold(0f64, |worst, off| if worst.is_nan() || off <= worst { worst } else { off })
}

/// Every gradient of every learning event; the weights stay where they are.
fn gradients<N: Network>(
    net: &mut N,
    clamps: &Clamps<N::Tensor>,
    schedule: &Schedule,
) -> Result<Vec<Vec<f64>>> {
    let mut rule = Relaxation::new(net, schedule.clone())?;
    let mut all = Vec::new();
    rule.train(net, clamps, |_, gradients| {
        all.extend(
            gradients.iter().map(|(_, gradient)| gradient.map(Tensor::to_vec).unwrap_or_default()),
        );
        Ok(())
    })?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The host layer stands in for a GPU.
    #[test]
    fn the_check_passes_where_all_is_well() {
        let device = Device::simulated(&Simulation::new(3)).unwrap();
        assert!(quick(&device).unwrap());
    }
}
