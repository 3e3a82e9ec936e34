//! The build service on this machine: its configuration, spool, builds, hook and metrics around the loop of `stx-pipeline`.

mod board;
mod builder;
mod dashboard;
mod follow;
mod hook;
mod host;
mod lab;
mod request;
mod setup;
mod shown;
mod spool;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use sd_notify::NotifyState;
use stx_layout::counted;
use stx_service::GitUpstream;
use stx_service::ledger::{LedgerError, SqliteLedger};
use stx_service::{Control, Host, ServeError, serve};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use self::builder::SiteBuilder;
pub(crate) use self::builder::unfinished;
use self::host::LocalHost;
pub use self::request::{Requested, RequestedVerdict, WantedBuild};
pub use self::setup::{ReadOptions, Service};
pub use self::shown::{Asked, Followed};
pub(crate) use self::spool::{RUNNING, is_own_dir};
use crate::Site;
use crate::build::BuildArea;
use crate::error::{Error, ErrorKind, is_there, unusable};
use crate::files::{REMOTE_STATE, network_disk};

/// The service's own directory in the state directory; the name cannot be that of a channel.
pub(crate) const SERVICE_DIR: &str = ".service";

/// The name of the ledger, in the service's own directory.
pub(crate) const LEDGER: &str = "ledger.sqlite";

/// A ledger error, with the file of the ledger.
#[derive(Debug, thiserror::Error)]
#[error("{file}")]
pub(crate) struct Unopened {
    file: Utf8PathBuf,
    source: LedgerError,
}

/// The error about a ledger that cannot be opened, with its file and the next step.
fn unopened(file: &Utf8Path, error: LedgerError) -> Error {
    match &error {
        // They name the file and the next step.
        LedgerError::TooNew { .. } | LedgerError::TooOld { .. } => unreadable(error),
        LedgerError::Unavailable { .. }
        | LedgerError::Io { .. }
        | LedgerError::Refused { .. }
        | LedgerError::Damaged { .. } => {
            let is_damaged = is_damaged(&error);
            let kind = ledger_kind(&error);
            let file = file.to_owned();
            let error = Error::new(
                kind,
                Unopened {
                    file,
                    source: error,
                },
            );
            if is_damaged {
                error.hint(NO_LEDGER)
            } else {
                error
            }
        }
    }
}

/// True if no later attempt can succeed with the same file.
fn is_damaged(error: &LedgerError) -> bool {
    matches!(error, LedgerError::Io { .. } | LedgerError::Damaged { .. })
}

/// The next step for a damaged ledger.
const NO_LEDGER: &str = "put a backup in its place, or move it away with its -wal and -shm files: without a ledger the service \
     starts with a new one: it finds the published builds on the mirror, but waiting requests, waiting verdicts and the history are lost";

fn ledger_kind(error: &LedgerError) -> ErrorKind {
    match error {
        LedgerError::TooNew { .. } | LedgerError::TooOld { .. } => ErrorKind::Usage,
        // The disk is full or defective, or the file was changed.
        LedgerError::Unavailable { .. } | LedgerError::Io { .. } | LedgerError::Damaged { .. } => {
            ErrorKind::Mirror
        }
        LedgerError::Refused { .. } => ErrorKind::Bug,
    }
}

/// Checks that the files of a ledger, as far as they exist, can be written.
///
/// `SQLite` opens a file for reading if it cannot be written: the service would start, and end at its first change. The error of
/// `SQLite` does not name the cause either.
fn check_writable(ledger: &Utf8Path) -> Result<(), Error> {
    for suffix in ["", "-wal", "-shm"] {
        let file = Utf8PathBuf::from(format!("{ledger}{suffix}"));
        let opened = fs_err::OpenOptions::new().write(true).open(&file);
        match opened {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(setup::of_disk(&error).unwrap_or_else(|| unusable(&file, error)));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(())
}

/// A ledger error as the error of an operation.
pub fn unreadable(error: LedgerError) -> Error {
    let is_damaged = is_damaged(&error);
    let error = Error::new(ledger_kind(&error), error);
    if is_damaged {
        error.hint(NO_LEDGER)
    } else {
        error
    }
}

/// The service of a site. No other program serves the site at the same time.
pub struct Daemon {
    ledger: SqliteLedger,
    service: Service,
    area: BuildArea,
    machine: Arc<LocalHost>,
    sender: UnboundedSender<Control>,
    receiver: UnboundedReceiver<Control>,
    _lock: fs_err::File,
}

/// Asks a running service to reload or to stop.
#[derive(Clone)]
pub struct Handle {
    area: BuildArea,
    machine: Arc<LocalHost>,
    sender: UnboundedSender<Control>,
}

impl Handle {
    /// Reads the configuration again. An invalid one is logged, and the previous one is kept. Returns true if the service still runs.
    pub fn reload(&self) -> bool {
        match reload(&self.machine, &self.area) {
            Some(control) => self.sender.send(control).is_ok(),
            None => true,
        }
    }

    /// Asks the service to stop: the first call after the running builds have ended, the second call at once. Returns true if the
    /// service still runs.
    pub fn stop(&self) -> bool {
        self.sender.send(Control::Stop).is_ok()
    }
}

impl Site {
    /// The service's own directory in the state of the site; the name cannot be that of a channel.
    fn service_dir(&self) -> Result<Utf8PathBuf, Error> {
        Ok(setup::service_dir(&BuildArea::new(self)?))
    }

    /// The service's ledger, for reading.
    pub fn ledger(&self) -> Result<SqliteLedger, Error> {
        let file = self.service_dir()?.join(LEDGER);
        if !is_there(&file)? {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{file}: the service has no ledger yet"),
            )
            .hint("`stx-builds daemon` creates it when it starts"));
        }
        // SQLite does not distinguish a missing permission from a damaged file.
        fs_err::File::open(&file).map_err(|error| unusable(&file, error))?;
        SqliteLedger::read(&file).map_err(|error| unopened(&file, error))
    }

    /// Opens the service of the site. `read` supplies the options again at each reload.
    pub fn daemon(&self, service: Service, read: Arc<ReadOptions>) -> Result<Daemon, Error> {
        let area = BuildArea::new(self)?;
        let dir = setup::service_dir(&area);
        setup::private(&dir)?;
        let lock = setup::only_one(&dir)?;
        let file = dir.join(LEDGER);
        check_writable(&file)?;
        let ledger = SqliteLedger::open(&file).map_err(|error| unopened(&file, error))?;
        let machine = Arc::new(LocalHost::new(area.clone(), read, service.clone())?);
        let (sender, receiver) = unbounded_channel();
        Ok(Daemon {
            ledger,
            service,
            area,
            machine,
            sender,
            receiver,
            _lock: lock,
        })
    }
}

impl Daemon {
    /// A handle to reload or stop the service while it runs.
    pub fn handle(&self) -> Handle {
        Handle {
            area: self.area.clone(),
            machine: Arc::clone(&self.machine),
            sender: self.sender.clone(),
        }
    }

    /// Serves until it is stopped: starts builds by schedules, commits and requests, and prunes expired builds.
    pub async fn serve(self) -> Result<(), Error> {
        let Self {
            mut ledger,
            service,
            area,
            machine,
            sender,
            receiver,
            _lock,
        } = self;
        // Only the handles send.
        drop(sender);
        let dir = setup::service_dir(&area);
        tell(
            &area.site,
            &[NotifyState::Ready, NotifyState::Status("serving")],
        );
        area.site.log(&format!(
            "stx-builds {} serves {}, with {} and {}; requests are left in {}",
            env!("CARGO_PKG_VERSION"),
            area.mirror,
            counted_entries(service.setup.watches.len()),
            counted(service.setup.labs.len(), "lab"),
            service.spool(&area),
        ));
        if let Some(name) = network_disk(&area.state) {
            area.site.log(&format!(
                "warning: {} is on a network file system ({name}): {REMOTE_STATE}; name a `state` on a disk of this machine",
                area.state
            ));
        }
        let host: Arc<dyn Host> = Arc::<LocalHost>::clone(&machine);
        let builder = Arc::new(SiteBuilder::new(area.clone()));
        let upstream = Arc::new(GitUpstream::new(dir.join("upstream")));
        let served = serve(
            &mut ledger,
            service.setup,
            builder,
            upstream,
            host,
            receiver,
        )
        .await;
        tell(&area.site, &[NotifyState::Stopping]);
        machine.finish(Duration::from_secs(5)).await;
        served.map_err(|error| match error {
            ServeError::Ledger(error) => unopened(&dir.join(LEDGER), error),
            error @ ServeError::Unfinished { .. } => Error::new(ErrorKind::Bug, error),
        })
    }
}

/// A plural that `counted` cannot form.
fn counted_entries(count: usize) -> String {
    match count {
        1 => "1 entry".to_owned(),
        count => format!("{count} entries"),
    }
}

/// Notifies the service manager, if one exists.
fn tell(site: &Site, state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        site.log(&format!("cannot notify the service manager: {error}"));
    }
}

/// The configuration, read again; an invalid one is logged, and the previous one is kept.
fn reload(machine: &LocalHost, area: &BuildArea) -> Option<Control> {
    let mut state = vec![NotifyState::Reloading];
    state.extend(NotifyState::monotonic_usec_now().ok());
    tell(&area.site, &state);
    let loaded = Service::load(&*machine.read).and_then(|service| {
        let now = BuildArea::new(&area.site.with_options(service.options.clone()))?;
        if (&now.mirror, &now.state) == (&area.mirror, &area.state) {
            Ok(service)
        } else {
            Err(Error::usage("another `mirror` or `state` needs a restart"))
        }
    });
    let told = match loaded {
        Ok(service) => {
            let setup = service.setup.clone();
            machine.replace(service);
            Some(Control::Reload(Box::new(setup)))
        }
        Err(error) => {
            // One line per mistake; their text comes from the operator's own file.
            for line in error.line().lines() {
                area.site.log(&format!(
                    "invalid configuration, keeping the previous one: {line}"
                ));
            }
            None
        }
    };
    tell(&area.site, &[NotifyState::Ready]);
    told
}
