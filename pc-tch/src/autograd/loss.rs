//! What a loss has to be.

use pc_core::{Error, ErrorKind, Result};
use tch::{Kind, Tensor};

use crate::{autograd::misuse, sys::Nodes, tensor::reported};

/// Checks a loss, and gives what it is driven with.
///
/// # Errors
/// It is not one real number, or needs no gradient.
pub(crate) fn check(loss: &Tensor) -> Result<Tensor> {
    if !loss.defined() {
        return Err(misuse("the loss is an undefined tensor"));
    }
    if loss.numel() != 1 {
        return Err(Error::new(
            ErrorKind::Shape,
            format!(
                "the loss has shape {:?}, but must be one number: take its sum or mean",
                loss.size()
            ),
        ));
    }
    let kind = loss.f_kind().map_err(reported)?;
    if matches!(kind, Kind::ComplexHalf | Kind::ComplexFloat | Kind::ComplexDouble) {
        return Err(misuse(format!(
            "the loss is complex ({kind:?}), and only a real number can be made smaller: take its \
             absolute value or its real part"
        )));
    }
    if !loss.requires_grad() {
        return Err(misuse(
            "the loss depends on nothing that requires a gradient: were the parameters frozen, the \
             model run under `no_grad`, or the result detached?",
        ));
    }
    loss.f_ones_like().map_err(reported)
}

/// The node that made a loss, and as which of its outputs.
///
/// # Errors
/// What libtorch reports.
pub(super) fn root(nodes: &Nodes, loss: &Tensor) -> Result<(usize, usize)> {
    nodes.find(loss)?.ok_or_else(|| Error::new(ErrorKind::Backend, "the loss has no graph"))
}
