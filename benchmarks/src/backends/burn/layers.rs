//! Burn's layers from the host's parameters, and the way back.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    nn::{
        LayerNorm, LayerNormConfig, Linear, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    optim::GradientsParams,
    tensor::{DType, Device, Tensor, TensorData},
};
use pc_burn::BurnTensor;
use pc_core::{
    Error, ErrorKind, Result,
    host::{Element, HostTensor},
};

use crate::{contract::Precision, models::Model};

/// The name that Burn's visitors give the fields of a `Linear`.
const LINEAR: &str = "Struct:Linear";

fn values<F: Element>(host: &HostTensor<F>) -> Vec<f64> {
    host.data().iter().map(|x| x.value()).collect()
}

fn dtype<F: Element>() -> DType {
    match Precision::of::<F>() {
        Precision::F32 => DType::F32,
        Precision::F64 => DType::F64,
    }
}

/// A tensor of an explicit graph, in the precision of `F`.
pub(super) fn burn_tensor<F: Element>(host: HostTensor<F>) -> Result<BurnTensor> {
    BurnTensor::from_values(host.dims(), &values(&host), &Device::flex(), dtype::<F>())
}

/// The numbers of a tensor, in the precision of `F`.
pub(super) fn tensor<F: Element, const D: usize>(
    host: &HostTensor<F>,
    device: &Device,
) -> Result<Tensor<D>> {
    if host.dims().len() != D {
        return Err(Error::new(
            ErrorKind::Shape,
            format!("a tensor of {D} axes is needed, not one shaped {:?}", host.dims()),
        ));
    }
    let (values, dtype) = (values(host), dtype::<F>());
    Ok(Tensor::from_data(
        TensorData::new(values, host.dims().to_vec()).convert_dtype(dtype),
        (device, dtype),
    ))
}

/// The numbers of a tensor, in row-major order.
pub(super) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Makes layers of a host model's parameters.
pub(super) struct Layers<'a, F> {
    parameters: BTreeMap<&'a str, &'a HostTensor<F>>,
    device: &'a Device,
}

impl<'a, F: Element> Layers<'a, F> {
    pub(super) fn of(model: &'a Model<F>, device: &'a Device) -> Self {
        Self { parameters: model.graph.named_parameters().collect(), device }
    }

    /// A host parameter.
    pub(super) fn host(&self, name: &str) -> Result<&'a HostTensor<F>> {
        self.parameters.get(name).copied().ok_or_else(|| {
            Error::new(ErrorKind::Graph, format!("the model has no parameter `{name}`"))
        })
    }

    /// A parameter in the host's layout.
    pub(super) fn parameter<const D: usize>(&self, name: &str) -> Result<Param<Tensor<D>>> {
        Ok(Param::from_tensor(tensor(self.host(name)?, self.device)?))
    }

    /// `x W^T + b`, with perhaps a bias.
    pub(super) fn linear_of(&self, weight: &str, bias: Option<&str>) -> Result<Linear> {
        let weight = tensor::<F, 2>(self.host(weight)?, self.device)?.transpose();
        let bias = bias.map(|bias| self.parameter(bias)).transpose()?;
        Ok(Linear { weight: Param::from_tensor(weight), bias })
    }

    /// That of `name.weight` and `name.bias`.
    pub(super) fn linear(&self, name: &str) -> Result<Linear> {
        self.linear_of(&format!("{name}.weight"), Some(&format!("{name}.bias")))
    }

    /// A convolution of stride 1.
    pub(super) fn conv(&self, name: &str, padding: usize) -> Result<Conv2d> {
        let weight = format!("{name}.weight");
        let &[outputs, inputs, height, width] = self.host(&weight)?.dims() else {
            return Err(Error::new(ErrorKind::Shape, format!("`{weight}` is no kernel")));
        };
        let config = Conv2dConfig::new([inputs, outputs], [height, width]);
        let mut conv = config
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .init(self.device);
        conv.weight = self.parameter(&weight)?;
        conv.bias = Some(self.parameter(&format!("{name}.bias"))?);
        Ok(conv)
    }

    /// Normalisation over the last axis.
    pub(super) fn norm(&self, name: &str) -> Result<LayerNorm> {
        let gain = format!("{name}.gain");
        let mut norm = LayerNormConfig::new(self.host(&gain)?.data().len()).init(self.device);
        norm.gamma = self.parameter(&gain)?;
        norm.beta = Some(self.parameter(&format!("{name}.bias"))?);
        Ok(norm)
    }
}

/// Whether a parameter lies the other way round than on the host: the weights of linear layers do.
fn turned(rank: usize, container: Option<&String>) -> bool {
    rank == 2 && container.is_some_and(|container| container == LINEAR)
}

/// In the host's layout.
fn in_host_layout<const D: usize>(tensor: Tensor<D>, container: Option<&String>) -> Tensor<D> {
    if turned(D, container) { tensor.transpose() } else { tensor }
}

/// What there is for each parameter in turn, which is the host's order too.
struct Gather<'a> {
    containers: Vec<String>,
    gradients: Option<&'a GradientsParams>,
    found: Vec<(Vec<usize>, Vec<f64>)>,
}

impl ModuleVisitor for Gather<'_> {
    fn enter_module(&mut self, _: &str, container: &str) {
        self.containers.push(container.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.containers.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let tensor = match self.gradients {
            None => value.inner(),
            Some(gradients) => {
                gradients.get::<D>(param.id).unwrap_or_else(|| value.inner().zeros_like())
            }
        };
        let tensor = in_host_layout(tensor, self.containers.last());
        self.found.push((tensor.dims().to_vec(), numbers(tensor)));
    }
}

/// Shapes and numbers of all parameters, or of their gradients.
pub(super) fn gather<M: Module>(
    module: &M,
    gradients: Option<&GradientsParams>,
) -> Vec<(Vec<usize>, Vec<f64>)> {
    let mut gather = Gather { containers: Vec::new(), gradients, found: Vec::new() };
    module.visit(&mut gather);
    gather.found
}

/// A module's parameters.
pub(super) fn parameters<F: Element, M: Module>(module: &M) -> Result<Vec<HostTensor<F>>> {
    gather(module, None)
        .into_iter()
        .map(|(shape, values)| HostTensor::new(&shape, values.into_iter().map(F::of).collect()))
        .collect()
}

/// A module's gradients; zeros where there are none.
pub(super) fn gradients<M: Module>(module: &M, gradients: &GradientsParams) -> Vec<Vec<f64>> {
    gather(module, Some(gradients)).into_iter().map(|(_, values)| values).collect()
}

/// One of a module's parameters: its identity in Burn, and how its numbers lie.
pub(super) struct Slot {
    id: ParamId,
    /// In the host's layout.
    shape: Vec<usize>,
    turned: bool,
}

impl Slot {
    /// Burn's number for the parameter.
    pub(super) fn id(&self) -> u64 {
        self.id.val()
    }

    /// Its shape in the host's layout.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Burn's numbers, of the parameter or of something shaped like it, in the host's layout.
    pub(super) fn to_host<F: Element>(&self, data: TensorData) -> Result<HostTensor<F>> {
        let values: Vec<f64> = if self.turned {
            let dtype = data.dtype();
            numbers(Tensor::<2>::from_data(data, (&Device::flex(), dtype)).transpose())
        } else {
            data.iter().collect()
        };
        HostTensor::new(&self.shape, values.into_iter().map(F::of).collect())
    }

    /// The way back.
    pub(super) fn to_burn<F: Element>(&self, host: &HostTensor<F>) -> Result<TensorData> {
        if self.turned {
            return Ok(tensor::<F, 2>(host, &Device::flex())?.transpose().into_data());
        }
        Ok(TensorData::new(values(host), host.dims().to_vec()).convert_dtype(dtype::<F>()))
    }
}

/// A module's parameters, in the order of [`gather`].
pub(super) fn slots<M: Module>(module: &M) -> Vec<Slot> {
    #[derive(Default)]
    struct Slots {
        containers: Vec<String>,
        found: Vec<Slot>,
    }
    impl ModuleVisitor for Slots {
        fn enter_module(&mut self, _: &str, container: &str) {
            self.containers.push(container.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.containers.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let turned = turned(D, self.containers.last());
            let mut shape = param.val().dims().to_vec();
            if turned {
                shape.reverse();
            }
            self.found.push(Slot { id: param.id, shape, turned });
        }
    }
    let mut slots = Slots::default();
    module.visit(&mut slots);
    slots.found
}

/// Puts a host tensor into the place of one parameter.
struct Put<'a, F: Element> {
    containers: Vec<String>,
    at: usize,
    index: usize,
    value: &'a HostTensor<F>,
    problem: Option<Error>,
}

impl<F: Element> ModuleMapper for Put<'_, F> {
    fn enter_module(&mut self, _: &str, container: &str) {
        self.containers.push(container.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.containers.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let own = self.at == self.index;
        self.at += 1;
        if !own {
            return param;
        }
        let held = param.val();
        let made = tensor::<F, D>(self.value, &held.device())
            .map(|value| in_host_layout(value, self.containers.last()));
        match made {
            Ok(value) if value.dims() == held.dims() => param.map(|_| value.require_grad()),
            Ok(value) => {
                self.problem = Some(Error::new(
                    ErrorKind::Shape,
                    format!("its shape is {:?}, not {:?}", value.dims(), held.dims()),
                ));
                param
            }
            Err(error) => {
                self.problem = Some(error);
                param
            }
        }
    }
}

/// The module with another value of parameter number `index`.
pub(super) fn with_parameter<F: Element, M: Module>(
    module: M,
    index: usize,
    value: &HostTensor<F>,
) -> (M, Result<()>) {
    let mut put = Put { containers: Vec::new(), at: 0, index, value, problem: None };
    let module = module.map(&mut put);
    (module, put.problem.map_or(Ok(()), Err))
}
