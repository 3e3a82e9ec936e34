//! `status`: show the queue, running builds, latest results and alarms.

mod shown;
mod watch;

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use stx_builds::layers::LayerState;
use stx_builds::report::ServiceReport;
use stx_layout::printable;
use stx_service::ledger::{Alarm, Last, Request, RunEnd, VerdictOrigin, VerdictRequest};
use stx_service::status::{PhaseNow, PhaseState, RunningBuild, TimeLeft};

use super::Context;
use crate::args;
use crate::exit::Failure;
use crate::output::{self, Cell, Text, Tone};

/// The state of a service that is stopping.
const STOPPING: &str = "the service is stopping and starts no more builds";

pub(crate) async fn run(context: &Context, args: &args::Status) -> Result<(), Failure> {
    if args.watch {
        return watch::run(context).await;
    }
    let ledger = match context.site.ledger() {
        Ok(ledger) => ledger,
        Err(error) => return shown::run(context, error.into()),
    };
    let service = context.readable_service()?;
    let status = context.site.service_report(&service, &ledger).await?;
    let spool = context.site.spool(&service)?;
    if status.service_running && !spool.exists() {
        context.say(&format!(
            "warning: {spool}: the directory for requests was moved or removed while the service runs, so no request reaches it; \
             move it back, or restart the service"
        ));
    }
    output::print(context.format(), &status, || human(context, &status))
}

/// The last lines of a log.
fn log_end(phase: &str, log: &str, lines: &[String]) -> Text {
    let mut text = Text::from(format!("\nthe end of the log of phase {phase}, {log}:\n"));
    for line in lines {
        text.push(format!("  {line}\n"));
    }
    text
}

/// The row of a running build.
fn running_row(context: &Context, run: &RunningBuild) -> Vec<Cell> {
    let build = run.build.as_ref();
    let what = build.map_or_else(
        || format!("{} of {}", run.channel, run.git),
        ToString::to_string,
    );
    let since = output::since(context.site.now, run.started);
    let left = left(&run.time_left(context.site.now));
    let how = format!("{}{since}, {left}", phases(run));
    vec!["runs".into(), what.into(), how.into()]
}

/// The running phases, and the number of phases.
fn phases(run: &RunningBuild) -> String {
    let runs = |phase: &&PhaseNow| phase.state == PhaseState::Running;
    let names = run.phases.iter().filter(runs);
    let names: Vec<_> = names.map(|phase| phase.name.as_str()).collect();
    if names.is_empty() {
        return String::new();
    }
    let begun = |phase: &&PhaseNow| phase.state != PhaseState::Waiting;
    let begun = run.phases.iter().filter(begun).count();
    format!(
        "phase {} ({begun} of {}), ",
        names.join(", "),
        run.phases.len()
    )
}

/// The time left, in words.
fn left(left: &TimeLeft) -> String {
    let minutes = (left.seconds + 59) / 60;
    let time = match (left.seconds, minutes / 60) {
        (seconds @ 0..60, _) => format!("{seconds} s"),
        (_, 0) => format!("{minutes} min"),
        (_, hours) => format!("{hours} h {} min", minutes % 60),
    };
    match (left.seconds, left.unknown.as_slice()) {
        (0, []) => "longer than usual".to_owned(),
        (_, []) => format!("about {time} left"),
        (0, unknown) => format!(
            "time left unknown: {} never succeeded before",
            unknown.join(", ")
        ),
        (_, unknown) => format!(
            "at least {time} left; {} never succeeded before",
            unknown.join(", ")
        ),
    }
}

/// The row of a waiting request.
fn waiting_row(request: &Request) -> Vec<Cell> {
    let reasons = request.reasons.iter();
    let reasons: Vec<_> = reasons.map(|reason| reason.cause.to_string()).collect();
    let what = format!("{} (request {})", request.target, request.id);
    let mut how = reasons.join("; ");
    if let Some(unpublished) = &request.unpublished {
        let next = unpublished.next.format("%Y-%m-%dT%H:%M:%SZ");
        write!(how, "; {} is published again at {next}", unpublished.build).ok();
    }
    vec!["waits".into(), what.into(), how.into()]
}

/// The row of an alarm.
fn alarm_row(alarm: &Alarm, words: &str, since: &str) -> Vec<Cell> {
    vec![
        Cell::new(Tone::Bad, "alarm"),
        format!("{} {}", alarm.kind.as_str(), alarm.subject).into(),
        format!("{words} ({since})").into(),
    ]
}

fn human(context: &Context, status: &ServiceReport) -> Text {
    let state = &status.state;
    let ago = |then| output::ago(context.site.now, then);
    let since = |then| output::since(context.site.now, then);
    let mut text = Text::default();
    text.push(if status.service_stopping {
        Cell::new(Tone::Doubtful, STOPPING)
    } else if status.service_running {
        Cell::new(Tone::Good, "the service runs")
    } else {
        Cell::new(Tone::Doubtful, "no service runs")
    });
    text.push("\n");
    let running = status.running.iter().map(|run| running_row(context, run));
    let mut rows: Vec<_> = running.collect();
    rows.extend(state.queue.values().map(waiting_row));
    for request in state.verdicts.values() {
        rows.push(match (&request.entry, &request.origin) {
            (Some(entry), _) => vec![
                "waits".into(),
                format!(
                    "verdict {} on {} ({})",
                    entry.verdict, request.build, request.id
                )
                .into(),
                format!("by {}", printable(&entry.author)).into(),
            ],
            (None, VerdictOrigin::Lab { lab }) => test(request, lab, &since),
            (None, VerdictOrigin::Asked { .. }) => continue,
        });
    }
    for (channel, last) in &state.last {
        let tone = last.result.map(Tone::from).unwrap_or_default();
        rows.push(vec![
            "last".into(),
            channel.to_string().into(),
            Cell::new(tone, last_words(last, &ago)),
        ]);
    }
    for layer in &status.layers {
        let (tone, stands) = match layer.state {
            LayerState::Runs => (Tone::Plain, "runs"),
            LayerState::Waits => (Tone::Plain, "waits"),
            LayerState::UpToDate => (Tone::Good, "up to date"),
            LayerState::Behind => (Tone::Doubtful, "behind"),
            LayerState::NothingBelow => (Tone::Doubtful, "no success below"),
        };
        let after = layer.after.as_ref();
        let after = after.map_or_else(String::new, |after| format!(", after {after}"));
        let upon = layer.upon.as_ref();
        let upon = upon.map_or_else(String::new, |upon| format!(", built upon {}", upon.date));
        rows.push(vec![
            "layer".into(),
            layer.channel.to_string().into(),
            Cell::new(tone, format!("{stands}{after}{upon}")),
        ]);
    }
    for (alarm, (start, words)) in &state.alarms {
        rows.push(alarm_row(alarm, words, &since(*start)));
    }
    text.append(output::table(&rows));
    for end in &status.failing {
        text.append(log_end(&end.phase, &end.log, &end.lines));
    }
    text
}

/// The newest result of a channel, or the end of its last run if it has none, and the time of its last success.
fn last_words(last: &Last, ago: &dyn Fn(DateTime<Utc>) -> String) -> String {
    let good = last.good.map_or_else(
        || "never good".to_owned(),
        |good| format!("good {}", ago(good)),
    );
    let end = last.end.as_ref().map(|end| &end.how);
    let end = match (last.result, end) {
        (Some(result), _) => result.to_string(),
        (None, Some(RunEnd::Cancelled)) => "cancelled".to_owned(),
        (None, Some(RunEnd::Refused { .. })) => "not published".to_owned(),
        (None, Some(RunEnd::Unchanged { .. })) => "unchanged".to_owned(),
        (None, Some(RunEnd::Published { .. } | RunEnd::Requeued { .. }) | None) => {
            "no result".to_owned()
        }
    };
    match &last.build {
        Some(build) if last.result.is_some() => format!("{} {end}, {good}", build.date),
        Some(_) | None => format!("{end}, {good}"),
    }
}

/// The row of a test by a lab.
fn test(request: &VerdictRequest, lab: &str, since: &dyn Fn(DateTime<Utc>) -> String) -> Vec<Cell> {
    let what = format!(
        "test of {} by {lab} (request {})",
        request.build, request.id
    );
    let (how, since) = match request.started {
        Some(started) => ("runs", since(started)),
        None => ("waits", since(request.at)),
    };
    vec![how.into(), what.into(), since.into()]
}
