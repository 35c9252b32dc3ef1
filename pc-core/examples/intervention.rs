//! An intervention: seeing that the ground is wet says that it has rained, wetting it does not.
//! Either way shoes get wet.

use pc_core::{
    Clamps, Graph, Relaxation, Result, Schedule, Tensor,
    host::{HostTensor, Linear},
};

/// `ground = 2 rain`, `shoes = 3 ground`, and the ground is at 2.
pub fn main() -> Result<()> {
    let mut builder = Graph::<HostTensor<f64>>::builder();
    let rain = builder.input("rain", &[1])?;
    let two = builder.parameter("two", HostTensor::new(&[1, 1], vec![2.0])?)?;
    let three = builder.parameter("three", HostTensor::new(&[1, 1], vec![3.0])?)?;
    let ground = builder.vertex("ground", Box::new(Linear::without_bias()), &[rain], &[two])?;
    let shoes = builder.vertex("shoes", Box::new(Linear::without_bias()), &[ground], &[three])?;
    let mut graph = builder.build()?;

    let wet = HostTensor::new(&[1, 1], vec![2.0])?;
    let dry = Clamps::new().free(rain, HostTensor::zeroed(&[1, 1])?);
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 200)?)?;
    let mut found = Vec::new();
    for clamps in [dry.clone().hold(ground, wet.clone()), dry.intervene(ground, wet)] {
        relaxation.infer(&mut graph, &clamps)?;
        for vertex in [rain, shoes] {
            let value = relaxation.value(&graph, vertex).map(|v| v.to_vec()).unwrap_or_default();
            found.extend(value);
        }
    }
    println!("seen:   rain {:.3}, shoes {:.3}", found[0], found[1]);
    println!("wetted: rain {:.3}, shoes {:.3}", found[2], found[3]);
    let close = |x: f64, y: f64| (x - y).abs() < 1e-9;
    assert!(close(found[0], 1.0) && close(found[1], 6.0));
    assert!(close(found[2], 0.0) && close(found[3], 6.0));
    Ok(())
}
