//! The rules of pins and verdicts, and the files that contain those of one build.

use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, Pin, VerdictEntry};

use super::StoreError;
use crate::error::chain;

/// The beginning of the reason of a pin that replaces unreadable ones.
const UNKNOWN: &str = "unknown means keep";

/// The file that contains the pins of one build.
#[derive(Debug, Serialize, Deserialize)]
pub struct PinFile {
    /// The pins.
    pub pins: Vec<Pin>,
}

impl PinFile {
    /// The pins in a file called `name`; all of them must be of its build.
    pub fn read(id: &BuildId, name: &str, text: &[u8]) -> Result<Vec<Pin>, StoreError> {
        let damaged = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Damaged {
            what: name.to_owned(),
            source,
        };
        let found: Self = serde_json::from_slice(text).map_err(|error| damaged(error.into()))?;
        match found.pins.iter().find(|pin| pin.build != *id) {
            Some(pin) => Err(damaged(format!("it holds a pin of {}", pin.build).into())),
            None => Ok(found.pins),
        }
    }

    /// The pin that replaces the pins of a build if they cannot be parsed.
    pub fn unknown(build: BuildId, error: &StoreError) -> Pin {
        Pin {
            build,
            reason: format!("{UNKNOWN}: {}", chain(error)),
            author: "unknown".to_owned(),
            until: None,
        }
    }

    /// True for a pin that [replaces](Self::unknown) pins that cannot be parsed.
    pub fn is_unknown(pin: &Pin) -> bool {
        pin.author == "unknown" && pin.reason.starts_with(UNKNOWN)
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and times") + "\n"
    }
}

/// The file that contains the verdicts on one build.
#[derive(Debug, Serialize, Deserialize)]
pub struct VerdictFile {
    /// The verdicts, oldest first.
    pub entries: Vec<VerdictEntry>,
}

impl VerdictFile {
    /// The verdicts in a file called `name`; all of them must be on its build.
    pub fn read(id: &BuildId, name: &str, text: &[u8]) -> Result<Vec<VerdictEntry>, StoreError> {
        let damaged = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Damaged {
            what: name.to_owned(),
            source,
        };
        let found: Self = serde_json::from_slice(text).map_err(|error| damaged(error.into()))?;
        match found.entries.iter().find(|entry| entry.build != *id) {
            Some(entry) => Err(damaged(
                format!("it holds a verdict on {}", entry.build).into(),
            )),
            None => Ok(found.entries),
        }
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and times") + "\n"
    }
}

/// Adds a verdict to those on its build, in the order of time, unless it is already recorded or repeats the one before it in all but
/// the time. Returns true if it was added.
pub fn put_verdict(entries: &mut Vec<VerdictEntry>, new: &VerdictEntry) -> bool {
    let is_same = |last: &VerdictEntry| {
        let at = last.at;
        *last == VerdictEntry { at, ..new.clone() }
    };
    let place = entries.partition_point(|entry| entry.at <= new.at);
    if entries.contains(new) || entries[..place].last().is_some_and(is_same) {
        return false;
    }
    entries.insert(place, new.clone());
    true
}

/// Adds a pin, and replaces an earlier one of the same author.
pub fn put_pin(pins: &mut Vec<Pin>, pin: &Pin) {
    pins.retain(|known| known.author != pin.author);
    pins.push(pin.clone());
    pins.sort_by(|a, b| a.author.cmp(&b.author));
}

/// Removes an author's pin.
pub fn take_pin(id: &BuildId, pins: &mut Vec<Pin>, author: &str) -> Result<Pin, StoreError> {
    match pins.iter().position(|pin| pin.author == author) {
        Some(place) => Ok(pins.remove(place)),
        None => Err(StoreError::NotFound {
            what: format!("a pin of {id} by {author}"),
        }),
    }
}
