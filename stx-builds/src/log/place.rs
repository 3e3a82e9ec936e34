//! Locates the logs of a build, and reads the state of its phases.

use std::fs::TryLockError;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::{
    BuildDate, BuildId, BuildOutcome, BuildPath, BuildRecord, Channel, PhaseRecord, PhaseStatus,
};
use stx_pipeline::{Journal, process};
use stx_publish::store::thinned;
use stx_publish::{Scope, StoreError, Thinned};

use super::text::{FileLog, Log, PublishedLog};
use super::{BuildEnd, PhaseLog, PhaseStage};
use crate::build::{BuildArea, UNPUBLISHED};
use crate::build_ref::{self, BuildRef};
use crate::daemon::unfinished;
use crate::error::{Error, ErrorKind, is_there, unusable};
use crate::options::MirrorLocation;
use crate::{Reader, Site, refused};

/// A build whose logs can be shown.
pub(super) struct Shown {
    pub(super) build: BuildId,
    pub(super) place: Place,
}

/// The location of its logs.
pub(super) enum Place {
    /// In the state of its channel: it runs, or was interrupted.
    State {
        area: Box<BuildArea>,
        journal: Box<Journal>,
    },
    /// In the state of its channel: it had no commit.
    Unpublished { logs: Utf8PathBuf },
    /// On the mirror.
    Published {
        reader: Box<Reader>,
        record: Box<BuildRecord>,
        thinned: Thinned,
    },
}

/// Finds the build that a user refers to.
pub(super) async fn find(site: &Site, wanted: Option<&str>) -> Result<Shown, Error> {
    let area = area(site)?;
    let Some(text) = wanted else {
        return running(area.as_ref());
    };
    // A name that is not a build may still be an alias of a release, which only the mirror knows.
    let named = text.parse::<BuildRef>().ok();
    if let (Some(area), Some(named)) = (&area, &named)
        && let Some(shown) = in_state(site, area, named).await?
    {
        return Ok(shown);
    }
    on_mirror(site, text).await
}

/// Finds the build that a user refers to on the mirror.
pub(super) async fn on_mirror(site: &Site, text: &str) -> Result<Shown, Error> {
    let named = text.parse::<BuildRef>().ok();
    let reader = site.reader()?;
    let build = match &named {
        Some(BuildRef::Newest(_)) => {
            let channel = build_ref::channel(reader.store(), text).await?;
            let Some(date) = newest(&reader, &channel).await? else {
                let error = format!("{channel}: it has no build");
                return Err(Error::new(ErrorKind::NotFound, error));
            };
            let build = BuildId::new(channel, date);
            site.note(&format!("{text} is {build}"));
            build
        }
        Some(BuildRef::Build(_) | BuildRef::Alias(..) | BuildRef::Prefix(..)) | None => {
            build_ref::resolve_noting(reader.store(), text, &|line| site.note(line)).await?
        }
    };
    published(reader, build).await
}

/// The directories of builds; `None` for a mirror behind a URL, which has none.
fn area(site: &Site) -> Result<Option<BuildArea>, Error> {
    if MirrorLocation::of(&site.root()?) == MirrorLocation::Web {
        return Ok(None);
    }
    // A bucket may have none either.
    Ok(BuildArea::new(site).ok())
}

/// The only build that runs.
fn running(area: Option<&BuildArea>) -> Result<Shown, Error> {
    let hint = "name a channel, or a build by its date; `stx-builds list` lists them";
    let none = |error: &str| Error::new(ErrorKind::NotFound, error).hint(hint);
    let Some(area) = area else {
        return Err(none("a mirror behind a web server shows no running build"));
    };
    let mut found = Vec::new();
    for build in unfinished(area).map_err(|error| Error::new(ErrorKind::Usage, error))? {
        if is_locked(&area.channel(&build.channel))? {
            found.push(build);
        }
    }
    let build = match found.as_slice() {
        [build] => build,
        [] => return Err(none("no build is running")),
        several => {
            let names: Vec<_> = several.iter().map(ToString::to_string).collect();
            let error = Error::usage(format!("{} builds are running", names.len()));
            return Err(error.hint(format!("name one of {}", names.join(", "))));
        }
    };
    match journal(area, &build.channel)? {
        Some(shown) => Ok(shown),
        None => Err(none("the build ended right now")),
    }
}

/// The build that a name refers to, if its logs are in the state directory.
async fn in_state(site: &Site, area: &BuildArea, named: &BuildRef) -> Result<Option<Shown>, Error> {
    let channel = match named {
        BuildRef::Build(id) => &id.channel,
        BuildRef::Prefix(channel, _) => channel,
        BuildRef::Newest(prefix) => match prefix.channel() {
            Some(channel) => channel,
            None => return Ok(None),
        },
        BuildRef::Alias(..) => return Ok(None),
    };
    let means = |id: &BuildId| match named {
        BuildRef::Build(named) => id == named,
        BuildRef::Prefix(_, begin) => id.date.to_string().starts_with(begin),
        BuildRef::Newest(_) => true,
        BuildRef::Alias(..) => false,
    };
    let found = journal(area, channel)?.filter(|shown| means(&shown.build));
    if let Some(shown) = found {
        // A build that was killed after its publication keeps its journal until the next build.
        let there = area.published()?;
        let is_public = match there {
            Some(mirror) => mirror.record(&shown.build).await.is_ok(),
            None => false,
        };
        if !is_public || shown.is_running()? {
            note(site, named, &shown.build);
            return Ok(Some(shown));
        }
    }
    let dir = area.channel(channel).join(UNPUBLISHED);
    let mut dates = dates(&dir)?;
    dates.retain(|date| means(&BuildId::new(channel.clone(), *date)));
    let Some(date) = dates.pop() else {
        return Ok(None);
    };
    if matches!(named, BuildRef::Newest(_))
        && let Ok(reader) = site.reader()
        && newest(&reader, channel).await? > Some(date)
    {
        return Ok(None);
    }
    let build = BuildId::new(channel.clone(), date);
    note(site, named, &build);
    Ok(Some(Shown {
        build,
        place: Place::Unpublished {
            logs: dir.join(date.to_string()),
        },
    }))
}

/// Tells the user which build a name refers to, if the name is not the build's own.
fn note(site: &Site, named: &BuildRef, build: &BuildId) {
    match named {
        BuildRef::Build(_) | BuildRef::Alias(..) => {}
        BuildRef::Prefix(channel, begin) => {
            site.note(&format!("{channel}/{begin} is {}", build.date));
        }
        BuildRef::Newest(prefix) => site.note(&format!("{prefix} is {build}")),
    }
}

/// The unfinished build of a channel.
fn journal(area: &BuildArea, channel: &Channel) -> Result<Option<Shown>, Error> {
    let state = area.channel(channel);
    if !is_there(&state)? {
        return Ok(None);
    }
    let journal =
        process::read_journal(&state).map_err(|error| Error::new(ErrorKind::Bug, error))?;
    Ok(journal.map(|journal| Shown {
        build: journal.started.plan.id.clone(),
        place: Place::State {
            area: Box::new(area.clone()),
            journal: Box::new(journal),
        },
    }))
}

/// The dates of a directory of builds, oldest first.
fn dates(dir: &Utf8Path) -> Result<Vec<BuildDate>, Error> {
    let mut dates = Vec::new();
    if is_there(dir)? {
        for entry in dir.read_dir_utf8().map_err(|error| unusable(dir, error))? {
            let entry = entry.map_err(|error| unusable(dir, error))?;
            dates.extend(entry.file_name().parse::<BuildDate>().ok());
        }
    }
    dates.sort();
    Ok(dates)
}

/// The newest build of a channel, whatever its result.
async fn newest(reader: &Reader, channel: &Channel) -> Result<Option<BuildDate>, Error> {
    let scope = Scope::Channel(channel.clone());
    let catalog = reader.store().catalog(&scope).await.map_err(refused)?;
    let entry = catalog.channels.get(channel);
    Ok(entry.and_then(|entry| entry.builds.keys().next_back().copied()))
}

/// A build of the mirror.
pub(super) async fn published(reader: Reader, build: BuildId) -> Result<Shown, Error> {
    let store = reader.store();
    let record = match store.record(&build).await {
        Ok(record) => record,
        Err(StoreError::NotFound { .. }) => {
            let scope = Scope::Channel(build.channel.clone());
            let catalog = store.catalog(&scope).await.map_err(refused)?;
            return Err(build_ref::missing_build(&catalog, &build));
        }
        Err(error) => return Err(refused(error)),
    };
    let thinned = thinned(store, &build).await.map_err(refused)?;
    Ok(Shown {
        build,
        place: Place::Published {
            reader: Box::new(reader),
            record: Box::new(record),
            thinned,
        },
    })
}

/// True if a build holds the lock of a channel's state.
pub(super) fn is_locked(state: &Utf8Path) -> Result<bool, Error> {
    let path = state.join("lock");
    let file = match fs_err::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unusable(&path, error)),
    };
    // Shared, so that readers do not mistake each other for a build; a build that starts retries.
    match file.file().try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(unusable(&path, error)),
    }
}

/// The path of the log of a phase in a build.
fn log_path(phase: &str) -> Result<BuildPath, Error> {
    let path = format!("outputs/logs/{phase}.log").parse();
    path.map_err(|_| Error::new(ErrorKind::NotFound, format!("no phase {phase:?}")))
}

impl Shown {
    /// True if the build runs.
    pub(super) fn is_running(&self) -> Result<bool, Error> {
        match &self.place {
            Place::State { area, .. } => is_locked(&area.channel(&self.build.channel)),
            Place::Unpublished { .. } | Place::Published { .. } => Ok(false),
        }
    }

    /// The phases and their logs.
    pub(super) async fn phases(&self) -> Result<Vec<PhaseLog>, Error> {
        match &self.place {
            Place::State { journal, .. } => stages(journal, self.is_running()?),
            Place::Unpublished { logs } => unpublished(logs),
            Place::Published { record, .. } => {
                let mut phases = Vec::new();
                for phase in &record.phases {
                    phases.push(self.of_record(phase).await?);
                }
                Ok(phases)
            }
        }
    }

    async fn of_record(&self, phase: &PhaseRecord) -> Result<PhaseLog, Error> {
        let log = match self.open(&phase.name).await {
            Ok(log) => Some(log),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(PhaseLog {
            phase: phase.name.clone(),
            state: PhaseStage::Over(phase.status),
            bytes: log.as_ref().map(|log| log.size()),
            log: log.map(|log| log.place()),
        })
    }

    /// Opens the log of a phase.
    pub(super) async fn open(&self, phase: &str) -> Result<Box<dyn Log + '_>, Error> {
        match &self.place {
            Place::State { journal, .. } => {
                let plan = &journal.started.plan;
                let phase = plan.phases.iter().find(|known| known.name == phase);
                let file = phase.map(|phase| phase.invocation.log.clone());
                let file = file.unwrap_or_default();
                Ok(Box::new(FileLog::open(&file)?))
            }
            Place::Unpublished { logs } => {
                Ok(Box::new(FileLog::open(&logs.join(format!("{phase}.log")))?))
            }
            Place::Published { reader, .. } => {
                let path = log_path(phase)?;
                let body = reader.store().read(&self.build, &path, 0).await;
                Ok(Box::new(PublishedLog {
                    reader,
                    id: &self.build,
                    size: body.map_err(refused)?.size,
                    path,
                }))
            }
        }
    }

    /// The phase that failed.
    pub(super) fn failing<'a>(&self, phases: &'a [PhaseLog]) -> Option<&'a PhaseLog> {
        let failed = |phase: &&PhaseLog| {
            let failed = [PhaseStatus::Failed, PhaseStatus::TimedOut];
            matches!(phase.state, PhaseStage::Over(status) if failed.contains(&status))
        };
        match &self.place {
            Place::Published { record, .. } => {
                let name = record.first_failing_phase.as_deref()?;
                phases.iter().find(|phase| phase.phase == name)
            }
            // Its last phase is the one that failed.
            Place::Unpublished { .. } => phases.last(),
            Place::State { .. } => phases.iter().find(failed),
        }
    }

    /// The rule by which retention removed the log of a phase.
    pub(super) fn thinned(&self, phase: &str) -> Option<&str> {
        match &self.place {
            Place::Published { thinned, .. } => {
                let section = thinned.covers(&log_path(phase).ok()?)?;
                Some(&section.rule)
            }
            Place::State { .. } | Place::Unpublished { .. } => None,
        }
    }

    /// The result of the build; `None` if it was interrupted and may be resumed.
    pub(super) fn end(&self) -> Option<BuildEnd> {
        match &self.place {
            Place::State { .. } => None,
            Place::Unpublished { .. } => Some(BuildEnd::Refused {
                reason: "it failed before its commits were known".to_owned(),
            }),
            Place::Published { record, .. } => Some(published_end(record)),
        }
    }
}

/// The end of a published build.
pub(super) fn published_end(record: &BuildRecord) -> BuildEnd {
    let first_failing_phase = record.first_failing_phase.clone();
    BuildEnd::Published {
        result: record.result,
        reason: record.failure(),
        first_failing_phase: first_failing_phase.filter(|_| record.result == BuildOutcome::Fail),
    }
}

/// The phases of an unfinished build, by its journal.
pub(super) fn stages(journal: &Journal, running: bool) -> Result<Vec<PhaseLog>, Error> {
    let phases = journal.started.plan.phases.iter();
    let of = |name: &str| journal.records.iter().find(|record| record.name == name);
    phases
        .map(|phase| {
            let begun = journal.begun.contains_key(&phase.name);
            let state = match of(&phase.name) {
                Some(record) => PhaseStage::Over(record.status),
                None if begun && running => PhaseStage::Running,
                None if begun => PhaseStage::Interrupted,
                None => PhaseStage::Waiting,
            };
            let file = &phase.invocation.log;
            let is_there = is_there(file)?;
            let log = is_there.then(|| FileLog::open(file)).transpose()?;
            Ok(PhaseLog {
                phase: phase.name.clone(),
                state,
                bytes: log.as_ref().map(Log::size),
                log: log.as_ref().map(Log::place),
            })
        })
        .collect()
}

/// The logs of a build without a commit, in the order in which they were written.
fn unpublished(dir: &Utf8Path) -> Result<Vec<PhaseLog>, Error> {
    let mut found = Vec::new();
    for entry in dir.read_dir_utf8().map_err(|error| unusable(dir, error))? {
        let entry = entry.map_err(|error| unusable(dir, error))?;
        let path = entry.path();
        if path.extension() == Some("log") {
            let metadata = path.metadata().map_err(|error| unusable(path, error))?;
            let modified = metadata.modified().map_err(|error| unusable(path, error))?;
            found.push((modified, path.to_owned(), metadata.len()));
        }
    }
    found.sort();
    let last = found.len().saturating_sub(1);
    let phases = found.into_iter().enumerate();
    let phases = phases.map(|(at, (_, path, bytes))| PhaseLog {
        phase: path.file_stem().unwrap_or_default().to_owned(),
        // Only its last phase is known to have failed.
        state: PhaseStage::Over(if at == last {
            PhaseStatus::Failed
        } else {
            PhaseStatus::Succeeded
        }),
        bytes: Some(bytes),
        log: Some(path.into_string()),
    });
    Ok(phases.collect())
}
