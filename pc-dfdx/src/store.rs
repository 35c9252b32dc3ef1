//! From a graph back into the model that was read.

use dfdx::{
    nn::tensor_collection::TensorCollection,
    prelude::Device,
    shapes::{HasShape, Shape},
    tensor::{Cpu, Tensor},
};
use pc_core::{Error, ErrorKind, Graph, ParamId, Result, Tensor as _, host::HostTensor};

use crate::{
    Reading, Scalar,
    parameters::{Registered, See, Touch, is_contiguous, see, touch},
    value::dimensions,
};

impl<E: Scalar> Reading<E> {
    /// Puts the numbers of the graph, which another graph has handed over or an optimiser of its
    /// own has moved, into the model that was read or another of its type: the way back of
    /// [`Reading::refresh`]. All of them, or none. What the graph does not use stays as it is, and
    /// so do running statistics.
    ///
    /// # Errors
    /// A model of another type; a tensor of another shape, or one that does not lie in memory in
    /// the order of its shape; a number that is not finite.
    ///
    /// # Example
    /// ```
    /// use dfdx::{nn::builders::*, prelude::*};
    /// use pc_core::{Graph, HandOver, host::{Activation, HostLayers, HostTensor, Init}};
    /// // Trained on the host, used in dfdx.
    /// let mut b = Graph::<HostTensor<f32>>::builder();
    /// let x = b.input("x", &[3])?;
    /// b.dense("y", x, 2, Activation::Tanh, &mut Init::new(1))?;
    /// let host = b.build()?;
    ///
    /// let device = Cpu::default();
    /// let mut model = device.build_module::<(Linear<3, 2>, Tanh), f32>();
    /// let x: Tensor<Rank2<1, 3>, f32, Cpu> = device.zeros();
    /// let mut read = pc_dfdx::read(&model, x, Default::default())?;
    /// read.graph.copy_parameters_renamed(&host, |name| name.replace("0.", "y."))?;
    /// read.store(&mut model)?;
    /// assert_eq!(model.0.weight.as_vec(), host.parameters()[0].data());
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn store<M: TensorCollection<E, Cpu>>(&self, model: &mut M) -> Result<()>
    where
        Cpu: Device<E>,
    {
        let mut fits = Fits { registered: &self.registered, from: &self.graph, count: 0 };
        see(&*model, &mut fits)?;
        if fits.count != self.registered.len() {
            let why = format!(
                "a model with {} tensors, where that which was read has {}",
                fits.count,
                self.registered.len()
            );
            return Err(Error::new(ErrorKind::Graph, why));
        }
        let from = self.graph.parameters();
        touch(model, &mut Store { registered: &self.registered, from })
    }
}

/// Looks whether the parameters of a graph fit into the tensors of a model.
struct Fits<'a, E: Scalar> {
    registered: &'a Registered,
    from: &'a Graph<HostTensor<E>>,
    /// The tensors seen.
    count: usize,
}

impl<E: Scalar> See<E> for Fits<'_, E>
where
    Cpu: Device<E>,
{
    fn see<S: Shape>(&mut self, index: usize, _: bool, tensor: &Tensor<S, E, Cpu>) -> Result<()> {
        self.count += 1;
        let parameter = self.registered.get(index).copied().flatten();
        let Some(at) = parameter.map(ParamId::index) else { return Ok(()) };
        let names = self.from.topology().parameter_names();
        let Some((name, held)) = names.get(at).zip(self.from.parameters().get(at)) else {
            return Err(Error::new(ErrorKind::Graph, "the graph is another than was read"));
        };
        let fault = |kind, why: String| Err(Error::new(kind, why).at(name));
        let own = dimensions(tensor.shape());
        if own != held.dims() {
            let why = format!("its shape is {:?}, the model's {own:?}", held.dims());
            return fault(ErrorKind::Shape, why);
        }
        if !is_contiguous(tensor) {
            let why = "a permuted or broadcast tensor of the model cannot take numbers: \
                       `.contiguous()` mends it";
            return fault(ErrorKind::Backend, why.to_owned());
        }
        if !held.is_finite() {
            return fault(ErrorKind::NotFinite, "a number of it is not finite".to_owned());
        }
        Ok(())
    }
}

/// Copies the parameters of a graph, which fit, into the tensors of a model.
struct Store<'a, E: Scalar> {
    registered: &'a Registered,
    from: &'a [HostTensor<E>],
}

impl<E: Scalar> Touch<E> for Store<'_, E>
where
    Cpu: Device<E>,
{
    fn touch<S: Shape>(
        &mut self,
        index: usize,
        _: bool,
        tensor: &mut Tensor<S, E, Cpu>,
    ) -> Result<()> {
        let parameter = self.registered.get(index).copied().flatten();
        if let Some(from) = parameter.and_then(|parameter| self.from.get(parameter.index())) {
            tensor.copy_from(from.data());
        }
        Ok(())
    }
}
