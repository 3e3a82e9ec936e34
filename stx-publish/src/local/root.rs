//! The names above the channels of a mirror in a directory, and paths without a date: relative symlinks, replaced by rename.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use fs_err as fs;
use stx_layout::{
    AliasName, BuildDate, Channel, ReleaseKind, RootAlias, RootEntry, RootTarget, Section,
    UndatedEntry,
};

use super::Inner;
use super::disk::{io_error, make_dirs, remove_durably, replace_link, sync_dirs, sync_parent};
use super::list::{DEEPEST, Item};
use super::locked::Locked;
use crate::ingest::blocking;
use crate::store::rules::{check_offer, check_root_alias, check_root_target, taken};
use crate::store::{RootWriter, StoreError};

/// The alias with this path in the mirror, if the path can be an alias.
pub(super) fn alias_at(path: &Utf8Path) -> Option<RootAlias> {
    path.as_str().parse().ok()
}

/// The text of a symlink at `alias` that points to `target`; both are paths from the root.
fn link_text(alias: &str, target: &str) -> String {
    let from: Vec<_> = alias.split('/').collect();
    let to: Vec<_> = target.split('/').collect();
    // Without the last segments: a link is resolved from its parent, and its target must keep a name.
    let parents = from.iter().zip(&to[..to.len() - 1]);
    let shared = parents.take_while(|(a, b)| a == b).count();
    let shared = shared.min(from.len() - 1);
    let up = std::iter::repeat_n("..", from.len() - 1 - shared);
    let down = to[shared..].iter().copied();
    up.chain(down).collect::<Vec<_>>().join("/")
}

/// The entry of a symlink at `alias` with this text.
fn entry_of(alias: &Utf8Path, text: &str) -> RootEntry {
    let mut path: Utf8PathBuf = alias.parent().unwrap_or(Utf8Path::new("")).to_owned();
    for component in Utf8Path::new(text).components() {
        match component {
            Utf8Component::Normal(name) => path.push(name),
            Utf8Component::ParentDir if path.pop() => {}
            Utf8Component::CurDir => {}
            // The link leads out of the mirror.
            Utf8Component::ParentDir | Utf8Component::RootDir | Utf8Component::Prefix(_) => {
                return RootEntry::Other(text.to_owned());
            }
        }
    }
    match path.as_str().parse() {
        Ok(target) => RootEntry::To(target),
        Err(_) => RootEntry::Other(text.to_owned()),
    }
}

/// True if a symlink in a channel points to the entry with the same name in a build, like a mark that was moved with its release.
fn leads_into_build(entry: &RootEntry, name: &str) -> bool {
    let RootEntry::Other(text) = entry else {
        return false;
    };
    let parts = text.split_once('/');
    parts.is_some_and(|(date, rest)| rest == name && date.parse::<BuildDate>().is_ok())
}

impl Inner {
    pub(super) fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError> {
        let mut found = BTreeMap::new();
        self.root_aliases_below(Utf8Path::new(""), 0, &mut found)?;
        Ok(found)
    }

    fn root_aliases_below(
        &self,
        relative: &Utf8Path,
        depth: usize,
        found: &mut BTreeMap<RootAlias, RootEntry>,
    ) -> Result<(), StoreError> {
        for Item { name, kind, .. } in self.names_but_files(&self.root.join(relative))? {
            if !kind.is_symlink() && (!kind.is_dir() || name.parse::<BuildDate>().is_ok()) {
                // Builds contain no aliases.
                continue;
            }
            let path = relative.join(&name);
            if kind.is_symlink() {
                if let Some(alias) = alias_at(&path) {
                    let entry = self.root_entry(&path)?;
                    let entry = entry.filter(|entry| !leads_into_build(entry, &name));
                    found.extend(entry.map(|entry| (alias, entry)));
                }
                continue;
            }
            // A directory that cannot contain a channel contains no aliases.
            let is_kind = |kind: &ReleaseKind| depth == 0 && kind.as_str() == name;
            let is_above =
                ReleaseKind::ALL.iter().any(is_kind) || path.as_str().parse::<RootTarget>().is_ok();
            if depth < DEEPEST && is_above {
                self.root_aliases_below(&path, depth + 1, found)?;
            }
        }
        Ok(())
    }

    /// The target of the symlink at a path; `None` if nothing exists there.
    fn root_entry(&self, path: &Utf8Path) -> Result<Option<RootEntry>, StoreError> {
        let whole = self.root.join(path);
        match fs::read_link(&whole) {
            Ok(text) => Ok(Some(entry_of(path, &text.to_string_lossy()))),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
                _ => Err(io_error("read", &whole)(error)),
            },
        }
    }

    /// Waits for the lock of the names above the channels.
    pub(super) fn lock_aliases(&self) -> Result<Locked, StoreError> {
        self.make_private()?;
        Locked::wait_for(&self.root_area().join("lock"))
    }

    fn link(
        &self,
        alias: &RootAlias,
        expected: Option<&RootEntry>,
        to: Option<&RootTarget>,
    ) -> Result<(), StoreError> {
        let name = alias.to_string();
        let (path, link) = (Utf8Path::new(&name), self.root.join(&name));
        let is_other = match fs::symlink_metadata(&link) {
            Ok(there) => !there.is_symlink(),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                false
            }
            Err(source) => return Err(io_error("look at", &link)(source)),
        };
        let found = if is_other {
            None
        } else {
            self.root_entry(path)?
        };
        check_root_alias(alias, expected, found.as_ref())?;
        let Some(to) = to else {
            if is_other {
                return Ok(());
            }
            self.step("link: remove")?;
            return remove_durably(&link);
        };
        let target = to.to_string();
        check_root_target(alias, to, self.root.join(&target).is_dir())?;
        if is_other {
            return Err(taken(alias));
        }
        if found.as_ref().and_then(RootEntry::target) == Some(to) {
            // The process that made the link may have died before it was durable.
            return sync_parent(&link);
        }
        let parent = path.parent().unwrap_or(Utf8Path::new(""));
        make_dirs(&self.root, parent, 0o755)?;
        sync_dirs(&self.root, parent)?;
        self.step("link: move")?;
        // The parents were synced before the rename, so that everything on the path of a visible link is durable.
        let temporary = self.root_area().join("link");
        replace_link(&link_text(&name, &target), &temporary, &link)
    }

    /// The entry for reading a section of a channel without a date: the symlink of that name.
    pub(super) fn undated(
        &self,
        channel: &Channel,
        section: Section,
    ) -> Result<Option<UndatedEntry>, StoreError> {
        let path = self.root.join(channel.to_string()).join(section.as_str());
        match fs::read_link(&path) {
            Ok(text) => {
                let text = text.to_string_lossy();
                Ok(Some(UndatedEntry::of_link(section, &text)))
            }
            Err(error) => match error.kind() {
                // A directory, not a symlink: an older publisher made it.
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidInput => {
                    Ok(None)
                }
                _ => Err(io_error("read", &path)(error)),
            },
        }
    }

    pub(super) fn offer(
        &self,
        channel: &Channel,
        sections: &BTreeSet<Section>,
    ) -> Result<(), StoreError> {
        let latest = AliasName::latest_build();
        check_offer(channel, self.alias(channel, &latest)?.as_ref())?;
        let dir = self.root.join(channel.to_string());
        for section in Section::ALL {
            let (link, word) = (dir.join(section.as_str()), section.as_str());
            let there = self.undated(channel, section)?;
            if !sections.contains(&section) {
                if there.is_some() {
                    self.step("offer: remove")?;
                    remove_durably(&link)?;
                }
                continue;
            }
            let wanted = UndatedEntry::Alias(latest.clone());
            let is_taken = there.is_none() && fs::symlink_metadata(&link).is_ok();
            if is_taken {
                continue;
            }
            if there == Some(wanted) {
                // The process that made the link may have died before it was durable.
                sync_parent(&link)?;
                continue;
            }
            self.make_area(&self.staging(channel))?;
            self.step("offer: move")?;
            let temporary = self.temporary(channel, "offer");
            replace_link(&format!("{latest}/{word}"), &temporary, &link)?;
        }
        Ok(())
    }
}

/// The lock of the names above the channels, shared with every task that is still writing.
#[derive(Debug, Clone)]
pub(super) struct LocalRoot {
    inner: Arc<Inner>,
    lock: Arc<Locked>,
    /// Held while an alias is moved, because all moves use the same temporary name.
    linking: Arc<Mutex<()>>,
}

impl LocalRoot {
    pub(super) fn new(inner: Arc<Inner>, lock: Locked) -> Self {
        Self {
            inner,
            lock: Arc::new(lock),
            linking: Arc::default(),
        }
    }
}

#[async_trait]
impl RootWriter for LocalRoot {
    async fn link(
        &self,
        alias: &RootAlias,
        expected: Option<&RootEntry>,
        to: Option<&RootTarget>,
    ) -> Result<(), StoreError> {
        let root = self.clone();
        let (alias, expected, to) = (alias.clone(), expected.cloned(), to.cloned());
        blocking(move || {
            // A task that outlives its caller keeps the lock.
            let _lock = &root.lock;
            let _linking = root
                .linking
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            root.inner.link(&alias, expected.as_ref(), to.as_ref())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_into_a_build_is_not_an_alias() {
        for (text, leads) in [
            ("20190903T013000Z/KEEP", true),
            ("20190903T013000Z/GREEN", false),
            ("elsewhere/KEEP", false),
        ] {
            let entry = entry_of(Utf8Path::new("release/2.0.0/centos/KEEP"), text);
            assert_eq!(leads_into_build(&entry, "KEEP"), leads, "{text}");
        }
    }

    #[test]
    fn alias_links_are_relative_and_round_trip() {
        for (alias, target, text) in [
            ("r2018.10", "release/2018.10", "release/2018.10"),
            ("release/latest_release", "release/10.0.0", "10.0.0"),
            ("release/stable", "feature/x", "../feature/x"),
            (
                "release/11.0.0/debian/monolithic",
                "release/11.0.0/debian/bullseye/amd64/monolithic",
                "bullseye/amd64/monolithic",
            ),
            (
                "release/1/debian/flock",
                "master/debian/flock",
                "../../../master/debian/flock",
            ),
            ("release/1/debian", "release/1/debian/flock", "debian/flock"),
        ] {
            assert_eq!(link_text(alias, target), text, "{alias}");
            let entry = entry_of(Utf8Path::new(alias), text);
            assert_eq!(
                entry,
                RootEntry::To(target.parse().expect(target)),
                "{alias}"
            );
        }
        for text in [
            "/srv/mirror/release/1",
            "../../release/1",
            "release/1/../..",
            "nothing",
        ] {
            let entry = entry_of(Utf8Path::new("r1"), text);
            assert_eq!(entry, RootEntry::Other(text.to_owned()));
        }
    }
}
