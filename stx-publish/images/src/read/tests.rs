use bytes::Bytes;
use camino::Utf8PathBuf;
use camino_tempfile::tempdir;
use stx_layout::Sha256;

use super::{ReadError, ReadImages};
use crate::FoundImage;
use crate::registry::conformance::{sample_blobs, sample_manifest};
use crate::registry::{Blob, BlobSource, Manifest};
use stx_publish::incoming::{Entry, Incoming, digest_of};

fn read(incoming: &Incoming) -> Result<Vec<FoundImage>, ReadError> {
    super::read(incoming).map(|read| read.images)
}

/// An image layout in memory that is about to be published.
#[derive(Default)]
struct Layout {
    incoming: Incoming,
}

impl Layout {
    fn put(&mut self, path: &str, text: impl Into<Bytes>) -> &mut Self {
        let path = format!("outputs/docker-images/stx-nova/{path}");
        let entry = Entry::Generated(text.into());
        self.incoming
            .entries
            .insert(path.parse().expect("a path"), entry);
        self
    }

    fn blob(&mut self, bytes: &Bytes) -> &mut Self {
        self.put(&format!("blobs/sha256/{}", digest_of(bytes)), bytes.clone())
    }

    fn index(&mut self, manifests: &[(&Manifest, &str)]) -> &mut Self {
        self.put("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
        self.put("index.json", index_of(manifests))
    }
}

fn index_of(manifests: &[(&Manifest, &str)]) -> String {
    let manifests: Vec<_> = manifests
        .iter()
        .map(|(manifest, name)| {
            format!(
                "{{\"mediaType\":\"{}\",\"digest\":\"sha256:{}\",\"size\":{},\
                 \"annotations\":{{\"org.opencontainers.image.ref.name\":\"{name}\"}}}}",
                manifest.media_type,
                manifest.digest(),
                manifest.bytes.len()
            )
        })
        .collect();
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[{}]}}",
        manifests.join(",")
    )
}

fn bytes(blob: &Blob) -> &Bytes {
    match &blob.source {
        BlobSource::Bytes(bytes) => bytes,
        BlobSource::File { .. } => panic!("a blob in memory"),
    }
}

/// A layout with one image, which holds `text`, under two tags.
fn nova(text: &str) -> (Layout, Manifest, Blob) {
    let (config, layer) = sample_blobs(text);
    let manifest = sample_manifest(&config, &layer);
    let mut layout = Layout::default();
    layout
        .index(&[(&manifest, "stable"), (&manifest, "stx.6.0-v1.0.2")])
        .blob(bytes(&config))
        .blob(bytes(&layer))
        .blob(&manifest.bytes);
    (layout, manifest, layer)
}

#[test]
fn a_layout_is_read_with_all_its_references() {
    let (layout, manifest, layer) = nova("one");
    let found = read(&layout.incoming).expect("an image");
    assert_eq!(found.len(), 1);
    let FoundImage {
        origin,
        references,
        image,
    } = &found[0];
    assert_eq!(origin.as_str(), "outputs/docker-images/stx-nova");
    assert_eq!(references, &["stable", "stx.6.0-v1.0.2"]);
    assert_eq!(image.digest(), manifest.digest());
    assert_eq!(image.platform.as_deref(), Some("linux/amd64"));
    assert!(image.blobs.contains(&layer));
    let blobs: u64 = image.blobs.iter().map(|blob| blob.size).sum();
    assert_eq!(image.size(), blobs + manifest.bytes.len() as u64);
}

#[test]
fn an_index_contains_the_images_of_all_its_platforms() {
    let (config, layer) = sample_blobs("one");
    let manifest = sample_manifest(&config, &layer);
    let arm = String::from_utf8_lossy(bytes(&config)).replace("amd64", "arm64");
    let arm = Blob::new(arm.into());
    let arm_manifest = sample_manifest(&arm, &layer);
    let both = Manifest {
        media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
        bytes: index_of(&[(&manifest, "a"), (&arm_manifest, "b")]).into(),
    };
    let mut layout = Layout::default();
    layout.index(&[(&both, "stable")]);
    for blob in [&config, &arm, &layer] {
        layout.blob(bytes(blob));
    }
    for manifest in [&manifest, &arm_manifest, &both] {
        layout.blob(&manifest.bytes);
    }
    let found = read(&layout.incoming).expect("an image");
    let image = &found[0].image;
    assert_eq!(image.digest(), both.digest());
    assert_eq!(image.parts, [manifest, arm_manifest]);
    assert_eq!(image.platform.as_deref(), Some("linux/amd64,linux/arm64"));
    assert_eq!(image.blobs.len(), 3, "the layer is one");
}

#[test]
fn bytes_with_another_digest_than_claimed_are_refused() {
    for place in ["the layer", "the manifest"] {
        let (mut layout, manifest, layer) = nova("one");
        let claimed = match place {
            "the layer" => layer.digest,
            _ => manifest.digest(),
        };
        layout.put(&format!("blobs/sha256/{claimed}"), "layer of two");
        match read(&layout.incoming) {
            Err(ReadError::Digest {
                found,
                claimed: said,
                ..
            }) => {
                assert_eq!(found, digest_of(b"layer of two"));
                assert_eq!(said, claimed);
            }
            other => panic!("{place}: {other:?}"),
        }
    }
    let (mut layout, _, layer) = nova("one");
    let path = format!(
        "outputs/docker-images/stx-nova/blobs/sha256/{}",
        layer.digest
    );
    layout
        .incoming
        .entries
        .remove(&path.parse().expect("a path"));
    let error = read(&layout.incoming)
        .expect_err("a layer is missing")
        .to_string();
    assert!(error.ends_with("is missing"), "{error}");
    layout.put("index.json", "{");
    assert!(matches!(
        read(&layout.incoming),
        Err(ReadError::Wrong { .. })
    ));
}

/// An archive as written by `docker save`: files, and one layer that is a symlink to another.
fn archive<T: AsRef<[u8]>>(layers: &[T], claims: &[Sha256], tags: &str) -> Vec<u8> {
    let claims: Vec<_> = claims
        .iter()
        .map(|claim| format!("\"sha256:{claim}\""))
        .collect();
    let config = format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{}]}}}}",
        claims.join(",")
    );
    let names: Vec<_> = (0..=layers.len())
        .map(|n| format!("\"{n}/layer.tar\""))
        .collect();
    let list = format!(
        "[{{\"Config\":\"config.json\",\"RepoTags\":{tags},\"Layers\":[{}]}}]",
        names.join(",")
    );
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, text: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, text).expect("added");
    };
    add("config.json", config.as_bytes());
    for (number, layer) in layers.iter().enumerate() {
        add(&format!("{number}/layer.tar"), layer.as_ref());
    }
    add("manifest.json", list.as_bytes());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    let name = format!("{}/layer.tar", layers.len());
    tar.append_link(&mut link, name, "../0/layer.tar")
        .expect("added");
    tar.into_inner().expect("a tar")
}

fn read_archive(bytes: &[u8]) -> Result<Vec<FoundImage>, ReadError> {
    let dir = tempdir().expect("a directory");
    let source = dir.path().join("stx-heat.tar");
    fs_err::write(&source, bytes).expect("a file");
    read_file(source, bytes.len() as u64)
}

/// The images in a file of a build.
fn read_file(source: Utf8PathBuf, size: u64) -> Result<Vec<FoundImage>, ReadError> {
    let entry = Entry::File {
        size,
        source,
        executable: false,
        digest: None,
    };
    let path = "outputs/docker-images/stx-heat.tar"
        .parse()
        .expect("a path");
    read(&Incoming {
        entries: [(path, entry)].into(),
    })
}

#[test]
fn the_digest_of_an_archive_is_a_function_of_its_bytes_alone() {
    let (one, two) = (digest_of(b"layer one"), digest_of(b"layer two"));
    let tags = "[\"starlingx/stx-heat:dev-centos-pike-latest\"]";
    let bytes = archive(&["layer one", "layer two"], &[one, two, one], tags);
    let found = read_archive(&bytes).expect("an image");
    assert_eq!(
        found[0].references,
        ["starlingx/stx-heat:dev-centos-pike-latest"]
    );
    let image = &found[0].image;
    let manifest = String::from_utf8_lossy(&image.manifest.bytes);
    // Another form of the same manifest would be another image, under tags that never move.
    insta::assert_snapshot!(manifest, @r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:2f8e6a78c6d3a0f82683e309612d3ce5fc679dbc4a410e1753653e75e381bf10","size":299},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:f191e625176e7514249870c60bc24622131b04927a418001d1969c9cecd260f1","size":9},{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:77c7ed05b2e49df2e55d70cb007508cc66b2f5419a940bfd6f8749ba7db77c45","size":9},{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:f191e625176e7514249870c60bc24622131b04927a418001d1969c9cecd260f1","size":9}]}"#);
    assert_eq!(image.blobs.len(), 3, "a configuration and two layers");
    let layer = image
        .blobs
        .iter()
        .find(|blob| blob.digest == two)
        .expect("a layer");
    assert!(matches!(layer.source, BlobSource::File { offset, .. } if offset > 512));
}

#[test]
fn a_compressed_layer_is_unchanged_and_its_compression_is_named() {
    let inside = digest_of(b"the bytes inside");
    for (magic, packer) in [
        (&b"\x1f\x8b\x08\x00"[..], "gzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
    ] {
        let bytes = archive(&[magic], &[inside, inside], "null");
        let found = read_archive(&bytes).expect("an image");
        let manifest = String::from_utf8_lossy(&found[0].image.manifest.bytes);
        let kind = format!("layer.v1.tar+{packer}\"");
        assert_eq!(manifest.matches(&kind).count(), 2, "{manifest}");
        // The archive itself must not be compressed.
        let error = read_archive(magic).expect_err("packed").to_string();
        assert!(error.contains(&format!("is packed by {packer}")), "{error}");
    }
}

#[test]
fn an_image_layout_in_a_tar_is_read_as_its_directory_is() {
    let (layout, manifest, _) = nova("one");
    let mut tar = tar::Builder::new(Vec::new());
    for (path, entry) in &layout.incoming.entries {
        let Entry::Generated(bytes) = entry else {
            panic!("{path} is not in memory");
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.size());
        let name = path.as_str().replace("outputs/docker-images/stx-nova", ".");
        tar.append_data(&mut header, name, &bytes[..])
            .expect("added");
    }
    let bytes = tar.into_inner().expect("a tar");
    let found = read_archive(&bytes).expect("an image");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].references, ["stable", "stx.6.0-v1.0.2"]);
    assert_eq!(found[0].image.digest(), manifest.digest());
}

#[test]
fn an_invalid_or_inconsistent_archive_is_refused() {
    let (one, two) = (digest_of(b"layer one"), digest_of(b"layer two"));
    let lies = archive(&["layer one"], &[two, one], "null");
    assert!(matches!(read_archive(&lies), Err(ReadError::Digest { .. })));
    let short = archive(&["layer one"], &[one], "null");
    assert!(matches!(read_archive(&short), Err(ReadError::Wrong { .. })));
    let error = read_archive(b"no tar at all\nin two lines").expect_err("text");
    let error = error.to_string();
    assert!(
        error.contains("is not a complete tar archive") && !error.contains('\n'),
        "{error}"
    );
    let empty = tar::Builder::new(Vec::new()).into_inner().expect("a tar");
    assert!(matches!(read_archive(&empty), Err(ReadError::Wrong { .. })));
}

/// An archive that begins with an entry of `kind` that claims to be `claimed` bytes long.
fn archive_with(kind: tar::EntryType, claimed: u64) -> Result<Vec<FoundImage>, ReadError> {
    use std::io::{Seek as _, SeekFrom, Write as _};
    let dir = tempdir().expect("a directory");
    let source = dir.path().join("stx-heat.tar");
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path("name").expect("a name");
    header.set_size(claimed);
    header.set_cksum();
    let mut file = fs_err::File::create(&source).expect("a file");
    file.write_all(header.as_bytes()).expect("written");
    // The claimed bytes are a hole and take no disk space.
    file.set_len(512 + claimed.min(8 << 30)).expect("a length");
    let one = digest_of(b"layer one");
    file.seek(SeekFrom::End(0)).expect("at its end");
    file.write_all(&archive(&["layer one"], &[one, one], "null"))
        .expect("written");
    read_file(source, file.metadata().expect("a size").len())
}

#[test]
fn an_archive_that_claims_long_names_is_refused_before_they_are_read() {
    for kind in [
        tar::EntryType::GNULongName,
        tar::EntryType::GNULongLink,
        tar::EntryType::XHeader,
    ] {
        let error = archive_with(kind, 4 << 30).expect_err("too long");
        let said = stx_publish::verify::chain(&error);
        assert!(said.contains("take up more than"), "{kind:?}: {said}");
        // The longest name that is allowed.
        let error = archive_with(kind, 512)
            .err()
            .map(|error| stx_publish::verify::chain(&error));
        let said = error.unwrap_or_default();
        assert!(!said.contains("take up more than"), "{kind:?}: {said}");
    }
    // Skipped entries may have any length.
    let found = archive_with(tar::EntryType::Regular, 4 << 30).expect("an image");
    assert_eq!(found.len(), 1);
    let error = archive_with(tar::EntryType::Regular, 16 << 30).expect_err("cut off");
    assert!(error.to_string().contains("ends before"), "{error}");
}

/// The manifest of an artifact that is not an image.
fn artifact(config: &Blob, layer: &Blob, more: &str) -> Manifest {
    let manifest = sample_manifest(config, layer);
    let text = String::from_utf8_lossy(&manifest.bytes)
        .replace(
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.cncf.helm.config.v1+json",
        )
        .replace(",\"layers\"", &format!(",{more}\"layers\""));
    Manifest {
        bytes: text.into(),
        ..manifest
    }
}

#[test]
fn an_artifact_that_is_not_an_image_is_unchanged() {
    let (config, layer) = (
        Blob::new("{\"name\":\"nova\",\"version\":\"1.0\"}".into()),
        Blob::new("a chart".into()),
    );
    let chart = artifact(&config, &layer, "");
    let mut layout = Layout::default();
    layout
        .index(&[(&chart, "1.0")])
        .blob(bytes(&config))
        .blob(bytes(&layer))
        .blob(&chart.bytes);
    let found = read(&layout.incoming).expect("an artifact");
    assert_eq!(found[0].image.digest(), chart.digest());
    assert_eq!(found[0].image.platform, None);
    assert_eq!(found[0].image.blobs.len(), 2);
    // A configuration that claims to be an image and has no other fields.
    let nothing = Blob::new("{}".into());
    let bare = sample_manifest(&nothing, &layer);
    layout
        .index(&[(&bare, "1.0")])
        .blob(bytes(&nothing))
        .blob(&bare.bytes);
    let found = read(&layout.incoming).expect("an image");
    assert_eq!(found[0].image.platform, None);
}

/// An index without names, as written by tools that sign images.
fn unnamed(manifests: &[&Manifest]) -> String {
    let named: Vec<_> = manifests.iter().map(|manifest| (*manifest, "x")).collect();
    index_of(&named).replace(
        ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"x\"}",
        "",
    )
}

#[test]
fn a_signature_is_assigned_to_the_image_that_it_signs() {
    let (mut layout, manifest, _) = nova("one");
    let (empty, signed) = (Blob::new("{}".into()), Blob::new("a signature".into()));
    let about = |manifest: &Manifest| {
        let subject = format!(
            "\"subject\":{{\"mediaType\":\"{}\",\"digest\":\"sha256:{}\",\"size\":{}}},",
            manifest.media_type,
            manifest.digest(),
            manifest.bytes.len()
        );
        artifact(&empty, &signed, &subject)
    };
    let signature = about(&manifest);
    // A signature of the signature.
    let second = about(&signature);
    let index = unnamed(&[&signature, &second, &manifest]);
    layout
        .put("index.json", index)
        .blob(bytes(&empty))
        .blob(bytes(&signed))
        .blob(&signature.bytes)
        .blob(&second.bytes);
    let found = read(&layout.incoming).expect("an image");
    assert_eq!(found.len(), 1, "{found:?}");
    let image = &found[0].image;
    assert_eq!(image.digest(), manifest.digest());
    let mut parts = [signature.clone(), second];
    parts.sort_by_key(Manifest::digest);
    assert_eq!(image.parts, parts);
    assert_eq!(image.blobs.len(), 4);
    assert_eq!(image.platform.as_deref(), Some("linux/amd64"));
    // The signature of an image that is missing is an ordinary artifact.
    layout.put("index.json", unnamed(&[&signature]));
    let found = read(&layout.incoming).expect("an artifact");
    assert_eq!(found[0].image.digest(), signature.digest());
}

#[test]
fn a_foreign_layer_is_reported() {
    let (mut layout, _, layer) = nova("one");
    let (config, _) = sample_blobs("one");
    let manifest = sample_manifest(&config, &layer);
    let text = String::from_utf8_lossy(&manifest.bytes).replace(
        "application/vnd.oci.image.layer.v1.tar\"",
        "application/vnd.oci.image.layer.nondistributable.v1.tar\",\"urls\":[\"https://layers.example/1\"]",
    );
    let foreign = Manifest {
        bytes: text.into(),
        ..manifest
    };
    layout.index(&[(&foreign, "stable")]).blob(&foreign.bytes);
    assert!(read(&layout.incoming).is_ok(), "its bytes are here");
    let path = format!(
        "outputs/docker-images/stx-nova/blobs/sha256/{}",
        layer.digest
    );
    let path = path.parse().expect("a path");
    layout.incoming.entries.remove(&path);
    let error = read(&layout.incoming).expect_err("a layer is missing");
    let said = error.to_string();
    assert!(
        said.contains("is a foreign layer") && said.contains("https://layers.example/1"),
        "{said}"
    );
}

#[test]
fn an_empty_index_is_reported() {
    let mut layout = Layout::default();
    layout.index(&[]);
    let read = super::read(&layout.incoming).expect("a layout");
    let expected = ReadImages {
        images: Vec::new(),
        empty: vec!["outputs/docker-images/stx-nova/index.json".to_owned()],
    };
    assert_eq!(read, expected);
    let none = Manifest {
        media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
        bytes: index_of(&[]).into(),
    };
    layout.index(&[(&none, "stable")]).blob(&none.bytes);
    let read = super::read(&layout.incoming).expect("a layout");
    assert_eq!(read.images.len(), 1);
    let name = format!("blobs/sha256/{}", none.digest());
    assert!(read.empty[0].ends_with(&name), "{read:?}");
}

#[test]
fn indexes_within_indexes_are_read_once_each() {
    const WIDE: usize = 60;
    let mut layout = Layout::default();
    let mut level: Vec<_> = (0..WIDE)
        .map(|number| {
            let (config, layer) = sample_blobs(&number.to_string());
            let manifest = sample_manifest(&config, &layer);
            layout
                .blob(bytes(&config))
                .blob(bytes(&layer))
                .blob(&manifest.bytes);
            manifest
        })
        .collect();
    // Each index names all of the level below, by names that give it a digest of its own.
    for depth in 1..=4 {
        level = (0..WIDE)
            .map(|number| {
                let name = format!("{depth}-{number}");
                let named: Vec<_> = level.iter().map(|below| (below, name.as_str())).collect();
                let index = Manifest {
                    media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
                    bytes: index_of(&named).into(),
                };
                layout.blob(&index.bytes);
                index
            })
            .collect();
    }
    layout.index(&[(&level[0], "stable")]);
    let found = read(&layout.incoming).expect("an image");
    assert_eq!(found[0].image.parts.len(), 4 * WIDE);
    assert_eq!(found[0].image.blobs.len(), 2 * WIDE);
    let deeper = Manifest {
        media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
        bytes: index_of(&[(&level[0], "x")]).into(),
    };
    layout.index(&[(&deeper, "stable")]).blob(&deeper.bytes);
    let error = read(&layout.incoming).expect_err("too deep").to_string();
    assert!(error.contains("too deep"), "{error}");
}
