//! The deliverables of a build, and its record.

use camino::Utf8PathBuf;
use serde::Serialize;
use stx_layout::{
    BuildOutcome, BuildPath, BuildRecord, PhaseRecord, PhaseStatus, SourceRecord, counted,
    redact_urls,
};

use crate::{BuildPlan, On, PhasePlan};

/// A file to publish.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Deliverable {
    /// Its path in the build.
    pub path: BuildPath,
    /// Its current path; a symlink is published itself, not its target.
    pub source: Utf8PathBuf,
}

/// Files that a phase must publish, but that do not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingDeliverable {
    /// The phase that publishes them.
    pub phase: String,
    /// The glob as written in the recipe.
    pub glob: String,
    /// The least number of files.
    pub wanted: usize,
    /// The number of files found.
    pub found: usize,
}

impl std::fmt::Display for MissingDeliverable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            phase,
            glob,
            wanted,
            found,
        } = self;
        write!(
            f,
            "phase {phase}: {glob}: {}, at least {wanted} required",
            counted(*found, "file")
        )
    }
}

/// The files that a build is to publish, and the missing ones.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Collection {
    /// The files, by path.
    pub deliverables: Vec<Deliverable>,
    /// The globs of the recipe that match too few files.
    pub missing: Vec<MissingDeliverable>,
}

/// True if the files of a phase are expected: the phase succeeded, or the build cannot succeed without it.
pub(crate) fn expected(phase: &PhasePlan, records: &[PhaseRecord]) -> bool {
    phase.required || succeeded(phase, records)
}

pub(crate) fn succeeded(phase: &PhasePlan, records: &[PhaseRecord]) -> bool {
    records
        .iter()
        .any(|record| record.name == phase.name && record.status == PhaseStatus::Succeeded)
}

/// True if a build never reached a commit: its source phase did not succeed, so its sources are unknown. For example, the
/// branch does not exist. Such a build must not be published.
pub fn reached_no_commit(
    plan: &BuildPlan,
    sources: &[SourceRecord],
    records: &[PhaseRecord],
) -> bool {
    let failed = |phase: &PhasePlan| phase.source && phase.required && !succeeded(phase, records);
    !plan.repositories.is_empty() && sources.is_empty() && plan.phases.iter().any(failed)
}

/// The phases whose files the preview offered.
fn previewed(plan: &BuildPlan, records: &[PhaseRecord]) -> Vec<String> {
    let Some(offered) = &plan.preview else {
        return Vec::new();
    };
    let phases = plan.phases.iter().filter(|phase| {
        let on = if succeeded(phase, records) {
            On::Success
        } else {
            On::Failure
        };
        let ran = |record: &PhaseRecord| record.name == phase.name && record.attempts > 0;
        records.iter().any(ran)
            && offered.contains(&phase.name)
            && phase.publish.iter().any(|rule| rule.on == on)
    });
    phases.map(|phase| phase.name.clone()).collect()
}

/// The record of a build: a success if every required phase succeeded and no deliverable is missing.
///
/// The publisher adds the images, and the number and size of the files.
pub fn conclude(
    plan: &BuildPlan,
    sources: &[SourceRecord],
    records: &[PhaseRecord],
    collection: &Collection,
) -> BuildRecord {
    let complete = plan
        .phases
        .iter()
        .all(|phase| !phase.required || succeeded(phase, records));
    let result = if complete && collection.missing.is_empty() {
        BuildOutcome::Success
    } else {
        BuildOutcome::Fail
    };
    let failing =
        |record: &&PhaseRecord| record.required && record.status != PhaseStatus::Succeeded;
    // Interrupted phases come after failed ones, and before those that never ran.
    let first = records.iter().filter(failing).min_by_key(|record| {
        let skipped = record.status == PhaseStatus::Skipped;
        (skipped, record.finished.is_none(), record.finished)
    });
    let mut sources = sources.to_vec();
    sources.sort();
    let mut record = BuildRecord::new(plan.id.clone(), result);
    record.trigger = plan
        .trigger
        .as_deref()
        .map(|trigger| redact_urls(trigger).into_owned());
    record.after = plan.after.as_ref().map(|below| below.after.clone());
    record.branch = Some(plan.branch.clone());
    record.recipe = Some(plan.recipe.clone());
    record.sources = sources;
    record.phases = records.to_vec();
    record.previewed_phases = previewed(plan, records);
    record.first_failing_phase = first.map(|record| record.name.clone());
    record.required_deliverables = plan
        .phases
        .iter()
        .filter(|phase| expected(phase, records))
        .flat_map(|phase| &phase.publish)
        .filter(|rule| rule.min > 0)
        .map(|rule| rule.from.clone())
        .collect();
    record.missing_deliverables = collection
        .missing
        .iter()
        .map(|missing| missing.glob.clone())
        .collect();
    record
}
