//! The examples do what they say, on less of everything; and the docs show them as they are.

// Both programs on digits bring what they share.
#![allow(clippy::duplicate_mod)]

use std::sync::{Mutex, PoisonError};

use pc_core::Agreement;
use support::parameters;

#[path = "../examples/digits.rs"]
mod digits;
#[path = "../examples/digits_backprop.rs"]
mod digits_backprop;
mod support;
#[path = "../examples/text_lstm.rs"]
mod text_lstm;

/// The examples seed Burn's generator, which belongs to the process.
static GENERATOR: Mutex<()> = Mutex::new(());

fn arguments(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn digits_by_standard_pc_beside_backprop() {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    for seed in [1, 2] {
        let common = format!("--seed {seed} --quiet --directory {}", directory.path().display());
        let (backprop, _) = digits_backprop::run(arguments(&common)).unwrap();
        let (standard, _) =
            digits::run(arguments(&format!("{common} --schedule standard --rate 0.1 --steps 20")))
                .unwrap();
        println!(
            "seed {seed}, held-out accuracy: backprop {backprop:.4}, standard PC {standard:.4}"
        );
        assert!(backprop >= 0.97 && standard >= 0.97, "{backprop} {standard}");
        assert!((backprop - standard).abs() <= 0.01, "{backprop} {standard}");
    }
}

/// Without dropout, whose masks the two programs would draw from other places of the generator.
#[test]
fn digits_by_fixed_prediction_is_backprop() {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let common =
        format!("--epochs 1 --dropout 0 --quiet --directory {}", directory.path().display());
    let (accuracy, model) = digits_backprop::run(arguments(&common)).unwrap();
    let backprop = parameters(&model);
    for schedule in ["fixed-prediction --rate 1", "zil"] {
        let (same, model) =
            digits::run(arguments(&format!("{common} --schedule {schedule}"))).unwrap();
        let ours = parameters(&model);
        assert_eq!(ours.len(), backprop.len());
        for (index, (ours, theirs)) in ours.iter().zip(&backprop).enumerate() {
            let agreement = Agreement::of_slices(ours, theirs);
            println!("{schedule}, parameter {index}: off by {:.1e}", agreement.relative_norm);
            assert!(
                agreement.relative_norm <= 1e-4,
                "{schedule}, parameter {index}: {agreement:?}"
            );
        }
        assert!((same - accuracy).abs() <= 1e-12, "{same} {accuracy}");
    }
    // Another rule ends elsewhere.
    let (_, model) =
        digits::run(arguments(&format!("{common} --schedule standard --steps 3"))).unwrap();
    let apart = parameters(&model)
        .iter()
        .zip(&backprop)
        .map(|(a, b)| Agreement::of_slices(a, b).relative_norm)
        .fold(0.0, f64::max);
    assert!(apart > 1e-2, "{apart}");
}

#[test]
fn options_are_refused_by_name() {
    for (options, named) in [
        ("--nonsense 3", "--nonsense"),
        ("--epochs", "--epochs"),
        ("--schedule none", "none"),
        ("--rate -1", "rate"),
    ] {
        let error = digits::run(arguments(options)).expect_err("refused").to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn text_loss_falls_by_every_rule() {
    let _turn = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let options =
        text_lstm::Options::parse(arguments("--updates 80 --hidden 32 --length 12 --batch 16"))
            .unwrap();
    let figures = text_lstm::run(&options).unwrap();
    assert_eq!(figures.len(), 4);
    for text_lstm::Figures { rule, before, after } in &figures {
        println!("{rule}: {before:.3} -> {after:.3}");
        // Below what the frequencies of characters alone would give, 3.1 nats.
        assert!(*after < before - 1.0, "{rule}: {before} -> {after}");
    }
    // From the same weights; and fixed prediction at rate 1 is backprop, to the rounding of 80
    // updates by Adam.
    assert!(figures.iter().all(|figure| figure.before == figures[0].before));
    assert!((figures[1].after - figures[0].after).abs() <= 1e-2 * figures[0].after, "{figures:?}");
}

/// Every changed line that the crate's docs show is in the one program and not in the other, in
/// this order; and no other line is changed.
#[test]
fn the_docs_show_the_difference_between_the_programs() {
    let docs = include_str!("../src/lib.rs");
    let (before, after) =
        (include_str!("../examples/digits_backprop.rs"), include_str!("../examples/digits.rs"));
    let block = docs
        .split("```diff")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the docs show a difference");
    let shown = |sign: char| -> Vec<String> {
        block
            .lines()
            .filter_map(|line| line.strip_prefix("//! "))
            .filter_map(|line| line.strip_prefix(sign))
            .map(|line| line.trim().to_owned())
            .collect()
    };
    // Lines of one program that the other does not have, module docs left out.
    let only = |one: &str, other: &str| -> Vec<String> {
        let lines = |text: &str| -> Vec<String> {
            text.lines()
                .filter(|line| !line.starts_with("//!"))
                .map(|line| line.trim().to_owned())
                .collect()
        };
        let other = lines(other);
        lines(one).into_iter().filter(|line| !other.contains(line)).collect()
    };
    let (removed, added) = (only(before, after), only(after, before));
    assert!(removed.len() >= 5 && added.len() >= 8, "{removed:?} {added:?}");
    assert_eq!(shown('-'), removed);
    assert_eq!(shown('+'), added);
}
