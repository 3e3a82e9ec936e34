//! The sample distribution from a nightly build to a release: published with its image, marked green through the spool, promoted,
//! read by its users after the nightly build has expired; and promoted repeatedly, with a kill at each step.
//!
//! A test of every system call of a promotion of the sample would take minutes. Calls that only change locks, modes, times and
//! durability are skipped: for a reader, a kill before such a call has the same effect as one before the next call. Of the others,
//! the first of each kind is tested in the private area, the first and the last on files of the build, and each on files that readers
//! see. Each kill is on a release of its own, so that no tag exists before.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::tracer::{Fault, Point, Victim, trace};
use crate::demo::{demo, install_and_run};
use crate::harness::{Ran, copy_program, in_memory, run, stx, tool, wait};
use crate::nginx::Nginx;
use crate::provenance::make_key;
use crate::registry::record;
use crate::registry_server::{DockerRegistry, seen_digest};
use crate::retention::january;

/// A member of the build group, who cannot write the mirror.
const MEMBER: &str = "65534";
/// The name of the image in the sample.
const IMAGE: &str = "stx-platform-info";
/// The release that is promoted without a kill, to determine the calls.
const LEARNT: &str = "1.0.1";
/// The number of promotions to kill in parallel, each on a mirror of its own.
const SIDE_BY_SIDE: usize = 2;

/// A mirror with the sample distribution, beside a registry.
struct Way {
    dir: Utf8TempDir,
    registry: DockerRegistry,
}

impl Way {
    fn new() -> Self {
        let (dir, registry) = (in_memory(), DockerRegistry::start());
        let way = Self { dir, registry };
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(way.dir.path(), mode).expect("a mode");
        make_key(way.dir.path(), "key", &["ed25519"]);
        let text = format!(
            "mirror = \"mirror\"\nstate = \"state\"\n[service]\n[registry]\nhost = \"{}\"\nplain_http = true\n\
             [aliases]\n\"r1.0\" = \"release/1.0.0\"\n\
             [provenance]\nbuilder = \"https://builds.example.org/stx/v1\"\nkey_file = \"{}/key.pem\"\n",
            way.registry.host(),
            way.dir.path()
        );
        fs_err::create_dir(way.at("site")).expect("a directory");
        fs_err::write(way.at("site/stx-builds.toml"), &text).expect("a configuration");
        // Every command makes the pages; they are not part of this test.
        let quiet = text + "[site]\nenabled = false\n";
        fs_err::write(way.at("site/quiet.toml"), quiet).expect("a configuration");
        way
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    fn mirror(&self, path: &str) -> Utf8PathBuf {
        self.at("site/mirror").join(path)
    }

    fn stx(&self, args: &[&str]) -> Command {
        let mut command = stx(args);
        command
            .current_dir(self.at("site"))
            .env("DOCKER_CONFIG", self.dir.path());
        command
    }

    /// Publishes one of the two builds of the sample as the nightly build of a day.
    fn nightly(&self, index: usize, day: u32) {
        let (tree, date) = (demo().build(index), january(day));
        let args = ["publish", tree.as_str(), "--channel", "master/centos"];
        let more = ["--date", &date, "--result", "success"];
        run(self.stx(&args).args(more)).ok();
    }

    /// The name and the digest of the image of a build, from its record.
    fn image(&self, build: &Utf8Path) -> (String, String) {
        let record = record(build);
        let text = |key: &str| record["images"][0][key].as_str().map(str::to_owned);
        let name = text("name").expect("a name");
        let host = self.registry.host();
        assert!(
            name.starts_with(&format!("{host}/starlingx/{IMAGE}:")),
            "{name}"
        );
        (name, text("digest").expect("a digest"))
    }

    fn verified(&self) {
        let report = run(&mut self.stx(&["verify", "--format", "json"])).code(0);
        assert_eq!(report.json()["findings"], Value::Array(Vec::new()));
    }
}

/// The service of the site; ends with this value.
struct Service(Child);

impl Service {
    fn start(way: &Way) -> Self {
        let log = fs_err::File::create(way.at("service.log")).expect("a log");
        let mut command = way.stx(&["daemon"]);
        command.stdout(Stdio::null()).stderr(log.into_parts().0);
        Self(command.spawn().expect("the service starts"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).ok();
        self.0.wait().expect("it ends");
    }
}

/// Promotes the nightly build without making pages.
fn promote(sandbox: &Utf8Path, release: &str, docker: &Utf8Path) -> Command {
    promote_by(sandbox, "quiet.toml", release, docker)
}

fn promote_by(sandbox: &Utf8Path, config: &str, release: &str, docker: &Utf8Path) -> Command {
    let build = format!("master/centos/{}", january(1));
    let to = format!("release/{release}");
    let args = ["--config", config, "promote", &build, "--to", &to];
    let mut command = stx(args);
    command
        .args([
            "--by",
            "ann",
            "--reason",
            "it passed",
            "--now",
            "2020-01-04T00:00:00Z",
        ])
        .current_dir(sandbox)
        .env("DOCKER_CONFIG", docker);
    command
}

#[test]
fn promoting_the_sample_survives_every_kill() {
    let started = Instant::now();
    let way = Way::new();
    way.nightly(0, 1);
    marked_green_by_the_spool(&way);
    let (site, docker) = (way.at("site"), way.dir.path());
    run(&mut promote_by(&site, "stx-builds.toml", "1.0.0", docker)).code(0);
    the_release_has_its_bytes_names_and_images(&way);
    println!("a release of the sample: {:.0?}", started.elapsed());
    killed_at_each_step(&way);
    the_origin_is_pruned(&way);
    users_read_the_release(&way);
    way.verified();
    println!("all the way: {:.0?}", started.elapsed());
}

fn marked_green_by_the_spool(way: &Way) {
    copy_program(&way.at("stx-builds"));
    let build = format!("master/centos/{}", january(1));
    let refused = run(&mut promote(&way.at("site"), "1.0.0", way.dir.path())).code(4);
    let why = "its verdict is missing, not green";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    let service = Service::start(way);
    let until = |name: &str| wait(name, || way.at("site").join(name).exists());
    until("state.spool/.service");
    let ids = [&format!("--reuid={MEMBER}"), &format!("--regid={MEMBER}")];
    let mut mark = tool("setpriv", ids);
    mark.args(["--groups=0", "--", "../stx-builds", "mark", &build, "green"]);
    mark.args(["--spool", "--reason", "sanity passed"]);
    run(mark.current_dir(way.at("site"))).code(0);
    until("mirror/master/centos/latest_green_build");
    drop(service);
    let shown = run(&mut way.stx(&["show", &build, "--format", "json"])).code(0);
    let shown = shown.json();
    assert_eq!(shown["verdicts"][0]["reason"], "sanity passed");
}

fn the_release_has_its_bytes_names_and_images(way: &Way) {
    let nightly = way.mirror(&format!("master/centos/{}", january(1)));
    let release = way.mirror(&format!("release/1.0.0/centos/{}", january(1)));
    let shared = inodes(&release, "outputs") == inodes(&nightly, "outputs");
    assert!(shared, "the release has other files than the nightly build");
    let link = |path: &str| way.mirror(path).read_link_utf8().expect("a link");
    assert_eq!(link("release/1.0.0/centos/latest_build"), january(1));
    assert_eq!(link("release/latest_release"), "1.0.0");
    assert_eq!(link("r1.0"), "release/1.0.0");
    assert!(
        way.mirror("r1.0/centos/outputs/iso/bootimage.iso")
            .is_file()
    );
    let origin = &record(&release)["origin"];
    assert_eq!(origin["from"], format!("master/centos/{}", january(1)));
    let (before, after) = (way.image(&nightly), way.image(&release));
    let (host, date) = (way.registry.host(), january(1));
    let name = format!("{host}/starlingx/{IMAGE}:r-1.0.0-centos-stable-{date}.0");
    assert_eq!(after.0, name);
    assert_eq!(after.1, before.1, "the same image");
    assert_eq!(seen_digest(&after.0).as_ref(), Some(&after.1));
    let (dated, _) = after.0.rsplit_once('-').expect("a date");
    assert_eq!(seen_digest(&format!("{dated}-latest")), Some(after.1));
    way.verified();
}

/// The files of a part of a build, by their paths, with their inodes. Empty files are left out: they have no bytes to share.
fn inodes(build: &Utf8Path, part: &str) -> BTreeMap<Utf8PathBuf, u64> {
    let files = walkdir::WalkDir::new(build.join(part)).into_iter();
    let files = files.map(|entry| entry.expect("an entry"));
    let is_full = |entry: &walkdir::DirEntry| {
        let found = entry.metadata().expect("metadata");
        found.is_file() && found.len() > 0
    };
    let files = files.filter(is_full);
    let inode = |entry: walkdir::DirEntry| {
        let path = Utf8PathBuf::from_path_buf(entry.path().to_owned()).expect("UTF-8");
        let inode = entry.metadata().expect("metadata").ino();
        (path.strip_prefix(build).expect("below").to_owned(), inode)
    };
    files.map(inode).collect()
}

fn killed_at_each_step(way: &Way) {
    let started = Instant::now();
    // The calls of a promotion on a mirror that already has a release, in order.
    let sandboxes: Vec<_> = (0..SIDE_BY_SIDE).map(|slot| sandbox(way, slot)).collect();
    // The tracer waits for every child of its thread, and the registry is a child of this thread.
    let learnt = std::thread::scope(|scope| {
        let sandbox = &sandboxes[0];
        let command = promote(sandbox, LEARNT, way.dir.path());
        let learnt = scope.spawn(move || trace(&command, sandbox.as_std_path(), None));
        learnt.join().expect("a trace")
    });
    assert_eq!(learnt.code, Some(0), "{}", learnt.stderr);
    run(&mut promote(&sandboxes[1], LEARNT, way.dir.path())).code(0);
    let steps = steps(&learnt.made);
    assert!(steps.len() > 10, "{steps:#?}");
    std::thread::scope(|scope| {
        for (slot, sandbox) in sandboxes.iter().enumerate() {
            let mine = steps.iter().enumerate().skip(slot).step_by(SIDE_BY_SIDE);
            scope.spawn(move || {
                let mut newest = LEARNT.to_owned();
                for (number, step) in mine {
                    let release = format!("1.0.{}", number + 2);
                    killed(way, sandbox, &newest, &release, step);
                    newest = release;
                }
            });
        }
    });
    for sandbox in &sandboxes {
        run(stx(["pages"]).current_dir(sandbox)).ok();
        let mut verify = stx(["verify", "--format", "json"]);
        let report = run(verify.current_dir(sandbox)).code(0).json();
        assert_eq!(report["findings"], Value::Array(Vec::new()));
        fs_err::remove_dir_all(sandbox).expect("removed");
    }
    println!(
        "promote: killed at {} steps of {} changing calls, {:.0?}",
        steps.len(),
        learnt.made.len(),
        started.elapsed()
    );
}

/// A sandbox with a copy of the site.
fn sandbox(way: &Way, slot: usize) -> Utf8PathBuf {
    let sandbox = way.at(&format!("slot-{slot}"));
    // Hard links suffice: a promotion does not write to existing files.
    let copy = ["-al", way.at("site").as_str(), sandbox.as_str()].map(str::to_owned);
    run(&mut tool("cp", copy)).ok();
    sandbox
}

/// The skipped calls: they do not change the name or the bytes of a file, so that neither a reader nor the next publisher notices
/// them.
const SILENT: [&str; 5] = ["flock", "chmod", "fsync", "syncfs", "utimensat"];

/// The calls to kill at, including the last one: everything is done then, but the report is not printed yet.
fn steps(made: &[Point]) -> Vec<Point> {
    let inside = format!("/{}/", january(1));
    let place = |path: &String| match path.split_once(&inside) {
        Some((_, file)) if file.contains('/') => "a file of the build".to_owned(),
        _ if path.starts_with("mirror/.stx/") => "private".to_owned(),
        _ => path.clone(),
    };
    let mut ends: BTreeMap<_, (usize, usize)> = BTreeMap::new();
    for (at, point) in made.iter().enumerate() {
        if SILENT.contains(&point.name) {
            continue;
        }
        let places: Vec<_> = point.paths.iter().map(place).collect();
        let is_of_build = point.name.starts_with("link");
        let (_, last) = ends.entry((point.name, places)).or_insert((at, at));
        if is_of_build {
            *last = at;
        }
    }
    let mut taken: BTreeSet<_> = ends.into_values().flat_map(|(a, b)| [a, b]).collect();
    taken.insert(made.len() - 1);
    taken.into_iter().map(|at| made[at].clone()).collect()
}

/// Kills a promotion at a step, and finishes it by the same command.
fn killed(way: &Way, sandbox: &Utf8Path, newest: &str, release: &str, step: &Point) {
    // A publish reads the sums of the build that was added last to another channel: at first that of the original release.
    let (first, last) = ("/cache/release/1.0.0/", format!("/cache/release/{newest}/"));
    let named = |path: &String| path.replace(LEARNT, release).replace(first, &last);
    let point = Point {
        paths: step.paths.iter().map(named).collect(),
        ..step.clone()
    };
    let command = promote(sandbox, release, way.dir.path());
    let fault = Some((&point, Fault::Kill(Victim::All)));
    let traced = trace(&command, sandbox.as_std_path(), fault);
    assert!(
        traced.reached && traced.code.is_none(),
        "{point}: {traced:?}"
    );
    let mirror = sandbox.join("mirror");
    let build = mirror.join(format!("release/{release}/centos/{}", january(1)));
    let nightly = mirror.join(format!("master/centos/{}", january(1)));
    let link = |path: &str| mirror.join(path).read_link_utf8().ok();
    let latest = format!("release/{release}/centos/latest_build");

    // A reader sees the complete build or nothing, and no name before its target.
    let whole = inodes(&nightly, "outputs");
    if build.exists() {
        assert!(inodes(&build, "outputs") == whole, "{point}: half a build");
        assert!(build.join("SHA256SUMS").is_file(), "{point}");
    }
    if link(&latest).is_some() {
        assert!(build.exists(), "{point}: an alias of nothing");
        let (name, digest) = way.image(&build);
        assert_eq!(seen_digest(&name), Some(digest), "{point}: no image");
    }
    let shown = link("release/latest_release").expect("an alias");
    let is_new = shown == release && link(&latest).is_some();
    assert!(shown == newest || is_new, "{point}: {shown}");
    assert_eq!(link("r1.0").expect("an alias"), "release/1.0.0", "{point}");

    let again = run(&mut promote(sandbox, release, way.dir.path()));
    let Ran { code, stderr, .. } = &again;
    assert_eq!(*code, Some(0), "{point}: the rerun: {stderr}");
    assert!(inodes(&build, "outputs") == whole, "{point}: other files");
    assert_eq!(link(&latest).expect("an alias"), january(1), "{point}");
    assert_eq!(
        link("release/latest_release").expect("an alias"),
        release,
        "{point}"
    );
    let (name, digest) = way.image(&build);
    assert!(name.contains(release), "{point}: {name}");
    assert_eq!(seen_digest(&name), Some(digest), "{point}");
}

fn the_origin_is_pruned(way: &Way) {
    way.nightly(1, 2);
    way.nightly(0, 3);
    let newest = format!("master/centos/{}", january(3));
    run(&mut way.stx(&["mark", &newest, "green", "--by", "lab"])).ok();
    for now in ["2020-02-10T00:00:00Z", "2020-02-20T00:00:00Z"] {
        run(&mut way.stx(&["prune", "--now", now])).ok();
    }
    assert!(
        !way.mirror(&format!("master/centos/{}", january(1)))
            .exists()
    );
}

fn users_read_the_release(way: &Way) {
    let nginx = Nginx::of_mirror(&way.at("nginx"), &way.mirror(""), "");
    fs_err::create_dir(way.at("dnf")).expect("a directory");
    // By the release's own name, without a date, through nginx.
    install_and_run(&way.at("dnf"), &nginx.url("r1.0/centos/outputs/RPMS/std"));
    let release = way.mirror(&format!("release/1.0.0/centos/{}", january(1)));
    let (name, digest) = way.image(&release);
    assert_eq!(seen_digest(&name), Some(digest));

    // The signed provenance names the promoter and the nightly build, even after that build has expired.
    let key = way.at("key.pub");
    let args = ["show", "release/1.0.0/centos", "--provenance"];
    let more = ["--provenance-key", key.as_str(), "--format", "json"];
    let stated = run(way.stx(&args).args(more)).code(0).json();
    let parameters = &stated["predicate"]["buildDefinition"]["externalParameters"];
    assert_eq!(
        parameters["promotedFrom"],
        format!("master/centos/{}", january(1))
    );
    run(&mut way.stx(&["verify", "--provenance-key", key.as_str()])).code(0);
}
