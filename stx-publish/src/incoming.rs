//! The tree to publish, as a value.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use camino::Utf8PathBuf;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use stx_layout::{BuildPath, Sha256, SumLine, Sums};

mod problem;

pub use problem::{Problem, ProblemKind};

/// A file or symlink to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file of the workspace.
    File {
        /// Its current path.
        source: Utf8PathBuf,
        /// Its size in bytes.
        size: u64,
        /// True if its owner may execute it: it is published with mode 0755, otherwise 0644.
        executable: bool,
        /// Its digest, if it is already known.
        digest: Option<Sha256>,
    },
    /// A symlink that stays inside the build.
    Symlink {
        /// Its target, relative to its own directory.
        target: String,
    },
    /// A file that the publisher makes.
    Generated(Bytes),
}

impl Entry {
    /// Its size in bytes; zero for a symlink.
    pub fn size(&self) -> u64 {
        match self {
            Self::File { size, .. } => *size,
            Self::Symlink { .. } => 0,
            Self::Generated(bytes) => bytes.len() as u64,
        }
    }

    /// The digest of its bytes, if it is known without reading a file.
    pub fn digest(&self) -> Option<Sha256> {
        match self {
            Self::File { digest, .. } => *digest,
            Self::Symlink { .. } => None,
            Self::Generated(bytes) => Some(digest_of(bytes)),
        }
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::File {
                source,
                size,
                executable,
                digest,
            } => {
                map.serialize_entry("kind", "file")?;
                map.serialize_entry("source", source.as_str())?;
                map.serialize_entry("size", size)?;
                map.serialize_entry("executable", executable)?;
                if let Some(digest) = digest {
                    map.serialize_entry("sha256", digest)?;
                }
            }
            Self::Symlink { target } => {
                map.serialize_entry("kind", "symlink")?;
                map.serialize_entry("target", target)?;
            }
            Self::Generated(bytes) => {
                map.serialize_entry("kind", "generated")?;
                map.serialize_entry("size", &bytes.len())?;
            }
        }
        map.end()
    }
}

/// The number of bytes per read when a whole file is read.
pub const CHUNK: usize = 128 * 1024;

/// Hashes and counts the bytes that are left to read.
pub fn hash_rest(from: &mut impl std::io::Read, hash: &mut sha2::Sha256) -> std::io::Result<u64> {
    use sha2::Digest as _;
    let mut size = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(size),
            Ok(count) => {
                hash.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The digest of bytes in memory.
pub fn digest_of(bytes: &[u8]) -> Sha256 {
    use sha2::Digest as _;
    Sha256(sha2::Sha256::digest(bytes).into())
}

/// The tree to publish: the files and symlinks of one build, by path.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
#[serde(transparent)]
pub struct Incoming {
    /// The entries.
    pub entries: BTreeMap<BuildPath, Entry>,
}

/// The final target of a symlink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEnd {
    /// A file of the build.
    File(BuildPath),
    /// A directory of the build.
    Directory,
    /// No valid target in the build, with the reason.
    Wrong(ProblemKind),
}

impl Incoming {
    /// The number of files, without symlinks.
    pub fn files(&self) -> u64 {
        let files = self
            .entries
            .values()
            .filter(|entry| !matches!(entry, Entry::Symlink { .. }));
        files.count() as u64
    }

    /// The sum of their sizes.
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(Entry::size).sum()
    }

    /// The `SHA256SUMS` of the build that these entries make, and the number of bytes that a reader gets for it; `None` while the
    /// digest of a file is unknown. A symlink to a file has the file's digest, as with `sha256sum`.
    pub fn sums(&self) -> Option<(Sums, u64)> {
        let links = self.links();
        let mut sums = Vec::with_capacity(self.entries.len());
        let mut bytes = 0;
        for (path, entry) in &self.entries {
            let end = match links.get(path) {
                None => entry,
                Some(LinkEnd::File(end)) => self.entries.get(end)?,
                Some(LinkEnd::Directory | LinkEnd::Wrong(_)) => continue,
            };
            sums.push(SumLine {
                path: path.clone(),
                digest: end.digest()?,
            });
            bytes += end.size();
        }
        Some((sums.into_iter().collect(), bytes))
    }

    /// Everything that must not be published, by path.
    pub fn problems(&self) -> Vec<Problem> {
        let directories = self.directories();
        let mut problems = Vec::new();
        for (path, entry) in &self.entries {
            let mut refuse = |kind| {
                problems.push(Problem {
                    path: path.to_string(),
                    kind,
                });
            };
            match path.segments().next() {
                Some("inputs" | "outputs") if path.parent().is_some() => {}
                _ => refuse(ProblemKind::OutOfPlace),
            }
            if directories.contains(path.as_str()) {
                refuse(ProblemKind::FileAndDirectory);
            }
            if let Entry::Symlink { target } = entry {
                match end_of_link(&self.entries, &directories, path.parent().as_ref(), target) {
                    LinkEnd::File(_) | LinkEnd::Directory => {}
                    LinkEnd::Wrong(kind) => refuse(kind),
                }
            }
        }
        problems
    }

    /// The final target of each symlink.
    pub fn links(&self) -> BTreeMap<BuildPath, LinkEnd> {
        let directories = self.directories();
        let links = self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::Symlink { target } => Some((
                path.clone(),
                end_of_link(&self.entries, &directories, path.parent().as_ref(), target),
            )),
            Entry::File { .. } | Entry::Generated(_) => None,
        });
        links.collect()
    }

    /// The symlinks through which a walk of `directories` that follows symlinks would return to an earlier place and never end.
    ///
    /// Programs that make or read an RPM repository walk like this. Elsewhere such a symlink does no harm: the files of a
    /// system contain some, such as `/usr/bin/X11`.
    pub(crate) fn loops(&self, directories: &BTreeSet<BuildPath>) -> Vec<Problem> {
        let all = self.directories();
        let links: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(path, entry)| match entry {
                Entry::Symlink { target } => {
                    let end = follow(&self.entries, &all, path.parent().as_ref(), target).ok()?;
                    (end.is_empty() || all.contains(&end)).then_some((path, target, end))
                }
                Entry::File { .. } | Entry::Generated(_) => None,
            })
            .collect();
        let below = |dir: &str| {
            let dir = dir.to_owned();
            let is_below = move |path: &str| match path.strip_prefix(dir.as_str()) {
                Some(rest) => dir.is_empty() || rest.starts_with('/'),
                None => false,
            };
            let found = links.iter().enumerate();
            found
                .filter(|(_, (path, ..))| is_below(path.as_str()))
                .map(|(n, _)| n)
                .collect::<Vec<_>>()
        };
        // The symlinks that a walk from these symlinks reaches.
        let reached = |mut next: Vec<usize>| {
            let mut seen = BTreeSet::new();
            while let Some(n) = next.pop() {
                if seen.insert(n) {
                    next.extend(below(&links[n].2));
                }
            }
            seen
        };
        let walked = directories.iter().flat_map(|dir| below(dir.as_str()));
        let walked = reached(walked.collect());
        let loops = walked
            .into_iter()
            .filter(|n| reached(below(&links[*n].2)).contains(n));
        loops
            .map(|n| {
                let (path, target, _) = &links[n];
                Problem {
                    path: path.to_string(),
                    kind: ProblemKind::LinkLoop {
                        target: (*target).clone(),
                    },
                }
            })
            .collect()
    }

    /// The final target of a path, with the symlinks in it followed.
    pub fn resolve(&self, path: &BuildPath) -> LinkEnd {
        end_of_link(&self.entries, &self.directories(), None, path.as_str())
    }

    fn directories(&self) -> BTreeSet<String> {
        let mut directories = BTreeSet::new();
        for path in self.entries.keys() {
            let mut parent = path.parent();
            while let Some(path) = parent {
                parent = path.parent();
                if !directories.insert(path.to_string()) {
                    break;
                }
            }
        }
        directories
    }
}

/// The final target of a symlink in the directory `parent`.
fn end_of_link(
    entries: &BTreeMap<BuildPath, Entry>,
    directories: &BTreeSet<String>,
    parent: Option<&BuildPath>,
    target: &str,
) -> LinkEnd {
    match follow(entries, directories, parent, target) {
        Err(kind) => LinkEnd::Wrong(kind),
        Ok(end) => match end.parse::<BuildPath>() {
            Ok(end) if entries.contains_key(&end) => LinkEnd::File(end),
            Ok(_) | Err(_) => LinkEnd::Directory,
        },
    }
}

/// Follows a symlink in the directory `parent` as the kernel does, within the entries of a build. Returns the path of the file or
/// directory at its end, which is empty for the build itself.
fn follow(
    entries: &BTreeMap<BuildPath, Entry>,
    directories: &BTreeSet<String>,
    parent: Option<&BuildPath>,
    target: &str,
) -> Result<String, ProblemKind> {
    /// The limit of the kernel.
    const MOST_LINKS: usize = 40;
    let original = target;
    let wrong = |kind: fn(String) -> ProblemKind| Err(kind(original.to_owned()));
    let mut at: Vec<&str> = parent
        .as_ref()
        .map(|parent| parent.segments().collect())
        .unwrap_or_default();
    let mut rest: Vec<&str> = Vec::new();
    let mut links = 0;
    let mut follow = Some(target);
    loop {
        if let Some(target) = follow.take() {
            links += 1;
            if links > MOST_LINKS {
                return wrong(|target| ProblemKind::LinkLoop { target });
            }
            if target.starts_with('/') {
                return wrong(|target| ProblemKind::AbsoluteLink { target });
            }
            rest.extend(target.rsplit('/'));
        }
        let Some(segment) = rest.pop() else {
            return Ok(at.join("/"));
        };
        match segment {
            "" | "." => continue,
            ".." => {
                if at.pop().is_none() {
                    return wrong(|target| ProblemKind::OutsideLink { target });
                }
                continue;
            }
            name => at.push(name),
        }
        let here = at.join("/");
        let entry = here
            .parse::<BuildPath>()
            .ok()
            .and_then(|here| entries.get(&here));
        match entry {
            Some(Entry::Symlink { target }) => {
                at.pop();
                follow = Some(target);
            }
            Some(Entry::File { .. } | Entry::Generated(_)) if rest.is_empty() => {}
            None if directories.contains(&here) => {}
            Some(Entry::File { .. } | Entry::Generated(_)) | None => {
                return wrong(|target| ProblemKind::DanglingLink { target });
            }
        }
    }
}
