//! The phases of a running build: a spinner per phase on a terminal, plain lines otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use stx_layout::printable;
use stx_pipeline::{Event, EventKind};

use crate::output::note;

/// Shows events on standard error.
pub(crate) struct Phases {
    quiet: bool,
    verbose: bool,
    terminal: Option<MultiProgress>,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    since: DateTime<Utc>,
    spinner: Option<ProgressBar>,
}

impl Phases {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet && !verbose;
        Self {
            quiet,
            verbose,
            terminal: terminal.then(MultiProgress::new),
            running: Mutex::default(),
        }
    }

    /// Shows an event.
    pub(crate) fn show(&self, event: &Event) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let phase = &event.phase;
        match &event.what {
            EventKind::Started {
                attempt: 1,
                command,
            } => {
                running.insert(
                    phase.clone(),
                    Running {
                        since: event.time,
                        spinner: self.spinner(phase),
                    },
                );
                if self.verbose {
                    self.line(&format!("{phase}: started: {}", printable(command)));
                } else if self.terminal.is_none() {
                    self.line(&format!("{phase}: started"));
                }
            }
            EventKind::Started {
                attempt,
                command: _,
            } => self.line(&format!("{phase}: attempt {attempt}")),
            EventKind::Output { stream: _, text } => {
                match running.get(phase).and_then(|phase| phase.spinner.as_ref()) {
                    Some(spinner) => spinner.set_message(line_of(text)),
                    None if self.verbose => self.line(&format!("{phase}| {}", line_of(text))),
                    None => {}
                }
            }
            EventKind::AttemptFailed {
                attempt,
                reason,
                again,
            } => {
                let next = if *again { ", another follows" } else { "" };
                self.line(&format!(
                    "{phase}: attempt {attempt} failed: {}{next}",
                    printable(reason)
                ));
            }
            EventKind::Finished {
                status,
                attempts: _,
            } => {
                let took = running.remove(phase).map(|phase| {
                    if let Some(spinner) = phase.spinner {
                        spinner.finish_and_clear();
                    }
                    event.time - phase.since
                });
                let took = took
                    .map(|took| format!(" after {} s", took.num_seconds()))
                    .unwrap_or_default();
                self.line(&format!("{phase}: {}{took}", status.as_str()));
            }
            EventKind::Skipped { reason } => {
                self.line(&format!("{phase}: skipped: {}", printable(reason)));
            }
        }
    }

    fn spinner(&self, phase: &str) -> Option<ProgressBar> {
        let style =
            ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}").ok()?;
        let spinner = self
            .terminal
            .as_ref()?
            .add(ProgressBar::new_spinner().with_style(style));
        spinner.set_prefix(phase.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        Some(spinner)
    }

    fn line(&self, text: &str) {
        match &self.terminal {
            _ if self.quiet => {}
            // Not `suspend`, which panics if the terminal is gone.
            Some(terminal) => drop(terminal.println(text)),
            None => note(text),
        }
    }
}

/// A line of a phase without control characters of terminals; a tab becomes a blank.
fn line_of(text: &str) -> String {
    printable(&text.replace('\t', " ")).into_owned()
}
