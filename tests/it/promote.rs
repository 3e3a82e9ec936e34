//! `promote`: publishes the tested bytes as a release, on a mirror with a registry.

use std::os::unix::fs::MetadataExt as _;

use camino::Utf8PathBuf;
use serde_json::Value;

use crate::apt::install_with_dnf;
use crate::harness::{Ran, package, run};
use crate::nginx::Nginx;
use crate::registry::{Published, record, recorded};
use crate::registry_server::{DockerRegistry, seen_digest};
use crate::retention::january;

const RELEASE: &str = "release/1.0.0/centos";

struct Place(Published);

impl Place {
    /// Two nightly builds with a package and images.
    fn new(registry: &DockerRegistry) -> Self {
        let here = Published::on(&registry.host());
        let packages = here.at("tree/outputs/RPMS/std");
        fs_err::create_dir_all(&packages).expect("a directory");
        fs_err::copy(package(), packages.join("message-1-1.noarch.rpm")).expect("copied");
        here.write("outputs/iso/bootimage.iso", "an image");
        for day in [1, 2] {
            here.write("outputs/CONTEXT", &format!("day {day}"));
            run(&mut here.publish(day)).ok();
        }
        Self(here)
    }

    fn promote(&self, more: &[&str]) -> Ran {
        let build = format!("master/centos/{}", january(1));
        let args = ["promote", &build, "--to", "release/1.0.0", "--by", "ann"];
        run(self
            .0
            .stx(&args)
            .args(more)
            .args(["--now", "2020-01-03T00:00:00Z"]))
    }

    fn mark(&self, day: u32, verdict: &str) {
        let build = format!("master/centos/{}", january(day));
        let args = ["mark", &build, verdict, "--by", "lab", "--reason", "sanity"];
        run(&mut self.0.stx(&args)).ok();
    }

    fn release(&self, path: &str) -> Utf8PathBuf {
        let dir = self.0.at("mirror").join(RELEASE).join(january(1));
        dir.join(path)
    }

    fn verify(&self) -> Vec<Value> {
        let report = run(&mut self.0.stx(&["verify"])).code(0).json();
        report["findings"].as_array().expect("findings").clone()
    }
}

#[test]
fn a_green_build_is_promoted_to_a_release_that_outlives_it() {
    let registry = DockerRegistry::start();
    let place = Place::new(&registry);
    only_green_builds_are_promoted(&place, &registry);
    the_release_has_the_very_bytes_and_images(&place, &registry);
    another_build_under_the_name_is_refused(&place);
    dnf_installs_through_the_release(&place);
    the_origin_may_expire(&place);
    the_chain_of_provenance_is_followed(&place);
}

fn only_green_builds_are_promoted(place: &Place, registry: &DockerRegistry) {
    let here = &place.0;
    let before = registry.changes();
    // Not without the verdict; all problems are reported at once.
    let refused = place.promote(&[]).code(4);
    assert!(
        refused.stderr.contains("its verdict is missing, not green"),
        "{}",
        refused.stderr
    );
    let refused = place.promote(&["--force"]).code(2);
    assert!(refused.stderr.contains("--reason"), "{}", refused.stderr);
    place.mark(1, "yellow");
    let refused = place.promote(&[]).code(4);
    assert!(
        refused.stderr.contains("is yellow, not green"),
        "{}",
        refused.stderr
    );
    place.mark(1, "green");
    let planned = place.promote(&["--dry-run"]).code(0).json();
    assert_eq!(
        planned["promotion"]["from"],
        format!("master/centos/{}", january(1))
    );
    assert_eq!(registry.changes(), before, "a dry run changes nothing");
    assert!(!here.at("mirror/release").exists());
}

fn the_release_has_the_very_bytes_and_images(place: &Place, registry: &DockerRegistry) {
    let here = &place.0;
    let before = (registry.changes(), here.record(1));
    let report = place.promote(&["--reason", "it passed"]).code(0).json();
    assert_eq!(report["action"], "new");
    let inode = |path: Utf8PathBuf| fs_err::metadata(path).expect("a file").ino();
    for path in [
        "outputs/iso/bootimage.iso",
        "outputs/RPMS/std/repodata/repomd.xml",
    ] {
        assert_eq!(
            inode(place.release(path)),
            inode(here.build(1).join(path)),
            "{path}"
        );
    }
    let released = record(&place.release(""));
    assert_eq!(
        released["origin"]["from"],
        format!("master/centos/{}", january(1))
    );
    assert_eq!(released["origin"]["by"], "ann");
    assert_eq!(released["origin"]["reason"], "it passed");
    let link = |path: &str| {
        here.at("mirror")
            .join(path)
            .read_link_utf8()
            .expect("a link")
    };
    assert_eq!(link("release/1.0.0/centos/latest_build"), january(1));
    assert_eq!(link("release/latest_release"), "1.0.0");

    // The images, by digest: only tags were made.
    let nova = here.name(&format!("stx-nova:r-1.0.0-centos-stable-{}.0", january(1)));
    let digest = recorded(&before.1, &here.nova(1));
    assert_eq!(recorded(&released, &nova), digest);
    assert_eq!(seen_digest(&nova), Some(digest.clone()));
    let latest = here.name("stx-nova:r-1.0.0-centos-stable-latest");
    assert_eq!(seen_digest(&latest), Some(digest.clone()));
    let blobs = |changes: Vec<String>| {
        let blobs = changes.into_iter();
        blobs.filter(|change| change.contains("/blobs/")).count()
    };
    assert_eq!(blobs(registry.changes()), blobs(before.0));
    assert_eq!(place.verify(), Vec::<Value>::new());
}

fn another_build_under_the_name_is_refused(place: &Place) {
    let here = &place.0;
    // The same again is a no-op.
    let again = place.promote(&[]).code(0).json();
    assert_eq!(again["action"], "same");
    let other = format!("master/centos/{}", january(2));
    let date = january(1);
    let args = [
        "promote",
        &other,
        "--to",
        "release/1.0.0",
        "--date",
        &date,
        "--force",
        "--reason",
        "x",
        "--by",
        "ann",
    ];
    let refused = run(here.stx(&args).args(["--now", "2020-01-03T00:00:00Z"])).code(4);
    assert!(
        refused.stderr.contains("it is not master/centos/"),
        "{}",
        refused.stderr
    );
}

fn dnf_installs_through_the_release(place: &Place) {
    let here = &place.0;
    let nginx = Nginx::of_mirror(&here.at("nginx"), &here.at("mirror"), "");
    let repo = format!(
        "[stx]\nname=stx\nbaseurl={}\ngpgcheck=0\nenabled=1\n",
        nginx.url(&format!("{RELEASE}/latest_build/outputs/RPMS/std"))
    );
    fs_err::write(here.at("mirror/stx.repo"), repo).expect("a file");
    install_with_dnf(&here.at("dnf"), &nginx.url("stx.repo"));
    fs_err::remove_file(here.at("mirror/stx.repo")).expect("removed");
}

fn the_origin_may_expire(place: &Place) {
    let here = &place.0;
    let nova = here.name(&format!("stx-nova:r-1.0.0-centos-stable-{}.0", january(1)));
    let digest = seen_digest(&nova);
    let shown = run(here.stx(&["show", RELEASE]).args(["--format", "human"])).code(0);
    let origin = format!("master/centos/{}, promoted by ann", january(1));
    assert!(shown.stdout.contains(&origin), "{}", shown.stdout);

    // The origin expires once others are newer and green; the release, its images and the chain stay.
    for day in [3, 4] {
        here.write("outputs/CONTEXT", &format!("day {day}"));
        run(&mut here.publish(day)).ok();
    }
    place.mark(4, "green");
    for now in ["2020-02-10T00:00:00Z", "2020-02-20T00:00:00Z"] {
        run(&mut here.stx(&["prune", "--now", now])).ok();
    }
    assert!(!here.build(1).exists());
    assert!(digest.is_some());
    assert_eq!(seen_digest(&nova), digest);
    assert_eq!(place.verify(), Vec::<Value>::new());
}

fn the_chain_of_provenance_is_followed(place: &Place) {
    let here = &place.0;
    let stated = run(&mut here.stx(&["show", RELEASE, "--provenance"]))
        .code(0)
        .json();
    let definition = &stated["predicate"]["buildDefinition"];
    assert_eq!(
        definition["buildType"],
        "https://starlingx.io/stx-builds/promote/v1"
    );
    assert_eq!(
        definition["externalParameters"]["promotedFrom"],
        format!("master/centos/{}", january(1))
    );

    // The chain is followed: a changed byte in the statements of the origin is found.
    let file = place.release("origin/SHA256SUMS");
    let text = fs_err::read_to_string(&file).expect("sums");
    let (first, rest) = text.split_at(1);
    let changed = if first == "0" { "1" } else { "0" };
    let bytes = format!("{changed}{rest}");
    fs_err::remove_file(&file).expect("removed");
    fs_err::write(&file, bytes).expect("written");
    let found = run(&mut here.stx(&["verify"])).code(4).json();
    let kinds = found["findings"].as_array().expect("findings").iter();
    let kinds: Vec<_> = kinds.map(|finding| finding["kind"].clone()).collect();
    assert!(kinds.contains(&"provenance-differs".into()), "{kinds:?}");
}
