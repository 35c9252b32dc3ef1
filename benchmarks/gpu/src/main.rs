//! `pc-gpu check` and `pc-gpu bench`: pc-cuda on a machine with a GPU.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bench;
mod check;
mod graphs;
mod nets;

use std::process::ExitCode;

use pc_cuda::Device;

const HELP: &str = "\
Usage: pc-gpu <command>

  check  compare every device primitive with the host layer, bit for bit, and
         whole relaxations with the f64 host backend; exit 1 where they differ;
         `check quick` takes the smallest net alone
  bench  time relaxations of an MLP 784-512-512-10, and of ten layers of 1024,
         beside PyTorch and JAX, and training passes of other nets, VGG5's beside
         PyTorch; `bench NAME` takes one: mlp, wide, vgg5, vgg5-max, lenet, lstm

Without a GPU both say so and exit 2.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let command: &dyn Fn(&Device) -> pc_core::Result<bool> = match words.as_slice() {
        ["check"] => &check::check,
        ["check", "quick"] => &check::quick,
        ["bench"] => &|device| bench::bench(device, None),
        ["bench", name] if bench::knows(name) => &|device| bench::bench(device, Some(name)),
        [] | ["help" | "-h" | "--help", ..] => {
            println!("{HELP}\n\nMachine code that came along: {:?}", Device::embedded());
            return ExitCode::SUCCESS;
        }
        words => {
            eprintln!("error: no command `{}`\n\n{HELP}", words.join(" "));
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
