//! Recurrent cells.

use crate::{
    Result,
    graph::GraphBuilder,
    host::{Activation, Dense, Element, Gated, HostLayers, HostTensor, Init, SumOfProducts},
    topology::{ParamId, VertexId},
};

/// The parameters of one gate, or of a plain recurrent cell: `f(W_x x + W_h h + b)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateParameters {
    /// `W_x [hidden, inputs]`.
    pub input: ParamId,
    /// `W_h [hidden, hidden]`.
    pub hidden: ParamId,
    /// `b [hidden]`.
    pub bias: ParamId,
}

/// The parameters of an LSTM cell, to be shared by all its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LstmParameters {
    /// Of the input gate.
    pub input: GateParameters,
    /// Of the forget gate.
    pub forget: GateParameters,
    /// Of the candidate, the cell's input.
    pub candidate: GateParameters,
    /// Of the output gate.
    pub output: GateParameters,
}

/// The vertices of one step of an LSTM, each with a state of its own, named `prefix.input`,
/// `prefix.forget`, ...
///
/// # Example
/// Two steps with shared parameters:
/// ```
/// use pc_core::{Graph, host::{HostLayers, HostTensor, Init}};
/// let mut init = Init::new(0);
/// let mut b = Graph::<HostTensor<f64>>::builder();
/// let (h, c) = (b.input("h", &[5])?, b.input("c", &[5])?);
/// let parameters = b.lstm_parameters("lstm", 3, 5, &mut init)?;
/// let x0 = b.input("x0", &[3])?;
/// let first = b.lstm_cell("t0", x0, h, c, &parameters)?;
/// let x1 = b.input("x1", &[3])?;
/// let second = b.lstm_cell("t1", x1, first.hidden, first.cell, &parameters)?;
/// assert_eq!(b.shape(second.hidden)?, [5]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LstmCell {
    /// `i = sigmoid(W_x x + W_h h + b)`.
    pub input: VertexId,
    /// `f = sigmoid(W_x x + W_h h + b)`.
    pub forget: VertexId,
    /// `g = tanh(W_x x + W_h h + b)`.
    pub candidate: VertexId,
    /// `o = sigmoid(W_x x + W_h h + b)`.
    pub output: VertexId,
    /// The new cell state, `f c + i g`.
    pub cell: VertexId,
    /// The new hidden state, `o tanh(f c + i g)`.
    pub hidden: VertexId,
}

pub(super) fn gate_parameters<F: Element>(
    b: &mut GraphBuilder<HostTensor<F>>,
    name: &str,
    inputs: usize,
    hidden: usize,
    activation: Activation,
    init: &mut Init,
) -> Result<GateParameters> {
    let fan_in = inputs.saturating_add(hidden);
    let input = b.parameter(
        &format!("{name}.input_weight"),
        init.weight(&[hidden, inputs], fan_in, activation)?,
    )?;
    let recurrent = b.parameter(
        &format!("{name}.hidden_weight"),
        init.weight(&[hidden, hidden], fan_in, activation)?,
    )?;
    let bias = b.parameter(&format!("{name}.bias"), HostTensor::zeroed(&[hidden])?)?;
    Ok(GateParameters { input, hidden: recurrent, bias })
}

pub(super) fn lstm_parameters<F: Element>(
    b: &mut GraphBuilder<HostTensor<F>>,
    name: &str,
    inputs: usize,
    hidden: usize,
    init: &mut Init,
) -> Result<LstmParameters> {
    let mut gate = |gate: &str, activation| {
        gate_parameters(b, &format!("{name}.{gate}"), inputs, hidden, activation, init)
    };
    Ok(LstmParameters {
        input: gate("input", Activation::Sigmoid)?,
        forget: gate("forget", Activation::Sigmoid)?,
        candidate: gate("candidate", Activation::Tanh)?,
        output: gate("output", Activation::Sigmoid)?,
    })
}

pub(super) fn lstm_cell<F: Element>(
    b: &mut GraphBuilder<HostTensor<F>>,
    prefix: &str,
    [x, h, c]: [VertexId; 3],
    parameters: &LstmParameters,
) -> Result<LstmCell> {
    let hidden = b.last_axis(prefix, h)?;
    let mut gate = |gate: &str, of: &GateParameters, activation| {
        b.layer(
            &format!("{prefix}.{gate}"),
            &[x, h],
            &Dense::new(hidden).activation(activation),
            &[of.input, of.hidden, of.bias],
        )
    };
    let input = gate("input", &parameters.input, Activation::Sigmoid)?;
    let forget = gate("forget", &parameters.forget, Activation::Sigmoid)?;
    let candidate = gate("candidate", &parameters.candidate, Activation::Tanh)?;
    let output = gate("output", &parameters.output, Activation::Sigmoid)?;
    let cell = b.vertex(
        &format!("{prefix}.cell"),
        Box::new(SumOfProducts),
        &[forget, c, input, candidate],
        &[],
    )?;
    let hidden = b.vertex(
        &format!("{prefix}.hidden"),
        Box::new(Gated(Activation::Tanh)),
        &[output, cell],
        &[],
    )?;
    Ok(LstmCell { input, forget, candidate, output, cell, hidden })
}
