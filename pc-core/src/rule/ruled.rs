//! A rule as a schedule holds it.

use std::{fmt, ops::Deref, sync::Arc};

use crate::rule::StateRule;

/// A shared rule.
#[derive(Clone)]
pub(crate) struct Ruled(Arc<dyn StateRule>);

impl Ruled {
    pub(crate) fn new(rule: impl StateRule + 'static) -> Self {
        Self(Arc::new(rule))
    }
}

impl Deref for Ruled {
    type Target = dyn StateRule;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Ruled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for Ruled {
    fn eq(&self, other: &Self) -> bool {
        let text = |rule: &Self| format!("{} {rule:?}", rule.name());
        Arc::ptr_eq(&self.0, &other.0) || text(self) == text(other)
    }
}
