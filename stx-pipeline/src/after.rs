//! The build below a build, as its phases are told of it.

use serde::{Deserialize, Serialize};
use stx_layout::After;

/// The build below, found once when a build starts: the record names it, the phases read from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Below {
    /// The build, and the digest of its sums.
    #[serde(flatten)]
    pub after: After,
    /// Where the phases read it: a URL, or an absolute path.
    pub url: String,
}

impl Below {
    /// The variable that names the build below, as `CHANNEL/DATE`; empty without one.
    pub const BUILD: &'static str = "AFTER_BUILD";
    /// The variable that says where it is read; empty without one.
    pub const URL: &'static str = "AFTER_URL";
}
