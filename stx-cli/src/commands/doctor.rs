//! `doctor`, and `daemon --check`: show all mistakes of the configuration.

use std::fmt::Write as _;

use stx_builds::doctor::{Diagnosis, DoctorOptions, Finding, Planned, Severity, ThisMachine};
use stx_layout::counted;

use super::Context;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn run(context: &Context, offline: bool) -> Result<(), Failure> {
    let (options, mistakes) = (context.read_options())()?;
    let mut site = context.site.with_options(options);
    if let Some(now) = context.global.now {
        site = site.at(now);
    }
    let mut how = DoctorOptions::default();
    how.offline = offline;
    let diagnosis = site.doctor(mistakes, &ThisMachine, &how).await?;
    output::print(context.format(), &diagnosis, || human(&diagnosis))?;
    let warnings = counted(diagnosis.warnings, "warning");
    match diagnosis.errors {
        0 if diagnosis.warnings == 0 => context.say("no problems found"),
        0 => context.say(&format!("no errors, {warnings}")),
        errors => {
            let errors = counted(errors, "error");
            return Err(Failure::usage(format!("{errors}, {warnings}"))
                .hint("correct them and rerun `stx-builds doctor`"));
        }
    }
    Ok(())
}

fn human(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    for finding in &diagnosis.findings {
        add(&mut text, finding);
    }
    if !text.is_empty() && !diagnosis.planned.is_empty() {
        text.push('\n');
    }
    let rows: Vec<_> = diagnosis.planned.iter().map(row).collect();
    text + &output::columns(&rows)
}

/// Adds a finding: a line to which editors can jump, the reason and the correction.
fn add(text: &mut String, finding: &Finding) {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = match (&finding.file, finding.at) {
        (Some(file), Some(at)) => format!("{file}:{}:{}: ", at.line, at.column),
        (Some(file), None) => format!("{file}: "),
        (None, _) => String::new(),
    };
    let Finding {
        message, why, fix, ..
    } = finding;
    let _ = writeln!(
        text,
        "{severity}: {place}{message}\n  why: {why}\n  fix: {fix}"
    );
}

/// An entry of the configuration, with its schedule.
fn row(entry: &Planned) -> Vec<String> {
    let schedule = entry
        .schedule
        .as_ref()
        .zip(entry.next)
        .map(|(cron, next)| format!("`{cron}`, next {}", next.format("%Y-%m-%d %H:%M:%S")));
    let poll = entry
        .poll_seconds
        .map(|seconds| format!("commits every {seconds} s"));
    let test = entry
        .test_seconds
        .map(|seconds| format!("after each success, {seconds} s at most"));
    let when: Vec<_> = schedule.into_iter().chain(poll).chain(test).collect();
    let when = if when.is_empty() {
        "on demand".to_owned()
    } else {
        when.join("; ")
    };
    vec![entry.builds.clone(), entry.of.clone(), when]
}
