//! The state as metrics, in the text form of Prometheus that its node exporter collects from files.

use std::fmt::{Display, Write as _};

use chrono::{DateTime, Utc};
use stx_layout::BuildOutcome;

use super::Facts;
use crate::ledger::{AlarmKind, State};

/// The text; one that was written long ago is told by `stx_builds_pulse_seconds`.
pub fn metrics(state: &State, facts: &Facts, now: DateTime<Utc>) -> String {
    let mut page = Page(String::new());
    page.family("pulse_seconds", "When the service last wrote this.");
    page.value("pulse_seconds", &[], now.timestamp());
    page.family("queue_length", "Requests that wait.");
    page.value("queue_length", &[], state.queue.len());
    page.family("running", "Builds that run.");
    page.value("running", &[], state.runs.len());
    page.family("alarm", "1 for what should not be so.");
    for kind in AlarmKind::ALL {
        let of_kind = state.alarms.keys().filter(|alarm| alarm.kind == kind);
        let subjects: Vec<_> = of_kind.map(|alarm| alarm.subject.as_str()).collect();
        if subjects.is_empty() {
            page.value("alarm", &[("kind", kind.as_str()), ("subject", "")], 0);
        }
        for subject in subjects {
            page.value("alarm", &[("kind", kind.as_str()), ("subject", subject)], 1);
        }
    }
    page.family(
        "last_success_seconds",
        "When the channel was last known to be good.",
    );
    for (channel, last) in &state.last {
        if let Some(good) = last.good {
            let channel = channel.to_string();
            page.value(
                "last_success_seconds",
                &[("channel", &channel)],
                good.timestamp(),
            );
        }
    }
    page.family(
        "last_build_failed",
        "Whether the channel's newest build failed.",
    );
    for (channel, last) in &state.last {
        if let Some(result) = last.result {
            let failed = u8::from(result == BuildOutcome::Fail);
            let channel = channel.to_string();
            page.value("last_build_failed", &[("channel", &channel)], failed);
        }
    }
    page.family("free_bytes", "Free space.");
    for disk in &facts.disks {
        page.value("free_bytes", &[("dir", &disk.dir)], disk.free);
    }
    page.0
}

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, help: &str) {
        writeln!(
            self.0,
            "# HELP stx_builds_{name} {help}\n# TYPE stx_builds_{name} gauge"
        )
        .expect("a text takes every write");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| {
                let value = value
                    .replace('\\', r"\\")
                    .replace('"', "\\\"")
                    .replace('\n', "\\n");
                format!("{name}=\"{value}\"")
            })
            .collect();
        let labels = match labels.as_slice() {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        writeln!(self.0, "stx_builds_{name}{labels} {value}").expect("a text takes every write");
    }
}
