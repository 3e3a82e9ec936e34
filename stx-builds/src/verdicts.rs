//! Verdicts: the results of the sanity tests of published builds.

use std::collections::BTreeMap;
use std::io::ErrorKind as Io;

use chrono::{DateTime, SubsecRound as _, Utc};
use serde::Serialize;
use stx_layout::{
    BuildDate, BuildId, Catalog, LinkError, Verdict, VerdictEntry, check_link, redact_urls,
};
use stx_publish::verdicts::{listed_verdicts, mark, readable_verdicts};
use stx_publish::{MirrorStore, StoreError};
use stx_service::Marking;

use crate::decisions::scope_of;
use crate::error::Error;
use crate::retention::author;
use crate::{Reader, Site, build_ref, pages, refused};

/// A verdict to record.
#[derive(Debug, Clone)]
pub struct NewVerdict {
    /// The build, by its date or an alias.
    pub build: String,
    /// The result.
    pub verdict: Verdict,
    /// The reason, as a text for people.
    pub reason: Option<String>,
    /// The URL of the test results.
    pub url: Option<String>,
    /// The author; the user, by `LOGNAME`, `USER` or the system's user database, if absent.
    pub author: Option<String>,
}

/// A recorded verdict.
#[derive(Debug, Clone, Serialize)]
pub struct MarkedBuild {
    /// The verdict.
    #[serde(flatten)]
    pub entry: VerdictEntry,
    /// True if it is new; false if it repeats the previous verdict.
    pub recorded: bool,
    /// The build that `latest_green_build` points at now.
    pub latest_green_build: Option<BuildDate>,
}

/// Refuses an invalid link, and a link that would show a password to every reader.
fn check_url(url: &str) -> Result<(), Error> {
    check_link(url).map_err(|error| match error {
        LinkError::Secret => {
            Error::usage(error).hint("give the link without it: everybody can read it")
        }
        _ => Error::usage(error),
    })
}

impl Site {
    /// Records a verdict on a build, moves `latest_green_build`, and makes the pages.
    pub async fn mark(&self, wanted: &NewVerdict) -> Result<MarkedBuild, Error> {
        let store = self.mirror()?;
        let author = author(wanted.author.as_ref(), "--by")?;
        wanted.url.as_deref().map_or(Ok(()), check_url)?;
        let build = build_ref::resolve(&*store, &wanted.build).await?;
        let entry = VerdictEntry {
            build,
            at: self.now.trunc_subsecs(0),
            verdict: wanted.verdict,
            author,
            reason: wanted
                .reason
                .as_deref()
                .map(|it| redact_urls(it).into_owned()),
            url: wanted.url.clone(),
        };
        let marked = record(self, &*store, &entry, self.now).await;
        marked.map_err(|error| {
            let is_missing = matches!(error, StoreError::NotFound { .. });
            let failure = refused(error);
            if is_missing {
                failure.hint("run `stx-builds list` to list the existing builds")
            } else {
                failure
            }
        })
    }
}

/// Records a verdict for the build service, at the time that `entry` gives.
pub(crate) async fn record_late(
    site: &Site,
    store: &dyn MirrorStore,
    entry: &VerdictEntry,
) -> Marking {
    match record(site, store, entry, site.now).await {
        Ok(marked) => Marking::Recorded {
            is_new: marked.recorded,
        },
        Err(error @ (StoreError::NotFound { .. } | StoreError::Refused { .. })) => {
            Marking::Refused(refused(error).line())
        }
        // The channel is busy, or the mirror does not answer.
        Err(error) => Marking::Later(refused(error).line()),
    }
}

/// Records a verdict, and makes the pages anew.
pub(crate) async fn record(
    site: &Site,
    store: &dyn MirrorStore,
    entry: &VerdictEntry,
    now: DateTime<Utc>,
) -> Result<MarkedBuild, StoreError> {
    let marked = mark(store, entry).await?;
    pages::renew(site, store, now).await;
    Ok(MarkedBuild {
        entry: entry.clone(),
        recorded: marked.is_new,
        latest_green_build: marked.latest_green_build,
    })
}

/// The verdicts on the builds of a catalog, by build, oldest first. Those of a read-only mirror are taken from its `index.json`.
pub async fn verdicts(
    site: &Site,
    reader: &Reader,
    catalog: &Catalog,
) -> Result<Vec<VerdictEntry>, Error> {
    let mut found = match reader {
        Reader::Own(mirror) => {
            match readable_verdicts(&**mirror, &scope_of(catalog), catalog).await {
                Err(StoreError::Io { source, .. }) if source.kind() == Io::PermissionDenied => {
                    listed(reader, catalog).await?
                }
                read => {
                    let read = read.map_err(refused)?;
                    for (build, why) in &read.unreadable {
                        site.note(&format!(
                            "note: {build}: its verdicts cannot be read: {why}"
                        ));
                    }
                    read.history
                }
            }
        }
        Reader::Http(_) | Reader::Trusted(..) => listed(reader, catalog).await?,
    };
    found.retain(|entry| catalog.build(&entry.build).is_some());
    Ok(found)
}

async fn listed(reader: &Reader, catalog: &Catalog) -> Result<Vec<VerdictEntry>, Error> {
    let mut found = Vec::new();
    for channel in catalog.channels.keys() {
        let verdicts = listed_verdicts(reader.store(), channel).await;
        found.extend(verdicts.map_err(refused)?);
    }
    Ok(found)
}

/// The verdicts by build, in their original order.
pub(crate) fn by_build(all: Vec<VerdictEntry>) -> BTreeMap<BuildId, Vec<VerdictEntry>> {
    let mut builds: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for entry in all {
        builds.entry(entry.build.clone()).or_default().push(entry);
    }
    builds
}
