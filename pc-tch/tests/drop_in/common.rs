//! What several tests share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Device, Kind, Tensor, kind::Element, nn::VarStore};

pub(crate) use crate::models::device;

use crate::models::Model;

/// f64, on that device.
pub(crate) fn double() -> (Kind, Device) {
    (Kind::Double, device())
}

/// Numbers on that device.
pub(crate) fn tensor<T: Element>(numbers: &[T]) -> Tensor {
    Tensor::from_slice(numbers).to_device(device())
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
