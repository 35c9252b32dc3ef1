//! Adam and AdamW.

use super::{Clipped, defined, fraction, not_negative, positive, running};
use crate::{
    Clipping, Result,
    gradients::Gradients,
    host::{Element, HostTensor},
    optimiser_state::{OptimiserState, ParameterState, check_states},
    topology::ParamId,
};

/// Adam (Kingma and Ba 2015), and with [`Adam::with_decay`] AdamW (Loshchilov and Hutter 2019).
/// Each parameter counts its own steps, so that one without a gradient is left alone.
///
/// # Example
/// ```
/// use pc_core::host::Adam;
/// let adam_w = Adam::<f32>::new(1e-3)?.with_decay(1e-2)?;
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Adam<F> {
    rate: f64,
    betas: (f64, f64),
    epsilon: f64,
    decay: f64,
    clipped: Clipped<F>,
    first: Vec<Option<HostTensor<F>>>,
    second: Vec<Option<HostTensor<F>>>,
    counts: Vec<i32>,
}

impl<F: Element> Adam<F> {
    /// At this rate, with the usual `beta = (0.9, 0.999)` and `epsilon = 1e-8`.
    ///
    /// # Errors
    /// A rate that is not a positive number.
    pub fn new(rate: f64) -> Result<Self> {
        Ok(Self {
            rate: positive("weights' rate", rate)?,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            decay: 0.0,
            clipped: Clipped::default(),
            first: Vec::new(),
            second: Vec::new(),
            counts: Vec::new(),
        })
    }

    /// Another rate from here on, for a rate that falls.
    ///
    /// # Errors
    /// A rate that is not a positive number.
    pub fn set_rate(&mut self, rate: f64) -> Result<()> {
        self.rate = positive("weights' rate", rate)?;
        Ok(())
    }

    /// With other averages.
    ///
    /// # Errors
    /// Outside `[0, 1)`.
    pub fn with_betas(self, first: f64, second: f64) -> Result<Self> {
        Ok(Self {
            betas: (fraction("first beta", first)?, fraction("second beta", second)?),
            ..self
        })
    }

    /// With decoupled weight decay: `theta <- (1 - rate w) theta` before each step.
    ///
    /// # Errors
    /// A negative number.
    pub fn with_decay(self, decay: f64) -> Result<Self> {
        Ok(Self { decay: not_negative("weight decay", decay)?, ..self })
    }

    /// With a bound on the gradients of each step. The caller's gradients stay as they are.
    #[must_use]
    pub fn with_clipping(self, clipping: Clipping) -> Self {
        Self { clipped: Clipped::by(clipping), ..self }
    }

    /// Moves the parameters that have a gradient.
    ///
    /// # Errors
    /// Gradients of other shapes; a gradient that is not finite. Nothing has moved then.
    pub fn step(
        &mut self,
        parameters: &mut [HostTensor<F>],
        gradients: &Gradients<HostTensor<F>>,
    ) -> Result<()> {
        let (b1, b2) = self.betas;
        let gradients = self.clipped.of(gradients)?;
        for (index, parameter, gradient) in defined(parameters, gradients)? {
            if self.counts.len() <= index {
                self.counts.resize(index + 1, 0);
            }
            self.counts[index] = self.counts[index].saturating_add(1);
            let count = self.counts[index];
            let rate = F::of(self.rate / (1.0 - b1.powi(count)));
            let correction = F::of(1.0 / (1.0 - b2.powi(count)));
            let (keep, epsilon) = (F::of(1.0 - self.rate * self.decay), F::of(self.epsilon));
            let (m1, n1, m2, n2) = (F::of(b1), F::of(1.0 - b1), F::of(b2), F::of(1.0 - b2));
            let first = running(&mut self.first, index, gradient).data_mut();
            let second = running(&mut self.second, index, gradient).data_mut();
            let moments = first.iter_mut().zip(second).zip(gradient.data());
            for (theta, ((m, v), g)) in parameter.data_mut().iter_mut().zip(moments) {
                *m = m1 * *m + n1 * *g;
                *v = m2 * *v + n2 * *g * *g;
                *theta = keep * *theta - rate * *m / ((correction * *v).sqrt() + epsilon);
            }
        }
        Ok(())
    }

    /// The running averages and step counts, by parameter, for a checkpoint.
    pub fn state(&self) -> impl Iterator<Item = (ParamId, &HostTensor<F>, &HostTensor<F>, i32)> {
        let pairs = self.first.iter().zip(&self.second).zip(&self.counts).enumerate();
        pairs.filter_map(|(index, ((first, second), count))| {
            Some((ParamId::new(index), first.as_ref()?, second.as_ref()?, *count))
        })
    }

    /// Puts back what [`Adam::state`] gave for one parameter.
    pub fn restore(
        &mut self,
        parameter: ParamId,
        first: &HostTensor<F>,
        second: &HostTensor<F>,
        count: i32,
    ) {
        let index = parameter.index();
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        running(&mut self.first, index, first).clone_from(first);
        running(&mut self.second, index, second).clone_from(second);
        self.counts[index] = count;
    }
}

impl<F: Element> OptimiserState<HostTensor<F>> for Adam<F> {
    fn kind(&self) -> &'static str {
        "adam"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["first", "second"]
    }

    fn parameter_states(&self) -> Vec<ParameterState<HostTensor<F>>> {
        let states = self.state().map(|(parameter, first, second, count)| ParameterState {
            parameter,
            steps: count.unsigned_abs(),
            tensors: vec![first.clone(), second.clone()],
        });
        states.collect()
    }

    fn set_parameter_states(&mut self, states: Vec<ParameterState<HostTensor<F>>>) -> Result<()> {
        check_states("adam", self.parts().len(), true, &states)?;
        (self.first, self.second, self.counts) = (Vec::new(), Vec::new(), Vec::new());
        for ParameterState { parameter, steps, tensors } in &states {
            if let [first, second] = tensors.as_slice() {
                let count = i32::try_from(*steps).unwrap_or(i32::MAX);
                self.restore(*parameter, first, second, count);
            }
        }
        Ok(())
    }
}
