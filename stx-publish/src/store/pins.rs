//! What pins and readers of a build mean to every store.

use chrono::{DateTime, Utc};
#[cfg(feature = "local")]
use serde::{Deserialize, Serialize};
use stx_layout::{BuildId, Pin};

use super::StoreError;

/// The text of the file that holds the pins of one build.
#[cfg(feature = "local")]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PinFile {
    pub(crate) pins: Vec<Pin>,
}

#[cfg(feature = "local")]
impl PinFile {
    /// The pins that a file called `name` holds, all of them of its build.
    pub(crate) fn read(id: &BuildId, name: &str, text: &[u8]) -> Result<Vec<Pin>, StoreError> {
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

    /// What stands for pins that cannot be understood.
    pub(crate) fn unknown(build: BuildId, error: &StoreError) -> Pin {
        Pin {
            build,
            reason: format!("unknown means keep: {}", crate::verify::chain(error)),
            author: "unknown".to_owned(),
            until: None,
        }
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and times") + "\n"
    }
}

/// Refuses to take away anything of a build that a pin keeps.
pub(crate) fn check_pins(id: &BuildId, pins: &[Pin], now: DateTime<Utc>) -> Result<(), StoreError> {
    match pins.iter().find(|pin| pin.holds(now)) {
        None => Ok(()),
        Some(Pin { reason, author, .. }) => Err(StoreError::Refused {
            what: id.to_string(),
            reason: format!("pinned by {author}: {reason}"),
        }),
    }
}

/// The refusal of what somebody reads.
pub(crate) fn in_use(id: &BuildId) -> StoreError {
    StoreError::Refused {
        what: id.to_string(),
        reason: "somebody reads it just now".to_owned(),
    }
}

/// Adds a pin in place of an earlier one of the same author.
pub(crate) fn put_pin(pins: &mut Vec<Pin>, pin: &Pin) {
    pins.retain(|known| known.author != pin.author);
    pins.push(pin.clone());
    pins.sort_by(|a, b| a.author.cmp(&b.author));
}

/// Takes an author's pin away.
pub(crate) fn take_pin(id: &BuildId, pins: &mut Vec<Pin>, author: &str) -> Result<Pin, StoreError> {
    match pins.iter().position(|pin| pin.author == author) {
        Some(place) => Ok(pins.remove(place)),
        None => Err(StoreError::NotFound {
            what: format!("a pin of {id} by {author}"),
        }),
    }
}
