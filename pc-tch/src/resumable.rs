//! libtorch's optimisers with their state in reach, so that training can stop and go on.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use pc_core::{Error, ErrorKind, Result};
use tch::{
    Kind, Tensor,
    nn::{self, VarStore},
};

use crate::{
    sys::{
        marks::identity,
        optimizer::{self, PARTS, Raw, Settings},
    },
    tensor::reported,
};

/// One of libtorch's optimisers, whose state can be read, saved and put back.
///
/// It is what [`tch::nn::Optimizer`] is, to the same bits, with what tch hides: the running means
/// that an optimiser keeps. Without them a run that stops and goes on is another run.
/// [`ResumableConfig::build_resumable`] makes one, in place of `build`.
///
/// It knows the trainable variables that the `VarStore` has when it is made, under the store's
/// names, and one rate for all: tch does not show which group a variable is in.
///
/// # Example
/// ```
/// use pc_tch::ResumableConfig;
/// use tch::{Device, Kind, Tensor, nn::{self, Module}};
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = nn::linear(vs.root() / "a", 3, 1, Default::default());
/// let mut opt = nn::Adam::default().build_resumable(&vs, 1e-2)?;
/// let x = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
/// opt.backward_step(&net.forward(&x).square().mean(Kind::Float))?;
/// let folder = std::env::temp_dir();
/// let weights = folder.join("pc-tch-net.safetensors");
/// let state = folder.join("pc-tch-opt.safetensors");
/// vs.save(&weights).expect("the weights are saved");
/// opt.save(&state)?;
/// // Later, beside `vs.load(&weights)`:
/// opt.load(&state)?;
/// assert_eq!(opt.state()?["a.weight.step"].int64_value(&[]), 1);
/// # std::fs::remove_file(weights).ok();
/// # std::fs::remove_file(state).ok();
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ResumableOptimizer {
    raw: Raw,
    kind: Kept,
    parameters: Vec<(String, Tensor)>,
}

/// An optimiser's settings, as tch has them, from which a [`ResumableOptimizer`] is made.
pub trait ResumableConfig {
    /// The optimiser with this learning rate for the trainable variables of `vs`.
    ///
    /// # Errors
    /// Settings that libtorch refuses; a store without trainable variables; variables that share
    /// one tensor.
    fn build_resumable(self, vs: &VarStore, lr: f64) -> Result<ResumableOptimizer>;
}

/// What an optimiser keeps of a parameter, by libtorch's names.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// The optimiser's name, for messages.
    name: &'static str,
    counts: bool,
    parts: &'static [&'static str],
    /// How many of the parts there always are.
    always: usize,
}

const STEP: &str = "step";
const SGD: Kept = Kept { name: "SGD", counts: false, parts: &["momentum_buffer"], always: 1 };
const ADAM: Kept = Kept {
    name: "Adam",
    counts: true,
    parts: &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"],
    always: 2,
};
const RMS_PROP: Kept = Kept {
    name: "RMSprop",
    counts: true,
    parts: &["square_avg", "momentum_buffer", "grad_avg"],
    always: 1,
};

impl ResumableConfig for nn::Sgd {
    fn build_resumable(self, vs: &VarStore, rate: f64) -> Result<ResumableOptimizer> {
        let Self { momentum: first, dampening: second, wd: decay, nesterov } = self;
        let flag = nesterov.into();
        ResumableOptimizer::new(
            vs,
            SGD,
            Settings { kind: optimizer::SGD, flag, rate, first, second, eps: 0.0, decay },
        )
    }
}

impl ResumableConfig for nn::Adam {
    fn build_resumable(self, vs: &VarStore, rate: f64) -> Result<ResumableOptimizer> {
        let Self { beta1: first, beta2: second, wd: decay, eps, amsgrad } = self;
        let flag = amsgrad.into();
        ResumableOptimizer::new(
            vs,
            ADAM,
            Settings { kind: optimizer::ADAM, flag, rate, first, second, eps, decay },
        )
    }
}

impl ResumableConfig for nn::AdamW {
    fn build_resumable(self, vs: &VarStore, rate: f64) -> Result<ResumableOptimizer> {
        let Self { beta1: first, beta2: second, wd: decay, eps, amsgrad } = self;
        let flag = amsgrad.into();
        let kept = Kept { name: "AdamW", ..ADAM };
        ResumableOptimizer::new(
            vs,
            kept,
            Settings { kind: optimizer::ADAMW, flag, rate, first, second, eps, decay },
        )
    }
}

impl ResumableConfig for nn::RmsProp {
    fn build_resumable(self, vs: &VarStore, rate: f64) -> Result<ResumableOptimizer> {
        let Self { alpha: first, eps, wd: decay, momentum: second, centered } = self;
        let flag = centered.into();
        ResumableOptimizer::new(
            vs,
            RMS_PROP,
            Settings { kind: optimizer::RMS_PROP, flag, rate, first, second, eps, decay },
        )
    }
}

impl ResumableOptimizer {
    fn new(vs: &VarStore, kind: Kept, settings: Settings) -> Result<Self> {
        let names: HashMap<usize, String> =
            vs.variables().into_iter().map(|(name, tensor)| (identity(&tensor), name)).collect();
        let mut parameters = Vec::new();
        for tensor in vs.trainable_variables() {
            let name = names.get(&identity(&tensor)).cloned().ok_or_else(|| {
                misuse("the store has a trainable variable without a name".to_owned())
            })?;
            parameters.push((name, tensor));
        }
        if parameters.is_empty() {
            return Err(misuse("the store has no trainable variables yet".to_owned()));
        }
        let tensors: Vec<&Tensor> = parameters.iter().map(|(_, tensor)| tensor).collect();
        let raw = Raw::new(settings, &tensors)?;
        Ok(Self { raw, kind, parameters })
    }

    /// Changes the parameters by their `.grad`, as [`tch::nn::Optimizer::step`].
    ///
    /// # Errors
    /// What libtorch reports: a gradient of another shape.
    pub fn step(&mut self) -> Result<()> {
        self.raw.step()
    }

    /// Drops all gradients.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn zero_grad(&mut self) -> Result<()> {
        self.raw.zero_grad()
    }

    /// Gradients by backprop, and a step, as [`tch::nn::Optimizer::backward_step`].
    ///
    /// # Errors
    /// What libtorch reports: a loss that is no number, or needs no gradient.
    pub fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        self.zero_grad()?;
        loss.f_backward().map_err(reported)?;
        self.step()
    }

    /// Another learning rate, for all parameters.
    ///
    /// # Errors
    /// A rate that is negative or not a number.
    pub fn set_lr(&mut self, rate: f64) -> Result<()> {
        if !(rate >= 0.0 && rate.is_finite()) {
            return Err(misuse(format!("a learning rate must not be {rate}")));
        }
        self.raw.set_rate(rate)
    }

    /// The parameters that it moves, with their names in the store.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// A copy of the whole state: `NAME.step`, and libtorch's own names for the rest, such as
    /// `NAME.exp_avg`, each of its parameter's shape. A parameter that has not learned yet has no
    /// entries. Learning rates are no part of it.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for (index, (name, _)) in self.parameters.iter().enumerate() {
            let Some((step, parts)) = self.raw.state(index)? else { continue };
            if self.kind.counts {
                let step = Tensor::f_from_slice(&[step]).and_then(|step| step.f_squeeze());
                state.insert(format!("{name}.{STEP}"), step.map_err(reported)?);
            }
            for (part, tensor) in self.kind.parts.iter().zip(parts) {
                if let Some(tensor) = tensor {
                    state.insert(format!("{name}.{part}"), tensor);
                }
            }
        }
        Ok(state)
    }

    /// Puts a state back that [`ResumableOptimizer::state`] gave. All of it is checked before any
    /// of it is taken.
    ///
    /// # Errors
    /// An entry of a parameter or a part that is not there, of another shape or kind; a parameter
    /// with some of its entries; a parameter that has learned here and that the state does not
    /// know.
    pub fn set_state(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let mut found = Vec::new();
        for (index, (name, parameter)) in self.parameters.iter().enumerate() {
            match self.taken(&mut state, name, parameter)? {
                Some(one) => found.push((index, one)),
                None if self.raw.state(index)?.is_some() => {
                    return Err(misuse(format!(
                        "`{name}` has learned here and has no state in what is loaded: load it \
                         into a fresh optimiser"
                    )));
                }
                None => {}
            }
        }
        if let Some(name) = state.keys().next() {
            return Err(misuse(format!(
                "the state has an entry `{name}`, which {} does not keep for the store's variables",
                self.kind.name
            )));
        }
        for (index, (step, parts)) in found {
            self.raw.set_state(index, step, &parts)?;
        }
        Ok(())
    }

    /// Takes one parameter's entries out of a state.
    fn taken(
        &self,
        state: &mut BTreeMap<String, Tensor>,
        name: &str,
        parameter: &Tensor,
    ) -> Result<Option<(i64, [Option<Tensor>; PARTS])>> {
        let step = state.remove(&format!("{name}.{STEP}"));
        let mut parts = [const { None }; PARTS];
        for (slot, part) in parts.iter_mut().zip(self.kind.parts) {
            let Some(tensor) = state.remove(&format!("{name}.{part}")) else { continue };
            if tensor.size() != parameter.size() || tensor.kind() != parameter.kind() {
                return Err(misuse(format!(
                    "`{name}.{part}` is {:?} of {:?}, and the parameter {:?} of {:?}",
                    tensor.size(),
                    tensor.kind(),
                    parameter.size(),
                    parameter.kind()
                )));
            }
            *slot = Some(tensor.to_device(parameter.device()));
        }
        let some = step.is_some() || parts.iter().any(Option::is_some);
        let whole = step.is_some() == self.kind.counts
            && parts.iter().take(self.kind.always).all(Option::is_some);
        match (some, whole) {
            (false, _) => Ok(None),
            (true, false) => Err(misuse(format!("the state of `{name}` is not complete"))),
            (true, true) => {
                let count = match step {
                    Some(step) if step.numel() == 1 && step.kind() == Kind::Int64 => {
                        step.f_view([1]).and_then(|step| step.f_int64_value(&[0]))
                    }
                    Some(_) => {
                        return Err(misuse(format!("`{name}.{STEP}` is not one whole number")));
                    }
                    None => Ok(0),
                }
                .map_err(reported)?;
                if count < 0 {
                    return Err(misuse(format!("`{name}.{STEP}` is {count}")));
                }
                Ok(Some((count, parts)))
            }
        }
    }

    /// Writes the state to a safetensors file. Before the first step, and for SGD without momentum,
    /// it is empty.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let state: Vec<(String, Tensor)> = self.state()?.into_iter().collect();
        let path = path.as_ref();
        Tensor::write_safetensors(&state, path).map_err(|error| of_file(path, &error))
    }

    /// Reads the state back.
    ///
    /// # Errors
    /// A file that cannot be read, and as [`ResumableOptimizer::set_state`].
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let state = Tensor::read_safetensors(path).map_err(|error| of_file(path, &error))?;
        self.set_state(state.into_iter().collect())
            .map_err(|error| misuse(format!("{}: {error}", path.display())))
    }
}

fn of_file(path: &Path, error: &tch::TchError) -> Error {
    Error::new(ErrorKind::File, format!("{}: {error}", path.display()))
}

fn misuse(message: String) -> Error {
    Error::new(ErrorKind::Misuse, message)
}
