//! Times in readable form.

use std::fmt;

use chrono::{DateTime, Utc};

/// Writes an instant as `2018-11-05 06:00 UTC`.
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.format("%Y-%m-%d %H:%M UTC").fmt(f)
    }
}
