//! The command line.

use std::io;

use clap::{CommandFactory, builder::PossibleValuesParser};
use clap_complete::Shell;

use crate::{
    backends::Backend,
    commands::{
        check::{self, CheckArgs},
        gradients::{self, GradientsArgs},
        reproduce::{self, ReproduceArgs},
        speed::{self, SpeedArgs},
        sweep::{self, SweepArgs},
        train::TrainArgs,
    },
    contract::ScheduleKind,
    data,
    error::CommandError,
    models::ModelKind,
    output,
};

const NAME: &str = "pc-bench";

const ABOUT: &str =
    "Trains, checks and times neural networks by predictive coding, beside backprop";

const TEACH: &str = "\
Trains, checks and times neural networks by predictive coding, beside backprop.

In predictive coding (PC) every layer holds a value and predicts the next layer's; the difference \
is an error, and half the \
sum of squared errors is the energy. With the output held at its target, the values first relax: \
step by step each moves to where its own \
error and the errors it causes balance. Then every weight learns from the error next to it and \
nothing else. How values start, whether \
predictions follow them, and when weights learn make up a schedule. `fixed-prediction` and `zil` \
give exactly backprop's gradients \
(the first at rate 1; at smaller rates each layer's gradient is rescaled), `standard`, `ipc` and \
`epc` are learners of their own.";

const EXAMPLES: &str = "\
Examples:
  pc-bench train    learns handwritten digits by backprop and PC, side by side
  pc-bench train --schedule standard --rate 0.1 --steps 20 --epochs 5
  pc-bench check    shows that the exact schedules are exact, on all models
  pc-bench speed    times PC steps beside backprop steps, on this machine
  pc-bench sweep sweep.toml --output chosen.toml
                    searches ranges of a configuration for what learns best
  pc-bench reproduce --list
                    lists the literature's experiments that this runs
  pc-bench gradients --net net.safetensors --activation tanh \\
      --schedule standard --rate 0.1 --steps 20 --output grads.safetensors
                    gives your own net's gradients, to compare with your code

`pc-bench COMMAND --help` says more about each.
Exit status: 0 done, 1 beyond tolerance, 2 wrong input, 130 interrupted.";

/// `pc-bench`'s arguments.
#[derive(Debug, clap::Parser)]
#[command(name = NAME, version, about = ABOUT, long_about = TEACH, after_help = EXAMPLES,
disable_help_subcommand = true)]
pub struct Cli {
    /// Print one JSON object a line instead of tables; the last one is the summary
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress and no notes on standard error, only warnings and errors
    #[arg(long, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Train a model by PC and by backprop on real data, and compare them
    Train(Box<TrainArgs>),
    #[command(long_about = check::TEACH)]
    /// Show that the exact schedules give backprop's gradients, on every kind of model
    Check(CheckArgs),
    #[command(long_about = gradients::TEACH)]
    /// Compute one batch's gradients of your own net, for comparison with your own code
    Gradients(GradientsArgs),
    #[command(long_about = speed::TEACH)]
    /// Time PC and backprop steps against each other and against the machine
    Speed(SpeedArgs),
    #[command(long_about = reproduce::TEACH)]
    /// Run an experiment of the literature, beside its published figures
    Reproduce(ReproduceArgs),
    #[command(long_about = sweep::TEACH)]
    /// Search ranges of a configuration for what learns best, without the test set
    Sweep(SweepArgs),
    /// Print a script that completes this program's options in a shell
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// Whose script
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print this program's page of the manual, or a command's (roff)
    #[command(after_help = MAN)]
    Man {
        /// A command's own page
        #[arg(value_parser = PossibleValuesParser::new(PAGES))]
        command: Option<String>,
    },
}

/// The commands that have a page of the manual.
const PAGES: [&str; 8] =
    ["train", "check", "gradients", "speed", "reproduce", "sweep", "completions", "man"];

const COMPLETIONS: &str = "\
Examples:
  pc-bench completions bash > ~/.local/share/bash-completion/completions/pc-bench
  pc-bench completions fish > ~/.config/fish/completions/pc-bench.fish
  pc-bench completions zsh > _pc-bench    in a folder of zsh's $fpath";

const MAN: &str = "\
Examples:
  pc-bench man > ~/.local/share/man/man1/pc-bench.1
  pc-bench man train > ~/.local/share/man/man1/pc-bench-train.1";

/// Prints a shell's script.
///
/// # Errors
/// Where standard output takes no more.
pub fn completions(shell: Shell) -> Result<(), CommandError> {
    let mut script = Vec::new();
    let mut all = Cli::command().mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        command.mut_args(|option| match choices(&name, option.get_id().as_str()) {
            Some(names) => option.value_parser(PossibleValuesParser::new(names)),
            None => option,
        })
    });
    clap_complete::generate(shell, &mut all, NAME, &mut script);
    if shell != Shell::Bash {
        return output::bytes(&script);
    }
    // clap_complete 4.6 gives the commands of a program with a hyphen in its name two names.
    let script = String::from_utf8_lossy(&script);
    output::bytes(script.replace("pc__subcmd__bench__", "pc__bench__").as_bytes())
}

/// What an option of a command can be given, where clap itself knows nothing of it.
fn choices(command: &str, option: &str) -> Option<Vec<&'static str>> {
    let rules = || ScheduleKind::ALL.iter().map(|rule| rule.name());
    let mut names: Vec<&str> = match (command, option) {
        (_, "backend") => Backend::ALL.iter().map(|backend| backend.name()).collect(),
        ("train", "data") => data::Kind::ALL.iter().map(|kind| kind.name()).collect(),
        ("check" | "speed", "model") => ModelKind::ALL.iter().map(|kind| kind.name()).collect(),
        ("check", "schedule") => check::EXACT.iter().map(|rule| rule.name()).collect(),
        ("gradients", "schedule") => rules().filter(|rule| *rule != "ipc").collect(),
        ("speed", "schedule") => rules().collect(),
        ("check", "precision") => vec!["f32", "f64", "both"],
        ("speed", "precision") => vec!["f32", "f64"],
        ("gradients", "evaluation") => vec!["auto", "simulate", "front", "closed-form"],
        _ => return None,
    };
    if matches!(command, "check" | "speed") && option != "precision" {
        names.push("all");
    }
    Some(names)
}

/// Prints the program's page of the manual, or that of a command.
///
/// # Errors
/// A command that there is not; where standard output takes no more.
pub fn man(command: Option<&str>) -> Result<(), CommandError> {
    let mut all = Cli::command();
    // Gives the commands their whole names, and the options that all of them have.
    all.build();
    let page = match command {
        None => Some(&all),
        Some(name) => all.find_subcommand(name),
    };
    let page = page.cloned().ok_or_else(|| CommandError::input("there is no such command"))?;
    let text = page_of(page)
        .map_err(|error| CommandError::input(format!("cannot make the page: {error}")))?;
    output::bytes(text.as_bytes())
}

/// A page as roff. Its lines are not stretched, and its notes and examples stay as they are
/// written.
fn page_of(command: clap::Command) -> io::Result<String> {
    let version = concat!("pc-bench ", env!("CARGO_PKG_VERSION"));
    let (has_commands, has_notes) = (
        command.has_subcommands(),
        command.get_after_help().is_some() || command.get_after_long_help().is_some(),
    );
    let page = clap_mangen::Man::new(command).source(version).manual("pc-bench");
    let (mut text, mut about, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    page.render_title(&mut text)?;
    text.extend_from_slice(b".na\n");
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut about)?;
    text.extend_from_slice(with_listings(&String::from_utf8_lossy(&about)).as_bytes());
    page.render_options_section(&mut text)?;
    if has_commands {
        page.render_subcommands_section(&mut text)?;
    }
    if has_notes {
        page.render_extra_section(&mut notes)?;
    }
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if let Some((_, notes)) = String::from_utf8_lossy(&notes).split_once(".SH EXTRA\n") {
        // Lines are of up to 78 characters, which a page's indent would leave no room for.
        text += ".SH NOTES\n.nf\n.in 1n\n";
        text += notes;
        text += ".in\n.fi\n";
    }
    Ok(text)
}

/// Keeps lines as they are that begin with two spaces.
fn with_listings(text: &str) -> String {
    let (mut all, mut listing) = (String::new(), false);
    for line in text.lines() {
        let listed = line.starts_with("  ");
        if listed != listing {
            all += if listed { ".nf\n" } else { ".fi\n" };
            listing = listed;
        }
        all += line;
        all.push('\n');
    }
    if listing { all + ".fi\n" } else { all }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_page() {
        let all = Cli::command();
        let names: Vec<&str> = all.get_subcommands().map(|command| command.get_name()).collect();
        assert_eq!(names, PAGES);
    }

    #[test]
    fn what_shells_complete_is_taken() {
        for command in Cli::command().get_subcommands() {
            for option in command.get_arguments() {
                let (command, option) = (command.get_name(), option.get_id().as_str());
                for name in choices(command, option).unwrap_or_default() {
                    let flag = format!("--{option}={name}");
                    let mut words = vec![NAME, command, &flag];
                    if command == "gradients" {
                        words.extend(["--net=n", "--output=o", "--activation=tanh"]);
                        words.extend(["--schedule=zil"].iter().filter(|_| option != "schedule"));
                    }
                    assert!(Cli::try_parse_from(&words).is_ok(), "{words:?}");
                }
            }
        }
        assert_eq!(choices("speed", "precision"), Some(vec!["f32", "f64"]));
    }

    #[test]
    fn listings_stay_as_they_are() {
        let text = with_listings("Words\n  a  b\n  c\nmore\n  d\n");
        assert_eq!(text, "Words\n.nf\n  a  b\n  c\n.fi\nmore\n.nf\n  d\n.fi\n");
    }
}
