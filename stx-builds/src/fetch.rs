//! Fetch files of a build, each completely and verified, or not at all.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use stx_layout::{AliasName, BuildId, BuildPath, Sums, counted};
use stx_publish::fetch::{
    FetchError, FetchEvent, FetchOptions, FetchReport, SelectError, Wanted, What, fetch, resolve,
    select,
};
use stx_publish::seal::check_counts;
use stx_publish::store::thinned;
use stx_publish::{Hold, StoreError, Thinned};

use crate::build_ref;
use crate::error::{Error, ErrorKind, unreached};
use crate::taken::Taken;
use crate::trust::TrustOptions;
use crate::users::denied;
use crate::{Reader, Site, hint_of, refused};

/// The files to fetch, and the options.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// `CHANNEL`, `CHANNEL/ALIAS` or `CHANNEL/BUILD-DATE`.
    pub build: String,
    /// The selected files.
    pub what: Vec<What>,
    /// The target directory.
    pub to: Utf8PathBuf,
    /// The number of files to fetch in parallel, and of ranges of one file.
    pub connections: usize,
    /// True to assemble files from older ones if that saves transfers.
    pub delta: bool,
    /// Older files, besides those in the target directory.
    pub seeds: Vec<Utf8PathBuf>,
    /// The trusted signatures.
    pub trust: TrustOptions,
}

/// The result of a fetch: the build, and its files.
#[derive(Debug)]
pub struct FetchedBuild {
    /// The build.
    pub build: BuildId,
    /// Its files, and the failures.
    pub report: FetchReport,
    /// The first failure as an error with a hint; `None` if every file was fetched.
    pub failed: Option<Error>,
}

impl Site {
    /// Fetches files of a build, each completely and verified, or not at all. The same call resumes an interrupted fetch.
    pub async fn fetch(&self, args: &Fetch) -> Result<FetchedBuild, Error> {
        let (reader, build, wanted, _hold) = self.selected(args).await?;
        let mut options = FetchOptions::default();
        options.parallel = args.connections;
        options.ranges = args.connections;
        options.delta = args.delta;
        options.seeds.clone_from(&args.seeds);
        let observe = |event: FetchEvent<'_>| self.progress().fetching(event);
        let report = fetch(
            reader.store(),
            &build,
            &wanted,
            &args.to,
            &options,
            &observe,
        )
        .await;
        self.progress().finished();
        let failed = failure(&reader, &build, &args.seeds, &report).await;
        Ok(FetchedBuild {
            build,
            report,
            failed,
        })
    }

    /// The locations of the selected files, with their digests.
    pub async fn locate(&self, args: &Fetch) -> Result<LocatedBuild, Error> {
        let (reader, id, wanted, _hold) = self.selected(args).await?;
        // If the record cannot be read, no section counts as removed.
        let thinned = thinned(reader.store(), &id).await.unwrap_or_default();
        let (gone, there): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|wanted| thinned.covers(&wanted.path).is_some());
        let files = there.iter().map(|wanted| Location {
            url: reader.place(&format!("{id}/{}", wanted.path)),
            sha256: wanted.sha256,
        });
        let files = files.collect();
        let first = gone.first();
        let first = first.and_then(|wanted| Taken::of(&id, &thinned, &wanted.path));
        let failed = first.map(|taken| {
            let gone = counted(gone.len(), "file");
            let error = format!("{gone} not on the mirror: {taken}");
            Error::new(ErrorKind::NotFound, error).hint(taken.hint())
        });
        Ok(LocatedBuild { files, failed })
    }

    /// The selected files. The hold protects the build from retention, if the mirror supports holds.
    async fn selected(&self, args: &Fetch) -> Result<(Reader, BuildId, Vec<Wanted>, Hold), Error> {
        let reader = self.trusted_reader(&args.trust)?;
        let id = build(self, &reader, &args.build).await?;
        reader.remember()?;
        let hold = match reader.store().hold(&id).await {
            Err(error @ StoreError::NotFound { .. }) => return Err(gone(&reader, &id, error).await),
            hold => hold.map_err(refused)?,
        };
        let sums = sums(&reader, &id).await?;
        match reader.store().record(&id).await {
            Ok(record) => check_counts(&id, &sums, &record).map_err(refused)?,
            // The digests suffice to verify each file; the record may be of a later version.
            Err(StoreError::Damaged { .. } | StoreError::NotFound { .. }) => {}
            Err(error) => return Err(refused(error)),
        }
        let wanted = select(&sums, &args.what).map_err(|error| {
            let failure = |kind| Error::new(kind, format!("{id}: {error}"));
            let SelectError::Several { names } = &error else {
                // The selection contains nothing that can be fetched.
                let place = reader.place(&id.to_string());
                return failure(ErrorKind::NotFound)
                    .hint(format!("{place}/SHA256SUMS names its files"));
            };
            let name = names.first().map_or("", BuildPath::as_str);
            failure(ErrorKind::Usage).hint(format!(
                "name the one you want, such as `fetch {} {name}`",
                args.build
            ))
        })?;
        Ok((reader, id, wanted, hold))
    }
}

/// The locations of the files of a build.
#[derive(Debug)]
pub struct LocatedBuild {
    /// The files that exist.
    pub files: Vec<Location>,
    /// The error about the files that retention removed, with a hint; `None` if every file exists.
    pub failed: Option<Error>,
}

/// The location of a file: a URL, or a path.
#[derive(Debug, Serialize)]
pub struct Location {
    /// The URL or path.
    pub url: String,
    /// Its digest.
    pub sha256: stx_layout::Sha256,
}

/// The build that a [`BuildRef`](build_ref::BuildRef) refers to; its name is shown to the user.
pub async fn build(site: &Site, reader: &Reader, text: &str) -> Result<BuildId, Error> {
    build_ref::resolve_noting(reader.store(), text, &|line| site.note(line)).await
}

/// The sums of a build.
pub async fn sums(reader: &Reader, id: &BuildId) -> Result<Sums, Error> {
    match reader.store().sums(id).await {
        Err(error @ StoreError::NotFound { .. }) => Err(gone(reader, id, error).await),
        sums => sums.map_err(refused),
    }
}

/// The error about a missing build, with the newest existing one, or about a file that is missing from an existing build.
async fn gone(
    reader: &Reader,
    id: &BuildId,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let failure = Error::new(ErrorKind::NotFound, error);
    match reader.store().record(id).await {
        Ok(_) => {
            return failure.hint(format!(
                "the build exists, but this file is missing; `stx-builds verify {id}` checks its files"
            ));
        }
        Err(StoreError::NotFound { .. }) => {}
        // It is unknown then if the build exists.
        Err(_) => return failure,
    }
    match resolve(reader.store(), &id.channel, &AliasName::latest_build()).await {
        Ok(newest) if newest != *id => failure.hint(format!(
            "it was retired or never existed; the newest good build is {newest}"
        )),
        _ => failure.hint(format!("{} has no such build", id.channel)),
    }
}

/// The error about a fetch: its first failure, with a hint that covers all failures.
async fn failure(
    reader: &Reader,
    id: &BuildId,
    seeds: &[Utf8PathBuf],
    report: &FetchReport,
) -> Option<Error> {
    let first = report.failed.first()?;
    let is_gone = |error: &FetchError| matches!(error, FetchError::Gone { .. });
    let thinned = if report.failed.iter().any(is_gone) {
        // If the record cannot be read, no section counts as removed.
        thinned(reader.store(), id).await.unwrap_or_default()
    } else {
        Thinned::default()
    };
    let taken_with = |error: &FetchError| match error {
        FetchError::Gone { path, .. } => Taken::of(id, &thinned, path),
        _ => None,
    };
    let mut sections = Vec::<(Taken, &FetchError, usize)>::new();
    let mut failures = Vec::new();
    for error in &report.failed {
        let Some(taken) = taken_with(error) else {
            failures.push(crate::error::chain(error).to_string());
            continue;
        };
        match sections.iter_mut().find(|(known, ..)| *known == taken) {
            Some((.., count)) => *count += 1,
            None => sections.push((taken, error, 1)),
        }
    }
    // A section may hold thousands of the files.
    failures.extend(sections.iter().map(|(taken, error, count)| match count {
        1 => format!("{error}: {taken}"),
        _ => format!("{} not on the mirror: {taken}", counted(*count, "file")),
    }));
    let errors = failures.join("\nerror: ");
    if let Some(taken) = taken_with(first) {
        return Some(Error::new(ErrorKind::NotFound, errors).hint(taken.hint()));
    }
    Some(match first {
        FetchError::Gone { .. } => gone(reader, id, errors).await,
        FetchError::Corrupt { .. } => Error::new(ErrorKind::Mirror, errors)
            .hint("the download was discarded; another mirror may have the correct file"),
        FetchError::Local { path, source, .. } => {
            Error::usage(errors).hint(local_hint(path, source.kind(), seeds))
        }
        FetchError::Busy { .. } => {
            Error::new(ErrorKind::Busy, errors).hint("run the same command again when it is done")
        }
        FetchError::Store { source, .. } => {
            Error::new(first.kind().into(), errors).hint(store_hint(source))
        }
        // The transfer stopped; the received data is kept.
        other => Error::new(other.kind().into(), errors).hint(RERUN),
    })
}

const RERUN: &str = "rerun the command to resume the download";

/// The next step if the mirror did not provide a file.
fn store_hint(error: &StoreError) -> String {
    let hint = match error {
        StoreError::Network { url, source } => unreached(url, source.as_ref()),
        StoreError::Refused { .. } => Some(
            "it refuses every such request: ask the operator of the mirror, or name another mirror with `--mirror`"
                .to_owned(),
        ),
        error => hint_of(error),
    };
    hint.unwrap_or_else(|| RERUN.to_owned())
}

/// The next step if a file of this machine could not be read or written.
fn local_hint(path: &Utf8Path, error: io::ErrorKind, seeds: &[Utf8PathBuf]) -> String {
    let hint = match error {
        io::ErrorKind::PermissionDenied => return denied(path),
        _ if seeds.iter().any(|seed| seed == path) => {
            "`--seed FILE` names an older file on this machine"
        }
        io::ErrorKind::IsADirectory => {
            "a directory has the name of the file: move it away, or name another directory with `--to DIR`"
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "`--to DIR` names the directory for the files"
        }
        io::ErrorKind::ReadOnlyFilesystem => "`--to DIR` names a directory that can be written",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "free space on the disk, then rerun the command to resume the download"
        }
        _ => RERUN,
    };
    hint.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_failure_has_a_matching_hint() {
        let seeds = [Utf8PathBuf::from("/old.iso")];
        for (path, error, expected) in [
            ("/old.iso", io::ErrorKind::NotFound, "`--seed FILE`"),
            (
                "/to",
                io::ErrorKind::NotFound,
                "`--to DIR` names the directory",
            ),
            (
                "/to/a.iso",
                io::ErrorKind::IsADirectory,
                "a directory has the name",
            ),
            ("/to", io::ErrorKind::ReadOnlyFilesystem, "can be written"),
            ("/to/a.part", io::ErrorKind::StorageFull, "free space"),
            (
                "/to/a.part",
                io::ErrorKind::Interrupted,
                "rerun the command",
            ),
        ] {
            let hint = local_hint(path.into(), error, &seeds);
            assert!(hint.contains(expected), "{path}, {error}: {hint}");
        }
    }
}
