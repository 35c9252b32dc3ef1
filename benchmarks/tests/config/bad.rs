//! Wrong files: the exit status is 2, and the line is named.

use super::{plan, same::ALL};

/// The line of a file, from 1, is named in the refusal.
#[track_caller]
fn refused(text: &str, line: usize, words: &str) {
    let error = plan(text).expect_err(text);
    assert_eq!(error.status(), 2);
    let message = error.to_string();
    assert!(message.contains(&format!("run.toml:{line}: ")), "not line {line}: {message}\n{text}");
    assert!(message.contains(words), "nothing of `{words}`: {message}");
    assert!(!message.contains('\n'), "{message}");
}

/// The lines of the file that says nearly everything, with another one in the place of each that
/// gives an entry.
fn changed(change: impl Fn(&str, &str) -> Vec<String>) -> usize {
    let lines: Vec<&str> = ALL.lines().collect();
    let mut tried = 0;
    for (at, line) in lines.iter().enumerate() {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        // Any vertex has a rate of its own; whether there is one is found out with the net.
        if key == "below" {
            continue;
        }
        for other in change(key, value) {
            let mut text = lines.clone();
            text[at] = &other;
            refused(&text.join("\n"), at + 1, "");
            tried += 1;
        }
    }
    tried
}

#[test]
fn every_misspelt_key_is_named() {
    let tried = changed(|key, value| vec![format!("{key}x = {value}"), format!("X-{key} = 1")]);
    assert!(tried > 100, "{tried}");
}

#[test]
fn every_value_of_another_type_is_named() {
    let tried = changed(|key, value| {
        let text = value.starts_with('"');
        let others = if text { ["7", "true"] } else { ["\"word\"", "[]"] };
        others
            .iter()
            .filter(|_| key != "name" || text)
            .map(|other| format!("{key} = {other}"))
            .collect()
    });
    assert!(tried > 100, "{tried}");
}

#[test]
fn every_unknown_name_and_number_that_makes_no_sense_is_named() {
    let free = ["name", "from"];
    let tried = changed(|key, value| {
        let mut others = Vec::new();
        if value.starts_with('"') && !free.contains(&key) {
            others.push(format!("{key} = \"nonsense\""));
        }
        if value.parse::<f64>().is_ok() && !["slope", "seed", "mean"].contains(&key) {
            others.push(format!("{key} = -3"));
        }
        if value.contains('.') && !value.starts_with('"') {
            others.push(format!("{key} = nan"));
        }
        others
    });
    assert!(tried > 50, "{tried}");
}

#[test]
fn every_unknown_table_is_named() {
    for (at, line) in ALL.lines().enumerate().filter(|(_, line)| line.starts_with('[')) {
        let lines: Vec<String> = ALL
            .lines()
            .enumerate()
            .map(|(k, own)| {
                if k == at {
                    line.replace('[', "[x").replace("[x[x", "[[x")
                } else {
                    own.to_owned()
                }
            })
            .collect();
        let error = plan(&lines.join("\n")).unwrap_err().to_string();
        assert!(error.contains("run.toml:"), "{error}");
    }
}

#[test]
fn contradictions_are_named_where_they_are() {
    for (text, line, words) in [
        ("model = \"mlp\"\n[[layers]]\nkind = \"dense\"", 1, "contradicts [[layers]]"),
        ("[schedule]\nrate = 0.1", 1, "rule is missing"),
        ("[schedule]\nrule = \"backprop\"\nrate = 0.1", 3, "takes none"),
        ("[schedule]\nrule = \"zil\"\nsteps = 3", 3, "takes none"),
        ("[schedule]\nrule = \"backprop\"\nstart = \"zero\"", 1, "backprop takes no steps"),
        ("[[schedule]]\nrule = \"ipc\"\n[[schedule]]\nrule = \"ipc\"", 4, "twice"),
        ("[schedule]\nrule = \"ipc\"\ndeviation = 1.0", 3, "nothing to act on"),
        ("[schedule]\nrule = \"ipc\"\nstart = \"noise\"", 1, "deviation is missing"),
        ("[schedule]\nrule = \"ipc\"\nevery = 1", 1, "burn-in is missing"),
        ("[schedule]\nrule = \"ipc\"\nbeyond = 2\nunbounded = true", 4, "contradicts"),
        ("[schedule]\nrule = \"zil\"\n[states]\nrule = \"heun\"", 3, "no rule here relaxes"),
        ("[states]\nrule = \"momentum\"", 1, "momentum is missing"),
        ("[states]\nmomentum = 0.1", 2, "nothing to act on"),
        ("[states]\nrule = \"momentum\"\nmomentum = 1.5", 3, "momentum must be"),
        ("[states]\nrule = \"anderson\"", 1, "columns is missing"),
        ("[states]\npace = \"table\"", 1, "table is missing"),
        ("[states]\ndecay = 0.1", 2, "nothing to act on"),
        ("[clamp]\noutput = \"held\"", 2, "squared-error"),
        ("[clamp]\nbeta = 0.1", 2, "nothing to act on"),
        ("[loss]\nkind = \"squared-error\"\n[clamp]\noutput = \"nudged\"", 3, "beta is missing"),
        ("[loss]\nkind = \"squared-error\"\n[clamp]\noutput = \"nudged\"\nbeta = 0", 5, "not 0"),
        (
            "[loss]\nkind = \"squared-error\"\n[clamp]\noutput = \"nudged\"\nbeta = 0.5\n\
             growth = -0.1",
            6,
            "beta's sign",
        ),
        ("[loss]\nstrength = 0", 2, "positive"),
        ("[optimiser]\nmomentum = 0.5", 2, "for sgd"),
        ("[optimiser]\nkind = \"sgd\"\nfirst = 0.5", 3, "for adam"),
        ("[optimiser]\nweight-decay = 0.5", 2, "for adamw"),
        ("[optimiser]\nanneal = \"cosine\"", 1, "last is missing"),
        ("[optimiser]\nlast = 0.1", 2, "cosine"),
        ("[optimiser]\nwarm-up-from = 0.1", 2, "warm-up"),
        ("[optimiser]\nclip-norm = 1\nclip-value = 1", 3, "contradicts"),
        ("[optimiser]\nkind = \"sgd\"\nupdates = 0", 3, "1 or more"),
        ("[optimiser]\nanneal = \"cosine\"\nlast = 0.1\nwarm-up = 99", 4, "takes all"),
        ("[data]\nwindow = 3", 2, "nothing to act on"),
        ("[data]\nkind = \"names\"\nflip = true", 3, "pictures"),
        ("[data]\nkind = \"names\"\nstride = 2", 3, "shakespeare"),
        ("[data]\nvalidation = 1.0", 2, "share"),
        ("[data]\nsamples = 0", 2, "samples 0"),
        ("batch = 0", 1, "batch 0"),
        ("epochs = 0", 1, "epochs 0"),
        ("threads = 0", 1, "threads 0"),
        ("[[layers]]\nkind = \"dropout\"", 2, "no backend"),
        ("[[layers]]\nwidth = 3", 1, "kind"),
        ("seed = 1\nseed = 2", 2, "duplicate"),
        ("seed = \n", 1, ""),
        ("backend = \"abacus\"", 1, "no backend is called abacus"),
    ] {
        refused(text, line, words);
    }
}
