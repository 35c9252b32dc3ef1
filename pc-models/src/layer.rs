//! The dense layer that models are made of, the same on every backend.

use pc_core::{
    Activation, Error, ErrorKind, GraphBuilder, ParamId, PredictionId, Result, VertexId,
    host::{HostTensor, Init},
};

use crate::Backend;

/// A dense layer, `mu = f(W_0 g(v_0) + W_1 g(v_1) + ... + b)`: `f` after the linear map, `g` before
/// it, weights `[outputs, inputs]`. New ones draw the same numbers on every backend.
///
/// # Example
/// ```
/// use pc_core::{Activation, Graph, host::Init};
/// use pc_models::{Dense, Host};
/// let (host, mut init) = (Host::<f32>::new(), Init::new(0));
/// let mut b = Graph::builder();
/// let x = b.input("x", &[3])?;
/// let h = Dense::new(5).after(Activation::Tanh).add(&host, &mut b, "h", &[x], &mut init)?;
/// // And back: a second prediction of `x`.
/// Dense::new(3).predict(&host, &mut b, x, "back", &[h], 0.1, &mut init)?;
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    /// The width of the prediction.
    pub outputs: usize,
    /// `g`, before the linear map.
    pub before: Activation,
    /// `f`, after it.
    pub after: Activation,
    /// Whether there is a bias.
    pub bias: bool,
}

impl Dense {
    /// To so many outputs: with a bias, without activations.
    pub fn new(outputs: usize) -> Self {
        let (before, after) = (Activation::Identity, Activation::Identity);
        Self { outputs, before, after, bias: true }
    }

    /// With an activation before the linear map.
    #[must_use]
    pub fn before(mut self, activation: Activation) -> Self {
        self.before = activation;
        self
    }

    /// With an activation after the linear map.
    #[must_use]
    pub fn after(mut self, activation: Activation) -> Self {
        self.after = activation;
        self
    }

    /// Without a bias.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Adds a vertex `name` that these parents predict so, with new parameters `name.weight` (or
    /// `name.weight.0`, ...) and `name.bias`.
    ///
    /// # Errors
    /// Parents that are no vectors; what the builder and the backend report.
    pub fn add<B: Backend>(
        &self,
        backend: &B,
        b: &mut GraphBuilder<B::Tensor>,
        name: &str,
        parents: &[VertexId],
        init: &mut Init,
    ) -> Result<VertexId> {
        let parameters = self.parameters(backend, b, name, parents, init)?;
        b.vertex(name, backend.dense(self, parents.len())?, parents, &parameters)
    }

    /// Adds a further prediction of `of` from these parents, with new parameters called after
    /// `name`.
    ///
    /// # Errors
    /// Parents that are no vectors; a width that is not that of `of`; what the builder and the
    /// backend report.
    #[allow(clippy::too_many_arguments)]
    pub fn predict<B: Backend>(
        &self,
        backend: &B,
        b: &mut GraphBuilder<B::Tensor>,
        of: VertexId,
        name: &str,
        parents: &[VertexId],
        precision: f64,
        init: &mut Init,
    ) -> Result<PredictionId> {
        let parameters = self.parameters(backend, b, name, parents, init)?;
        b.predict(of, backend.dense(self, parents.len())?, parents, &parameters, precision)
    }

    /// Adds new parameters for these parents, in the order that the vertex takes them.
    ///
    /// # Errors
    /// Parents that are no vectors; what the builder and the backend report.
    pub fn parameters<B: Backend>(
        &self,
        backend: &B,
        b: &mut GraphBuilder<B::Tensor>,
        name: &str,
        parents: &[VertexId],
        init: &mut Init,
    ) -> Result<Vec<ParamId>> {
        let mut inputs = Vec::with_capacity(parents.len());
        for parent in parents {
            let shape = b.shape(*parent)?;
            let &[width] = shape else {
                return Err(Error::new(
                    ErrorKind::Shape,
                    format!(
                        "dense layer `{name}`: its parent has the shape {shape:?}, and a vector is \
                     needed"
                    ),
                ));
            };
            inputs.push(width);
        }
        let fan_in = inputs.iter().sum();
        let next = if self.after == Activation::Identity { self.before } else { self.after };
        let mut ids = Vec::with_capacity(inputs.len() + 1);
        for (k, width) in inputs.iter().enumerate() {
            let drawn: HostTensor<f64> = init.weight(&[self.outputs, *width], fan_in, next)?;
            let several = if inputs.len() > 1 { format!(".{k}") } else { String::new() };
            let own = backend.tensor(drawn.dims(), drawn.data())?;
            ids.push(b.parameter(&format!("{name}.weight{several}"), own)?);
        }
        if self.bias {
            let drawn: HostTensor<f64> = init.bias(&[self.outputs], fan_in, next)?;
            let own = backend.tensor(drawn.dims(), drawn.data())?;
            ids.push(b.parameter(&format!("{name}.bias"), own)?);
        }
        Ok(ids)
    }
}
