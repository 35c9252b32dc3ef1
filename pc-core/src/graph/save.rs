//! Graphs' parameters, and with them an optimiser's state, in files.

use std::path::Path;

use crate::{
    ErrorKind, Result,
    graph::{Graph, GraphTensor},
    numbers::{Named, Numbers, OPTIMISER, Origin, kept},
    optimiser_state::OptimiserState,
    saved::Saved,
};

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
        saved.optimiser = Some(optimiser.kind().to_owned());
        for (_, name, Numbers { shape, numbers }) in
            kept(self.topology.parameter_names(), optimiser)?
        {
            saved.put(&name, shape, numbers)?;
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
        let loaded = self.taken_from(path, &mut saved.tensors)?;
        from(path).nothing_left(&saved.tensors)?;
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
                return Err(
                    from(path).error(format!("it has {found} state, and {wanted}'s is wanted"))
                );
            }
        }
        let loaded = self.taken_from(path, &mut saved.tensors)?;
        let names = self.topology.parameter_names();
        let states = from(path).states(names, &self.parameters, optimiser, &mut saved.tensors)?;
        from(path).nothing_left(&saved.tensors)?;
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
    fn taken_from(&self, path: &Path, found: &mut Named) -> Result<Vec<T>> {
        let names = self.topology.parameter_names();
        let origin = from(path);
        origin.has_all(names.iter().map(String::as_str), found)?;
        let mut loaded = Vec::with_capacity(names.len());
        for (name, held) in self.named_parameters() {
            if let Some(own) = found.remove(name) {
                loaded.push(origin.tensor_of(name, held, &own)?);
            }
        }
        Ok(loaded)
    }
}

/// A file, for messages.
fn from(path: &Path) -> Origin {
    Origin { name: path.display().to_string(), kind: ErrorKind::File }
}
