//! What a temporal PC network is made of.

use pc_core::{Activation, Error, ErrorKind, Result, Schedule};

/// The layers of a [`crate::TemporalPc`].
///
/// # Example
/// ```
/// use pc_core::{Activation, Schedule};
/// use pc_models::Temporal;
/// let memory = Temporal::two_layers(784, 480, Schedule::standard(0.1, 50)?)
///     .activation(Activation::Tanh);
/// let filter = Temporal::two_layers(3, 3, Schedule::standard(0.1, 10)?).controlled(1);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Temporal {
    pub(super) observed: usize,
    pub(super) latent: Option<usize>,
    pub(super) control: Option<usize>,
    pub(super) activation: Activation,
    pub(super) schedule: Option<Schedule>,
}

impl Temporal {
    /// One layer: frames of this width predict one another.
    pub fn one_layer(width: usize) -> Self {
        Self {
            observed: width,
            latent: None,
            control: None,
            activation: Activation::Identity,
            schedule: None,
        }
    }

    /// Two layers: latents of the width `latent` predict one another and the frames, and relax by
    /// this schedule. For a filter at equilibrium say [`Schedule::until`].
    pub fn two_layers(width: usize, latent: usize, schedule: Schedule) -> Self {
        Self { latent: Some(latent), schedule: Some(schedule), ..Self::one_layer(width) }
    }

    /// With this `f` before the weights, the identity unless it is said.
    #[must_use]
    pub fn activation(mut self, f: Activation) -> Self {
        self.activation = f;
        self
    }

    /// With a control `u` of this width, which enters what predicts through time: `A z + B u`. It
    /// takes the identity as activation.
    #[must_use]
    pub fn controlled(mut self, width: usize) -> Self {
        self.control = Some(width);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.control.is_some() && self.activation != Activation::Identity {
            let why = "a control enters linearly, so it takes the identity as activation";
            return Err(Error::new(ErrorKind::Graph, why).at("control"));
        }
        for (name, width) in
            [("observed", Some(self.observed)), ("latent", self.latent), ("control", self.control)]
        {
            if width == Some(0) {
                let why = "its width is 0, and there must be something to predict";
                return Err(Error::new(ErrorKind::Shape, why).at(name));
            }
        }
        Ok(())
    }
}
