//! A registry that fails on demand.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use stx_layout::{ImageName, Sha256};

use crate::registry::{Blob, ImageRegistry, Manifest, Pushed, RegistryError, Untagged};
use stx_publish::faulty::{Failed, Fuse};

/// A registry that fails with the calls of a [`FaultyStore`](stx_publish::faulty::FaultyStore).
#[derive(Clone)]
pub struct FaultyRegistry<R> {
    inner: R,
    fuse: Arc<Fuse>,
}

impl<R> FaultyRegistry<R> {
    /// A registry whose calls are counted together with those of a store, by the store's
    /// [fuse](stx_publish::faulty::FaultyStore::fuse).
    pub fn new(inner: R, fuse: Arc<Fuse>) -> Self {
        Self { inner, fuse }
    }
}

impl<R: fmt::Debug> fmt::Debug for FaultyRegistry<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyRegistry({:?}, {:?})", self.inner, self.fuse)
    }
}

impl From<Failed> for RegistryError {
    fn from(Failed(call): Failed) -> Self {
        Self::Network {
            what: format!("call {call}"),
            source: "failed on demand".into(),
        }
    }
}

/// Makes one call of the inner registry through the fuse.
macro_rules! through {
    ($fuse:expr, $call:expr) => {{
        let after = $fuse.call()?;
        let result = $call.await;
        $fuse.wrap(after, result)
    }};
}

#[async_trait]
impl<R: ImageRegistry> ImageRegistry for FaultyRegistry<R> {
    fn host(&self) -> &str {
        self.inner.host()
    }
    fn parallel(&self) -> usize {
        1
    }
    async fn resolve(&self, name: &ImageName) -> Result<Option<Sha256>, RegistryError> {
        through!(self.fuse, self.inner.resolve(name))
    }
    async fn tags(&self, repository: &ImageName) -> Result<Vec<String>, RegistryError> {
        through!(self.fuse, self.inner.tags(repository))
    }
    async fn manifest(
        &self,
        repository: &ImageName,
        digest: Sha256,
    ) -> Result<Option<Manifest>, RegistryError> {
        through!(self.fuse, self.inner.manifest(repository, digest))
    }
    async fn push_blob(
        &self,
        repository: &ImageName,
        blob: &Blob,
        from: Option<&ImageName>,
    ) -> Result<Pushed, RegistryError> {
        through!(self.fuse, self.inner.push_blob(repository, blob, from))
    }
    async fn push_manifest(
        &self,
        repository: &ImageName,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        through!(self.fuse, self.inner.push_manifest(repository, manifest))
    }
    async fn tag(&self, name: &ImageName, digest: Sha256) -> Result<(), RegistryError> {
        through!(self.fuse, self.inner.tag(name, digest))
    }
    async fn untag(&self, name: &ImageName) -> Result<Untagged, RegistryError> {
        through!(self.fuse, self.inner.untag(name))
    }
    async fn delete(&self, repository: &ImageName, digest: Sha256) -> Result<(), RegistryError> {
        through!(self.fuse, self.inner.delete(repository, digest))
    }
}
