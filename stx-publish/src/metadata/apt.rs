//! The metadata of apt repositories in flat form: the files that `apt` reads before it reads a package.
//!
//! ```text
//! .deb, .udeb ──> packages ──> Packages, .gz, .xz ─┐
//! .dsc ─────────> sources ───> Sources,  .gz, .xz ─┴──> release ──> Release, by-hash/SHA256/…
//! ```
//!
//! A flat repository is a directory: `deb URL/outputs/std/packages /`. The metadata is a function of values: the digests and sizes
//! of the files are known from publishing them; only the control member of a package is read, and only the `.dsc` of a source
//! package. An entry of an earlier build's `Packages` is reused if that list has the current format and the entry names the same
//! path and digest. So the same files give the same metadata, byte for byte, in whatever order they were added, and with or
//! without an earlier build.
//!
//! Packages are listed with SHA256 alone. `apt` has supported it since 2006, and has ignored MD5 and SHA-1 since version 1.1; either
//! would cost one more pass over every package. The digest lists of a `.dsc` are kept, whatever their kind, and completed by the
//! digest of the `.dsc` itself, which is small.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write as _};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use liblzma::write::XzEncoder;
use stx_layout::{BuildId, BuildPath, Sha256};

use super::Indexed;
use crate::error::StoreError;
use crate::incoming::{Incoming, LinkEnd, digest_of};

mod earlier;
mod packages;
mod release;
mod sources;

pub use earlier::EarlierPackages;

/// The name of the list of binary packages.
pub(crate) const PACKAGES: &str = "Packages";

/// The name of the list of source packages.
pub const SOURCES: &str = "Sources";

/// The name of the file with the digests of the lists.
pub const RELEASE: &str = "Release";

/// The name of the detached signature of [`RELEASE`], beside it.
pub const RELEASE_SIGNATURE: &str = "Release.gpg";

/// The name of [`RELEASE`] with its signature in one file, so that a reader cannot get the two from different builds.
pub const SIGNED_RELEASE: &str = "InRelease";

/// The files of a repository, as they were added to a build.
#[derive(Debug, Clone)]
pub struct AptRepository {
    dir: BuildPath,
    /// By path below the repository.
    files: BTreeMap<String, File>,
}

/// A file that was added.
#[derive(Debug, Clone)]
struct File {
    /// The path of its bytes: its own, or the target of the symlink.
    at: BuildPath,
    size: u64,
    digest: Sha256,
}

/// The metadata of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptMetadata {
    /// Its files, by path below the repository. [`RELEASE`] names all others.
    pub files: BTreeMap<String, Bytes>,
    /// The packages that it lists, and those that it leaves out.
    pub indexed: Indexed,
}

/// Opens a file that was added to the build.
pub type Open<'a> = dyn Fn(&BuildPath) -> io::Result<Box<dyn Read>> + Sync + 'a;

impl AptRepository {
    /// The files of the repository `dir`. Files whose digest is unknown are not part of it.
    pub fn of(dir: &BuildPath, added: &Incoming) -> Self {
        let links = added.links();
        let prefix = format!("{dir}/");
        let below = added.entries.iter().filter_map(|(path, entry)| {
            let name = path.as_str().strip_prefix(&prefix)?;
            let (at, entry) = match links.get(path) {
                None => (path, entry),
                Some(LinkEnd::File(end)) => (end, added.entries.get(end)?),
                Some(LinkEnd::Directory | LinkEnd::Wrong(_)) => return None,
            };
            let file = File {
                at: at.clone(),
                size: entry.size(),
                digest: entry.digest()?,
            };
            Some((name.to_owned(), file))
        });
        Self {
            dir: dir.clone(),
            files: below.collect(),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &BuildPath {
        &self.dir
    }

    /// Makes the metadata. The list of packages is made only if the repository has packages, that of sources only if it has sources.
    ///
    /// # Errors
    /// [`StoreError::Io`] if `open` or reading fails. A file that is not a package, or a broken one, is
    /// [unlisted](Indexed::unlisted).
    pub fn make(
        &self,
        id: &BuildId,
        earlier: Option<&EarlierPackages>,
        open: &Open<'_>,
    ) -> Result<AptMetadata, StoreError> {
        let has = |extensions: &[&str]| {
            let mut names = self.files.keys();
            names.any(|name| extensions.contains(&extension(name)))
        };
        let mut made = Made::default();
        let (packages, sources) = rayon::join(
            || has(&["deb", "udeb"]).then(|| packages::list(self, earlier, open)),
            || has(&["dsc"]).then(|| sources::list(self, open)),
        );
        for (name, listed) in [(PACKAGES, packages), (SOURCES, sources)] {
            if let Some(listed) = listed {
                made.add(name, listed?)?;
            }
        }
        let Made {
            mut files,
            indexed,
            architectures,
        } = made;
        let release = release::text(id, &self.dir, &architectures, &files);
        let by_hash: Vec<_> = files
            .values()
            .map(|bytes| (release::by_hash(&digest_of(bytes)), bytes.clone()))
            .collect();
        files.extend(by_hash);
        files.insert(RELEASE.to_owned(), release.into());
        Ok(AptMetadata {
            files,
            indexed: indexed.settle(),
        })
    }

    /// The error for a file that cannot be read.
    fn unreadable(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Io {
            op: "read",
            path: format!("{}/{name}", self.dir),
            source,
        }
    }

    /// The files with this extension, which a list may name, with their names.
    fn named(&self, wanted: &'static str) -> impl Iterator<Item = (&str, &File)> {
        let files = self.files.iter();
        files
            .filter(move |(name, _)| extension(name) == wanted)
            .map(|(name, file)| (name.as_str(), file))
    }
}

/// The extension of a file's name; empty for a name that has none.
fn extension(name: &str) -> &str {
    camino::Utf8Path::new(name).extension().unwrap_or_default()
}

/// The metadata that was made so far.
#[derive(Default)]
struct Made {
    files: BTreeMap<String, Bytes>,
    indexed: Indexed,
    architectures: BTreeSet<String>,
}

impl Made {
    /// Adds a list and its compressed forms.
    fn add(&mut self, name: &str, list: Listed) -> Result<(), StoreError> {
        let Listed { text, entries } = list;
        for (path, entry) in entries {
            match entry {
                Ok(Named { id, architecture }) => {
                    self.indexed.list(id, path);
                    self.architectures.extend(architecture);
                }
                Err(reason) => drop(self.indexed.unlisted.insert(path, reason)),
            }
        }
        let text = Bytes::from(text);
        let (gz, xz) = rayon::join(|| gzip(&text), || xz(&text));
        let failed = |source| StoreError::Io {
            op: "pack",
            path: name.to_owned(),
            source,
        };
        let forms = [
            ("", text.clone()),
            (".gz", gz.map_err(failed)?.into()),
            (".xz", xz.map_err(failed)?.into()),
        ];
        let forms = forms.into_iter();
        self.files
            .extend(forms.map(|(form, bytes)| (format!("{name}{form}"), bytes)));
        Ok(())
    }
}

/// A list of packages.
struct Listed {
    text: String,
    /// Each file with the name of a package, by path below the repository: its entry, or the reason why it has none.
    entries: Vec<(String, Result<Named, String>)>,
}

/// A package that is listed.
struct Named {
    /// Its name, version and architecture.
    id: String,
    /// Its architecture, if it is a binary package.
    architecture: Option<String>,
}

/// Adds a field, whose value may have continuation lines.
fn push_field(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push(':');
    if !value.is_empty() && !value.starts_with('\n') {
        text.push(' ');
    }
    text.push_str(value);
    text.push('\n');
}

/// True if a value can be written into a list: a blank line would end its paragraph, and a continuation line without a leading
/// blank would start another field.
fn is_writable(value: &str) -> bool {
    let mut lines = value.split('\n').skip(1);
    lines.all(|line| line.starts_with([' ', '\t']) && !line.trim().is_empty())
}

/// True if a value is one word, as the name and the version of a package must be.
fn is_word(value: &str) -> bool {
    !value.is_empty() && !value.contains(char::is_whitespace)
}

/// The compression level of gzip.
const GZIP: u32 = 6;

/// The compression level of xz. The usual 6 takes five times as long, for a list that is a tenth smaller.
const XZ: u32 = 1;

/// The header has no name and no time, so the same text gives the same bytes.
fn gzip(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::new(GZIP));
    packed.write_all(text)?;
    packed.finish()
}

fn xz(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = XzEncoder::new(Vec::new(), XZ);
    packed.write_all(text)?;
    packed.finish()
}

#[cfg(test)]
mod tests;
