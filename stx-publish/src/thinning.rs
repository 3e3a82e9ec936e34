//! Sections that retention removes from a build before the build itself: their record, and the rules for removable sections.
//!
//! A build is never written after its commit, with one exception: large sections may be removed before the build. Then
//! `THINNED.json` in the build's directory lists them with their times and rules, for every reader and over plain HTTP. It is
//! durable before the first section is removed. `SHA256SUMS` is not changed, so that the remaining files can still be checked:
//! `sha256sum -c --ignore-missing SHA256SUMS`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, BuildOutcome, BuildPath, BuildRecord};

use crate::error::StoreError;

/// The sections that were removed from a build on purpose: its `THINNED.json`.
///
/// ```
/// # use stx_publish::Thinned;
/// let thinned = Thinned::from_json(r#"{"schema": 1, "sections": [{"section": "outputs/logs",
///     "since": "2020-01-11T06:00:00Z", "at": "20200112T030000Z", "rule": "logs go after 10 days"}]}"#)?;
/// assert!(thinned.covers(&"outputs/logs/build.log".parse()?).is_some());
/// assert!(thinned.covers(&"outputs/logs2".parse()?).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thinned {
    /// The version of this format; see [`Thinned::SCHEMA`].
    pub schema: u32,
    /// The sections, in the order of their removal.
    pub sections: Vec<ThinnedSection>,
}

/// One section that was removed from a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThinnedSection {
    /// The directory or file in the build.
    pub section: BuildPath,
    /// The time since which the rule allows its removal.
    pub since: DateTime<Utc>,
    /// The time when it was moved to the trash, in whole seconds.
    pub at: BuildDate,
    /// The rule, as a sentence.
    pub rule: String,
}

impl Default for Thinned {
    fn default() -> Self {
        Self {
            schema: Self::SCHEMA,
            sections: Vec::new(),
        }
    }
}

impl Thinned {
    /// The name of the file in a build's directory.
    pub const FILE_NAME: &'static str = "THINNED.json";

    /// The version that this crate writes, and the newest it reads.
    pub const SCHEMA: u32 = 1;

    /// Parses the text of a `THINNED.json`.
    ///
    /// # Errors
    /// The error in the text, in one line.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let thinned: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if thinned.schema > Self::SCHEMA {
            return Err(format!(
                "schema {}; this version reads up to {}",
                thinned.schema,
                Self::SCHEMA
            ));
        }
        Ok(thinned)
    }

    /// The text of the `THINNED.json`, ending with a newline.
    pub fn to_json(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("it has no map with other keys");
        text + "\n"
    }

    /// The recorded section that a path belongs to.
    pub fn covers(&self, path: &BuildPath) -> Option<&ThinnedSection> {
        let mut sections = self.sections.iter();
        sections.find(|section| lies_in(path, &section.section))
    }

    /// True if exactly this section is recorded.
    pub fn has(&self, section: &BuildPath) -> bool {
        let mut sections = self.sections.iter();
        sections.any(|known| known.section == *section)
    }
}

/// True if a path is `section` or below it.
pub fn lies_in(path: &BuildPath, section: &BuildPath) -> bool {
    let rest = path.as_str().strip_prefix(section.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Refuses a section without which a build could not be identified: only entries of `inputs` and `outputs` can be removed, but
/// not all of `outputs`, and not the markers.
///
/// # Errors
/// The rule, in one line.
pub fn check_section(section: &BuildPath) -> Result<(), String> {
    let mut segments = section.segments();
    let bulky = match segments.next() {
        Some("inputs") => true,
        Some("outputs") => segments.next().is_some(),
        Some(_) | None => false,
    };
    if !bulky {
        return Err(
            "only `inputs` and the contents of `inputs` or `outputs` can be removed before the build"
                .to_owned(),
        );
    }
    let markers = [BuildOutcome::Success, BuildOutcome::Fail].map(BuildRecord::marker);
    if markers.iter().any(|marker| lies_in(marker, section)) {
        return Err("the marker identifies the build and is kept".to_owned());
    }
    Ok(())
}

/// Parses the `THINNED.json` called `name`.
pub fn parse_thinned(name: &str, bytes: &[u8]) -> Result<Thinned, StoreError> {
    let damaged = |source| StoreError::Damaged {
        what: name.to_owned(),
        source,
    };
    let text = str::from_utf8(bytes).map_err(|error| damaged(error.into()))?;
    Thinned::from_json(text).map_err(|reason| damaged(reason.into()))
}
