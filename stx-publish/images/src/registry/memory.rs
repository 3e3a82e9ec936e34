//! A registry in memory: the strict reference of [`ImageRegistry`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use serde::Deserialize;
use stx_layout::{ImageName, Sha256};

use super::{
    Blob, BlobSource, ImageRegistry, Manifest, Pushed, RegistryError, Untagged, by_digest,
    repository,
};
use stx_publish::incoming::digest_of;

/// A registry in memory. Clones are the same registry.
///
/// It reads no files: only blobs in memory can be pushed to it.
#[derive(Debug, Clone)]
pub struct MemoryRegistry {
    host: String,
    /// True if a single tag can be removed, as in OCI 1.1.
    untags: bool,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    sent: u64,
}

#[derive(Debug, Default)]
struct Repository {
    blobs: BTreeSet<Sha256>,
    manifests: BTreeMap<Sha256, Manifest>,
    tags: BTreeMap<String, Sha256>,
    /// The tags among them that cannot be read.
    unreadable: BTreeSet<String>,
}

/// The digests that a manifest or an index names.
#[derive(Deserialize)]
struct Named {
    config: Option<Named1>,
    #[serde(default)]
    layers: Vec<Named1>,
    #[serde(default)]
    manifests: Vec<Named1>,
}

#[derive(Deserialize)]
struct Named1 {
    digest: String,
}

impl Named1 {
    fn digest(&self) -> Option<Sha256> {
        self.digest.strip_prefix("sha256:")?.parse().ok()
    }
}

impl MemoryRegistry {
    /// An empty registry.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            untags: true,
            state: Arc::default(),
        }
    }

    /// The same registry in the manner of one before OCI 1.1, which cannot remove a single tag.
    #[must_use]
    pub fn without_untag(mut self) -> Self {
        self.untags = false;
        self
    }

    /// Makes a tag that exists unreadable, as a disk that is full while the tag is written does on a real registry.
    pub fn damage(&self, name: &ImageName) {
        let mut state = self.state();
        let tag = name.parts().tag.to_string();
        if let Some(found) = state.repositories.get_mut(&repository(name))
            && found.tags.contains_key(&tag)
        {
            found.unreadable.insert(tag);
        }
    }

    /// Every tag with the digest that it names, as `ORG/IMAGE:TAG`.
    pub fn shown(&self) -> BTreeMap<String, Sha256> {
        let state = self.state();
        let tags = state.repositories.iter().flat_map(|(name, repository)| {
            let tags = repository.tags.iter();
            tags.map(move |(tag, digest)| (format!("{name}:{tag}"), *digest))
        });
        tags.collect()
    }

    /// The number of bytes of blobs that were sent so far.
    pub fn sent(&self) -> u64 {
        self.state().sent
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no call panics while it holds the state")
    }
}

/// Refuses a manifest that names missing objects.
fn check(
    repository: &Repository,
    name: &ImageName,
    manifest: &Manifest,
) -> Result<(), RegistryError> {
    let refused = |reason: String| RegistryError::Refused {
        what: by_digest(name, manifest.digest()),
        reason,
    };
    let named: Named =
        serde_json::from_slice(&manifest.bytes).map_err(|error| refused(error.to_string()))?;
    let blobs = named.config.iter().chain(&named.layers);
    let missing = blobs
        .filter(|named| !matches!(named.digest(), Some(digest) if repository.blobs.contains(&digest)))
        .chain(named.manifests.iter().filter(|named| {
            !matches!(named.digest(), Some(digest) if repository.manifests.contains_key(&digest))
        }))
        .next();
    match missing {
        None => Ok(()),
        Some(missing) => Err(refused(format!("{} is missing", missing.digest))),
    }
}

#[async_trait]
impl ImageRegistry for MemoryRegistry {
    fn host(&self) -> &str {
        &self.host
    }

    async fn resolve(&self, name: &ImageName) -> Result<Option<Sha256>, RegistryError> {
        let state = self.state();
        let found = state.repositories.get(&repository(name));
        let tag = name.parts().tag.to_string();
        if found.is_some_and(|found| found.unreadable.contains(&tag)) {
            return Err(RegistryError::Unreadable {
                what: name.to_string(),
                reason: "it is damaged".to_owned(),
            });
        }
        Ok(found.and_then(|found| found.tags.get(&tag).copied()))
    }

    async fn tags(&self, name: &ImageName) -> Result<Vec<String>, RegistryError> {
        let state = self.state();
        let found = state.repositories.get(&repository(name));
        Ok(found.map_or_else(Vec::new, |found| found.tags.keys().cloned().collect()))
    }

    async fn manifest(
        &self,
        name: &ImageName,
        digest: Sha256,
    ) -> Result<Option<Manifest>, RegistryError> {
        let state = self.state();
        let found = state.repositories.get(&repository(name));
        Ok(found.and_then(|found| found.manifests.get(&digest).cloned()))
    }

    async fn push_blob(
        &self,
        name: &ImageName,
        blob: &Blob,
        from: Option<&ImageName>,
    ) -> Result<Pushed, RegistryError> {
        let mut state = self.state();
        let mounts = from
            .and_then(|from| state.repositories.get(&repository(from)))
            .is_some_and(|from| from.blobs.contains(&blob.digest));
        let found = state.repositories.entry(repository(name)).or_default();
        if found.blobs.contains(&blob.digest) {
            return Ok(Pushed::There);
        }
        if mounts {
            found.blobs.insert(blob.digest);
            return Ok(Pushed::Mounted);
        }
        let what = by_digest(name, blob.digest);
        let BlobSource::Bytes(bytes) = &blob.source else {
            return Err(RegistryError::Refused {
                what,
                reason: "a registry in memory reads no files".to_owned(),
            });
        };
        let digest = digest_of(bytes);
        if digest != blob.digest {
            return Err(RegistryError::Digest {
                what,
                found: digest,
            });
        }
        found.blobs.insert(digest);
        state.sent += blob.size;
        Ok(Pushed::Sent(blob.size))
    }

    async fn push_manifest(
        &self,
        name: &ImageName,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        let mut state = self.state();
        let found = state.repositories.entry(repository(name)).or_default();
        check(found, name, manifest)?;
        found.manifests.insert(manifest.digest(), manifest.clone());
        Ok(())
    }

    async fn tag(&self, name: &ImageName, digest: Sha256) -> Result<(), RegistryError> {
        let mut state = self.state();
        let found = state.repositories.entry(repository(name)).or_default();
        if !found.manifests.contains_key(&digest) {
            return Err(RegistryError::NotFound {
                what: by_digest(name, digest),
            });
        }
        let tag = name.parts().tag.to_string();
        found.unreadable.remove(&tag);
        found.tags.insert(tag, digest);
        Ok(())
    }

    async fn untag(&self, name: &ImageName) -> Result<Untagged, RegistryError> {
        let mut state = self.state();
        let tag = name.parts().tag.to_string();
        let Some(found) = state.repositories.get_mut(&repository(name)) else {
            return Ok(Untagged::Absent);
        };
        if !found.tags.contains_key(&tag) {
            return Ok(Untagged::Absent);
        }
        if !self.untags {
            return Ok(Untagged::Unsupported);
        }
        found.tags.remove(&tag);
        Ok(Untagged::Removed)
    }

    async fn delete(&self, name: &ImageName, digest: Sha256) -> Result<(), RegistryError> {
        let mut state = self.state();
        if let Some(found) = state.repositories.get_mut(&repository(name)) {
            found.manifests.remove(&digest);
            found.tags.retain(|_, shown| *shown != digest);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::MemoryRegistry;
    use crate::registry::conformance;

    #[tokio::test]
    async fn the_reference_keeps_the_contract() {
        conformance::run(&MemoryRegistry::new("registry.example")).await;
        conformance::run(&MemoryRegistry::new("registry.example").without_untag()).await;
    }
}
