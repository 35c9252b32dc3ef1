//! Z-IL: zero-divergence inference learning.

use crate::{Learning, Schedule, schedule::Steps};

impl Schedule {
    /// Z-IL: live predictions, rate 1 (divided by a vertex's precision), forward start, and outputs
    /// held from the start. The weights into a vertex `l` levels from the output learn after `l`
    /// state updates (Song et al. 2020; Salvatori et al. 2021).
    ///
    /// Gives backprop's gradients exactly if every edge spans one level. Other DAGs are refused:
    /// call [`crate::Graph::levelled`] first. The errors of each level are read at its step, when
    /// the values it depends on have not moved yet. [`crate::Evaluation::Simulate`] runs every
    /// vertex at every step; any other evaluation runs only the level that learns and the one that
    /// moves.
    ///
    /// # Example
    /// ```
    /// let zil = pc_core::Schedule::zil();
    /// assert_eq!(zil.learning(), pc_core::Learning::AtLevel);
    /// ```
    pub fn zil() -> Self {
        Self { learning: Learning::AtLevel, ..Self::unchecked("Z-IL", 1.0, Steps::Depth) }
    }
}
