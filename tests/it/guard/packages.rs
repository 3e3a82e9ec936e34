//! Private data inside of packages from real tools.

use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};

use super::Place;
use crate::harness::{Ran, run, tool};
use crate::rpms;

const DATE: &str = "20181105T060000Z";
const BUILD_INFO: &str = "OS=\"centos\"\nBUILD_HOST=\"forge\"\n";

/// A tree with a package of each kind that names the build server, and one of each that does not.
fn packaged() -> Place {
    let place = Place::new();
    let deb = |name: &str, info: &str, postinst: &str| {
        let tree = place.path(&format!("{name}.tree"));
        let write = |path: &str, text: &str| place.write(&format!("{name}.tree/{path}"), text);
        write(
            "DEBIAN/control",
            &format!(
                "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: d\n"
            ),
        );
        write("DEBIAN/postinst", postinst);
        write("etc/build.info", info);
        write("usr/share/program", "\0yow-lab7 in a binary");
        run(&mut tool(
            "chmod",
            ["0755", tree.join("DEBIAN/postinst").as_str()],
        ))
        .ok();
        let packages = place.path("tree/outputs/std/packages");
        fs_err::create_dir_all(&packages).expect("made");
        let package = packages.join(format!("{name}_1_all.deb"));
        let args = ["--root-owner-group", "-b", tree.as_str(), package.as_str()];
        run(&mut tool("dpkg-deb", args)).ok();
    };
    deb("loud", BUILD_INFO, "#!/bin/sh\n# made on yow-lab7\n");
    deb("quiet", "OS=\"debian\"\n", "#!/bin/sh\n");
    let into = place.path("tree/outputs/RPMS/std");
    fs_err::create_dir_all(&into).expect("made");
    fs_err::copy(told(), into.join("told-1-1.noarch.rpm")).expect("copied");
    place
}

/// An RPM package with `BUILD_HOST` in a file, built once per run of the tests.
fn told() -> &'static Utf8Path {
    static TOLD: OnceLock<Vec<Utf8PathBuf>> = OnceLock::new();
    let built = TOLD.get_or_init(|| rpms::build("told", SPEC));
    let mut built = built.iter();
    built
        .find(|path| path.as_str().ends_with("noarch.rpm"))
        .expect("a package")
}

const SPEC: &str = "
Name: told
Version: 1
Release: 1
Summary: s
License: ASL 2.0
BuildArch: noarch
%description
d
%install
mkdir -p %{buildroot}/etc
echo BUILD_HOST=forge > %{buildroot}/etc/build.info
%files
/etc/build.info
";

fn published(place: &Place, mode: Option<&str>) -> Ran {
    if let Some(mode) = mode {
        let config = fs_err::read_to_string(place.path("stx-builds.toml")).expect("read");
        place.write(
            "stx-builds.toml",
            format!("{config}packages = \"{mode}\"\n"),
        );
    }
    run(&mut place.publish(DATE))
}

const FOUND: [&str; 3] = [
    "outputs/RPMS/std/told-1-1.noarch.rpm, in /etc/build.info: 1 × build host",
    "outputs/std/packages/loud_1_all.deb, in /etc/build.info: 1 × build host",
    "outputs/std/packages/loud_1_all.deb, in DEBIAN/postinst: 1 × host",
];

/// The lines of a report about packages.
fn lines(ran: &Ran) -> Vec<&str> {
    let lines = ran.stdout.lines().chain(ran.stderr.lines());
    lines
        .filter(|line| line.contains("told-") || line.contains("_1_all.deb"))
        .collect()
}

#[test]
fn packages_that_name_the_build_server_are_published_and_reported() {
    let place = packaged();
    // The inputs are not made by the build.
    let inputs = place.path("tree/inputs/packages");
    fs_err::create_dir_all(&inputs).expect("made");
    let loud = place.path("tree/outputs/std/packages/loud_1_all.deb");
    fs_err::copy(loud, inputs.join("loud_1_all.deb")).expect("copied");
    let ran = published(&place, None).code(0);
    let expected: Vec<_> = FOUND
        .iter()
        .map(|it| format!("found in the package {it}"))
        .collect();
    assert_eq!(lines(&ran), expected, "{}{}", ran.stdout, ran.stderr);
    assert!(
        place
            .build(DATE, "outputs/std/packages/loud_1_all.deb")
            .is_file()
    );
}

#[test]
fn packages_that_name_the_build_server_are_refused_on_request() {
    let place = packaged();
    let ran = published(&place, Some("refuse")).code(4);
    let found = lines(&ran);
    assert_eq!(found.len(), FOUND.len(), "{}", ran.stderr);
    for part in [
        "/etc/build.info in it reveals the build server",
        "DEBIAN/postinst in it reveals the build server",
    ] {
        assert!(
            found.iter().any(|line| line.contains(part)),
            "{}",
            ran.stderr
        );
    }
    assert!(!place.path("mirror/master").exists());
}

#[test]
fn packages_are_not_unpacked_on_request() {
    let place = packaged();
    let ran = published(&place, Some("off")).code(0);
    assert_eq!(lines(&ran), Vec::<&str>::new());
}

#[test]
fn a_package_that_cannot_be_unpacked_is_reported() {
    let place = packaged();
    let path = place.path("tree/outputs/std/packages/loud_1_all.deb");
    let bytes = fs_err::read(&path).expect("read");
    cut(&path, &bytes, 40);
    let ran = published(&place, None).code(0);
    let expected = "not searched: outputs/std/packages/loud_1_all.deb: the file ends at byte";
    assert!(
        lines(&ran).iter().any(|line| line.contains(expected)),
        "{}{}",
        ran.stdout,
        ran.stderr
    );
}

/// Writes all but the last bytes.
fn cut(path: &Utf8Path, bytes: &[u8], last: usize) {
    fs_err::write(path, &bytes[..bytes.len() - last]).expect("written");
}
