//! Weights that are one because a layer was cloned into several places.

use burn::{
    optim::SgdConfig,
    tensor::{Device, Tensor},
};
use pc_core::{Agreement, Schedule};

use crate::{
    changes::{Layers, WIDTH, new, schedules},
    measure::read,
    models::{cross_entropy, normal, targets},
    support::parameters,
};

/// Clones of a layer are one weight as long as they are one tensor.
#[test]
fn clones_of_a_layer_are_tied_or_refused() {
    let device = Device::flex().autodiff();
    device.seed(27);
    let x: Tensor<2> = normal([6, WIDTH], &device);
    let mut cloned = Layers::new(&device);
    parameters(&cloned);
    let shared = cloned.clone();
    cloned.layers[2] = cloned.layers[1].clone();
    cloned.layers[3] = cloned.layers[1].clone();
    let y = targets(6, &device);
    let by_clones = |m: &Layers| {
        let x = m.layer(3, m.layer(2, m.layer(1, m.layer(0, x.clone()))));
        cross_entropy(m.out(x), y.clone())
    };
    let by_one = |m: &Layers| {
        let x = m.layer(1, m.layer(1, m.layer(1, m.layer(0, x.clone()))));
        cross_entropy(m.out(x), y.clone())
    };
    let before = parameters(&cloned)[2].clone();
    for schedule in schedules() {
        let mut events = Vec::new();
        for (model, clones) in [(&cloned, true), (&shared, false)] {
            let mut pc = new(&schedule).compared_every(1);
            let mut model = model.clone();
            let mut optimiser = SgdConfig::new().init();
            let mut all = Vec::new();
            for _ in 0..3 {
                let own = shared.clone();
                let learned = pc.train(
                    &mut model,
                    |m: &Layers| if clones { by_clones(m) } else { by_one(m) },
                    |m, gradients| {
                        all.push(read(&own, &gradients));
                        optimiser.step(0.05, m, gradients)
                    },
                );
                // What the schedule refuses it refuses of both.
                let Ok(learned) = learned else { break };
                if schedule.name() == Schedule::backprop().name() {
                    for (name, agreement) in learned.agreement.unwrap() {
                        assert!(agreement.relative_norm <= 1e-6, "{name}: {agreement:?}");
                    }
                }
            }
            events.push((all, parameters(&model)));
        }
        let [clones, one] = &events[..] else { panic!("two models") };
        assert_eq!(clones.0.len(), one.0.len(), "{schedule}");
        assert!(!one.0.is_empty() || schedule.name() == Schedule::zil().name(), "{schedule}");
        for (event, (clones, one)) in clones.0.iter().zip(&one.0).enumerate() {
            for (parameter, (a, b)) in clones.iter().zip(one).enumerate() {
                let (Some(a), Some(b)) = (a, b) else { continue };
                let off = Agreement::of_slices(a, b).relative_norm;
                assert!(off <= 1e-5, "{schedule}: event {event}, parameter {parameter}: {off:e}");
            }
        }
        // All three places hold the one weight.
        if !clones.0.is_empty() {
            assert_eq!(clones.1[2], clones.1[4]);
            assert_eq!(clones.1[2], clones.1[6]);
            // No error reaches them before anything is relaxed.
            let moved = |weights: &[Vec<f64>]| weights[2] != before;
            assert_eq!(moved(&clones.1), moved(&one.1), "{schedule}");
        }
    }
    // In a loop of one's own Burn's optimiser moves the first alone.
    let mut pc = new(&Schedule::standard(0.1, 4).unwrap());
    let gradients = pc.learn(&cloned, by_clones).unwrap().gradients;
    let fresh = new(&Schedule::standard(0.1, 4).unwrap()).learn(&shared, by_one).unwrap();
    let (own, one) = (read(&shared, &gradients), read(&shared, &fresh.gradients));
    for (own, one) in own.iter().zip(&one).take(4) {
        let off = Agreement::of_slices(own.as_ref().unwrap(), one.as_ref().unwrap()).relative_norm;
        assert!(off <= 1e-5, "{off:e}");
    }
    let broken = SgdConfig::new().init().step(0.05, cloned, gradients);
    let text = pc.learn(&broken, by_clones).unwrap_err().to_string();
    assert!(text.contains("`layers.1.weight` and `layers.2.weight`"), "{text}");
    let mut mended = broken;
    mended.layers[2] = mended.layers[1].clone();
    mended.layers[3] = mended.layers[1].clone();
    pc.learn(&mended, by_clones).unwrap();
}
