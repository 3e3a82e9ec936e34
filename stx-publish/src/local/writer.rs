//! The writing half of a mirror in a directory.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use camino::Utf8Path;
use chrono::{DateTime, Utc};
use fs_err as fs;
use stx_layout::{AliasEntry, AliasName, BuildDate, BuildId, Channel, Pin, Section, VerdictEntry};

use super::Inner;
use super::disk::{
    io_error, make_dirs, remove_all, remove_durably, remove_hidden, rename_new, replace_link,
    sync_dir, sync_dirs,
};
use super::list::NOT_A_LINK;
use super::locked::Locked;
use super::private::{Lock, MARK};
use super::shared::Shared;
use super::staged::LocalStaged;
use crate::ingest::Hints;
use crate::ingest::blocking;
use crate::store::rules::{
    check_absent, check_alias, check_channel, check_free, check_target, check_there, check_undated,
    no_build, retired_at,
};
use crate::store::{ChannelWriter, Leftover, OwedTags, Retired, Scope, StagedBuild, StoreError};
use crate::thinning::ThinnedSection;

/// The lock of a channel, shared with every task that is still writing.
#[derive(Debug)]
pub(super) struct LocalWriter {
    inner: Arc<Inner>,
    lock: Arc<Lock>,
    /// Locked while an alias is moved, because all moves use the same temporary name.
    pointing: Arc<Mutex<()>>,
}

impl LocalWriter {
    pub(super) fn new(inner: Arc<Inner>, lock: Lock) -> Self {
        Self {
            inner,
            lock: Arc::new(lock),
            pointing: Arc::default(),
        }
    }

    /// Runs `work` with the lock, which is kept until the work ends even if the caller was cancelled.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &Lock) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (inner, lock) = (Arc::clone(&self.inner), Arc::clone(&self.lock));
        blocking(move || work(&inner, &lock)).await
    }
}

#[async_trait]
impl ChannelWriter for LocalWriter {
    fn channel(&self) -> &Channel {
        &self.lock.channel
    }

    async fn begin(&self, date: BuildDate) -> Result<Box<dyn StagedBuild>, StoreError> {
        let id = BuildId::new(self.lock.channel.clone(), date);
        let sharing = Arc::clone(&self.inner);
        let (dir, shared, hints, id) = self
            .blocking(move |inner, lock| {
                check_absent(&id, fs::symlink_metadata(inner.build_dir(&id)).is_ok())?;
                drop(inner.sweep(lock)?);
                inner.step("begin")?;
                let dir = inner.staging(&id.channel).join(date.to_string());
                inner.make_area(&dir)?;
                // Made while the disk has room: retiring must be possible on a full disk.
                let trash = inner.trash(&id.channel);
                if !trash.is_dir() {
                    inner.make_area(&trash)?;
                }
                let shared = Shared::new(sharing, id.channel.clone());
                let hints = Hints::read(&inner.channel_cache(&id.channel, "inputs"));
                Ok((dir, shared, hints, id))
            })
            .await?;
        Ok(Box::new(LocalStaged::new(
            Arc::clone(&self.inner),
            Arc::clone(&self.lock),
            id,
            dir,
            shared,
            hints,
        )?))
    }

    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<(), StoreError> {
        let (alias, expected, pointing) =
            (alias.clone(), expected.cloned(), Arc::clone(&self.pointing));
        self.blocking(move |inner, lock| {
            let _pointing = pointing
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            point(inner, &lock.channel, &alias, expected.as_ref(), to)
        })
        .await
    }

    async fn hold_alias(&self, alias: &AliasName, at: BuildDate) -> Result<(), StoreError> {
        let (alias, pointing) = (alias.clone(), Arc::clone(&self.pointing));
        self.blocking(move |inner, lock| {
            let _pointing = pointing
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let (held, staging) = (inner.held(&lock.channel), inner.staging(&lock.channel));
            inner.make_durable(&held)?;
            inner.make_area(&staging)?;
            inner.step("hold")?;
            replace_link(
                &at.to_string(),
                &staging.join(format!("{MARK}held")),
                &held.join(alias.as_str()),
            )
        })
        .await
    }

    async fn offer(&self, sections: &BTreeSet<Section>) -> Result<(), StoreError> {
        let (sections, pointing) = (sections.clone(), Arc::clone(&self.pointing));
        self.blocking(move |inner, lock| {
            let _pointing = pointing
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            inner.offer(&lock.channel, &sections)
        })
        .await
    }

    async fn retire(&self, date: BuildDate, now: DateTime<Utc>) -> Result<Retired, StoreError> {
        self.blocking(move |inner, lock| {
            retire(inner, &BuildId::new(lock.channel.clone(), date), now)
        })
        .await
    }

    async fn thin(
        &self,
        date: BuildDate,
        sections: &[ThinnedSection],
    ) -> Result<Vec<Retired>, StoreError> {
        let sections = sections.to_vec();
        self.blocking(move |inner, lock| {
            inner.thin(&BuildId::new(lock.channel.clone(), date), &sections)
        })
        .await
    }

    async fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        let pin = pin.clone();
        self.blocking(move |inner, lock| {
            check_channel(&lock.channel, &pin.build)?;
            inner.pin(&pin)
        })
        .await
    }

    async fn unpin(&self, date: BuildDate, author: &str) -> Result<Pin, StoreError> {
        let author = author.to_owned();
        self.blocking(move |inner, lock| {
            inner.unpin(&BuildId::new(lock.channel.clone(), date), &author)
        })
        .await
    }

    async fn mark(&self, entry: &VerdictEntry) -> Result<(), StoreError> {
        let entry = entry.clone();
        self.blocking(move |inner, lock| {
            check_channel(&lock.channel, &entry.build)?;
            inner.add_verdict(&entry)
        })
        .await
    }

    async fn owe(&self, owed: &OwedTags) -> Result<(), StoreError> {
        let owed = owed.clone();
        self.blocking(move |inner, lock| {
            check_channel(&lock.channel, &owed.build)?;
            inner.owe(&owed)
        })
        .await
    }

    async fn restore(&self, retired: &Retired) -> Result<(), StoreError> {
        let retired = retired.clone();
        self.blocking(move |inner, lock| {
            check_channel(&lock.channel, &retired.id)?;
            let from = trashed(inner, &retired)?;
            if let Some(section) = &retired.section {
                return inner.restore_section(&retired, section, &from);
            }
            let channel = retired.id.channel.to_string();
            make_dirs(&inner.root, Utf8Path::new(&channel), 0o755)?;
            sync_dirs(&inner.root, Utf8Path::new(&channel))?;
            inner.step("restore")?;
            rename_new(&from, &inner.build_dir(&retired.id))
        })
        .await
    }

    async fn purge(&self, retired: &Retired) -> Result<(), StoreError> {
        let retired = retired.clone();
        self.blocking(move |inner, lock| {
            check_channel(&lock.channel, &retired.id)?;
            let from = trashed(inner, &retired)?;
            // Moved to a name that no restore finds: a partly removed build must not be restored.
            let gone = inner
                .trash(&retired.id.channel)
                .join(format!("{MARK}purge"));
            remove_hidden(&gone)?;
            inner.step("purge: rename")?;
            rename_new(&from, &gone)?;
            inner.step("purge: remove")?;
            remove_all(&gone)
        })
        .await
    }

    async fn sweep(&self) -> Result<Vec<Leftover>, StoreError> {
        self.blocking(Inner::sweep).await
    }
}

/// Points an alias of a channel whose lock the caller holds.
pub(super) fn point(
    inner: &Inner,
    channel: &Channel,
    alias: &AliasName,
    expected: Option<&AliasEntry>,
    to: Option<BuildDate>,
) -> Result<(), StoreError> {
    let found = inner.alias(channel, alias)?;
    check_alias(channel, alias, expected, found.as_ref())?;
    let dir = inner.root.join(channel.to_string());
    let link = dir.join(alias.as_str());
    if matches!(&found, Some(AliasEntry::Other(text)) if text == NOT_A_LINK) {
        // It may contain the only copy of some data.
        return Err(StoreError::Refused {
            what: link.into_string(),
            reason: "it is not a symlink, as aliases are: move it away".to_owned(),
        });
    }
    let Some(date) = to else {
        inner.step("point: remove")?;
        return remove_durably(&link);
    };
    let record = inner.record(&BuildId::new(channel.clone(), date))?;
    check_target(channel, alias, &record)?;
    // The publisher of the build may have died between its rename and the sync.
    sync_dir(&dir)?;
    let staging = inner.staging(channel);
    inner.make_area(&staging)?;
    inner.step("point: move")?;
    replace_link(&date.to_string(), &inner.temporary(channel, "alias"), &link)
}

fn retire(inner: &Inner, id: &BuildId, now: DateTime<Utc>) -> Result<Retired, StoreError> {
    let retired = retired_at(id, now)?;
    let _alone = alone(inner, id, now)?;
    inner.make_durable(&inner.trash(&id.channel))?;
    inner.step("retire")?;
    rename_new(&inner.build_dir(id), &inner.trashed(&retired))?;
    Ok(retired)
}

/// Refuses a build that does not exist, or that an alias, a pin or a reader keeps. While the guard lives, no new reader can hold
/// the build.
pub(super) fn alone(inner: &Inner, id: &BuildId, now: DateTime<Utc>) -> Result<Locked, StoreError> {
    let scope = Scope::Build(id.clone());
    let mut catalog = inner.catalog(&scope)?;
    check_there(id, catalog.build(id).is_some())?;
    let entry = catalog.channels.remove(&id.channel).unwrap_or_default();
    check_free(id, &entry.aliases, &inner.pins(&scope)?, now)?;
    check_undated(id, &entry.undated)?;
    inner.alone(id)
}

fn trashed(inner: &Inner, retired: &Retired) -> Result<camino::Utf8PathBuf, StoreError> {
    let path = inner.trashed(retired);
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(no_build(&retired.id)),
        Err(source) => Err(io_error("look at", path)(source)),
    }
}
