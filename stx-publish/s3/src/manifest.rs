//! The properties of a build's files that objects do not have: symlinks, modes, times.
//!
//! A symlink to a file is a copy of the file under the link's path, so that a reader over plain HTTP finds it; a symlink to a
//! directory is in the manifest only. Readers that use this store see both as symlinks.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, BuildPath};

use super::Inner;
use super::keys;
use super::objects::Keep;
use stx_publish::incoming::{Entry, Incoming};
use stx_publish::store::StoreError;

/// The form of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) schema: u32,
    /// Symlinks, with their targets.
    #[serde(default)]
    pub(super) links: BTreeMap<BuildPath, String>,
    /// Files of mode 0755; all others have 0644.
    #[serde(default)]
    pub(super) executable: BTreeSet<BuildPath>,
    /// Times of modification.
    #[serde(default)]
    pub(super) modified: BTreeMap<BuildPath, DateTime<Utc>>,
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA,
            links: BTreeMap::new(),
            executable: BTreeSet::new(),
            modified: BTreeMap::new(),
        }
    }
}

impl Manifest {
    pub(super) const SCHEMA: u32 = 1;

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("its keys are texts") + "\n"
    }

    fn from_json(text: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if manifest.schema > Self::SCHEMA {
            let (found, known) = (manifest.schema, Self::SCHEMA);
            return Err(format!("schema {found}; this version reads up to {known}"));
        }
        Ok(manifest)
    }

    /// The symlinks and `files` as entries; the sizes are unknown.
    pub(super) fn entries<'a>(&self, files: impl IntoIterator<Item = &'a BuildPath>) -> Incoming {
        let mut incoming = Incoming::default();
        for file in files {
            let file = (file.clone(), Entry::Generated(Bytes::new()));
            incoming.entries.extend([file]);
        }
        for (link, target) in &self.links {
            let target = target.clone();
            let link = (link.clone(), Entry::Symlink { target });
            incoming.entries.extend([link]);
        }
        incoming
    }
}

impl Inner {
    /// The manifest of a build; `None` if it has none.
    pub(super) async fn manifest(&self, id: &BuildId) -> Result<Option<Manifest>, StoreError> {
        let name = keys::manifest(id);
        let Some((bytes, _)) = self.objects.get(&name).await? else {
            return Ok(None);
        };
        let manifest = Manifest::from_json(&bytes).map_err(|reason| StoreError::Damaged {
            what: name,
            source: reason.into(),
        })?;
        Ok(Some(manifest))
    }

    pub(super) async fn put_manifest(
        &self,
        id: &BuildId,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        let name = keys::manifest(id);
        self.objects.put(&name, manifest.to_json(), Keep::Not).await
    }
}
