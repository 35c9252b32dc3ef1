//! Live rules.
