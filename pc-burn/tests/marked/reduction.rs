//! What a loss was said to be divided by, against the loss itself.

use burn::{
    module::Module,
    nn::loss::{MseLoss, Reduction},
    tensor::{Device, Tensor},
};
use pc_burn::{LossReduction, PredictiveCoding, vertex};
use pc_core::Schedule;

use crate::models::*;

#[test]
fn a_reduction_that_is_not_the_losss_is_an_error() {
    let device = Device::flex().autodiff();
    device.seed(31);
    let (mlp, residual) = (Mlp::new(&device), Residual::new(&device, 0.1));
    let (x, y) = (normal([24, 20], &device), normal([24, 5], &device));
    let double = |x: &Tensor<2>| Tensor::cat(vec![x.clone(), x.clone()], 0);
    fn check<M: Module>(
        model: &M,
        reduction: LossReduction,
        loss: impl Fn(&M, Tensor<2>, Tensor<2>) -> Tensor<1>,
        batch: [&Tensor<2>; 2],
        twice: [&Tensor<2>; 2],
    ) -> Result<(), String> {
        let schedule = Schedule::standard(0.1, 5).unwrap();
        PredictiveCoding::new(schedule, reduction)
            .check_reduction(
                model,
                |m| loss(m, batch[0].clone(), batch[1].clone()),
                |m| loss(m, twice[0].clone(), twice[1].clone()),
            )
            .map_err(|error| error.to_string())
    }
    let named = [LossReduction::Mean, LossReduction::MeanOver(120), LossReduction::Sum];
    let (batch, twice) = ([&x, &y], [&double(&x), &double(&y)]);
    for (name, reduction) in [("mean", Reduction::Mean), ("sum", Reduction::Sum)] {
        let sum = name == "sum";
        for declared in named {
            let right = (declared == LossReduction::Sum) == sum;
            let of_mlp = check(
                &mlp,
                declared,
                |m, x, y| MseLoss::new().forward(m.forward(x), y, reduction.clone()),
                batch,
                twice,
            );
            let of_residual = check(
                &residual,
                declared,
                |m, x, y| MseLoss::new().forward(m.forward(x), y, reduction.clone()),
                batch,
                twice,
            );
            for found in [of_mlp, of_residual] {
                assert_eq!(found.is_ok(), right, "{name} as {declared:?}: {found:?}");
                if let Err(text) = found {
                    let is = if sum { "it is a sum" } else { "it is a mean" };
                    assert!(text.contains(is), "{text}");
                }
            }
        }
    }
    // The first dimension of the first vertex is not the batch.
    let turned = |m: &Mlp, x: Tensor<2>, y: Tensor<2>| {
        let x = vertex(x.transpose()).transpose();
        MseLoss::new().forward(m.forward(x), y, Reduction::Mean)
    };
    let text = check(&mlp, LossReduction::Mean, turned, batch, twice).unwrap_err();
    assert!(text.contains("which is 20 for a batch and 20"), "{text}");
    check(&mlp, LossReduction::MeanOver(24), turned, batch, twice).unwrap();
    // Neither.
    let rooted =
        |m: &Mlp, x: Tensor<2>, y: Tensor<2>| (m.forward(x) - y).square().sum().powf_scalar(0.5);
    let text = check(&mlp, LossReduction::Sum, rooted, batch, twice).unwrap_err();
    assert!(text.contains("neither"), "{text}");
    // Nothing to tell by.
    let zero = |m: &Mlp, x: Tensor<2>, _: Tensor<2>| m.forward(x).sum() * 0.0;
    let text = check(&mlp, LossReduction::Mean, zero, batch, twice).unwrap_err();
    assert!(text.contains("other than zero"), "{text}");
}
