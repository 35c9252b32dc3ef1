//! `pc-bench`: trains, checks and times models by predictive coding, beside backprop.

use std::process::ExitCode;

use clap::Parser;
use pc_bench::{
    cli::{self, Cli, Command},
    commands::{check, gradients, reproduce, speed, sweep, train},
    error::CommandError,
    output,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CommandError::Closed) {
                eprintln!("error: {error}");
            }
            ExitCode::from(error.status())
        }
    }
}

fn run(cli: Cli) -> Result<(), CommandError> {
    if cli.quiet {
        output::be_quiet();
    }
    match cli.command {
        Command::Train(args) => train::run(*args, cli.json),
        Command::Check(args) => check::run(&args, cli.json),
        Command::Gradients(args) => gradients::run(&args, cli.json),
        Command::Speed(args) => speed::run(&args, cli.json),
        Command::Sweep(args) => sweep::run(&args, cli.json),
        Command::Reproduce(args) => reproduce::run(&args, cli.json),
        Command::Completions { .. } | Command::Man { .. } if cli.json => Err(CommandError::input(
            "--json: `completions` and `man` print what a shell or a reader takes, not JSON",
        )),
        Command::Completions { shell } => cli::completions(shell),
        Command::Man { command } => cli::man(command.as_deref()),
    }
}
