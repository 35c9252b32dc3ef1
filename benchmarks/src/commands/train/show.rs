//! What is seen while runs train: progress bars for people, a line for each epoch for machines.

use std::io::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::{contract::ScheduleKind, error::CommandError, output::Output, report::Epoch};

/// The show of one run.
pub(super) struct Show {
    output: Output,
    schedule: ScheduleKind,
    epochs: usize,
    batches: usize,
    bar: ProgressBar,
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
        // Where standard error is no terminal, nothing is drawn.
        let target = if output.is_json() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(Some((epochs * batches) as u64), target);
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:<16} {bar:18} {elapsed:>4} {wide_msg}")
        {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar.set_prefix(schedule.name());
        bar.set_position((done * batches) as u64);
        bar.reset_eta();
        Self { output, schedule, epochs, batches, bar }
    }

    /// So many batches of epoch number `epoch` (from 0) are done.
    pub(super) fn batch(&self, epoch: usize, done: usize) {
        self.bar.set_position((epoch * self.batches + done) as u64);
    }

    /// An epoch is done.
    pub(super) fn epoch(&self, epoch: &Epoch) -> Result<(), CommandError> {
        let percent = |share: Option<f64>| {
            share.map_or("-".to_owned(), |share| format!("{:.2}%", 100.0 * share))
        };
        let test = percent(epoch.test_accuracy);
        self.bar.set_message(format!(
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
        self.bar.abandon();
    }
}

/// Tells people something beside the results.
pub(super) fn say(text: &str) {
    // Nothing can be said where standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}
