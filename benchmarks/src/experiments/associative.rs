//! Associative memories by predictive coding, beside an autoencoder and a modern Hopfield network.

use pc_core::{
    Activation, Clamps, Graph, Predictor, Relaxation, Schedule, SquaredError, Tensor, VertexId,
    host::{Adam, HostTensor, Init},
};
use pc_models::{
    AssociativeMemory, AssociativeSettings, Dense, Host,
    hopfield::{Memory, Softmax},
};

use super::{
    Context, Experiment, Findings, Goal, Pictures, Published,
    stored::{Set, below, masked, mean, noisy, squared_errors},
};
use crate::error::CommandError;

/// The published figures, read off a plot.
const PLOT: &str = "Salvatori et al. 2021, read off a figure at second hand";

const fn published(row: &'static str, column: &'static str, figure: f64) -> Published {
    Published { row, column, figure, goal: Goal::AtLeast(figure), source: PLOT }
}

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "associative",
    about: "recall by predictive coding from noise, from parts and from labels",
    paper: "Salvatori, Song, Hong, Sha, Frieder, Xu, Bogacz and Lukasiewicz 2021, Associative \
            Memories via Predictive Coding",
    takes: "several hours",
    baseline: Some("autoencoder"),
    published: &[
        Published {
            row: "PC, 256",
            column: "MNIST, 50 stored: half known (%)",
            figure: 100.0,
            goal: Goal::AtLeast(100.0),
            source: "wanted: all of 50",
        },
        published("PC, 256", "CIFAR-10, 250 stored: noise (%)", 100.0),
        published("PC, 256", "CIFAR-10, 500 stored: noise (%)", 70.0),
        published("PC, 512", "CIFAR-10, 250 stored: noise (%)", 100.0),
        published("PC, 512", "CIFAR-10, 500 stored: noise (%)", 90.0),
    ],
    run,
};

/// The largest mean squared error of a pixel that counts as recalled.
const CORRECT: f64 = 0.005;

/// The variance of the noise.
const NOISE: f64 = 0.2;

type Rows = HostTensor<f32>;

fn run(context: &mut Context<'_>) -> Result<Findings, CommandError> {
    let mut all = Findings::new();
    let mut seen = Vec::new();
    for which in [Pictures::Mnist, Pictures::Cifar10] {
        if which == Pictures::Cifar10 && !context.full() {
            continue;
        }
        let set = Set::read(context, which)?;
        let (counts, widths): (&[usize], &[usize]) = match (set.name, context.full()) {
            ("CIFAR-10", _) => (&[250, 500], &[256, 512]),
            (_, true) => (&[50, 100, 250], &[256, 512]),
            ("digits", false) => (&[10, 25, 50], &[128]),
            _ => (&[10, 50], &[256]),
        };
        for count in counts {
            for width in widths {
                let name = format!("{}: PC, {width}, {count} stored", set.name);
                all.part(context, &name, |context| by_pc(context, &set, *count, *width))?;
            }
            let name = format!("{}: others, {count} stored", set.name);
            let width = widths[widths.len() - 1];
            all.part(context, &name, |context| others(context, &set, *count, width))?;
        }
        let rows: Vec<String> = widths.iter().map(|width| format!("PC, {width}")).collect();
        let others = ["autoencoder", "modern Hopfield"];
        for what in ["half known", "quarter known", "noise"] {
            for row in rows.iter().map(String::as_str).chain(others) {
                let points = counts.iter().filter_map(|count| {
                    let column = format!("{}, {count} stored: {what} (%)", set.name);
                    Some((*count as f64, all.value(row, &column)?))
                });
                let points = points.collect();
                let title = format!("{}: {what}", set.name);
                all.curve(title, row, ("stored", "recalled (%)"), points);
            }
        }
        if !seen.contains(&set.name) {
            seen.push(set.name);
            let name = format!("{}: from labels", set.name);
            all.part(context, &name, |context| from_labels(context, &set, widths[0]))?;
        }
    }
    for cell in all.cells.clone() {
        let of = cell.column.split_once(": half known").map_or("", |(of, _)| of);
        let few = of.ends_with(", 10 stored") || of == "MNIST, 50 stored";
        if few && cell.row.starts_with("PC") {
            let what = format!("{of}: {} completes at least 9 of 10 from a half", cell.row);
            all.claim(what, cell.value >= 90.0);
        }
    }
    all.note(format!(
        "Recalled: a squared error below {CORRECT} as a mean over the pixels. Noise is normal, of \
         variance {NOISE}, cut off at 0 and 1; of parts, the upper lines are known."
    ));
    all.note(
        "The net of predictive coding has a memory vector and one hidden layer, the autoencoder \
         three hidden layers, all of the width that the row says (the widest, for the \
         autoencoder).",
    );
    Ok(all)
}

/// Asks in all ways, by functions of what is known (all, where there is no mask).
fn asked(
    found: &mut Findings,
    set: &Set,
    row: &str,
    pictures: &Rows,
    mut recall: impl FnMut(&Rows, Option<&Rows>) -> Result<Rows, CommandError>,
    seed: u64,
) -> Result<(), CommandError> {
    let count = pictures.dims()[0];
    let mut note = |what: &str, given: &Rows, known: Option<&Rows>| {
        let recalled = recall(given, known)?;
        let errors = squared_errors(&recalled, pictures);
        let errors: Vec<f64> = errors.iter().map(|error| error / set.pixels() as f64).collect();
        let column = |unit: &str| format!("{}, {count} stored: {what}{unit}", set.name);
        found.cell(row, column(" (%)"), below(&errors, CORRECT));
        let title = format!("{}, {count} stored: {what}, {row}", set.name);
        let caption = format!("the first eight; mean squared error {:.4}", mean(&errors));
        found.gallery(
            title,
            caption,
            vec![
                ("original", set.gallery(pictures, 8)?),
                ("given", set.gallery(given, 8)?),
                ("recalled", set.gallery(&recalled, 8)?),
            ],
        );
        Ok::<(), CommandError>(())
    };
    for (what, share) in [("half known", 0.5), ("quarter known", 0.25)] {
        let known = set.upper(count, share)?;
        note(what, &masked(pictures, &known), Some(&known))?;
    }
    note("noise", &noisy(pictures, NOISE.sqrt(), seed), None)
}

/// Stores pictures, with labels if there are any, until the rounds are over.
fn stored(
    context: &Context<'_>,
    set: &Set,
    width: usize,
    pictures: &Rows,
    labels: Option<&Rows>,
) -> Result<AssociativeMemory<Host<f32>>, CommandError> {
    let small = set.pixels() <= 64;
    let settings = AssociativeSettings::new(set.pixels(), &[width, width])?
        .labels(labels.map_or(0, |labels| labels.dims()[1]))
        .prior(0.1)
        .recall(Schedule::standard(0.2, context.by_size(1000, 5000))?.adaptive().until(1e-4)?);
    let mut memory =
        AssociativeMemory::new(&Host::new(), &settings, &mut Init::new(context.seed()))?;
    let rounds = context.by_size(if small { 300 } else { 400 }, 2000);
    let mut adam = Adam::new(if small { 3e-3 } else { 1e-3 })?;
    for round in 0..rounds {
        if round == 2 * rounds / 3 {
            adam.set_rate(1e-4)?;
        }
        let outcome = memory.store(pictures, labels, |graph, gradients| {
            adam.step(graph.parameters_mut(), gradients)
        })?;
        if round % 50 == 0 {
            let energy = outcome.energy.total() / pictures.dims()[0] as f64;
            context
                .say(format!("storing: energy {energy:.4} a picture, round {round} of {rounds}"));
        }
    }
    Ok(memory)
}

fn by_pc(
    context: &mut Context<'_>,
    set: &Set,
    count: usize,
    width: usize,
) -> Result<Findings, CommandError> {
    let (pictures, _) = set.drawn(count)?;
    let mut memory = stored(context, set, width, &pictures, None)?;
    let rounds = context.by_size(10, 50);
    let mut found = Findings::new();
    let recall = |given: &Rows, known: Option<&Rows>| {
        let recalled = match known {
            Some(known) => memory.complete(given, known)?,
            None => memory.denoise(given, rounds)?,
        };
        Ok(recalled.pictures)
    };
    asked(&mut found, set, &format!("PC, {width}"), &pictures, recall, context.seed())?;
    Ok(found)
}

/// An autoencoder, trained by backprop on the pictures alone.
struct Autoencoder {
    graph: Graph<Rows>,
    image: VertexId,
    output: VertexId,
    predictor: Predictor<Rows>,
}

impl Autoencoder {
    fn trained(
        context: &Context<'_>,
        set: &Set,
        width: usize,
        pictures: &Rows,
    ) -> Result<Self, CommandError> {
        let (host, mut init) = (Host::<f32>::new(), Init::new(context.seed()));
        let mut b = Graph::builder();
        let image = b.input("image", &[set.pixels()])?;
        let mut last = image;
        for name in ["encoder", "code", "decoder"] {
            let layer = Dense::new(width).after(Activation::Tanh);
            last = layer.add(&host, &mut b, name, &[last], &mut init)?;
        }
        let output = Dense::new(set.pixels()).add(&host, &mut b, "output", &[last], &mut init)?;
        let mut graph = b.build()?;
        let mut backprop = Relaxation::new(&graph, Schedule::backprop())?;
        let rounds = context.by_size(1000, 10_000);
        let mut adam = Adam::new(1e-3)?;
        let target = SquaredError::new(pictures.clone());
        let clamps = Clamps::new().hold(image, pictures.clone()).drive(output, target);
        for round in 0..rounds {
            if round == 2 * rounds / 3 {
                adam.set_rate(1e-4)?;
            }
            backprop.train(&mut graph, &clamps, |graph, gradients| {
                adam.step(graph.parameters_mut(), gradients)
            })?;
        }
        let predictor = Predictor::new(&graph);
        Ok(Self { graph, image, output, predictor })
    }

    /// Iterates its map; what is known is set back each time.
    fn recall(
        &mut self,
        given: &Rows,
        known: Option<&Rows>,
        rounds: usize,
    ) -> Result<Rows, CommandError> {
        let mut now = given.clone();
        for _ in 0..rounds {
            self.predictor.run(&mut self.graph, &[(self.image, &now)], &[self.output])?;
            now.copy_from(self.predictor.value(self.output)?);
            if let Some(known) = known {
                let pairs = given.data().iter().zip(known.data());
                for (now, (given, known)) in now.data_mut().iter_mut().zip(pairs) {
                    if *known == 1.0 {
                        *now = *given;
                    }
                }
            }
        }
        Ok(now)
    }
}

fn others(
    context: &mut Context<'_>,
    set: &Set,
    count: usize,
    width: usize,
) -> Result<Findings, CommandError> {
    let (pictures, _) = set.drawn(count)?;
    let mut found = Findings::new();
    let mut autoencoder = Autoencoder::trained(context, set, width, &pictures)?;
    let recall = |given: &Rows, known: Option<&Rows>| autoencoder.recall(given, known, 50);
    asked(&mut found, set, "autoencoder", &pictures, recall, context.seed())?;
    let hopfield = Memory::new(&pictures)?.separation(Softmax::new(1.0)?);
    let recall = |given: &Rows, _: Option<&Rows>| Ok(hopfield.recall_again(given, 5)?);
    asked(&mut found, set, "modern Hopfield", &pictures, recall, context.seed())?;
    Ok(found)
}

/// A picture of each class, recalled from its label.
fn from_labels(
    context: &mut Context<'_>,
    set: &Set,
    width: usize,
) -> Result<Findings, CommandError> {
    let (all, classes) = set.drawn(context.by_size(200, 1000))?;
    let kinds = set.images.train.classes;
    let firsts = (0..kinds).filter_map(|class| classes.iter().position(|own| *own == class));
    let firsts: Vec<usize> = firsts.collect();
    let labels: Vec<usize> = firsts.iter().map(|first| classes[*first]).collect();
    let numbers = firsts.iter().flat_map(|first| {
        all.data()[first * set.pixels()..(first + 1) * set.pixels()].iter().copied()
    });
    let pictures = Rows::new(&[firsts.len(), set.pixels()], numbers.collect())?;
    let labels = Rows::one_hot(&labels, kinds)?;
    let mut memory = stored(context, set, width, &pictures, Some(&labels))?;
    let recalled = memory.recall_label(&labels)?.pictures;
    let mut nearest = 0;
    for (k, row) in recalled.data().chunks(set.pixels()).enumerate() {
        let same = Rows::new(&[1, row.len()], row.to_vec())?;
        let errors = pictures.data().chunks(row.len()).map(|stored| {
            let stored = Rows::new(&[1, row.len()], stored.to_vec())?;
            Ok(squared_errors(&same, &stored)[0])
        });
        let errors = errors.collect::<Result<Vec<f64>, CommandError>>()?;
        let best = errors.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        nearest += usize::from(best.is_some_and(|(best, _)| best == k));
    }
    let mut found = Findings::new();
    let column = format!("{}: nearest to its own, from its label (%)", set.name);
    let share = 100.0 * nearest as f64 / firsts.len().max(1) as f64;
    found.cell(format!("PC, {width}"), column, share);
    found.gallery(
        format!("{}: from labels", set.name),
        "a picture of each class",
        vec![
            ("original", set.gallery(&pictures, kinds)?),
            ("recalled", set.gallery(&recalled, kinds)?),
        ],
    );
    Ok(found)
}
