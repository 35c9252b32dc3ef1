//! The tensors of a model: found by where they lie, read, and written.

use std::collections::BTreeMap;

use dfdx::{
    nn::tensor_collection::{
        RecursiveWalker, TensorCollection, TensorOptions, TensorVisitor, ViewTensorMut,
        ViewTensorRef,
    },
    optim::UnusedTensors,
    prelude::Device,
    shapes::{HasShape, Shape},
    tensor::{Cpu, CpuError, Gradients, Storage, Tensor, UniqueId},
    tensor_ops::ReshapeTo,
};
use pc_core::{
    Error, ErrorKind, Gradients as CoreGradients, ParamId, Result, Tensor as _, host::HostTensor,
};

use crate::Scalar;

/// What dfdx reports.
pub(crate) fn reported(error: CpuError) -> Error {
    Error::new(ErrorKind::Backend, error.to_string())
}

/// dfdx's number for a tensor, by which it keeps gradients.
fn id<S: Shape, E: Scalar>(tensor: &Tensor<S, E, Cpu>) -> Option<UniqueId>
where
    Cpu: Device<E>,
{
    // Nothing else in dfdx gives it away.
    let mut seen = UnusedTensors::default();
    seen.add(tensor);
    seen.ids.pop()
}

/// Whether a tensor lies in memory in the order of its shape: dfdx then makes no copy of it.
pub(crate) fn is_contiguous<S: Shape, E: Scalar>(tensor: &Tensor<S, E, Cpu>) -> bool
where
    Cpu: Device<E>,
{
    tensor.clone().try_contiguous().is_ok_and(|lying| id(&lying) == id(tensor))
}

/// Copies a tensor's numbers.
///
/// # Errors
/// A tensor that does not lie in memory in the order of its shape.
pub(crate) fn host_numbers<S: Shape, E: Scalar>(
    tensor: &Tensor<S, E, Cpu>,
    to: &mut [E],
) -> Result<()>
where
    Cpu: Device<E>,
{
    if !is_contiguous(tensor) {
        return Err(Error::new(
            ErrorKind::Backend,
            "a permuted or broadcast tensor cannot be a parameter: `.contiguous()` mends it",
        ));
    }
    tensor.copy_into(to);
    Ok(())
}

/// A buffer of dfdx's. (Where `Cpu: Device<E>` is asked for, its type is not known to be a list.)
pub(crate) fn listed<E: Scalar>(buffer: &mut <Cpu as Storage<E>>::Vec) -> &mut [E] {
    buffer
}

/// The address of a tensor in its model, which tells apart what dfdx's numbers do not: clones.
fn address<S: Shape, E: Scalar>(tensor: &Tensor<S, E, Cpu>) -> usize
where
    Cpu: Device<E>,
{
    std::ptr::from_ref(tensor).addr()
}

/// The tensors of a model, in the order of its `TensorCollection`, while it stays where it is.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    by_address: BTreeMap<usize, usize>,
    count: usize,
}

impl Entries {
    pub(crate) fn of<M: TensorCollection<E, Cpu>, E: Scalar>(model: &M) -> Result<Self>
    where
        Cpu: Device<E>,
    {
        let mut entries = Self::default();
        see(model, &mut entries)?;
        Ok(entries)
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn position<S: Shape, E: Scalar>(&self, tensor: &Tensor<S, E, Cpu>) -> Option<usize>
    where
        Cpu: Device<E>,
    {
        self.by_address.get(&address(tensor)).copied()
    }
}

impl<E: Scalar> See<E> for Entries
where
    Cpu: Device<E>,
{
    fn see<S: Shape>(&mut self, _: usize, _: bool, tensor: &Tensor<S, E, Cpu>) -> Result<()> {
        self.by_address.insert(address(tensor), self.count);
        self.count += 1;
        Ok(())
    }
}

/// What looks at every tensor of a module.
pub(crate) trait See<E: Scalar>
where
    Cpu: Device<E>,
{
    /// Tensor number `index`, and whether optimisers move it.
    fn see<S: Shape>(&mut self, index: usize, learns: bool, t: &Tensor<S, E, Cpu>) -> Result<()>;
}

/// What writes to the tensors of a module.
pub(crate) trait Touch<E: Scalar>
where
    Cpu: Device<E>,
{
    /// Tensor number `index`, and whether optimisers move it.
    fn touch<S: Shape>(
        &mut self,
        index: usize,
        learns: bool,
        t: &mut Tensor<S, E, Cpu>,
    ) -> Result<()>;
}

struct Seeing<'a, V>(&'a mut V, usize);
struct Touching<'a, V>(&'a mut V, usize);

/// An error of ours, on its way through dfdx's visitors.
struct Passed(Error);

impl<E: Scalar, V: See<E>> TensorVisitor<E, Cpu> for Seeing<'_, V>
where
    Cpu: Device<E>,
{
    type Viewer = ViewTensorRef;
    type Err = Passed;
    type E2 = E;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, Cpu>,
        tensor: &Tensor<S, E, Cpu>,
    ) -> std::result::Result<Option<Tensor<S, E, Cpu>>, Passed> {
        self.0.see(self.1, options.do_gradient_update, tensor).map_err(Passed)?;
        self.1 += 1;
        Ok(None)
    }
}

impl<E: Scalar, V: Touch<E>> TensorVisitor<E, Cpu> for Touching<'_, V>
where
    Cpu: Device<E>,
{
    type Viewer = ViewTensorMut;
    type Err = Passed;
    type E2 = E;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, E, Cpu>,
        tensor: &mut Tensor<S, E, Cpu>,
    ) -> std::result::Result<Option<Tensor<S, E, Cpu>>, Passed> {
        self.0.touch(self.1, options.do_gradient_update, tensor).map_err(Passed)?;
        self.1 += 1;
        Ok(None)
    }
}

pub(crate) fn see<M, E: Scalar, V: See<E>>(module: &M, eyes: &mut V) -> Result<()>
where
    M: TensorCollection<E, Cpu>,
    Cpu: Device<E>,
{
    let mut seeing = Seeing(eyes, 0);
    M::iter_tensors(&mut RecursiveWalker { m: module, f: &mut seeing })
        .map(|_| ())
        .map_err(|Passed(error)| error)
}

pub(crate) fn touch<M, E: Scalar, V: Touch<E>>(module: &mut M, hand: &mut V) -> Result<()>
where
    M: TensorCollection<E, Cpu>,
    Cpu: Device<E>,
{
    let mut touching = Touching(hand, 0);
    M::iter_tensors(&mut RecursiveWalker { m: module, f: &mut touching })
        .map(|_| ())
        .map_err(|Passed(error)| error)
}

/// Which parameter of a graph each tensor of its model is.
pub(crate) type Registered = Vec<Option<ParamId>>;

/// Adds the gradients of a graph's parameters, weighed, to dfdx's.
pub(crate) struct Hand<'a, E: Scalar> {
    pub(crate) registered: &'a Registered,
    pub(crate) from: &'a CoreGradients<HostTensor<E>>,
    pub(crate) weight: f64,
    pub(crate) to: &'a mut Gradients<E, Cpu>,
}

impl<E: Scalar> See<E> for Hand<'_, E>
where
    Cpu: Device<E>,
{
    fn see<S: Shape>(
        &mut self,
        index: usize,
        learns: bool,
        tensor: &Tensor<S, E, Cpu>,
    ) -> Result<()> {
        let parameter = self.registered.get(index).copied().flatten();
        let (Some(parameter), true) = (parameter, learns) else { return Ok(()) };
        let Some(gradient) = self.from.get(parameter) else { return Ok(()) };
        let to = self.to.get_or_alloc_mut(tensor).map_err(reported)?;
        let weight = E::of(self.weight);
        // Clones of a tensor share dfdx's gradient: theirs are summed, as by `backward`.
        listed::<E>(to)
            .iter_mut()
            .zip(gradient.data())
            .for_each(|(to, from)| *to += weight * *from);
        Ok(())
    }
}

/// Copies a model's tensors into the parameters of its graph.
pub(crate) struct Refresh<'a, E: Scalar> {
    pub(crate) registered: &'a Registered,
    pub(crate) to: &'a mut [HostTensor<E>],
}

impl<E: Scalar> See<E> for Refresh<'_, E>
where
    Cpu: Device<E>,
{
    fn see<S: Shape>(&mut self, index: usize, _: bool, tensor: &Tensor<S, E, Cpu>) -> Result<()> {
        let parameter = self.registered.get(index).copied().flatten();
        let Some(to) = parameter.and_then(|parameter| self.to.get_mut(parameter.index())) else {
            return Ok(());
        };
        host_numbers(tensor, to.data_mut())?;
        if !to.is_finite() {
            return Err(Error::new(
                ErrorKind::NotFinite,
                "the optimiser has left a parameter that is not finite",
            ));
        }
        Ok(())
    }
}

/// Sets the tensors that have new numbers.
pub(crate) struct Set<'a, E>(pub(crate) &'a BTreeMap<usize, Vec<E>>);

impl<E: Scalar> Touch<E> for Set<'_, E>
where
    Cpu: Device<E>,
{
    fn touch<S: Shape>(
        &mut self,
        index: usize,
        _: bool,
        tensor: &mut Tensor<S, E, Cpu>,
    ) -> Result<()> {
        if let Some(numbers) = self.0.get(&index) {
            if numbers.len() != tensor.shape().num_elements() || !is_contiguous(tensor) {
                return Err(Error::new(
                    ErrorKind::Shape,
                    format!("{} numbers for a tensor of another size", numbers.len()),
                ));
            }
            tensor.copy_from(numbers);
        }
        Ok(())
    }
}

/// Reads parameters, or their gradients.
struct Gather<'a, E: Scalar> {
    gradients: Option<&'a mut Gradients<E, Cpu>>,
    found: Vec<HostTensor<E>>,
}

impl<E: Scalar> See<E> for Gather<'_, E>
where
    Cpu: Device<E>,
{
    fn see<S: Shape>(&mut self, _: usize, learns: bool, tensor: &Tensor<S, E, Cpu>) -> Result<()> {
        if !learns {
            return Ok(());
        }
        let mut found = HostTensor::zeroed(&crate::value::dimensions(tensor.shape()))?;
        match &mut self.gradients {
            Some(gradients) => {
                let gradient = gradients.get_or_alloc_mut(tensor).map_err(reported)?;
                found.data_mut().copy_from_slice(listed::<E>(gradient));
            }
            None => host_numbers(tensor, found.data_mut())?,
        }
        self.found.push(found);
        Ok(())
    }
}

/// The parameters of a model that optimisers move, in the order of its `TensorCollection`.
///
/// # Errors
/// One that is permuted or broadcast.
///
/// # Example
/// ```
/// use dfdx::{nn::builders::*, prelude::*};
/// use pc_dfdx::{parameters_of, set_parameters};
/// let device = Cpu::default();
/// let from = device.build_module::<Linear<3, 2>, f32>();
/// let mut to = device.build_module::<Linear<3, 2>, f32>();
/// set_parameters(&mut to, &parameters_of(&from)?)?;
/// assert_eq!(to.weight.array(), from.weight.array());
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn parameters_of<M: TensorCollection<E, Cpu>, E: Scalar>(
    model: &M,
) -> Result<Vec<HostTensor<E>>>
where
    Cpu: Device<E>,
{
    let mut gather = Gather { gradients: None, found: Vec::new() };
    see(model, &mut gather)?;
    Ok(gather.found)
}

/// The gradients of the same parameters; zeros where there are none.
///
/// # Errors
/// What dfdx reports.
pub fn gradients_of<M: TensorCollection<E, Cpu>, E: Scalar>(
    model: &M,
    gradients: &mut Gradients<E, Cpu>,
) -> Result<Vec<HostTensor<E>>>
where
    Cpu: Device<E>,
{
    let mut gather = Gather { gradients: Some(gradients), found: Vec::new() };
    see(model, &mut gather)?;
    Ok(gather.found)
}

/// Sets the same parameters, in the same order.
///
/// # Errors
/// Another number of parameters; one of another shape.
pub fn set_parameters<M: TensorCollection<E, Cpu>, E: Scalar>(
    model: &mut M,
    values: &[HostTensor<E>],
) -> Result<()>
where
    Cpu: Device<E>,
{
    let own = parameters_of(model)?;
    let shapes = |all: &[HostTensor<E>]| all.iter().map(HostTensor::shape).collect::<Vec<_>>();
    if shapes(&own) != shapes(values) {
        return Err(Error::new(
            ErrorKind::Shape,
            format!("parameters {:?} for a model with {:?}", shapes(values), shapes(&own)),
        ));
    }
    struct Put<'a, E>(std::slice::Iter<'a, HostTensor<E>>);
    impl<E: Scalar> Touch<E> for Put<'_, E>
    where
        Cpu: Device<E>,
    {
        fn touch<S: Shape>(
            &mut self,
            _: usize,
            learns: bool,
            tensor: &mut Tensor<S, E, Cpu>,
        ) -> Result<()> {
            if let Some(value) = learns.then(|| self.0.next()).flatten() {
                tensor.copy_from(value.data());
            }
            Ok(())
        }
    }
    touch(model, &mut Put(values.iter()))
}
