//! Between an explicit graph's parameters and the variables of a `VarStore`.

use pc_core::{Error, ErrorKind, Gradients, Graph, ParamId, Result};
use tch::{
    Tensor,
    nn::{Optimizer, VarStore},
};

use crate::{TchTensor, sys, tensor::reported};

/// Which variable of a `VarStore` each parameter of an explicit graph is, by name: the graph's
/// `"conv.weight"` is the store's.
///
/// The two hold numbers of their own. An optimiser moves the store's in place, and the graph gets a
/// copy after it, so that a relaxation never finds its weights moved behind its back; the store's
/// `load` and `save` go to weight files. [`StoredWeights::step`] is a whole step of an optimiser of
/// tch's own; in between, where gradients are to be clipped:
/// ```
/// # use pc_tch::{StoredWeights, TchTensor, pc_core::{Gradients, Graph, Result}};
/// # use tch::nn::Optimizer;
/// # fn clipped(weights: &StoredWeights, opt: &mut Optimizer, graph: &mut Graph<TchTensor>,
/// #     gradients: &Gradients<TchTensor>) -> Result<()> {
/// weights.give_gradients(gradients)?;
/// opt.clip_grad_norm(1.0);
/// opt.step();
/// weights.load(graph)
/// # }
/// ```
#[derive(Debug)]
pub struct StoredWeights {
    variables: Vec<Tensor>,
}

impl StoredWeights {
    /// Finds the variable of every parameter.
    ///
    /// # Errors
    /// A parameter whose name the store does not have, or has in another shape, kind or place.
    pub fn new(graph: &Graph<TchTensor>, store: &VarStore) -> Result<Self> {
        let known = store.variables();
        let find = |(name, parameter): (&str, &TchTensor)| {
            let off = |message: String| Error::new(ErrorKind::Misuse, message).at(name);
            let variable = known
                .get(name)
                .ok_or_else(|| off("the store has no variable of this name".to_owned()))?;
            let of = |x: &Tensor| (x.size(), x.kind(), x.device());
            let (own, stored) = (of(parameter.tensor()), of(variable));
            if own != stored {
                return Err(off(format!("it is {own:?} in the graph and {stored:?} in the store")));
            }
            Ok(variable.shallow_clone())
        };
        Ok(Self { variables: graph.named_parameters().map(find).collect::<Result<_>>()? })
    }

    /// Copies the store's numbers into the graph: after a file was loaded, or an optimiser ran.
    ///
    /// # Errors
    /// Another graph; what libtorch reports.
    pub fn load(&self, graph: &mut Graph<TchTensor>) -> Result<()> {
        self.check(graph)?;
        for (own, variable) in graph.parameters_mut().iter_mut().zip(&self.variables) {
            let copy = copy(&variable.f_detach().map_err(reported)?)?;
            *own = TchTensor::new(&copy);
        }
        Ok(())
    }

    /// Copies the graph's numbers into the store: before a file is saved, where another optimiser
    /// moves the graph.
    ///
    /// # Errors
    /// As [`StoredWeights::load`].
    pub fn save(&self, graph: &Graph<TchTensor>) -> Result<()> {
        self.check(graph)?;
        let _off = tch::no_grad_guard();
        for (own, variable) in graph.parameters().iter().zip(&self.variables) {
            variable.shallow_clone().f_copy_(own.tensor()).map_err(reported)?;
        }
        Ok(())
    }

    /// Makes these gradients the variables' `.grad`, in place of what was there. A parameter that
    /// has none leaves its `.grad` undefined, so that an optimiser passes it over.
    ///
    /// # Errors
    /// Gradients of another graph; what libtorch reports.
    pub fn give_gradients(&self, gradients: &Gradients<TchTensor>) -> Result<()> {
        if gradients.len() != self.variables.len() {
            return Err(another(gradients.len(), self.variables.len()));
        }
        for (index, variable) in self.variables.iter().enumerate() {
            // A copy: clipping works in place.
            let gradient = gradients.get(ParamId::new(index)).map(|own| copy(own.tensor()));
            sys::set_grad(variable, gradient.transpose()?)?;
        }
        Ok(())
    }

    /// One step of an optimiser that was built on the store, by these gradients.
    ///
    /// # Errors
    /// As [`StoredWeights::give_gradients`] and [`StoredWeights::load`].
    pub fn step(
        &self,
        optimiser: &mut Optimizer,
        graph: &mut Graph<TchTensor>,
        gradients: &Gradients<TchTensor>,
    ) -> Result<()> {
        self.check(graph)?;
        self.give_gradients(gradients)?;
        // Whatever tch's optimiser does to the mode, a panic included, ends with this.
        let _restore = tch::no_grad_guard();
        optimiser.step();
        self.load(graph)
    }

    fn check(&self, graph: &Graph<TchTensor>) -> Result<()> {
        let same = graph.parameters().len() == self.variables.len()
            && graph
                .parameters()
                .iter()
                .zip(&self.variables)
                .all(|(own, variable)| own.tensor().size() == variable.size());
        if same { Ok(()) } else { Err(another(graph.parameters().len(), self.variables.len())) }
    }
}

/// Numbers of its own.
fn copy(x: &Tensor) -> Result<Tensor> {
    let mut own = x.f_empty_like().map_err(reported)?;
    own.f_copy_(x).map_err(reported)?;
    Ok(own)
}

fn another(found: usize, known: usize) -> Error {
    Error::new(
        ErrorKind::Misuse,
        format!("these are weights of another graph: it has {found} parameters, this one {known}"),
    )
}
