//! The journal of a build, from which a killed build is resumed.
//!
//! ```text
//! build.json       the request and its plan, written when the build starts
//! finished.jsonl   then a line for each attempt that starts, each phase that is over, and the sources
//! ```
//! If a kill cuts a line short, it is the last line, and is ignored.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{PhaseRecord, PhaseStatus, RecipeFileRecord, SourceRecord};

use crate::{BuildPlan, BuildRequest, PhasePlan};

/// The start of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The version of this format.
    pub schema: u32,
    /// The time at which it was written.
    pub time: DateTime<Utc>,
    /// The id of the machine's boot; empty if unknown.
    pub boot: String,
    /// The recipe file.
    pub recipe: Utf8PathBuf,
    /// The files of the recipe, and their digests at the start of the build.
    #[serde(default)]
    pub recipe_files: Vec<RecipeFileRecord>,
    /// True if the build runs although nothing changed.
    pub force: bool,
    /// True if `latest_build` may move back in time.
    pub force_alias: bool,
    /// True if sources that failed to build count as unchanged.
    #[serde(default)]
    pub skip_failed: bool,
    /// The globs of the changed files that count as a change; see [`PathRules`](crate::PathRules).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The request from which the plan was made.
    pub request: BuildRequest,
    /// The plan that is executed.
    pub plan: BuildPlan,
}

impl Started {
    /// The version of the format that this crate writes and reads.
    pub const SCHEMA: u32 = 1;

    /// A build that starts at `time` from a recipe file. It is not forced, and does not move an alias back. The boot of the
    /// machine is not known yet.
    pub fn new(
        recipe: Utf8PathBuf,
        request: BuildRequest,
        plan: BuildPlan,
        time: DateTime<Utc>,
    ) -> Self {
        Self {
            schema: Self::SCHEMA,
            time,
            boot: String::new(),
            recipe,
            recipe_files: Vec::new(),
            force: false,
            force_alias: false,
            skip_failed: false,
            paths: Vec::new(),
            request,
            plan,
        }
    }
}

/// The commits of a build at the end of the source phase.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourcesRead {
    /// The repositories, by path.
    pub records: Vec<SourceRecord>,
    /// Committer time of the newest commit, in seconds since 1970; absent without repositories.
    pub newest: Option<i64>,
}

/// One line of `finished.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// An attempt of a phase starts.
    Attempt {
        /// The phase.
        phase: String,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The time at which it was written.
        time: DateTime<Utc>,
    },
    /// A phase is over.
    Phase {
        /// The result.
        record: PhaseRecord,
    },
    /// The source phase succeeded with these commits.
    Sources {
        /// The commits.
        sources: SourcesRead,
    },
    /// Everything that phases wrote before the file had this many lines is on the disk.
    Synced {
        /// The number of lines.
        lines: usize,
    },
}

/// The progress of a build that was not published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Journal {
    /// The start of the build.
    pub started: Started,
    /// The phases that are over.
    pub records: Vec<PhaseRecord>,
    /// The phases that had started but were not over, with the number of their attempts and the time of the first.
    pub begun: BTreeMap<String, (u32, DateTime<Utc>)>,
    /// The commits, if the source phase succeeded.
    pub sources: Option<SourcesRead>,
}

impl Journal {
    /// Restores a build from the text of its lines. `boot` is the current boot of the machine. If it differs from the build's
    /// own, entries that had not reached the disk are dropped.
    pub fn new(started: Started, lines: &str, boot: &str) -> Self {
        let mut entries: Vec<Entry> = lines
            .split_inclusive('\n')
            .map_while(|line| serde_json::from_str(line.strip_suffix('\n')?).ok())
            .collect();
        if boot != started.boot {
            let synced = entries.iter().map(|entry| match entry {
                Entry::Synced { lines } => *lines,
                Entry::Attempt { .. } | Entry::Phase { .. } | Entry::Sources { .. } => 0,
            });
            entries.truncate(synced.max().unwrap_or(0));
        }
        let mut journal = Self {
            started,
            records: Vec::new(),
            begun: BTreeMap::new(),
            sources: None,
        };
        for entry in entries {
            match entry {
                Entry::Attempt {
                    phase,
                    attempt,
                    time,
                } => journal.begun.entry(phase).or_insert((attempt, time)).0 = attempt,
                Entry::Phase { record } if is_over(&record) => {
                    journal.begun.remove(&record.name);
                    journal.records.push(record);
                }
                Entry::Phase { .. } | Entry::Synced { .. } => {}
                Entry::Sources { sources } => journal.sources = Some(sources),
            }
        }
        journal
    }

    /// The lines of the journal, without those that were cut off.
    pub fn lines(&self) -> Vec<Entry> {
        let phases = self.records.iter().cloned();
        let phases = phases.map(|record| Entry::Phase { record });
        let sources = self.sources.iter().cloned();
        let begun = self
            .begun
            .iter()
            .map(|(phase, (attempt, time))| Entry::Attempt {
                phase: phase.clone(),
                attempt: *attempt,
                time: *time,
            });
        phases
            .chain(begun)
            .chain(sources.map(|sources| Entry::Sources { sources }))
            .collect()
    }

    /// The phases that were not over, in the order of the plan.
    pub fn unfinished(&self) -> Vec<&str> {
        let names = self.started.plan.phases.iter().map(|phase| &*phase.name);
        names
            .filter(|name| self.records.iter().all(|record| record.name != *name))
            .collect()
    }

    /// The differences from `now`, a plan made from the current recipe, one per line; empty if the build may be resumed.
    pub fn differences(&self, now: &BuildPlan) -> Vec<String> {
        let then = &self.started.plan;
        let mut differences = Vec::new();
        for phase in &then.phases {
            match now.phases.iter().find(|now| now.name == phase.name) {
                None => differences.push(format!("phase {} was removed", phase.name)),
                Some(now) if now != phase => {
                    differences.push(format!("phase {} changed", phase.name));
                }
                Some(_) => {}
            }
        }
        for phase in &now.phases {
            if then.phases.iter().all(|then| then.name != phase.name) {
                differences.push(format!("phase {} is new", phase.name));
            }
        }
        if differences.is_empty() && then != now {
            differences.push("settings of all phases changed".to_owned());
        }
        differences
    }

    /// The records of a build that is given up: those of the finished phases, and records with `reason` for the rest.
    pub fn given_up(&self, reason: &str) -> Vec<PhaseRecord> {
        let known = |name: &str| self.records.iter().find(|record| record.name == name);
        // Killed between two phases: the build failed at the next phase that does not always run.
        let next = if self.begun.is_empty() {
            let always = self.started.plan.phases.iter().filter(|it| it.always);
            let always: Vec<_> = always.map(|phase| &*phase.name).collect();
            let mut left = self.unfinished().into_iter();
            left.find(|name| !always.contains(name))
        } else {
            None
        };
        let given_up = |phase: &PhasePlan| {
            let begun = self.begun.get(&phase.name);
            PhaseRecord {
                name: phase.name.clone(),
                status: if begun.is_some() || next == Some(&*phase.name) {
                    PhaseStatus::Cancelled
                } else {
                    PhaseStatus::Skipped
                },
                required: phase.required,
                attempts: begun.map_or(0, |(attempts, _)| *attempts),
                started: begun.map(|(_, time)| *time),
                finished: None,
                reason: Some(reason.to_owned()),
            }
        };
        let phases = self.started.plan.phases.iter();
        phases
            .map(|phase| {
                known(&phase.name)
                    .cloned()
                    .unwrap_or_else(|| given_up(phase))
            })
            .collect()
    }
}

/// True if a phase has a final result, and need not run again.
fn is_over(record: &PhaseRecord) -> bool {
    match record.status {
        PhaseStatus::Succeeded | PhaseStatus::Failed | PhaseStatus::TimedOut => true,
        PhaseStatus::Cancelled | PhaseStatus::Skipped => false,
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
