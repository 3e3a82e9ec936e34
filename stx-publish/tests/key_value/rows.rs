//! The rows of the map, and the facts about a build that they contain.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};

use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildPath, BuildRecord, Channel, Pin, RootAlias,
    RootEntry, RootTarget, VerdictEntry,
};
use stx_publish::seal::is_beyond_sums;
use stx_publish::store::{Content, Contents, rules};
use stx_publish::thinning::parse_thinned;
use stx_publish::{Retired, StoreError, Thinned};

use crate::Result;

/// The owner of a row: a published, staged or retired build, or another kind of data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    Build(BuildId),
    Staged(BuildId),
    /// The channel, and the name of the retired build or section.
    Retired(Channel, String),
    Aliases(Channel),
    HeldAliases(Channel),
    Pins(BuildId),
    Verdicts(BuildId),
    Owed(BuildId),
    Pages,
    RootAliases,
    Undated(Channel),
}

/// Rows by group and name. Those of files begin with a byte for their kind: `f`, `x` if executable, `l` for a symlink.
#[derive(Debug, Default)]
pub(crate) struct Rows(pub(crate) BTreeMap<(Group, String), Bytes>);

pub(crate) fn file(kind: u8, bytes: &[u8]) -> Bytes {
    [&[kind], bytes].concat().into()
}

pub(crate) fn row_of(content: &Content) -> Bytes {
    match content {
        Content::File { bytes, executable } => file(if *executable { b'x' } else { b'f' }, bytes),
        Content::Symlink { target } => file(b'l', target.as_bytes()),
    }
}

pub(crate) fn content_of(row: &Bytes) -> Content {
    let (kind, rest) = (row[0], row.slice(1..));
    match kind {
        b'l' => Content::Symlink {
            target: text(&rest),
        },
        _ => Content::File {
            bytes: rest,
            executable: kind == b'x',
        },
    }
}

impl Rows {
    pub(crate) fn get(&self, group: Group, name: &str) -> Option<&Bytes> {
        self.0.get(&(group, name.to_owned()))
    }

    pub(crate) fn put(
        &mut self,
        group: Group,
        name: &(impl ToString + ?Sized),
        bytes: impl Into<Bytes>,
    ) {
        self.0.insert((group, name.to_string()), bytes.into());
    }

    pub(crate) fn of<'a>(
        &'a self,
        group: &Group,
    ) -> impl Iterator<Item = (&'a str, &'a Bytes)> + use<'a> {
        let group = group.clone();
        let rows = self.0.range((group.clone(), String::new())..);
        let rows = rows.take_while(move |((of, _), _)| *of == group);
        rows.map(|((_, name), bytes)| (name.as_str(), bytes))
    }

    pub(crate) fn groups(&self) -> BTreeSet<&Group> {
        self.0.keys().map(|(group, _)| group).collect()
    }

    /// Moves the rows of a group that `wanted` selects to another group; returns true if there were any.
    pub(crate) fn move_to(
        &mut self,
        from: &Group,
        to: &Group,
        wanted: impl Fn(&str) -> bool,
    ) -> bool {
        let names: Vec<_> = self.of(from).map(|(name, _)| name.to_owned()).collect();
        let names: Vec<_> = names.into_iter().filter(|name| wanted(name)).collect();
        for name in &names {
            let bytes = self.0.remove(&(from.clone(), name.clone()));
            self.put(to.clone(), name, bytes.expect("it was listed"));
        }
        !names.is_empty()
    }

    pub(crate) fn remove(&mut self, group: &Group) -> bool {
        let before = self.0.len();
        self.0.retain(|(of, _), _| of != group);
        self.0.len() < before
    }

    pub(crate) fn is_there(&self, id: &BuildId) -> bool {
        self.get(Group::Build(id.clone()), BuildRecord::FILE_NAME)
            .is_some()
    }

    /// A file of a build, with symlinks followed.
    pub(crate) fn file(&self, id: &BuildId, path: &BuildPath) -> Result<Bytes> {
        match self.contents(id).read(path) {
            Some(bytes) => Ok(bytes),
            None => self.text(id, path.as_str()),
        }
    }

    /// The bytes of a file of a build, without the byte for its kind.
    pub(crate) fn text(&self, id: &BuildId, name: &str) -> Result<Bytes> {
        rules::check_there(id, self.is_there(id))?;
        let row = self.get(Group::Build(id.clone()), name);
        row.map(|row| row.slice(1..))
            .ok_or_else(|| StoreError::NotFound {
                what: format!("{id}/{name}"),
            })
    }

    pub(crate) fn record(&self, id: &BuildId) -> Result<BuildRecord> {
        let text = self.text(id, BuildRecord::FILE_NAME)?;
        let text = str::from_utf8(&text).map_err(|error| damaged(id, error))?;
        BuildRecord::from_json(text).map_err(|error| damaged(id, error))
    }

    pub(crate) fn contents(&self, id: &BuildId) -> Contents {
        let rows = self.of(&Group::Build(id.clone()));
        let rows = rows.filter(|(name, _)| !is_beyond_sums(name) && *name != Thinned::FILE_NAME);
        let path = |name: &str| name.parse().expect("a path that was added");
        Contents(
            rows.map(|(name, row)| (path(name), content_of(row)))
                .collect(),
        )
    }

    pub(crate) fn thinned(&self, id: &BuildId) -> Result<Thinned> {
        match self.get(Group::Build(id.clone()), Thinned::FILE_NAME) {
            Some(row) => parse_thinned(Thinned::FILE_NAME, &row[1..]),
            None => Ok(Thinned::default()),
        }
    }

    pub(crate) fn put_thinned(&mut self, id: &BuildId, thinned: &Thinned) {
        let key = (Group::Build(id.clone()), Thinned::FILE_NAME.to_owned());
        if thinned.sections.is_empty() {
            self.0.remove(&key);
        } else {
            self.0.insert(key, file(b'f', thinned.to_json().as_bytes()));
        }
    }

    pub(crate) fn aliases(&self, channel: &Channel) -> BTreeMap<AliasName, AliasEntry> {
        let rows = self.of(&Group::Aliases(channel.clone()));
        let entry = |bytes| AliasEntry::Build(date(bytes));
        rows.map(|(name, bytes)| (name.parse().expect("an alias"), entry(bytes)))
            .collect()
    }

    pub(crate) fn root_aliases(&self) -> BTreeMap<RootAlias, RootEntry> {
        let rows = self.of(&Group::RootAliases);
        rows.map(|(name, to)| (name.parse().expect("an alias"), RootEntry::from(text(to))))
            .collect()
    }

    /// True if a release or a channel has a build.
    pub(crate) fn has(&self, target: &RootTarget) -> bool {
        self.groups().into_iter().any(|group| match group {
            Group::Build(id) => target.holds(&id.channel),
            _ => false,
        })
    }

    pub(crate) fn pins(&self, id: &BuildId) -> Result<Vec<Pin>> {
        let row = self.get(Group::Pins(id.clone()), "");
        row.map_or(Ok(Vec::new()), |text| {
            rules::PinFile::read(id, "pins", text)
        })
    }

    pub(crate) fn verdicts(&self, id: &BuildId) -> Result<Vec<VerdictEntry>> {
        let row = self.get(Group::Verdicts(id.clone()), "");
        row.map_or(Ok(Vec::new()), |text| {
            rules::VerdictFile::read(id, "verdicts", text)
        })
    }

    /// Refuses to remove a build that does not exist, or that something keeps.
    pub(crate) fn check_free(&self, id: &BuildId, now: DateTime<Utc>) -> Result<()> {
        rules::check_there(id, self.is_there(id))?;
        rules::check_free(id, &self.aliases(&id.channel), &self.pins(id)?, now)
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it was a text")
}

pub(crate) fn date(bytes: &Bytes) -> BuildDate {
    text(bytes).parse().expect("it was a date")
}

pub(crate) fn damaged(
    what: &BuildId,
    error: impl std::error::Error + Send + Sync + 'static,
) -> StoreError {
    StoreError::Damaged {
        what: what.to_string(),
        source: error.into(),
    }
}

pub(crate) fn trashed(retired: &Retired) -> Group {
    Group::Retired(retired.id.channel.clone(), rules::retired_name(retired))
}
