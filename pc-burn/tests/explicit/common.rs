//! Deterministic numbers, and gradients in comparison with Burn's own backward.

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor as BurnTensorOf, TensorData},
};
use pc_burn::{BurnTensor, explicit::Parameters};
use pc_core::{Clamps, Evaluation, Graph, Relaxation, Schedule, VertexId};

use crate::support::worst;

/// Gradients below this share of the largest are zero but for rounding.
pub(crate) const NEGLIGIBLE: f64 = 1e-6;

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
        let (off, compared) = worst(module, &ours, burns, NEGLIGIBLE);
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
