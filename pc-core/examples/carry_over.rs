//! Carry-over in time: the cause of a signal is followed over frames, each of which starts where
//! the last has left it, beside one that starts anew at every frame.

use pc_core::{
    Clamps, Graph, Relaxation, Result, Schedule, Start, Tensor,
    host::{HostTensor, Linear},
};

/// The signal is `(1, 0.5)` times a cause that goes around; three small steps a frame.
pub fn main() -> Result<()> {
    let mut builder = Graph::<HostTensor<f64>>::builder();
    let cause = builder.input("cause", &[1])?;
    let weight = builder.parameter("weight", HostTensor::new(&[2, 1], vec![1.0, 0.5])?)?;
    let signal = builder.vertex("signal", Box::new(Linear::without_bias()), &[cause], &[weight])?;
    let mut graph = builder.build()?;

    let schedule = Schedule::standard(0.2, 3)?;
    let mut carried = Relaxation::new(&graph, schedule.clone().starting(Start::Carried))?;
    let mut anew = Relaxation::new(&graph, schedule)?;
    let mut missed = [0.0, 0.0];
    for frame in 0..100 {
        let truth = (0.1 * f64::from(frame)).sin();
        let clamps = Clamps::new()
            .free(cause, HostTensor::zeroed(&[1, 1])?)
            .hold(signal, HostTensor::new(&[1, 2], vec![truth, 0.5 * truth])?);
        for (relaxation, missed) in [&mut carried, &mut anew].into_iter().zip(&mut missed) {
            relaxation.infer(&mut graph, &clamps)?;
            let found = relaxation.value(&graph, cause).map(|c| c.to_vec()).unwrap_or_default();
            *missed += (found[0] - truth).abs() / 100.0;
        }
    }
    println!("mean distance {:.4} carried over, {:.4} anew", missed[0], missed[1]);
    assert!(missed[0] < 0.06 && missed[1] > 0.2);
    Ok(())
}
