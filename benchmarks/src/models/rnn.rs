//! The plain recurrent net.

use pc_core::{
    Result,
    host::{Activation, Dense, Element, HostLayers},
};

use super::{kind::Size, parts::Parts};

impl<F: Element> Parts<F> {
    /// One tanh vertex a step, all with the same weights; the head reads the last one, or (with one
    /// output a step) every one with the same weights.
    pub(super) fn rnn(&mut self) -> Result<()> {
        let hidden = self.hidden();
        let [length, features] = self.shape.steps();
        let inputs = self.step_inputs()?;
        let parameters =
            self.b.gate_parameters("rnn", features, hidden, Activation::Tanh, &mut self.init)?;
        let mut last = self.b.input("h", &[hidden])?;
        self.zeros.push(last);
        let mut states = Vec::with_capacity(length);
        for (step, x) in inputs.into_iter().enumerate() {
            last = self.b.rnn_cell(&format!("h{step}"), x, last, &parameters)?;
            states.push(last);
        }
        self.recurrent_head(&states)?;
        self.description = format!("{length} steps of {features}, {hidden} tanh, {}", self.classes);
        Ok(())
    }

    /// The width of a recurrent state.
    pub(super) fn hidden(&self) -> usize {
        match self.size {
            Size::Small => 5,
            Size::Standard => 64,
        }
    }

    /// Logits from the last state, or from every one.
    pub(super) fn recurrent_head(&mut self, states: &[pc_core::VertexId]) -> Result<()> {
        let (true, Some(first)) = (self.per_step, states.first()) else {
            return states.last().map_or(Ok(()), |last| self.head(*last));
        };
        let layer = Dense::new(self.classes);
        let shared = self.b.layer_parameters("head", &[*first], &layer, &mut self.init)?;
        for (step, state) in states.iter().enumerate() {
            let output = self.b.layer(&format!("y{step}"), &[*state], &layer, &shared)?;
            self.outputs.push(output);
        }
        Ok(())
    }
}
