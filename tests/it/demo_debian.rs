//! The sample distribution as Debian packages: sources to mirror to `apt install` to a booted ISO.
//!
//! Requires root, like other tests with chroots, and on the first run the Debian archive.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use serde_json::{Value, json};

use crate::demo::{Demo, sums};
use crate::harness::{assert_whole, builds, names, run, stx, tool};
use crate::nginx::Nginx;

const CHANNEL: &str = "master/debian/bookworm/amd64/monolithic";

fn demo() -> &'static Demo {
    static DEMO: OnceLock<Demo> = OnceLock::new();
    DEMO.get_or_init(|| Demo::new("debian", CHANNEL))
}

/// The packages below a directory, by path.
fn packages(dir: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(dir).sort_by_file_name() {
        let path = entry.expect("a readable tree").into_path();
        let path = Utf8PathBuf::from_path_buf(path).expect("UTF-8");
        if matches!(path.extension(), Some("deb" | "udeb")) {
            found.push(path);
        }
    }
    found
}

/// A field of a package, as dpkg-deb prints it.
fn field(package: &Utf8Path, name: &str) -> String {
    let said = run(&mut tool("dpkg-deb", ["--field", package.as_str(), name]));
    said.ok().trim().to_owned()
}

/// The only package whose file name begins with this name.
fn package(dir: &str, name: &str) -> Utf8PathBuf {
    let mut found = packages(&demo().build(1).join(dir));
    found.retain(|path| {
        path.file_name()
            .is_some_and(|file| file.starts_with(&format!("{name}_")))
    });
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn two_debian_builds_are_complete_with_the_layout_of_the_real_mirror() {
    let mirror = demo().mirror();
    let dates = builds(&mirror, CHANNEL);
    assert_eq!(dates.len(), 2, "{dates:?}");
    assert_whole(&mirror, CHANNEL);
    run(&mut stx(["verify", "--mirror", mirror.as_str()])).ok();
    let build = demo().build(1);
    for dir in [
        "inputs/packages",
        "outputs/std/packages",
        "outputs/rt/packages",
    ] {
        let dir = build.join(dir);
        let found = packages(&dir);
        assert!(
            found.iter().all(|path| path.parent() == Some(&dir)),
            "{found:?}"
        );
        assert!(found.len() >= 2, "{found:?}");
        assert!(dir.join("Packages").is_file(), "{dir} has no Packages");
    }
    for dir in [
        "inputs/sources/busybox",
        "outputs/iso",
        "outputs/wheels",
        "outputs/docker-images/stx-platform-info/blobs/sha256",
        "outputs/helm-charts",
    ] {
        assert!(!names(&build.join(dir)).is_empty(), "{dir} is empty");
    }
    let list = "outputs/docker-images/images-debian-bookworm-amd64-stable-versioned.lst";
    let images = fs_err::read_to_string(build.join(list)).expect("a list of images");
    let tag = "stx-platform-info:master-debian-bookworm-amd64-stable-20181002T000000Z.0";
    assert_eq!(images.trim(), format!("docker.io/starlingx/{tag}"));
    let said = &demo().ran.stdout;
    assert!(
        said.contains("latest_build/outputs/std/packages /"),
        "{said}"
    );
}

#[test]
fn every_source_package_unpacks_and_names_its_binary_packages() {
    let work = Utf8TempDir::new().expect("a temporary directory");
    let mut sources = 0;
    let mut binaries = Vec::new();
    for phase in ["std", "rt"] {
        let dir = demo().build(1).join("outputs").join(phase).join("sources");
        for name in names(&dir) {
            let dir = dir.join(&name);
            let Some(dsc) = names(&dir)
                .into_iter()
                .find(|name| Utf8Path::new(name).extension() == Some("dsc"))
            else {
                continue;
            };
            let out = work.path().join(&name);
            let file = dir.join(&dsc);
            // Checks the sums in the .dsc.
            run(&mut tool(
                "dpkg-source",
                ["--no-copy", "--extract", file.as_str(), out.as_str()],
            ))
            .ok();
            assert!(out.join("debian/rules").is_file(), "{dsc}");
            let text = fs_err::read_to_string(&file).expect("a .dsc");
            let line = text.lines().find_map(|line| line.strip_prefix("Binary: "));
            let made = line.expect("a field Binary").split(", ");
            binaries.extend(made.map(|name| (phase, name.to_owned())));
            sources += 1;
        }
    }
    assert_eq!(sources, 9, "{binaries:?}");
    binaries.sort();
    let mut published = Vec::new();
    for phase in ["std", "rt"] {
        for path in packages(&demo().build(1).join("outputs").join(phase).join("packages")) {
            published.push((phase, field(&path, "Package")));
        }
    }
    published.sort();
    assert_eq!(binaries, published);
}

#[test]
fn the_demo_has_packages_of_every_kind() {
    let work = Utf8TempDir::new().expect("a temporary directory");
    let control = |package: &Utf8Path| -> Vec<String> {
        let out = work.path().join(package.file_name().expect("a name"));
        run(&mut tool(
            "dpkg-deb",
            ["--control", package.as_str(), out.as_str()],
        ))
        .ok();
        names(&out)
    };
    let std = "outputs/std/packages";
    let library = control(&package(std, "libstx1"));
    for file in ["shlibs", "symbols", "triggers"] {
        assert!(library.iter().any(|name| name == file), "{library:?}");
    }
    // From the symbols file: the result of dpkg-shlibdeps.
    let depends = field(&package(std, "platform-info"), "Depends");
    assert!(depends.contains("libstx1 (>= 1.0)"), "{depends}");
    let gate = control(&package(std, "config-gate"));
    for file in ["conffiles", "postinst", "prerm", "postrm"] {
        assert!(gate.iter().any(|name| name == file), "{gate:?}");
    }
    assert_eq!(
        field(&package(std, "platform-release"), "Architecture"),
        "all"
    );
    let udeb = package(std, "pxe-network-installer-udeb");
    assert_eq!(udeb.extension(), Some("udeb"));
    for (phase, name, preemption) in [
        ("std", "stx-platform", " preempt "),
        ("rt", "stx-platform-rt", " preempt_rt "),
    ] {
        let root = work.path().join(format!("root-{phase}"));
        let file = package(&format!("outputs/{phase}/packages"), name);
        run(&mut tool(
            "dpkg-deb",
            ["--extract", file.as_str(), root.as_str()],
        ))
        .ok();
        let module = walkdir::WalkDir::new(&root)
            .into_iter()
            .filter_map(Result::ok)
            .find(|entry| entry.file_name() == "stx_platform.ko")
            .expect("a module")
            .into_path();
        let module = module.to_str().expect("UTF-8");
        let magic = run(&mut tool("/sbin/modinfo", ["--field", "vermagic", module])).ok();
        assert!(magic.contains(preemption), "{name}: {magic}");
    }
}

/// The packages and source packages of a build, including those from the archive, with their digests.
fn debs(build: &Utf8Path) -> BTreeMap<String, String> {
    let mut sums = sums(build);
    sums.retain(|path, _| {
        let lists = ["/Packages", "/Sources", "/Release", "/by-hash/"];
        (path.contains("/packages/") || path.contains("/sources/"))
            && !lists.iter().any(|list| path.contains(list))
    });
    sums
}

#[test]
fn only_a_changed_debian_package_is_stored_again() {
    let (first, second) = (demo().build(0), demo().build(1));
    let before = debs(&first);
    let mut changed = Vec::new();
    for (path, digest) in &debs(&second) {
        if before.get(path) == Some(digest) {
            let inode =
                |build: &Utf8Path| fs_err::metadata(build.join(path)).expect("a file").ino();
            assert_eq!(inode(&first), inode(&second), "{path} is stored twice");
            continue;
        }
        assert!(
            !before.contains_key(path),
            "{path} has other bytes under the same name"
        );
        changed.push(path.rsplit_once('/').expect("a directory").1.to_owned());
    }
    changed.sort();
    let mut expected = Vec::new();
    for name in ["platform-info", "platform-info-rt"] {
        expected.extend([
            format!("{name}_1.1-1.debian.tar.xz"),
            format!("{name}_1.1-1.dsc"),
            format!("{name}_1.1-1_amd64.deb"),
            format!("{name}_1.1.orig.tar.gz"),
        ]);
    }
    expected.sort();
    assert_eq!(changed, expected);
}

#[test]
fn the_same_commits_give_the_same_debian_packages_image_and_iso_later_and_elsewhere() {
    let dir = Utf8TempDir::new().expect("a temporary directory");
    let mirror = dir.path().join("elsewhere/mirror");
    let again = demo().built_again("recipes/sample-debian/recipe.toml", &mirror);
    // These contain the time of the build, or refer to the previous build.
    let told = [
        "outputs/logs/",
        "outputs/CHANGELOG",
        "outputs/BUILD_INFO",
        "outputs/iso/starlingx-intel-x86-64-cd.iso.cdx.json",
        "build.json",
        "provenance.json",
    ];
    let made = |build: &Utf8Path| -> BTreeMap<String, String> {
        let mut sums = sums(build);
        sums.retain(|path, _| {
            !path.ends_with("/Release") && !told.iter().any(|told| path.starts_with(told))
        });
        sums
    };
    let (here, there) = (made(&demo().build(1)), made(&again));
    assert!(here.len() >= 130, "{here:#?}");
    let differ: Vec<_> = here
        .keys()
        .chain(there.keys())
        .filter(|path| here.get(*path) != there.get(*path))
        .collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

#[test]
fn the_debian_iso_holds_the_published_packages_and_was_booted() {
    let build = demo().build(1);
    let iso = build.join("outputs/iso/starlingx-intel-x86-64-cd.iso");
    let size = fs_err::metadata(&iso).expect("an ISO").len();
    assert!(size < 150 << 20, "{size} bytes");
    let work = Utf8TempDir::new().expect("a temporary directory");
    let pool = work.path().join("pool");
    extract(&iso, "/pool", &pool);
    let found = packages(&pool);
    assert!(found.len() >= 8, "{found:?}");
    for file in &found {
        let name = file.file_name().expect("a name");
        let mut published = packages(&build.join("outputs"));
        published.retain(|path| path.file_name() == Some(name));
        assert_eq!(published.len(), 1, "{name}: {published:?}");
        run(&mut tool("cmp", [file.as_str(), published[0].as_str()])).ok();
    }
    for (index, message) in ["the platform is here\n", "the platform is here, change 1\n"]
        .into_iter()
        .enumerate()
    {
        let log = demo().build(index).join("outputs/logs/iso-sanity.log");
        let log = fs_err::read_to_string(log).expect("a log");
        for said in [
            "STX-SANITY: PASS: 7 packages of the medium installed by apt",
            "Setting up config-gate",
            &format!(
                "says: platform-info: StarlingX sample 18.10, std build, scheduler SCHED_OTHER: {message}"
            ),
            &format!("rt build, scheduler SCHED_FIFO: {message}"),
            "-cloud-amd64 standard",
        ] {
            assert!(log.contains(said), "{said} is not in\n{log}");
        }
    }
}

/// Name, version and architecture, one line per package, as the format of `dpkg-query` and `dpkg-deb`.
const SHOWN: &str = "${Package} ${Version} ${Architecture}\n";

#[test]
fn the_bill_of_the_debian_iso_lists_the_packages_in_it_and_no_other() {
    let outputs = demo().build(1).join("outputs/iso");
    let iso = outputs.join("starlingx-intel-x86-64-cd.iso");
    let bill = outputs.join("starlingx-intel-x86-64-cd.iso.cdx.json");
    let bill: Value = serde_json::from_slice(&fs_err::read(bill).expect("a bill")).expect("JSON");
    let components = bill["components"].as_array().expect("components").iter();
    let listed: BTreeSet<_> = components
        .filter(|it| {
            it["purl"]
                .as_str()
                .is_some_and(|purl| purl.starts_with("pkg:deb/"))
        })
        .map(|it| {
            let purl = it["purl"].as_str().expect("a text");
            let arch = purl
                .split("arch=")
                .nth(1)
                .and_then(|it| it.split('&').next());
            let text = |key: &str| it[key].as_str().expect("a text");
            format!(
                "{} {} {}",
                text("name"),
                text("version"),
                arch.expect("an architecture")
            )
        })
        .collect();

    let work = Utf8TempDir::new().expect("a temporary directory");
    let (pool, image) = (work.path().join("pool"), work.path().join("squashfs.img"));
    extract(&iso, "/pool", &pool);
    extract(&iso, "/LiveOS/squashfs.img", &image);
    let mut held = BTreeSet::new();
    for package in packages(&pool) {
        let shown = run(&mut tool(
            "dpkg-deb",
            ["--show", "--showformat", SHOWN, package.as_str()],
        ))
        .ok();
        held.extend(shown.lines().map(ToOwned::to_owned));
    }
    let root = work.path().join("root");
    let unpacked = [
        "-no-progress",
        "-d",
        root.as_str(),
        image.as_str(),
        "var/lib/dpkg",
    ];
    run(&mut tool("unsquashfs", unpacked)).ok();
    let admindir = format!("--admindir={root}/var/lib/dpkg");
    let live = run(&mut tool(
        "dpkg-query",
        [&admindir, "--show", "--showformat", SHOWN],
    ))
    .ok();
    assert!(live.lines().count() > 50, "{live}");
    held.extend(live.lines().map(ToOwned::to_owned));
    assert_eq!(listed, held);
}

#[test]
fn two_debian_builds_are_compared_and_the_change_is_found() {
    let dates: Vec<_> = builds(&demo().mirror(), CHANNEL);
    let mirror = demo().mirror();
    let ask =
        |args: &[&str]| run(stx(["--mirror", mirror.as_str(), "--format", "json"]).args(args));
    let [before, after] = [0, 1].map(|index: usize| format!("{CHANNEL}/{}", dates[index]));
    let compared = ask(&["compare", &before, &after]).json();
    let compared = compared["packages"].as_array().expect("packages").iter();
    let changed: BTreeSet<_> = compared
        .filter(|it| it["outcome"] == "different")
        .map(|it| it["name"].as_str().expect("a name").to_owned())
        .collect();
    let expected = ["platform-info", "platform-info-rt"].map(ToOwned::to_owned);
    assert_eq!(changed, BTreeSet::from(expected));

    let since = |package: &str| ask(&["since", package, "--in", CHANNEL]).json();
    let found = since("platform-info");
    assert_eq!(
        (&found["changed"], &found["before"]),
        (&json!(after), &json!(before))
    );
    assert_eq!(since("libstx1")["changed"], Value::Null);
}

fn extract(iso: &Utf8Path, path: &str, to: &Utf8Path) {
    let args = ["-osirrox", "on", "-indev", iso.as_str(), "-extract", path];
    run(tool("xorriso", args).arg(to)).ok();
}

#[test]
fn apt_installs_from_the_mirror_through_the_alias_and_the_program_runs() {
    let conf = fs_err::read_to_string(demo().dir().join("nginx.conf")).expect("nginx.conf");
    let nginx = Nginx::serve(&demo().dir(), &conf);
    // The live system of the ISO is a Debian without any of our packages.
    let work = Utf8TempDir::new().expect("a temporary directory");
    let image = work.path().join("squashfs.img");
    let iso = demo()
        .build(1)
        .join("outputs/iso/starlingx-intel-x86-64-cd.iso");
    extract(&iso, "/LiveOS/squashfs.img", &image);
    let root = work.path().join("root");
    let unpacked = ["-no-progress", "-d", root.as_str(), image.as_str()];
    run(&mut tool("unsquashfs", unpacked)).ok();
    let outputs = nginx.url(&format!("{CHANNEL}/latest_build/outputs"));
    let lines = format!(
        "deb [trusted=yes] {outputs}/std/packages ./\ndeb [trusted=yes] {outputs}/rt/packages ./\n\
         deb-src [trusted=yes] {outputs}/std/sources ./\n"
    );
    fs_err::write(root.join("etc/apt/sources.list"), lines).expect("sources.list");
    let inside = |args: &[&str]| {
        run(tool("chroot", [root.as_str()])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
        .ok()
    };
    inside(&["apt-get", "-q", "update"]);
    inside(&[
        "apt-get",
        "-q",
        "-y",
        "--no-install-recommends",
        "install",
        "config-gate",
        "platform-info-rt",
        "platform-info",
    ]);
    assert_eq!(inside(&["dpkg", "--audit"]), "");
    let said = inside(&["platform-info"]);
    assert!(said.contains("the platform is here, change 1"), "{said}");
    let state = root.join("var/lib/config-gate");
    let configured = state.join("configured").is_file();
    assert!(configured, "the maintainer script did not run");
    let sources = inside(&["apt-cache", "showsrc", "--only-source", "libstx"]);
    assert!(sources.contains("libstx_1.0-1.dsc"), "{sources}");
    inside(&["apt-get", "-q", "-y", "purge", "config-gate"]);
    assert!(!state.exists(), "the maintainer script did not purge");
}
