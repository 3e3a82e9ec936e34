//! The container images of a build: on the mirror as files, on a [registry] under their names.
//!
//! ```text
//! layouts, archives ──> Image ──> name ──> NamedImage ─┐
//!                           registry ──> RegistryState ─────────┴─> plan ──> ImagePlan ──> publish beside the build
//! ```
//!
//! This crate decides the names of a build's images, and the tags that are made or moved, as functions of values. A dated or
//! static tag never moves: if it names another image on the registry, the build is refused before anything is published. Moving
//! tags follow the rule of `latest_build`.
//!
//! Mirror and registry change in one order, so that every announced name resolves: files staged, images stored by digest, build
//! committed, tags of the build, moving tags, aliases. `build.json` and the registry hold everything needed to resume after a
//! crash.
//!
//! | module | is |
//! |---|---|
//! | `read` | images in the files of a build: OCI layouts, archives of `docker save`, charts; feature `read` |
//! | `name`, `lists` | the names of images, and the lists of their names among the files of the build |
//! | `pushed` | images that the build pushed itself, by the lists that it wrote |
//! | `plan`, `prepare` | the changes to the registry, as a value |
//! | `push`, `finish` | executes the plan, as [hooks](stx_publish::CommitHooks) of the commit; finishes the work of a dead publisher |
//! | `retain`, `audit` | the tags to remove with a purged build; the comparison of the registry with the records |
//! | [`registry`] | the supported registries: [`ImageRegistry`], [`MemoryRegistry`], `OciRegistry` with feature `registry` |
//! | `faulty` | a registry that fails on demand; feature `testing` |
//!
//! Without features the crate does no I/O.

mod audit;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;
mod finish;
mod lists;
mod name;
mod plan;
mod prepare;
mod push;
mod pushed;
#[cfg(feature = "read")]
pub mod read;
pub mod registry;
mod retain;
#[cfg(test)]
mod sweep;

use bytes::Bytes;
use stx_layout::{BuildPath, ImageName, ImageRecord, Sha256};
use stx_publish::Entry;

pub use audit::audit;
pub use finish::{FinishBuilds, FinishError, finish, plan_for};
pub use name::{ImageRules, NameError, name, promoted_names};
pub use plan::{
    ImageClash, ImagePlan, ImageStep, MovingStep, RegistryState, TagVerdict, plan, recorded,
};
pub use prepare::{
    PrepareImagesError, Prepared, add_images, prepare_with_images, with_files, with_registry,
};
pub use push::{ImageError, ImageHookError, ImageReport, publish_with_images, push};
pub use pushed::{
    ListError, PushedImages, PushedName, PushedNames, PushedRules, pushed_images, pushed_names,
    unstage,
};
pub use registry::memory::MemoryRegistry;
#[cfg(feature = "registry")]
pub use registry::oci::{OciOptions, OciRegistry};
pub use registry::{ImageRegistry, RegistryError};
pub use retain::{ImageUser, KeepReason, TagDecision, TagJudge, UntagReport, untag};

use crate::registry::{Blob, Manifest};

/// A container image, read from files; every digest was computed from the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The manifest or index that its tags name.
    pub manifest: Manifest,
    /// The manifests that this one names, if it is an index for several platforms.
    pub parts: Vec<Manifest>,
    /// Configurations and layers, without duplicates.
    pub blobs: Vec<Blob>,
    /// `linux/amd64`; several with commas between them.
    pub platform: Option<String>,
}

impl Image {
    /// The digest of its manifest.
    pub fn digest(&self) -> Sha256 {
        self.manifest.digest()
    }

    /// The total size of its manifests, configurations and layers, in bytes.
    pub fn size(&self) -> u64 {
        let manifests = self.parts.iter().chain([&self.manifest]);
        let manifests = manifests.map(|manifest| manifest.bytes.len() as u64);
        manifests
            .chain(self.blobs.iter().map(|blob| blob.size))
            .sum()
    }
}

/// An image found among the files of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundImage {
    /// The directory of its layout, or its archive.
    pub origin: BuildPath,
    /// The names that its layout or archive gives it: tags, or names with tags; empty if it has none.
    pub references: Vec<String>,
    /// The image.
    pub image: Image,
}

/// An image with one of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// Its name; not a moving one.
    pub name: ImageName,
    /// The digest of its manifest.
    pub digest: Sha256,
    /// `linux/amd64`, if it is known.
    pub platform: Option<String>,
    /// The size in bytes, if it is known.
    pub size: Option<u64>,
    /// The image itself, if its files are available.
    pub image: Option<Image>,
}

impl NamedImage {
    /// Its entry in `build.json`.
    pub fn record(&self) -> ImageRecord {
        ImageRecord {
            name: self.name.to_string(),
            digest: self.digest,
            platform: self.platform.clone(),
            size: self.size,
        }
    }
}

/// Makes a text a file of the build.
fn generated(text: String) -> Entry {
    Entry::Generated(Bytes::from(text))
}
