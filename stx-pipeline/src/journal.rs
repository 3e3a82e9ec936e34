//! The journal of a build, from which it is resumed after it was killed.
//!
//! ```text
//! build.json       the request and its plan, written when the build starts
//! finished.jsonl   then a line for each attempt that starts, each phase that is over, and the sources
//! ```
//! A line that a kill cut short is the last one and is as if it were not there.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{PhaseRecord, PhaseStatus, RecipeFileRecord, SourceRecord};

use crate::{BuildPlan, BuildRequest, PhasePlan};

/// A build as it was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Version of this form.
    pub schema: u32,
    /// The time at which it was written.
    pub time: DateTime<Utc>,
    /// The boot of the machine, where it is known.
    pub boot: String,
    /// The recipe file.
    pub recipe: Utf8PathBuf,
    /// The files of the recipe, and their digests at the start of the build.
    #[serde(default)]
    pub recipe_files: Vec<RecipeFileRecord>,
    /// Whether it is built although nothing changed.
    pub force: bool,
    /// Whether `latest_build` may move back in time.
    pub force_alias: bool,
    /// Whether sources that failed to build are taken for unchanged.
    #[serde(default)]
    pub skip_failed: bool,
    /// The globs of the changed files that count as a change; see [`PathRules`](crate::PathRules).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The request that the plan was made of.
    pub request: BuildRequest,
    /// The plan that is executed.
    pub plan: BuildPlan,
}

impl Started {
    /// The version of the form that this crate writes and reads.
    pub const SCHEMA: u32 = 1;

    /// A build that starts at `time`, by a recipe file; it is not forced, and moves no alias back. The boot of the machine is
    /// not known yet.
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

/// The commits of a build, as they were when the source phase was over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SourcesRead {
    /// The gits, by path.
    pub records: Vec<SourceRecord>,
    /// Committer time of the newest commit, in seconds since 1970; absent without gits.
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
        /// Which, from 1.
        attempt: u32,
        /// The time at which it was written.
        time: DateTime<Utc>,
    },
    /// A phase is over.
    Phase {
        /// The result.
        record: PhaseRecord,
    },
    /// The source phase succeeded, and these are the commits.
    Sources {
        /// The commits.
        sources: SourcesRead,
    },
    /// Everything that phases wrote before the file had so many lines is on the disk.
    Synced {
        /// How many.
        lines: usize,
    },
}

/// A build that was not published, as far as it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Journal {
    /// How it started.
    pub started: Started,
    /// The phases that are over.
    pub records: Vec<PhaseRecord>,
    /// Those that had started and were not: how often, and when first.
    pub begun: BTreeMap<String, (u32, DateTime<Utc>)>,
    /// The commits, if the source phase succeeded.
    pub sources: Option<SourcesRead>,
}

impl Journal {
    /// Puts a build together from the text of its lines. `boot` is the boot of the machine now: in another one than the
    /// build's own, what was not on the disk yet is as if it had not happened.
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

    /// The lines that the journal has, whatever was cut off.
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

    /// The differences of `now`, a plan made of the recipe as it is now, a line each; empty if the build may be
    /// resumed.
    pub fn differences(&self, now: &BuildPlan) -> Vec<String> {
        let then = &self.started.plan;
        let mut differences = Vec::new();
        for phase in &then.phases {
            match now.phases.iter().find(|now| now.name == phase.name) {
                None => differences.push(format!("phase {} is gone", phase.name)),
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
            differences.push("what holds for all phases changed".to_owned());
        }
        differences
    }

    /// The records of a build that does not go on: what was over, and the rest as `reason` has it.
    pub fn given_up(&self, reason: &str) -> Vec<PhaseRecord> {
        let known = |name: &str| self.records.iter().find(|record| record.name == name);
        // Killed between two phases: the build failed at the next one that does not run in every case.
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

/// Whether a phase ended by itself, and need not run again.
fn is_over(record: &PhaseRecord) -> bool {
    match record.status {
        PhaseStatus::Succeeded | PhaseStatus::Failed | PhaseStatus::TimedOut => true,
        PhaseStatus::Cancelled | PhaseStatus::Skipped => false,
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
