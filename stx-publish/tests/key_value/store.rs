//! The store: its rows, its locks and its writers.

use async_trait::async_trait;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use stx_layout::{BuildId, Channel, Pin, VerdictEntry};
use stx_publish::conformance::test_seal;
use stx_publish::store::rules;
use stx_publish::{
    ChannelWriter, Leftover, MirrorStore, OwedTags, PageWriter, Retired, RootWriter, Scope, Seal,
    StoreError,
};

use crate::Result;
use crate::root::Pages;
use crate::rows::{Group, Rows};
use crate::writer::{Lock, Writer};

#[derive(Debug, Clone, Default)]
pub(crate) struct KeyValue {
    pub(crate) rows: Arc<Mutex<Rows>>,
    pub(crate) locked: Arc<Mutex<BTreeSet<Channel>>>,
    pub(crate) pages: Arc<futures_util::lock::Mutex<()>>,
    pub(crate) root: Arc<futures_util::lock::Mutex<()>>,
    pub(crate) seal: Seal,
}

impl KeyValue {
    pub(crate) fn sealed() -> Self {
        Self {
            seal: test_seal(),
            ..Self::default()
        }
    }

    pub(crate) fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().expect("no panic while it is locked")
    }
}

#[async_trait]
impl MirrorStore for KeyValue {
    async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>> {
        if !self
            .locked
            .lock()
            .expect("no panic")
            .insert(channel.clone())
        {
            return Err(StoreError::Busy {
                channel: Box::new(channel.clone()),
            });
        }
        let (store, channel) = (self.clone(), channel.clone());
        Ok(Box::new(Writer(Arc::new(Lock { store, channel }))))
    }
    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>> {
        let lock = Arc::clone(&self.pages).lock_owned().await;
        Ok(Box::new(Pages {
            store: self.clone(),
            _lock: lock,
        }))
    }
    async fn lock_aliases(&self) -> Result<Box<dyn RootWriter>> {
        let lock = Arc::clone(&self.root).lock_owned().await;
        Ok(Box::new(Pages {
            store: self.clone(),
            _lock: lock,
        }))
    }
    async fn retired(&self) -> Result<Vec<Retired>> {
        let rows = self.rows();
        let retired = rows.groups().into_iter().filter_map(|group| match group {
            Group::Retired(channel, name) => rules::parse_retired_name(channel, name),
            _ => None,
        });
        let mut retired: Vec<_> = retired.collect();
        retired.sort();
        Ok(retired)
    }
    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>> {
        let (rows, locked) = (self.rows(), self.locked.lock().expect("no panic"));
        let dead = rows.groups().into_iter().filter_map(|group| match group {
            Group::Staged(id) if rules::is_channel_within(&id.channel, scope) => Some(id),
            _ => None,
        });
        Ok(dead
            .filter(|id| !locked.contains(&id.channel))
            .map(leftover)
            .collect())
    }
    async fn settle(&self, _: &Channel) -> Result<()> {
        Ok(())
    }
    async fn strays(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>> {
        let rows = self.rows();
        let mut pins = Vec::new();
        for group in rows.groups() {
            match group {
                Group::Pins(id) if rules::is_within(id, scope) => pins.extend(rows.pins(id)?),
                _ => {}
            }
        }
        Ok(pins)
    }
    async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>> {
        let rows = self.rows();
        let mut entries = Vec::new();
        for group in rows.groups() {
            match group {
                Group::Verdicts(id) if rules::is_within(id, scope) => {
                    entries.extend(rows.verdicts(id)?);
                }
                _ => {}
            }
        }
        Ok(entries)
    }
    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>> {
        let rows = self.rows();
        let owed = rows.0.iter().filter_map(|((group, _), text)| match group {
            Group::Owed(id) if rules::is_within(id, scope) => {
                Some(OwedTags::read(id, "owed", text))
            }
            _ => None,
        });
        owed.collect()
    }
    async fn in_use(&self, _: &[BuildId]) -> Result<BTreeSet<BuildId>> {
        Ok(BTreeSet::new())
    }
}

pub(crate) fn leftover(id: &BuildId) -> Leftover {
    Leftover {
        channel: id.channel.clone(),
        what: id.to_string(),
    }
}
