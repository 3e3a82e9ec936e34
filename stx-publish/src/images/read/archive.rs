//! The archives of `docker save`: a tar with `manifest.json`, configurations and layers.
//!
//! The layers are sent as they lie in the archive, and the manifest is made here in a form that never changes: so the digest
//! of an image is a function of the archive's bytes alone. Packing the layers would make it one of the packer's version too.

use std::io::Read as _;

use camino::Utf8PathBuf;
use fs_err::File;
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};
use stx_layout::{BuildPath, Sha256};
use tar::EntryType;

use super::{FoundImage, Part, ReadError, Tree, file, platform, single};
use crate::registry::{Blob, Manifest};

/// One image of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// A manifest as it is written here. The order of the fields is part of the digest of every image that was read so.
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

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const PACKED_LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The files of an archive, by name; what a link leads to stands for it.
pub(super) fn open(source: &Utf8PathBuf, path: &BuildPath) -> Result<Tree, ReadError> {
    let failed = |source| ReadError::Io {
        path: path.to_string(),
        source,
    };
    let archive = File::open(source).map_err(failed)?;
    let mut archive = tar::Archive::new(archive);
    let mut tree = Tree {
        at: path.to_string(),
        parts: std::collections::BTreeMap::new(),
    };
    let mut links = Vec::new();
    for entry in archive.entries_with_seek().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {
                let part = Part {
                    source: file(source, entry.raw_file_position()),
                    size: entry.size(),
                };
                tree.parts.insert(plain(&name), part);
            }
            kind @ (EntryType::Symlink | EntryType::Link) => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = String::from_utf8_lossy(&target).into_owned();
                // A symlink goes from its own directory, a hard link from the archive's root.
                let dir = match name.rsplit_once('/') {
                    Some((dir, _)) if kind == EntryType::Symlink => dir,
                    Some(_) | None => "",
                };
                links.push((plain(&name), plain(&format!("{dir}/{target}"))));
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

/// The images of an archive. One that has no `manifest.json` is no image.
pub(super) fn read(tree: &Tree, origin: &BuildPath) -> Result<Vec<FoundImage>, ReadError> {
    const LIST: &str = "manifest.json";
    if !tree.parts.contains_key(LIST) {
        return Err(tree.wrong(LIST, "is not there: no archive of `docker save`"));
    }
    let list = tree.bytes(LIST)?;
    let saved: Vec<Saved> =
        serde_json::from_slice(&list).map_err(|error| tree.wrong(LIST, error.to_string()))?;
    let images = saved.into_iter().map(|saved| {
        Ok(FoundImage {
            origin: origin.clone(),
            references: saved.repo_tags.clone().unwrap_or_default(),
            image: image(tree, &saved)?,
        })
    });
    images.collect()
}

fn image(tree: &Tree, saved: &Saved) -> Result<super::Image, ReadError> {
    let text = tree.bytes(&saved.config)?;
    let configuration = ImageConfiguration::from_reader(text.as_ref())
        .map_err(|error| tree.wrong(&saved.config, error.to_string()))?;
    let config = tree.blob(&saved.config)?;
    let claims = configuration.rootfs().diff_ids();
    if claims.len() != saved.layers.len() {
        let reason = format!(
            "names {} layers; there are {}",
            claims.len(),
            saved.layers.len()
        );
        return Err(tree.wrong(&saved.config, reason));
    }
    let mut blobs = vec![config.clone()];
    let mut layers = Vec::new();
    for (name, claim) in saved.layers.iter().zip(claims) {
        let packed = is_packed(tree, name)?;
        let layer = if packed {
            // The claim is that of the bytes inside.
            tree.blob(name)?
        } else {
            let claimed: Option<Sha256> = claim
                .strip_prefix("sha256:")
                .and_then(|claim| claim.parse().ok());
            let claimed = claimed.ok_or_else(|| {
                let reason = format!("{claim} is no digest that can be computed here");
                tree.wrong(&saved.config, reason)
            })?;
            tree.claimed(name, claimed)?
        };
        layers.push(described(if packed { PACKED_LAYER } else { LAYER }, &layer));
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

/// Whether a layer begins as gzip does.
fn is_packed(tree: &Tree, name: &str) -> Result<bool, ReadError> {
    let mut first = [0; 2];
    let read = tree
        .part(name)?
        .open()
        .and_then(|part| part.take(2).read(&mut first));
    read.map_err(|source| ReadError::Io {
        path: tree.path(name),
        source,
    })?;
    Ok(first == [0x1f, 0x8b])
}
