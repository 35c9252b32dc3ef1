//! The models of [`crate::models`] as tch programs, with the same parameters, and marks where the
//! host's graphs have their vertices.

use std::collections::BTreeMap;

use ::tch::{
    Device, Kind, TchError, Tensor,
    nn::{Path, VarStore},
};
use pc_core::{
    Clamp, Clamps, VertexId,
    host::{Element, HostTensor},
};
use pc_tch::named_vertex;

use crate::{
    error::CommandError,
    models::{Model, ModelKind},
};

/// What libtorch refuses.
pub(super) fn failed(error: TchError) -> CommandError {
    CommandError::input(format!("libtorch: {error}"))
}

type Answer<T = Tensor> = Result<T, TchError>;

/// A model with its parameters.
#[derive(Debug)]
pub(super) struct TchNet {
    pub(super) store: VarStore,
    /// In the host's order.
    pub(super) parameters: Vec<(String, Tensor)>,
    by_name: BTreeMap<String, Tensor>,
    kind: ModelKind,
    /// What the layers' sizes do not say.
    pool_first: bool,
    per_step: bool,
    pub(super) tensors: Kind,
}

pub(super) fn kind_of<F: Element>() -> Kind {
    if size_of::<F>() == 4 { Kind::Float } else { Kind::Double }
}

/// The same numbers.
pub(super) fn from_host<F: Element>(tensor: &HostTensor<F>) -> Result<Tensor, CommandError> {
    let numbers: Vec<f64> = tensor.data().iter().map(|x| x.value()).collect();
    let sizes: Vec<i64> = tensor.dims().iter().map(|size| *size as i64).collect();
    Tensor::f_from_slice(&numbers)
        .and_then(|flat| flat.f_reshape(sizes)?.f_to_kind(kind_of::<F>()))
        .map_err(failed)
}

/// All numbers, in row-major order.
pub(super) fn numbers(tensor: &Tensor) -> Result<Vec<f64>, CommandError> {
    let flat = tensor
        .f_detach()
        .and_then(|x| x.f_to_kind(Kind::Double)?.f_reshape([-1]))
        .map_err(failed)?;
    Vec::try_from(flat).map_err(failed)
}

/// The same numbers.
pub(super) fn to_host<F: Element>(tensor: &Tensor) -> Result<HostTensor<F>, CommandError> {
    let dims: Vec<usize> = tensor.size().into_iter().map(|size| size as usize).collect();
    Ok(HostTensor::new(&dims, numbers(tensor)?.into_iter().map(F::of).collect())?)
}

/// What the clamps hold the model's inputs at, in order; zeros come after.
pub(super) fn inputs<F: Element>(
    model: &Model<F>,
    clamps: &Clamps<HostTensor<F>>,
) -> Result<Vec<Tensor>, CommandError> {
    let held = |vertex: &VertexId| match clamps.get(*vertex) {
        Some(Clamp::Held(value)) => from_host(value),
        _ => Err(CommandError::input("an input is not held")),
    };
    model.inputs.iter().chain(&model.zeros).map(held).collect()
}

impl TchNet {
    pub(super) fn new<F: Element>(model: &Model<F>) -> Result<Self, CommandError> {
        let mut store = VarStore::new(Device::Cpu);
        store.set_kind(kind_of::<F>());
        let mut parameters = Vec::new();
        for (name, value) in model.graph.named_parameters() {
            let mut parts: Vec<&str> = name.split('.').collect();
            let last = parts.pop().unwrap_or(name);
            let path: Path<'_> = parts.into_iter().fold(store.root(), |path, part| path / part);
            parameters.push((
                name.to_owned(),
                path.f_var_copy(last, &from_host(value)?).map_err(failed)?,
            ));
        }
        let by_name = parameters
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shallow_clone()))
            .collect();
        let side = model.shape.picture().map_or(0, |[_, height, width]| height.min(width));
        let per_step = model.labels_per_sample() > 1;
        Ok(Self {
            store,
            parameters,
            by_name,
            kind: model.kind,
            pool_first: side >= 16,
            per_step,
            tensors: kind_of::<F>(),
        })
    }

    fn parameter(&self, name: &str) -> Answer<&Tensor> {
        self.by_name.get(name).ok_or_else(|| {
            TchError::TensorNameNotFound(name.to_owned(), self.kind.name().to_owned())
        })
    }

    fn dense(&self, name: &str, x: &Tensor) -> Answer {
        x.f_linear(
            self.parameter(&format!("{name}.weight"))?,
            Some(self.parameter(&format!("{name}.bias"))?),
        )
    }

    fn conv(&self, name: &str, x: &Tensor, padding: i64) -> Answer {
        let (weight, bias) =
            (self.parameter(&format!("{name}.weight"))?, self.parameter(&format!("{name}.bias"))?);
        x.f_conv2d(weight, Some(bias), [1, 1], [padding, padding], [1, 1], 1)
    }

    /// The logits of every output.
    pub(super) fn outputs(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, CommandError> {
        let one = |output: Answer| output.map(|output| vec![output]);
        let outputs = match self.kind {
            ModelKind::Mlp => one(self.mlp(&inputs[0])),
            ModelKind::Cnn => one(self.cnn(&inputs[0])),
            ModelKind::Residual => one(self.residual(&inputs[0])),
            ModelKind::Attention => one(self.attention(&inputs[0])),
            ModelKind::Rnn | ModelKind::Lstm => self.recurrent(inputs),
        };
        outputs.map_err(failed)
    }

    /// The last layer is called `head` where `train` builds the model, `dense3` where `speed` does.
    fn head(&self, x: &Tensor) -> Answer {
        let last = if self.by_name.contains_key("head.weight") { "head" } else { "dense3" };
        self.dense(last, x).map(|logits| named_vertex("head", &logits))
    }

    /// A dense layer with a relu, which is one vertex.
    fn hidden(&self, name: &str, x: &Tensor) -> Answer {
        self.dense(name, x)?.f_relu().map(|x| named_vertex(name, &x))
    }

    fn mlp(&self, x: &Tensor) -> Answer {
        self.head(&self.hidden("dense2", &self.hidden("dense1", x)?)?)
    }

    fn cnn(&self, x: &Tensor) -> Answer {
        let h = self.conv("conv1", x, if self.pool_first { 2 } else { 1 })?.f_relu()?;
        let h = named_vertex("conv1", &if self.pool_first { halved(&h)? } else { h });
        let h = self.conv("conv2", &h, if self.pool_first { 0 } else { 1 })?.f_relu()?;
        let h = named_vertex("conv2", &halved(&h)?).f_flatten(1, -1)?;
        self.head(&self.hidden("dense2", &self.hidden("dense1", &h)?)?)
    }

    fn residual(&self, x: &Tensor) -> Answer {
        let pictures = x.dim() == 4;
        let layer = |name: &str, x: &Tensor| {
            if pictures { self.conv(name, x, 1) } else { self.dense(name, x) }
        };
        let mut h = layer("stem", x)?.f_relu()?;
        if pictures && self.pool_first {
            h = halved(&h)?;
        }
        h = named_vertex("stem", &h);
        for block in 1..=2 {
            let f = layer(&format!("block{block}.f"), &h)?.f_relu()?;
            let g = layer(&format!("block{block}.g"), &named_vertex("f", &f))?;
            let sum = named_vertex("sum", &h.f_add(&named_vertex("g", &g))?);
            h = named_vertex("relu", &sum.f_relu()?);
        }
        if pictures {
            if h.size()[2].min(h.size()[3]) >= 2 {
                h = h.f_avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None::<i64>)?;
                h = named_vertex("pool", &h);
            }
            h = h.f_flatten(1, -1)?;
        }
        self.head(&h)
    }

    fn gate(&self, name: &str, x: &Tensor, h: &Tensor) -> Answer {
        let of = |part: &str| self.parameter(&format!("{name}.{part}"));
        x.f_linear(of("input_weight")?, Some(of("bias")?))?
            .f_add(&h.f_linear(of("hidden_weight")?, None::<Tensor>)?)
    }

    fn recurrent(&self, inputs: &[Tensor]) -> Answer<Vec<Tensor>> {
        let lstm = self.kind == ModelKind::Lstm;
        let (steps, zeros) = inputs.split_at(inputs.len() - if lstm { 2 } else { 1 });
        let mut h = zeros[0].shallow_clone();
        let mut c = zeros.get(1).map(Tensor::shallow_clone).unwrap_or_default();
        let mut outputs = Vec::new();
        for (step, x) in steps.iter().enumerate() {
            if lstm {
                let sigmoid = |name: &str| {
                    let gate = self.gate(&format!("lstm.{name}"), x, &h)?.f_sigmoid()?;
                    Ok::<_, TchError>(named_vertex(name, &gate))
                };
                let (input, forget) = (sigmoid("input")?, sigmoid("forget")?);
                let candidate = self.gate("lstm.candidate", x, &h)?.f_tanh()?;
                let candidate = named_vertex("candidate", &candidate);
                let output = sigmoid("output")?;
                c = named_vertex("cell", &forget.f_mul(&c)?.f_add(&input.f_mul(&candidate)?)?);
                h = named_vertex("hidden", &output.f_mul(&c.f_tanh()?)?);
            } else {
                h = named_vertex("h", &self.gate("rnn", x, &h)?.f_tanh()?);
            }
            if self.per_step || step + 1 == steps.len() {
                outputs.push(self.head(&h)?);
            }
        }
        Ok(outputs)
    }

    fn norm(&self, name: &str, x: &Tensor) -> Answer {
        let (scale, shift) =
            (self.parameter(&format!("{name}.gain"))?, self.parameter(&format!("{name}.bias"))?);
        x.f_layer_norm([*x.size().last().unwrap_or(&1)], Some(scale), Some(shift), 1e-5, false)
            .map(|x| named_vertex(name, &x))
    }

    fn attention(&self, x: &Tensor) -> Answer {
        const HEADS: i64 = 2;
        let embedded = named_vertex("embed", &self.dense("embed", x)?);
        let placed =
            named_vertex("positions", &embedded.f_add(self.parameter("positions.weight")?)?);
        let (batch, length, width) = placed.size3()?;
        let part = width / HEADS;
        let project = |name: &str| {
            self.dense(&format!("attention.{name}"), &placed)?
                .f_view([batch, length, HEADS, part])?
                .f_transpose(1, 2)
                .map(|x| named_vertex(name, &x))
        };
        let scores = project("queries")?
            .f_matmul(&project("keys")?.f_transpose(-2, -1)?)?
            .f_div_scalar((part as f64).sqrt())?;
        let scores = named_vertex("scores", &scores);
        let scores = if self.per_step {
            let future = Tensor::f_ones([length, length], (Kind::Bool, Device::Cpu))?.f_triu(1)?;
            scores.f_masked_fill(&future, f64::NEG_INFINITY)?
        } else {
            scores
        };
        let weights = named_vertex("weights", &scores.f_softmax(-1, self.tensors)?);
        let mix = weights.f_matmul(&project("values")?)?;
        let mix = named_vertex("mix", &mix.f_transpose(1, 2)?.f_reshape([batch, length, width])?);
        let output = named_vertex("output", &self.dense("attention.output", &mix)?);
        let normed = self.norm("norm1", &named_vertex("skip1", &placed.f_add(&output)?))?;
        let narrow = self.dense("narrow", &self.hidden("wide", &normed)?)?;
        let skip = normed.f_add(&named_vertex("narrow", &narrow))?;
        let normed = self.norm("norm2", &named_vertex("skip2", &skip))?;
        if self.per_step { self.head(&normed) } else { self.head(&normed.f_flatten(1, -1)?) }
    }

    /// Every parameter's gradient, taken out; zeros where there is none.
    pub(super) fn take_gradients(&self) -> Result<Vec<Vec<f64>>, CommandError> {
        let take = |(_, parameter): &(String, Tensor)| {
            let mut gradient = parameter.f_grad().map_err(failed)?;
            if !gradient.defined() {
                return Ok(vec![0.0; parameter.numel()]);
            }
            let taken = numbers(&gradient)?;
            let _ = gradient.f_zero_().map_err(failed)?;
            Ok(taken)
        };
        self.parameters.iter().map(take).collect()
    }
}

/// Pooled by the largest of 2x2.
fn halved(x: &Tensor) -> Answer {
    x.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
}

/// Logits of all outputs as `[rows, classes]`, a row for each label: sample by sample.
pub(super) fn rows(outputs: &[Tensor], classes: i64) -> Result<Tensor, CommandError> {
    match outputs {
        [one] => one.f_reshape([-1, classes]),
        several => Tensor::f_stack(several, 1).and_then(|steps| steps.f_reshape([-1, classes])),
    }
    .map_err(failed)
}
