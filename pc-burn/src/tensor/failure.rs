//! Numbers that could not be read: a server that is gone, a device that was lost.
//!
//! An operation of the engine's tensor returns no error. What could not be read is NaN, and why is
//! kept here until the engine asks, so that a lost device is not taken for a relaxation that
//! diverged.

use std::cell::RefCell;

use burn::{
    backend::{Dispatch, DispatchDevice, DispatchTensor, TensorMetadata, ops::FloatTensorOps},
    tensor::{TensorData, try_read_sync},
};
use pc_core::{Error, ErrorKind, Result};

thread_local! {
    /// The first failure since the engine last asked. A relaxation stays on its thread.
    static FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What to do about a server that does not answer, or that waits for another which does not.
const LOST: &str = "; its server is lost, or one that it takes tensors from: start it again, and \
    go on from the last checkpoint";

#[cfg(feature = "remote")]
fn is_elsewhere(device: &DispatchDevice) -> bool {
    matches!(device, DispatchDevice::Remote(_))
}

#[cfg(not(feature = "remote"))]
fn is_elsewhere(_: &DispatchDevice) -> bool {
    false
}

/// The numbers of a float tensor; none where they cannot be read, and then the reason is kept.
pub(super) fn read(tensor: DispatchTensor) -> Option<TensorData> {
    let device = tensor.device();
    let why = match try_read_sync(Dispatch::float_into_data(tensor)) {
        Some(Ok(data)) => return Some(data),
        Some(Err(error)) => error.to_string(),
        None => "the device cannot be waited for on this thread".to_owned(),
    };
    FAILURE.with(|failure| {
        failure.borrow_mut().get_or_insert_with(|| {
            // Burn writes a reason over several lines.
            let why: Vec<&str> = why.lines().map(str::trim).collect();
            let lost = if is_elsewhere(&device) { LOST } else { "" };
            format!("numbers on {device:?} could not be read: {}{lost}", why.join(" "))
        });
    });
    None
}

/// What could not be read on this thread since this was last asked.
///
/// # Errors
/// The first failure.
pub(crate) fn take() -> Result<()> {
    match FAILURE.with(RefCell::take) {
        Some(message) => Err(Error::new(ErrorKind::Backend, message)),
        None => Ok(()),
    }
}
