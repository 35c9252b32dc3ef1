//! What is seen while runs train: progress bars for people, a line for each epoch for machines.

use serde_json::json;

use crate::{
    contract::ScheduleKind, error::CommandError, output::Output, progress::Line, report::Epoch,
};

/// The show of one run.
pub(super) struct Show {
    output: Output,
    schedule: ScheduleKind,
    epochs: usize,
    batches: usize,
    progress: Line,
}

impl Show {
    /// Of a run of so many epochs of so many batches, `done` of which are done.
    pub(super) fn new(
        output: Output,
        schedule: ScheduleKind,
        epochs: usize,
        batches: usize,
        done: usize,
    ) -> Self {
        let progress = Line::styled(
            output.is_json(),
            schedule.name(),
            Some(epochs * batches),
            "{prefix:<16} {bar:18} {elapsed:>4} {wide_msg}",
        );
        progress.done(done * batches);
        Self { output, schedule, epochs, batches, progress }
    }

    /// So many batches of epoch number `epoch` (from 0) are done.
    pub(super) fn batch(&self, epoch: usize, done: usize) {
        self.progress.done(epoch * self.batches + done);
    }

    /// An epoch is done.
    pub(super) fn epoch(&self, epoch: &Epoch) -> Result<(), CommandError> {
        let test = match epoch.test_accuracy {
            Some(share) => format!("{:.2}%", 100.0 * share),
            None => format!("loss {:.5}", epoch.test_loss),
        };
        self.progress.say(format!(
            "epoch {}/{} loss {:.4} test {test}",
            epoch.epoch, self.epochs, epoch.train_loss
        ));
        let mut fields = json!({"schedule": self.schedule.name(), "epochs": self.epochs});
        if let (Some(fields), Ok(serde_json::Value::Object(figures))) =
            (fields.as_object_mut(), serde_json::to_value(epoch))
        {
            fields.extend(figures);
        }
        self.output.event("epoch", fields)
    }

    /// The run is over.
    pub(super) fn end(&self) {
        self.progress.keep();
    }
}
