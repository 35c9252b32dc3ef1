//! Released settings of published work, which are part of this program as files for
//! `pc-bench train --config`, and what one run of such a file comes to. It is trained by the same
//! code as there.

use std::{path::Path, time::Instant};

use super::{Context, Findings};
use crate::{
    commands::train::{Configuration, Dataset, Learner, RunSettings, Source},
    contract::{ScheduleKind, details::Figures},
    data::{Data, Images, Kind, Split},
    error::CommandError,
    statistics::{greater, lesser},
};

/// Accuracy by PCX's rule of reporting.
pub(super) const BEST: &str = "best on test %";
/// Accuracy by this program's.
pub(super) const LAST: &str = "last epoch %";
/// The least over layers of the cosine with backprop's gradient.
pub(super) const COSINE: &str = "min cosine";
/// The least over layers of the gradient's norm over that of backprop's.
pub(super) const LEAST: &str = "min ratio";
/// The greatest.
pub(super) const MOST: &str = "max ratio";

/// How the columns above are to be read.
pub(super) const READ: &str = "best on test: the best epoch by the test set itself, as PCX reports \
                               it, which flatters every method; last epoch: chosen by nothing.";
/// The same of the others.
pub(super) const BESIDE: &str = "Gradients stand beside backprop's on one batch, layer by layer: \
                                 the least cosine, the least and the greatest norm ratio. Nudged \
                                 gradients are divided by beta; those of iPC are summed over its \
                                 steps.";
/// At which weights, after a run.
pub(super) const THERE: &str = "Gradients are those of the last weights, at which little is left \
                                to learn.";

/// A file of `benchmarks/configs` by its name, which may be in parts, and its text.
macro_rules! config {
    ($($part:literal),+) => {
        (concat!($($part),+), include_str!(concat!("../../configs/", $($part),+, ".toml")))
    };
}
pub(super) use config;

/// One of PCX's methods with a file of its settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    /// What the paper calls it.
    pub(super) name: &'static str,
    /// The file's name and text.
    pub(super) file: (&'static str, &'static str),
}

/// The run that a file describes.
#[derive(Clone, Debug)]
pub(super) struct Released {
    /// What decides its bits.
    pub(super) run: RunSettings,
    /// Passes over the data.
    pub(super) epochs: usize,
}

/// What a run takes on this machine, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    /// A picture that is learned from.
    a_sample: f64,
    /// A picture that is tested on.
    a_test: f64,
}

impl Timed {
    /// What one epoch takes, and its test.
    pub(super) fn epoch(&self, [train, test]: [usize; 2]) -> f64 {
        self.a_sample * train as f64 + self.a_test * test as f64
    }
}

impl Released {
    /// Reads a file, for these pictures and this seed; all else is as the file says it.
    ///
    /// # Errors
    /// A file that says no single run, with its name and line.
    pub(super) fn new(
        (name, text): (&str, &str),
        (kind, seed): (Kind, u64),
    ) -> Result<Self, CommandError> {
        let path = format!("benchmarks/configs/{name}.toml");
        let (source, mut config): (_, Configuration) =
            Source::of(Path::new(&path), text.to_owned())?;
        (config.data.kind, config.seed) = (Some(kind), Some(seed));
        let runs = config.alone().and_then(|config| Ok((config.epochs(), config.runs()?)));
        let (epochs, runs) = runs.map_err(|error| source.locate(error))?;
        let [run] = runs.as_slice() else {
            return Err(CommandError::input(format!("{path}: {} runs, not one", runs.len())));
        };
        run.check().map_err(|error| source.locate(error))?;
        Ok(Self { run: run.clone(), epochs })
    }

    /// The pictures as this run takes them, so many of the training set at most.
    ///
    /// # Errors
    /// Too few pictures.
    pub(super) fn dataset(
        &self,
        name: &str,
        images: Split<Images>,
        most: Option<usize>,
    ) -> Result<Dataset, CommandError> {
        let RunSettings { model, seed, details, .. } = &self.run;
        let samples = most.map(|most| most.min(images.train.len()));
        let data = Data::Images(images);
        let all = Dataset::prepared(name, data, *seed, *model, samples, &details.data)?;
        Ok(if details.recall.is_some() { all.stored() } else { all })
    }

    /// A net at the run's beginning.
    ///
    /// # Errors
    /// A net that does not fit the pictures.
    pub(super) fn learner(&self, data: &Dataset) -> Result<Learner<f32>, CommandError> {
        Learner::new(&self.run, data)
    }

    /// What this run takes here: a few batches are learned from by a net that is then dropped, and
    /// one is tested on.
    ///
    /// # Errors
    /// As of [`Released::learner`].
    pub(super) fn timed(&self, data: &Dataset, batches: usize) -> Result<Timed, CommandError> {
        let mut learner = self.learner(data)?;
        let mut epoch = data.epoch(self.run.batch, self.run.seed, 0, 0)?;
        // The first one also makes the memory that the others use.
        if let Some(first) = epoch.next() {
            learner.learn(&first?)?;
        }
        let (start, mut samples) = (Instant::now(), 0);
        for batch in epoch.take(batches) {
            let batch = batch?;
            learner.learn(&batch)?;
            samples += batch.samples;
        }
        let a_sample = start.elapsed().as_secs_f64() / samples.max(1) as f64;
        let start = Instant::now();
        learner.score(data.test(self.run.batch)?.take(1), &mut |_| true)?;
        let tested = self.run.batch.min(data.test_len()).max(1);
        let a_test = start.elapsed().as_secs_f64() / tested as f64;
        Ok(Timed { a_sample, a_test })
    }

    /// Learns to the end, and compares the gradients with backprop's there.
    ///
    /// # Errors
    /// As of [`Released::learner`]; [`CommandError::Interrupted`] after Ctrl-C.
    pub(super) fn learned(
        &self,
        context: &Context<'_>,
        (set, method): (&str, &str),
        data: &Dataset,
    ) -> Result<Findings, CommandError> {
        let row = format!("{set} {method}");
        let mut learner = self.learner(data)?;
        let mut findings = Findings::new();
        let diverged = learner.through(data, self.epochs, &mut |epoch| {
            let right = 100.0 * epoch.test_accuracy.unwrap_or(f64::NAN);
            context.say(format!("{row}, epoch {} of {}: {right:.2} %", epoch.epoch, self.epochs));
        })?;
        let progress = learner.progress();
        let percent = |which| {
            let epoch = progress.reported(which).filter(|_| diverged.is_none());
            100.0 * epoch.and_then(|epoch| epoch.test_accuracy).unwrap_or(f64::NAN)
        };
        findings.cell(&row, BEST, percent(Figures::BestEpoch));
        findings.cell(&row, LAST, percent(Figures::LastEpoch));
        let points = progress.history.iter();
        let points = points
            .map(|epoch| (epoch.epoch as f64, 100.0 * epoch.test_accuracy.unwrap_or(f64::NAN)));
        let title = format!("test accuracy, {set}");
        findings.curve(title, method, ("epoch", "%"), points.collect());
        if let Some(why) = &diverged {
            findings.note(format!("{row}: {why}."));
        }
        if self.run.schedule != ScheduleKind::Backprop {
            beside(&mut findings, (set, method), &mut learner, data)?;
        }
        Ok(findings)
    }
}

/// How a run's gradients agree with backprop's on one batch, at its weights of now.
pub(super) fn beside(
    findings: &mut Findings,
    (set, method): (&str, &str),
    learner: &mut Learner<f32>,
    data: &Dataset,
) -> Result<(), CommandError> {
    let (size, seed) = (learner.settings().batch, learner.settings().seed);
    let batches = data.probe(size, size, seed)?;
    let Some(batch) = batches.first() else { return Ok(()) };
    let layers = learner.measure(batch)?.layers;
    let row = format!("{set} {method}");
    let cosines = || layers.iter().map(|layer| layer.cosine);
    let ratios = || layers.iter().map(|layer| layer.norm_ratio);
    findings.cell(&row, COSINE, cosines().reduce(lesser).unwrap_or(f64::NAN));
    findings.cell(&row, LEAST, ratios().reduce(lesser).unwrap_or(f64::NAN));
    findings.cell(&row, MOST, ratios().reduce(greater).unwrap_or(f64::NAN));
    let axes = |y| ("layer", y);
    let places = || (1..).map(|layer: i32| f64::from(layer));
    let points = places().zip(cosines()).collect();
    findings.curve(
        format!("cosine with backprop's gradient, {set}"),
        method,
        axes("cosine"),
        points,
    );
    let points = places().zip(ratios()).collect();
    findings.curve(format!("norm over backprop's, {set}"), method, axes("ratio"), points);
    Ok(())
}

/// A time in words, such as `3 minutes`.
pub(super) fn words(seconds: f64) -> String {
    let (number, unit) = match seconds {
        s if s < 90.0 => (s, "seconds"),
        s if s < 90.0 * 60.0 => (s / 60.0, "minutes"),
        s if s < 48.0 * 3600.0 => (s / 3600.0, "hours"),
        s => (s / 86400.0, "days"),
    };
    format!("{number:.0} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_units_that_fit() {
        let told = [1.0, 100.0, 7200.0, 864_000.0].map(words);
        assert_eq!(told, ["1 seconds", "2 minutes", "2 hours", "10 days"]);
    }

    #[test]
    fn a_file_that_is_wrong_is_named_with_its_line() {
        let (name, text) = config!("pcx-mlp-mnist-pc-se");
        let of = |text: &str| Released::new((name, text), (Kind::Digits, 3));
        let own = of(text).unwrap();
        assert_eq!((own.epochs, own.run.seed, own.run.data), (25, 3, Kind::Digits));
        let line = 1 + text.lines().position(|line| line.starts_with("momentum")).unwrap();
        let error = of(&text.replace("momentum = 0", "momentum = 7")).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}.toml:{line}:")), "{error}");
        let error = of("nothing = 1").unwrap_err().to_string();
        assert!(error.contains(&format!("{name}.toml:1:")), "{error}");
        let two = "[[schedule]]\nrule = \"zil\"\n[[schedule]]\nrule = \"ipc\"\n";
        assert!(of(two).unwrap_err().to_string().contains("2 runs"));
    }
}
