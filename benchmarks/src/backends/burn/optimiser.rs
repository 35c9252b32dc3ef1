//! Burn's optimisers, with the host's numbers where Burn's defaults are others, and their state as
//! named tensors.

use std::collections::BTreeMap;

use burn::{
    optim::{
        AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, OptimizerRecord, SgdConfig,
        momentum::MomentumConfig,
    },
    tensor::TensorData,
};
use burn_pack::{Reader, Scalar, Tensor, Writer};
use pc_core::{Error, ErrorKind, Result, host::Element};

use super::{layers::Slot, models::BurnNet};
use crate::contract::{MOMENTS, OptimiserKind, OptimiserState, VELOCITY};

/// The moments as Burn's records call them.
const BURN_MOMENTS: [&str; 2] = ["moment_1", "moment_2"];
/// What Burn's Adam counts its steps by.
const TIME: &str = "time";
/// What Burn's records call the velocity of SGD.
const BURN_VELOCITY: &str = "velocity";

/// One of Burn's optimisers.
pub(super) struct Optimiser {
    kind: OptimiserKind,
    burns: ModuleOptimizer,
    rate: f64,
}

impl Optimiser {
    pub(super) fn new(kind: OptimiserKind, rate: f64) -> Self {
        let burns = match kind {
            OptimiserKind::Adam => AdamConfig::new().with_epsilon(1e-8).init(),
            OptimiserKind::AdamW => {
                AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(0.01).init()
            }
            OptimiserKind::Sgd => {
                let momentum = MomentumConfig { momentum: 0.9, dampening: 0.0, nesterov: false };
                SgdConfig::new().with_momentum(Some(momentum)).init()
            }
        };
        Self { kind, burns, rate }
    }

    /// Another rate from here on.
    pub(super) fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }

    pub(super) fn step(&mut self, net: BurnNet, gradients: GradientsParams) -> BurnNet {
        self.burns.step(self.rate, net, gradients)
    }

    /// The running tensors in the host's layout, under the parameters' names, and the step counts.
    ///
    /// # Errors
    /// A record of Burn's that is laid out in another way than this one's.
    pub(super) fn save<F: Element>(&self, slots: &[(String, Slot)]) -> Result<OptimiserState<F>> {
        let reader =
            Reader::from_bytes(self.burns.into_bytes().map_err(reported)?).map_err(reported)?;
        let scalars = reader.scalars().clone();
        let mut tensors = BTreeMap::new();
        for tensor in reader.into_tensors().map_err(reported)? {
            let (name, dtype, shape, _, bytes) = tensor.into_parts().map_err(reported)?;
            tensors.insert(name, TensorData::from_bytes(bytes, shape, dtype));
        }
        let mut saved = OptimiserState::default();
        for (name, slot) in slots {
            let mut take = |field| {
                tensors.remove(&entry(slot, field)).map(|data| slot.to_host(data)).transpose()
            };
            match self.kind {
                OptimiserKind::Adam | OptimiserKind::AdamW => {
                    let [first, second] = BURN_MOMENTS.map(&mut take);
                    let count =
                        scalars.get(&entry(slot, TIME)).and_then(|time| i32::try_from(*time).ok());
                    if let (Some(first), Some(second), Some(count)) = (first?, second?, count) {
                        saved.put(name, MOMENTS, [first, second]);
                        saved.counts.insert(name.clone(), count);
                    }
                }
                OptimiserKind::Sgd => {
                    if let Some(velocity) = take(BURN_VELOCITY)? {
                        saved.put(name, VELOCITY, [velocity]);
                    }
                }
            }
        }
        match tensors.keys().next() {
            Some(name) => Err(reported(format!(
                "the optimiser's record has an entry `{name}` that nothing is known of"
            ))),
            None => Ok(saved),
        }
    }

    /// Takes back what [`Optimiser::save`] gave, from whichever backend.
    ///
    /// # Errors
    /// As [`OptimiserState::take`]; what is of no parameter.
    pub(super) fn restore<F: Element>(
        &mut self,
        slots: &[(String, Slot)],
        mut saved: OptimiserState<F>,
    ) -> std::result::Result<(), String> {
        let mut tensors = Vec::new();
        let mut scalars = Vec::new();
        for (name, slot) in slots {
            let (fields, found) = match self.kind {
                OptimiserKind::Adam | OptimiserKind::AdamW => {
                    match saved.take_moments(name, slot.shape())? {
                        Some((moments, count)) => {
                            scalars.push((entry(slot, TIME), Scalar::from(count.unsigned_abs())));
                            (&BURN_MOMENTS[..], moments.to_vec())
                        }
                        None => continue,
                    }
                }
                OptimiserKind::Sgd => match saved.take(name, VELOCITY, slot.shape())? {
                    Some(velocity) => (&[BURN_VELOCITY][..], velocity.to_vec()),
                    None => continue,
                },
            };
            for (field, tensor) in fields.iter().zip(found) {
                let (bytes, shape, dtype) =
                    slot.to_burn(&tensor).map_err(|error| error.to_string())?.into_parts();
                tensors.push(Tensor::new(entry(slot, field), dtype, shape, Some(slot.id()), bytes));
            }
        }
        saved.finish()?;
        let writer = scalars
            .iter()
            .fold(Writer::new(tensors), |writer, (name, value)| writer.with_scalar(name, *value));
        let record = writer.into_bytes().map_err(|error| error.to_string())?;
        let record = OptimizerRecord::from_bytes(record).map_err(|error| error.to_string())?;
        self.burns = self.burns.clone().load_record(record);
        Ok(())
    }
}

/// What an entry of one parameter is called in Burn's records.
fn entry(slot: &Slot, field: &str) -> String {
    format!("{}.momentum.{field}", slot.id())
}

fn reported(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Backend, error.to_string())
}
