//! `prune`, `undelete`, `explain` and `forecast`: what the retention rules say, and what is done about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use camino::Utf8Path;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use stx_layout::{BuildId, Catalog};
use stx_publish::{
    Depth, Found, LocalStore, MirrorRead as _, MirrorStore as _, Retired, Scope, StoreError,
};
use stx_retention::{Facts, FileFact, PolicyFile, PrunePlan, Recheck, Warning};

use super::{Context, refused};
use crate::args::{Explain, Forecast, Prune, Undelete};
use crate::exit::{Exit, Failure};
use crate::output;

/// How long a retired build can be brought back.
const GRACE: TimeDelta = TimeDelta::days(3);

/// What a run did.
#[derive(Debug, Serialize)]
struct Pruned {
    /// What was to be done.
    plan: PrunePlan,
    /// The builds that were taken out of sight; `undelete` brings them back.
    retired: Vec<BuildId>,
    /// The builds that were left, and why.
    left: BTreeMap<BuildId, String>,
    /// The builds whose grace period was over and that are gone for good.
    purged: Vec<Retired>,
}

/// The policy that the configuration names, or the specification's.
pub(crate) fn policy(context: &Context) -> Result<PolicyFile, Failure> {
    let Some(file) = context.config.policy() else {
        return Ok(PolicyFile::default());
    };
    let text = fs_err::read_to_string(file).map_err(Failure::usage)?;
    let policy = PolicyFile::from_toml(&text).map_err(|error| {
        let mistakes: Vec<_> = error
            .mistakes
            .iter()
            .map(|mistake| {
                format!(
                    "{file}:{}:{}: {}",
                    mistake.at.line, mistake.at.column, mistake.message
                )
            })
            .collect();
        Failure::usage(mistakes.join("\n"))
    })?;
    Ok(policy)
}

/// What a decision has to know of the builds' files: which bytes they share.
async fn facts(store: &LocalStore, catalog: &Catalog) -> Result<Facts, Failure> {
    let mut facts = Facts::default();
    for (id, entry) in catalog.builds() {
        if entry.record().is_none() {
            continue;
        }
        // A build that was retired meanwhile, or is damaged, is counted as its record says.
        let (Ok(sums), Ok(inspection)) = (
            store.sums(&id).await,
            store.inspect(&id, Depth::Listing).await,
        ) else {
            continue;
        };
        let files =
            sums.lines()
                .iter()
                .filter_map(|line| match inspection.found.get(&line.path)? {
                    Found::File { size, .. } => Some(FileFact {
                        path: line.path.clone(),
                        digest: line.digest,
                        bytes: *size,
                    }),
                    Found::Symlink { .. } | Found::Directory { .. } | Found::Other { .. } => None,
                });
        facts.files.insert(id, files.collect());
    }
    Ok(facts)
}

pub(crate) async fn prune(context: &Context, args: &Prune) -> Result<(), Failure> {
    let store = context.open()?;
    let plan: PrunePlan = if let Some(file) = &args.plan {
        let text = fs_err::read_to_string(file).map_err(Failure::usage)?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::usage(format!("{file}: {error}")).hint("`prune --plan-out FILE` writes a plan")
        })?
    } else {
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        let mut policy = policy(context)?.policy;
        policy.limits.allow = args.allow.or(policy.limits.allow);
        let facts = facts(&store, &catalog).await?;
        stx_retention::plan_with(&catalog, &facts, &policy, context.now)
    };
    if !plan.sections.is_empty() {
        return Err(Failure::usage(
            "the policy lets sections go before their build; that is not there yet",
        )
        .hint("take the tiers out of the policy"));
    }
    if let Some(file) = &args.plan_out {
        write_plan(file, &plan)?;
    }
    if args.dry_run || args.plan_out.is_some() {
        return output::print(context.format(), &plan, || human(&plan));
    }
    let pruned = apply(context, &store, plan).await?;
    output::print(context.format(), &pruned, || done(&pruned))?;
    if !pruned.left.is_empty() {
        let hint = "what changed since the plan was made was left as it is; plan again";
        return Err(Failure::said(Exit::Mirror).hint(hint));
    }
    if pruned.plan.warnings.iter().any(held_back) {
        let hint =
            "is the clock right? `--allow N` lets a run remove N builds of a channel all the same";
        return Err(Failure::said(Exit::Mirror).hint(hint));
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
    let pruned = apply(context, &store, plan).await?;
    let left = pruned
        .left
        .iter()
        .map(|(build, why)| format!("left {build}: {why}"));
    done.extend(left);
    let (retired, purged) = (pruned.retired.len(), pruned.purged.len());
    done.push(format!("{retired} builds retired, {purged} purged"));
    Ok(done.join("; "))
}

/// Whether a warning says that eligible builds were kept because removing them seemed wrong.
fn held_back(warning: &Warning) -> bool {
    match warning {
        Warning::ClockDoubted { .. } | Warning::RemovalLimit { .. } => true,
        Warning::FutureBuilds { .. }
        | Warning::UnreadableRecords { .. }
        | Warning::Strays { .. }
        | Warning::DanglingAlias { .. }
        | Warning::PinOfNothing { .. }
        | Warning::NoRelease { .. }
        | Warning::SpaceShort { .. } => false,
    }
}

/// Writes a plan, whole or not at all.
fn write_plan(file: &Utf8Path, plan: &PrunePlan) -> Result<(), Failure> {
    let mut text =
        serde_json::to_string_pretty(plan).map_err(|error| Failure::new(Exit::Bug, error))?;
    text.push('\n');
    let part = file.with_file_name(format!("{}.part", file.file_name().unwrap_or("plan")));
    fs_err::write(&part, text)
        .and_then(|()| fs_err::rename(&part, file))
        .map_err(Failure::usage)
}

/// Does what a plan says, build by build, each only if all that the plan went by still holds.
async fn apply(context: &Context, store: &LocalStore, plan: PrunePlan) -> Result<Pruned, Failure> {
    let mut pruned = Pruned {
        retired: Vec::new(),
        left: BTreeMap::new(),
        purged: Vec::new(),
        plan,
    };
    for build in pruned.plan.expire.iter().map(|entry| &entry.build) {
        match retire(context, store, &pruned.plan, build).await? {
            None => pruned.retired.push(build.clone()),
            Some(why) => drop(pruned.left.insert(build.clone(), why)),
        }
    }
    pruned.purged = purge(context, store).await?;
    Ok(pruned)
}

/// Takes one build of a plan out of sight; or says why not.
async fn retire(
    context: &Context,
    store: &LocalStore,
    plan: &PrunePlan,
    build: &BuildId,
) -> Result<Option<String>, Failure> {
    let writer = match store.lock(&build.channel).await {
        Ok(writer) => writer,
        Err(error @ StoreError::Busy { .. }) => return Ok(Some(error.to_string())),
        Err(error) => return Err(refused(error)),
    };
    // What the channel holds is read under its lock: nothing comes between the check and the act.
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    for rechecked in stx_retention::recheck(plan, &catalog, &Facts::default()) {
        if rechecked.build == *build
            && let Recheck::Changed { why } = rechecked.check
        {
            let why: Vec<_> = why.iter().map(ToString::to_string).collect();
            return Ok(Some(why.join("; ")));
        }
    }
    match writer.retire(build.date, context.now).await {
        Ok(_) => Ok(None),
        Err(error @ (StoreError::Refused { .. } | StoreError::NotFound { .. })) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(refused(error)),
    }
}

/// Deletes for good what was retired longer ago than the grace period; channels that someone works on wait.
async fn purge(context: &Context, store: &LocalStore) -> Result<Vec<Retired>, Failure> {
    let mut purged = Vec::new();
    for retired in store.retired().await.map_err(refused)? {
        if context.now - retired.at.time() < GRACE {
            continue;
        }
        match store.lock(&retired.id.channel).await {
            Ok(writer) => drop(writer.purge(&retired).await.map_err(refused)?),
            Err(StoreError::Busy { .. }) => continue,
            Err(error) => return Err(refused(error)),
        }
        purged.push(retired);
    }
    Ok(purged)
}

fn until(time: Option<DateTime<Utc>>) -> String {
    time.map(|until| format!(", until {}", until.format("%Y-%m-%d")))
        .unwrap_or_default()
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
    let (go, stay, freed) = (
        plan.expire.len(),
        plan.keep.len(),
        output::bytes(plan.bytes_freed()),
    );
    let _ = writeln!(text, "{go} would go and free {freed}, {stay} would stay");
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
    for (build, why) in &pruned.left {
        let _ = writeln!(text, "left    {build}: {why}");
    }
    for retired in &pruned.purged {
        let _ = writeln!(text, "purged  {}", retired.id);
    }
    let days = GRACE.num_days();
    let _ = writeln!(
        text,
        "{} retired, `undelete` brings them back for {days} days",
        pruned.retired.len()
    );
    text
}

/// `undelete`: the newest retired build of that id comes back.
pub(crate) async fn undelete(context: &Context, args: &Undelete) -> Result<(), Failure> {
    let store = context.open()?;
    let retired = store.retired().await.map_err(refused)?;
    let Some(newest) = retired.iter().rfind(|retired| retired.id == args.build) else {
        let known: Vec<_> = retired
            .iter()
            .map(|retired| retired.id.to_string())
            .collect();
        let failure = Failure::new(
            Exit::NotFound,
            format!("{}: not among the retired builds", args.build),
        );
        return Err(match known.as_slice() {
            [] => failure.hint("there are none"),
            known => failure.hint(format!("there are: {}", known.join(", "))),
        });
    };
    let writer = store.lock(&newest.id.channel).await.map_err(refused)?;
    writer.restore(newest).await.map_err(refused)?;
    output::print(context.format(), newest, || {
        format!("{} is back", newest.id)
    })
}

/// `explain`: why a build stays or goes.
pub(crate) async fn explain(context: &Context, args: &Explain) -> Result<(), Failure> {
    let store = context.open()?;
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let file = policy(context)?;
    let lines = context.config.policy().map(|_| &file.lines);
    let text = stx_retention::explain(
        &catalog,
        &Facts::default(),
        &file.policy,
        lines,
        context.now,
        &args.build,
    );
    let text =
        text.ok_or_else(|| Failure::new(Exit::NotFound, format!("{}: no such build", args.build)))?;
    let json = BTreeMap::from([("build", args.build.to_string()), ("text", text.clone())]);
    output::print(context.format(), &json, || text)
}

/// `forecast`: what will go and how full the mirror gets, day by day.
pub(crate) async fn forecast(context: &Context, args: &Forecast) -> Result<(), Failure> {
    let store = context.open()?;
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let facts = facts(&store, &catalog).await?;
    let rates = stx_retention::observe(&catalog, &facts, context.now);
    let policy = policy(context)?.policy;
    let forecast =
        stx_retention::forecast(&catalog, &facts, &policy, context.now, args.days, &rates);
    output::print(context.format(), &forecast, || {
        let rows: Vec<_> = forecast
            .days
            .iter()
            .map(|day| {
                let count = |what: &str, count: usize| {
                    if count == 0 {
                        String::new()
                    } else {
                        format!("{count} {what}")
                    }
                };
                vec![
                    day.at.format("%Y-%m-%d").to_string(),
                    output::bytes(day.bytes_used),
                    bar(day.bytes_used, forecast.high_water.bytes),
                    count("added", day.added.len()),
                    count("expire", day.expire.len()),
                ]
            })
            .collect();
        let high = forecast.high_water;
        format!(
            "{}at most {} on {}\n",
            output::columns(&rows),
            output::bytes(high.bytes),
            high.at.format("%Y-%m-%d")
        )
    })
}

/// A bar as long as its part of the whole, 30 characters at most.
fn bar(part: u64, whole: u64) -> String {
    let length = u128::from(part) * 30 / u128::from(whole.max(1));
    "█".repeat(usize::try_from(length).unwrap_or(30))
}
