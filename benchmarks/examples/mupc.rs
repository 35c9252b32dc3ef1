//! A residual net of 30 layers, trained by predictive coding in the muPC scaling (Innocenti, Achour
//! and Buckley 2025), beside the figures that jpc prints for it (its `examples/mupc.ipynb`).
//!
//! `scripts/fetch-data.sh mnist --to data`, then
//! `cargo run --release -p pc-bench --example mupc -- data`.
//!
//! jpc's energy is the mean over the batch, and ours the sum: so its activity rate of 0.5 is 0.5 /
//! 64 here, and gradients of weights are the mean.

use std::{error::Error, path::PathBuf};

use pc_bench::data::{Batches, Images, mnist};
use pc_core::host::{Activation, Adam, HostLayers, HostTensor, Init, MuPc};
use pc_core::{Clamps, Graph, Reduction, Relaxation, Schedule, SquaredError};

const INPUTS: usize = 784;
const LAYERS: usize = 30;
const BATCH: usize = 64;
/// After so many batches: jpc's test accuracy in percent.
const JPC: [(usize, f64); 3] = [(100, 85.83), (500, 91.84), (900, 93.26)];

type Tensors = (HostTensor<f32>, HostTensor<f32>);

/// Pictures, normalised as torchvision's MNIST usually is, and one-hot labels.
fn batch(images: &Images, indices: &[usize]) -> Result<Tensors, Box<dyn Error>> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    images.gather(indices, &mut pixels, &mut labels)?;
    pixels.iter_mut().for_each(|x| *x = (*x - 0.1307) / 0.3081);
    let one_hot = labels.iter().flat_map(|label| (0..10).map(|k| f32::from(k == *label)));
    Ok((
        HostTensor::new(&[labels.len(), INPUTS], pixels)?,
        HostTensor::new(&[labels.len(), 10], one_hot.collect())?,
    ))
}

/// Where the largest number of every row is.
fn winners(rows: &HostTensor<f32>) -> Vec<usize> {
    let best = |row: &[f32]| (0..10).fold(0, |best, k| if row[k] > row[best] { k } else { best });
    rows.data().chunks_exact(10).map(best).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let data = mnist::load(&PathBuf::from(std::env::args().nth(1).ok_or("say where MNIST is")?))?;
    let mupc = MuPc::new(INPUTS, 128, LAYERS, Activation::Relu).with_skips();
    let (mut b, mut init) = (Graph::<HostTensor<f32>>::builder(), Init::new(0));
    let x = b.input("x", &[INPUTS])?;
    let mut h = b.layer("h1", &[x], &mupc.first(), &mut init)?;
    for l in 2..LAYERS {
        h = b.layer(&format!("h{l}"), &[h], &mupc.hidden(), &mut init)?;
    }
    let y = b.layer("y", &[h], &mupc.last(10), &mut init)?;
    let mut graph = b.build()?;

    let rule = Schedule::standard(0.5 / BATCH as f64, 30)?.reduced_by(Reduction::Mean);
    let mut rule = Relaxation::new(&graph, rule)?;
    let mut test = Relaxation::new(&graph, Schedule::backprop())?;
    let mut adam = Adam::new(0.1)?;
    let batches = Batches::new(data.train.len(), BATCH, 0, 0)?.take(JPC[2].0);
    for (done, indices) in (1..).zip(batches) {
        let (pictures, labels) = batch(&data.train, &indices)?;
        let clamps = Clamps::new().hold(x, pictures).hold(y, labels);
        rule.train(&mut graph, &clamps, |graph, gradients| {
            adam.step(graph.parameters_mut(), gradients)
        })?;
        if let Some((_, jpc)) = JPC.iter().find(|(after, _)| *after == done) {
            let (pictures, labels) = batch(&data.test, &(0..data.test.len()).collect::<Vec<_>>())?;
            let truth = winners(&labels);
            test.run(
                &mut graph,
                &Clamps::new().hold(x, pictures).drive(y, SquaredError::new(labels)),
            )?;
            let found = winners(&test.value(&graph, y).ok_or("no output")?);
            let right = found.iter().zip(&truth).filter(|(a, b)| a == b).count();
            let accuracy = 100.0 * right as f64 / truth.len() as f64;
            println!("after {done} batches: test accuracy {accuracy:.2} % (jpc: {jpc:.2} %)");
        }
    }
    Ok(())
}
