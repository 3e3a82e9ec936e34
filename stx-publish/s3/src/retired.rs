//! Retires builds, restores them, and purges them.
//!
//! ```text
//! retire    an entry in retired/ is written ─> build.json is deleted
//! restore   files are in place ─> build.json is written ─> the entry is deleted
//! purge     a mark is written ─> the entry is deleted ─> the files are deleted
//! ```
//!
//! A build is retired if it has an entry and its record is not in place, or if its files were moved aside because another build
//! was to take its place. An entry of a build that is in place is left from a crash; it does not count.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, BuildRecord, Channel};

use super::Inner;
use super::keys::{self, Going, RETIRED, RetiredName};
use super::lease::Lease;
use super::manifest::Manifest;
use super::objects::{Keep, PARALLEL};
use super::read::parse_record;
use stx_publish::store::rules::{check_free, check_there, retired_at, retired_before};
use stx_publish::store::{Retired, Scope, StoreError};

/// The text of a build's entry.
#[derive(Debug, Serialize, Deserialize)]
struct Text {
    schema: u32,
    /// The text of its `build.json`.
    record: String,
    manifest: Manifest,
}

fn not_found(retired: &Retired) -> StoreError {
    StoreError::NotFound {
        what: retired.to_string(),
    }
}

/// The entries below a prefix, and those whose files were moved aside.
#[derive(Debug, Default)]
pub(super) struct Entries {
    all: BTreeSet<Retired>,
    aside: BTreeSet<Retired>,
}

impl Entries {
    /// Returns true if a build is in the trash.
    pub(super) fn has(&self, id: &BuildId) -> bool {
        self.all.iter().any(|retired| retired.is_whole(id))
    }

    /// The retired build whose files are in the place of a build.
    pub(super) fn in_place(&self, id: &BuildId) -> Option<&Retired> {
        let mut all = self.all.iter();
        all.find(|it| it.id == *id && it.section.is_none() && !self.aside.contains(it))
    }
}

impl Inner {
    pub(super) async fn entries(&self, only: Option<&Channel>) -> Result<Entries, StoreError> {
        let prefix = match only {
            None => RETIRED.to_owned(),
            Some(channel) => format!("{RETIRED}/{channel}"),
        };
        let mut entries = Entries::default();
        for listed in self.objects.list(&prefix).await? {
            let name = match only {
                None => listed.name,
                Some(channel) if !listed.name.contains('/') => {
                    format!("{channel}/{}", listed.name)
                }
                Some(_) => continue,
            };
            match keys::parse_retired(&name) {
                None => {}
                Some(RetiredName::Entry(retired)) => drop(entries.all.insert(retired)),
                Some(RetiredName::Aside(retired)) => drop(entries.aside.insert(retired)),
            }
        }
        Ok(entries)
    }

    async fn is_visible(&self, id: &BuildId) -> Result<bool, StoreError> {
        Ok(self.objects.head(&keys::record(id)).await?.is_some())
    }

    pub(super) async fn retired_builds(&self) -> Result<Vec<Retired>, StoreError> {
        let Entries { all, aside } = self.entries(None).await?;
        let looked = all.into_iter().map(|retired| {
            let certain = retired.section.is_some() || aside.contains(&retired);
            async move {
                let stale = !certain && self.is_visible(&retired.id).await?;
                Ok::<_, StoreError>((!stale).then_some(retired))
            }
        });
        let looked = stream::iter(looked).buffered(PARALLEL);
        let kept = looked.try_filter_map(|retired| std::future::ready(Ok(retired)));
        kept.try_collect().await
    }

    /// True if a build that is not in place can be restored.
    pub(super) async fn is_retired(&self, id: &BuildId) -> Result<bool, StoreError> {
        Ok(self.entries(Some(&id.channel)).await?.has(id))
    }

    async fn entry_text(&self, retired: &Retired) -> Result<Text, StoreError> {
        let name = keys::retired(retired);
        let found = self.objects.get(&name).await?;
        let (text, _) = found.ok_or_else(|| not_found(retired))?;
        serde_json::from_slice(&text).map_err(|error| StoreError::Damaged {
            what: name,
            source: error.into(),
        })
    }

    pub(super) async fn retired_record(
        &self,
        retired: &Retired,
    ) -> Result<BuildRecord, StoreError> {
        let text = self.entry_text(retired).await?;
        parse_record(&retired.id, text.record.as_bytes())
    }

    /// Fails if an alias or a pin keeps the build, or if it does not exist.
    pub(super) async fn check_free(
        &self,
        id: &BuildId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        check_there(id, self.is_visible(id).await?)?;
        let mut aliases = self.aliases(Some(&id.channel)).await?;
        let (aliases, _) = aliases.remove(&id.channel).unwrap_or_default();
        let pins = self.pins(&Scope::Build(id.clone())).await?;
        check_free(id, &aliases, &pins, now)?;
        // No reader over plain HTTP is led to a build that is about to be retired.
        self.show_aliases(&id.channel).await.map(drop)
    }

    pub(super) async fn retire(
        &self,
        lease: &Lease,
        id: &BuildId,
        now: DateTime<Utc>,
    ) -> Result<Retired, StoreError> {
        let retired = retired_at(id, now)?;
        self.check_free(id, now).await?;
        let Entries { all, aside } = self.entries(Some(&id.channel)).await?;
        if aside.contains(&retired) {
            return Err(retired_before(&retired));
        }
        // The build is in place, so these entries are left from crashes.
        let stale = all
            .into_iter()
            .filter(|it| it.id == *id && it.section.is_none() && !aside.contains(it));
        self.objects
            .delete(stale.map(|it| keys::retired(&it)).collect::<Vec<_>>())
            .await?;
        let record = self.objects.get(&keys::record(id)).await?;
        let (record, _) = record.ok_or_else(|| not_found(&retired))?;
        // A restored build gets this text back, so it must be byte-identical.
        let record = String::from_utf8(record.to_vec()).map_err(|error| StoreError::Damaged {
            what: keys::record(id),
            source: error.into(),
        })?;
        let text = Text {
            schema: 1,
            record,
            manifest: self.manifest(id).await?.unwrap_or_default(),
        };
        let text = serde_json::to_string(&text).expect("its keys are texts") + "\n";
        let name = keys::retired(&retired);
        self.objects.put(&name, text, Keep::Not).await?;
        // Its publisher may have died right after the commit; the files must not be taken for those of an uncommitted build.
        self.unmark(id, Going::Publish).await?;
        lease.check(&self.objects).await?;
        self.objects.delete([keys::record(id)]).await?;
        Ok(retired)
    }

    /// Moves aside the files of the retired build in the place of `id`, if there is one.
    pub(super) async fn set_aside(&self, id: &BuildId) -> Result<(), StoreError> {
        let entries = self.entries(Some(&id.channel)).await?;
        let Some(retired) = entries.in_place(id) else {
            return Ok(());
        };
        let (from, to) = (keys::build(id), keys::aside(retired));
        let listed = self.objects.list(&from).await?;
        let names: Vec<_> = listed.iter().map(|it| it.name.as_str()).collect();
        let pairs = listed.iter().map(|it| {
            let name = &it.name;
            (format!("{from}/{name}"), format!("{to}/{name}"), it.size)
        });
        self.objects.copy_all(pairs.collect::<Vec<_>>()).await?;
        let mark = keys::aside_mark(retired);
        self.objects.put(&mark, "", Keep::Not).await?;
        let moved = names.iter().map(|name| format!("{from}/{name}"));
        self.objects.delete(moved.collect::<Vec<_>>()).await
    }

    pub(super) async fn restore(&self, lease: &Lease, retired: &Retired) -> Result<(), StoreError> {
        let id = &retired.id;
        let text = self.entry_text(retired).await?;
        let Entries { aside, .. } = self.entries(Some(&id.channel)).await?;
        let is_aside = aside.contains(retired);
        if self.is_visible(id).await? {
            if !is_aside {
                // Already restored by a publisher that died.
                self.objects.delete([keys::retired(retired)]).await?;
                return Err(not_found(retired));
            }
            return Err(StoreError::AlreadyExists {
                what: id.to_string(),
            });
        }
        if is_aside {
            self.set_aside(id).await?;
            self.mark(id, Going::Restore, Some(retired)).await?;
            self.bring_back(retired).await?;
        } else {
            self.mark(id, Going::Restore, Some(retired)).await?;
        }
        self.put_manifest(id, &text.manifest).await?;
        lease.check(&self.objects).await?;
        if !self.objects.create(&keys::record(id), text.record).await? {
            return Err(StoreError::AlreadyExists {
                what: id.to_string(),
            });
        }
        self.forget(retired, is_aside).await?;
        self.unmark(id, Going::Restore).await
    }

    /// Copies the files that were moved aside back, and removes others from their place.
    async fn bring_back(&self, retired: &Retired) -> Result<(), StoreError> {
        let (from, to) = (keys::aside(retired), keys::build(&retired.id));
        let files = self.objects.list(&from).await?;
        let pairs = files.iter().map(|it| {
            let name = &it.name;
            (format!("{from}/{name}"), format!("{to}/{name}"), it.size)
        });
        self.objects.copy_all(pairs.collect::<Vec<_>>()).await?;
        let known: BTreeSet<_> = files.iter().map(|it| it.name.as_str()).collect();
        let there = self.objects.list(&to).await?.into_iter();
        let others = there.filter(|it| !known.contains(it.name.as_str()));
        let others = others.map(|it| format!("{to}/{}", it.name));
        self.objects.delete(others.collect::<Vec<_>>()).await
    }

    /// Removes the entry of a build, and its files that were moved aside.
    async fn forget(&self, retired: &Retired, is_aside: bool) -> Result<(), StoreError> {
        self.objects.delete([keys::retired(retired)]).await?;
        // Also files that were being moved there when a publisher died.
        self.objects.delete_below(&keys::aside(retired)).await?;
        if is_aside {
            self.objects.delete([keys::aside_mark(retired)]).await?;
        }
        Ok(())
    }

    /// Finishes a restore: if the build is in place, removes its entry; otherwise the build stays retired.
    pub(super) async fn finish_restore(&self, id: &BuildId) -> Result<(), StoreError> {
        let Some(retired) = self.marked(id, Going::Restore).await? else {
            return Ok(());
        };
        let Entries { aside, .. } = self.entries(Some(&id.channel)).await?;
        let is_aside = aside.contains(&retired);
        if self.is_visible(id).await? {
            return self.forget(&retired, is_aside).await;
        }
        if is_aside {
            self.objects.delete_below(&keys::build(id)).await?;
        }
        Ok(())
    }

    pub(super) async fn purge(&self, retired: &Retired) -> Result<(), StoreError> {
        let id = &retired.id;
        let name = keys::retired(retired);
        if self.objects.head(&name).await?.is_none() {
            return Err(not_found(retired));
        }
        if retired.section.is_none() {
            let Entries { aside, .. } = self.entries(Some(&id.channel)).await?;
            if !aside.contains(retired) && self.is_visible(id).await? {
                self.objects.delete([name]).await?;
                return Err(not_found(retired));
            }
        }
        self.mark(id, Going::Purge, Some(retired)).await?;
        self.objects.delete([name]).await?;
        self.delete_files(retired).await?;
        self.unmark(id, Going::Purge).await
    }

    pub(super) async fn finish_purge(&self, id: &BuildId) -> Result<(), StoreError> {
        let Some(retired) = self.marked(id, Going::Purge).await? else {
            return Ok(());
        };
        self.objects.delete([keys::retired(&retired)]).await?;
        self.delete_files(&retired).await
    }

    /// Deletes the files of a build or section that no longer has an entry.
    async fn delete_files(&self, retired: &Retired) -> Result<(), StoreError> {
        let id = &retired.id;
        let Entries { all, aside } = self.entries(Some(&id.channel)).await?;
        if let Some(section) = &retired.section {
            let instances = aside.iter().filter(|it| it.id == *id).map(keys::aside);
            for prefix in instances.chain([keys::build(id)]) {
                let thinned = self.thinned_at(&prefix).await?;
                let mut sections = thinned.sections.iter();
                if sections.any(|it| it.section == *section && it.at == retired.at) {
                    let name = format!("{prefix}/{section}");
                    self.objects.delete_below(&name).await?;
                    return self.objects.delete([name]).await;
                }
            }
            // The section was deleted with its build.
            return Ok(());
        }
        let mark = keys::aside_mark(retired);
        // Also files that were being moved there when a publisher died.
        self.objects.delete_below(&keys::aside(retired)).await?;
        if aside.contains(retired) {
            return self.objects.delete([mark]).await;
        }
        let mut others = all.iter().filter(|it| it.id == *id && !aside.contains(it));
        let taken = others.any(|it| it.section.is_none()) || self.is_visible(id).await?;
        if taken {
            return Ok(());
        }
        self.objects.delete_below(&keys::build(id)).await?;
        self.objects.delete([keys::manifest(id)]).await
    }
}
