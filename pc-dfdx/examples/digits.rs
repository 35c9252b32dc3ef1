//! A dfdx program like any other: a net learns handwritten digits, by predictive coding.
//!
//! ```text
//! cargo run --release -p pc-dfdx --example digits
//! ```
//! `digits_backprop` is the same program by backprop.

#[allow(clippy::duplicate_mod)]
#[path = "common/mod.rs"]
mod common;

use common::{accuracy, batches, data};
use dfdx::{
    nn::builders::*,
    optim::{Adam, AdamConfig},
    prelude::*,
};
use pc_core::Schedule;
use pc_dfdx::{LossReduction, PredictiveCoding};

type Net = ((Linear<64, 128>, ReLU), (Linear<128, 128>, ReLU), Linear<128, 10>);

/// Times through the data.
pub(crate) const EPOCHS: usize = 20;

/// What can go wrong.
type Failure = Box<dyn std::error::Error>;

/// Trains for some epochs and returns the share of held-out pictures that are read correctly.
///
/// # Errors
/// What dfdx or the relaxation reports.
pub(crate) fn train(epochs: usize, seed: u64) -> Result<f64, Failure> {
    let device = Cpu::seed_from_u64(seed);
    let (training, held_out) = data();
    let mut model = device.build_module::<Net, f32>();
    let mut pc = PredictiveCoding::new(Schedule::standard(0.02, 20)?, LossReduction::Mean);
    let mut optimiser = Adam::new(&model, AdamConfig { lr: 1e-3, ..Default::default() });
    for _ in 0..epochs {
        for (pictures, labels) in batches(&device, &training) {
            let loss = move |logits| cross_entropy_with_logits_loss(logits, labels.clone());
            let gradients = pc.learn(&mut model, pictures, loss)?.gradients;
            optimiser.update(&mut model, &gradients)?;
        }
    }
    let pictures = held_out.iter().flat_map(|(picture, _)| *picture).collect::<Vec<_>>();
    let pictures = device.tensor_from_vec(pictures, (held_out.len(), Const::<64>));
    Ok(accuracy(model.forward(pictures).as_vec(), &held_out))
}

fn main() -> Result<(), Failure> {
    let right = train(EPOCHS, 0)?;
    println!("{:.1} % of the held-out pictures are read correctly", 100.0 * right);
    Ok(())
}
