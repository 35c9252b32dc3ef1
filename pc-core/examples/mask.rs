//! A mask: completing a part. A cause makes a pattern of three numbers; the first is seen, and the
//! cause and the other two are inferred from it.

use pc_core::{
    Clamps, Graph, Relaxation, Result, Schedule, Tensor,
    host::{HostTensor, Linear},
};

/// The pattern is `(1, 2, -1)` times its cause, and its first number is 3.
pub fn main() -> Result<()> {
    let mut builder = Graph::<HostTensor<f64>>::builder();
    let cause = builder.input("cause", &[1])?;
    let weight = builder.parameter("weight", HostTensor::new(&[3, 1], vec![1.0, 2.0, -1.0])?)?;
    let pattern =
        builder.vertex("pattern", Box::new(Linear::without_bias()), &[cause], &[weight])?;
    let mut graph = builder.build()?;

    let seen = HostTensor::new(&[1, 3], vec![3.0, 0.0, 0.0])?;
    let mask = HostTensor::new(&[1, 3], vec![1.0, 0.0, 0.0])?;
    let clamps = Clamps::new().free(cause, HostTensor::zeroed(&[1, 1])?).mask(pattern, seen, mask);
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 10_000)?.until(1e-10)?)?;
    let outcome = relaxation.infer(&mut graph, &clamps)?;
    let of = |vertex| relaxation.value(&graph, vertex).map(|v| v.to_vec()).unwrap_or_default();
    println!("cause {:?}, pattern {:?}, {} steps", of(cause), of(pattern), outcome.steps);
    assert!((of(cause)[0] - 3.0).abs() < 1e-6);
    for (found, expected) in of(pattern).iter().zip([3.0, 6.0, -3.0]) {
        assert!((found - expected).abs() < 1e-6);
    }
    Ok(())
}
