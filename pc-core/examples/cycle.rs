//! A cycle: two vertices that predict each other. Held at one end, the other settles where both
//! predictions are as right as they can be.

use pc_core::{
    Clamps, Graph, Relaxation, Result, Schedule, Tensor,
    host::{HostTensor, Linear},
};

/// `F = 1/2 (b - a / 2)^2 + 1/2 (a - b / 2)^2` with `a = 1`: smallest at `b = 0.8`.
pub fn main() -> Result<()> {
    let mut builder = Graph::<HostTensor<f64>>::builder();
    let a = builder.input("a", &[1])?;
    let half = builder.parameter("half", HostTensor::new(&[1, 1], vec![0.5])?)?;
    let b = builder.vertex("b", Box::new(Linear::without_bias()), &[a], &[half])?;
    builder.predict(a, Box::new(Linear::without_bias()), &[b], &[half], 1.0)?;
    let mut graph = builder.build()?;

    let one = HostTensor::new(&[1, 1], vec![1.0])?;
    let forward = graph.predict(&[(a, &one)], b)?.to_vec();
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.2, 1000)?.until(1e-9)?)?;
    let outcome = relaxation.infer(&mut graph, &Clamps::new().hold(a, one))?;
    let relaxed = relaxation.value(&graph, b).map(|b| b.to_vec()).unwrap_or_default();
    println!("b is predicted as {forward:?} and relaxes to {relaxed:?} ({:?})", outcome.status);
    assert_eq!(forward, [0.5]);
    assert!((relaxed[0] - 0.8).abs() < 1e-8);
    Ok(())
}
