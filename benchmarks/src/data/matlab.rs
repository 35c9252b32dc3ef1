//! Arrays of small whole numbers from MATLAB's files of version 5 (what MATLAB saves as `-v6` and
//! `-v7`).
//!
//! A file is 128 bytes of header and then elements: a tag (type and length, 4 bytes each) and the
//! content, filled up to 8 bytes; where the content has at most 4 bytes, both share 8 bytes, with
//! the length in the upper half of the first four. An array is an element of further ones: flags
//! with its class, its sizes, its name, its numbers with the first index going fastest. An element
//! may be packed with zlib, tag and all. "MAT-File Format", The MathWorks.

use std::{io::Read, path::Path};

use flate2::read::ZlibDecoder;

use super::{
    error::{Error, Place, Result},
    file::{REFETCH, read as read_file},
};

/// The bytes before the first element.
const HEADER: usize = 128;

/// The bytes of a tag.
const TAG: usize = 8;

/// Types of elements.
const ARRAY: u32 = 14;
const PACKED: u32 = 15;

/// The classes of arrays of numbers: from doubles to whole numbers of 64 bits.
const NUMBERS: std::ops::RangeInclusive<u8> = 6..=15;

/// The bit of an array's flags that says that its numbers are complex.
const COMPLEX: u8 = 0x08;

/// How HDF5 files begin, which MATLAB saves as `-v7.3`, here or after 512 bytes.
const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

/// What to do about a file of the right set in the wrong format.
const OTHER: &str = "take the set's own file, or save it with -v7";

/// An array of whole numbers from 0 to 255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Array {
    /// Its sizes.
    pub(super) dims: Vec<usize>,
    /// Its numbers, the first index fastest.
    pub(super) numbers: Vec<u8>,
}

/// Reads the arrays of these names; others are passed over.
///
/// # Errors
/// [`ErrorKind::Io`](super::ErrorKind::Io) if the file cannot be read;
/// [`ErrorKind::Malformed`](super::ErrorKind::Malformed) if it is of another format, damaged or cut
/// short, or an array is missing or has other numbers.
pub(super) fn read<const N: usize>(path: &Path, names: [&str; N]) -> Result<[Array; N]> {
    let bytes = read_file(path)?;
    check_header(path, &bytes)?;
    let mut found: [Option<Array>; N] = std::array::from_fn(|_| None);
    let mut elements = Elements { path, bytes: &bytes, at: HEADER, packed: None };
    while elements.at < bytes.len() {
        let start = elements.at;
        let (kind, content) = elements.next()?;
        let unpacked;
        let mut array = match kind {
            // Within its own bytes, and with places told from the file's beginning.
            ARRAY => {
                let end = start + TAG + content.len();
                let bytes = bytes.get(..end).unwrap_or(&bytes);
                Elements { path, bytes, at: start + TAG, packed: None }
            }
            PACKED => {
                unpacked = unpack(path, start, content)?;
                let mut inner = Elements { path, bytes: &unpacked, at: 0, packed: Some(start) };
                if inner.next()?.0 != ARRAY {
                    continue;
                }
                Elements { at: TAG, ..inner }
            }
            _ => continue,
        };
        array.read(&names, &mut found)?;
    }
    let mut all = Vec::with_capacity(N);
    for (name, array) in names.iter().zip(found) {
        let missing = || {
            let what = format!("it has no array of numbers called {name}");
            Error::malformed(path, Place::Whole, what, "check that it is the set's own file")
        };
        all.push(array.ok_or_else(missing)?);
    }
    all.try_into().map_err(|_| Error::inconsistent("as many arrays as names"))
}

fn check_header(path: &Path, bytes: &[u8]) -> Result<()> {
    let wrong = |byte, what: &str, remedy| {
        Err(Error::malformed(path, Place::Byte(byte), what.to_owned(), remedy))
    };
    let begins = |from: usize| bytes.get(from..).is_some_and(|rest| rest.starts_with(HDF5));
    if begins(0) || begins(512) {
        return wrong(0, "this is MATLAB's format 7.3 (HDF5), and version 5 is read here", OTHER);
    }
    match bytes.get(HEADER - 4..HEADER) {
        None => wrong(bytes.len(), "the file ends inside its header of 128 bytes", REFETCH),
        Some([0, 1, b'I', b'M']) => Ok(()),
        Some([1, 0, b'M', b'I']) => {
            wrong(HEADER - 4, "this is a MATLAB file of a machine with the other byte order", OTHER)
        }
        Some(_) => wrong(HEADER - 4, "this is no MATLAB file of version 5", OTHER),
    }
}

/// The array that a packed element holds, with its tag, and no byte more than the tag says.
fn unpack(path: &Path, start: usize, content: &[u8]) -> Result<Vec<u8>> {
    let mut packed = ZlibDecoder::new(content);
    let mut plain = Vec::new();
    let unpacked = packed.by_ref().take(TAG as u64).read_to_end(&mut plain).and_then(|_| {
        let length = plain.get(4..TAG).and_then(word).unwrap_or(0);
        packed.take(u64::from(length)).read_to_end(&mut plain)
    });
    unpacked.map_err(|e| {
        let what = format!("the packed element is damaged ({e})");
        Error::malformed(path, Place::Byte(start), what, REFETCH)
    })?;
    Ok(plain)
}

/// The whole number of four bytes.
fn word(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// Elements one after another.
struct Elements<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
    /// Where the packed element that holds them begins, if one does.
    packed: Option<usize>,
}

impl<'a> Elements<'a> {
    fn wrong(&self, at: usize, what: impl Into<String>) -> Error {
        let (place, what) = match self.packed {
            Some(start) => (start, format!("{} (byte {at} of what is packed there)", what.into())),
            None => (at, what.into()),
        };
        Error::malformed(self.path, Place::Byte(place), what, REFETCH)
    }

    /// The next element: its type and content.
    fn next(&mut self) -> Result<(u32, &'a [u8])> {
        let start = self.at;
        let (kind, from, content) = self.element(start)?;
        // A packed one has no filling, and the last one may lack its own.
        let end = from + content.len();
        let filled = if kind == PACKED { end } else { end.next_multiple_of(TAG) };
        self.at = filled.min(self.bytes.len());
        Ok((kind, content))
    }

    /// The element that begins here: its type, where its content begins, and that.
    fn element(&self, start: usize) -> Result<(u32, usize, &'a [u8])> {
        let early = || self.wrong(start, "the file ends inside an element");
        let from = start.saturating_add(TAG);
        let tag = self.bytes.get(start..from).ok_or_else(early)?;
        let (kind, length) = word(tag).zip(tag.get(4..).and_then(word)).ok_or_else(early)?;
        let (kind, from, length) = match kind >> 16 {
            0 => (kind, from, length as usize),
            short @ 1..=4 => (kind & 0xffff, start + 4, short as usize),
            _ => return Err(self.wrong(start, "this is no element of a MATLAB file")),
        };
        let content = self.bytes.get(from..from.saturating_add(length)).ok_or_else(early)?;
        Ok((kind, from, content))
    }

    /// Reads the parts of an array, where its name is one of these.
    fn read<const N: usize>(
        &mut self,
        names: &[&str; N],
        found: &mut [Option<Array>; N],
    ) -> Result<()> {
        let (_, flags) = self.next()?;
        let &[class, bits, ..] = flags else {
            return Err(self.wrong(self.at, "an array without flags"));
        };
        let (kind, sizes) = self.next()?;
        let (_, name) = self.next()?;
        let named = names.iter().zip(found).find(|(own, _)| own.as_bytes() == name);
        let Some((name, into)) = named.filter(|_| NUMBERS.contains(&class)) else {
            return Ok(());
        };
        if bits & COMPLEX != 0 {
            return Err(self.wrong(self.at, format!("{name} has complex numbers")));
        }
        let whole = kind == 5 && sizes.len() % 4 == 0;
        let sizes = sizes.chunks_exact(4).map(|size| word(size).map(|size| size as usize));
        let dims: Option<Vec<usize>> = sizes.collect();
        let Some(dims) = dims.filter(|_| whole) else {
            return Err(self.wrong(self.at, format!("the sizes of {name} are no whole numbers")));
        };
        let start = self.at;
        let (kind, content) = self.next()?;
        let (width, number) = form(kind).ok_or_else(|| {
            self.wrong(start, format!("{name} has numbers of unknown type {kind}"))
        })?;
        let count = dims.iter().try_fold(1, |all: usize, size| all.checked_mul(*size));
        if count.and_then(|count| count.checked_mul(width)) != Some(content.len()) {
            let what =
                format!("{name} has {} bytes, which its sizes {dims:?} are not", content.len());
            return Err(self.wrong(start, what));
        }
        let small = |(k, bytes): (usize, &[u8])| {
            let x = number(bytes).filter(|x| x.fract() == 0.0 && (0.0..=255.0).contains(x));
            x.map(|x| x as u8).ok_or_else(|| {
                self.wrong(start, format!("number {k} of {name} is not a whole one from 0 to 255"))
            })
        };
        let numbers = content.chunks_exact(width).enumerate().map(small);
        let numbers = numbers.collect::<Result<Vec<u8>>>()?;
        *into = Some(Array { dims, numbers });
        Ok(())
    }
}

/// How numbers of a type are kept: their bytes, and what they come to.
type Form = (usize, fn(&[u8]) -> Option<f64>);

fn form(kind: u32) -> Option<Form> {
    macro_rules! of {
        ($number:ty) => {
            (size_of::<$number>(), |bytes| {
                Some(<$number>::from_le_bytes(bytes.try_into().ok()?) as f64)
            })
        };
    }
    Some(match kind {
        1 => of!(i8),
        2 => of!(u8),
        3 => of!(i16),
        4 => of!(u16),
        5 => of!(i32),
        6 => of!(u32),
        7 => of!(f32),
        9 => of!(f64),
        12 => of!(i64),
        13 => of!(u64),
        _ => return None,
    })
}
