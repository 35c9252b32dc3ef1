//! Splits, batches, gathering, names and text; the formats of pictures are tested in
//! `tests/data.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{
    Batches, Data, Error, ErrorKind, Images, Kind, Text, load, names, seeded, stratified, text,
};

const BAD: ErrorKind = ErrorKind::Malformed;

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
    assert_eq!(order, [1, 3, 7, 5, 0, 4, 6, 2]);
}

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
    let again = split.train.decode(&split.train.ids).unwrap()
        + &split.test.decode(&split.test.ids).unwrap();
    assert_eq!(again, words);
    let file = put(dir.path(), "any.txt", &words);
    assert_eq!(text::load(&file).unwrap(), split);

    let plays = TempDir::new().unwrap();
    put(plays.path(), "b.txt", "second, without a line end");
    put(plays.path(), "a.txt", "first, without");
    let split = text::load(plays.path()).unwrap();
    let whole = [split.train.ids, split.test.ids].concat();
    let joined: String = whole.iter().map(|&id| split.train.alphabet[id]).collect();
    assert_eq!(joined, "first, without\nsecond, without a line end");
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
