//! The clock: unsynchronised, or inconsistent with the times of files and builds.

use camino::Utf8PathBuf;
use chrono::TimeDelta;
use stx_layout::Catalog;

use super::case::Case;
use super::programs::{LIMIT, call};
use super::{Finding, Severity, Subject};
use crate::daemon::{LEDGER, SERVICE_DIR};

/// The tolerance for dates in the future: file servers have clocks of their own.
const SLACK: TimeDelta = TimeDelta::minutes(5);

fn finding(case: &Case<'_>, severity: Severity, message: String) -> Finding {
    let texts = [
        message,
        "builds are dated, scheduled and retired by the clock".to_owned(),
        "set the clock, and let it be synchronised: `timedatectl set-ntp true`".to_owned(),
    ];
    case.finding(severity, Subject::Time, &[], texts)
}

/// Compares the clock with the timestamps of files and the dates of builds.
pub(super) fn check(case: &Case<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let state = case.state_dir();
    let ledger = state.map(|dir| dir.join(SERVICE_DIR).join(LEDGER));
    let files: Vec<Utf8PathBuf> = ledger
        .into_iter()
        .chain(case.mirror_dir())
        .chain(case.file.clone())
        .collect();
    let clock = case.machine.clock(&files);
    let newest = clock.written.iter().max_by_key(|(_, at)| *at);
    if let Some((file, at)) = newest.filter(|(_, at)| *at > clock.now + SLACK) {
        let message = format!(
            "the clock is behind: it says {}, and {file} was written at {}",
            clock.now.format("%Y-%m-%d %H:%M:%S"),
            at.format("%Y-%m-%d %H:%M:%S")
        );
        findings.push(finding(case, Severity::Error, message));
    }
    let builds = case.catalog.iter().flat_map(Catalog::builds);
    let newest = builds.map(|(id, _)| id).max_by_key(|id| id.date);
    if let Some(build) = newest.filter(|id| id.date.time() > clock.now + SLACK) {
        let message = format!(
            "build {build} of the mirror is dated in the future: the clock says {}",
            clock.now.format("%Y-%m-%d %H:%M:%S")
        );
        findings.push(finding(case, Severity::Error, message));
    }
    findings
}

/// Checks that the clock is synchronised, if the service manager reports it.
pub(super) async fn synchronised(case: &Case<'_>) -> Option<Finding> {
    case.file.as_ref()?;
    let program = case.machine.program("timedatectl").ok()?;
    let asked = call(program, &["show", "--property=NTPSynchronized", "--value"]);
    // In a container there is no answer, and the clock is that of the host.
    let said = case
        .machine
        .run(asked, LIMIT)
        .await
        .ok()
        .filter(|said| said.ok)?;
    let message = "the clock is not synchronised".to_owned();
    (said.stdout.trim() == "no").then(|| finding(case, Severity::Warning, message))
}
