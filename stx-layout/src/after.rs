//! The build of the layer below.

use serde::{Deserialize, Serialize};

use crate::{BuildId, Sha256};

/// The build of another channel upon which a build was made, in a distribution in layers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct After {
    /// The build below, which may have expired since.
    pub build: BuildId,
    /// The digest of the `SHA256SUMS` of the build below. The sums cover its `build.json`, and so the build below that one.
    pub sums: Sha256,
}
