//! `status` for users who cannot read the ledger: from the document that the service keeps in the spool.

use std::collections::BTreeSet;

use stx_service::status::{Status, newest_failures};

use super::{Context, STOPPING, alarm_row, log_end, running_row, waiting_row};
use crate::commands::{history, status_document};
use crate::exit::Failure;
use crate::output::{self, Cell, Text, Tone};

pub(super) fn run(context: &Context, unreadable: Failure) -> Result<(), Failure> {
    let Some(status) = status_document(context, &unreadable) else {
        return Err(unreadable);
    };
    output::print(context.format(), &status, || human(context, &status))
}

fn human(context: &Context, status: &Status) -> Text {
    let since = |then| output::since(context.site.now, then);
    let running = status.running.iter().map(|run| running_row(context, run));
    let mut rows: Vec<_> = running.collect();
    rows.extend(status.queue.iter().map(waiting_row));
    let mut seen = BTreeSet::new();
    for past in &status.history {
        let channel = &past.filed.request.target.channel;
        if seen.insert(channel) {
            rows.push(vec![
                "last".into(),
                channel.to_string().into(),
                history::outcome(&past.filed),
            ]);
        }
    }
    for alarm in &status.alarms {
        rows.push(alarm_row(&alarm.alarm, &alarm.text, &since(alarm.since)));
    }
    let mut text = Text::default();
    if status.stopping && !status.is_stale(context.site.now) {
        text.push(Cell::new(Tone::Doubtful, STOPPING));
        text.push("\n");
    }
    text.append(output::table(&rows));
    for past in newest_failures(&status.history) {
        if let (Some(failing), Some(build)) = (&past.failing, past.build()) {
            let (root, phase) = (&status.mirror, &failing.phase);
            let log = format!("{root}/{build}/outputs/logs/{phase}.log");
            text.append(log_end(phase, &log, &failing.log));
        }
    }
    text
}
