//! The pins of a mirror in a bucket: one small object per build.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use stx_layout::{BuildDate, BuildId, Pin};

use super::Inner;
use super::keys::{self, PINS};
use super::lease::Lease;
use super::objects::{Keep, PARALLEL};
use stx_publish::store::rules::{PinFile, is_within, put_pin, take_pin};
use stx_publish::store::{Scope, StoreError};

impl Inner {
    async fn pins_of(&self, id: &BuildId) -> Result<Vec<Pin>, StoreError> {
        let name = keys::pins(id);
        match self.objects.get(&name).await? {
            None => Ok(Vec::new()),
            Some((text, _)) => PinFile::read(id, &name, &text),
        }
    }

    pub(super) async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError> {
        let builds = match scope {
            Scope::Build(id) => BTreeSet::from([id.clone()]),
            Scope::All | Scope::Channel(_) => self.builds_with(PINS).await?,
        };
        let builds = builds.into_iter().filter(|id| is_within(id, scope));
        let pins = builds.map(|id| async move {
            match self.pins_of(&id).await {
                Err(error @ StoreError::Damaged { .. }) => Ok(vec![PinFile::unknown(id, &error)]),
                pins => pins,
            }
        });
        let pins = stream::iter(pins).buffered(PARALLEL);
        let pins: Vec<_> = pins.try_collect().await?;
        Ok(pins.concat())
    }

    /// The builds that have an object in one of the mirror's private areas.
    pub(super) async fn builds_with(&self, area: &str) -> Result<BTreeSet<BuildId>, StoreError> {
        let listed = self.objects.list(area).await?;
        let builds = listed.iter().filter_map(|it| {
            let (channel, name) = it.name.strip_suffix(".json")?.rsplit_once('/')?;
            let date: BuildDate = name.parse().ok()?;
            Some(BuildId::new(channel.parse().ok()?, date))
        });
        Ok(builds.collect())
    }

    pub(super) async fn pin(&self, lease: &Lease, pin: &Pin) -> Result<(), StoreError> {
        let id = &pin.build;
        let is_there = self.objects.head(&keys::record(id)).await?.is_some();
        if !is_there && !self.is_retired(id).await? {
            return Err(StoreError::NotFound {
                what: id.to_string(),
            });
        }
        let mut pins = self.pins_of(id).await?;
        put_pin(&mut pins, pin);
        self.write_pins(lease, id, pins).await
    }

    pub(super) async fn unpin(
        &self,
        lease: &Lease,
        id: &BuildId,
        author: &str,
    ) -> Result<Pin, StoreError> {
        let mut pins = self.pins_of(id).await?;
        let pin = take_pin(id, &mut pins, author)?;
        self.write_pins(lease, id, pins).await?;
        Ok(pin)
    }

    async fn write_pins(
        &self,
        lease: &Lease,
        id: &BuildId,
        pins: Vec<Pin>,
    ) -> Result<(), StoreError> {
        lease.check(&self.objects).await?;
        let name = keys::pins(id);
        if pins.is_empty() {
            return self.objects.delete([name]).await;
        }
        let text = PinFile { pins }.to_json();
        self.objects.put(&name, text, Keep::Not).await
    }
}
