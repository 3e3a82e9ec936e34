//! Inspects the files of a build of an older publisher.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use fs_err as fs;
use serde::Serialize;
use stx_layout::{
    AliasEntry, BuildId, BuildPath, BuildRecord, ChannelEntry, Sha256, Sums, printable_bytes,
};
use stx_publish::ingest::Stamp;
use stx_publish::{Entry, Incoming, LinkEnd, Thinned};
use walkdir::WalkDir;

use super::decide::{self, FoundSums, Seen};
use super::texts;
use super::undated::Parts;

/// A regular file of a build.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: BuildPath,
    pub(super) inode: (u64, u64),
    pub(super) stamp: Stamp,
    modified: (i64, i64),
    executable: bool,
}

/// A file or a directory whose owner or mode differs from the one that the publisher sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// Its path in the build; absent for the build's own directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<BuildPath>,
    /// The actual and the expected permission bits, if they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<(u32, u32)>,
    /// The actual and the expected user id of the owner, if they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
}

/// An inspected build.
#[derive(Debug, Clone)]
pub(super) struct Looked {
    pub(super) id: BuildId,
    pub(super) dir: Utf8PathBuf,
    pub(super) files: Vec<File>,
    links: Vec<(BuildPath, String)>,
    /// The paths of the parts of an undated release; empty for other builds.
    pub(super) parts: Parts,
    pub(super) seen: Seen,
    pub(super) repairs: Vec<Repair>,
    pub(super) notes: Vec<String>,
}

impl Looked {
    /// Its newest file, with its time.
    pub(super) fn newest_file(&self) -> Option<(&BuildPath, DateTime<Utc>)> {
        let newest = self.files.iter().max_by_key(|file| file.modified)?;
        Some((&newest.path, newest.stamp.modified()?))
    }

    /// The bytes of its files; a file with several names counts each time.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.stamp.size).sum()
    }

    /// Reads the stamps of its files again, after modes were changed.
    pub(super) fn refresh(&mut self) {
        for file in &mut self.files {
            // A later look finds a file that was removed meanwhile.
            if let Ok(stamp) = Stamp::at(&self.dir.join(file.path.as_path())) {
                file.stamp = stamp;
            }
        }
    }

    /// Its entries for a `SHA256SUMS`; `digest` returns the digest of each file.
    pub(super) fn entries(&self, digest: impl Fn(usize) -> Option<Sha256>) -> Incoming {
        let files = self.files.iter().enumerate().map(|(index, file)| {
            let entry = Entry::File {
                source: Utf8PathBuf::new(),
                size: file.stamp.size,
                executable: file.executable,
                digest: digest(index),
            };
            (file.path.clone(), entry)
        });
        let links = self.links.iter().map(|(path, target)| {
            let target = target.clone();
            (path.clone(), Entry::Symlink { target })
        });
        Incoming {
            entries: files.chain(links).collect(),
        }
    }

    /// The first path at which two looks differ. Change times do not count: a hard link that another user makes of a file changes
    /// them.
    pub(super) fn difference(&self, later: &Self) -> Option<String> {
        let same = |a: &File, b: &File| {
            (&a.path, a.inode, a.stamp.size, a.modified)
                == (&b.path, b.inode, b.stamp.size, b.modified)
        };
        let pairs = self.files.iter().zip(&later.files);
        let differs = pairs.clone().find(|(a, b)| !same(a, b));
        if let Some((a, b)) = differs {
            return Some(a.path.clone().min(b.path.clone()).to_string());
        }
        let more = |all: &Self| all.files.get(pairs.len()).map(|file| file.path.to_string());
        let links = || {
            let differs = self.links != later.links;
            differs.then(|| "a symlink".to_owned())
        };
        more(self).or_else(|| more(later)).or_else(links)
    }
}

/// Inspects a build in the directory `dir` whose files should belong to `owner`.
///
/// # Errors
/// If the directory itself cannot be read.
pub(super) fn look(
    id: &BuildId,
    dir: &Utf8Path,
    channel: &ChannelEntry,
    owner: u32,
) -> io::Result<Looked> {
    let mut looked = Looked::nothing(id, dir);
    let aliases = channel.aliases.iter();
    let here = aliases.filter(|(_, shown)| **shown == AliasEntry::Build(id.date));
    looked.seen.aliases = here.map(|(alias, _)| alias.clone()).collect();
    let found = fs::symlink_metadata(dir)?;
    looked.check_mode(None, &found, owner);
    looked.walk(dir, "", owner);
    looked.finish();
    Ok(looked)
}

/// Inspects a build whose parts are at these paths, each with its name in the build.
pub(super) fn look_at_parts(
    id: &BuildId,
    dir: &Utf8Path,
    parts: &[(String, Utf8PathBuf)],
    owner: u32,
) -> Looked {
    let mut looked = Looked::nothing(id, dir);
    for (name, place) in parts {
        looked.walk(place, name, owner);
    }
    looked.finish();
    looked
}

impl Looked {
    fn nothing(id: &BuildId, dir: &Utf8Path) -> Self {
        Self {
            id: id.clone(),
            dir: dir.to_owned(),
            files: Vec::new(),
            links: Vec::new(),
            parts: Parts::new(),
            seen: Seen::default(),
            repairs: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Collects the files at `place`, whose path in the build is `name`; an empty name is the build itself.
    fn walk(&mut self, place: &Utf8Path, name: &str, owner: u32) {
        let least = usize::from(name.is_empty());
        for entry in WalkDir::new(place).min_depth(least) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().map(|path| path.display().to_string());
                    let why = error.io_error().map(ToString::to_string);
                    let why = why.unwrap_or_else(|| "cannot be listed".to_owned());
                    self.refuse(path.unwrap_or_default(), why);
                    continue;
                }
            };
            let relative = entry.path().strip_prefix(place).unwrap_or(entry.path());
            let relative = match (name.is_empty(), entry.depth()) {
                (true, _) => relative.to_owned(),
                (false, 0) => name.into(),
                (false, _) => std::path::Path::new(name).join(relative),
            };
            let shown = || printable_bytes(relative.as_os_str().as_bytes()).into_owned();
            let path = match relative.to_str().map(str::parse::<BuildPath>) {
                Some(Ok(path)) => path,
                Some(Err(error)) => {
                    self.refuse(shown(), error.to_string());
                    continue;
                }
                None => {
                    self.refuse(shown(), "the name is not UTF-8".to_owned());
                    continue;
                }
            };
            match entry.metadata() {
                Ok(metadata) => self.take(path, entry.path(), &metadata, owner),
                Err(error) => self.refuse(shown(), error.to_string()),
            }
        }
    }

    /// Sorts the collected files, so that two looks can be compared, and notes the symlinks that are dangling or leave the build.
    /// They stay, and `verify` reports them.
    fn finish(&mut self) {
        self.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.links.sort();
        if self.links.is_empty() {
            return;
        }
        for (path, end) in self.entries(|_| None).links() {
            if let LinkEnd::Wrong(kind) = end {
                self.notes.push(format!("{path}: {kind}"));
            }
        }
    }

    fn refuse(&mut self, path: String, why: String) {
        self.seen.unreadable.push((path, why));
    }

    /// Collects an entry of the build.
    fn take(
        &mut self,
        path: BuildPath,
        at: &std::path::Path,
        found: &std::fs::Metadata,
        owner: u32,
    ) {
        let modified = found.modified().map_or(DateTime::UNIX_EPOCH, Into::into);
        if self.takes_own(&path, at, found, modified) {
            return;
        }
        let newest = self.seen.newest.as_ref().map(|(_, newest)| *newest);
        if newest.is_none_or(|newest| newest < modified) {
            self.seen.newest = Some((path.to_string(), modified));
        }
        let kind = found.file_type();
        if kind.is_symlink() {
            match fs::read_link(at).map(|target| target.into_os_string().into_string()) {
                Ok(Ok(target)) => self.links.push((path, target)),
                Ok(Err(_)) => {
                    let why = "the target of the symlink is not UTF-8".to_owned();
                    self.refuse(path.to_string(), why);
                }
                Err(error) => self.refuse(path.to_string(), error.to_string()),
            }
            return;
        }
        self.check_mode(Some(&path), found, owner);
        if kind.is_dir() {
            return;
        }
        let Ok(stamp) = Stamp::from_metadata(found) else {
            let why = "neither a file nor a directory nor a symlink".to_owned();
            self.refuse(path.to_string(), why);
            return;
        };
        if decide::is_mark(&path) {
            self.seen.marks.insert(path.to_string(), modified);
        }
        if decide::is_text(&path) && stamp.size <= texts::LONGEST {
            match fs::read(at) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    self.seen.texts.insert(path.to_string(), text);
                }
                Err(error) => self.refuse(path.to_string(), error.to_string()),
            }
        }
        if path.as_str() == decide::KEEP {
            // It may be removed again, and is not part of the build.
            return;
        }
        self.files.push(File {
            path,
            inode: (found.dev(), found.ino()),
            stamp,
            modified: (found.mtime(), found.mtime_nsec()),
            executable: found.mode() & 0o100 != 0,
        });
    }

    /// Collects a file that an adoption makes; returns true if this is one.
    fn takes_own(
        &mut self,
        path: &BuildPath,
        at: &std::path::Path,
        found: &std::fs::Metadata,
        modified: DateTime<Utc>,
    ) -> bool {
        match path.as_str() {
            BuildRecord::FILE_NAME => {
                let text = fs::read_to_string(at).map_err(|error| error.to_string());
                let record = text.and_then(|text| {
                    let record = BuildRecord::from_json(&text);
                    record.map_err(|error| error.to_string())
                });
                let why = match record {
                    Ok(record) => format!("it belongs to {}", record.id),
                    Err(why) => why,
                };
                self.seen.record = Some(why);
                true
            }
            Sums::FILE_NAME => {
                let text = found.is_file().then(|| fs::read_to_string(at).ok());
                let sums = text.flatten().and_then(|text| text.parse::<Sums>().ok());
                let record = BuildRecord::FILE_NAME.parse().ok();
                let ours = record
                    .is_some_and(|record| sums.is_some_and(|sums| sums.get(&record).is_some()));
                self.seen.sums = if ours {
                    FoundSums::Ours
                } else {
                    FoundSums::Foreign
                };
                true
            }
            "SHA256SUMS.asc" | Thinned::FILE_NAME => {
                let name = path.as_str();
                if name == Thinned::FILE_NAME {
                    self.notes.push(format!(
                        "{name} of {} is not in the sums",
                        modified.format("%Y-%m-%d")
                    ));
                }
                true
            }
            _ => false,
        }
    }

    /// Notes a mode or owner that differs from the one that the publisher sets.
    fn check_mode(&mut self, path: Option<&BuildPath>, found: &std::fs::Metadata, owner: u32) {
        let mode = found.mode() & 0o7777;
        let right = if found.is_dir() || mode & 0o100 != 0 {
            0o755
        } else {
            0o644
        };
        let repair = Repair {
            path: path.cloned(),
            mode: (mode != right).then_some((mode, right)),
            owner: (found.uid() != owner).then_some((found.uid(), owner)),
        };
        if repair.mode.is_some() || repair.owner.is_some() {
            self.repairs.push(repair);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(dir: &Utf8Path) -> Looked {
        let id = "master/centos/20200105T060000Z".parse().expect("a build");
        look(&id, dir, &ChannelEntry::default(), 0).expect("a directory")
    }

    #[test]
    fn a_build_that_changes_during_the_survey_is_detected() {
        let dir = camino_tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "one").expect("a file");
        fs::write(at("b"), "two").expect("a file");
        fs::os::unix::fs::symlink("a", at("l")).expect("a symlink");
        let first = looked(dir.path());
        assert_eq!(first.difference(&looked(dir.path())), None);
        // A hard link by another user changes a timestamp, and nothing else.
        let elsewhere = camino_tempfile::tempdir().expect("a directory");
        fs::hard_link(at("a"), elsewhere.path().join("a")).expect("a link");
        assert_eq!(first.difference(&looked(dir.path())), None);
        fs::write(at("b"), "longer").expect("a file");
        assert_eq!(first.difference(&looked(dir.path())).as_deref(), Some("b"));
        fs::remove_file(at("b")).expect("removed");
        assert_eq!(first.difference(&looked(dir.path())).as_deref(), Some("b"));
        let second = looked(dir.path());
        fs::write(at("aa"), "more").expect("a file");
        assert_eq!(
            second.difference(&looked(dir.path())).as_deref(),
            Some("aa")
        );
        let third = looked(dir.path());
        fs::remove_file(at("l")).expect("removed");
        let link = third.difference(&looked(dir.path()));
        assert_eq!(link.as_deref(), Some("a symlink"));
    }

    #[test]
    fn a_file_that_sums_cannot_name_is_refused() {
        let dir = camino_tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("a\\b"), "").expect("a file");
        let socket = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let refused = looked(dir.path()).seen.unreadable;
        assert_eq!(refused.len(), 2, "{refused:?}");
    }

    #[test]
    fn sums_are_ours_only_after_an_interrupted_adoption() {
        let dir = camino_tempfile::tempdir().expect("a directory");
        let sums = dir.path().join("SHA256SUMS");
        let line = |name: &str| format!("{}  {name}\n", "0".repeat(64));
        for (text, expected) in [
            (line("build.json"), FoundSums::Ours),
            (line("outputs/x"), FoundSums::Foreign),
            ("nonsense".to_owned(), FoundSums::Foreign),
        ] {
            fs::write(&sums, text).expect("a file");
            assert_eq!(looked(dir.path()).seen.sums, expected);
        }
    }
}
