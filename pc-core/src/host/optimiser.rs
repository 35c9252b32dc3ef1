//! Optimisers for the weights of host graphs. Other frameworks bring their own.

use crate::{
    Error, Result,
    gradients::Gradients,
    host::{Element, HostTensor},
    tensor::Tensor,
    topology::ParamId,
};

fn positive(what: &str, value: f64) -> Result<f64> {
    if value > 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(Error::schedule(format!("the {what} must be a positive number, not {value}")))
    }
}

fn fraction(what: &str, value: f64) -> Result<f64> {
    if (0.0..1.0).contains(&value) {
        Ok(value)
    } else {
        Err(Error::schedule(format!("the {what} must be in [0, 1), not {value}")))
    }
}

fn not_negative(what: &str, value: f64) -> Result<f64> {
    if value >= 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(Error::schedule(format!("the {what} must not be negative, but is {value}")))
    }
}

/// One running tensor for each parameter, made when its first gradient comes.
fn running<'a, F: Element>(
    store: &'a mut Vec<Option<HostTensor<F>>>,
    index: usize,
    like: &HostTensor<F>,
) -> &'a mut HostTensor<F> {
    if store.len() <= index {
        store.resize_with(index + 1, || None);
    }
    store[index].get_or_insert_with(|| HostTensor::blank(like.dims()))
}

/// The parameters that have a gradient.
fn defined<'a, F: Element>(
    parameters: &'a mut [HostTensor<F>],
    gradients: &'a Gradients<HostTensor<F>>,
) -> Result<impl Iterator<Item = (usize, &'a mut HostTensor<F>, &'a HostTensor<F>)>> {
    if parameters.len() != gradients.len() {
        return Err(Error::shape(format!(
            "{} parameters but {} gradients",
            parameters.len(),
            gradients.len()
        )));
    }
    for (id, gradient) in gradients.iter() {
        if let Some(gradient) = gradient
            && gradient.dims() != parameters[id.index()].dims()
        {
            return Err(Error::shape(format!(
                "parameter {} and its gradient differ in shape",
                id.index()
            )));
        }
    }
    // All are looked at before any parameter moves, for a number that is not finite would stay in
    // the averages for ever.
    if let Some((id, _)) =
        gradients.iter().find(|(_, gradient)| gradient.is_some_and(|g| !g.is_finite()))
    {
        return Err(Error::not_finite(format!(
            "a number in the gradient of parameter {} is not finite, so no parameter was moved",
            id.index()
        )));
    }
    let pairs = parameters.iter_mut().enumerate();
    Ok(pairs.filter_map(|(index, parameter)| {
        gradients.get(ParamId::new(index)).map(|gradient| (index, parameter, gradient))
    }))
}

/// Stochastic gradient descent: `u <- m u + g + w theta`, `theta <- theta - rate u`.
///
/// # Example
/// ```
/// use pc_core::host::Sgd;
/// let sgd = Sgd::<f32>::new(0.1)?.with_momentum(0.9)?;
/// assert!(Sgd::<f32>::new(0.0).is_err());
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sgd<F> {
    rate: f64,
    momentum: f64,
    decay: f64,
    velocity: Vec<Option<HostTensor<F>>>,
}

impl<F: Element> Sgd<F> {
    /// Plain, at this rate.
    ///
    /// # Errors
    /// A rate that is not a positive number.
    pub fn new(rate: f64) -> Result<Self> {
        Ok(Self {
            rate: positive("weights' rate", rate)?,
            momentum: 0.0,
            decay: 0.0,
            velocity: Vec::new(),
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

    /// With momentum `m`.
    ///
    /// # Errors
    /// Outside `[0, 1)`.
    pub fn with_momentum(self, momentum: f64) -> Result<Self> {
        Ok(Self { momentum: fraction("momentum", momentum)?, ..self })
    }

    /// With weight decay `w`.
    ///
    /// # Errors
    /// A negative number.
    pub fn with_decay(self, decay: f64) -> Result<Self> {
        Ok(Self { decay: not_negative("weight decay", decay)?, ..self })
    }

    /// Moves the parameters that have a gradient; the others, and their momentum, stay as they are.
    ///
    /// # Errors
    /// Gradients of other shapes; a gradient that is not finite. Nothing has moved then.
    pub fn step(
        &mut self,
        parameters: &mut [HostTensor<F>],
        gradients: &Gradients<HostTensor<F>>,
    ) -> Result<()> {
        for (index, parameter, gradient) in defined(parameters, gradients)? {
            if self.momentum == 0.0 {
                parameter.scale(1.0 - self.rate * self.decay);
                parameter.axpy(-self.rate, gradient);
                continue;
            }
            let velocity = running(&mut self.velocity, index, gradient);
            velocity.scale(self.momentum);
            velocity.axpy(1.0, gradient);
            velocity.axpy(self.decay, parameter);
            parameter.axpy(-self.rate, velocity);
        }
        Ok(())
    }

    /// The running steps, by parameter, for a checkpoint. Without momentum there are none.
    pub fn state(&self) -> impl Iterator<Item = (ParamId, &HostTensor<F>)> {
        self.velocity
            .iter()
            .enumerate()
            .filter_map(|(index, velocity)| Some((ParamId::new(index), velocity.as_ref()?)))
    }

    /// Puts back what [`Sgd::state`] gave for one parameter.
    pub fn restore(&mut self, parameter: ParamId, velocity: &HostTensor<F>) {
        running(&mut self.velocity, parameter.index(), velocity).clone_from(velocity);
    }
}

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
