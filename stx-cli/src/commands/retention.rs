//! The retention commands.

pub(crate) mod explain;
pub(crate) mod forecast;
pub(crate) mod pins;
pub(crate) mod prune;
pub(crate) mod undelete;

use chrono::{DateTime, Utc};

fn until(time: Option<DateTime<Utc>>) -> String {
    time.map(|until| format!(", until {}", until.format("%Y-%m-%d")))
        .unwrap_or_default()
}
