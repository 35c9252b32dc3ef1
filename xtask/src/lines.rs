//! Source files that have grown long.

use std::fs;

use crate::step::{Step, timed};

const MOST: usize = 450;

/// Warns about tracked source files that are too long to read in one sitting.
pub(crate) fn warn() {
    timed(format!("source files of at most {MOST} lines"), || {
        let listed = match Step::new("git", &["ls-files", "-z", "*.rs"]).read() {
            Ok(listed) => listed,
            Err(failure) => {
                println!("warning: skipped: {failure}");
                return;
            }
        };
        let files = listed.split('\0').filter(|path| in_src(path));
        for (path, lines) in long(files, |path| fs::read_to_string(path).ok()) {
            println!("warning: {path} has {lines} lines");
        }
    });
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
}
