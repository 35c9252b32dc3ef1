//! Losses whose numbers stay on the device.

use pc_core::{Error, ErrorKind, Loss, Result, Tensor, backend::LossForm};

use crate::{
    device::{Family, Launch},
    params,
    tensor::{DeviceTensor, int},
};

/// Cross-entropy over the last axis, as [`pc_core::host::CrossEntropy`]: `L = -sum_k y_k log
/// softmax(mu)_k`, with drive `y - softmax(mu)` for targets that sum to one.
///
/// # Example
/// ```
/// # #[cfg(feature = "simulation")] {
/// use pc_core::Loss;
/// use pc_cuda::{CrossEntropy, Device, Simulation};
/// let device = Device::simulated(&Simulation::new(0))?;
/// let mut loss = CrossEntropy::new(device.tensor(&[1, 2], &[0.0, 1.0])?);
/// let mut drive = device.tensor(&[1, 2], &[0.0, 0.0])?;
/// let value = loss.evaluate(&device.tensor(&[1, 2], &[0.0, 0.0])?, &mut drive)?;
/// assert!((value - 2f64.ln()).abs() < 1e-6);
/// assert_eq!(drive.numbers()?, [-0.5, 0.5]);
/// # }
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct CrossEntropy {
    target: DeviceTensor,
}

impl CrossEntropy {
    /// Towards a distribution over the last axis.
    pub fn new(target: DeviceTensor) -> Self {
        Self { target }
    }
}

impl Loss<DeviceTensor> for CrossEntropy {
    fn evaluate(&mut self, prediction: &DeviceTensor, drive: &mut DeviceTensor) -> Result<f64> {
        let device = prediction.device();
        device.check()?;
        if prediction.dims() != self.target.dims() {
            let (target, own) = (self.target.dims(), prediction.dims());
            return Err(Error::new(
                ErrorKind::Shape,
                format!("the target has shape {target:?}, the prediction {own:?}"),
            ));
        }
        prediction.check_like(&self.target)?;
        let classes = prediction.dims().last().copied().unwrap_or(1).max(1);
        let rows = prediction.count() / classes;
        let losses = device.doubles(rows, |losses| {
            let params = params::CrossEntropy {
                mu: prediction.address(),
                target: self.target.address(),
                drive: drive.address(),
                loss: losses,
                rows: int(rows),
                classes: int(classes),
            };
            let launch = Launch {
                family: Family::Learn,
                kernel: "pc_cross_entropy",
                grid: rows.div_ceil(8),
                block: 256,
                cluster: 1,
                shared: 0,
            };
            device.launch(&launch, &params)
        })?;
        Ok(losses.into_iter().sum())
    }

    fn form(&self) -> LossForm<'_, DeviceTensor> {
        LossForm::CrossEntropy(&self.target)
    }
}
