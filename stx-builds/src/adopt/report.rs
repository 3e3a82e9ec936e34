//! The plan and the report of an adoption, for people.

use std::fmt::{self, Write as _};

use serde::Serialize;
use stx_layout::{AliasEntry, BuildId, BuildOutcome, Verdict, counted, size};

use super::decide::{Adoption, Decision, Reason};
use super::link::Linked;
use super::{AdoptPlan, MISNAMED, PlannedBuild};

/// A build that became a full build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adopted {
    /// The build.
    pub build: BuildId,
    /// The result.
    pub result: BuildOutcome,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// True if it was pinned.
    pub pinned: bool,
    /// The verdict that a mark in it recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Peculiarities, one per line.
    pub notes: Vec<String>,
}

/// A build that was left unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftBuild {
    /// The build.
    pub build: BuildId,
    /// The kind of the reason.
    pub reason: Reason,
    /// The reason for people, in one line.
    pub message: String,
}

/// The result of an adoption.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AdoptReport {
    /// The builds that are full builds now.
    pub adopted: Vec<Adopted>,
    /// The builds that were left unchanged.
    pub left: Vec<LeftBuild>,
    /// Builds that were full builds before.
    pub full: u64,
    /// Files that were hashed, each inode once.
    pub files: u64,
    /// The number of bytes read, without those that an interrupted run had read.
    pub read: u64,
    /// Owners and modes that were changed.
    pub repaired: u64,
    /// The files that became hard links; absent if links were not requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked: Option<Linked>,
    /// The files that could not be linked, and the leftovers of an interrupted adoption that could not be removed, one per line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl AdoptReport {
    /// The failures of adopting builds, one per line. A rerun tries again.
    pub fn failures(&self) -> Vec<String> {
        let left = self.left.iter();
        let failed = left.filter(|left| matches!(left.reason, Reason::Failed | Reason::Busy));
        let failed = failed.map(|left| format!("{}: {}", left.build, left.message));
        failed.chain(self.problems.iter().cloned()).collect()
    }

    /// True if the only failures are that other publishers were at work.
    pub fn is_only_busy(&self) -> bool {
        let mut left = self.left.iter();
        self.problems.is_empty() && !left.any(|left| left.reason == Reason::Failed)
    }

    /// True if a person has to decide something. Builds that are still being written need only an hour.
    pub fn needs_somebody(&self) -> bool {
        let mut left = self.left.iter();
        left.any(|left| left.reason != Reason::BeingWritten) || !self.problems.is_empty()
    }
}

impl AdoptPlan {
    /// True if a person has to decide something.
    pub fn needs_somebody(&self) -> bool {
        self.builds.iter().any(|build| match &build.decision {
            Decision::Adopt(_) => false,
            Decision::Leave { reason, .. } => *reason != Reason::BeingWritten,
        })
    }
}

impl fmt::Display for AdoptReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Adopted {
            build,
            result,
            files,
            pinned,
            verdict,
            notes,
            ..
        } in &self.adopted
        {
            let pinned = if *pinned { ", pinned" } else { "" };
            let files = counted(*files, "file");
            let verdict = verdict.map_or_else(String::new, |verdict| format!(", {verdict}"));
            writeln!(f, "adopted {build}: {result}, {files}{verdict}{pinned}")?;
            notes
                .iter()
                .try_for_each(|note| writeln!(f, "    note     {note}"))?;
        }
        for LeftBuild { build, message, .. } in &self.left {
            writeln!(f, "left {build}: {message}")?;
        }
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        if let Some(Linked { files, bytes }) = &self.linked {
            writeln!(
                f,
                "{} linked, {} saved",
                counted(*files, "file"),
                size(*bytes)
            )?;
        }
        if self.repaired > 0 {
            writeln!(f, "{} changed", counted(self.repaired, "owner or mode"))?;
        }
        writeln!(
            f,
            "{} adopted, {} left, {} full before; {} hashed, {} read",
            counted(self.adopted.len(), "build"),
            self.left.len(),
            self.full,
            counted(self.files, "file"),
            size(self.read)
        )
    }
}

impl fmt::Display for AdoptPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.builds.iter().try_for_each(|build| build.fmt(f))?;
        for path in &self.misnamed {
            writeln!(f, "leave {path}: {MISNAMED}")?;
        }
        for alias in &self.aliases {
            let target = match &alias.target {
                AliasEntry::Build(date) => format!("{date}, which does not exist"),
                AliasEntry::Other(text) => format!("{text:?}, not at a build beside it"),
            };
            writeln!(
                f,
                "alias {}/{} points at {target}",
                alias.channel, alias.alias
            )?;
        }
        for data in &self.save_data {
            writeln!(
                f,
                "{}/SAVE_DATA keeps green builds {} days, yellow {}, red {}, others {}; in a retention policy:",
                data.channel, data.green, data.yellow, data.red, data.unknown
            )?;
            for line in data.policy.lines() {
                writeln!(f, "    {line}")?;
            }
        }
        let adopt = |build: &&PlannedBuild| matches!(build.decision, Decision::Adopt(_));
        let adopted = self.builds.iter().filter(adopt).count();
        writeln!(
            f,
            "{} to adopt, {} to leave, {} full already; {} to read",
            counted(adopted, "build"),
            self.builds.len() - adopted,
            self.full,
            size(self.bytes)
        )
    }
}

impl fmt::Display for PlannedBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decision {
            Decision::Leave { message, .. } => match &self.undated {
                None => writeln!(f, "leave {}: {message}", self.build),
                Some(_) => writeln!(f, "leave {}, undated: {message}", self.build.channel),
            },
            Decision::Adopt(adoption) => {
                writeln!(
                    f,
                    "adopt {}: {}, {} of {}",
                    self.build,
                    adoption.result,
                    counted(self.files, "file"),
                    size(self.bytes)
                )?;
                if let Some(undated) = &self.undated {
                    writeln!(
                        f,
                        "    undated  {}; moved into the build, with symlinks in their places",
                        undated.parts.join(", ")
                    )?;
                    writeln!(f, "    dated by {}", undated.dated_by)?;
                }
                f.write_str(&details(adoption))?;
                for note in &self.notes {
                    writeln!(f, "    note     {note}")?;
                }
                self.repairs(f)
            }
        }
    }
}

/// The evidence for the record, and the missing facts.
fn details(adoption: &Adoption) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "    {name:<8} {value}");
    };
    line("because", &adoption.evidence.join("; "));
    if let Some(verdict) = &adoption.verdict {
        line(
            "verdict",
            &format!("{} ({})", verdict.verdict, verdict.mark),
        );
    }
    if adoption.pin {
        line("pin", "KEEP");
    }
    line("unknown", &adoption.missing.join("; "));
    for note in &adoption.notes {
        line("note", note);
    }
    text
}

impl PlannedBuild {
    /// The first owners and modes that differ from those that the publisher sets.
    fn repairs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The number of them to name.
        const NAMED: usize = 3;
        for repair in self.repairs.iter().take(NAMED) {
            let path = repair
                .path
                .as_ref()
                .map_or("the directory", |path| path.as_str());
            let mut said = Vec::new();
            if let Some((found, right)) = repair.mode {
                said.push(format!("mode {found:04o}, not {right:04o}"));
            }
            if let Some((found, right)) = repair.owner {
                said.push(format!("owner {found}, not {right}"));
            }
            writeln!(f, "    modes    {path}: {}", said.join(", "))?;
        }
        match self.repairs.len().saturating_sub(NAMED) {
            0 if self.repairs.is_empty() => Ok(()),
            0 => writeln!(f, "    modes    `--fix-modes` changes them"),
            more => writeln!(
                f,
                "    modes    and {more} more; `--fix-modes` changes them"
            ),
        }
    }
}
