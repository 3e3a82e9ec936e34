//! What pins and readers of a build mean to every store.

use chrono::{DateTime, Utc};
use stx_layout::{BuildId, Pin};

use super::StoreError;

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
