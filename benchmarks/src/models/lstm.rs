//! The LSTM.

use pc_core::{
    Result,
    host::{Element, HostLayers},
};

use super::parts::Parts;

impl<F: Element> Parts<F> {
    /// Six vertices a step: the gates `input`, `forget`, `candidate` and `output`, the cell and the
    /// hidden state, all steps with the same weights; the head reads the last hidden state, or
    /// (with one output a step) every one with the same weights.
    pub(super) fn lstm(&mut self) -> Result<()> {
        let hidden = self.hidden();
        let [length, features] = self.shape.steps();
        let inputs = self.step_inputs()?;
        let parameters = self.b.lstm_parameters("lstm", features, hidden, &mut self.init)?;
        let (mut h, mut c) = (self.b.input("h", &[hidden])?, self.b.input("c", &[hidden])?);
        self.zeros.extend([h, c]);
        let mut states = Vec::with_capacity(length);
        for (step, x) in inputs.into_iter().enumerate() {
            let cell = self.b.lstm_cell(&format!("t{step}"), x, h, c, &parameters)?;
            (h, c) = (cell.hidden, cell.cell);
            states.push(h);
        }
        self.recurrent_head(&states)?;
        self.description =
            format!("{length} steps of {features}, {hidden} cells, {}", self.classes);
        Ok(())
    }
}
