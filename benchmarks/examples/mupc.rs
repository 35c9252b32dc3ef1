//! A residual net of 30 layers, trained by predictive coding in the muPC scaling (Innocenti, Achour
//! and Buckley 2025), beside the figures that jpc prints for it (its `examples/mupc.ipynb`).
//!
//! `scripts/fetch-data.sh mnist --to data`, then
//! `cargo run --release -p pc-bench --example mupc -- data`.

use std::{error::Error, path::PathBuf};

use pc_bench::data::{Batches, Images, mnist};
use pc_core::host::{Activation, Adam, HostLayers, HostTensor, Init, MuPc};
use pc_core::{Clamps, Graph, Reduction, Relaxation, Schedule, SquaredError};

const LAYERS: usize = 30;
const BATCH: usize = 64;
/// After so many batches: jpc's test accuracy in percent.
const JPC: [(usize, f64); 3] = [(100, 85.83), (500, 91.84), (900, 93.26)];

/// Pictures, normalised as jpc does it, and one-hot labels.
fn batch(images: &Images, indices: &[usize]) -> Result<[HostTensor<f32>; 2], Box<dyn Error>> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    images.gather(indices, &mut pixels, &mut labels)?;
    pixels.iter_mut().for_each(|x| *x = (*x - 0.1307) / 0.3081);
    let one_hot = labels.iter().flat_map(|label| (0..10).map(|k| f32::from(k == *label)));
    let one_hot = HostTensor::new(&[labels.len(), 10], one_hot.collect())?;
    Ok([HostTensor::new(&[labels.len(), images.features()], pixels)?, one_hot])
}

fn main() -> Result<(), Box<dyn Error>> {
    let data = mnist::load(&PathBuf::from(std::env::args().nth(1).ok_or("say where MNIST is")?))?;
    let inputs = data.train.features();
    let mupc = MuPc::new(inputs, 128, LAYERS, Activation::Relu).with_skips();
    let (mut b, mut init) = (Graph::<HostTensor<f32>>::builder(), Init::new(0));
    let x = b.input("x", &[inputs])?;
    let mut h = b.layer("h1", &[x], &mupc.first(), &mut init)?;
    for l in 2..LAYERS {
        h = b.layer(&format!("h{l}"), &[h], &mupc.hidden(), &mut init)?;
    }
    let y = b.layer("y", &[h], &mupc.last(10), &mut init)?;
    let mut graph = b.build()?;

    // jpc's energy is the mean over the batch, and ours the sum: its rate of 0.5 for activities is
    // 0.5 / 64 here, and the weights' gradients are the mean (Adam's epsilon sees their size).
    let rule = Schedule::standard(0.5 / BATCH as f64, 30)?.reduced_by(Reduction::Mean);
    let mut rule = Relaxation::new(&graph, rule)?;
    let mut test = Relaxation::new(&graph, Schedule::backprop())?;
    let mut adam = Adam::new(0.1)?;
    for (done, indices) in (1..=900).zip(Batches::new(data.train.len(), BATCH, 0, 0)?) {
        let [pictures, labels] = batch(&data.train, &indices)?;
        let clamps = Clamps::new().hold(x, pictures).hold(y, labels);
        rule.train(&mut graph, &clamps, |graph, g| adam.step(graph.parameters_mut(), g))?;
        let Some((_, jpc)) = JPC.iter().find(|(after, _)| *after == done) else { continue };
        let [pictures, labels] = batch(&data.test, &Vec::from_iter(0..data.test.len()))?;
        let clamps = Clamps::new().hold(x, pictures).drive(y, SquaredError::new(labels.clone()));
        test.run(&mut graph, &clamps)?;
        let found = test.value(&graph, y).ok_or("no output")?;
        let rows = found.data().chunks_exact(10).zip(labels.data().chunks_exact(10));
        let right = rows.filter(|(row, label)| {
            (0..10).max_by(|a, b| row[*a].total_cmp(&row[*b])).is_some_and(|k| label[k] == 1.0)
        });
        let accuracy = 100.0 * right.count() as f64 / data.test.len() as f64;
        println!("after {done} batches: test accuracy {accuracy:.2} % (jpc: {jpc:.2} %)");
    }
    Ok(())
}
