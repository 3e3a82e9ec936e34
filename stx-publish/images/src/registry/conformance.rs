//! The contract of every registry, as one test that runs on each of them.

use bytes::Bytes;
use stx_layout::{ImageName, Sha256};

use super::{Blob, ImageRegistry, Manifest, Pushed, RegistryError, Untagged};

/// The manifest of an image with this configuration and this layer.
pub fn sample_manifest(config: &Blob, layer: &Blob) -> Manifest {
    let text = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{OCI_MANIFEST}\",\
         \"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:{}\",\"size\":{}}},\
         \"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"sha256:{}\",\"size\":{}}}]}}",
        config.digest, config.size, layer.digest, layer.size
    );
    Manifest {
        media_type: OCI_MANIFEST.to_owned(),
        bytes: text.into(),
    }
}

const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A configuration and a layer that hold `text`.
pub fn sample_blobs(text: &str) -> (Blob, Blob) {
    let config = format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"author\":\"{text}\",\
         \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[]}}}}"
    );
    let layer = format!("layer of {text}");
    (Blob::new(config.into()), Blob::new(layer.into()))
}

fn name(text: &str) -> ImageName {
    text.parse().expect("an image name")
}

/// Runs the whole suite on a registry, whose repositories `starlingx/stx-one` and `starlingx/stx-two` must be empty.
///
/// # Panics
/// If the registry breaks the contract.
pub async fn run(registry: &dyn ImageRegistry) {
    let one = name("starlingx/stx-one:master-centos-stable-20181105T060000Z.0");
    absent(registry, &one).await;
    let digest = stored(registry, &one).await;
    mounted(registry, &one).await;
    tagged(registry, &one, digest).await;
    untagged(registry, &one, digest).await;
}

async fn absent(registry: &dyn ImageRegistry, one: &ImageName) {
    let nothing = Sha256([7; 32]);
    assert_eq!(registry.resolve(one).await.expect("no tag"), None);
    assert_eq!(
        registry.tags(one).await.expect("no tags"),
        Vec::<String>::new()
    );
    assert_eq!(registry.manifest(one, nothing).await.expect("none"), None);
    assert!(matches!(
        registry.tag(one, nothing).await,
        Err(RegistryError::NotFound { .. })
    ));
    assert_eq!(registry.untag(one).await.expect("no tag"), Untagged::Absent);
    registry.delete(one, nothing).await.expect("nothing to do");
}

async fn stored(registry: &dyn ImageRegistry, one: &ImageName) -> Sha256 {
    let (config, layer) = sample_blobs("one");
    let manifest = sample_manifest(&config, &layer);
    let pushed = registry.push_blob(one, &config, None).await;
    assert_eq!(pushed.expect("sent"), Pushed::Sent(config.size));
    assert!(
        matches!(
            registry.push_manifest(one, &manifest).await,
            Err(RegistryError::Refused { .. } | RegistryError::NotFound { .. })
        ),
        "a layer is missing"
    );
    let wrong = Blob {
        digest: layer.digest,
        ..Blob::new(Bytes::from_static(b"layer of two"))
    };
    assert!(
        registry.push_blob(one, &wrong, None).await.is_err(),
        "these bytes have another digest"
    );
    let pushed = registry.push_blob(one, &layer, None).await;
    assert_eq!(pushed.expect("sent"), Pushed::Sent(layer.size));
    let pushed = registry.push_blob(one, &layer, None).await;
    assert_eq!(pushed.expect("there"), Pushed::There);
    for _ in 0..2 {
        registry
            .push_manifest(one, &manifest)
            .await
            .expect("stored");
    }
    let digest = manifest.digest();
    let found = registry.manifest(one, digest).await.expect("read");
    assert_eq!(found, Some(manifest));
    assert_eq!(registry.resolve(one).await.expect("no tag yet"), None);
    digest
}

async fn mounted(registry: &dyn ImageRegistry, one: &ImageName) {
    let two = name("starlingx/stx-two:stx.6.0-v1.0.2");
    let (_, layer) = sample_blobs("one");
    let pushed = registry.push_blob(&two, &layer, Some(one)).await;
    assert_eq!(pushed.expect("mounted"), Pushed::Mounted);
    let (_, other) = sample_blobs("two");
    let pushed = registry.push_blob(&two, &other, Some(one)).await;
    assert_eq!(
        pushed.expect("sent"),
        Pushed::Sent(other.size),
        "it is not where it was said to be"
    );
}

async fn tagged(registry: &dyn ImageRegistry, one: &ImageName, digest: Sha256) {
    for _ in 0..2 {
        registry.tag(one, digest).await.expect("tagged");
        assert_eq!(registry.resolve(one).await.expect("a tag"), Some(digest));
    }
    let (config, layer) = sample_blobs("another");
    for blob in [&config, &layer] {
        registry.push_blob(one, blob, None).await.expect("sent");
    }
    let manifest = sample_manifest(&config, &layer);
    registry
        .push_manifest(one, &manifest)
        .await
        .expect("stored");
    let latest = name("starlingx/stx-one:master-centos-stable-latest");
    registry
        .tag(&latest, manifest.digest())
        .await
        .expect("tagged");
    registry.tag(&latest, digest).await.expect("moved");
    assert_eq!(
        registry.resolve(&latest).await.expect("a tag"),
        Some(digest)
    );
    assert_eq!(
        registry.tags(one).await.expect("tags"),
        [
            "master-centos-stable-20181105T060000Z.0",
            "master-centos-stable-latest"
        ]
    );
}

async fn untagged(registry: &dyn ImageRegistry, one: &ImageName, digest: Sha256) {
    let latest = name("starlingx/stx-one:master-centos-stable-latest");
    let (keeps, left) = match registry.untag(&latest).await.expect("an answer") {
        Untagged::Removed => (None, Some(digest)),
        Untagged::Unsupported => (Some(digest), Some(digest)),
        Untagged::Absent => panic!("it was there"),
    };
    assert_eq!(registry.resolve(&latest).await.expect("read"), keeps);
    assert_eq!(
        registry.resolve(one).await.expect("read"),
        left,
        "the other tag of that digest stays"
    );
    for _ in 0..2 {
        registry.delete(one, digest).await.expect("deleted");
    }
    for name in [one, &latest] {
        assert_eq!(
            registry.resolve(name).await.expect("read"),
            None,
            "a manifest goes with its tags"
        );
    }
    assert_eq!(registry.manifest(one, digest).await.expect("read"), None);
}
