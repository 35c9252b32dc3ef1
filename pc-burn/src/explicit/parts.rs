//! Checks of shapes that several vertices share.

use pc_core::{Error, ErrorKind, Result};

pub(super) fn graph(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Graph, message)
}

pub(super) fn shape(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Shape, message)
}

/// The one parent's shape.
pub(super) fn single<'a>(kind: &str, parents: &[&'a [usize]]) -> Result<&'a [usize]> {
    match parents {
        [parent] => Ok(parent),
        _ => Err(graph(format!("a {kind} vertex takes one parent, not {}", parents.len()))),
    }
}

/// The one parent's shape, as `[channels, height, width]`.
pub(super) fn image(kind: &str, parents: &[&[usize]]) -> Result<[usize; 3]> {
    let parent = single(kind, parents)?;
    <[usize; 3]>::try_from(parent).map_err(|_| {
        shape(format!("a {kind} vertex takes a parent [channels, height, width], not {parent:?}"))
    })
}

/// The places of a window of `kernel` elements, `dilation` apart, on `size` elements with so many
/// before and after.
pub(super) fn positions(
    kind: &str,
    size: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    (before, after): (usize, usize),
) -> Result<usize> {
    if kernel == 0 || stride == 0 || dilation == 0 {
        return Err(shape(format!(
            "a {kind} vertex needs a window, a stride and a dilation of at least 1, not {kernel}, \
             {stride} and {dilation}"
        )));
    }
    let reach = (kernel - 1) * dilation + 1;
    let room = (size + before + after).checked_sub(reach);
    let room = room.ok_or_else(|| {
        shape(format!(
            "the window of its {kind} reaches over {reach}, but its parent is {size} \
            long and padded by {before} and {after}"
        ))
    })?;
    Ok(room / stride + 1)
}

/// `[batch, shape...]`.
pub(super) fn with_batch(batch: usize, shape: &[usize]) -> Vec<usize> {
    std::iter::once(batch).chain(shape.iter().copied()).collect()
}
