//! What is done to the data.

use serde::{Deserialize, Serialize};

use super::{Bound, only_with, wrong};
use crate::{data::Kind, error::CommandError};

/// Parts of `[data]`: what is done to the data before it is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Preparation {
    /// The share of the training data on which figures are taken, and which is not learned. The
    /// test set is then not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<f64>,
    /// Whether half of the pictures, chosen anew in each epoch, are mirrored left to right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<bool>,
    /// So many zeros go around every picture, and a piece of its own size, at a random place, is
    /// learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop: Option<usize>,
    /// Pictures are cut to so many lines and columns: those at a random place, chosen anew in each
    /// epoch, are learned, and those in the middle are judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<usize>,
    /// What is taken away from every pixel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// What every pixel is then divided by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// The characters of a window of text, or the most of a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Windows of text begin every so many characters; where it is not said, at random places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
}

impl Preparation {
    pub(super) fn check(&self, data: Kind) -> Result<(), CommandError> {
        let text = data == Kind::Shakespeare;
        let symbols = text || data == Kind::Names;
        for (entry, given) in [
            ("data.flip", self.flip.is_some()),
            ("data.crop", self.crop.is_some()),
            ("data.side", self.side.is_some()),
            ("data.mean", self.mean.is_some()),
            ("data.deviation", self.deviation.is_some()),
        ] {
            only_with(entry, given, !symbols, "pictures")?;
        }
        if let Some(mean) = self.mean.filter(|mean| !mean.is_finite()) {
            return Err(wrong("data.mean", format!("data.mean: {mean} is no number")));
        }
        Bound::Positive.check("data.deviation", self.deviation)?;
        only_with("data.window", self.window.is_some(), symbols, "names and shakespeare")?;
        only_with("data.stride", self.stride.is_some(), text, "shakespeare")?;
        if self.crop.is_some() && self.side.is_some() {
            let message = "data.side contradicts data.crop: each takes a piece at a random place";
            return Err(wrong("data.side", message));
        }
        for (entry, number) in [
            ("data.crop", self.crop),
            ("data.side", self.side),
            ("data.window", self.window),
            ("data.stride", self.stride),
        ] {
            if number == Some(0) {
                return Err(wrong(entry, format!("{entry} must be at least 1")));
            }
        }
        match self.validation {
            Some(share) if !(share > 0.0 && share < 1.0) => Err(wrong(
                "data.validation",
                format!("data.validation is a share, between 0 and 1, not {share}"),
            )),
            _ => Ok(()),
        }
    }
}
