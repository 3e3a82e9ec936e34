//! Tags that are still on the registry although their build is not on the mirror any more.

use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, ImageName, Sha256};

use super::StoreError;

/// The tags of a build that was removed for good, which something still needed then. They are removed when nothing needs them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwedTags {
    /// The build.
    pub build: BuildId,
    /// Its tags; a build without any is forgotten.
    pub tags: Vec<OwedTag>,
}

/// A tag that will be removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwedTag {
    /// Its name.
    pub name: ImageName,
    /// The image that the tag points to; if it points to another one now, the tag no longer belongs to this build.
    pub digest: Sha256,
    /// The reason why it was kept at the last check.
    pub why: String,
}

impl OwedTags {
    /// Parses the note called `name`, which must be about the build `id`.
    pub fn read(id: &BuildId, name: &str, text: &[u8]) -> Result<Self, StoreError> {
        let damaged = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Damaged {
            what: name.to_owned(),
            source,
        };
        let found: Self = serde_json::from_slice(text).map_err(|error| damaged(error.into()))?;
        if found.build != *id {
            return Err(damaged(format!("it is about {}", found.build).into()));
        }
        Ok(found)
    }

    /// The text of such a note.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts") + "\n"
    }
}
