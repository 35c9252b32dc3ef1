//! Gradients on their way from Burn to the engine, and back.

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::Tensor,
};
use pc_core::{Error, Gradients, Result, Tensor as _};

use crate::BurnTensor;

/// The parameters that learn, in the engine's order, with their paths in the module.
pub(super) type Parameters = [(ParamId, String)];

/// Moves Burn's gradients, times `weight`, to the engine's, adding to what is there.
///
/// # Errors
/// A gradient that does not hold floats.
pub(super) fn collect<M: Module>(
    model: &M,
    parameters: &Parameters,
    gradients: GradientsParams,
    weight: f64,
    out: &mut Gradients<BurnTensor>,
) -> Result<()> {
    let mut collect = Collect { parameters, gradients, out, weight, problem: None };
    model.visit(&mut collect);
    collect.problem.map_or(Ok(()), Err)
}

/// The engine's gradients as Burn's optimisers take them.
///
/// # Errors
/// A gradient that is shaped unlike its parameter.
pub(super) fn register<M: Module>(
    model: &M,
    parameters: &Parameters,
    gradients: &Gradients<BurnTensor>,
) -> Result<GradientsParams> {
    let mut register =
        Register { parameters, gradients, out: GradientsParams::new(), problem: None };
    model.visit(&mut register);
    register.problem.map_or(Ok(register.out), Err)
}

/// Drops the gradients of parameters that are not to be `kept`.
pub(super) fn remove<M: Module>(
    model: &M,
    parameters: &Parameters,
    kept: &[bool],
    gradients: &mut GradientsParams,
) {
    struct Remove<'a> {
        parameters: &'a Parameters,
        kept: &'a [bool],
        gradients: &'a mut GradientsParams,
    }
    impl ModuleVisitor for Remove<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let index = self.parameters.iter().position(|(id, _)| *id == param.id);
            if index.and_then(|index| self.kept.get(index)) == Some(&false) {
                self.gradients.remove::<D>(param.id);
            }
        }
    }
    model.visit(&mut Remove { parameters, kept, gradients });
}

/// Takes Burn's gradients over into the engine's.
struct Collect<'a> {
    parameters: &'a Parameters,
    gradients: GradientsParams,
    out: &'a mut Gradients<BurnTensor>,
    weight: f64,
    problem: Option<Error>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(index) = self.parameters.iter().position(|(id, _)| *id == param.id) else {
            return;
        };
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let id = pc_core::ParamId::new(index);
        match BurnTensor::new(gradient) {
            Ok(mut gradient) => {
                if self.weight != 1.0 {
                    gradient.scale(self.weight);
                }
                if let Some(before) = self.out.get(id) {
                    gradient.axpy(1.0, before);
                }
                self.out.set(id, gradient);
            }
            Err(error) => {
                self.problem.get_or_insert(error);
            }
        }
    }
}

/// Puts the engine's gradients where Burn's optimisers look for them.
struct Register<'a> {
    parameters: &'a Parameters,
    gradients: &'a Gradients<BurnTensor>,
    out: GradientsParams,
    problem: Option<Error>,
}

impl ModuleVisitor for Register<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(index) = self.parameters.iter().position(|(id, _)| *id == param.id) else {
            return;
        };
        let Some(gradient) = self.gradients.get(pc_core::ParamId::new(index)) else { return };
        match gradient.to_tensor::<D>() {
            Ok(tensor) => self.out.register(param.id, tensor),
            Err(error) => {
                self.problem.get_or_insert(error);
            }
        }
    }
}
