//! Hybrid predictive coding: a fast guess from below, refined by slow inference.

use pc_core::{
    Activation, Clamps, Gradients, Graph, Outcome, Predictor, Relaxation, Result, Schedule, Tensor,
    VertexId, host::Init,
};

use crate::{
    Answer, Backend, Dense, Generative, GenerativeSettings, Known,
    known::{classes, names, value},
    settled::settled,
};

/// What a [`Hybrid`] net is made of.
#[derive(Clone, Debug)]
pub struct HybridSettings {
    /// The generative net, and how its states relax from the guess.
    pub generative: GenerativeSettings,
    /// What the guess of hidden vertices passes through before it guesses the next.
    pub activation: Activation,
}

impl HybridSettings {
    /// Of these widths, from the picture up to the label, with [`GenerativeSettings::new`] and tanh
    /// in both directions.
    ///
    /// # Errors
    /// As [`GenerativeSettings::new`].
    pub fn new(widths: &[usize]) -> Result<Self> {
        Ok(Self { generative: GenerativeSettings::new(widths)?, activation: Activation::Tanh })
    }
}

/// Hybrid predictive coding: an amortised network guesses all states in one sweep up from the
/// picture, predictive coding refines them, and the guess learns from what came of it (Tschantz,
/// Millidge, Seth and Buckley, "Hybrid predictive coding: inferring, fast and slow", 2023).
///
/// The generative net is a [`Generative`] one and its energy is the only one that states descend.
/// The amortised one learns from the refined states `v*`, layer by layer, by the gradient of
///
/// `sum_l 1/2 |v*_l - V_l f(v*_{l-1}) - c_l|^2`,
///
/// which is a relaxation of its own graph with every vertex held, without a step.
///
/// # Example
/// ```
/// use pc_core::host::{Adam, Init};
/// use pc_models::{Backend, Host, Hybrid, HybridSettings, Known};
/// let host = Host::<f32>::new();
/// let mut net = Hybrid::new(&host, &HybridSettings::new(&[4, 8, 2])?, &mut Init::new(0))?;
/// let pictures = host.tensor(&[2, 4], &[1.0, 0.9, 0.0, 0.1, 0.1, 0.0, 0.9, 1.0])?;
/// let labels = host.tensor(&[2, 2], &[1.0, 0.0, 0.0, 1.0])?;
/// let (mut slow, mut fast) = (Adam::new(0.01)?, Adam::new(0.01)?);
/// for _ in 0..200 {
///     net.train(
///         &Known::picture(pictures.clone()).and_label(labels.clone()),
///         |graph, gradients| slow.step(graph.parameters_mut(), gradients),
///         |graph, gradients| fast.step(graph.parameters_mut(), gradients),
///     )?;
/// }
/// assert_eq!(net.guess(&pictures)?.classes(), [0, 1]);
/// assert_eq!(net.ask(&Known::picture(pictures))?.classes(), [0, 1]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Hybrid<B: Backend> {
    generative: Generative<B>,
    amortiser: Graph<B::Tensor>,
    /// Of the amortised net, from the picture up to the label.
    vertices: Vec<VertexId>,
    sweep: Predictor<B::Tensor>,
    learning: Relaxation<Graph<B::Tensor>>,
}

/// What the amortised net makes of a picture.
#[derive(Clone, Debug)]
pub struct Guess<T> {
    /// The hidden vertices, from below, and last the label.
    pub states: Vec<T>,
}

impl<T: Tensor> Guess<T> {
    /// The class with the largest number, for each sample.
    pub fn classes(&self) -> Vec<usize> {
        self.states.last().map(classes).unwrap_or_default()
    }
}

impl<B: Backend> Hybrid<B> {
    /// A net with new weights: those of a [`Generative`] net, and in a graph of its own the
    /// amortised ones, `hidden1.weight`, ..., `label.weight`, with biases.
    ///
    /// # Errors
    /// As [`Generative::new`].
    pub fn new(backend: &B, settings: &HybridSettings, init: &mut Init) -> Result<Self> {
        let generative = Generative::new(backend, &settings.generative, init)?;
        let widths = &settings.generative.widths;
        let names = names(widths)?;
        let mut b = Graph::builder();
        let mut vertices = vec![b.input(&names[0], &widths[..1])?];
        for k in 1..widths.len() {
            let before = if k == 1 { Activation::Identity } else { settings.activation };
            let layer = Dense::new(widths[k]).before(before);
            vertices.push(layer.add(backend, &mut b, &names[k], &vertices[k - 1..], init)?);
        }
        let amortiser = b.build()?;
        // Every vertex is held, so there is nothing to relax: the rate does not matter.
        let reduction = settings.generative.learning.reduction();
        let schedule = Schedule::standard(1.0, 1)?.unrelaxed().reduced_by(reduction);
        let learning = Relaxation::new(&amortiser, schedule)?;
        let sweep = Predictor::new(&amortiser);
        Ok(Self { generative, amortiser, vertices, sweep, learning })
    }

    /// The generative net.
    pub fn generative(&self) -> &Generative<B> {
        &self.generative
    }

    /// The generative net, to be asked without a guess, or for its graph.
    pub fn generative_mut(&mut self) -> &mut Generative<B> {
        &mut self.generative
    }

    /// The graph of the amortised net.
    pub fn amortiser(&self) -> &Graph<B::Tensor> {
        &self.amortiser
    }

    /// The graph of the amortised net, to load weights into.
    pub fn amortiser_mut(&mut self) -> &mut Graph<B::Tensor> {
        &mut self.amortiser
    }

    /// One sweep up from pictures, and no more.
    ///
    /// # Errors
    /// Pictures of another shape, or with numbers that are not finite.
    pub fn guess(&mut self, pictures: &B::Tensor) -> Result<Guess<B::Tensor>> {
        let (picture, wanted) = (self.vertices[0], &self.vertices[1..]);
        self.sweep.run(&mut self.amortiser, &[(picture, pictures)], wanted)?;
        let states = wanted.iter().map(|vertex| self.sweep.value(*vertex).cloned());
        Ok(Guess { states: states.collect::<Result<Vec<_>>>()? })
    }

    /// Infers what is not known: guesses from the picture, with 0 where a part is missing, and
    /// refines. Without a picture there is nothing to guess from, and the label is decoded.
    ///
    /// # Errors
    /// As [`Generative::ask`].
    pub fn ask(&mut self, known: &Known<B::Tensor>) -> Result<Answer<B::Tensor>> {
        let starts = self.starts(known)?;
        self.generative.ask_from(known, &starts)
    }

    /// Guesses, refines, and learns: first the generative weights, by `learn`, from the refined
    /// states, then the amortised ones, by `amortise`, from the same states.
    ///
    /// # Errors
    /// Tensors that do not fit; a relaxation that diverges, after which neither learns; what
    /// `learn` and `amortise` return.
    pub fn train(
        &mut self,
        known: &Known<B::Tensor>,
        learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
        amortise: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<Outcome> {
        let starts = self.starts(known)?;
        let outcome = self.generative.train_from(known, &starts, learn)?;
        let mut clamps = Clamps::new();
        for (own, refined) in self.vertices.iter().zip(self.generative.vertices()) {
            let state = value(self.generative.learned(), self.generative.graph(), *refined)?;
            clamps = clamps.hold(*own, state);
        }
        settled(self.learning.train(&mut self.amortiser, &clamps, amortise)?, "the guess")?;
        Ok(outcome)
    }

    /// Where the generative net's states start.
    fn starts(&mut self, known: &Known<B::Tensor>) -> Result<Vec<(VertexId, B::Tensor)>> {
        let Some(seen) = known.seen()? else { return Ok(Vec::new()) };
        let states = self.guess(&seen)?.states;
        Ok(self.generative.vertices()[1..].iter().copied().zip(states).collect())
    }
}
