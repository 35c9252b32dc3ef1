//! What a vertex that is made of others hands on of them.

use crate::{Result, tensor::Tensor, vertex::Vertex};

/// As [`Vertex::inputs_first`], with parameters shared out in order.
pub(crate) fn inputs_first<T: Tensor, V: Vertex<T>>(parts: &[V], mut k: usize) -> bool {
    for part in parts {
        let count = part.parameters();
        if k < count {
            return part.inputs_first(k);
        }
        k -= count;
    }
    false
}

/// As [`Vertex::statistics`], each name after the number of its part.
pub(crate) fn statistics<T: Tensor, V: Vertex<T>>(parts: &[V]) -> Vec<(String, T)> {
    let mut all = Vec::new();
    for (k, part) in parts.iter().enumerate() {
        let own = part.statistics().into_iter();
        all.extend(own.map(|(name, held)| (format!("{k}.{name}"), held)));
    }
    all
}

/// As [`Vertex::set_statistics`].
pub(crate) fn set_statistics<T: Tensor, V: Vertex<T>>(
    parts: &[V],
    statistics: Vec<T>,
) -> Result<()> {
    let mut statistics = statistics.into_iter();
    for part in parts {
        let count = part.statistics().len();
        if count > 0 {
            part.set_statistics(statistics.by_ref().take(count).collect())?;
        }
    }
    Ok(())
}
