//! A line on a terminal that says how far long work has come.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output;

/// How often a line is drawn anew while nobody reports.
const TICK: Duration = Duration::from_millis(200);

/// The line that is seen, so that others can write beside it. There is one at most.
static SEEN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Progress of one piece of work, on standard error. Nothing is drawn where that is no terminal,
/// for machines, or where quiet was asked for. The line goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    bar: ProgressBar,
}

impl Line {
    /// Of so many parts. Nothing runs beside the work: the line is drawn where
    /// [`Line::done`] is called.
    pub(crate) fn of(json: bool, what: impl Into<Cow<'static, str>>, parts: usize) -> Self {
        Self::styled(json, what, Some(parts), "{prefix} {bar:18} {pos}/{len} {elapsed:>4}")
    }

    /// Of work whose length is not known. A thread draws the line again and again.
    pub(crate) fn open(json: bool, what: impl Into<Cow<'static, str>>) -> Self {
        let progress = Self::styled(json, what, None, "{prefix} {spinner} {elapsed:>4}");
        progress.ticking()
    }

    /// In a style of its own.
    pub(crate) fn styled(
        json: bool,
        what: impl Into<Cow<'static, str>>,
        parts: Option<usize>,
        template: &str,
    ) -> Self {
        // Where standard error is no terminal, indicatif draws nothing.
        let target = if json || output::is_quiet() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(parts.map(|parts| parts as u64), target);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        bar.set_prefix(what);
        *seen() = Some(bar.clone());
        bar.tick();
        Self { bar }
    }

    /// A thread draws the line again and again, also while a part takes long.
    pub(crate) fn ticking(self) -> Self {
        if !self.bar.is_hidden() {
            self.bar.enable_steady_tick(TICK);
        }
        self
    }

    /// So many parts are done.
    pub(crate) fn done(&self, parts: usize) {
        self.bar.set_position(parts as u64);
    }

    /// One more part is done.
    pub(crate) fn one_more(&self) {
        self.bar.inc(1);
    }

    /// What to say at the end of the line.
    pub(crate) fn say(&self, message: String) {
        self.bar.set_message(message);
    }

    /// The work is over, and the line stays.
    pub(crate) fn keep(&self) {
        self.bar.abandon();
        *seen() = None;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.bar.is_finished() {
            self.bar.finish_and_clear();
            *seen() = None;
        }
    }
}

fn seen() -> std::sync::MutexGuard<'static, Option<ProgressBar>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line to standard error, above the line of progress where there is one.
pub(crate) fn beside(text: &str) {
    // Nothing can be said where standard error is closed.
    let write = || {
        let _ = writeln!(io::stderr(), "{text}");
    };
    let bar = seen().clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}
