//! `daemon`: the build service.

use stx_builds::daemon::{Handle, Service};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Context, doctor};
use crate::args::Daemon;
use crate::exit::{Exit, Failure};

pub(crate) async fn run(context: &Context, args: &Daemon) -> Result<(), Failure> {
    if args.check {
        return doctor::run(context, args.offline).await;
    }
    let read = context.read_options();
    let service = Service::load(&*read)?;
    // Before anything that a signal could interrupt.
    let told = Signals::new()?;
    let site = context.site.with_options(service.options.clone());
    let daemon = site.daemon(service, read)?;
    let signals = tokio::spawn(signals(told, daemon.handle()));
    let served = daemon.serve().await;
    signals.abort();
    Ok(served?)
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

/// Translates signals: SIGHUP reloads the configuration; SIGTERM and SIGINT stop the service, and a second one interrupts the builds.
async fn signals(mut signals: Signals, service: Handle) {
    loop {
        let [term, int] = &mut signals.stop;
        let there = tokio::select! {
            _ = signals.reload.recv() => service.reload(),
            _ = term.recv() => service.stop(),
            _ = int.recv() => service.stop(),
        };
        if !there {
            return;
        }
    }
}
