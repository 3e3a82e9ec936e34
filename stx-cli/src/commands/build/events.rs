//! Watch a build from the command line: progress, a stream of events, signals.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use camino::Utf8Path;
use stx_builds::build::Watch;
use stx_builds::files;
use stx_layout::printable_json;
use stx_pipeline::{Cancel, Event};

use crate::commands::Context;
use crate::exit::Failure;
use crate::output::note;
use crate::progress::Phases;

/// Runs a build, shows its progress, writes its events to `file`, if any (`-` is standard output), and cancels it at the first
/// SIGINT, SIGTERM or SIGHUP.
pub(crate) async fn watched<T>(
    context: &Context,
    file: Option<&Utf8Path>,
    cancel: &Cancel,
    work: impl AsyncFnOnce(Watch<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let progress = Phases::new(context.global.quiet, context.global.verbose > 0);
    let stream = file.map(Events::create).transpose()?;
    let events = |event: &Event| {
        progress.show(event);
        if let Some(stream) = &stream {
            stream.write(event);
        }
    };
    let note = |text: &str| context.say(text);
    let interrupted = tokio::spawn(cancel_on_signal(cancel.clone()));
    let result = work(Watch {
        events: &events,
        note: &note,
        cancel,
    })
    .await;
    interrupted.abort();
    match stream.and_then(Events::fault) {
        Some(error) => {
            context.say(&format!("not all events could be written: {error}"));
            result
        }
        None => result,
    }
}

/// Events as JSON, one per line, as they happen.
struct Events(Mutex<(Box<dyn Write + Send>, Option<io::Error>)>);

impl Events {
    fn create(file: &Utf8Path) -> Result<Self, Failure> {
        let writer: Box<dyn Write + Send> = if file == "-" {
            Box::new(io::stdout())
        } else {
            Box::new(files::create(file).map_err(Failure::usage)?)
        };
        Ok(Self(Mutex::new((writer, None))))
    }

    /// If the reader closes the stream, the stream ends, not the build.
    fn write(&self, event: &Event) {
        let (writer, fault) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if fault.is_some() {
            return;
        }
        let line = serde_json::to_string(event).expect("an event has no map");
        let line = printable_json(&line).into_owned() + "\n";
        *fault = writer
            .write_all(line.as_bytes())
            .and_then(|()| writer.flush())
            .err();
    }

    fn fault(self) -> Option<io::Error> {
        self.0
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .1
    }
}

/// Triggers `cancel` at the first SIGINT, SIGTERM or SIGHUP.
async fn cancel_on_signal(cancel: Cancel) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds.map(signal) else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    note("ending the phases that run");
    cancel.cancel();
}
