//! The program itself, as a user runs it.

// Clippy knows tests, but not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "burn")]
mod burn;
mod check;
mod common;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "dfdx")]
mod dfdx;
mod gradients;
mod pages;
mod plain;
mod refusals;
#[cfg(any(feature = "burn", feature = "tch"))]
mod resumed;
mod said;
mod speed;
#[cfg(feature = "tch")]
mod tch;
mod train;

use common::{FAILED, pc_bench};

#[test]
fn help_teaches() {
    let all = pc_bench(&["--help"]);
    all.succeeds();
    for word in ["predictive coding", "energy", "train", "check", "gradients", "speed", "Examples:"]
    {
        assert!(all.stdout.contains(word), "pc-bench --help does not speak of `{word}`");
    }
    for (command, words) in [
        ("train", ["--compare-backprop", "--json", "Examples:"]),
        ("check", ["--verbose", "finite differences", "Examples:"]),
        ("gradients", ["layers.{l}.weight", "summed over the batch", "Example:"]),
        ("speed", ["--repeats", "95% interval", "Examples:"]),
    ] {
        let help = pc_bench(&[command, "--help"]);
        help.succeeds();
        for word in words {
            assert!(
                help.stdout.contains(word),
                "pc-bench {command} --help does not speak of `{word}`"
            );
        }
        pc_bench(&[command, "-h"]).succeeds();
    }
    pc_bench(&["--version"]).succeeds();
}

#[test]
fn without_a_command_it_says_what_there_is() {
    let bare = pc_bench(&[]);
    assert_eq!(bare.status, FAILED);
    assert!(bare.stderr.contains("Commands:"), "{}", bare.stderr);
}
