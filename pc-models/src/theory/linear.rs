//! Closed forms of linear graphs.

use pc_core::{
    Clamps, Error, ErrorKind, Graph, Relaxation, Result, Schedule, Tensor, VertexId,
    backend::GraphTensor,
};

use crate::{
    Backend,
    matrix::{Matrix, solve, times_vector, transposed},
};

/// The equilibrium of standard PC on a linear graph, in closed form (Innocenti, Achour, Singh and
/// Buckley 2024, "Only strict saddles in the energy landscape of predictive coding networks?",
/// eq. 5, there for chains).
///
/// Let the roots be held, and the output be held at `y` where its feed-forward value is `y^`. With
/// `P_i` the derivative of the output by what is added at vertex `i`, every state that meets the
/// clamps has `sum_i P_i e_i = y - y^ =: r`. So the errors of the least energy, the equilibrium,
/// are
/// ```text
/// e_i* = P_i^T S^-1 r,    S = I / lambda + sum over i below the output of P_i P_i^T,
/// F* = 1/2 r^T S^-1 r
/// ```
/// with `lambda` the strength of a squared error that drives the output, and 1 where it is held.
/// That holds on chains and on every other linear graph without cycles, skips and shared weights
/// included; what is predicted from roots alone may be any function of them. The `P_i` come from
/// one reverse sweep, and no state is relaxed.
///
/// # Example
/// Two layers of one number: `F = 1/2 (h - 2 x)^2 + 1/2 (y - 3 h)^2` at `x = 1`, `y = 10`.
/// ```
/// use pc_core::{Graph, host::{Activation, Dense, HostLayers, HostTensor, Init}};
/// use pc_models::{Host, theory::LinearTheory};
/// let (mut b, mut init) = (Graph::<HostTensor<f64>>::builder(), Init::new(0));
/// let x = b.input("x", &[1])?;
/// let h = b.layer("h", &[x], &Dense::new(1).without_bias(), &mut init)?;
/// let y = b.layer("y", &[h], &Dense::new(1).without_bias(), &mut init)?;
/// let mut graph = b.build()?;
/// for (name, weight) in [("h.weight", 2.0), ("y.weight", 3.0)] {
///     graph.set_parameter(graph.parameter(name)?, HostTensor::new(&[1, 1], vec![weight])?)?;
/// }
/// let theory = LinearTheory::of(&Host::<f64>::new(), &mut graph, y)?;
/// // r = 10 - 6 and S = 1 + 3^2.
/// assert!((theory.energy(&[4.0])? - 0.8).abs() < 1e-15);
/// assert!((theory.errors(h, &[4.0])?[0] - 1.2).abs() < 1e-15);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LinearTheory {
    output: VertexId,
    /// By vertex: `P`, as rows; none for roots and for what does not lead to the output.
    reach: Vec<Option<Matrix>>,
    strength: f64,
    rescaling: Matrix,
}

impl LinearTheory {
    /// Of a graph whose roots will be held, and whose output will be held or driven by a squared
    /// error.
    ///
    /// # Errors
    /// A graph that is cyclic or not linear (its derivatives at two places are compared), has
    /// several predictions of one vertex, terms, or precisions other than 1; an output that is a
    /// root or has children; what the framework reports.
    pub fn of<B: Backend>(
        backend: &B,
        graph: &mut Graph<B::Tensor>,
        output: VertexId,
    ) -> Result<Self> {
        check(graph, output)?;
        let own = reach(backend, graph, output, 0.0)?;
        let other = reach(backend, graph, output, 1.0)?;
        for (vertex, (own, other)) in own.iter().zip(&other).enumerate() {
            let size = own.iter().flatten().flatten().fold(0.0_f64, |m, x| m.max(x.abs()));
            let pairs = own.iter().flatten().flatten().zip(other.iter().flatten().flatten());
            let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0_f64, f64::max);
            if own.is_some() != other.is_some() || !(apart <= 1e-4 * size) {
                let name = graph.topology().name(VertexId::new(vertex))?;
                let why = "the output's derivative by it is not the same everywhere, so the graph \
                           is not linear, and its equilibrium has no closed form";
                return Err(Error::new(ErrorKind::Graph, why).at(name));
            }
        }
        let theory = Self { output, reach: own, strength: 1.0, rescaling: Matrix::new() };
        theory.with_strength(1.0)
    }

    /// With an output driven by the squared error at this strength `lambda`.
    ///
    /// # Errors
    /// A strength that is not a positive number.
    pub fn with_strength(mut self, lambda: f64) -> Result<Self> {
        self.strength = pc_core::backend::loss_strength(lambda)?;
        let n = self.outputs();
        let unit = |i: usize, j: usize| if i == j { 1.0 / lambda } else { 0.0 };
        self.rescaling = (0..n).map(|i| (0..n).map(|j| unit(i, j)).collect()).collect();
        for (vertex, reach) in self.reach.iter().enumerate() {
            let Some(p) = reach.as_ref().filter(|_| vertex != self.output.index()) else {
                continue;
            };
            for (i, row) in self.rescaling.iter_mut().enumerate() {
                let products = p.iter().map(|q| p[i].iter().zip(q).map(|(a, b)| a * b).sum());
                row.iter_mut()
                    .zip(products)
                    .for_each(|(x, product): (&mut f64, f64)| *x += product);
            }
        }
        Ok(self)
    }

    fn outputs(&self) -> usize {
        self.reach.get(self.output.index()).and_then(Option::as_ref).map_or(0, Vec::len)
    }

    /// `S`, as rows.
    pub fn rescaling(&self) -> &[Vec<f64>] {
        &self.rescaling
    }

    /// `P_i`, the derivative of the output by what is added at a vertex, as rows `[outputs,
    /// numbers of the vertex]`. None for roots, and where nothing leads to the output.
    pub fn reach(&self, vertex: VertexId) -> Option<&[Vec<f64>]> {
        self.reach.get(vertex.index())?.as_deref()
    }

    /// `S^-1 r` for one sample's `r = y - y^`: the error of a held output at equilibrium.
    ///
    /// # Errors
    /// Another number of outputs; a number that is not finite.
    pub fn rescaled(&self, residual: &[f64]) -> Result<Vec<f64>> {
        let outputs = self.outputs();
        if residual.len() != outputs {
            let why = format!("the output has {outputs} numbers, not {}", residual.len());
            return Err(Error::new(ErrorKind::Shape, why));
        }
        let column = residual.iter().map(|r| vec![*r]).collect();
        let solved = solve(self.rescaling.clone(), column).map(|column| column.concat());
        solved.filter(|all| all.iter().all(|x| x.is_finite())).ok_or_else(|| {
            let why = "a weight or a residual is not finite, or too large";
            Error::new(ErrorKind::NotFinite, why)
        })
    }

    /// `F*` of one sample, the loss included.
    ///
    /// # Errors
    /// As [`LinearTheory::rescaled`].
    pub fn energy(&self, residual: &[f64]) -> Result<f64> {
        let rescaled = self.rescaled(residual)?;
        Ok(0.5 * residual.iter().zip(rescaled).map(|(r, s)| r * s).sum::<f64>())
    }

    /// `e_i*` of one sample. Where nothing leads from the vertex to the output there is no error,
    /// and the list is empty.
    ///
    /// # Errors
    /// As [`LinearTheory::rescaled`].
    pub fn errors(&self, vertex: VertexId, residual: &[f64]) -> Result<Vec<f64>> {
        let rescaled = self.rescaled(residual)?;
        let reach = self.reach.get(vertex.index()).and_then(Option::as_ref);
        Ok(reach.map_or_else(Vec::new, |p| times_vector(&transposed(p), &rescaled)))
    }
}

/// What has no closed form here.
fn check<T: GraphTensor>(graph: &Graph<T>, output: VertexId) -> Result<()> {
    let topology = graph.topology();
    topology.forward_order()?;
    let refused = |vertex: VertexId, why: &str| {
        Err(Error::new(ErrorKind::Unsupported, why).at(topology.name(vertex)?))
    };
    if topology.is_root(output) || !topology.children(output)?.is_empty() {
        return refused(output, "the output of a closed form is predicted, and predicts nothing");
    }
    for vertex in topology.vertices() {
        if topology.predictions_of(vertex)?.len() > 1 {
            return refused(vertex, "it has several predictions, and a closed form takes one");
        }
    }
    for prediction in topology.predictions() {
        if prediction.precision != 1.0 || prediction.term.is_some() || !prediction.cut.is_empty() {
            let why = "a closed form takes predictions of precision 1, without terms and cuts";
            return refused(prediction.of, why);
        }
    }
    Ok(())
}

/// The derivative of the output by every vertex, where all roots are at this number: a sample for
/// each output, which drives that output alone.
fn reach<B: Backend>(
    backend: &B,
    graph: &mut Graph<B::Tensor>,
    output: VertexId,
    at: f64,
) -> Result<Vec<Option<Matrix>>> {
    let n: usize = graph.shape(output)?.iter().product();
    let unit: Vec<f64> = (0..n * n).map(|k| f64::from(u8::from(k / n == k % n))).collect();
    let shape = [&[n], graph.shape(output)?].concat();
    let unit = backend.tensor(&shape, &unit)?;
    let drive = move |_: &B::Tensor, drive: &mut B::Tensor| {
        drive.copy_from(&unit);
        Ok(0.0)
    };
    let mut clamps = Clamps::new().drive(output, drive);
    for vertex in graph.topology().vertices().filter(|vertex| graph.topology().is_root(*vertex)) {
        let shape = [&[n], graph.shape(vertex)?].concat();
        let numbers = vec![at; shape.iter().product()];
        clamps = clamps.hold(vertex, backend.tensor(&shape, &numbers)?);
    }
    let mut sweep = Relaxation::new(graph, Schedule::backprop())?;
    sweep.run(graph, &clamps)?;
    let topology = graph.topology();
    let mut all = vec![None; topology.len()];
    for vertex in topology.vertices() {
        let error = topology.predictions_of(vertex)?.first().and_then(|id| sweep.error(*id));
        let Some(numbers) = error.map(Tensor::to_vec) else { continue };
        if numbers.iter().any(|x| *x != 0.0) && !numbers.is_empty() {
            let width = numbers.len() / n.max(1);
            all[vertex.index()] = Some(numbers.chunks(width.max(1)).map(<[f64]>::to_vec).collect());
        }
    }
    Ok(all)
}
