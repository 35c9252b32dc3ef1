//! What the vertices check of their parents' shapes.

use crate::{Error, Result};

/// The one parent's shape.
pub(crate) fn single<'a>(kind: &str, parents: &[&'a [usize]]) -> Result<&'a [usize]> {
    match parents {
        [parent] => Ok(parent),
        _ => Err(Error::graph(format!("a {kind} vertex takes one parent, not {}", parents.len()))),
    }
}

/// The one shape of all parents, of which there must be some.
pub(crate) fn common(kind: &str, parents: &[&[usize]]) -> Result<Vec<usize>> {
    let Some((first, others)) = parents.split_first() else {
        return Err(Error::graph(format!("a {kind} vertex takes at least one parent")));
    };
    match others.iter().position(|other| other != first) {
        Some(k) => Err(Error::shape(format!(
            "the parents of a {kind} vertex have one shape, but parent {} has {:?} and parent 0 \
             {first:?}",
            k + 1,
            others[k]
        ))),
        None => Ok(first.to_vec()),
    }
}
