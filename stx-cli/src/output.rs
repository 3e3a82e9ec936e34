//! All output of the program: results on standard output, as text for people or JSON for programs; messages on standard error.
//!
//! Only this module prints. `println!` and `eprintln!` panic when the terminal is gone, the reader of a log has died or the disk of a
//! log is full, so the lints `print_stdout` and `print_stderr` forbid them.

mod paint;
mod screen;

use std::io::{self, IsTerminal as _, Write as _};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use stx_layout::{printable, printable_json, printable_lines, redact_urls};

use crate::args::Format;
use crate::exit::{Exit, Failure};

pub(crate) use paint::{Cell, Text, Tone, choose, table};
pub(crate) use screen::{can_draw, draw};

/// Prints a result: `json` as one document, or the text that `human` returns.
pub(crate) fn print<T: Serialize, H: Into<Text>>(
    format: Format,
    json: &T,
    human: impl FnOnce() -> H,
) -> Result<(), Failure> {
    let mut text = match format {
        Format::Human => painted(&human().into()),
        Format::Json => {
            let json = serde_json::to_string_pretty(json)
                .map_err(|error| Failure::new(Exit::Bug, error))?;
            printable_json(&json).into_owned()
        }
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    write(&text)
}

/// Prints a line to standard error, made printable and without the credentials of URLs.
///
/// A failure to write is ignored: it cannot be reported anywhere else, and neither a build nor the service may end because its
/// messages are lost.
pub(crate) fn note(text: &str) {
    let mut line = printable_lines(&redact_urls(text)).into_owned();
    if paint::is_painted(&io::stderr()) {
        line = paint::labelled(&line);
    }
    line.push('\n');
    // One write, so that lines of several threads do not mix.
    io::stderr().lock().write_all(line.as_bytes()).ok();
}

/// Prints a document as one line of JSON to standard error, made printable and without the credentials of URLs.
pub(crate) fn note_json<T: Serialize>(document: &T) {
    // Strings and numbers have a form in JSON.
    let Ok(json) = serde_json::to_string(document) else {
        return;
    };
    let mut line = printable_json(&redact_urls(&json)).into_owned();
    line.push('\n');
    // As in `note`: the loss cannot be reported anywhere else.
    io::stderr().lock().write_all(line.as_bytes()).ok();
}

/// Prints a line to the service's log. Text from other sources must not be able to imitate another line.
pub(crate) fn log(text: &str) {
    note(&printable(text));
}

/// Writes to standard output; a reader that closes the pipe early is not an error.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(unwritten(&error)),
        _ => Ok(()),
    }
}

/// The failure of a command whose result cannot be written.
pub(crate) fn unwritten(error: &io::Error) -> Failure {
    Failure::usage(format!("standard output cannot be written: {error}"))
        .hint("the changes of the command are kept; only its output is lost")
}

/// Passes bytes unchanged to standard output; false if its reader has closed the pipe.
pub(crate) fn pass(bytes: &[u8]) -> Result<bool, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(unwritten(&error)),
    }
}

/// A text for standard output, with colours if that supports them.
pub(crate) fn painted(text: &Text) -> String {
    text.render(paint::is_painted(&io::stdout()))
}

/// Lines of columns without colours; see [`table`].
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let cells = |row: &Vec<String>| row.iter().map(Cell::from).collect();
    let rows: Vec<Vec<Cell>> = rows.iter().map(cells).collect();
    table(&rows).render(false)
}

/// True if results are read by a person at a terminal, and not by a program.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A time in the past: `3 d ago`; a clock that was corrected may have left one in the future.
pub(crate) fn ago(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let age = age(now, then);
    if then > now {
        return age;
    }
    format!("{age} ago")
}

/// The start of something that still lasts: `since 3 d`.
pub(crate) fn since(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    if then > now {
        return "since a time in the future".to_owned();
    }
    format!("since {}", age(now, then))
}

/// The age of a time, in the largest unit that fits: `3 d`, `20 min`.
pub(crate) fn age(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    let age = now - then;
    if age < TimeDelta::zero() {
        return "in the future".to_owned();
    }
    match (age.num_days(), age.num_hours(), age.num_minutes()) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, _) => format!("{hours} h"),
        (days, _, _) => format!("{days} d"),
    }
}
