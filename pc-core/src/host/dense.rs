//! The dense layer, as a specification.

use std::sync::Arc;

use crate::{
    Error, Residual, Result, SumOf,
    host::{
        Activation, Element, Fan, HostVertex, Layer, LayerParameter, Linear, LinearMany,
        Parameterisation, Reshape, Starting, StartingRule,
        layer::{activate, joined, next_to, scale_and_activate},
    },
    tensor::elements,
};

/// A linear map with all that may be around it, as one prediction:
/// `f(a (W_0 g(v_0) + W_1 g(v_1) + ... + b))`, and `+ v` of the one parent of a residual
/// connection. `g` and `f` are the activations before and after, `a` a constant factor. A weight
/// `W_k [outputs, in_k]` acts on the last axis of its parent, or on all its numbers where
/// [`Dense::flatten`] is asked for.
///
/// Its parameters are `weight` for one parent, or `weight.0`, `weight.1`, ... for more; and `bias
/// [outputs]` last.
///
/// # Example
/// A layer predicted from two vertices, and then also from above, with less weight:
/// ```
/// use pc_core::{Graph, host::{Activation, Dense, HostLayers, HostTensor, Init, Starting}};
/// let mut init = Init::new(0);
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let (x, z) = (b.input("x", &[8, 8])?, b.input("z", &[3])?);
/// let tanh = Dense::new(20).activation(Activation::Tanh);
/// let h = b.layer("h", &[x, z], &tanh.clone().flatten(), &mut init)?;
/// let y = b.layer("y", &[h], &Dense::new(10).start(Starting::XavierNormal), &mut init)?;
/// let above = tanh.without_bias().precision(0.1);
/// let id = b.layer_prediction("h.above", h, &[y], &above, &mut init)?;
/// assert_eq!(b.build()?.topology().prediction(id)?.of, h);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Dense {
    outputs: usize,
    before: Activation,
    after: Activation,
    bias: bool,
    scale: f64,
    flatten: bool,
    residual: bool,
    precision: f64,
    rule: Option<Arc<dyn StartingRule>>,
}

impl Dense {
    /// To so many outputs: with a bias, and nothing else.
    pub fn new(outputs: usize) -> Self {
        Self {
            outputs,
            before: Activation::Identity,
            after: Activation::Identity,
            bias: true,
            scale: 1.0,
            flatten: false,
            residual: false,
            precision: 1.0,
            rule: None,
        }
    }

    /// An activation after the linear map.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        self.after = activation;
        self
    }

    /// An activation before the linear map, of every parent.
    #[must_use]
    pub fn activation_before(mut self, activation: Activation) -> Self {
        self.before = activation;
        self
    }

    /// Without a bias.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// A constant factor of the linear map, its bias too.
    #[must_use]
    pub fn scale(mut self, factor: f64) -> Self {
        self.scale = factor;
        self
    }

    /// Takes all numbers of every parent as one axis first.
    #[must_use]
    pub fn flatten(mut self) -> Self {
        self.flatten = true;
        self
    }

    /// Adds the parent, of which there is one, to all the rest, which has to be of its shape.
    #[must_use]
    pub fn residual(mut self) -> Self {
        self.residual = true;
        self
    }

    /// The weight of its error in the energy.
    #[must_use]
    pub fn precision(mut self, precision: f64) -> Self {
        self.precision = precision;
        self
    }

    /// Starts by this rule, whatever that of the [`super::Init`] is.
    #[must_use]
    pub fn start(mut self, rule: impl StartingRule + 'static) -> Self {
        self.rule = Some(Arc::new(rule));
        self
    }

    /// Starts and is scaled by a parameterisation, as its weight's place in the net asks: the short
    /// form of [`Dense::start`] and [`Dense::scale`].
    #[must_use]
    pub fn parameterised(self, by: Parameterisation, fan: Fan) -> Self {
        self.start(Starting::Normal(by.deviation(fan.inputs()))).scale(by.factor(fan))
    }

    /// What comes before one parent's map, and the map.
    fn map<F: Element>(&self, bias: bool) -> Vec<HostVertex<F>> {
        let mut links: Vec<HostVertex<F>> = Vec::new();
        if self.flatten {
            links.push(Box::new(Reshape::flatten()));
        }
        activate(&mut links, self.before);
        links.push(Box::new(if bias { Linear::new() } else { Linear::without_bias() }));
        links
    }
}

impl<F: Element> Layer<F> for Dense {
    fn vertex(&self, parents: usize) -> Result<HostVertex<F>> {
        let mut links: Vec<HostVertex<F>> = if parents == 1 {
            self.map(self.bias)
        } else if self.flatten || self.before != Activation::Identity {
            let maps = (1..=parents).map(|k| joined(self.map(self.bias && k == parents)));
            vec![Box::new(SumOf::new(maps.collect::<Result<Vec<HostVertex<F>>>>()?))]
        } else if self.bias {
            vec![Box::new(LinearMany::new(parents))]
        } else {
            vec![Box::new(LinearMany::without_bias(parents))]
        };
        scale_and_activate(&mut links, self.scale, self.after);
        let all = joined(links)?;
        Ok(if self.residual { Box::new(Residual::new(all)) } else { all })
    }

    fn parameters(&self, parents: &[&[usize]]) -> Result<Vec<LayerParameter>> {
        let mut inputs = Vec::with_capacity(parents.len());
        for parent in parents {
            inputs.push(match (self.flatten, parent.last()) {
                (true, _) => elements(parent)?,
                (false, Some(last)) => *last,
                (false, None) => {
                    return Err(Error::shape("its parent is a scalar, and has no last axis"));
                }
            });
        }
        let fan_in = inputs.iter().fold(0, |sum: usize, own| sum.saturating_add(*own));
        let next = next_to(self.before, self.after);
        let several = inputs.len() > 1;
        let weights = inputs.iter().enumerate().map(|(k, own)| {
            let name = if several { format!("weight.{k}") } else { "weight".to_owned() };
            LayerParameter::weight(&name, &[self.outputs, *own], fan_in, next)
        });
        let bias = LayerParameter::bias("bias", &[self.outputs], fan_in, next);
        let all = weights.chain(self.bias.then_some(bias));
        Ok(all.map(|own| own.start(self.rule.clone())).collect())
    }

    fn precision(&self) -> f64 {
        self.precision
    }
}
