//! A build on a thread of its own.
//!
//! What a build does to files blocks, and must not hold up the service. When its future is dropped here, the one over
//! there is dropped, too, which ends all that it runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use stx_layout::{BuildId, Channel};
use stx_pipeline::service::{Progress, Tell};
use stx_pipeline::{Cancel, Event, EventKind};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::commands::build::{
    BuildOrder, Built, OnInterrupt, Site, Watch, build, resume, unfinished,
};
use crate::exit::{Exit, Failure};
use crate::output::log;

/// What a thread does.
pub(super) enum Work {
    Build(BuildOrder),
    Resume(BuildId, OnInterrupt),
}

enum Message {
    Told(Progress),
    Done(Result<Built, Failure>),
}

/// A thread whose work is dropped with this, and waited for.
struct Thread {
    stop: Option<oneshot::Sender<()>>,
    handle: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(handle) = self.handle.take() {
            // One that panicked sent nothing, and that was noticed.
            drop(handle.join());
        }
    }
}

/// Builds, and tells on the way.
pub(super) async fn run(
    site: &Site,
    channel: &Channel,
    work: Work,
    tell: &Tell,
    cancel: &Cancel,
) -> Result<Built, Failure> {
    let (sender, mut messages) = unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let (site, channel, cancel) = (site.clone(), channel.clone(), cancel.clone());
    let handle = std::thread::Builder::new()
        .name(channel.to_string())
        .spawn(move || thread(&site, &channel, &work, &cancel, &sender, stopped))
        .map_err(|error| Failure::new(Exit::Bug, error))?;
    let _thread = Thread {
        stop: Some(stop),
        handle: Some(handle),
    };
    while let Some(message) = messages.recv().await {
        match message {
            Message::Told(progress) => tell(progress),
            Message::Done(built) => return built,
        }
    }
    Err(Failure::new(Exit::Bug, "the build panicked"))
}

fn thread(
    site: &Site,
    channel: &Channel,
    work: &Work,
    cancel: &Cancel,
    sender: &UnboundedSender<Message>,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let built = match runtime {
        Err(error) => Some(Err(Failure::new(Exit::Bug, error))),
        Ok(runtime) => runtime.block_on(async {
            tokio::select! {
                biased;
                built = go(site, channel, work, cancel, sender) => Some(built),
                _ = stopped => None,
            }
        }),
    };
    if let Some(built) = built {
        // Nobody listens any more if the service stopped just now.
        drop(sender.send(Message::Done(built)));
    }
}

async fn go(
    site: &Site,
    channel: &Channel,
    work: &Work,
    cancel: &Cancel,
    sender: &UnboundedSender<Message>,
) -> Result<Built, Failure> {
    let tell = |progress| drop(sender.send(Message::Told(progress)));
    let named = AtomicBool::new(false);
    let events = |event: &Event| {
        // The journal is there before the first phase starts.
        if !named.swap(true, Ordering::Relaxed)
            && let Ok(Some(journal)) = unfinished(site, channel)
        {
            tell(Progress::Named(journal.started.plan.id));
        }
        if !matches!(event.what, EventKind::Output { .. }) {
            tell(Progress::Phase(event.clone()));
        }
    };
    let watch = Watch {
        events: &events,
        say: &log,
        cancel,
    };
    let built = match work {
        Work::Build(order) => build(site, order, watch).await,
        Work::Resume(id, how) => resume(site, channel, Some(id), *how, watch).await,
    };
    if let Ok(Built::Published { published, .. }) = &built {
        tell(Progress::Named(published.report.id.clone()));
    }
    built
}
