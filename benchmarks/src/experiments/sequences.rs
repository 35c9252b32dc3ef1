//! Models of sequences that learn by several rules side by side, from the same weights and on the
//! same batches.

use pc_core::{
    Agreement, Clipping, Graph, Reduction, Relaxation, Schedule, Status,
    host::{Adam, HostTensor, Sgd},
};

use super::{Context, Findings};
use crate::{
    backends::observe,
    commands::train::{Configuration, Dataset},
    contract::{details::Preparation, train::Batch},
    data::Kind,
    error::CommandError,
    models::{LayerEntry, Model, OutputLoss, Predictor, Score, Wanted, build_layers, likeness},
    statistics::{greater, lesser},
};

pub(super) type T = HostTensor<f32>;

/// The least cosine of a rule's gradients to backprop's, over all layers and looks.
pub(super) const COSINE: &str = "least cosine";
/// The mean loss on held-out data at the end.
pub(super) const HELD_OUT: &str = "held-out loss";
/// How far the rule's gradients, as they are computed, are from a simulation of every step.
pub(super) const SIMULATED: &str = "largest difference from simulation";

/// The configuration of a file that comes with the program.
pub(super) fn configuration(text: &str) -> Result<Configuration, CommandError> {
    toml::from_str(text).map_err(|error| CommandError::input(format!("a built-in file: {error}")))
}

/// What moves the weights.
#[derive(Clone, Copy)]
pub(super) enum Moved {
    /// Gradient descent, with gradients cut off at this size where it is given.
    Sgd(f64, Option<f64>),
    /// Adam.
    Adam(f64),
}

/// How a rule learns.
pub(super) struct Way {
    /// Its row.
    pub(super) name: String,
    pub(super) schedule: Schedule,
    /// The same rule with every step simulated, where the two are to be compared: at the first look
    /// and the last.
    pub(super) simulated: Option<Schedule>,
    pub(super) moved: Moved,
}

/// What all learn, and how it is looked at.
pub(super) struct Lesson<'a> {
    pub(super) dataset: &'a Dataset,
    pub(super) layers: &'a [LayerEntry],
    pub(super) batch: usize,
    /// The batches to learn from.
    pub(super) batches: usize,
    /// How often losses are taken and gradients compared: before the first batch, and so many times
    /// after that.
    pub(super) looks: usize,
    /// Training samples, and held-out batches, on which losses are taken.
    pub(super) probe: [usize; 2],
    /// The layer that a parameter belongs to, by their names.
    pub(super) layer: fn(&str) -> String,
}

/// A data set in windows of so many symbols.
pub(super) fn dataset(
    context: &mut Context<'_>,
    kind: Kind,
    layers: &[LayerEntry],
    window: usize,
) -> Result<Dataset, CommandError> {
    let data = context.data(kind)?;
    let how = Preparation { window: Some(window), ..Preparation::default() };
    Dataset::prepared(kind.name(), data, context.seed(), likeness(layers), None, &how)
}

/// The column of a loss after so many batches.
pub(super) fn loss_after(batches: usize) -> String {
    format!("loss, {batches} batches")
}

/// A layer's own.
pub(super) fn cosine_of(layer: &str) -> String {
    format!("{COSINE}, {layer}")
}

impl Lesson<'_> {
    pub(super) fn model(&self, seed: u64) -> Result<Model<f32>, CommandError> {
        let Dataset { shape, classes, per_step, .. } = self.dataset;
        build_layers(self.layers, shape, *classes, seed, *per_step, Wanted::Label)
    }

    /// The batches after which losses are taken.
    pub(super) fn looked(&self) -> Vec<usize> {
        let mut all: Vec<usize> =
            (0..=self.looks).map(|k| k * self.batches / self.looks.max(1)).collect();
        all.dedup();
        all
    }

    /// A model that has learned in one way, and what was seen of it. Where a relaxation diverges
    /// the model learns no more, and the figures that are missing are no numbers.
    pub(super) fn taught(
        &self,
        context: &Context<'_>,
        way: &Way,
    ) -> Result<(Model<f32>, Findings), CommandError> {
        let (mut found, seed, name) = (Findings::new(), context.seed(), way.name.as_str());
        let mut model = self.model(seed)?;
        let mut predictor = Predictor::new(&model.graph);
        let schedule = way.schedule.clone().reduced_by(Reduction::Mean);
        let mut relaxation = Relaxation::new(&model.graph, schedule)?;
        let mut optimiser = Optimiser::new(way.moved)?;
        let probe = self.dataset.probe(self.probe[0], self.batch, seed)?;
        let (looked, mut seen) = (self.looked(), Seen::default());
        let (mut learned, mut epoch, mut diverged) = (0, 0, false);
        'learn: loop {
            for batch in self.dataset.epoch(self.batch, seed, epoch, 0)? {
                let batch = batch?;
                if looked.contains(&learned) {
                    let loss = score(&mut predictor, &mut model, probe.iter().cloned().map(Ok))?;
                    let loss = loss.mean_loss();
                    context.say(format!("{name}: {learned} batches, loss {loss:.4}"));
                    found.cell(name, loss_after(learned), loss);
                    seen.losses.push((learned as f64, loss));
                    self.compare(&mut model, &batch, way, (learned, &mut seen))?;
                }
                if learned == self.batches {
                    break 'learn;
                }
                let clamps =
                    model.clamps(batch.features(), &batch.labels, OutputLoss::CrossEntropy)?;
                let outcome = relaxation.train(&mut model.graph, &clamps, |graph, gradients| {
                    optimiser.step(graph, gradients)
                })?;
                if outcome.status == Status::Diverged {
                    found.note(format!("{name} diverged at batch {}.", learned + 1));
                    diverged = true;
                    break 'learn;
                }
                learned += 1;
            }
            epoch += 1;
        }
        let held_out = if diverged {
            let left = looked.iter().filter(|look| **look > learned);
            left.for_each(|look| found.cell(name, loss_after(*look), f64::NAN));
            f64::NAN
        } else {
            let test = self.dataset.test(self.batch)?.take(self.probe[1]);
            score(&mut predictor, &mut model, test)?.mean_loss()
        };
        found.cell(name, HELD_OUT, held_out);
        seen.show(&mut found, name);
        Ok((model, found))
    }

    /// A rule's gradients beside backprop's on one batch; weights stay where they are.
    fn compare(
        &self,
        model: &mut Model<f32>,
        batch: &Batch,
        way: &Way,
        (learned, seen): (usize, &mut Seen),
    ) -> Result<(), CommandError> {
        let clamps = model.clamps(batch.features(), &batch.labels, OutputLoss::CrossEntropy)?;
        let mut gradients = |schedule: &Schedule| -> Result<Vec<Vec<f64>>, CommandError> {
            let schedule = schedule.clone().reduced_by(Reduction::Mean);
            let relaxation = Relaxation::new(&model.graph, schedule)?;
            Ok(observe::gradients(relaxation, &mut model.graph, &clamps)?.gradients)
        };
        let (ours, exact) = (gradients(&way.schedule)?, gradients(&Schedule::backprop())?);
        // A simulation takes as many passes as it has steps: before the first batch and at the end.
        let ends = learned == 0 || learned == self.batches;
        if let Some(simulated) = way.simulated.as_ref().filter(|_| ends) {
            let simulated = gradients(simulated)?;
            let apart = Agreement::of_slices(&ours.concat(), &simulated.concat()).max_difference;
            let apart = seen.apart.map_or(apart, |before| greater(before, apart));
            seen.apart = Some(apart);
        }
        let mut layers: Vec<(String, [Vec<f64>; 2])> = Vec::new();
        let names = model.graph.named_parameters().map(|(name, _)| (self.layer)(name));
        for (name, (ours, exact)) in names.zip(ours.into_iter().zip(exact)) {
            match layers.iter_mut().find(|(other, _)| *other == name) {
                Some((_, [all, all_exact])) => {
                    all.extend(ours);
                    all_exact.extend(exact);
                }
                None => layers.push((name, [ours, exact])),
            }
        }
        for (layer, [ours, exact]) in layers {
            let cosine = Agreement::of_slices(&ours, &exact).cosine;
            let point = (learned as f64, cosine);
            match seen.cosines.iter_mut().find(|(other, _)| *other == layer) {
                Some((_, points)) => points.push(point),
                None => seen.cosines.push((layer, vec![point])),
            }
        }
        Ok(())
    }
}

/// What was seen at the looks.
#[derive(Default)]
struct Seen {
    losses: Vec<(f64, f64)>,
    cosines: Vec<(String, Vec<(f64, f64)>)>,
    apart: Option<f64>,
}

impl Seen {
    fn show(self, found: &mut Findings, name: &str) {
        let mut least = f64::INFINITY;
        let mut own = Vec::new();
        for (layer, points) in &self.cosines {
            let lowest = points.iter().map(|(_, x)| *x).fold(f64::INFINITY, lesser);
            least = lesser(least, lowest);
            own.push((cosine_of(layer), lowest));
        }
        found.cell(name, COSINE, least);
        for (column, lowest) in own {
            found.cell(name, column, lowest);
        }
        if let Some(apart) = self.apart {
            found.cell(name, SIMULATED, apart);
        }
        found.curve("loss on training data", name, ("batches", "loss"), self.losses);
        for (layer, points) in self.cosines {
            let figure = format!("cosine to backprop: {name}");
            found.curve(figure, layer, ("batches", "cosine"), points);
        }
    }
}

/// How good a model is on these batches.
pub(super) fn score(
    predictor: &mut Predictor<f32>,
    model: &mut Model<f32>,
    batches: impl Iterator<Item = Result<Batch, CommandError>>,
) -> Result<Score, CommandError> {
    let mut score = Score::default();
    for batch in batches {
        let batch = batch?;
        score += predictor.score(model, batch.features(), &batch.labels)?;
    }
    Ok(score)
}

enum Optimiser {
    Sgd(Sgd<f32>),
    Adam(Adam<f32>),
}

impl Optimiser {
    fn new(moved: Moved) -> Result<Self, CommandError> {
        Ok(match moved {
            Moved::Adam(rate) => Self::Adam(Adam::new(rate)?),
            Moved::Sgd(rate, None) => Self::Sgd(Sgd::new(rate)?),
            Moved::Sgd(rate, Some(most)) => {
                Self::Sgd(Sgd::new(rate)?.with_clipping(Clipping::value(most)?))
            }
        })
    }

    fn step(
        &mut self,
        graph: &mut Graph<T>,
        gradients: &pc_core::Gradients<T>,
    ) -> pc_core::Result<()> {
        match self {
            Self::Sgd(sgd) => sgd.step(graph.parameters_mut(), gradients),
            Self::Adam(adam) => adam.step(graph.parameters_mut(), gradients),
        }
    }
}
