//! What the retention commands share: the policy, and what a decision has to know.

pub(crate) mod explain;
pub(crate) mod forecast;
pub(crate) mod pins;
pub(crate) mod prune;
pub(crate) mod undelete;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;
use chrono::{DateTime, Utc};
use stx_layout::{BuildId, Catalog};
use stx_publish::{
    Depth, Found, MirrorRead, MirrorStore, Scope, StoreError, ThinnedSection, tiers,
};
use stx_retention::{Facts, FileFact, Mistake, PolicyFile, PrunePlan, plan_with};

use super::{Context, Mirror, Reader, refused};
use crate::config::Mistakes;
use crate::exit::Failure;
use crate::users::unusable;

/// The policy that the configuration names, or the specification's.
pub(crate) fn policy(context: &Context) -> Result<PolicyFile, Failure> {
    let Some(file) = context.config.policy() else {
        return Ok(PolicyFile::default());
    };
    policy_file(file)?.map_err(|mistakes| mistakes.failure("docs/retention.md describes the form"))
}

/// Reads a policy, or finds what is wrong with it.
pub(crate) fn policy_file(file: &Utf8Path) -> Result<Result<PolicyFile, Mistakes>, Failure> {
    let text = fs_err::read_to_string(file).map_err(|error| unusable(file, error))?;
    Ok(PolicyFile::from_toml(&text).map_err(|error| {
        let mut mistakes = Mistakes::default();
        for Mistake { at, message } in error.mistakes {
            mistakes.add(file, Some((at.line, at.column)), message);
        }
        mistakes
    }))
}

/// What a decision has to know beyond the catalog: pins, readers, what went before its build, and which bytes are shared.
pub(crate) async fn facts(store: &Mirror, catalog: &Catalog) -> Result<Facts, Failure> {
    let mut facts = protections(&**store, &Scope::All, catalog).await?;
    facts.free = store.free_space().map_err(refused)?;
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
        facts.files.insert(id.clone(), files.collect());
        dropped(&mut facts, &id, &inspection.thinned.sections);
    }
    Ok(facts)
}

fn dropped(facts: &mut Facts, id: &BuildId, sections: &[ThinnedSection]) {
    let sections = sections.iter().map(|section| section.section.clone());
    let sections: BTreeSet<_> = sections.collect();
    if !sections.is_empty() {
        facts.dropped.insert(id.clone(), sections);
    }
}

/// What protects builds within `scope`: pins and readers.
pub(crate) async fn protections(
    store: &dyn MirrorStore,
    scope: &Scope,
    catalog: &Catalog,
) -> Result<Facts, Failure> {
    let pins = store.pins(scope).await.map_err(refused)?;
    let builds: Vec<_> = catalog.builds().map(|(id, _)| id).collect();
    let used = store.in_use(&builds).await.map_err(refused)?;
    let reader = |id: BuildId| (id, "a reader".to_owned());
    Ok(Facts {
        pins,
        in_use: used.into_iter().map(reader).collect::<BTreeMap<_, _>>(),
        ..Facts::default()
    })
}

/// The sections that went before a build. A record of them that cannot be read is for `verify` to name.
pub(crate) async fn thinned(
    store: &dyn MirrorRead,
    id: &BuildId,
) -> Result<Vec<ThinnedSection>, Failure> {
    match tiers::thinned(store, id).await {
        Ok(thinned) => Ok(thinned.sections),
        Err(StoreError::Damaged { .. }) => Ok(Vec::new()),
        Err(error) => Err(refused(error)),
    }
}

/// As [`verdicts`]; `None` behind a URL, where neither pins nor readers are known.
pub(crate) async fn known_verdicts(
    context: &Context,
    reader: &Reader,
    catalog: &Catalog,
) -> Result<Option<PrunePlan>, Failure> {
    match reader {
        Reader::Own(mirror) => verdicts(context, &**mirror, catalog).await.map(Some),
        Reader::Http(_) | Reader::Vouched(..) => {
            context.say(
                "note: behind a URL, pins and readers are not known: nothing is said of how long builds stay",
            );
            Ok(None)
        }
    }
}

/// What the rules say of every build, for somebody who only looks.
pub(crate) async fn verdicts(
    context: &Context,
    store: &dyn MirrorStore,
    catalog: &Catalog,
) -> Result<PrunePlan, Failure> {
    let facts = visible(context, store, catalog).await?;
    let policy = policy(context)?.policy;
    Ok(plan_with(catalog, &facts, &policy, context.now))
}

/// What is known to somebody who only looks: without pins, and saying so, where the private area is not readable.
async fn visible(
    context: &Context,
    store: &dyn MirrorStore,
    catalog: &Catalog,
) -> Result<Facts, Failure> {
    match protections(store, &Scope::All, catalog).await {
        Ok(facts) => Ok(facts),
        Err(failure) => {
            match store.pins(&Scope::All).await {
                Err(StoreError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    context.say("note: pins are kept for the mirror's owner only; what follows leaves them out");
                    Ok(Facts::default())
                }
                Ok(_) | Err(_) => Err(failure),
            }
        }
    }
}

fn until(time: Option<DateTime<Utc>>) -> String {
    time.map(|until| format!(", until {}", until.format("%Y-%m-%d")))
        .unwrap_or_default()
}
