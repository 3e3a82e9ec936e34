//! Container images that a build pushes itself.

use serde::{Deserialize, Serialize};

/// The table `[images]` of a recipe whose phases push the images. The names of the images are in the lists `images-*.lst` that
/// the build publishes below `outputs/docker-images/`; their digests are read from the registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedImages {
    /// The prefix of the tags under which the phases push. Publishing the build makes the tags without the prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<String>,
    /// The registry that the phases push to; it is compared with the configured one before the first phase. Not yet expanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// True if a build may also be published without a configured registry: with its lists, but without images in its record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}
