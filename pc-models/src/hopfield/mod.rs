//! Universal Hopfield networks: memories that are asked once, `z = P sep(sim(M, q))`.
//!
//! Millidge, Salvatori, Song, Lukasiewicz and Bogacz, "Universal Hopfield Networks: A General
//! Framework for Single-Shot Associative Memory Models" (ICML 2022). A query is compared with every
//! stored key ([`Similarity`]), the scores are sharpened ([`Separation`]), and what comes out is
//! the stored values weighted by them. Classical Hopfield networks are [`Dot`] with [`Identity`]
//! and [`Memory::bipolar`], dense ones have a [`Polynomial`], modern ones (attention) a
//! [`Softmax`].

mod divergence;
mod memory;
mod rows;
mod separation;
mod similarity;
mod vertex;

pub use divergence::{JensenShannon, KullbackLeibler, ReverseKullbackLeibler};
pub use memory::Memory;
pub use separation::{Identity, Max, Normalised, Polynomial, Separation, Softmax};
pub use similarity::{Cosine, Dot, Euclidean, Manhattan, Reciprocal, Similarity};
pub use vertex::Retrieval;
