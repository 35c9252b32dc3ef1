//! The same random numbers in every pass of a step, so that dropout keeps one mask.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Distribution, Tensor};

/// Burn's generators belong to the process: passes that set them take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The random numbers of one step.
#[derive(Clone, Debug)]
pub(super) struct Draws {
    devices: Vec<Device>,
    seed: u64,
    /// What the generators give after the program, by device, as the first pass found it.
    after: Option<Vec<u64>>,
}

impl Draws {
    /// Draws the seed of a step.
    pub(super) fn new(devices: &[Device]) -> Self {
        let _turn = turn();
        Self { devices: devices.to_vec(), seed: seed_from(devices), after: None }
    }

    /// Sets the generators to the beginning of the step; no other relaxation does while the guard
    /// lives.
    pub(super) fn rewind(&self) -> MutexGuard<'static, ()> {
        let turn = turn();
        for device in &self.devices {
            device.seed(self.seed);
        }
        turn
    }

    /// Whether the program, which has just run, drew what it drew in the first pass. It did not
    /// where someone else drew from the same generators meanwhile, on another thread.
    pub(super) fn undisturbed(&mut self) -> bool {
        let now: Vec<u64> = self.devices.iter().map(next).collect();
        *self.after.get_or_insert_with(|| now.clone()) == now
    }

    /// Begins again with the same seed.
    pub(super) fn forget(&mut self) {
        self.after = None;
    }
}

/// Runs `program` and tells whether it draws random numbers.
pub(super) fn draws<R>(devices: &[Device], program: &mut impl FnMut() -> R) -> (R, bool) {
    let draws = Draws::new(devices);
    let _turn = draws.rewind();
    let untouched: Vec<u64> = devices.iter().map(next).collect();
    for device in devices {
        device.seed(draws.seed);
    }
    let result = program();
    let touched: Vec<u64> = devices.iter().map(next).collect();
    (result, untouched != touched)
}

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A seed drawn from the first device's generator, which the user may have seeded.
fn seed_from(devices: &[Device]) -> u64 {
    devices.first().map_or(0, next)
}

/// The next number of a device's generator.
fn next(device: &Device) -> u64 {
    let drawn = Tensor::<1>::random([4], Distribution::Uniform(0.0, 1.0), &device.clone().inner());
    drawn
        .into_data()
        .iter::<f64>()
        .fold(0, |seed, x| (seed << 16) ^ (x * f64::from(u32::MAX)) as u64)
}
