//! The nets, described without any framework.

use crate::activation::Activation;

/// What predicts a vertex. Parameters follow the usual layouts: `W [out, in]`, `b [out]`, kernels
/// `[out, in, height, width]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// `f(W v + b)`: parameters `W`, `b`.
    Dense(Activation),
    /// `f(W_1 v_1 + W_2 v_2)`, one weight for each parent and no bias.
    DenseSum(Activation),
    /// Max pool of `f(conv(v) + b)`: parameters kernel, `b`.
    Conv {
        /// Zeros around the picture.
        padding: usize,
        /// The nonlinearity.
        activation: Activation,
        /// Side and stride of the pooling window.
        pool: usize,
    },
    /// All axes but the batch as one.
    Flatten,
    /// The sum of the parents.
    Sum,
    /// The product of two parents, element by element.
    Product,
    /// `f(v)`.
    Activate(Activation),
}

/// One vertex of a [`Net`].
#[derive(Clone, Debug, PartialEq)]
pub struct NetVertex {
    /// Its name.
    pub name: String,
    /// What predicts it.
    pub operation: Operation,
    /// The vertices it is predicted from, by their numbers in the net, inputs counted first. These
    /// are not ids: what a backend makes of the net has its own. In a cyclic net parents may come
    /// later.
    pub parents: Vec<usize>,
    /// The parameters used, by their numbers in the net.
    pub parameters: Vec<usize>,
    /// Its shape, without the batch.
    pub shape: Vec<usize>,
    /// The weight of its error.
    pub precision: f64,
}

/// A small net with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Net {
    /// Its name, for the report.
    pub name: &'static str,
    /// The samples in its batch.
    pub batch: usize,
    /// Shapes of the inputs, without the batch, and their values, `batch` rows.
    pub inputs: Vec<(Vec<usize>, Vec<f64>)>,
    /// The other vertices, in order.
    pub vertices: Vec<NetVertex>,
    /// Names, shapes and values of the parameters.
    pub parameters: Vec<(String, Vec<usize>, Vec<f64>)>,
    /// Vertices with a target, and the targets.
    pub outputs: Vec<(usize, Vec<f64>)>,
    /// Whether some parent comes after its child.
    pub cyclic: bool,
}

impl Net {
    /// The shape of a vertex, without the batch.
    pub fn shape(&self, vertex: usize) -> &[usize] {
        match self.inputs.get(vertex) {
            Some((shape, _)) => shape,
            None => &self.vertices[vertex - self.inputs.len()].shape,
        }
    }

    /// The shape of a vertex, batch first.
    pub fn batch_shape(&self, vertex: usize) -> Vec<usize> {
        std::iter::once(self.batch).chain(self.shape(vertex).iter().copied()).collect()
    }

    /// The same net with another number of samples: its own over again, smaller each time round.
    pub(super) fn with_batch(&self, batch: usize) -> Self {
        let own = self.batch;
        let rows = |values: &[f64]| -> Vec<f64> {
            let width = values.len() / own;
            let row = |sample: usize| {
                let scale = 1.0 / (1 + sample / own) as f64;
                values[sample % own * width..][..width].iter().map(move |x| x * scale)
            };
            // Rounded to what f32 holds, as all numbers here.
            (0..batch).flat_map(row).map(|x| f64::from(x as f32)).collect()
        };
        Self {
            batch,
            inputs: self.inputs.iter().map(|(s, values)| (s.clone(), rows(values))).collect(),
            outputs: self.outputs.iter().map(|(k, values)| (*k, rows(values))).collect(),
            ..self.clone()
        }
    }

    /// The inputs and what they are held at.
    pub fn held(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.inputs.iter().enumerate().map(|(index, (_, values))| (index, values.as_slice()))
    }

    /// The outputs and their targets.
    pub fn targets(&self) -> impl Iterator<Item = (usize, &[f64])> {
        self.outputs.iter().map(|(index, values)| (*index, values.as_slice()))
    }
}

/// Puts a net together, drawing its numbers from sines so that no generator is involved.
struct Draft {
    net: Net,
    phase: f64,
}

impl Draft {
    fn new(name: &'static str, batch: usize) -> Self {
        let net = Net {
            name,
            batch,
            inputs: Vec::new(),
            vertices: Vec::new(),
            parameters: Vec::new(),
            outputs: Vec::new(),
            cyclic: false,
        };
        Self { net, phase: 0.3 }
    }

    fn numbers(&mut self, count: usize, scale: f64) -> Vec<f64> {
        (0..count)
            .map(|_| {
                self.phase += 1.7;
                // Rounded to what f32 holds, so that every precision starts from the same numbers.
                f64::from((scale * (self.phase * self.phase * 0.37).sin()) as f32)
            })
            .collect()
    }

    fn input(&mut self, shape: &[usize]) -> usize {
        let values = self.numbers(self.net.batch * shape.iter().product::<usize>(), 1.0);
        self.net.inputs.push((shape.to_vec(), values));
        self.net.inputs.len() - 1
    }

    fn parameter(&mut self, name: &str, shape: &[usize], fan_in: usize) -> usize {
        let values = self.numbers(shape.iter().product(), 1.2 / (fan_in as f64).sqrt());
        self.net.parameters.push((name.to_owned(), shape.to_vec(), values));
        self.net.parameters.len() - 1
    }

    fn vertex(
        &mut self,
        name: &str,
        operation: Operation,
        parents: &[usize],
        parameters: &[usize],
        shape: &[usize],
    ) -> usize {
        let (parents, parameters, shape) = (parents.to_vec(), parameters.to_vec(), shape.to_vec());
        self.net.vertices.push(NetVertex {
            name: name.to_owned(),
            operation,
            parents,
            parameters,
            shape,
            precision: 1.0,
        });
        self.net.inputs.len() + self.net.vertices.len() - 1
    }

    fn dense(
        &mut self,
        name: &str,
        parent: usize,
        outputs: usize,
        activation: Activation,
    ) -> usize {
        let inputs: usize = self.net.shape(parent).iter().product();
        let w = self.parameter(&format!("{name}.weight"), &[outputs, inputs], inputs);
        let b = self.parameter(&format!("{name}.bias"), &[outputs], 4);
        self.vertex(name, Operation::Dense(activation), &[parent], &[w, b], &[outputs])
    }

    fn output(&mut self, vertex: usize) {
        let values =
            self.numbers(self.net.batch * self.net.shape(vertex).iter().product::<usize>(), 1.0);
        self.net.outputs.push((vertex, values));
    }
}

/// The nets of the suite: a chain for each activation, precisions, a skip, a shared weight over
/// time with a loss at every step, a gate, convolutions, a cycle.
pub fn nets() -> Vec<Net> {
    let mut nets = Vec::new();
    for (name, activation) in [
        ("tanh chain", Activation::Tanh),
        ("relu chain", Activation::Relu),
        ("hard tanh chain", Activation::HardTanh),
        ("sigmoid chain", Activation::Sigmoid),
        ("gelu chain", Activation::Gelu),
        ("linear chain", Activation::Identity),
    ] {
        let mut d = Draft::new(name, 3);
        let x = d.input(&[4]);
        let h = d.dense("h", x, 6, activation);
        let k = d.dense("k", h, 5, activation);
        let y = d.dense("y", k, 2, Activation::Identity);
        d.output(y);
        nets.push(d.net);
    }

    let mut d = Draft::new("precisions", 2);
    let x = d.input(&[4]);
    let h = d.dense("h", x, 5, Activation::Tanh);
    let k = d.dense("k", h, 5, Activation::Tanh);
    let y = d.dense("y", k, 2, Activation::Identity);
    d.output(y);
    for vertex in &mut d.net.vertices[..2] {
        vertex.precision = 0.5;
    }
    nets.push(d.net);

    let mut d = Draft::new("skip", 2);
    let x = d.input(&[5]);
    let a = d.dense("a", x, 5, Activation::Tanh);
    let b = d.dense("b", a, 5, Activation::Tanh);
    let c = d.vertex("c", Operation::Sum, &[a, b], &[], &[5]);
    let y = d.dense("y", c, 3, Activation::Identity);
    d.output(y);
    nets.push(d.net);

    let mut d = Draft::new("recurrence", 2);
    let inputs: Vec<usize> = (0..3).map(|_| d.input(&[3])).collect();
    let (w, u) = (d.parameter("cell.input", &[4, 3], 3), d.parameter("cell.recurrent", &[4, 4], 4));
    let (v, b) = (d.parameter("read.weight", &[2, 4], 4), d.parameter("read.bias", &[2], 4));
    let mut h = d.input(&[4]);
    for (t, x) in inputs.into_iter().enumerate() {
        h = d.vertex(
            &format!("h{t}"),
            Operation::DenseSum(Activation::Tanh),
            &[x, h],
            &[w, u],
            &[4],
        );
        let y =
            d.vertex(&format!("y{t}"), Operation::Dense(Activation::Identity), &[h], &[v, b], &[2]);
        d.output(y);
    }
    nets.push(d.net);

    let mut d = Draft::new("gate", 2);
    let x = d.input(&[4]);
    let g = d.dense("g", x, 4, Activation::Sigmoid);
    let h = d.dense("h", x, 4, Activation::Tanh);
    let p = d.vertex("p", Operation::Product, &[g, h], &[], &[4]);
    let q = d.vertex("q", Operation::Activate(Activation::Tanh), &[p], &[], &[4]);
    let y = d.dense("y", q, 2, Activation::Identity);
    d.output(y);
    nets.push(d.net);

    let mut d = Draft::new("convolution", 2);
    let x = d.input(&[2, 6, 6]);
    let (w, b) = (d.parameter("c.weight", &[3, 2, 3, 3], 18), d.parameter("c.bias", &[3], 9));
    let conv = Operation::Conv { padding: 1, activation: Activation::Relu, pool: 2 };
    let c = d.vertex("c", conv, &[x], &[w, b], &[3, 3, 3]);
    let f = d.vertex("f", Operation::Flatten, &[c], &[], &[27]);
    let y = d.dense("y", f, 2, Activation::Identity);
    d.output(y);
    nets.push(d.net);

    let mut d = Draft::new("cycle", 2);
    let x = d.input(&[3]);
    let (wx, wb) = (d.parameter("a.input", &[3, 3], 8), d.parameter("a.back", &[3, 3], 8));
    let (wa, wy) = (d.parameter("b.weight", &[3, 3], 6), d.parameter("y.weight", &[3, 3], 6));
    // a reads b, which comes after it.
    let a = d.vertex("a", Operation::DenseSum(Activation::Tanh), &[x, 2], &[wx, wb], &[3]);
    let b = d.vertex("b", Operation::DenseSum(Activation::Tanh), &[a], &[wa], &[3]);
    let y = d.vertex("y", Operation::DenseSum(Activation::Identity), &[b], &[wy], &[3]);
    d.output(y);
    d.net.cyclic = true;
    nets.push(d.net);
    nets
}
