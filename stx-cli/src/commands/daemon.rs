//! `daemon`: the build service.

use chrono::Utc;
use serde::Serialize;
use stx_builds::daemon::{Handle, Service};
use stx_service::Setup;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Context;
use crate::args::Daemon;
use crate::exit::{Exit, Failure};
use crate::output;

/// One entry of the configuration, as `--check` shows it.
#[derive(Debug, Serialize)]
struct Checked {
    builds: String,
    of: String,
    schedule: Option<String>,
    next: Option<chrono::DateTime<Utc>>,
    poll_seconds: Option<u64>,
    /// The time limit of the test, in the entry of a lab.
    #[serde(skip_serializing_if = "Option::is_none")]
    test_seconds: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: &Daemon) -> Result<(), Failure> {
    let read = context.read_options();
    let service = Service::load(&*read)?;
    if args.check {
        // Keys and secrets may be readable by the service's user only, and are no mistakes of a file then.
        let mistakes = service.options.mistakes_of_builds(context.site.now);
        for mistake in mistakes {
            context.say(&format!("warning: no build could be published: {mistake}"));
        }
        return check(context, &service.setup);
    }
    // Before anything can be interrupted.
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

/// Makes commands of signals: SIGHUP reads the configuration again, SIGTERM and SIGINT stop, twice interrupt.
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

fn check(context: &Context, setup: &Setup) -> Result<(), Failure> {
    let rows = setup.watches.iter().map(|watch| Checked {
        builds: watch.key.clone(),
        of: watch.git.clone(),
        schedule: watch.schedule.as_ref().map(ToString::to_string),
        next: watch
            .schedule
            .as_ref()
            .and_then(|schedule| schedule.next(context.site.now)),
        poll_seconds: watch.poll.map(|poll| poll.as_secs()),
        test_seconds: None,
    });
    let labs = setup.labs.iter().map(|lab| Checked {
        builds: format!("lab {}", lab.name),
        of: lab.channel.to_string(),
        schedule: None,
        next: None,
        poll_seconds: None,
        test_seconds: Some(lab.timeout.as_secs()),
    });
    let rows: Vec<_> = rows.chain(labs).collect();
    output::print(context.format(), &rows, || {
        let lines = rows.iter().map(|row| {
            let schedule =
                row.schedule.as_ref().zip(row.next).map(|(cron, next)| {
                    format!("`{cron}`, next {}", next.format("%Y-%m-%d %H:%M:%S"))
                });
            let poll = row
                .poll_seconds
                .map(|seconds| format!("commits every {seconds} s"));
            let test = row
                .test_seconds
                .map(|seconds| format!("after each success, {seconds} s at most"));
            let when: Vec<_> = schedule.into_iter().chain(poll).chain(test).collect();
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
