//! Attention that sees no place after its own, which dfdx 0.13 does not have.

use dfdx::{
    nn::{
        modules::MultiHeadAttention,
        tensor_collection::{ModuleVisitor, TensorCollection},
    },
    prelude::{BuildOnDevice, Device, Module, NonMutableModule},
    shapes::{Axes2, Axes4, Axis, Const, Dim, Dtype, HasShape},
    tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, Tensor, TensorFromVec},
    tensor_ops::{BroadcastTo, PermuteTo, ReshapeTo, TryAdd, TryMatMul, TryMul},
};
use pc_core::Result;

use super::attention::attend_to_itself;
use crate::{Reader, Scalar, Value, Vertices};

/// dfdx's attention, causal: no place of a sequence sees those after it.
///
/// # Example
/// ```
/// use dfdx::{nn::builders::*, prelude::*};
/// use pc_dfdx::Causal;
/// let device = Cpu::default();
/// let model = device.build_module::<Causal<MultiHeadAttention<4, 2>>, f64>();
/// let x: Tensor<Rank3<1, 3, 4>, f64, _> = device.sample_normal();
/// let mut other = x.clone();
/// let mut numbers = x.as_vec();
/// numbers[8..].fill(0.0); // The last place.
/// other.copy_from(&numbers);
/// let (one, two) = (model.forward(x).array(), model.forward(other).array());
/// assert_eq!(one[0][..2], two[0][..2]);
/// assert_ne!(one[0][2], two[0][2]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Causal<A>(pub A);

impl<A: BuildOnDevice<D, E>, D: Device<E>, E: Dtype> BuildOnDevice<D, E> for Causal<A> {
    type Built = Causal<A::Built>;
}

impl<A: TensorCollection<E, D>, D: Device<E>, E: Dtype> TensorCollection<E, D> for Causal<A> {
    type To<E2: Dtype, D2: Device<E2>> = Causal<A::To<E2, D2>>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(Self::module("0", |s| &s.0, |s| &mut s.0), Causal)
    }
}

impl<A> NonMutableModule for Causal<A> {}

/// A sequence, batch first.
type Sequence<B, S, const M: usize, E, T> = Tensor<(B, S, Const<M>), E, Cpu, T>;

/// `[batch, heads, steps, width of a head]`.
type Heads<E, T> = Tensor<(usize, usize, usize, usize), E, Cpu, T>;

/// Shares a result out to the heads. What comes out lies in order, as dfdx's softmax needs it.
fn share_out<B: Dim, S: Dim, const K: usize, E: Scalar, T: Tape<E, Cpu>>(
    x: Sequence<B, S, K, E, T>,
    heads: usize,
) -> Result<Heads<E, T>, CpuError>
where
    Cpu: Device<E>,
{
    let (batch, steps, _) = *HasShape::shape(&x);
    let x = x.try_reshape_like(&(batch.size(), steps.size(), heads, K / heads))?;
    let x: Heads<E, T> = x.try_permute::<_, Axes4<0, 2, 1, 3>>()?;
    x.try_contiguous()
}

impl<B, S, const M: usize, const H: usize, const K: usize, const V: usize, E, T>
    Module<Sequence<B, S, M, E, T>> for Causal<MultiHeadAttention<M, H, K, V, E, Cpu>>
where
    B: Dim,
    S: Dim,
    E: Scalar,
    T: Tape<E, Cpu>,
    Cpu: Device<E>,
{
    type Output = Sequence<B, S, M, E, T>;
    type Error = CpuError;

    fn try_forward(&self, x: Sequence<B, S, M, E, T>) -> Result<Self::Output, CpuError> {
        if H == 0 || !K.is_multiple_of(H) || !V.is_multiple_of(H) {
            return Err(CpuError::WrongNumElements);
        }
        let (batch, length, _) = *HasShape::shape(&x);
        let steps = length.size();
        let device = x.device().clone();
        let (x, tape) = x.split_tape();
        let v = share_out(self.0.w_v.try_forward(x.retaped::<T>())?, H)?;
        let k = share_out(self.0.w_k.try_forward(x.retaped::<T>())?, H)?;
        let q = share_out(self.0.w_q.try_forward(x.put_tape(tape))?, H)?;
        let k: Heads<E, T> = k.try_permute::<_, Axes4<0, 1, 3, 2>>()?;
        let scale = E::of(1.0 / ((K / H) as f64).sqrt());
        let scores: Heads<E, T> = q.try_matmul(k)?.try_mul(scale)?;
        // So far below that its exponential is zero.
        let far = |index: usize| if index % steps > index / steps { -1e30 } else { 0.0 };
        let mask: Vec<E> = (0..steps * steps).map(|index| E::of(far(index))).collect();
        let mask: Tensor<(usize, usize), E, Cpu> =
            device.try_tensor_from_vec(mask, (steps, steps))?;
        let mask = mask.try_broadcast_like::<_, Axes2<0, 1>>(&(batch.size(), H, steps, steps))?;
        let weights = scores.try_add(mask)?.try_softmax::<Axis<3>>()?;
        let mix: Heads<E, T> = weights.try_matmul(v)?.try_permute::<_, Axes4<0, 2, 1, 3>>()?;
        self.0.w_o.try_forward(mix.try_reshape_like(&(batch, length, Const::<V>))?)
    }
}

impl<B, S, const M: usize, const H: usize, const K: usize, const V: usize, E>
    Vertices<Value<(B, S, Const<M>), E>, E> for Causal<MultiHeadAttention<M, H, K, V, E, Cpu>>
where
    B: Dim,
    S: Dim,
    E: Scalar,
    Cpu: Device<E>,
{
    type Output = Value<(B, S, Const<M>), E>;

    fn read(
        &self,
        input: Value<(B, S, Const<M>), E>,
        reader: &mut Reader<'_, E>,
    ) -> Result<Self::Output> {
        reader.within("0", |reader| attend_to_itself(&self.0, input, true, reader))
    }
}
