//! The rules of a mirror, as pure functions: what a store refuses and what it writes, independent of its storage.
//!
//! Each store reads the current state and moves bytes; the decisions are made here, so that all stores make the same ones. For a
//! key-value database, [`RowStore`](super::rows::RowStore) does all of this; another new store calls these functions under the lock
//! of its channel:
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
//! A store that keeps or moves whole files finds the rest in [`Contents`](super::Contents).
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

/// Replaces `/` in the name of a retired section; the names of sections never contain it.
const SLASH: &str = "%2F";

/// The error for a build that does not exist.
pub fn no_build(id: &BuildId) -> StoreError {
    StoreError::NotFound {
        what: id.to_string(),
    }
}

/// Refuses to change a build that does not exist.
pub fn check_there(id: &BuildId, is_there: bool) -> Result<(), StoreError> {
    if is_there { Ok(()) } else { Err(no_build(id)) }
}

/// Refuses to replace an existing build.
pub fn check_absent(id: &BuildId, is_there: bool) -> Result<(), StoreError> {
    if !is_there {
        return Ok(());
    }
    Err(StoreError::AlreadyExists {
        what: id.to_string(),
    })
}

/// Refuses a build of a channel other than the locked one.
pub fn check_channel(channel: &Channel, id: &BuildId) -> Result<(), StoreError> {
    if id.channel == *channel {
        return Ok(());
    }
    Err(StoreError::Refused {
        what: id.to_string(),
        reason: format!("the lock is that of {channel}"),
    })
}

/// Refuses a channel whose path is that of a page of another channel.
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

/// True if a build, and so everything recorded about it, belongs to a part of the mirror.
pub fn is_within(id: &BuildId, scope: &Scope) -> bool {
    match scope {
        Scope::All => true,
        Scope::Channel(channel) => id.channel == *channel,
        Scope::Build(wanted) => id == wanted,
    }
}

/// True if the data of a channel belongs to a part of the mirror: the aliases and leftovers of a build's channel count as those of
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

/// A stored file as an entry, for the counts and sums of a staged build.
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

/// The signature of the `repomd.xml` of the repository `dir`, if the mirror signs; its place is the file
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

/// The metadata of an apt repository, signed if the mirror signs: the files to add, and the packages that they list.
///
/// `open` opens a file that was added; `earlier` is the list of packages in an earlier build, if available.
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

/// The sums of the files that were added to a build, and their number of bytes.
fn sums_of(id: &BuildId, added: &Incoming) -> Result<(Sums, u64), StoreError> {
    added.sums().ok_or_else(|| StoreError::Refused {
        what: id.to_string(),
        reason: "a file has no digest".to_owned(),
    })
}

/// Seals a staged build: adds its record, its sums, and the signature and statements about them.
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

/// The seal of a staged copy: that of its original, if the added files are those of the original.
pub fn seal_copy(id: &BuildId, added: &Incoming, original: Sealed) -> Result<Sealed, StoreError> {
    let (sums, _) = sums_of(id, added)?;
    original.check(id, &sums)?;
    original.readable()
}

/// Refuses a file whose bytes do not have the digest in its entry.
pub fn check_digest(path: &BuildPath, entry: &Entry, digest: &Sha256) -> Result<(), StoreError> {
    match entry.digest() {
        Some(expected) if expected != *digest => Err(StoreError::Changed {
            path: path.to_string(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Refuses an alias whose current target is not the expected one.
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

/// Refuses to remove a build, or a section of one, that an alias of its channel or a pin keeps. A store that knows its readers
/// refuses because of them, [too](in_use).
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

/// The name in the trash of a build that is retired at `now`; it is restored by this name.
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

/// The name in the trash of a section that is taken from a build; it is restored by this name.
pub fn retired_section(id: &BuildId, section: &ThinnedSection) -> Retired {
    Retired {
        id: id.clone(),
        at: section.at,
        section: Some(section.section.clone()),
    }
}

/// The error for a build of the same id that was retired in the same second.
pub fn retired_before(retired: &Retired) -> StoreError {
    StoreError::AlreadyExists {
        what: format!("{} retired at {}", retired.id, retired.at),
    }
}

/// The name of a retired build or section within its channel: `<date>@<retired at>`, and `@<section>` with each `/` as `%2F`.
pub fn retired_name(retired: &Retired) -> String {
    let section = retired.section.as_ref();
    let section = section.map(|section| format!("@{}", section.as_str().replace('/', SLASH)));
    let (date, at) = (retired.id.date, retired.at);
    format!("{date}@{at}{}", section.unwrap_or_default())
}

/// Parses a [`retired_name`] of a channel; `None` for other names.
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

/// Refuses to remove any part of a build that a pin keeps.
fn check_pins(id: &BuildId, pins: &[Pin], now: DateTime<Utc>) -> Result<(), StoreError> {
    match pins.iter().find(|pin| pin.holds(now)) {
        None => Ok(()),
        Some(Pin { reason, author, .. }) => Err(StoreError::Refused {
            what: id.to_string(),
            reason: format!("pinned by {author}: {reason}"),
        }),
    }
}

/// The refusal to remove a build that is being read.
pub fn in_use(id: &BuildId) -> StoreError {
    StoreError::Refused {
        what: id.to_string(),
        reason: "it is being read".to_owned(),
    }
}

/// The sections to remove that are not removed yet.
pub fn new_sections(sections: &[ThinnedSection], thinned: &Thinned) -> Vec<ThinnedSection> {
    let new = sections
        .iter()
        .filter(|section| !thinned.has(&section.section));
    new.cloned().collect()
}

/// Refuses the sections if one of them must not be removed, or does not exist.
pub fn check_sections(
    id: &BuildId,
    sections: &[ThinnedSection],
    entries: &Incoming,
) -> Result<(), StoreError> {
    let mut sections = sections.iter();
    sections.try_for_each(|section| check_thin(id, &section.section, entries))
}

/// Refuses a section that must not be removed, or does not exist.
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

/// Refuses a section whose removal would break a symlink in the rest of the build.
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

/// Refuses to restore a section that was not taken, at that time, from the current build.
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
        reason: "it was not removed from the current build".to_owned(),
    })
}

/// The time at which sections are removed: the latest one that any of them records.
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
