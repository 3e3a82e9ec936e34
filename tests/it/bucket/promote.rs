//! Promotion of a build to a release within a bucket.

use std::sync::Arc;

use camino_tempfile::tempdir;
use md5::Digest as _;

use super::server::Server;
use super::{CHANNEL, Place, S3s, date, shared, tree};
use crate::zsync::image;

#[test]
fn a_build_becomes_a_release_by_copies_of_the_server() {
    let work = tempdir().expect("a directory");
    let ceph: Arc<dyn Server> = shared();
    let place = Place::bucket(&ceph, "promote");
    for day in [1, 2] {
        drop(place.publish(&tree(work.path(), day), day).ok());
    }
    let build = format!("{CHANNEL}/{}", date(1));
    let promote = ["promote", &build, "--to", "release/1.0.0", "--by", "ann"];
    let refused = place.run(&promote).code(4);
    assert!(refused.stderr.contains("not green"), "{}", refused.stderr);
    drop(place.json(&["mark", &build, "green", "--by", "lab"]));
    let report = place.json(&promote);
    assert_eq!(report["action"], "new");
    // Everything except records, sums and provenance is copied by the server.
    let (bytes, shared) = (report["bytes"].as_u64(), report["shared"].as_u64());
    assert!(
        bytes.expect("bytes") - shared.expect("shared") < 20_000,
        "{report}"
    );
    assert_eq!(place.json(&promote)["action"], "same");
    place.run(&["verify"]).ok();

    let to = work.path().join("fetched");
    let release = "release/1.0.0/centos";
    place
        .run(&["fetch", release, "iso", "--to", to.as_str()])
        .ok();
    let shown = place.json(&["show", release]);
    assert_eq!(shown["record"]["origin"]["from"], build);
    // The releases of a bucket, by their names alone.
    let second = format!("{CHANNEL}/{}", date(2));
    drop(place.json(&["mark", &second, "green", "--by", "lab"]));
    let promote = ["promote", &second, "--to", "release/2.0.0", "--by", "ann"];
    drop(place.json(&promote));
    let report = place.json(&["compare", "release/1.0.0", "release/2.0.0"]);
    for (end, version, day) in [("from", "1.0.0", 1), ("to", "2.0.0", 2)] {
        let build = format!("release/{version}/centos/{}", date(day));
        assert_eq!(report[end], build, "{report}");
    }
}

/// The minimal size of a part that servers accept, in bytes.
const PART: usize = 5 << 20;

/// The entity tag of an upload in parts, in the form of S3: the MD5 of the MD5s of its parts, and their number.
fn tag_in_parts(bytes: &[u8]) -> String {
    let parts: Vec<_> = bytes.chunks(PART).map(md5::Md5::digest).collect();
    let whole = md5::Md5::digest(parts.concat());
    let hex = whole
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    format!("{hex}-{}", parts.len())
}

/// An image that exceeds the size of one copy request is copied in parts by the server.
fn a_large_image_is_promoted(server: &Arc<dyn Server>, bucket: &'static str) {
    let work = tempdir().expect("a directory");
    let place = Place::bucket(server, bucket);
    let image = image(1, 120);
    assert!(image.len() > 2 * PART && !image.len().is_multiple_of(PART));
    let tree = tree(work.path(), 1);
    fs_err::write(tree.join("outputs/iso/bootimage.iso"), &image).expect("written");
    drop(place.publish(&tree, 1).ok());
    let config = work.path().join("stx-builds.toml");
    let build = format!("{CHANNEL}/{}", date(1));
    drop(place.json(&["mark", &build, "green", "--by", "lab"]));
    let promote = |config_text: &str| {
        fs_err::write(&config, config_text).expect("a configuration");
        let (config, to) = (config.as_str(), "release/1.0.0");
        place.run(&[
            "--config", config, "promote", &build, "--to", to, "--by", "ann", "--format", "json",
        ])
    };
    let refused = promote("[object-store]\nlargest-copy = \"1 MiB\"\n").code(2);
    assert!(
        refused.stderr.contains("at least 5 MiB"),
        "{}",
        refused.stderr
    );
    let report = promote("[object-store]\nlargest-copy = \"5 MiB\"\n")
        .code(0)
        .json();
    let shared = report["shared"].as_u64().expect("bytes");
    assert!(
        shared > image.len() as u64,
        "the image did not pass through: {report}"
    );

    let name = format!(
        "{bucket}/mirror/release/1.0.0/centos/{}/outputs/iso/bootimage.iso",
        date(1)
    );
    let head = server.signed(&["--head"], &name).to_ascii_lowercase();
    assert!(
        head.contains(&format!("etag: \"{}\"", tag_in_parts(&image))),
        "{head}"
    );
    assert!(
        head.contains("content-type: application/x-iso9660-image"),
        "{head}"
    );
    assert!(
        head.contains("cache-control: public, max-age=31536000, immutable"),
        "{head}"
    );
    let to = work.path().join("to");
    place
        .run(&["fetch", "release/1.0.0", "iso", "--to", to.as_str()])
        .ok();
    assert!(fs_err::read(to.join("bootimage.iso")).expect("an image") == image);
    place.run(&["verify"]).ok();
    let journals = format!("{bucket}?list-type=2&prefix=mirror%2F.stx%2Fuploads");
    assert!(!server.signed(&[], &journals).contains("<Key>"));
}

#[test]
fn a_large_image_is_copied_in_parts_by_ceph() {
    let ceph: Arc<dyn Server> = shared();
    a_large_image_is_promoted(&ceph, "large");
    assert!(
        !ceph.signed(&[], "large?uploads=").contains("<Upload>"),
        "an upload is left"
    );
}

#[test]
fn a_large_image_is_copied_in_parts_by_another_server() {
    let server: Arc<dyn Server> = Arc::new(S3s::start());
    a_large_image_is_promoted(&server, "large");
}
