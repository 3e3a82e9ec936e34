//! The keys and values of the rows.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use bytes::Bytes;
use stx_layout::{AliasEntry, BuildId, BuildRecord, Channel};

use super::facts::Result;
use crate::index::PageId;
use crate::store::rules::is_within;
use crate::store::{Content, Retired, Scope, StoreError, rules};

pub(crate) const ALIAS: &str = "alias";
pub(crate) const BUILD: &str = "build";
pub(super) const COUNT: &str = "count";
pub(super) const FILE: &str = "file";
pub(super) const GONE: &str = "gone";
pub(super) const HELD: &str = "held";
pub(super) const NOTE: &str = "note";
pub(super) const OWED: &str = "owed";
pub(super) const PAGE: &str = "page";
pub(super) const PINS: &str = "pins";
pub(super) const RECORD: &str = "record";
pub(super) const ROOT: &str = "root";
pub(super) const STAGED: &str = "staged";
pub(super) const TRASH: &str = "trash";
pub(super) const UNDATED: &str = "undated";
pub(super) const VERDICTS: &str = "verdicts";

const SEPARATOR: char = '\t';

/// The key of a row. With an empty last part it is the prefix of the rows that have the other parts.
pub(crate) fn key(kind: &str, parts: &[&dyn fmt::Display]) -> String {
    let mut key = kind.to_owned();
    for part in parts {
        // Writing to a text cannot fail.
        let _ = write!(key, "{SEPARATOR}{part}");
    }
    key
}

/// The key of a row about a build.
pub(crate) fn of_build(kind: &str, id: &BuildId) -> String {
    key(kind, &[&id.channel, &id.date])
}

/// The key of a row about a retired build or section.
pub(super) fn of_retired(kind: &str, retired: &Retired) -> String {
    let name = rules::retired_name(retired);
    key(kind, &[&retired.id.channel, &name])
}

/// The prefix of the rows of a channel.
pub(super) fn of_channel(kind: &str, channel: &Channel) -> String {
    key(kind, &[channel, &""])
}

/// A prefix of all rows within a part of the mirror.
pub(super) fn of_scope(kind: &str, scope: &Scope) -> String {
    match scope {
        Scope::All => key(kind, &[&""]),
        Scope::Channel(channel) => of_channel(kind, channel),
        Scope::Build(id) => of_channel(kind, &id.channel),
    }
}

/// The key of the record of a build.
pub(super) fn of_record(channel: &Channel, head: Head) -> String {
    key(RECORD, &[channel, &head.number])
}

/// The key of a file of a build; with an empty path, the prefix of all.
pub(crate) fn of_file(channel: &Channel, head: Head, path: &str) -> String {
    key(FILE, &[channel, &head.number, &path])
}

/// The key of a page.
pub(super) fn of_page(page: &PageId) -> String {
    key(PAGE, &[&page.path()])
}

/// The record in a row.
pub(super) fn record_of(key: &str, row: &[u8]) -> Result<BuildRecord> {
    BuildRecord::from_json(text(key, row)?).map_err(|error| damaged(key, error))
}

/// The channel of a row, and the part of its key after that.
pub(super) fn parse<T: FromStr<Err: Into<super::RowError>>>(row: &str) -> Result<(Channel, T)> {
    let mut parts = row.splitn(3, SEPARATOR).skip(1);
    let mut part = || parts.next().unwrap_or_default();
    let channel = part().parse::<Channel>();
    let channel = channel.map_err(|error| damaged(row, error))?;
    let name = part().parse().map_err(|error| damaged(row, error))?;
    Ok((channel, name))
}

/// The build of a row, if it is within a part of the mirror.
pub(super) fn parse_build(row: &str, scope: &Scope) -> Result<Option<BuildId>> {
    let (channel, date) = parse(row)?;
    let id = BuildId::new(channel, date);
    Ok(is_within(&id, scope).then_some(id))
}

/// A key as people read it.
pub(super) fn shown(key: &str) -> String {
    key.trim_end_matches(SEPARATOR).replace(SEPARATOR, " ")
}

/// The error for a row that cannot be parsed.
pub(super) fn damaged(key: &str, source: impl Into<super::RowError>) -> StoreError {
    StoreError::Damaged {
        what: format!("the row {}", shown(key)),
        source: source.into(),
    }
}

/// The text of a row.
pub(super) fn text<'a>(key: &str, row: &'a [u8]) -> Result<&'a str> {
    str::from_utf8(row).map_err(|error| damaged(key, error))
}

/// The row of a file or symlink.
pub(crate) fn row_of(content: &Content) -> Bytes {
    let row = |kind, bytes: &[u8]| Bytes::from([&[kind], bytes].concat());
    match content {
        Content::File { bytes, executable } => row(if *executable { b'x' } else { b'f' }, bytes),
        Content::Symlink { target } => row(b'l', target.as_bytes()),
    }
}

/// The file or symlink of a row.
pub(super) fn content_of(key: &str, row: &Bytes) -> Result<Content> {
    match row.first() {
        Some(kind @ (b'f' | b'x')) => Ok(Content::File {
            bytes: row.slice(1..),
            executable: *kind == b'x',
        }),
        Some(b'l') => Ok(Content::Symlink {
            target: text(key, &row[1..])?.to_owned(),
        }),
        Some(_) | None => Err(damaged(key, "neither a file nor a symlink")),
    }
}

/// The target of an alias.
pub(super) fn target_of(key: &str, row: &[u8]) -> Result<AliasEntry> {
    let text = text(key, row)?;
    let date = text.parse().map(AliasEntry::Build);
    Ok(date.unwrap_or_else(|_| AliasEntry::Other(text.to_owned())))
}

/// A build as its row names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its number, unique in its channel even for two builds with the same id.
    pub(super) number: u64,
    pub(super) keep_file: bool,
}

impl Head {
    pub(crate) fn parse(key: &str, row: &[u8]) -> Result<Self> {
        let text = text(key, row)?;
        let number = text.strip_suffix(" KEEP").unwrap_or(text);
        let keep_file = number.len() < text.len();
        let number = number.parse().map_err(|error| damaged(key, error))?;
        Ok(Self { number, keep_file })
    }

    pub(super) fn row(self) -> Bytes {
        let keep = if self.keep_file { " KEEP" } else { "" };
        format!("{}{keep}", self.number).into()
    }
}
