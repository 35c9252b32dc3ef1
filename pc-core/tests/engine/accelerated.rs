//! What an accelerated rule saves on the way to an equilibrium.

use pc_core::{
    Clamps, Graph, Relaxation, Schedule, Status,
    host::{Activation, HostLayers, HostTensor, Init},
    rule::Anderson,
};

/// 20 tanh layers of 64, ends held.
fn deep(seed: u64) -> (Graph<HostTensor<f64>>, Clamps<HostTensor<f64>>) {
    let mut init = Init::new(seed);
    let mut b = Graph::builder();
    let x = b.input("x", &[64]).unwrap();
    let mut last = x;
    for layer in 0..20 {
        last = b.dense(&format!("l{layer}"), last, 64, Activation::Tanh, &mut init).unwrap();
    }
    let graph = b.build().unwrap();
    let clamps = Clamps::new()
        .hold(x, init.uniform(&[8, 64], 1.0).unwrap())
        .hold(last, init.uniform(&[8, 64], 0.8).unwrap());
    (graph, clamps)
}

/// Of these rates, the one that comes to a relative residual of 1e-6 in the fewest passes, and the
/// passes.
fn fewest(name: &str, rates: &[f64], rule: fn(Schedule) -> Schedule) -> (f64, usize) {
    let passes = |rate: f64| {
        let (mut graph, clamps) = deep(1);
        let schedule = rule(Schedule::epc(rate, 1500).unwrap().until(1e-6).unwrap());
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        let outcome = relaxation.run(&mut graph, &clamps).unwrap();
        let passes = (outcome.status == Status::Converged).then(|| relaxation.passes());
        println!("{name} at rate {rate}: {passes:?} passes");
        passes
    };
    let all = rates.iter().filter_map(|rate| Some((*rate, passes(*rate)?)));
    all.min_by_key(|(_, passes)| *passes).unwrap()
}

#[test]
fn anderson_comes_to_an_equilibrium_in_half_of_the_passes() {
    // The best plain rate lies inside of these: half a step on either side takes longer.
    let plain = fewest("plain", &[0.01, 0.015, 0.0175, 0.019, 0.02], |s| s);
    assert!(plain.0 > 0.01 && plain.0 < 0.02, "the plain rate is not tuned: {plain:?}");
    let adaptive = fewest("adaptive", &[0.005, 0.02, 0.1], Schedule::adaptive);
    let best = plain.1.min(adaptive.1);
    // At one rate, which is not tuned.
    let few = fewest("Anderson, 5 columns", &[0.01], |s| s.ruled_by(Anderson::new(5).unwrap()));
    let many = fewest("Anderson, 10 columns", &[0.01], |s| s.ruled_by(Anderson::new(10).unwrap()));
    assert!(2 * few.1 <= best && 2 * many.1 <= best, "{few:?}, {many:?}, not {best}");
}
