//! What is asked of a net that has stored pictures.

use serde::{Deserialize, Serialize};

use super::{Bound, only_with, wrong};
use crate::error::CommandError;

/// What is left of a picture that is to be recalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// All of it, with noise: the output starts there and is free.
    Noise,
    /// Its upper lines, which are held; the lower ones are found, from zero or from their
    /// predictions as `schedule.start` says.
    Part,
}

/// `[recall]`: after the last epoch the pictures that were learned are asked for again, each from
/// what is left of it, and compared with what they were.
///
/// Values relax as they do while the net learns, but for the steps and the rate that are given
/// here, at weights that stay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recall {
    /// What is left of a picture.
    pub given: Given,
    /// The standard deviation of the noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// The share of the lines, from the top, that is known of a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<f64>,
    /// The steps of a relaxation.
    pub steps: usize,
    /// Their rate; where it is not said, that of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

impl Recall {
    pub(super) fn check(&self) -> Result<(), CommandError> {
        let noise = self.given == Given::Noise;
        only_with("recall.deviation", self.deviation.is_some(), noise, "recall.given = \"noise\"")?;
        only_with("recall.known", self.known.is_some(), !noise, "recall.given = \"part\"")?;
        let missing = if noise { self.deviation.is_none() } else { self.known.is_none() };
        if missing {
            let entry = if noise { "recall.deviation" } else { "recall.known" };
            return Err(wrong("recall", format!("{entry} is missing")));
        }
        Bound::Positive.check("recall.deviation", self.deviation)?;
        Bound::Positive.check("recall.rate", self.rate)?;
        if let Some(share) = self.known.filter(|share| !(*share > 0.0 && *share < 1.0)) {
            let message = format!("recall.known is a share, between 0 and 1, not {share}");
            return Err(wrong("recall.known", message));
        }
        if self.steps == 0 {
            return Err(wrong("recall.steps", "recall.steps must be at least 1"));
        }
        Ok(())
    }

    /// What is given, in words.
    pub fn words(&self) -> String {
        match self.given {
            Given::Noise => {
                format!("noise of deviation {}", self.deviation.unwrap_or(f64::NAN))
            }
            Given::Part => {
                format!("the upper {:.0} %", 100.0 * self.known.unwrap_or(f64::NAN))
            }
        }
    }
}
