//! `daemon`: the build service.

mod builder;
mod hook;
mod host;
mod setup;
pub(crate) mod spool;

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use sd_notify::NotifyState;
use serde::Serialize;
use stx_pipeline::ledger::{LedgerError, SqliteLedger};
use stx_pipeline::process::GitUpstream;
use stx_pipeline::service::{Control, ServeError, Setup, serve};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use self::builder::SiteBuilder;
use self::host::Machine;
pub(crate) use self::setup::{Service, service_dir};
use super::Context;
use super::build::Site;
use crate::args::Daemon;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::users::{is_there, unusable};

/// One entry of the configuration, as `--check` shows it.
#[derive(Debug, Serialize)]
struct Checked {
    builds: String,
    of: String,
    schedule: Option<String>,
    next: Option<chrono::DateTime<Utc>>,
    poll_seconds: Option<u64>,
}

/// The ledger's refusal as a failure.
pub(crate) fn unreadable(error: LedgerError) -> Failure {
    let exit = match error {
        LedgerError::TooNew { .. } => Exit::Usage,
        // The disk is full or does not work.
        LedgerError::Unavailable { .. } | LedgerError::Io { .. } => Exit::Mirror,
        LedgerError::Refused { .. } | LedgerError::Damaged { .. } => Exit::Bug,
    };
    Failure::new(exit, error)
}

/// The ledger, to be read.
pub(crate) fn read_ledger(context: &Context) -> Result<SqliteLedger, Failure> {
    let file = service_dir(&Site::new(context)?).join("ledger.sqlite");
    if !is_there(&file)? {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{file}: the service has no ledger yet"),
        )
        .hint("`stx-builds daemon` makes it when it starts"));
    }
    // SQLite does not tell a missing right from a damaged file.
    fs_err::File::open(&file).map_err(|error| unusable(&file, error))?;
    SqliteLedger::read(&file).map_err(unreadable)
}

pub(crate) async fn run(context: &Context, args: &Daemon) -> Result<(), Failure> {
    let service = Service::load(&context.global)?;
    if args.check {
        // Keys and secrets may be readable by the service's user only, and are no mistakes of a file then.
        for mistake in service.config.mistakes_of_builds(context.now).lines() {
            context.say(&format!("warning: no build could be published: {mistake}"));
        }
        return check(context, &service.setup);
    }
    let site = Site::new(context)?;
    let dir = service_dir(&site);
    // Before anything can be interrupted.
    let told = Signals::new()?;
    setup::private(&dir)?;
    let _lock = setup::only_one(&dir)?;
    let mut ledger = SqliteLedger::open(&dir.join("ledger.sqlite")).map_err(unreadable)?;
    let setup = service.setup.clone();
    let global = context.global.clone();
    let machine = Arc::new(Machine::new(site.clone(), global, service)?);
    let (sender, receiver) = unbounded_channel();
    let signals = tokio::spawn(signals(told, sender, Arc::clone(&machine), site.clone()));
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
    let host: Arc<dyn stx_pipeline::service::Host> = Arc::<Machine>::clone(&machine);
    let builder = Arc::new(SiteBuilder::new(site));
    let upstream = Arc::new(GitUpstream::new(dir.join("upstream")));
    let served = serve(&mut ledger, setup, builder, upstream, host, receiver).await;
    signals.abort();
    tell(&[NotifyState::Stopping]);
    machine.finish(Duration::from_secs(5)).await;
    served.map_err(|error| match error {
        ServeError::Ledger(error) => unreadable(error),
        error @ ServeError::Unfinished { .. } => Failure::new(Exit::Bug, error),
    })
}

/// Tells the service manager, if there is one.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        output::log(&format!("the service manager cannot be told: {error}"));
    }
}

struct Signals {
    reload: Signal,
    stop: [Signal; 2],
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let of = |kind| signal(kind).map_err(|error| Failure::new(Exit::Bug, error));
        Ok(Self {
            reload: of(SignalKind::hangup())?,
            stop: [of(SignalKind::terminate())?, of(SignalKind::interrupt())?],
        })
    }
}

/// Makes commands of signals: SIGHUP reads the configuration again, SIGTERM and SIGINT stop, twice interrupt.
async fn signals(
    mut signals: Signals,
    control: UnboundedSender<Control>,
    machine: Arc<Machine>,
    site: Site,
) {
    loop {
        let [term, int] = &mut signals.stop;
        let told = tokio::select! {
            _ = signals.reload.recv() => reload(&machine, &site),
            _ = term.recv() => Some(Control::Stop),
            _ = int.recv() => Some(Control::Stop),
        };
        if told.is_some_and(|told| control.send(told).is_err()) {
            return;
        }
    }
}

/// The configuration, read again; a wrong one is said, and the old one holds.
fn reload(machine: &Machine, site: &Site) -> Option<Control> {
    let mut state = vec![NotifyState::Reloading];
    state.extend(NotifyState::monotonic_usec_now().ok());
    tell(&state);
    let loaded = Service::load(&machine.global).and_then(|service| {
        let now = Site::new(&service.context(&machine.global))?;
        if (&now.mirror, &now.state) == (&site.mirror, &site.state) {
            Ok(service)
        } else {
            Err(Failure::usage(
                "another `mirror` or `state` needs a restart",
            ))
        }
    });
    let told = match loaded {
        Ok(service) => {
            let setup = service.setup.clone();
            machine.replace(service);
            Some(Control::Reload(Box::new(setup)))
        }
        Err(failure) => {
            // A mistake a line; all of them are the operator's own text.
            for line in failure.line().lines() {
                output::log(&format!(
                    "invalid configuration, keeping the previous one: {line}"
                ));
            }
            None
        }
    };
    tell(&[NotifyState::Ready]);
    told
}

fn check(context: &Context, setup: &Setup) -> Result<(), Failure> {
    let rows: Vec<_> = setup
        .watches
        .iter()
        .map(|watch| Checked {
            builds: watch.key.clone(),
            of: watch.git.clone(),
            schedule: watch.schedule.as_ref().map(ToString::to_string),
            next: watch
                .schedule
                .as_ref()
                .and_then(|schedule| schedule.next(context.now)),
            poll_seconds: watch.poll.map(|poll| poll.as_secs()),
        })
        .collect();
    output::print(context.format(), &rows, || {
        let lines = rows.iter().map(|row| {
            let schedule =
                row.schedule.as_ref().zip(row.next).map(|(cron, next)| {
                    format!("`{cron}`, next {}", next.format("%Y-%m-%d %H:%M:%S"))
                });
            let poll = row
                .poll_seconds
                .map(|seconds| format!("commits every {seconds} s"));
            let when: Vec<_> = schedule.into_iter().chain(poll).collect();
            let when = if when.is_empty() {
                "on demand".to_owned()
            } else {
                when.join("; ")
            };
            vec![row.builds.clone(), row.of.clone(), when]
        });
        output::columns(&lines.collect::<Vec<_>>())
    })
}
