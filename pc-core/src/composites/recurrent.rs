//! How the vertices of an LSTM's step hang together.

use std::ops::DerefMut;

use crate::{
    Activation, Result,
    composites::{Gated, SumOfProducts},
    graph::{GraphBuilder, GraphTensor},
    topology::VertexId,
};

/// The gates of an LSTM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `i`: how much of the candidate comes in.
    Input,
    /// `f`: how much of the last cell state stays.
    Forget,
    /// `g`: what may come in.
    Candidate,
    /// `o`: how much of the cell state is shown.
    Output,
}

/// The vertices of one step of an LSTM (Hochreiter and Schmidhuber 1997, with the forget gates of
/// Gers, Schmidhuber and Cummins 2000), each with a state of its own, named `prefix.input`,
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

/// Adds one step of an LSTM whose last cell state is `before`: the four gates by `gate`, which is
/// told what to add and under which name, and the two vertices that they lead to, with the
/// activation `shown` of the cell state. The builder is one, or derefs to one.
///
/// # Errors
/// What `gate` reports; gates of other shapes than the cell state's. What was added by then stays:
/// see [`GraphBuilder::all_or_nothing`].
///
/// # Example
/// Gates that are sums, as a backend without linear maps would have them:
/// ```
/// use pc_core::{Activation, Graph, GraphBuilder, host::HostTensor};
/// use pc_core::composites::{Sum, lstm_cell};
/// let mut b = Graph::<HostTensor<f64>>::builder();
/// let (x, h, c) = (b.input("x", &[5])?, b.input("h", &[5])?, b.input("c", &[5])?);
/// let gate = |b: &mut &mut GraphBuilder<HostTensor<f64>>, _, name: &str| {
///     b.vertex(name, Box::new(Sum::new()), &[x, h], &[])
/// };
/// let cell = lstm_cell(&mut &mut b, "t0", c, Activation::Tanh, gate)?;
/// assert_eq!(b.shape(cell.hidden)?, [5]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn lstm_cell<T: GraphTensor, B: DerefMut<Target = GraphBuilder<T>>>(
    b: &mut B,
    prefix: &str,
    before: VertexId,
    shown: Activation,
    mut gate: impl FnMut(&mut B, Gate, &str) -> Result<VertexId>,
) -> Result<LstmCell> {
    let input = gate(b, Gate::Input, &format!("{prefix}.input"))?;
    let forget = gate(b, Gate::Forget, &format!("{prefix}.forget"))?;
    let candidate = gate(b, Gate::Candidate, &format!("{prefix}.candidate"))?;
    let output = gate(b, Gate::Output, &format!("{prefix}.output"))?;
    let pairs = [forget, before, input, candidate];
    let cell = b.vertex(&format!("{prefix}.cell"), T::boxed(SumOfProducts), &pairs, &[])?;
    let gated = T::boxed(Gated(shown));
    let hidden = b.vertex(&format!("{prefix}.hidden"), gated, &[output, cell], &[])?;
    Ok(LstmCell { input, forget, candidate, output, cell, hidden })
}
