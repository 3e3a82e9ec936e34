//! A registry of container images.
//!
//! [`ImageRegistry`] is the little that publishing, verifying and retention need of one: the manifest that a tag shows, what
//! is there by its digest, and the calls that change that. What to call is decided elsewhere, in [the crate](crate).
//! [`memory::MemoryRegistry`] is the strict reference; with feature `registry`, `oci` speaks to a real one.
//!
//! An [`ImageName`] also names a repository, by all but its tag.

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

/// The layers and the configuration of an image: bytes that are named by their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Computed from the bytes.
    pub digest: Sha256,
    /// Bytes.
    pub size: u64,
    /// Where they are.
    pub source: BlobSource,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobSource {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File {
        /// The file.
        path: Utf8PathBuf,
        /// Where in it they begin; in an archive, not at its start.
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

/// The manifest of an image, or of several that are one for several platforms; its bytes are what its digest is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Such as `application/vnd.oci.image.manifest.v1+json`.
    pub media_type: String,
    /// JSON.
    pub bytes: Bytes,
}

impl Manifest {
    /// Computed from the bytes.
    pub fn digest(&self) -> Sha256 {
        digest_of(&self.bytes)
    }
}

/// How a blob came to a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// Its bytes were sent; their number.
    Sent(u64),
    /// The registry had it in another repository.
    Mounted,
    /// It was there.
    There,
}

/// The result of removing a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untagged {
    /// It is gone, and nothing else is.
    Removed,
    /// It was not there.
    Absent,
    /// The registry cannot remove a tag alone, and it is still there.
    Unsupported,
}

/// A call that a registry did not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Not there: a manifest, or a blob that a manifest names.
    #[error("{what}: not found on the registry")]
    NotFound {
        /// The manifest or the blob.
        what: String,
    },
    /// The registry does not do it, or says what cannot be understood.
    #[error("{what}: {reason}")]
    Refused {
        /// The call that was refused, with the image's name.
        what: String,
        /// The registry's status, and its codes for what is wrong.
        reason: String,
    },
    /// It removes no image at all: that is switched off.
    #[error("{what}: the registry removes no images")]
    Undeletable {
        /// The image that was to be removed.
        what: String,
    },
    /// The credentials, or their lack, are not good enough.
    #[error("{what}: the registry denies access ({reason})")]
    Denied {
        /// The call that was denied, with the image's name.
        what: String,
        /// Its status.
        reason: String,
    },
    /// The credentials cannot be had. What a helper said is left out: it may hold a secret.
    #[error("credentials for {registry}: {reason}")]
    Credentials {
        /// The registry.
        registry: String,
        /// Why not.
        reason: String,
    },
    /// Other bytes than their digest says.
    #[error("{what}: its bytes have the digest sha256:{found}")]
    Digest {
        /// The manifest or the blob.
        what: String,
        /// The digest of the bytes that arrived.
        found: Sha256,
    },
    /// It cannot be reached, or keeps breaking off, or keeps asking to wait.
    #[error("{what}: the request failed")]
    Network {
        /// The call that failed, with the image's name.
        what: String,
        /// Why it failed.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A file of an image cannot be read.
    #[error("read {path}")]
    Io {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl RegistryError {
    /// Its kind: [`Usage`](ErrorKind::Usage) where other credentials would help.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Denied { .. } | Self::Credentials { .. } => ErrorKind::Usage,
            Self::Refused { .. }
            | Self::Undeletable { .. }
            | Self::Digest { .. }
            | Self::Network { .. }
            | Self::Io { .. } => ErrorKind::Mirror,
        }
    }
}

/// A registry, as those that speak the OCI distribution specification.
///
/// # Contract
/// - **Integrity.** A digest that is returned was computed here from the bytes of a manifest; what the registry says of it
///   counts for nothing. A blob or manifest whose bytes do not have its digest is not stored.
/// - **Ordering.** A manifest is stored only where all that it names is there, and a tag shows only a manifest that is there.
/// - **Atomicity.** Each call takes effect at one instant or not at all; after an error it may have taken effect.
/// - **Idempotence.** Every call can be repeated.
/// - **No compare-and-swap.** A tag that is set replaces what it showed: whoever must not move one looks first.
/// - **May vary.** Whether a tag can be removed alone; how long what no tag shows stays.
#[async_trait]
pub trait ImageRegistry: fmt::Debug + Send + Sync {
    /// `HOST[:PORT]`, as it begins the names of its images.
    fn host(&self) -> &str;

    /// How many blobs to send side by side.
    fn parallel(&self) -> usize {
        4
    }

    /// The digest of the manifest that a tag shows; `None` where there is no such tag.
    async fn resolve(&self, name: &ImageName) -> Result<Option<Sha256>, RegistryError>;

    /// The tags of a repository, in byte order; none where there is no such repository.
    async fn tags(&self, repository: &ImageName) -> Result<Vec<String>, RegistryError>;

    /// A manifest of a repository by its digest; `None` where it is not there.
    async fn manifest(
        &self,
        repository: &ImageName,
        digest: Sha256,
    ) -> Result<Option<Manifest>, RegistryError>;

    /// Brings a blob to a repository; one that is there is not sent again. `from` is a repository that has it, if one is
    /// known.
    async fn push_blob(
        &self,
        repository: &ImageName,
        blob: &Blob,
        from: Option<&ImageName>,
    ) -> Result<Pushed, RegistryError>;

    /// Stores a manifest by its digest; no tag shows it yet. [`RegistryError::NotFound`] or [`RegistryError::Refused`] where
    /// something that it names is not there.
    async fn push_manifest(
        &self,
        repository: &ImageName,
        manifest: &Manifest,
    ) -> Result<(), RegistryError>;

    /// Makes the tag of `name` show the manifest of that digest, which has to be there ([`RegistryError::NotFound`]).
    async fn tag(&self, name: &ImageName, digest: Sha256) -> Result<(), RegistryError>;

    /// Removes a tag, and nothing but the tag.
    async fn untag(&self, name: &ImageName) -> Result<Untagged, RegistryError>;

    /// Removes a manifest by its digest, with every tag that shows it; nothing if it is not there.
    async fn delete(&self, repository: &ImageName, digest: Sha256) -> Result<(), RegistryError>;
}

/// `ORG/IMAGE`, the repository of a name.
pub(crate) fn repository(name: &ImageName) -> String {
    let parts = name.parts();
    format!("{}/{}", parts.org, parts.image)
}

/// The repository and digest as people write it.
pub(crate) fn by_digest(name: &ImageName, digest: Sha256) -> String {
    format!("{}@sha256:{digest}", repository(name))
}
