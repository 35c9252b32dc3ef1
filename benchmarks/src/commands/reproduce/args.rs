//! The command line of `reproduce`.

use std::{num::NonZeroUsize, path::PathBuf};

use crate::threads::Threads;

pub(crate) const TEACH: &str = "\
Runs an experiment of the literature, and prints its figures beside the published ones.

A quick run (the default) takes at most two minutes: small nets, few pictures. It shows that the \
system works, not the paper's figures. A full run has the paper's settings; --list says what it \
takes. Where a quick run gets no --data-dir, experiments on MNIST, Fashion-MNIST or CIFAR-10 learn \
the 8x8 digits that are built in, and those on names or Shakespeare words that small grammars draw.

With --seeds N, every figure is the mean of N seeds with its 95% interval (Student's t), and rows \
are compared with the baseline seed by seed. The report has the curves, with intervals, and \
pictures of the first seed.";

const EXAMPLES: &str = "\
Examples:
  pc-bench reproduce --list
  pc-bench reproduce bidirectional
  pc-bench reproduce bidirectional --full --data-dir data --seeds 5 \\
      --save run.json
  pc-bench reproduce --resume run.json --save run.json

Exit status: 0 done, 1 something that should hold does not, 2 wrong input or a
file that could not be written, 130 after Ctrl-C.";

/// Arguments of `pc-bench reproduce`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ReproduceArgs {
    /// Which experiment: a name of --list
    #[arg(value_name = "NAME", required_unless_present_any = ["list", "resume"])]
    pub name: Option<String>,

    /// Say what experiments there are, from which papers, with which published figures
    #[arg(long, conflicts_with_all = ["name", "resume", "full", "seeds", "save"])]
    pub list: bool,

    /// At most two minutes: the default
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,

    /// The paper's settings, whatever they take
    #[arg(long)]
    pub full: bool,

    /// Run with so many seeds, one after the other [default: 1]
    #[arg(long, value_name = "N")]
    pub seeds: Option<NonZeroUsize>,

    /// The first seed [default: 0]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// The folder with the data files (`scripts/fetch-data.sh` fills one)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// How many threads.
    #[command(flatten)]
    pub threads: Threads,

    /// Where the report goes: report.html and report.json [default: report/NAME]
    #[arg(long, value_name = "DIR", conflicts_with = "no_report")]
    pub report: Option<PathBuf>,

    /// Write no report
    #[arg(long)]
    pub no_report: bool,

    /// Keep here what is done, part by part, and on Ctrl-C (JSON); a file that is there is only
    /// written to where the run goes on from it
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,

    /// Go on from such a file: parts that are done are not computed again
    ///
    /// The file says which experiment, of which size and from which seed; what is given beside it
    /// must agree. --seeds may ask for more.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
}
