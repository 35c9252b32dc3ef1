//! A user's own loss, as what drives the outputs of a graph.

use std::{cell::RefCell, rc::Rc};

use dfdx::{
    prelude::{Backward, Device},
    shapes::Rank0,
    tensor::Cpu,
};
use pc_core::{Clamps, Error, ErrorKind, Loss, Result, VertexId, host::HostTensor};

use crate::{
    Outputs, Scalar,
    parameters::reported,
    taped::{Traced, guarded},
};

/// What is known of a step's loss.
struct Joint<O: Outputs<E>, E: Scalar, F> {
    loss: F,
    form: O::Form,
    device: Cpu,
    /// What the loss's mean was over.
    samples: f64,
    /// By output: its last prediction, and the drive that was handed out for it since the last of
    /// them was asked for.
    predictions: Vec<Vec<E>>,
    handed: Vec<Option<Vec<E>>>,
    /// In the forward pass.
    first: Option<f64>,
}

/// The loss's value in the forward pass.
pub(crate) trait First {
    fn first(&self) -> Option<f64>;
}

impl<O: Outputs<E>, E: Scalar, F> First for RefCell<Joint<O, E, F>> {
    fn first(&self) -> Option<f64> {
        self.borrow().first
    }
}

/// One output's part in it.
struct Part<O: Outputs<E>, E: Scalar, F> {
    joint: Rc<RefCell<Joint<O, E, F>>>,
    index: usize,
}

impl<O, E, F> Joint<O, E, F>
where
    O: Outputs<E>,
    E: Scalar,
    F: FnMut(O::Traced) -> Traced<Rank0, E>,
    Cpu: Device<E>,
{
    /// The loss, and its gradients at all outputs.
    fn evaluate(&mut self) -> Result<(f64, Vec<Vec<E>>)> {
        let Self { loss, form, device, predictions, .. } = self;
        guarded("the loss", || {
            let mut numbers = predictions.iter().map(Vec::as_slice);
            let (traced, leaves) = O::trace(form, device, &mut numbers)?;
            let loss = loss(traced);
            let value = loss.as_vec().first().map_or(f64::NAN, |value| value.value());
            let mut gradients = loss.try_backward().map_err(reported)?;
            let mut all = Vec::with_capacity(predictions.len());
            O::pulled(&leaves, &mut gradients, &mut all)?;
            Ok((value, all))
        })
    }

    fn part(
        &mut self,
        index: usize,
        prediction: &HostTensor<E>,
        drive: &mut HostTensor<E>,
    ) -> Result<f64> {
        let last = self.predictions.len() - 1;
        prediction.data().clone_into(&mut self.predictions[index]);
        let (value, gradients) = self.evaluate()?;
        let samples = E::of(self.samples);
        for (drive, gradient) in drive.data_mut().iter_mut().zip(&gradients[index]) {
            *drive = -samples * *gradient;
        }
        if index < last {
            self.handed[index] = gradients.into_iter().nth(index);
            return Ok(0.0);
        }
        if self.first.is_none() {
            if !value.is_finite() {
                return Err(Error::new(
                    ErrorKind::NotFinite,
                    format!("the loss of the forward pass is {value}, which is no number"),
                ));
            }
            self.first = Some(value);
        }
        // Outputs are driven one after the other: a loss must come to the same gradient at one of
        // them wherever the others are.
        for (index, (handed, gradient)) in self.handed.iter_mut().zip(&gradients).enumerate() {
            let coupled =
                handed.take().is_some_and(|handed| value.is_finite() && handed != *gradient);
            if coupled {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the loss couples output {index} to another one: of several outputs it \
                         must be a sum of losses, one of each; let the model end in one output \
                         for any other"
                    ),
                ));
            }
        }
        Ok(value * self.samples)
    }
}

impl<O, E, F> Loss<HostTensor<E>> for Part<O, E, F>
where
    O: Outputs<E>,
    E: Scalar,
    F: FnMut(O::Traced) -> Traced<Rank0, E>,
    Cpu: Device<E>,
{
    fn evaluate(&mut self, prediction: &HostTensor<E>, drive: &mut HostTensor<E>) -> Result<f64> {
        self.joint.borrow_mut().part(self.index, prediction, drive)
    }
}

/// The loss as clamps of these outputs, and a way to ask for its value in the forward pass.
pub(crate) fn drive<O, E, F>(
    mut clamps: Clamps<HostTensor<E>>,
    outputs: &[(VertexId, usize)],
    form: O::Form,
    device: &Cpu,
    samples: f64,
    weight: f64,
    loss: F,
) -> (Clamps<HostTensor<E>>, Rc<dyn First>)
where
    O: Outputs<E> + 'static,
    E: Scalar,
    F: FnMut(O::Traced) -> Traced<Rank0, E> + 'static,
    Cpu: Device<E>,
{
    let joint = Rc::new(RefCell::new(Joint::<O, E, F> {
        loss,
        form,
        device: device.clone(),
        samples,
        predictions: outputs.iter().map(|(_, length)| vec![E::zero(); *length]).collect(),
        handed: vec![None; outputs.len()],
        first: None,
    }));
    for (index, (vertex, _)) in outputs.iter().enumerate() {
        clamps = clamps.weak_loss(*vertex, Part { joint: Rc::clone(&joint), index }, weight);
    }
    (clamps, joint)
}
