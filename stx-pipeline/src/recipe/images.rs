//! Container images that a build pushes itself.

use serde::{Deserialize, Serialize};

/// The table `[images]` of a recipe whose phases push the images: their names are in the `images-*.lst` that the build
/// publishes below `outputs/docker-images/`, and the registry says which images these are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedImages {
    /// The beginning of the tags under which the phases push. The tags without it are made when the build is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<String>,
}
