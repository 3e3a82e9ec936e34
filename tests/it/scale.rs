//! Commands on one channel do not look into the builds of other channels, however many these have.

use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use stx_layout::{After, BuildId, BuildOutcome, Sha256};
use stx_publish::conformance::sample_request;
use stx_publish::local::LocalStore;
use stx_publish::{prepare, publish};

use crate::harness::{around, publish_args, run, stx, tool};
use crate::site::{CHANNEL, DATES, Site};

/// The build of another channel, which was made upon the first build of [`CHANNEL`].
const OTHER: &str = "feature/x/centos/20200102T000000Z";

/// A mirror with two channels, and its pages.
fn site() -> Site {
    let site = Site::new(&[b"an image", b"another"]);
    let store = LocalStore::open(site.mirror()).expect("a mirror");
    let mut request = sample_request(1, BuildOutcome::Success, "upon");
    let below: BuildId = format!("{CHANNEL}/{}", DATES[0]).parse().expect("a build");
    request.record.id = OTHER.parse().expect("a build");
    request.now = request.record.id.date.time();
    request.record.after = Some(After {
        build: below,
        sums: Sha256([7; 32]),
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let plan = prepare(&store, request).await.expect("a plan");
        publish(&store, &plan).await.expect("published");
    });
    // The tree is the one of the next publish.
    let tree = site.dir.path().join("tree/outputs/iso/bootimage.iso");
    fs_err::write(tree, "a new image").expect("written");
    shown(&site, "2020-01-03T00:00:00Z", &["pages"]);
    site
}

/// Runs a command; returns its output and its system calls with paths.
fn calls(site: &Site, now: &str, args: &[&str]) -> (String, String) {
    let mirror = site.mirror();
    let command = stx(["--mirror", mirror.as_str(), "--now", now]);
    let log = site.dir.path().join("calls");
    let strace = tool(
        "strace",
        ["-f", "-e", "trace=%file", "-s", "300", "-o", log.as_str()],
    );
    let mut traced = around(strace, &command);
    let said = run(traced.args(args)).ok();
    let calls = fs_err::read_to_string(log).expect("UTF-8");
    assert!(calls.contains(CHANNEL), "{args:?}: no call was seen");
    (said, calls)
}

/// Runs a command; returns its output and the system calls with paths in [`OTHER`]. A publish may look for files with the names of
/// its own files, in a few builds.
fn looks(site: &Site, now: &str, args: &[&str]) -> (String, Vec<String>) {
    let (said, calls) = calls(site, now, args);
    let looks = calls.lines().filter(|line| line.contains(OTHER));
    let artifacts = format!("{OTHER}/outputs/");
    let looks = looks.filter(|line| args[0] != "publish" || !line.contains(&artifacts));
    (said, looks.map(str::to_owned).collect())
}

fn shown(site: &Site, now: &str, args: &[&str]) -> String {
    let mirror = site.mirror();
    let mut command = stx(["--mirror", mirror.as_str(), "--now", now]);
    run(command.args(args)).ok()
}

#[test]
fn commands_on_one_channel_look_into_no_build_of_another() {
    let site = site();
    let tree = site.dir.path().join("tree");
    let publish = publish_args(tree.as_str(), CHANNEL, "20200103T000000Z", "success");
    let newest = format!("{CHANNEL}/20200103T000000Z");
    let now = "2020-01-03T01:00:00Z";
    // The first publish reads the sums of builds that were added since the last one; this one is added to the index.
    let before = publish_args(tree.as_str(), CHANNEL, "20200102T120000Z", "success");
    shown(&site, now, &before);
    for args in [
        &publish[..],
        &["list", CHANNEL],
        &["show", &newest],
        &["mark", &newest, "green", "--by", "lab"],
        &["pin", &newest, "--reason", "kept"],
        &["unpin", &newest],
        &["verify", &newest],
    ] {
        let (_, looks) = looks(&site, now, args);
        assert_eq!(looks, [""; 0], "{args:?}");
    }
    let all = shown(&site, now, &["list", "--format", "json"]);
    let (one, _) = looks(&site, now, &["list", CHANNEL, "--format", "json"]);
    let builds = |text: &str| -> Vec<serde_json::Value> {
        let listing: serde_json::Value = serde_json::from_str(text).expect("JSON");
        listing["builds"].as_array().expect("builds").clone()
    };
    let mut expected = builds(&all);
    expected.retain(|build| {
        build["build"]
            .as_str()
            .is_some_and(|it| it.starts_with(CHANNEL))
    });
    assert!(all.contains("which was built upon it"), "{all}");
    assert_eq!(
        builds(&one),
        expected,
        "the retention is that of the whole mirror"
    );
}

/// An older version kept one index of the sums of all channels.
#[test]
fn a_publish_reads_the_sums_of_other_channels_for_new_bytes_only() {
    let site = site();
    let tree = site.dir.path().join("tree");
    let cache = site.mirror().join(".stx/cache");
    fs_err::write(cache.join("%2Edigests"), "stx-builds digests 1\n").expect("written");
    let of_other = "cache/feature/x/centos/%2Edigests";
    for (date, is_read) in [("20200103T000000Z", true), ("20200103T010000Z", false)] {
        let publish = publish_args(tree.as_str(), CHANNEL, date, "success");
        let (_, calls) = calls(&site, "2020-01-03T02:00:00Z", &publish);
        assert_eq!(calls.contains(of_other), is_read, "{date}");
    }
    assert!(!cache.join("%2Edigests").exists(), "nothing reads it");
    let image = |build: &str| site.mirror().join(build).join("outputs/iso/bootimage.iso");
    fs_err::copy(
        image(OTHER),
        site.dir.path().join("tree/outputs/iso/bootimage.iso"),
    )
    .expect("copied");
    let publish = publish_args(tree.as_str(), CHANNEL, "20200103T020000Z", "success");
    shown(&site, "2020-01-03T02:00:00Z", &publish);
    let inode = |build: &str| fs_err::metadata(image(build)).expect("a file").ino();
    let newest = format!("{CHANNEL}/20200103T020000Z");
    assert_eq!(inode(&newest), inode(OTHER), "stored once");
}

/// No command looks for a change by hand within a build of another channel each time, but the pages do not miss it for ever.
#[test]
fn a_file_that_was_put_into_a_build_by_hand_is_on_the_pages_a_day_later() {
    let site = site();
    let page = site
        .mirror()
        .join(Utf8Path::new(OTHER).with_extension("html"));
    let read = || fs_err::read_to_string(&page).expect("a page");
    let pin = |now: &str| {
        let first = format!("{CHANNEL}/{}", DATES[0]);
        shown(&site, now, &["pin", &first, "--reason", now]);
    };
    pin("2020-01-03T01:00:00Z");
    let before = read();
    fs_err::write(site.mirror().join(OTHER).join("KEEP"), "").expect("written");
    pin("2020-01-03T02:00:00Z");
    assert_eq!(read(), before);
    pin("2020-01-04T02:00:00Z");
    assert_ne!(read(), before);
}
