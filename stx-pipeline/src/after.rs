//! The build below a build, and the variables that tell its name to the phases.

use serde::{Deserialize, Serialize};
use stx_layout::After;

/// The build below. It is chosen once, when a build starts; the record names it, and phases read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Below {
    /// The build, and the digest of its sums.
    #[serde(flatten)]
    pub after: After,
    /// Its location for the phases: a URL, or an absolute path.
    pub url: String,
}

impl Below {
    /// The variable with the name of the build below, `CHANNEL/DATE`; empty if none exists.
    pub const BUILD: &'static str = "AFTER_BUILD";
    /// The variable with its location; empty if none exists.
    pub const URL: &'static str = "AFTER_URL";
}
