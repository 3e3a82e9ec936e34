//! The logs of the builds that the service runs, for users who can read its spool but not its state.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use camino::Utf8Path;
use stx_layout::PhaseStatus;
use stx_service::ledger::RunEnd;
use stx_service::status::{Found, Past, PhaseNow, PhaseState, Read, RunningBuild};

use super::growing::Growing;
use super::place::on_mirror;
use super::text::{FileLog, Log, print};
use super::{BuildEnd, LogWanted, Logged, Sink};
use crate::Site;
use crate::build_ref::BuildRef;
use crate::daemon::{RUNNING, Service, is_own_dir};
use crate::error::{Error, ErrorKind, unusable};

/// The time between two looks at the document and the logs.
const LOOK: Duration = Duration::from_millis(500);
/// The service copies the end of a log after its phase is over. A copy that did not grow for this time is complete.
const QUIET: Duration = Duration::from_millis(1500);

/// True if an error is a missing permission.
fn is_denied(error: &Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error.error.as_ref());
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind() == io::ErrorKind::PermissionDenied;
        }
        next = error.source();
    }
    false
}

impl Site {
    /// As [`phase_log`](Self::phase_log), after that failed with `unreadable`: if the state directory cannot be read, shows the build
    /// by the status document of the service.
    pub async fn shown_log(
        &self,
        service: &Service,
        wanted: &LogWanted,
        unreadable: Error,
        sink: &mut Sink<'_>,
    ) -> Result<Logged, Error> {
        // A build that failed while it was followed had been found, and its log was passed on.
        let was_found = unreadable.kind == ErrorKind::BuildFailed;
        if was_found || !is_denied(&unreadable) && wanted.build.is_some() {
            return Err(unreadable);
        }
        let Ok(Read::Fresh(status)) = self.service_status(service) else {
            return Err(unreadable);
        };
        let named = wanted.build.as_deref().map(|text| text.parse().ok());
        let mut running = status.running.iter().filter(|run| match &named {
            None => true,
            Some(named) => named.as_ref().is_some_and(|named| means(named, run)),
        });
        let run = match (running.next(), running.next(), &wanted.build) {
            (Some(run), None, _) => run,
            (Some(_), Some(_), _) => {
                let error = Error::usage("several builds are running");
                return Err(error.hint("`stx-builds status` lists them; name one"));
            }
            (None, _, None) => return Err(unreadable),
            (None, _, Some(text)) => {
                return self
                    .log_of(on_mirror(self, text).await?, wanted, sink)
                    .await;
            }
        };
        let spool = self.spool(service)?;
        follow(self, service, &spool, run.clone(), wanted, sink).await
    }
}

/// True if a name refers to a running build.
fn means(named: &BuildRef, run: &RunningBuild) -> bool {
    match named {
        BuildRef::Build(id) => run.build.as_ref() == Some(id),
        BuildRef::Newest(prefix) => prefix.holds(&run.channel),
        BuildRef::Prefix(channel, begin) => run.build.as_ref().is_some_and(|build| {
            build.channel == *channel && build.date.to_string().starts_with(begin)
        }),
        BuildRef::Alias(..) => false,
    }
}

/// Passes on the logs of a run, and follows it to its end if requested.
async fn follow(
    site: &Site,
    service: &Service,
    spool: &Utf8Path,
    mut run: RunningBuild,
    wanted: &LogWanted,
    sink: &mut Sink<'_>,
) -> Result<Logged, Error> {
    let mut followed: BTreeMap<String, Growing> = BTreeMap::new();
    let mut left_out = BTreeSet::new();
    let lines = wanted.lines.or(wanted.follow.then_some(super::FIRST));
    check(spool, &run, wanted)?;
    for phase in &run.phases {
        let is_wanted = match &wanted.phase {
            Some(name) => phase.name == *name,
            None => matches!(phase.state, PhaseState::Running | PhaseState::Waiting),
        };
        if !is_wanted {
            left_out.insert(phase.name.clone());
        } else if let Some(log) = &phase.log {
            let log = FileLog::open(&spool.join(log))?;
            let from = (&log as &dyn Log).start(lines).await?;
            if print(&log, &phase.name, from, sink).await?.is_break() {
                return Ok(Logged::Shown);
            }
            let growing = Growing::after(&phase.name, log);
            let growing = growing.map_err(|error| unusable(spool, error))?;
            followed.insert(phase.name.clone(), growing);
        }
    }
    if !wanted.follow {
        return Ok(Logged::Shown);
    }
    loop {
        let Read::Fresh(status) = site.service_status(service)? else {
            let error = "the service no longer runs, or hangs";
            return Err(Error::new(ErrorKind::BuildFailed, error));
        };
        let past = match status.find(run.request) {
            Some(Found::Running(now)) => {
                run = now.clone();
                None
            }
            Some(Found::Ended(past)) => Some(past),
            Some(Found::Waiting(_)) | None => {
                let error = format!("request {}: its run was abandoned", run.request);
                return Err(Error::new(ErrorKind::BuildFailed, error)
                    .hint("run `stx-builds history` for its outcome"));
            }
        };
        let one = wanted.phase.as_ref();
        let one = one.and_then(|name| run.phases.iter().find(|phase| phase.name == *name));
        let ended = one.and_then(over);
        let mut quiet = Duration::ZERO;
        loop {
            let grew = more(spool, &run, &left_out, &mut followed, sink)?;
            let Some(grew) = grew else {
                return Ok(Logged::Shown);
            };
            if past.is_none() && ended.is_none() || quiet >= QUIET {
                break;
            }
            quiet = if grew { Duration::ZERO } else { quiet + LOOK };
            tokio::time::sleep(LOOK).await;
        }
        if let Some(past) = past {
            return end(past);
        }
        if let (Some(status), Some(phase), Some(build)) = (ended, &wanted.phase, &run.build) {
            let (phase, build) = (phase.clone(), build.clone());
            let end = BuildEnd::Phase { phase, status };
            return Ok(Logged::Ended { build, end });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Fails if the service does not show the requested log.
fn check(spool: &Utf8Path, run: &RunningBuild, wanted: &LogWanted) -> Result<(), Error> {
    let channel = &run.channel;
    let has_started = |phase: &PhaseNow| phase.state != PhaseState::Waiting;
    let is_hidden = |phase: &PhaseNow| has_started(phase) && phase.log.is_none();
    // Another member's directory may contain anything.
    if !is_own_dir(spool, RUNNING) || run.phases.iter().any(is_hidden) {
        let error = format!("{channel}: the service does not show the logs of running builds");
        return Err(Error::new(ErrorKind::NotFound, error)
            .hint("see `running_logs` of `[service]` and the log of the service for the reason"));
    }
    let Some(name) = &wanted.phase else {
        return Ok(());
    };
    let Some(phase) = run.phases.iter().find(|phase| phase.name == *name) else {
        let error = format!("{channel}: no phase {name:?}");
        return Err(Error::new(ErrorKind::NotFound, error));
    };
    if wanted.follow || has_started(phase) {
        return Ok(());
    }
    let error = format!("{channel}: phase {name} has no log: it has not started");
    Err(Error::new(ErrorKind::NotFound, error))
}

/// Passes on the lines that were added to the logs; true if there were any, and `None` if the sink needs no more.
fn more(
    spool: &Utf8Path,
    run: &RunningBuild,
    left_out: &BTreeSet<String>,
    followed: &mut BTreeMap<String, Growing>,
    sink: &mut Sink<'_>,
) -> Result<Option<bool>, Error> {
    let mut grew = false;
    for phase in run
        .phases
        .iter()
        .filter(|phase| !left_out.contains(&phase.name))
    {
        // The last phase may have started and ended since the document was read.
        let file = match &phase.log {
            Some(log) => spool.join(log),
            None => spool.join(format!("{RUNNING}/{}/{}.log", run.run, phase.name)),
        };
        let growing = followed.entry(phase.name.clone());
        let growing = growing.or_insert_with(|| Growing::new(&phase.name, &file));
        // A service that was restarted copies the log again.
        growing.reopen().map_err(|error| unusable(&file, error))?;
        let flow = growing.more(&mut |part| {
            grew = true;
            sink(part)
        });
        if flow.map_err(|error| unusable(&file, error))?.is_break() {
            return Ok(None);
        }
    }
    Ok(Some(grew))
}

/// The result of a phase; `None` if it has not ended.
fn over(phase: &PhaseNow) -> Option<PhaseStatus> {
    match phase.state {
        PhaseState::Waiting | PhaseState::Running => None,
        PhaseState::Succeeded => Some(PhaseStatus::Succeeded),
        PhaseState::Failed => Some(PhaseStatus::Failed),
        PhaseState::TimedOut => Some(PhaseStatus::TimedOut),
        PhaseState::Cancelled => Some(PhaseStatus::Cancelled),
        PhaseState::Skipped => Some(PhaseStatus::Skipped),
    }
}

/// The result of a request, as that of its build.
fn end(past: &Past) -> Result<Logged, Error> {
    let run = past.filed.runs.last();
    let how = run.and_then(|run| run.end.as_ref()).map(|end| &end.how);
    let refused = |reason: &str| BuildEnd::Refused {
        reason: reason.to_owned(),
    };
    let end = match how {
        Some(RunEnd::Published { result, reason, .. }) => BuildEnd::Published {
            result: *result,
            reason: reason.clone(),
            first_failing_phase: past.failing.as_ref().map(|failing| failing.phase.clone()),
        },
        Some(RunEnd::Unchanged { .. }) => BuildEnd::Unchanged,
        Some(RunEnd::Refused { reason } | RunEnd::Requeued { reason }) => refused(reason),
        Some(RunEnd::Cancelled) | None => refused("it was cancelled"),
    };
    let Some(build) = run.and_then(|run| run.build.clone()) else {
        let error = format!(
            "request {}: it ended without a build",
            past.filed.request.id
        );
        return Err(Error::new(ErrorKind::BuildFailed, error));
    };
    Ok(Logged::Ended { build, end })
}
