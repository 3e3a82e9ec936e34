//! `status`: what waits, what runs, and what should not be so.

mod shown;

use std::fmt::Write as _;

use serde::Serialize;
use stx_builds::layers::{Layer, LayerState};
use stx_layout::printable;
use stx_service::ledger::{Ledger as _, State, VerdictOrigin, VerdictRequest};

use super::Context;
use crate::exit::Failure;
use crate::output;

#[derive(Debug, Serialize)]
struct Status<'a> {
    service_running: bool,
    #[serde(flatten)]
    state: &'a State,
    /// The channels of a distribution in layers, lower channels first; left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Layer>,
}

pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let ledger = match context.site.ledger() {
        Ok(ledger) => ledger,
        Err(error) => return shown::run(context, error.into()),
    };
    let state = ledger.state();
    let service = context.service()?;
    let status = Status {
        service_running: context.site.service_running(&service)?,
        state,
        layers: context.site.layers(&service, state).await?,
    };
    output::print(context.format(), &status, || human(context, &status))
}

fn human(context: &Context, status: &Status<'_>) -> String {
    let Status {
        service_running,
        state,
        layers,
    } = status;
    let age = |then| output::age(context.site.now, then);
    let mut text = String::new();
    let running = if *service_running {
        "the service runs"
    } else {
        "no service runs"
    };
    let _ = writeln!(text, "{running}");
    let mut rows = Vec::new();
    for run in state.runs.values() {
        let phase = run.phases.iter().rfind(|phase| phase.finished.is_none());
        let phase = phase.map_or_else(String::new, |phase| format!("phase {}, ", phase.name));
        let build = run.build.as_ref();
        let what = build.map_or_else(|| run.request.target.to_string(), ToString::to_string);
        rows.push(vec![
            "runs".to_owned(),
            what,
            format!("{phase}since {}", age(run.started)),
        ]);
    }
    for request in state.queue.values() {
        let reasons: Vec<_> = request
            .reasons
            .iter()
            .map(|reason| reason.cause.to_string())
            .collect();
        let what = format!("{} (request {})", request.target, request.id);
        rows.push(vec!["waits".to_owned(), what, reasons.join("; ")]);
    }
    for request in state.verdicts.values() {
        rows.push(match (&request.entry, &request.origin) {
            (Some(entry), _) => vec![
                "waits".to_owned(),
                format!(
                    "verdict {} on {} ({})",
                    entry.verdict, request.build, request.id
                ),
                format!("by {}", printable(&entry.author)),
            ],
            (None, VerdictOrigin::Lab { lab }) => test(request, lab, &age),
            (None, VerdictOrigin::Asked { .. }) => continue,
        });
    }
    for (channel, last) in &state.last {
        let good = last.good.map_or_else(
            || "never good".to_owned(),
            |good| format!("good {} ago", age(good)),
        );
        let build = last
            .build
            .as_ref()
            .map(|build| build.date.to_string())
            .unwrap_or_default();
        let result = last
            .result
            .map(|result| result.to_string())
            .unwrap_or_default();
        rows.push(vec![
            "last".to_owned(),
            channel.to_string(),
            format!("{build} {result}, {good}"),
        ]);
    }
    for layer in layers {
        let stands = match layer.state {
            LayerState::Runs => "runs",
            LayerState::Waits => "waits",
            LayerState::UpToDate => "up to date",
            LayerState::Behind => "behind",
            LayerState::NothingBelow => "no success below",
        };
        let after = layer.after.as_ref();
        let after = after.map_or_else(String::new, |after| format!(", after {after}"));
        let upon = layer.upon.as_ref();
        let upon = upon.map_or_else(String::new, |upon| format!(", made upon {}", upon.date));
        rows.push(vec![
            "layer".to_owned(),
            layer.channel.to_string(),
            format!("{stands}{after}{upon}"),
        ]);
    }
    for (alarm, (since, words)) in &state.alarms {
        let subject = format!("{} {}", alarm.kind.as_str(), alarm.subject);
        rows.push(vec![
            "alarm".to_owned(),
            subject,
            format!("{words} (since {})", age(*since)),
        ]);
    }
    text.push_str(&output::columns(&rows));
    text
}

/// The row of a test by a lab.
fn test(
    request: &VerdictRequest,
    lab: &str,
    age: &dyn Fn(chrono::DateTime<chrono::Utc>) -> String,
) -> Vec<String> {
    let what = format!(
        "test of {} by {lab} (request {})",
        request.build, request.id
    );
    let (how, since) = match request.started {
        Some(started) => ("runs", format!("since {}", age(started))),
        None => ("waits", format!("since {}", age(request.at))),
    };
    vec![how.to_owned(), what, since]
}
