//! `status` for those who cannot read the ledger: the document that the service keeps in the spool.

use std::collections::BTreeSet;

use stx_service::status::{PhaseState, Status};

use super::Context;
use crate::commands::{history, status_document};
use crate::exit::Failure;
use crate::output;

pub(super) fn run(context: &Context, unreadable: Failure) -> Result<(), Failure> {
    let Some(status) = status_document(context, &unreadable) else {
        return Err(unreadable);
    };
    output::print(context.format(), &status, || human(context, &status))
}

fn human(context: &Context, status: &Status) -> String {
    let age = |then| output::age(context.site.now, then);
    let mut rows = Vec::new();
    for run in &status.running {
        let running = |state: PhaseState| state == PhaseState::Running;
        let phase = run.phases.iter().rfind(|phase| running(phase.state));
        let phase = phase.map_or_else(String::new, |phase| format!("phase {}, ", phase.name));
        let build = run.build.as_ref().map(ToString::to_string);
        rows.push(vec![
            "runs".to_owned(),
            build.unwrap_or_else(|| format!("{} of {}", run.channel, run.git)),
            format!("{phase}since {}", age(run.started)),
        ]);
    }
    for request in &status.queue {
        let reasons = request.reasons.iter();
        let reasons: Vec<_> = reasons.map(|reason| reason.cause.to_string()).collect();
        rows.push(vec![
            "waits".to_owned(),
            format!("{} (request {})", request.target, request.id),
            reasons.join("; "),
        ]);
    }
    let mut seen = BTreeSet::new();
    for past in &status.history {
        let channel = &past.filed.request.target.channel;
        if seen.insert(channel) {
            rows.push(vec![
                "last".to_owned(),
                channel.to_string(),
                history::outcome(&past.filed),
            ]);
        }
    }
    for alarm in &status.alarms {
        rows.push(vec![
            "alarm".to_owned(),
            format!("{} {}", alarm.alarm.kind.as_str(), alarm.alarm.subject),
            format!("{} (since {})", alarm.text, age(alarm.since)),
        ]);
    }
    output::columns(&rows)
}
