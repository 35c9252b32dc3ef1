//! The data loaders, against small files made here: each format, plain and packed, and each way to
//! be wrong. Names and text, splits and batches are tested beside their code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use pc_bench::data::{
    Batches, Data, Error, ErrorKind, Images, Kind, cifar, digits, idx, load, mnist, text,
};
use tempfile::TempDir;

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn put(dir: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn idx_file(magic: u32, sizes: &[u32], body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.to_be_bytes().to_vec();
    sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(body);
    bytes
}

/// `count` pictures of 2x3 pixels, and labels 0, 1, .. 9, 0, ..
fn idx_pair(count: u32) -> (Vec<u8>, Vec<u8>) {
    let pixels: Vec<u8> = (0..count * 6).map(|i| (i * 7 % 256) as u8).collect();
    let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
    (idx_file(0x803, &[count, 2, 3], &pixels), idx_file(0x801, &[count], &labels))
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

fn digit_names() -> Vec<String> {
    ('0'..='9').map(String::from).collect()
}

const BAD: ErrorKind = ErrorKind::Malformed;

#[test]
fn digits_are_whole_and_split_by_class() {
    let data = digits(3).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (1438, 359));
    for part in [&data.train, &data.test] {
        part.check().unwrap();
        assert_eq!((part.shape, part.classes), ([1, 8, 8], 10));
        assert!(part.pixels.iter().all(|p| (0.0..=1.0).contains(p)));
        assert!(part.pixels.contains(&1.0));
    }
    for class in 0..10 {
        let count = |part: &Images| part.labels.iter().filter(|&&l| l == class).count();
        let (train, test) = (count(&data.train), count(&data.test));
        assert_eq!(test, ((train + test) as f64 * 0.2).round() as usize);
    }
    assert_eq!(data, digits(3).unwrap());
    assert_ne!(data.test.labels, digits(4).unwrap().test.labels);
}

#[test]
fn an_epoch_of_batches_gathers_every_digit_once() {
    let data = digits(0).unwrap().train;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let (mut seen, mut ink) = (vec![0; data.classes], 0.0);
    for batch in Batches::new(data.len(), 64, 0, 1).unwrap() {
        data.gather(&batch, &mut pixels, &mut labels).unwrap();
        assert_eq!(pixels.len(), 64 * labels.len());
        labels.iter().for_each(|&label| seen[label] += 1);
        ink += pixels.iter().map(|&p| f64::from(p)).sum::<f64>();
    }
    for (class, count) in seen.into_iter().enumerate() {
        assert_eq!(count, data.labels.iter().filter(|&&l| l == class).count());
    }
    // Sixteenths add up exactly.
    assert_eq!(ink, data.pixels.iter().map(|&p| f64::from(p)).sum::<f64>());
}

#[test]
fn idx_round_trip_plain_and_packed_whatever_the_name() {
    let dir = TempDir::new().unwrap();
    let (images, labels) = idx_pair(12);
    for packed in [false, true] {
        let form = |bytes: &[u8]| if packed { gz(bytes) } else { bytes.to_vec() };
        let images_at = put(dir.path(), "pictures.gz", form(&images));
        let labels_at = put(dir.path(), "labels", form(&labels));
        let raw = idx::read_images(&images_at).unwrap();
        assert_eq!((raw.count, raw.rows, raw.cols), (12, 2, 3));
        assert_eq!(raw.pixels, images[16..]);
        assert_eq!(idx::read_labels(&labels_at).unwrap(), labels[8..]);
        let loaded = idx::load(&images_at, &labels_at, digit_names()).unwrap();
        assert_eq!((loaded.shape, loaded.len()), ([1, 2, 3], 12));
        assert_eq!(loaded.labels[11], 1);
        let expected: Vec<f32> = images[16..].iter().map(|&p| f32::from(p) / 255.0).collect();
        assert_eq!(loaded.pixels, expected);
    }
}

#[test]
fn idx_cut_short_anywhere_is_an_error() {
    let dir = TempDir::new().unwrap();
    let (images, labels) = idx_pair(4);
    for end in 0..images.len() {
        let path = put(dir.path(), "pictures", &images[..end]);
        let place = match end {
            0 => "pictures: the file is empty".to_owned(),
            1..16 => format!("pictures, byte {end}: the file ends inside its header of 16 bytes"),
            _ => format!("pictures, record {} (byte {end}): the file ends", (end - 16) / 6),
        };
        says(idx::read_images(&path), BAD, &[&place, "fetch it again"]);
    }
    for end in 0..labels.len() {
        let path = put(dir.path(), "labels", &labels[..end]);
        says(idx::read_labels(&path), BAD, &["labels", "fetch it again"]);
    }
    let packed = gz(&images);
    for end in 2..packed.len() {
        let path = put(dir.path(), "pictures", &packed[..end]);
        says(idx::read_images(&path), BAD, &["pictures", "gzip data"]);
    }
    let mut damaged = packed.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 0xff;
    let path = put(dir.path(), "pictures", &damaged);
    says(idx::read_images(&path), BAD, &["gzip data are damaged"]);
}

#[test]
fn other_formats_of_a_set_are_told_from_no_set() {
    for (kind, place, format) in [
        (Kind::Cifar10, "cifar-10-batches-py/data_batch_1", "pickles"),
        (Kind::Cifar10, "data_batch_1", "pickles"),
        (Kind::Cifar100, "cifar-100-python.tar.gz", "pickles"),
        (Kind::Mnist, "mnist/mnist.npz", "arrays"),
        (Kind::FashionMnist, "fashion_mnist.npz", "arrays"),
    ] {
        let dir = TempDir::new().unwrap();
        put(dir.path(), place, "of no matter");
        let advice = kind.advice(Some(dir.path()));
        let found = load(kind, Some(dir.path()), 0);
        says(found, ErrorKind::NotFound, &[format, "another format is read here", &advice]);
    }
}

/// The end of a packed file that goes on after its last picture is never unpacked: damage there is
/// not found, and a bomb does not go off.
#[test]
fn idx_packed_is_unpacked_no_further_than_its_header_says() {
    let dir = TempDir::new().unwrap();
    let (images, labels) = idx_pair(4);
    for (bytes, pictures) in [(images, true), (labels, false)] {
        let mut packed = gz(&[bytes, vec![0; 4 << 20]].concat());
        let last = packed.len() - 6;
        packed[last] ^= 0xff;
        let path = put(dir.path(), "long", &packed);
        let found = match pictures {
            true => idx::read_images(&path).map(drop),
            false => idx::read_labels(&path).map(drop),
        };
        says(found, BAD, &["long", "at least 1 bytes follow the last of the 4 records"]);
    }
}

#[test]
fn idx_wrong_headers() {
    let dir = TempDir::new().unwrap();
    let read = |magic, sizes: &[u32], body: &[u8]| {
        idx::read_images(&put(dir.path(), "x", idx_file(magic, sizes, body)))
    };
    let body = [0; 6];
    let one = [1, 2, 3];
    says(read(0x801, &one, &body), BAD, &["x, byte 0", "1 dimensions (labels)", "0x00000803"]);
    says(read(0xd03, &one, &body), BAD, &["0x00000d03", "32-bit floats"]);
    says(read(0x703, &one, &body), BAD, &["no known type"]);
    says(read(0x8950_4e47, &one, &body), BAD, &["0x89504e47 is not of an IDX file"]);
    says(read(0x803, &[0, 2, 3], &[]), BAD, &["byte 4", "no records"]);
    says(read(0x803, &[1, 2, 0], &[]), BAD, &["byte 12", "no pixels"]);
    says(read(0x803, &[u32::MAX; 3], &body), BAD, &["byte 4", "memory"]);
    says(read(0x803, &[u32::MAX, 2, 3], &body), BAD, &["record 1 (byte 22)"]);
    says(read(0x803, &one, &[0; 9]), BAD, &["byte 22", "3 bytes follow"]);
    let labels = put(dir.path(), "y", idx_pair(1).0);
    says(idx::read_labels(&labels), BAD, &["3 dimensions (pictures)", "0x00000801"]);
    says(idx::read_labels(&dir.path().join("none")), ErrorKind::Io, &["none", "cannot read"]);
}

#[test]
fn idx_pairs_that_do_not_fit() {
    let dir = TempDir::new().unwrap();
    let images = put(dir.path(), "pictures", idx_pair(12).0);
    let labels = put(dir.path(), "labels", idx_pair(11).1);
    says(
        idx::load(&images, &labels, digit_names()),
        BAD,
        &["labels: 11 labels for the 12 pictures", "fetch both"],
    );
    let labels = put(dir.path(), "labels", idx_pair(12).1);
    says(
        idx::load(&images, &labels, digit_names()[..4].to_vec()),
        BAD,
        &["labels, record 4 (byte 12): label 4", "4 classes"],
    );
}

/// The four files under `folder`, in one of the spellings.
fn put_mnist(dir: &Path, folder: &str, dot: &str, packed: bool) {
    for (role, count) in [("train", 20), ("t10k", 10)] {
        let (images, labels) = idx_pair(count);
        for (what, rank, bytes) in [("images", 3, images), ("labels", 1, labels)] {
            let end = if packed { ".gz" } else { "" };
            let name = format!("{folder}/{role}-{what}{dot}idx{rank}-ubyte{end}");
            let bytes = if packed { gz(&bytes) } else { bytes };
            put(dir, name.trim_start_matches('/'), bytes);
        }
    }
}

#[test]
fn mnist_is_found_where_it_may_be() {
    for (folder, dot, packed) in [("", "-", false), ("mnist", "-", true), ("MNIST/raw", ".", false)]
    {
        let dir = TempDir::new().unwrap();
        put_mnist(dir.path(), folder, dot, packed);
        let Data::Images(data) = load(Kind::Mnist, Some(dir.path()), 0).unwrap() else {
            panic!("not pictures");
        };
        assert_eq!((data.train.len(), data.test.len()), (20, 10));
        assert_eq!(data.train.class_names[7], "7");
    }
    let dir = TempDir::new().unwrap();
    put_mnist(dir.path(), "FashionMNIST/raw", "-", true);
    let data = mnist::load_fashion(dir.path()).unwrap();
    assert_eq!(data.test.class_names[9], "Ankle boot");
}

#[test]
fn mnist_missing_incomplete_or_mixed_up() {
    let dir = TempDir::new().unwrap();
    let at = dir.path().display().to_string();
    let lost = ErrorKind::NotFound;
    let fetch = format!("scripts/fetch-data.sh mnist --to {at}");
    says(
        mnist::load(dir.path()),
        lost,
        &[&fetch, "mnist/raw", "train-images.idx3-ubyte", "t10k-labels-idx1-ubyte"],
    );
    says(mnist::load(&dir.path().join("none")), lost, &["does not exist"]);
    let file = put(dir.path(), "file", "");
    says(mnist::load(&file), lost, &["is not a folder"]);

    put_mnist(dir.path(), "mnist", "-", false);
    fs::remove_file(dir.path().join("mnist/t10k-labels-idx1-ubyte")).unwrap();
    let part = "incomplete here: t10k-labels-idx1-ubyte missing";
    says(mnist::load(dir.path()), lost, &[part, &fetch]);

    put_mnist(dir.path(), "mnist", "-", false);
    let other_size = idx_file(0x803, &[10, 1, 6], &[0; 60]);
    put(dir.path(), "mnist/t10k-images-idx3-ubyte", other_size);
    says(mnist::load(dir.path()), BAD, &["t10k-images", "[1, 1, 6]"]);

    let begins = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7, 0, 0, 0, 0];
    let dir = TempDir::new().unwrap();
    put_mnist(dir.path(), "", "-", false);
    let labels = idx_file(0x801, &[20], &begins);
    put(dir.path(), "train-labels-idx1-ubyte", labels);
    mnist::load(dir.path()).unwrap();
    says(mnist::load_fashion(dir.path()), BAD, &["other data set", "fetch-data.sh fashion-mnist"]);

    let spaced = dir.path().join("my data");
    fs::create_dir(&spaced).unwrap();
    let quoted = format!("--to '{}'", spaced.display());
    says(mnist::load(&spaced), lost, &[&quoted]);
}

fn cifar_record(head: &[u8], shade: u8) -> Vec<u8> {
    let mut record = head.to_vec();
    for plane in 0..3 {
        record.extend([shade + plane; 1024]);
    }
    record
}

#[test]
fn cifar_round_trip() {
    for (folder, packed) in [("", false), ("cifar-10-batches-bin", true)] {
        let dir = TempDir::new().unwrap();
        for i in 0..6_u8 {
            let name = match i {
                5 => "test_batch.bin".to_owned(),
                _ => format!("data_batch_{}.bin", i + 1),
            };
            let bytes = [cifar_record(&[i], 10 * i), cifar_record(&[9], 100)].concat();
            let folder = dir.path().join(folder);
            if packed {
                put(&folder, &format!("{name}.gz"), gz(&bytes));
            } else {
                put(&folder, &name, bytes);
            }
        }
        let data = cifar::load_10(dir.path()).unwrap();
        assert_eq!(data.train.labels, [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]);
        assert_eq!(data.test.labels, [5, 9]);
        assert_eq!((data.train.shape, data.train.classes), ([3, 32, 32], 10));
        let picture = data.train.picture(4).unwrap();
        let planes = [picture[0], picture[1024], picture[3071]];
        assert_eq!(planes, [20.0 / 255.0, 21.0 / 255.0, 22.0 / 255.0]);
        fs::remove_dir_all(dir.path().join(folder)).unwrap();
        fs::create_dir_all(dir.path()).unwrap();
        let parts = ["data_batch_1.bin", "fetch-data.sh cifar10 --to"];
        says(cifar::load_10(dir.path()), ErrorKind::NotFound, &parts);
    }
    let dir = TempDir::new().unwrap();
    put(dir.path(), "train.bin", cifar_record(&[19, 99], 3));
    put(dir.path(), "test.bin.gz", gz(&cifar_record(&[0, 1], 3)));
    let Data::Images(data) = load(Kind::Cifar100, Some(dir.path()), 0).unwrap() else {
        panic!("not pictures");
    };
    assert_eq!((data.train.labels[0], data.train.classes), (99, 100));
    assert_eq!(data.train.class_names[99], "worm");
    assert_eq!(data.test.labels, [1]);
}

#[test]
fn cifar_wrong_files() {
    let dir = TempDir::new().unwrap();
    let read = |bytes: &[u8]| cifar::read_10(&[put(dir.path(), "b.bin", bytes)]);
    let two = [cifar_record(&[1], 0), cifar_record(&[2], 0)].concat();
    says(read(&[]), BAD, &["b.bin: the file is empty"]);
    for end in [1, 3072, 3074, 6145] {
        let place = format!("b.bin, record {} (byte {end}): ", end / 3073);
        says(read(&two[..end]), BAD, &[&place, "inside a record of 3073"]);
    }
    let label = [cifar_record(&[1], 0), cifar_record(&[10], 0)].concat();
    says(read(&label), BAD, &["record 1 (byte 3073): label 10"]);
    says(read(&cifar_record(&[1, 1], 0)), BAD, &["right for CIFAR-100"]);
    let coarse = put(dir.path(), "c.bin", cifar_record(&[20, 1], 0));
    says(cifar::read_100(&[coarse]), BAD, &["(byte 0): label 20"]);
    let fine = put(dir.path(), "c.bin", cifar_record(&[1, 100], 0));
    says(cifar::read_100(&[fine]), BAD, &["(byte 1): label 100"]);
}

#[test]
fn kinds_have_names_and_say_how_to_get_data() {
    for kind in Kind::ALL {
        assert_eq!(kind.to_string().parse::<Kind>().unwrap(), kind);
        let json = serde_json::to_string(&kind).unwrap();
        assert_eq!(json, format!("\"{kind}\""));
        if kind.needs_data_dir() {
            let parts = [kind.name(), "--data-dir DIR", "DIR"];
            says(load(kind, None, 0), ErrorKind::Argument, &parts);
        } else {
            load(kind, None, 0).unwrap();
        }
    }
    let parts = ["'stl10'", "fashion-mnist", "shakespeare"];
    says("stl10".parse::<Kind>(), ErrorKind::Argument, &parts);
}

#[test]
#[ignore = "needs the sets of `scripts/fetch-data.sh all --to DIR`: run with PC_DATA_DIR=DIR"]
fn fetched_sets_load() {
    let dir = PathBuf::from(std::env::var_os("PC_DATA_DIR").expect("PC_DATA_DIR=DIR"));
    for (kind, shape, train, per_class, mean) in [
        (Kind::Mnist, [1, 28, 28], 60_000, None, 0.1307),
        (Kind::FashionMnist, [1, 28, 28], 60_000, Some(6000), 0.2860),
        (Kind::Cifar10, [3, 32, 32], 50_000, Some(5000), 0.4734),
    ] {
        let Data::Images(data) = load(kind, Some(&dir), 0).unwrap() else {
            panic!("{kind}: not pictures");
        };
        assert_eq!((data.train.len(), data.test.len()), (train, 10_000));
        assert_eq!(data.train.shape, shape);
        let sum: f64 = data.train.pixels.iter().map(|&p| f64::from(p)).sum();
        let found = sum / data.train.pixels.len() as f64;
        assert!((found - mean).abs() < 1e-4, "{kind}: mean {found}");
        if let Some(count) = per_class {
            for class in 0..10 {
                let labels = data.train.labels.iter();
                assert_eq!(labels.filter(|&&l| l == class).count(), count);
            }
        }
    }
    says(mnist::load(&dir.join("fashion-mnist")), BAD, &["other data set"]);
    says(mnist::load_fashion(&dir.join("mnist")), BAD, &["other data set"]);
    let plays = text::load(&dir.join("shakespeare-plays")).unwrap();
    assert!(plays.train.len() + plays.test.len() > 5_000_000);
}
