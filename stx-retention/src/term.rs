//! How long a rule keeps one build.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Period, Span};

/// How long a rule keeps one build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "term", rename_all = "kebab-case")]
pub enum Term {
    /// For ever.
    Forever,
    /// Until it is this old.
    Age {
        /// The age.
        age: Span,
        /// When it reaches it; `None` where the calendar ends before.
        until: Option<DateTime<Utc>>,
    },
    /// One release period past its introduction.
    ReleasePeriod {
        /// The period.
        period: Period,
    },
}

impl Term {
    /// When it ends; `None` where the passing of time does not end it.
    pub fn end(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Forever => None,
            Self::Age { until, .. } => *until,
            Self::ReleasePeriod { period } => period.end(),
        }
    }

    /// Whether it still holds.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.end().is_none_or(|end| now < end)
    }
}
