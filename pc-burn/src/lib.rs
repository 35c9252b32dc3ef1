//! Burn models train by predictive coding.
