//! Names of releases and undated paths in a bucket, for readers over plain HTTP.

use std::sync::Arc;

use camino_tempfile::tempdir;

use super::server::Server;
use super::{Place, open_to_all, shared};
use crate::harness::{run, tool};
use crate::names::readers::fetches;
use crate::names::{FIRST, image, publish};

/// The answer to a request without an account: its headers in lower case, and its body.
fn asked(url: &str) -> (String, Vec<u8>) {
    let dir = tempdir().expect("a directory");
    let (head, body) = (dir.path().join("head"), dir.path().join("body"));
    let args = [
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--dump-header",
    ];
    let rest = [head.as_str(), "--output", body.as_str(), url];
    run(&mut tool("curl", args.iter().chain(&rest))).ok();
    let head = fs_err::read_to_string(head)
        .expect("headers")
        .to_lowercase();
    (head, fs_err::read(body).unwrap_or_default())
}

#[test]
fn names_of_releases_work_over_plain_http() {
    let ceph: Arc<dyn Server> = shared();
    let place = Place::bucket(&ceph, "names");
    let work = tempdir().expect("a directory");
    let tree = work.path().join("tree");
    publish(&tree, FIRST, |args| place.run(args), 5);
    place
        .run(&["alias", "set", "r2018.10", "release/2018.10"])
        .ok();
    open_to_all(&*ceph, "names");
    let url = format!("{}/names/mirror/", ceph.endpoint());
    let body = |path: &str| {
        let (head, body) = asked(&format!("{url}{path}"));
        assert!(head.contains(" 200"), "{path}: {head}");
        (head, body)
    };
    let undated = format!("{FIRST}/outputs/iso/bootimage.iso");
    let shown = |day: u32| {
        let (head, bytes) = body(&undated);
        assert_eq!(String::from_utf8_lossy(&bytes), image(FIRST, day));
        assert!(head.contains("cache-control: no-cache"), "{head}");
        for alias in ["r2018.10", "release/latest_release"] {
            let (head, record) = body(&format!("{alias}/centos/latest_build/build.json"));
            let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
            assert_eq!(record["id"], format!("{FIRST}/201811{day:02}T060000Z"));
            assert!(head.contains("cache-control: no-cache"), "{head}");
        }
    };
    shown(5);
    fetches(&url, work.path());
    let (head, _) = asked(&format!("{url}.stx/root/r2018.10"));
    assert!(head.contains(" 403") || head.contains(" 404"), "{head}");

    // The next build replaces the previous one; one of its files is uploaded in parts.
    let large = crate::site::noise(6, 17 << 20);
    fs_err::write(tree.join("outputs/large.img"), &large).expect("a file");
    publish(&tree, FIRST, |args| place.run(args), 6);
    shown(6);
    assert_eq!(body(&format!("{FIRST}/outputs/large.img")).1, large);
    place.run(&["verify"]).ok();

    // The undated path has the files of the build.
    fs_err::remove_dir_all(&tree).expect("removed");
    let iso = tree.join("outputs/iso");
    fs_err::create_dir_all(&iso).expect("a directory");
    fs_err::write(iso.join("bootimage.iso"), image(FIRST, 7)).expect("a file");
    let args = crate::harness::publish_args(tree.as_str(), FIRST, "20181107T060000Z", "success");
    place.run(&args).ok();
    shown(7);
    for gone in ["outputs/large.img", "inputs/downloads/source.tar"] {
        let (head, _) = asked(&format!("{url}{FIRST}/{gone}"));
        assert!(!head.contains(" 200"), "{gone}: {head}");
    }
    place.run(&["verify"]).ok();
    let listed = place.json(&["list"]);
    assert_eq!(listed["aliases"]["r2018.10"], "release/2018.10", "{listed}");
    assert_eq!(listed["builds"].as_array().map(Vec::len), Some(3));

    // A copy in a directory has symlinks; the names can be removed.
    let copy = work.path().join("copy");
    let mut command = super::asked(&*ceph, "unused", &["copy", &place.mirror(), copy.as_str()]);
    run(&mut command).ok();
    let link = |path: &str| {
        copy.join(path)
            .read_link_utf8()
            .expect("a symlink")
            .into_string()
    };
    assert_eq!(link("r2018.10"), "release/2018.10");
    assert_eq!(link("release/latest_release"), "2018.10");
    assert_eq!(link(&format!("{FIRST}/outputs")), "latest_build/outputs");
    place.run(&["alias", "unset", "r2018.10"]).ok();
    let (head, _) = asked(&format!("{url}r2018.10/centos/latest_build/build.json"));
    assert!(!head.contains(" 200"), "{head}");
    place.run(&["verify"]).ok();
}
