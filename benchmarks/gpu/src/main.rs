//! `pc-gpu check` and `pc-gpu bench`: pc-cuda on a machine with a GPU.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod check;
mod nets;

use std::process::ExitCode;

use pc_cuda::Device;

const HELP: &str = "\
Usage: pc-gpu <command>

  check  compare every device primitive with the host layer, bit for bit, and
         whole relaxations with the f64 host backend; exit 1 where they differ;
         `check quick` takes the smallest net alone
  bench  time relaxations of an MLP 784-512-512-10, and of ten layers of 1024,
         beside PyTorch and JAX; `bench mlp` and `bench wide` take one of them

Without a GPU both say so and exit 2.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let command: fn(&Device) -> pc_core::Result<bool> =
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["check"] => check::check,
            ["check", "quick"] => check::quick,
            ["bench"] => |device| bench::bench(device, None),
            ["bench", "mlp"] => |device| bench::bench(device, Some("mlp")),
            ["bench", "wide"] => |device| bench::bench(device, Some("wide")),
            [] | ["help" | "-h" | "--help", ..] => {
                println!("{HELP}\n\nMachine code that came along: {:?}", Device::embedded());
                return ExitCode::SUCCESS;
            }
            [word, ..] => {
                eprintln!("error: no command `{word}`\n\n{HELP}");
                return ExitCode::from(2);
            }
        };
    let device = match Device::cuda(0) {
        Ok(device) => device,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    println!("{}", device.props());
    println!("clusters at once, by size: {:?}", device.props().clusters);
    match command(&device) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
