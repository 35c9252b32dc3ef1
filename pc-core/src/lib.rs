//! Predictive coding.
