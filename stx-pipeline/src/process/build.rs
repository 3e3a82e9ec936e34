//! One build on this machine, from its plan to its record.
//!
//! ```text
//! Build::new ──> journal ──> source phase ──> commits ──> other phases ──> collect ──> conclude ──> Built
//! ```

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{BuildId, BuildPath, BuildRecord, PhaseRecord, PhaseStatus, SourceRecord};
use tracing::{Instrument as _, debug, info_span};

use super::{
    CollectError, JournalError, JournalWriter, ProcessRunner, SourceError, SourceRunner, Sources,
    collect, read_changes, read_sources, this_boot,
};
use crate::journal::{Entry, Started};
use crate::{
    BuildInfo, BuildPlan, Cancel, Collection, Event, EventKind, Execution, Journal, Runner, Step,
    changelog, conclude, context, execute, last_commits, reached_no_commit,
};

/// A build that stopped for another reason than its phases. Its journal remains, so that it can be resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The directories of the build cannot be created.
    #[error("cannot make {dir}")]
    Prepare {
        /// The directory.
        dir: Utf8PathBuf,
        /// The error that caused it.
        source: io::Error,
    },
    /// The journal cannot be written. The phases were ended, because the build could not be resumed later.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The commits cannot be read.
    #[error(transparent)]
    Sources(#[from] SourceError),
    /// The sources changed while the build was interrupted.
    #[error("{id}: the sources in {source_root} are not those that it was started with")]
    SourcesChanged {
        /// The build.
        id: Box<BuildId>,
        /// The directory of the sources.
        source_root: Utf8PathBuf,
    },
    /// The files of the build cannot be collected.
    #[error(transparent)]
    Collect(#[from] CollectError),
}

/// The result of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildResult {
    /// Its phases are over, successful or not: the build can be published.
    Built(Box<Built>),
    /// The source phase failed before any commit was known: only logs could be published.
    NoCommit {
        /// The phases.
        records: Vec<PhaseRecord>,
    },
    /// [`Build::unless`] stopped the build after the source phase, because of its commits.
    Unchanged {
        /// The commits.
        sources: Sources,
    },
    /// It was cancelled; [`Build::resume`] continues it.
    Cancelled,
}

/// A build whose phases are over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its plan.
    pub plan: BuildPlan,
    /// Its record, without the facts that only a publisher knows.
    pub record: BuildRecord,
    /// Its commits.
    pub sources: Sources,
    /// Its files.
    pub collection: Collection,
}

impl Built {
    /// The files that describe the build, unless its phases made them: `BUILD_INFO`, and if commits are known `CONTEXT`,
    /// `LAST_COMMITS` and `CHANGELOG`. `CHANGELOG` starts after the commits `since` of an earlier build.
    ///
    /// # Errors
    /// Git cannot read the commits.
    pub fn texts(
        &self,
        since: &[SourceRecord],
    ) -> Result<BTreeMap<BuildPath, String>, SourceError> {
        let commits = &self.sources.records;
        let info = BuildInfo::new(&self.plan).to_string();
        let mut texts = vec![("outputs/BUILD_INFO", info)];
        if !commits.is_empty() {
            let changes = read_changes(&self.plan, since, commits)?;
            texts.extend([
                ("outputs/CONTEXT", context(commits)),
                ("outputs/LAST_COMMITS", last_commits(commits)),
                ("outputs/CHANGELOG", changelog(&changes)),
            ]);
        }
        let texts = texts.into_iter();
        Ok(texts
            .map(|(path, text)| (path.parse().expect("a valid path"), text))
            .collect())
    }
}

/// Collects the files of a build whose phases ended as `records`, and makes its record.
///
/// # Errors
/// See [`CollectError`].
pub fn finish(
    plan: &BuildPlan,
    sources: Sources,
    records: Vec<PhaseRecord>,
) -> Result<BuildResult, CollectError> {
    if reached_no_commit(plan, &sources.records, &records) {
        return Ok(BuildResult::NoCommit { records });
    }
    let collection = collect(plan, &records)?;
    let record = conclude(plan, &sources.records, &records, &collection);
    Ok(BuildResult::Built(Box::new(Built {
        plan: plan.clone(),
        record,
        sources,
        collection,
    })))
}

/// One build: runs the phases of a plan, writes its journal, and collects the files of the phases. Needs a tokio runtime with
/// I/O and time.
///
/// The state directory belongs to one build at a time. The caller locks it, [ends](super::end_orphans) leftover processes of a
/// killed build, and empties the workspace. The journal remains: remove it by [`remove_journal`](super::remove_journal) when
/// the result of the build is safe.
///
/// ```no_run
/// # async fn build(started: stx_pipeline::journal::Started) -> Result<(), stx_pipeline::process::BuildError> {
/// use stx_pipeline::process::{Build, BuildResult};
///
/// let build = Build::new(started, "/srv/state".into())?.listen(&|event| drop(event.phase.len()));
/// if let BuildResult::Built(built) = build.run().await? {
///     assert!(built.record.first_failing_phase.is_none());
/// }
/// # Ok(())
/// # }
/// ```
pub struct Build<'a> {
    /// Boxed, because it is large and moved into the futures of callers.
    journal: Box<Journal>,
    writer: JournalWriter,
    local: ProcessRunner,
    runner: Option<&'a dyn Runner>,
    events: &'a (dyn Fn(&Event) + Sync),
    unless: &'a (dyn Fn(&Sources) -> bool + Sync),
    cancel: Cancel,
    interrupt: Option<Cancel>,
}

impl<'a> Build<'a> {
    /// A new build, whose journal begins in the directory `state`. Creates the missing directories of its plan.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn new(started: Started, state: &Utf8Path) -> Result<Self, BuildError> {
        let boot = this_boot();
        let started = Started { boot, ..started };
        let plan = &started.plan;
        let dirs = [state, &plan.workspace, &plan.source_root].into_iter();
        for dir in dirs.chain(plan.state_dirs.iter().map(Utf8PathBuf::as_path)) {
            if !dir.is_dir() {
                let prepare = |source| BuildError::Prepare {
                    dir: dir.to_owned(),
                    source,
                };
                fs_err::create_dir_all(dir).map_err(prepare)?;
            }
        }
        // Phases put this text into packages and images, so it must equal the published one.
        let info = BuildInfo::new(plan).to_string();
        fs_err::write(plan.workspace.join(BuildInfo::FILE), info).map_err(|source| {
            BuildError::Prepare {
                dir: plan.workspace.clone(),
                source,
            }
        })?;
        let writer = JournalWriter::start(state, &started)?;
        Ok(Self::of(Journal::new(started, "", ""), writer, state))
    }

    /// Resumes an interrupted build, with the journal that [`read_journal`](super::read_journal) found in `state`. Finished
    /// phases do not run again.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn resume(journal: Journal, state: &Utf8Path) -> Result<Self, BuildError> {
        let writer = JournalWriter::resume(state, &journal)?;
        Ok(Self::of(journal, writer, state))
    }

    fn of(journal: Journal, writer: JournalWriter, state: &Utf8Path) -> Self {
        Self {
            journal: Box::new(journal),
            writer,
            local: ProcessRunner::new(state.to_owned()),
            runner: None,
            events: &|_| {},
            unless: &|_| false,
            cancel: Cancel::new(),
            interrupt: None,
        }
    }

    /// The start of the build.
    pub fn started(&self) -> &Started {
        &self.journal.started
    }

    /// The records of the phases that are over.
    pub fn records(&self) -> &[PhaseRecord] {
        &self.journal.records
    }

    /// Runs the phases with `runner`; a [`ProcessRunner`] if this is not called.
    #[must_use]
    pub fn runner(mut self, runner: &'a dyn Runner) -> Self {
        self.runner = Some(runner);
        self
    }

    /// Passes the events of the phases to `events`, as they happen.
    #[must_use]
    pub fn listen(mut self, events: &'a (dyn Fn(&Event) + Sync)) -> Self {
        self.events = events;
        self
    }

    /// Stops after the source phase if `unchanged` returns true for the commits. It is not called for a resumed build that
    /// already had its commits.
    #[must_use]
    pub fn unless(mut self, unchanged: &'a (dyn Fn(&Sources) -> bool + Sync)) -> Self {
        self.unless = unchanged;
        self
    }

    /// Lets `cancel` end the build. The build itself sets it if the journal cannot be written.
    #[must_use]
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Marks a cancelled build as one to resume, if `interrupt` is set too. Phases that always run do not run then, because the
    /// build is not over.
    #[must_use]
    pub fn interrupt(mut self, interrupt: &Cancel) -> Self {
        self.interrupt = Some(interrupt.clone());
        self
    }

    /// Runs the remaining phases of the build.
    ///
    /// # Errors
    /// See [`BuildError`]; a failed phase is not an error.
    pub async fn run(self) -> Result<BuildResult, BuildError> {
        let span = info_span!("build", build = %self.journal.started.plan.id);
        self.run_phases().instrument(span).await
    }

    /// Ends the build as failed, for `reason`. Of the remaining phases, only those that always run are run.
    ///
    /// The journal does not record these phases: the build may still be resumed until it is published, and then they must run
    /// after its other phases.
    ///
    /// # Errors
    /// See [`BuildError`]; a failed phase is not an error.
    pub async fn give_up(self, reason: &str) -> Result<BuildResult, BuildError> {
        let span = info_span!("build", build = %self.journal.started.plan.id);
        self.run_last_phases(reason).instrument(span).await
    }

    async fn run_last_phases(self, reason: &str) -> Result<BuildResult, BuildError> {
        let plan = &self.journal.started.plan;
        let sources = self.journal.sources.clone().unwrap_or_default();
        let left = self.journal.unfinished();
        let last = |name: &str| {
            let mut phases = plan.phases.iter();
            left.contains(&name) && phases.any(|phase| phase.always && phase.name == name)
        };
        let mut done = self.journal.given_up(reason);
        done.retain(|record| !last(&record.name));
        let rest = Step::Rest {
            done: &done,
            source_date_epoch: sources.newest,
        };
        let events = |event: Event| (self.events)(&event);
        let execution = Execution {
            runner: self.runner.unwrap_or(&self.local),
            now: &now,
            events: &events,
            finished: &|_| {},
            sleep: &|pause| Box::pin(tokio::time::sleep(pause)),
            cancel: &self.cancel,
            interrupt: self.interrupt.as_ref(),
            deadline: None,
        };
        let executed = execute(plan, rest, &execution).await;
        if self.cancel.is_cancelled() {
            return Ok(BuildResult::Cancelled);
        }
        Ok(finish(plan, sources, executed.records)?)
    }

    async fn run_phases(self) -> Result<BuildResult, BuildError> {
        let plan = &self.journal.started.plan;
        let cancel = &self.cancel;
        let unwritable = Mutex::new(None);
        let write = |entry: &Entry| {
            if let Err(error) = self.writer.add(entry) {
                // Cancel: the build could not be resumed, although a resumable build is promised.
                let mut first = unwritable.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error);
                cancel.cancel();
            }
        };
        let events = |event: Event| {
            if let EventKind::Started { attempt, .. } = event.what {
                write(&Entry::Attempt {
                    phase: event.phase.clone(),
                    attempt,
                    time: event.time,
                });
            }
            (self.events)(&event);
        };
        let finished = |record: &PhaseRecord| {
            write(&Entry::Phase {
                record: record.clone(),
            });
        };
        let limit = plan
            .timeout
            .and_then(|timeout| TimeDelta::from_std(timeout).ok());
        let runner = self.runner.unwrap_or(&self.local);
        let execution = Execution {
            runner,
            now: &now,
            events: &events,
            finished: &finished,
            sleep: &|pause| Box::pin(tokio::time::sleep(pause)),
            cancel,
            interrupt: self.interrupt.as_ref(),
            deadline: limit.map(|limit| now() + limit),
        };
        let mut done = self.journal.records.clone();
        if done.is_empty() {
            let execution = Execution {
                runner: &SourceRunner::new(runner, plan),
                ..execution
            };
            done = execute(plan, Step::Source, &execution).await.records;
        }
        debug!(phases = done.len(), "sources are synced");
        let synced = done
            .iter()
            .all(|record| record.status == PhaseStatus::Succeeded || !record.required);
        let mut sources = self.journal.sources.clone().unwrap_or_default();
        if synced && !cancel.is_cancelled() {
            let now = read_sources(plan)?;
            if self.journal.sources.is_none() {
                if (self.unless)(&now) {
                    return Ok(BuildResult::Unchanged { sources: now });
                }
                write(&Entry::Sources {
                    sources: now.clone(),
                });
            } else if now != sources {
                return Err(BuildError::SourcesChanged {
                    id: Box::new(plan.id.clone()),
                    source_root: plan.source_root.clone(),
                });
            }
            sources = now;
            debug!(repositories = sources.records.len(), "commits are read");
        }
        let rest = Step::Rest {
            done: &done,
            source_date_epoch: sources.newest,
        };
        let executed = execute(plan, rest, &execution).await;
        let unwritable = unwritable
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = unwritable {
            return Err(error.into());
        }
        if cancel.is_cancelled() {
            return Ok(BuildResult::Cancelled);
        }
        Ok(finish(plan, sources, executed.records)?)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "phases are timed by the clock, whatever time decisions go by"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
