//! Optimisers for the weights of host graphs. Other frameworks bring their own.

mod adam;
mod sgd;

pub use adam::Adam;
pub use sgd::Sgd;

use crate::{
    Clipping, Error, Result,
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
    if let Some(bad) = not_finite(gradients) {
        return Err(bad);
    }
    let pairs = parameters.iter_mut().enumerate();
    Ok(pairs.filter_map(|(index, parameter)| {
        gradients.get(ParamId::new(index)).map(|gradient| (index, parameter, gradient))
    }))
}

/// Bounds on gradients, with room for those that are bounded: a step leaves the caller's as they
/// are.
#[derive(Clone, Debug, Default)]
struct Clipped<F> {
    clipping: Option<Clipping>,
    room: Option<Gradients<HostTensor<F>>>,
}

impl<F: Element> Clipped<F> {
    fn by(clipping: Clipping) -> Self {
        Self { clipping: Some(clipping), room: None }
    }

    /// The gradients of a step. They are checked where they are used.
    fn of<'a>(
        &'a mut self,
        gradients: &'a Gradients<HostTensor<F>>,
    ) -> Result<&'a Gradients<HostTensor<F>>> {
        let Some(clipping) = self.clipping else { return Ok(gradients) };
        if let Some(bad) = not_finite(gradients) {
            return Err(bad);
        }
        let room = self.room.get_or_insert_with(|| Gradients::empty(gradients.len()));
        if room.len() != gradients.len() {
            *room = Gradients::empty(gradients.len());
        }
        room.clear();
        room.axpy(1.0, gradients)?;
        room.clip(clipping)?;
        Ok(room)
    }
}

/// The error of a gradient that is not finite, if there is one.
fn not_finite<F: Element>(gradients: &Gradients<HostTensor<F>>) -> Option<Error> {
    let bad = |gradient: Option<&HostTensor<F>>| gradient.is_some_and(|g| !g.is_finite());
    let (id, _) = gradients.iter().find(|(_, gradient)| bad(*gradient))?;
    Some(Error::not_finite(format!(
        "a number in the gradient of parameter {} is not finite, so no parameter was moved",
        id.index()
    )))
}
