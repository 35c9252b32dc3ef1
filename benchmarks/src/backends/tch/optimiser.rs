//! libtorch's optimisers, with the host's numbers where libtorch's defaults are others, and their
//! state as named tensors.

use std::collections::BTreeMap;

use ::tch::{Tensor, nn};
use pc_core::host::{Element, HostTensor};
use pc_tch::{ResumableConfig, ResumableOptimizer};

use super::model::{TchNet, from_host, to_host};
use crate::{
    contract::{MOMENTS, OptimiserKind, OptimiserState, VELOCITY},
    error::CommandError,
};

/// The moments as libtorch calls them.
const EXPONENTIAL: [&str; 2] = ["exp_avg", "exp_avg_sq"];
const STEP: &str = "step";
const BUFFER: &str = "momentum_buffer";

/// One of libtorch's optimisers.
#[derive(Debug)]
pub(super) struct Optimiser {
    kind: OptimiserKind,
    pub(super) libtorchs: ResumableOptimizer,
}

impl Optimiser {
    pub(super) fn new(kind: OptimiserKind, net: &TchNet, rate: f64) -> Result<Self, CommandError> {
        let libtorchs = match kind {
            OptimiserKind::Adam => nn::Adam::default().build_resumable(&net.store, rate),
            OptimiserKind::AdamW => {
                nn::AdamW { wd: 0.01, ..Default::default() }.build_resumable(&net.store, rate)
            }
            OptimiserKind::Sgd => {
                nn::Sgd { momentum: 0.9, ..Default::default() }.build_resumable(&net.store, rate)
            }
        };
        Ok(Self { kind, libtorchs: libtorchs? })
    }

    /// The running tensors under the parameters' names, and the step counts.
    ///
    /// # Errors
    /// What libtorch reports; a state that is laid out in another way than it is known here.
    pub(super) fn save<F: Element>(&self) -> Result<OptimiserState<F>, CommandError> {
        let mut state = self.libtorchs.state()?;
        let mut saved = OptimiserState::default();
        for (name, _) in self.libtorchs.parameters() {
            let mut take = |part: &str| state.remove(&format!("{name}.{part}"));
            match self.kind {
                OptimiserKind::Adam | OptimiserKind::AdamW => {
                    if let ([Some(first), Some(second)], Some(count)) =
                        (EXPONENTIAL.map(&mut take), take(STEP))
                    {
                        saved.put(name, MOMENTS, [to_host(&first)?, to_host(&second)?]);
                        saved.counts.insert(name.clone(), count_of(&count)?);
                    }
                }
                OptimiserKind::Sgd => {
                    if let Some(velocity) = take(BUFFER) {
                        saved.put(name, VELOCITY, [to_host(&velocity)?]);
                    }
                }
            }
        }
        match state.keys().next() {
            Some(name) => Err(CommandError::input(format!(
                "libtorch's optimiser has an entry `{name}` that nothing is known of"
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
        mut saved: OptimiserState<F>,
    ) -> Result<(), String> {
        let mut state = BTreeMap::new();
        let put = |state: &mut BTreeMap<String, Tensor>, name: String, tensor: &HostTensor<F>| {
            from_host(tensor)
                .map(|tensor| drop(state.insert(name, tensor)))
                .map_err(|error| error.to_string())
        };
        for (name, parameter) in self.libtorchs.parameters() {
            let shape: Vec<usize> =
                parameter.size().iter().filter_map(|size| usize::try_from(*size).ok()).collect();
            match self.kind {
                OptimiserKind::Adam | OptimiserKind::AdamW => {
                    let Some((moments, count)) = saved.take_moments(name, &shape)? else {
                        continue;
                    };
                    for (part, moment) in EXPONENTIAL.iter().zip(&moments) {
                        put(&mut state, format!("{name}.{part}"), moment)?;
                    }
                    state.insert(format!("{name}.{STEP}"), Tensor::from(i64::from(count)));
                }
                OptimiserKind::Sgd => {
                    if let Some([velocity]) = saved.take(name, VELOCITY, &shape)? {
                        put(&mut state, format!("{name}.{BUFFER}"), &velocity)?;
                    }
                }
            }
        }
        saved.finish()?;
        self.libtorchs.set_state(state).map_err(|error| error.to_string())
    }
}

fn count_of(step: &Tensor) -> Result<i32, CommandError> {
    let count = step.f_int64_value(&[]).map_err(super::model::failed)?;
    i32::try_from(count)
        .map_err(|_| CommandError::input(format!("libtorch's optimiser has taken {count} steps")))
}
