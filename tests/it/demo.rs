//! The sample distribution from end to end: sources to mirror to `dnf install` to a booted ISO.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;

use crate::harness::{Ran, around, assert_whole, builds, names, run, stx, tool};
use crate::nginx::Nginx;

/// The directory that `stx-builds demo` made, once for all tests, which only read it.
pub(crate) struct Demo {
    dir: Utf8TempDir,
    pub(crate) ran: Ran,
    channel: &'static str,
}

impl Demo {
    /// The demo of a distribution, which is built into `channel`.
    pub(crate) fn new(distro: &str, channel: &'static str) -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let demo = dir.path().join("demo");
        let shell = tool("sh", ["-c", "umask 077; exec \"$@\"", "sh"]);
        let command = stx(["demo", demo.as_str(), "--distro", distro]);
        let ran = run(&mut around(shell, &command)).code(0);
        Self { dir, ran, channel }
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> Utf8PathBuf {
        self.dir.path().join("demo")
    }

    pub(crate) fn mirror(&self) -> Utf8PathBuf {
        self.dir().join("mirror")
    }

    /// The git repositories from which it was built, in the state of the second build.
    pub(crate) fn upstream(&self) -> Utf8PathBuf {
        self.dir().join("upstream")
    }

    pub(crate) fn build(&self, index: usize) -> Utf8PathBuf {
        let builds = builds(&self.mirror(), self.channel);
        self.mirror().join(self.channel).join(&builds[index])
    }

    /// The same commits, built later by a recipe into another mirror.
    pub(crate) fn built_again(&self, recipe: &str, mirror: &Utf8Path) -> Utf8PathBuf {
        let mut build = stx(["build", "--recipe", recipe, "--mirror"]);
        build.arg(mirror).args([
            "--set",
            &format!("MANIFEST_URL={}/manifest", self.upstream()),
        ]);
        run(&mut build).code(0);
        let dates = builds(mirror, self.channel);
        mirror.join(self.channel).join(&dates[0])
    }
}

pub(crate) fn demo() -> &'static Demo {
    static DEMO: OnceLock<Demo> = OnceLock::new();
    DEMO.get_or_init(|| Demo::new("centos", "master/centos"))
}

#[test]
fn the_demo_has_two_builds_an_alias_and_sums_that_coreutils_accepts() {
    let mirror = demo().mirror();
    let dates = builds(&mirror, "master/centos");
    assert_eq!(dates.len(), 2, "{dates:?}");
    let alias = mirror
        .join("master/centos/latest_build")
        .read_link_utf8()
        .expect("an alias");
    assert_eq!(alias.as_str(), dates[1]);
    assert_whole(&mirror, "master/centos");
    for index in 0..2 {
        assert!(demo().build(index).join("outputs/success").is_file());
        assert!(!demo().build(index).join("outputs/fail").exists());
    }
    run(&mut stx(["verify", "--mirror", mirror.as_str()])).ok();
}

#[test]
fn a_web_server_can_read_the_demo_with_any_umask() {
    for dir in [demo().dir(), demo().mirror()] {
        let mode = fs_err::metadata(&dir).expect("a directory").permissions();
        assert_eq!(mode.mode() & 0o777, 0o755, "{dir}");
    }
}

#[test]
fn a_demo_in_a_closed_directory_says_so() {
    let dir = Utf8TempDir::new().expect("a temporary directory");
    let (demo, sample) = (dir.path().join("demo"), dir.path().join("sample"));
    fs_err::create_dir(&sample).expect("a directory");
    fs_err::write(sample.join("recipe.toml"), "").expect("a recipe");
    // The sample is without its upstream, so nothing is built.
    let mut command = stx(["demo", demo.as_str(), "--distro", "centos", "--sample"]);
    command.arg(&sample);
    for (mode, closed) in [(0o700, true), (0o755, false)] {
        fs_err::create_dir(&demo).expect("a directory");
        fs_err::set_permissions(&demo, PermissionsExt::from_mode(mode)).expect("a mode");
        let ran = run(&mut command);
        let note = format!("chmod 0755 {demo}");
        assert_eq!(ran.stderr.contains(&note), closed, "{}", ran.stderr);
        fs_err::remove_dir_all(&demo).expect("a directory");
    }
}

#[test]
fn the_demo_prints_the_next_steps() {
    let Ran { stdout, .. } = &demo().ran;
    for word in [
        demo().mirror().as_str(),
        "latest_build ->",
        "stx-builds list",
        "stx-builds show",
        "nginx -p",
    ] {
        assert!(stdout.contains(word), "{word} is not in\n{stdout}");
    }
}

#[test]
fn the_demo_contains_every_kind_of_artifact() {
    let build = demo().build(1);
    for dir in [
        "inputs/RPMS",
        "inputs/downloads",
        "outputs/RPMS/std",
        "outputs/RPMS/rt",
        "outputs/RPMS/installer",
        "outputs/SRPMS/std",
        "outputs/iso",
        "outputs/installer",
        "outputs/wheels",
        "outputs/helm-charts",
        "outputs/docker-images",
        "outputs/logs",
    ] {
        assert!(!names(&build.join(dir)).is_empty(), "{dir} is empty");
    }
    for dir in [
        "inputs/RPMS",
        "outputs/RPMS/std",
        "outputs/RPMS/rt",
        "outputs/RPMS/installer",
        "outputs/SRPMS/std",
    ] {
        assert!(
            build.join(dir).join("repodata/repomd.xml").is_file(),
            "{dir} has no metadata"
        );
    }
    let context = fs_err::read_to_string(build.join("outputs/CONTEXT")).expect("CONTEXT");
    assert!(context.lines().count() >= 3, "{context}");
    for line in context.lines() {
        let sha = line
            .strip_prefix("(cd ./")
            .and_then(|line| line.split_once(" && git checkout -f "))
            .map(|(_, sha)| sha);
        let sha = sha
            .and_then(|sha| sha.strip_suffix(')'))
            .unwrap_or_else(|| panic!("{line}"));
        assert!(
            sha.len() == 40 && sha.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{line}"
        );
    }
}

fn is_rpm(path: &str) -> bool {
    Utf8Path::new(path).extension() == Some("rpm")
}

/// The sums of a build by path.
pub(crate) fn sums(build: &Utf8Path) -> BTreeMap<String, String> {
    let text = fs_err::read_to_string(build.join("SHA256SUMS")).expect("sums");
    text.lines()
        .map(|line| (line[66..].to_owned(), line[..64].to_owned()))
        .collect()
}

#[test]
fn two_builds_differ_only_in_files_that_the_change_affects() {
    let (first, second) = (sums(&demo().build(0)), sums(&demo().build(1)));
    let rpms = |sums: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let rpms = sums.iter().filter(|(path, _)| is_rpm(path));
        rpms.map(|(path, digest)| (path.clone(), digest.clone()))
            .collect()
    };
    let (first, second) = (rpms(&first), rpms(&second));
    let same = first
        .iter()
        .filter(|(path, digest)| second.get(*path) == Some(*digest))
        .count();
    let changed: Vec<_> = second
        .iter()
        .filter(|(path, digest)| first.get(*path) != Some(*digest))
        .collect();
    assert!(same >= 6, "{same} of {} are the same", first.len());
    assert!(!changed.is_empty() && changed.len() <= 4, "{changed:#?}");
}

#[test]
fn the_same_commits_give_the_same_bytes_in_another_place_at_another_time() {
    let dir = Utf8TempDir::new().expect("a temporary directory");
    let mirror = dir.path().join("elsewhere/mirror");
    let again = demo().built_again("recipes/sample/recipe.toml", &mirror);
    // Logs, the change log, `BUILD_INFO`, the metadata, the provenance and the bill of materials contain the time of the build, or
    // refer to the previous build.
    let made = |build: &Utf8Path| -> BTreeMap<String, String> {
        let mut sums = sums(build);
        sums.retain(|path, _| {
            let told = [
                "outputs/logs/",
                "outputs/CHANGELOG",
                "outputs/BUILD_INFO",
                "outputs/iso/bootimage.iso.cdx.json",
                "build.json",
                "provenance.json",
            ];
            !path.contains("/repodata/") && !told.iter().any(|told| path.starts_with(told))
        });
        sums
    };
    let (here, there) = (made(&demo().build(1)), made(&again));
    assert!(here.len() >= 30, "{here:#?}");
    let differ: Vec<_> = here
        .keys()
        .chain(there.keys())
        .filter(|path| here.get(*path) != there.get(*path))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

/// Runs dnf with only the repository at `url`, its files below `work`; returns its standard output.
fn dnf(work: &Utf8Path, url: &str, args: &[&str]) -> String {
    let conf = work.join("dnf.conf");
    let text = format!(
        "[main]\ngpgcheck=0\nreposdir=/nonexistent\ncachedir={work}/cache\nlogdir={work}/log\npersistdir={work}/persist\n\
         install_weak_deps=0\n"
    );
    fs_err::write(&conf, text).expect("dnf.conf");
    let repo = format!("--repofrompath=stx,{url}");
    let common = [
        "-c",
        conf.as_str(),
        "--disableplugin=local",
        &repo,
        "--repo=stx",
        "--releasever=7",
        "-y",
    ];
    run(&mut tool("dnf", common.iter().chain(args))).ok()
}

/// Installs a program of the sample distribution from the repository at `url` into an empty root, and runs it there.
pub(crate) fn install_and_run(work: &Utf8Path, url: &str) {
    let root = work.join("root");
    let into = format!("--installroot={root}");
    dnf(work, url, &[&into, "install", "platform-info"]);
    let program = [root.as_str(), "/usr/bin/platform-info"];
    let said = run(&mut tool("chroot", program)).ok();
    assert!(!said.trim().is_empty(), "the program says nothing");
}

#[test]
fn dnf_queries_downloads_and_installs_through_the_alias_and_the_program_runs() {
    // The configuration that the demo recommends.
    let dir = demo().dir();
    let conf = fs_err::read_to_string(dir.join("nginx.conf")).expect("nginx.conf");
    let nginx = Nginx::serve(&dir, &conf);
    let private = run(&mut tool(
        "curl",
        [
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &nginx.url(".stx/locks/"),
        ],
    ));
    assert_eq!(private.ok(), "404");
    let work = Utf8TempDir::new().expect("a temporary directory");
    let at = |name: &str| work.path().join(name);
    let url = nginx.url("master/centos/latest_build/outputs/RPMS/std");
    let dnf = |args: &[&str]| dnf(work.path(), &url, args);
    let names = dnf(&["repoquery", "--qf", "%{name}"]);
    assert!(names.lines().any(|name| name == "platform-info"), "{names}");
    let downloads = at("downloads");
    dnf(&[
        "download",
        &format!("--destdir={downloads}"),
        "platform-info",
    ]);
    let downloaded = crate::harness::names(&downloads);
    assert_eq!(downloaded.len(), 1, "{downloaded:?}");
    let published = demo()
        .build(1)
        .join("outputs/RPMS/std")
        .join(&downloaded[0]);
    run(&mut tool(
        "cmp",
        [downloads.join(&downloaded[0]).as_str(), published.as_str()],
    ))
    .ok();

    install_and_run(work.path(), &url);
}

#[test]
fn the_iso_holds_the_published_packages_and_was_booted() {
    let build = demo().build(1);
    let work = Utf8TempDir::new().expect("a temporary directory");
    let out = work.path().join("packages");
    let iso = build.join("outputs/iso/bootimage.iso");
    run(&mut tool(
        "xorriso",
        [
            "-osirrox",
            "on",
            "-indev",
            iso.as_str(),
            "-extract",
            "/Packages",
            out.as_str(),
        ],
    ))
    .ok();
    let packages: Vec<_> = names(&out)
        .into_iter()
        .filter(|name| is_rpm(name))
        .collect();
    assert!(packages.len() >= 5, "{packages:?}");
    for package in &packages {
        let found = walkdir::WalkDir::new(build.join("outputs/RPMS"))
            .into_iter()
            .filter_map(Result::ok)
            .find(|entry| entry.file_name().to_str() == Some(package))
            .unwrap_or_else(|| panic!("{package} is not published"));
        let published = found.path().to_str().expect("UTF-8").to_owned();
        run(&mut tool("cmp", [out.join(package).as_str(), &published])).ok();
    }
    for index in 0..2 {
        let log = fs_err::read_to_string(demo().build(index).join("outputs/logs/iso-sanity.log"))
            .expect("a log");
        assert!(log.contains("STX-SANITY: PASS"), "{log}");
    }
}

#[test]
fn list_and_show_have_the_same_content_as_text_and_json() {
    let mirror = demo().mirror();
    let dates = builds(&mirror, "master/centos");
    let list = run(&mut stx([
        "--mirror",
        mirror.as_str(),
        "--format",
        "json",
        "list",
    ]))
    .code(0)
    .json();
    let listed: Vec<_> = list["builds"]
        .as_array()
        .expect("builds")
        .iter()
        .map(|build| build["build"].as_str())
        .collect();
    assert_eq!(listed.len(), 2, "{list:#}");
    assert_eq!(
        listed[0],
        Some(format!("master/centos/{}", dates[0]).as_str())
    );
    let shown = run(&mut stx([
        "--mirror",
        mirror.as_str(),
        "--format",
        "json",
        "show",
        "master/centos/latest_build",
    ]));
    assert_eq!(
        shown.code(0).json()["record"]["id"],
        format!("master/centos/{}", dates[1])
    );
    let human = run(&mut stx([
        "--mirror",
        mirror.as_str(),
        "list",
        "master/centos",
    ]))
    .ok();
    for date in &dates {
        assert!(human.contains(date), "{human}");
    }
    run(&mut stx([
        "--mirror",
        mirror.as_str(),
        "show",
        "master/centos/20010101T000000Z",
    ]))
    .code(5);
}
