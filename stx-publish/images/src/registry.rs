//! A registry of container images.
//!
//! [`ImageRegistry`] is the minimum that publishing, verifying and retention need: the manifest that a tag names, objects by
//! their digest, and the calls that change them. [The crate](crate) decides which calls to make.
//! [`memory::MemoryRegistry`] is the strict reference; with feature `registry`, `oci` connects to a real one.
//!
//! An [`ImageName`] also identifies a repository, by all but its tag.

use std::error::Error;
use std::fmt;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use stx_layout::{ImageName, Sha256};

use stx_publish::ErrorKind;
use stx_publish::incoming::digest_of;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod memory;
#[cfg(feature = "registry")]
pub mod oci;

/// A layer or the configuration of an image: bytes that are identified by their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The digest, computed from the bytes.
    pub digest: Sha256,
    /// The number of bytes.
    pub size: u64,
    /// The place of the bytes.
    pub source: BlobSource,
}

/// The place of a blob's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobSource {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File {
        /// The file.
        path: Utf8PathBuf,
        /// The offset of the first byte; in an archive, it is not 0.
        offset: u64,
    },
}

impl Blob {
    /// A blob in memory.
    pub fn new(bytes: Bytes) -> Self {
        Self {
            digest: digest_of(&bytes),
            size: bytes.len() as u64,
            source: BlobSource::Bytes(bytes),
        }
    }
}

/// The manifest of an image, or the index of an image for several platforms; its digest is computed from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The media type, such as `application/vnd.oci.image.manifest.v1+json`.
    pub media_type: String,
    /// The JSON text.
    pub bytes: Bytes,
}

impl Manifest {
    /// The digest, computed from the bytes.
    pub fn digest(&self) -> Sha256 {
        digest_of(&self.bytes)
    }
}

/// The way in which a blob got to a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// Its bytes were sent; their number.
    Sent(u64),
    /// The registry had it in another repository.
    Mounted,
    /// The repository already had it.
    There,
}

/// The result of removing a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untagged {
    /// It is removed, and nothing else is.
    Removed,
    /// It did not exist.
    Absent,
    /// The registry cannot remove a single tag, so the tag still exists.
    Unsupported,
}

/// A failed call to a registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Missing: a manifest, or a blob that a manifest names.
    #[error("{what}: not found on the registry")]
    NotFound {
        /// The manifest or the blob.
        what: String,
    },
    /// The registry refuses the call, or its answer cannot be understood.
    #[error("{what}: {reason}")]
    Refused {
        /// The call that was refused, with the image's name.
        what: String,
        /// The registry's status, and its error codes.
        reason: String,
    },
    /// The registry removes no images: deletion is switched off.
    #[error("{what}: the registry removes no images")]
    Undeletable {
        /// The image that was to be removed.
        what: String,
    },
    /// The quota of a project or an account is used up.
    #[error("{what}: the quota on the registry is used up ({reason})")]
    Quota {
        /// The call that was refused, with the image's name.
        what: String,
        /// Its status.
        reason: String,
    },
    /// The credentials are missing or insufficient.
    #[error("{what}: the registry denies access ({reason})")]
    Denied {
        /// The call that was denied, with the image's name.
        what: String,
        /// The registry's status.
        reason: String,
    },
    /// The credentials cannot be obtained. The output of a helper is left out: it may hold a secret.
    #[error("credentials for {registry}: {reason}")]
    Credentials {
        /// The registry.
        registry: String,
        /// The reason.
        reason: String,
    },
    /// The bytes do not match their digest.
    #[error("{what}: its bytes have the digest sha256:{found}")]
    Digest {
        /// The manifest or the blob.
        what: String,
        /// The digest of the bytes that arrived.
        found: Sha256,
    },
    /// The registry cannot be reached, or the connection keeps breaking, or it keeps asking to wait.
    #[error("{what}: the request failed")]
    Network {
        /// The call that failed, with the image's name.
        what: String,
        /// The error that caused it.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The tag exists, and the registry cannot read it. A disk that was full leaves tags like this.
    #[error("{what}: the tag exists, but the registry cannot read it ({reason})")]
    Unreadable {
        /// The tag.
        what: String,
        /// The registry's status.
        reason: String,
    },
    /// A file of an image cannot be read.
    #[error("read {path}")]
    Io {
        /// The file.
        path: Utf8PathBuf,
        /// The error that caused it.
        source: io::Error,
    },
}

impl RegistryError {
    /// Its kind: [`Usage`](ErrorKind::Usage) if other credentials could help.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Denied { .. } | Self::Credentials { .. } => ErrorKind::Usage,
            Self::Refused { .. }
            | Self::Quota { .. }
            | Self::Undeletable { .. }
            | Self::Digest { .. }
            | Self::Network { .. }
            | Self::Unreadable { .. }
            | Self::Io { .. } => ErrorKind::Mirror,
        }
    }
}

/// A registry such as those that implement the OCI distribution specification.
///
/// # Contract
/// - **Integrity.** A returned digest is computed locally from the bytes of a manifest; digests that the registry states do not
///   count. A blob or manifest whose bytes do not match its digest is not stored.
/// - **Ordering.** A manifest is stored only if everything that it names exists, and a tag names only an existing manifest.
/// - **Atomicity.** Each call takes effect at one instant or not at all; after an error it may have taken effect.
/// - **Idempotence.** Every call can be repeated.
/// - **No compare-and-swap.** Setting a tag replaces its target: a caller that must not move a tag checks it first.
/// - **May vary.** Some registries cannot remove a single tag; registries keep untagged objects for different times.
#[async_trait]
pub trait ImageRegistry: fmt::Debug + Send + Sync {
    /// `HOST[:PORT]`, the beginning of its images' names.
    fn host(&self) -> &str;

    /// The number of blobs to send at the same time.
    fn parallel(&self) -> usize {
        4
    }

    /// The digest of the manifest that a tag names; `None` if the tag does not exist. [`RegistryError::Unreadable`] for a tag that exists
    /// and shows nothing, which [`tag`](Self::tag) makes anew.
    async fn resolve(&self, name: &ImageName) -> Result<Option<Sha256>, RegistryError>;

    /// The tags of a repository, in byte order; empty if the repository does not exist.
    async fn tags(&self, repository: &ImageName) -> Result<Vec<String>, RegistryError>;

    /// A manifest of a repository by its digest; `None` if it does not exist.
    async fn manifest(
        &self,
        repository: &ImageName,
        digest: Sha256,
    ) -> Result<Option<Manifest>, RegistryError>;

    /// Pushes a blob to a repository; a blob that it has is not sent again. `from` is a repository that has the blob, if one is
    /// known.
    async fn push_blob(
        &self,
        repository: &ImageName,
        blob: &Blob,
        from: Option<&ImageName>,
    ) -> Result<Pushed, RegistryError>;

    /// Stores a manifest by its digest; no tag names it yet. [`RegistryError::NotFound`] or [`RegistryError::Refused`] if
    /// something that it names is missing.
    async fn push_manifest(
        &self,
        repository: &ImageName,
        manifest: &Manifest,
    ) -> Result<(), RegistryError>;

    /// Makes the tag of `name` point to the manifest with that digest, which must exist ([`RegistryError::NotFound`]).
    async fn tag(&self, name: &ImageName, digest: Sha256) -> Result<(), RegistryError>;

    /// Removes a tag, and nothing but the tag.
    async fn untag(&self, name: &ImageName) -> Result<Untagged, RegistryError>;

    /// Removes a manifest by its digest, with every tag that names it; does nothing if it does not exist.
    async fn delete(&self, repository: &ImageName, digest: Sha256) -> Result<(), RegistryError>;
}

/// The digest that a tag shows, as far as it is known. A tag that the registry cannot read counts as absent if it belongs to one
/// build by its date, or moves: making it anew takes it from no other image. A static tag may have shown another one.
pub(crate) async fn shown(
    registry: &dyn ImageRegistry,
    name: &ImageName,
) -> Result<Option<Sha256>, RegistryError> {
    match registry.resolve(name).await {
        Err(RegistryError::Unreadable { .. }) if name.parts().tag.qualifier().is_some() => Ok(None),
        shown => shown,
    }
}

/// `ORG/IMAGE`, the repository of a name.
pub(crate) fn repository(name: &ImageName) -> String {
    let parts = name.parts();
    format!("{}/{}", parts.org, parts.image)
}

/// The repository and digest in the usual notation.
pub(crate) fn by_digest(name: &ImageName, digest: Sha256) -> String {
    format!("{}@sha256:{digest}", repository(name))
}
