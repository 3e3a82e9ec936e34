//! `doctor`: finds all mistakes of a configuration at once, and everything on this machine that does not match it.
//!
//! ```text
//! options, their mistakes ──> Case (files read, as far as they can be) ──> checks ──> Finding … ──> Diagnosis
//!                                                Machine ──────────────────^
//! ```
//!
//! A check is a function of a [`Case`] and does not depend on other checks, so that one mistake does not hide another. It asks a
//! [`Machine`] for the facts that only a machine knows; [`ThisMachine`] is the real one. Checks change nothing: they only look for a
//! directory that will be made.
//!
//! | module | finds |
//! |---|---|
//! | `case` | mistakes in the configuration, its recipes and its policy |
//! | `files` | directories and files: missing, of the wrong owner, not writable |
//! | `programs` | commands, tools of recipes, `git` |
//! | `keys` | keys and secrets that are missing, unusable, or expire soon |
//! | `time` | a clock that is not right |
//! | `space` | disks that are filling, now and by the forecast |
//! | `rules` | rules that match nothing: of retention, labs, places, layers |
//! | `network` | mirrors and places that cannot be reached |
//! | `machine` | [`Machine`] |

mod case;
mod files;
mod keys;
mod machine;
mod network;
mod programs;
mod rules;
mod space;
#[cfg(test)]
mod tests;
mod time;

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_layout::config::{ConfigErrors, Position};
use stx_service::Setup;

pub use self::case::Case;
pub use self::machine::{Clock, Entry, Machine, Said, Space, ThisMachine};
use crate::Site;
use crate::error::Error;

/// The severity of a finding. `Ord` has errors first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Something that the configuration asks for does not work.
    Error,
    /// It works now but will not later, or works for another user only.
    Warning,
}

/// The subject of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Subject {
    /// The form of the configuration.
    Configuration,
    /// A recipe.
    Recipe,
    /// The retention policy.
    Policy,
    /// A directory or a file.
    Files,
    /// A program.
    Programs,
    /// A key or a secret.
    Keys,
    /// The clock.
    Time,
    /// Room on a disk.
    Space,
    /// A rule that matches nothing.
    Rules,
    /// A mirror on another machine.
    Mirrors,
    /// A place where phases run.
    Places,
}

/// One problem. `Ord` is by severity, file and line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The severity.
    pub severity: Severity,
    /// The file that contains the mistake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Utf8PathBuf>,
    /// The line and column in the file.
    #[serde(flatten)]
    pub at: Option<Position>,
    /// Its subject.
    pub subject: Subject,
    /// The problem.
    pub message: String,
    /// The consequence if nothing is done.
    pub why: String,
    /// The correction.
    pub fix: String,
}

/// A branch, milestone or lab of the configuration, with its schedule.
#[derive(Debug, Serialize)]
pub struct Planned {
    /// The channel, or the lab.
    pub builds: String,
    /// The git branch or tag; the channels of a lab.
    pub of: String,
    /// The schedule.
    pub schedule: Option<String>,
    /// Its next tick.
    pub next: Option<DateTime<Utc>>,
    /// The time between two searches for commits.
    pub poll_seconds: Option<u64>,
    /// The time limit of the test, in the entry of a lab.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_seconds: Option<u64>,
}

/// The result of an examination.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// The number of errors.
    pub errors: usize,
    /// The number of warnings.
    pub warnings: usize,
    /// The findings, errors first.
    pub findings: Vec<Finding>,
    /// The entries of the configuration and the times of their builds.
    pub planned: Vec<Planned>,
}

/// Options of an examination.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DoctorOptions {
    /// Contact no other machine.
    pub offline: bool,
}

impl Site {
    /// Finds every mistake of the site's configuration. `mistakes` are those that were found when its options were read.
    ///
    /// # Errors
    /// If the configuration file cannot be read.
    pub async fn doctor(
        &self,
        mistakes: ConfigErrors,
        machine: &dyn Machine,
        how: &DoctorOptions,
    ) -> Result<Diagnosis, Error> {
        let (case, mut findings) = Case::read(self, mistakes, machine).await?;
        let checks = [
            files::check,
            programs::check,
            keys::check,
            time::check,
            rules::check,
        ];
        findings.extend(checks.iter().flat_map(|check| check(&case)));
        findings.extend(programs::git(&case).await);
        findings.extend(time::synchronised(&case).await);
        findings.extend(space::check(&case).await);
        if !how.offline {
            findings.extend(network::check(&case).await);
        }
        findings.sort();
        // Two tables may name the same file.
        findings.dedup();
        let count = |severity| {
            let found = findings.iter().filter(|found| found.severity == severity);
            found.count()
        };
        Ok(Diagnosis {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            planned: case
                .setup
                .iter()
                .flat_map(|setup| planned(setup, self.now))
                .collect(),
            findings,
        })
    }
}

/// The entries of a setup, with the times of their builds.
fn planned(setup: &Setup, now: DateTime<Utc>) -> Vec<Planned> {
    let watches = setup.watches.iter().map(|watch| Planned {
        builds: watch.key.clone(),
        of: watch.git.clone(),
        schedule: watch.schedule.as_ref().map(ToString::to_string),
        next: watch.schedule.as_ref().and_then(|it| it.next(now)),
        poll_seconds: watch.poll.map(|poll| poll.as_secs()),
        test_seconds: None,
    });
    let labs = setup.labs.iter().map(|lab| Planned {
        builds: format!("lab {}", lab.name),
        of: lab.channel.to_string(),
        schedule: None,
        next: None,
        poll_seconds: None,
        test_seconds: Some(lab.timeout.as_secs()),
    });
    watches.chain(labs).collect()
}
