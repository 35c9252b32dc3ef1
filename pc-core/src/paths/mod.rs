//! What follows from the paths of a topology alone, once it is known what is held: an order, what
//! errors reach, closed forms. Nothing here knows a tensor or a network.

mod closed_form;
mod cuts;
mod outward;
mod reach;
#[cfg(test)]
mod tests;

pub(crate) use closed_form::{Form, Question, binomial_tails, find, single};
pub(crate) use cuts::early_cut;
pub(crate) use outward::{as_far_as_known, outward};
pub(crate) use reach::{Reached, reach};
