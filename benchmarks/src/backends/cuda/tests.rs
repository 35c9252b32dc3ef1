//! The adapter, on the host layer: the same kernels without a GPU.

use pc_core::{Agreement, Evaluation, Schedule};

use super::Cuda;
use crate::{
    backends::{Adapter, Host},
    commands::{
        check::{LossKind, Subject},
        speed::Role,
        train::ScheduleKind,
    },
    models::ModelKind,
};

#[test]
fn gradients_are_the_hosts() {
    for loss in LossKind::ALL {
        let subject = Subject::<f32>::new(ModelKind::Mlp, loss, 3).unwrap();
        let (mut here, mut there) = (Cuda::checked(&subject).unwrap(), Host::checked(&subject).unwrap());
        assert_eq!(here.depth(), there.depth());
        let schedules = [
            Schedule::backprop(),
            Schedule::fixed_prediction(1.0, 4).unwrap().evaluated_by(Evaluation::Simulate),
            Schedule::zil(),
            Schedule::standard(0.1, 8).unwrap(),
        ];
        for schedule in schedules {
            let (found, wanted) = (here.gradients(schedule.clone()).unwrap(), there.gradients(schedule.clone()).unwrap());
            for (found, wanted) in found.iter().zip(&wanted) {
                let off = Agreement::of_slices(found, wanted).max_difference;
                assert!(off <= 1e-5, "{schedule}, {loss:?}: off by {off:.1e}");
            }
        }
    }
}

#[test]
fn contenders_are_timed_without_watchers() {
    let mut timed = Cuda::timed::<f32>(ModelKind::Mlp, 2, &[ScheduleKind::FixedPrediction]).unwrap();
    let contenders = timed.contenders();
    assert_eq!(contenders[0].name, "backprop");
    assert!(contenders.iter().all(|one| one.role != Role::Watched));
    assert!(timed.step(0).unwrap().total > 0.0);
    assert!(timed.description().contains("relax_"), "{}", timed.description());
}
