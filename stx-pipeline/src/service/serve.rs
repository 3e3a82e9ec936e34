//! The loop.

mod asked;
mod health;
mod intake;
mod recover;
mod runs;

use std::collections::BTreeMap;
use std::sync::Arc;

use stx_layout::counted;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::asked::Asked;
use super::health::Blind;
use super::{Builder, Facts, Host, Left, OnStop, Progress, Setup, Upstream};
use crate::execute::Cancel;
use crate::ledger::{Change, Ledger, LedgerError, State};
use crate::trigger::Observation;

/// What the service is told to do.
#[derive(Debug)]
pub enum Control {
    /// Go by this from now on.
    Reload(Box<Setup>),
    /// Stop, as [`OnStop`] says; a second one interrupts what still runs.
    Stop,
}

/// The service cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// What cannot be recorded cannot be promised.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It is not known which builds were cut off.
    #[error("unfinished builds cannot be found: {reason}")]
    Unfinished {
        /// Why.
        reason: String,
    },
}

/// What came in.
enum Event {
    Observed {
        key: String,
        seen: Result<Observation, String>,
    },
    Asked {
        id: String,
        found: Result<bool, String>,
    },
    Told {
        run: u64,
        progress: Progress,
    },
    Over {
        run: u64,
        left: Left,
    },
    Surveyed(Facts),
    Pruned(Result<String, String>),
}

/// How often a watch is looked at.
struct Look {
    next: Instant,
    task: Option<JoinHandle<()>>,
}

struct Service<'l> {
    ledger: &'l mut dyn Ledger,
    setup: Setup,
    builder: Arc<dyn Builder>,
    upstream: Arc<dyn Upstream>,
    host: Arc<dyn Host>,
    sender: mpsc::UnboundedSender<Event>,
    builds: BTreeMap<u64, (Cancel, JoinHandle<()>)>,
    looks: BTreeMap<String, Look>,
    asked: Asked,
    blind: Blind,
    held: BTreeMap<u64, Instant>,
    facts: Facts,
    next_survey: Instant,
    surveying: bool,
    pruning: bool,
    stopping: Option<OnStop>,
}

/// Serves until it is told to stop, or cannot go on. What was cut off before goes on first.
///
/// # Errors
/// See [`ServeError`]. Whatever is running then is ended as by a crash; the next call goes on with it.
pub async fn serve(
    ledger: &mut dyn Ledger,
    setup: Setup,
    builder: Arc<dyn Builder>,
    upstream: Arc<dyn Upstream>,
    host: Arc<dyn Host>,
    mut control: mpsc::UnboundedReceiver<Control>,
) -> Result<(), ServeError> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut service = Service {
        ledger,
        setup,
        builder,
        upstream,
        host,
        sender,
        builds: BTreeMap::new(),
        looks: BTreeMap::new(),
        asked: Asked::default(),
        blind: Blind::new(),
        held: BTreeMap::new(),
        facts: Facts::default(),
        next_survey: Instant::now(),
        surveying: false,
        pruning: false,
        stopping: None,
    };
    service.recover().await?;
    loop {
        service.step()?;
        if service.stopping.is_some() && service.builds.is_empty() {
            return Ok(());
        }
        let sleep = service.until();
        tokio::select! {
            biased;
            told = control.recv() => service.control(told.unwrap_or(Control::Stop)).await,
            Some(event) = events.recv() => service.handle(event)?,
            () = tokio::time::sleep_until(sleep) => {}
        }
        while let Ok(event) = events.try_recv() {
            service.handle(event)?;
        }
    }
}

impl Drop for Service<'_> {
    /// What runs ends with the service, whatever ended it.
    fn drop(&mut self) {
        for (_, task) in self.builds.values() {
            task.abort();
        }
        for look in self.looks.values() {
            look.task.iter().for_each(JoinHandle::abort);
        }
        self.asked.abort();
    }
}

impl Service<'_> {
    fn state(&self) -> &State {
        self.ledger.state()
    }

    fn record(&mut self, changes: &[Change]) -> Result<(), LedgerError> {
        self.ledger.record(changes)
    }

    /// Acts upon everything that is due.
    fn step(&mut self) -> Result<(), ServeError> {
        self.read_messages()?;
        if self.stopping.is_none() {
            self.read_clock()?;
            self.look();
            self.start_builds()?;
        }
        self.survey();
        self.check_health()?;
        self.host.pulse(self.ledger.state(), &self.facts);
        Ok(())
    }

    /// When something may be due again.
    fn until(&self) -> Instant {
        let tick = Instant::now() + self.setup.settings.tick;
        if self.stopping.is_some() {
            return tick;
        }
        let looks = self.looks.values().filter(|look| look.task.is_none());
        let held = self.held.values().copied();
        looks
            .map(|look| look.next)
            .chain(held)
            .fold(tick, Instant::min)
    }

    fn handle(&mut self, event: Event) -> Result<(), ServeError> {
        match event {
            Event::Observed { key, seen } => self.observed(&key, seen),
            Event::Asked { id, found } => {
                self.asked.answered(id, found);
                Ok(())
            }
            Event::Told { run, progress } => self.told(run, progress),
            Event::Over { run, left } => self.over(run, left),
            Event::Surveyed(facts) => {
                for unknown in &facts.unknown {
                    if !self.facts.unknown.contains(unknown) {
                        self.host.say(unknown);
                    }
                }
                self.surveying = false;
                self.facts = facts;
                Ok(())
            }
            Event::Pruned(pruned) => {
                self.pruning = false;
                match pruned {
                    Ok(text) => self.host.say(&text),
                    Err(why) => self.host.say(&format!("retention was not applied: {why}")),
                }
                Ok(())
            }
        }
    }

    async fn control(&mut self, control: Control) {
        match control {
            Control::Reload(setup) => {
                self.setup = *setup;
                let watches = &self.setup.watches;
                let polled = |key: &String| {
                    watches
                        .iter()
                        .any(|watch| watch.key == *key && watch.poll.is_some())
                };
                self.looks
                    .retain(|key, look| polled(key) || look.task.is_some());
                self.blind.retain(|key, _| polled(key));
                // A watch may be looked at elsewhere, or more often, now.
                for look in self.looks.values_mut() {
                    look.next = Instant::now();
                }
                self.host.say("the new configuration holds");
            }
            Control::Stop => {
                let first = self.stopping.is_none();
                let how = if first {
                    self.setup.settings.on_stop
                } else {
                    OnStop::Interrupt
                };
                self.stopping = Some(how);
                match how {
                    OnStop::Finish => {
                        let builds = counted(self.builds.len(), "build");
                        self.host.say(&format!("stopping after {builds}"));
                    }
                    OnStop::Interrupt => {
                        for (run, (_, task)) in std::mem::take(&mut self.builds) {
                            self.host.say(&format!(
                                "run {run}: interrupted, goes on at the next start"
                            ));
                            task.abort();
                            // It ends by being aborted, or ended before.
                            drop(task.await);
                        }
                    }
                }
            }
        }
    }
}
