//! The same random numbers in every pass of a step, so that dropout keeps one mask.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{Mutex, MutexGuard, PoisonError},
};

use burn::{
    backend::DispatchTensor,
    tensor::{Device, Distribution, Tensor},
};

/// Burn's generators belong to the process: passes that set them take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The tensors that a program has drawn by [`crate::drawn`], in order: the step's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Drawn(Rc<RefCell<Vec<DispatchTensor>>>);

impl Drawn {
    /// What was drawn at this place.
    pub(super) fn get(&self, index: usize) -> Option<DispatchTensor> {
        self.0.borrow().get(index).cloned()
    }

    pub(super) fn push(&self, tensor: DispatchTensor) {
        self.0.borrow_mut().push(tensor);
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

/// The random numbers of one step.
#[derive(Clone, Debug)]
pub(super) struct Draws {
    devices: Vec<Device>,
    /// Drawn from the first device's generator, which the user may have seeded, when it is needed.
    seed: Cell<Option<u64>>,
    /// Whether the program draws from the devices' generators.
    active: bool,
    /// What the generators give after the program, by device, as the first pass found it.
    after: Option<Vec<u64>>,
    /// What belongs to the step itself.
    pub(super) drawn: Drawn,
}

impl Draws {
    /// Of a step that has not drawn yet.
    pub(super) fn new(devices: &[Device]) -> Self {
        Self {
            devices: devices.to_vec(),
            seed: Cell::new(None),
            active: false,
            after: None,
            drawn: Drawn::default(),
        }
    }

    /// Says whether the program draws from the devices' generators.
    pub(super) fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// Sets the generators to the beginning of the step, if the program draws from them; no other
    /// relaxation does while the guard lives. With a salt they are other numbers.
    pub(super) fn rewind(&self, salt: u64) -> Option<MutexGuard<'static, ()>> {
        self.active.then(|| {
            let turn = turn();
            self.seed(salt);
            turn
        })
    }

    /// Whether the program, which has just run, drew what it drew in the first pass. It did not
    /// where someone else drew from the same generators meanwhile, on another thread.
    pub(super) fn undisturbed(&mut self) -> bool {
        if !self.active {
            return true;
        }
        let now = self.next();
        *self.after.get_or_insert_with(|| now.clone()) == now
    }

    /// Begins again with the same seed.
    pub(super) fn forget(&mut self) {
        self.after = None;
    }

    /// Runs `program` from the beginning of the step, and tells whether the devices' generators
    /// moved meanwhile.
    pub(super) fn noticed<R>(&self, program: impl FnOnce() -> R) -> (R, bool) {
        let _turn = turn();
        self.seed(0);
        let untouched = self.next();
        self.seed(0);
        let result = program();
        (result, untouched != self.next())
    }

    fn seed(&self, salt: u64) {
        let seed = self.seed.get().unwrap_or_else(|| self.devices.first().map_or(0, next));
        self.seed.set(Some(seed));
        for device in &self.devices {
            device.seed(seed ^ salt);
        }
    }

    fn next(&self) -> Vec<u64> {
        self.devices.iter().map(next).collect()
    }
}

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The next number of a device's generator.
fn next(device: &Device) -> u64 {
    let drawn = Tensor::<1>::random([4], Distribution::Uniform(0.0, 1.0), &device.clone().inner());
    drawn
        .into_data()
        .iter::<f64>()
        .fold(0, |seed, x| (seed << 16) ^ (x * f64::from(u32::MAX)) as u64)
}
