//! Requests from users: messages in the spool of the service.

use std::io;

use chrono::{DateTime, Utc};
use stx_layout::{BuildId, BuildOutcome, Channel, GitMapping, ReleaseId, redact_urls};
use stx_publish::StoreError;
use stx_service::GitUpstream;
use stx_service::status::{Read, Status};
use stx_service::trigger::Watch;
use stx_service::{Ask, AskError, EntryError, Setup, Upstream as _, unnamed};

use super::setup::{Service, is_locked, service_dir};
use super::spool;
use crate::build::BuildArea;
use crate::build_ref::{self, BuildRef};
use crate::error::{Error, ErrorKind, is_there};
use crate::site::clock;
use crate::verdicts::NewVerdict;
use crate::{Site, refused};

/// A verdict that was left for the service.
#[derive(Debug, Clone)]
pub struct RequestedVerdict {
    /// The build, with its date.
    pub build: BuildId,
    /// The message.
    pub request: Requested,
}

/// A request for the service.
#[derive(Debug, Clone)]
pub struct Requested {
    /// The name of the message.
    pub message: String,
    /// The time at which it was left.
    pub at: DateTime<Utc>,
    /// True if a service runs, which reads the message soon.
    pub service_running: bool,
}

/// A build that a user wants from the service.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WantedBuild {
    /// A branch as git names it, a release identifier as the mirror names it, or the channel of an entry of the configuration.
    pub branch: String,
    /// The git branch or tag, if `branch` is a release identifier.
    pub tag: Option<String>,
    /// The reason, as a text for people.
    pub reason: Option<String>,
    /// True to build even if nothing changed since the last success.
    pub force: bool,
    /// True if the channel may be one that no entry of the configuration names.
    pub new_channel: bool,
}

impl WantedBuild {
    /// A build of a branch, without a reason.
    pub fn new(branch: impl Into<String>) -> Self {
        Self {
            branch: branch.into(),
            tag: None,
            reason: None,
            force: false,
            new_channel: false,
        }
    }

    /// The message for this request, resolved by the branches that the service watches.
    pub fn ask(&self, setup: &Setup) -> Result<Ask, Error> {
        let Self { branch, tag, .. } = self;
        let entry = branch.parse().ok();
        let entry = entry.and_then(|channel: Channel| setup.entry_of(&channel));
        // If a branch has the name of a channel, the branch takes precedence.
        let entry = entry.filter(|_| setup.watches.iter().all(|watch| watch.git != *branch));
        let ask = |release, git, channel| Ask::Build {
            release,
            git,
            reason: redact_urls(self.reason.as_deref().unwrap_or_default()).into_owned(),
            force: self.force,
            new_channel: self.new_channel,
            channel,
        };
        if let Some(Watch { channel, git, .. }) = entry {
            if let Some(tag) = tag.as_ref().filter(|tag| *tag != git) {
                let error = format!("{channel} is built of {git}, not of {tag}");
                return Err(Error::usage(error).hint("leave out --tag"));
            }
            let release = channel.release.clone();
            return Ok(ask(release, git.clone(), Some(channel.clone())));
        }
        let (release, git) = match (branch.parse::<ReleaseId>(), ReleaseId::from_git(branch)) {
            (Ok(release), _) => {
                let git = tag.clone();
                let git = git.or_else(|| release.to_git(GitMapping::Candidate));
                let git = git.ok_or_else(|| {
                    Error::usage(format!("{release}: no branch or tag is known for it"))
                        .hint("name it by --tag")
                })?;
                (release, git)
            }
            (Err(_), Ok(release)) => (release, tag.clone().unwrap_or_else(|| branch.clone())),
            (Err(_), Err(error)) => return Err(Error::usage(error)),
        };
        Ok(ask(release, git, None))
    }
}

impl Site {
    /// True if the service of the site runs.
    pub fn service_running(&self, service: &Service) -> Result<bool, Error> {
        let area = BuildArea::new(self)?;
        let dir = service.spool(&area);
        // If the spool is lost, its lock does not show that the service runs.
        Ok(spool::is_alive(&dir) || !is_there(&dir)? && is_locked(&service_dir(&area)))
    }

    /// True if the running service is stopping: it starts no more builds.
    pub fn service_stopping(&self, service: &Service) -> Result<bool, Error> {
        let status = self.running_status(service)?;
        Ok(status.is_some_and(|status| status.stopping))
    }

    /// The status document of the running service; `None` if no service runs, or if the document is missing or out of date.
    pub(crate) fn running_status(&self, service: &Service) -> Result<Option<Box<Status>>, Error> {
        if !self.service_running(service)? {
            return Ok(None);
        }
        Ok(match self.service_status(service) {
            Ok(Read::Fresh(status)) => Some(status),
            Ok(Read::Stale(_)) | Err(_) => None,
        })
    }

    /// Leaves a verdict on a build for the service. Its author is the user who runs the program. If the mirror can be read, a
    /// missing or failed build is refused at once.
    pub async fn request_verdict(
        &self,
        service: &Service,
        wanted: &NewVerdict,
    ) -> Result<RequestedVerdict, Error> {
        let build = self.tested(&wanted.build).await?;
        let reason = wanted.reason.as_deref();
        let ask = Ask::Mark {
            build: build.clone(),
            verdict: wanted.verdict,
            reason: reason.map(|it| redact_urls(it).into_owned()),
            url: wanted.url.clone(),
        };
        let request = self.request(service, &ask).await?;
        Ok(RequestedVerdict { build, request })
    }

    /// The build that a verdict is about.
    async fn tested(&self, text: &str) -> Result<BuildId, Error> {
        let reader = match self.reader() {
            Ok(reader) => reader,
            // A user who may ask the service may be unable to read its mirror.
            Err(failure) => match text.parse()? {
                BuildRef::Build(build) => {
                    self.note(&format!(
                        "note: the service will check that {build} exists: {}",
                        failure.line()
                    ));
                    return Ok(build);
                }
                BuildRef::Alias(..) | BuildRef::Prefix(..) | BuildRef::Newest(_) => {
                    return Err(failure);
                }
            },
        };
        let build = build_ref::resolve(reader.store(), text).await?;
        match reader.store().record(&build).await {
            Ok(record) if record.result == BuildOutcome::Fail => Err(Error::new(
                ErrorKind::Mirror,
                format!("{build}: it is a failed build; only a success can be tested"),
            )),
            Ok(_) => Ok(build),
            Err(error @ StoreError::NotFound { .. }) => {
                Err(refused(error).hint("run `stx-builds list` to list the existing builds"))
            }
            Err(error) => {
                self.note(&format!(
                    "note: the service will check that {build} exists: {error}"
                ));
                Ok(build)
            }
        }
    }

    /// Leaves a request for the service: to build, or to cancel a build. A branch that does not exist is refused at once.
    pub async fn request(&self, service: &Service, ask: &Ask) -> Result<Requested, Error> {
        let dir = service.spool(&BuildArea::new(self)?);
        ask.check().map_err(|error| {
            let failure = Error::usage(error.clone());
            match error {
                AskError::LongReason { .. } => failure
                    .hint("shorten the reason to one line; it can refer to a document with more"),
                _ => failure,
            }
        })?;
        if !is_there(&dir)? {
            return Err(
                Error::usage(format!("{dir}: the directory for requests does not exist"))
                    .hint("the service creates it when it starts: start it, or restart it if the directory was moved or removed while it runs"),
            );
        }
        if let Ask::Build {
            release,
            git,
            new_channel,
            channel,
            ..
        } = ask
        {
            let wanted = (release, &**git, channel.as_ref());
            look(self, service, wanted, *new_channel).await?;
        }
        let at = clock();
        let message = spool::leave(&dir, ask, self.now).map_err(|error| {
            let failure = Error::usage(format!("{dir}: {error}"));
            match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    failure.hint("only members of the build group may leave requests")
                }
                _ => failure,
            }
        })?;
        Ok(Requested {
            message,
            at,
            service_running: spool::is_alive(&dir),
        })
    }
}

/// Finds a typo at once. The service checks again, since it need not see the same repositories as the caller.
async fn look(
    site: &Site,
    service: &Service,
    (release, git, channel): (&ReleaseId, &str, Option<&Channel>),
    new_channel: bool,
) -> Result<(), Error> {
    let setup = &service.setup;
    match setup.entry(release, git, channel) {
        Ok(Some(_)) => return Ok(()),
        Ok(None) | Err(_) if service.is_partial => {
            site.note(&format!(
                "note: the service will check that {git} exists: not every entry of the configuration can be read here"
            ));
            return Ok(());
        }
        Ok(None) => {}
        Err(error) => {
            let failure = Error::usage(error.clone());
            return Err(match error {
                EntryError::Several { channels, .. } => match channels.first() {
                    Some(first) => {
                        let hint = format!("name the channel, as in `stx-builds trigger {first}`");
                        failure.hint(hint)
                    }
                    None => failure,
                },
                _ => failure,
            });
        }
    }
    let target = service.target(release, git).map_err(Error::usage)?;
    if !new_channel && !setup.names(&target) {
        return Err(Error::usage(unnamed(&target)).hint(named(setup)));
    }
    for upstream in setup.upstreams(&target) {
        // Nothing is fetched, so the working directory does not matter.
        match GitUpstream::new("/".into()).has(&upstream, git).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(why) => {
                site.note(&format!(
                    "note: the service will check that {git} exists: {why}"
                ));
                return Ok(());
            }
        }
    }
    if setup.upstreams(&target).is_empty() {
        return Ok(());
    }
    let error = format!("there is no branch or tag {git} upstream");
    Err(Error::new(ErrorKind::NotFound, error).hint(named(setup)))
}

/// A hint that names the branches and tags of the configuration.
fn named(setup: &Setup) -> String {
    let mut names: Vec<_> = setup
        .watches
        .iter()
        .map(|watch| watch.git.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    format!("the configuration names {}", names.join(", "))
}
