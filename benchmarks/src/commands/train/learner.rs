//! One run: a model, a schedule and an optimiser, advanced epoch by epoch.

use std::time::Instant;

use pc_core::host::Element;

use super::{
    dataset::{Dataset, PROBE},
    settings::RunSettings,
};
use crate::{
    contract::{
        ScheduleKind,
        details::Figures,
        train::{Batch, Inputs, Trainee},
    },
    error::CommandError,
    interrupt,
    models::{Score, Wanted},
    report::Epoch,
};

/// Samples in a batch where nothing learns.
const FORWARD_BATCH: usize = 256;

/// Beyond so many times the loss of guessing a run counts as diverged.
const RUN_AWAY: f64 = 10.0;

/// Beyond so many times the loss of guessing an energy is no measure of anything any more. Frozen
/// errors of deep nets may well be a thousand times as large.
const RUN_AWAY_ENERGY: f64 = 1e6;

/// Trains one model by one schedule, and can be saved between any two batches.
///
/// # Example
/// ```
/// use pc_bench::commands::train::{Dataset, Learner, TrainingPlan, Step, TrainArgs};
/// use pc_bench::models::ModelKind;
/// let args =
///     TrainArgs { model: Some(ModelKind::Mlp), samples: Some(64), ..TrainArgs::default() };
/// let settings = TrainingPlan::new(&args)?.runs[0].clone();
/// let data = Dataset::load(&settings, None)?;
/// let mut learner = Learner::<f32>::new(&settings, &data)?;
/// let Step::Finished(epoch) = learner.epoch(&data, &mut |_| true)? else { unreachable!() };
/// assert!(epoch.train_loss.is_finite());
/// # Ok::<(), pc_bench::error::CommandError>(())
/// ```
pub struct Learner<F: Element> {
    pub(super) settings: RunSettings,
    pub(super) trainee: Box<dyn Trainee<F>>,
    pub(super) progress: Progress,
    /// The comparison that it is part of.
    pub(super) comparison: Option<String>,
    classes: usize,
}

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The epochs that are finished.
    pub epoch: usize,
    /// The batches done of the epoch after them.
    pub batch: usize,
    /// The energies of those batches, summed.
    pub energy: f64,
    /// Their samples.
    pub samples: usize,
    /// The seconds they took.
    pub seconds: f64,
    /// The figures of the finished epochs.
    pub history: Vec<Epoch>,
}

impl Progress {
    /// The epoch whose figures stand for the run; of equally good ones the first. The best is that
    /// of the highest accuracy, or where there is none that of the lowest loss.
    pub(crate) fn reported(&self, which: Figures) -> Option<&Epoch> {
        match which {
            Figures::LastEpoch => self.history.last(),
            Figures::BestEpoch => self.history.iter().reduce(|best, next| {
                let better = match (next.test_accuracy, best.test_accuracy) {
                    (None, None) => next.test_loss < best.test_loss,
                    (next, best) => next > best,
                };
                if better { next } else { best }
            }),
        }
    }
}

/// How [`Learner::epoch`] ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// All batches are done; these are the epoch's figures.
    Finished(Epoch),
    /// The watcher said to stop; the run can be saved, and gone on with.
    Stopped,
    /// A number stopped being finite; the run is of no more use.
    Diverged(String),
}

impl<F: Element> std::fmt::Debug for Learner<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner")
            .field("settings", &self.settings)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl<F: Element> Learner<F> {
    /// A run at its beginning.
    ///
    /// # Errors
    /// A model that does not fit the data; settings that make no sense.
    pub fn new(settings: &RunSettings, data: &Dataset) -> Result<Self, CommandError> {
        let task = settings.task(data.shape, data.classes, data.per_step)?;
        let trainee = settings.backend.trainee(&task)?;
        Ok(Self {
            settings: settings.clone(),
            trainee,
            progress: Progress::default(),
            comparison: None,
            classes: data.classes,
        })
    }

    /// What learns.
    pub fn trainee(&self) -> &dyn Trainee<F> {
        self.trainee.as_ref()
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The settings.
    pub fn settings(&self) -> &RunSettings {
        &self.settings
    }

    /// Learns from one batch, and returns the energy at the end of its relaxation, summed over the
    /// batch; not finite where it diverged.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    pub fn learn(&mut self, batch: &Batch) -> Result<f64, CommandError> {
        self.trainee.learn(batch)
    }

    /// Goes to the end of the current epoch. `watch` is called with the number of batches done
    /// after each, and after the last again and again while the epoch's figures are found; it says
    /// whether to go on.
    ///
    /// # Errors
    /// Data that does not fit the model.
    pub fn epoch(
        &mut self,
        data: &Dataset,
        watch: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Step, CommandError> {
        let number = self.progress.epoch;
        let RunSettings { batch: size, seed, learning_rate, decay, .. } = self.settings;
        let weights = self.settings.details.optimiser;
        let rate =
            |batch| weights.rate([learning_rate, decay], [number, batch, data.batches(size)]);
        self.trainee.begin_epoch(number);
        self.trainee.set_learning_rate(rate(self.progress.batch)?)?;
        for batch in data.epoch(size, seed, number as u64, self.progress.batch)? {
            let batch = batch?;
            if !weights.steps_by_epoch() {
                self.trainee.set_learning_rate(rate(self.progress.batch)?)?;
            }
            let start = Instant::now();
            let energy = self.learn(&batch)?;
            self.progress.seconds += start.elapsed().as_secs_f64();
            self.progress.batch += 1;
            self.progress.energy += energy;
            self.progress.samples += batch.samples;
            if !energy.is_finite() {
                let place = format!("batch {}", self.progress.batch);
                let what = "the energy has run away, or a number is no longer finite";
                return Ok(Step::Diverged(self.diverged(&place, what)));
            }
            if !watch(self.progress.batch) {
                return Ok(Step::Stopped);
            }
        }
        let probe = data.probe(PROBE, FORWARD_BATCH, seed)?.into_iter().map(Ok);
        let Some(train) = self.score(probe, watch)? else { return Ok(Step::Stopped) };
        // Pictures that are stored are judged once.
        let test = match self.settings.details.recall {
            Some(_) => Some(train),
            None => self.score(data.test(FORWARD_BATCH)?, watch)?,
        };
        let Some(test) = test else { return Ok(Step::Stopped) };
        let energy = self.progress.energy / self.progress.samples.max(1) as f64;
        if let Some(what) = self.ran_away(data, [train, test], energy)? {
            return Ok(Step::Diverged(self.diverged("its end", &what)));
        }
        let relaxes = self.settings.schedule != ScheduleKind::Backprop;
        let labels = self.settings.details.target == Wanted::Label;
        let accuracy = |score: Score| labels.then(|| score.accuracy());
        let epoch = Epoch {
            epoch: number + 1,
            train_loss: train.mean_loss(),
            train_accuracy: accuracy(train),
            test_loss: test.mean_loss(),
            test_accuracy: accuracy(test),
            energy: relaxes.then_some(energy),
            seconds: self.progress.seconds,
        };
        let mut history = std::mem::take(&mut self.progress.history);
        history.push(epoch);
        self.progress = Progress { epoch: number + 1, history, ..Progress::default() };
        Ok(Step::Finished(epoch))
    }

    /// Goes on until so many epochs are done; `each` is told the figures of each. Says why where
    /// the run diverged.
    ///
    /// # Errors
    /// Data that does not fit the model; [`CommandError::Interrupted`] after Ctrl-C.
    pub(crate) fn through(
        &mut self,
        data: &Dataset,
        epochs: usize,
        each: &mut dyn FnMut(&Epoch),
    ) -> Result<Option<String>, CommandError> {
        while self.progress.epoch < epochs {
            match self.epoch(data, &mut |_| !interrupt::asked())? {
                Step::Finished(figures) => each(&figures),
                Step::Stopped => return Err(CommandError::Interrupted),
                Step::Diverged(why) => return Ok(Some(why)),
            }
        }
        Ok(None)
    }

    /// Why the run counts as diverged after an epoch with these scores and this energy of a sample:
    /// it may run away without ever leaving the finite numbers. Where the schedule is unbounded
    /// nothing but a loss that is not finite does.
    fn ran_away(
        &self,
        data: &Dataset,
        [train, test]: [Score; 2],
        energy: f64,
    ) -> Result<Option<String>, CommandError> {
        let [on_train, on_test] = [train, test].map(|score| score.mean_loss());
        if !(on_train.is_finite() && on_test.is_finite()) {
            return Ok(Some("the loss is no longer finite".to_owned()));
        }
        if self.settings.details.schedule.unbounded {
            return Ok(None);
        }
        let [guess, guessed_energy] = self.guessing(data, self.settings.seed)?;
        if !(on_train <= RUN_AWAY * guess) {
            let what = format!("the loss is {on_train:.4}, over {RUN_AWAY} times that of guessing");
            return Ok(Some(what));
        }
        let labels = train.count as f64 / data.train_len().clamp(1, PROBE) as f64;
        let most = RUN_AWAY_ENERGY * labels.max(1.0) * guessed_energy;
        // Levels that have learned by Z-IL may go on moving without bound, which harms nothing.
        if !(energy <= most || self.settings.schedule == ScheduleKind::Zil) {
            let what = format!("the energy is {energy:.1e} a sample, which no weights explain");
            return Ok(Some(what));
        }
        Ok(None)
    }

    /// The loss of guessing, and the energy of a sample that goes with it: each class as likely as
    /// the others, or black pictures.
    fn guessing(&self, data: &Dataset, seed: u64) -> Result<[f64; 2], CommandError> {
        if self.settings.details.target == Wanted::Label {
            return Ok([(self.classes.max(2) as f64).ln(); 2]);
        }
        let (mut squares, mut numbers, mut samples) = (0.0, 0, 0);
        for batch in data.probe(FORWARD_BATCH, FORWARD_BATCH, seed)? {
            if let Inputs::Pixels(pixels) = &batch.inputs {
                squares += pixels.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
                numbers += pixels.len();
                samples += batch.samples;
            }
        }
        Ok([squares / numbers.max(1) as f64, 0.5 * squares / samples.max(1) as f64])
    }

    fn diverged(&self, place: &str, what: &str) -> String {
        let RunSettings { schedule, rate, learning_rate, .. } = &self.settings;
        let rates = if schedule.takes_rate() {
            format!("--rate (now {rate}) or --learning-rate")
        } else {
            "--learning-rate".to_owned()
        };
        format!(
            "{schedule} diverged in epoch {}, at {place}: {what}; lower {rates} (now \
             {learning_rate})",
            self.progress.epoch + 1
        )
    }

    /// How good the model is on these batches; nothing learns. None where the watcher said to stop.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    pub(crate) fn score(
        &mut self,
        batches: impl Iterator<Item = Result<Batch, CommandError>>,
        watch: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Score>, CommandError> {
        let mut total = Score::default();
        for batch in batches {
            total += self.trainee.score(&batch?)?;
            if !watch(self.progress.batch) {
                return Ok(None);
            }
        }
        Ok(Some(total))
    }
}
