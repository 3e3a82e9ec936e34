//! `trigger --wait`: follow a request to the end of its build.

use std::time::Duration;

use stx_builds::daemon::{Asked, Followed, Service};
use stx_layout::{counted, printable};
use stx_service::status::{Outcome, Past, PhaseNow, PhaseState, Step};

use super::super::history;
use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::{self, Text};

/// The number of last lines to print of the log of a failed phase.
const LINES: usize = 10;

pub(super) async fn run(
    context: &Context,
    service: &Service,
    asked: &Asked<'_>,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    let mut tell = |step: Followed<'_>| {
        if let Some(text) = said(step) {
            context.say(&text);
        }
    };
    let past = context
        .site
        .follow(service, asked, limit, &mut tell)
        .await?;
    let number = past.filed.request.id;
    let how = history::outcome(&past.filed);
    output::print(context.format(), &past, || {
        let mut text = Text::from(format!("request {number}: "));
        text.push(how.clone());
        text
    })?;
    match past.outcome() {
        Outcome::Success => Ok(()),
        Outcome::Failed | Outcome::NotPublished | Outcome::Cancelled => {
            tell_log(context, &past);
            Err(Failure::new(
                Exit::BuildFailed,
                format!("request {number}: {how}"),
            ))
        }
        Outcome::Skipped => Err(Failure::usage(format!("request {number}: {how}"))),
    }
}

/// Prints the last lines of the log of the failed phase.
fn tell_log(context: &Context, past: &Past) {
    let Some(failing) = past.failing.as_ref().filter(|it| !it.log.is_empty()) else {
        return;
    };
    context.say(&format!("the log of phase {} ends with:", failing.phase));
    let start = failing.log.len().saturating_sub(LINES);
    for line in &failing.log[start..] {
        context.say(&format!("  {line}"));
    }
}

fn said(step: Followed<'_>) -> Option<String> {
    Some(match step {
        Followed::Silent => "the service does not run; waiting for its restart".to_owned(),
        Followed::Answer(answer) => {
            let number = answer.request?;
            if answer.joined {
                format!("joined request {number}, which waits")
            } else {
                format!("request {number}")
            }
        }
        Followed::Step(step) => match step {
            Step::Waiting { ahead: 0 } => "waiting; it is the next one".to_owned(),
            Step::Waiting { ahead } => format!("waiting; {} before it", counted(*ahead, "request")),
            Step::Unpublished { reason } => {
                format!(
                    "not published yet, the service tries again: {}",
                    printable(reason)
                )
            }
            Step::Started { run } => format!("run {run} started"),
            Step::Named(build) => build.to_string(),
            Step::Phase(phase) => phase_said(phase),
            Step::Over(_) | Step::Gone => return None,
        },
    })
}

fn phase_said(phase: &PhaseNow) -> String {
    let name = &phase.name;
    let took = phase.started.zip(phase.finished);
    let took = took.map(|(from, to)| format!(" after {} s", (to - from).num_seconds().max(0)));
    let took = took.unwrap_or_default();
    match phase.state {
        PhaseState::Running if phase.attempts > 1 => {
            format!("phase {name}: attempt {}", phase.attempts)
        }
        PhaseState::Running => {
            let past = phase.past_seconds;
            let past = past.map(|past| format!("; it took {past} s before"));
            format!("phase {name}: started{}", past.unwrap_or_default())
        }
        PhaseState::TimedOut => format!("phase {name}: timed out{took}"),
        state => format!("phase {name}: {}{took}", state.as_str()),
    }
}
