//! The archives of `docker save`: a tar with `manifest.json`, configurations and layers.
//!
//! The layers are sent as they are in the archive, and the manifest is made here in a form that never changes. The digest of an
//! image is therefore a function of the archive's bytes alone. Compressing the layers would make it depend on the version of the
//! compressor too.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use camino::Utf8PathBuf;
use fs_err::File;
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};
use stx_layout::{BuildPath, Sha256, counted};
use tar::EntryType;

use super::{FoundImage, Part, ReadError, ReadImages, Tree, file, platform, single};
use crate::registry::{Blob, Manifest};

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
    /// The layers that may be missing from the archive, by digest.
    #[serde(default)]
    layer_sources: BTreeMap<String, Source>,
}

#[derive(Deserialize)]
struct Source {
    urls: Option<Vec<String>>,
}

/// A manifest as it is written here. The order of the fields affects the digest of every image that was read this way.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: u32,
    media_type: &'static str,
    config: Described,
    layers: Vec<Described>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    media_type: &'static str,
    digest: String,
    size: u64,
}

/// The limit for the headers, the names and the extensions of one entry, in bytes. The tar library reads a name into memory,
/// whatever length its header states.
const LONGEST_HEADERS: u64 = 1 << 20;

/// The same limit for all entries together, in bytes.
const MOST_HEADERS: u64 = 256 << 20;

/// The largest number of entries of an archive. `docker save` writes a few for each layer.
const MOST_ENTRIES: usize = 100_000;

/// The limit for the manifests that are made from one archive, in bytes.
const MOST_MADE: usize = 64 << 20;

/// The file of an archive that lists its images.
const LIST: &str = "manifest.json";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The first bytes of compressed data, the media type of a layer that is compressed this way, and the name of the compressor.
const PACKED: [(&[u8], &str, &str); 2] = [
    (
        &[0x1f, 0x8b],
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "gzip",
    ),
    (
        &[0x28, 0xb5, 0x2f, 0xfd],
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "zstd",
    ),
];

/// A file that can be read only up to a limit; skipping does not count.
struct Bounded {
    file: File,
    left: Rc<Cell<u64>>,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left.get();
        if left == 0 && !buffer.is_empty() {
            let reason = format!(
                "the names and extensions of an entry take up more than {LONGEST_HEADERS} bytes"
            );
            return Err(io::Error::other(reason));
        }
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.file.read(&mut buffer[..most])?;
        self.left.set(left - read as u64);
        Ok(read)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The files of an archive, by name; a link is replaced by the file that it leads to.
pub(super) fn open(source: &Utf8PathBuf, path: &BuildPath) -> Result<Tree, ReadError> {
    let failed = |source| ReadError::Io {
        path: path.to_string(),
        source,
    };
    let mut archive = File::open(source).map_err(failed)?;
    let whole = archive.metadata().map_err(failed)?.len();
    let wrong = |reason: String| ReadError::Wrong {
        path: path.to_string(),
        reason,
    };
    if let Some((_, packer)) = packed(&mut archive).map_err(failed)? {
        return Err(wrong(format!(
            "is packed by {packer}; unpack it, or end its name with the packer's suffix: then it is published as a file and not pushed"
        )));
    }
    archive.rewind().map_err(failed)?;
    // The rest of the tar library's message may contain bytes of the archive.
    let unreadable = |error: io::Error| {
        let said = error.to_string();
        let said = said.lines().next().unwrap_or_default();
        wrong(format!("is not a complete tar archive: {said}"))
    };
    let left = Rc::new(Cell::new(LONGEST_HEADERS));
    let mut archive = tar::Archive::new(Bounded {
        file: archive,
        left: Rc::clone(&left),
    });
    let mut tree = Tree::new(path, BTreeMap::new());
    let mut links = Vec::new();
    let mut headers = 0;
    let entries = archive.entries_with_seek().map_err(unreadable)?;
    for (number, entry) in entries.enumerate() {
        let entry = entry.map_err(unreadable)?;
        headers += LONGEST_HEADERS - left.replace(LONGEST_HEADERS);
        if number == MOST_ENTRIES {
            let reason =
                format!("has more than {MOST_ENTRIES} entries: not an archive of `docker save`");
            return Err(wrong(reason));
        }
        if headers > MOST_HEADERS {
            let reason = format!("has more than {MOST_HEADERS} bytes of names and extensions");
            return Err(wrong(reason));
        }
        // A name that is not UTF-8 does not matter: `manifest.json`, which is JSON, names the files that do.
        let name = entry.path_bytes();
        let Ok(name) = str::from_utf8(&name) else {
            continue;
        };
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let part = Part {
                    source: file(source, entry.raw_file_position()),
                    size: entry.size(),
                };
                if entry.raw_file_position().saturating_add(part.size) > whole {
                    let reason = format!(
                        "says it has {}, and the archive ends before",
                        counted(part.size, "byte")
                    );
                    return Err(tree.wrong(name, reason));
                }
                tree.parts.insert(plain(name), part);
            }
            kind @ (EntryType::Symlink | EntryType::Link) => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let Ok(target) = str::from_utf8(&target) else {
                    continue;
                };
                // A symlink is relative to its own directory, a hard link to the archive's root.
                let dir = match name.rsplit_once('/') {
                    Some((dir, _)) if kind == EntryType::Symlink => dir,
                    Some(_) | None => "",
                };
                links.push((plain(name), plain(&format!("{dir}/{target}"))));
            }
            _ => {}
        }
    }
    for (name, target) in links {
        if let Some(part) = tree.parts.get(&target).cloned() {
            tree.parts.insert(name, part);
        }
    }
    Ok(tree)
}

/// A name without `.` and `..`.
fn plain(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Returns true if an archive is to be read as an image layout. An archive of Docker 25 contains the files of both forms; it is
/// read like one of `docker save`, so that its digests do not change.
pub(super) fn is_layout(tree: &Tree) -> bool {
    let has = |name| tree.parts.contains_key(name);
    has("oci-layout") && !has(LIST)
}

/// The images of an archive. One without `manifest.json` is not an image.
pub(super) fn read(tree: &Tree, origin: &BuildPath) -> Result<ReadImages, ReadError> {
    if !tree.parts.contains_key(LIST) {
        return Err(tree.wrong(
            LIST,
            "is missing: neither an archive of `docker save` nor an image layout",
        ));
    }
    let saved: Vec<Saved> = tree.json(LIST)?;
    let mut read = ReadImages::default();
    if saved.is_empty() {
        read.empty.push(tree.path(LIST));
    }
    let mut made = 0;
    for saved in saved {
        let image = image(tree, &saved)?;
        made += image.manifest.bytes.len();
        if made > MOST_MADE {
            let reason = format!("its images have more than {MOST_MADE} bytes of manifests");
            return Err(tree.wrong(LIST, reason));
        }
        read.images.push(FoundImage {
            origin: origin.clone(),
            references: saved.repo_tags.unwrap_or_default(),
            image,
        });
    }
    Ok(read)
}

fn image(tree: &Tree, saved: &Saved) -> Result<super::Image, ReadError> {
    let configuration: ImageConfiguration = tree.json(&saved.config)?;
    let config = tree.blob(&saved.config)?;
    let claims = configuration.rootfs().diff_ids();
    if claims.len() != saved.layers.len() {
        let reason = format!(
            "names {} layers, and manifest.json {}",
            claims.len(),
            saved.layers.len()
        );
        return Err(tree.wrong(&saved.config, reason));
    }
    let mut blobs = vec![config.clone()];
    let mut layers = Vec::new();
    for (name, claim) in saved.layers.iter().zip(claims) {
        if let Some(source) = saved.layer_sources.get(claim)
            && !tree.parts.contains_key(name)
        {
            let url = source.urls.iter().flatten().next();
            let from = url.map_or_else(|| "elsewhere".to_owned(), |url| format!("at {url}"));
            let reason = format!(
                "is a foreign layer, whose bytes are {from} and not in the archive; publish an image without foreign layers"
            );
            return Err(tree.wrong(name, reason));
        }
        let first = tree.part(name)?.open();
        let packed = first.and_then(packed).map_err(|source| ReadError::Io {
            path: tree.path(name),
            source,
        })?;
        let layer = if packed.is_some() {
            // The claimed digest is that of the uncompressed bytes.
            tree.blob(name)?
        } else {
            let claimed: Option<Sha256> = claim
                .strip_prefix("sha256:")
                .and_then(|claim| claim.parse().ok());
            let claimed = claimed.ok_or_else(|| {
                let reason = format!("{claim} is not a digest that can be computed here");
                tree.wrong(&saved.config, reason)
            })?;
            tree.claimed(name, claimed)?
        };
        layers.push(described(packed.map_or(LAYER, |(kind, _)| kind), &layer));
        blobs.push(layer);
    }
    let written = Written {
        schema_version: 2,
        media_type: MANIFEST,
        config: described(CONFIG, &config),
        layers,
    };
    let bytes = serde_json::to_vec(&written)
        .map_err(|error| tree.wrong("manifest.json", error.to_string()))?;
    let manifest = Manifest {
        media_type: MANIFEST.to_owned(),
        bytes: bytes.into(),
    };
    let platform = platform(
        &configuration.os().to_string(),
        &configuration.architecture().to_string(),
        configuration.variant().as_deref(),
    );
    Ok(single(manifest, blobs, platform))
}

fn described(media_type: &'static str, blob: &Blob) -> Described {
    Described {
        media_type,
        digest: format!("sha256:{}", blob.digest),
        size: blob.size,
    }
}

/// The media type of a layer that begins like compressed bytes, and its compressor.
fn packed(bytes: impl Read) -> io::Result<Option<(&'static str, &'static str)>> {
    let mut first = Vec::new();
    bytes.take(4).read_to_end(&mut first)?;
    let known = PACKED.iter().find(|(magic, ..)| first.starts_with(magic));
    Ok(known.map(|(_, kind, packer)| (*kind, *packer)))
}
