//! The private dashboard: the status of the service as a page, written beside the metrics.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::printable;
use stx_pages::{
    Dashboard, ShownAlarm, ShownBuild, ShownChannel, ShownPhase, ShownRequest, ShownResult,
    dashboard,
};
use stx_service::Facts;
use stx_service::ledger::{Closed, RunEnd, RunRow};
use stx_service::status::{Outcome, Past, PhaseNow, PhaseState, RunningBuild, Status};

use crate::retention::Forecast;

/// The number of seconds after which a browser reloads the page.
const REFRESH: u64 = 30;

/// The page for the current state.
pub(super) fn page(status: &Status, facts: &Facts, forecast: Option<&Forecast>) -> String {
    let alarms = status.alarms.iter().map(|alarm| ShownAlarm {
        kind: alarm.alarm.kind.as_str().to_owned(),
        subject: alarm.alarm.subject.clone(),
        since: alarm.since,
        text: alarm.text.clone(),
        remedy: alarm.remedy.clone(),
    });
    let queue = status.queue.iter().map(|request| {
        let reasons = request.reasons.iter();
        let reasons: Vec<_> = reasons.map(|reason| reason.cause.to_string()).collect();
        ShownRequest {
            request: request.id,
            name: request.target.to_string(),
            since: request.reasons.first().map_or(status.written, |it| it.at),
            reasons: reasons.join("; "),
        }
    });
    let disks = facts.disks.iter();
    let days = forecast.iter().flat_map(|it| &it.forecast.days);
    dashboard(&Dashboard {
        version: status.version.clone(),
        mirror: status.mirror.clone(),
        started: status.started,
        written: status.written,
        refresh: REFRESH,
        alarms: alarms.collect(),
        running: status
            .running
            .iter()
            .map(|run| build(run, status.written))
            .collect(),
        queue: queue.collect(),
        channels: channels(status),
        disks: disks
            .map(|disk| (disk.dir.clone(), disk.free, disk.total))
            .collect(),
        forecast: days.map(|day| (day.at, day.bytes_used)).collect(),
        full: forecast.and_then(|it| it.forecast.full),
    })
}

fn build(run: &RunningBuild, now: DateTime<Utc>) -> ShownBuild {
    let build = run.build.as_ref().map(ToString::to_string);
    let phases = run.phases.iter().map(|phase| self::phase(phase, now));
    ShownBuild {
        request: run.request,
        name: build.unwrap_or_else(|| run.channel.to_string()),
        started: run.started,
        past: run.past_seconds.map(TimeDelta::seconds),
        phases: phases.collect(),
    }
}

fn phase(phase: &PhaseNow, now: DateTime<Utc>) -> ShownPhase {
    let failed = matches!(phase.state, PhaseState::Failed | PhaseState::TimedOut);
    let took = phase
        .started
        .map(|from| phase.finished.unwrap_or(now) - from);
    ShownPhase {
        name: phase.name.clone(),
        state: phase.state.as_str().to_owned(),
        failed,
        over: !matches!(phase.state, PhaseState::Waiting | PhaseState::Running),
        // The clock may have been set back: no duration is negative.
        took: took.map(|took| took.max(TimeDelta::zero())),
        past: phase.past_seconds.map(TimeDelta::seconds),
    }
}

/// The channels of the configuration, then the others.
fn channels(status: &Status) -> Vec<ShownChannel> {
    let mut results: BTreeMap<String, Vec<ShownResult>> = BTreeMap::new();
    for past in &status.history {
        let channel = past.filed.request.target.channel.to_string();
        results.entry(channel).or_default().push(result(past));
    }
    let mut shown: Vec<_> = status
        .entries
        .iter()
        .map(|entry| ShownChannel {
            results: results.remove(&entry.key).unwrap_or_default(),
            name: entry.key.clone(),
            next: entry.next,
        })
        .collect();
    shown.extend(results.into_iter().map(|(name, results)| ShownChannel {
        name,
        next: None,
        results,
    }));
    shown
}

fn result(past: &Past) -> ShownResult {
    let class = match past.outcome() {
        Outcome::Success => "ok",
        Outcome::Failed | Outcome::NotPublished => "bad",
        Outcome::Cancelled | Outcome::Skipped => "off",
    };
    let words = match (&past.filed.closed, past.filed.runs.last()) {
        (Some((at, Closed::Cancelled { .. })), _) => format!("{}: cancelled", moment(*at)),
        (Some((at, Closed::Skipped { why })), _) => format!("{}: skipped: {why}", moment(*at)),
        (None, Some(run)) => of_run(run),
        (None, None) => String::new(),
    };
    let failing = past.failing.as_ref();
    let log = failing
        .map(|failing| failing.log.clone())
        .unwrap_or_default();
    ShownResult {
        class,
        words: printable(&words).into_owned(),
        log,
    }
}

fn of_run(run: &RunRow) -> String {
    let Some(end) = &run.end else {
        return format!("{}: running", moment(run.started));
    };
    let took = (end.at - run.started).num_seconds().max(0);
    let how = match &end.how {
        RunEnd::Published { result, reason, .. } => {
            let reason = reason.as_ref().map(|why| format!(": {why}"));
            format!("{result} in {took} s{}", reason.unwrap_or_default())
        }
        RunEnd::Unchanged { since, .. } => format!("unchanged since {}", since.date),
        RunEnd::Refused { reason } => format!("nothing was published: {reason}"),
        RunEnd::Cancelled => "cancelled".to_owned(),
        RunEnd::Requeued { reason } => format!("starts over: {reason}"),
    };
    format!("{}: {how}", moment(run.started))
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}
