//! The writing half of a mirror in a bucket.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use stx_layout::{AliasEntry, AliasName, BuildDate, BuildId, Channel, Pin, Section, VerdictEntry};

use super::Inner;
use super::keys::{self, Going};
use super::lease::Lease;
use super::objects::Keep;
use super::staged::BucketStaged;
use stx_publish::store::rules::{check_absent, check_channel};
use stx_publish::store::{ChannelWriter, Leftover, OwedTags, Retired, StagedBuild, StoreError};
use stx_publish::thinning::ThinnedSection;

/// The lock of a channel, shared with the build that is being put together.
#[derive(Debug)]
pub(super) struct BucketWriter {
    inner: Arc<Inner>,
    channel: Channel,
    lease: Arc<Lease>,
    /// Held while an alias is moved: its public object follows in the same order.
    pointing: tokio::sync::Mutex<()>,
}

impl BucketWriter {
    pub(super) fn new(inner: Arc<Inner>, channel: Channel, lease: Lease) -> Self {
        Self {
            inner,
            channel,
            lease: Arc::new(lease),
            pointing: tokio::sync::Mutex::default(),
        }
    }

    fn id(&self, date: BuildDate) -> BuildId {
        BuildId::new(self.channel.clone(), date)
    }

    /// Finishes what dead publishers left, except what was being put together.
    async fn finish(&self) -> Result<(), StoreError> {
        self.lease.check(&self.inner.objects).await?;
        self.inner.sweep(&self.channel, false, None).await.map(drop)
    }
}

#[async_trait]
impl ChannelWriter for BucketWriter {
    fn channel(&self) -> &Channel {
        &self.channel
    }

    async fn begin(&self, date: BuildDate) -> Result<Box<dyn StagedBuild>, StoreError> {
        let id = self.id(date);
        let inner = &self.inner;
        check_absent(&id, inner.objects.head(&keys::record(&id)).await?.is_some())?;
        self.lease.check(&inner.objects).await?;
        // What is there of this very build is gone on with.
        drop(inner.sweep(&self.channel, true, Some(&id)).await?);
        inner.set_aside(&id).await?;
        inner.mark(&id, Going::Publish, None).await?;
        let (inner, lease) = (Arc::clone(inner), Arc::clone(&self.lease));
        let staged = BucketStaged::begin(inner, lease, id).await?;
        Ok(Box::new(staged))
    }

    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<(), StoreError> {
        let _pointing = self.pointing.lock().await;
        let (lease, channel) = (&self.lease, &self.channel);
        self.inner.point(lease, channel, alias, expected, to).await
    }

    async fn hold_alias(&self, alias: &AliasName, at: BuildDate) -> Result<(), StoreError> {
        let objects = &self.inner.objects;
        self.lease.check(objects).await?;
        let name = keys::held(&self.channel, alias);
        objects.put(&name, format!("{at}\n"), Keep::Not).await
    }

    async fn offer(&self, sections: &BTreeSet<Section>) -> Result<(), StoreError> {
        let _pointing = self.pointing.lock().await;
        let (lease, channel) = (&self.lease, &self.channel);
        self.inner.offer(lease, channel, sections).await
    }

    async fn retire(&self, date: BuildDate, now: DateTime<Utc>) -> Result<Retired, StoreError> {
        self.finish().await?;
        self.inner.retire(&self.lease, &self.id(date), now).await
    }

    async fn thin(
        &self,
        date: BuildDate,
        sections: &[ThinnedSection],
    ) -> Result<Vec<Retired>, StoreError> {
        self.finish().await?;
        self.inner.thin(&self.lease, &self.id(date), sections).await
    }

    async fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        check_channel(&self.channel, &pin.build)?;
        self.inner.pin(&self.lease, pin).await
    }

    async fn unpin(&self, date: BuildDate, author: &str) -> Result<Pin, StoreError> {
        self.inner.unpin(&self.lease, &self.id(date), author).await
    }

    async fn mark(&self, entry: &VerdictEntry) -> Result<(), StoreError> {
        check_channel(&self.channel, &entry.build)?;
        self.inner.add_verdict(&self.lease, entry).await
    }

    async fn owe(&self, owed: &OwedTags) -> Result<(), StoreError> {
        check_channel(&self.channel, &owed.build)?;
        self.inner.owe(&self.lease, owed).await
    }

    async fn restore(&self, retired: &Retired) -> Result<(), StoreError> {
        check_channel(&self.channel, &retired.id)?;
        self.finish().await?;
        match &retired.section {
            None => self.inner.restore(&self.lease, retired).await,
            Some(section) => {
                let (inner, lease) = (&self.inner, &self.lease);
                inner.restore_section(lease, retired, section).await
            }
        }
    }

    async fn purge(&self, retired: &Retired) -> Result<(), StoreError> {
        check_channel(&self.channel, &retired.id)?;
        self.finish().await?;
        self.inner.purge(retired).await
    }

    async fn sweep(&self) -> Result<Vec<Leftover>, StoreError> {
        self.lease.check(&self.inner.objects).await?;
        self.inner.sweep(&self.channel, true, None).await
    }
}
