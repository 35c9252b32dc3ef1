//! What can be read as vertices.

use dfdx::{
    nn::{Module, tensor_collection::TensorCollection},
    prelude::Device,
    shapes::Shape,
    tensor::{Cpu, Tensor, ZerosTensor},
};
use pc_core::Result;

use crate::{Reader, Scalar, Value, taped::Traced};

/// A module, or a combination of modules, that can be read as vertices of a graph.
///
/// dfdx's own are: see the [table](crate#what-can-be-read). A module of one's own is one vertex by
/// one line ([`OneVertex`]), or several by an implementation of this trait (see [`Reader`]).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read as vertices, for an input `{Input}` in `{E}`",
    label = "pc-dfdx cannot read this part of the model here",
    note = "the first axis of an input is the batch, in the precision and the width that the \
            module takes",
    note = "a module of your own with `TensorCollection` and `Module` becomes one vertex by \
            `impl pc_dfdx::OneVertex for YourModule {{}}`"
)]
pub trait Vertices<Input, E: Scalar> {
    /// What comes out: a [`Value`], or a tuple of them.
    type Output;

    /// Adds what the module is to the graph, and hands on what it makes of the input.
    ///
    /// # Errors
    /// Parameters that are not finite; dimensions known only at run time that do not fit.
    fn read(&self, input: Input, reader: &mut Reader<'_, E>) -> Result<Self::Output>;
}

/// A module of one's own, with a `TensorCollection` and a `Module`, that is one vertex: it is run
/// and pulled back by dfdx's own tape. See [`Reader::taped`] for what that means.
///
/// # Example
/// ```
/// use dfdx::{nn::modules::Linear, prelude::*};
/// use pc_core::Schedule;
/// use pc_dfdx::{LossReduction, OneVertex, PredictiveCoding};
///
/// #[derive(Clone, Debug)]
/// struct Gate<E: Dtype, D: Device<E>> { linear: Linear<3, 3, E, D> }
///
/// impl<D: Device<f32>> TensorCollection<f32, D> for Gate<f32, D> {
///     type To<E2: Dtype, D2: Device<E2>> = Gate<E2, D2>;
///     fn iter_tensors<V: ModuleVisitor<Self, f32, D>>(
///         visitor: &mut V,
///     ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
///         visitor.visit_fields(
///             Self::module("linear", |s| &s.linear, |s| &mut s.linear),
///             |linear| Gate { linear },
///         )
///     }
/// }
///
/// impl<B: Dim, T: Tape<f32, Cpu>> Module<Tensor<(B, Const<3>), f32, Cpu, T>> for Gate<f32, Cpu> {
///     type Output = Tensor<(B, Const<3>), f32, Cpu, T>;
///     type Error = CpuError;
///     fn try_forward(
///         &self,
///         x: Tensor<(B, Const<3>), f32, Cpu, T>,
///     ) -> Result<Self::Output, CpuError> {
///         self.linear.try_forward(x.with_empty_tape())?.try_sigmoid()?.try_mul(x)
///     }
/// }
///
/// impl OneVertex for Gate<f32, Cpu> {}
///
/// let device = Cpu::default();
/// let linear = device.build_module::<dfdx::nn::builders::Linear<3, 3>, f32>();
/// let mut model = Gate { linear };
/// let x: Tensor<Rank2<5, 3>, f32, Cpu> = device.sample_normal();
/// let y: Tensor<Rank2<5, 3>, f32, Cpu> = device.zeros();
/// let mut pc = PredictiveCoding::new(Schedule::backprop(), LossReduction::Mean);
/// let learned = pc.learn(&mut model, x, move |found| mse_loss(found, y.clone()))?;
/// assert!(learned.gradients.get(&model.linear.weight).array() != [[0.0; 3]; 3]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait OneVertex {}

impl<M, S, T, E> Vertices<Value<S, E>, E> for M
where
    M: OneVertex + TensorCollection<E, Cpu> + Clone + Send + Sync + 'static,
    M: Module<Traced<S, E>, Output = Traced<T, E>>,
    M: Module<Tensor<S, E, Cpu>, Output = Tensor<T, E, Cpu>>,
    S: Shape,
    T: Shape,
    E: Scalar,
    Cpu: Device<E>,
{
    type Output = Value<T, E>;

    fn read(&self, input: Value<S, E>, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
        // The type leaves room for dimensions that are known only at run time, so the module says
        // what it makes of zeros.
        let shape = crate::taped::guarded("the module", || {
            let zeros = reader.device.try_zeros_like(&input.shape);
            let made = self.try_forward(zeros.map_err(crate::parameters::reported)?);
            let made = made.map_err(|error| {
                pc_core::Error::new(pc_core::ErrorKind::Backend, format!("{error:?}"))
            })?;
            Ok(*dfdx::shapes::HasShape::shape(&made))
        })?;
        reader.taped("module", self, input, shape, |module, x| {
            module.try_forward(x).map_err(|error| format!("{error:?}"))
        })
    }
}
