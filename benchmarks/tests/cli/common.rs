//! Running the program, and looking at what it did.

use std::{path::Path, process::Command};

use serde_json::Value;

/// The exit status of wrong input.
pub(crate) const FAILED: i32 = 2;

/// What a run of the program came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    said: String,
}

/// Runs the program in an empty folder of its own, which it must leave empty where it fails.
pub(crate) fn pc_bench(args: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let ran = pc_bench_in(folder.path(), args);
    if ran.status == FAILED {
        assert_eq!(names(folder.path()), [""; 0], "{} left files", ran.said);
    }
    ran
}

/// Runs the program in a folder.
pub(crate) fn pc_bench_in(folder: &Path, args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_pc-bench"))
        .args(args)
        .current_dir(folder)
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let ran = Ran {
        status: output.status.code().expect("no signal"),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
        said: format!("pc-bench {}", args.join(" ")),
    };
    assert!(!ran.stderr.contains("panicked"), "{}: {}", ran.said, ran.stderr);
    ran
}

/// The names in a folder, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

impl Ran {
    #[track_caller]
    pub(crate) fn succeeds(&self) {
        assert_eq!(self.status, 0, "{}: {}{}", self.said, self.stdout, self.stderr);
    }

    /// Wrong input: status 2, nothing on standard output, and all of these words on standard error.
    #[track_caller]
    pub(crate) fn refuses(&self, words: &[&str]) {
        assert_eq!(self.status, FAILED, "{}: {}{}", self.said, self.stdout, self.stderr);
        assert!(self.stderr.starts_with("error: "), "{}: {}", self.said, self.stderr);
        assert_eq!(self.stdout, "", "{}", self.said);
        for word in words {
            assert!(
                self.stderr.contains(word),
                "{} does not speak of `{word}`: {}",
                self.said,
                self.stderr
            );
        }
    }

    /// Standard output as one JSON object a line, the last of which is the summary.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        self.succeeds();
        let events: Vec<Value> =
            self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert!(events.iter().all(|event| event["event"].is_string()), "{}", self.stdout);
        assert_eq!(events.last().expect("an event")["event"], "summary", "{}", self.stdout);
        events
    }
}
