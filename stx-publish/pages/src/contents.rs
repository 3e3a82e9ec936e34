//! The facts about a build's files for the index of its channel.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use stx_layout::derived::Repositories;
use stx_layout::index::{Media, PackageChanges};
use stx_layout::{BuildDate, BuildId, BuildPath, Channel, Sums};
use stx_publish::store::{MirrorStore, StoreError};

use crate::changes;

/// Reads facts about the builds of a channel whose sums were [loaded](Self::load). A build that is retired meanwhile has none.
pub(crate) struct Files<'a> {
    pub(crate) store: &'a dyn MirrorStore,
    pub(crate) channel: &'a Channel,
    pub(crate) sums: BTreeMap<BuildDate, Sums>,
}

impl Files<'_> {
    fn id(&self, date: BuildDate) -> BuildId {
        BuildId::new(self.channel.clone(), date)
    }

    /// Reads the sums of some builds at the same time, and forgets those of all others.
    pub(crate) async fn load(
        &mut self,
        dates: impl IntoIterator<Item = BuildDate>,
    ) -> Result<(), StoreError> {
        let mut before = std::mem::take(&mut self.sums);
        let read = dates.into_iter().map(|date| (date, before.remove(&date)));
        let this = &*self;
        let read = read.map(async |(date, known)| {
            let sums = match known {
                Some(sums) => sums,
                None => match this.store.sums(&this.id(date)).await {
                    Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => {
                        Sums::default()
                    }
                    sums => sums?,
                },
            };
            Ok::<_, StoreError>((date, sums))
        });
        self.sums = try_join_all(read).await?.into_iter().collect();
        Ok(())
    }

    pub(crate) async fn iso(&self, date: BuildDate) -> Result<Vec<Media>, StoreError> {
        let images = self.sums[&date].lines().iter().filter(|line| {
            line.path.as_str().starts_with("outputs/iso/")
                && camino::Utf8Path::new(line.path.as_str()).extension() == Some("iso")
        });
        let sizes = images.map(async |image| {
            let size = self.size(date, &image.path).await?;
            Ok::<_, StoreError>((image, size))
        });
        let mut media = Vec::<Media>::new();
        for (image, size) in try_join_all(sizes).await? {
            // A second name of the same image, such as a symlink.
            if media.iter().any(|known| known.sha256 == image.digest) {
                continue;
            }
            if let Some(bytes) = size {
                media.push(Media {
                    path: image.path.clone(),
                    bytes,
                    sha256: image.digest,
                });
            }
        }
        Ok(media)
    }

    /// The repositories of packages that the build made, if they have metadata.
    pub(crate) fn repositories(&self, date: BuildDate) -> Vec<BuildPath> {
        let sums = &self.sums[&date];
        let found = Repositories::of(sums.lines().iter().map(|line| &line.path));
        let has = |dir: &BuildPath, name: &str| {
            let path = dir.join(name);
            path.is_ok_and(|path| sums.get(&path).is_some())
        };
        let rpm = found.rpm.into_iter();
        let rpm = rpm.filter(|dir| has(dir, "repodata/repomd.xml"));
        let apt = found.apt.into_iter().filter(|dir| has(dir, "Release"));
        let all = rpm.chain(apt);
        all.filter(|dir| dir.segments().next() == Some("outputs"))
            .collect()
    }

    async fn size(&self, date: BuildDate, path: &BuildPath) -> Result<Option<u64>, StoreError> {
        match self.store.read(&self.id(date), path, 0).await {
            Ok(body) => Ok(Some(body.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn changes(
        &self,
        before: Option<BuildDate>,
        date: BuildDate,
    ) -> Option<PackageChanges> {
        let before = before?;
        let (was, is) = (&self.sums[&before], &self.sums[&date]);
        Some(changes::changes(before, was, is))
    }
}
