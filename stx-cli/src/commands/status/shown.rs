//! `status` for those who cannot read the ledger: the document that the service keeps in the spool.

use std::collections::BTreeSet;

use stx_service::status::Status;

use super::{Context, log_end, newest, running_row, waiting_row};
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
    let running = status.running.iter().map(|run| running_row(context, run));
    let mut rows: Vec<_> = running.collect();
    rows.extend(status.queue.iter().map(waiting_row));
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
    let mut text = output::columns(&rows);
    for past in newest(&status.history) {
        let build = past.filed.runs.last().and_then(|run| run.build.as_ref());
        if let (Some(failing), Some(build)) = (&past.failing, build) {
            let (root, phase) = (&status.mirror, &failing.phase);
            let log = format!("{root}/{build}/outputs/logs/{phase}.log");
            text.push_str(&log_end(phase, &log, &failing.log));
        }
    }
    text
}
