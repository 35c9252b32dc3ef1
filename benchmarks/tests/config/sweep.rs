//! Searches: what they chose from, what they never see, and that they go on.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use pc_bench::kept;
use serde_json::Value;

/// Where a sweep keeps what is done.
const SAVED: [&str; 2] = ["--save", "sweep"];

const SWEEP: &str = "model = \"mlp\"\nepochs = 2\nbatch = 16\nthreads = 1\n[data]\nsamples = 200\n\
    [schedule]\nrule = \"standard\"\nsteps = 4\n[sweep]\nmethod = \"halving\"\ntrials = 4\n\
    [sweep.ranges]\n\"schedule.rate\" = { from = 0.01, to = 0.2, scale = \"log\" }\n\
    \"optimiser.learning-rate\" = { values = [0.0001, 0.002] }\n";

fn sweep(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pc-bench"));
    command.current_dir(folder).args(["sweep", "sweep.toml", "--json"]).args(more);
    command
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sweep.toml"), text).unwrap();
    folder
}

#[test]
fn what_is_chosen_is_the_best_of_the_table_and_can_be_trained() {
    let folder = folder(SWEEP);
    let found = lines(&sweep(folder.path(), &["--output", "chosen.toml"]).output().unwrap());
    let (summary, trials) = found.split_last().unwrap();
    // Four for an epoch, two of them for both.
    let of = |epochs: u64| trials.iter().filter(move |trial| trial["epochs"] == epochs);
    assert_eq!((of(1).count(), of(2).count(), trials.len()), (4, 2, 6));
    let accuracy = |trial: &Value| trial["found"]["accuracy"].as_f64().unwrap();
    let best = of(2).map(accuracy).fold(0.0, f64::max);
    assert_eq!(summary["validation_accuracy"].as_f64(), Some(best));
    let chosen = of(2).find(|trial| trial["trial"] == summary["chosen"]).unwrap();
    let rate = chosen["tried"]["schedule.rate"].as_f64().unwrap();
    let text = fs::read_to_string(folder.path().join("chosen.toml")).unwrap();
    assert!(text.contains(&format!("rate = {rate}")) && !text.contains("[sweep"), "{text}");
    let trained = Command::new(env!("CARGO_BIN_EXE_pc-bench"))
        .current_dir(folder.path())
        .args(["train", "--config", "chosen.toml", "--json", "--no-report"])
        .output()
        .unwrap();
    let summary = lines(&trained).pop().unwrap();
    assert_eq!(summary["event"], "summary");
    assert_eq!(summary["judged_on"], "test");
    assert_eq!(summary["runs"]["standard"]["rate"].as_f64(), Some(rate));
}

#[test]
fn a_sweep_goes_on_after_a_kill_to_the_same_choice() {
    // Long enough that a kill finds it under way: nine trials on five rungs.
    let text =
        SWEEP.replace("epochs = 2", "epochs = 12").replace("samples = 200", "samples = 1000");
    let whole = folder(&text);
    let expected = lines(&sweep(whole.path(), &[]).output().unwrap());
    let part = folder(&text);
    for after in [1, 4, 7] {
        let _ = fs::remove_file(part.path().join("done.json"));
        let mut child = sweep(part.path(), &["--save", "done.json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        assert_eq!(said.lines().take(after).filter(Result::is_ok).count(), after);
        child.kill().unwrap();
        child.wait().unwrap();
        let kept: Value = kept::read(&part.path().join("done.json"), SAVED).unwrap();
        let count = kept["done"].as_object().unwrap().len();
        assert!((after..9).contains(&count), "{count} of 9 were done when it was killed");
        let again = lines(&sweep(part.path(), &["--save", "done.json"]).output().unwrap());
        assert_eq!(again, expected, "killed after {after}");
    }
    // What is there is not computed again: a figure that is changed in the file is the one shown.
    let path = part.path().join("done.json");
    let mut kept: Value = kept::read(&path, SAVED).unwrap();
    kept["done"]["0/1"]["accuracy"] = 2.0.into();
    kept::write(&path, &kept).unwrap();
    let shown = lines(&sweep(part.path(), &["--save", "done.json"]).output().unwrap());
    assert_eq!((&shown[0]["trial"], &shown[0]["found"]["accuracy"]), (&1.into(), &2.0.into()));
    // One that is changed without its check sum is damage.
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replace("\"accuracy\":2.0", "\"accuracy\":1.0")).unwrap();
    let damaged = sweep(part.path(), &["--save", "done.json"]).output().unwrap();
    assert_eq!(damaged.status.code(), Some(2));
    assert!(String::from_utf8(damaged.stderr).unwrap().contains("done.json: it is damaged"));
    fs::write(&path, whole).unwrap();
    // Of another sweep nothing is taken.
    fs::write(part.path().join("sweep.toml"), text.replace("0.01", "0.02")).unwrap();
    let other = sweep(part.path(), &["--save", "done.json"]).output().unwrap();
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8(other.stderr).unwrap().contains("of another sweep"));
}

/// An MNIST of 40 pictures, and 10 to test on that are all `class`.
fn mnist(folder: &Path, class: u8) {
    fs::create_dir_all(folder).unwrap();
    for (name, count) in [("train", 40_u32), ("t10k", 10)] {
        let numbers = |numbers: &[u32]| numbers.iter().flat_map(|x| x.to_be_bytes()).collect();
        let mut images: Vec<u8> = numbers(&[0x803, count, 28, 28]);
        let mut labels: Vec<u8> = numbers(&[0x801, count]);
        for picture in 0..count {
            let label = if name == "train" { (picture % 10) as u8 } else { class };
            labels.push(label);
            images.extend((0..784).map(|at| if at / 78 == u32::from(label) { 255 } else { 9 }));
        }
        fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
}

#[test]
fn no_figure_of_a_sweep_depends_on_the_test_set() {
    // With a share of its own, and with the usual one.
    for data in ["kind = \"mnist\"\nvalidation = 0.5", "kind = \"mnist\""] {
        let folder = folder(&SWEEP.replace("samples = 200", data));
        let [one, two] = [1, 2].map(|class| {
            let dir = format!("data{class}");
            mnist(&folder.path().join(&dir), class);
            lines(&sweep(folder.path(), &["--data-dir", &dir]).output().unwrap())
        });
        assert_eq!(one, two, "{data}");
    }
}

/// What a sweep of this text says as it refuses it.
fn refused(text: &str, more: &[&str]) -> String {
    let output = sweep(folder(text).path(), more).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    said
}

#[test]
fn wrong_sweeps_are_refused_by_their_line() {
    for (from, to, line, words) in [
        ("[sweep]", "[sweeps]", 10, "unknown field"),
        ("method = \"halving\"", "method = \"grid\"", 12, "takes none"),
        ("trials = 4", "trials = 0", 12, "too small"),
        ("trials = 4", "trials = 1000000000000", 12, "at most"),
        ("trials = 4", "factor = 2", 10, "trials is missing"),
        ("trials = 4", "trials = 4\nfactor = 1", 13, "too small"),
        ("trials = 4", "trials = 4\nfirst-epochs = 3", 13, "more than the 2 in all"),
        ("from = 0.01", "from = 0.3", 14, "below to"),
        ("from = 0.01", "from = 0", 14, "above 0"),
        ("from = 0.01", "from = nan", 14, "finite"),
        ("from = 0.01", "from = \"0.01\"", 14, "finite"),
        ("from = 0.01, ", "", 14, "give values"),
        ("scale = \"log\"", "scale = \"loud\"", 14, "loud"),
        ("from = 0.01", "values = [0.1], from = 0.01", 14, "contradict"),
        ("\"schedule.rate\"", "\"schedule.rat\"", 14, "rat"),
        ("\"schedule.rate\"", "\"layers[3].width\"", 14, "no such place"),
        ("\"schedule.rate\"", "\"schedule.steps\"", 14, "schedule.steps"),
        ("\"schedule.rate\"", "epochs", 14, "all trials share it"),
        ("\"schedule.rate\"", "\"data.validation\"", 14, "all trials share it"),
        ("\"schedule.rate\"", "\"sweep.trials\"", 14, "all trials share it"),
        ("[0.0001, 0.002]", "[0.0001, -0.002]", 15, "-0.002"),
        ("[0.0001, 0.002]", "[\"fast\"]", 15, "fast"),
        ("rule = \"standard\"", "rule = \"zil\"", 14, "takes none"),
        ("rule = \"standard\"", "", 7, "rule is missing"),
        ("batch = 16", "batch = 0", 3, "learn from nothing"),
        ("epochs = 2", "epochs = \"two\"", 2, "invalid type"),
        ("epochs = 2", "epochs = 0", 2, "train nothing"),
        ("threads = 1", "threads = 0", 4, "compute nothing"),
        ("threads = 1", "seeds = 3", 4, "one seed"),
        ("samples = 200", "samples = 20000", 6, "more than"),
        ("samples = 200", "validation = 1.5", 6, "between 0 and 1"),
    ] {
        let text = SWEEP.replacen(from, to, 1);
        assert!(text != SWEEP);
        let said = refused(&text, &[]);
        assert!(
            said.contains(&format!("sweep.toml:{line}: ")) && said.contains(words),
            "{to} is not line {line} with `{words}`: {said}"
        );
    }
    let (before, _) = SWEEP.split_once("[sweep]").unwrap();
    assert!(refused(before, &[]).contains("there is no [sweep]"));
    let none = before.replace("[schedule]\nrule = \"standard\"\nsteps = 4\n", "");
    let ranges = "[sweep.ranges]\nbatch = { values = [8] }\n";
    assert!(refused(&format!("{none}{ranges}"), &[]).contains("have that alone"));
    let two = before.replace("[schedule]", "[[schedule]]") + "[[schedule]]\nrule = \"zil\"\n";
    assert!(refused(&format!("{two}{ranges}"), &[]).contains("have that alone"));
}

#[test]
fn places_that_would_be_overwritten_are_refused() {
    for more in [
        ["--output", "sweep.toml", "--save", "a.json"],
        ["--output", "./sweep.toml", "--save", "a.json"],
        ["--save", "sweep.toml", "--output", "a.toml"],
        ["--save", "same", "--output", "same"],
        ["--save", "none/a.json", "--output", "a.toml"],
        ["--output", "none/a.toml", "--save", "a.json"],
    ] {
        let folder = folder(SWEEP);
        let output = sweep(folder.path(), &more).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("give another") || said.contains("no folder"), "{said}");
        assert_eq!(fs::read_to_string(folder.path().join("sweep.toml")).unwrap(), SWEEP);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{more:?}");
    }
}

#[test]
fn a_grid_tries_all_and_leaves_out_what_diverges() {
    let grid = "[sweep]\n[sweep.ranges]\nbatch = { values = [16, 40] }\n\
        \"optimiser.learning-rate\" = { values = [0.002, 1e30] }\n";
    let (before, _) = SWEEP.split_once("[sweep]").unwrap();
    let wild = folder(&format!("report = \"best-epoch\"\n{before}{grid}"));
    let found = lines(&sweep(wild.path(), &[]).output().unwrap());
    let (summary, trials) = found.split_last().unwrap();
    assert_eq!(trials.len(), 4);
    for trial in trials {
        let diverges = trial["tried"]["optimiser.learning-rate"] == 1e30;
        assert_eq!(trial["found"]["accuracy"].is_null(), diverges, "{trial}");
    }
    let words = summary["configuration"].as_str().unwrap();
    assert!(words.contains("learning-rate = 0.002") && words.contains("best-epoch"), "{words}");
    // Where all diverge, nothing is chosen.
    let all = grid.replace("0.002, ", "");
    let output = sweep(folder(&format!("{before}{all}")).path(), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("every trial that was left diverged"), "{said}");
}

#[test]
fn a_file_for_sweeps_is_not_one_for_train() {
    let folder = folder(SWEEP);
    let output = Command::new(env!("CARGO_BIN_EXE_pc-bench"))
        .current_dir(folder.path())
        .args(["train", "--config", "sweep.toml", "--no-report"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("sweep.toml:10: [sweep] is for `pc-bench sweep`"), "{said}");
}
