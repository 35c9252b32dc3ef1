//! Sequences as a whole: learned, and recalled.

use pc_core::{Error, ErrorKind, Gradients, Graph, Result, Tensor};

use super::TemporalPc;
use crate::Backend;

impl<B: Backend> TemporalPc<B> {
    /// Learns a sequence once from its first frame on, and returns the energies that relaxation has
    /// left, summed over the frames. Two frames of many samples each teach as many transitions at
    /// once.
    ///
    /// # Errors
    /// Fewer than two frames; as [`TemporalPc::learn`].
    pub fn learn_sequence(
        &mut self,
        frames: &[B::Tensor],
        mut learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<f64> {
        several(frames.len())?;
        self.begin();
        let mut energy = 0.0;
        for frame in frames {
            let outcome = self.learn(frame, None, &mut learn)?;
            energy += outcome.map_or(0.0, |outcome| outcome.energy.total());
        }
        Ok(energy)
    }

    /// Recalls a sequence online: at every frame the next one is asked for, and then the true one
    /// is shown. Returns what was recalled for all frames but the first.
    ///
    /// # Errors
    /// Fewer than two frames; as [`TemporalPc::observe`] and [`TemporalPc::expected`].
    pub fn recall_online(&mut self, frames: &[B::Tensor]) -> Result<Vec<B::Tensor>> {
        several(frames.len())?;
        self.begin();
        let queries = frames.iter().take(frames.len() - 1);
        queries
            .map(|frame| {
                self.observe(frame, None)?;
                self.expected(None)
            })
            .collect()
    }

    /// Recalls a sequence offline: from its first frame alone, each recalled frame asking for the
    /// next. `clean` is called with each recalled frame: for patterns of signs it is [`to_signs`],
    /// and `|_| Ok(())` leaves it as it is. Returns as many frames after the first as `count` says.
    ///
    /// # Errors
    /// As [`TemporalPc::observe`] and [`TemporalPc::expected`]; what `clean` returns.
    pub fn recall_offline(
        &mut self,
        first: &B::Tensor,
        count: usize,
        mut clean: impl FnMut(&mut B::Tensor) -> Result<()>,
    ) -> Result<Vec<B::Tensor>> {
        self.begin();
        let mut recalled: Vec<B::Tensor> = Vec::new();
        for _ in 0..count {
            self.observe(recalled.last().unwrap_or(first), None)?;
            let mut next = self.expected(None)?;
            clean(&mut next)?;
            recalled.push(next);
        }
        Ok(recalled)
    }
}

/// Sets every number to its sign: 1, or -1 where it is below 0.
///
/// # Errors
/// A number is not finite, and has no sign that means anything.
pub fn to_signs<T: Tensor>(frame: &mut T) -> Result<()> {
    if !frame.is_finite() {
        let why = "a recalled number is not finite, so it has no sign";
        return Err(Error::new(ErrorKind::NotFinite, why));
    }
    T::by_rows(&[], &mut [frame], &mut |_, rows| {
        for own in rows.iter_mut() {
            own.iter_mut().for_each(|x| *x = if *x < 0.0 { -1.0 } else { 1.0 });
        }
    });
    Ok(())
}

pub(crate) fn several(frames: usize) -> Result<()> {
    if frames >= 2 {
        return Ok(());
    }
    let why = format!("a sequence has at least two frames, and this one has {frames}");
    Err(Error::new(ErrorKind::Misuse, why))
}
