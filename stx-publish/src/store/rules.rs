//! The rules of a mirror, as pure functions: what a store refuses, and what it writes, whatever it keeps its bytes in.
//!
//! Each store finds out what there is and moves bytes; what may happen is decided here, so that all of them decide alike.
//! A new store calls these under the lock of its channel:
//!
//! | call of a [`ChannelWriter`](super::ChannelWriter) or [`StagedBuild`](super::StagedBuild) | rules |
//! |---|---|
//! | any that names a build | [`check_channel`] |
//! | `begin` | [`check_absent`] |
//! | `add` | [`check_digest`], [`stored_file`], [`file_mode`] |
//! | `add_with_control` | [`control_maker`], [`control_path`] |
//! | `index` | [`known_packages`], [`sign_metadata`] |
//! | `index_apt` | [`index_apt`] |
//! | `commit` | [`seal_staged`], [`check_absent`] |
//! | `commit_as` | [`seal_copy`], [`check_absent`] |
//! | `point` | [`check_alias`], [`check_target`] |
//! | `retire` | [`check_there`], [`check_free`], [`retired_at`] |
//! | `thin` | [`check_there`], [`check_free`] at [`latest`], [`new_sections`], [`check_sections`], [`retired_section`] |
//! | `restore` | [`check_absent`] for a build, [`check_taken`] for a section |
//! | `offer` | [`check_offer`], [`following`] |
//! | `link` of a [`RootWriter`](super::RootWriter) | [`check_root_alias`], [`check_root_target`], [`taken`] |
//! | `pin`, `unpin` | [`check_there`], [`put_pin`], [`take_pin`], [`PinFile`] |
//!
//! A store that holds or moves whole files has the rest in [`Contents`](super::Contents).
//!
//! For names and lists: [`check_channel_name`], [`retired_name`], [`parse_retired_name`], [`is_within`], [`is_channel_within`].

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildOutcome, BuildPath, BuildRecord, Channel, Pin,
    Sha256, Sums,
};

use super::{Found, Inspection, Retired, Scope, StoreError};
use crate::incoming::{Entry, Incoming, LinkEnd};
use crate::index::PageName;
use crate::metadata::Indexed;
use crate::metadata::apt::{self, AptMetadata, AptRepository, EarlierPackages};
use crate::metalink::metalinks;
use crate::seal::{Seal, Sealed, sums_path};

use crate::thinning::{Thinned, ThinnedSection, check_section, lies_in};

mod notes;
mod root;
mod undated;

pub use notes::{PinFile, VerdictFile, put_pin, put_verdict, take_pin};
pub(crate) use root::show_root;
pub use root::{
    check_root_alias, check_root_target, goes_back, newest_release, next_release, root_targets,
    taken,
};
pub use undated::{check_offer, check_undated, following, is_offered, sections_of};

pub use crate::seal::check_record;
pub use control::{control_maker, control_path, retaken_control};

mod control;

/// Stands for `/` in the name of a retired section; no name of the grammar holds it.
const SLASH: &str = "%2F";

/// The error for a build that is not there.
pub fn no_build(id: &BuildId) -> StoreError {
    StoreError::NotFound {
        what: id.to_string(),
    }
}

/// Refuses to change a build that is not there.
pub fn check_there(id: &BuildId, is_there: bool) -> Result<(), StoreError> {
    if is_there { Ok(()) } else { Err(no_build(id)) }
}

/// Refuses to put a build in the place of one that is there.
pub fn check_absent(id: &BuildId, is_there: bool) -> Result<(), StoreError> {
    if !is_there {
        return Ok(());
    }
    Err(StoreError::AlreadyExists {
        what: id.to_string(),
    })
}

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

/// Refuses a channel that lies where the pages of another one are.
///
/// # Errors
/// [`StoreError::Refused`], which names the page.
pub fn check_channel_name(channel: &Channel) -> Result<(), StoreError> {
    let name = channel.to_string();
    match name.split('/').find(|segment| PageName::is(segment)) {
        None => Ok(()),
        Some(page) => Err(StoreError::Refused {
            reason: format!("{page} is the name of a page, which a channel cannot have"),
            what: name.clone(),
        }),
    }
}

/// Whether what is known of a build belongs to a part of the mirror.
pub fn is_within(id: &BuildId, scope: &Scope) -> bool {
    match scope {
        Scope::All => true,
        Scope::Channel(channel) => id.channel == *channel,
        Scope::Build(wanted) => id == wanted,
    }
}

/// Whether something of a channel belongs to a part of the mirror: the aliases and leftovers of a build's channel are those of
/// the build.
pub fn is_channel_within(channel: &Channel, scope: &Scope) -> bool {
    match scope {
        Scope::All => true,
        Scope::Channel(wanted)
        | Scope::Build(BuildId {
            channel: wanted, ..
        }) => channel == wanted,
    }
}

/// The permission bits of a published file.
pub fn file_mode(executable: bool) -> u32 {
    if executable { 0o755 } else { 0o644 }
}

/// A file as it was stored, for what a staged build counts and sums.
pub fn stored_file(size: u64, digest: Sha256, executable: bool) -> Entry {
    Entry::File {
        source: Utf8PathBuf::new(),
        size,
        executable,
        digest: Some(digest),
    }
}

/// The digests of the added files below the repository `dir`, by path below it.
pub fn known_packages(dir: &BuildPath, added: &Incoming) -> BTreeMap<String, Sha256> {
    let prefix = format!("{dir}/");
    let sums = added.sums();
    let lines = sums.iter().flat_map(|(sums, _)| sums.lines());
    let below = lines.filter_map(|line| {
        let path = line.path.as_str().strip_prefix(&prefix)?;
        Some((path.to_owned(), line.digest))
    });
    below.collect()
}

/// The signature of the `repomd.xml` of the repository `dir`, where the mirror signs; it belongs into
/// [`REPOMD_SIGNATURE`](crate::seal::REPOMD_SIGNATURE) beside it.
pub fn sign_metadata(
    seal: &Seal,
    id: &BuildId,
    dir: &BuildPath,
    repomd: &[u8],
) -> Result<Option<Bytes>, StoreError> {
    let signature = seal.sign(repomd, id);
    signature.map_err(|source| StoreError::Unsigned {
        what: format!("{id}/{dir}/repodata/repomd.xml"),
        source,
    })
}

/// The metadata of an apt repository, signed where the mirror signs: the files to add, and what they list.
///
/// `open` opens a file that was added, `earlier` is what the repository listed in an earlier build, where that is at hand.
pub fn index_apt(
    seal: &Seal,
    id: &BuildId,
    repository: &AptRepository,
    earlier: Option<&EarlierPackages>,
    open: &apt::Open<'_>,
) -> Result<(Vec<(BuildPath, Bytes)>, Indexed), StoreError> {
    let AptMetadata { mut files, indexed } = repository.make(id, earlier, open)?;
    let dir = repository.dir();
    if let Some(release) = files.get(apt::RELEASE).cloned() {
        let unsigned = |source| StoreError::Unsigned {
            what: format!("{id}/{dir}/{}", apt::RELEASE),
            source,
        };
        let signature = seal.sign(&release, id).map_err(unsigned)?;
        let signed = seal.sign_text(&release, id).map_err(unsigned)?;
        let signatures = [
            (apt::RELEASE_SIGNATURE, signature),
            (apt::SIGNED_RELEASE, signed),
        ];
        for (name, bytes) in signatures {
            files.extend(bytes.map(|bytes| (name.to_owned(), bytes)));
        }
    }
    let placed = files.into_iter().map(|(name, bytes)| {
        let path = dir.join(&name).map_err(|source| StoreError::Damaged {
            what: dir.to_string(),
            source: source.into(),
        })?;
        Ok((path, bytes))
    });
    Ok((placed.collect::<Result<_, StoreError>>()?, indexed))
}

/// Opens files whose bytes are in memory.
pub fn open_generated(
    added: &Incoming,
) -> impl Fn(&BuildPath) -> io::Result<Box<dyn io::Read>> + Sync + '_ {
    |path| match added.entries.get(path) {
        Some(Entry::Generated(bytes)) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
        Some(Entry::File { .. } | Entry::Symlink { .. }) | None => {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

/// The sums of what was added to a build, and its bytes.
fn sums_of(id: &BuildId, added: &Incoming) -> Result<(Sums, u64), StoreError> {
    added.sums().ok_or_else(|| StoreError::Refused {
        what: id.to_string(),
        reason: "a file has no digest".to_owned(),
    })
}

/// Seals a staged build: its record, its sums, and what vouches for them.
pub fn seal_staged(
    seal: &Seal,
    id: &BuildId,
    added: &Incoming,
    record: BuildRecord,
) -> Result<Sealed, StoreError> {
    check_record(id, &record)?;
    let (sums, bytes) = sums_of(id, added)?;
    let metalinks = metalinks(id, added, &seal.mirrors);
    let sealed = seal.seal_with(&sums, bytes, record, metalinks);
    let sealed = sealed.map_err(|source| StoreError::Unsigned {
        what: format!("{id}/{}", sums_path()),
        source,
    })?;
    sealed.readable()
}

/// The seal of a staged build that is a copy: that of its original, if the added files are those of the original.
pub fn seal_copy(id: &BuildId, added: &Incoming, original: Sealed) -> Result<Sealed, StoreError> {
    let (sums, _) = sums_of(id, added)?;
    original.check(id, &sums)?;
    original.readable()
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
    Err(StoreError::Conflict {
        what: format!("{channel}/{alias}"),
        expected: show_alias(expected),
        found: show_alias(found),
    })
}

/// The target of an alias, as text for people.
pub(crate) fn show_alias(shown: Option<&AliasEntry>) -> String {
    match shown {
        None => "nothing".to_owned(),
        Some(AliasEntry::Build(date)) => date.to_string(),
        Some(AliasEntry::Other(text)) => format!("{text:?}"),
    }
}

/// Refuses to point an alias at a build that did not succeed.
pub fn check_target(
    channel: &Channel,
    alias: &AliasName,
    target: &BuildRecord,
) -> Result<(), StoreError> {
    if target.result == BuildOutcome::Success {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: format!("{channel}/{alias}"),
        reason: format!("{} is a failure", target.id.date),
    })
}

/// Refuses to take away a build, or a section of one, that an alias of its channel or a pin keeps. A store that knows its
/// readers refuses for them [too](in_use).
pub fn check_free(
    id: &BuildId,
    aliases: &BTreeMap<AliasName, AliasEntry>,
    pins: &[Pin],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for (alias, shown) in aliases {
        let points_here = match shown {
            AliasEntry::Build(date) => *date == id.date,
            AliasEntry::Other(text) => {
                Utf8Path::new(text).file_name() == Some(&id.date.to_string())
            }
        };
        if points_here {
            return Err(StoreError::Refused {
                what: id.to_string(),
                reason: format!("{alias} points at it"),
            });
        }
    }
    check_pins(id, pins, now)
}

/// The name of a build that is retired at `now`, by which it can be restored.
pub fn retired_at(id: &BuildId, now: DateTime<Utc>) -> Result<Retired, StoreError> {
    let at = BuildDate::at(now).ok_or_else(|| StoreError::Refused {
        what: id.to_string(),
        reason: format!("no date can be written for {now}"),
    })?;
    Ok(Retired {
        id: id.clone(),
        at,
        section: None,
    })
}

/// The name of a section that is taken from a build, by which it can be restored.
pub fn retired_section(id: &BuildId, section: &ThinnedSection) -> Retired {
    Retired {
        id: id.clone(),
        at: section.at,
        section: Some(section.section.clone()),
    }
}

/// The error for a build that was retired in the same second before.
pub fn retired_before(retired: &Retired) -> StoreError {
    StoreError::AlreadyExists {
        what: format!("{} retired at {}", retired.id, retired.at),
    }
}

/// The name of something retired within its channel: `<date>@<retired at>`, and `@<section>` with each `/` as `%2F`.
pub fn retired_name(retired: &Retired) -> String {
    let section = retired.section.as_ref();
    let section = section.map(|section| format!("@{}", section.as_str().replace('/', SLASH)));
    let (date, at) = (retired.id.date, retired.at);
    format!("{date}@{at}{}", section.unwrap_or_default())
}

/// Reads a [`retired_name`] of a channel; `None` for other names.
pub fn parse_retired_name(channel: &Channel, name: &str) -> Option<Retired> {
    let mut parts = name.splitn(3, '@');
    let date = parts.next()?.parse().ok()?;
    let at = parts.next()?.parse().ok()?;
    let section = parts.next().map(|text| text.replace(SLASH, "/").parse());
    Some(Retired {
        id: BuildId::new(channel.clone(), date),
        at,
        section: section.transpose().ok()?,
    })
}

/// Refuses to take away anything of a build that a pin keeps.
fn check_pins(id: &BuildId, pins: &[Pin], now: DateTime<Utc>) -> Result<(), StoreError> {
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
        reason: "it is being read".to_owned(),
    }
}

/// The sections that are to go and have not gone yet.
pub fn new_sections(sections: &[ThinnedSection], thinned: &Thinned) -> Vec<ThinnedSection> {
    let new = sections
        .iter()
        .filter(|section| !thinned.has(&section.section));
    new.cloned().collect()
}

/// Refuses sections of which one must not go, or is not there.
pub fn check_sections(
    id: &BuildId,
    sections: &[ThinnedSection],
    entries: &Incoming,
) -> Result<(), StoreError> {
    let mut sections = sections.iter();
    sections.try_for_each(|section| check_thin(id, &section.section, entries))
}

/// Refuses a section that must not go, or is not there.
fn check_thin(id: &BuildId, section: &BuildPath, entries: &Incoming) -> Result<(), StoreError> {
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

/// The files and symlinks of a build, as entries.
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

#[cfg(test)]
mod tests;
