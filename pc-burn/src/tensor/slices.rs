//! The numbers of a Flex tensor as slices: Flex holds them in this process's memory.
//!
//! Everywhere else there are none, and the callers take Burn's operations.

use std::cell::Cell;

use pc_core::host::Element;

use crate::BurnTensor;

/// A float that Flex holds and the host backend computes with.
pub(crate) trait Float: Element {
    /// The numbers, row by row; none on another device, in another precision, or where they do not
    /// lie row by row.
    fn read(tensor: &BurnTensor) -> Option<&[Self]>;

    /// The numbers to be changed, no longer shared with any other tensor.
    fn change(tensor: &mut BurnTensor) -> Option<&mut [Self]>;

    /// The numbers to be overwritten, no longer shared with any other tensor; their contents are
    /// unspecified.
    fn overwrite(tensor: &mut BurnTensor) -> Option<&mut [Self]>;

    /// The numbers of a tensor that may be absent.
    fn read_some(tensor: Option<&BurnTensor>) -> Option<Option<&[Self]>> {
        match tensor {
            Some(tensor) => Self::read(tensor).map(Some),
            None => Some(None),
        }
    }
}

thread_local! {
    static HIDDEN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` as if no numbers lay in this process's memory.
pub(super) fn hidden_during<R>(work: impl FnOnce() -> R) -> R {
    /// Puts things back also where `work` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            HIDDEN.set(self.0);
        }
    }
    let _restore = Restore(HIDDEN.replace(true));
    work()
}

#[cfg(feature = "flex")]
pub(super) use flex::laid_out;

#[cfg(not(feature = "flex"))]
pub(super) fn laid_out(tensor: BurnTensor) -> BurnTensor {
    tensor
}

#[cfg(feature = "flex")]
mod flex {
    use burn::backend::{BackendTensor, DispatchTensorKind, flex::FlexTensor};
    use burn::tensor::Element as BurnElement;

    use super::{BurnTensor, Float};

    /// The same numbers row by row.
    pub(in crate::tensor) fn laid_out(mut tensor: BurnTensor) -> BurnTensor {
        #[allow(irrefutable_let_patterns)]
        if let DispatchTensorKind::Flex(BackendTensor::Float(tensor)) = &mut tensor.inner.kind
            && !tensor.is_contiguous()
        {
            *tensor = tensor.to_contiguous();
        }
        tensor
    }

    fn tensor(tensor: &BurnTensor) -> Option<&FlexTensor> {
        if super::HIDDEN.get() {
            return None;
        }
        // Other kinds exist where other backends are compiled in.
        #[allow(unreachable_patterns)]
        match &tensor.inner.kind {
            DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => Some(tensor),
            _ => None,
        }
    }

    /// The tensor to be written: row by row, and with a buffer that is exactly its own.
    fn tensor_mut<F: BurnElement>(tensor: &mut BurnTensor, keep: bool) -> Option<&mut FlexTensor> {
        if super::HIDDEN.get() {
            return None;
        }
        #[allow(unreachable_patterns)]
        let tensor = match &mut tensor.inner.kind {
            DispatchTensorKind::Flex(BackendTensor::Float(tensor)) => tensor,
            _ => return None,
        };
        if tensor.dtype() != F::dtype() {
            return None;
        }
        let whole = tensor.bytes().len() / size_of::<F>();
        if tensor.layout().contiguous_offsets() != Some((0, whole)) {
            *tensor = tensor.to_contiguous();
        }
        if !keep && !tensor.is_unique() {
            *tensor = FlexTensor::zeros(tensor.layout().shape().clone(), tensor.dtype());
        }
        Some(tensor)
    }

    macro_rules! float {
        ($scalar:ty) => {
            impl Float for $scalar {
                fn read(of: &BurnTensor) -> Option<&[Self]> {
                    tensor(of)?.as_slice::<$scalar>()
                }

                fn change(of: &mut BurnTensor) -> Option<&mut [Self]> {
                    Some(tensor_mut::<$scalar>(of, true)?.storage_mut::<$scalar>())
                }

                fn overwrite(of: &mut BurnTensor) -> Option<&mut [Self]> {
                    Some(tensor_mut::<$scalar>(of, false)?.storage_mut::<$scalar>())
                }
            }
        };
    }
    float!(f32);
    float!(f64);
}

#[cfg(not(feature = "flex"))]
mod elsewhere {
    use super::{BurnTensor, Float};

    macro_rules! float {
        ($scalar:ty) => {
            impl Float for $scalar {
                fn read(_: &BurnTensor) -> Option<&[Self]> {
                    None
                }

                fn change(_: &mut BurnTensor) -> Option<&mut [Self]> {
                    None
                }

                fn overwrite(_: &mut BurnTensor) -> Option<&mut [Self]> {
                    None
                }
            }
        };
    }
    float!(f32);
    float!(f64);
}

/// Runs `$work` on the slices of tensors where all of them lie in this process's memory in one
/// precision, which `$F` names, and returns `$done` from the function it stands in: each `change`d
/// or `overwrite`n tensor is a mutable slice under its own name, each `read` one a slice, each
/// `perhaps` an `Option` of one.
macro_rules! on_slices {
    (
        change [$($changed:ident),*] overwrite [$($written:ident),*]
        read [$($read:ident),*] perhaps [$($perhaps:ident),*], <$F:ident> $work:expr
    ) => {
        on_slices!(@one f32, [$($changed),*] [$($written),*] [$($read),*] [$($perhaps),*], $F,
        $work);
        on_slices!(@one f64, [$($changed),*] [$($written),*] [$($read),*] [$($perhaps),*], $F,
        $work);
    };
    (
        @one $scalar:ty, [$($changed:ident),*] [$($written:ident),*]
        [$($read:ident),*] [$($perhaps:ident),*], $F:ident, $work:expr
    ) => {
        if let ($(Some($read),)* $(Some($perhaps),)*) =
            (
                $(<$scalar as $crate::tensor::slices::Float>::read($read),)*
                $(<$scalar as $crate::tensor::slices::Float>::read_some($perhaps),)*
            )
            && let ($(Some($changed),)* $(Some($written),)*) =
                (
                    $(<$scalar as $crate::tensor::slices::Float>::change($changed),)*
                    $(<$scalar as $crate::tensor::slices::Float>::overwrite($written),)*
                )
        {
            #[allow(unused)]
            type $F = $scalar;
            return $work;
        }
    };
}
pub(crate) use on_slices;
