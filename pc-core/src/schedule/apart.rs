//! Whether the samples of a batch relax as they would one by one.

use crate::{
    Schedule,
    rule::StepForm,
    schedule::{ErrorStart, Start},
};

impl Schedule {
    /// What this schedule finds for a batch as a whole, in words: the first choice by which a
    /// sample's relaxation depends on the samples beside it. Where there is none, a batch may be
    /// shared out over several devices, each of which relaxes its share, and the sum of their
    /// gradients is the batch's. The bound above which an energy counts as diverged is left out: it
    /// is judged for each share.
    ///
    /// # Example
    /// ```
    /// use pc_core::Schedule;
    /// assert_eq!(Schedule::standard(0.1, 20)?.coupling(), None);
    /// let whole = Schedule::standard(0.1, 500)?.until(1e-6)?;
    /// assert!(whole.coupling().is_some_and(|what| what.contains("tolerance")));
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn coupling(&self) -> Option<String> {
        if self.tolerance.is_some() {
            return Some("its tolerance is met by a whole batch".to_owned());
        }
        match self.rule.form() {
            Some(StepForm::Plain | StepForm::Momentum(_)) => {}
            _ => {
                let name = self.rule.name();
                return Some(format!(
                    "its state rule, {name}, sees all samples of a batch at once"
                ));
            }
        }
        if self.noise.is_some() {
            return Some("its noise is drawn for a whole batch".to_owned());
        }
        if matches!(self.start, Start::Noise { .. })
            || matches!(self.errors, ErrorStart::Noise { .. })
        {
            return Some("where it starts is drawn for a whole batch".to_owned());
        }
        (self.start == Start::Carried)
            .then(|| "it starts where the last batch of the same size ended".to_owned())
    }
}
