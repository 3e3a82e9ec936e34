//! Reads the contents of a mirror in a directory.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::mem;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, BuildRecord, BuildState, Catalog,
    Channel, ChannelEntry, Section, Sums, printable_bytes,
};

use super::Inner;
use super::disk::io_error;
use super::private::{PINS, TRASH, VERDICTS};
use super::root::alias_at;
use super::strays::is_bare;
use crate::error::chain;
use crate::index::PageName;
use crate::store::{Outline, Scope, StoreError};

/// The number of segments of the longest channel: release identifier, distro, codename, architecture, layer.
pub(super) const DEEPEST: usize = 6;

/// The file in a channel that told an older cleanup how long to keep its builds. It is not used any more.
const SAVE_DATA: &str = "SAVE_DATA";

/// The text that is shown instead of a symlink's target if an alias is not a symlink.
pub(super) const NOT_A_LINK: &str = "(not a symlink)";

/// The entries of a channel.
#[derive(Default)]
struct Listed {
    entry: ChannelEntry,
    /// The directories that are not builds.
    dirs: Vec<String>,
    pages: Vec<PageName>,
}

/// Makes the entry of a build from the inode of its directory.
type BuildOf<'a> = &'a dyn Fn(&Channel, BuildDate, u64) -> BuildEntry;

/// An entry of a directory, as its list has it.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) kind: std::fs::FileType,
    inode: u64,
}

/// A text that differs after each change of the entries of a directory of the private area, all of which are made by renames and
/// removals. A directory with pages has no such text: each page that is written changes its times.
fn stamp(dir: &Utf8Path) -> String {
    let found = fs::symlink_metadata(dir).map(|found| {
        let modified = (found.mtime(), found.mtime_nsec());
        (found.ino(), modified, (found.ctime(), found.ctime_nsec()))
    });
    format!("{:?}", found.map_err(|error| error.kind()))
}

impl Inner {
    pub(super) fn build_dir(&self, id: &BuildId) -> Utf8PathBuf {
        self.root.join(id.to_string())
    }

    pub(super) fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        let mut catalog = Catalog::default();
        let build = |channel: &Channel, date, _| self.build(&BuildId::new(channel.clone(), date));
        match scope {
            Scope::All => {
                let mut found = |channel, listed: Listed| {
                    catalog.channels.insert(channel, listed.entry);
                };
                self.visit(Utf8Path::new(""), 0, &build, &mut found)?;
            }
            Scope::Channel(channel) => {
                let entry = self.channel(channel, None, &build)?.entry;
                if entry != ChannelEntry::default() {
                    catalog.channels.insert(channel.clone(), entry);
                }
            }
            Scope::Build(id) => {
                let only = Some(id.date);
                let entry = self.channel(&id.channel, only, &build)?.entry;
                if entry != ChannelEntry::default() {
                    catalog.channels.insert(id.channel.clone(), entry);
                }
            }
        }
        Ok(catalog)
    }

    /// The outline of each channel, from lists of names alone: no file of a build is looked at.
    ///
    /// A build never changes, so the inode of its directory represents it. Another build of its id may get the inode again, but only
    /// after this one was moved to the trash, whose directory has other times then.
    pub(super) fn outlines(&self) -> Result<BTreeMap<Channel, Outline>, StoreError> {
        // Without the right to read the private area, all its stamps would be equal.
        self.names(&self.area_root(VERDICTS))?;
        let mut outlines = BTreeMap::new();
        let mut found = |channel: Channel, listed: Listed| {
            let beside = [VERDICTS, PINS, TRASH].map(|area| stamp(&self.area(area, &channel)));
            let outline = Outline::of(&listed.entry, &beside, listed.pages);
            outlines.insert(channel, outline);
        };
        let build = |_: &Channel, _, inode: u64| BuildEntry {
            state: BuildState::Unreadable(inode.to_string()),
            keep_file: false,
        };
        self.visit(Utf8Path::new(""), 0, &build, &mut found)?;
        Ok(outlines)
    }

    /// Visits a directory that may be a channel or contain channels; returns true if it is or does. `build` makes the entry of each build
    /// from the inode of its directory, and `found` gets each channel.
    fn visit(
        &self,
        relative: &Utf8Path,
        depth: usize,
        build: BuildOf<'_>,
        found: &mut dyn FnMut(Channel, Listed),
    ) -> Result<bool, StoreError> {
        let channel = relative.as_str().parse::<Channel>().ok();
        let mut listed = match &channel {
            Some(channel) => self.channel(channel, None, build)?,
            None => Listed {
                dirs: self
                    .names(&self.root.join(relative))?
                    .into_iter()
                    .filter(|entry| entry.kind.is_dir())
                    .map(|entry| entry.name)
                    .collect(),
                ..Listed::default()
            },
        };
        let entry = &mut listed.entry;
        let is_channel = !entry.builds.is_empty() || !entry.aliases.is_empty();
        let mut holds = is_channel;
        for name in mem::take(&mut listed.dirs) {
            if depth == 0 && name.starts_with('.') {
                continue;
            }
            let below =
                depth < DEEPEST && self.visit(&relative.join(&name), depth + 1, build, found)?;
            if !below && !is_bare(&self.root.join(relative).join(&name)) {
                entry.strays.push(name);
            }
            holds |= below;
        }
        entry.strays.sort();
        if is_channel && let Some(channel) = channel {
            found(channel, listed);
        }
        Ok(holds)
    }

    /// The names in a directory; none if it does not exist.
    fn names(&self, dir: &Utf8Path) -> Result<Vec<Item>, StoreError> {
        self.names_of(dir, |_| true)
    }

    /// The names of directories and symlinks in a directory: each build has a page beside it, which is a file.
    pub(super) fn names_but_files(&self, dir: &Utf8Path) -> Result<Vec<Item>, StoreError> {
        self.names_of(dir, |kind| !kind.is_file())
    }

    fn names_of(
        &self,
        dir: &Utf8Path,
        is_wanted: fn(&std::fs::FileType) -> bool,
    ) -> Result<Vec<Item>, StoreError> {
        let mut names = Vec::new();
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                    && dir != self.root =>
            {
                return Ok(names);
            }
            Err(source) => return Err(io_error("list", dir)(source)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| io_error("list", dir)(error))?;
            let kind = entry
                .file_type()
                .map_err(|error| io_error("look at", entry.path().display())(error))?;
            if !is_wanted(&kind) {
                continue;
            }
            // A name that is not UTF-8 is neither a channel nor a build: its escape contains a backslash, which both refuse.
            let name = printable_bytes(entry.file_name().as_bytes()).into_owned();
            let inode = entry.ino();
            names.push(Item { name, kind, inode });
        }
        Ok(names)
    }

    /// The entries of a channel; `build` makes those of its builds from the inodes of their directories.
    fn channel(
        &self,
        channel: &Channel,
        only: Option<BuildDate>,
        build: BuildOf<'_>,
    ) -> Result<Listed, StoreError> {
        let Listed {
            mut entry,
            mut dirs,
            mut pages,
        } = Listed::default();
        for Item { name, kind, inode } in self.names(&self.root.join(channel.to_string()))? {
            // Nearly all names are those of builds and their pages, so these are recognised first.
            if kind.is_dir()
                && let Ok(date) = name.parse::<BuildDate>()
            {
                if only.is_none_or(|only| only == date) {
                    entry.builds.insert(date, build(channel, date, inode));
                }
                continue;
            }
            if kind.is_file()
                && let Some(page) = PageName::of(&name)
            {
                pages.push(page);
                continue;
            }
            // A copy that follows symlinks leaves a directory in place of an alias.
            let alias = name.parse::<AliasName>().ok();
            if kind.is_dir() && alias.is_none() {
                dirs.push(name);
            } else if let Some(alias) = alias {
                if let Some(shown) = self.alias(channel, &alias)? {
                    // Users who may not read the private area see no holds.
                    let note = fs::read_link(self.held(channel).join(alias.as_str()));
                    let note = note.ok().and_then(|note| note.to_str()?.parse().ok());
                    if note.map(AliasEntry::Build).as_ref() == Some(&shown) {
                        entry.held.insert(alias.clone());
                    }
                    entry.aliases.insert(alias, shown);
                }
            } else if let Some(section) = Section::from_word(&name)
                && let Some(shown) = self.undated(channel, section)?
            {
                entry.undated.insert(section, shown);
            } else {
                // An alias of another channel may be a symlink in this directory; it does not belong to this channel.
                let is_alias = kind.is_symlink()
                    && alias_at(Utf8Path::new(&format!("{channel}/{name}"))).is_some();
                if let Some(page) = PageName::of(&name) {
                    pages.push(page);
                } else if name != SAVE_DATA && !is_alias && !self.leads_into_build(channel, &name) {
                    entry.strays.push(name);
                }
            }
        }
        if only.is_some() {
            entry.strays.clear();
        }
        entry.strays.sort();
        Ok(Listed { entry, dirs, pages })
    }

    /// True if an entry of a channel is a symlink to the entry with the same name in a build: the place of a release that had no
    /// date, whose old paths still work.
    fn leads_into_build(&self, channel: &Channel, name: &str) -> bool {
        let target = fs::read_link(self.root.join(channel.to_string()).join(name));
        target.is_ok_and(|target| {
            let parts = target.to_str().and_then(|target| target.split_once('/'));
            parts.is_some_and(|(date, rest)| rest == name && date.parse::<BuildDate>().is_ok())
        })
    }

    fn build(&self, id: &BuildId) -> BuildEntry {
        let state = match self.record(id) {
            Ok(record) => BuildState::Known(Box::new(record)),
            Err(error) => BuildState::Unreadable(chain(&error)),
        };
        BuildEntry {
            state,
            keep_file: self.has_keep_file(id),
        }
    }

    fn has_keep_file(&self, id: &BuildId) -> bool {
        fs::symlink_metadata(self.build_dir(id).join("KEEP")).is_ok()
    }

    /// Reads `build.json` or `SHA256SUMS` of a build.
    fn text(&self, id: &BuildId, name: &str) -> Result<String, StoreError> {
        let dir = self.build_dir(id);
        if !fs::symlink_metadata(&dir).is_ok_and(|found| found.is_dir()) {
            return Err(StoreError::NotFound {
                what: id.to_string(),
            });
        }
        fs::read_to_string(dir.join(name)).map_err(|source| match source.kind() {
            ErrorKind::NotFound => StoreError::NotFound {
                what: format!("{id}/{name}"),
            },
            _ => io_error("read", dir.join(name))(source),
        })
    }

    pub(super) fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
        let text = self.text(id, BuildRecord::FILE_NAME)?;
        let damaged = |source| StoreError::Damaged {
            what: format!("{id}/build.json"),
            source,
        };
        let record = BuildRecord::from_json(&text).map_err(|error| damaged(error.into()))?;
        if record.id != *id {
            return Err(damaged(format!("it belongs to {}", record.id).into()));
        }
        Ok(record)
    }

    pub(super) fn sums(&self, id: &BuildId) -> Result<Sums, StoreError> {
        let text = self.text(id, Sums::FILE_NAME)?;
        text.parse()
            .map_err(|error: stx_layout::SumsError| StoreError::Damaged {
                what: id.to_string(),
                source: error.into(),
            })
    }

    pub(super) fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError> {
        let path = self.root.join(channel.to_string()).join(alias.as_str());
        match fs::read_link(&path) {
            Ok(target) => {
                let target = target.to_string_lossy();
                Ok(Some(target.parse().map_or_else(
                    |_| AliasEntry::Other(target.into_owned()),
                    AliasEntry::Build,
                )))
            }
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
                ErrorKind::InvalidInput => Ok(Some(AliasEntry::Other(NOT_A_LINK.to_owned()))),
                _ => Err(io_error("read", &path)(error)),
            },
        }
    }
}
