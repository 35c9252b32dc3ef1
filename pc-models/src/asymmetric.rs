//! Asymmetric Hopfield networks: memories of sequences in one shot.

use pc_core::{Error, ErrorKind, Result, Tensor};

use crate::{
    hopfield::{Memory, Separation},
    temporal::several,
};

/// An asymmetric Hopfield network (Sompolinsky and Kanter 1986; with a separation by Chaudhry,
/// Zavatone-Veth, Krotov and Pehlevan 2023): `x_{t+1} = sum_t sep(x_t . q / N) x_{t+1}`, over all
/// stored transitions of frames of `N` numbers. It is a [`Memory`] whose keys are the frames and
/// whose values are the frames after them: it stores a sequence in one shot.
///
/// With the separation [`crate::hopfield::Identity`] it is the classical network, `W = 1/N sum_t
/// x_{t+1} x_t^T`; with [`crate::hopfield::Softmax`] the modern one (MAHN).
///
/// # Example
/// ```
/// use pc_core::Tensor;
/// use pc_models::{AsymmetricHopfield, Backend, Host, hopfield::Softmax};
/// let host = Host::<f64>::new();
/// let frames = [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]].map(|x| host.tensor(&[1, 2], &x).unwrap());
/// let memory = AsymmetricHopfield::store(&frames, Softmax::new(20.0)?)?;
/// let next = memory.next(&frames[1])?.to_vec();
/// assert!((next[0] + 1.0).abs() < 1e-6 && (next[1] + 1.0).abs() < 1e-6);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct AsymmetricHopfield {
    memory: Memory,
}

impl AsymmetricHopfield {
    /// Stores a sequence of frames `[batch, width]`; of a batch, every sequence.
    ///
    /// # Errors
    /// Fewer than two frames, or frames of several shapes; numbers that are not finite.
    pub fn store<T: Tensor>(frames: &[T], separation: impl Separation + 'static) -> Result<Self> {
        several(frames.len())?;
        let shape = frames.first().map(T::shape).unwrap_or_default();
        let &[batch, width] = shape.as_slice() else {
            let why = format!("a frame is [batch, width], not {shape:?}");
            return Err(Error::new(ErrorKind::Shape, why));
        };
        if let Some(t) = frames.iter().position(|frame| !frame.has_shape(&shape)) {
            let why = format!("frame 0 is {shape:?}, and frame {t} {:?}", frames[t].shape());
            return Err(Error::new(ErrorKind::Shape, why));
        }
        let last = frames.len() - 1;
        let together = |frames: &[T], factor: f64| {
            let numbers: Vec<f64> = frames.iter().flat_map(T::to_vec).map(|x| factor * x).collect();
            frames.first().map(|like| {
                let mut all = like.zeros(&[batch * last, width]);
                all.assign(&numbers);
                all
            })
        };
        let keys = together(&frames[..last], 1.0 / width as f64);
        let Some((keys, values)) = keys.zip(together(&frames[1..], 1.0)) else {
            return Err(Error::new(ErrorKind::Shape, "there are no frames to store"));
        };
        Ok(Self { memory: Memory::of_pairs(&keys, &values)?.separation(separation) })
    }

    /// The memory: a key for each transition, the frame divided by its width.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The frame after each of these.
    ///
    /// # Errors
    /// Frames of another width; a number that is not finite, or comes out so.
    pub fn next<T: Tensor>(&self, query: &T) -> Result<T> {
        self.memory.recall(query)
    }

    /// What comes after the first frame: each recalled frame, changed by `clean`, asks for the
    /// next. For patterns of signs `clean` is [`crate::to_signs`].
    ///
    /// # Errors
    /// As [`AsymmetricHopfield::next`]; what `clean` returns.
    pub fn recall_offline<T: Tensor>(
        &self,
        first: &T,
        count: usize,
        mut clean: impl FnMut(&mut T) -> Result<()>,
    ) -> Result<Vec<T>> {
        let mut recalled: Vec<T> = Vec::new();
        for _ in 0..count {
            let mut next = self.next(recalled.last().unwrap_or(first))?;
            clean(&mut next)?;
            recalled.push(next);
        }
        Ok(recalled)
    }
}
