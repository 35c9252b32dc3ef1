//! The command line of `sweep`.

use std::path::PathBuf;

pub(crate) const TEACH: &str = "\
Searches the ranges of a configuration for what learns best, on a part of the training data that \
is held out. The test set takes no part: it is dropped before anything is computed.

The file is one for `train --config` with one [schedule], a table [sweep] with the method, and \
[sweep.ranges] with what to try of each entry.";

const EXAMPLES: &str = "\
Examples:
  pc-bench sweep sweep.toml --output chosen.toml
  pc-bench train --config chosen.toml

  [sweep]
  method = \"random\"             grid, random or halving
  trials = 12
  [sweep.ranges]
  \"schedule.rate\" = { from = 0.01, to = 0.2, scale = \"log\" }
  \"layers[0].width\" = { values = [32, 64] }

Exit status: 0 done, 1 every trial that was left diverged, 2 wrong input or a file that could
not be written, 130 after Ctrl-C.";

/// Arguments of `pc-bench sweep`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SweepArgs {
    /// The configuration with its ranges (TOML)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Write the chosen configuration here, as a file for `train --config`
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Keep here what is done, trial by trial (JSON); where the file is there, go on from it
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,

    /// The folder with the data files
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}
