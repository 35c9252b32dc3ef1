//! Ctrl-C: asks for an orderly end.

use std::sync::{
    Once,
    atomic::{AtomicBool, Ordering},
};

use crate::output::note;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C (and a request to terminate) asks for an end after `what`, such as `this
/// batch`; a second one ends the program at once. Before, the first one does.
pub(crate) fn listen(what: &'static str) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Without a handler Ctrl-C ends the program as it always does.
        let _ = ctrlc::set_handler(move || {
            if ASKED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            note(&format!("stopping after {what}; ask once more to stop at once"));
        });
    });
}

/// Whether an end was asked for.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
