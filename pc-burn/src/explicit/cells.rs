//! An LSTM's step and self-attention, every gate and every product a vertex of its own.

use burn::nn::{
    GateController, Lstm, activation::Activation as BurnActivation, attention::MultiHeadAttention,
};
use pc_core::{Result, VertexId, host::Activation};

use super::{
    Gated, Linear, MatMul, ModuleGraph, Reshape, Softmax, SumOfProducts, SwapAxes,
    builder::BurnVertex,
    layers::in_one,
    parts::{graph, shape},
};

/// The vertices of one step of an LSTM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LstmCell {
    /// `i = s(x W + h U + b)`.
    pub input: VertexId,
    /// `f = s(x W + h U + b)`.
    pub forget: VertexId,
    /// `o = s(x W + h U + b)`.
    pub output: VertexId,
    /// `g = tanh(x W + h U + b)`.
    pub candidate: VertexId,
    /// `c = f c_before + i g`.
    pub cell: VertexId,
    /// `h = o tanh(c)`.
    pub hidden: VertexId,
}

/// The vertices of self-attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// `[heads, length, width of a head]`.
    pub queries: VertexId,
    /// As the queries.
    pub keys: VertexId,
    /// As the queries.
    pub values: VertexId,
    /// `q k^T / sqrt(width of a head)`.
    pub scores: VertexId,
    /// The softmax of the scores.
    pub weights: VertexId,
    /// The weighted values, the heads one after the other: `[length, width]`.
    pub mix: VertexId,
    /// The module's output map of the mix.
    pub output: VertexId,
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
            let hidden = known(&module.hidden_activation).map_err(|error| error.at(prefix))?;
            let mut add = |name: &str, gate: &GateController, activation: Activation| {
                b.linear_many(
                    &format!("{prefix}.{name}"),
                    &[(x, &gate.input_transform), (h, &gate.hidden_transform)],
                    activation,
                )
            };
            let input = add("input", &module.input_gate, gate)?;
            let forget = add("forget", forget, gate)?;
            let output = add("output", &module.output_gate, gate)?;
            let candidate = add("candidate", &module.cell_gate, cell)?;
            let cell = b.add(
                &format!("{prefix}.cell"),
                Box::new(SumOfProducts),
                &[forget, c, input, candidate],
                &[],
            )?;
            let hidden =
                b.add(&format!("{prefix}.hidden"), Box::new(Gated(hidden)), &[output, cell], &[])?;
            Ok(LstmCell { input, forget, output, candidate, cell, hidden })
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
            let &[length, width] = b.shape(parent)? else {
                return Err(shape(format!(
                    "b-attention takes a parent [length, width], not {:?}",
                    b.shape(parent)?
                ))
                .at(prefix));
            };
            if module.quiet_softmax {
                return Err(graph("a quiet softmax is not known as a vertex").at(prefix));
            }
            let (heads, part) = (module.n_heads, module.d_k);
            if heads * part != width {
                return Err(shape(format!(
                "its module has {heads} heads of width {part}, but its parent has the width {width}"
            ))
            .at(prefix));
            }
            let mut project = |name: &str, linear: &burn::nn::Linear| {
                let name = format!("{prefix}.{name}");
                let parameters = b.weight_and_bias(&name, &linear.weight, linear.bias.as_ref())?;
                let links: [BurnVertex; 3] = [
                    Box::new(Linear::of(&[linear.bias.is_some()])),
                    Box::new(Reshape::to(&[length, heads, part])),
                    Box::new(SwapAxes),
                ];
                b.add(&name, in_one(links)?, &[parent], &parameters)
            };
            let (queries, keys) =
                (project("queries", &module.query)?, project("keys", &module.key)?);
            let values = project("values", &module.value)?;
            let product = MatMul { transpose_b: true, scale: 1.0 / (part as f64).sqrt() };
            let scores = b.matmul(&format!("{prefix}.scores"), queries, keys, product)?;
            let softmax = if causal { Softmax::causal() } else { Softmax::new() };
            let weights = b.add(&format!("{prefix}.weights"), Box::new(softmax), &[scores], &[])?;
            let links: [BurnVertex; 3] = [
                Box::new(MatMul::default()),
                Box::new(SwapAxes),
                Box::new(Reshape::to(&[length, width])),
            ];
            let mix = b.add(&format!("{prefix}.mix"), in_one(links)?, &[weights, values], &[])?;
            let output =
                b.linear(&format!("{prefix}.output"), mix, &module.output, Activation::Identity)?;
            Ok(Attention { queries, keys, values, scores, weights, mix, output })
        })
    }
}
