//! Separating mixed sources by predictive entropy maximisation.

mod entropy;
mod settings;

pub use entropy::EntropySurrogate;
pub use settings::{Domain, Unmixing};

use pc_core::{
    Clamps, Error, ErrorKind, Gradients, Graph, Outcome, ParamId, Prior, Relaxation, Result,
    Status, Tensor, VertexId, backend::GraphTensor, host::Init,
};

use crate::{Backend, Dense};

/// Predictive entropy maximisation (Bozkurt and others 2026, "Normative Networks for Source
/// Separation via Local Plasticity and Dendritic Computation"): finds sources in their mixtures,
/// online and by local rules, also where the sources are correlated.
///
/// For every sample `x` the sources `y` relax down `gamma_p / 2 |y - W x|^2` less the entropy that
/// they add ([`EntropySurrogate`]), within their [`Domain`]:
/// `y <- P[y - lr (gamma_p (y - W x) + M (y - mu))]`. Then the weights learn, `dW ~ (y - W x) x^T`,
/// and mean and covariance run on: `mu <- l mu + (1 - l) y`, `C <- l C + (1 - l) (y - mu) (y -
/// mu)^T`.
///
/// The parameters of the graph are `y.weight` and the buffers `mean` and `covariance`, which are
/// saved with it. The gradient that `learn` is given is `gamma_p` times the authors' step, so that
/// theirs at `lr` is SGD at `lr / gamma_p`.
///
/// # Example
/// ```
/// use pc_core::host::{HostTensor, Init, Sgd};
/// use pc_models::{Domain, EntropyMaximisation, Host, Unmixing};
/// let settings = Unmixing::new(3, 2, Domain::Antisparse)?;
/// let (host, mut init) = (Host::<f64>::new(), Init::new(0));
/// let mut network = EntropyMaximisation::new(&host, &settings, &mut init)?;
/// let mut sgd = Sgd::new(0.05 / 150.0)?;
/// for _ in 0..20 {
///     let mixture: HostTensor<f64> = init.uniform(&[1, 3], 1.0)?;
///     let sources =
///         network.learn(&mixture, |graph, g| sgd.step(graph.parameters_mut(), g))?;
///     assert!(sources.data().iter().all(|y| y.abs() <= 1.0));
/// }
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct EntropyMaximisation<B: Backend> {
    backend: B,
    graph: Graph<B::Tensor>,
    relaxation: Relaxation<Graph<B::Tensor>>,
    x: VertexId,
    y: VertexId,
    mean: ParamId,
    covariance: ParamId,
    memory: f64,
}

impl<B: Backend> EntropyMaximisation<B> {
    /// With these sizes and settings, and weights drawn from `init`.
    ///
    /// # Errors
    /// Settings outside what they may be; a schedule that its graph cannot take.
    pub fn new(backend: &B, settings: &Unmixing, init: &mut Init) -> Result<Self> {
        settings.check()?;
        let n = settings.sources;
        let mut b = Graph::builder();
        let x = b.input("x", &[settings.mixtures])?;
        let y = Dense::new(n).without_bias().add(backend, &mut b, "y", &[x], init)?;
        b.precision(y, settings.precision)?;
        settings.domain.project(&mut b, y)?;
        let mean = b.buffer("mean", backend.tensor(&[n], &vec![0.0; n])?)?;
        let diagonal = |k: usize| if k / n == k % n { settings.variance } else { 0.0 };
        let numbers: Vec<f64> = (0..n * n).map(diagonal).collect();
        let covariance = b.buffer("covariance", backend.tensor(&[n, n], &numbers)?)?;
        let prior = <B::Tensor as GraphTensor>::boxed(Prior);
        let centred = b.predict(y, prior, &[], &[mean], 1.0)?;
        b.energy(centred, settings.entropy, &[covariance])?;
        let graph = b.build()?;
        let relaxation = Relaxation::new(&graph, settings.schedule.clone())?;
        let memory = settings.memory;
        Ok(Self { backend: backend.clone(), graph, relaxation, x, y, mean, covariance, memory })
    }

    /// The graph: `x` predicts `y`, and the running mean does.
    pub fn graph(&self) -> &Graph<B::Tensor> {
        &self.graph
    }

    /// The same, to be set, loaded or learned by another rule.
    pub fn graph_mut(&mut self) -> &mut Graph<B::Tensor> {
        &mut self.graph
    }

    /// The sources in these mixtures `[batch, mixtures]`. Nothing is learned.
    ///
    /// # Errors
    /// A wrong shape; numbers that are not finite; a relaxation that diverges.
    pub fn separate(&mut self, mixtures: &B::Tensor) -> Result<B::Tensor> {
        let clamps = Clamps::new().hold(self.x, mixtures.clone());
        let outcome = self.relaxation.infer(&mut self.graph, &clamps)?;
        self.found(&outcome)
    }

    /// The sources in these mixtures, from which it learns: `learn` is called with the gradient of
    /// the weights, as in [`Relaxation::train`], and mean and covariance run on, sample by sample.
    /// The method of the paper takes a batch of one sample.
    ///
    /// # Errors
    /// As [`EntropyMaximisation::separate`]; what `learn` returns.
    pub fn learn(
        &mut self,
        mixtures: &B::Tensor,
        learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<B::Tensor> {
        let clamps = Clamps::new().hold(self.x, mixtures.clone());
        let outcome = self.relaxation.train(&mut self.graph, &clamps, learn)?;
        let sources = self.found(&outcome)?;
        self.run_on(&sources)?;
        Ok(sources)
    }

    fn found(&self, outcome: &Outcome) -> Result<B::Tensor> {
        if outcome.status == Status::Diverged {
            let why = "the sources diverged: relax at a smaller rate";
            return Err(Error::new(ErrorKind::NotFinite, why).at("y"));
        }
        self.relaxation.value(&self.graph, self.y).ok_or_else(|| {
            Error::new(ErrorKind::Misuse, "the relaxation has left no value").at("y")
        })
    }

    /// The running rules of mean and covariance.
    fn run_on(&mut self, sources: &B::Tensor) -> Result<()> {
        let of = |id: ParamId| self.graph.parameters().get(id.index()).map(Tensor::to_vec);
        let (Some(mut mean), Some(mut covariance)) = (of(self.mean), of(self.covariance)) else {
            return Err(Error::new(ErrorKind::Misuse, "the graph has lost its buffers"));
        };
        let (n, kept) = (mean.len(), self.memory);
        for y in sources.to_vec().chunks(n) {
            for (mean, y) in mean.iter_mut().zip(y) {
                *mean = kept * *mean + (1.0 - kept) * y;
            }
            let centred: Vec<f64> = y.iter().zip(&mean).map(|(y, mean)| y - mean).collect();
            for (row, a) in covariance.chunks_mut(n).zip(&centred) {
                for (c, b) in row.iter_mut().zip(&centred) {
                    *c = kept * *c + (1.0 - kept) * a * b;
                }
            }
        }
        self.graph.set_parameter(self.mean, self.backend.tensor(&[n], &mean)?)?;
        self.graph.set_parameter(self.covariance, self.backend.tensor(&[n, n], &covariance)?)
    }
}
