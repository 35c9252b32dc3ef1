//! Running text, to predict the next character.
//!
//! The text is any UTF-8 file, such as tinyshakespeare's `input.txt` (A. Karpathy, 2015; 1,115,394
//! characters, 65 distinct), or all `.txt` files of a folder.

use std::path::{Path, PathBuf};

use rand::{Rng, RngExt};

use super::{
    alphabet,
    error::{Error, Place, Result},
    file::{check_folder, folder_list, join, read_text, visible_files},
    kind::Kind,
    split::Split,
};

/// The share of a text, from its beginning, that is trained on.
pub const TRAIN_SHARE: f64 = 0.9;

/// Where the text may be in the data folder, best first.
const FOLDERS: [&str; 3] = ["shakespeare", "tinyshakespeare", ""];

/// A text as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Each character, as its place in [`alphabet`](Self::alphabet).
    pub ids: Vec<usize>,
    /// The characters, in the order of their code points.
    pub alphabet: Vec<char>,
}

/// Windows of a text side by side: `targets` is `inputs` one character later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextBatch {
    /// The characters to read, `[batch, length]` in row-major order (one window after another).
    pub inputs: Vec<usize>,
    /// The character that follows each, of the same shape.
    pub targets: Vec<usize>,
    /// How many windows there are.
    pub batch: usize,
    /// How many characters each has.
    pub length: usize,
}

impl Text {
    /// A text over the alphabet of its own characters.
    pub fn new(text: &str) -> Self {
        let alphabet = alphabet::collect(std::iter::once(text));
        let place = |c: char| alphabet.binary_search(&c).ok();
        let ids = text.chars().filter_map(place).collect();
        Self { ids, alphabet }
    }

    /// How many characters it has.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
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

    /// Divides the text in two: its first nine tenths (rounded down) to train on, the rest to test
    /// on.
    ///
    /// Both keep the whole text's alphabet.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](super::ErrorKind::Argument) if a part would have less than two
    /// characters.
    pub fn split(&self) -> Result<Split<Self>> {
        self.split_at(TRAIN_SHARE)
    }

    /// The same, with another share (rounded down) to train on.
    ///
    /// # Errors
    /// As of [`split`](Self::split).
    pub fn split_at(&self, share: f64) -> Result<Split<Self>> {
        let at = (self.len() as f64 * share) as usize;
        let (train, test) = self.ids.split_at(at.min(self.len()));
        if train.len() < 2 || test.len() < 2 {
            return Err(Error::argument(format!(
                "a text of {} characters is too short to train and test on: give at least 20",
                self.len()
            )));
        }
        let part = |ids: &[usize]| Self { ids: ids.to_vec(), alphabet: self.alphabet.clone() };
        Ok(Split { train: part(train), test: part(test) })
    }

    /// Windows at random places, without end: each item is `batch` windows of `length` characters.
    ///
    /// Every place from which `length + 1` characters follow is equally likely, independently. With
    /// [`seeded(seed, epoch)`](super::seeded) as `rng`, the same epoch has the same windows.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](super::ErrorKind::Argument) if `batch` or `length` is 0, or the text
    /// is not longer than `length`.
    pub fn windows<R: Rng>(&self, batch: usize, length: usize, rng: R) -> Result<Windows<'_, R>> {
        self.check_windows(batch, length)?;
        Ok(Windows { ids: &self.ids, batch, length, rng })
    }

    /// Windows one after another from the beginning, for testing: each character is a target once.
    ///
    /// The last item may have fewer windows. What is left at the end, less than `length`
    /// characters, is left out, as is the first character, which nothing comes before.
    ///
    /// # Errors
    /// As of [`windows`](Self::windows).
    pub fn sweep(&self, batch: usize, length: usize) -> Result<Sweep<'_>> {
        self.check_windows(batch, length)?;
        Ok(Sweep { ids: &self.ids, batch, length, start: 0 })
    }

    /// The windows that start at these places, one after another.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](super::ErrorKind::Argument) if one does not end before the last
    /// character, or there are none.
    pub fn windows_at(&self, starts: &[usize], length: usize) -> Result<TextBatch> {
        self.check_windows(starts.len(), length)?;
        collect_batch(&self.ids, length, starts.iter().copied()).ok_or_else(|| {
            Error::argument(format!(
                "a window of {length} characters starts too near to the end of {}",
                self.len()
            ))
        })
    }

    fn check_windows(&self, batch: usize, length: usize) -> Result<()> {
        if batch == 0 || length == 0 {
            return Err(Error::argument(format!(
                "{batch} windows of {length} characters are nothing: give at least 1 of each"
            )));
        }
        if self.len() <= length {
            return Err(Error::argument(format!(
                "a text of {} characters has no window of {length} with a character after it: \
                 give shorter windows or a longer text",
                self.len()
            )));
        }
        Ok(())
    }
}

/// Windows at random places of a text; from [`Text::windows`].
#[derive(Clone, Debug)]
pub struct Windows<'a, R> {
    ids: &'a [usize],
    batch: usize,
    length: usize,
    rng: R,
}

impl<R: Rng> Iterator for Windows<'_, R> {
    type Item = TextBatch;

    fn next(&mut self) -> Option<TextBatch> {
        let places = self.ids.len() - self.length;
        let starts = (0..self.batch).map(|_| self.rng.random_range(0..places));
        collect_batch(self.ids, self.length, starts)
    }
}

/// Windows of a text one after another; from [`Text::sweep`].
#[derive(Clone, Debug)]
pub struct Sweep<'a> {
    ids: &'a [usize],
    batch: usize,
    length: usize,
    start: usize,
}

impl Iterator for Sweep<'_> {
    type Item = TextBatch;

    fn next(&mut self) -> Option<TextBatch> {
        let whole = (self.ids.len() - 1).saturating_sub(self.start) / self.length;
        let count = whole.min(self.batch);
        let starts = (0..count).map(|i| self.start + i * self.length);
        let item = collect_batch(self.ids, self.length, starts);
        self.start += count * self.length;
        item
    }
}

/// The windows that start at these places; none if there are none.
fn collect_batch(
    ids: &[usize],
    length: usize,
    starts: impl ExactSizeIterator<Item = usize>,
) -> Option<TextBatch> {
    let batch = starts.len();
    let mut item = TextBatch {
        inputs: Vec::with_capacity(batch * length),
        targets: Vec::with_capacity(batch * length),
        batch,
        length,
    };
    for start in starts {
        item.inputs.extend_from_slice(ids.get(start..start + length)?);
        item.targets.extend_from_slice(ids.get(start + 1..start + 1 + length)?);
    }
    (batch > 0).then_some(item)
}

/// Loads a text and divides it as [`Text::split`] does.
///
/// `path` may be a file. If it is a folder, its sub-folders `shakespeare` and `tinyshakespeare` are
/// looked in, then the folder itself: the first with an `input.txt` gives that file, or the first
/// with other `.txt` files gives all of them, sorted by name and joined, with a line end between
/// where one lacks it.
///
/// # Errors
/// [`ErrorKind::NotFound`](super::ErrorKind::NotFound) if there is no such file;
/// [`ErrorKind::Io`](super::ErrorKind::Io) if one cannot be read;
/// [`ErrorKind::Malformed`](super::ErrorKind::Malformed) if one is empty or not UTF-8 (with the
/// line); as of [`Text::split`].
pub fn load(path: &Path) -> Result<Split<Text>> {
    let mut whole = String::new();
    for file in find(path)? {
        let text = read_text(&file)?;
        if text.is_empty() {
            let remedy = "put the text there, or remove the file";
            return Err(Error::malformed(&file, Place::Whole, "the file is empty", remedy));
        }
        if !whole.is_empty() && !whole.ends_with('\n') {
            whole.push('\n');
        }
        whole.push_str(&text);
    }
    Text::new(&whole).split()
}

/// The files that make up the text.
fn find(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let advice = Kind::Shakespeare.advice(Some(path));
    check_folder(path, "text", &advice)?;
    for folder in FOLDERS {
        let folder = join(path, folder);
        let input = folder.join("input.txt");
        if input.is_file() {
            return Ok(vec![input]);
        }
        let files = visible_files(&folder, &["txt"])?;
        if !files.is_empty() {
            return Ok(files);
        }
    }
    let message = format!(
        "no text is here: looked in {} for input.txt and other .txt files; {advice}",
        folder_list(&FOLDERS)
    );
    Err(Error::not_found(path, message))
}
