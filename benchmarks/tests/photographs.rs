//! The loaders of photographs, Tiny ImageNet and SVHN, against small files made here: what is
//! right is read, and each way to be wrong is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::ZlibEncoder};
use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use pc_bench::data::{Data, Error, ErrorKind, Images, Kind, Split, load, svhn};
use tempfile::TempDir;

const BAD: ErrorKind = ErrorKind::Malformed;
const LOST: ErrorKind = ErrorKind::NotFound;

fn put(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// Checks an error's kind, and that its message has each of these parts.
#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, Error>, kind: ErrorKind, parts: &[&str]) {
    let error = result.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.kind(), kind, "{message}");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    assert!(!message.contains('\n'), "more than a line: {message}");
}

fn pictures(kind: Kind, dir: &Path) -> Result<Split<Images>, Error> {
    match load(kind, Some(dir), 0)? {
        Data::Images(split) => Ok(split),
        other => panic!("no pictures: {other:?}"),
    }
}

fn jpeg(picture: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// Its upper half is of one colour, its lower half of another.
fn photograph(upper: [u8; 3], lower: [u8; 3]) -> Vec<u8> {
    jpeg(RgbImage::from_fn(64, 64, |_, y| Rgb(if y < 32 { upper } else { lower })))
}

/// Two classes with two and one training pictures, one of them grey, and two to test on.
fn tiny_imagenet(dir: &Path) -> PathBuf {
    let root = dir.join("tiny-imagenet-200");
    put(&root, "wnids.txt", "n02\nn01\n\n");
    put(&root, "words.txt", "n01\tgoldfish, Carassius auratus\nn03\tshark\n");
    put(&root, "train/n02/images/n02_1.JPEG", photograph([200, 40, 90], [10, 240, 120]));
    let grey = jpeg(GrayImage::from_pixel(64, 64, Luma([77])));
    put(&root, "train/n02/images/n02_0.JPEG", grey);
    put(&root, "train/n02/n02_boxes.txt", "n02_0.JPEG\t0\t0\t9\t9\n");
    put(&root, "train/n01/images/n01_0.JPEG", photograph([0, 0, 0], [255, 255, 255]));
    put(&root, "val/images/val_0.JPEG", photograph([128, 128, 128], [128, 128, 128]));
    put(&root, "val/images/val_1.JPEG", photograph([5, 5, 5], [5, 5, 5]));
    let lines = "val_1.JPEG\tn01\t0\t0\t9\t9\nval_0.JPEG\tn02\t0\t0\t9\t9\n";
    put(&root, "val/val_annotations.txt", lines);
    root
}

#[test]
fn tiny_imagenet_round_trip() {
    let dir = TempDir::new().unwrap();
    let root = tiny_imagenet(dir.path());
    let data = pictures(Kind::TinyImagenet, dir.path()).unwrap();
    assert_eq!((data.train.shape, data.train.classes), ([3, 64, 64], 2));
    assert_eq!((&data.train.labels[..], &data.test.labels[..]), (&[0, 0, 1][..], &[1, 0][..]));
    assert_eq!(data.train.class_names, ["n02", "goldfish"]);
    // Coding moves a colour by a few of 256 levels.
    let close = |picture: &[f32], upper: [u8; 3], lower: [u8; 3]| {
        for (colour, plane) in picture.chunks_exact(64 * 64).enumerate() {
            for (place, own) in [(0, upper), (64 * 20 + 9, upper), (64 * 63 + 63, lower)] {
                let off = f32::from(own[colour]) - 255.0 * plane[place];
                assert!(off.abs() <= 4.0, "{off} at {place} of colour {colour}");
            }
        }
    };
    close(data.train.picture(0).unwrap(), [77; 3], [77; 3]);
    close(data.train.picture(1).unwrap(), [200, 40, 90], [10, 240, 120]);
    close(data.train.picture(2).unwrap(), [0; 3], [255; 3]);
    close(data.test.picture(1).unwrap(), [128; 3], [128; 3]);
    // The folder itself will do too.
    assert_eq!(pictures(Kind::TinyImagenet, &root).unwrap(), data);
}

#[test]
fn tiny_imagenet_wrong_folders() {
    let dir = TempDir::new().unwrap();
    says(
        pictures(Kind::TinyImagenet, dir.path()),
        LOST,
        &["wnids.txt", "no package registry", "unpack"],
    );
    put(dir.path(), "tiny-imagenet-200.zip", "of no matter");
    says(pictures(Kind::TinyImagenet, dir.path()), LOST, &["packed archive", "unpack"]);
    let broken = |name: &str, bytes: &[u8], kind: ErrorKind, parts: &[&str]| {
        let dir = TempDir::new().unwrap();
        let root = tiny_imagenet(dir.path());
        put(&root, name, bytes);
        says(pictures(Kind::TinyImagenet, dir.path()), kind, parts);
    };
    broken("wnids.txt", b"n02\nn01\nn02\n", BAD, &["wnids.txt, line 3: class n02", "second time"]);
    broken("wnids.txt", b"\n", BAD, &["wnids.txt", "no classes"]);
    broken("wnids.txt", b"n02\nn01\nn07\n", LOST, &["n07", "no pictures of class n07"]);
    broken("wnids.txt", b"n02\n", BAD, &["train/n01", "does not list class n01"]);
    let lists = "val/val_annotations.txt";
    broken(lists, b"val_0.JPEG\tn01\t0\nval_1.JPEG\n", BAD, &[lists, "line 2", "a tab between"]);
    broken(lists, b"val_0.JPEG\tn05\t0\n", BAD, &[lists, "line 1: class n05"]);
    broken(lists, b"val_9.JPEG\tn01\n", LOST, &["val_9.JPEG", "in line 1"]);
    broken(lists, b"val_0.JPEG\tn01\n", BAD, &["val_1.JPEG", "does not say its class"]);
    let twice = b"val_0.JPEG\tn01\nval_1.JPEG\tn01\nval_0.JPEG\tn02\n";
    broken(lists, twice, BAD, &["line 3: val_0.JPEG", "second time"]);
    broken(lists, b"\n", BAD, &[lists, "no pictures"]);
}

#[test]
fn tiny_imagenet_wrong_pictures() {
    let name = "train/n01/images/n01_0.JPEG";
    let broken = |bytes: &[u8], what: &str| {
        let dir = TempDir::new().unwrap();
        put(&tiny_imagenet(dir.path()), name, bytes);
        says(pictures(Kind::TinyImagenet, dir.path()), BAD, &[name, what, "fetch it again"]);
    };
    broken(b"", "no JPEG picture");
    broken(b"GIF89a, which is another format", "no JPEG picture");
    broken(&jpeg(RgbImage::new(64, 63)), "64x63 pixels, where 64x64 must be");
    let speckled = RgbImage::from_fn(64, 64, |x, y| Rgb([x as u8 * 4, (x * y) as u8, y as u8 * 3]));
    let whole = jpeg(speckled);
    for end in (2..whole.len()).step_by(97).chain([whole.len() - 2, whole.len() - 1]) {
        broken(&whole[..end], "picture");
    }
}

/// An element of a MATLAB file, filled up.
fn element(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), (content.len() as u32).to_le_bytes()].concat();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// One of at most four bytes, in eight.
fn short(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = ((content.len() as u32) << 16 | kind).to_le_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(8, 0);
    bytes
}

fn array(name: &str, class: u8, sizes: &[i32], numbers: Vec<u8>) -> Vec<u8> {
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    let parts =
        [element(6, &[class, 0, 0, 0, 0, 0, 0, 0]), element(5, &sizes), short(1, name.as_bytes())];
    element(14, &[parts.concat(), numbers].concat())
}

fn packed(element: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(element).unwrap();
    let content = encoder.finish().unwrap();
    [&15u32.to_le_bytes(), &(content.len() as u32).to_le_bytes(), &content[..]].concat()
}

fn matlab(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
    bytes.resize(124, b' ');
    bytes.extend([0, 1, b'I', b'M']);
    elements.iter().for_each(|element| bytes.extend(element));
    bytes
}

/// A number for each line, column, colour and picture.
fn level(line: usize, column: usize, colour: usize, picture: usize) -> u8 {
    (line * 7 + column * 3 + colour * 50 + picture * 11) as u8
}

fn pixels(count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for k in 0..count * 3072 {
        all.push(level(k % 32, k / 32 % 32, k / 1024 % 3, k / 3072));
    }
    all
}

fn x(count: usize) -> Vec<u8> {
    array("X", 9, &[32, 32, 3, count as i32], element(2, &pixels(count)))
}

#[test]
fn svhn_round_trip() {
    let doubles: Vec<u8> = [10.0_f64, 3.0].iter().flat_map(|y| y.to_le_bytes()).collect();
    let other = array("meta", 4, &[1, 2], element(4, b"a\0b\0"));
    let train = [packed(&x(2)), other, packed(&array("y", 6, &[2, 1], element(9, &doubles)))];
    // MATLAB keeps doubles that are small whole numbers in fewer bytes, and drops a last size of 1.
    let one = array("X", 9, &[32, 32, 3], element(2, &pixels(1)));
    let test = [array("y", 6, &[1, 1], short(2, &[9])), one];
    for folder in ["svhn", ""] {
        let dir = TempDir::new().unwrap();
        put(&dir.path().join(folder), "train_32x32.mat", matlab(&train));
        put(&dir.path().join(folder), "test_32x32.mat", matlab(&test));
        let data = pictures(Kind::Svhn, dir.path()).unwrap();
        assert_eq!((data.train.shape, data.train.classes), ([3, 32, 32], 10));
        assert_eq!((&data.train.labels[..], &data.test.labels[..]), (&[0, 3][..], &[9][..]));
        let picture = data.train.picture(1).unwrap();
        for (line, column, colour) in [(0, 0, 0), (3, 0, 0), (0, 5, 1), (31, 30, 2)] {
            let own = picture[(colour * 32 + line) * 32 + column];
            assert_eq!(own, f32::from(level(line, column, colour, 1)) / 255.0);
        }
    }
}

#[test]
fn svhn_wrong_files() {
    let dir = TempDir::new().unwrap();
    says(pictures(Kind::Svhn, dir.path()), LOST, &["train_32x32.mat", "cropped digits"]);
    put(dir.path(), "svhn/train.tar.gz", "of no matter");
    says(pictures(Kind::Svhn, dir.path()), LOST, &["whole photographs"]);
    let read = |bytes: &[u8]| svhn::read(&put(dir.path(), "a.mat", bytes));
    let y = |labels: &[u8]| array("y", 9, &[labels.len() as i32, 1], element(2, labels));
    let good = matlab(&[x(2), y(&[1, 10])]);
    assert_eq!(read(&good).unwrap().labels, [1, 0]);

    says(read(&good[..100]), BAD, &["a.mat, byte 100", "inside its header"]);
    let mut other = good.clone();
    other[124..128].copy_from_slice(&[1, 0, b'M', b'I']);
    says(read(&other), BAD, &["byte 124", "other byte order"]);
    other[124..128].copy_from_slice(b"ABCD");
    says(read(&other), BAD, &["byte 124", "no MATLAB file"]);
    says(read(b"\x89HDF\r\n\x1a\n and so on"), BAD, &["7.3 (HDF5)", "-v7"]);
    let labels = good.len() - y(&[1, 10]).len();
    for end in [129, 140, labels - 1, labels + 3, good.len() - 8] {
        let at = if end < labels { 128 } else { labels };
        says(read(&good[..end]), BAD, &[&format!("byte {at}"), "ends inside an element"]);
    }
    says(read(&good[..labels]), BAD, &["no array of numbers called y"]);
    for (label, picture) in [(0, 1), (11, 0)] {
        let mut labels = [1, 1];
        labels[picture] = label;
        let what = format!("label {label} of picture {picture}");
        says(read(&matlab(&[x(2), y(&labels)])), BAD, &[&what, "1 to 10"]);
    }
    says(read(&matlab(&[x(2), y(&[1])])), BAD, &["1 labels for the 2 pictures"]);
    says(read(&matlab(&[x(0), y(&[])])), BAD, &["no pictures"]);
    let grey = array("X", 9, &[32, 32, 1, 3], element(2, &pixels(1)));
    says(read(&matlab(&[grey, y(&[1])])), BAD, &["[32, 32, 1, 3]", "32x32x3xN"]);
    let few = array("X", 9, &[32, 32, 3, 2], element(2, &pixels(1)));
    says(read(&matlab(&[few])), BAD, &["X has 3072 bytes", "[32, 32, 3, 2]"]);
    let halves: Vec<u8> = [1.0_f64, 1.5].iter().flat_map(|y| y.to_le_bytes()).collect();
    let halves = array("y", 6, &[2, 1], element(9, &halves));
    says(read(&matlab(&[x(2), halves.clone()])), BAD, &["number 1 of y", "0 to 255"]);
    let inside = matlab(&[packed(&x(2)), packed(&halves)]);
    says(read(&inside), BAD, &["number 1 of y", "of what is packed there"]);
    let text = array("y", 9, &[1, 1], element(16, b"1"));
    says(read(&matlab(&[x(1), text])), BAD, &["unknown type 16"]);

    // Damage and cuts in what is packed.
    let whole = matlab(&[packed(&x(2)), packed(&y(&[1, 10]))]);
    assert_eq!(read(&whole).unwrap().labels, [1, 0]);
    let mut damaged = whole.clone();
    damaged[150] ^= 0xff;
    damaged[151] ^= 0xff;
    says(read(&damaged), BAD, &["a.mat"]);
    for end in (129..whole.len()).step_by(211) {
        says(read(&whole[..end]), BAD, &["a.mat"]);
    }
}
