//! The facts about a build's files in the index of its channel.

use std::collections::BTreeMap;

use stx_layout::derived::Repositories;
use stx_layout::index::{Media, PackageChanges};
use stx_layout::{BuildDate, BuildId, BuildPath, Channel, Sums};
use stx_publish::store::{MirrorStore, StoreError};

use crate::changes;

/// Looks into the builds of a channel. One that is retired meanwhile has nothing.
pub(crate) struct Files<'a> {
    pub(crate) store: &'a dyn MirrorStore,
    pub(crate) channel: &'a Channel,
    pub(crate) sums: BTreeMap<BuildDate, Sums>,
}

impl Files<'_> {
    fn id(&self, date: BuildDate) -> BuildId {
        BuildId::new(self.channel.clone(), date)
    }

    /// Reads the sums of a build; of those that were read, the last two are kept.
    async fn load(&mut self, date: BuildDate) -> Result<(), StoreError> {
        if !self.sums.contains_key(&date) {
            let sums = match self.store.sums(&self.id(date)).await {
                Err(StoreError::NotFound { .. } | StoreError::Damaged { .. }) => Sums::default(),
                sums => sums?,
            };
            while self.sums.len() > 1 {
                self.sums.pop_first();
            }
            self.sums.insert(date, sums);
        }
        Ok(())
    }

    pub(crate) async fn iso(&mut self, date: BuildDate) -> Result<Vec<Media>, StoreError> {
        self.load(date).await?;
        let images = self.sums[&date].lines().iter().filter(|line| {
            line.path.as_str().starts_with("outputs/iso/")
                && camino::Utf8Path::new(line.path.as_str()).extension() == Some("iso")
        });
        let images: Vec<_> = images.cloned().collect();
        let mut media = Vec::<Media>::with_capacity(images.len());
        for image in images {
            // A second name of the same image, a symlink for one.
            if media.iter().any(|known| known.sha256 == image.digest) {
                continue;
            }
            if let Some(bytes) = self.size(date, &image.path).await? {
                media.push(Media {
                    path: image.path,
                    bytes,
                    sha256: image.digest,
                });
            }
        }
        Ok(media)
    }

    /// The repositories of packages that the build made, with metadata.
    pub(crate) async fn repositories(
        &mut self,
        date: BuildDate,
    ) -> Result<Vec<BuildPath>, StoreError> {
        self.load(date).await?;
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
        Ok(all
            .filter(|dir| dir.segments().next() == Some("outputs"))
            .collect())
    }

    async fn size(&self, date: BuildDate, path: &BuildPath) -> Result<Option<u64>, StoreError> {
        match self.store.read(&self.id(date), path, 0).await {
            Ok(body) => Ok(Some(body.size)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn changes(
        &mut self,
        before: Option<BuildDate>,
        date: BuildDate,
    ) -> Result<Option<PackageChanges>, StoreError> {
        let Some(before) = before else {
            return Ok(None);
        };
        self.load(before).await?;
        self.load(date).await?;
        let (was, is) = (&self.sums[&before], &self.sums[&date]);
        Ok(Some(changes::changes(before, was, is)))
    }
}
