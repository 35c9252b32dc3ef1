//! The program under kills, signals and disks that cannot be written: no result is lost.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread::{sleep, spawn},
    time::{Duration, Instant},
};

use pc_bench::{checkpoint::Checkpoint, contract::Precision, models::ModelKind};
use pc_core::host::Element;
use serde_json::Value;

/// A small run; further words come after these.
const SMALL: [&str; 7] = ["train", "--model", "mlp", "--samples", "320", "--threads", "1"];

fn command(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pc-bench"));
    command.args(SMALL).args(words.split_whitespace()).current_dir(folder);
    command
}

/// The same without those words.
fn bare(folder: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pc-bench"));
    command.arg("train").args(words.split_whitespace()).current_dir(folder);
    command
}

fn ends(folder: &Path, words: &str) -> Output {
    command(folder, words).output().unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// A run that lives, and ends with the test where it was not ended before.
struct Living {
    child: Child,
    /// What it prints. A thread reads it, so that a full pipe never stops the run.
    lines: Receiver<String>,
}

impl Living {
    /// Starts it, and waits for its first line of JSON.
    fn new(folder: &Path, words: &str) -> Self {
        let mut child = command(folder, &format!("--json {words}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, lines) = channel();
        spawn(move || {
            for line in printed.map_while(Result::ok) {
                // The test may be over.
                let _ = sender.send(line);
            }
        });
        let living = Self { child, lines };
        living.line();
        living
    }

    fn line(&self) -> Value {
        serde_json::from_str(&self.lines.recv().expect("a line")).unwrap()
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Its exit status, the rest of its lines, and what it said beside them.
    fn end(mut self) -> (Option<i32>, Vec<Value>, String) {
        let rest = self.lines.iter().map(|line| serde_json::from_str(&line).unwrap()).collect();
        let mut errors = String::new();
        self.child.stderr.as_mut().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), rest, errors)
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until something holds; a minute is more than any machine needs.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_report_that_cannot_be_written_costs_no_results() {
    let folder = tempfile::tempdir().unwrap();
    let words = "--schedule standard --epochs 40 --report report";
    let living = Living::new(folder.path(), words);
    // A place that was good when the run began.
    fs::write(folder.path().join("report"), "in the way").unwrap();
    let (status, lines, errors) = living.end();
    assert_eq!(status, Some(2), "{errors}");
    let summary = lines.last().unwrap();
    assert_eq!(summary["event"], "summary");
    assert!(summary["runs"]["standard"]["test_accuracy"].is_f64(), "{summary}");
    assert!(summary["report_error"].as_str().unwrap().contains("report"), "{summary}");
    assert!(errors.contains("the results are above"), "{errors}");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_printed_costs_no_report_and_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(folder.path(), "--epochs 1 --schedule zil --json --save run.safetensors")
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert_eq!(names(folder.path()), ["report", "run.safetensors"]);
    assert_eq!(names(&folder.path().join("report")).len(), 3);
}

#[cfg(target_os = "linux")]
#[test]
fn places_that_cannot_be_written_are_found_before_training() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("report/curves.svg")).unwrap();
    for (words, what) in [
        ("--report /proc/self/none", "/proc/self"),
        ("--report report", "curves.svg"),
        ("--no-report --save /proc/self/run.safetensors", "/proc/self/run.safetensors"),
    ] {
        let output = ends(folder.path(), &format!("--json --epochs 1 {words}"));
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]));
        assert!(said(&output).contains(what), "{}", said(&output));
    }
}

#[test]
fn a_save_that_fails_is_tried_again_and_the_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let [here, away] = ["here", "away"].map(|name| folder.path().join(name));
    fs::create_dir(&here).unwrap();
    let words = "--schedule standard --epochs 100000 --no-report --save here/run.safetensors";
    let living = Living::new(folder.path(), words);
    fs::rename(&here, &away).unwrap();
    for _ in 0..5 {
        assert_eq!(living.line()["event"], "epoch");
    }
    fs::create_dir(&here).unwrap();
    let file = here.join("run.safetensors");
    wait_until("the next save", || file.exists());
    living.signal("-INT");
    let (status, lines, errors) = living.end();
    assert_eq!(status, Some(130), "{errors}");
    assert_eq!(lines.last().unwrap()["saved"], "here/run.safetensors");
    assert_eq!(errors.matches("warning: cannot write").count(), 1, "{errors}");
    assert!(errors.contains("after all"), "{errors}");
    Checkpoint::<f32>::read(&file).unwrap();
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_what_is_no_file_is_refused() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("disk")).unwrap();
    symlink("disk/run.safetensors", at("link")).unwrap();
    symlink("/dev/null", at("null")).unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    let run = "--no-report --epochs 1 --schedule backprop --save";
    let output = ends(folder.path(), &format!("{run} link"));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(at("link").is_symlink());
    Checkpoint::<f32>::read(&at("disk/run.safetensors")).unwrap();
    for (name, what) in [("fifo", "a FIFO"), ("null", "a device"), ("/dev/null", "a device")] {
        let output = ends(folder.path(), &format!("{run} {name}"));
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(what), "{}", said(&output));
    }
    assert!(fs::metadata(at("fifo")).unwrap().file_type().is_fifo());
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert_eq!(names(folder.path()), ["disk", "fifo", "link", "null"]);
}

#[test]
fn a_second_run_to_the_same_file_is_refused_while_the_first_lives() {
    let folder = tempfile::tempdir().unwrap();
    let words = "--schedule zil --no-report --save run.safetensors --epochs";
    let first = Living::new(folder.path(), &format!("{words} 100000"));
    let second = ends(folder.path(), &format!("{words} 1"));
    assert_eq!(second.status.code(), Some(2), "{}", said(&second));
    let process = format!("process {}", first.child.id());
    assert!(said(&second).contains(&process), "{}", said(&second));
    first.signal("-KILL");
    first.end();
    // What was killed in the middle of a save has left its half-written file.
    for name in [".run.safetensors.99-7.tmp", ".other.safetensors.99-7.tmp"] {
        fs::write(folder.path().join(name), "half").unwrap();
    }
    let third = ends(folder.path(), &format!("{words} 1"));
    assert_eq!(third.status.code(), Some(0), "{}", said(&third));
    assert_eq!(names(folder.path()), [".other.safetensors.99-7.tmp", "run.safetensors"]);
}

/// The figures of each run that are bits of its weights.
fn figures(summary: &Value) -> Vec<(String, Value)> {
    let runs = summary["runs"].as_object().unwrap();
    let keys = ["test_loss", "train_loss", "energy", "min_cosine", "test_accuracy"];
    runs.iter()
        .flat_map(|(name, run)| keys.map(|key| (format!("{name} {key}"), run[key].clone())))
        .collect()
}

fn tensors<F: Element>(path: &Path) -> Checkpoint<F> {
    let mut saved = Checkpoint::read(path).unwrap();
    // Times and the comparison's name are of one run of the program.
    saved.metadata.retain(|key, _| matches!(key.as_str(), "epoch" | "step" | "schedule"));
    saved
}

/// Kills a comparison that saves within epochs so many times, each time after a save or in the
/// middle of the next, and lets it go on. It comes to the bits of one that was never killed. Where
/// it comes to its end before, it begins anew.
fn drill<F: Element>(model: &str, schedules: &str, kills: u64) {
    let folder = tempfile::tempdir().unwrap();
    let precision = Precision::of::<F>();
    let common = format!(
        "--json --no-report --threads 1 --samples 320 --batch 4 --save-every 7 --model {model} \
         --precision {precision}"
    );
    let begin = format!("--schedule {schedules} --epochs 3");
    let ends = |words: &str| bare(folder.path(), words).output().unwrap();
    let whole = ends(&format!("{common} {begin} --save whole.safetensors"));
    assert_eq!(whole.status.code(), Some(0), "{}", said(&whole));
    let last = |output: &Output| -> Value {
        let lines = String::from_utf8(output.stdout.clone()).unwrap();
        serde_json::from_str(lines.lines().last().unwrap()).unwrap()
    };

    let on = format!("{common} --resume run.safetensors --save run.safetensors");
    let mut words = format!("{common} {begin} --save run.safetensors");
    let file = |run: &str, name: &str| folder.path().join(format!("{run}.{name}.safetensors"));
    let files: Vec<PathBuf> = schedules.split(',').map(|name| file("run", name)).collect();
    let contents = || files.iter().map(|path| fs::read(path).ok()).collect::<Vec<_>>();
    let check = || {
        for name in schedules.split(',') {
            let [run, whole] = ["run", "whole"].map(|run| tensors::<F>(&file(run, name)));
            assert_eq!(run, whole, "{model} by {name} in {precision}");
        }
    };
    let mut steps = Vec::new();
    let (mut kill, mut turns) = (0, 0);
    while kill < kills {
        turns += 1;
        assert!(turns <= 10 * kills, "{model}: it ends before it is killed");
        let before = contents();
        let mut child = bare(folder.path(), &words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It may end by itself, where the machine is quick.
        wait_until("a save", || contents() != before || child.try_wait().unwrap().is_some());
        sleep(Duration::from_micros(kill * 2700 % 29_000));
        let _ = child.kill();
        if child.wait().unwrap().code().is_some() {
            check();
            for name in names(folder.path()).iter().filter(|name| name.starts_with("run.")) {
                fs::remove_file(folder.path().join(name)).unwrap();
            }
            words = format!("{common} {begin} --save run.safetensors");
            continue;
        }
        kill += 1;
        words.clone_from(&on);
        let saved = files.iter().filter(|path| path.exists());
        steps.extend(
            saved.map(|path| Checkpoint::<F>::read(path).unwrap().metadata["step"].clone()),
        );
    }
    // Some of them were saved within an epoch.
    assert!(steps.iter().any(|step| step != "0"), "{model}: {steps:?}");
    let resumed = ends(&on);
    if resumed.status.code() != Some(0) {
        // Then the kills came too late.
        assert!(said(&resumed).contains("epochs already"), "{}", said(&resumed));
    } else {
        assert_eq!(figures(&last(&resumed)), figures(&last(&whole)), "{model}");
    }
    check();
    assert!(names(folder.path()).iter().all(|name| name.ends_with(".safetensors")));
}

#[test]
fn a_comparison_goes_on_as_a_whole_through_ten_kills() {
    drill::<f32>("mlp", "backprop,standard,ipc", 10);
}

/// All models, schedules and precisions: `cargo xtask drill`.
#[test]
#[ignore = "takes minutes"]
fn a_hundred_kills() {
    for model in ModelKind::ALL {
        drill::<f32>(model.name(), "backprop,standard,epc", 9);
        drill::<f64>(model.name(), "fixed-prediction,zil,ipc", 9);
    }
}

/// A limit on the size of files stands in for a disk that fills: the trial before training fits,
/// and nothing else does.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_costs_no_results() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_pc-bench"))
        .args(SMALL)
        .args(["--schedule", "zil,backprop", "--epochs", "3", "--save", "run.safetensors"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("Z-IL") && shown.contains("backprop"), "{text}");
    assert!(!shown.contains("saved run"), "{text}");
    assert!(text.contains("the results are above, but not all is written"), "{text}");
    // Once for each run.
    assert_eq!(text.matches("warning: cannot write").count(), 2, "{text}");
    assert!(!names(folder.path()).iter().any(|name| name.ends_with(".tmp")), "{text}");
}

#[test]
fn a_stopped_comparison_shows_what_has_ended_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let common = "--no-report --save run.safetensors";
    let words = "--schedule zil,standard --steps 20000 --epochs 1";
    let living = Living::new(folder.path(), &format!("{words} {common}"));
    living.signal("-INT");
    let (status, lines, errors) = living.end();
    assert_eq!(status, Some(130), "{errors}");
    assert!(errors.contains("stopping after this batch"), "{errors}");
    assert!(errors.contains("--resume run.safetensors --save run.safetensors"), "{errors}");
    let events: Vec<&Value> = lines.iter().map(|line| &line["event"]).collect();
    assert_eq!(events, ["partial", "interrupted"]);
    assert!(lines[0]["runs"]["zil"]["test_accuracy"].is_f64(), "{}", lines[0]);
}

#[test]
fn a_hundred_million_frozen_steps_are_not_simulated() {
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let words = "--json --schedule fixed-prediction --steps 100000000 --epochs 1 --no-report";
    let output = ends(folder.path(), words);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn files_of_another_comparison_are_not_taken_for_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let words = "--no-report --save run.safetensors --schedule zil,backprop --epochs 1 --seed";
    let run = |words: &str| {
        let output = ends(folder.path(), words);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        said(&output)
    };
    run(&format!("{words} 1"));
    fs::rename(at("run.zil.safetensors"), at("old")).unwrap();
    run(&format!("{words} 1"));
    fs::rename(at("old"), at("run.zil.safetensors")).unwrap();
    let on = "--no-report --resume run.safetensors --save run.safetensors --epochs 2";
    let text = run(on);
    assert!(
        text.contains("run.zil.safetensors is of another comparison; zil starts anew"),
        "{text}"
    );
    for name in ["run.zil.safetensors", "run.backprop.safetensors"] {
        assert_eq!(Checkpoint::<f32>::read(&at(name)).unwrap().metadata["epoch"], "2", "{name}");
    }
    // What is given beside it must agree with it.
    for (more, what) in [
        ("--schedule zil", "a comparison of zil,backprop"),
        ("--seed 7", "--seed 7 contradicts"),
        ("--epochs 2", "has done 2 epochs already"),
    ] {
        let output = ends(folder.path(), &format!("--no-report --resume run.safetensors {more}"));
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(what), "{}", said(&output));
    }
}

#[test]
fn a_run_may_become_part_of_a_comparison_at_its_own_place() {
    let folder = tempfile::tempdir().unwrap();
    let words = "--no-report --save run.safetensors";
    let first = ends(folder.path(), &format!("{words} --schedule zil --epochs 1"));
    assert_eq!(first.status.code(), Some(0), "{}", said(&first));
    let more = "--resume run.safetensors --compare-backprop --epochs 2 --threads 2";
    // Without the one thread of the other runs here.
    let second = bare(folder.path(), &format!("{words} {more}")).output().unwrap();
    assert_eq!(second.status.code(), Some(0), "{}", said(&second));
    assert!(
        said(&second).contains("made with --threads 1, and 2 compute now"),
        "{}",
        said(&second)
    );
    let path = folder.path().join("run.zil.safetensors");
    assert_eq!(Checkpoint::<f32>::read(&path).unwrap().metadata["epoch"], "2");
}

#[test]
fn an_energy_that_runs_away_without_leaving_the_numbers_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    // The engine bounds the energy of live predictions itself, that of frozen ones it does not.
    for (words, why) in [
        ("fixed-prediction --rate 3", "at its end: the energy is"),
        ("standard --rate 1.5", "at batch 1: the energy has run away"),
    ] {
        let words = format!("--schedule {words} --epochs 1 --report report");
        let output = ends(folder.path(), &words);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
        let report = fs::read_to_string(folder.path().join("report/report.json")).unwrap();
        assert!(report.contains(why), "{report}");
    }
}

#[test]
fn saving_within_epochs_needs_a_place() {
    let folder = tempfile::tempdir().unwrap();
    for (words, what) in [("--save-every 10m", "--save"), ("--save run --save-every 5d", "10m")] {
        let output = ends(folder.path(), words);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(what), "{}", said(&output));
    }
    assert_eq!(names(folder.path()), [""; 0]);
}
