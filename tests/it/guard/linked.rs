//! Symlinks to source roots, files that are still being written, and the links and reports of a publish.

use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::Utf8Path;
use fs_err::os::unix::fs::symlink;

use super::{CHANNEL, CONFIG, Place};
use crate::harness::{assert_whole, builds, names, run};

#[test]
fn symlinks_to_a_source_root_are_published_as_their_targets() {
    let place = Place::new();
    place.write("import/a.src.rpm.txt", "a source\n");
    symlink(
        place.path("import/a.src.rpm.txt"),
        place.path("tree/inputs/downloads/a.txt"),
    )
    .expect("a symlink");
    let refused = run(&mut place.publish("20200101T000000Z")).code(4);
    assert!(
        refused
            .stderr
            .contains("inputs/downloads/a.txt: symlink to the absolute path"),
        "{}",
        refused.stderr
    );
    run(place
        .publish("20200101T000000Z")
        .args(["--source-root", "import"]))
    .code(0);
    let file = place.build("20200101T000000Z", "inputs/downloads/a.txt");
    assert!(fs_err::symlink_metadata(&file).expect("a file").is_file());
    assert_eq!(fs_err::read_to_string(file).expect("a text"), "a source\n");
    place.write(
        "stx-builds.toml",
        format!("source_roots = [\"import\"]\n{CONFIG}"),
    );
    run(&mut place.publish("20200102T000000Z")).code(0);
    // Files there are searched, too.
    place.write("import/a.src.rpm.txt", "on yow-lab7\n");
    run(&mut place.publish("20200103T000000Z")).code(4);
}

#[test]
fn a_file_that_is_being_written_is_not_published() {
    let place = Place::new();
    place.write("tree/outputs/iso/bootimage.iso", vec![0; 64 * 1024 * 1024]);
    let stop = AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs_err::OpenOptions::new()
                .append(true)
                .open(place.path("tree/outputs/iso/bootimage.iso"));
            let mut file = file.expect("a file");
            while !stop.load(Ordering::Relaxed) {
                std::io::Write::write_all(&mut file, b"more").expect("written");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        let refused = run(&mut place.publish("20200101T000000Z"));
        stop.store(true, Ordering::Relaxed);
        refused
    });
    let refused = refused.code(4);
    assert!(
        refused.stderr.contains("bootimage.iso")
            && refused.stderr.contains("changed while it was read"),
        "{}",
        refused.stderr
    );
    assert!(builds(&place.path("mirror"), CHANNEL).is_empty());
    // The file no longer grows, and the same command resumes.
    run(&mut place.publish("20200101T000000Z")).code(0);
    assert_whole(&place.path("mirror"), CHANNEL);
}

#[test]
fn a_plan_lists_the_linked_files_and_the_publish_links_them() {
    let place = Place::new();
    place.write("tree/outputs/logs/build.log", "on yow-lab7\n");
    run(&mut place.publish("20200101T000000Z")).code(0);
    place.write("tree/outputs/installer/new.img", "an image\0 of yow-lab7");
    place.write("tree/outputs/CONTEXT", "new\n");
    let plan = run(place
        .publish("20200102T000000Z")
        .args(["--dry-run", "--format", "json"]))
    .code(0)
    .json();
    let linked: Vec<_> = plan["linked"]["files"]
        .as_object()
        .expect("an object")
        .iter()
        .map(|(path, twin)| format!("{path} <- {}", twin["path"].as_str().expect("a path")))
        .collect();
    insta::assert_snapshot!(linked.join("\n"), @r"
    inputs/downloads/notes.txt <- inputs/downloads/notes.txt
    outputs/installer/new.img <- outputs/iso/bootimage.iso
    outputs/iso/bootimage.iso <- outputs/iso/bootimage.iso
    outputs/logs/build.log <- outputs/logs/build.log
    ");
    let human = run(place.publish("20200102T000000Z").arg("--dry-run")).ok();
    insta::assert_snapshot!(human);
    assert_eq!(builds(&place.path("mirror"), CHANNEL), ["20200101T000000Z"]);
    let report = run(place.publish("20200102T000000Z").args(["--format", "json"]))
        .code(0)
        .json();
    assert_eq!(report["shared"], plan["linked"]["bytes"]);
    for path in linked.iter().filter_map(|line| line.split(" <- ").next()) {
        let file = place.build("20200102T000000Z", path);
        assert!(
            fs_err::metadata(&file).expect("a file").nlink() > 1,
            "{path}"
        );
    }
}

#[test]
fn a_publish_reports_its_outcome() {
    let place = Place::new();
    run(&mut place.publish("20200103T000000Z")).code(0);
    let older = run(&mut place.publish("20200101T000000Z")).ok();
    assert!(
        older.contains(
            "latest_build: stays at 20200103T000000Z, which is newer; --force-alias moves it here"
        ),
        "{older}"
    );
    let forced = run(place.publish("20200101T000000Z").arg("--force-alias")).ok();
    assert_eq!(
        forced,
        "master/centos/20200101T000000Z was published already, the same files\nlatest_build -> 20200101T000000Z\n"
    );
    place.write("tree/outputs/iso/bootimage.iso", "another image\0");
    place.write("tree/outputs/extra", "x\n");
    fs_err::remove_file(place.path("tree/inputs/downloads/notes.txt")).expect("removed");
    let refused = run(&mut place.publish("20200101T000000Z")).code(4);
    insta::assert_snapshot!(refused.stderr);
    let mirror = place.path("mirror");
    assert_eq!(
        names(Utf8Path::new(&mirror.join(CHANNEL))),
        [
            "20200101T000000Z",
            "20200101T000000Z.html",
            "20200103T000000Z",
            "20200103T000000Z.html",
            "feed.xml",
            "index.html",
            "index.json",
            "latest_build"
        ]
    );
}

#[test]
fn the_trash_lists_the_restorable_builds_and_their_deadlines() {
    let place = Place::new();
    for day in 1..=8 {
        run(&mut place.publish(&format!("202001{day:02}T000000Z"))).code(0);
    }
    let now = "20200301T000000Z";
    assert_eq!(run(&mut place.stx(&["trash"])).ok(), "");
    let pruned =
        run(&mut place.stx(&["prune", "--now", now, "--allow", "8", "--format", "json"])).code(0);
    let retired = pruned.json()["retired"].as_array().expect("a list").len();
    let rows = run(&mut place.stx(&["trash", "--now", now, "--format", "json"]))
        .code(0)
        .json();
    let rows = rows.as_array().expect("a list");
    assert!(retired > 0 && rows.len() == retired, "{rows:?}");
    assert_eq!(rows[0]["since"], "20200301T000000Z");
    assert_eq!(rows[0]["until"], "2020-03-04T00:00:00Z");
    assert_eq!(rows[0]["result"], "success");
    assert!(rows[0]["bytes"].as_u64() > Some(0));
    let human = run(&mut place.stx(&["trash", "--now", now])).ok();
    assert!(
        human.contains("since 2020-03-01 00:00  until 2020-03-04 00:00"),
        "{human}"
    );
    let late = run(&mut place.stx(&["trash", "--now", "20200401T000000Z"])).ok();
    assert!(late.contains("until the next prune"), "{late}");
    let build = rows[0]["build"].as_str().expect("a build");
    run(&mut place.stx(&["undelete", build])).code(0);
    let left = run(&mut place.stx(&["trash", "--format", "json"])).json();
    assert_eq!(left.as_array().expect("a list").len(), retired - 1);
}
