//! An LSTM's step and self-attention, every gate and every product a vertex of its own.

use burn::nn::{Lstm, activation::Activation as BurnActivation, attention::MultiHeadAttention};
use pc_core::{
    GraphBuilder, ParamId, Result, VertexId,
    composites::{self, Attention, AttentionMap, AttentionParts, Gate, LstmCell},
    host::Activation,
};

use super::{Linear, MatMul, ModuleGraph, Softmax, builder::BurnVertex, parts::graph};
use crate::BurnTensor;

/// A module's maps, and this crate's products and softmax.
struct Parts<'a> {
    graph: &'a mut ModuleGraph,
    module: &'a MultiHeadAttention,
}

impl AttentionParts for Parts<'_> {
    type Tensor = BurnTensor;

    fn builder(&mut self) -> &mut GraphBuilder<BurnTensor> {
        self.graph
    }

    fn map(&mut self, map: AttentionMap, name: &str) -> Result<(BurnVertex, Vec<ParamId>)> {
        let linear = match map {
            AttentionMap::Queries => &self.module.query,
            AttentionMap::Keys => &self.module.key,
            AttentionMap::Values => &self.module.value,
            AttentionMap::Output => &self.module.output,
        };
        let bias = linear.bias.as_ref();
        let parameters = self.graph.weight_and_bias(name, &linear.weight, bias)?;
        Ok((Box::new(Linear::of(&[bias.is_some()])), parameters))
    }

    fn product(&self, transpose_b: bool, scale: f64) -> BurnVertex {
        Box::new(MatMul { transpose_b, scale })
    }

    fn softmax(&self, causal: bool) -> BurnVertex {
        Box::new(if causal { Softmax::causal() } else { Softmax::new() })
    }
}

fn known(activation: &BurnActivation) -> Result<Activation> {
    Ok(match activation {
        BurnActivation::Identity(_) => Activation::Identity,
        BurnActivation::Relu(_) => Activation::Relu,
        BurnActivation::LeakyRelu(leaky) => Activation::LeakyRelu(leaky.negative_slope),
        BurnActivation::Sigmoid(_) => Activation::Sigmoid,
        BurnActivation::Tanh(_) => Activation::Tanh,
        BurnActivation::Gelu(gelu) if !gelu.approximate => Activation::Gelu,
        other => {
            return Err(graph(format!(
                "this activation is not known as an analytic vertex: {other:?}"
            )));
        }
    })
}

impl ModuleGraph {
    /// One step of an LSTM from the input `x`, the last hidden state `h` and the last cell state
    /// `c`: six vertices, named `prefix.input` and so on. Call it once for each step; the
    /// parameters are shared.
    ///
    /// # Errors
    /// Coupled gates or a clipped cell state; an activation that is not known; as the other layers.
    pub fn lstm_cell(
        &mut self,
        prefix: &str,
        x: VertexId,
        h: VertexId,
        c: VertexId,
        module: &Lstm,
    ) -> Result<LstmCell> {
        self.all_or_nothing(|b| {
            let Some(forget) = module.forget_gate.as_ref().filter(|_| !module.input_forget) else {
                return Err(graph(
                    "an LSTM whose input and forget gates are coupled is not known as vertices",
                )
                .at(prefix));
            };
            if module.clip.is_some() {
                return Err(
                    graph("an LSTM that clips its cell state is not known as vertices").at(prefix)
                );
            }
            let gate = known(&module.gate_activation).map_err(|error| error.at(prefix))?;
            let cell = known(&module.cell_activation).map_err(|error| error.at(prefix))?;
            let shown = known(&module.hidden_activation).map_err(|error| error.at(prefix))?;
            composites::lstm_cell(b, prefix, c, shown, |b, of, name| {
                let (of, activation) = match of {
                    Gate::Input => (&module.input_gate, gate),
                    Gate::Forget => (forget, gate),
                    Gate::Candidate => (&module.cell_gate, cell),
                    Gate::Output => (&module.output_gate, gate),
                };
                let parents = [(x, &of.input_transform), (h, &of.hidden_transform)];
                b.linear_many(name, &parents, activation)
            })
        })
    }

    /// Self-attention over a sequence `[length, width]`: seven vertices, named `prefix.queries` and
    /// so on. Causal: no place sees those after it. The module's dropout is left out.
    ///
    /// # Errors
    /// A parent of another shape; a quiet softmax; as the other layers.
    pub fn self_attention(
        &mut self,
        prefix: &str,
        parent: VertexId,
        module: &MultiHeadAttention,
        causal: bool,
    ) -> Result<Attention> {
        self.all_or_nothing(|b| {
            if module.quiet_softmax {
                return Err(graph("a quiet softmax is not known as a vertex").at(prefix));
            }
            let mut parts = Parts { graph: b, module };
            composites::self_attention(&mut parts, prefix, parent, module.n_heads, causal)
        })
    }
}
