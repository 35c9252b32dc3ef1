//! What is said beside the results: nothing with `--quiet`, and on no terminal no progress.

use std::{path::Path, process::Command};

use crate::{
    common::{Ran, names, pc_bench, pc_bench_in},
    gradients::net_with_more,
};

const TRAIN: &str = "train --model mlp --epochs 1 --samples 64 --schedule zil --no-report";
const RELAX: &str = "gradients --net net.safetensors --activation tanh --schedule zil \
                     --output grads.safetensors";

fn ran(folder: &Path, words: &str) -> Ran {
    pc_bench_in(folder, &words.split(' ').collect::<Vec<_>>())
}

#[test]
fn quiet_leaves_results_warnings_and_errors() {
    let folder = tempfile::tempdir().unwrap();
    net_with_more(&folder.path().join("net.safetensors"));
    for words in [TRAIN, RELAX, "check --model mlp", "speed --model mlp --repeats 1 --batch 2"] {
        let quiet = ran(folder.path(), &format!("--quiet {words}"));
        quiet.succeeds();
        assert_eq!(quiet.stderr, "", "{words}");
        assert!(!quiet.stdout.is_empty(), "{words}");
    }
    // Beside the words of a command too; what is printed is the same.
    let [loud, quiet] = ["", " --quiet"].map(|flag| ran(folder.path(), &format!("{RELAX}{flag}")));
    assert_eq!(loud.stdout, quiet.stdout);
    assert_eq!(loud.stderr, "note: more in net.safetensors is not used\n");
    assert_eq!(quiet.stderr, "");

    ran(folder.path(), &format!("{TRAIN} --threads 1 --save run.safetensors")).succeeds();
    let on = "train --quiet --epochs 2 --threads 2 --resume run.safetensors --no-report";
    let warned = ran(folder.path(), on);
    warned.succeeds();
    assert!(warned.stderr.starts_with("warning: run.safetensors was made with --threads 1"));
    assert_eq!(warned.stderr.lines().count(), 1, "{}", warned.stderr);
    pc_bench(&["check", "--quiet", "--model", "mpl"]).refuses(&["mpl"]);
}

/// On a terminal that `script` stands in for.
#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_there_is_a_line_of_progress_that_goes() {
    let folder = tempfile::tempdir().unwrap();
    net_with_more(&folder.path().join("net.safetensors"));
    let seen = |words: &str| {
        let command = format!("'{}' {words} > results", env!("CARGO_BIN_EXE_pc-bench"));
        let output = Command::new("script")
            .args(["-qefc", &command, "/dev/null"])
            .env("TERM", "xterm")
            .current_dir(folder.path())
            .output();
        // Not every machine has it.
        let output = output.ok()?;
        assert!(output.status.success(), "{words}: {output:?}");
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for (words, shown) in [
        (TRAIN, &["reading digits", "measuring zil"][..]),
        (RELAX, &["relaxing by zil"]),
        ("check --model mlp --backend host", &["checking mlp on host"]),
        ("speed --model mlp --repeats 1 --batch 2 --backend host", &["timing mlp on host"]),
    ] {
        let Some(text) = seen(words) else { return };
        for line in shown {
            let start = text.rfind(line);
            // The line is cleared after it was drawn for the last time.
            let rest = start.map(|start| &text[start..]);
            assert!(rest.is_some_and(|rest| rest.contains("\x1b[2K")), "{words}: {text:?}");
        }
        for flag in ["--quiet", "--json"] {
            let text = seen(&format!("{words} {flag}")).unwrap_or_default();
            assert!(!text.contains('\x1b'), "{words} {flag}: {text:?}");
        }
    }
    assert_eq!(names(folder.path()), ["grads.safetensors", "net.safetensors", "results"]);
}
