//! The logs of a request whose builds were not published.

use camino::Utf8Path;
use serde::Serialize;
use stx_layout::BuildId;
use stx_service::ledger::Ledger as _;

use crate::Site;
use crate::build::{BuildArea, unpublished_logs};
use crate::daemon::unreadable;
use crate::error::{Error, ErrorKind};

/// The log of a phase of a build that was not published.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct UnpublishedLog {
    /// The build.
    pub build: BuildId,
    /// The phase.
    pub phase: String,
    /// The whole log. Bytes that are not UTF-8 are replaced.
    pub text: String,
}

impl Site {
    /// The logs of the runs of a request whose builds were not published. `NotFound` if no such request or log exists.
    pub fn request_logs(&self, request: u64) -> Result<Vec<UnpublishedLog>, Error> {
        let not_found = |error: String| Error::new(ErrorKind::NotFound, error);
        let history = self.ledger()?.history(None, usize::MAX);
        let history = history.map_err(unreadable)?;
        let filed = history.iter().find(|filed| filed.request.id == request);
        let filed = filed.ok_or_else(|| {
            not_found(format!("there is no request {request}")).hint("`history` lists them")
        })?;
        let area = BuildArea::new(self)?;
        let mut logs = Vec::new();
        for build in filed.runs.iter().filter_map(|run| run.build.as_ref()) {
            let dir = unpublished_logs(&area, build);
            if !dir.exists() {
                continue;
            }
            for entry in walkdir::WalkDir::new(&dir).sort_by_file_name() {
                let entry = entry.map_err(Error::usage)?;
                let path = Utf8Path::from_path(entry.path());
                let Some(path) = path.filter(|path| path.extension() == Some("log")) else {
                    continue;
                };
                let text = fs_err::read(path).map_err(Error::usage)?;
                logs.push(UnpublishedLog {
                    build: build.clone(),
                    phase: path.file_stem().unwrap_or_default().to_owned(),
                    text: String::from_utf8_lossy(&text).into_owned(),
                });
            }
        }
        if logs.is_empty() {
            let error = format!("request {request} has no logs of a build that was not published");
            return Err(not_found(error).hint(
                "those of a published build are in its outputs/logs; only the newest others are kept",
            ));
        }
        Ok(logs)
    }
}
