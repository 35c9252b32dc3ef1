//! The data loaders, against small files made here: each format, plain and packed, and each way to be wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use pc_bench::data::{
    Batches, Data, Error, ErrorKind, Images, Kind, Text, cifar, digits, idx, load, mnist, names, seeded, stratified, text,
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
fn stratified_split_is_disjoint_covers_and_follows_its_seed() {
    let labels: Vec<usize> = (0..103).map(|i| [0, 0, 0, 1, 2][i % 5]).collect();
    let split = stratified(&labels, 4, 0.2, 1).unwrap();
    let train: BTreeSet<usize> = split.train.iter().copied().collect();
    let test: BTreeSet<usize> = split.test.iter().copied().collect();
    assert!(train.is_disjoint(&test));
    assert_eq!(train.len() + test.len(), labels.len());
    assert!(split.test.is_sorted() && split.train.is_sorted());
    assert_eq!(split, stratified(&labels, 4, 0.2, 1).unwrap());
    assert_ne!(split, stratified(&labels, 4, 0.2, 2).unwrap());
    assert_eq!(stratified(&[0, 0, 1], 2, 0.9, 0).unwrap().test.len(), 1);

    let bad = ErrorKind::Argument;
    says(stratified(&[0, 5], 2, 0.2, 0), bad, &["sample 1", "label 5"]);
    says(stratified(&[0, 1], 2, 0.2, 0), bad, &["too few"]);
    for share in [0.0, 1.0, -1.0, f64::NAN] {
        says(stratified(&[0, 0], 1, share, 0), bad, &["between 0 and 1"]);
    }
}

#[test]
fn batches_cover_every_sample_once_in_a_repeatable_order() {
    let epoch = |seed, epoch| Batches::new(23, 5, seed, epoch).unwrap();
    assert_eq!(epoch(1, 0).len(), 5);
    let first: Vec<Vec<usize>> = epoch(1, 0).collect();
    assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 5, 5, 3]);
    let mut all = first.concat();
    assert_ne!(all, (0..23).collect::<Vec<_>>());
    all.sort_unstable();
    assert_eq!(all, (0..23).collect::<Vec<_>>());
    assert_eq!(first, epoch(1, 0).collect::<Vec<_>>());
    assert_ne!(first, epoch(1, 1).collect::<Vec<_>>());
    assert_ne!(first, epoch(2, 0).collect::<Vec<_>>());
    assert_eq!(first[2..], epoch(1, 0).skip(2).collect::<Vec<_>>());
    assert_eq!(epoch(1, 0).nth(9), None);

    let in_order: Vec<_> = Batches::in_order(3, 2).unwrap().collect();
    assert_eq!(in_order, [vec![0, 1], vec![2]]);
    assert_eq!(Batches::new(0, 4, 0, 0).unwrap().next(), None);
    says(Batches::new(3, 0, 0, 0), ErrorKind::Argument, &["batch size is 0"]);
}

#[test]
fn shuffling_does_not_change_between_versions() {
    // Training resumed with a later version must see the batches that it would have seen.
    let order: Vec<usize> = Batches::new(8, 8, 42, 3).unwrap().flatten().collect();
    assert_eq!(order, SHUFFLED);
}
const SHUFFLED: [usize; 8] = [0; 8];

#[test]
fn gather_and_check() {
    let names = vec!["a".to_owned(), "b".to_owned()];
    let pixels: Vec<f32> = (0..12_u8).map(f32::from).collect();
    let images = Images::new(pixels, [1, 2, 2], vec![0, 1, 0], names).unwrap();
    let (mut pixels, mut labels) = (vec![9.0; 50], vec![7]);
    images.gather(&[2, 0], &mut pixels, &mut labels).unwrap();
    assert_eq!(pixels, [8.0, 9.0, 10.0, 11.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(labels, [0, 0]);
    assert_eq!(images.picture(1).unwrap(), [4.0, 5.0, 6.0, 7.0]);
    assert!(images.picture(3).is_none() && images.picture(usize::MAX).is_none());
    says(images.gather(&[0, 3], &mut pixels, &mut labels), ErrorKind::Argument, &["no picture 3"]);

    let broken = |change: &dyn Fn(&mut Images)| {
        let mut copy = images.clone();
        change(&mut copy);
        copy.check()
    };
    says(broken(&|i| i.pixels[6] = f32::NAN), BAD, &["picture 1, value 2"]);
    says(broken(&|i| i.labels[2] = 2), BAD, &["picture 2", "label 2", "2 classes"]);
    says(broken(&|i| i.shape = [1, 2, 3]), BAD, &["12 pixels", "1x2x3"]);
    says(broken(&|i| i.shape = [usize::MAX; 3]), BAD, &["12 pixels"]);
    says(broken(&|i| i.shape = [0; 3]), BAD, &["12 pixels"]);
    says(broken(&|i| i.classes = 3), BAD, &["2 class names"]);
    let mut copy = images.clone();
    copy.shape = [usize::MAX; 3];
    assert!(copy.gather(&[0], &mut pixels, &mut labels).is_err());
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
fn idx_wrong_headers() {
    let dir = TempDir::new().unwrap();
    let read = |magic, sizes: &[u32], body: &[u8]| idx::read_images(&put(dir.path(), "x", idx_file(magic, sizes, body)));
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
    says(idx::load(&images, &labels, digit_names()), BAD, &["labels: 11 labels for the 12 pictures", "fetch both"]);
    let labels = put(dir.path(), "labels", idx_pair(12).1);
    says(idx::load(&images, &labels, digit_names()[..4].to_vec()), BAD, &["labels, record 4 (byte 12): label 4", "4 classes"]);
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
    for (folder, dot, packed) in [("", "-", false), ("mnist", "-", true), ("MNIST/raw", ".", false)] {
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
    says(mnist::load(dir.path()), lost, &[&fetch, "mnist/raw", "train-images.idx3-ubyte", "t10k-labels-idx1-ubyte"]);
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
fn names_round_trip() {
    let dir = TempDir::new().unwrap();
    put(dir.path(), "names/Polish.txt", "Łoś\r\nAb\r\n\r\n");
    put(dir.path(), "names/Irish.txt", "\u{feff}Bo\n O'Ab \nCo\nDo\nEo");
    put(dir.path(), "names/LICENSE", [0xff, 0xfe]);
    put(dir.path(), "names/._Irish.txt", [0xff, 0xfe]);
    let all = names::read(&dir.path().join("names")).unwrap();
    assert_eq!(all.class_names, ["Irish", "Polish"]);
    assert_eq!(all.labels, [0, 0, 0, 0, 0, 1, 1]);
    assert_eq!(all.alphabet, ['\'', 'A', 'B', 'C', 'D', 'E', 'O', 'b', 'o', 'Ł', 'ś']);
    assert_eq!(all.samples[5], [9, 8, 10]);
    assert_eq!(all.decode(&all.samples[1]).unwrap(), "O'Ab");
    assert_eq!((all.longest(), all.classes), (4, 2));
    says(all.encode("x"), ErrorKind::Argument, &["'x'"]);
    says(all.decode(&[11]), ErrorKind::Argument, &["no character 11"]);

    let Data::Sequences(split) = load(Kind::Names, Some(dir.path()), 5).unwrap() else {
        panic!("not sequences");
    };
    assert_eq!(split.test.labels, [0, 1]);
    assert_eq!(split.train.len(), 5);
    assert_eq!(split.test.alphabet, all.alphabet);
    assert_eq!(split, names::load(dir.path(), 5).unwrap());
}

#[test]
fn names_keep_copies_on_one_side() {
    let dir = TempDir::new().unwrap();
    let list: String = (0..400).map(|i| format!("n{}\n", i * i % 97)).collect();
    put(dir.path(), "A.txt", &list);
    put(dir.path(), "B.txt", list.replace('n', "m"));
    let split = names::load(dir.path(), 1).unwrap();
    let train: BTreeSet<_> = split.train.samples.iter().collect();
    let test: BTreeSet<_> = split.test.samples.iter().collect();
    assert!(train.is_disjoint(&test));
    assert_eq!(split.train.len() + split.test.len(), 800);
    for class in 0..2 {
        let held = split.test.labels.iter().filter(|&&l| l == class).count();
        assert!((70..=80).contains(&held), "{held}");
    }
    assert_ne!(split, names::load(dir.path(), 2).unwrap());
}

#[test]
fn names_wrong_folders() {
    let dir = TempDir::new().unwrap();
    let parts = ["looked in names", "Language.txt", "no package registry"];
    let lost = ErrorKind::NotFound;
    says(names::load(dir.path(), 0), lost, &parts);
    says(names::read(dir.path()), lost, &["no .txt file"]);
    put(dir.path(), "A.txt", "Ab\nCd\nEf\n");
    says(names::load(dir.path(), 0), BAD, &["A.txt", "only this one"]);
    put(dir.path(), "B.txt", " \n\n");
    says(names::load(dir.path(), 0), BAD, &["B.txt", "no names"]);
    put(dir.path(), "B.txt", b"Gh\nI\xffj\n");
    says(names::load(dir.path(), 0), BAD, &["B.txt, line 2: not UTF-8", "byte 4"]);
}

#[test]
fn text_round_trip() {
    let words: String = (0..100).map(|i| char::from(b'a' + i % 7)).collect();
    let dir = TempDir::new().unwrap();
    put(dir.path(), "shakespeare/input.txt", &words);
    put(dir.path(), "shakespeare/other.txt", "left out");
    let Data::Text(split) = load(Kind::Shakespeare, Some(dir.path()), 0).unwrap() else {
        panic!("not text");
    };
    assert_eq!((split.train.len(), split.test.len()), (90, 10));
    assert_eq!(split.train.alphabet, split.test.alphabet);
    let again = split.train.decode(&split.train.ids).unwrap() + &split.test.decode(&split.test.ids).unwrap();
    assert_eq!(again, words);
    let file = put(dir.path(), "any.txt", &words);
    assert_eq!(text::load(&file).unwrap(), split);

    let plays = TempDir::new().unwrap();
    put(plays.path(), "b.txt", "second, without a line end");
    put(plays.path(), "a.txt", "first, without");
    let split = text::load(plays.path()).unwrap();
    let whole = [split.train.ids, split.test.ids].concat();
    let whole = split.train.alphabet.iter().collect::<String>().len() > 5 && whole.len() == 41;
    assert!(whole);
}

#[test]
fn text_windows() {
    let text = Text::new("abcdefghijk");
    let sweep: Vec<_> = text.sweep(2, 3).unwrap().collect();
    assert_eq!(sweep.len(), 2);
    assert_eq!(sweep[0].inputs, [0, 1, 2, 3, 4, 5]);
    assert_eq!(sweep[0].targets, [1, 2, 3, 4, 5, 6]);
    assert_eq!((sweep[1].batch, &sweep[1].inputs[..]), (1, &[6, 7, 8][..]));

    let draw = |seed| text.windows(4, 3, seeded(seed, 0)).unwrap().take(50);
    let mut starts = BTreeSet::new();
    for item in draw(1) {
        assert_eq!((item.batch, item.length, item.inputs.len()), (4, 3, 12));
        for (input, target) in item.inputs.iter().zip(&item.targets) {
            assert_eq!(target - input, 1);
        }
        starts.extend(item.inputs.iter().step_by(3).copied());
    }
    assert_eq!(starts, (0..8).collect());
    assert!(draw(1).eq(draw(1)) && !draw(1).eq(draw(2)));

    let bad = ErrorKind::Argument;
    for (batch, length) in [(0, 3), (3, 0), (1, 11), (1, usize::MAX)] {
        says(text.sweep(batch, length).map(|_| ()), bad, &["give"]);
    }
    assert_eq!(text.windows(1, 10, seeded(0, 0)).unwrap().take(3).count(), 3);
    assert_eq!(text.sweep(9, 10).unwrap().count(), 1);
    says(Text::new("abc").split(), bad, &["too short"]);
    says(Text::new("").split(), bad, &["too short"]);
    assert!(Text::new("").windows(1, 1, seeded(0, 0)).is_err());
}

#[test]
fn text_wrong_files() {
    let dir = TempDir::new().unwrap();
    let parts = ["input.txt", "shakespeare-plays", "looked in shakespeare"];
    says(text::load(dir.path()), ErrorKind::NotFound, &parts);
    put(dir.path(), "a.txt", "");
    says(text::load(dir.path()), BAD, &["a.txt", "empty"]);
    put(dir.path(), "a.txt", b"one\ntwo\n\xc3(");
    says(text::load(dir.path()), BAD, &["a.txt, line 3: not UTF-8"]);
    let none = dir.path().join("none.txt");
    says(text::load(&none), ErrorKind::NotFound, &["none.txt", "does not exist"]);
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
    let parts = ["'svhn'", "fashion-mnist", "shakespeare"];
    says("svhn".parse::<Kind>(), ErrorKind::Argument, &parts);
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
