//! The plan of publishing a build. Pure: a function from a catalog and a request to a plan.

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
    /// Its files, already searched.
    pub tree: Cleared,
    /// The aliases to point at it if it is a success.
    pub aliases: Vec<AliasName>,
    /// True if an alias may move to an older build.
    pub force_alias: bool,
    /// True if its sections can be read without a date once `latest_build` points at it.
    pub undated: bool,
    /// The sums of the build that the mirror already has under this id, if any.
    pub existing: Option<Sums>,
    /// The records of the build's own repository metadata that are published, by repository; the rest of the metadata is made
    /// anew.
    pub carried: BTreeMap<BuildPath, Carried>,
    /// True if a success is refused when a package is missing from the repository metadata, or a record is not carried over.
    pub strict: bool,
    /// The files that get a zsync control file.
    pub controls: ControlRules,
    /// The files that the mirror has, if the plan is to show which files will be linked.
    pub known: Option<MirrorFiles>,
    /// The current time.
    pub now: DateTime<Utc>,
}

impl PublishRequest {
    /// A request that moves `latest_build`, and not to an older build.
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

/// The plan of a publish; [`publish`](crate::publish()) executes exactly this plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishPlan {
    /// The build.
    pub id: BuildId,
    /// Its outcome.
    pub result: BuildOutcome,
    /// The decision to publish its files, or not.
    pub action: PublishAction,
    /// The decision about each alias, in order.
    pub aliases: Vec<AliasStep>,
    /// The sections that are offered without a date after `latest_build` was moved; absent if they already are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undated: Option<BTreeSet<Section>>,
    /// The number of files to publish, without repository metadata.
    pub files: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// Directories for which RPM repository metadata is made.
    pub repositories: BTreeSet<BuildPath>,
    /// Directories for which apt repository metadata is made.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub apt_repositories: BTreeSet<BuildPath>,
    /// Files beside which a zsync control file is made.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub controls: BTreeSet<BuildPath>,
    /// Files that are not published, because the publisher makes its own version.
    pub left_out: Vec<BuildPath>,
    /// The records of the build's own repository metadata that are published, by repository.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub carried: BTreeMap<BuildPath, Carried>,
    /// True if the build is refused when a package is missing from the repository metadata, or a record is not carried over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict: bool,
    /// The texts that were redacted, and the files that were not searched.
    pub privacy: PrivacyReport,
    /// The owners of the directories with copies of its files, which exist as long as the plan.
    #[serde(skip)]
    pub copies: Copies,
    /// The files that the mirror already has, and their places; absent if the request did not ask for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked: Option<Linked>,
    /// The files and symlinks, including the marker of the outcome.
    pub incoming: Incoming,
    /// For a promotion, the build that supplies the bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promotion: Option<Promotion>,
    /// The record; its counts are filled in when the build is committed.
    #[serde(skip)]
    pub record: BuildRecord,
    /// True if aliases may move to an older build, as the request says.
    #[serde(skip)]
    pub(crate) force_alias: bool,
}

impl PublishPlan {
    /// True if nothing needs to be done.
    pub fn is_noop(&self) -> bool {
        let moves = |step: &AliasStep| step.verdict.moves();
        self.action == PublishAction::Same
            && !self.aliases.iter().any(moves)
            && self.undated.is_none()
    }
}

/// The decision to publish the files of a build, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishAction {
    /// They are published.
    New,
    /// The mirror already has this very build; nothing is published.
    Same,
}

/// The decision about one alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AliasStep {
    /// The alias.
    pub alias: AliasName,
    /// Its current target.
    pub shown: Option<AliasEntry>,
    /// The decision, with its reason.
    #[serde(flatten)]
    pub verdict: AliasVerdict,
}

/// The decision about an alias, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum AliasVerdict {
    /// It does not exist and is created.
    Create,
    /// It is moved to this build, which is the newest success.
    Move,
    /// It is moved to this build although a newer one exists, because the request forces it.
    Force {
        /// The newer build.
        newer: BuildDate,
    },
    /// It already points at this build.
    Stays,
    /// It is not moved: this build failed.
    Failed,
    /// It is not moved: a newer build exists.
    Older {
        /// The newer build.
        newer: BuildDate,
    },
}

impl AliasVerdict {
    /// True if the alias is changed.
    pub fn moves(&self) -> bool {
        match self {
            Self::Create | Self::Move | Self::Force { .. } => true,
            Self::Stays | Self::Failed | Self::Older { .. } => false,
        }
    }
}

/// A difference between a file of the request and the mirror's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "difference", content = "path", rename_all = "kebab-case")]
pub enum Difference {
    /// The bytes differ.
    #[error("{0} has other bytes")]
    Bytes(BuildPath),
    /// The file is not on the mirror.
    #[error("{0} is not in the published build")]
    Added(BuildPath),
    /// The file is only on the mirror.
    #[error("{0} is only in the published build")]
    Removed(BuildPath),
}

/// A build that must not be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Some of its files must not be published.
    #[error("{id}: {}", list(problems))]
    Refused {
        /// The build.
        id: Box<BuildId>,
        /// All problems, by path.
        problems: Vec<Problem>,
    },
    /// The mirror has another build with this id, and builds never change.
    #[error("{id}: another build is published under this name: {}{}", list(differences), more(*others))]
    Different {
        /// The build.
        id: Box<BuildId>,
        /// The first files that differ, by path.
        differences: Vec<Difference>,
        /// The number of further ones.
        others: usize,
    },
    /// The mirror has a build with this id, and it cannot be compared.
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
        /// The build that it should become.
        id: Box<BuildId>,
        /// All problems.
        problems: Vec<PromoteProblem>,
    },
    /// Its date is more than a day in the future; as the newest build, it would keep the aliases until then.
    #[error("{id}: the build date is ahead of the clock, which says {now}")]
    Ahead {
        /// The build.
        id: Box<BuildId>,
        /// The current time.
        now: DateTime<Utc>,
    },
}

impl PlanError {
    /// Refuses a date that is [ahead](Self::Ahead) of `now`.
    pub fn check_date(id: &BuildId, now: DateTime<Utc>) -> Result<(), Self> {
        if id.date.time() - now > TimeDelta::days(1) {
            let id = Box::new(id.clone());
            return Err(Self::Ahead { id, now });
        }
        Ok(())
    }
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

/// Plans the publication of a build on a mirror.
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
    PlanError::check_date(&id, now)?;
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
        // The logs of a failed build are needed, whatever the state of its packages.
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

/// True if `latest_build` points at the build after these steps.
pub(crate) fn latest_leads(aliases: &[AliasStep]) -> bool {
    let latest = AliasName::latest_build();
    let mut steps = aliases.iter();
    steps.any(|step| {
        step.alias == latest && (step.verdict.moves() || step.verdict == AliasVerdict::Stays)
    })
}

/// The sections of a build to offer without a date; `None` if they are already offered.
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

/// Makes the decision about each alias.
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

/// Refuses sums that differ from those of the published build. Files that the publisher makes are made anew each time, so they
/// are not compared: repository metadata, bills of materials, zsync control files, metalinks, lists of images, and the files beside
/// `inputs` and `outputs`.
fn same(
    id: &BuildId,
    incoming: &Incoming,
    sums: &Sums,
    existing: &Sums,
    repositories: &Repositories,
) -> Result<(), PlanError> {
    /// The number of files that the error names.
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

/// Decides about an alias: it is moved only to a success, and to an older build only if `force` is set.
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
    // The alias's current build counts as newer unless it is known to be a failure: if unknown, the alias stays.
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
