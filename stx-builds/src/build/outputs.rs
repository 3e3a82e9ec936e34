//! The files of a build: what its phases made, their logs, and what is said of it.

use stx_layout::{BuildPath, BuildRecord, ChannelEntry};
use stx_pipeline::process::Sources;
use stx_pipeline::{BuildInfo, BuildPlan, Collection, process};
use stx_publish::{Entry, Incoming, gather};

use crate::error::{Error, ErrorKind};

pub(super) fn incoming(
    channel: &ChannelEntry,
    plan: &BuildPlan,
    sources: &Sources,
    record: &BuildRecord,
    collection: Collection,
) -> Result<Incoming, Error> {
    let files = collection
        .deliverables
        .into_iter()
        .map(|file| (file.path, file.source));
    let mut incoming = gather(files).map_err(|error| {
        Error::new(ErrorKind::Mirror, error)
            .hint("nothing was published; the recipe's phases made what no mirror takes")
    })?;
    let mut add = |path: &str, text: String| {
        let path: BuildPath = path.parse().expect("a valid path");
        incoming
            .entries
            .entry(path)
            .or_insert(Entry::Generated(text.into()));
    };
    add(
        "outputs/BUILD_INFO",
        BuildInfo::new(plan, record).to_string(),
    );
    if sources.records.is_empty() {
        return Ok(incoming);
    }
    add("outputs/CONTEXT", stx_pipeline::context(&sources.records));
    add(
        "outputs/LAST_COMMITS",
        stx_pipeline::last_commits(&sources.records),
    );
    let last = channel
        .newest_success()
        .filter(|date| *date != plan.id.date)
        .and_then(|date| channel.builds.get(&date)?.record());
    let last = last
        .map(|record| record.sources.as_slice())
        .unwrap_or_default();
    let changes = process::read_changes(plan, last, &sources.records)
        .map_err(|error| Error::new(ErrorKind::Bug, error))?;
    add("outputs/CHANGELOG", stx_pipeline::changelog(&changes));
    Ok(incoming)
}
