//! Generative predictive coding: from a label down to a picture, asked for any part of either.

use pc_core::{
    Activation, Clamps, Gradients, Graph, Outcome, Prior, Relaxation, Result, Schedule, Simplex,
    VertexId, backend::GraphTensor, host::Init,
};

use crate::{
    Answer, Backend, Dense, Known,
    known::{answer, names},
    settled::settled,
};

/// What a [`Generative`] net is made of.
#[derive(Clone, Debug)]
pub struct GenerativeSettings {
    /// The widths of the vertices, from the picture up to the label.
    pub widths: Vec<usize>,
    /// `f`, which hidden vertices pass through before they predict.
    pub activation: Activation,
    /// What the prediction of the picture passes through.
    pub picture: Activation,
    /// The precision of the label's prior.
    pub prior: f64,
    /// Whether a label that moves stays a distribution over classes ([`Simplex`]).
    pub simplex: bool,
    /// How states relax before weights learn.
    pub learning: Schedule,
    /// How states relax when something is asked.
    pub asking: Schedule,
}

impl GenerativeSettings {
    /// Of these widths, from the picture up to the label: tanh, pictures as they are predicted, a
    /// prior of precision 1, labels free to be any numbers, 20 steps at rate 0.1 to learn and 200
    /// to answer.
    ///
    /// # Errors
    /// Fewer than two widths.
    pub fn new(widths: &[usize]) -> Result<Self> {
        names(widths)?;
        Ok(Self {
            widths: widths.to_vec(),
            activation: Activation::Tanh,
            picture: Activation::Identity,
            prior: 1.0,
            simplex: false,
            learning: Schedule::standard(0.1, 20)?,
            asking: Schedule::standard(0.1, 200)?,
        })
    }
}

/// Generative predictive coding: the label predicts hidden causes and these the picture,
///
/// `F = pi_0/2 |v_L - m|^2 + sum_l 1/2 |v_l - g(W_l f(v_{l+1}) + b_l)|^2`,
///
/// from the label `v_L`, which has the learned prior `m`, down to the picture `v_0`; `g` is the
/// identity but at the picture. One net decodes (the label is held), classifies (the picture is),
/// and completes (a part is): whatever is not held goes to where the energy is least, the most
/// probable cause of what is held (Rao and Ballard 1999; Friston 2005; Sun and Orchard 2020, whose
/// decay of states is the prior here). If all is linear, that is the posterior mean.
///
/// # Example
/// ```
/// use pc_core::host::{Adam, Init};
/// use pc_models::{Backend, Generative, GenerativeSettings, Host, Known};
/// let host = Host::<f32>::new();
/// let settings = GenerativeSettings::new(&[4, 8, 2])?;
/// let mut net = Generative::new(&host, &settings, &mut Init::new(0))?;
/// let pictures = host.tensor(&[2, 4], &[1.0, 0.9, 0.0, 0.1, 0.1, 0.0, 0.9, 1.0])?;
/// let labels = host.tensor(&[2, 2], &[1.0, 0.0, 0.0, 1.0])?;
/// let mut adam = Adam::new(0.01)?;
/// for _ in 0..200 {
///     let both = Known::picture(pictures.clone()).and_label(labels.clone());
///     net.train(&both, |graph, gradients| adam.step(graph.parameters_mut(), gradients))?;
/// }
/// assert_eq!(net.ask(&Known::picture(pictures.clone()))?.classes(), [0, 1]);
/// let left = host.tensor(&[2, 4], &[1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0])?;
/// assert_eq!(net.ask(&Known::part(pictures, left))?.classes(), [0, 1]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Generative<B: Backend> {
    graph: Graph<B::Tensor>,
    /// From the picture up to the label.
    vertices: Vec<VertexId>,
    ends: (VertexId, VertexId),
    learning: Relaxation<Graph<B::Tensor>>,
    asking: Relaxation<Graph<B::Tensor>>,
}

impl<B: Backend> Generative<B> {
    /// A net with new weights `hidden1.weight`, ..., `picture.weight`, biases, and the prior's mean
    /// `label.mean`, which starts at 0.
    ///
    /// # Errors
    /// Fewer than two widths, or one of 0; a precision that is not a positive number; a schedule
    /// that such graphs refuse; what the backend reports.
    pub fn new(backend: &B, settings: &GenerativeSettings, init: &mut Init) -> Result<Self> {
        let widths = &settings.widths;
        let names = names(widths)?;
        let top = widths.len() - 1;
        let mut b = Graph::builder();
        let label = b.input(&names[top], &widths[top..])?;
        let mean = backend.tensor(&widths[top..], &vec![0.0; widths[top]])?;
        let mean = b.parameter("label.mean", mean)?;
        b.predict(label, B::Tensor::boxed(Prior), &[], &[mean], settings.prior)?;
        if settings.simplex {
            b.project(label, Simplex)?;
        }
        let mut vertices = vec![label];
        for k in (0..top).rev() {
            let before = if k + 1 == top { Activation::Identity } else { settings.activation };
            let after = if k == 0 { settings.picture } else { Activation::Identity };
            let layer = Dense::new(widths[k]).before(before).after(after);
            let above = [vertices[vertices.len() - 1]];
            vertices.push(layer.add(backend, &mut b, &names[k], &above, init)?);
        }
        vertices.reverse();
        let graph = b.build()?;
        Ok(Self {
            learning: Relaxation::new(&graph, settings.learning.clone())?,
            asking: Relaxation::new(&graph, settings.asking.clone())?,
            ends: (vertices[0], label),
            graph,
            vertices,
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

    /// The relaxation of the last [`Generative::ask`], whose values and energies can be read.
    pub fn asked(&self) -> &Relaxation<Graph<B::Tensor>> {
        &self.asking
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
        self.train_from(known, &[], learn)
    }

    /// The same from these starting values of vertices that are not held.
    pub(crate) fn train_from(
        &mut self,
        known: &Known<B::Tensor>,
        starts: &[(VertexId, B::Tensor)],
        learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<Outcome> {
        let clamps = self.clamps(known, starts)?;
        settled(self.learning.train(&mut self.graph, &clamps, learn)?, "learning")
    }

    /// Infers what is not known, with the weights as they are. Without labels it starts from the
    /// prior.
    ///
    /// # Errors
    /// Tensors that do not fit, or with numbers that are not finite; a relaxation that diverged.
    pub fn ask(&mut self, known: &Known<B::Tensor>) -> Result<Answer<B::Tensor>> {
        self.ask_from(known, &[])
    }

    /// The same from these starting values of vertices that are not held.
    pub(crate) fn ask_from(
        &mut self,
        known: &Known<B::Tensor>,
        starts: &[(VertexId, B::Tensor)],
    ) -> Result<Answer<B::Tensor>> {
        let clamps = self.clamps(known, starts)?;
        answer(&mut self.asking, &mut self.graph, &clamps, self.ends)
    }

    /// The relaxation of the last batch that was learned.
    pub(crate) fn learned(&self) -> &Relaxation<Graph<B::Tensor>> {
        &self.learning
    }

    fn clamps(
        &self,
        known: &Known<B::Tensor>,
        starts: &[(VertexId, B::Tensor)],
    ) -> Result<Clamps<B::Tensor>> {
        known.seen()?; // A mask that does not fit is named here.
        let mut clamps = known.clamps(self.ends.0, self.ends.1);
        for (vertex, start) in starts {
            if clamps.get(*vertex).is_none() {
                clamps = clamps.free(*vertex, start.clone());
            }
        }
        Ok(clamps)
    }
}
