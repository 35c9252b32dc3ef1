//! Energies of predictions that are not `1/2 pi |v - mu|^2`.

mod bernoulli;
mod categorical;
mod laplace;
mod precision;

use std::fmt;

use crate::{Error, Result, tensor::Tensor, topology::ParamId, vertex::Pulled};

pub use bernoulli::Bernoulli;
pub use categorical::Categorical;
pub use laplace::Laplace;
pub use precision::{
    DiagonalPrecision, LearnedDiagonalPrecision, LearnedMatrixPrecision, MatrixPrecision,
};

/// The energy `E(v, mu; theta)` of one prediction, summed over the batch, in place of the Gaussian
/// `1/2 pi |v - mu|^2` that every prediction has unless another energy is set.
///
/// It is counted in [`crate::Energy::internal`], moves the vertex by `-dE/dv`, is pulled back to
/// the parents as `-dE/dmu`, and may have parameters of its own, which learn by `dE/dtheta`. Set it
/// with [`crate::GraphBuilder::energy`]. The prediction's scalar precision multiplies it.
///
/// An energy holds settings only; numbers go into parameters or buffers. Any energy will do at a
/// held vertex. At a vertex that moves it needs live states, since frozen predictions and errors as
/// coordinates rest on the Gaussian form: other schedules refuse it by name.
///
/// # Example
/// The logarithm of a hyperbolic cosine, which is quadratic near zero and linear far from it, over
/// the numbers of every sample:
/// ```
/// use pc_core::{EnergyInputs, PredictionEnergy, Result, Slopes, Tensor};
/// #[derive(Debug)]
/// struct LogCosh;
///
/// impl<T: Tensor> PredictionEnergy<T> for LogCosh {
///     fn kind(&self) -> &str {
///         "log cosh"
///     }
///     fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64> {
///         let mut energy = 0.0;
///         let Slopes { on_prediction, on_value } = slopes;
///         T::by_rows(&[at.error()], &mut [on_prediction, on_value], &mut |rows, slopes| {
///             for (k, e) in rows[0].iter().enumerate() {
///                 energy += e.cosh().ln();
///                 slopes[0][k] = e.tanh();
///                 slopes[1][k] = -e.tanh();
///             }
///         });
///         Ok(energy)
///     }
/// }
///
/// use pc_core::{
///     Clamps, Graph, Relaxation, Schedule,
///     host::{Activation, HostLayers, HostTensor, Init},
/// };
/// let mut b = Graph::<HostTensor<f64>>::builder();
/// let x = b.input("x", &[2])?;
/// let y = b.dense("y", x, 1, Activation::Identity, &mut Init::new(1))?;
/// b.energy(b.prediction_of(y)?, LogCosh, &[])?;
/// let mut graph = b.build()?;
/// let clamps = Clamps::new()
///     .hold(x, HostTensor::new(&[1, 2], vec![0.0, 0.0])?)
///     .hold(y, HostTensor::new(&[1, 1], vec![3.0])?);
/// let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 5)?)?;
/// let outcome = relaxation.run(&mut graph, &clamps)?;
/// assert!((outcome.energy.total() - 3.0_f64.cosh().ln()).abs() < 1e-12);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait PredictionEnergy<T: Tensor>: fmt::Debug + Send + Sync {
    /// What it is, for error messages: `laplace`, ...
    fn kind(&self) -> &str;

    /// How many parameters it takes.
    fn parameters(&self) -> usize {
        0
    }

    /// Checks that it can be the energy of a vertex of this shape (without the batch), with
    /// parameters of these shapes.
    ///
    /// # Errors
    /// It cannot; the graph adds the vertex's name.
    fn check(&self, _shape: &[usize], _parameters: &[&[usize]]) -> Result<()> {
        Ok(())
    }

    /// Writes `-dE/dmu` and `-dE/dv`, and returns `E`, summed over the batch.
    ///
    /// # Errors
    /// Numbers that it is not defined for; what the framework reports.
    fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64>;

    /// Adds `dE/dtheta_k`, multiplied by [`Pulled::scale`], to every gradient that is wanted.
    ///
    /// # Errors
    /// What the framework reports.
    fn learn(&self, _at: &EnergyInputs<'_, T>, _gradients: &mut Pulled<'_, T>) -> Result<()> {
        Ok(())
    }
}

/// What an energy is evaluated at.
#[derive(Clone, Copy, Debug)]
pub struct EnergyInputs<'a, T> {
    pub(crate) value: &'a T,
    pub(crate) prediction: &'a T,
    pub(crate) error: &'a T,
    pub(crate) parameters: &'a [T],
    pub(crate) uses: &'a [ParamId],
}

impl<'a, T> EnergyInputs<'a, T> {
    /// The vertex's value `v`.
    pub fn value(&self) -> &'a T {
        self.value
    }

    /// Its prediction `mu`.
    pub fn prediction(&self) -> &'a T {
        self.prediction
    }

    /// `v - mu`, found without cancellation where the two are close.
    pub fn error(&self) -> &'a T {
        self.error
    }

    /// Parameter `k` of this energy.
    pub fn parameter(&self, k: usize) -> &'a T {
        &self.parameters[self.uses[k].index()]
    }
}

/// Where [`PredictionEnergy::evaluate`] puts its slopes, both to be **overwritten**.
#[derive(Debug)]
pub struct Slopes<'a, T> {
    /// `-dE/dmu`, which is pulled back to the parents.
    pub on_prediction: &'a mut T,
    /// `-dE/dv`, which moves the vertex.
    pub on_value: &'a mut T,
}

/// The energy of a prediction, with the parameters that it uses.
#[derive(Clone, Copy, Debug)]
pub struct EnergyOf<'a, T> {
    /// The energy.
    pub energy: &'a dyn PredictionEnergy<T>,
    /// All parameters of the network.
    pub parameters: &'a [T],
    /// Which of them are its own, in the order it takes them.
    pub uses: &'a [ParamId],
}

/// # Errors
/// Another number of parameters than `shapes`, or one of another shape.
fn exact_shapes(kind: &str, parameters: &[&[usize]], shapes: &[&[usize]]) -> Result<()> {
    if parameters == shapes {
        return Ok(());
    }
    Err(Error::shape(format!(
        "its {kind} energy takes parameters of the shapes {shapes:?}, not {parameters:?}"
    )))
}
