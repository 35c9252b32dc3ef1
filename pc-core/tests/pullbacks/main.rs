//! Every host vertex alone: its pullback against differences of its prediction, its change against direct subtraction, in full precision and where
//! subtraction has no digits left; and what it refuses.

mod activations;
mod cells;
mod harness;
mod naive;
mod shapes;
mod vertices;
