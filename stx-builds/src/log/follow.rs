//! A running build, followed to its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use camino::Utf8PathBuf;
use stx_pipeline::{Journal, process};
use stx_publish::{MirrorStore, Scope, StoreError};

use super::growing::Growing;
use super::place::{Place, Shown, is_locked, published_end, stages};
use super::text::{FileLog, Log, print};
use super::{BuildEnd, LogWanted, Logged, PhaseLog, PhaseStage, Sink, one};
use crate::build::{BuildArea, UNPUBLISHED, unchanged};
use crate::error::{Error, ErrorKind, is_there, unusable};
use crate::refused;

/// The time between two looks at a running build.
const LOOK: Duration = Duration::from_millis(250);

/// A running build, in its last known state.
struct Watched {
    area: BuildArea,
    shown: Shown,
    journal: Journal,
    /// True if the build is over and its journal is gone.
    is_over: bool,
}

impl Watched {
    fn state(&self) -> Utf8PathBuf {
        self.area.channel(&self.shown.build.channel)
    }

    /// Reads the state of the build again; returns its phases.
    fn look(&mut self) -> Result<Vec<PhaseLog>, Error> {
        let state = self.state();
        // The lock first: once it is free, the journal is final.
        let running = is_locked(&state)?;
        let journal = process::read_journal(&state);
        let journal = journal.map_err(|error| Error::new(ErrorKind::Bug, error))?;
        match journal {
            Some(journal) if journal.started.plan.id == self.shown.build => {
                self.journal = journal;
                if !running {
                    return Err(interrupted(&self.shown));
                }
            }
            Some(_) | None => self.is_over = true,
        }
        stages(&self.journal, !self.is_over)
    }

    /// The directory of its logs if it had no commit.
    fn kept(&self) -> Utf8PathBuf {
        let date = self.shown.build.date.to_string();
        self.state().join(UNPUBLISHED).join(date)
    }

    /// The result.
    async fn end(&self) -> Result<BuildEnd, Error> {
        let mirror = self.area.published()?;
        if let Some(mirror) = &mirror {
            match mirror.record(&self.shown.build).await {
                Ok(record) => return Ok(published_end(&record)),
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(refused(error)),
            }
        }
        let reason = if is_there(&self.kept())? {
            "it failed before its commits were known"
        } else {
            if let Some(mirror) = &mirror
                && self.is_unchanged(&**mirror).await?
            {
                return Ok(BuildEnd::Unchanged);
            }
            "it was cancelled"
        };
        Ok(BuildEnd::Refused {
            reason: reason.to_owned(),
        })
    }

    /// True if only the source phase ran, and its commits are those of the last success. The journal of a build that was cancelled at
    /// that moment is the same.
    async fn is_unchanged(&self, mirror: &dyn MirrorStore) -> Result<bool, Error> {
        let Journal {
            started,
            records,
            begun,
            sources: Some(sources),
        } = &self.journal
        else {
            return Ok(false);
        };
        let phases = &started.plan.phases;
        let is_source = |name: &str| {
            phases
                .iter()
                .any(|phase| phase.name == name && phase.source)
        };
        if !begun.is_empty() || !records.iter().all(|record| is_source(&record.name)) {
            return Ok(false);
        }
        let channel = &self.shown.build.channel;
        let catalog = mirror.catalog(&Scope::Channel(channel.clone())).await;
        let catalog = catalog.map_err(refused)?;
        let entry = catalog.channels.get(channel);
        Ok(entry.is_some_and(|entry| unchanged(entry, started, &sources.records).is_some()))
    }
}

fn interrupted(shown: &Shown) -> Error {
    let build = &shown.build;
    let error = format!("{build}: interrupted; nothing was published");
    let hint = format!("`stx-builds resume {}` continues it", build.channel);
    Error::new(ErrorKind::BuildFailed, error).hint(hint)
}

/// Follows a build: the running phases, then those that start, or only the requested one. Fails after the lines of a build that was
/// interrupted.
pub(super) async fn follow(
    shown: Shown,
    phases: Vec<PhaseLog>,
    wanted: &LogWanted,
    sink: &mut Sink<'_>,
) -> Result<Logged, Error> {
    let Place::State { area, journal } = &shown.place else {
        unreachable!("only a build in the state directory runs");
    };
    let mut watched = Watched {
        area: (**area).clone(),
        journal: (**journal).clone(),
        shown,
        is_over: false,
    };
    let mut followed: BTreeMap<String, Growing> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    if let Some(name) = &wanted.phase
        && !phases.iter().any(|phase| phase.phase == *name)
    {
        return Err(one(&watched.shown, &phases, name).expect_err("there is no such phase"));
    }
    for phase in &phases {
        let is_wanted = match &wanted.phase {
            Some(name) => phase.phase == *name,
            None => !matches!(phase.state, PhaseStage::Over(_)),
        };
        if !is_wanted {
            left_out.insert(phase.phase.clone());
            continue;
        }
        if let Some(file) = &phase.log {
            let log = FileLog::open(file.as_str().into())?;
            let from = line_start(&log, wanted).await?;
            if print(&log, &phase.phase, from, sink).await?.is_break() {
                return Ok(Logged::Shown);
            }
            let growing = Growing::after(&phase.phase, log);
            let growing = growing.map_err(|error| unusable(file.as_str().into(), error))?;
            followed.insert(phase.phase.clone(), growing);
        }
        if let (Some(_), PhaseStage::Over(status)) = (&wanted.phase, phase.state) {
            let phase = phase.phase.clone();
            let end = BuildEnd::Phase { phase, status };
            let build = watched.shown.build;
            return Ok(Logged::Ended { build, end });
        }
    }
    loop {
        let phases = watched.look()?;
        let kept = watched.is_over.then(|| watched.kept());
        for phase in &phases {
            let name = &phase.phase;
            let has_started = !matches!(phase.state, PhaseStage::Waiting) || watched.is_over;
            if left_out.contains(name) || !has_started {
                continue;
            }
            let file = file_of(&watched.journal, name);
            let growing = followed.entry(name.clone());
            let growing = growing.or_insert_with(|| Growing::new(name, &file));
            let mut flow = growing.more(sink).map_err(|error| unusable(&file, error))?;
            if let Some(kept) = &kept {
                growing.moved_to(&kept.join(format!("{name}.log")));
                flow = growing.more(sink).map_err(|error| unusable(&file, error))?;
            }
            let is_over = watched.is_over || matches!(phase.state, PhaseStage::Over(_));
            if flow.is_break() || is_over && growing.finish(sink).is_break() {
                return Ok(Logged::Shown);
            }
            if let (Some(_), PhaseStage::Over(status)) = (&wanted.phase, phase.state) {
                let phase = name.clone();
                return Ok(Logged::Ended {
                    build: watched.shown.build.clone(),
                    end: BuildEnd::Phase { phase, status },
                });
            }
        }
        if watched.is_over {
            return Ok(Logged::Ended {
                end: watched.end().await?,
                build: watched.shown.build,
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn line_start(log: &FileLog, wanted: &LogWanted) -> Result<u64, Error> {
    let log: &dyn Log = log;
    log.start(Some(wanted.lines.unwrap_or(super::FIRST))).await
}

fn file_of(journal: &Journal, phase: &str) -> Utf8PathBuf {
    let mut phases = journal.started.plan.phases.iter();
    let phase = phases.find(|known| known.name == phase);
    phase
        .map(|phase| phase.invocation.log.clone())
        .unwrap_or_default()
}
