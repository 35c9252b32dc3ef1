//! `docs/bring-your-model.md` shows programs as they are.

const PAGE: &str = include_str!("../../../docs/bring-your-model.md");

/// The files whose code the page shows, all of them compiled by tests.
const FILES: [(&str, &str); 9] = [
    ("mlp.rs", include_str!("mlp.rs")),
    ("mnist.rs", include_str!("mnist.rs")),
    ("resnet.rs", include_str!("resnet.rs")),
    ("lstm.rs", include_str!("lstm.rs")),
    ("text_classification.rs", include_str!("text_classification.rs")),
    ("gpt.rs", include_str!("gpt.rs")),
    ("devices.rs", include_str!("../../examples/common/devices.rs")),
    ("serve.rs", include_str!("../../examples/serve.rs")),
    ("digits.rs", include_str!("../../examples/digits.rs")),
];

/// The blocks of code that begin with this word and name a file: that file, and their lines.
fn blocks(kind: &str) -> Vec<(&'static str, Vec<&'static str>)> {
    let opening = format!("```{kind} ");
    let mut found = Vec::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(file) = line.strip_prefix(&opening) {
            found.push((file, lines.by_ref().take_while(|line| *line != "```").collect()));
        }
    }
    found
}

fn source(file: &str) -> String {
    let found = FILES.iter().find(|(name, _)| *name == file);
    dense(found.unwrap_or_else(|| panic!("the page names {file}")).1)
}

fn dense(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// The code without its marks.
fn unmarked(code: &str) -> String {
    let Some(start) = code.find("vertex(") else { return code.to_owned() };
    let inner = start + "vertex(".len();
    let mut depth = 1;
    let end = code[inner..]
        .find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        })
        .expect("brackets close");
    let rest = &code[inner + end + 1..];
    unmarked(&format!("{}{}{rest}", &code[..start], &code[inner..inner + end]))
}

#[test]
fn the_page_shows_where_marks_go() {
    let blocks = blocks("diff");
    assert!(blocks.len() >= 6, "{}", blocks.len());
    for (file, lines) in blocks {
        let side = |other: char| -> String {
            let kept = lines.iter().filter(|line| !line.starts_with(other));
            dense(&kept.map(|line| line.get(1..).unwrap_or("")).collect::<Vec<_>>().join("\n"))
        };
        let (before, after) = (side('+'), side('-'));
        assert_ne!(before, after, "{file}: nothing changes");
        assert!(source(file).contains(&after), "{file} is not so:\n{}", lines.join("\n"));
        assert_eq!(unmarked(&after), before, "{file}: more than marks differs");
    }
}

#[test]
fn the_page_shows_code_that_is_compiled() {
    let blocks = blocks("rust");
    assert!(blocks.len() >= 2, "{}", blocks.len());
    for (file, lines) in blocks {
        assert!(source(file).contains(&dense(&lines.join("\n"))), "{file}: {lines:?}");
    }
}
