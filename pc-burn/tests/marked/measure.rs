//! Gradients beside gradients, by parameter.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
};
use pc_core::Agreement;

struct Read<'a> {
    gradients: &'a GradientsParams,
    found: Vec<Option<Vec<f64>>>,
}

impl ModuleVisitor for Read<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.found.push(
                self.gradients
                    .get::<D>(param.id)
                    .map(|gradient| gradient.into_data().iter::<f64>().collect()),
            );
        }
    }
}

/// By parameter that learns, in the module's order.
pub(crate) fn read<M: Module>(model: &M, gradients: &GradientsParams) -> Vec<Option<Vec<f64>>> {
    let mut read = Read { gradients, found: Vec::new() };
    model.visit(&mut read);
    read.found
}

pub(crate) fn compare<M: Module>(
    model: &M,
    ours: &GradientsParams,
    theirs: &GradientsParams,
) -> Vec<Agreement> {
    let (ours, theirs) = (read(model, ours), read(model, theirs));
    assert!(!theirs.is_empty());
    ours.iter()
        .zip(&theirs)
        .map(|(ours, theirs)| {
            let theirs = theirs.as_ref().expect("backprop gives every gradient");
            Agreement::of_slices(&ours.clone().unwrap_or_else(|| vec![0.0; theirs.len()]), theirs)
        })
        .collect()
}

/// `P[Binomial(steps, rate) >= k]`.
pub(crate) fn tail(steps: usize, rate: f64, k: usize) -> f64 {
    let choose = |n: usize| (0..n).fold(1.0, |c, i| c * (steps - i) as f64 / (i + 1) as f64);
    (k..=steps)
        .map(|n| choose(n) * rate.powi(n as i32) * (1.0 - rate).powi((steps - n) as i32))
        .sum()
}
