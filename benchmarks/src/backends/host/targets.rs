//! What this library has set itself to reach on one thread, in f32, with the nets and batches as
//! they come.

use crate::{
    contract::speed::{Measured, Target, TimedKind},
    models::ModelKind,
};

/// The targets that what was measured speaks of.
pub(super) fn targets(all: &[Measured]) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |what, at_least, bound, found: Option<f64>| {
        targets.extend(found.map(|found| Target { what, bound, at_least, found }))
    };
    for measured in all {
        let closed = measured.ratio("fixed-prediction").map(|ratio| ratio.median);
        match measured.case.kind {
            TimedKind::Model(ModelKind::Mlp) => {
                add(
                    "mlp: backprop's share of the product's rate",
                    true,
                    0.55,
                    measured.share("backprop").map(|share| share.median),
                );
                add("mlp: fixed prediction in closed form, over backprop", false, 1.10, closed);
                let share = measured.share("standard").map(|share| share.median);
                add("mlp: share of the product's rate of standard PC, T = 20", true, 0.70, share);
            }
            TimedKind::Model(ModelKind::Cnn) => {
                let rate = measured.rate("backprop").map(|rate| rate.median / 1e9);
                add("LeNet: backprop's GFLOP/s", true, 25.0, rate);
                add("LeNet: fixed prediction in closed form, over backprop", false, 1.10, closed);
                let step = measured.relaxation_step("standard").map(|(_, ratio)| ratio.median);
                add("LeNet: one relaxation step of standard PC, over backprop", false, 0.60, step);
            }
            TimedKind::Vgg5 => add(
                "VGG5: backprop's share of the product's rate",
                true,
                0.65,
                measured.share("backprop").map(|share| share.median),
            ),
            TimedKind::Model(_) => {}
        }
    }
    targets
}
