//! Commands that say what they run and how long it took.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::Instant;

/// One command.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

/// A step that failed, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    step: String,
    reason: String,
}

impl Failure {
    /// A failure of the step called `step`; only the first line of `reason` is kept.
    pub(crate) fn new(step: impl fmt::Display, reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        Self {
            step: step.to_string(),
            reason: reason.lines().next().unwrap_or_default().to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.step, self.reason)
    }
}

impl Step {
    /// A command with its arguments.
    pub(crate) fn new(program: &str, args: &[&str]) -> Self {
        Self {
            program: program.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
        }
    }

    /// A call of cargo.
    pub(crate) fn cargo(args: &[&str]) -> Self {
        Self::new("cargo", args)
    }

    /// Adds arguments.
    pub(crate) fn args(mut self, more: &[&str]) -> Self {
        self.args.extend(more.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Sets an environment variable for the command.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The command, ready to run.
    pub(crate) fn command(&self) -> Command {
        // Cargo names itself to the programs it starts.
        let cargo = std::env::var_os("CARGO").filter(|_| self.program == "cargo");
        let mut command = Command::new(cargo.unwrap_or_else(|| self.program.clone().into()));
        command.args(&self.args);
        for (name, value) in &self.env {
            command.env(name, value);
        }
        command
    }

    /// Runs the command and shows its output.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        timed(self, || match self.command().status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::new(self, status)),
            Err(error) => Err(Failure::new(self, error)),
        })
    }

    /// Runs the command and returns what it printed, errors and warnings included.
    pub(crate) fn read_both(&self) -> Result<String, Failure> {
        let output = self.command().output().map_err(|error| Failure::new(self, error))?;
        let said =
            [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)]
                .concat();
        if output.status.success() {
            return Ok(said);
        }
        Err(Failure::new(
            self,
            said.lines().find(|line| line.contains("error")).unwrap_or("it failed"),
        ))
    }

    /// Runs the command and returns what it printed.
    pub(crate) fn read(&self) -> Result<String, Failure> {
        let output = self
            .command()
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| Failure::new(self, error))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| line.starts_with("error"));
        match said {
            Some(line) => Err(Failure::new(self, line)),
            None => Err(Failure::new(self, output.status)),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.env {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&self.program)?;
        for arg in &self.args {
            write!(f, " {}", quoted(arg))?;
        }
        Ok(())
    }
}

/// A word as a shell would need it.
fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"$`\\*?".contains(c)) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.to_owned()
    }
}

/// Announces a step, runs it, and tells how long it took.
pub(crate) fn timed<T>(name: impl fmt::Display, work: impl FnOnce() -> T) -> T {
    println!("==> {name}");
    let start = Instant::now();
    let done = work();
    println!("    {:.1} s", start.elapsed().as_secs_f64());
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shown_as_a_shell_needs_them() {
        let step = Step::cargo(&["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(step.to_string(), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
        assert_eq!(Step::new("a", &["it's", ""]).to_string(), r"a 'it'\''s' ''");
    }

    #[test]
    fn failures_take_one_line() {
        let failure = Failure::new("cargo tree", "first\nsecond");
        assert_eq!(failure.to_string(), "`cargo tree`: first");
    }

    #[test]
    fn a_failing_command_names_itself() {
        let step = Step::cargo(&["no-such-command-here"]);
        let failure = step.read().unwrap_err().to_string();
        assert!(failure.starts_with("`cargo no-such-command-here`: error"), "{failure}");
        assert!(Step::new("no-such-program-here", &[]).read().is_err());
        assert!(Step::cargo(&["--version"]).read().unwrap().starts_with("cargo "));
    }
}
