//! A release that is made of a build within a bucket.

use std::sync::Arc;

use camino_tempfile::tempdir;

use super::server::Server;
use super::{CHANNEL, Place, date, shared, tree};

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
    // All but records, sums and provenance is copied by the server.
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
