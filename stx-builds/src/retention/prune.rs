//! Plan retention, and apply a plan step by step.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use stx_layout::{
    AliasEntry, BuildDate, BuildEntry, BuildId, Catalog, Channel, ImageName, ReleaseId, counted,
    redact_urls,
};
use stx_publish::{
    ChannelWriter, MirrorStore, OwedTags, Retired, Scope, StoreError, ThinnedSection,
};
use stx_retention::{Calendar, PolicyInputs, PrunePlan, SectionEntry, Step, Warning};
use tracing::info;

use super::{add_verdicts, dropped, facts, policy, protections, thinned};
use crate::error::Error;
use crate::images::Registry;
use crate::{Mirror, Site, pages, refused};

pub use crate::taken::GRACE;

/// The result of a run of `prune`.
#[derive(Debug, Serialize)]
pub struct Pruned {
    /// The plan that was executed.
    pub plan: PrunePlan,
    /// The retired builds; `undelete` restores them.
    pub retired: Vec<BuildId>,
    /// The retired sections; `undelete` restores them, too.
    pub thinned: Vec<String>,
    /// The steps that were not taken, each a build or a section of one, with the reason.
    pub left: BTreeMap<String, String>,
    /// The leftovers of interrupted runs that this run finished.
    pub finished: Vec<String>,
    /// The entries of the trash that were purged: their grace period was over.
    pub purged: Vec<Retired>,
    /// The entries that were kept because the clock may be wrong: by that clock their grace period is over.
    pub doubted: Vec<Retired>,
    /// The tags on the registry that were removed with them.
    pub untagged: Vec<ImageName>,
    /// The tags that stay, with the reasons.
    pub tags_kept: BTreeMap<ImageName, String>,
    /// The keys of [`left`](Self::left) that failed, rather than being kept on purpose.
    #[serde(skip)]
    pub failed: BTreeSet<String>,
}

impl Pruned {
    fn of(plan: PrunePlan) -> Self {
        Self {
            plan,
            retired: Vec::new(),
            thinned: Vec::new(),
            left: BTreeMap::new(),
            finished: Vec::new(),
            purged: Vec::new(),
            doubted: Vec::new(),
            untagged: Vec::new(),
            tags_kept: BTreeMap::new(),
            failed: BTreeSet::new(),
        }
    }

    /// Records a failed step. The other steps are taken nevertheless: on a full disk, one of them makes room.
    fn fail(&mut self, what: String, why: &Error) {
        self.left.insert(what.clone(), why.line());
        self.failed.insert(what);
    }

    /// The steps that failed, each with its reason.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.failed.iter().map(|what| {
            let why = self.left.get(what).map_or("", String::as_str);
            format!("{what}: {why}")
        })
    }
}

impl Site {
    /// The plan of the retention policy for the current time; `allow` replaces the policy's limit of removals.
    pub async fn plan_prune(&self, allow: Option<u64>) -> Result<PrunePlan, Error> {
        let store = self.mirror()?;
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        let mut policy = policy(self)?.policy;
        policy.limits.allow = allow.or(policy.limits.allow);
        let facts = facts(&store, &catalog).await?;
        Ok(stx_retention::plan_with(
            &catalog, &facts, &policy, self.now,
        ))
    }

    /// Applies exactly this plan, each step only if all of its reasons still hold, and purges the builds whose grace period is over;
    /// with `empty_trash`, the whole trash.
    ///
    /// The report contains what was done even if an error ended the run.
    pub async fn apply_prune(
        &self,
        plan: PrunePlan,
        allow: Option<u64>,
        empty_trash: bool,
    ) -> Result<(Pruned, Result<(), Error>), Error> {
        let store = self.mirror()?;
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        let mut policy = policy(self)?.policy;
        policy.limits.allow = allow.or(policy.limits.allow);
        let doubt = stx_retention::clock_doubt(&catalog, &policy, self.now).is_some();
        let mut pruned = Pruned::of(plan);
        let applied = apply(
            self,
            &store,
            &policy.calendar,
            doubt,
            empty_trash,
            &mut pruned,
        )
        .await;
        Ok((pruned, applied))
    }
}

/// Applies the policy, as the service does on its schedule. Returns a one-line summary, and the builds that stay although they are
/// due.
pub(crate) async fn prune_now(site: &Site) -> Result<stx_service::Pruned, Error> {
    let store = site.mirror()?;
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let facts = facts(&store, &catalog).await?;
    let policy = policy(site)?.policy;
    let plan = stx_retention::plan_with(&catalog, &facts, &policy, site.now);
    let mut done: Vec<_> = plan.warnings.iter().map(ToString::to_string).collect();
    let mut blocked: BTreeMap<_, _> = plan.warnings.iter().filter_map(blocks).collect();
    let doubt = stx_retention::clock_doubt(&catalog, &policy, site.now).is_some();
    let mut pruned = Pruned::of(plan);
    let applied = apply(site, &store, &policy.calendar, doubt, false, &mut pruned).await;
    pages::renew(site, &*store, site.now).await;
    let failed: Vec<_> = pruned
        .failures()
        .chain(applied.err().map(|failure| failure.line()))
        .collect();
    if let Some(first) = failed.first() {
        let text = match failed.len() {
            1 => format!("1 step failed, {first}"),
            count => format!("{count} steps failed, the first one: {first}"),
        };
        let whole = blocked.entry(MIRROR.to_owned()).or_default();
        if !whole.is_empty() {
            whole.push_str("; ");
        }
        whole.push_str(&text);
        done.push(text);
    }
    let left = pruned
        .left
        .iter()
        .map(|(what, why)| format!("left {what}: {why}"));
    done.extend(left);
    done.extend(pruned.doubted.iter().map(stays));
    let (retired, purged) = (pruned.retired.len(), pruned.purged.len());
    done.push(format!(
        "{} retired, {purged} purged",
        counted(retired, "build")
    ));
    let (sections, entries) = (pruned.plan.sections.iter(), pruned.plan.expire.iter());
    let gone = entries.filter(|entry| pruned.retired.contains(&entry.build));
    let thinned = sections.filter(|entry| {
        let name = format!("{}/{}", entry.build, entry.section);
        pruned.thinned.contains(&name)
    });
    let bytes = gone.map(|entry| entry.bytes_freed);
    let bytes = bytes.chain(thinned.map(|entry| entry.bytes_freed));
    Ok(stx_service::Pruned {
        text: done.join("; "),
        blocked,
        failed: !failed.is_empty(),
        retired: retired as u64,
        purged: purged as u64,
        bytes: bytes.sum(),
    })
}

/// The subject of an alarm that concerns more than one channel.
const MIRROR: &str = "mirror";

/// The channel that a warning blocks, or `mirror`, with the warning's text; `None` if it blocks nothing.
fn blocks(warning: &Warning) -> Option<(String, String)> {
    warning.allow()?;
    let subject = limited(warning).map_or_else(|| MIRROR.to_owned(), ToString::to_string);
    Some((subject, warning.to_string()))
}

/// The channel in which too many builds are eligible, so that none of them is removed.
pub fn limited(warning: &Warning) -> Option<&Channel> {
    match warning {
        Warning::RemovalLimit { channel, .. } => Some(channel),
        Warning::ClockDoubted { .. }
        | Warning::FutureBuilds { .. }
        | Warning::UnreadableRecords { .. }
        | Warning::Strays { .. }
        | Warning::DanglingAlias { .. }
        | Warning::PinOfNothing { .. }
        | Warning::NoRelease { .. }
        | Warning::SpaceShort { .. } => None,
    }
}

/// The result of a step: the retired entries, or the reason for not taking it.
enum Outcome {
    Done(Vec<Retired>),
    Left(String),
}

/// The reason why a retired build is not purged, in one line.
pub fn stays(retired: &Retired) -> String {
    format!("{retired} stays in the trash: the clock may be wrong")
}

/// Executes the plan of `pruned` step by step, each step only if all of its reasons still hold, and records the results there. With a
/// `doubt` of the clock, nothing is purged; with `empty_trash`, the whole trash is, regardless of the clock.
async fn apply(
    site: &Site,
    store: &Mirror,
    calendar: &Calendar,
    doubt: bool,
    empty_trash: bool,
    pruned: &mut Pruned,
) -> Result<(), Error> {
    let plan = pruned.plan.clone();
    // Purging comes first, since it makes room: on a full disk nothing can be retired.
    finish(&**store, pruned).await;
    let mut due = store.retired().await.map_err(refused)?;
    if !empty_trash {
        due.retain(|retired| site.now - retired.at.time() >= GRACE);
        let limited: BTreeSet<_> = plan.warnings.iter().filter_map(limited).collect();
        let doubted = |retired: &Retired| doubt || limited.contains(&retired.id.channel);
        (pruned.doubted, due) = due.into_iter().partition(doubted);
    }
    purge(site, store, due, pruned).await?;
    if !doubt {
        settle(site, store, pruned).await?;
    }
    let builds = plan.expire.iter().map(Step::Build);
    let sections = plan.sections.iter().map(Step::Section);
    let mut elsewhere = store.catalog(&Scope::All).await.map_err(refused)?;
    for channel in elsewhere.channels.values_mut() {
        // Builds in layers keep the builds below them.
        let upper = |build: &BuildEntry| build.record().is_some_and(|it| it.after.is_some());
        channel.builds.retain(|_, build| upper(build));
    }
    let seen = Seen {
        plan: &plan,
        calendar,
        elsewhere: &elsewhere,
    };
    for step in builds.chain(sections) {
        let name = match step {
            Step::Build(entry) => entry.build.to_string(),
            Step::Section(entry) => format!("{}/{}", entry.build, entry.section),
        };
        match take(site, &**store, &seen, step).await {
            Err(failure) => pruned.fail(name, &failure),
            Ok(Outcome::Left(why)) => {
                info!(name, why = %redact_urls(&why), "kept nevertheless");
                pruned.left.insert(name, why);
            }
            Ok(Outcome::Done(taken)) => {
                info!(name, "moved to the trash");
                match step {
                    Step::Build(entry) => pruned.retired.push(entry.build.clone()),
                    Step::Section(_) => {
                        let taken = taken.iter().map(ToString::to_string);
                        pruned.thinned.extend(taken);
                    }
                }
            }
        }
    }
    Ok(())
}

/// The values that every step of a run is checked against.
struct Seen<'a> {
    plan: &'a PrunePlan,
    /// The releases of the policy.
    calendar: &'a Calendar,
    /// The mirror at the beginning of the run: the aliases, and the builds that are based on others.
    elsewhere: &'a Catalog,
}

/// Takes one step of a plan, or returns the reason for not taking it.
async fn take(
    site: &Site,
    store: &dyn MirrorStore,
    seen: &Seen<'_>,
    step: Step<'_>,
) -> Result<Outcome, Error> {
    let build = step.build();
    let channel = &build.channel;
    let writer = match store.lock(channel).await {
        Ok(writer) => writer,
        Err(error @ StoreError::Busy { .. }) => return Ok(Outcome::Left(error.to_string())),
        Err(error) => return Err(refused(error)),
    };
    // The content of the channel is read under its lock, so that nothing changes between the check and the act.
    if let Some(why) = changed(store, seen, step).await? {
        return Ok(Outcome::Left(why));
    }
    let done = match step {
        Step::Build(_) => writer
            .retire(build.date, site.now)
            .await
            .map(|retired| vec![retired]),
        Step::Section(section) => thin(site, &*writer, section).await,
    };
    match done {
        Ok(taken) => match pointed(store, build).await? {
            None => Ok(Outcome::Done(taken)),
            Some(alias) => {
                for retired in &taken {
                    writer.restore(retired).await.map_err(refused)?;
                }
                Ok(Outcome::Left(format!(
                    "{alias} was moved to it at that moment, and it was restored"
                )))
            }
        },
        Err(error @ (StoreError::Refused { .. } | StoreError::NotFound { .. })) => {
            Ok(Outcome::Left(error.to_string()))
        }
        Err(error) => Err(refused(error)),
    }
}

/// An alias that points at a build. Programs that hold the lock do not move one there, but an edit by hand may.
async fn pointed(store: &dyn MirrorStore, build: &BuildId) -> Result<Option<String>, Error> {
    let catalog = store.catalog(&Scope::Build(build.clone())).await;
    let catalog = catalog.map_err(refused)?;
    let aliases = catalog.channels.values().flat_map(|entry| &entry.aliases);
    let mut pointing = aliases.filter(|(_, target)| match target {
        AliasEntry::Build(date) => *date == build.date,
        AliasEntry::Other(text) => text.contains(&build.date.to_string()),
    });
    Ok(pointing.next().map(|(alias, _)| alias.to_string()))
}

async fn thin(
    site: &Site,
    writer: &dyn ChannelWriter,
    entry: &SectionEntry,
) -> Result<Vec<Retired>, StoreError> {
    let at = BuildDate::at(site.now).ok_or_else(|| StoreError::Refused {
        what: entry.build.to_string(),
        reason: format!("no date can be written for {}", site.now),
    })?;
    let section = ThinnedSection {
        section: entry.section.clone(),
        since: entry.since,
        at,
        rule: entry.message.clone(),
    };
    writer.thin(entry.build.date, &[section]).await
}

/// The reason why a step may no longer be taken.
///
/// The build's own channel is read now, and so are the other channels of its release: the first build among them determines the day
/// of the release. Everything else is as it was at the beginning of the run.
async fn changed(
    store: &dyn MirrorStore,
    seen: &Seen<'_>,
    step: Step<'_>,
) -> Result<Option<String>, Error> {
    let Seen {
        plan,
        calendar,
        elsewhere,
    } = seen;
    let build = step.build();
    let channel = Scope::Channel(build.channel.clone());
    let fresh = store.catalog(&channel).await.map_err(refused)?;
    let mut tested = PolicyInputs::default();
    // Verdicts of the whole channel: a verdict on another build can make this build the newest green one.
    add_verdicts(store, &channel, &fresh, &mut tested).await?;
    let mut catalog = (*elsewhere).clone();
    catalog.channels.remove(&build.channel);
    catalog.channels.extend(fresh.channels);
    if matches!(build.channel.release, ReleaseId::Release(_)) {
        let channels = elsewhere.channels.keys();
        let of_release = channels.filter(|it| it.release == build.channel.release);
        for channel in of_release.filter(|it| **it != build.channel) {
            let scope = Scope::Channel(channel.clone());
            let fresh = store.catalog(&scope).await.map_err(refused)?;
            catalog.channels.extend(fresh.channels);
        }
    }
    let scope = Scope::Build(build.clone());
    let only = store.catalog(&scope).await.map_err(refused)?;
    let mut facts = PolicyInputs {
        verdicts: tested.verdicts,
        unclear: tested.unclear,
        ..protections(store, &scope, &only).await?
    };
    dropped(&mut facts, build, &thinned(store, build).await?);
    let why = stx_retention::recheck_step(plan, step, &catalog, &facts, calendar);
    let why: Vec<_> = why.iter().map(ToString::to_string).collect();
    Ok((!why.is_empty()).then(|| why.join("; ")))
}

/// Completes interrupted operations of dead processes; skips channels with a working publisher.
async fn finish(store: &dyn MirrorStore, pruned: &mut Pruned) {
    let mut channels: Vec<_> = match store.leftovers(&Scope::All).await {
        Ok(leftovers) => leftovers.into_iter().map(|left| left.channel).collect(),
        Err(error) => {
            pruned.fail("leftovers".to_owned(), &refused(error));
            return;
        }
    };
    channels.dedup();
    for channel in channels {
        let swept = match store.lock(&channel).await {
            Ok(writer) => writer.sweep().await,
            Err(StoreError::Busy { .. }) => continue,
            Err(error) => Err(error),
        };
        match swept {
            Ok(swept) => {
                let swept = swept.into_iter().map(|leftover| leftover.what);
                pruned.finished.extend(swept);
            }
            Err(error) => pruned.fail(format!("leftovers of {channel}"), &refused(error)),
        }
    }
}

/// Purges the builds `due`; skips channels with a working publisher.
///
/// The tags of a build's images are removed before its files, while its record can be read. If the registry fails, the build stays in
/// the trash for the next run.
async fn purge(
    site: &Site,
    store: &Mirror,
    due: Vec<Retired>,
    pruned: &mut Pruned,
) -> Result<(), Error> {
    let registry = Registry::open(site)?;
    for retired in due {
        let done = match store.lock(&retired.id.channel).await {
            Ok(writer) => {
                if let (Some(registry), None) = (&registry, &retired.section) {
                    match registry.untag(site, store, &retired).await {
                        Ok(untagged) => {
                            let owed = OwedTags {
                                build: retired.id.clone(),
                                tags: untagged.owed,
                            };
                            // Before the record is deleted, which is the only other place that names them.
                            if let Err(error) = writer.owe(&owed).await {
                                let why = format!(
                                    "tags that something still needs cannot be noted: {}",
                                    crate::error::chain(&error)
                                );
                                pruned.left.insert(retired.id.to_string(), why);
                                continue;
                            }
                            pruned.untagged.extend(untagged.removed);
                            pruned.tags_kept.extend(untagged.left);
                        }
                        Err(failure) => {
                            let id = retired.id.to_string();
                            pruned.left.insert(id, failure.line());
                            continue;
                        }
                    }
                }
                writer.purge(&retired).await
            }
            Err(StoreError::Busy { .. }) => continue,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => pruned.purged.push(retired),
            Err(error) => pruned.fail(retired.to_string(), &refused(error)),
        }
    }
    Ok(())
}

/// Removes the tags that earlier runs had to leave, if they are no longer needed.
async fn settle(site: &Site, store: &Mirror, pruned: &mut Pruned) -> Result<(), Error> {
    let Some(registry) = Registry::open(site)? else {
        return Ok(());
    };
    match registry.settle(site, store).await {
        Ok(settled) => {
            for name in &settled.removed {
                pruned.tags_kept.remove(name);
            }
            pruned.untagged.extend(settled.removed);
            pruned.tags_kept.extend(settled.left);
        }
        Err(failure) => {
            let what = "the tags of builds that are gone".to_owned();
            pruned.left.insert(what, failure.line());
        }
    }
    Ok(())
}
