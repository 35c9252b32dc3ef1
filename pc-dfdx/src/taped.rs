//! A vertex that any dfdx module predicts, pulled back by dfdx's own tape.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use dfdx::{
    nn::tensor_collection::TensorCollection,
    prelude::{Backward, Device},
    shapes::{HasShape, Rank0, Shape},
    tensor::{Cpu, Gradients, OwnedTape, RandomU64, Tensor, TensorFromVec, Trace},
    tensor_ops::{ReshapeTo, SumTo, TryMul},
};
use pc_core::{
    Error, ErrorKind, ParamId, Result, Tensor as _,
    backend::{Cache, Inputs, Pulled, Vertex},
    host::HostTensor,
};

use crate::{
    Reader, Scalar, Value,
    parameters::{See, Set, host_numbers, listed, reported, see, touch},
    value::of_sample,
};

/// A traced tensor.
pub(crate) type Traced<S, E> = Tensor<S, E, Cpu, OwnedTape<E, Cpu>>;

/// What a module's tensors that no optimiser moves hold after the first prediction of a step, by
/// where they are in the model.
#[derive(Clone, Debug)]
pub(crate) struct Buffers<E> {
    /// By tensor of the module, its place in the model.
    places: Vec<usize>,
    found: Arc<Mutex<Option<Vec<Vec<E>>>>>,
}

impl<E: Scalar> Buffers<E> {
    /// Adds the numbers to `all`, by place in the model.
    pub(crate) fn gather(&self, all: &mut BTreeMap<usize, Vec<E>>) {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = &*found {
            all.extend(self.places.iter().copied().zip(found.iter().cloned()));
        }
    }
}

/// How a module runs.
type Run<M, S, T, E> = fn(&mut M, Traced<S, E>) -> std::result::Result<Traced<T, E>, String>;

struct Taped<M, S: Shape, T: Shape, E: Scalar> {
    kind: String,
    module: M,
    run: Run<M, S, T, E>,
    shape: S,
    result: T,
    /// By tensor of the module: which of the vertex's parameters it is.
    uses: Vec<Option<usize>>,
    parameters: usize,
    buffers: Arc<Mutex<Option<Vec<Vec<E>>>>>,
    /// Of the random numbers that the module draws: the same at every evaluation of one step.
    seed: u64,
}

/// Runs what may panic in dfdx.
pub(crate) fn guarded<R>(what: &str, work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        Err(Error::new(ErrorKind::Shape, format!("{what} panicked: {said}")))
    })
}

/// The shape with another number of samples.
///
/// # Errors
/// One that its type fixes.
fn with_batch<S: Shape>(shape: &S, batch: usize) -> Result<S> {
    let mut concrete = shape.concrete();
    concrete[0] = batch;
    S::from_concrete(&concrete).ok_or_else(|| {
        Error::new(
            ErrorKind::Shape,
            format!("its type is for a batch shaped {shape:?}, and this one has {batch} samples"),
        )
    })
}

/// A dfdx tensor of these numbers.
pub(crate) fn tensor<S: Shape, E: Scalar>(
    device: &Cpu,
    numbers: &[E],
    shape: S,
) -> Result<Tensor<S, E, Cpu>>
where
    Cpu: Device<E>,
{
    device.try_tensor_from_vec(numbers.to_vec(), shape).map_err(reported)
}

/// Lists a module's tensors: those that an optimiser moves become parameters.
struct Register<'r, 'a, E: Scalar> {
    reader: &'r mut Reader<'a, E>,
    uses: Vec<Option<usize>>,
    parameters: Vec<ParamId>,
    places: Vec<usize>,
}

impl<E: Scalar> See<E> for Register<'_, '_, E>
where
    Cpu: Device<E>,
{
    fn see<S: Shape>(&mut self, index: usize, learns: bool, t: &Tensor<S, E, Cpu>) -> Result<()> {
        if learns {
            self.uses.push(Some(self.parameters.len()));
            self.parameters.push(self.reader.parameter(&format!("p{index}"), t)?);
        } else {
            self.uses.push(None);
            self.places.push(self.reader.place(&format!("p{index}"), t)?);
        }
        Ok(())
    }
}

/// Takes out what the tensors that no optimiser moves hold.
struct TakeBuffers<E>(Vec<Vec<E>>);

impl<E: Scalar> See<E> for TakeBuffers<E>
where
    Cpu: Device<E>,
{
    fn see<S: Shape>(&mut self, _: usize, learns: bool, t: &Tensor<S, E, Cpu>) -> Result<()> {
        if !learns {
            let mut numbers = vec![E::zero(); t.shape().num_elements()];
            host_numbers(t, &mut numbers)?;
            self.0.push(numbers);
        }
        Ok(())
    }
}

/// Takes the gradients of a module's tensors out of dfdx's.
struct TakeGradients<'a, 'p, E: Scalar> {
    uses: &'a [Option<usize>],
    from: &'a mut Gradients<E, Cpu>,
    pulled: &'a mut Pulled<'p, HostTensor<E>>,
}

impl<E: Scalar> See<E> for TakeGradients<'_, '_, E>
where
    Cpu: Device<E>,
{
    fn see<S: Shape>(&mut self, index: usize, _: bool, t: &Tensor<S, E, Cpu>) -> Result<()> {
        let Some(k) = self.uses.get(index).copied().flatten() else { return Ok(()) };
        let scale = E::of(self.pulled.scale());
        let Some(to) = self.pulled.gradient(k) else { return Ok(()) };
        let from = self.from.get_or_alloc_mut(t).map_err(reported)?;
        to.data_mut().iter_mut().zip(listed::<E>(from)).for_each(|(to, from)| *to += scale * *from);
        Ok(())
    }
}

impl<M, S: Shape, T: Shape, E: Scalar> Taped<M, S, T, E>
where
    M: TensorCollection<E, Cpu> + Clone,
    Cpu: Device<E>,
{
    /// The module at the graph's parameters.
    fn filled(&self, at: &Inputs<'_, HostTensor<E>>) -> Result<M> {
        let mut module = self.module.clone();
        let numbers = self
            .uses
            .iter()
            .enumerate()
            .filter_map(|(index, k)| k.map(|k| (index, at.parameter(k).data().to_vec())));
        touch(&mut module, &mut Set(&numbers.collect()))?;
        Ok(module)
    }

    /// The input, as a leaf, and the prediction with its tape.
    fn trace(
        &self,
        at: &Inputs<'_, HostTensor<E>>,
        module: &mut M,
    ) -> Result<(Tensor<S, E, Cpu>, Traced<T, E>)> {
        let batch = at.value(0).batch();
        let (shape, result) = (with_batch(&self.shape, batch)?, with_batch(&self.result, batch)?);
        let device = Cpu::seed_from_u64(self.seed);
        let x = tensor(&device, at.value(0).data(), shape)?;
        let y = (self.run)(module, x.leaky_trace())
            .map_err(|error| Error::new(ErrorKind::Backend, error))?;
        if y.shape() != &result {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("it makes {:?}, where {result:?} was expected", y.shape()),
            ));
        }
        Ok((x, y))
    }
}

impl<M, S: Shape, T: Shape, E: Scalar> Vertex<HostTensor<E>> for Taped<M, S, T, E>
where
    M: TensorCollection<E, Cpu> + Clone,
    Cpu: Device<E>,
{
    fn kind(&self) -> &str {
        &self.kind
    }

    fn shape(&self, parents: &[&[usize]], _: &[&[usize]]) -> Result<Vec<usize>> {
        let wanted = of_sample(&self.shape);
        if parents != [wanted.as_slice()] {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("it takes one parent of {wanted:?}, not {parents:?}"),
            ));
        }
        Ok(of_sample(&self.result))
    }

    fn parameters(&self) -> usize {
        self.parameters
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<E>>,
        _cache: &mut Cache<HostTensor<E>>,
        output: &mut HostTensor<E>,
    ) -> Result<()> {
        guarded(&self.kind, || {
            let mut module = self.filled(at)?;
            let (_, y) = self.trace(at, &mut module)?;
            let y = y.try_contiguous().map_err(reported)?;
            y.copy_into(output.data_mut());
            // Running statistics move once in a step.
            let mut found = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
            if found.is_none() {
                let mut take = TakeBuffers(Vec::new());
                see(&module, &mut take)?;
                *found = Some(take.0);
            }
            Ok(())
        })
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<E>>,
        _cache: &mut Cache<HostTensor<E>>,
        cotangent: &HostTensor<E>,
        pulled: &mut Pulled<'_, HostTensor<E>>,
    ) -> Result<()> {
        guarded(&self.kind, || {
            let mut module = self.filled(at)?;
            let (x, y) = self.trace(at, &mut module)?;
            let device = Cpu::default();
            let seed = tensor(&device, cotangent.data(), *y.shape())?;
            // The gradient of sum(mu u) is J^T u.
            let sum = y.try_mul(seed).map_err(reported)?;
            let sum = sum.try_sum::<Rank0, T::AllAxes>().map_err(reported)?;
            let mut gradients = sum.try_backward().map_err(reported)?;
            if let Some(force) = pulled.force(0) {
                let found = gradients.get_or_alloc_mut(&x).map_err(reported)?;
                force.data_mut().copy_from_slice(listed::<E>(found));
            }
            if pulled.wants_gradients() {
                let mut take = TakeGradients { uses: &self.uses, from: &mut gradients, pulled };
                see(&module, &mut take)?;
            }
            Ok(())
        })
    }
}

impl<E: Scalar> Reader<'_, E>
where
    Cpu: Device<E>,
{
    /// The place of a tensor in the model.
    fn place<S: Shape>(&self, name: &str, tensor: &Tensor<S, E, Cpu>) -> Result<usize> {
        self.entries().position(tensor).ok_or_else(|| {
            Error::new(
                ErrorKind::Graph,
                format!("the tensor `{}` is no part of the model", self.name_of(name)),
            )
        })
    }

    /// Any dfdx module as one prediction, run and pulled back by dfdx's own tape: `run` computes it
    /// from its input. With parameters it begins a vertex; without, it joins the one that it
    /// follows.
    ///
    /// The module is run at every evaluation and again at every pull, since a tape can be pulled
    /// once. Its random numbers are the same at all evaluations of one step of training, and what
    /// its running statistics come to at the first is put into the model. In live relaxation in
    /// `f32` the change of its prediction is found by subtraction, which loses digits.
    ///
    /// dfdx 0.13's softmax, log-softmax and logsumexp give wrong gradients on a permuted tensor: in
    /// `run`, call `.contiguous()` first.
    ///
    /// # Errors
    /// As [`Reader::parameter`] and [`Reader::close`].
    pub fn taped<M, S: Shape, T: Shape>(
        &mut self,
        kind: &str,
        module: &M,
        value: Value<S, E>,
        shape: T,
        run: fn(&mut M, Traced<S, E>) -> std::result::Result<Traced<T, E>, String>,
    ) -> Result<Value<T, E>>
    where
        M: TensorCollection<E, Cpu> + Clone + Send + Sync + 'static,
    {
        let seed = self.device.random_u64();
        self.taped_by(kind, module, value, shape, run, seed)
    }

    /// As [`Reader::taped`], for a module that draws nothing: dfdx's random numbers stay where they
    /// are.
    pub(crate) fn taped_by<M, S: Shape, T: Shape>(
        &mut self,
        kind: &str,
        module: &M,
        value: Value<S, E>,
        shape: T,
        run: Run<M, S, T, E>,
        seed: u64,
    ) -> Result<Value<T, E>>
    where
        M: TensorCollection<E, Cpu> + Clone + Send + Sync + 'static,
    {
        let mut register =
            Register { reader: self, uses: Vec::new(), parameters: Vec::new(), places: Vec::new() };
        see(module, &mut register)?;
        let Register { uses, parameters, places, .. } = register;
        let buffers = Arc::new(Mutex::new(None));
        if !places.is_empty() {
            self.buffers.push(Buffers { places, found: Arc::clone(&buffers) });
        }
        let vertex = Box::new(Taped {
            kind: kind.to_owned(),
            module: module.clone(),
            run,
            shape: value.shape,
            result: shape,
            uses,
            parameters: parameters.len(),
            buffers,
            seed,
        });
        if parameters.is_empty() {
            self.follow(value, vertex, shape)
        } else {
            self.layer(value, vertex, &parameters, shape)
        }
    }
}
