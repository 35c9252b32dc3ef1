//! PC graphs: layers in a PC graph's clothes, and a graph in which everything is connected.

use pc_core::{
    Activation, Clamps, Schedule, Start, Tensor,
    host::{Adam, HostTensor, Init, Starting},
};
use pc_models::{Hold, Host, PcGraph, Wiring};

use super::{Context, Experiment, Findings, Goal, Picture, Pictures, Published};
use crate::{
    data::{Batches, Images},
    error::CommandError,
};

/// See [`super::EXPERIMENTS`].
pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "pc-graph",
    about: "iPC on any graph of neurons: layers, and everything connected to everything",
    paper: "Salvatori, Pinchetti, Millidge, Song, Bao, Bogacz and Lukasiewicz 2022, Learning on \
            arbitrary graph topologies via predictive coding",
    takes: "5 minutes",
    baseline: None,
    published: &[Published {
        row: LAYERED,
        column: ACCURACY,
        figure: 92.3,
        goal: Goal::AtLeast(92.0),
        source: "the PRECO library's notebook for 784-32-16-10, one seed; its incremental mode \
                 steps by the last batch's gradient, and true iPC comes to 92.1",
    }],
    run,
};

const LAYERED: &str = "layers 32-16";
const FULL: &str = "fully connected";
const ACCURACY: &str = "test accuracy, %";
const ENERGY: &str = "energy a sample, last epoch";

type Net = PcGraph<Host<f32>>;

/// The settings of a size.
struct Settings {
    batch: usize,
    epochs: [usize; 2],
    rate: [f64; 2],
    train: [usize; 2],
    test: usize,
    /// Neurons between pixels and label of the full graph.
    between: usize,
}

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut findings = Findings::new();
    findings.part(context, LAYERED, |context| layered(context))?;
    findings.part(context, FULL, |context| fully(context))?;
    findings.note(
        "Pixels are held and their errors do not count in the layers; in the full graph every \
         neuron has its error, and the label is what relaxation makes of it.",
    );
    Ok(findings)
}

fn settings(context: &Context<'_>, pixels: usize) -> Settings {
    let few = pixels < 100;
    context.by_size(
        Settings {
            batch: if few { 50 } else { 250 },
            epochs: if few { [20, 6] } else { [5, 3] },
            rate: if few { [1e-3, 2e-4] } else { [3e-4, 5e-5] },
            train: if few { [1437, 1437] } else { [20_000, 2500] },
            test: if few { 360 } else { 1000 },
            between: 48,
        },
        Settings {
            batch: 250,
            epochs: [30, 10],
            rate: [1e-5, 1e-5],
            train: [50_000, 50_000],
            test: 10_000,
            between: 48,
        },
    )
}

/// Pixels, labels as rows of zeros and a one, and labels.
type Fed = (HostTensor<f32>, HostTensor<f32>, Vec<usize>);

/// Pictures in batches, normalised by the mean and the deviation of the training pixels.
struct Data {
    train: Images,
    test: Images,
    mean: f64,
    deviation: f64,
}

impl Data {
    fn new(context: &mut Context<'_>) -> Result<Self, CommandError> {
        let split = context.pictures(Pictures::Mnist)?;
        let pixels = || split.train.pixels.iter().map(|x| f64::from(*x));
        let count = split.train.pixels.len().max(1) as f64;
        let mean = pixels().sum::<f64>() / count;
        let deviation = (pixels().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
        Ok(Self { train: split.train, test: split.test, mean, deviation })
    }

    /// Pixels and labels of some pictures.
    fn batch(&self, of: &Images, indices: &[usize]) -> Result<Fed, CommandError> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        of.gather(indices, &mut pixels, &mut labels)?;
        for x in &mut pixels {
            *x = ((f64::from(*x) - self.mean) / self.deviation) as f32;
        }
        let mut hot = vec![0.0; labels.len() * of.classes];
        for (row, label) in hot.chunks_mut(of.classes).zip(&labels) {
            row[*label] = 1.0;
        }
        let pixels = HostTensor::new(&[labels.len(), of.features()], pixels)?;
        Ok((pixels, HostTensor::new(&[labels.len(), of.classes], hot)?, labels))
    }
}

/// One net in training.
struct Trained<'a> {
    data: &'a Data,
    net: Net,
    adam: Adam<f32>,
    name: &'static str,
    batch: usize,
    test: usize,
}

impl Trained<'_> {
    /// Trains; the energy a sample and the accuracy after each epoch.
    fn epochs(
        &mut self,
        context: &mut Context<'_>,
        (epochs, count): (usize, usize),
    ) -> Result<Vec<(f64, f64)>, CommandError> {
        let mut all = Vec::with_capacity(epochs);
        let pixels = self.net.graph().vertex("pixels")?;
        let label = self.net.graph().vertex("label")?;
        let count = count.min(self.data.train.len());
        for epoch in 0..epochs {
            let (mut energy, mut seen) = (0.0, 0);
            for indices in Batches::new(count, self.batch, context.seed(), epoch as u64)? {
                let (x, y, _) = self.data.batch(&self.data.train, &indices)?;
                let clamps = Clamps::new().hold(pixels, x).hold(label, y);
                let adam = &mut self.adam;
                let outcome = self.net.learn(&clamps, |graph, gradients| {
                    adam.step(graph.parameters_mut(), gradients)
                })?;
                energy += outcome.energy.total();
                seen += indices.len();
                context.say(format!("{}: epoch {} of {epochs}, {seen}", self.name, epoch + 1));
            }
            all.push((energy / seen.max(1) as f64, self.accuracy()?));
        }
        Ok(all)
    }

    /// How many labels of the test set the graph finds, in percent.
    fn accuracy(&mut self) -> Result<f64, CommandError> {
        let pixels = self.net.graph().vertex("pixels")?;
        let (features, neurons) = (self.data.test.features(), self.net.wiring().neurons());
        let classes = self.data.test.classes;
        let count = self.test.min(self.data.test.len());
        let mut right = 0;
        for indices in Batches::in_order(count, self.batch)? {
            let (x, _, labels) = self.data.batch(&self.data.test, &indices)?;
            let states = self.net.query(&Clamps::new().hold(pixels, x))?;
            debug_assert!(neurons >= features + classes);
            for (state, label) in states.data().chunks(neurons).zip(labels) {
                let own = &state[neurons - classes..];
                let best = (0..classes).max_by(|a, b| own[*a].total_cmp(&own[*b]));
                right += usize::from(best == Some(label));
            }
        }
        Ok(100.0 * right as f64 / count.max(1) as f64)
    }
}

fn report(findings: &mut Findings, name: &str, epochs: &[(f64, f64)]) {
    let (energy, accuracy) = epochs.last().copied().unwrap_or((f64::NAN, f64::NAN));
    findings.cell(name, ACCURACY, accuracy);
    findings.cell(name, ENERGY, energy);
    let curve = |of: fn(&(f64, f64)) -> f64| -> Vec<(f64, f64)> {
        epochs.iter().enumerate().map(|(k, both)| ((k + 1) as f64, of(both))).collect()
    };
    findings.curve("accuracy", name, ("epoch", "test accuracy, %"), curve(|both| both.1));
    findings.curve("energy", name, ("epoch", "energy a sample"), curve(|both| both.0));
}

fn layered(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let data = Data::new(context)?;
    let features = data.train.features();
    let settings = settings(context, features);
    let wiring = Wiring::layered(&[
        ("pixels", features),
        ("hidden1", 32),
        ("hidden2", 16),
        ("label", data.train.classes),
    ])?;
    let mut init = Init::new(context.seed());
    let schedule = Schedule::ipc(0.5, 5)?;
    let net = PcGraph::new(&Host::new(), &wiring, Activation::Tanh, true, schedule, &mut init)?;
    let mut own = Trained {
        data: &data,
        net,
        adam: Adam::new(settings.rate[0])?,
        name: LAYERED,
        batch: settings.batch,
        test: settings.test,
    };
    let epochs = own.epochs(context, (settings.epochs[0], settings.train[0]))?;
    let mut findings = Findings::new();
    report(&mut findings, LAYERED, &epochs);
    Ok(findings)
}

fn fully(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let data = Data::new(context)?;
    let features = data.train.features();
    let settings = settings(context, features);
    let wiring = Wiring::full(&[
        ("pixels", features),
        ("between", settings.between),
        ("label", data.train.classes),
    ])?;
    // Small weights, so that a query of the graph that has not learned yet is stable.
    let mut init = Init::new(context.seed()).with_rule(Starting::Normal(0.01));
    let schedule = Schedule::ipc(0.1, 5)?.starting(Start::Zero);
    let net = PcGraph::new(&Host::new(), &wiring, Activation::Tanh, true, schedule, &mut init)?;
    let mut own = Trained {
        data: &data,
        net,
        adam: Adam::new(settings.rate[1])?,
        name: FULL,
        batch: settings.batch,
        test: settings.test,
    };
    let epochs = own.epochs(context, (settings.epochs[1], settings.train[1]))?;
    let mut findings = Findings::new();
    report(&mut findings, FULL, &epochs);
    let steady = epochs.windows(2).all(|pair| pair[1].0 <= pair[0].0);
    findings.claim("the energy of the full graph rises in no epoch", steady);
    complete(&mut own, &mut findings)?;
    Ok(findings)
}

/// Pictures whose lower half the full graph makes up.
fn complete(own: &mut Trained<'_>, findings: &mut Findings) -> Result<(), CommandError> {
    let data = own.data;
    let shape = data.test.shape;
    let (features, neurons) = (data.test.features(), own.net.wiring().neurons());
    let indices: Vec<usize> = (0..10.min(data.test.len())).collect();
    let (x, _, _) = data.batch(&data.test, &indices)?;
    let half = features / 2;
    let mut rows = vec![0.0; indices.len() * neurons];
    for (row, picture) in rows.chunks_mut(neurons).zip(x.data().chunks(features)) {
        row[..half].copy_from_slice(&picture[..half]);
    }
    let how: Vec<Hold> =
        (0..neurons).map(|k| if k < half { Hold::Seen } else { Hold::Free }).collect();
    let clamps = own.net.hold(&HostTensor::new(&[indices.len(), neurons], rows)?, &how)?;
    own.net.set_schedule(Schedule::standard(0.1, 200)?.starting(Start::Zero))?;
    let states = own.net.query(&clamps)?.to_vec();
    let picture = |numbers: &[f64]| {
        let numbers: Vec<f64> = numbers.iter().map(|x| x * data.deviation + data.mean).collect();
        Picture::new(shape, &numbers)
    };
    let given = x.to_vec();
    let cut =
        |row: &[f64]| [&row[..half], &vec![-data.mean / data.deviation; features - half]].concat();
    let given_halves: Result<Vec<_>, _> =
        given.chunks(features).map(|row| picture(&cut(row))).collect();
    let completed: Result<Vec<_>, _> =
        states.chunks(neurons).map(|row| picture(&row[..features])).collect();
    let whole: Result<Vec<_>, _> = given.chunks(features).map(picture).collect();
    let error = |k: usize| -> f64 {
        let (found, own) = (&states[k * neurons..], &given[k * features..]);
        (half..features).map(|p| (found[p] - own[p]).powi(2)).sum::<f64>()
    };
    let plain = |k: usize| -> f64 {
        given[k * features..][half..features].iter().map(|x| x.powi(2)).sum::<f64>()
    };
    let (all, all_plain): (f64, f64) =
        ((0..indices.len()).map(error).sum(), (0..indices.len()).map(plain).sum());
    findings.cell(FULL, "completed half, error over that of the mean", all / all_plain);
    findings.gallery(
        "Completion by the full graph",
        "The upper half is held, the rest is inferred.",
        vec![("given", given_halves?), ("completed", completed?), ("whole", whole?)],
    );
    Ok(())
}
