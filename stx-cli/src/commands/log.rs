//! `log`: show the logs of phases, of running and of ended builds.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use serde::Serialize;
use stx_builds::log::{BuildEnd, LogPart, LogWanted, Logged, PhaseLog, PhaseStage};
use stx_layout::{BuildId, BuildOutcome, PhaseStatus, printable_json, printable_lines, size};

use super::{Context, published_as_failed};
use crate::args::{self, Format};
use crate::exit::{Exit, Failure};
use crate::output;

/// The phases of a build, for scripts.
#[derive(Serialize)]
struct Phases<'a> {
    build: &'a BuildId,
    phases: &'a [PhaseLog],
}

/// A line of a log, for scripts.
#[derive(Serialize)]
struct Line<'a> {
    phase: &'a str,
    line: &'a str,
}

/// The end of a followed build, for scripts.
#[derive(Serialize)]
struct Over<'a> {
    build: &'a BuildId,
    #[serde(flatten)]
    end: &'a BuildEnd,
}

pub(crate) async fn run(context: &Context, args: &args::Log) -> Result<(), Failure> {
    let wanted = LogWanted {
        build: args.build.clone(),
        phase: args.phase.clone(),
        lines: args.lines,
        follow: args.follow,
    };
    let mut printer = Printer {
        format: context.format(),
        // A file or a program gets the bytes unchanged; control characters must not reach a terminal.
        escape: output::is_terminal(),
        named: args.phase.is_some(),
        phase: String::new(),
        failed: None,
    };
    let logged = context
        .site
        .phase_log(&wanted, &mut |part| printer.print(part))
        .await;
    let logged = match logged {
        Ok(logged) => Ok(logged),
        Err(error) => match context.partial_service() {
            Ok(service) => {
                let mut sink = |part: LogPart<'_>| printer.print(part);
                let shown = context.site.shown_log(&service, &wanted, error, &mut sink);
                shown.await
            }
            Err(_) => Err(error),
        },
    };
    if let Some(failure) = printer.failed {
        return Err(failure);
    }
    match logged? {
        Logged::Shown => Ok(()),
        Logged::Phases { build, phases } => {
            let json = Phases {
                build: &build,
                phases: &phases,
            };
            output::print(context.format(), &json, || listed(&phases))
        }
        Logged::Ended { build, end } => ended(context, &build, &end),
    }
}

/// Prints the parts of logs.
struct Printer {
    format: Format,
    escape: bool,
    /// True if the user named the phase, so that the lines need not name it.
    named: bool,
    phase: String,
    failed: Option<Failure>,
}

impl Printer {
    fn print(&mut self, part: LogPart<'_>) -> ControlFlow<()> {
        let mut bytes = Vec::new();
        match self.format {
            Format::Json => json(part, &mut bytes),
            Format::Human => {
                if self.phase != part.phase {
                    let is_first = self.phase.is_empty();
                    part.phase.clone_into(&mut self.phase);
                    if !self.named {
                        let blank = if is_first { "" } else { "\n" };
                        bytes = format!("{blank}==> {} <==\n", part.phase).into_bytes();
                    }
                }
                if self.escape {
                    bytes.extend_from_slice(escaped(part.bytes).as_bytes());
                } else {
                    bytes.extend_from_slice(part.bytes);
                }
            }
        }
        match output::pass(&bytes) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(failure) => {
                self.failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    }
}

/// A log without the control characters of terminals; a byte that is not UTF-8 is shown as `\x` and two digits.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&printable_lines(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// One object per line. Bytes that are not UTF-8 are replaced, since JSON cannot represent them.
fn json(part: LogPart<'_>, bytes: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(part.bytes);
    for line in text.lines() {
        let phase = part.phase;
        let line = serde_json::to_string(&Line { phase, line }).expect("it has no map");
        bytes.extend_from_slice(printable_json(&line).as_bytes());
        bytes.push(b'\n');
    }
}

fn listed(phases: &[PhaseLog]) -> String {
    let rows = phases.iter().map(|phase| {
        let bytes = phase.bytes.map(size).unwrap_or_default();
        let log = phase.log.clone().unwrap_or_default();
        vec![
            phase.phase.clone(),
            stage(phase.state).to_owned(),
            bytes,
            log,
        ]
    });
    output::columns(&rows.collect::<Vec<_>>())
}

fn stage(state: PhaseStage) -> &'static str {
    match state {
        PhaseStage::Waiting => "waiting",
        PhaseStage::Running => "running",
        PhaseStage::Interrupted => "interrupted",
        PhaseStage::Over(status) => status.as_str(),
    }
}

/// Returns the end of a followed build as an exit code.
fn ended(context: &Context, build: &BuildId, end: &BuildEnd) -> Result<(), Failure> {
    if context.format() == Format::Json {
        let over = serde_json::to_string(&Over { build, end });
        let over = over.map_err(|error| Failure::new(Exit::Bug, error))?;
        output::write(&(printable_json(&over).into_owned() + "\n"))?;
    }
    let failed = |why: String| Err(Failure::new(Exit::BuildFailed, format!("{build}: {why}")));
    match end {
        BuildEnd::Published {
            result: BuildOutcome::Success,
            ..
        } => context.say(&format!("{build} is a success")),
        BuildEnd::Published {
            result: BuildOutcome::Fail,
            reason,
            ..
        } => {
            return failed(published_as_failed(reason.as_deref()));
        }
        BuildEnd::Unchanged => {
            context.say(&format!(
                "{build}: nothing changed, so nothing was published"
            ));
        }
        BuildEnd::Refused { reason } => return failed(format!("nothing was published: {reason}")),
        BuildEnd::Phase {
            status: PhaseStatus::Succeeded,
            ..
        } => {}
        BuildEnd::Phase { phase, status } => {
            return failed(format!("phase {phase}: {}", status.as_str()));
        }
    }
    Ok(())
}
