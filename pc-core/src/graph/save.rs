//! Graphs' parameters, and with them an optimiser's state, in files.

use std::path::Path;

use crate::{
    Error, Result,
    graph::{Graph, GraphTensor},
    optimiser_state::{OptimiserState, ParameterState},
    saved::{Numbers, Saved},
    tensor::Tensor,
    topology::{ParamId, listed},
};

/// What the names of an optimiser's tensors begin with.
const OPTIMISER: &str = "optimiser.";

/// What the count of steps is called.
const STEPS: &str = "steps";

fn entry(parameter: &str, part: &str) -> String {
    format!("{OPTIMISER}{parameter}.{part}")
}

impl<T: GraphTensor> Graph<T> {
    /// Saves the parameters to a safetensors file, by their names: as F32 where that loses nothing,
    /// else as F64. The graph itself is not saved: build it again, then [`Graph::load`].
    ///
    /// The file appears whole or not at all. If saving fails, the file that was there before is
    /// still there.
    ///
    /// # Errors
    /// A number that is not finite; a file that cannot be written.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Graph, Result, host::{Activation, HostLayers, HostTensor, Init}};
    /// fn build(seed: u64) -> Result<Graph<HostTensor<f32>>> {
    ///     let mut b = Graph::builder();
    ///     let x = b.input("x", &[2])?;
    ///     b.dense("y", x, 3, Activation::Tanh, &mut Init::new(seed))?;
    ///     b.build()
    /// }
    /// let path = std::env::temp_dir().join(format!("doc-{}.safetensors", std::process::id()));
    /// let trained = build(1)?;
    /// trained.save(&path)?;
    /// let mut again = build(2)?;
    /// again.load(&path)?;
    /// assert_eq!(again.parameters(), trained.parameters());
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.to_saved()?.write(path.as_ref())
    }

    /// Saves the parameters and an optimiser's state to one file, so that training goes on from it
    /// to the same bits. What the optimiser was made with (its rate, its momentum) is not saved.
    ///
    /// # Errors
    /// As [`Graph::save`]; a parameter whose name begins with `optimiser.`, as the entries of the
    /// optimiser do.
    pub fn save_with(
        &self,
        path: impl AsRef<Path>,
        optimiser: &impl OptimiserState<T>,
    ) -> Result<()> {
        let mut saved = self.to_saved()?;
        let names = self.topology.parameter_names();
        if let Some(name) = names.iter().find(|name| name.starts_with(OPTIMISER)) {
            return Err(Error::file(format!(
                "parameter `{name}` cannot be saved beside an optimiser, whose entries begin with \
                 `{OPTIMISER}`"
            )));
        }
        saved.optimiser = Some(optimiser.kind().to_owned());
        for ParameterState { parameter, steps, tensors } in optimiser.parameter_states() {
            let name = names.get(parameter.index()).ok_or_else(|| {
                Error::misuse(format!(
                    "the optimiser has a state of parameter {}, which is not in this graph",
                    parameter.index()
                ))
            })?;
            for (part, tensor) in optimiser.parts().iter().zip(&tensors) {
                saved.put(&entry(name, part), tensor.shape(), tensor.to_vec())?;
            }
            if steps > 0 {
                saved.put(&entry(name, STEPS), vec![1], vec![f64::from(steps)])?;
            }
        }
        saved.write(path.as_ref())
    }

    /// Loads the parameters from a safetensors file. An optimiser's state that was saved with them
    /// is passed over. Numbers are rounded to what the graph's tensors hold. All is loaded, or
    /// nothing.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged; parameters that it lacks, or that the graph has
    /// not; another shape; a number that is not finite, or too large for the graph's tensors.
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut saved = Saved::read(path)?;
        if saved.optimiser.is_some() {
            saved.tensors.retain(|name, _| !name.starts_with(OPTIMISER));
        }
        let loaded = self.taken_from(path, &mut saved)?;
        nothing_left(path, &saved)?;
        self.set_all(loaded);
        Ok(())
    }

    /// Loads the parameters, and the optimiser's state in place of the one it has, from a file of
    /// [`Graph::save_with`]. All is loaded, or nothing.
    ///
    /// # Errors
    /// As [`Graph::load`]; a file without an optimiser's state, or with that of another kind; a
    /// state that is not complete.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Graph, host::{Adam, HostLayers, HostTensor, Init, Activation}};
    /// let mut b = Graph::<HostTensor<f32>>::builder();
    /// let x = b.input("x", &[2])?;
    /// b.dense("y", x, 3, Activation::Tanh, &mut Init::new(1))?;
    /// let mut graph = b.build()?;
    /// let path = std::env::temp_dir().join(format!("with-{}.safetensors", std::process::id()));
    /// graph.save_with(&path, &Adam::new(1e-3)?)?;
    /// let mut adam = Adam::new(1e-3)?;
    /// graph.load_with(&path, &mut adam)?;
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn load_with(
        &mut self,
        path: impl AsRef<Path>,
        optimiser: &mut impl OptimiserState<T>,
    ) -> Result<()> {
        let path = path.as_ref();
        let mut saved = Saved::read(path)?;
        match saved.optimiser.as_deref() {
            Some(kind) if kind == optimiser.kind() => {}
            found => {
                let found = found.map_or("no optimiser's".to_owned(), |kind| format!("{kind}'s"));
                let wanted = optimiser.kind();
                return Err(about(path, format!("it has {found} state, and {wanted}'s is wanted")));
            }
        }
        let loaded = self.taken_from(path, &mut saved)?;
        let mut states = Vec::new();
        for (index, held) in self.parameters.iter().enumerate() {
            let name = &self.topology.parameter_names()[index];
            let mut tensors = Vec::with_capacity(optimiser.parts().len());
            for part in optimiser.parts() {
                if let Some(found) = saved.tensors.remove(&entry(name, part)) {
                    tensors.push(tensor_of(path, &entry(name, part), held, &found)?);
                }
            }
            let steps = saved.tensors.remove(&entry(name, STEPS));
            if tensors.is_empty() && steps.is_none() {
                continue;
            }
            let steps = steps.map_or(Some(0), |steps| counted(&steps));
            let (true, Some(steps)) = (tensors.len() == optimiser.parts().len(), steps) else {
                let what = format!("the optimiser's state of parameter `{name}` is not complete");
                return Err(about(path, what));
            };
            states.push(ParameterState { parameter: ParamId::new(index), steps, tensors });
        }
        nothing_left(path, &saved)?;
        optimiser.set_parameter_states(states)?;
        self.set_all(loaded);
        Ok(())
    }

    fn to_saved(&self) -> Result<Saved> {
        let mut saved = Saved::default();
        for (name, parameter) in self.named_parameters() {
            saved.put(name, parameter.shape(), parameter.to_vec())?;
        }
        Ok(saved)
    }

    /// The parameters of a file, which are taken out of it.
    fn taken_from(&self, path: &Path, saved: &mut Saved) -> Result<Vec<T>> {
        let names = self.topology.parameter_names();
        let missing: Vec<String> =
            names.iter().filter(|name| !saved.tensors.contains_key(*name)).cloned().collect();
        if !missing.is_empty() {
            let there: Vec<String> = saved.tensors.keys().cloned().collect();
            let what = format!("it lacks {}; it has {}", listed(&missing), listed(&there));
            return Err(about(path, what));
        }
        let mut loaded = Vec::with_capacity(names.len());
        for (name, held) in self.named_parameters() {
            if let Some(found) = saved.tensors.remove(name) {
                loaded.push(tensor_of(path, name, held, &found)?);
            }
        }
        Ok(loaded)
    }
}

fn about(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::file(format!("{}: {what}", path.display()))
}

/// Numbers as a tensor like the one that is held.
fn tensor_of<T: Tensor>(path: &Path, name: &str, held: &T, found: &Numbers) -> Result<T> {
    if !held.has_shape(&found.shape) {
        return Err(Error::shape(format!(
            "{}: `{name}` has shape {:?}, and the graph's has {:?}",
            path.display(),
            found.shape,
            held.shape()
        )));
    }
    let mut tensor = held.zeros(&held.shape());
    tensor.assign(&found.numbers);
    if !tensor.is_finite() {
        return Err(Error::not_finite(format!(
            "{}: a number of `{name}` is too large for the graph's tensors",
            path.display()
        )));
    }
    Ok(tensor)
}

/// A count of steps, if it is one.
fn counted(found: &Numbers) -> Option<u32> {
    match (found.shape.as_slice(), found.numbers.as_slice()) {
        ([1], &[steps]) if steps >= 1.0 && steps <= f64::from(i32::MAX) && steps.fract() == 0.0 => {
            Some(steps as u32)
        }
        _ => None,
    }
}

fn nothing_left(path: &Path, saved: &Saved) -> Result<()> {
    if saved.tensors.is_empty() {
        return Ok(());
    }
    let left: Vec<String> = saved.tensors.keys().cloned().collect();
    Err(about(path, format!("it has {} too, which nothing here takes", listed(&left))))
}
