//! Reads the status document, for users who may request builds.

use std::io;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use stx_pipeline::process;
use stx_service::Ask;
use stx_service::ledger::State;
use stx_service::status::{Answer, Follow, Past, PastBuilds, Read, RunningBuild, Status, Step};

use super::setup::Service;
use super::spool::{self, STATUS};
use crate::Site;
use crate::build::BuildArea;
use crate::error::{Error, ErrorKind};
use crate::site::clock;

/// The time between two looks at the document.
const LOOK: Duration = Duration::from_millis(250);
/// The time that a restart of the service may take before a follower of a request gives up.
const RESTART: Duration = Duration::from_mins(1);
/// The largest document that is read, in bytes.
const LONGEST: u64 = 256 * 1024 * 1024;

impl Site {
    /// The directory of requests, in which the status document and the logs of running builds are.
    pub fn spool(&self, service: &Service) -> Result<Utf8PathBuf, Error> {
        Ok(service.spool(&BuildArea::new(self)?))
    }

    /// The builds that run, with the phases of their plans.
    pub fn running_builds(
        &self,
        state: &State,
        past: &PastBuilds,
    ) -> Result<Vec<RunningBuild>, Error> {
        let area = BuildArea::new(self)?;
        let mut running = past.running_builds(state);
        for run in &mut running {
            // Without a journal only the phases that have started are known.
            if let Ok(Some(journal)) = process::read_journal(&area.channel(&run.channel))
                && Some(&journal.started.plan.id) == run.build.as_ref()
            {
                let phases = journal.started.plan.phases.into_iter();
                past.plan(run, &phases.map(|phase| phase.name).collect::<Vec<_>>());
            }
        }
        Ok(running)
    }

    /// The status document that the service keeps in the spool; it is stale if the service hangs or does not run.
    pub fn service_status(&self, service: &Service) -> Result<Read, Error> {
        let dir = self.spool(service)?;
        let file = dir.join(STATUS);
        let text = spool::own_text(&dir, STATUS, LONGEST).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::new(
                ErrorKind::NotFound,
                format!("{file}: the service has written no status yet"),
            )
            .hint("`stx-builds daemon` writes it when it starts"),
            io::ErrorKind::PermissionDenied => Error::usage(format!("{file}: {error}"))
                .hint("only members of the spool's group may read it"),
            _ => Error::usage(format!("{file}: {error}")),
        })?;
        Status::read(&text, clock()).map_err(|error| {
            let error = crate::error::chain(&error).to_string();
            Error::usage(format!("{file}: {error}"))
        })
    }

    /// Waits for the answer of a running service to a message; `None` if no readable answer arrives within `limit`.
    pub async fn answer(
        &self,
        service: &Service,
        message: &str,
        limit: Duration,
    ) -> Option<Answer> {
        let end = Instant::now() + limit;
        loop {
            // An older service has no readable document, and thus no number.
            if let Read::Fresh(status) = self.service_status(service).ok()?
                && let Some(answer) = status.answers.into_iter().rfind(|it| it.message == message)
            {
                return Some(answer);
            }
            if Instant::now() >= end || !self.service_running(service).ok()? {
                return None;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Follows a message that requests a build until the request has ended, and passes each step to `step`. Waits for a service that
    /// restarts.
    pub async fn follow(
        &self,
        service: &Service,
        asked: &Asked<'_>,
        limit: Option<Duration>,
        step: &mut (dyn FnMut(Followed<'_>) + Send),
    ) -> Result<Past, Error> {
        let end = limit.map(|limit| Instant::now() + limit);
        let mut silent: Option<Instant> = None;
        let mut follow: Option<Follow> = None;
        loop {
            let status = match self.service_status(service) {
                Ok(Read::Fresh(status)) if self.service_running(service)? => Some(status),
                Ok(Read::Fresh(_) | Read::Stale(_)) => None,
                Err(error) if error.kind == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            let Some(status) = status else {
                let since = *silent.get_or_insert_with(|| {
                    step(Followed::Silent);
                    Instant::now()
                });
                if since.elapsed() >= RESTART {
                    return Err(
                        Error::new(ErrorKind::NotFound, "the service no longer runs")
                            .hint("the request is kept; the service builds it when it runs again"),
                    );
                }
                pause(end).await?;
                continue;
            };
            silent = None;
            if follow.is_none()
                && let Some(answer) = asked.answer(&status)
            {
                if let (None, Some(why)) = (answer.request, &answer.refused) {
                    return Err(Error::usage(format!("the service refuses it: {why}")));
                }
                follow = answer.request.map(Follow::new);
                step(Followed::Answer(&answer));
            }
            for seen in follow.iter_mut().flat_map(|it| it.look(&status)) {
                match seen {
                    Step::Over(past) => return Ok(*past),
                    Step::Gone => {
                        let error = "the service no longer shows the request";
                        return Err(Error::new(ErrorKind::NotFound, error)
                            .hint("run `stx-builds history` for its outcome"));
                    }
                    seen => step(Followed::Step(&seen)),
                }
            }
            pause(end).await?;
        }
    }
}

/// Waits for the next look; fails if the end comes first.
async fn pause(end: Option<Instant>) -> Result<(), Error> {
    if end.is_some_and(|end| Instant::now() >= end) {
        return Err(
            Error::new(ErrorKind::Busy, "the request did not end in time")
                .hint("the build continues; run `stx-builds history` for its outcome"),
        );
    }
    tokio::time::sleep(LOOK).await;
    Ok(())
}

/// An event in the life of a followed request.
#[derive(Debug, Clone, Copy)]
pub enum Followed<'a> {
    /// The service has answered the message.
    Answer(&'a Answer),
    /// The request has made a step.
    Step(&'a Step),
    /// The service does not run at the moment.
    Silent,
}

/// A message that requests a build.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The name of the message.
    pub message: &'a str,
    /// Its text.
    pub ask: &'a Ask,
    /// The time at which it was left.
    pub at: DateTime<Utc>,
}

impl Asked<'_> {
    fn answer(&self, status: &Status) -> Option<Answer> {
        let mut answers = status.answers.iter();
        if let Some(answer) = answers.rfind(|it| it.message == self.message) {
            return Some(answer.clone());
        }
        let Ask::Build { git, reason, .. } = self.ask else {
            return None;
        };
        if status.started <= self.at {
            return None;
        }
        // The service that read it has been restarted meanwhile.
        let me = rustix::process::geteuid().as_raw();
        let request = status.asked_by(me, git, reason, self.at)?;
        Some(Answer {
            message: self.message.to_owned(),
            at: status.written,
            request: Some(request),
            joined: false,
            refused: None,
        })
    }
}
