//! Recurrent cells.

use crate::{
    Result,
    composites::{self, Gate, LstmCell},
    graph::GraphBuilder,
    host::{Activation, Dense, Element, HostLayers, HostTensor, Init},
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
    mut b: &mut GraphBuilder<HostTensor<F>>,
    prefix: &str,
    [x, h, c]: [VertexId; 3],
    parameters: &LstmParameters,
) -> Result<LstmCell> {
    let hidden = b.last_axis(prefix, h)?;
    composites::lstm_cell(&mut b, prefix, c, Activation::Tanh, |b, gate, name| {
        let (of, activation) = match gate {
            Gate::Input => (&parameters.input, Activation::Sigmoid),
            Gate::Forget => (&parameters.forget, Activation::Sigmoid),
            Gate::Candidate => (&parameters.candidate, Activation::Tanh),
            Gate::Output => (&parameters.output, Activation::Sigmoid),
        };
        let dense = Dense::new(hidden).activation(activation);
        b.layer(name, &[x, h], &dense, &[of.input, of.hidden, of.bias])
    })
}
