//! Pictures with class labels.

use super::error::{Error, Result};
use super::split::{Split, stratified};

/// Pictures of one size, each with a class label.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// The pixels of all pictures, `[N, C, H, W]` in row-major order (`W` fastest), from 0 to 1.
    pub pixels: Vec<f32>,
    /// One picture's shape: channels, height, width.
    pub shape: [usize; 3],
    /// Each picture's class, below [`classes`](Self::classes).
    pub labels: Vec<usize>,
    /// How many classes there are, whether or not each has pictures here.
    pub classes: usize,
    /// The classes' names, in the order of the labels.
    pub class_names: Vec<String>,
}

impl Images {
    /// Pictures of these pixels, labels and classes, once [checked](Self::check).
    ///
    /// # Errors
    /// As of [`check`](Self::check).
    pub fn new(
        pixels: Vec<f32>,
        shape: [usize; 3],
        labels: Vec<usize>,
        class_names: Vec<String>,
    ) -> Result<Self> {
        let images = Self { pixels, shape, labels, classes: class_names.len(), class_names };
        images.check()?;
        Ok(images)
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How many values one picture has: `C * H * W`.
    pub fn features(&self) -> usize {
        self.shape.iter().fold(1, |n: usize, &side| n.saturating_mul(side))
    }

    /// Checks that the fields fit one another, that labels are in range and that pixels are finite.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`](super::ErrorKind::Malformed), naming the first picture that is
    /// wrong.
    pub fn check(&self) -> Result<()> {
        let [channels, height, width] = self.shape;
        let features = channels.checked_mul(height).and_then(|n| n.checked_mul(width));
        let expected = features.and_then(|n| n.checked_mul(self.len()));
        let features = features.unwrap_or(0);
        if features == 0 || expected != Some(self.pixels.len()) {
            return Err(Error::inconsistent(format!(
                "{} pixels cannot be {} pictures of {channels}x{height}x{width}: \
                 check the shape and the number of labels",
                self.pixels.len(),
                self.len()
            )));
        }
        if self.class_names.len() != self.classes {
            return Err(Error::inconsistent(format!(
                "{} class names for {} classes: give one for each",
                self.class_names.len(),
                self.classes
            )));
        }
        for (picture, &label) in self.labels.iter().enumerate() {
            if label >= self.classes {
                return Err(Error::inconsistent(format!(
                    "picture {picture}: label {label} is out of range: there are {} classes, \
                     counted from 0",
                    self.classes
                )));
            }
        }
        if let Some(at) = self.pixels.iter().position(|pixel| !pixel.is_finite()) {
            return Err(Error::inconsistent(format!(
                "picture {}, value {}: a pixel is NaN or infinite: check what made it",
                at / features,
                at % features
            )));
        }
        Ok(())
    }

    /// One picture's values, `[C, H, W]` in row-major order; none if there is no such picture.
    pub fn picture(&self, index: usize) -> Option<&[f32]> {
        let start = index.checked_mul(self.features())?;
        self.pixels.get(start..start.checked_add(self.features())?).filter(|_| index < self.len())
    }

    /// Puts the pictures at `indices`, and their labels, into the caller's buffers.
    ///
    /// The buffers are emptied first and keep their memory from call to call; `pixels` ends as
    /// `[indices.len(), C, H, W]`. An index may come more than once.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](super::ErrorKind::Argument) if there is no picture at an index; the
    /// buffers then hold the pictures before it.
    pub fn gather(
        &self,
        indices: &[usize],
        pixels: &mut Vec<f32>,
        labels: &mut Vec<usize>,
    ) -> Result<()> {
        pixels.clear();
        labels.clear();
        if self.features() <= self.pixels.len() {
            pixels.reserve(indices.len().saturating_mul(self.features()));
        }
        labels.reserve(indices.len());
        for &index in indices {
            let (Some(picture), Some(&label)) = (self.picture(index), self.labels.get(index))
            else {
                return Err(Error::argument(format!(
                    "there is no picture {index}: {} pictures are counted from 0",
                    self.len()
                )));
            };
            pixels.extend_from_slice(picture);
            labels.push(label);
        }
        Ok(())
    }

    /// The pictures at `indices`, copied.
    ///
    /// # Errors
    /// As of [`gather`](Self::gather).
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        self.gather(indices, &mut pixels, &mut labels)?;
        Ok(Self {
            pixels,
            shape: self.shape,
            labels,
            classes: self.classes,
            class_names: self.class_names.clone(),
        })
    }

    /// Divides the pictures class by class, as [`stratified`] does.
    ///
    /// # Errors
    /// As of [`stratified`].
    pub fn split(&self, test_share: f64, seed: u64) -> Result<Split<Self>> {
        let split = stratified(&self.labels, self.classes, test_share, seed)?;
        Ok(Split { train: self.select(&split.train)?, test: self.select(&split.test)? })
    }
}
