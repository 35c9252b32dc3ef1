//! Turning text into numbers and back.

use std::collections::BTreeSet;

use super::error::{Error, Result};

/// The distinct characters of some texts, in the order of their code points.
pub(super) fn collect<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<char> {
    let characters: BTreeSet<char> = texts.flat_map(str::chars).collect();
    characters.into_iter().collect()
}

/// Each character's place in the (sorted) alphabet.
pub(super) fn encode(alphabet: &[char], text: &str) -> Result<Vec<usize>> {
    text.chars()
        .map(|c| {
            alphabet.binary_search(&c).map_err(|_| {
                Error::argument(format!(
                    "the character {c:?} is not among the {} of the alphabet: leave it out",
                    alphabet.len()
                ))
            })
        })
        .collect()
}

/// The characters at these places of the alphabet.
pub(super) fn decode(alphabet: &[char], ids: &[usize]) -> Result<String> {
    ids.iter()
        .map(|&id| {
            alphabet.get(id).copied().ok_or_else(|| {
                Error::argument(format!(
                    "there is no character {id}: the alphabet has {}, counted from 0",
                    alphabet.len()
                ))
            })
        })
        .collect()
}
