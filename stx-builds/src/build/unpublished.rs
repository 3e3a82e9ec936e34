//! Builds that are not published because they have no commit: the branch does not exist, or a server does not answer. Their logs are
//! kept in the state of their channel, which other users cannot read.

use std::io;
use std::os::unix::fs::DirBuilderExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::{BuildDate, BuildId, PhaseRecord, PhaseStatus};

use super::BuildArea;
use super::state::remove_tree;
use crate::error::{Error, ErrorKind};

/// The name of their directory in the state of a channel.
pub(crate) const UNPUBLISHED: &str = "unpublished";

/// The number of builds of a channel whose logs are kept, newest first.
const KEPT: usize = 10;

/// The directory of the logs of an unpublished build.
pub(crate) fn logs(area: &BuildArea, id: &BuildId) -> Utf8PathBuf {
    let state = area.channel(&id.channel);
    state.join(UNPUBLISHED).join(id.date.to_string())
}

/// A build that is not published because it has no commit.
#[derive(Debug, thiserror::Error)]
#[error("{build} failed before its commits were known, so nothing was published: {why}")]
#[non_exhaustive]
pub struct NeverCommitted {
    /// The build.
    pub build: Box<BuildId>,
    /// The phase that failed, and the reason, in one line.
    pub why: String,
}

/// Keeps the logs of a build whose processes have ended; returns the reason why it is not published.
pub(super) fn keep(
    area: &BuildArea,
    id: &BuildId,
    records: &[PhaseRecord],
) -> Result<Error, Error> {
    let logs = logs(area, id);
    let state = area.channel(&id.channel);
    put(&state, &logs).map_err(|error| {
        Error::new(ErrorKind::Bug, error).hint("is the disk full, or read-only?")
    })?;
    remove_old(&state.join(UNPUBLISHED))?;
    let failed = |record: &&PhaseRecord| record.status != PhaseStatus::Succeeded;
    let why = records.iter().find(failed).map_or_else(
        || "its source phase never ran".to_owned(),
        PhaseRecord::failure,
    );
    let build = Box::new(id.clone());
    let error = NeverCommitted { build, why };
    Ok(Error::new(ErrorKind::BuildFailed, error).hint(format!("its logs are in {logs}")))
}

fn put(state: &Utf8Path, logs: &Utf8Path) -> io::Result<()> {
    // A run that was killed right after the move has already done this.
    if logs.exists() {
        return Ok(());
    }
    let mut private = std::fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(state.join(UNPUBLISHED))?;
    match fs_err::rename(state.join("logs"), logs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => private.create(logs),
        moved => moved,
    }
}

fn remove_old(dir: &Utf8Path) -> Result<(), Error> {
    let bug = |error: io::Error| Error::new(ErrorKind::Bug, error);
    let mut dates = Vec::new();
    for entry in dir.read_dir_utf8().map_err(bug)? {
        dates.extend(entry.map_err(bug)?.file_name().parse::<BuildDate>().ok());
    }
    dates.sort();
    for date in &dates[..dates.len().saturating_sub(KEPT)] {
        remove_tree(&dir.join(date.to_string()))?;
    }
    Ok(())
}
