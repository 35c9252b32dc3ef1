//! What several test programs ask of models, their weights and their gradients.

// Each test program takes what it needs.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

pub(crate) mod net;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Tensor, TensorData},
};
use pc_burn::BurnTensor;
use pc_core::{Agreement, Tensor as _};

/// The numbers of all parameters, in order.
pub(crate) fn parameters<M: Module>(model: &M) -> Vec<Vec<f64>> {
    struct Read(Vec<Vec<f64>>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().into_data().iter::<f64>().collect());
        }
    }
    let mut read = Read(Vec::new());
    model.visit(&mut read);
    read.0
}

/// The largest relative difference of two lists of parameters; a NaN where there is one.
pub(crate) fn apart(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let all = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| Agreement::of_slices(ours, theirs).relative_norm);
    all.fold(0.0, |most: f64, x| if !(x <= most) { x } else { most })
}

/// Weights of a fixed kind, the same on every device: tests that run beside each other share no
/// generator.
pub(crate) fn fixed<M: Module>(model: M) -> M {
    struct Fixed(f32);
    impl ModuleMapper for Fixed {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let (shape, device) = (tensor.shape(), tensor.device());
            let values: Vec<f32> = (0..shape.num_elements())
                .map(|_| {
                    self.0 += 1.0;
                    (self.0 * 2.399).sin() * 0.4
                })
                .collect();
            let fixed =
                Tensor::<D>::from_data(TensorData::new(values, shape), &device).require_grad();
            Param::from_mapped_value(id, fixed, mapper)
        }
    }
    model.map(&mut Fixed(0.0))
}

fn largest<const D: usize>(tensor: Tensor<D>) -> f64 {
    let numbers = BurnTensor::new(tensor).unwrap().to_vec().into_iter();
    // `f64::max` would drop a NaN; this keeps it.
    numbers.fold(0.0, |m: f64, x| if x.abs() > m || x.is_nan() { x.abs() } else { m })
}

/// By parameter: the largest difference, and the largest number of Burn's gradient.
struct Compare<'a> {
    ours: &'a GradientsParams,
    burns: &'a GradientsParams,
    found: Vec<(f64, f64)>,
}

impl ModuleVisitor for Compare<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<Tensor<D>>) {
        let Some(burns) = self.burns.get::<D>(parameter.id) else { return };
        let ours = self
            .ours
            .get::<D>(parameter.id)
            .unwrap_or_else(|| panic!("no gradient for {:?}", parameter.shape()));
        self.found.push((largest(ours - burns.clone()), largest(burns)));
    }
}

/// Every gradient of Burn's against ours: the worst of `max |difference| / max |gradient|`, and how
/// many there were. Gradients that are zero but for rounding (of a bias before batch norm, or of
/// the keys' bias before a softmax) are measured against the largest of all: those below this share
/// of it.
pub(crate) fn worst<M: Module>(
    model: &M,
    ours: &GradientsParams,
    burns: &GradientsParams,
    negligible: f64,
) -> (f64, usize) {
    let mut compare = Compare { ours, burns, found: Vec::new() };
    model.visit(&mut compare);
    let top = compare.found.iter().fold(0.0_f64, |m, (_, own)| m.max(*own));
    let off = |(difference, own): &(f64, f64)| {
        difference / if *own < negligible * top { top } else { *own }
    };
    let worst =
        compare.found.iter().map(off).fold(0.0_f64, |m, x| if x > m || x.is_nan() { x } else { m });
    (worst, compare.found.len())
}
