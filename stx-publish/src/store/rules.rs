//! The rules of a mirror, as pure functions: what a store refuses, and what it writes, whatever it keeps its bytes in.
//!
//! Each store finds out what there is and moves bytes; what may happen is decided here, so that all of them decide alike.
//! A new store calls these under the lock of its channel:
//!
//! | call of a [`ChannelWriter`](super::ChannelWriter) or [`StagedBuild`](super::StagedBuild) | rules |
//! |---|---|
//! | any that names a build | [`check_channel`] |
//! | `add` | [`check_digest`] |
//! | `commit`, `commit_as` | [`check_record`] |
//! | `point` | [`check_alias`] |
//! | `retire` | [`check_pins`], [`in_use`] |
//! | `thin` | [`latest`], [`entries`], [`check_thin`] |
//! | `restore` | [`check_taken`] |
//! | `pin`, `unpin` | [`put_pin`], [`take_pin`], [`PinFile`] |

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{AliasEntry, AliasName, BuildId, BuildPath, BuildRecord, Channel, Pin, Sha256};

use super::{Found, Inspection, Retired, Scope, StoreError};
use crate::incoming::{Entry, Incoming, LinkEnd};
use crate::tiers::{Thinned, ThinnedSection, check_section, lies_in};

/// Refuses a build of another channel than the one that is locked.
pub fn check_channel(channel: &Channel, id: &BuildId) -> Result<(), StoreError> {
    if id.channel == *channel {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: id.to_string(),
        reason: format!("the lock is that of {channel}"),
    })
}

/// Whether what is known of a build belongs to a part of the mirror.
pub fn is_within(id: &BuildId, scope: &Scope) -> bool {
    match scope {
        Scope::All => true,
        Scope::Channel(channel) => id.channel == *channel,
        Scope::Build(wanted) => id == wanted,
    }
}

/// Refuses a file whose bytes are not those that its entry names.
pub fn check_digest(path: &BuildPath, entry: &Entry, digest: &Sha256) -> Result<(), StoreError> {
    match entry.digest() {
        Some(expected) if expected != *digest => Err(StoreError::Changed {
            path: path.to_string(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Refuses the record of another build than the one that is committed.
pub fn check_record(id: &BuildId, record: &BuildRecord) -> Result<(), StoreError> {
    if record.id == *id {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: id.to_string(),
        reason: format!("the record is that of {}", record.id),
    })
}

/// Refuses an alias that is not what it was expected to be.
pub fn check_alias(
    channel: &Channel,
    alias: &AliasName,
    expected: Option<&AliasEntry>,
    found: Option<&AliasEntry>,
) -> Result<(), StoreError> {
    if expected == found {
        return Ok(());
    }
    let show = crate::plan::show_alias;
    Err(StoreError::Conflict {
        what: format!("{channel}/{alias}"),
        expected: show(expected),
        found: show(found),
    })
}

/// The text of the file that holds the pins of one build.
#[derive(Debug, Serialize, Deserialize)]
pub struct PinFile {
    /// The pins.
    pub pins: Vec<Pin>,
}

impl PinFile {
    /// The pins that a file called `name` holds, all of them of its build.
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

    /// What stands for pins that cannot be understood.
    pub fn unknown(build: BuildId, error: &StoreError) -> Pin {
        Pin {
            build,
            reason: format!("unknown means keep: {}", crate::verify::chain(error)),
            author: "unknown".to_owned(),
            until: None,
        }
    }

    /// The text of the file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and times") + "\n"
    }
}

/// Refuses to take away anything of a build that a pin keeps.
pub fn check_pins(id: &BuildId, pins: &[Pin], now: DateTime<Utc>) -> Result<(), StoreError> {
    match pins.iter().find(|pin| pin.holds(now)) {
        None => Ok(()),
        Some(Pin { reason, author, .. }) => Err(StoreError::Refused {
            what: id.to_string(),
            reason: format!("pinned by {author}: {reason}"),
        }),
    }
}

/// The refusal of what somebody reads.
pub fn in_use(id: &BuildId) -> StoreError {
    StoreError::Refused {
        what: id.to_string(),
        reason: "somebody reads it just now".to_owned(),
    }
}

/// Adds a pin in place of an earlier one of the same author.
pub fn put_pin(pins: &mut Vec<Pin>, pin: &Pin) {
    pins.retain(|known| known.author != pin.author);
    pins.push(pin.clone());
    pins.sort_by(|a, b| a.author.cmp(&b.author));
}

/// Takes an author's pin away.
pub fn take_pin(id: &BuildId, pins: &mut Vec<Pin>, author: &str) -> Result<Pin, StoreError> {
    match pins.iter().position(|pin| pin.author == author) {
        Some(place) => Ok(pins.remove(place)),
        None => Err(StoreError::NotFound {
            what: format!("a pin of {id} by {author}"),
        }),
    }
}

/// Refuses a section that must not go, or is not there.
pub fn check_thin(id: &BuildId, section: &BuildPath, entries: &Incoming) -> Result<(), StoreError> {
    let what = format!("{id}/{section}");
    check_section(section).map_err(|reason| StoreError::Refused {
        what: what.clone(),
        reason,
    })?;
    if !entries.entries.keys().any(|path| lies_in(path, section)) {
        return Err(StoreError::NotFound { what });
    }
    check_links(id, section, entries)
}

/// Refuses a section without which a symlink of the rest of the build would lead nowhere.
fn check_links(id: &BuildId, section: &BuildPath, entries: &Incoming) -> Result<(), StoreError> {
    let leads = |end: &LinkEnd| match end {
        LinkEnd::File(_) | LinkEnd::Directory => true,
        LinkEnd::Wrong(_) => false,
    };
    let before = entries.links();
    let mut rest = entries.clone();
    rest.entries.retain(|path, _| !lies_in(path, section));
    let after = rest.links();
    let broken = after
        .iter()
        .find(|(path, end)| !leads(end) && before.get(*path).is_some_and(leads));
    match broken {
        None => Ok(()),
        Some((path, _)) => Err(StoreError::Refused {
            what: format!("{id}/{section}"),
            reason: format!("the symlink {path} leads into it"),
        }),
    }
}

/// Refuses to bring back a section that was not taken, just then, from the build that is there.
pub fn check_taken(
    retired: &Retired,
    section: &BuildPath,
    thinned: &Thinned,
) -> Result<(), StoreError> {
    let mut sections = thinned.sections.iter();
    if sections.any(|known| known.section == *section && known.at == retired.at) {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: retired.to_string(),
        reason: "it was not taken from the build that is there now".to_owned(),
    })
}

/// The time at which sections go: the latest that any of them records.
pub fn latest(sections: &[ThinnedSection]) -> DateTime<Utc> {
    let times = sections.iter().map(|section| section.at.time());
    times.max().unwrap_or_default()
}

/// What lies in a build, as entries.
pub fn entries(inspection: &Inspection) -> Incoming {
    let entries = inspection.found.iter().filter_map(|(path, found)| {
        let entry = match found {
            Found::File { size, .. } => Entry::File {
                source: path.as_path().to_owned(),
                size: *size,
                executable: false,
                digest: None,
            },
            Found::Symlink { target } => Entry::Symlink {
                target: target.clone(),
            },
            Found::Directory { .. } | Found::Other { .. } => return None,
        };
        Some((path.clone(), entry))
    });
    Incoming {
        entries: entries.collect(),
    }
}
