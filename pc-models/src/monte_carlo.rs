//! Predictive coding that samples.

use std::fmt;

use pc_core::{
    Activation, Clamps, Error, ErrorKind, ErrorStart, Event, Gradients, Graph, Outcome, Prior,
    Relaxation, Result, Schedule, Tensor, VertexId, backend::GraphTensor, host::Init,
};

use crate::{Backend, Dense, settled::settled};

/// Monte Carlo predictive coding: a generative model whose latent causes are sampled and not only
/// guessed (Oliviers, Bogacz and Meulemans, "Learning probability distributions of sensory inputs
/// with Monte Carlo predictive coding", PLOS Computational Biology 2024).
///
/// Causes `h_0` come from a learned prior `N(mu, 1)`, and each layer predicts the next,
/// `u_l = W_l f(h_{l-1}) + b_l`, down to what is sensed, whose noise has a variance of its own.
/// States take Langevin steps
/// ```text
/// h <- h - gamma dF/dh + sqrt(2 gamma) xi,
/// ```
/// so that after a burn-in they are samples of `exp(-F)`: of the posterior where something is
/// clamped. Weights learn from the errors at samples, which is Monte Carlo expectation
/// maximisation.
///
/// # Example
/// ```
/// use pc_core::{Activation, Clamps, Tensor, host::{Adam, HostTensor, Init}};
/// use pc_models::{Host, Langevin, MonteCarloPc};
/// let langevin = Langevin { rate: 0.02, burn_in: 20, every: 5, samples: 4, seed: 1 };
/// let (host, mut init) = (Host::<f32>::new(), Init::new(0));
/// let mut model =
///     MonteCarloPc::new(&host, &[2, 8, 3], Activation::Tanh, 0.1, langevin, &mut init)?;
///
/// let numbers = vec![0.5, -0.5, 1., 0.4, -0.6, 1.1, -1., 0., 0., -1., 0.1, 0.];
/// let data = HostTensor::new(&[4, 3], numbers)?;
/// let clamps = Clamps::new().hold(model.sensed(), data);
/// let mut adam = Adam::new(0.01)?;
/// for _ in 0..20 {
///     model.learn(&clamps, |graph, gradients| adam.step(graph.parameters_mut(), gradients))?;
/// }
/// // Causes of the data, and data that the model makes up.
/// let cause = model.cause();
/// let causes = model.posterior(&clamps, cause)?;
/// let drawn = model.generate(16, false)?;
/// assert_eq!((causes.len(), drawn.shape()), (4, vec![16, 3]));
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct MonteCarloPc<B: Backend> {
    graph: Graph<B::Tensor>,
    layers: Vec<VertexId>,
    langevin: Langevin,
    /// Samples that weights learn from.
    learning: Relaxation<Graph<B::Tensor>>,
    /// Samples that are looked at.
    sampling: Relaxation<Graph<B::Tensor>>,
    /// Draws of the whole model, from causes to what is sensed.
    drawing: Relaxation<Graph<B::Tensor>>,
    /// How often that was done.
    drawn: u64,
}

/// How a Langevin chain is run: `burn_in` steps, and a sample after each further `every`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Langevin {
    /// `gamma`. Samples are exact in the limit of small steps. What a smaller variance `v` predicts
    /// needs `gamma` well below `v`.
    pub rate: f64,
    /// The steps before the first sample counts.
    pub burn_in: usize,
    /// The steps from one sample to the next.
    pub every: usize,
    /// The number of samples of a batch.
    pub samples: usize,
    /// The seed of the noise.
    pub seed: u64,
}

impl Langevin {
    fn schedule(&self) -> Result<Schedule> {
        let steps = self.every.checked_mul(self.samples);
        let steps =
            steps.and_then(|steps| steps.checked_add(self.burn_in)).filter(|_| self.samples > 0);
        let steps = steps.ok_or_else(|| {
            Error::new(
                ErrorKind::Schedule,
                format!(
                    "{} samples, {} steps apart after {} steps, are no chain that can be run",
                    self.samples, self.every, self.burn_in
                ),
            )
        })?;
        Schedule::standard(self.rate, steps)?
            .with_noise(1.0, self.seed)?
            .learning_from_samples(self.burn_in, self.every)
    }
}

impl<B: Backend> fmt::Debug for MonteCarloPc<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MonteCarloPc")
            .field("graph", &self.graph)
            .field("langevin", &self.langevin)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> MonteCarloPc<B> {
    /// A model of these widths, from the cause to what is sensed, with new weights
    /// (`layer1.weight`,
    /// `layer1.bias`, ...) and a prior `prior.mean` that starts at 0. What is sensed has noise of
    /// this variance.
    ///
    /// # Errors
    /// Fewer than two widths; a variance that is no positive number; a chain that cannot be run;
    /// what the builder and the backend report.
    pub fn new(
        backend: &B,
        widths: &[usize],
        f: Activation,
        variance: f64,
        langevin: Langevin,
        init: &mut Init,
    ) -> Result<Self> {
        let (Some((first, rest)), false) = (widths.split_first(), widths.len() < 2) else {
            let message = "a generative model has a cause and what it causes: two widths at least";
            return Err(Error::new(ErrorKind::Graph, message));
        };
        if !(variance > 0.0 && variance.is_finite()) {
            let message = format!("the variance must be a positive number, not {variance}");
            return Err(Error::new(ErrorKind::Schedule, message));
        }
        let mut b = Graph::builder();
        let cause = b.input("cause", &[*first])?;
        let mean = b.parameter("prior.mean", backend.tensor(&[*first], &vec![0.0; *first])?)?;
        b.predict(cause, B::Tensor::boxed(Prior), &[], &[mean], 1.0)?;
        let mut layers = vec![cause];
        let mut last = cause;
        for (k, width) in rest.iter().enumerate() {
            let layer = Dense::new(*width).before(f);
            last = layer.add(backend, &mut b, &format!("layer{}", k + 1), &[last], init)?;
            layers.push(last);
        }
        b.precision(last, 1.0 / variance)?;
        let graph = b.build()?;
        let schedule = langevin.schedule()?;
        let sampling = Relaxation::new(&graph, schedule.clone().observed())?;
        let drawing = Schedule::epc(1.0, 1)?.unrelaxed().errors_from(ErrorStart::Given)?;
        let drawing = Relaxation::new(&graph, drawing)?;
        Ok(Self {
            learning: Relaxation::new(&graph, schedule)?,
            graph,
            layers,
            langevin,
            sampling,
            drawing,
            drawn: 0,
        })
    }

    /// The graph.
    pub fn graph(&self) -> &Graph<B::Tensor> {
        &self.graph
    }

    /// The graph, to be loaded or learned by another rule.
    pub fn graph_mut(&mut self) -> &mut Graph<B::Tensor> {
        &mut self.graph
    }

    /// The vertex of the latent cause.
    pub fn cause(&self) -> VertexId {
        self.layers[0]
    }

    /// The vertex of what is sensed.
    pub fn sensed(&self) -> VertexId {
        self.layers[self.layers.len() - 1]
    }

    /// How its chains are run.
    pub fn langevin(&self) -> Langevin {
        self.langevin
    }

    /// Samples the posterior with these clamps, and lets `learn` move the weights at every sample
    /// of the chain.
    ///
    /// # Errors
    /// As [`Relaxation::train`].
    pub fn learn(
        &mut self,
        clamps: &Clamps<B::Tensor>,
        learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<Outcome> {
        settled(self.learning.train(&mut self.graph, clamps, learn)?, "the chain")
    }

    /// Samples a vertex given what is clamped: the [`Langevin::samples`] of the chain, in turn.
    /// Samples along a chain depend on one another; those of a batch do not, so that many
    /// independent chains are a batch of equal clamps.
    ///
    /// # Errors
    /// As [`Relaxation::begin`]; a chain that diverges.
    pub fn posterior(
        &mut self,
        clamps: &Clamps<B::Tensor>,
        of: VertexId,
    ) -> Result<Vec<B::Tensor>> {
        let Langevin { burn_in, every, .. } = self.langevin;
        let (mut drawn, mut step) = (Vec::new(), 0);
        self.sampling.begin(&mut self.graph, clamps)?;
        loop {
            match self.sampling.advance(&mut self.graph)? {
                Event::Step => {
                    if step > burn_in && (step - burn_in).is_multiple_of(every) {
                        let value = self.sampling.value(&self.graph, of);
                        drawn.push(value.ok_or_else(|| {
                            let message = format!("vertex {} is not in the model", of.index());
                            Error::new(ErrorKind::Clamp, message)
                        })?);
                    }
                    step += 1;
                }
                Event::Learn => {}
                Event::Finished(outcome) => {
                    settled(outcome, "the chain")?;
                    return Ok(drawn);
                }
            }
        }
    }

    /// Draws of the model itself, exact and independent: causes from the prior, and each layer from
    /// the one above, with the noise that its energy stands for. What is sensed comes with its
    /// noise or, where not `noisy`, as it is predicted. The result is `[count, sensed]`.
    ///
    /// # Errors
    /// Weights so large that a draw is not finite.
    pub fn generate(&mut self, count: usize, noisy: bool) -> Result<B::Tensor> {
        let mut clamps = Clamps::new().of_batch(count);
        let like = self.graph.parameters().first();
        let like = like.ok_or_else(|| Error::new(ErrorKind::Graph, "a model has a prior"))?;
        // What a vertex adds to its prediction has the variance that its precision stands for.
        let precisions = self.graph.topology().predictions().iter().map(|own| own.precision);
        for (layer, (vertex, precision)) in self.layers.iter().zip(precisions).enumerate() {
            let shape = self.graph.shape(*vertex)?;
            let full: Vec<usize> = std::iter::once(count).chain(shape.iter().copied()).collect();
            let mut error = like.zeros(&full);
            if noisy || layer + 1 < self.layers.len() {
                error.add_normal(precision.sqrt().recip(), self.stream(layer));
            }
            clamps = clamps.free(*vertex, error);
        }
        self.drawn = self.drawn.wrapping_add(1);
        settled(self.drawing.infer(&mut self.graph, &clamps)?, "drawing")?;
        let drawn = self.drawing.value(&self.graph, self.sensed());
        finite(drawn.ok_or_else(|| Error::new(ErrorKind::Misuse, "the model has drawn nothing"))?)
    }

    /// A stream of random numbers for every draw and layer.
    fn stream(&self, layer: usize) -> u64 {
        let steps = self.drawn.wrapping_mul(1 << 16).wrapping_add(layer as u64 + 1);
        self.langevin.seed.wrapping_add(steps.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// # Errors
/// A number that is not finite.
fn finite<T: Tensor>(drawn: T) -> Result<T> {
    if drawn.is_finite() {
        return Ok(drawn);
    }
    let message = "what was drawn is not finite: weights are too large for it";
    Err(Error::new(ErrorKind::NotFinite, message))
}
