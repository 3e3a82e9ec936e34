//! Repository metadata by `createrepo_c`.
#![expect(
    clippy::disallowed_types,
    reason = "the backend that runs createrepo_c"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;

use async_trait::async_trait;
use camino::Utf8Path;
use fs_err as fs;
use roxmltree::Document;
use stx_layout::{BuildDate, printable_bytes};
use tokio::process::Command;

use super::listing::{self, Listed};
use super::{Indexed, PackageCache, RepoMetadata, repodata, whole};
use crate::error::StoreError;
use crate::ingest::{blocking, io_error};

/// Runs `createrepo_c`, dated by the build and without the databases, which current versions of `dnf` do not read.
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
    /// The `createrepo_c` in the `PATH`.
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
    async fn index(
        &self,
        dir: &Utf8Path,
        date: BuildDate,
        lock: File,
    ) -> Result<Indexed, StoreError> {
        let revision = date.time().timestamp().to_string();
        let mut command = Command::new(&self.program);
        command
            .args([
                "--quiet",
                "--no-database",
                // Every client reads gzip; newer versions of `createrepo_c` use zstd by default.
                "--general-compress-type=gz",
                "--set-timestamp-to-revision",
                "--revision",
                &revision,
                ".",
            ])
            .current_dir(dir)
            .env("LC_ALL", "C")
            .env("SOURCE_DATE_EPOCH", &revision)
            // It does not read its input; the open file keeps the channel locked while it runs.
            .stdin(lock)
            .kill_on_drop(true);
        let what = format!("{} in {dir}", self.program);
        let before = {
            let dir = dir.to_owned();
            blocking(move || there(&dir)).await?
        };
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
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut reason = output.status.to_string();
        if output.status.success() {
            let (dir, said) = (dir.to_owned(), said.clone());
            let checked = move || match whole::check(&dir, &before) {
                Ok(()) => indexed(&dir, &said).map(Ok),
                Err(error) => Ok(Err(error)),
            };
            match blocking(checked).await? {
                Ok(indexed) => return Ok(indexed),
                Err(error) => reason = format!("{reason}, but {error}"),
            }
        }
        let last: Vec<_> = said.lines().rev().take(5).collect();
        for line in last.into_iter().rev() {
            reason = format!("{reason}; {line}");
        }
        Err(StoreError::Tool { what, reason })
    }
}

/// The files that already exist in `dir/repodata/`; they stay.
fn there(dir: &Utf8Path) -> Result<BTreeSet<String>, StoreError> {
    let repodata = dir.join("repodata");
    let entries = match fs::read_dir(&repodata) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(io_error("list", &repodata))?,
    };
    entries
        .map(|entry| {
            let name = entry?.file_name();
            Ok(format!("repodata/{}", printable_bytes(name.as_bytes())))
        })
        .collect::<io::Result<_>>()
        .map_err(io_error("list", &repodata))
}

/// The packages that the metadata in `dir` lists, and those that it leaves out. `said` is the program's standard error: it
/// names a package that it cannot list by digest, and a file that it cannot read by path; it does not name other files.
fn indexed(dir: &Utf8Path, said: &str) -> Result<Indexed, StoreError> {
    let repomd = dir.join("repodata/repomd.xml");
    let text = fs::read_to_string(&repomd).map_err(io_error("read", &repomd))?;
    // Already checked: it can be parsed, and names a primary list.
    let document = Document::parse(&text).map_err(io::Error::other);
    let document = document.map_err(io_error("read", &repomd))?;
    let primary = whole::location(&document, "primary").unwrap_or_default();
    let list = fs::File::open(dir.join(&primary)).map_err(io_error("read", &primary))?;
    let list = listing::read(list).map_err(io_error("read", &primary))?;
    let mut indexed = Indexed::default();
    let mut hrefs = BTreeSet::new();
    for Listed { href, nevra, .. } in list {
        hrefs.insert(href.clone());
        indexed.list(nevra, href);
    }
    let mut lines: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    let candidates = repodata::candidates(dir, &PackageCache::default());
    for candidate in candidates.map_err(io_error("list the packages of", dir))? {
        if hrefs.contains(&candidate.href) {
            continue;
        }
        let digest = candidate.digest.to_string();
        let about = lines
            .iter()
            .position(|line| line.contains(&candidate.href) || line.contains(&digest));
        let reason = match about {
            Some(about) => lines.remove(about).to_owned(),
            // It reports nothing for a file that is not a package at all.
            None => {
                match repodata::unlisted(&candidate).map_err(io_error("read", &candidate.path))? {
                    Some(reason) => reason,
                    None => "createrepo_c left it out without a reason".to_owned(),
                }
            }
        };
        indexed.unlisted.insert(candidate.href, reason);
    }
    indexed
        .warnings
        .extend(lines.into_iter().map(str::to_owned));
    Ok(indexed.settle())
}
