//! What is given, checked before anything is made of it.

use pc_core::{Error, ErrorKind, Result, Tensor, VertexId};

/// # Errors
/// It is no batch of vectors of this width, or holds numbers that are not finite.
pub(super) fn fits<T: Tensor>(tensor: &T, name: &str, width: usize) -> Result<()> {
    if tensor.batch() == 0 || !tensor.has_batch_shape(tensor.batch(), &[width]) {
        let shape = tensor.shape();
        let why = format!("a tensor [batch, {width}] is needed, not {shape:?}");
        return Err(Error::new(ErrorKind::Shape, why).at(name));
    }
    if !tensor.is_finite() {
        return Err(Error::new(ErrorKind::NotFinite, "a number is not finite").at(name));
    }
    Ok(())
}

/// # Errors
/// There is a control and no input for it, or the other way around.
pub(super) fn paired<T>(
    vertex: Option<VertexId>,
    control: Option<&T>,
) -> Result<Option<(VertexId, &T)>> {
    match (vertex, control) {
        (Some(vertex), Some(control)) => Ok(Some((vertex, control))),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(Error::new(ErrorKind::Clamp, "the frame comes without its control").at("control"))
        }
        (None, Some(_)) => {
            let why = "a control is given, and this network has none: see `Temporal::controlled`";
            Err(Error::new(ErrorKind::Clamp, why))
        }
    }
}
