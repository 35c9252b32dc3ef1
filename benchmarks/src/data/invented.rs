//! Names and a text that small grammars draw: for runs that have no folder of data.

use rand::{Rng, RngExt};

use super::{
    alphabet,
    batches::seeded,
    error::Result,
    names::Sequences,
    split::{Split, TEST_SHARE},
    text::Text,
};

/// Words of which one is drawn, each as likely as the others.
type Slot = &'static [&'static str];

/// A sentence has one of each slot. No word begins another of its slot, so a sentence can be taken
/// apart in one way only.
const SENTENCE: [Slot; 6] = [
    &["the ", "a ", "one ", "my "],
    &["old ", "red ", "small ", "wet ", "good ", "mild ", "dark ", "heavy "],
    &["king ", "dog ", "man ", "fool ", "cat ", "lady ", "horse ", "thief "],
    &["sees ", "hears ", "fears ", "loves ", "takes ", "knows ", "meets ", "wants "],
    &["the ", "a ", "one ", "my "],
    &["moon.\n", "hill.\n", "sea.\n", "town.\n", "garden.\n", "road.\n", "wood.\n", "field.\n"],
];

/// The sentences of the text.
const SENTENCES: usize = 800;

/// What names of each language are made of: one of each slot.
const LANGUAGES: [(&str, &[Slot]); 6] = [
    ("Arvic", &[&["bar", "gar", "var", "tor"], &["a", "o", "i"], &["vic", "vik", "dic", "nic"]]),
    ("Belen", &[&["be", "me", "le", "re"], &["la", "li", "na", "ni"], &["n", "nne", "lle"]]),
    ("Corri", &[&["co", "ca", "mo", "ma"], &["rri", "lli", "tti"], &["", "ni", "no", "na"]]),
    ("Dunn", &[&["d", "br", "gl", "st"], &["u", "o", "a"], &["nn", "ng", "rk", "ld"]]),
    ("Esko", &[&["es", "is", "as", "os"], &["ko", "ka", "ki"], &["la", "nen", "ta", "vaa"]]),
    ("Fujo", &[&["fu", "su", "ku", "mu"], &["jo", "shi", "ra"], &["ta", "ka", "mi", "yo"]]),
];

/// The names of each language, some of them more than once.
const NAMES: usize = 150;

/// One word of each slot.
fn drawn(slots: &[Slot], rng: &mut impl Rng) -> String {
    let word = |slot: &Slot| slot.get(rng.random_range(0..slot.len())).copied();
    slots.iter().filter_map(word).collect()
}

/// A text of short sentences: an article, an adjective, a noun, a verb, an article and a noun, each
/// drawn from 4 or 8 words that are equally likely. The same seed always gives the same text, of
/// which the last tenth is held out.
///
/// # Errors
/// None today.
///
/// # Example
/// ```
/// use pc_bench::data::invented;
/// let text = invented::text(0)?;
/// let first = text.train.decode(&text.train.ids)?;
/// assert!(first.lines().all(|line| line.split(' ').count() <= 6));
/// # Ok::<(), pc_bench::data::Error>(())
/// ```
pub fn text(seed: u64) -> Result<Split<Text>> {
    let mut rng = seeded(seed, 0);
    let whole: String = (0..SENTENCES).map(|_| drawn(&SENTENCE, &mut rng)).collect();
    Text::new(&whole).split()
}

/// The entropy of that text in bits per character: what its grammar leaves to chance, over the mean
/// length of a sentence. No model that does not see what comes is better in the long run.
pub fn text_bits() -> f64 {
    let bits: f64 = SENTENCE.iter().map(|slot| (slot.len() as f64).log2()).sum();
    let length = |slot: &Slot| {
        slot.iter().map(|word| word.chars().count()).sum::<usize>() as f64 / slot.len() as f64
    };
    bits / SENTENCE.iter().map(length).sum::<f64>()
}

/// Names of six languages that do not exist, each with syllables of its own; a fifth is held out.
/// The same seed always gives the same names.
///
/// # Errors
/// None today.
pub fn names(seed: u64) -> Result<Split<Sequences>> {
    let mut rng = seeded(seed, 0);
    let (mut words, mut labels) = (Vec::new(), Vec::new());
    for (label, (_, slots)) in LANGUAGES.iter().enumerate() {
        for _ in 0..NAMES {
            words.push(drawn(slots, &mut rng));
            labels.push(label);
        }
    }
    let alphabet = alphabet::collect(words.iter().map(String::as_str));
    let samples = words.iter().map(|word| alphabet::encode(&alphabet, word));
    Sequences {
        samples: samples.collect::<Result<_>>()?,
        labels,
        alphabet,
        classes: LANGUAGES.len(),
        class_names: LANGUAGES.iter().map(|(name, _)| (*name).to_owned()).collect(),
    }
    .split(TEST_SHARE, seed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn sentences_can_be_taken_apart_in_one_way() {
        for slot in SENTENCE {
            let begins = |a: &str, b: &str| a != b && a.starts_with(b);
            assert!(slot.iter().all(|a| slot.iter().all(|b| !begins(a, b))), "{slot:?}");
            assert_eq!(slot.iter().collect::<BTreeSet<_>>().len(), slot.len());
        }
        // 2 + 3 + 3 + 3 + 2 + 3 bits a sentence.
        let text = text(3).unwrap();
        let length = (text.train.len() + text.test.len()) as f64 / SENTENCES as f64;
        assert!((text_bits() - 16.0 / length).abs() < 0.01, "{} {length}", text_bits());
    }

    #[test]
    fn seeds_draw_again_and_the_same_seed_does_not() {
        assert_eq!(text(1).unwrap(), text(1).unwrap());
        assert_ne!(text(1).unwrap().train.ids, text(2).unwrap().train.ids);
        assert_eq!(names(1).unwrap(), names(1).unwrap());
        let set = names(1).unwrap();
        assert_ne!(set, names(2).unwrap());
        assert_eq!(set.train.len() + set.test.len(), NAMES * LANGUAGES.len());
        for part in [&set.train, &set.test] {
            assert_eq!(part.labels.iter().collect::<BTreeSet<_>>().len(), LANGUAGES.len());
            assert!(part.samples.iter().all(|name| !name.is_empty()));
        }
    }
}
