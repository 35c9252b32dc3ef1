//! Vertices from what they say they are made of.

use crate::{
    Identity,
    composites::{
        AddParameter, Concat, Gated, Product, Reshape, Scale, Split, Sum, SumOfProducts, SwapAxes,
    },
    graph::GraphTensor,
    structure::Structure,
};

/// The vertex of this structure on a backend's tensors, if it is one of those that are written once
/// for all backends. What is a backend's own (linear maps, activations, ...) and what holds other
/// vertices (chains, sums of vertices, residual connections) gives `None`.
///
/// # Example
/// ```
/// use pc_core::{backend::{Structure, Vertex}, composites::rebuilt, host::HostTensor};
/// let scale = rebuilt::<HostTensor<f32>>(&Structure::Scale(2.0)).ok_or("none")?;
/// assert_eq!(scale.kind(), "scale");
/// assert!(rebuilt::<HostTensor<f32>>(&Structure::Linear { bias: true }).is_none());
/// # Ok::<(), &str>(())
/// ```
pub fn rebuilt<T: GraphTensor>(structure: &Structure) -> Option<T::Vertex> {
    Some(match structure {
        Structure::Identity => T::boxed(Identity),
        Structure::Sum { weights } => T::boxed(Sum::weighted(weights)),
        Structure::Scale(factor) => T::boxed(Scale(*factor)),
        Structure::AddParameter => T::boxed(AddParameter),
        Structure::Product => T::boxed(Product),
        Structure::SumOfProducts => T::boxed(SumOfProducts),
        Structure::Gated(activation) => T::boxed(Gated(*activation)),
        Structure::Concat { axis } => T::boxed(Concat { axis: *axis }),
        &Structure::Split { axis, start, length } => T::boxed(Split { axis, start, length }),
        Structure::Reshape { shape: None } => T::boxed(Reshape::flatten()),
        Structure::Reshape { shape: Some(shape) } => T::boxed(Reshape::to(shape)),
        Structure::SwapAxes => T::boxed(SwapAxes),
        _ => return None,
    })
}
