//! `status --watch`: redraw every second on a terminal; print a line for each change elsewhere.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_builds::daemon::unreadable;
use stx_builds::log::LogEnd;
use stx_layout::{BuildId, printable_json};
use stx_service::ledger::{Ledger as _, Request};
use stx_service::status::{Past, PastBuilds, PhaseState, RunningBuild, newest_failures};

use super::{STOPPING, left, log_end, running_row, waiting_row};
use crate::args::Format;
use crate::commands::{Context, history, status_document};
use crate::exit::{Exit, Failure};
use crate::output::{self, Cell, Text, Tone};

/// The time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// The service and its requests at one moment.
#[derive(Default)]
struct Seen {
    stopping: bool,
    running: Vec<RunningBuild>,
    queue: Vec<Request>,
    ended: Vec<Past>,
    /// The ends of the logs of the newest failed builds.
    logs: BTreeMap<BuildId, LogEnd>,
}

/// A change, for scripts.
#[derive(Serialize)]
struct Change<'a> {
    at: DateTime<Utc>,
    request: u64,
    state: &'a str,
}

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let draws = output::can_draw() && context.format() == Format::Human;
    let mut before: Option<BTreeMap<u64, String>> = None;
    let mut was_stopping = false;
    let mut logs = BTreeMap::new();
    let mut context = context.clone();
    loop {
        context.site.now = now(&context);
        let mut seen = look(&context)?;
        // The note about the document would be repeated each second.
        context.global.quiet = true;
        let text = if draws {
            add_logs(&context, &mut seen, &mut logs).await;
            output::draw(&drawn(&context, &seen))
        } else {
            let states = states(&seen);
            let lines = changes(before.as_ref(), &states, &seen);
            let lines = lines
                .into_iter()
                .map(|(request, change)| line(&context, request, change));
            let mut text = lines.collect::<Result<String, _>>()?;
            // A change for scripts is one of a request.
            if seen.stopping && !was_stopping && context.format() == Format::Human {
                // Writing to a string cannot fail.
                writeln!(text, "{} {STOPPING}", written(context.site.now)).ok();
            }
            was_stopping = seen.stopping;
            before = Some(states);
            text
        };
        if !text.is_empty() && !output::pass(text.as_bytes())? {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A time to the second.
fn written(time: DateTime<Utc>) -> impl Display {
    time.format("%Y-%m-%d %H:%M:%S")
}

#[expect(clippy::disallowed_methods, reason = "time passes while it is shown")]
fn now(context: &Context) -> DateTime<Utc> {
    context.site.fixed.unwrap_or_else(Utc::now)
}

/// Reads the ledger, or if that cannot be read, the document of the service.
fn look(context: &Context) -> Result<Seen, Failure> {
    let ledger = match context.site.ledger() {
        Ok(ledger) => ledger,
        Err(error) => {
            let failure = Failure::from(error);
            let Some(status) = status_document(context, &failure) else {
                return Err(failure);
            };
            return Ok(Seen {
                stopping: status.stopping && !status.is_stale(context.site.now),
                logs: newest_failures(&status.history)
                    .filter_map(|past| shown_log(&status.mirror, past))
                    .collect(),
                running: status.running,
                queue: status.queue,
                ended: status.history,
            });
        }
    };
    let service = context.partial_service()?;
    let past = PastBuilds::new(&ledger, &service.setup).map_err(unreadable)?;
    let state = ledger.state();
    Ok(Seen {
        stopping: context.site.service_stopping(&service)?,
        running: context.site.running_builds(state, &past)?,
        queue: state.queue.values().cloned().collect(),
        ended: past.ended().to_vec(),
        logs: BTreeMap::new(),
    })
}

/// The end of a log from the document of the service.
fn shown_log(mirror: &str, past: &Past) -> Option<(BuildId, LogEnd)> {
    let build = past.build()?.clone();
    let failing = past.failing.as_ref().filter(|it| !it.log.is_empty())?;
    let end = LogEnd {
        phase: failing.phase.clone(),
        log: format!("{mirror}/{build}/outputs/logs/{}.log", failing.phase),
        lines: failing.log.clone(),
    };
    Some((build, end))
}

/// Adds the ends of the logs on the mirror. `known` are those that were read before: the log of an ended build does not change, and a
/// remote mirror should not be asked each second.
async fn add_logs(
    context: &Context,
    seen: &mut Seen,
    known: &mut BTreeMap<BuildId, Option<LogEnd>>,
) {
    for build in newest_failures(&seen.ended).filter_map(Past::build) {
        if seen.logs.contains_key(build) {
            continue;
        }
        if !known.contains_key(build) {
            // As in `status`: a missing log does not hide the rest.
            let end = context.site.failing_log(build).await.ok().flatten();
            known.insert(build.clone(), end);
        }
        if let Some(Some(end)) = known.get(build) {
            seen.logs.insert(build.clone(), end.clone());
        }
    }
}

fn drawn(context: &Context, seen: &Seen) -> Text {
    let running = seen.running.iter().map(|run| running_row(context, run));
    let rows: Vec<_> = running.chain(seen.queue.iter().map(waiting_row)).collect();
    let mut text = Text::from(format!("{}\n", written(context.site.now)));
    if seen.stopping {
        text.push(Cell::new(Tone::Doubtful, STOPPING));
        text.push("\n");
    }
    if rows.is_empty() {
        text.push("nothing runs or waits\n");
    }
    text.append(output::table(&rows));
    for past in newest_failures(&seen.ended) {
        let channel = &past.filed.request.target.channel;
        text.push(format!("\n{channel}: "));
        text.push(history::outcome(&past.filed));
        text.push("\n");
        if let Some(end) = past.build().and_then(|build| seen.logs.get(build)) {
            text.append(log_end(&end.phase, &end.log, &end.lines));
        }
    }
    text
}

/// The state of each request, in words that change only when the state does.
fn states(seen: &Seen) -> BTreeMap<u64, String> {
    let waiting = seen.queue.iter();
    let waiting = waiting.map(|request| (request.id, format!("{}: waits", request.target)));
    let running = seen.running.iter().map(|run| {
        let build = run.build.as_ref();
        let what = build.map_or_else(|| run.channel.to_string(), ToString::to_string);
        let runs = |state: PhaseState| state == PhaseState::Running;
        let names = run.phases.iter().filter(|phase| runs(phase.state));
        let names: Vec<_> = names.map(|phase| phase.name.as_str()).collect();
        let phases = if names.is_empty() {
            "runs".to_owned()
        } else {
            format!("runs phase {}", names.join(", "))
        };
        (run.request, format!("{what}: {phases}"))
    });
    waiting.chain(running).collect()
}

/// The requests whose state has changed, one line each; at first, all of them.
fn changes(
    before: Option<&BTreeMap<u64, String>>,
    now: &BTreeMap<u64, String>,
    seen: &Seen,
) -> Vec<(u64, Text)> {
    let mut lines = Vec::new();
    for past in seen.ended.iter().rev() {
        let request = past.filed.request.id;
        if before.is_some_and(|before| before.contains_key(&request)) && !now.contains_key(&request)
        {
            let channel = &past.filed.request.target.channel;
            let mut text = Text::from(format!("{channel}: "));
            text.push(history::outcome(&past.filed));
            lines.push((request, text));
        }
    }
    for (request, state) in now {
        if before.and_then(|before| before.get(request)) != Some(state) {
            let run = seen.running.iter().find(|run| run.request == *request);
            let left = run.map(|run| format!(", {}", left(&run.time_left(run_time(run)))));
            let text = format!("{state}{}", left.unwrap_or_default());
            lines.push((*request, text.into()));
        }
    }
    lines
}

/// The newest known time of a run.
fn run_time(run: &RunningBuild) -> DateTime<Utc> {
    let times = run.phases.iter().filter_map(|phase| phase.started);
    times.max().unwrap_or(run.started)
}

fn line(context: &Context, request: u64, change: Text) -> Result<String, Failure> {
    let at = context.site.now;
    Ok(match context.format() {
        Format::Human => {
            let mut text = Text::from(format!("{} request {request}: ", written(at)));
            text.append(change);
            output::painted(&text.on_one_line()) + "\n"
        }
        Format::Json => {
            let json = serde_json::to_string(&Change {
                at,
                request,
                state: &change.to_string(),
            });
            let json = json.map_err(|error| Failure::new(Exit::Bug, error))?;
            printable_json(&json).into_owned() + "\n"
        }
    })
}
