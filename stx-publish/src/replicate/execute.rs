//! Executes the plan of a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::sync::{Arc, Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use fs_err as fs;
use futures_util::stream::{self, StreamExt as _};
use stx_layout::{AliasName, BuildDate, BuildId, BuildPath, Channel, Sha256, VerdictEntry};

use super::report::failed;
use super::{AliasVerdict, BuildVerdict, CopyError, CopyEvent, CopyPlan, CopyReport};
use crate::error::chain;
use crate::fetch::{FetchEvent, FetchOptions, Unfinished, Wanted, fetch_beside};
use crate::incoming::Entry;
use crate::ingest::blocking;
use crate::seal::{Sealed, check_counts};
use crate::store::{
    Added, Depth, Found, KnownFile, MirrorRead, MirrorStore, StagedBuild, StoreError, record_path,
};
use crate::verdicts::{is_green_right, point_green};

/// The number of files of one build that are copied in parallel.
const PARALLEL: usize = 8;

/// Executes the plan of a copy. `work` is a directory for temporary files, with room for the largest build; pass the same directory
/// to resume an interrupted copy. `now` is the time at which builds are retired.
pub async fn copy(
    from: &dyn MirrorRead,
    to: &dyn MirrorStore,
    plan: &CopyPlan,
    work: &Utf8Path,
    now: DateTime<Utc>,
    observe: &(dyn Fn(CopyEvent<'_>) + Sync),
) -> Result<CopyReport, CopyError> {
    let mut report = CopyReport::default();
    let same = plan.builds.iter();
    let same = same.filter(|step| step.verdict == BuildVerdict::Same);
    // The run that copied these may have died before they were durable.
    for channel in same
        .map(|step| &step.build.channel)
        .collect::<BTreeSet<_>>()
    {
        let settled = to.settle(channel).await;
        settled.map_err(|source| failed(channel.to_string(), source))?;
    }
    let wanted = plan.builds.iter();
    let wanted: Vec<_> = wanted
        .filter(|step| step.verdict == BuildVerdict::Copy)
        .collect();
    let mut missing = BTreeMap::new();
    for (step, done) in wanted.iter().zip(0..) {
        observe(CopyEvent::Build {
            build: &step.build,
            done,
            of: wanted.len() as u64,
            bytes: step.bytes,
        });
        let one = One {
            from,
            to,
            id: &step.build,
            work,
            unfinished: Arc::default(),
            observe,
            counts: Mutex::default(),
        };
        match one.copy().await {
            Ok(counts) => {
                report.transferred += counts.transferred;
                report.shared += counts.shared;
                report.copied.push(step.build.clone());
            }
            // A copy may take hours, and retention on the first mirror continues meanwhile.
            Err(error) if error.is_damage() && is_gone(from, &step.build).await => {
                report.gone.push(step.build.clone());
            }
            // A repetition would fail in the same way, and one damaged build must not prevent the copy of others.
            Err(error) if error.is_damage() => {
                let reason = error.of_build().map_or_else(|| chain(&error), chain);
                missing.insert(step.build.clone(), reason);
            }
            Err(error) => return Err(error),
        }
    }
    let rest = plan.without(&missing, &report.gone);
    let plan = &rest;
    report.left = plan.problems();
    // Before the aliases: a build without an alias could otherwise be retired in the meantime.
    for pin in &plan.pins {
        let failed = |source| failed(pin.build.to_string(), source);
        let writer = to.lock(&pin.build.channel).await.map_err(failed)?;
        writer.pin(pin).await.map_err(failed)?;
        report.pinned += 1;
    }
    for step in &plan.aliases {
        if let AliasVerdict::Point { held } = step.verdict {
            let name = format!("{}/{}", step.channel, step.alias);
            let moved = point(to, step, held).await;
            moved.map_err(|source| failed(name.clone(), source))?;
            report.moved.push(name);
        }
    }
    let named = super::names::name(to, plan, &mut report).await;
    named.map_err(|(what, source)| failed(what, source))?;
    let mut marked = BTreeMap::<&Channel, Vec<&VerdictEntry>>::new();
    for entry in &plan.verdicts {
        let channel = &entry.build.channel;
        marked.entry(channel).or_default().push(entry);
    }
    // Also the channels of a run that was interrupted before it moved the alias.
    for channel in plan.builds.iter().map(|step| &step.build.channel) {
        marked.entry(channel).or_default();
    }
    for (channel, verdicts) in marked {
        let failed = |source| failed(channel.to_string(), source);
        if verdicts.is_empty() && is_green_right(to, channel).await.map_err(failed)? {
            continue;
        }
        let writer = to.lock(channel).await.map_err(failed)?;
        for entry in verdicts {
            writer.mark(entry).await.map_err(failed)?;
            report.marked += 1;
        }
        let _: Option<BuildDate> = point_green(to, &*writer).await.map_err(failed)?;
    }
    for build in &plan.retire {
        let failed = |source| failed(build.to_string(), source);
        let writer = to.lock(&build.channel).await.map_err(failed)?;
        match writer.retire(build.date, now).await {
            Ok(_) => report.retired.push(build.clone()),
            Err(StoreError::NotFound { .. }) => {}
            Err(error @ StoreError::Refused { .. }) => report.left.push(error.to_string()),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(report)
}

/// True if the first mirror has neither the record nor the sums of a build any more, which it had when the plan was made. Behind a web
/// server, the catalog still names the build until the pages are made at the end of a retention run.
async fn is_gone(from: &dyn MirrorRead, id: &BuildId) -> bool {
    let sums = from.sums(id).await.map(drop);
    let record = from.record(id).await.map(drop);
    let is_missing = |it: &Result<(), StoreError>| matches!(it, Err(StoreError::NotFound { .. }));
    [sums, record].iter().all(is_missing)
}

async fn point(
    to: &dyn MirrorStore,
    step: &super::CopyAlias,
    held: bool,
) -> Result<(), StoreError> {
    let (channel, alias): (&Channel, &AliasName) = (&step.channel, &step.alias);
    let writer = to.lock(channel).await?;
    if held {
        writer.hold_alias(alias, step.to).await?;
    }
    let shown = step.shown.as_ref();
    writer.point(alias, shown, Some(step.to)).await
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    transferred: u64,
    shared: u64,
}

/// A file of the build.
struct File {
    path: BuildPath,
    digest: Sha256,
    known: KnownFile,
}

/// The copy of one build.
struct One<'a> {
    from: &'a dyn MirrorRead,
    to: &'a dyn MirrorStore,
    id: &'a BuildId,
    work: &'a Utf8Path,
    unfinished: Arc<Unfinished>,
    observe: &'a (dyn Fn(CopyEvent<'_>) + Sync),
    counts: Mutex<Counts>,
}

impl One<'_> {
    fn source(&self, source: StoreError) -> CopyError {
        CopyError::Source {
            build: Box::new(self.id.clone()),
            source,
        }
    }

    fn target(&self, source: StoreError) -> CopyError {
        failed(self.id.to_string(), source)
    }

    async fn copy(self) -> Result<Counts, CopyError> {
        let original = Sealed::read(self.from, self.id).await;
        let original = original.map_err(|error| self.source(error))?;
        let whole = check_counts(self.id, &original.sums, &original.record);
        whole.map_err(|error| self.source(error))?;
        let (files, links) = self.content(&original).await?;
        let dir = self.work.to_owned();
        let made = blocking_io("make", self.work, move || work_dir(&dir));
        made.await?;

        let writer = self.to.lock(&self.id.channel).await;
        let writer = writer.map_err(|error| self.target(error))?;
        let staged = writer.begin(self.id.date).await;
        let staged = staged.map_err(|error| self.target(error))?;
        let filled = self.fill(&*staged, &files, &links).await;
        if let Err(error) = filled {
            // Report the first error; the next publisher sweeps what a failed discard leaves.
            drop(staged.discard().await);
            return Err(error);
        }
        // The seal must be the original's, byte for byte.
        if let Err(source) = staged.commit_as(original).await {
            let what = self.id.to_string();
            // The record on the mirror shows whether the commit took effect. Another build with this id is not the one that was copied.
            let is_other = matches!(source, StoreError::AlreadyExists { .. });
            if let StoreError::Refused { .. } = source {
                // The files do not match the seal, which is the original's.
                return Err(self.source(source));
            }
            return Err(match self.to.record(self.id).await {
                Ok(_) if !is_other => CopyError::AfterEffect { what, source },
                Ok(_) | Err(_) => failed(what, source),
            });
        }
        let used: Vec<_> = files.iter().map(|file| self.arrived(file)).collect();
        let removed = move || {
            for file in used {
                // Files that were shared or read in place do not exist here.
                fs::remove_file(file).ok();
            }
            Ok(())
        };
        blocking_io("empty", self.work, removed).await?;
        Ok(self
            .counts
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner))
    }

    /// The files of the build and its symlinks, without those of sections that were removed or are being removed.
    async fn content(
        &self,
        original: &Sealed,
    ) -> Result<(Vec<File>, BTreeMap<BuildPath, String>), CopyError> {
        let mut found = BTreeMap::new();
        // If the mirror shows only files, as a web server does, the sums give all that is known: names and digests.
        if !self.from.capabilities().shows_files_only {
            let inspection = self.from.inspect(self.id, Depth::Listing).await;
            found = inspection.map_err(|error| self.source(error))?.found;
        }
        let mut files = Vec::new();
        let is_gone = |path: &BuildPath| original.thinned.covers(path).is_some();
        for line in original.sums.lines() {
            if line.path == record_path() || is_gone(&line.path) {
                continue;
            }
            let known = match found.get(&line.path) {
                Some(Found::Symlink { .. }) => continue,
                Some(Found::File {
                    size,
                    mode,
                    modified,
                    ..
                }) => KnownFile {
                    digest: line.digest,
                    size: Some(*size),
                    executable: mode.is_some_and(|mode| mode & 0o100 != 0),
                    modified: *modified,
                },
                Some(Found::Directory { .. } | Found::Other { .. }) | None => KnownFile {
                    digest: line.digest,
                    size: None,
                    executable: false,
                    modified: None,
                },
            };
            files.push(File {
                path: line.path.clone(),
                digest: line.digest,
                known,
            });
        }
        // The largest first, so that no large file is copied alone at the end.
        files.sort_by_key(|file| std::cmp::Reverse(file.known.size));
        let links = found.into_iter().filter_map(|(path, found)| match found {
            Found::Symlink { target } if !is_gone(&path) => Some((path, target)),
            Found::Symlink { .. }
            | Found::File { .. }
            | Found::Directory { .. }
            | Found::Other { .. } => None,
        });
        Ok((files, links.collect()))
    }

    /// The path of a file in the work directory.
    fn arrived(&self, file: &File) -> Utf8PathBuf {
        self.work.join(file.path.as_str().replace('/', "%2F"))
    }

    /// Adds every file and symlink.
    async fn fill(
        &self,
        staged: &dyn StagedBuild,
        files: &[File],
        links: &BTreeMap<BuildPath, String>,
    ) -> Result<(), CopyError> {
        for (path, target) in links {
            let target = target.clone();
            let added = staged.add(path, &Entry::Symlink { target }).await;
            let _: Added = added.map_err(|error| self.target(error))?;
        }
        let adds: Vec<_> = files.iter().map(|file| self.add(staged, file)).collect();
        let mut adds = adds.into_iter();
        let mut running: stream::FuturesUnordered<_> = adds.by_ref().take(PARALLEL).collect();
        let mut filled = Ok(());
        // After an error, wait for the running tasks, so that none writes into a directory that is being removed.
        while let Some(added) = running.next().await {
            filled = filled.and(added);
            if filled.is_ok() {
                running.extend(adds.next());
            }
        }
        filled
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    async fn add(&self, staged: &dyn StagedBuild, file: &File) -> Result<(), CopyError> {
        let shared = staged.share(&file.path, &file.known).await;
        if let Some(size) = shared.map_err(|error| self.target(error))? {
            self.count(|counts| counts.shared += size);
            (self.observe)(CopyEvent::Bytes(size));
            return Ok(());
        }
        let (source, size) = match (self.from.file(self.id, &file.path), file.known.size) {
            // It is read and checked in place.
            (Some(source), Some(size)) => {
                (self.observe)(CopyEvent::Bytes(size));
                self.count(|counts| counts.transferred += size);
                (source, size)
            }
            (Some(_), None) | (None, _) => self.bring(file).await?,
        };
        let entry = Entry::File {
            source,
            size,
            executable: file.known.executable,
            digest: Some(file.digest),
        };
        let added = staged.add(&file.path, &entry).await;
        let _: Added = added.map_err(|error| match error {
            // The file was read in place on the first mirror.
            StoreError::Changed { .. } => self.source(StoreError::Refused {
                what: file.path.to_string(),
                reason: "its bytes are not those that SHA256SUMS names".to_owned(),
            }),
            error => self.target(error),
        })?;
        Ok(())
    }

    /// Fetches a file; every byte is checked against its sum, and bytes that are already present are not fetched again.
    async fn bring(&self, file: &File) -> Result<(Utf8PathBuf, u64), CopyError> {
        let to = self.arrived(file);
        let wanted = Wanted {
            path: file.path.clone(),
            sha256: file.digest,
            to: Utf8PathBuf::from(to.file_name().unwrap_or_default()),
            control: None,
        };
        let observe = |event: FetchEvent<'_>| match event {
            FetchEvent::Bytes(bytes) => (self.observe)(CopyEvent::Bytes(bytes)),
            FetchEvent::Begun { .. } | FetchEvent::Note { .. } | FetchEvent::Ended { .. } => {}
        };
        let options = FetchOptions::default();
        let mut report = fetch_beside(
            self.from,
            self.id,
            &[wanted],
            self.work,
            &options,
            &self.unfinished,
            &observe,
        )
        .await;
        if let Some(source) = report.failed.pop() {
            return Err(CopyError::File {
                build: Box::new(self.id.clone()),
                source,
            });
        }
        let fetched = report.fetched.pop();
        let bytes = fetched.as_ref().map_or(0, |fetched| fetched.bytes);
        let transferred = report.transferred() + fetched.map_or(0, |fetched| fetched.transferred);
        self.count(|counts| counts.transferred += transferred);
        if let Some(modified) = file.known.modified {
            let path = to.clone();
            let set = move || {
                let file = fs::OpenOptions::new().write(true).open(path)?;
                file.file().set_modified(modified.into())
            };
            blocking_io("set the time of", &to, set).await?;
        }
        Ok((to, bytes))
    }
}

/// Makes the directory for temporary files, closed to other users. An existing one must belong to the current user, or to `root`
/// like `/tmp`: another owner could replace the files between their check and their use.
fn work_dir(dir: &Utf8Path) -> io::Result<()> {
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    match std::fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let there = fs::symlink_metadata(dir)?;
    if there.uid() != 0 && there.uid() != rustix::process::geteuid().as_raw() {
        let why = format!("it belongs to user {}", there.uid());
        return Err(io::Error::other(why));
    }
    Ok(())
}

async fn blocking_io(
    op: &'static str,
    path: &Utf8Path,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), CopyError> {
    let ran = blocking(move || Ok(work())).await;
    // A task that did not run did not do its work either.
    ran.unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|source| CopyError::Work {
            op,
            path: path.to_owned(),
            source,
        })
}
