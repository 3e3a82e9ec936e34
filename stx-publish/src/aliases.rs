//! The names above the channels: which of them a mirror must have, and how they are set.
//!
//! ```text
//! AliasPolicy, catalog, aliases ──plan_root──> RootStep* ──settle_root──> links
//! PublishPlan, catalog ──catalog_after──┘ (a dry run)
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use stx_layout::{
    AliasEntry, BuildEntry, BuildState, Catalog, Channel, ReleaseKind, RootAlias, RootEntry,
    RootTarget,
};

use crate::plan::PublishPlan;
use crate::store::rules::{next_release, root_targets, show_root};
use crate::store::{MirrorStore, Scope, StoreError};

/// The names above the channels that a mirror must have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AliasPolicy {
    /// Names with a fixed target: `r2018.10`. If `release/latest_release` is among them, it does not follow the releases.
    pub links: BTreeMap<RootAlias, RootTarget>,
    /// True if `release/latest_release` follows the newest release.
    pub latest_release: bool,
    /// True if the mirror must have no other names: verification then reports each one. Without a configured list of names, as on a
    /// downstream mirror, any name is allowed.
    pub exclusive: bool,
}

impl AliasPolicy {
    /// True if `release/latest_release` is moved automatically.
    pub fn follows_releases(&self) -> bool {
        self.latest_release && !self.links.contains_key(&RootAlias::LatestRelease)
    }

    /// True if a change of this channel can change an alias or the build that it shows.
    pub fn concerns(&self, channel: &Channel) -> bool {
        let is_release = channel.release.kind() == ReleaseKind::Release;
        (is_release && self.follows_releases())
            || self.links.values().any(|target| target.holds(channel))
    }

    /// True if the policy sets the target of this alias.
    pub fn names(&self, alias: &RootAlias) -> bool {
        self.links.contains_key(alias)
            || (*alias == RootAlias::LatestRelease && self.follows_releases())
    }
}

/// The decision about an alias above the channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RootStep {
    /// The alias.
    pub alias: RootAlias,
    /// Its current target.
    pub shown: Option<RootEntry>,
    /// The target that the alias gets, or already has.
    pub to: RootTarget,
    /// The decision.
    pub verdict: RootVerdict,
}

/// The decision about an alias above the channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootVerdict {
    /// The alias does not exist and is created.
    Create,
    /// The alias is moved.
    Move,
    /// The alias already points to its target.
    Stays,
    /// The alias is not created until its target has a build.
    Waits,
}

impl RootVerdict {
    /// True if the alias is changed.
    pub fn moves(self) -> bool {
        match self {
            Self::Create | Self::Move => true,
            Self::Stays | Self::Waits => false,
        }
    }
}

impl fmt::Display for RootStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            alias, to, shown, ..
        } = self;
        match self.verdict {
            RootVerdict::Create => write!(f, "{alias} -> {to}"),
            RootVerdict::Move => {
                write!(f, "{alias} -> {to}, before: {}", show_root(shown.as_ref()))
            }
            RootVerdict::Stays => write!(f, "{alias} stays at {to}"),
            RootVerdict::Waits => write!(f, "{alias} is not made: {to} has no build"),
        }
    }
}

/// The catalog as it will be after a plan is executed: with its build, and with the aliases of its channel at their new
/// targets. [`plan_root`] of this catalog shows the names that the publish will move.
#[must_use]
pub fn catalog_after(mut catalog: Catalog, plan: &PublishPlan) -> Catalog {
    let (id, record) = (&plan.id, &plan.record);
    let entry = catalog.channels.entry(id.channel.clone()).or_default();
    entry.builds.entry(id.date).or_insert_with(|| BuildEntry {
        state: BuildState::Known(Box::new(record.clone())),
        keep_file: false,
    });
    let moved = plan.aliases.iter().filter(|step| step.verdict.moves());
    let moved = moved.map(|step| (step.alias.clone(), AliasEntry::Build(id.date)));
    entry.aliases.extend(moved);
    catalog
}

/// Plans the targets of a policy's aliases; other aliases stay. `forced` lets `release/latest_release` move to an older release.
pub fn plan_root(
    catalog: &Catalog,
    aliases: &BTreeMap<RootAlias, RootEntry>,
    policy: &AliasPolicy,
    forced: bool,
) -> Vec<RootStep> {
    let targets = root_targets(catalog);
    let step = |alias: &RootAlias, to: &RootTarget| {
        let shown = aliases.get(alias).cloned();
        let verdict = match &shown {
            _ if !targets.contains(to) => RootVerdict::Waits,
            None => RootVerdict::Create,
            Some(RootEntry::To(shown)) if shown == to => RootVerdict::Stays,
            Some(_) => RootVerdict::Move,
        };
        RootStep {
            alias: alias.clone(),
            shown,
            to: to.clone(),
            verdict,
        }
    };
    let mut steps: Vec<_> = policy
        .links
        .iter()
        .map(|(alias, to)| step(alias, to))
        .collect();
    if policy.follows_releases() {
        let alias = RootAlias::LatestRelease;
        let shown = aliases.get(&alias);
        let stays = shown.and_then(RootEntry::target).cloned();
        let next = next_release(catalog, shown, forced).map(RootTarget::Release);
        steps.extend(next.or(stays).map(|to| step(&alias, &to)));
    }
    // Aliases that were made by hand keep their targets: on a bucket they show what the aliases of their channels show.
    let others = aliases.iter().filter(|(alias, _)| !policy.names(alias));
    let others = others.filter_map(|(alias, shown)| Some((alias, shown.target()?)));
    let others = others.filter(|(alias, to)| alias.fits(to));
    steps.extend(others.map(|(alias, to)| step(alias, to)));
    steps
}

/// Creates and moves the aliases of a policy, under their lock. Also completes aliases that stay but were left incomplete by a crash.
///
/// # Errors
/// Those of the store. Repeat the call to resume.
pub async fn settle_root(
    store: &dyn MirrorStore,
    policy: &AliasPolicy,
    forced: bool,
) -> Result<Vec<RootStep>, StoreError> {
    let writer = store.lock_aliases().await?;
    // Decided under the lock: if two releases are published at the same time, the later decision must see both builds.
    let catalog = store.catalog(&Scope::All).await?;
    let aliases = store.root_aliases().await?;
    let steps = plan_root(&catalog, &aliases, policy, forced);
    for step in &steps {
        match step.verdict {
            RootVerdict::Create | RootVerdict::Move | RootVerdict::Stays => {
                let shown = step.shown.as_ref();
                writer.link(&step.alias, shown, Some(&step.to)).await?;
            }
            RootVerdict::Waits => {}
        }
    }
    Ok(steps)
}
