//! What names vertices, predictions and parameters.

use crate::Error;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub(super) usize);

        impl $name {
            /// The id with this index.
            pub const fn new(index: usize) -> Self {
                Self(index)
            }

            /// The index, counted from 0.
            pub const fn index(self) -> usize {
                self.0
            }
        }
    };
}

id! {
    /// Names a vertex of a network.
    VertexId
}
id! {
    /// Names a prediction of a network. A vertex usually has one prediction, but may have several
    /// or none.
    PredictionId
}
id! {
    /// Names a parameter of a network.
    ParamId
}

impl VertexId {
    pub(crate) const FIRST: VertexId = VertexId(0);
}

/// The error of an id that belongs to another graph.
pub(crate) fn foreign_vertex(vertex: VertexId) -> Error {
    Error::graph(format!("vertex {} is not in this graph", vertex.0))
}

/// The same of a prediction.
pub(crate) fn foreign_prediction(prediction: PredictionId) -> Error {
    Error::graph(format!("prediction {} is not in this graph", prediction.0))
}

/// The same of a parameter.
pub(crate) fn foreign_parameter(parameter: ParamId) -> Error {
    Error::graph(format!("parameter {} is not in this graph", parameter.0))
}
