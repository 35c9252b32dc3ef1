//! What a backend has set itself to reach.

/// One target, and what was reached.
#[derive(Clone, Debug)]
pub struct Target {
    /// What.
    pub what: &'static str,
    /// The figure to reach, at least or at most.
    pub bound: f64,
    /// Which of the two.
    pub at_least: bool,
    /// What was found.
    pub found: f64,
}

impl Target {
    /// Whether it is reached; a NaN reaches nothing.
    pub fn met(&self) -> bool {
        if self.at_least { self.found >= self.bound } else { self.found <= self.bound }
    }
}
