//! Bidirectional predictive coding: every vertex is predicted from below and from above.

use pc_core::{
    Activation, Clamps, Gradients, Graph, Outcome, PredictionId, Predictor, Relaxation, Result,
    Schedule, VertexId, host::Init,
};

use crate::{
    Answer, Backend, Dense, Known,
    known::{answer, names},
    settled::settled,
};

/// What a [`Bidirectional`] net is made of. New ones have the settings of the paper's small net.
#[derive(Clone, Debug)]
pub struct BidirectionalSettings {
    /// The widths of the vertices, from the picture up to the label.
    pub widths: Vec<usize>,
    /// `f`, which hidden vertices pass through before they predict.
    pub activation: Activation,
    /// `alpha_f`, the weight of the errors of predictions from below.
    pub forward: f64,
    /// `alpha_b`, the weight of the errors of predictions from above.
    pub backward: f64,
    /// How states relax before weights learn.
    pub learning: Schedule,
    /// How states relax when something is asked.
    pub asking: Schedule,
}

impl BidirectionalSettings {
    /// Of these widths, from the picture up to the label: tanh, `alpha_f = 1`, `alpha_b = 1e-4`,
    /// 20 steps at rate 0.01.
    ///
    /// # Errors
    /// Fewer than two widths.
    pub fn new(widths: &[usize]) -> Result<Self> {
        names(widths)?;
        let steps = Schedule::standard(0.01, 20)?;
        Ok(Self {
            widths: widths.to_vec(),
            activation: Activation::Tanh,
            forward: 1.0,
            backward: 1e-4,
            learning: steps.clone(),
            asking: steps,
        })
    }
}

/// Bidirectional predictive coding: a net that classifies and generates, with one energy,
///
/// `F = sum_l alpha_f/2 |v_l - V_l f(v_{l-1}) - c_l|^2 + alpha_b/2 |v_l - W_l f(v_{l+1}) - b_l|^2`,
///
/// over the vertices from the picture `v_0` up to the label (Oliviers, Tang and Bogacz,
/// "Bidirectional predictive coding", 2025). Each hidden vertex has two predictions, from below and
/// from above. What is held decides the task: the picture to classify, the label to generate, a
/// part of the picture to complete it. `f` acts on hidden vertices; the two ends predict as they
/// are.
///
/// States start by a sweep outward from what is held, upward from a picture and downward from a
/// label. A part is swept upward with 0 in place of what is missing.
///
/// # Example
/// ```
/// use pc_core::host::{Adam, Init};
/// use pc_models::{Backend, Bidirectional, BidirectionalSettings, Host, Known};
/// let host = Host::<f32>::new();
/// let settings = BidirectionalSettings::new(&[4, 8, 2])?;
/// let mut net = Bidirectional::new(&host, &settings, &mut Init::new(0))?;
/// let pictures = host.tensor(&[2, 4], &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0])?;
/// let labels = host.tensor(&[2, 2], &[1.0, 0.0, 0.0, 1.0])?;
/// let mut adam = Adam::new(0.01)?;
/// for _ in 0..200 {
///     let both = Known::picture(pictures.clone()).and_label(labels.clone());
///     net.train(&both, |graph, gradients| adam.step(graph.parameters_mut(), gradients))?;
/// }
/// assert_eq!(net.ask(&Known::picture(pictures))?.classes(), [0, 1]);
/// let made = net.ask(&Known::label(labels))?.picture;
/// assert_eq!(net.ask(&Known::picture(made))?.classes(), [0, 1]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Bidirectional<B: Backend> {
    graph: Graph<B::Tensor>,
    /// From the picture up to the label.
    vertices: Vec<VertexId>,
    ends: (VertexId, VertexId),
    up: Vec<PredictionId>,
    down: Vec<PredictionId>,
    learning: Relaxation<Graph<B::Tensor>>,
    asking: Relaxation<Graph<B::Tensor>>,
    sweep: Predictor<B::Tensor>,
}

impl<B: Backend> Bidirectional<B> {
    /// A net with new weights: `hidden1.weight`, ..., `label.weight` upward and
    /// `down.picture.weight`,
    /// `down.hidden1.weight`, ... downward, with biases.
    ///
    /// # Errors
    /// Fewer than two widths, or one of 0; weights of errors that are not positive numbers; a
    /// schedule that such graphs refuse; what the backend reports.
    pub fn new(backend: &B, settings: &BidirectionalSettings, init: &mut Init) -> Result<Self> {
        let BidirectionalSettings { widths, activation, forward, backward, .. } = settings;
        let names = names(widths)?;
        let top = widths.len() - 1;
        let before = |parent: usize| match parent {
            0 => Activation::Identity,
            k if k == top => Activation::Identity,
            _ => *activation,
        };
        let mut b = Graph::builder();
        let mut vertices = vec![b.input(&names[0], &widths[..1])?];
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for k in 1..=top {
            let layer = Dense::new(widths[k]).before(before(k - 1));
            let id = layer.add(backend, &mut b, &names[k], &vertices[k - 1..], init)?;
            let prediction = b.prediction_of(id)?;
            b.precision_of(prediction, *forward)?;
            up.push(prediction);
            vertices.push(id);
        }
        for k in 0..top {
            let layer = Dense::new(widths[k]).before(before(k + 1));
            let (name, above) = (format!("down.{}", names[k]), [vertices[k + 1]]);
            let of = vertices[k];
            down.push(layer.predict(backend, &mut b, of, &name, &above, *backward, init)?);
        }
        let graph = b.build()?;
        Ok(Self {
            learning: Relaxation::new(&graph, settings.learning.clone())?,
            asking: Relaxation::new(&graph, settings.asking.clone())?,
            sweep: Predictor::new(&graph),
            ends: (vertices[0], vertices[top]),
            graph,
            vertices,
            up,
            down,
        })
    }

    /// The graph.
    pub fn graph(&self) -> &Graph<B::Tensor> {
        &self.graph
    }

    /// The graph, to load weights into, or to learn by another rule.
    pub fn graph_mut(&mut self) -> &mut Graph<B::Tensor> {
        &mut self.graph
    }

    /// The vertices, from the picture up to the label.
    pub fn vertices(&self) -> &[VertexId] {
        &self.vertices
    }

    /// The relaxation of the last [`Bidirectional::ask`], whose values and energies can be read.
    pub fn asked(&self) -> &Relaxation<Graph<B::Tensor>> {
        &self.asking
    }

    /// Sets `alpha_f` and `alpha_b`. Asking may weigh errors otherwise than learning did.
    ///
    /// # Errors
    /// One that is not a positive number; nothing is set then.
    pub fn weigh(&mut self, forward: f64, backward: f64) -> Result<()> {
        // The first is set back if the second is refused.
        let before = self.graph.topology().prediction(self.up[0])?.precision;
        self.up.iter().try_for_each(|id| self.graph.set_precision(*id, forward))?;
        let set = self.down.iter().try_for_each(|id| self.graph.set_precision(*id, backward));
        if set.is_err() {
            self.up.iter().try_for_each(|id| self.graph.set_precision(*id, before))?;
        }
        set
    }

    /// Asks with another schedule from here on.
    ///
    /// # Errors
    /// A schedule that this graph refuses.
    pub fn ask_by(&mut self, schedule: Schedule) -> Result<()> {
        self.asking = Relaxation::new(&self.graph, schedule)?;
        Ok(())
    }

    /// Relaxes one batch and learns from it. `learn` moves the weights, as in
    /// [`Relaxation::train`]. Labels may be missing; what is known of pictures may be a part.
    ///
    /// # Errors
    /// Tensors that do not fit; a relaxation that diverges; what `learn` returns.
    pub fn train(
        &mut self,
        known: &Known<B::Tensor>,
        learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<Outcome> {
        let clamps = self.clamps(known)?;
        settled(self.learning.train(&mut self.graph, &clamps, learn)?, "learning")
    }

    /// Infers what is not known, with the weights as they are.
    ///
    /// # Errors
    /// Tensors that do not fit, or with numbers that are not finite; a relaxation that diverged.
    pub fn ask(&mut self, known: &Known<B::Tensor>) -> Result<Answer<B::Tensor>> {
        let clamps = self.clamps(known)?;
        answer(&mut self.asking, &mut self.graph, &clamps, self.ends)
    }

    /// What is held, and for a part where the rest starts: at a sweep up from the part.
    fn clamps(&mut self, known: &Known<B::Tensor>) -> Result<Clamps<B::Tensor>> {
        let (picture, label) = self.ends;
        let mut clamps = known.clamps(picture, label);
        let Some(seen) = known.seen()?.filter(|_| !known.is_whole()) else { return Ok(clamps) };
        let wanted = &self.vertices[1..];
        self.sweep.run(&mut self.graph, &[(picture, &seen)], wanted)?;
        for vertex in wanted.iter().filter(|v| **v != label || !known.is_labelled()) {
            clamps = clamps.free(*vertex, self.sweep.value(*vertex)?.clone());
        }
        Ok(clamps)
    }
}
