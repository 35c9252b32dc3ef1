//! Source files that have grown long, and lines that have grown wide.

use std::fs;

use crate::step::{Failure, Step, timed};

const MOST: usize = 450;

/// Characters in a line. rustfmt leaves comments, strings and macros as wide as they are.
const WIDEST: usize = 100;

/// Warns about tracked source files that are too long to read in one sitting, and fails on tracked
/// Rust lines that are too wide.
pub(crate) fn check() -> Vec<Failure> {
    let what = format!("source files of at most {MOST} lines of at most {WIDEST} characters");
    timed(&what, || {
        let listed = match Step::new("git", &["ls-files", "-z", "*.rs"]).read() {
            Ok(listed) => listed,
            Err(failure) => {
                println!("warning: skipped: {failure}");
                return Vec::new();
            }
        };
        let read = |path: &str| fs::read_to_string(path).ok();
        let files = || listed.split('\0').filter(|path| !path.is_empty());
        for (path, lines) in long(files().filter(|path| in_src(path)), read) {
            println!("warning: {path} has {lines} lines");
        }
        let wide = wide(files(), read);
        for Wide { path, line, width } in &wide {
            println!("{path}:{line} has {width} characters");
        }
        let first = wide.first().map(|Wide { path, line, .. }| {
            let count = wide.len();
            Failure::new(
                &what,
                format!("{count} lines of over {WIDEST} characters; the first is {path}:{line}"),
            )
        });
        first.into_iter().collect()
    })
}

/// Whether a path lies in a folder called `src`.
fn in_src(path: &str) -> bool {
    let mut folders = path.split('/');
    folders.next_back();
    folders.any(|folder| folder == "src")
}

/// The files with more lines than allowed; files that cannot be read are left out.
fn long<'a>(
    files: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> Option<String>,
) -> Vec<(&'a str, usize)> {
    files
        .filter_map(|path| Some((path, read(path)?.lines().count())))
        .filter(|(_, lines)| *lines > MOST)
        .collect()
}

/// A line that is too wide; lines count from 1.
#[derive(Debug, PartialEq, Eq)]
struct Wide<'a> {
    path: &'a str,
    line: usize,
    width: usize,
}

/// The lines that are too wide; files that cannot be read are left out.
fn wide<'a>(
    files: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> Option<String>,
) -> Vec<Wide<'a>> {
    files
        .filter_map(|path| Some((path, read(path)?)))
        .flat_map(|(path, text)| {
            let widths = text.lines().map(|line| line.chars().count()).enumerate();
            let found = widths.filter(|(_, width)| *width > WIDEST);
            found.map(|(index, width)| Wide { path, line: index + 1, width }).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sources_count() {
        assert!(in_src("pc-core/src/lib.rs"));
        assert!(in_src("src/a/b.rs"));
        assert!(!in_src("pc-core/tests/src.rs"));
        assert!(!in_src("src"));
        assert!(!in_src(""));
    }

    #[test]
    fn long_files_are_named() {
        let read = |path: &str| match path {
            "gone" => None,
            "long" => Some("line\n".repeat(MOST + 1)),
            _ => Some("line\n".repeat(MOST)),
        };
        let found = long(["short", "long", "gone"].into_iter(), read);
        assert_eq!(found, [("long", MOST + 1)]);
    }
    #[test]
    fn wide_lines_are_named_by_file_and_line() {
        let read = |path: &str| match path {
            "gone" => None,
            // Characters count, not bytes.
            "narrow" => Some("é".repeat(WIDEST)),
            _ => Some(format!("short\n{}\n", "x".repeat(WIDEST + 1))),
        };
        let found = wide(["narrow", "wide", "gone"].into_iter(), read);
        assert_eq!(found, [Wide { path: "wide", line: 2, width: WIDEST + 1 }]);
    }
}
