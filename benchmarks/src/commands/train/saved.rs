//! A run as a checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use pc_core::host::{Element, HostTensor};
use serde_json::json;

use super::{
    comparison::COMPARISON,
    learner::{Learner, Progress},
    settings::{RunSettings, entry},
};
use crate::{
    checkpoint::Checkpoint, contract::OptimiserState, error::CommandError, output::warn,
    report::Epoch,
};

/// What the names of the optimiser's tensors begin with.
const OPTIMISER: &str = "optimiser.";

/// The entry that says how many threads computed.
const THREADS: &str = "threads";

impl<F: Element> Learner<F> {
    /// Everything that a later run needs to come to the same bits.
    ///
    /// Parameters have their own names, the optimiser's tensors `optimiser.PARAMETER.WHAT`. The
    /// metadata has the settings, the place in the data (`epoch` finished epochs and `step` batches
    /// of the next) and the figures so far.
    ///
    /// # Errors
    /// What the backend reports.
    pub fn checkpoint(&self) -> Result<Checkpoint<F>, CommandError> {
        let Progress { epoch, batch, energy, samples, seconds, history } = &self.progress;
        let mut tensors: BTreeMap<_, _> = self.trainee.parameters()?.into_iter().collect();
        let OptimiserState { tensors: state, counts } = self.trainee.optimiser()?;
        tensors
            .extend(state.into_iter().map(|(name, tensor)| (format!("{OPTIMISER}{name}"), tensor)));
        let mut metadata = self.settings.to_metadata();
        if let Some(comparison) = &self.comparison {
            metadata.insert(COMPARISON.into(), comparison.clone());
        }
        metadata.insert(THREADS.into(), rayon::current_num_threads().to_string());
        metadata.insert("epoch".into(), epoch.to_string());
        metadata.insert("step".into(), batch.to_string());
        metadata.insert("counts".into(), json!(counts).to_string());
        // Words that are read back to the same bits, which JSON's numbers need not be.
        metadata.insert("current".into(), format!("{energy} {samples} {seconds}"));
        metadata.insert("figures".into(), history.iter().map(words).collect::<Vec<_>>().join("\n"));
        Ok(Checkpoint { metadata, tensors })
    }

    /// Puts the run where a checkpoint left it.
    ///
    /// # Errors
    /// A checkpoint of other settings or of another architecture; one that is not complete.
    pub fn restore(&mut self, path: &Path, saved: Checkpoint<F>) -> Result<(), CommandError> {
        let wrong = |what: String| CommandError::input(format!("{}: {what}", path.display()));
        let Checkpoint { metadata, tensors } = saved;
        if RunSettings::from_metadata(path, &metadata)? != self.settings {
            return Err(wrong("the checkpoint is of a run with other settings".to_owned()));
        }
        // A run that diverged is not saved, so these come from elsewhere.
        let nan = |tensor: &HostTensor<F>| tensor.data().iter().any(|x| x.is_nan());
        if let Some((name, _)) = tensors.iter().find(|(_, tensor)| nan(tensor)) {
            return Err(wrong(format!("`{name}` holds a NaN, from which nothing is learned")));
        }
        let counts: BTreeMap<String, i32> =
            serde_json::from_str(&entry::<String>(path, &metadata, "counts")?)
                .map_err(|error| wrong(format!("its step counts: {error}")))?;
        let (state, mut tensors): (BTreeMap<_, _>, BTreeMap<_, _>) =
            tensors.into_iter().partition(|(name, _)| name.starts_with(OPTIMISER));
        let state = state
            .into_iter()
            .map(|(name, tensor)| (name[OPTIMISER.len()..].to_owned(), tensor))
            .collect();
        self.trainee.set_optimiser(OptimiserState { tensors: state, counts }).map_err(wrong)?;
        for (name, _) in self.trainee.parameters()? {
            let tensor = tensors
                .remove(&name)
                .ok_or_else(|| wrong(format!("the checkpoint has no parameter `{name}`")))?;
            self.trainee.set_parameter(&name, tensor).map_err(|error| wrong(error.to_string()))?;
        }
        if let Some(name) = tensors.keys().next() {
            return Err(wrong(format!(
                "the checkpoint has a tensor `{name}`, which this model has not"
            )));
        }
        let current: String = entry(path, &metadata, "current")?;
        let figures: String = entry(path, &metadata, "figures")?;
        let history: Option<Vec<Epoch>> = figures.lines().map(epoch).collect();
        let (Some([energy, samples, seconds]), Some(history)) = (numbers(&current), history) else {
            return Err(wrong("the checkpoint's figures cannot be read".to_owned()));
        };
        self.comparison = metadata.get(COMPARISON).cloned();
        self.progress = Progress {
            epoch: entry(path, &metadata, "epoch")?,
            batch: entry(path, &metadata, "step")?,
            energy,
            samples: samples as usize,
            seconds,
            history,
        };
        let now = rayon::current_num_threads();
        match entry::<usize>(path, &metadata, THREADS)? {
            before if before != now => warn(&format!(
                "{} was made with --threads {before}, and {now} compute now: the last \
                 bits of some models depend on it",
                path.display()
            )),
            _ => {}
        }
        Ok(())
    }

    /// Saves the run to `path`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), CommandError> {
        self.checkpoint()?.write(path)
    }

    /// Reads what [`Learner::save`] wrote.
    ///
    /// # Errors
    /// As [`Checkpoint::read`] and [`Learner::restore`].
    pub fn resume(&mut self, path: &Path) -> Result<(), CommandError> {
        self.restore(path, Checkpoint::read(path)?)
    }
}

/// The figures of one epoch in words; NaN for none.
fn words(epoch: &Epoch) -> String {
    let Epoch { epoch, train_loss, train_accuracy, test_loss, test_accuracy, energy, seconds } =
        epoch;
    let [train_accuracy, test_accuracy, energy] =
        [train_accuracy, test_accuracy, energy].map(|figure| figure.unwrap_or(f64::NAN));
    format!("{epoch} {train_loss} {train_accuracy} {test_loss} {test_accuracy} {energy} {seconds}")
}

fn epoch(words: &str) -> Option<Epoch> {
    let [epoch, train_loss, train_accuracy, test_loss, test_accuracy, energy, seconds] =
        numbers(words)?;
    let [train_accuracy, test_accuracy, energy] = [train_accuracy, test_accuracy, energy]
        .map(|figure| Some(figure).filter(|figure| !figure.is_nan()));
    Some(Epoch {
        epoch: epoch as usize,
        train_loss,
        train_accuracy,
        test_loss,
        test_accuracy,
        energy,
        seconds,
    })
}

fn numbers<const N: usize>(words: &str) -> Option<[f64; N]> {
    let numbers: Option<Vec<f64>> =
        words.split_whitespace().map(|word| word.parse().ok()).collect();
    numbers?.try_into().ok()
}
