//! Names of people, by language: short sequences to classify.
//!
//! A folder has one file a language, `Arabic.txt`, `Chinese.txt` and so on: UTF-8 text, one name a
//! line. The file's name without `.txt` is the class's name. White space around a name is dropped,
//! as are blank lines; other files in the folder, such as a licence, are left alone, as are hidden
//! ones.
//!
//! The format is that of the data of the PyTorch tutorial on classifying names (S. Robertson,
//! 2017).

use std::collections::BTreeSet;
use std::path::Path;

use super::{
    alphabet,
    error::{Error, Place, Result},
    file::{check_folder, folder_list, join, read_text, visible_files},
    kind::Kind,
    split::{Split, TEST_SHARE, stratified_by},
};

/// Where the files may be in the data folder, best first.
const FOLDERS: [&str; 3] = ["names", "data/names", ""];

/// Sequences of characters, each with a class label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// Each sequence, as places in [`alphabet`](Self::alphabet); none is empty, and lengths differ.
    pub samples: Vec<Vec<usize>>,
    /// Each sequence's class, below [`classes`](Self::classes).
    pub labels: Vec<usize>,
    /// The characters, in the order of their code points.
    pub alphabet: Vec<char>,
    /// How many classes there are.
    pub classes: usize,
    /// The classes' names, in the order of the labels.
    pub class_names: Vec<String>,
}

impl Sequences {
    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The length of the longest sequence; 0 if there is none.
    pub fn longest(&self) -> usize {
        self.samples.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// A text as places in the alphabet.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](super::ErrorKind::Argument) if a character is not in the alphabet.
    pub fn encode(&self, text: &str) -> Result<Vec<usize>> {
        alphabet::encode(&self.alphabet, text)
    }

    /// Places in the alphabet as a text.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](super::ErrorKind::Argument) if a place is beyond the alphabet.
    pub fn decode(&self, ids: &[usize]) -> Result<String> {
        alphabet::decode(&self.alphabet, ids)
    }

    /// The sequences at `indices`, copied.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](super::ErrorKind::Argument) if there is no sequence at an index.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let mut selected = Self {
            samples: Vec::with_capacity(indices.len()),
            labels: Vec::with_capacity(indices.len()),
            alphabet: self.alphabet.clone(),
            classes: self.classes,
            class_names: self.class_names.clone(),
        };
        for &index in indices {
            let (Some(sample), Some(&label)) = (self.samples.get(index), self.labels.get(index))
            else {
                return Err(Error::argument(format!(
                    "there is no sequence {index}: {} are counted from 0",
                    self.len()
                )));
            };
            selected.samples.push(sample.clone());
            selected.labels.push(label);
        }
        Ok(selected)
    }

    /// Divides the sequences class by class, keeping equal ones of a class on the same side.
    ///
    /// Lists of names repeat themselves: dividing them one by one would test on names that were
    /// trained on. So a name goes to one side with all its copies, and a class of few, often
    /// repeated names may have a little less than its share in the test part. A name that is in two
    /// languages' lists may still be trained on in the one and tested on in the other.
    ///
    /// # Errors
    /// As of [`stratified`](super::stratified).
    pub fn split(&self, test_share: f64, seed: u64) -> Result<Split<Self>> {
        let sample = |index: usize| self.samples.get(index);
        let split = stratified_by(&self.labels, self.classes, test_share, seed, sample)?;
        Ok(Split { train: self.select(&split.train)?, test: self.select(&split.test)? })
    }
}

/// Loads names from `names` or `data/names` in `dir`, or from `dir` itself, and holds out a fifth.
///
/// The split is [`Sequences::split`]'s, by `seed`. The alphabet is of all names, those held out
/// too.
///
/// # Errors
/// [`ErrorKind::NotFound`](super::ErrorKind::NotFound) if none of the folders has a `.txt` file; as
/// of [`read`] and [`Sequences::split`].
pub fn load(dir: &Path, seed: u64) -> Result<Split<Sequences>> {
    let advice = Kind::Names.advice(Some(dir));
    check_folder(dir, "names", &advice)?;
    for folder in FOLDERS {
        let folder = join(dir, folder);
        if !visible_files(&folder, &["txt"])?.is_empty() {
            return read(&folder)?.split(TEST_SHARE, seed);
        }
    }
    let message =
        format!("names are not here: looked in {} for .txt files; {advice}", folder_list(&FOLDERS));
    Err(Error::not_found(dir, message))
}

/// Reads every language of a folder, in the order of the files' names.
///
/// # Errors
/// [`ErrorKind::NotFound`](super::ErrorKind::NotFound) if the folder has no `.txt` file;
/// [`ErrorKind::Io`](super::ErrorKind::Io) if it or a file cannot be read;
/// [`ErrorKind::Malformed`](super::ErrorKind::Malformed) if there is only one file, a file is not
/// UTF-8 (with the line), or has no names.
pub fn read(folder: &Path) -> Result<Sequences> {
    let files = visible_files(folder, &["txt"])?;
    let mut texts = Vec::with_capacity(files.len());
    match files.as_slice() {
        [] => {
            let message = "the folder has no .txt file; put one Language.txt per language there";
            return Err(Error::not_found(folder, message));
        }
        [only] => {
            let what = "the folder has only this one language, and one class cannot be told apart";
            let remedy = "add further Language.txt files";
            return Err(Error::malformed(only, Place::Whole, what, remedy));
        }
        _ => {}
    }
    for file in &files {
        texts.push(read_text(file)?);
    }
    let alphabet = alphabet::collect(texts.iter().flat_map(|text| names_in(text)));
    let mut sequences = Sequences {
        samples: Vec::new(),
        labels: Vec::new(),
        alphabet,
        classes: files.len(),
        class_names: files.iter().map(|file| class_name(file)).collect(),
    };
    let distinct: BTreeSet<&String> = sequences.class_names.iter().collect();
    if distinct.len() < files.len() {
        let message = "two .txt files have the same name but for the ending: rename one";
        return Err(Error::malformed(folder, Place::Whole, "a class name comes twice", message));
    }
    for (label, (text, file)) in texts.iter().zip(&files).enumerate() {
        let before = sequences.len();
        for name in names_in(text) {
            let sample = sequences.encode(name)?;
            sequences.samples.push(sample);
            sequences.labels.push(label);
        }
        if sequences.len() == before {
            let remedy = "put one name a line there, or remove the file";
            return Err(Error::malformed(file, Place::Whole, "the file has no names", remedy));
        }
    }
    Ok(sequences)
}

/// The names in a file's text.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|name| !name.is_empty())
}

/// A class's name: its file's, without the ending.
fn class_name(file: &Path) -> String {
    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
