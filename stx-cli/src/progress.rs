//! The progress of operations on standard error: notes as lines; downloads, copies and verification as bars on a terminal.

mod phases;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};
use stx_builds::Progress;
use stx_builds::site::AdoptEvent;
use stx_layout::BuildId;
use stx_publish::fetch::FetchEvent;
use stx_publish::replicate::CopyEvent;

pub(crate) use self::phases::Phases;
use crate::output::{log, note};

const FETCH: &str =
    "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const COPY: &str =
    "{msg} {bar:20} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
const VERIFY: &str = "{bar:30} {pos}/{len} builds {elapsed} {msg}";

/// Standard error.
#[derive(Debug)]
pub(crate) struct Terminal {
    quiet: bool,
    verbose: bool,
    shown: Mutex<Shown>,
}

/// The bar of the running operation.
#[derive(Debug, Default)]
struct Shown {
    bar: Option<ProgressBar>,
    /// Files whose size is part of the bar's length.
    known: BTreeSet<String>,
}

impl Shown {
    /// The bar is `hidden` if other lines are printed.
    fn bar(&mut self, hidden: bool, template: &str) -> &ProgressBar {
        self.bar.get_or_insert_with(|| {
            if hidden || !std::io::stderr().is_terminal() {
                return ProgressBar::hidden();
            }
            let style = ProgressStyle::with_template(template);
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        })
    }
}

impl Terminal {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        Self {
            quiet,
            verbose,
            shown: Mutex::default(),
        }
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints a line without disturbing the bar.
    fn line(&self, text: &str) {
        match &self.shown().bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }
}

impl Progress for Terminal {
    fn note(&self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    fn log(&self, text: &str) {
        log(text);
    }

    fn detail(&self, text: &str) {
        if self.verbose {
            self.line(text);
        }
    }

    fn fetching(&self, event: FetchEvent<'_>) {
        if let FetchEvent::Note { text } = event {
            return self.note(text);
        }
        let mut shown = self.shown();
        match event {
            FetchEvent::Begun { path, size, from } => {
                let is_new = shown.known.insert(path.to_string());
                let bar = shown.bar(self.quiet || self.verbose, FETCH);
                if is_new {
                    bar.inc_length(size);
                    bar.inc(from);
                    bar.reset_eta();
                }
            }
            FetchEvent::Bytes(count) => shown.bar(self.quiet || self.verbose, FETCH).inc(count),
            FetchEvent::Note { .. } | FetchEvent::Ended { .. } => {}
        }
    }

    fn copying(&self, event: CopyEvent<'_>) {
        let mut shown = self.shown();
        let bar = shown.bar(self.quiet || self.verbose, COPY);
        match event {
            CopyEvent::Build {
                build,
                done,
                of,
                bytes,
            } => {
                bar.set_length(bytes);
                bar.set_position(0);
                bar.reset_eta();
                bar.set_message(format!("{build} ({} of {of})", done + 1));
            }
            CopyEvent::Bytes(bytes) => bar.inc(bytes),
        }
    }

    fn adopting(&self, event: AdoptEvent<'_>) {
        let mut shown = self.shown();
        let bar = shown.bar(self.quiet || self.verbose, COPY);
        match event {
            AdoptEvent::Begun { bytes, builds } => {
                bar.set_length(bytes);
                bar.set_position(0);
                bar.reset_eta();
                bar.set_message(format!("0 of {}", stx_layout::counted(builds, "build")));
            }
            AdoptEvent::Bytes(bytes) => bar.inc(bytes),
            AdoptEvent::Adopted { build, done, of } => {
                bar.set_message(format!("{build} ({done} of {of})"));
            }
        }
    }

    fn verifying(&self, done: u64, of: u64, build: &BuildId) {
        let mut shown = self.shown();
        let bar = shown.bar(self.quiet || self.verbose, VERIFY);
        bar.set_length(of);
        bar.set_position(done);
        bar.set_message(build.to_string());
    }

    fn finished(&self) {
        let mut shown = self.shown();
        if let Some(bar) = shown.bar.take() {
            bar.finish_and_clear();
        }
        shown.known.clear();
    }
}
