//! `trash`: list the retired builds, and sections of builds, that can be restored.

use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_layout::{BuildDate, BuildId, BuildOutcome, BuildPath, size};

use super::Context;
use crate::exit::Failure;
use crate::output;
use stx_builds::error::refused;
use stx_builds::retention::GRACE;

/// A build or a section that can be restored.
#[derive(Debug, Serialize)]
struct Row {
    build: BuildId,
    /// The section, if the build itself is not retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    section: Option<BuildPath>,
    /// The time at which it was retired.
    since: BuildDate,
    /// The end of its grace period; the first `prune` after that purges it.
    until: DateTime<Utc>,
    /// Its result; absent if its record cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<BuildOutcome>,
    /// Its size in bytes, some of which published builds may share; absent if its record cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
}

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let store = context.site.mirror()?;
    let mut rows = Vec::new();
    for retired in store.retired().await.map_err(refused)? {
        let record = match retired.section {
            None => store.retired_record(&retired).await.ok(),
            Some(_) => None,
        };
        rows.push(Row {
            since: retired.at,
            until: retired.at.time() + GRACE,
            result: record.as_ref().map(|record| record.result),
            bytes: record.as_ref().map(|record| record.bytes),
            build: retired.id,
            section: retired.section,
        });
    }
    output::print(context.format(), &rows, || {
        let lines: Vec<_> = rows.iter().map(|row| line(context, row)).collect();
        output::columns(&lines)
    })?;
    if rows.is_empty() {
        context.say("no build is in the trash");
    }
    Ok(())
}

fn line(context: &Context, row: &Row) -> Vec<String> {
    let until = if row.until <= context.site.now {
        "until the next prune".to_owned()
    } else {
        format!("until {}", row.until.format("%Y-%m-%d %H:%M"))
    };
    let (name, result) = match (&row.section, row.result) {
        (Some(section), _) => (format!("{}/{section}", row.build), "section".to_owned()),
        (None, Some(result)) => (row.build.to_string(), result.to_string()),
        (None, None) => (row.build.to_string(), "unknown".to_owned()),
    };
    vec![
        name,
        result,
        row.bytes.map(size).unwrap_or_default(),
        format!("since {}", row.since.time().format("%Y-%m-%d %H:%M")),
        until,
    ]
}
