//! Times as a person reads them.

use std::fmt;

use chrono::{DateTime, Datelike as _, Timelike as _, Utc};

/// Writes an instant as `2018-11-05 06:00 UTC`.
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.0;
        write!(
            f,
            "{:04}-{:02}-{:02} {:02}:{:02} UTC",
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute()
        )
    }
}
