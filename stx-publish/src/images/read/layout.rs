//! OCI image layouts: `oci-layout`, `index.json`, `blobs/sha256/…` (OCI image specification 1.1, "Image Layout").

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use stx_layout::{BuildPath, Sha256};

use super::{FoundImage, Image, ReadError, Tree, once, platform, single};
use crate::registry::{Blob, Manifest};

/// What an image is called in its layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// How deep an index may lie in others.
const DEEPEST: usize = 4;

/// The images of a layout, each with all its references.
pub(super) fn read(tree: &Tree, origin: &BuildPath) -> Result<Vec<FoundImage>, ReadError> {
    let index = tree.bytes("index.json")?;
    let index = ImageIndex::from_reader(index.as_ref())
        .map_err(|error| tree.wrong("index.json", error.to_string()))?;
    let mut found: Vec<FoundImage> = Vec::new();
    for descriptor in index.manifests() {
        let annotations = descriptor.annotations().as_ref();
        let reference = annotations.and_then(|texts| texts.get(REF_NAME)).cloned();
        let image = image(tree, descriptor, 0)?;
        match found
            .iter_mut()
            .find(|known| known.image.digest() == image.digest())
        {
            Some(known) => known.references.extend(reference),
            None => found.push(FoundImage {
                origin: origin.clone(),
                references: reference.into_iter().collect(),
                image,
            }),
        }
    }
    Ok(found)
}

/// The digest that a descriptor claims.
fn digest(tree: &Tree, descriptor: &Descriptor) -> Result<Sha256, ReadError> {
    let digest = descriptor
        .as_digest_sha256()
        .and_then(|digest| digest.parse().ok());
    digest.ok_or_else(|| {
        let digest = descriptor.digest();
        tree.wrong(
            "blobs",
            format!("{digest} is no digest that can be computed here"),
        )
    })
}

fn blob(tree: &Tree, descriptor: &Descriptor) -> Result<Blob, ReadError> {
    let digest = digest(tree, descriptor)?;
    let name = format!("blobs/sha256/{digest}");
    let blob = tree.claimed(&name, digest)?;
    if blob.size != descriptor.size() {
        let claimed = descriptor.size();
        let reason = format!("has {} bytes, and {claimed} are claimed", blob.size);
        return Err(tree.wrong(&name, reason));
    }
    Ok(blob)
}

/// The image that a descriptor names, of one platform or of several.
fn image(tree: &Tree, descriptor: &Descriptor, depth: usize) -> Result<Image, ReadError> {
    let digest = blob(tree, descriptor)?.digest;
    let name = format!("blobs/sha256/{digest}");
    let manifest = Manifest {
        media_type: descriptor.media_type().to_string(),
        bytes: tree.bytes(&name)?,
    };
    let several = match descriptor.media_type() {
        MediaType::ImageIndex => true,
        MediaType::ImageManifest => false,
        MediaType::Other(kind) => match kind.as_str() {
            "application/vnd.docker.distribution.manifest.list.v2+json" => true,
            "application/vnd.docker.distribution.manifest.v2+json" => false,
            kind => return Err(tree.wrong(&name, format!("{kind} is no image"))),
        },
        kind => return Err(tree.wrong(&name, format!("{kind} is no image"))),
    };
    if !several {
        return one(tree, &name, manifest);
    }
    if depth >= DEEPEST {
        return Err(tree.wrong(&name, "lies too deep in other indexes"));
    }
    let index = ImageIndex::from_reader(manifest.bytes.as_ref())
        .map_err(|error| tree.wrong(&name, error.to_string()))?;
    let (mut parts, mut blobs, mut platforms) = (Vec::new(), Vec::new(), Vec::new());
    for descriptor in index.manifests() {
        let part = image(tree, descriptor, depth + 1)?;
        parts.extend(part.parts);
        parts.push(part.manifest);
        blobs.extend(part.blobs);
        platforms.extend(part.platform);
    }
    platforms.sort();
    platforms.dedup();
    Ok(Image {
        manifest,
        parts,
        blobs: once(blobs),
        platform: (!platforms.is_empty()).then(|| platforms.join(",")),
    })
}

fn one(tree: &Tree, name: &str, manifest: Manifest) -> Result<Image, ReadError> {
    let parsed = ImageManifest::from_reader(manifest.bytes.as_ref())
        .map_err(|error| tree.wrong(name, error.to_string()))?;
    let config = blob(tree, parsed.config())?;
    let config_name = format!("blobs/sha256/{}", config.digest);
    let text = tree.bytes(&config_name)?;
    let configuration = ImageConfiguration::from_reader(text.as_ref())
        .map_err(|error| tree.wrong(&config_name, error.to_string()))?;
    let mut blobs = vec![config];
    for layer in parsed.layers() {
        blobs.push(blob(tree, layer)?);
    }
    let platform = platform(
        &configuration.os().to_string(),
        &configuration.architecture().to_string(),
        configuration.variant().as_deref(),
    );
    Ok(single(manifest, blobs, platform))
}
