//! The plan of publishing a build. Pure: a catalog and a request in, a plan out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use stx_layout::derived::{
    Repositories, file_of_control, file_of_metalink, image_of_bill, is_image_list,
};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildOutcome, BuildPath, BuildRecord, BuildState,
    Catalog, ChannelEntry, Section, Sums,
};

use crate::guard::{Cleared, Copies};
use crate::incoming::{Entry, Incoming, Problem, ProblemKind};
use crate::metadata::{Carried, is_carried};
use crate::privacy::PrivacyReport;
use crate::store::rules::{is_offered, sections_of};

mod controls;
mod mirror_files;
mod promotion;
mod show;
pub use controls::ControlRules;
pub use mirror_files::{Linked, MirrorFiles, Twin};
pub use promotion::{
    ORIGIN, Original, PromoteProblem, PromoteRequest, PromotedFile, Promotion, plan_promotion,
    promoted_path,
};
#[cfg(test)]
mod tests;

/// A request to publish a build.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// The record of the build, with its id and its outcome.
    pub record: BuildRecord,
    /// Its files, searched.
    pub tree: Cleared,
    /// The aliases that are to point at it if it is a success.
    pub aliases: Vec<AliasName>,
    /// Whether an alias may go back in time.
    pub force_alias: bool,
    /// Whether its sections can be read without a date once `latest_build` points at it.
    pub undated: bool,
    /// The sums of the build that the mirror has under this id already, where it has one.
    pub existing: Option<Sums>,
    /// The records of the build's own repository metadata that are published, by repository; the rest of the metadata
    /// is made anew.
    pub carried: BTreeMap<BuildPath, Carried>,
    /// Whether a success is refused if a package is not in the repository metadata, or a record is not carried over.
    pub strict: bool,
    /// The files that get a zsync control file.
    pub controls: ControlRules,
    /// The bytes that the mirror has, where it is to be said what will be linked.
    pub known: Option<MirrorFiles>,
    /// The time now.
    pub now: DateTime<Utc>,
}

impl PublishRequest {
    /// A request for `latest_build`, not forced.
    pub fn new(record: BuildRecord, tree: Cleared, now: DateTime<Utc>) -> Self {
        Self {
            record,
            tree,
            aliases: vec![AliasName::latest_build()],
            force_alias: false,
            undated: false,
            existing: None,
            carried: BTreeMap::new(),
            strict: false,
            controls: ControlRules::none(),
            known: None,
            now,
        }
    }
}

/// The plan of a publish; [`publish`](crate::publish()) executes it, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishPlan {
    /// The build.
    pub id: BuildId,
    /// How it ended.
    pub result: BuildOutcome,
    /// Whether its files are published.
    pub action: PublishAction,
    /// The decision about each alias, in order.
    pub aliases: Vec<AliasStep>,
    /// The sections that are offered without a date after `latest_build` was moved, where they are not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undated: Option<BTreeSet<Section>>,
    /// Files to publish, repository metadata not counted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Directories of which RPM repository metadata is made.
    pub repositories: BTreeSet<BuildPath>,
    /// Directories of which apt repository metadata is made.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub apt_repositories: BTreeSet<BuildPath>,
    /// Files beside which a zsync control file is made.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub controls: BTreeSet<BuildPath>,
    /// Files that are not published, because the publisher makes them itself.
    pub left_out: Vec<BuildPath>,
    /// The records of the build's own repository metadata that are published, by repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub carried: BTreeMap<BuildPath, Carried>,
    /// Whether it is refused if a package is not in the repository metadata, or a record is not carried over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// The texts that were redacted, and the files that were not searched.
    pub privacy: PrivacyReport,
    /// Where copies of its files lie, until the plan is done with.
    #[serde(skip)]
    pub copies: Copies,
    /// The files whose bytes the mirror has, and where; absent where nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked: Option<Linked>,
    /// The files and symlinks, the marker of the outcome among them.
    pub incoming: Incoming,
    /// The build whose bytes these are, of one that is promoted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// The record; its counts are filled in when the build is committed.
    #[serde(skip)]
    pub record: BuildRecord,
    /// Whether aliases move back, as the request says.
    #[serde(skip)]
    pub(crate) force_alias: bool,
}

impl PublishPlan {
    /// Whether there is nothing to do.
    pub fn is_noop(&self) -> bool {
        let moves = |step: &AliasStep| step.verdict.moves();
        self.action == PublishAction::Same
            && !self.aliases.iter().any(moves)
            && self.undated.is_none()
    }
}

/// Whether the files of a build are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishAction {
    /// They are published.
    New,
    /// Nothing: the mirror has this very build.
    Same,
}

/// The decision about one alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AliasStep {
    /// The alias.
    pub alias: AliasName,
    /// Its target now.
    pub shown: Option<AliasEntry>,
    /// The decision, with its reason.
    #[serde(flatten)]
    pub verdict: AliasVerdict,
}

/// The decision about an alias, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum AliasVerdict {
    /// It does not exist and is made.
    Create,
    /// It is moved to this build, the newest success.
    Move,
    /// It is moved to this build although a newer one is there, because that was asked for.
    Force {
        /// The newer build.
        newer: BuildDate,
    },
    /// It points at this build already.
    Stays,
    /// Not moved: this build is a failure.
    Failed,
    /// Not moved: a newer build is there.
    Older {
        /// The newer build.
        newer: BuildDate,
    },
}

impl AliasVerdict {
    /// Whether the alias is changed.
    pub fn moves(&self) -> bool {
        match self {
            Self::Create | Self::Move | Self::Force { .. } => true,
            Self::Stays | Self::Failed | Self::Older { .. } => false,
        }
    }
}

/// How a file of the request differs from the mirror's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "difference", content = "path", rename_all = "kebab-case")]
pub enum Difference {
    /// Other bytes.
    #[error("{0} has other bytes")]
    Bytes(BuildPath),
    /// Not on the mirror.
    #[error("{0} is not in the published build")]
    Added(BuildPath),
    /// Only on the mirror.
    #[error("{0} is only in the published build")]
    Removed(BuildPath),
}

/// A build that must not be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Some of it must not leave the build server.
    #[error("{id}: {}", list(problems))]
    Refused {
        /// The build.
        id: Box<BuildId>,
        /// All that is wrong, by path.
        problems: Vec<Problem>,
    },
    /// The mirror has another build under this id, and builds never change.
    #[error("{id}: another build is published under this name: {}{}", list(differences), more(*others))]
    Different {
        /// The build.
        id: Box<BuildId>,
        /// The first files that differ, by path.
        differences: Vec<Difference>,
        /// How many more there are.
        others: usize,
    },
    /// The mirror has a build of this id, and it cannot be told whether it is the same one.
    #[error("{id}: cannot be compared with the published build: {reason}")]
    Incomparable {
        /// The build.
        id: Box<BuildId>,
        /// The reason, as a text for people.
        reason: String,
    },
    /// A build that cannot become a release.
    #[error("{from} is not promoted to {id}: {}", list(problems))]
    NotPromotable {
        /// The build.
        from: Box<BuildId>,
        /// The build that it was to become.
        id: Box<BuildId>,
        /// All that is wrong.
        problems: Vec<PromoteProblem>,
    },
    /// More than a day ahead of the clock; as the newest build it would hold the aliases until then.
    #[error("{id}: the build date is ahead of the clock, which says {now}")]
    Ahead {
        /// The build.
        id: Box<BuildId>,
        /// The time now.
        now: DateTime<Utc>,
    },
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

fn more(others: usize) -> String {
    if others == 0 {
        String::new()
    } else {
        format!("; and {others} more")
    }
}

/// Decides what publishing a build means for a mirror.
pub fn plan(catalog: &Catalog, request: PublishRequest) -> Result<PublishPlan, PlanError> {
    let PublishRequest {
        record,
        tree,
        aliases,
        force_alias,
        undated,
        existing,
        carried,
        strict,
        controls,
        known,
        now,
    } = request;
    let (mut incoming, privacy, copies) = tree.into_parts();
    let id = Box::new(record.id.clone());
    if id.date.time() - now > TimeDelta::days(1) {
        return Err(PlanError::Ahead { id, now });
    }
    let repositories = Repositories::of(incoming.entries.keys());
    let is_left_out =
        |path: &BuildPath| repositories.is_metadata(path) && !is_carried(&carried, path);
    let left_out: Vec<_> = incoming
        .entries
        .keys()
        .filter(|path| is_left_out(path))
        .cloned()
        .collect();
    incoming.entries.retain(|path, _| !is_left_out(path));

    let marker = BuildRecord::marker(record.result);
    incoming
        .entries
        .entry(marker)
        .or_insert(Entry::Generated(Bytes::new()));
    let mut problems = incoming.problems();
    problems.extend(incoming.loops(&repositories.rpm));
    let other = BuildRecord::marker(match record.result {
        BuildOutcome::Success => BuildOutcome::Fail,
        BuildOutcome::Fail => BuildOutcome::Success,
    });
    if incoming.entries.contains_key(&other) {
        problems.push(Problem {
            path: other.to_string(),
            kind: ProblemKind::Marker {
                result: record.result.to_string(),
            },
        });
    }
    if !problems.is_empty() {
        return Err(PlanError::Refused { id, problems });
    }

    let action = match catalog.build(&id).map(|build| &build.state) {
        None => PublishAction::New,
        Some(BuildState::Unreadable(reason)) => {
            return Err(PlanError::Incomparable {
                id,
                reason: reason.clone(),
            });
        }
        Some(BuildState::Known(_)) => {
            let Some(existing) = existing else {
                return Err(PlanError::Incomparable {
                    id,
                    reason: "its SHA256SUMS were not read".to_owned(),
                });
            };
            let Some((sums, _)) = incoming.sums() else {
                return Err(PlanError::Incomparable {
                    id,
                    reason: "the files were not hashed".to_owned(),
                });
            };
            same(&id, &incoming, &sums, &existing, &repositories)?;
            PublishAction::Same
        }
    };
    let aliases = alias_steps(catalog, aliases, &record, force_alias);
    let undated = undated && latest_leads(&aliases);
    let undated = undated.then(|| to_offer(catalog, &id, incoming.entries.keys()));
    Ok(PublishPlan {
        action,
        aliases,
        undated: undated.flatten(),
        files: incoming.files(),
        bytes: incoming.bytes(),
        result: record.result,
        id: *id,
        repositories: repositories.rpm,
        apt_repositories: repositories.apt,
        controls: controls.select(&incoming),
        left_out,
        carried,
        // The logs of a failure are needed, whatever its packages are like.
        strict: strict && record.result == BuildOutcome::Success,
        copies,
        privacy,
        linked: known.map(|known| known.linked(&incoming)),
        incoming,
        promotion: None,
        record,
        force_alias,
    })
}

/// Whether `latest_build` points at the build once these steps are taken.
pub(crate) fn latest_leads(aliases: &[AliasStep]) -> bool {
    let latest = AliasName::latest_build();
    let mut steps = aliases.iter();
    steps.any(|step| {
        step.alias == latest && (step.verdict.moves() || step.verdict == AliasVerdict::Stays)
    })
}

/// The sections of a build that are offered without a date; `None` where they are.
fn to_offer<'a>(
    catalog: &Catalog,
    id: &BuildId,
    paths: impl Iterator<Item = &'a BuildPath>,
) -> Option<BTreeSet<Section>> {
    let sections = sections_of(paths);
    let entry = catalog.channels.get(&id.channel);
    let is_offered = entry.is_some_and(|entry| is_offered(entry, &sections, id.date));
    (!is_offered).then_some(sections)
}

/// Decides about each alias.
fn alias_steps(
    catalog: &Catalog,
    aliases: impl IntoIterator<Item = AliasName>,
    record: &BuildRecord,
    force: bool,
) -> Vec<AliasStep> {
    let none = ChannelEntry::default();
    let channel = catalog.channels.get(&record.id.channel).unwrap_or(&none);
    let steps = aliases.into_iter().map(|alias| {
        let shown = channel.aliases.get(&alias).cloned();
        let verdict = alias_verdict(channel, shown.as_ref(), record, force);
        AliasStep {
            alias,
            shown,
            verdict,
        }
    });
    steps.collect()
}

/// Refuses sums that are not those of the published build. What the publisher makes is made anew each time and not
/// compared: repository metadata, bills of materials, zsync control files, metalinks, lists of images, and what lies beside `inputs` and `outputs`.
fn same(
    id: &BuildId,
    incoming: &Incoming,
    sums: &Sums,
    existing: &Sums,
    repositories: &Repositories,
) -> Result<(), PlanError> {
    /// How many files are named.
    const NAMED: usize = 5;
    let is_derived = |path: &BuildPath| {
        let is_bill = image_of_bill(path).is_some_and(|image| sums.get(&image).is_some())
            && !matches!(incoming.entries.get(path), Some(Entry::File { .. }));
        let is_metalink = file_of_metalink(path).is_some_and(|file| sums.get(&file).is_some())
            && !incoming.entries.contains_key(path);
        let is_control = file_of_control(path).is_some_and(|file| sums.get(&file).is_some())
            && !incoming.entries.contains_key(path);
        is_bill
            || is_control
            || is_metalink
            || is_image_list(path)
            || repositories.is_metadata(path)
            || path.parent().is_none()
    };
    let mut differences: Vec<(BuildPath, Difference)> = Vec::new();
    for line in sums.lines().iter().filter(|line| !is_derived(&line.path)) {
        let path = line.path.clone();
        match existing.get(&path) {
            Some(digest) if digest == line.digest => {}
            Some(_) => differences.push((path.clone(), Difference::Bytes(path))),
            None => differences.push((path.clone(), Difference::Added(path))),
        }
    }
    for line in existing.lines() {
        if sums.get(&line.path).is_none() && !is_derived(&line.path) {
            differences.push((line.path.clone(), Difference::Removed(line.path.clone())));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    differences.sort_by(|a, b| a.0.cmp(&b.0));
    let others = differences.len().saturating_sub(NAMED);
    let differences = differences
        .into_iter()
        .take(NAMED)
        .map(|(_, difference)| difference)
        .collect();
    Err(PlanError::Different {
        id: Box::new(id.clone()),
        differences,
        others,
    })
}

/// An alias is moved to a success only, and back in time only where that is forced.
pub fn alias_verdict(
    channel: &ChannelEntry,
    shown: Option<&AliasEntry>,
    record: &BuildRecord,
    force: bool,
) -> AliasVerdict {
    let date = record.id.date;
    if record.result == BuildOutcome::Fail {
        return AliasVerdict::Failed;
    }
    // What the alias shows counts as newer unless it is known to be no success: unknown means keep.
    let shown_date = match shown {
        Some(AliasEntry::Build(shown)) => Some(*shown),
        Some(AliasEntry::Other(_)) | None => None,
    };
    if shown_date == Some(date) {
        return AliasVerdict::Stays;
    }
    let shown_newer = shown_date.filter(|shown| {
        let build = channel.builds.get(shown);
        *shown > date && build.is_some_and(|build| build.is_success() || build.record().is_none())
    });
    let newer = shown_newer
        .into_iter()
        .chain(channel.newest_success().filter(|newest| *newest > date))
        .max();
    match (newer, force, shown) {
        (Some(newer), true, _) => AliasVerdict::Force { newer },
        (Some(newer), false, _) => AliasVerdict::Older { newer },
        (None, _, None) => AliasVerdict::Create,
        (None, _, Some(_)) => AliasVerdict::Move,
    }
}
