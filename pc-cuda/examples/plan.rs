//! What kernels relax a net, on three devices and on the one here, and the shared memory that they
//! take.
//!
//! `cargo run -p pc-cuda --example plan -- 784 512 512 10` (widths, input first; these where none
//! are given), at batch 64.

use pc_cuda::{Device, DeviceProps, NetShape, Output, Precision, plan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let widths: Vec<usize> =
        std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let widths = if widths.is_empty() { vec![784, 512, 512, 10] } else { widths };
    let mut devices = vec![DeviceProps::a100(), DeviceProps::rtx_4090(), DeviceProps::h100()];
    match Device::cuda(0) {
        Ok(device) => devices.push(device.props().clone()),
        Err(error) => println!("no GPU here: {error}\n"),
    }
    for device in &devices {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            for live in [true, false] {
                let net = NetShape {
                    widths: widths.clone(),
                    batch: 64,
                    live,
                    precision,
                    relu: false,
                    output: Output::Held,
                };
                println!(
                    "{precision:?}, {}\n{}\n",
                    if live { "live" } else { "frozen" },
                    plan(&net, device)?.explain()
                );
            }
        }
    }
    Ok(())
}
