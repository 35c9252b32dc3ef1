//! The same tch program as `digits`, with its vertices marked, so that every rule of predictive
//! coding can train it: standard PC, incremental PC, error-based PC and the exact ones.
//!
//! ```text
//! cargo run --release -p pc-tch --example digits_marks
//! ```
//! Against the same program by backprop, this is all that differs:
//! ```diff
//! -        .add_fn(|x| x.relu().max_pool2d_default(2))
//! +        .add_fn(|x| vertex(&x.relu().max_pool2d_default(2)))
//! -            let loss = net.forward_t(&x, true).cross_entropy_for_logits(&y);
//! -            opt.backward_step(&loss);
//! +            let loss = || vertex(&net.forward_t(&x, true)).cross_entropy_for_logits(&y);
//! +            pc.learn(&mut opt, loss)?;
//! ```

use pc_tch::{
    PredictiveCoding,
    pc_core::{Schedule, Status},
    vertex,
};
use smartcore::dataset::digits;
use tch::{
    Device, Kind, Tensor,
    nn::{self, ModuleT, OptimizerConfig, VarStore},
};

/// Times through the data.
pub(crate) const EPOCHS: usize = 12;

/// What can go wrong.
type Failure = Box<dyn std::error::Error>;

fn net(path: &nn::Path<'_>) -> nn::SequentialT {
    let padded = nn::ConvConfig { padding: 1, ..Default::default() };
    nn::seq_t()
        .add(nn::conv2d(path / "conv1", 1, 16, 3, padded))
        .add(nn::batch_norm2d(path / "norm1", 16, Default::default()))
        .add_fn(|x| vertex(&x.relu().max_pool2d_default(2)))
        .add(nn::conv2d(path / "conv2", 16, 32, 3, padded))
        .add(nn::batch_norm2d(path / "norm2", 32, Default::default()))
        .add_fn(|x| vertex(&x.relu().max_pool2d_default(2).flatten(1, -1)))
        .add(nn::linear(path / "full1", 128, 64, Default::default()))
        .add_fn_t(|x, train| vertex(&x.relu().dropout(0.2, train)))
        .add(nn::linear(path / "full2", 64, 10, Default::default()))
}

/// Pictures and labels in a random order, so that those kept for the test are of all writers.
fn data() -> (Tensor, Tensor) {
    let all = digits::load_dataset();
    let pictures = Tensor::from_slice(&all.data).view([-1, 1, 8, 8]).to_kind(Kind::Float) / 16.0;
    let labels: Vec<i64> = all.target.iter().map(|label| *label as i64).collect();
    let order = Tensor::randperm(pictures.size()[0], (Kind::Int64, Device::Cpu));
    (pictures.index_select(0, &order), Tensor::from_slice(&labels).index_select(0, &order))
}

/// Trains for some epochs, by backprop where no schedule is given, and returns the share of test
/// pictures that are read correctly.
///
/// # Errors
/// What tch or the relaxation reports.
pub(crate) fn train(epochs: usize, schedule: Option<Schedule>) -> Result<f64, Failure> {
    const TRAINING: i64 = 1500;
    tch::manual_seed(1);
    let (pictures, labels) = data();
    let store = VarStore::new(Device::Cpu);
    let net = net(&store.root());
    let mut opt = nn::Adam::default().build(&store, 4e-3)?;
    let mut pc = schedule.map(PredictiveCoding::new);
    for _ in 0..epochs {
        for batch in Tensor::randperm(TRAINING, (Kind::Int64, Device::Cpu)).split(30, 0) {
            let (x, y) = (pictures.index_select(0, &batch), labels.index_select(0, &batch));
            let loss = || vertex(&net.forward_t(&x, true)).cross_entropy_for_logits(&y);
            match &mut pc {
                None => opt.backward_step(&loss()),
                Some(pc) => {
                    if pc.learn(&mut opt, loss)?.outcome.status == Status::Diverged {
                        return Err("the relaxation diverged".into());
                    }
                }
            }
        }
    }
    let rest = pictures.size()[0] - TRAINING;
    let logits = tch::no_grad(|| net.forward_t(&pictures.narrow(0, TRAINING, rest), false));
    Ok(logits.accuracy_for_logits(&labels.narrow(0, TRAINING, rest)).double_value(&[]))
}

fn main() -> Result<(), Failure> {
    for schedule in [None, Some(Schedule::standard(0.02, 20)?)] {
        let name = schedule.as_ref().map_or_else(|| "backprop".to_owned(), ToString::to_string);
        let right = 100.0 * train(EPOCHS, schedule)?;
        println!("{name}: {right:.1} % of the test pictures are read correctly");
    }
    Ok(())
}
