//! The build that another one was made upon: the layer below.

use serde::{Deserialize, Serialize};

use crate::{BuildId, Sha256};

/// The build of another channel that a build was made upon, as a distribution in layers has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct After {
    /// The build below. It may have expired since.
    pub build: BuildId,
    /// The digest of its `SHA256SUMS`, which covers its `build.json` and so the build below that one.
    pub sums: Sha256,
}
