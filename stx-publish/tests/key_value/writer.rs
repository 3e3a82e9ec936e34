//! The writer of a channel, by its lock.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use stx_layout::{AliasEntry, AliasName, BuildDate, BuildId, Channel, Pin, Section, VerdictEntry};
use stx_publish::store::rules;
use stx_publish::thinning::lies_in;
use stx_publish::{
    ChannelWriter, Leftover, MirrorStore as _, OwedTags, Retired, StagedBuild, ThinnedSection,
};

use crate::Result;
use crate::rows::{Group, Rows, trashed};
use crate::staged::Staged;
use crate::store::{KeyValue, leftover};

#[derive(Debug)]
pub(crate) struct Lock {
    pub(crate) store: KeyValue,
    pub(crate) channel: Channel,
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.store
            .locked
            .lock()
            .expect("no panic")
            .remove(&self.channel);
    }
}

#[derive(Debug)]
pub(crate) struct Writer(pub(crate) Arc<Lock>);

impl Writer {
    pub(crate) fn id(&self, date: BuildDate) -> BuildId {
        BuildId::new(self.0.channel.clone(), date)
    }

    pub(crate) fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.store.rows()
    }

    pub(crate) fn swept(&self) -> Vec<Leftover> {
        let mut rows = self.rows();
        let staged = rows.groups().into_iter().filter_map(|group| match group {
            Group::Staged(id) if id.channel == self.0.channel => Some(id.clone()),
            _ => None,
        });
        let staged: Vec<_> = staged.collect();
        for id in &staged {
            rows.remove(&Group::Staged(id.clone()));
        }
        staged.iter().map(leftover).collect()
    }
}

#[async_trait]
impl ChannelWriter for Writer {
    fn channel(&self) -> &Channel {
        &self.0.channel
    }
    async fn begin(&self, date: BuildDate) -> Result<Box<dyn StagedBuild>> {
        let id = self.id(date);
        rules::check_absent(&id, self.rows().is_there(&id))?;
        drop(self.swept());
        self.rows().put(Group::Staged(id.clone()), &"", "");
        Ok(Box::new(Staged {
            lock: Arc::clone(&self.0),
            id,
            files: Mutex::default(),
        }))
    }
    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<()> {
        let (mut rows, channel) = (self.rows(), &self.0.channel);
        rules::check_alias(channel, alias, expected, rows.aliases(channel).get(alias))?;
        let group = Group::Aliases(channel.clone());
        let Some(to) = to else {
            rows.0.remove(&(group, alias.to_string()));
            return Ok(());
        };
        rules::check_target(channel, alias, &rows.record(&self.id(to))?)?;
        rows.put(group, alias, to.to_string());
        Ok(())
    }
    async fn hold_alias(&self, alias: &AliasName, at: BuildDate) -> Result<()> {
        let group = Group::HeldAliases(self.0.channel.clone());
        self.rows().put(group, alias, at.to_string());
        Ok(())
    }
    async fn offer(&self, sections: &BTreeSet<Section>) -> Result<()> {
        let (mut rows, channel) = (self.rows(), &self.0.channel);
        let aliases = rows.aliases(channel);
        rules::check_offer(channel, aliases.get(&AliasName::latest_build()))?;
        let group = Group::Undated(channel.clone());
        rows.remove(&group);
        for section in sections {
            rows.put(group.clone(), section.as_str(), "");
        }
        Ok(())
    }
    async fn retire(&self, date: BuildDate, now: DateTime<Utc>) -> Result<Retired> {
        let (id, mut rows) = (self.id(date), self.rows());
        let retired = rules::retired_at(&id, now)?;
        rows.check_free(&id, now)?;
        if rows.of(&trashed(&retired)).next().is_some() {
            return Err(rules::retired_before(&retired));
        }
        rows.move_to(&Group::Build(id), &trashed(&retired), |_| true);
        Ok(retired)
    }
    async fn thin(&self, date: BuildDate, sections: &[ThinnedSection]) -> Result<Vec<Retired>> {
        let (id, mut rows) = (self.id(date), self.rows());
        rows.check_free(&id, rules::latest(sections))?;
        let mut thinned = rows.thinned(&id)?;
        let (new, build) = (
            rules::new_sections(sections, &thinned),
            Group::Build(id.clone()),
        );
        rules::check_sections(&id, &new, &rows.contents(&id).incoming())?;
        thinned.sections.extend(new.iter().cloned());
        rows.put_thinned(&id, &thinned);
        let taken = new.iter().map(|section| {
            let retired = rules::retired_section(&id, section);
            let goes = |name: &str| {
                name.parse()
                    .is_ok_and(|path| lies_in(&path, &section.section))
            };
            rows.move_to(&build, &trashed(&retired), goes);
            retired
        });
        Ok(taken.collect())
    }
    async fn pin(&self, pin: &Pin) -> Result<()> {
        let id = &pin.build;
        rules::check_channel(&self.0.channel, id)?;
        let is_retired = self
            .0
            .store
            .retired()
            .await?
            .iter()
            .any(|it| it.is_whole(id));
        let mut rows = self.rows();
        rules::check_there(id, is_retired || rows.is_there(id))?;
        let mut pins = rows.pins(id)?;
        rules::put_pin(&mut pins, pin);
        rows.put(
            Group::Pins(id.clone()),
            "",
            rules::PinFile { pins }.to_json(),
        );
        Ok(())
    }
    async fn unpin(&self, date: BuildDate, author: &str) -> Result<Pin> {
        let (id, mut rows) = (self.id(date), self.rows());
        let mut pins = rows.pins(&id)?;
        let pin = rules::take_pin(&id, &mut pins, author)?;
        rows.put(Group::Pins(id), &"", rules::PinFile { pins }.to_json());
        Ok(pin)
    }
    async fn mark(&self, entry: &VerdictEntry) -> Result<()> {
        let id = &entry.build;
        rules::check_channel(&self.0.channel, id)?;
        let mut rows = self.rows();
        rules::check_there(id, rows.is_there(id))?;
        let mut entries = rows.verdicts(id)?;
        rules::put_verdict(&mut entries, entry);
        let text = rules::VerdictFile { entries }.to_json();
        rows.put(Group::Verdicts(id.clone()), "", text);
        Ok(())
    }
    async fn owe(&self, owed: &OwedTags) -> Result<()> {
        rules::check_channel(&self.0.channel, &owed.build)?;
        let group = Group::Owed(owed.build.clone());
        let mut rows = self.rows();
        rows.remove(&group);
        if !owed.tags.is_empty() {
            rows.put(group, &"", owed.to_json());
        }
        Ok(())
    }
    async fn restore(&self, retired: &Retired) -> Result<()> {
        let (id, mut rows) = (&retired.id, self.rows());
        rules::check_channel(&self.0.channel, id)?;
        rules::check_there(id, rows.of(&trashed(retired)).next().is_some())?;
        match &retired.section {
            None => rules::check_absent(id, rows.is_there(id))?,
            Some(section) => {
                rules::check_there(id, rows.is_there(id))?;
                let mut thinned = rows.thinned(id)?;
                rules::check_taken(retired, section, &thinned)?;
                thinned.sections.retain(|known| known.section != *section);
                rows.put_thinned(id, &thinned);
            }
        }
        rows.move_to(&trashed(retired), &Group::Build(id.clone()), |_| true);
        Ok(())
    }
    async fn purge(&self, retired: &Retired) -> Result<()> {
        rules::check_channel(&self.0.channel, &retired.id)?;
        rules::check_there(&retired.id, self.rows().remove(&trashed(retired)))
    }
    async fn sweep(&self) -> Result<Vec<Leftover>> {
        Ok(self.swept())
    }
}
