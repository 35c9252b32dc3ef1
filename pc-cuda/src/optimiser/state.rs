//! What the device's optimisers keep, to be saved or handed over: under the names that the host's
//! optimisers use, so that each goes on from where the other was.

use pc_core::{
    ParamId, Result,
    backend::{OptimiserState, ParameterState, check_states},
};

use crate::{
    optimiser::{AdamW, Sgd},
    tensor::DeviceTensor,
};

/// Puts a tensor where its parameter's is.
fn put(store: &mut Vec<Option<DeviceTensor>>, parameter: ParamId, tensor: DeviceTensor) {
    if store.len() <= parameter.index() {
        store.resize_with(parameter.index() + 1, || None);
    }
    store[parameter.index()] = Some(tensor);
}

impl OptimiserState<DeviceTensor> for Sgd {
    fn kind(&self) -> &'static str {
        "sgd"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["velocity"]
    }

    fn parameter_states(&self) -> Vec<ParameterState<DeviceTensor>> {
        let state = |(index, held): (usize, &Option<DeviceTensor>)| {
            let tensors = vec![held.clone()?];
            Some(ParameterState { parameter: ParamId::new(index), steps: 0, tensors })
        };
        self.velocity.iter().enumerate().filter_map(state).collect()
    }

    fn set_parameter_states(&mut self, states: Vec<ParameterState<DeviceTensor>>) -> Result<()> {
        check_states("sgd", self.parts().len(), false, &states)?;
        self.velocity.clear();
        for ParameterState { parameter, tensors, .. } in states {
            tensors.into_iter().for_each(|tensor| put(&mut self.velocity, parameter, tensor));
        }
        Ok(())
    }
}

impl OptimiserState<DeviceTensor> for AdamW {
    fn kind(&self) -> &'static str {
        "adam"
    }

    fn parts(&self) -> &'static [&'static str] {
        &["first", "second"]
    }

    fn parameter_states(&self) -> Vec<ParameterState<DeviceTensor>> {
        let state = |(index, count): (usize, &i32)| {
            let held = |store: &[Option<DeviceTensor>]| store.get(index).cloned().flatten();
            let tensors = vec![held(&self.first)?, held(&self.second)?];
            let steps = count.unsigned_abs();
            Some(ParameterState { parameter: ParamId::new(index), steps, tensors })
        };
        self.counts.iter().enumerate().filter_map(state).collect()
    }

    fn set_parameter_states(&mut self, states: Vec<ParameterState<DeviceTensor>>) -> Result<()> {
        check_states("adam", self.parts().len(), true, &states)?;
        (self.first, self.second, self.counts) = (Vec::new(), Vec::new(), Vec::new());
        for ParameterState { parameter, steps, tensors } in states {
            if let Ok([first, second]) = <[DeviceTensor; 2]>::try_from(tensors) {
                put(&mut self.first, parameter, first);
                put(&mut self.second, parameter, second);
                if self.counts.len() <= parameter.index() {
                    self.counts.resize(parameter.index() + 1, 0);
                }
                self.counts[parameter.index()] = i32::try_from(steps).unwrap_or(i32::MAX);
            }
        }
        Ok(())
    }
}
