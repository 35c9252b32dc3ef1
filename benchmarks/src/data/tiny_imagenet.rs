//! Tiny ImageNet, from its standard folder of JPEG pictures.
//!
//! The folder has `wnids.txt` (the classes, one a line), `train/CLASS/images/*.JPEG`,
//! `val/images/*.JPEG` with their classes in `val/val_annotations.txt` (a line for each picture:
//! its name, its class and a box, between tabs), and mostly `words.txt` (what each class is
//! called). Labels count the classes in the order of `wnids.txt`. What is tested on is `val`, since
//! the pictures of `test` have no public labels. Every picture must have 64x64 pixels; a grey one
//! is taken as three equal colours. Pixels are divided by 255; the shape is `[3, 64, 64]`. The full
//! set has 100,000 and 10,000 pictures, 5.4 GB as numbers.
//!
//! Y. Le and X. Yang, "Tiny ImageNet Visual Recognition Challenge", 2015.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use zune_jpeg::{
    JpegDecoder,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{
    error::{Error, Place, Result},
    file::{Layout, REFETCH, join, locate, read_text, visible_files},
    images::Images,
    kind::Kind,
    split::Split,
};

/// The lines and the columns of a picture.
const SIDE: usize = 64;

/// One picture's shape.
const SHAPE: [usize; 3] = [3, SIDE, SIDE];

/// How many numbers one picture has.
const FEATURES: usize = 3 * SIDE * SIDE;

/// Where in the data folder it is looked for.
const FOLDERS: [&str; 4] =
    ["tiny-imagenet-200", "tiny-imagenet/tiny-imagenet-200", "tiny-imagenet", ""];

/// The list of the classes.
const LIST: &str = "wnids.txt";

/// The end of every whole JPEG file; its bytes stand nowhere within the coded pixels.
const END_OF_PICTURE: [u8; 2] = [0xff, 0xd9];

/// Loads Tiny ImageNet from `tiny-imagenet-200`, `tiny-imagenet/tiny-imagenet-200` or
/// `tiny-imagenet` in `dir`, or from `dir` itself. Pictures are decoded by all threads of rayon's
/// pool.
///
/// # Errors
/// [`ErrorKind::NotFound`](super::ErrorKind::NotFound) if a list, a folder or a picture is missing;
/// [`ErrorKind::Malformed`](super::ErrorKind::Malformed) if a list names a class twice or one that
/// is unknown, a class has no pictures, a folder has pictures that no list names, or a picture is
/// damaged, cut short or of another size.
pub fn load(dir: &Path) -> Result<Split<Images>> {
    let layout = Layout {
        title: "Tiny ImageNet",
        folders: &FOLDERS,
        files: &[&[LIST], &["val/val_annotations.txt"]],
        elsewise: (&["tiny-imagenet-200.zip"], "a packed archive"),
    };
    let advice = Kind::TinyImagenet.advice(Some(dir));
    let paths = locate(dir, &layout, &advice)?;
    let [list, annotations] = paths.as_slice() else {
        return Err(Error::not_found(dir, advice));
    };
    let root = list.parent().unwrap_or(dir);
    let classes = Classes::read(list)?;
    let names = classes.called(&root.join("words.txt"))?;
    let train = training(root, &classes, list, &advice)?;
    let val = validation(&root.join("val/images"), &classes, annotations)?;
    Ok(Split { train: decoded(train, names.clone())?, test: decoded(val, names)? })
}

/// Whether a folder of data has Tiny ImageNet where [`load`] looks for it.
pub fn is_in(dir: &Path) -> bool {
    FOLDERS.iter().any(|folder| join(dir, folder).join(LIST).is_file())
}

/// Pictures that are not read yet, each with its class.
type Places = Vec<(PathBuf, usize)>;

/// The classes, by their numbers in WordNet.
struct Classes {
    /// In the order of their labels.
    ids: Vec<String>,
    labels: BTreeMap<String, usize>,
}

impl Classes {
    fn read(list: &Path) -> Result<Self> {
        let (mut ids, mut labels) = (Vec::new(), BTreeMap::new());
        for (line, id) in lines(&read_text(list)?) {
            if labels.insert(id.clone(), ids.len()).is_some() {
                let what = format!("class {id} is listed a second time");
                return Err(Error::malformed(list, Place::Line(line), what, "list it once"));
            }
            ids.push(id);
        }
        if ids.is_empty() {
            return Err(Error::malformed(list, Place::Whole, "it lists no classes", REFETCH));
        }
        Ok(Self { ids, labels })
    }

    /// What people call the classes: the first word of each in the list of words, or its number
    /// where there is no such list or no such word.
    fn called(&self, words: &Path) -> Result<Vec<String>> {
        let mut called = BTreeMap::new();
        if words.is_file() {
            for (_, line) in lines(&read_text(words)?) {
                if let Some((id, all)) = line.split_once('\t') {
                    let first = all.split(',').next().unwrap_or(all);
                    called.insert(id.trim().to_owned(), first.trim().to_owned());
                }
            }
        }
        Ok(self.ids.iter().map(|id| called.get(id).unwrap_or(id).clone()).collect())
    }
}

/// The lines that are not empty, with their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (usize, String)> + '_ {
    let lines = text.lines().enumerate().map(|(k, line)| (k + 1, line.trim().to_owned()));
    lines.filter(|(_, line)| !line.is_empty())
}

/// The JPEG files in a folder, by name; other files there are no part of the set.
fn jpegs(folder: &Path) -> Result<Vec<PathBuf>> {
    visible_files(folder, &["jpeg", "jpg"])
}

fn training(root: &Path, classes: &Classes, list: &Path, advice: &str) -> Result<Places> {
    let folder = root.join("train");
    let mut places = Vec::new();
    for (label, id) in classes.ids.iter().enumerate() {
        let images = folder.join(id).join("images");
        let found = jpegs(&images)?;
        if found.is_empty() {
            let message = format!(
                "no pictures of class {id}, which {} lists (NAME.JPEG); {advice}",
                list.display()
            );
            return Err(Error::not_found(&images, message));
        }
        places.extend(found.into_iter().map(|path| (path, label)));
    }
    let entries = fs::read_dir(&folder).map_err(|e| Error::io(&folder, "list the folder", e))?;
    for entry in entries {
        let path = entry.map_err(|e| Error::io(&folder, "list the folder", e))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.filter(|name| !name.starts_with('.') && path.is_dir());
        if let Some(name) = name.filter(|name| !classes.labels.contains_key(name)) {
            let what = format!("{} does not list class {name}", list.display());
            return Err(Error::malformed(&path, Place::Whole, what, "list it, or move it away"));
        }
    }
    Ok(places)
}

fn validation(folder: &Path, classes: &Classes, annotations: &Path) -> Result<Places> {
    let (mut places, mut named) = (Vec::new(), BTreeSet::new());
    let wrong = |line, what: String| {
        Error::malformed(annotations, Place::Line(line), what, "fetch the file again")
    };
    for (line, text) in lines(&read_text(annotations)?) {
        let mut fields = text.split('\t').map(str::trim);
        let (Some(name), Some(id)) = (fields.next(), fields.next()) else {
            let what = "a picture's name and its class must stand here, with a tab between";
            return Err(wrong(line, what.to_owned()));
        };
        let Some(&label) = classes.labels.get(id) else {
            return Err(wrong(line, format!("class {id} is not in wnids.txt")));
        };
        let path = folder.join(name);
        if !named.insert(path.clone()) {
            return Err(wrong(line, format!("{name} is named a second time")));
        }
        if !path.is_file() {
            let message = format!("{} names it in line {line}; {REFETCH}", annotations.display());
            return Err(Error::not_found(&path, message));
        }
        places.push((path, label));
    }
    if places.is_empty() {
        return Err(Error::malformed(annotations, Place::Whole, "it names no pictures", REFETCH));
    }
    if let Some(path) = jpegs(folder)?.into_iter().find(|path| !named.contains(path)) {
        let what = format!("{} does not say its class", annotations.display());
        return Err(Error::malformed(&path, Place::Whole, what, "name it there, or move it away"));
    }
    Ok(places)
}

/// Reads the pictures, all threads at once. Of several that are wrong the first is named.
fn decoded(places: Places, names: Vec<String>) -> Result<Images> {
    let mut pixels = vec![0.0; places.len() * FEATURES];
    let read = pixels.par_chunks_exact_mut(FEATURES).zip(&places);
    if let Some(error) = read.find_map_first(|(into, (path, _))| decode(path, into).err()) {
        return Err(error);
    }
    let labels = places.into_iter().map(|(_, label)| label).collect();
    Images::new(pixels, SHAPE, labels, names)
}

/// Reads one picture into its place, `[3, 64, 64]`.
fn decode(path: &Path, into: &mut [f32]) -> Result<()> {
    let wrong = |what: String| Error::malformed(path, Place::Whole, what, REFETCH);
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read the file", e))?;
    let options =
        DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes.as_slice()), options);
    let unreadable = |error: String| {
        // Its messages may have several lines.
        let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
        wrong(format!("no JPEG picture that can be read ({error})"))
    };
    decoder.decode_headers().map_err(|e| unreadable(e.to_string()))?;
    match decoder.dimensions() {
        Some((SIDE, SIDE)) => (),
        size => {
            let (width, height) = size.unwrap_or((0, 0));
            let what = format!("a picture of {width}x{height} pixels, where {SIDE}x{SIDE} must be");
            return Err(wrong(what));
        }
    }
    if !bytes.windows(2).any(|pair| pair == END_OF_PICTURE) {
        return Err(wrong("the picture ends early".to_owned()));
    }
    let colours = decoder.decode().map_err(|e| unreadable(e.to_string()))?;
    if colours.len() != FEATURES {
        return Err(wrong(format!("{} numbers, where {FEATURES} must be", colours.len())));
    }
    for (place, pixel) in colours.chunks_exact(3).enumerate() {
        for (plane, &colour) in into.chunks_exact_mut(SIDE * SIDE).zip(pixel) {
            if let Some(x) = plane.get_mut(place) {
                *x = f32::from(colour) / 255.0;
            }
        }
    }
    Ok(())
}
