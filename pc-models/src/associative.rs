//! Associative memories of generative predictive-coding networks.

use pc_core::{
    Activation, Clamps, Error, ErrorKind, Gradients, Graph, Outcome, PredictionId, Prior,
    Relaxation, Result, Schedule, Tensor, VertexId,
    backend::GraphTensor,
    host::{HostTensor, Init},
};

use crate::{Backend, Dense, settled::settled};

/// What an [`AssociativeMemory`] is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct AssociativeSettings {
    /// The numbers of a picture.
    pub pixels: usize,
    /// The widths of the layers above the pixels, upward; the last is the memory vector.
    pub layers: Vec<usize>,
    /// The numbers of a label, which the first layer above the pixels predicts beside them. 0 where
    /// there are no labels.
    pub labels: usize,
    /// `f` in `mu = W f(h) + b`.
    pub activation: Activation,
    /// The precision of the learned bias that predicts the memory vector.
    pub prior: f64,
    /// How states relax before weights learn.
    pub learning: Schedule,
    /// How states relax when something is recalled.
    pub recall: Schedule,
}

impl AssociativeSettings {
    /// So many pixels, and layers of these widths above them: tanh, no labels, a precision of 1 for
    /// the bias, 20 steps to learn and at most 1000 to recall, at rates that adapt. (What is stored
    /// ever better makes weights grow, and a rate that is fixed then overshoots.)
    ///
    /// # Errors
    /// None, for these schedules.
    pub fn new(pixels: usize, layers: &[usize]) -> Result<Self> {
        Ok(Self {
            pixels,
            layers: layers.to_vec(),
            labels: 0,
            activation: Activation::Tanh,
            prior: 1.0,
            learning: Schedule::standard(0.1, 20)?.adaptive(),
            recall: Schedule::standard(0.1, 1000)?.adaptive().until(1e-5)?,
        })
    }

    /// With labels of so many numbers.
    #[must_use]
    pub fn labels(mut self, labels: usize) -> Self {
        self.labels = labels;
        self
    }

    /// With this `f`.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// With a bias of this precision.
    #[must_use]
    pub fn prior(mut self, precision: f64) -> Self {
        self.prior = precision;
        self
    }

    /// Learning after this relaxation.
    #[must_use]
    pub fn learning(mut self, schedule: Schedule) -> Self {
        self.learning = schedule;
        self
    }

    /// Recalling by this relaxation.
    #[must_use]
    pub fn recall(mut self, schedule: Schedule) -> Self {
        self.recall = schedule;
        self
    }
}

/// An associative memory by predictive coding (Salvatori, Song, Hong, Sha, Frieder, Xu, Bogacz and
/// Lukasiewicz, "Associative Memories via Predictive Coding", NeurIPS 2021).
///
/// A generative network: a learned bias predicts the memory vector, and every layer the one below,
/// `mu_l = W_l f(h_(l+1)) + b_l`, down to the pixels. Pictures are stored by holding the pixels,
/// relaxing the rest and learning, until the energy is near 0. They are recalled from a part by
/// holding that part, from a noisy picture by iterating the map that was learned, and from a label
/// by holding the label.
///
/// # Example
/// ```
/// use pc_core::host::{Adam, HostTensor, Init};
/// use pc_models::{AssociativeMemory, AssociativeSettings, Host};
/// let settings = AssociativeSettings::new(4, &[16, 8])?;
/// let mut memory = AssociativeMemory::new(&Host::<f32>::new(), &settings, &mut Init::new(0))?;
/// let pictures = HostTensor::new(&[2, 4], vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0])?;
/// let mut adam = Adam::new(1e-2)?;
/// for _ in 0..200 {
///     memory.store(&pictures, None, |graph, gradients| {
///         adam.step(graph.parameters_mut(), gradients)
///     })?;
/// }
/// let half = HostTensor::new(&[1, 4], vec![1.0, 0.0, 0.0, 0.0])?;
/// let known = HostTensor::new(&[1, 4], vec![1.0, 1.0, 0.0, 0.0])?;
/// let recalled = memory.complete(&half, &known)?;
/// assert!((recalled.pictures.data()[2] - 1.0).abs() < 0.1);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct AssociativeMemory<B: Backend> {
    graph: Graph<B::Tensor>,
    pixels: VertexId,
    picture: PredictionId,
    label: Option<VertexId>,
    memory: VertexId,
    learning: Relaxation<Graph<B::Tensor>>,
    recall: Relaxation<Graph<B::Tensor>>,
}

/// What an [`AssociativeMemory`] has recalled.
#[derive(Clone, Debug)]
pub struct Recalled<T> {
    /// The pictures.
    pub pictures: T,
    /// Their labels, where there are labels.
    pub labels: Option<T>,
    /// How the (last) relaxation ended.
    pub outcome: Outcome,
}

impl<B: Backend> AssociativeMemory<B> {
    /// A memory in which nothing is stored yet.
    ///
    /// # Errors
    /// No layers, or empty ones; a precision that is not a positive number; schedules that the
    /// network cannot honour; what the backend reports.
    pub fn new(backend: &B, settings: &AssociativeSettings, init: &mut Init) -> Result<Self> {
        let Some((top, hidden)) = settings.layers.split_last() else {
            let message = "an associative memory needs a layer above the pixels, and has none";
            return Err(Error::new(ErrorKind::Graph, message));
        };
        let mut b = Graph::builder();
        let memory = b.input("memory", &[*top])?;
        // Not 0, where a relu would be dead and stay so.
        let drawn: HostTensor<f64> = init.uniform(&[*top], 1.0)?;
        let bias = b.parameter("memory.bias", backend.tensor(drawn.dims(), drawn.data())?)?;
        let prior = <B::Tensor as GraphTensor>::boxed(Prior);
        b.predict(memory, prior, &[], &[bias], settings.prior)?;
        let mut above = memory;
        let layer = |outputs: usize| Dense::new(outputs).before(settings.activation);
        for (k, width) in hidden.iter().enumerate().rev() {
            let name = format!("hidden.{k}");
            above = layer(*width).add(backend, &mut b, &name, &[above], init)?;
        }
        let pixels = layer(settings.pixels).add(backend, &mut b, "pixels", &[above], init)?;
        let picture = b.prediction_of(pixels)?;
        let label = match settings.labels {
            0 => None,
            labels => Some(layer(labels).add(backend, &mut b, "label", &[above], init)?),
        };
        let graph = b.build()?;
        let learning = Relaxation::new(&graph, settings.learning.clone())?;
        let recall = Relaxation::new(&graph, settings.recall.clone())?;
        Ok(Self { graph, pixels, picture, label, memory, learning, recall })
    }

    /// The graph: the vertices `memory`, `hidden.k`, `pixels` and `label`.
    pub fn graph(&self) -> &Graph<B::Tensor> {
        &self.graph
    }

    /// The graph, to be loaded, frozen, or learned by another rule.
    pub fn graph_mut(&mut self) -> &mut Graph<B::Tensor> {
        &mut self.graph
    }

    /// The vertex of the memory vector.
    pub fn memory(&self) -> VertexId {
        self.memory
    }

    /// The vertex of the pixels.
    pub fn pixels(&self) -> VertexId {
        self.pixels
    }

    /// One round of storing pictures `[batch, pixels]`, with their labels `[batch, labels]` where
    /// the memory has labels: relaxes, and learns by `learn`. Call it until the energy that it
    /// returns is near 0.
    ///
    /// # Errors
    /// Labels that are missing, or that the memory has no room for; as
    /// [`Relaxation::train`].
    pub fn store(
        &mut self,
        pictures: &B::Tensor,
        labels: Option<&B::Tensor>,
        learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<Outcome> {
        let clamps = Clamps::new().hold(self.pixels, pictures.clone());
        let clamps = match (self.label, labels) {
            (Some(vertex), Some(labels)) => clamps.hold(vertex, labels.clone()),
            (None, None) => clamps,
            (Some(_), None) => {
                let message = "this memory stores labels with its pictures, and none were given";
                return Err(Error::new(ErrorKind::Misuse, message).at("label"));
            }
            (None, Some(_)) => return Err(self.unlabelled()),
        };
        settled(self.learning.train(&mut self.graph, &clamps, learn)?, "learning")
    }

    /// Recalls pictures from a part: pixels are held where the mask is 1, and found where it is 0.
    ///
    /// # Errors
    /// As [`Relaxation::infer`].
    pub fn complete(
        &mut self,
        pictures: &B::Tensor,
        mask: &B::Tensor,
    ) -> Result<Recalled<B::Tensor>> {
        let clamps = Clamps::new().mask(self.pixels, pictures.clone(), mask.clone());
        self.relax(&clamps)
    }

    /// Recalls pictures from noisy ones: holds them, relaxes, takes what the network predicts in
    /// their place, and so on, `rounds` times.
    ///
    /// # Errors
    /// No rounds; as [`Relaxation::infer`].
    pub fn denoise(&mut self, pictures: &B::Tensor, rounds: usize) -> Result<Recalled<B::Tensor>> {
        let mut found: Option<Recalled<B::Tensor>> = None;
        for _ in 0..rounds {
            let from = found.as_ref().map_or(pictures, |recalled| &recalled.pictures);
            let mut recalled = self.relax(&Clamps::new().hold(self.pixels, from.clone()))?;
            if let Some(error) = self.recall.error(self.picture) {
                recalled.pictures.axpy(-1.0, error);
            }
            found = Some(recalled);
        }
        found.ok_or_else(|| {
            Error::new(ErrorKind::Misuse, "no rounds of denoising leave a picture as it is")
        })
    }

    /// Recalls pictures from their labels.
    ///
    /// # Errors
    /// A memory without labels; as [`Relaxation::infer`].
    pub fn recall_label(&mut self, labels: &B::Tensor) -> Result<Recalled<B::Tensor>> {
        let label = self.label.ok_or_else(|| self.unlabelled())?;
        self.relax(&Clamps::new().hold(label, labels.clone()))
    }

    fn unlabelled(&self) -> Error {
        let message = "this memory has no labels: ask for them in its settings";
        Error::new(ErrorKind::Misuse, message)
    }

    fn relax(&mut self, clamps: &Clamps<B::Tensor>) -> Result<Recalled<B::Tensor>> {
        let outcome = settled(self.recall.infer(&mut self.graph, clamps)?, "recall")?;
        let value = |vertex| self.recall.value(&self.graph, vertex);
        let pictures = value(self.pixels)
            .ok_or_else(|| Error::new(ErrorKind::Misuse, "nothing was recalled").at("pixels"))?;
        Ok(Recalled { pictures, labels: self.label.and_then(value), outcome })
    }
}
