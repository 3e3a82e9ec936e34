//! Repository metadata by `createrepo_c`.
#![expect(
    clippy::disallowed_types,
    reason = "the backend that runs createrepo_c"
)]

use std::fs::File;
use std::io;

use async_trait::async_trait;
use camino::Utf8Path;
use stx_layout::BuildDate;
use tokio::process::Command;

use super::{RepoMetadata, whole};
use crate::store::StoreError;
use crate::store::local::blocking;

/// Runs `createrepo_c`, dated by the build and without the databases that no current `dnf` reads.
#[derive(Debug, Clone)]
pub struct CreaterepoC {
    program: String,
}

impl Default for CreaterepoC {
    fn default() -> Self {
        Self {
            program: "createrepo_c".to_owned(),
        }
    }
}

impl CreaterepoC {
    /// The `createrepo_c` of the `PATH`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another program with the same options.
    pub fn with_program(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
        }
    }
}

#[async_trait]
impl RepoMetadata for CreaterepoC {
    async fn index(&self, dir: &Utf8Path, date: BuildDate, lock: File) -> Result<(), StoreError> {
        let revision = date.time().timestamp().to_string();
        let mut command = Command::new(&self.program);
        command
            .args([
                "--quiet",
                "--no-database",
                "--set-timestamp-to-revision",
                "--revision",
                &revision,
                ".",
            ])
            .current_dir(dir)
            .env("LC_ALL", "C")
            .env("SOURCE_DATE_EPOCH", &revision)
            // It reads nothing; what it holds open, it holds locked.
            .stdin(lock)
            .kill_on_drop(true);
        let what = format!("{} in {dir}", self.program);
        let output = match command.output().await {
            Ok(output) => output,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::MissingTool {
                    tool: self.program.clone(),
                    packages: "createrepo-c (apt) or createrepo_c (dnf)".to_owned(),
                });
            }
            Err(source) => {
                return Err(StoreError::Io {
                    op: "run",
                    path: what,
                    source,
                });
            }
        };
        let mut reason = output.status.to_string();
        if output.status.success() {
            let dir = dir.to_owned();
            match blocking(move || Ok(whole::check(&dir))).await? {
                Ok(()) => return Ok(()),
                Err(error) => reason = format!("{reason}, but {error}"),
            }
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<_> = said.lines().rev().take(5).collect();
        for line in last.into_iter().rev() {
            reason = format!("{reason}; {line}");
        }
        Err(StoreError::Tool { what, reason })
    }
}
