//! An energy of one's own, `sqrt(1 + e^2) - 1`: one wild sample pulls no harder than the others.
use pc_core::{
    Clamps, EnergyInputs, Graph, PredictionEnergy, Prior, Relaxation, Result, Schedule, Slopes,
    Tensor, host::HostTensor, host::Sgd,
};

#[derive(Debug)]
struct Robust;
impl<T: Tensor> PredictionEnergy<T> for Robust {
    fn kind(&self) -> &str {
        "robust"
    }
    fn evaluate(&self, at: &EnergyInputs<'_, T>, to: Slopes<'_, T>) -> Result<f64> {
        let mut energy = 0.0;
        T::by_rows(&[at.error()], &mut [to.on_prediction, to.on_value], &mut |rows, slopes| {
            let root = (1.0 + rows[0][0] * rows[0][0]).sqrt();
            energy += root - 1.0;
            (slopes[0][0], slopes[1][0]) = (rows[0][0] / root, -rows[0][0] / root);
        });
        Ok(energy)
    }
}
/// The location that four samples come to.
pub fn main() -> Result<()> {
    let mut builder = Graph::<HostTensor<f64>>::builder();
    let x = builder.input("x", &[1])?;
    let place = builder.parameter("place", HostTensor::zeroed(&[1])?)?;
    builder.predict(x, Box::new(Prior), &[], &[place], 1.0)?;
    builder.energy(builder.prediction_of(x)?, Robust, &[])?;
    let mut graph = builder.build()?;
    let clamps = Clamps::new().hold(x, HostTensor::new(&[4, 1], vec![0.9, 1., 1.1, 100.])?);
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 1)?)?;
    for _ in 0..500 {
        relaxation.run(&mut graph, &clamps)?;
        Sgd::new(0.1)?.step(graph.parameters_mut(), relaxation.gradients())?;
    }
    println!("{:.4}, beside a mean of 25.75", graph.parameters()[0].data()[0]);
    assert!((1.0..1.5).contains(&graph.parameters()[0].data()[0]));
    Ok(())
}
