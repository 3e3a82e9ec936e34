//! The time that each build stays, for readers: the policy, and the inputs of a decision that a mirror provides.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{
    AliasName, BuildDate, BuildId, Catalog, Channel, ChannelEntry, Pin, VerdictEntry,
};
use stx_publish::aliases::catalog_after;
use stx_publish::plan::AliasVerdict;
use stx_publish::verdicts::{listed_verdicts, newest_verdicts, readable_verdicts};
use stx_publish::{
    Depth, Found, MirrorRead, MirrorStore, PublishPlan, Scope, StoreError, ThinnedSection, store,
};
use stx_retention::{
    Bearing, Decision, FileFact, PolicyFile, PolicyInputs, PrunePlan, Reason, plan_with,
};

use crate::error::Error;
use crate::options::policy_file;
use crate::{Mirror, Reader, Site, refused};

/// The policy that the configuration names, or the default policy of the specification.
pub fn policy(site: &Site) -> Result<PolicyFile, Error> {
    let Some(file) = site.options.policy() else {
        return Ok(PolicyFile::default());
    };
    policy_file(file)?
        .map_err(|errors| Error::config(errors, "docs/retention.md describes the form"))
}

/// The inputs of a decision beyond the catalog: pins, readers, verdicts, sections that were removed before their build, and shared
/// bytes.
pub async fn facts(store: &Mirror, catalog: &Catalog) -> Result<PolicyInputs, Error> {
    let mut facts = protections(&**store, &Scope::All, catalog).await?;
    add_verdicts(&**store, &Scope::All, catalog, &mut facts).await?;
    facts.free = store.free_space().map_err(refused)?;
    for (id, entry) in catalog.builds() {
        if entry.record().is_none() {
            continue;
        }
        // A build that was retired meanwhile, or is damaged, counts as its record describes it.
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
        facts.files.insert(id.clone(), files.collect());
        dropped(&mut facts, &id, &inspection.thinned.sections);
    }
    Ok(facts)
}

pub(crate) fn dropped(facts: &mut PolicyInputs, id: &BuildId, sections: &[ThinnedSection]) {
    let sections = sections.iter().map(|section| section.section.clone());
    let sections: BTreeSet<_> = sections.collect();
    if !sections.is_empty() {
        facts.dropped.insert(id.clone(), sections);
    }
}

/// The protections of builds within `scope`: pins and readers.
pub async fn protections(
    store: &dyn MirrorStore,
    scope: &Scope,
    catalog: &Catalog,
) -> Result<PolicyInputs, Error> {
    let pins = store.pins(scope).await.map_err(refused)?;
    protected(store, pins, catalog).await
}

/// As [`protections`], with known pins.
pub(crate) async fn protected(
    store: &dyn MirrorStore,
    pins: Vec<Pin>,
    catalog: &Catalog,
) -> Result<PolicyInputs, Error> {
    let builds: Vec<_> = catalog.builds().map(|(id, _)| id).collect();
    let used = store.in_use(&builds).await.map_err(refused)?;
    let reader = |id: BuildId| (id, "a reader".to_owned());
    Ok(PolicyInputs {
        pins,
        in_use: used.into_iter().map(reader).collect::<BTreeMap<_, _>>(),
        ..PolicyInputs::default()
    })
}

/// Adds the newest verdict on each build of `catalog` within `scope`. An unreadable verdict keeps its own build, and no other: one
/// damaged file must not stop retention while the disk fills.
pub async fn add_verdicts(
    store: &dyn MirrorStore,
    scope: &Scope,
    catalog: &Catalog,
    facts: &mut PolicyInputs,
) -> Result<(), Error> {
    let read = readable_verdicts(store, scope, catalog);
    let read = read.await.map_err(refused)?;
    tell_verdicts(catalog, &read.history, facts);
    facts.unclear.extend(read.unreadable);
    Ok(())
}

/// Adds the newest verdict of `history` on each build of the catalog.
pub(crate) fn tell_verdicts(catalog: &Catalog, history: &[VerdictEntry], facts: &mut PolicyInputs) {
    let newest = newest_verdicts(history).into_iter();
    let newest = newest.filter(|(id, _)| catalog.build(id).is_some());
    facts
        .verdicts
        .extend(newest.map(|(id, entry)| (id.clone(), entry.clone())));
}

/// The sections that were removed before their build. `verify` reports an unreadable record of them.
pub async fn thinned(store: &dyn MirrorRead, id: &BuildId) -> Result<Vec<ThinnedSection>, Error> {
    match store::thinned(store, id).await {
        Ok(thinned) => Ok(thinned.sections),
        Err(StoreError::Damaged { .. }) => Ok(Vec::new()),
        Err(error) => Err(refused(error)),
    }
}

/// As [`decisions`]; `None` for a mirror behind a URL, whose pins and readers are unknown.
pub async fn known_decisions(
    site: &Site,
    reader: &Reader,
    catalog: &Catalog,
    elsewhere: BTreeMap<Channel, Bearing>,
) -> Result<Option<PrunePlan>, Error> {
    match reader {
        Reader::Own(mirror) => {
            let plan = decisions(site, &**mirror, catalog, elsewhere).await?;
            Ok(Some(plan))
        }
        Reader::Http(_) | Reader::Trusted(..) => {
            site.note(
                "note: a mirror read by URL shows neither pins nor readers, so the report leaves out how long builds stay",
            );
            Ok(None)
        }
    }
}

/// The decision of the policy on every build of the catalog, for readers. The channels that the catalog leaves out are `elsewhere`.
pub async fn decisions(
    site: &Site,
    store: &dyn MirrorStore,
    catalog: &Catalog,
    elsewhere: BTreeMap<Channel, Bearing>,
) -> Result<PrunePlan, Error> {
    let mut facts = visible(site, store, catalog).await?;
    facts.elsewhere = elsewhere;
    let policy = policy(site)?.policy;
    Ok(plan_with(catalog, &facts, &policy, site.now))
}

/// The part of the mirror that a catalog describes, for narrower questions to the store.
pub(crate) fn scope_of(catalog: &Catalog) -> Scope {
    let mut channels = catalog.channels.keys();
    match (channels.next(), channels.next()) {
        (Some(only), None) => Scope::Channel(only.clone()),
        (None, _) | (_, Some(_)) => Scope::All,
    }
}

/// The inputs known to a reader: if the private area is not readable, without pins, and with a note.
async fn visible(
    site: &Site,
    store: &dyn MirrorStore,
    catalog: &Catalog,
) -> Result<PolicyInputs, Error> {
    let scope = scope_of(catalog);
    match protections(store, &scope, catalog).await {
        Ok(mut facts) => {
            add_verdicts(store, &scope, catalog, &mut facts).await?;
            Ok(facts)
        }
        Err(failure) => {
            match store.pins(&scope).await {
                Err(StoreError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    site.note("note: only the mirror's owner can read pins; the following output omits them");
                    let mut facts = PolicyInputs::default();
                    for channel in catalog.channels.keys() {
                        let history = listed_verdicts(store, channel).await.map_err(refused)?;
                        tell_verdicts(catalog, &history, &mut facts);
                    }
                    Ok(facts)
                }
                Ok(_) | Err(_) => Err(failure),
            }
        }
    }
}

/// The reason why a published build, or one that is to be published, does not last: the policy retires it at once, or will when the
/// clock is right. `None` if nothing is known against it.
///
/// # Errors
/// Those of the mirror and of the policy.
pub(crate) async fn short_lived(
    site: &Site,
    store: &dyn MirrorStore,
    plan: &PublishPlan,
) -> Result<Option<String>, Error> {
    let id = &plan.id;
    // The policy keeps the build at which `latest_build` points. Most publishes move it, and end here without a question to the mirror.
    let latest = AliasName::latest_build();
    let mut moved = plan.aliases.iter().filter(|step| {
        step.alias == latest && matches!(step.verdict, AliasVerdict::Create | AliasVerdict::Move)
    });
    if moved.next().is_some() {
        return Ok(None);
    }
    let channel = store.catalog(&Scope::Channel(id.channel.clone())).await;
    let channel = match channel {
        Ok(catalog) => catalog.channels.into_values().next().unwrap_or_default(),
        // The first build of its channel.
        Err(StoreError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    // The policy keeps the newest build of a channel, whatever its age: most failed builds end here, without reading the whole mirror.
    if channel
        .builds
        .range(id.date..)
        .all(|(date, _)| *date == id.date)
    {
        return Ok(None);
    }
    // Only the build's own pins and verdicts decide on it.
    let mut facts = PolicyInputs::default();
    if channel.builds.contains_key(&id.date) {
        let scope = Scope::Build(id.clone());
        let own = store.catalog(&scope).await.map_err(refused)?;
        facts = protections(store, &scope, &own).await?;
        add_verdicts(store, &scope, &own, &mut facts).await?;
    }
    let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
    let catalog = catalog_after(catalog, plan);
    let decided = plan_with(&catalog, &facts, &policy(site)?.policy, site.now);
    let why = match decided.decision(id) {
        Some(Decision::Expire { .. }) => {
            let mut expire = decided.expire.iter();
            let entry = expire.find(|entry| entry.build == *id);
            entry.map(|entry| format!("the next `prune` retires it: {}", entry.message))
        }
        Some(Decision::Keep { reasons, .. }) => {
            let mut held = reasons.iter().filter(|it| it.held_back().is_some());
            held.next().map(Reason::to_string)
        }
        None => None,
    };
    Ok(match why {
        Some(why) => Some(format!(
            "{id}: {why}; `stx-builds pin {id} --reason TEXT` keeps it"
        )),
        None => doubted_date(id, &channel, site.now),
    })
}

/// The tolerance for builds that are dated in the future.
const AHEAD: TimeDelta = TimeDelta::days(1);

/// The doubt about the date of a build that is older than a build from the future; `None` if its channel has none. Either the clock
/// is behind, or the other build has a wrong date.
pub(crate) fn doubted_date(
    id: &BuildId,
    channel: &ChannelEntry,
    now: DateTime<Utc>,
) -> Option<String> {
    let newest: BuildDate = *channel.builds.keys().next_back()?;
    (newest > id.date && newest.time() - now > AHEAD).then(|| {
        format!(
            "{id}: its channel has the build {newest}, and the clock says {}; if the clock is wrong, set it: otherwise retention \
             may retire new builds at once; if that date is wrong, `latest_build` stays at that build (docs/recovery.md)",
            now.format("%Y-%m-%d %H:%M:%S")
        )
    })
}
