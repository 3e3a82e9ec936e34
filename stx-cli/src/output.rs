//! All that the program prints: results on standard output, as text for people or JSON for programs; what it says
//! beside them on standard error.
//!
//! Nothing else in the program prints. `println!` and `eprintln!` panic when the terminal is gone, the reader of a log
//! has died or the disk under it is full, so the lints `print_stdout` and `print_stderr` keep them out.

use std::io::{self, Write as _};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use stx_layout::{printable, printable_json, printable_lines, redact_urls};

use crate::args::Format;
use crate::exit::{Exit, Failure};

/// Prints a result: `json` as one document, or the text that `human` gives.
pub(crate) fn print<T: Serialize>(
    format: Format,
    json: &T,
    human: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let mut text = match format {
        Format::Human => printable_lines(&human()).into_owned(),
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
/// A line that cannot be written is lost on purpose: there is no other place to say so, and neither a build nor the
/// service may end because nobody can read its messages.
pub(crate) fn note(text: &str) {
    let mut line = printable_lines(&redact_urls(text)).into_owned();
    line.push('\n');
    // One write, so that lines of several threads do not mix.
    io::stderr().lock().write_all(line.as_bytes()).ok();
}

/// Prints a line to the service's log, where what others wrote must not look like another line.
pub(crate) fn log(text: &str) {
    note(&printable(text));
}

/// Writes to standard output; a reader that has seen enough is no error.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Bug, error))
        }
        _ => Ok(()),
    }
}

/// Lines of columns, each as wide as its widest cell; the last one is not padded. A cell is one line whatever is in it.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..count)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number of bytes for people: `17.3 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// How long ago, in the largest unit that fits: `3 d`, `20 min`.
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
