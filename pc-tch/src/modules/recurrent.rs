//! Recurrent layers, gate by gate.

use std::borrow::Borrow;

use tch::{
    Device, IndexOp as _, Kind, Tensor,
    nn::{GRUState, Init, LSTMState, Path, RNN, RNNConfig},
};

use crate::marked::named_vertex;

/// The weights of one layer in one direction, a row of gates in each.
#[derive(Debug)]
struct Cell {
    inputs: Tensor,
    hidden: Tensor,
    biases: Option<[Tensor; 2]>,
}

/// What one gate needs: its rows of the weights.
struct Gate {
    inputs: Tensor,
    hidden: Tensor,
    biases: Option<[Tensor; 2]>,
}

impl Gate {
    fn of_inputs(&self, x: &Tensor) -> Tensor {
        x.linear(&self.inputs, self.biases.as_ref().map(|both| &both[0]))
    }

    fn of_hidden(&self, h: &Tensor) -> Tensor {
        h.linear(&self.hidden, self.biases.as_ref().map(|both| &both[1]))
    }

    fn of_both(&self, x: &Tensor, h: &Tensor) -> Tensor {
        self.of_inputs(x) + self.of_hidden(h)
    }
}

impl Cell {
    fn gates<const N: usize>(&self) -> [Gate; N] {
        let size = self.hidden.size().get(1).copied().unwrap_or(0);
        std::array::from_fn(|gate| {
            let rows = |x: &Tensor| x.narrow(0, size * i64::try_from(gate).unwrap_or(0), size);
            Gate {
                inputs: rows(&self.inputs),
                hidden: rows(&self.hidden),
                biases: self.biases.as_ref().map(|both| both.each_ref().map(rows)),
            }
        })
    }
}

/// All layers, and what a configuration says of them.
#[derive(Debug)]
struct Stack {
    cells: Vec<Cell>,
    size: i64,
    config: RNNConfig,
    device: Device,
    kind: Kind,
}

impl Stack {
    /// The variables that tch's own layer makes, in its order, so that a seed gives the same.
    fn new(path: &Path<'_>, inputs: i64, size: i64, gates: i64, config: RNNConfig) -> Self {
        let directions = if config.bidirectional { 2 } else { 1 };
        let mut cells = Vec::new();
        for layer in 0..config.num_layers {
            for direction in 0..directions {
                let from = if layer == 0 { inputs } else { size * directions };
                let suffix = if direction == 1 { "_reverse" } else { "" };
                let var = |kind: &str, shape: &[i64], init: Init| {
                    path.var(&format!("{kind}_l{layer}{suffix}"), shape, init)
                };
                let zero = Init::Const(0.0);
                let inputs = var("weight_ih", &[gates * size, from], config.w_ih_init);
                let hidden = var("weight_hh", &[gates * size, size], config.w_hh_init);
                let biases = config.has_biases.then(|| {
                    [("bias_ih", config.b_ih_init), ("bias_hh", config.b_hh_init)]
                        .map(|(kind, init)| var(kind, &[gates * size], init.unwrap_or(zero)))
                });
                cells.push(Cell { inputs, hidden, biases });
            }
        }
        Self { cells, size, config, device: path.device(), kind: path.kind() }
    }

    fn zeros(&self, batch: i64) -> Tensor {
        let kind = self.cells.first().map_or(self.kind, |cell| cell.inputs.kind());
        let layers = i64::try_from(self.cells.len()).unwrap_or(0);
        Tensor::zeros([layers, batch, self.size], (kind, self.device))
    }

    /// Runs all layers. `direction` runs one over time: it is given a cell, its index and its
    /// input by time, in the order in which it sees it, and returns its output by time.
    fn run(
        &self,
        input: &Tensor,
        mut direction: impl FnMut(&Cell, usize, &[Tensor]) -> Vec<Tensor>,
    ) -> Tensor {
        let time = if self.config.batch_first { 1 } else { 0 };
        let directions = if self.config.bidirectional { 2 } else { 1 };
        let layers = self.cells.chunks(directions);
        let last = layers.len().saturating_sub(1);
        let mut steps = input.unbind(time);
        for (layer, cells) in layers.enumerate() {
            let mut outputs = Vec::new();
            for (way, cell) in cells.iter().enumerate() {
                let backwards = way == 1;
                if backwards {
                    steps.reverse();
                }
                let mut output = direction(cell, layer * directions + way, &steps);
                if backwards {
                    output.reverse();
                }
                outputs.push(output);
            }
            let mut ways = outputs.into_iter();
            let first = ways.next().unwrap_or_default();
            steps = match ways.next() {
                None => first,
                Some(second) => {
                    first.iter().zip(&second).map(|(a, b)| Tensor::cat(&[a, b], -1)).collect()
                }
            };
            if self.config.train && self.config.dropout > 0.0 && layer < last {
                // One mask for all of a layer's outputs, time first, as libtorch draws it.
                steps = Tensor::stack(&steps, 0).dropout(self.config.dropout, true).unbind(0);
            }
        }
        Tensor::stack(&steps, time)
    }
}

/// A long short-term memory whose gates are vertices: [`tch::nn::lstm`]'s parameters, outputs and
/// states, with `i, f, o = sigmoid(W x + b + U h + b')`, `g = tanh(..)`, `c' = f c + i g` and `h' =
/// o tanh c'` each a vertex ([`crate::vertex`]) at every step.
///
/// It is a [`tch::nn::RNN`] and reads the same variables by the same names, so that a weight file
/// of either goes into the other. It runs libtorch's operations step by step, so a plain forward
/// pass takes longer than that of libtorch's own.
///
/// # Example
/// ```
/// use pc_tch::modules::Lstm;
/// use tch::{Device, Kind, Tensor, nn::{self, RNN}};
/// let mut plain = nn::VarStore::new(Device::Cpu);
/// let theirs = nn::lstm(plain.root() / "lstm", 3, 5, Default::default());
/// let mut store = nn::VarStore::new(Device::Cpu);
/// let ours = Lstm::new(store.root() / "lstm", 3, 5, Default::default());
/// store.copy(&plain).expect("the same names and shapes");
/// plain.double();
/// store.double();
/// let x = Tensor::rand([2, 4, 3], (Kind::Double, Device::Cpu));
/// let (a, b) = (ours.seq(&x).0, theirs.seq(&x).0);
/// assert!((a - b).abs().max().double_value(&[]) < 1e-6);
/// ```
#[derive(Debug)]
pub struct Lstm(Stack);

impl Lstm {
    /// From inputs of this size to states of that, as [`tch::nn::lstm`].
    pub fn new<'a>(
        path: impl Borrow<Path<'a>>,
        inputs: i64,
        hidden: i64,
        config: RNNConfig,
    ) -> Self {
        Self(Stack::new(path.borrow(), inputs, hidden, 4, config))
    }
}

impl RNN for Lstm {
    type State = LSTMState;

    fn zero_state(&self, batch: i64) -> LSTMState {
        let zeros = self.0.zeros(batch);
        LSTMState((zeros.shallow_clone(), zeros))
    }

    fn step(&self, input: &Tensor, state: &LSTMState) -> LSTMState {
        let time = if self.0.config.batch_first { 1 } else { 0 };
        self.seq_init(&input.unsqueeze(time), state).1
    }

    fn seq(&self, input: &Tensor) -> (Tensor, LSTMState) {
        let batch = input.size()[usize::from(!self.0.config.batch_first)];
        self.seq_init(input, &self.zero_state(batch))
    }

    fn seq_init(&self, input: &Tensor, state: &LSTMState) -> (Tensor, LSTMState) {
        let LSTMState((first_h, first_c)) = state;
        let (mut hs, mut cs) = (Vec::new(), Vec::new());
        let output = self.0.run(input, |cell, index, steps| {
            let at = i64::try_from(index).unwrap_or(0);
            let (mut h, mut c) = (first_h.i(at), first_c.i(at));
            let [i, f, g, o] = cell.gates();
            let mut output = Vec::with_capacity(steps.len());
            for x in steps {
                let input = named_vertex("lstm.input", &i.of_both(x, &h).sigmoid());
                let forget = named_vertex("lstm.forget", &f.of_both(x, &h).sigmoid());
                let candidate = named_vertex("lstm.candidate", &g.of_both(x, &h).tanh());
                let shown = named_vertex("lstm.output", &o.of_both(x, &h).sigmoid());
                c = named_vertex("lstm.cell", &(forget * &c + input * candidate));
                h = named_vertex("lstm.hidden", &(shown * c.tanh()));
                output.push(h.shallow_clone());
            }
            hs.push(h);
            cs.push(c);
            output
        });
        (output, LSTMState((Tensor::stack(&hs, 0), Tensor::stack(&cs, 0))))
    }
}

/// A gated recurrent unit whose gates are vertices: [`tch::nn::gru`]'s parameters, outputs and
/// states, with `r, z = sigmoid(W x + b + U h + b')`, `n = tanh(W x + b + r (U h + b'))` and `h' =
/// (1 - z) n + z h` each a vertex at every step; as [`Lstm`] in all else.
///
/// # Example
/// ```
/// use pc_tch::modules::Gru;
/// use tch::{Device, Kind, Tensor, nn::{self, RNN}};
/// let store = nn::VarStore::new(Device::Cpu);
/// let gru = Gru::new(store.root(), 3, 5, Default::default());
/// let (output, state) = gru.seq(&Tensor::rand([2, 4, 3], (Kind::Float, Device::Cpu)));
/// assert_eq!((output.size(), state.value().size()), (vec![2, 4, 5], vec![1, 2, 5]));
/// ```
#[derive(Debug)]
pub struct Gru(Stack);

impl Gru {
    /// From inputs of this size to states of that, as [`tch::nn::gru`].
    pub fn new<'a>(
        path: impl Borrow<Path<'a>>,
        inputs: i64,
        hidden: i64,
        config: RNNConfig,
    ) -> Self {
        Self(Stack::new(path.borrow(), inputs, hidden, 3, config))
    }
}

impl RNN for Gru {
    type State = GRUState;

    fn zero_state(&self, batch: i64) -> GRUState {
        GRUState(self.0.zeros(batch))
    }

    fn step(&self, input: &Tensor, state: &GRUState) -> GRUState {
        let time = if self.0.config.batch_first { 1 } else { 0 };
        self.seq_init(&input.unsqueeze(time), state).1
    }

    fn seq(&self, input: &Tensor) -> (Tensor, GRUState) {
        let batch = input.size()[usize::from(!self.0.config.batch_first)];
        self.seq_init(input, &self.zero_state(batch))
    }

    fn seq_init(&self, input: &Tensor, state: &GRUState) -> (Tensor, GRUState) {
        let mut hs = Vec::new();
        let output = self.0.run(input, |cell, index, steps| {
            let mut h = state.0.i(i64::try_from(index).unwrap_or(0));
            let [r, z, n] = cell.gates();
            let mut output = Vec::with_capacity(steps.len());
            for x in steps {
                let reset = named_vertex("gru.reset", &r.of_both(x, &h).sigmoid());
                let update = named_vertex("gru.update", &z.of_both(x, &h).sigmoid());
                let candidate = (n.of_inputs(x) + reset * n.of_hidden(&h)).tanh();
                let candidate = named_vertex("gru.candidate", &candidate);
                h = named_vertex("gru.hidden", &(&candidate + update * (&h - &candidate)));
                output.push(h.shallow_clone());
            }
            hs.push(h);
            output
        });
        (output, GRUState(Tensor::stack(&hs, 0)))
    }
}
