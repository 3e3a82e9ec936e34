//! Turns a mirror of an older publisher into a mirror of this one, in place.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use serde_json::Value;

use crate::harness::{Ran, in_memory, run, stx, stx_without_pages, tool};
use crate::nginx::Nginx;
use crate::syscalls::tree::{Node, Tree};

pub(crate) mod past;

use past::NOW;

/// A mirror of an older publisher.
struct Mirror {
    dir: Utf8TempDir,
}

impl Mirror {
    fn new(make: impl FnOnce(&Utf8Path)) -> Self {
        let mirror = Self { dir: in_memory() };
        make(&mirror.root());
        mirror
    }

    fn root(&self) -> Utf8PathBuf {
        self.dir.path().join("mirror")
    }

    fn stx(&self, args: &[&str]) -> Ran {
        let mirror = self.root();
        run(stx_without_pages(["--mirror", mirror.as_str()])
            .args(["--now", NOW])
            .args(args))
    }

    fn json(&self, args: &[&str]) -> Value {
        self.stx(&[&["--format", "json"], args].concat()).json()
    }

    /// The findings of `verify`: kind and place.
    fn findings(&self) -> Vec<String> {
        let json = self.json(&["verify"]);
        let findings = json["findings"].as_array().expect("findings").iter();
        let text =
            |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let mut findings: Vec<_> = findings
            .map(|it| {
                let place = if it["build"].is_null() {
                    "channel"
                } else {
                    "build"
                };
                format!(
                    "{} {} {}",
                    text(it, "kind"),
                    text(it, place),
                    text(it, "path")
                )
            })
            .collect();
        findings.sort();
        findings
    }

    fn nginx(&self) -> Nginx {
        Nginx::of_mirror(&self.dir.path().join("nginx"), &self.root(), "")
    }
}

/// Every file of a mirror that has a URL, including those reached by symlinks to directories: path and bytes.
fn urls(root: &Utf8Path) -> BTreeMap<String, Vec<u8>> {
    let walk = walkdir::WalkDir::new(root).follow_links(true).into_iter();
    let walk = walk.filter_entry(|entry| entry.file_name() != ".stx");
    let files = walk.filter_map(|entry| {
        // Skips dangling aliases.
        let entry = entry.ok()?;
        let path = Utf8Path::from_path(entry.path())?;
        let name = path.strip_prefix(root).ok()?.to_string();
        entry
            .file_type()
            .is_file()
            .then(|| (name, fs_err::read(path).expect("a file")))
    });
    files.collect()
}

/// Fails unless nginx answers each URL with the bytes that it had.
fn assert_answered(mirror: &Mirror, before: &BTreeMap<String, Vec<u8>>) {
    let nginx = mirror.nginx();
    let got = mirror.dir.path().join("got");
    let mut list = String::new();
    for (index, path) in before.keys().enumerate() {
        let url = nginx.url(path);
        writeln!(list, "url = \"{url}\"\noutput = \"{got}/{index}\"").expect("a text");
    }
    let config = mirror.dir.path().join("curl.conf");
    fs_err::create_dir_all(&got).expect("a directory");
    fs_err::write(&config, list).expect("a file");
    let args = [
        "--silent",
        "--show-error",
        "--fail",
        "--noproxy",
        "*",
        "--config",
        config.as_str(),
    ];
    run(&mut tool("curl", args)).ok();
    for (index, (path, bytes)) in before.iter().enumerate() {
        let answer = fs_err::read(got.join(index.to_string())).expect("an answer");
        assert!(answer == *bytes, "{path}: other bytes");
    }
}

/// Fails unless every entry of `before` is in `after` with the same bytes, mode and symlink target.
fn assert_kept(before: &Tree, after: &Tree) {
    for (path, node) in &before.nodes {
        assert_eq!(after.nodes.get(path), Some(node), "{path}");
    }
    let added: Vec<_> = after
        .nodes
        .keys()
        .filter(|path| !before.nodes.contains_key(*path))
        .collect();
    for path in added {
        let name = path.rsplit('/').next().expect("a name");
        let fits = path.starts_with(".stx") || ["build.json", "SHA256SUMS"].contains(&name);
        assert!(fits, "{path} was added");
    }
}

/// The text of a plan without the sizes of packages, which depend on the version of the tools.
fn shown(text: &str) -> String {
    const UNITS: [&str; 3] = ["byte", "KiB", "MiB"];
    let is_unit = |word: &str| UNITS.iter().any(|unit| word.starts_with(unit));
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let words = line.split(' ').collect::<Vec<_>>();
        let kept = words.iter().enumerate().map(|(at, word)| {
            let is_size = words.get(at + 1).is_some_and(|next| is_unit(next));
            match *word {
                _ if is_size => "N",
                "KiB" | "MiB" => "bytes",
                word => word,
            }
        });
        lines.push(kept.collect::<Vec<_>>().join(" "));
    }
    lines.join("\n") + "\n"
}

#[test]
fn an_existing_mirror_becomes_one_of_full_builds() {
    let mirror = Mirror::new(past::dated);
    let before = Tree::read(&mirror.root());
    let answered = urls(&mirror.root());
    let plan = mirror.stx(&["adopt", "--dry-run"]).code(4);
    insta::assert_snapshot!("dry_run", shown(&plan.stdout));
    assert_eq!(
        Tree::read(&mirror.root()),
        before,
        "a dry run changes nothing"
    );

    let report = mirror.stx(&["adopt"]).code(4);
    insta::assert_snapshot!("adopted", shown(&report.stdout));
    assert_kept(&before, &Tree::read(&mirror.root()));
    assert_answered(&mirror, &answered);
    insta::assert_snapshot!("findings", mirror.findings().join("\n"));
    assert_sums(&mirror.root());

    let again = mirror.json(&["adopt", "--jobs", "1"]);
    assert_eq!(
        again["adopted"],
        serde_json::json!([]),
        "nothing is left to do"
    );
    for (day, name) in [
        ("2020-02-19", "a_day_later"),
        ("2020-03-01", "two_weeks_later"),
        ("2020-06-01", "months_later"),
    ] {
        let now = format!("{day}T12:00:00Z");
        let root = mirror.root();
        let args = [
            "--mirror",
            root.as_str(),
            "--now",
            &now,
            "prune",
            "--dry-run",
            "--allow",
            "9",
        ];
        let pruned = run(&mut stx_without_pages(args));
        insta::assert_snapshot!(name, shown(&pruned.stdout));
    }
}

/// Fails unless coreutils find every adopted build complete, and each of its files in the sums.
fn assert_sums(root: &Utf8Path) {
    let mut count = 0;
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.expect("a readable tree");
        if entry.file_name() != "SHA256SUMS" {
            continue;
        }
        let dir = Utf8Path::from_path(entry.path().parent().expect("a parent")).expect("UTF-8");
        run(tool(
            "sha256sum",
            ["--check", "--strict", "--quiet", "SHA256SUMS"],
        )
        .current_dir(dir))
        .ok();
        let sums = fs_err::read_to_string(dir.join("SHA256SUMS")).expect("sums");
        let summed: Vec<_> = sums.lines().map(|line| &line[66..]).collect();
        let tree = Tree::read(dir);
        for (path, node) in &tree.nodes {
            let is_file = matches!(node, Node::File(..)) && path != "SHA256SUMS" && path != "KEEP";
            assert!(
                !is_file || summed.contains(&path.as_str()),
                "{dir}: {path} is in no sum"
            );
        }
        count += 1;
    }
    assert!(count > 5, "{count} builds");
}

#[test]
fn an_adopted_build_is_like_any_other() {
    let mirror = Mirror::new(past::dated);
    mirror
        .stx(&["adopt", "--fix-modes", "--assume", "fail"])
        .code(4);
    let build = "master/centos/20200205T060000Z";
    let shown = mirror.json(&["show", build]);
    assert_eq!(shown["record"]["origin"]["kind"], "adopted");
    assert_eq!(shown["record"]["origin"]["at"], NOW);
    assert_eq!(shown["record"]["origin"]["evidence"][0], "outputs/success");
    assert_eq!(shown["record"]["sources"].as_array().map(Vec::len), Some(3));
    assert_eq!(
        shown["record"]["named_images"].as_array().map(Vec::len),
        Some(2)
    );
    let listed = mirror.stx(&["list", "master/centos"]).ok();
    assert!(listed.contains("latest_build"), "{listed}");
    let pins = mirror.stx(&["pins"]).ok();
    assert!(
        pins.contains("20200206T060000Z") && pins.contains("KEEP"),
        "{pins}"
    );
    let shown = mirror.stx(&["show", build]).ok();
    let origins = shown.lines().filter(|line| line.starts_with("origin "));
    let [origin] = origins.collect::<Vec<_>>()[..] else {
        panic!("one origin: {shown}");
    };
    assert!(
        origin.contains("adopted on 2020-02-18: outputs/success"),
        "{shown}"
    );
    let verdict = mirror
        .root()
        .join(".stx/verdicts/master/centos/20200205T060000Z.json");
    let verdict = fs_err::read_to_string(verdict).expect("a verdict");
    assert!(
        verdict.contains("green") && verdict.contains("outputs/GREEN"),
        "{verdict}"
    );
    mirror.stx(&["verify", build]).ok();
    // As a reader behind a web server sees it.
    mirror.stx(&["pages"]).ok();
    let nginx = mirror.nginx();
    let url = nginx.url("");
    let remote =
        |args: &[&str]| run(stx_without_pages(["--mirror", &url, "--now", NOW]).args(args));
    remote(&["verify", build]).ok();
    assert!(remote(&["list"]).ok().contains(build));
    mirror
        .stx(&["verify", "master/centos/20200211T060000Z"])
        .ok();
    mirror
        .stx(&["verify", "master/debian/bullseye/amd64/monolithic"])
        .ok();
    mirror.stx(&["explain", build]).ok();
    let other = "master/centos/20200206T060000Z";
    let compared = mirror.stx(&["compare", build, other]).ok();
    assert!(compared.contains("2 the same"), "{compared}");
    let since = mirror
        .stx(&["since", "message", "--in", "master/centos"])
        .ok();
    assert!(since.contains("20200205T060000Z"), "{since}");
    let to = mirror.dir.path().join("fetched");
    let iso = [
        "fetch",
        "master/centos/latest_build",
        "iso",
        "--to",
        to.as_str(),
    ];
    mirror.stx(&iso).ok();
    let iso = fs_err::read(to.join("bootimage.iso"));
    let iso = iso.or_else(|_| fs_err::read(to.join("outputs/iso/bootimage.iso")));
    let original = mirror
        .root()
        .join("master/centos/20200216T060000Z/outputs/iso/bootimage.iso");
    assert_eq!(
        iso.expect("the image"),
        fs_err::read(original).expect("the image")
    );
    mirror.stx(&["pages"]).ok();
    let index = mirror.root().join("master/centos/index.json");
    let index = fs_err::read_to_string(index).expect("index.json");
    assert!(index.contains("20200205T060000Z"), "{index}");
}

#[test]
fn a_copy_has_every_file_of_an_adopted_build() {
    let mirror = Mirror::new(past::debian);
    mirror.stx(&["adopt"]).ok();
    let copy = mirror.dir.path().join("copy");
    run(&mut stx_without_pages([
        "--now",
        NOW,
        "copy",
        mirror.root().as_str(),
        copy.as_str(),
    ]))
    .ok();
    let build = "master/debian/monolithic/20200213T070000Z";
    let (one, other) = (mirror.root().join(build), copy.join(build));
    run(&mut tool("diff", ["-r", one.as_str(), other.as_str()])).ok();
    assert!(other.join("SUCCESS").is_file() && other.join("logs/build-iso.log.txt").is_file());
    run(&mut stx_without_pages([
        "--mirror",
        copy.as_str(),
        "--now",
        NOW,
        "verify",
    ]))
    .ok();
}

#[test]
fn a_bucket_has_nothing_to_adopt() {
    let refused = run(&mut stx_without_pages([
        "--mirror",
        "http://127.0.0.1:9/",
        "adopt",
    ]));
    assert!(refused.code(2).stderr.contains("not behind a web server"));
}

#[test]
fn only_what_is_named_is_adopted() {
    let mirror = Mirror::new(past::dated);
    let one = "master/centos/20200205T060000Z";
    let report = mirror.json(&["adopt", one, "master/centos/flock"]);
    let adopted: Vec<_> = report["adopted"]
        .as_array()
        .expect("builds")
        .iter()
        .map(|it| it["build"].clone())
        .collect();
    assert_eq!(adopted, [one, "master/centos/flock/20200212T030000Z"]);
    mirror
        .stx(&["adopt", "master/centos/20200205T060001Z"])
        .code(5);
    mirror.stx(&["adopt", "master/suse"]).code(5);
    mirror.stx(&["adopt", "suse"]).code(2);
}

#[test]
fn the_pages_of_an_adopted_build_are_current_even_if_it_was_known_before() {
    let mirror = Mirror::new(past::dated);
    let root = mirror.root();
    let with_pages = |args: &[&str]| {
        let mut command = stx(["--format", "json", "--now", NOW, "--mirror", root.as_str()]);
        run(command.args(args)).code(0).json()
    };
    with_pages(&["pages"]);
    with_pages(&["adopt", "master/centos/20200207T060000Z"]);
    let outdated = with_pages(&["pages"]);
    assert_eq!(outdated["written"], serde_json::json!([]), "{outdated}");
}

#[test]
fn foreign_sums_and_changed_bytes_are_reported() {
    let mirror = Mirror::new(past::debian);
    let build = "master/debian/monolithic/20200213T070000Z";
    let foreign = mirror
        .root()
        .join("master/debian/bullseye/amd64/monolithic/20200214T041000Z/SHA256SUMS");
    fs_err::write(&foreign, "").expect("a file");
    let deb = mirror
        .root()
        .join(build)
        .join("outputs/std/packages/hello_1.0_all.deb");
    let text = fs_err::read(&deb).expect("a package");
    fs_err::write(&deb, [&text[..], b"\n"].concat()).expect("a file");
    past::age(
        &mirror.root().join(build),
        std::time::SystemTime::UNIX_EPOCH,
    );
    let report = mirror.json(&["adopt"]);
    let note = report["adopted"][0]["notes"][0].as_str().expect("a note");
    assert!(
        note.contains("hello_1.0_all.deb: other bytes than StxChecksums says"),
        "{note}"
    );
    assert_eq!(report["left"][0]["reason"], "foreign");
    assert_eq!(fs_err::read(&foreign).expect("a file"), b"");
}

#[test]
fn equal_files_become_hard_links() {
    let mirror = Mirror::new(past::flat);
    let before = Tree::read(&mirror.root());
    let report = mirror.json(&["adopt", "--link"]);
    let linked = report["linked"]["files"].as_u64().expect("a number");
    assert!(linked > 3, "{report}");
    let after = Tree::read(&mirror.root());
    assert_kept(&before, &after);
    assert!(after.same.len() > before.same.len());
    assert_sums(&mirror.root());
    let again = mirror.json(&["adopt", "--link"]);
    assert_eq!(again["linked"]["files"], 0);
}

#[test]
fn a_release_without_a_date_becomes_a_dated_build() {
    let mirror = Mirror::new(past::undated);
    let before = Tree::read(&mirror.root());
    let answered = urls(&mirror.root());
    let plan = mirror.stx(&["adopt", "--dry-run"]).code(4);
    insta::assert_snapshot!("undated", shown(&plan.stdout));
    assert_eq!(
        Tree::read(&mirror.root()),
        before,
        "a dry run changes nothing"
    );

    mirror.stx(&["adopt"]).code(4);
    mirror
        .stx(&[
            "adopt",
            "release/8.0.0/debian/monolithic",
            "--assume",
            "success",
        ])
        .ok();
    assert_answered(&mirror, &answered);
    mirror.stx(&["verify"]).ok();
    let link = |path: &str| {
        mirror
            .root()
            .join(path)
            .read_link_utf8()
            .expect("a symlink")
            .into_string()
    };
    assert_eq!(
        link("release/2.0.0/centos/outputs"),
        "20190903T013000Z/outputs"
    );
    assert_eq!(link("release/2.0.0/centos/KEEP"), "20190903T013000Z/KEEP");
    assert_eq!(
        link("release/8.0.0/debian/monolithic/inputs"),
        "20200203T050607Z/inputs"
    );
    let newest = mirror
        .root()
        .join("release/latest_release")
        .read_link_utf8();
    assert_eq!(newest.expect("a symlink"), "11.0.0");
    let latest = "release/11.0.0/debian/bullseye/amd64/monolithic/latest_build";
    assert_eq!(link(latest), "20200204T050607Z");
    let listed = mirror.stx(&["list"]).ok();
    assert_eq!(listed.matches("success").count(), 3, "{listed}");
    let again = mirror.json(&["adopt"]);
    assert_eq!(again["adopted"], serde_json::json!([]));
    assert_eq!(again["full"], 3);
}

#[test]
fn parts_of_a_release_do_not_replace_other_files() {
    let mirror = Mirror::new(past::small_undated);
    let taken = mirror
        .root()
        .join("release/2.0.0/centos/20200203T050607Z/outputs");
    fs_err::create_dir_all(&taken).expect("a directory");
    let before = Tree::read(&mirror.root());
    let refused = mirror.stx(&["adopt"]).code(4);
    assert!(
        refused.stderr.contains("20200203T050607Z"),
        "{}",
        refused.stderr
    );
    let after = Tree::read(&mirror.root());
    let moved = before
        .nodes
        .keys()
        .find(|path| !after.nodes.contains_key(*path));
    assert_eq!(moved, None);
}

/// If a publisher is at work in one channel, all others are adopted; the files of the busy channel are not read a second time.
#[test]
fn a_busy_channel_is_skipped_and_its_bytes_are_read_once() {
    let mirror = Mirror::new(past::debian);
    let build = "master/debian/monolithic/20200213T070000Z";
    mirror
        .stx(&["pin", build, "--reason", "x", "--author", "y"])
        .ok();
    let lock = mirror
        .root()
        .join(".stx/locks/master/debian/monolithic/%2Elock");
    let held = fs_err::File::open(lock).expect("the lock");
    held.file().lock().expect("locked");
    // A file that was changed in the last two seconds is not remembered.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let busy = mirror.stx(&["--format", "json", "adopt"]).code(6);
    let report = busy.json();
    assert_eq!(report["adopted"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["left"][0]["reason"], "busy");
    assert!(report["read"].as_u64().is_some_and(|read| read > 0));
    drop(held);
    let report = mirror.json(&["adopt"]);
    assert_eq!(report["adopted"][0]["build"], build);
    assert_eq!(report["read"], 0, "{report}");
}

#[test]
fn directories_with_an_almost_valid_build_date_are_reported() {
    let mirror = Mirror::new(past::small);
    let channel = mirror.root().join("master/centos");
    for name in ["2018-11-05", "20181106", "20181107T060000", "notes"] {
        fs_err::create_dir_all(channel.join(name).join("outputs/RPMS")).expect("a directory");
    }
    let said = "its name is not a build date";
    let planned = mirror.stx(&["adopt", "--dry-run"]);
    let report = mirror.stx(&["adopt"]);
    let elsewhere = mirror.stx(&["adopt", "--dry-run", "release/2.0.0/centos"]);
    for name in ["2018-11-05", "20181106", "20181107T060000"] {
        let line = format!("leave master/centos/{name}: {said}");
        assert!(planned.stdout.contains(&line), "{}", planned.stdout);
        assert!(report.stderr.contains(name), "{}", report.stderr);
        assert!(!elsewhere.stdout.contains(name), "{}", elsewhere.stdout);
    }
    assert_eq!(
        planned.stdout.matches(said).count(),
        3,
        "{}",
        planned.stdout
    );
}
