//! Layers as specifications: what a prediction is made of, before it is known of which vertex.

use std::sync::Arc;

use crate::{
    Error, Result,
    graph::GraphBuilder,
    host::{
        Activate, Activation, Element, HostChain, HostTensor, HostVertex, Init, Scale, StartingRule,
    },
    topology::{ParamId, VertexId},
};

/// What one prediction is made of: a vertex for parents of any fitting shapes, the parameters that
/// it takes, and its precision. [`super::HostLayers::layer`] adds it as a new vertex,
/// [`super::HostLayers::layer_prediction`] as a further prediction of an old one.
///
/// [`super::Dense`] and [`super::ConvLayer`] are ready; a layer of one's own is a type with this
/// trait.
///
/// # Example
/// A bias alone:
/// ```
/// use pc_core::{Graph, Result, host::{
///     Activation, AddParameter, HostLayers, HostTensor, HostVertex, Init, Layer, LayerParameter,
/// }};
///
/// struct Shift;
///
/// impl Layer<f32> for Shift {
///     fn vertex(&self, _parents: usize) -> Result<HostVertex<f32>> {
///         Ok(Box::new(AddParameter))
///     }
///     fn parameters(&self, parents: &[&[usize]]) -> Result<Vec<LayerParameter>> {
///         let shapes = parents.iter().take(1);
///         Ok(shapes.map(|s| LayerParameter::bias("shift", s, 1, Activation::Identity)).collect())
///     }
/// }
///
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[3])?;
/// b.layer("y", &[x], &Shift, &mut Init::new(0))?;
/// assert_eq!(b.build()?.parameters()[0].data(), [0.0; 3]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait Layer<F: Element> {
    /// The vertex that predicts from so many parents.
    ///
    /// # Errors
    /// It cannot predict from so many.
    fn vertex(&self, parents: usize) -> Result<HostVertex<F>>;

    /// The parameters for parents of these shapes (without the batch), in the order that the vertex
    /// takes them.
    ///
    /// # Errors
    /// The parents do not fit.
    fn parameters(&self, parents: &[&[usize]]) -> Result<Vec<LayerParameter>>;

    /// The weight of its error in the energy.
    fn precision(&self) -> f64 {
        1.0
    }
}

/// A parameter that a [`Layer`] takes: its name within the layer, its shape, how it starts.
#[derive(Clone, Debug)]
pub struct LayerParameter {
    name: String,
    shape: Vec<usize>,
    fan_in: usize,
    activation: Activation,
    bias: bool,
    rule: Option<Arc<dyn StartingRule>>,
}

impl LayerParameter {
    /// A weight with `fan_in` inputs for each output, next to `activation`.
    pub fn weight(name: &str, shape: &[usize], fan_in: usize, activation: Activation) -> Self {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        Self { name, shape, fan_in, activation, bias: false, rule: None }
    }

    /// The bias of such a weight.
    pub fn bias(name: &str, shape: &[usize], fan_in: usize, activation: Activation) -> Self {
        Self { bias: true, ..Self::weight(name, shape, fan_in, activation) }
    }

    /// Starts by this rule, whatever that of the [`Init`] is.
    #[must_use]
    pub fn start(mut self, rule: Option<Arc<dyn StartingRule>>) -> Self {
        self.rule = rule;
        self
    }

    /// Added to a graph, for the layer `name`.
    pub(super) fn added<F: Element>(
        &self,
        b: &mut GraphBuilder<HostTensor<F>>,
        name: &str,
        init: &mut Init,
    ) -> Result<ParamId> {
        b.parameter(&format!("{name}.{}", self.name), self.value(init)?)
    }

    fn value<F: Element>(&self, init: &mut Init) -> Result<HostTensor<F>> {
        let (shape, fan_in, activation) = (&self.shape, self.fan_in, self.activation);
        match (&self.rule, self.bias) {
            (None, false) => init.weight(shape, fan_in, activation),
            (None, true) => init.bias(shape, fan_in, activation),
            (Some(rule), false) => init.weight_by(&**rule, shape, fan_in, activation),
            (Some(rule), true) => init.bias_by(&**rule, shape, fan_in, activation),
        }
    }
}

/// Where a layer's parameters come from: `&mut init` for new ones, a list of ids (`&[weight,
/// bias]`) for ones that exist, which any number of predictions may share.
#[derive(Debug)]
pub enum Parameters<'a> {
    /// New ones, called by the layer's name and their own.
    New(
        /// How they start.
        &'a mut Init,
    ),
    /// These, in the order that the layer takes them.
    Old(
        /// Their ids.
        &'a [ParamId],
    ),
}

impl<'a> From<&'a mut Init> for Parameters<'a> {
    fn from(init: &'a mut Init) -> Self {
        Self::New(init)
    }
}

impl<'a> From<&'a [ParamId]> for Parameters<'a> {
    fn from(ids: &'a [ParamId]) -> Self {
        Self::Old(ids)
    }
}

impl<'a> From<&'a Vec<ParamId>> for Parameters<'a> {
    fn from(ids: &'a Vec<ParamId>) -> Self {
        Self::Old(ids)
    }
}

impl<'a, const N: usize> From<&'a [ParamId; N]> for Parameters<'a> {
    fn from(ids: &'a [ParamId; N]) -> Self {
        Self::Old(ids)
    }
}

/// The parameters of a layer called `name` above these parents: added, or checked against what the
/// layer takes.
pub(super) fn parameters<F: Element>(
    b: &mut GraphBuilder<HostTensor<F>>,
    name: &str,
    parents: &[VertexId],
    of: &impl Layer<F>,
    from: Parameters<'_>,
) -> Result<Vec<ParamId>> {
    let shapes = parents.iter().map(|parent| b.shape(*parent)).collect::<Result<Vec<_>>>()?;
    let wanted = of.parameters(&shapes)?;
    match from {
        Parameters::New(init) => wanted.iter().map(|own| own.added(b, name, init)).collect(),
        Parameters::Old(ids) => {
            if ids.len() != wanted.len() {
                let names: Vec<&str> = wanted.iter().map(|own| own.name.as_str()).collect();
                return Err(Error::graph(format!(
                    "it takes {} parameters ({}), and {} were given",
                    names.len(),
                    names.join(", "),
                    ids.len()
                )));
            }
            for (id, own) in ids.iter().zip(&wanted) {
                let (called, shape) = b.parameter_named(*id)?;
                if shape != own.shape {
                    return Err(Error::shape(format!(
                        "the parameter `{called}` has the shape {shape:?}, but as its {} it takes \
                         {:?}",
                        own.name, own.shape
                    )));
                }
            }
            Ok(ids.to_vec())
        }
    }
}

/// Adds an activation, unless it is none.
pub(super) fn activate<F: Element>(links: &mut Vec<HostVertex<F>>, activation: Activation) {
    if activation != Activation::Identity {
        links.push(Box::new(Activate(activation)));
    }
}

/// What comes after a linear map: its factor, and an activation. A factor that is not finite is
/// refused by its vertex.
pub(super) fn scale_and_activate<F: Element>(
    links: &mut Vec<HostVertex<F>>,
    factor: f64,
    activation: Activation,
) {
    if factor != 1.0 {
        links.push(Box::new(Scale(factor)));
    }
    activate(links, activation);
}

/// The activation next to a linear map, by which weights start: the one after it, or else before.
pub(super) fn next_to(before: Activation, after: Activation) -> Activation {
    if after == Activation::Identity { before } else { after }
}

/// Vertices one after the other as one; alone, it is itself.
pub(super) fn joined<F: Element>(mut links: Vec<HostVertex<F>>) -> Result<HostVertex<F>> {
    if links.len() == 1 { Ok(links.swap_remove(0)) } else { Ok(Box::new(HostChain::new(links)?)) }
}
