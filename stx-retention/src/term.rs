//! The term for which a rule keeps one build.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Period, Span};

/// The term for which a rule keeps one build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "term", rename_all = "kebab-case")]
pub enum Term {
    /// For ever.
    Forever,
    /// Until the build reaches an age.
    Age {
        /// The age.
        age: Span,
        /// The time at which the build reaches the age; `None` if no date can express that time.
        until: Option<DateTime<Utc>>,
    },
    /// For one release period after the introduction of the build.
    ReleasePeriod {
        /// The period.
        period: Period,
    },
}

impl Term {
    /// The end of the term; `None` if no known point in time ends it.
    pub fn end(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Forever => None,
            Self::Age { until, .. } => *until,
            Self::ReleasePeriod { period } => period.end(),
        }
    }

    /// True if the term has not ended.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.end().is_none_or(|end| now < end)
    }
}
