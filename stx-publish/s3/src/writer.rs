//! The writing half of a mirror in a bucket.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::future::{join, try_join4};
use stx_layout::{AliasEntry, AliasName, BuildDate, BuildId, Channel, Pin, Section, VerdictEntry};

use super::keys::{self, Going};
use super::known::Known;
use super::lease::Lease;
use super::marks::Left;
use super::objects::Keep;
use super::staged::BucketStaged;
use super::{Inner, Seen};
use stx_publish::store::rules::{check_absent, check_channel};
use stx_publish::store::{ChannelWriter, Leftover, OwedTags, Retired, StagedBuild, StoreError};
use stx_publish::thinning::ThinnedSection;

/// The findings when the lock was taken: the leftovers of other publishers, and the bytes that the bucket already has.
pub(super) type Early = (Option<Left>, Option<Seen>);

/// The lock of a channel, shared with the staged build.
#[derive(Debug)]
pub(super) struct BucketWriter {
    inner: Arc<Inner>,
    channel: Channel,
    lease: Arc<Lease>,
    known: Arc<Known>,
    /// Taken by the first change.
    early: Mutex<Early>,
    /// Held while an alias is moved, so that its public object changes in the same order.
    pointing: tokio::sync::Mutex<()>,
}

impl BucketWriter {
    pub(super) fn new(inner: Arc<Inner>, channel: Channel, (lease, early): (Lease, Early)) -> Self {
        Self {
            early: Mutex::new(early),
            inner,
            channel,
            lease: Arc::new(lease),
            known: Arc::default(),
            pointing: tokio::sync::Mutex::default(),
        }
    }

    fn id(&self, date: BuildDate) -> BuildId {
        BuildId::new(self.channel.clone(), date)
    }

    /// Forgets what is known about the channel before it is changed; returns the findings from when it was locked, if nothing has
    /// changed since.
    fn forget(&self) -> Early {
        self.known.forget();
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *early)
    }

    /// Finishes the operations of dead publishers, except staged builds.
    async fn finish(&self) -> Result<(), StoreError> {
        drop(self.forget());
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
        // A mark that is written without the lock would let the next publisher delete the files of a build that was retired
        // since.
        self.lease.check_lately(&inner.objects).await?;
        let (left, seen) = self.forget();
        let left = match left {
            Some(left) => left,
            None => inner.left(&self.channel).await?,
        };
        // Usually nothing is left over. Then the mark is written while the remaining questions are asked: it precedes all files
        // of the build, and the mark of a build that turns out to exist takes nothing from that build.
        let nothing_left = left.entries.in_place(&id).is_none()
            && left
                .marks
                .iter()
                .all(|it| *it == (Going::Publish, id.clone()));
        let (record, files) = (keys::record(&id), keys::build(&id));
        let seen = async {
            match seen {
                Some(seen) => Ok(seen),
                None => inner.seen(&self.channel).await,
            }
        };
        let asked = try_join4(
            inner.objects.head(&record),
            inner.objects.list(&files),
            inner.alias_states(&self.channel, left.aliases),
            seen,
        );
        let mark = async {
            if nothing_left {
                inner.mark(&id, Going::Publish, None).await?;
            }
            Ok::<(), StoreError>(())
        };
        // Both are awaited: a mark that arrives after the lock was released could belong to another publisher's build.
        let (asked, marked) = join(asked, mark).await;
        let (there, mut before, (outdated, aliases), seen) = asked?;
        if there.is_some() && nothing_left {
            inner.unmark(&id, Going::Publish).await?;
        }
        check_absent(&id, there.is_some())?;
        marked?;
        // The answers may have taken long.
        self.lease.check_lately(&inner.objects).await?;
        if nothing_left {
            self.known.see_aliases(aliases);
            drop(inner.mend_aliases(&self.channel, outdated).await?);
        } else {
            // Existing files of this very build are reused.
            drop(inner.finish_marked(left.marks, true, Some(&id)).await?);
            drop(inner.show_aliases(&self.channel).await?);
            inner.set_aside(&id).await?;
            // Only now is its place free of another build's files, which the mark allows other publishers to remove.
            inner.mark(&id, Going::Publish, None).await?;
            before = inner.objects.list(&files).await?;
        }
        let (inner, lease) = (Arc::clone(inner), Arc::clone(&self.lease));
        let known = Arc::clone(&self.known);
        let staged = BucketStaged::begin(inner, (lease, known), id, before, seen);
        Ok(Box::new(staged))
    }

    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<(), StoreError> {
        let _pointing = self.pointing.lock().await;
        let (by, channel) = ((&*self.lease, &*self.known), &self.channel);
        self.inner.point(by, channel, alias, expected, to).await
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
        drop(self.forget());
        self.lease.check(&self.inner.objects).await?;
        self.inner.sweep(&self.channel, true, None).await
    }
}
