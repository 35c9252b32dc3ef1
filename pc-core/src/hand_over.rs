//! Weights handed from one network to another, of the same backend or of any other.

use std::collections::HashMap;

use crate::{
    Error, ErrorKind, Result,
    numbers::{Named, Numbers, Origin, kept},
    optimiser_state::OptimiserState,
    tensor::Tensor,
    topology::ParamId,
};

/// A network whose parameters have names, and can be handed over to any other such network.
///
/// [`crate::Graph`] is one, over the tensors of any backend; a backend's own networks may be, too.
/// With the trait in scope, `to.copy_parameters_from(&from)` is the one call for every pair of
/// them: from the host to a GPU, from Burn to libtorch, and back. No file is written. Numbers
/// cross as `f64`, each rounded to what the receiving tensor holds: from `f64` to `f64`, and from
/// `f32` to anything wider, they stay the same to the bit.
///
/// # Example
/// Training starts in `f64` and goes on in `f32`:
/// ```
/// use pc_core::{Graph, HandOver, Result, Tensor};
/// use pc_core::host::{Activation, Element, HostLayers, HostTensor, Init};
/// fn build<F: Element>(seed: u64) -> Result<Graph<HostTensor<F>>> {
///     let mut b = Graph::builder();
///     let x = b.input("x", &[2])?;
///     b.dense("y", x, 3, Activation::Tanh, &mut Init::new(seed))?;
///     b.build()
/// }
/// let (trained, mut narrow) = (build::<f64>(1)?, build::<f32>(2)?);
/// narrow.copy_parameters_from(&trained)?;
/// let (from, to) = (trained.parameters()[0].to_vec(), narrow.parameters()[0].to_vec());
/// assert!(from.iter().zip(&to).all(|(a, b)| (*a as f32) == (*b as f32)));
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait HandOver {
    /// The tensor of its parameters.
    type Tensor: Tensor;

    /// The parameters' names and the parameters, both in order of their [`ParamId`]s.
    fn named(&self) -> (&[String], &[Self::Tensor]);

    /// Puts these in the parameters' place, in order and of the same shapes, each moved to where it
    /// keeps its constraints; and these in place of [`HandOver::statistics`].
    ///
    /// # Errors
    /// What the backend reports.
    fn take_over(
        &mut self,
        parameters: Vec<Self::Tensor>,
        statistics: Vec<Self::Tensor>,
    ) -> Result<()>;

    /// Whether a parameter is a buffer, which no optimiser moves.
    fn is_buffer(&self, _parameter: ParamId) -> bool {
        false
    }

    /// Whether a parameter is a matrix `[inputs, outputs]`, where vertices of the host have
    /// `[outputs, inputs]`: see [`crate::backend::Vertex::inputs_first`]. It is turned on its way.
    fn inputs_first(&self, _parameter: ParamId) -> bool {
        false
    }

    /// What vertices keep beside parameters, by name: see
    /// [`crate::backend::Vertex::statistics`].
    fn statistics(&self) -> Vec<(String, Self::Tensor)> {
        Vec::new()
    }

    /// Reports what failed in an operation that returns no error: see
    /// [`crate::Network::failure`].
    ///
    /// # Errors
    /// What failed.
    fn failure(&self) -> Result<()> {
        Ok(())
    }

    /// Copies all parameters of another network, by their names: buffers and running statistics,
    /// too. All is copied, or nothing. What is frozen here stays frozen, and constraints are kept.
    ///
    /// # Errors
    /// A name that only one of the two has; another shape; a buffer there that is a learned
    /// parameter here, or the other way round; a number that is not finite, or too large for the
    /// tensors here; what the backends report.
    fn copy_parameters_from(&mut self, from: &impl HandOver) -> Result<()>
    where
        Self: Sized,
    {
        self.copy_parameters_renamed(from, str::to_owned)
    }

    /// As [`HandOver::copy_parameters_from`], from a network with other names: `theirs` gives the
    /// name there of each name here.
    ///
    /// # Errors
    /// As [`HandOver::copy_parameters_from`]; one name there for two names here.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Graph, HandOver, host::{Activation, HostLayers, HostTensor, Init}};
    /// let build = |name: &str, seed| {
    ///     let mut b = Graph::<HostTensor<f32>>::builder();
    ///     let x = b.input("x", &[2])?;
    ///     b.dense(name, x, 3, Activation::Tanh, &mut Init::new(seed))?;
    ///     b.build()
    /// };
    /// let (from, mut to) = (build("fc1", 1)?, build("hidden", 2)?);
    /// to.copy_parameters_renamed(&from, |name| name.replace("hidden", "fc1"))?;
    /// assert_eq!(to.parameters(), from.parameters());
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    fn copy_parameters_renamed(
        &mut self,
        from: &impl HandOver,
        theirs: impl Fn(&str) -> String,
    ) -> Result<()>
    where
        Self: Sized,
    {
        let mut found = sent(from)?;
        let received = received(self, from, &mut found, theirs);
        // What fails on a device reads as numbers that are not finite.
        HandOver::failure(self)?;
        let (parameters, statistics) = received?;
        origin().nothing_left(&found)?;
        self.take_over(parameters, statistics)?;
        HandOver::failure(self)
    }

    /// As [`HandOver::copy_parameters_from`], with the state of the optimiser `theirs`, which
    /// takes the place of what `optimiser` keeps. Training goes on as it would have there. What an
    /// optimiser was made with (its rate, its momentum) is not copied.
    ///
    /// # Errors
    /// As [`HandOver::copy_parameters_from`]; optimisers of two kinds; a state that is not
    /// complete.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Graph, HandOver, host::{Activation, Adam, HostLayers, HostTensor, Init}};
    /// let build = |seed| {
    ///     let mut b = Graph::<HostTensor<f64>>::builder();
    ///     let x = b.input("x", &[2])?;
    ///     b.dense("y", x, 3, Activation::Tanh, &mut Init::new(seed))?;
    ///     b.build()
    /// };
    /// let (from, mut to) = (build(1)?, build(2)?);
    /// let (theirs, mut adam) = (Adam::<f64>::new(1e-3)?, Adam::<f64>::new(1e-3)?);
    /// to.copy_training_from(&mut adam, &from, &theirs)?;
    /// assert_eq!(to.parameters(), from.parameters());
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    fn copy_training_from<U: HandOver>(
        &mut self,
        optimiser: &mut impl OptimiserState<Self::Tensor>,
        from: &U,
        theirs: &impl OptimiserState<U::Tensor>,
    ) -> Result<()>
    where
        Self: Sized,
    {
        let origin = origin();
        if theirs.kind() != optimiser.kind() {
            let (found, wanted) = (theirs.kind(), optimiser.kind());
            return Err(origin.error(format!("it has {found}'s state, and {wanted}'s is wanted")));
        }
        let mut found = sent(from)?;
        let received = received(self, from, &mut found, str::to_owned);
        HandOver::failure(self)?;
        let (parameters, statistics) = received?;
        origin.nothing_left(&found)?;
        for (parameter, name, numbers) in kept(from.named().0, theirs)? {
            let numbers = if from.inputs_first(parameter) { numbers.turned() } else { numbers };
            found.insert(name, numbers);
        }
        from.failure()?;
        let (names, held) = self.named();
        // Looked up by their entries, as in files; a matrix lies here as its parameter does.
        for (index, name) in names.iter().enumerate() {
            if self.inputs_first(ParamId::new(index)) {
                for part in optimiser.parts() {
                    let entry = crate::numbers::entry(name, part);
                    if let Some(numbers) = found.remove(&entry) {
                        found.insert(entry, numbers.turned());
                    }
                }
            }
        }
        let states = origin.states(names, held, optimiser, &mut found);
        HandOver::failure(self)?;
        let states = states?;
        origin.nothing_left(&found)?;
        optimiser.set_parameter_states(states)?;
        self.take_over(parameters, statistics)?;
        HandOver::failure(self)
    }
}

fn origin() -> Origin {
    Origin { name: "the network to copy from".to_owned(), kind: ErrorKind::Graph }
}

/// All numbers of a network by their names, matrices as the host has them.
fn sent(from: &impl HandOver) -> Result<Named> {
    let mut found = Named::new();
    let (names, held) = from.named();
    for (index, (name, tensor)) in names.iter().zip(held).enumerate() {
        let numbers = Numbers::of(tensor);
        let turned = from.inputs_first(ParamId::new(index));
        found.insert(name.clone(), if turned { numbers.turned() } else { numbers });
    }
    for (name, tensor) in from.statistics() {
        if found.insert(name.clone(), Numbers::of(&tensor)).is_some() {
            return Err(origin().error(format!("two of its tensors are called `{name}`")));
        }
    }
    from.failure()?;
    Ok(found)
}

/// Tensors for parameters and for statistics, in order.
type Received<T> = (Vec<T>, Vec<T>);

/// The tensors that `to` will have, whose numbers are taken out of what was found.
fn received<H: HandOver>(
    to: &H,
    from: &impl HandOver,
    found: &mut Named,
    theirs: impl Fn(&str) -> String,
) -> Result<Received<H::Tensor>> {
    let (names, held) = to.named();
    let statistics = to.statistics();
    let origin = origin();
    let all = names.iter().chain(statistics.iter().map(|(name, _)| name));
    let all: Vec<String> = all.map(|name| theirs(name)).collect();
    origin.has_all(all.iter().map(String::as_str), found)?;
    let indices: HashMap<&str, usize> =
        from.named().0.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    let mut take = |name: &str| {
        found.remove(name).ok_or_else(|| {
            Error::graph(format!("two names here are renamed to `{name}`, which is copied once"))
        })
    };
    let mut parameters = Vec::with_capacity(names.len());
    for (index, (name, held)) in all.iter().zip(held).enumerate() {
        let (own, id) = (take(name)?, ParamId::new(index));
        let other = indices.get(name.as_str()).map(|index| ParamId::new(*index));
        match other.map(|other| (from.is_buffer(other), to.is_buffer(id))) {
            Some((there, here)) if there == here => {}
            Some((true, _)) => {
                return Err(origin.error(format!(
                    "`{name}` is a buffer there and a parameter that learns here"
                )));
            }
            Some(_) => {
                return Err(origin.error(format!(
                    "`{name}` is a parameter that learns there and a buffer here"
                )));
            }
            None => {
                return Err(origin
                    .error(format!("`{name}` is a running statistic there and a parameter here")));
            }
        }
        let own = if to.inputs_first(id) { own.turned() } else { own };
        parameters.push(origin.tensor_of(name, held, &own)?);
    }
    let mut running = Vec::with_capacity(statistics.len());
    for (name, (_, held)) in all[names.len()..].iter().zip(&statistics) {
        let own = take(name)?;
        if indices.contains_key(name.as_str()) {
            return Err(
                origin.error(format!("`{name}` is a parameter there and a running statistic here"))
            );
        }
        running.push(origin.tensor_of(name, held, &own)?);
    }
    Ok((parameters, running))
}
