//! Ctrl-C: asks for an orderly end.

use std::sync::{
    Once,
    atomic::{AtomicBool, Ordering},
};

use crate::output::note;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From here on Ctrl-C (and a request to terminate) asks for an end after the current batch; a
/// second one ends the program at once. Before, the first one does.
pub(super) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Without a handler Ctrl-C ends the program as it always does.
        let _ = ctrlc::set_handler(|| {
            if ASKED.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            note("stopping after this batch; ask once more to stop at once");
        });
    });
}

/// Whether an end was asked for.
pub(super) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}
