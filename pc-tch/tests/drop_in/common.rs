//! What several tests share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Reduction, Tensor, kind::Element, nn::VarStore};

/// f64, on that device.
pub(crate) fn double() -> (Kind, Device) {
    (Kind::Double, device())
}

/// Numbers on that device.
pub(crate) fn tensor<T: Element>(numbers: &[T]) -> Tensor {
    Tensor::from_slice(numbers).to_device(device())
}

/// A model with a batch.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) store: VarStore,
    pub(crate) loss: Box<dyn Fn() -> Tensor>,
}

impl Model {
    /// A forward pass in training mode.
    pub(crate) fn loss(&self) -> Tensor {
        (self.loss)()
    }
}

/// The device that tests run on: `PC_TCH_DEVICE=cuda` points them at the first GPU.
pub(crate) fn device() -> Device {
    match std::env::var("PC_TCH_DEVICE").as_deref() {
        Ok("cuda") => Device::Cuda(0),
        Ok("cpu") | Err(_) => Device::Cpu,
        Ok(other) => panic!("PC_TCH_DEVICE is cpu or cuda, not {other}"),
    }
}

pub(crate) fn new_store(kind: Kind) -> VarStore {
    let mut store = VarStore::new(device());
    store.set_kind(kind);
    store
}

/// `set_kind` holds for the variables made since; batch norm's running statistics are made in f32
/// all the same.
pub(crate) fn settled(mut store: VarStore, kind: Kind) -> VarStore {
    match kind {
        Kind::Double => store.double(),
        _ => store.float(),
    }
    store
}

/// In the logits' own kind; `cross_entropy_for_logits` works in f32 whatever they are.
pub(crate) fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.cross_entropy_loss::<Tensor>(labels, None, Reduction::Mean, -100, 0.0)
}

/// libtorch's default generator is one for the process: tests that draw from it take turns.
pub(crate) fn seeded() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let guard = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    // Waiting threads spin: on a busy machine several cost far more than they bring to small
    // models.
    tch::set_num_threads(1);
    tch::manual_seed(0);
    guard
}

/// The parameters by name, in order.
pub(crate) fn parameters(store: &VarStore) -> Vec<(String, Tensor)> {
    let mut all: Vec<_> =
        store.variables().into_iter().filter(|(_, tensor)| tensor.requires_grad()).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// The parameters' gradients, taken out.
pub(crate) fn take_gradients(store: &VarStore) -> Vec<(String, Option<Tensor>)> {
    parameters(store)
        .into_iter()
        .map(|(name, mut parameter)| {
            let gradient = parameter.grad();
            let taken = gradient.defined().then(|| gradient.copy());
            if gradient.defined() {
                parameter.zero_grad();
            }
            (name, taken)
        })
        .collect()
}

/// `|a - b| / |b|`; absent counts as zeros, and zero over zero is zero.
pub(crate) fn relative(a: Option<&Tensor>, b: Option<&Tensor>) -> f64 {
    let norm = |x: &Tensor| x.to_kind(Kind::Double).norm().double_value(&[]);
    match (a, b) {
        (None, None) => 0.0,
        (Some(a), Some(b)) => {
            assert_eq!(a.size(), b.size());
            let (off, scale) = (norm(&(a - b)), norm(b));
            if off == 0.0 && scale == 0.0 { 0.0 } else { off / scale }
        }
        (Some(a), None) => norm(a) / 0.0_f64.max(f64::MIN_POSITIVE),
        (None, Some(_)) => 1.0,
    }
}

/// The worst relative difference of two sets of gradients, and whose it is.
pub(crate) fn worst(
    ours: &[(String, Option<Tensor>)],
    theirs: &[(String, Option<Tensor>)],
) -> (f64, String) {
    assert_eq!(ours.len(), theirs.len());
    let mut worst = (0.0, String::new());
    for ((name, a), (_, b)) in ours.iter().zip(theirs) {
        let off = relative(a.as_ref(), b.as_ref());
        if off > worst.0 || off.is_nan() {
            worst = (off, name.clone());
        }
    }
    worst
}

/// Backprop's gradients of a model, from a forward pass with this seed.
pub(crate) fn backprop(model: &Model, seed: i64) -> Vec<(String, Option<Tensor>)> {
    tch::manual_seed(seed);
    model.loss().backward();
    take_gradients(&model.store)
}
