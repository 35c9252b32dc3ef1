//! Is the device what the tests take it for, and are its gradients right?

use pc_core::{Agreement, Evaluation, Relaxation, Result, Schedule, Tensor};
use pc_cuda::{Device, FusedNet, Precision, Simulation, Strategy, primitives};

use crate::nets::Pair;

/// Everything; false where anything is off.
pub(crate) fn check(device: &Device) -> Result<bool> {
    let bits = primitives_agree(device)?;
    let gradients = gradients_agree(device)?;
    println!("{}", if bits && gradients { "all agree" } else { "NOT all agree" });
    Ok(bits && gradients)
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
    clusters.chain([Strategy::Graph, Strategy::Fastest]).collect()
}

fn gradients_agree(device: &Device) -> Result<bool> {
    let mut good = true;
    let shapes: [(&[usize], usize, usize); 4] = [
        (&[20, 37, 21, 10], 11, 6),
        (&[30, 64, 48, 64, 10], 16, 50),
        (&[10, 24, 24, 24, 24, 24, 24, 24, 24, 24, 6], 13, 30),
        (&[784, 512, 512, 10], 64, 20),
    ];
    for (widths, batch, steps) in shapes {
        for seed in 0..4 {
            let mut pair = Pair::new(device, widths, batch, seed)?;
            for live in [true, false] {
                let schedule = if live { Schedule::standard(0.1, steps)? } else { Schedule::fixed_prediction(0.1, steps)? };
                let schedule = schedule.evaluated_by(Evaluation::Simulate);
                let mut truth = Relaxation::new(&pair.there, schedule.clone())?;
                truth.run(&mut pair.there, &pair.off)?;
                for strategy in strategies(device) {
                    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Tf32, 3e-3)] {
                        let mut net = FusedNet::from_graph(&pair.here, device, precision)?.relaxed_by(strategy);
                        let Ok(plan) = net.plan(batch, live) else { continue };
                        let mut rule = Relaxation::new(&net, schedule.clone())?;
                        rule.run(&mut net, &pair.on)?;
                        let mut worst = 0f64;
                        for ((_, found), (_, wanted)) in rule.gradients().iter().zip(truth.gradients().iter()) {
                            let (found, wanted) = (found.map(Tensor::to_vec), wanted.map(Tensor::to_vec));
                            let off = Agreement::of_slices(&found.unwrap_or_default(), &wanted.unwrap_or_default()).relative_norm;
                            worst = if off <= worst { worst } else { off };
                        }
                        device.synchronize()?;
                        let fine = worst <= tolerance;
                        good &= fine;
                        let mode = if live { "live" } else { "frozen" };
                        let word = if fine { "ok    " } else { "FAILED" };
                        println!("{word} {widths:?} batch {batch} T {steps} seed {seed} {mode} {precision:?} {plan}: {worst:.1e}");
                    }
                }
            }
        }
    }
    Ok(good)
}
