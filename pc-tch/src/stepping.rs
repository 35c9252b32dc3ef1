//! What learning needs of an optimiser, whoever's it is.

use pc_core::Result;
use tch::{Tensor, nn::Optimizer};

use crate::resumable::ResumableOptimizer;

/// An optimiser that moves parameters by their `.grad`: tch's own, [`ResumableOptimizer`], or one
/// of yours.
///
/// # Example
/// ```
/// use pc_tch::{PredictiveCoding, SteppingOptimizer, pc_core::{Result, Schedule}, vertex};
/// use tch::{Kind, Tensor};
///
/// /// Moves by the gradient's sign.
/// struct Signs(Vec<Tensor>);
///
/// impl SteppingOptimizer for Signs {
///     fn moves(&self) -> Vec<Tensor> {
///         self.0.iter().map(Tensor::shallow_clone).collect()
///     }
///     fn clear(&mut self) -> Result<()> {
///         self.0.iter_mut().for_each(Tensor::zero_grad);
///         Ok(())
///     }
///     fn move_once(&mut self) -> Result<()> {
///         tch::no_grad(|| {
///             for parameter in &mut self.0 {
///                 let step = parameter.grad().sign() * 0.1;
///                 let _ = parameter.g_sub_(&step);
///             }
///         });
///         Ok(())
///     }
/// }
///
/// let weight = Tensor::from_slice(&[0.5, -1.5]).set_requires_grad(true);
/// let mut signs = Signs(vec![weight.shallow_clone()]);
/// let mut pc = PredictiveCoding::new(Schedule::standard(0.1, 5)?);
/// pc.learn(&mut signs, || vertex(&vertex(&(&weight * 3.0)).tanh()).square().sum(Kind::Double))?;
/// assert_eq!(Vec::<f64>::try_from(&weight).ok(), Some(vec![0.4, -1.4]));
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait SteppingOptimizer {
    /// The parameters that it moves.
    fn moves(&self) -> Vec<Tensor>;

    /// Drops or zeroes their gradients.
    ///
    /// # Errors
    /// What libtorch reports.
    fn clear(&mut self) -> Result<()>;

    /// Moves them by their gradients.
    ///
    /// # Errors
    /// What libtorch reports.
    fn move_once(&mut self) -> Result<()>;
}

impl SteppingOptimizer for Optimizer {
    fn moves(&self) -> Vec<Tensor> {
        self.trainable_variables()
    }

    fn clear(&mut self) -> Result<()> {
        self.zero_grad();
        Ok(())
    }

    fn move_once(&mut self) -> Result<()> {
        self.step();
        Ok(())
    }
}

impl SteppingOptimizer for ResumableOptimizer {
    fn moves(&self) -> Vec<Tensor> {
        self.parameters().iter().map(|(_, parameter)| parameter.shallow_clone()).collect()
    }

    fn clear(&mut self) -> Result<()> {
        self.zero_grad()
    }

    fn move_once(&mut self) -> Result<()> {
        self.step()
    }
}
