//! Optimisers whose state stays on the device.

mod state;

use pc_core::{Error, ErrorKind, Gradients, Graph, ParamId, Result};

use crate::{
    device::{Device, Family, Launch},
    net::FusedNet,
    params::{CHUNK, Optimise, PARTS, Part},
    tensor::{DeviceTensor, int},
};

fn setting(what: &str, value: f64, good: bool) -> Result<f64> {
    if good && value.is_finite() {
        Ok(value)
    } else {
        Err(Error::new(ErrorKind::Schedule, format!("the {what} must not be {value}")))
    }
}

/// A network whose parameters lie on a device, where the optimisers here move them.
pub trait OnDevice {
    /// The parameters, in order of their [`ParamId`]s.
    fn on_device(&self) -> &[DeviceTensor];

    /// The same, to be moved.
    fn on_device_mut(&mut self) -> &mut [DeviceTensor];
}

impl OnDevice for FusedNet {
    fn on_device(&self) -> &[DeviceTensor] {
        self.parameters()
    }

    fn on_device_mut(&mut self) -> &mut [DeviceTensor] {
        self.parameters_mut()
    }
}

impl OnDevice for Graph<DeviceTensor> {
    fn on_device(&self) -> &[DeviceTensor] {
        self.parameters()
    }

    fn on_device_mut(&mut self) -> &mut [DeviceTensor] {
        self.parameters_mut()
    }
}

/// Runs one kernel over the parameters that have a gradient.
fn each(
    parameters: &[DeviceTensor],
    gradients: &Gradients<DeviceTensor>,
    kernel: &'static str,
    settings: Optimise,
    mut part: impl FnMut(usize, &DeviceTensor) -> Result<Part>,
) -> Result<()> {
    let Some(device) = parameters.first().map(DeviceTensor::device) else { return Ok(()) };
    device.check()?;
    if gradients.len() != parameters.len() {
        return Err(Error::new(
            ErrorKind::Shape,
            format!("{} parameters but {} gradients", parameters.len(), gradients.len()),
        ));
    }
    let mut parts = Vec::new();
    for (index, theta) in parameters.iter().enumerate() {
        let Some(g) = gradients.get(ParamId::new(index)) else { continue };
        if g.dims() != theta.dims() {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("parameter {index} and its gradient differ in shape"),
            ));
        }
        let state = part(index, theta)?;
        parts.push(Part {
            theta: theta.address(),
            g: g.address(),
            count: int(theta.count()),
            ..state
        });
    }
    launch_parts(device, Family::Learn, kernel, 0, settings, &parts)
}

/// Runs a kernel over tensors of any number, few launches as may be.
pub(crate) fn launch_parts(
    device: &Device,
    family: Family,
    kernel: &'static str,
    shared: usize,
    settings: Optimise,
    parts: &[Part],
) -> Result<()> {
    for group in parts.chunks(PARTS) {
        let mut params = Optimise { parts: int(group.len()), ..settings };
        let mut blocks = 0;
        for (slot, part) in params.part.iter_mut().zip(group) {
            *slot = Part { first: int(blocks), ..*part };
            blocks += (part.count as usize).div_ceil(CHUNK);
        }
        device.launch(
            &Launch { family, kernel, grid: blocks, block: 256, cluster: 1, shared },
            &params,
        )?;
    }
    Ok(())
}

/// One running tensor for each parameter, made at its first gradient.
fn running(
    store: &mut Vec<Option<DeviceTensor>>,
    index: usize,
    like: &DeviceTensor,
) -> Result<u64> {
    if store.len() <= index {
        store.resize_with(index + 1, || None);
    }
    if store[index]
        .as_ref()
        .is_none_or(|held| held.dims() != like.dims() || !held.device().is(like.device()))
    {
        store[index] = Some(DeviceTensor::zeroed(like.device(), like.dims())?);
    }
    Ok(store[index].as_ref().map_or(0, DeviceTensor::address))
}

/// Stochastic gradient descent, as [`pc_core::host::Sgd`]: `u <- m u + g + w theta`, `theta <-
/// theta - rate u`.
#[derive(Debug)]
pub struct Sgd {
    rate: f64,
    momentum: f64,
    decay: f64,
    velocity: Vec<Option<DeviceTensor>>,
}

impl Sgd {
    /// At this rate.
    ///
    /// # Errors
    /// A rate that is not a positive number.
    pub fn new(rate: f64) -> Result<Self> {
        Ok(Self {
            rate: setting("weights' rate", rate, rate > 0.0)?,
            momentum: 0.0,
            decay: 0.0,
            velocity: Vec::new(),
        })
    }

    /// With momentum `m`.
    ///
    /// # Errors
    /// Outside `[0, 1)`.
    pub fn with_momentum(self, momentum: f64) -> Result<Self> {
        Ok(Self {
            momentum: setting("momentum", momentum, (0.0..1.0).contains(&momentum))?,
            ..self
        })
    }

    /// With weight decay `w`.
    ///
    /// # Errors
    /// A negative number.
    pub fn with_decay(self, decay: f64) -> Result<Self> {
        Ok(Self { decay: setting("weight decay", decay, decay >= 0.0)?, ..self })
    }

    /// Another rate from here on.
    ///
    /// # Errors
    /// A rate that is not a positive number.
    pub fn set_rate(&mut self, rate: f64) -> Result<()> {
        self.rate = setting("weights' rate", rate, rate > 0.0)?;
        Ok(())
    }

    /// Moves the parameters that have a gradient.
    ///
    /// # Errors
    /// Gradients of other shapes; what the device reports, of this or of earlier work.
    pub fn step(
        &mut self,
        net: &mut impl OnDevice,
        gradients: &Gradients<DeviceTensor>,
    ) -> Result<()> {
        let settings = Optimise {
            momentum: self.momentum as f32,
            decay: self.decay as f32,
            ..Optimise::default()
        };
        let (rate, momentum, velocity) = (self.rate as f32, self.momentum, &mut self.velocity);
        each(net.on_device(), gradients, "pc_sgd", settings, |index, theta| {
            let m = if momentum == 0.0 { 0 } else { running(velocity, index, theta)? };
            Ok(Part { m, rate, ..Part::default() })
        })
    }
}

/// Adam with decoupled weight decay, as [`pc_core::host::Adam`]. Each parameter counts its own
/// steps.
#[derive(Debug)]
pub struct AdamW {
    rate: f64,
    betas: (f64, f64),
    epsilon: f64,
    decay: f64,
    first: Vec<Option<DeviceTensor>>,
    second: Vec<Option<DeviceTensor>>,
    counts: Vec<i32>,
}

impl AdamW {
    /// At this rate, with `beta = (0.9, 0.999)`, `epsilon = 1e-8` and no decay.
    ///
    /// # Errors
    /// A rate that is not a positive number.
    pub fn new(rate: f64) -> Result<Self> {
        Ok(Self {
            rate: setting("weights' rate", rate, rate > 0.0)?,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            decay: 0.0,
            first: Vec::new(),
            second: Vec::new(),
            counts: Vec::new(),
        })
    }

    /// With other averages.
    ///
    /// # Errors
    /// Outside `[0, 1)`.
    pub fn with_betas(self, first: f64, second: f64) -> Result<Self> {
        let fraction = |what, value: f64| setting(what, value, (0.0..1.0).contains(&value));
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
        Ok(Self { decay: setting("weight decay", decay, decay >= 0.0)?, ..self })
    }

    /// Another rate from here on.
    ///
    /// # Errors
    /// A rate that is not a positive number.
    pub fn set_rate(&mut self, rate: f64) -> Result<()> {
        self.rate = setting("weights' rate", rate, rate > 0.0)?;
        Ok(())
    }

    /// Moves the parameters that have a gradient.
    ///
    /// # Errors
    /// As [`Sgd::step`].
    pub fn step(
        &mut self,
        net: &mut impl OnDevice,
        gradients: &Gradients<DeviceTensor>,
    ) -> Result<()> {
        let (b1, b2) = self.betas;
        let settings = Optimise {
            decay: (self.rate * self.decay) as f32,
            beta1: b1 as f32,
            beta2: b2 as f32,
            epsilon: self.epsilon as f32,
            ..Optimise::default()
        };
        let Self { rate, first, second, counts, .. } = self;
        each(net.on_device(), gradients, "pc_adamw", settings, |index, theta| {
            if counts.len() <= index {
                counts.resize(index + 1, 0);
            }
            counts[index] = counts[index].saturating_add(1);
            let count = counts[index];
            Ok(Part {
                m: running(first, index, theta)?,
                v: running(second, index, theta)?,
                rate: (*rate / (1.0 - b1.powi(count))) as f32,
                correction: (1.0 / (1.0 - b2.powi(count))) as f32,
                ..Part::default()
            })
        })
    }
}
