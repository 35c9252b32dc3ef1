//! What one batch's clamps make of the vertices.

use std::{fmt, rc::Rc};

use crate::{
    Error, Result,
    clamp::{Clamp, SharedLoss},
    tensor::Tensor,
    topology::VertexId,
};

/// What a clamp makes of a vertex.
pub(crate) enum Role<T> {
    Free,
    Masked,
    Held,
    Intervened,
    Driven { loss: SharedLoss<T>, lambda: f64, value: f64 },
}

impl<T> fmt::Debug for Role<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Free => "Free",
            Role::Masked => "Masked",
            Role::Held => "Held",
            Role::Intervened => "Intervened",
            Role::Driven { .. } => "Driven",
        })
    }
}

impl<T> Role<T> {
    pub(crate) fn moves(&self) -> bool {
        matches!(self, Role::Free | Role::Masked)
    }

    pub(crate) fn is_driven(&self) -> bool {
        matches!(self, Role::Driven { .. })
    }

    /// Whether its errors at the start are what drives the rest.
    pub(crate) fn drives(&self) -> bool {
        matches!(self, Role::Held | Role::Driven { .. } | Role::Masked)
    }

    /// The vertex's part of the energy, where a loss drives it.
    pub(crate) fn loss(&self) -> f64 {
        if let Role::Driven { lambda, value, .. } = self { lambda * value } else { 0.0 }
    }
}

impl<T: Tensor> Role<T> {
    /// Evaluates the loss that drives the vertex where its prediction now is, and writes the drive
    /// `-lambda dL/dmu` to `error`. False where no loss drives it.
    pub(crate) fn drive(&mut self, predicted: &T, error: &mut T) -> Result<bool> {
        let Role::Driven { loss, lambda, value } = self else { return Ok(false) };
        let mut loss = loss.try_borrow_mut().map_err(|_| {
            Error::misuse("its loss is being evaluated already: what runs inside it needs another")
        })?;
        *value = loss.evaluate(predicted, error)?;
        if !error.is_like(predicted) {
            return Err(Error::shape(format!(
                "its loss left a drive of shape {:?}, for a prediction of {:?}",
                error.shape(),
                predicted.shape()
            )));
        }
        error.scale(*lambda);
        Ok(true)
    }

    /// What a term of the energy is to its vertex.
    pub(crate) fn total(total: &SharedLoss<T>, weight: f64) -> Self {
        Role::Driven { loss: Rc::clone(total), lambda: weight, value: 0.0 }
    }

    /// What a clamp makes of its vertex.
    pub(crate) fn of(clamp: Option<&Clamp<T>>) -> Self {
        match clamp {
            None | Some(Clamp::Free(_)) => Role::Free,
            Some(Clamp::Masked { .. } | Clamp::PartIntervened { .. }) => Role::Masked,
            Some(Clamp::Held(_) | Clamp::Nudged { .. }) => Role::Held,
            Some(Clamp::Intervened(_)) => Role::Intervened,
            Some(Clamp::Driven { loss, lambda }) => {
                Role::Driven { loss: Rc::clone(loss), lambda: *lambda, value: 0.0 }
            }
        }
    }
}

/// The losses that drive vertices, as [`crate::backend::FusedSteps`] has them.
pub struct Losses<'a, T> {
    pub(crate) roles: &'a [Role<T>],
}

impl<T> Losses<'_, T> {
    /// The loss that drives a vertex, and its strength `lambda`.
    pub fn get(&self, vertex: VertexId) -> Option<(&SharedLoss<T>, f64)> {
        match self.roles.get(vertex.index())? {
            Role::Driven { loss, lambda, .. } => Some((loss, *lambda)),
            _ => None,
        }
    }
}

impl<T> fmt::Debug for Losses<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.roles.iter().enumerate();
        let driven = each.filter(|(_, role)| role.is_driven());
        f.debug_tuple("Losses").field(&driven.map(|(index, _)| index).collect::<Vec<_>>()).finish()
    }
}
