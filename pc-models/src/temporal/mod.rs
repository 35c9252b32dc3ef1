//! Temporal predictive coding: memories of sequences, and linear filters.

mod recall;
mod settings;

pub(crate) use recall::several;
pub use recall::to_signs;
pub use settings::Temporal;

use pc_core::{
    Clamps, Error, ErrorKind, Gradients, Graph, Outcome, Predictor, Relaxation, Result, Schedule,
    Status, Tensor, VertexId, host::Init,
};

use crate::{Backend, Dense};

/// Temporal PC (Tang, Barron and Bogacz 2023; Millidge, Tang, Osanlouy, Harper and Bogacz 2024): a
/// network that predicts what comes next. A sequence is fed to it frame by frame, to be learned,
/// and then recalled from its beginning.
///
/// - **One layer** predicts a frame by the one before it, `x_t ~ W f(x_{t-1})`, and learns by
///   `dW ~ e_t f(x_{t-1})^T`.
/// - **Two layers** predict a latent by the one before it, and the frame by the latent: `z_t ~ W_r
///   f(z_{t-1})`, `x_t ~ W_o f(z_t)`. For every frame the latent relaxes down `1/2 |e_z|^2 + 1/2
///   |e_x|^2`, starting at its prediction, while `z_{t-1}` stays where it has been left.
/// - **A linear filter** is two layers with the identity and, if there are controls, `z_t ~ A
///   z_{t-1} + B u_t`, `x_t ~ C z_t`. At equilibrium `z_t = (I + C^T C)^-1 (C^T x_t + A z_{t-1} + B
///   u_t)`: a Kalman filter whose prediction always has the covariance `I`.
///
/// The parameters are `latent.weight` (or `latent.weight.0`, A, and `latent.weight.1`, B, with
/// controls) and `observed.weight`; with one layer, `observed.weight` alone. They can be learned,
/// or set by [`Graph::set_parameter`]. A batch is several sequences side by side.
///
/// # Example
/// Three frames, learned until each calls up the next:
/// ```
/// use pc_core::{Activation, Tensor, host::{Init, Sgd}};
/// use pc_models::{Backend, Host, Temporal, TemporalPc};
/// let host = Host::<f64>::new();
/// let mut memory = TemporalPc::new(&host, &Temporal::one_layer(2), &mut Init::new(0))?;
/// let frames = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]].map(|x| host.tensor(&[1, 2], &x).unwrap());
/// let mut sgd = Sgd::new(0.5)?;
/// for _ in 0..100 {
///     memory.learn_sequence(&frames, |graph, g| sgd.step(graph.parameters_mut(), g))?;
/// }
/// let recalled = memory.recall_offline(&frames[0], 2, |_| Ok(()))?;
/// for (x, truth) in recalled.iter().zip(&frames[1..]) {
///     assert!(x.to_vec().iter().zip(truth.to_vec()).all(|(a, b)| (a - b).abs() < 1e-6));
/// }
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct TemporalPc<B: Backend> {
    graph: Graph<B::Tensor>,
    relaxation: Relaxation<Graph<B::Tensor>>,
    predictor: Predictor<B::Tensor>,
    before: VertexId,
    latent: Option<VertexId>,
    control: Option<VertexId>,
    observed: VertexId,
    width: usize,
    /// Where the last frame has left the latent, or, with one layer, that frame.
    state: Option<B::Tensor>,
}

impl<B: Backend> TemporalPc<B> {
    /// With these layers, and weights drawn from `init`.
    ///
    /// # Errors
    /// A width of 0; controls behind an activation; a schedule that its graph cannot take.
    pub fn new(backend: &B, settings: &Temporal, init: &mut Init) -> Result<Self> {
        settings.check()?;
        let layer = |outputs| Dense::new(outputs).before(settings.activation).without_bias();
        let mut b = Graph::builder();
        let carried = settings.latent.unwrap_or(settings.observed);
        let before = b.input("before", &[carried])?;
        let mut parents = vec![before];
        let control = settings.control.map(|width| b.input("control", &[width])).transpose()?;
        parents.extend(control);
        let (latent, observed) = match settings.latent {
            None => {
                let own = layer(settings.observed);
                (None, own.add(backend, &mut b, "observed", &parents, init)?)
            }
            Some(width) => {
                let latent = layer(width).add(backend, &mut b, "latent", &parents, init)?;
                let own = layer(settings.observed);
                (Some(latent), own.add(backend, &mut b, "observed", &[latent], init)?)
            }
        };
        let graph = b.build()?;
        let schedule = match &settings.schedule {
            Some(schedule) => schedule.clone(),
            // Nothing moves in one layer.
            None => Schedule::standard(1.0, 1)?.unrelaxed(),
        };
        let relaxation = Relaxation::new(&graph, schedule)?;
        let predictor = Predictor::new(&graph);
        let width = settings.observed;
        Ok(Self {
            graph,
            relaxation,
            predictor,
            before,
            latent,
            control,
            observed,
            width,
            state: None,
        })
    }

    /// The graph of one frame: `before`, `control`, `latent` and `observed`, as far as there are.
    pub fn graph(&self) -> &Graph<B::Tensor> {
        &self.graph
    }

    /// The same, to be set, loaded or learned by another rule.
    pub fn graph_mut(&mut self) -> &mut Graph<B::Tensor> {
        &mut self.graph
    }

    /// Where the last frame has left the latent; with one layer, the last frame. Returns `None`
    /// before the first.
    pub fn state(&self) -> Option<&B::Tensor> {
        self.state.as_ref()
    }

    /// Forgets where it was, to begin a sequence. The latent before the first frame is zero.
    pub fn begin(&mut self) {
        self.state = None;
    }

    /// Begins a sequence from this latent, or, with one layer, from this frame.
    ///
    /// # Errors
    /// A wrong shape; numbers that are not finite.
    pub fn begin_from(&mut self, state: B::Tensor) -> Result<()> {
        let width = self.graph.shape(self.before)?.first().copied().unwrap_or(0);
        fits(&state, "before", width)?;
        self.state = Some(state);
        Ok(())
    }

    /// Takes the next frame `[batch, width]` without learning. Returns `None` where nothing was
    /// relaxed: at the first frame of one layer, which nothing predicts.
    ///
    /// # Errors
    /// A wrong shape, or another batch than the last frame's; numbers that are not finite; a
    /// control that is missing, or that there is no input for; a relaxation that diverges.
    pub fn observe(
        &mut self,
        frame: &B::Tensor,
        control: Option<&B::Tensor>,
    ) -> Result<Option<Outcome>> {
        let Some(clamps) = self.clamps(frame, control)? else {
            return Ok(None);
        };
        let outcome = self.relaxation.infer(&mut self.graph, &clamps)?;
        self.carry(frame, outcome)
    }

    /// Takes the next frame and learns from it: `learn` is called at every learning event, as in
    /// [`Relaxation::train`].
    ///
    /// # Errors
    /// As [`TemporalPc::observe`]; what `learn` returns.
    pub fn learn(
        &mut self,
        frame: &B::Tensor,
        control: Option<&B::Tensor>,
        learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<Option<Outcome>> {
        let Some(clamps) = self.clamps(frame, control)? else {
            return Ok(None);
        };
        let outcome = self.relaxation.train(&mut self.graph, &clamps, learn)?;
        self.carry(frame, outcome)
    }

    /// What the next frame is expected to be.
    ///
    /// # Errors
    /// There was no frame yet; a control that is missing, or that there is no input for; a
    /// prediction that is not finite.
    pub fn expected(&mut self, control: Option<&B::Tensor>) -> Result<B::Tensor> {
        let Some(state) = &self.state else {
            let why = "there was no frame yet that the next could be expected from";
            return Err(Error::new(ErrorKind::Misuse, why));
        };
        let mut given = vec![(self.before, state)];
        given.extend(paired(self.control, control)?);
        self.predictor.run(&mut self.graph, &given, &[self.observed])?;
        self.predictor.value(self.observed).cloned()
    }

    /// What holds the graph for this frame, or `None` at the first frame of one layer.
    fn clamps(
        &mut self,
        frame: &B::Tensor,
        control: Option<&B::Tensor>,
    ) -> Result<Option<Clamps<B::Tensor>>> {
        fits(frame, "observed", self.width)?;
        let control = paired(self.control, control)?;
        let state = match (&self.state, self.latent) {
            (Some(state), _) => state.clone(),
            (None, Some(latent)) => {
                let width = self.graph.shape(latent)?.first().copied().unwrap_or(0);
                frame.zeros(&[frame.batch(), width])
            }
            (None, None) => {
                self.state = Some(frame.clone());
                return Ok(None);
            }
        };
        let clamps = Clamps::new().hold(self.before, state).hold(self.observed, frame.clone());
        Ok(Some(match control {
            Some((vertex, control)) => clamps.hold(vertex, control.clone()),
            None => clamps,
        }))
    }

    /// Keeps where this frame has led to.
    fn carry(&mut self, frame: &B::Tensor, outcome: Outcome) -> Result<Option<Outcome>> {
        if outcome.status == Status::Diverged {
            let why = "the latent diverged: relax at a smaller rate, or learn at a smaller one";
            return Err(Error::new(ErrorKind::NotFinite, why).at("latent"));
        }
        self.state = match self.latent {
            None => Some(frame.clone()),
            Some(latent) => self.relaxation.value(&self.graph, latent),
        };
        Ok(Some(outcome))
    }
}

/// # Errors
/// It is no batch of vectors of this width, or holds numbers that are not finite.
fn fits<T: Tensor>(tensor: &T, name: &str, width: usize) -> Result<()> {
    if tensor.batch() == 0 || !tensor.has_batch_shape(tensor.batch(), &[width]) {
        let shape = tensor.shape();
        let why = format!("a tensor [batch, {width}] is needed, not {shape:?}");
        return Err(Error::new(ErrorKind::Shape, why).at(name));
    }
    if !tensor.is_finite() {
        return Err(Error::new(ErrorKind::NotFinite, "a number is not finite").at(name));
    }
    Ok(())
}

/// # Errors
/// There is a control and no input for it, or the other way around.
fn paired<T>(vertex: Option<VertexId>, control: Option<&T>) -> Result<Option<(VertexId, &T)>> {
    match (vertex, control) {
        (Some(vertex), Some(control)) => Ok(Some((vertex, control))),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(Error::new(ErrorKind::Clamp, "the frame comes without its control").at("control"))
        }
        (None, Some(_)) => {
            let why = "a control is given, and this network has none: see `Temporal::controlled`";
            Err(Error::new(ErrorKind::Clamp, why))
        }
    }
}
