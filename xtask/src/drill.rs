//! The drill of a hundred kills: too long for every run of the tests, and one command here.

use crate::step::{Failure, Step};

/// The ignored test of pc-bench.
const TEST: &str = "keep::a_hundred_kills";

/// Runs it.
pub(crate) fn run(more: &[&str]) -> Result<(), Failure> {
    step(more).run()
}

/// Words before `--` go to cargo, those after it to the test program.
fn step(more: &[&str]) -> Step {
    let split = more.iter().position(|word| *word == "--").unwrap_or(more.len());
    let (cargo, program) = more.split_at(split);
    Step::cargo(&["test", "-p", "pc-bench", "--test", "train"])
        .args(cargo)
        .args(&["--", "--ignored", "--exact", TEST])
        .args(program.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_cargo_and_the_test_program() {
        let bare = "cargo test -p pc-bench --test train -- --ignored --exact keep::a_hundred_kills";
        assert_eq!(step(&[]).to_string(), bare);
        assert_eq!(step(&["--"]).to_string(), bare);
        assert_eq!(
            step(&["--release", "--", "--nocapture"]).to_string(),
            "cargo test -p pc-bench --test train --release -- --ignored --exact \
             keep::a_hundred_kills --nocapture"
        );
    }

    /// A test that is not there would pass.
    #[test]
    fn the_test_is_there() {
        let source = include_str!("../../benchmarks/tests/train/keep.rs");
        assert!(source.contains("\n#[ignore = \"takes minutes\"]\nfn a_hundred_kills() {"));
    }
}
