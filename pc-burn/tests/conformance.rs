//! pc-core's conformance suite on explicit graphs of Burn tensors: in both precisions that Flex
//! has, with the numbers in memory and by Burn's operations alone, as on a GPU.

mod suite;

use burn::tensor::{DType, Device};
use pc_burn::with_operations_only;
use suite::passes;

#[test]
fn the_whole_suite_in_f32() {
    passes(&Device::flex(), DType::F32);
}

#[test]
fn the_whole_suite_in_f64() {
    passes(&Device::flex(), DType::F64);
}

#[test]
fn the_whole_suite_in_f32_by_burns_operations_alone() {
    with_operations_only(|| passes(&Device::flex(), DType::F32));
}

#[test]
fn the_whole_suite_in_f64_by_burns_operations_alone() {
    with_operations_only(|| passes(&Device::flex(), DType::F64));
}
