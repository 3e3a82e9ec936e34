//! Retires and restores sections of a build through `THINNED.json`, which every reader consults. Their files keep their place
//! until they are purged.

use std::collections::BTreeSet;

use stx_layout::{BuildId, BuildPath};

use super::Inner;
use super::keys::{self, Going, RETIRED, RetiredName};
use super::lease::Lease;
use super::objects::Keep;
use stx_publish::store::rules::{
    check_sections, check_taken, entries, latest, new_sections, retired_section,
};
use stx_publish::store::{Depth, Retired, StoreError};
use stx_publish::thinning::{Thinned, ThinnedSection};

impl Inner {
    async fn write_thinned(&self, id: &BuildId, thinned: &Thinned) -> Result<(), StoreError> {
        let name = format!("{id}/{}", Thinned::FILE_NAME);
        if thinned.sections.is_empty() {
            return self.objects.delete([name]).await;
        }
        self.objects.put(&name, thinned.to_json(), Keep::Not).await
    }

    pub(super) async fn thin(
        &self,
        lease: &Lease,
        id: &BuildId,
        sections: &[ThinnedSection],
    ) -> Result<Vec<Retired>, StoreError> {
        self.check_free(id, latest(sections)).await?;
        let mut thinned = self.thinned_at(&keys::build(id)).await?;
        let new = new_sections(sections, &thinned);
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let files = entries(&self.inspect(id, Depth::Listing).await?);
        check_sections(id, &new, &files)?;
        thinned.sections.extend(new);
        self.mark(id, Going::Sections, None).await?;
        lease.check(&self.objects).await?;
        self.write_thinned(id, &thinned).await?;
        let taken = self.finish_sections(id).await?;
        self.unmark(id, Going::Sections).await?;
        Ok(taken)
    }

    /// Makes the entries of a build's sections match its `THINNED.json`; returns those that had no entry.
    pub(super) async fn finish_sections(&self, id: &BuildId) -> Result<Vec<Retired>, StoreError> {
        if self.objects.head(&keys::record(id)).await?.is_none() {
            return Ok(Vec::new());
        }
        let thinned = self.thinned_at(&keys::build(id)).await?;
        let known = self.section_entries(id).await?;
        let mut taken = Vec::new();
        for section in &thinned.sections {
            let retired = retired_section(id, section);
            let has_files = self.has_files(id, &section.section).await?;
            if known.contains(&retired) || !has_files {
                continue;
            }
            let name = keys::retired(&retired);
            self.objects.put(&name, "", Keep::Not).await?;
            taken.push(retired);
        }
        let stale = known
            .iter()
            .filter(|it| !thinned.sections.iter().any(|section| is_of(it, section)));
        let stale: Vec<_> = stale.map(keys::retired).collect();
        self.objects.delete(stale).await?;
        Ok(taken)
    }

    async fn section_entries(&self, id: &BuildId) -> Result<BTreeSet<Retired>, StoreError> {
        let listed = self
            .objects
            .list(&format!("{RETIRED}/{}", id.channel))
            .await?;
        let entries = listed.iter().filter_map(|it| {
            match keys::parse_retired(&format!("{}/{}", id.channel, it.name))? {
                RetiredName::Entry(retired) => Some(retired),
                RetiredName::Aside(_) => None,
            }
        });
        let own = entries.filter(|it| it.id == *id && it.section.is_some());
        Ok(own.collect())
    }

    async fn has_files(&self, id: &BuildId, section: &BuildPath) -> Result<bool, StoreError> {
        let name = format!("{id}/{section}");
        let level = self.objects.level(&name).await?;
        if !level.objects.is_empty() || !level.prefixes.is_empty() {
            return Ok(true);
        }
        Ok(self.objects.head(&name).await?.is_some())
    }

    pub(super) async fn restore_section(
        &self,
        lease: &Lease,
        retired: &Retired,
        section: &BuildPath,
    ) -> Result<(), StoreError> {
        let id = &retired.id;
        let not_found = |what: String| StoreError::NotFound { what };
        if self.objects.head(&keys::retired(retired)).await?.is_none() {
            return Err(not_found(retired.to_string()));
        }
        if self.objects.head(&keys::record(id)).await?.is_none() {
            return Err(not_found(id.to_string()));
        }
        let mut thinned = self.thinned_at(&keys::build(id)).await?;
        check_taken(retired, section, &thinned)?;
        self.mark(id, Going::Sections, None).await?;
        lease.check(&self.objects).await?;
        thinned.sections.retain(|known| known.section != *section);
        self.write_thinned(id, &thinned).await?;
        self.objects.delete([keys::retired(retired)]).await?;
        self.unmark(id, Going::Sections).await
    }
}

fn is_of(retired: &Retired, section: &ThinnedSection) -> bool {
    retired.at == section.at && retired.section.as_ref() == Some(&section.section)
}
