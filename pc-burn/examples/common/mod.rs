//! What the two programs on digits share: the data, the options, the devices, and a dashboard of
//! one line per epoch.

mod devices;

use std::{collections::BTreeMap, error::Error, path::PathBuf};

use burn::{
    data::{dataloader::batcher::Batcher, dataset::InMemDataset},
    lr_scheduler::{
        exponential::ExponentialLrSchedulerConfig, module_lr_scheduler::ModuleLrScheduler,
    },
    tensor::{Device, Int, Tensor, TensorData},
    train::{
        ExecutionStrategy, MultiDeviceOptim,
        logger::{EvaluationProgressLogger, TrainingProgressLogger},
        metric::{MetricDefinition, MetricId},
        renderer::{
            EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
            MetricsRendererTraining,
        },
    },
};
use pc_core::Schedule;
use smartcore::dataset::digits;

/// The side of a picture.
pub(crate) const SIDE: usize = 8;

/// One picture of a handwritten digit, and which it is.
#[derive(Clone, Debug)]
pub(crate) struct Digit {
    pixels: Vec<f32>,
    label: i64,
}

/// Pictures shaped `[batch, 1, 8, 8]`.
#[derive(Clone, Debug)]
pub(crate) struct DigitBatch {
    pub(crate) images: Tensor<4>,
    pub(crate) targets: Tensor<1, Int>,
}

/// Puts digits on top of one another.
#[derive(Clone, Debug)]
pub(crate) struct DigitBatcher;

impl Batcher<Digit, DigitBatch> for DigitBatcher {
    fn batch(&self, items: Vec<Digit>, device: &Device) -> DigitBatch {
        let count = items.len();
        let labels: Vec<i64> = items.iter().map(|digit| digit.label).collect();
        let pixels: Vec<f32> = items.into_iter().flat_map(|digit| digit.pixels).collect();
        DigitBatch {
            images: Tensor::from_data(TensorData::new(pixels, [count, 1, SIDE, SIDE]), device),
            targets: Tensor::from_data(TensorData::new(labels, [count]), device),
        }
    }
}

/// The 1,797 digits of the UCI set (Alpaydin and Kaynak, 1998) that come with `smartcore`: four
/// fifths to train on, and one held out.
pub(crate) fn load_digits() -> (InMemDataset<Digit>, InMemDataset<Digit>) {
    let source = digits::load_dataset();
    let mut all: Vec<Digit> = source
        .data
        .chunks(source.num_features)
        .zip(&source.target)
        .map(|(pixels, &label)| Digit {
            pixels: pixels.iter().map(|x| x / 16.0).collect(),
            label: i64::from(label as u8),
        })
        .collect();
    // One fixed split: Fisher and Yates, with a linear congruential generator.
    let mut state = 1_u64;
    for last in (1..all.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.swap(last, (state >> 33) as usize % (last + 1));
    }
    let test = all.split_off(all.len() * 4 / 5);
    (InMemDataset::new(all), InMemDataset::new(test))
}

/// What can be said on the command line: `--epochs 8 --schedule standard`, and so on.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) epochs: usize,
    pub(crate) batch: usize,
    pub(crate) learning_rate: f64,
    /// What the learning rate is multiplied by after each update.
    pub(crate) decay: f64,
    pub(crate) dropout: f64,
    pub(crate) seed: u64,
    pub(crate) schedule: String,
    pub(crate) rate: f64,
    pub(crate) steps: usize,
    pub(crate) directory: PathBuf,
    pub(crate) quiet: bool,
    /// Where it trains: several devices share every batch.
    pub(crate) devices: Vec<String>,
}

impl Options {
    /// # Errors
    /// An option that is not known, or a value that is no number where one is wanted.
    pub(crate) fn parse(
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            epochs: 12,
            batch: 32,
            learning_rate: 2e-3,
            decay: 0.997,
            dropout: 0.1,
            seed: 0,
            schedule: "standard".to_owned(),
            rate: 0.1,
            steps: 20,
            directory: std::env::temp_dir().join("pc-burn-digits"),
            quiet: false,
            devices: Vec::new(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            if name == "--quiet" {
                options.quiet = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
            match name.as_str() {
                "--epochs" => options.epochs = value.parse()?,
                "--batch" => options.batch = value.parse()?,
                "--learning-rate" => options.learning_rate = value.parse()?,
                "--decay" => options.decay = value.parse()?,
                "--dropout" => options.dropout = value.parse()?,
                "--seed" => options.seed = value.parse()?,
                "--schedule" => options.schedule = value,
                "--rate" => options.rate = value.parse()?,
                "--steps" => options.steps = value.parse()?,
                "--directory" => options.directory = value.into(),
                "--device" => options.devices.push(value),
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(options)
    }

    fn opened(&self) -> Result<Vec<Device>, Box<dyn Error>> {
        // Not an argument: those can be seen by everyone on the machine.
        let token = std::env::var("PC_TOKEN").ok();
        let open = |name: &str| devices::open(name, token.as_deref());
        match self.devices.as_slice() {
            [] => Ok(vec![open("flex")?]),
            named => named.iter().map(|name| open(name)).collect(),
        }
    }

    /// The device that has the model: the first that was named.
    ///
    /// # Errors
    /// A device that this program was not built for, or a server that does not let us in.
    pub(crate) fn device(&self) -> Result<Device, Box<dyn Error>> {
        self.opened()?.into_iter().next().ok_or_else(|| "no device".into())
    }

    /// One device, or several by Burn's own strategy, which adds the gradients of their batches.
    ///
    /// # Errors
    /// As [`Options::device`].
    pub(crate) fn strategy(&self) -> Result<ExecutionStrategy, Box<dyn Error>> {
        let mut devices = self.opened()?;
        Ok(match devices.len() {
            1 => ExecutionStrategy::single(devices.remove(0)),
            _ => ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimMainDevice),
        })
    }

    /// A falling learning rate.
    ///
    /// # Errors
    /// A rate or decay that is not above 0 and at most 1.
    pub(crate) fn learning_rates(&self) -> Result<ModuleLrScheduler, Box<dyn Error>> {
        Ok(ExponentialLrSchedulerConfig::new(self.learning_rate, self.decay).init()?)
    }

    /// The schedule of predictive coding that was asked for.
    #[allow(dead_code)]
    pub(crate) fn schedule(&self) -> Result<Schedule, Box<dyn Error>> {
        Ok(match self.schedule.as_str() {
            "standard" => Schedule::standard(self.rate, self.steps)?,
            "fixed-prediction" => Schedule::fixed_prediction(self.rate, self.steps)?,
            "zil" => Schedule::zil(),
            "epc" => Schedule::epc(self.rate, self.steps)?,
            other => {
                return Err(format!(
                    "unknown schedule {other}: standard, fixed-prediction, zil or epc"
                )
                .into());
            }
        })
    }
}

/// A dashboard for logs: every metric's value at the end of an epoch, on one line.
pub(crate) struct Lines {
    quiet: bool,
    names: BTreeMap<String, String>,
    values: BTreeMap<String, String>,
}

impl Lines {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { quiet, names: BTreeMap::new(), values: BTreeMap::new() }
    }

    fn update(&mut self, split: &str, state: MetricState) {
        let (MetricState::Generic(entry) | MetricState::Numeric(entry, _)) = state;
        // Burn writes "epoch 0.98 - batch 1.00": of the epoch so far, and of the last batch.
        let text = entry.serialized_entry.formatted;
        let value =
            text.split(" - ").next().unwrap_or(&text).trim_start_matches("epoch ").to_owned();
        let name = self.names.get(&key(&entry.metric_id)).cloned().unwrap_or_default();
        self.values.insert(format!("{split} {name}"), value);
    }
}

fn key(id: &MetricId) -> String {
    format!("{id:?}")
}

impl MetricsRendererTraining for Lines {
    fn update_train(&mut self, state: MetricState) {
        self.update("train", state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.update("valid", state);
    }
}

impl MetricsRendererEvaluation for Lines {
    fn update_test(&mut self, _: EvaluationName, state: MetricState) {
        self.update("test", state);
    }
}

impl TrainingProgressLogger for Lines {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}

    fn update_epoch(&mut self, epoch: usize) {
        if !self.quiet {
            let values: Vec<String> =
                self.values.iter().map(|(name, value)| format!("{name} {value}")).collect();
            println!("epoch {epoch:>2}  {}", values.join("  "));
        }
    }

    fn start_split(&mut self, _: &str, _: usize) {}

    fn update_split(&mut self, _: usize) {}

    fn end_split(&mut self) {}

    fn end(&mut self) {}

    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for Lines {
    fn start_global_progress(&mut self, _: usize) {}

    fn start_test(&mut self, _: &str, _: usize) {}

    fn update_test_progress(&mut self, _: usize) {}

    fn end_test(&mut self) {}

    fn end_global_progress(&mut self) {}

    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRenderer for Lines {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names.insert(key(&definition.metric_id), definition.name.to_string());
    }
}
