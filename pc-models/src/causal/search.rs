//! The structure of a causal graph, found in data.

use std::fmt;

use pc_core::{
    Activation, Error, ErrorKind, Gradients, Graph, ParamId, Result, Schedule, Start, Tensor,
    host::Init,
};

use crate::{Backend, Hold, PcGraph, Wiring, causal::acyclicity};

/// Finds which variables cause which in observed data, by a fully connected PC graph whose weights
/// are drawn to have few edges and no cycle (Salvatori et al., "Predictive coding beyond
/// correlations", ICML 2024, with the penalty of Zheng et al., "DAGs with NO TEARS", 2018).
///
/// All variables are held at data, so that the errors are `e = x - W f(x) - b`, and weights go down
/// ```text
/// F / batch + sparsity sum |W| + multiplier h(W) + 1/2 penalty h(W)^2,
/// ```
/// with `h` the distance from a graph without cycles ([`acyclicity`]). [`StructureSearch::tighten`]
/// raises what `h` costs, as an augmented Lagrangian does, whenever learning has settled. Only data
/// whose noise has equal variances, or mechanisms that are not linear, say which way edges point.
///
/// # Example
/// ```
/// use pc_core::{Activation, Tensor, host::{Adam, HostTensor, Init}};
/// use pc_models::{Host, StructureSearch};
/// // x causes y.
/// let mut init = Init::new(1);
/// let draws: HostTensor<f64> = init.uniform(&[200, 2], 1.0)?;
/// let rows = draws.data().chunks(2).flat_map(|n| [n[0], 1.5 * n[0] + n[1]]);
/// let data = HostTensor::new(&[200, 2], rows.collect())?;
///
/// let host = Host::<f64>::new();
/// let names = ["x", "y"];
/// let mut search = StructureSearch::new(&host, &names, Activation::Identity, 0.02, &mut init)?;
/// for _ in 0..6 {
///     let mut adam = Adam::new(0.02)?;
///     for _ in 0..300 {
///         search.learn(&data, |graph, gradients| adam.step(graph.parameters_mut(), gradients))?;
///     }
///     search.tighten(10.0)?;
/// }
/// assert_eq!(search.edges(0.3), [(0, 1)]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct StructureSearch<B: Backend> {
    net: PcGraph<B>,
    weight: ParamId,
    sparsity: f64,
    multiplier: f64,
    penalty: f64,
}

impl<B: Backend> fmt::Debug for StructureSearch<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StructureSearch")
            .field("net", &self.net)
            .field("sparsity", &self.sparsity)
            .field("multiplier", &self.multiplier)
            .field("penalty", &self.penalty)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> StructureSearch<B> {
    /// Among variables of one number each, with weights that start at 0.
    ///
    /// # Errors
    /// Fewer than two variables; a sparsity that is negative or not finite; what the backend
    /// reports.
    pub fn new(
        backend: &B,
        variables: &[&str],
        f: Activation,
        sparsity: f64,
        init: &mut Init,
    ) -> Result<Self> {
        if variables.len() < 2 {
            let message = "a structure is one of two variables at least";
            return Err(Error::new(ErrorKind::Graph, message));
        }
        if !(sparsity >= 0.0 && sparsity.is_finite()) {
            return Err(Error::new(
                ErrorKind::Schedule,
                format!("the sparsity must be a number that is not negative, not {sparsity}"),
            ));
        }
        let wiring = Wiring::full(&[("variables", variables.len())])?;
        // Nothing is free, so one evaluation is all there is.
        let schedule = Schedule::standard(1.0, 1)?.unrelaxed().starting(Start::Zero);
        let mut net = PcGraph::new(backend, &wiring, f, true, schedule, init)?;
        let weight = net.graph().parameter("variables.weight")?;
        net.graph_mut().parameters_mut().iter_mut().for_each(|parameter| parameter.fill(0.0));
        Ok(Self { net, weight, sparsity, multiplier: 0.0, penalty: 1.0 })
    }

    /// The PC graph, whose weights `variables.weight` are `[effect, cause]`.
    pub fn net(&self) -> &PcGraph<B> {
        &self.net
    }

    /// The gradients of one batch `[batch, variables]`, of all that is minimised, handed to
    /// `learn`. The result is `F / batch`.
    ///
    /// # Errors
    /// Another number of variables; weights that have run away; what `learn` returns.
    pub fn learn(
        &mut self,
        data: &B::Tensor,
        mut learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<f64> {
        let variables = self.net.wiring().neurons();
        let clamps = self.net.hold(data, &vec![Hold::Seen; variables])?;
        let weights = self.weights();
        let (h, slope) = acyclicity(variables, &weights)?;
        let cost = finite("what cycles cost", self.multiplier + self.penalty * h)?;
        let pull = |(w, slope): (&f64, &f64)| {
            let sign = if *w == 0.0 { 0.0 } else { w.signum() };
            cost * slope + self.sparsity * sign
        };
        let pulls: Vec<f64> = weights.iter().zip(&slope).map(pull).collect();
        let (id, scale) = (self.weight, 1.0 / data.batch() as f64);
        let outcome = self.net.learn(&clamps, |graph, gradients| {
            let mut all = gradients.clone();
            all.scale(scale);
            let Some(mut own) = all.take(id) else { return learn(graph, &all) };
            let mut added = own.clone();
            added.assign(&pulls);
            own.axpy(1.0, &added);
            all.set(id, own);
            learn(graph, &all)
        })?;
        finite("the energy", scale * outcome.energy.total())
    }

    /// Lets cycles cost more: the multiplier grows by the penalty times `h`, and the penalty by
    /// this factor. The result is `h`.
    ///
    /// # Errors
    /// A factor below 1; what cycles cost has no number any more.
    pub fn tighten(&mut self, factor: f64) -> Result<f64> {
        if !(factor >= 1.0 && factor.is_finite()) {
            return Err(Error::new(
                ErrorKind::Schedule,
                format!("what cycles cost grows by a factor of at least 1, not {factor}"),
            ));
        }
        let (h, _) = acyclicity(self.net.wiring().neurons(), &self.weights())?;
        let multiplier = finite("the multiplier", self.multiplier + self.penalty * h)?;
        let penalty = finite("the penalty", self.penalty * factor)?;
        (self.multiplier, self.penalty) = (multiplier, penalty);
        Ok(h)
    }

    /// The weights `[effect, cause]`, row by row.
    pub fn weights(&self) -> Vec<f64> {
        self.net.graph().parameters()[self.weight.index()].to_vec()
    }

    /// The edges `(cause, effect)` whose weights are larger than a threshold. No variable is its
    /// own cause, whatever the threshold.
    pub fn edges(&self, threshold: f64) -> Vec<(usize, usize)> {
        let d = self.net.wiring().neurons();
        let weights = self.weights();
        let large = weights.iter().enumerate();
        let large = large.filter(|(k, w)| w.abs() > threshold && k % d != k / d);
        large.map(|(index, _)| (index % d, index / d)).collect()
    }
}

/// # Errors
/// It is no number any more.
fn finite(what: &str, value: f64) -> Result<f64> {
    if value.is_finite() {
        return Ok(value);
    }
    let why = "weights have run away; learn at a smaller rate";
    let message = format!("{what} has become {value}: {why}");
    Err(Error::new(ErrorKind::NotFinite, message))
}
