//! Burn's operations on [`BurnTensor`]s, for the vertices: each makes a new tensor. Shapes have
//! been checked before.

use burn::{
    backend::{
        Dispatch, DispatchTensor, TensorMetadata,
        ops::{FloatTensorOps, ModuleOps},
    },
    tensor::{IntDType, Shape, Slice},
};
use pc_core::Tensor;

use crate::BurnTensor;

impl BurnTensor {
    pub(crate) fn raw(&self) -> DispatchTensor {
        self.as_dispatch().clone()
    }

    /// Replaces the contents by what an operation made.
    pub(crate) fn set(&mut self, tensor: BurnTensor) {
        *self = tensor;
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self::wrap(Dispatch::float_add(self.raw(), other.raw()))
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        Self::wrap(Dispatch::float_sub(self.raw(), other.raw()))
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        Self::wrap(Dispatch::float_mul(self.raw(), other.raw()))
    }

    pub(crate) fn over(&self, other: &Self) -> Self {
        Self::wrap(Dispatch::float_div(self.raw(), other.raw()))
    }

    pub(crate) fn scaled(&self, factor: f64) -> Self {
        Self::wrap(Dispatch::float_mul_scalar(self.raw(), factor.into()))
    }

    pub(crate) fn shifted(&self, by: f64) -> Self {
        Self::wrap(Dispatch::float_add_scalar(self.raw(), by.into()))
    }

    pub(crate) fn negative(&self) -> Self {
        Self::wrap(Dispatch::float_neg(self.raw()))
    }

    pub(crate) fn absolute(&self) -> Self {
        Self::wrap(Dispatch::float_abs(self.raw()))
    }

    pub(crate) fn exponential(&self) -> Self {
        Self::wrap(Dispatch::float_exp(self.raw()))
    }

    pub(crate) fn root(&self) -> Self {
        Self::wrap(Dispatch::float_sqrt(self.raw()))
    }

    /// `other` where `self > bound`, and `self` elsewhere, a NaN too: see [`BurnTensor::choose`].
    pub(crate) fn above(&self, bound: f64) -> DispatchTensor {
        // A device says how it stores truth: what it does not store, its kernels cannot write.
        let stored = self.device().settings().bool_dtype;
        Dispatch::float_greater_elem(self.raw(), bound.into(), stored)
    }

    /// The integers that this tensor's device counts in, wide enough for places in a tensor.
    pub(crate) fn places(&self) -> IntDType {
        match self.device().settings().int_dtype {
            IntDType::I8 | IntDType::I16 | IntDType::U8 | IntDType::U16 => IntDType::I32,
            wide => wide,
        }
    }

    /// `yes` where the mask holds, `self` elsewhere.
    pub(crate) fn choose(&self, mask: DispatchTensor, yes: &Self) -> Self {
        Self::wrap(Dispatch::float_mask_where(self.raw(), mask, yes.raw()))
    }

    /// The constant where the mask holds, `self` elsewhere.
    pub(crate) fn mask(&self, mask: DispatchTensor, constant: f64) -> Self {
        Self::wrap(Dispatch::float_mask_fill(self.raw(), mask, constant.into()))
    }

    pub(crate) fn matrix_product(&self, other: &Self) -> Self {
        Self::wrap(Dispatch::float_matmul(self.raw(), other.raw()))
    }

    /// The last two axes exchanged; a view.
    pub(crate) fn transposed(&self) -> Self {
        let rank = self.rank();
        Self::wrap(Dispatch::float_swap_dims(self.raw(), rank - 2, rank - 1))
    }

    /// Two axes exchanged, row by row again where this is cheap to ask for.
    pub(crate) fn swapped(&self, a: usize, b: usize) -> Self {
        Self::wrap(Dispatch::float_swap_dims(self.raw(), a, b)).laid_out()
    }

    pub(crate) fn shaped(&self, shape: &[usize]) -> Self {
        Self::wrap(Dispatch::float_reshape(self.raw(), Shape::from(shape.to_vec())))
    }

    /// The elements `start .. start + length` along a dimension.
    pub(crate) fn cut(&self, dimension: usize, start: usize, length: usize) -> Self {
        let slices: Vec<Slice> = (0..self.rank())
            .map(|k| {
                if k == dimension {
                    Slice::new(start as isize, Some((start + length) as isize), 1)
                } else {
                    Slice::full()
                }
            })
            .collect();
        Self::wrap(Dispatch::float_slice(self.raw(), &slices)).laid_out()
    }

    pub(crate) fn joined(tensors: &[BurnTensor], dimension: usize) -> Self {
        Self::wrap(Dispatch::float_cat(tensors.iter().map(BurnTensor::raw).collect(), dimension))
    }

    /// The sum over some dimensions, which stay with length 1.
    pub(crate) fn sum_over(&self, dimensions: &[usize]) -> Self {
        Self::wrap(dimensions.iter().fold(self.raw(), |sum, k| Dispatch::float_sum_dim(sum, *k)))
    }

    /// The largest along the last dimension, which stays with length 1.
    pub(crate) fn largest(&self) -> Self {
        Self::wrap(Dispatch::float_max_dim(self.raw(), self.rank() - 1))
    }

    /// The elements along `dimension` that `indices`, a tensor of integers in a wrapper, names.
    pub(crate) fn gathered(&self, dimension: usize, indices: &BurnTensor) -> Self {
        Self::wrap(Dispatch::float_gather(dimension, self.raw(), indices.raw()))
    }

    /// `x W + b` over the last axis, with `W [in, out]`.
    pub(crate) fn linear(&self, weight: &Self, bias: Option<&Self>) -> Self {
        Self::wrap(Dispatch::linear(self.raw(), weight.raw(), bias.map(BurnTensor::raw)))
    }

    /// The shape without the batch.
    pub(crate) fn inner_shape(&self) -> Vec<usize> {
        self.as_dispatch().shape().get(1..).unwrap_or(&[]).to_vec()
    }
}

/// What parameter gradients are made of: the cotangent times the weight on them. It is smaller than
/// the gradients of large weights, so it and not they take the factor.
pub(crate) fn weighed(cotangent: &BurnTensor, pulled: &super::Pulls<'_>) -> BurnTensor {
    if pulled.wants_gradients() && pulled.scale() != 1.0 {
        cotangent.scaled(pulled.scale())
    } else {
        cotangent.clone()
    }
}

/// Adds a term to a parameter's gradient, or writes it where the contents are stale.
pub(crate) fn accumulate(slot: Option<(&mut BurnTensor, bool)>, term: impl FnOnce() -> BurnTensor) {
    match slot {
        Some((gradient, true)) => gradient.set(term()),
        Some((gradient, false)) => gradient.axpy(1.0, &term()),
        None => {}
    }
}
