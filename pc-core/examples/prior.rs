//! A prior: a parameter that predicts a hidden cause without parents, and learns. It comes to the
//! mean of what is seen; a batch without any clamp then shows what the model expects.

use pc_core::{
    Clamps, Graph, Identity, Prior, Relaxation, Result, Schedule, Tensor,
    host::{HostTensor, Sgd},
};

/// The cause lies halfway between what is expected and what is seen: `z = (m + y) / 2`.
pub fn main() -> Result<()> {
    let mut builder = Graph::<HostTensor<f64>>::builder();
    let cause = builder.input("cause", &[1])?;
    let mean = builder.parameter("mean", HostTensor::new(&[1], vec![0.0])?)?;
    builder.predict(cause, Box::new(Prior), &[], &[mean], 1.0)?;
    let seen = builder.vertex("seen", Box::new(Identity), &[cause], &[])?;
    let mut graph = builder.build()?;

    let data = HostTensor::new(&[4, 1], vec![1.0, 2.0, 3.0, 6.0])?;
    let clamps = Clamps::new().hold(seen, data);
    let schedule = Schedule::standard(0.2, 500)?.until(1e-12)?;
    let mut relaxation = Relaxation::new(&graph, schedule)?;
    let mut sgd = Sgd::new(0.2)?;
    for _ in 0..200 {
        relaxation.run(&mut graph, &clamps)?;
        sgd.step(graph.parameters_mut(), relaxation.gradients())?;
    }
    relaxation.infer(&mut graph, &Clamps::new().of_batch(1))?;
    let expected = relaxation.value(&graph, seen).map(|y| y.to_vec()).unwrap_or_default();
    println!("the prior's mean is {:.6}", graph.parameters()[mean.index()].data()[0]);
    println!("with nothing clamped, {expected:?} is expected to be seen");
    assert!((expected[0] - 3.0).abs() < 1e-9);
    Ok(())
}
