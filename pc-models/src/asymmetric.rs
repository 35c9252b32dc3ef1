//! Asymmetric Hopfield networks: memories of sequences in one shot.

use pc_core::{Error, ErrorKind, Result, Tensor};

use crate::temporal::several;

/// How an [`AsymmetricHopfield`] network tells stored frames apart, given how much each resembles
/// the query, `s_t = x_t . q`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Separation {
    /// `s / width`: the classical network, `W = 1/N sum_t x_{t+1} x_t^T`.
    Identity,
    /// `(s / width)^d`.
    Polynomial(u32),
    /// `softmax(beta s)` over the stored frames: the modern network (MAHN).
    Softmax(f64),
}

/// An asymmetric Hopfield network (Sompolinsky and Kanter 1986; the modern form by Chaudhry,
/// Zavatone-Veth, Krotov and Pehlevan 2023): `x_{t+1} = sum_t sep(x_t . q) x_{t+1}`, over all
/// stored transitions. It stores a sequence in one shot and asks for no learning.
///
/// Binary frames are recalled as the signs of what it returns: [`crate::to_signs`].
///
/// # Example
/// ```
/// use pc_core::Tensor;
/// use pc_models::{AsymmetricHopfield, Backend, Host, Separation};
/// let host = Host::<f64>::new();
/// let frames = [[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]].map(|x| host.tensor(&[1, 2], &x).unwrap());
/// let memory = AsymmetricHopfield::store(&frames, Separation::Softmax(10.0))?;
/// let next = memory.next(&frames[1])?.to_vec();
/// assert!((next[0] + 1.0).abs() < 1e-6 && (next[1] + 1.0).abs() < 1e-6);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AsymmetricHopfield {
    /// The frames, in rows; those of several sequences side by side follow one another.
    earlier: Vec<f64>,
    later: Vec<f64>,
    width: usize,
    separation: Separation,
}

impl AsymmetricHopfield {
    /// Stores a sequence of frames `[batch, width]`; of a batch, every sequence.
    ///
    /// # Errors
    /// Fewer than two frames, or frames of several shapes; numbers that are not finite; a
    /// polynomial of degree 0; a softmax whose `beta` is not positive.
    pub fn store<T: Tensor>(frames: &[T], separation: Separation) -> Result<Self> {
        several(frames.len())?;
        let shape = frames.first().map(T::shape).unwrap_or_default();
        let &[batch, width] = shape.as_slice() else {
            let why = format!("a frame is [batch, width], not {shape:?}");
            return Err(Error::new(ErrorKind::Shape, why));
        };
        if batch == 0 || width == 0 {
            let why = format!("a frame of the shape {shape:?} holds no numbers");
            return Err(Error::new(ErrorKind::Shape, why));
        }
        for (t, frame) in frames.iter().enumerate() {
            if !frame.has_shape(&[batch, width]) {
                let why = format!("frame 0 is {shape:?}, and frame {t} {:?}", frame.shape());
                return Err(Error::new(ErrorKind::Shape, why));
            }
            if !frame.is_finite() {
                let why = format!("a number of frame {t} is not finite");
                return Err(Error::new(ErrorKind::NotFinite, why));
            }
        }
        let fault = match separation {
            Separation::Polynomial(0) => {
                Some("a polynomial of degree 0 tells nothing apart".into())
            }
            Separation::Softmax(beta) if !(beta > 0.0 && beta.is_finite()) => {
                Some(format!("the beta of a softmax must be a positive number, not {beta}"))
            }
            _ => None,
        };
        if let Some(fault) = fault {
            return Err(Error::new(ErrorKind::Misuse, fault));
        }
        let rows = |frames: &[T]| frames.iter().flat_map(T::to_vec).collect();
        let last = frames.len() - 1;
        let (earlier, later) = (rows(&frames[..last]), rows(&frames[1..]));
        Ok(Self { earlier, later, width, separation })
    }

    /// The frame after each of these.
    ///
    /// # Errors
    /// Frames of another width; a number that is not finite, or comes out so.
    pub fn next<T: Tensor>(&self, query: &T) -> Result<T> {
        if !query.has_batch_shape(query.batch(), &[self.width]) {
            let (width, shape) = (self.width, query.shape());
            let why = format!("the stored frames are {width} wide, and the query is {shape:?}");
            return Err(Error::new(ErrorKind::Shape, why));
        }
        let mut next = query.clone();
        T::by_rows(&[query], &mut [&mut next], &mut |queries, found| {
            if let ([query], [found]) = (queries, found) {
                self.recall(query, found);
            }
        });
        if next.is_finite() {
            return Ok(next);
        }
        let why = "a recalled number is not finite: the query's are not, or are too large";
        Err(Error::new(ErrorKind::NotFinite, why))
    }

    /// What comes after the first frame: each recalled frame, changed by `clean`, asks for the
    /// next.
    ///
    /// # Errors
    /// As [`AsymmetricHopfield::next`]; what `clean` returns.
    pub fn recall_offline<T: Tensor>(
        &self,
        first: &T,
        count: usize,
        mut clean: impl FnMut(&mut T) -> Result<()>,
    ) -> Result<Vec<T>> {
        let mut recalled: Vec<T> = Vec::with_capacity(count);
        for _ in 0..count {
            let mut next = self.next(recalled.last().unwrap_or(first))?;
            clean(&mut next)?;
            recalled.push(next);
        }
        Ok(recalled)
    }

    fn recall(&self, query: &[f64], found: &mut [f64]) {
        let dot = |row: &[f64]| row.iter().zip(query).map(|(x, q)| x * q).sum::<f64>();
        let mut weights: Vec<f64> = self.earlier.chunks(self.width).map(dot).collect();
        let width = self.width as f64;
        match self.separation {
            Separation::Identity => weights.iter_mut().for_each(|s| *s /= width),
            Separation::Polynomial(degree) => {
                weights.iter_mut().for_each(|s| *s = (0..degree).fold(1.0, |p, _| p * *s / width));
            }
            Separation::Softmax(beta) => {
                let highest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                weights.iter_mut().for_each(|s| *s = (beta * (*s - highest)).exp());
                let sum: f64 = weights.iter().sum();
                weights.iter_mut().for_each(|s| *s /= sum);
            }
        }
        found.fill(0.0);
        for (weight, later) in weights.iter().zip(self.later.chunks(self.width)) {
            found.iter_mut().zip(later).for_each(|(y, x)| *y += weight * x);
        }
    }
}
