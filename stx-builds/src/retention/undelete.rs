//! Restore a build, and the sections that were removed before it, from the trash.

use std::collections::BTreeSet;

use chrono::SubsecRound as _;
use serde::Serialize;
use stx_layout::{BuildDate, BuildId, Pin};
use stx_publish::verdicts::point_green;
use stx_publish::{MirrorStore, Retired, Scope, StoreError, ThinnedSection};

use super::pin::user;
use super::prune::GRACE;
use crate::build_ref::BuildRef;
use crate::decisions::thinned;
use crate::error::{Error, ErrorKind, chain};
use crate::{Site, build_ref, refused};

/// The result of restoring a build from the trash.
#[derive(Debug, Serialize)]
pub struct Restored {
    /// The build.
    pub build: BuildId,
    /// The build itself, and its sections.
    pub restored: Vec<Retired>,
    /// The pin that prevents the next `prune` from retiring it again.
    pub pin: Pin,
}

/// The owner of the pin. A build has one pin per owner, so a user's pin is not changed.
const AUTHOR: &str = "undelete";

impl Site {
    /// Restores the newest retired build with this id, unless the build exists, and every section that was removed from it. The build
    /// is pinned for as long as it could have been restored: the rule that removed it still applies, and the next `prune` would
    /// remove it at once. The build is named as in any other command; the beginning of a date may be that of a retired build.
    pub async fn undelete(&self, text: &str) -> Result<Restored, Error> {
        let store = self.mirror()?;
        let build = &meant(&*store, text).await?;
        let writer = store.lock(&build.channel).await.map_err(refused)?;
        let retired = store.retired().await.map_err(refused)?;
        let catalog = store.catalog(&Scope::Build(build.clone())).await;
        let is_there = catalog.map_err(refused)?.build(build).is_some();
        let own = || retired.iter().filter(|retired| retired.id == *build);
        let whole = own().rfind(|retired| retired.section.is_none());
        let whole = whole.filter(|_| !is_there);
        let sections = own().filter(|retired| retired.section.is_some());
        let coming: Vec<_> = whole.into_iter().chain(sections).cloned().collect();
        if coming.is_empty() {
            let gone = thinned(&*store, build).await?;
            return Err(not_there(build, &retired, is_there, &gone));
        }
        let pin = Pin {
            build: build.clone(),
            reason: match user() {
                Some(user) => format!("restored by {user}"),
                None => "restored".to_owned(),
            },
            author: AUTHOR.to_owned(),
            until: Some((self.now + GRACE).trunc_subsecs(0)),
        };
        // Before it is restored: a `prune` after a crash in between must find the pin.
        match writer.pin(&pin).await {
            Ok(()) => {}
            // Pins that cannot be understood keep their build.
            Err(error @ StoreError::Damaged { .. }) => {
                self.note(&format!("note: not pinned: {}", chain(&error)));
            }
            Err(error) => return Err(refused(error)),
        }
        for retired in &coming {
            writer.restore(retired).await.map_err(refused)?;
        }
        // It may be the newest green build.
        let green = point_green(&*store, &*writer).await;
        let _: Option<BuildDate> = green.map_err(refused)?;
        Ok(Restored {
            build: build.clone(),
            restored: coming,
            pin,
        })
    }
}

/// The build that a name refers to. The trash is searched first: here, the beginning of a date rarely refers to a visible build.
async fn meant(store: &dyn MirrorStore, text: &str) -> Result<BuildId, Error> {
    if let Ok(BuildRef::Prefix(channel, prefix)) = text.parse() {
        let retired = store.retired().await.map_err(refused)?;
        let ids = retired.into_iter().map(|retired| retired.id);
        let ids: BTreeSet<_> = ids
            .filter(|id| id.channel == channel && id.date.to_string().starts_with(&prefix))
            .collect();
        match Vec::from_iter(&ids).as_slice() {
            [] => {}
            [id] => return Ok((*id).clone()),
            several => {
                let names: Vec<_> = several.iter().map(ToString::to_string).collect();
                let error = format!(
                    "{channel}: {} retired builds begin with {prefix}",
                    names.len()
                );
                return Err(Error::usage(error).hint(format!("name one of {}", names.join(", "))));
            }
        }
    }
    build_ref::resolve(store, text).await
}

/// The error about a build of which nothing can be restored. `gone` lists the sections that retention removed from it.
fn not_there(
    build: &BuildId,
    retired: &[Retired],
    is_there: bool,
    gone: &[ThinnedSection],
) -> Error {
    let sections = gone.iter().map(|it| it.section.as_str());
    let sections = sections.collect::<Vec<_>>().join(", ");
    if is_there && !gone.is_empty() {
        let error = format!("{build}: already exists without {sections}, which were purged");
        return Error::new(ErrorKind::NotFound, error);
    }
    if is_there {
        return Error::new(
            ErrorKind::NotFound,
            format!("{build}: already exists, and is complete"),
        );
    }
    let known: Vec<_> = retired.iter().map(ToString::to_string).collect();
    let failure = Error::new(
        ErrorKind::NotFound,
        format!("{build}: not among the retired builds"),
    );
    match known.as_slice() {
        [] => failure.hint("there are none"),
        known => failure.hint(format!("there are: {}", known.join(", "))),
    }
}
