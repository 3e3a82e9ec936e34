//! A build on a thread of its own.
//!
//! A build blocks while it reads and writes files, and must not delay the service. When its future is dropped here, the future on the
//! other thread is dropped, too, which ends all processes of the build.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use stx_layout::{BuildId, Channel};
use stx_pipeline::{Cancel, Event, EventKind};
use stx_service::{Progress, Tell};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::build::{BuildArea, BuildOrder, Built, OnInterrupt, Watch, build, resume, unfinished};
use crate::error::{Error, ErrorKind};

/// The work of one thread: a new build, or one to resume.
pub(super) enum Work {
    Build(BuildOrder),
    Resume(BuildId, OnInterrupt),
}

enum Message {
    Told(Progress),
    Done(Result<Built, Error>),
}

/// A thread; dropping this drops its work and waits for its end.
struct Thread {
    stop: Option<oneshot::Sender<()>>,
    handle: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(handle) = self.handle.take() {
            // A panicked thread sent no result, which the receiver noticed.
            handle.join().ok();
        }
    }
}

/// Builds, and reports progress.
pub(super) async fn run(
    area: &BuildArea,
    channel: &Channel,
    work: Work,
    tell: &Tell,
    cancel: &Cancel,
) -> Result<Built, Error> {
    let (sender, mut messages) = unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let (area, channel, cancel) = (area.clone(), channel.clone(), cancel.clone());
    let span = tracing::Span::current();
    let handle = std::thread::Builder::new()
        .name(channel.to_string())
        .spawn(move || {
            span.in_scope(|| thread(&area, &channel, &work, &cancel, &sender, stopped));
        })
        .map_err(|error| Error::new(ErrorKind::Bug, error))?;
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
    Err(Error::new(ErrorKind::Bug, "the build panicked"))
}

fn thread(
    area: &BuildArea,
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
        Err(error) => Some(Err(Error::new(ErrorKind::Bug, error))),
        Ok(runtime) => runtime.block_on(async {
            tokio::select! {
                biased;
                built = go(area, channel, work, cancel, sender) => Some(built),
                _ = stopped => None,
            }
        }),
    };
    if let Some(built) = built {
        // The receiver is gone if the service has just stopped.
        sender.send(Message::Done(built)).ok();
    }
}

async fn go(
    area: &BuildArea,
    channel: &Channel,
    work: &Work,
    cancel: &Cancel,
    sender: &UnboundedSender<Message>,
) -> Result<Built, Error> {
    let tell = |progress| drop(sender.send(Message::Told(progress)));
    let named = AtomicBool::new(false);
    let events = |event: &Event| {
        // The journal exists before the first phase starts.
        if !named.swap(true, Ordering::Relaxed)
            && let Ok(Some(journal)) = unfinished(area, channel)
        {
            tell(Progress::Named(journal.started.plan.id));
        }
        if !matches!(event.what, EventKind::Output { .. }) {
            tell(Progress::Phase(event.clone()));
        }
    };
    let watch = Watch {
        events: &events,
        note: &|text| area.site.log(text),
        cancel,
    };
    let built = match work {
        Work::Build(order) => build(area, order, watch).await,
        Work::Resume(id, how) => resume(area, channel, Some(id), *how, watch).await,
    };
    if let Ok(Built::Published { published, .. }) = &built {
        tell(Progress::Named(published.report.id.clone()));
    }
    built
}
