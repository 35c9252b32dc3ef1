//! Deterministic numbers, and the comparison with Burn's own backward.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor as BurnTensorOf, TensorData},
};
use pc_burn::{BurnTensor, explicit::Parameters};
use pc_core::{Clamps, Evaluation, Graph, Relaxation, Schedule, Tensor, VertexId};

/// Numbers without a generator.
pub(crate) fn wave(count: usize, phase: f64) -> Vec<f64> {
    (0..count).map(|k| (phase + 1.7 * k as f64 + 0.37 * (k * k % 97) as f64).sin()).collect()
}

/// A tensor of such numbers.
pub(crate) fn tensor<const D: usize>(
    shape: [usize; D],
    phase: f64,
    device: &Device,
) -> BurnTensorOf<D> {
    let values: Vec<f32> =
        wave(shape.iter().product(), phase).into_iter().map(|x| x as f32).collect();
    BurnTensorOf::from_data(TensorData::new(values, shape), device)
}

pub(crate) fn device() -> Device {
    let device = Device::flex().autodiff();
    device.seed(7);
    device
}

fn largest<const D: usize>(tensor: BurnTensorOf<D>) -> f64 {
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
    fn visit_float<const D: usize>(&mut self, parameter: &Param<BurnTensorOf<D>>) {
        let Some(burns) = self.burns.get::<D>(parameter.id) else { return };
        let ours = self
            .ours
            .get::<D>(parameter.id)
            .unwrap_or_else(|| panic!("no gradient for {:?}", parameter.shape()));
        self.found.push((largest(ours - burns.clone()), largest(burns)));
    }
}

/// Every gradient of Burn's against ours: the worst `max |difference| / max |gradient|`, and how
/// many there were. Gradients that are zero but for rounding (of a bias before batch norm, or of
/// the keys' bias before a softmax) are measured against the largest of all.
pub(crate) fn worst<M: Module>(
    module: &M,
    ours: &GradientsParams,
    burns: &GradientsParams,
) -> (f64, usize) {
    let mut compare = Compare { ours, burns, found: Vec::new() };
    module.visit(&mut compare);
    let top = compare.found.iter().fold(0.0_f64, |m, (_, own)| m.max(*own));
    let off =
        |(difference, own): &(f64, f64)| difference / if *own < 1e-6 * top { top } else { *own };
    let worst =
        compare.found.iter().map(off).fold(0.0_f64, |m, x| if x > m || x.is_nan() { x } else { m });
    (worst, compare.found.len())
}

/// `1/2 |y - target|^2` summed over the batch, and Burn's backward through it.
pub(crate) fn backward<M: Module, const D: usize>(
    module: &M,
    output: BurnTensorOf<D>,
    target: BurnTensorOf<D>,
) -> GradientsParams {
    let loss = (output - target).square().sum().mul_scalar(0.5);
    GradientsParams::from_grads(loss.backward(), module)
}

/// Fixed prediction with gamma 1, by simulation, by the moving front and by the sweep, all within
/// 1e-5 of Burn's backward.
pub(crate) fn exact<M: Module>(
    (graph, parameters): &mut (Graph<BurnTensor>, Parameters),
    clamps: &Clamps<BurnTensor>,
    module: &M,
    burns: &GradientsParams,
    least: usize,
) {
    let depth = graph.topology().depth().unwrap();
    let fixed =
        |evaluation| Schedule::fixed_prediction(1.0, depth).unwrap().evaluated_by(evaluation);
    for schedule in [
        fixed(Evaluation::Simulate),
        fixed(Evaluation::Front),
        fixed(Evaluation::Auto),
        fixed(Evaluation::ClosedForm),
        Schedule::backprop(),
    ] {
        let mut relaxation = Relaxation::new(graph, schedule.clone()).unwrap();
        // Twice, so that warm buffers are seen too.
        for _ in 0..2 {
            relaxation.run(graph, clamps).unwrap();
        }
        let ours = parameters.gradients(relaxation.gradients()).unwrap();
        let (off, compared) = worst(module, &ours, burns);
        assert!(off <= 1e-5, "{schedule}: off by {off:.1e}");
        assert!(compared >= least, "{schedule}: only {compared} gradients");
    }
}

/// Inputs held at what is given.
pub(crate) fn held(vertices: &[(VertexId, BurnTensor)]) -> Clamps<BurnTensor> {
    vertices
        .iter()
        .fold(Clamps::new(), |clamps, (vertex, value)| clamps.hold(*vertex, value.clone()))
}
