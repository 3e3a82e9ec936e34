//! `prune`: plans, or takes a plan, and applies it step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use camino::Utf8Path;
use chrono::TimeDelta;
use serde::Serialize;
use stx_layout::{AliasEntry, BuildDate, BuildId, Catalog, Channel, ImageName, counted};
use stx_publish::images::UntagReport;
use stx_publish::{
    ChannelWriter, MirrorStore, OwedTags, Retired, Scope, StoreError, ThinnedSection,
};
use stx_retention::{PrunePlan, Recheck, SectionEntry, Warning};

use super::{dropped, facts, policy, protections, thinned, until};
use crate::args::Prune;
use crate::commands::images::Registry;
use crate::commands::{Context, Mirror, pages, refused};
use crate::exit::{Exit, Failure};
use crate::files::{self, Durable};
use crate::output;

/// How long a retired build can be brought back.
pub(crate) const GRACE: TimeDelta = TimeDelta::days(3);

/// What a run did.
#[derive(Debug, Serialize)]
struct Pruned {
    /// What was to be done.
    plan: PrunePlan,
    /// The builds that were taken out of sight; `undelete` brings them back.
    retired: Vec<BuildId>,
    /// The sections that were; `undelete` brings them back too.
    thinned: Vec<String>,
    /// What was left, a build or a section of one, and why.
    left: BTreeMap<String, String>,
    /// What dead runs had left undone, and is done.
    finished: Vec<String>,
    /// What had its grace period over, and is gone for good.
    purged: Vec<Retired>,
    /// What has it over by a clock that is doubted, and stays.
    doubted: Vec<Retired>,
    /// The tags on the registry that went with it.
    untagged: Vec<ImageName>,
    /// Those that stay, and why.
    tags_kept: BTreeMap<ImageName, String>,
}

pub(crate) async fn prune(context: &Context, args: &Prune) -> Result<(), Failure> {
    let store = context.open()?;
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let mut policy = policy(context)?.policy;
    policy.limits.allow = args.allow.or(policy.limits.allow);
    let plan: PrunePlan = if let Some(file) = &args.plan {
        let text = fs_err::read_to_string(file).map_err(Failure::usage)?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::usage(format!("{file}: not a plan of `prune`: {error}"))
                .hint("`prune --plan-out FILE` writes a plan")
        })?
    } else {
        let facts = facts(&store, &catalog).await?;
        stx_retention::plan_with(&catalog, &facts, &policy, context.now)
    };
    if let Some(file) = &args.plan_out {
        write_plan(file, &plan)?;
    }
    if args.dry_run || args.plan_out.is_some() {
        return output::print(context.format(), &plan, || human(&plan));
    }
    let doubt = stx_retention::clock_doubt(&catalog, &policy, context.now).is_some();
    let pruned = apply(context, &store, plan, doubt).await?;
    output::print(context.format(), &pruned, || done(&pruned))?;
    if !pruned.left.is_empty() {
        let hint = "what changed since the plan was made was left as it is; plan again";
        return Err(Failure::said(Exit::Mirror).hint(hint));
    }
    let allow = pruned.plan.warnings.iter().filter_map(Warning::allow).max();
    if !pruned.doubted.is_empty() || allow.is_some() {
        let number = allow.map_or_else(|| "N".to_owned(), |allow| allow.to_string());
        return Err(Failure::said(Exit::Mirror).hint(format!(
            "check the clock and the policy; if they are right, `stx-builds prune --allow {number}` removes what was held back"
        )));
    }
    Ok(())
}

/// Applies the policy, as the service does it on its schedule; what was done, in a line.
pub(crate) async fn prune_now(context: &Context) -> Result<String, Failure> {
    let store = context.open()?;
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let facts = facts(&store, &catalog).await?;
    let policy = policy(context)?.policy;
    let plan = stx_retention::plan_with(&catalog, &facts, &policy, context.now);
    let mut done: Vec<_> = plan.warnings.iter().map(ToString::to_string).collect();
    let doubt = stx_retention::clock_doubt(&catalog, &policy, context.now).is_some();
    let pruned = apply(context, &store, plan, doubt).await?;
    pages::renew(context, &*store, context.now).await;
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
    Ok(done.join("; "))
}

/// The channel of which so much is eligible that none of it goes.
pub(super) fn limited(warning: &Warning) -> Option<&Channel> {
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

/// Writes a plan, whole or not at all.
fn write_plan(file: &Utf8Path, plan: &PrunePlan) -> Result<(), Failure> {
    let mut text =
        serde_json::to_string_pretty(plan).map_err(|error| Failure::new(Exit::Bug, error))?;
    text.push('\n');
    files::replace(file, text.as_bytes(), Durable::Yes).map_err(Failure::usage)
}

/// A step of a plan: a build, or a section of one.
struct Step<'a> {
    build: &'a BuildId,
    section: Option<&'a SectionEntry>,
}

/// What became of a step.
enum Outcome {
    Done(Vec<Retired>),
    Left(String),
}

/// Why a retired build is not purged, in a line.
fn stays(retired: &Retired) -> String {
    format!("{retired} stays in the trash: the clock is doubted")
}

/// Does what a plan says, step by step, each only if all that the plan went by still holds. With a `doubt` of the clock,
/// nothing is deleted for good.
async fn apply(
    context: &Context,
    store: &Mirror,
    plan: PrunePlan,
    doubt: bool,
) -> Result<Pruned, Failure> {
    // What is gone for good makes room first: on a full disk nothing can be retired.
    let finished = finish(&**store).await?;
    let mut left = BTreeMap::new();
    let mut due = store.retired().await.map_err(refused)?;
    due.retain(|retired| context.now - retired.at.time() >= GRACE);
    let limited: BTreeSet<_> = plan.warnings.iter().filter_map(limited).collect();
    let (doubted, due): (Vec<_>, _) = due
        .into_iter()
        .partition(|retired| doubt || limited.contains(&retired.id.channel));
    let (purged, mut tags) = purge(context, store, due, &mut left).await?;
    if !doubt {
        settle(context, store, &mut tags, &mut left).await?;
    }
    let builds = plan.expire.iter().map(|entry| Step {
        build: &entry.build,
        section: None,
    });
    let sections = plan.sections.iter().map(|entry| Step {
        build: &entry.build,
        section: Some(entry),
    });
    let mut elsewhere = store.catalog(&Scope::All).await.map_err(refused)?;
    for channel in elsewhere.channels.values_mut() {
        channel.builds.clear();
    }
    let (mut retired, mut thinned) = (Vec::new(), Vec::new());
    for step in builds.chain(sections) {
        let name = match step.section {
            None => step.build.to_string(),
            Some(section) => format!("{}/{}", step.build, section.section),
        };
        match take(context, &**store, &plan, &elsewhere, &step).await? {
            Outcome::Left(why) => drop(left.insert(name, why)),
            Outcome::Done(_) if step.section.is_none() => retired.push(step.build.clone()),
            Outcome::Done(taken) => thinned.extend(taken.iter().map(ToString::to_string)),
        }
    }
    Ok(Pruned {
        plan,
        retired,
        thinned,
        left,
        finished,
        purged,
        doubted,
        untagged: tags.removed,
        tags_kept: tags.left,
    })
}

/// Takes one step of a plan; or says why not.
async fn take(
    context: &Context,
    store: &dyn MirrorStore,
    plan: &PrunePlan,
    elsewhere: &Catalog,
    step: &Step<'_>,
) -> Result<Outcome, Failure> {
    let channel = &step.build.channel;
    let writer = match store.lock(channel).await {
        Ok(writer) => writer,
        Err(error @ StoreError::Busy { .. }) => return Ok(Outcome::Left(error.to_string())),
        Err(error) => return Err(refused(error)),
    };
    // What the channel holds is read under its lock: nothing comes between the check and the act.
    if let Some(why) = changed(store, plan, elsewhere, step).await? {
        return Ok(Outcome::Left(why));
    }
    let done = match step.section {
        None => writer
            .retire(step.build.date, context.now)
            .await
            .map(|retired| vec![retired]),
        Some(section) => thin(context, &*writer, section).await,
    };
    match done {
        Ok(taken) => match pointed(store, step.build).await? {
            None => Ok(Outcome::Done(taken)),
            Some(alias) => {
                for retired in &taken {
                    writer.restore(retired).await.map_err(refused)?;
                }
                Ok(Outcome::Left(format!(
                    "{alias} was pointed at it just then, and it was brought back"
                )))
            }
        },
        Err(error @ (StoreError::Refused { .. } | StoreError::NotFound { .. })) => {
            Ok(Outcome::Left(error.to_string()))
        }
        Err(error) => Err(refused(error)),
    }
}

/// An alias that points at a build: nobody who holds the lock moves one there, but a careless hand does.
async fn pointed(store: &dyn MirrorStore, build: &BuildId) -> Result<Option<String>, Failure> {
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
    context: &Context,
    writer: &dyn ChannelWriter,
    entry: &SectionEntry,
) -> Result<Vec<Retired>, StoreError> {
    let at = BuildDate::at(context.now).ok_or_else(|| StoreError::Refused {
        what: entry.build.to_string(),
        reason: format!("no date can be written for {}", context.now),
    })?;
    let section = ThinnedSection {
        section: entry.section.clone(),
        since: entry.since,
        at,
        rule: entry.message.clone(),
    };
    writer.thin(entry.build.date, &[section]).await
}

/// Why a step may not be taken any more.
///
/// What the build's own channel holds is read now; of the others only the aliases matter, as they were when the run began.
async fn changed(
    store: &dyn MirrorStore,
    plan: &PrunePlan,
    elsewhere: &Catalog,
    step: &Step<'_>,
) -> Result<Option<String>, Failure> {
    let build = step.build;
    let channel = Scope::Channel(build.channel.clone());
    let fresh = store.catalog(&channel).await.map_err(refused)?;
    let mut catalog = elsewhere.clone();
    catalog.channels.remove(&build.channel);
    catalog.channels.extend(fresh.channels);
    let scope = Scope::Build(build.clone());
    let only = store.catalog(&scope).await.map_err(refused)?;
    let mut facts = protections(store, &scope, &only).await?;
    dropped(&mut facts, build, &thinned(store, build).await?);
    let section = step.section.map(|section| &section.section);
    let rechecked = stx_retention::recheck(plan, &catalog, &facts).into_iter();
    let mut mine =
        rechecked.filter(|step| step.build == *build && step.section.as_ref() == section);
    Ok(mine.find_map(|step| match step.check {
        Recheck::Ok => None,
        Recheck::Changed { why } => {
            let why: Vec<_> = why.iter().map(ToString::to_string).collect();
            Some(why.join("; "))
        }
    }))
}

/// Finishes what dead runs left undone; channels that someone works on wait.
async fn finish(store: &dyn MirrorStore) -> Result<Vec<String>, Failure> {
    let leftovers = store.leftovers(&Scope::All).await.map_err(refused)?;
    let mut channels: Vec<_> = leftovers
        .into_iter()
        .map(|leftover| leftover.channel)
        .collect();
    channels.dedup();
    let mut finished = Vec::new();
    for channel in channels {
        match store.lock(&channel).await {
            Ok(writer) => {
                let swept = writer.sweep().await.map_err(refused)?;
                finished.extend(swept.into_iter().map(|leftover| leftover.what));
            }
            Err(StoreError::Busy { .. }) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Ok(finished)
}

/// Deletes for good what is `due`; channels that someone works on wait.
///
/// The tags of a build's images go before its files, while its record can be read. Where the registry does not do it, the build
/// is left in the trash for the next run.
async fn purge(
    context: &Context,
    store: &Mirror,
    due: Vec<Retired>,
    left: &mut BTreeMap<String, String>,
) -> Result<(Vec<Retired>, UntagReport), Failure> {
    let registry = Registry::open(context)?;
    let mut tags = UntagReport::default();
    let mut purged = Vec::new();
    for retired in due {
        match store.lock(&retired.id.channel).await {
            Ok(writer) => {
                if let (Some(registry), None) = (&registry, &retired.section) {
                    match registry.untag(context, store, &retired).await {
                        Ok(untagged) => {
                            let owed = OwedTags {
                                build: retired.id.clone(),
                                tags: untagged.owed,
                            };
                            // Before the record is gone, which is the only other place that names them.
                            if let Err(error) = writer.owe(&owed).await {
                                let why = format!(
                                    "tags that something still needs cannot be noted: {}",
                                    crate::exit::chain(&error)
                                );
                                left.insert(retired.id.to_string(), why);
                                continue;
                            }
                            tags.removed.extend(untagged.removed);
                            tags.left.extend(untagged.left);
                        }
                        Err(failure) => {
                            left.insert(retired.id.to_string(), failure.line());
                            continue;
                        }
                    }
                }
                writer.purge(&retired).await.map_err(refused)?;
            }
            Err(StoreError::Busy { .. }) => continue,
            Err(error) => return Err(refused(error)),
        }
        purged.push(retired);
    }
    Ok((purged, tags))
}

/// Removes the tags that earlier runs had to leave, if nothing needs them any more.
async fn settle(
    context: &Context,
    store: &Mirror,
    tags: &mut UntagReport,
    left: &mut BTreeMap<String, String>,
) -> Result<(), Failure> {
    let Some(registry) = Registry::open(context)? else {
        return Ok(());
    };
    match registry.settle(context, store).await {
        Ok(settled) => {
            for name in &settled.removed {
                tags.left.remove(name);
            }
            tags.removed.extend(settled.removed);
            tags.left.extend(settled.left);
        }
        Err(failure) => {
            let what = "the tags of builds that are gone".to_owned();
            left.insert(what, failure.line());
        }
    }
    Ok(())
}

fn human(plan: &PrunePlan) -> String {
    let mut text = String::new();
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for entry in &plan.expire {
        let _ = writeln!(
            text,
            "expire {}: {}, frees {}",
            entry.build,
            entry.message,
            output::bytes(entry.bytes_freed)
        );
    }
    for entry in &plan.sections {
        let _ = writeln!(
            text,
            "thin   {}: {}, frees {}",
            entry.build,
            entry.message,
            output::bytes(entry.bytes_freed)
        );
    }
    for entry in &plan.keep {
        let reasons: Vec<_> = entry.reasons.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "keep   {}: {}{}",
            entry.build,
            reasons.join("; "),
            until(entry.until)
        );
    }
    let sections = match plan.sections.len() {
        0 => String::new(),
        sections => format!(
            " and {} before {}",
            counted(sections, "section"),
            if sections == 1 {
                "its build"
            } else {
                "their builds"
            }
        ),
    };
    let (go, stay, freed) = (
        plan.expire.len(),
        plan.keep.len(),
        output::bytes(plan.bytes_freed()),
    );
    let _ = writeln!(
        text,
        "{go} would go{sections}, free {freed}; {stay} would stay"
    );
    text
}

fn done(pruned: &Pruned) -> String {
    let mut text = String::new();
    for warning in &pruned.plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    for build in &pruned.retired {
        let _ = writeln!(text, "retired {build}");
    }
    for section in &pruned.thinned {
        let _ = writeln!(text, "thinned {section}");
    }
    for what in &pruned.finished {
        let _ = writeln!(text, "swept   {what}");
    }
    for (what, why) in &pruned.left {
        let _ = writeln!(text, "left    {what}: {why}");
    }
    for retired in &pruned.purged {
        let _ = writeln!(text, "purged  {retired}");
    }
    for retired in &pruned.doubted {
        let _ = writeln!(text, "{}", stays(retired));
    }
    for name in &pruned.untagged {
        let _ = writeln!(text, "untagged {name}");
    }
    for (name, why) in &pruned.tags_kept {
        let _ = writeln!(text, "kept the tag {name}: {why}");
    }
    let days = GRACE.num_days();
    let _ = writeln!(
        text,
        "{} retired and {} thinned, `undelete` brings them back for {}",
        counted(pruned.retired.len(), "build"),
        counted(pruned.thinned.len(), "section"),
        counted(days, "day")
    );
    text
}
