//! pc-core's conformance suite on graphs that are read off dfdx types: those of its nets that are
//! such types. In both precisions, with the layers as they are read, and with every layer run and
//! pulled back by dfdx's own tape.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

/// The suite in one precision: dfdx's layers are collections in a known one alone.
macro_rules! suite {
    ($name:ident, $scalar:ty, $tolerance:literal) => {
        mod $name {
            type E = $scalar;
            const TOLERANCE: f64 = $tolerance;
            include!("suite.rs");
        }
    };
}

suite!(in_f32, f32, 1e-5);
suite!(in_f64, f64, 1e-10);
