//! Sums over devices.

use pc_core::{Error, ErrorKind, Result};

use crate::tensor::DeviceTensor;

/// Sums tensors over devices, so that every device has the sum: an all-reduce.
///
/// [`ThroughHost`] and [`super::Nccl`] are such. Every device must come to the same bits, or the
/// weights drift apart.
pub trait AllReduce {
    /// `parts[k][i]` is tensor `i` of device `k`: puts `sum_k parts[k][i]` in the place of each.
    ///
    /// # Errors
    /// What the devices report.
    fn sum(&mut self, parts: &mut [Vec<&mut DeviceTensor>]) -> Result<()>;
}

/// Tensors of these shapes must be on all devices.
pub(super) fn check(parts: &[Vec<&mut DeviceTensor>]) -> Result<()> {
    let Some((first, others)) = parts.split_first() else { return Ok(()) };
    for (index, other) in others.iter().enumerate() {
        let same = first.len() == other.len()
            && first.iter().zip(other).all(|(one, other)| one.dims() == other.dims());
        if !same {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("device {} has other tensors to sum than device 0", index + 1),
            ));
        }
    }
    Ok(())
}

/// Sums on the host, in `f64` and in the order of the devices. It needs no library and takes any
/// devices, two streams of one GPU too, but each number crosses to the host and back.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThroughHost;

impl AllReduce for ThroughHost {
    fn sum(&mut self, parts: &mut [Vec<&mut DeviceTensor>]) -> Result<()> {
        check(parts)?;
        for index in 0..parts.first().map_or(0, Vec::len) {
            let mut sum: Vec<f64> = Vec::new();
            for part in parts.iter() {
                let own = part[index].numbers()?;
                sum.resize(own.len(), 0.0);
                sum.iter_mut().zip(own).for_each(|(sum, x)| *sum += f64::from(x));
            }
            let sum: Vec<f32> = sum.into_iter().map(|x| x as f32).collect();
            for part in parts.iter_mut() {
                part[index].set_numbers(&sum)?;
            }
        }
        Ok(())
    }
}
