//! Tags that the registry has longer than the mirror has their build.

use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, ImageName, Sha256};

use super::StoreError;

/// The tags of a build that is gone for good, which something still needed then. They go when nothing does any more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwedTags {
    /// The build.
    pub build: BuildId,
    /// Its tags; what has none is remembered no longer.
    pub tags: Vec<OwedTag>,
}

/// A tag that is to go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OwedTag {
    /// Its name.
    pub name: ImageName,
    /// The image that it shows; if it shows another one, it is not this build's any more.
    pub digest: Sha256,
    /// Why it stayed, when that was looked at last.
    pub why: String,
}

impl OwedTags {
    /// Reads the note called `name`, which has to be of the build `id`.
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
