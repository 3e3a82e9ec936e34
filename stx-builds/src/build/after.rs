//! The build below a build, of a distribution in layers.
//!
//! ```text
//! configured ─> channel ─> find: its newest success ─> pin ─> AFTER_BUILD, AFTER_URL, build.json ─> release
//! ```
//!
//! The build below is found once, when the build starts, and recorded in the journal, so that a resumed build uses the same
//! one. A pin on the mirror protects the build below from retention, on this and on other machines, from before the first phase
//! until after the publication. Then the record of the new build protects it, as [`stx_retention`] reads the records of the catalog.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::TimeDelta;
use stx_layout::{After, BuildId, Channel, ChannelEntry, Pin, ReleaseId};
use stx_pipeline::{Below, process};
use stx_publish::incoming::digest_of;
use stx_publish::seal::{LONGEST_TEXT, sums_path};
use stx_publish::store::read_all;
use stx_publish::{ChannelWriter, MirrorStore, Scope, StoreError};
use stx_service::ServiceConfig;

use super::{BuildArea, BuildOrder, RECIPE_FORM, recipe_files};
use crate::error::{Error, ErrorKind, unusable};
use crate::options::absolute;
use crate::{Site, refused};

/// The longest wait for the lock of the channel below.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two attempts to take the lock.
const AGAIN: Duration = Duration::from_millis(200);

/// The time that a pin outlives its build: a run of retention that began before the publication did not see the record of the
/// new build.
const AFTERWARDS: TimeDelta = TimeDelta::hours(1);

/// The order, completed from the configuration of its branch: the channel to build upon, and the rules for changed files.
pub(super) fn configured(site: &Site, order: &BuildOrder) -> Result<BuildOrder, Error> {
    let mut order = order.clone();
    let Some(file) = site.options.file() else {
        return Ok(order);
    };
    let text = fs_err::read_to_string(file).map_err(|error| unusable(file, error))?;
    // The service reports the mistakes of its configuration.
    let Some(mut config) = ServiceConfig::read(&text).0 else {
        return Ok(order);
    };
    config.resolve(&absolute(file.parent().unwrap_or(Utf8Path::new("")))?);
    // The channel of a recipe does not depend on the values of its variables.
    let recipe = recipe_files(&order.recipe)?.read_unanswered();
    let recipe = recipe.map_err(|errors| Error::config(errors, RECIPE_FORM))?;
    for branch in &config.branches {
        let says = branch.after().is_some() || !branch.paths().is_empty();
        if !says || branch.git != order.branch {
            continue;
        }
        let release = match &order.release {
            Some(release) => release.clone(),
            None => ReleaseId::from_git(&order.branch).map_err(Error::usage)?,
        };
        // A milestone is built upon the same channel as its branch.
        if release != branch.release && !matches!(release, ReleaseId::Milestone(_)) {
            continue;
        }
        let theirs = site.options.recipe(branch.recipe.as_deref())?;
        let own = theirs == order.recipe;
        if own || publishes_like(&theirs, &recipe.channel(branch.release.clone())) {
            order.after = order.after.or_else(|| branch.after().cloned());
            if order.paths.is_empty() {
                order.paths = branch.paths().texts().to_vec();
            }
            return Ok(order);
        }
    }
    Ok(order)
}

/// True if a recipe can be read and publishes in `channel`.
fn publishes_like(recipe: &Utf8PathBuf, channel: &Channel) -> bool {
    let recipe = recipe_files(recipe).map(|files| files.read_unanswered());
    recipe.is_ok_and(|recipe| {
        recipe.is_ok_and(|recipe| recipe.channel(channel.release.clone()) == *channel)
    })
}

/// The newest success of `channel`, the channel below `upper`, and its URL for the phases.
pub(super) async fn find(
    area: &BuildArea,
    store: &dyn MirrorStore,
    upper: &Channel,
    channel: &Channel,
) -> Result<Below, Error> {
    let scope = Scope::Channel(channel.clone());
    let catalog = store.catalog(&scope).await.map_err(refused)?;
    let newest = catalog.channels.get(channel);
    let Some(date) = newest.and_then(ChannelEntry::newest_success) else {
        let error = format!("{upper} is built after {channel}, which has no successful build");
        return Err(Error::new(ErrorKind::NotFound, error).hint(format!(
            "build {channel} first; `after` in the configuration names it"
        )));
    };
    let build = BuildId::new(channel.clone(), date);
    // A publisher that was killed may have left this build visible, but not yet safe on the disk.
    store.settle(channel).await.map_err(refused)?;
    let sums = read_all(store, &build, &sums_path(), LONGEST_TEXT).await;
    let sums = digest_of(&sums.map_err(refused)?);
    let root = area.site.options.site().url;
    let root = root.unwrap_or_else(|| area.mirror.to_string());
    Ok(Below {
        url: format!("{}/{build}", root.trim_end_matches('/')),
        after: After { build, sums },
    })
}

/// Finds the build below and pins it, until [`release`] or the next build of `upper`. The caller holds the lock of `upper`.
pub(super) async fn take(
    area: &BuildArea,
    store: &dyn MirrorStore,
    upper: &Channel,
    channel: &Channel,
) -> Result<Below, Error> {
    // Without the lock, retention could remove the build before it is pinned.
    let writer = lock(store, channel).await?;
    let found = find(area, store, upper, channel).await?;
    drop_pins(store, &*writer, upper).await?;
    writer
        .pin(&pin(upper, &found.after.build))
        .await
        .map_err(refused)?;
    Ok(found)
}

/// Lets the pin of a finished build expire. A failure is only noted, since the next build of the channel drops the pin.
pub(super) async fn release(
    area: &BuildArea,
    store: &dyn MirrorStore,
    upper: &Channel,
    below: Option<&Below>,
) {
    let Some(below) = below else { return };
    let build = &below.after.build;
    let ending = Pin {
        until: area.now().checked_add_signed(AFTERWARDS),
        ..pin(upper, build)
    };
    let released = async {
        let writer = lock(store, &build.channel).await?;
        writer.pin(&ending).await.map_err(refused)
    };
    if let Err(failure) = released.await {
        area.site.note(&format!(
            "note: the pin of {build} by {upper} stays until the next build of {upper}: {}",
            failure.line()
        ));
    }
}

/// As [`release`], for the unfinished build of a channel whose journal is about to be removed.
pub(crate) async fn release_below(area: &BuildArea, upper: &Channel) {
    let journal = process::read_journal(&area.channel(upper)).ok().flatten();
    let below = journal.and_then(|journal| journal.started.request.after);
    if let (Some(below), Ok(Some(store))) = (below, area.published()) {
        release(area, &*store, upper, Some(&below)).await;
    }
}

/// The pin of a channel's build on the build below. Its author is the channel, so that a build has one pin of each channel.
fn pin(upper: &Channel, below: &BuildId) -> Pin {
    Pin {
        build: below.clone(),
        reason: format!("a build of {upper} is built upon it"),
        author: upper.to_string(),
        until: None,
    }
}

/// Drops the pins of earlier builds of `upper`, which have all ended: the caller holds the lock of `upper`.
async fn drop_pins(
    store: &dyn MirrorStore,
    writer: &dyn ChannelWriter,
    upper: &Channel,
) -> Result<(), Error> {
    let scope = Scope::Channel(writer.channel().clone());
    let author = upper.to_string();
    for pin in store.pins(&scope).await.map_err(refused)? {
        if pin.author == author {
            writer
                .unpin(pin.build.date, &author)
                .await
                .map_err(refused)?;
        }
    }
    Ok(())
}

/// Takes the lock of the channel below; `Busy` if a publisher there holds the lock for longer than [`PATIENCE`].
async fn lock(store: &dyn MirrorStore, channel: &Channel) -> Result<Box<dyn ChannelWriter>, Error> {
    let mut waited = Duration::ZERO;
    loop {
        match store.lock(channel).await {
            Err(StoreError::Busy { .. }) if waited < PATIENCE => {
                tokio::time::sleep(AGAIN).await;
                waited += AGAIN;
            }
            locked => return locked.map_err(refused),
        }
    }
}
