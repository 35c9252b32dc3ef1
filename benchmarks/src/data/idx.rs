//! The IDX format of MNIST and its likes.
//!
//! A file is a magic number (two zero bytes, the element type, the number of dimensions), one
//! big-endian 32-bit size per dimension, then the elements, the last dimension fastest. Only
//! unsigned bytes are taken: pictures with magic number `0x00000803` and labels with `0x00000801`.
//! A file may be packed with gzip, which is told by its content, not by its name; byte offsets in
//! messages are of the unpacked file.
//!
//! The format: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".

use std::path::Path;

use super::error::{Error, Place, Result};
use super::file::{REFETCH, read_at_most};
use super::images::Images;

/// The element type that is taken: unsigned bytes.
const UNSIGNED_BYTE: u8 = 0x08;

/// Pictures as an IDX file has them: one channel, one byte a pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxImages {
    /// How many pictures there are.
    pub count: usize,
    /// Their height in pixels.
    pub rows: usize,
    /// Their width in pixels.
    pub cols: usize,
    /// The pixels from 0 to 255, `[count, rows, cols]` in row-major order.
    pub pixels: Vec<u8>,
}

/// Reads a file of pictures (magic number `0x00000803`).
///
/// # Errors
/// [`ErrorKind::Io`](super::ErrorKind::Io) if it cannot be read;
/// [`ErrorKind::Malformed`](super::ErrorKind::Malformed) if it has another magic number, holds no
/// picture, is cut short, or goes on after the last picture.
pub fn read_images(path: &Path) -> Result<IdxImages> {
    let mut pixels = read::<3>(path)?;
    let ([count, rows, cols], start) = header::<3>(&pixels, path)?;
    pixels.drain(..start);
    Ok(IdxImages { count, rows, cols, pixels })
}

/// Reads a file of labels (magic number `0x00000801`).
///
/// # Errors
/// As of [`read_images`].
pub fn read_labels(path: &Path) -> Result<Vec<u8>> {
    let mut labels = read::<1>(path)?;
    let ([_], start) = header::<1>(&labels, path)?;
    labels.drain(..start);
    Ok(labels)
}

/// Reads a file of pictures and the file of their labels; pixels are divided by 255.
///
/// The shape is `[1, rows, cols]`; labels index `class_names`.
///
/// # Errors
/// As of [`read_images`]; and [`ErrorKind::Malformed`](super::ErrorKind::Malformed) if the two
/// files differ in number or a label has no name.
pub fn load(images: &Path, labels: &Path, class_names: Vec<String>) -> Result<Images> {
    let pictures = read_images(images)?;
    let classes = read_labels(labels)?;
    if pictures.count != classes.len() {
        let what = format!(
            "{} labels for the {} pictures of {}",
            classes.len(),
            pictures.count,
            images.display()
        );
        let remedy = "the two files are not of one set: fetch both again";
        return Err(Error::malformed(labels, Place::Whole, what, remedy));
    }
    if let Some(record) = classes.iter().position(|&class| usize::from(class) >= class_names.len())
    {
        let what = format!(
            "label {} is out of range: there are {} classes, counted from 0",
            classes.get(record).copied().unwrap_or_default(),
            class_names.len()
        );
        let byte = header_len(1) + record;
        return Err(Error::malformed(labels, Place::Record { record, byte }, what, REFETCH));
    }
    let pixels = pictures.pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
    let classes = classes.into_iter().map(usize::from).collect();
    Images::new(pixels, [1, pictures.rows, pictures.cols], classes, class_names)
}

/// Reads a file of `D` dimensions. Of a packed one that is longer than its header says, one byte
/// more than that is unpacked.
fn read<const D: usize>(path: &Path) -> Result<Vec<u8>> {
    let start = header_len(D);
    read_at_most(path, start as u64, |head| {
        let sizes = head.get(4..start).unwrap_or_default().chunks_exact(4);
        let size =
            |word: &[u8]| word.iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
        let elements = sizes.map(size).fold(1, u64::saturating_mul);
        (start as u64 + 1).saturating_add(elements)
    })
}

/// How many bytes come before the elements.
const fn header_len(dims: usize) -> usize {
    4 + 4 * dims
}

/// Reads the sizes of a file of `D` dimensions, and checks that the file is exactly so long.
///
/// Gives the sizes and where the elements start. Nothing is set aside on the header's word alone.
fn header<const D: usize>(bytes: &[u8], path: &Path) -> Result<([usize; D], usize)> {
    let fail = |place, what: String, remedy: &str| Error::malformed(path, place, what, remedy);
    let start = header_len(D);
    if bytes.is_empty() {
        return Err(fail(Place::Whole, "the file is empty".into(), REFETCH));
    }
    if let Some(&magic) = bytes.first_chunk::<4>() {
        check_magic(magic, D).map_err(|what| {
            let remedy = "check that this is the file meant, or fetch it again";
            fail(Place::Byte(0), what, remedy)
        })?;
    }
    let Some(words) = bytes.get(4..start) else {
        let what = format!("the file ends inside its header of {start} bytes");
        return Err(fail(Place::Byte(bytes.len()), what, REFETCH));
    };
    let mut sizes = [0; D];
    for (i, (size, word)) in sizes.iter_mut().zip(words.chunks_exact(4)).enumerate() {
        *size = word.iter().fold(0, |value, &byte| value << 8 | usize::from(byte));
        if *size == 0 {
            let what = match i {
                0 => "the file says it holds no records".to_owned(),
                _ => "the file says its pictures have no pixels".to_owned(),
            };
            return Err(fail(Place::Byte(4 + 4 * i), what, REFETCH));
        }
    }
    let count = sizes.first().copied().unwrap_or(0);
    let record_len = sizes.iter().skip(1).try_fold(1_usize, |n, &size| n.checked_mul(size));
    let promised = record_len.and_then(|n| n.checked_mul(count));
    let (Some(record_len), Some(promised)) = (record_len, promised) else {
        let what = format!("sizes of {sizes:?} are more than memory can hold");
        return Err(fail(Place::Byte(4), what, REFETCH));
    };
    let have = bytes.len() - start;
    if have < promised {
        let place = Place::Record { record: have / record_len, byte: bytes.len() };
        let what = format!(
            "the file ends here; its header says {count} records of {record_len} bytes, \
             {promised} in all, and {have} are there"
        );
        return Err(fail(place, what, REFETCH));
    }
    if have > promised {
        // Of a packed file no more than the first was unpacked.
        let more = have - promised;
        let what = format!("at least {more} bytes follow the last of the {count} records");
        return Err(fail(Place::Byte(start + promised), what, REFETCH));
    }
    Ok((sizes, start))
}

/// Says what is wrong with a magic number, where unsigned bytes in `dims` dimensions are wanted.
fn check_magic(magic: [u8; 4], dims: usize) -> Result<(), String> {
    let number = u32::from_be_bytes(magic);
    let wanted = u32::from(UNSIGNED_BYTE) << 8 | dims as u32;
    let expected = format!("this reader wants 0x{wanted:08x}");
    let [zero, also_zero, element, found] = magic;
    if zero != 0 || also_zero != 0 {
        return Err(format!("magic number 0x{number:08x} is not of an IDX file; {expected}"));
    }
    if element != UNSIGNED_BYTE {
        let name = match element {
            0x09 => "signed bytes",
            0x0b => "16-bit integers",
            0x0c => "32-bit integers",
            0x0d => "32-bit floats",
            0x0e => "64-bit floats",
            _ => "no known type",
        };
        return Err(format!(
            "magic number 0x{number:08x} says elements of type 0x{element:02x} ({name}); \
             {expected}, unsigned bytes"
        ));
    }
    if usize::from(found) != dims {
        let name = match found {
            1 => " (labels)",
            3 => " (pictures)",
            _ => "",
        };
        return Err(format!(
            "magic number 0x{number:08x} says {found} dimensions{name}; {expected}, {dims}"
        ));
    }
    Ok(())
}
