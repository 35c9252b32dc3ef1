//! How states step: at which rates.

mod rates;

pub use rates::Pace;
pub(crate) use rates::Rates;
