//! Two predictions of one vertex: a position that two instruments report, one of them three times
//! as precise. It settles at the mean of both, weighted by their precisions.

use pc_core::{
    Clamps, Graph, Identity, PredictionId, Relaxation, Result, Schedule, Tensor, host::HostTensor,
};

/// `F = 1/2 (p - 1)^2 + 3/2 (p - 4)^2`: smallest at `(1 * 1 + 3 * 4) / 4 = 3.25`.
pub fn main() -> Result<()> {
    let mut builder = Graph::<HostTensor<f64>>::builder();
    let rough = builder.input("rough", &[1])?;
    let fine = builder.input("fine", &[1])?;
    let position = builder.vertex("position", Box::new(Identity), &[rough], &[])?;
    builder.predict(position, Box::new(Identity), &[fine], &[], 3.0)?;
    let mut graph = builder.build()?;

    let clamps = Clamps::new()
        .hold(rough, HostTensor::new(&[1, 1], vec![1.0])?)
        .hold(fine, HostTensor::new(&[1, 1], vec![4.0])?);
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 1000)?.until(1e-9)?)?;
    relaxation.infer(&mut graph, &clamps)?;
    let found = relaxation.value(&graph, position).map(|p| p.to_vec()).unwrap_or_default();
    let part = |index| relaxation.energy(&graph, PredictionId::new(index)).unwrap_or(f64::NAN);
    let (from_rough, from_fine) = (part(0), part(1));
    println!("position {found:?}; energies {from_rough:.4} (rough) and {from_fine:.4} (fine)");
    assert!((found[0] - 3.25).abs() < 1e-8);
    assert!((from_rough - 0.5 * 2.25 * 2.25).abs() < 1e-7);
    assert!((from_fine - 1.5 * 0.75 * 0.75).abs() < 1e-7);
    Ok(())
}
