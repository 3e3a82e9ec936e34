//! A mirror like the real one, in the form of the scripts that this project replaces: no `build.json`, no `SHA256SUMS`, marks of
//! every kind, hard links between builds.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::BuildDate;

use crate::apt::{control, deb};
use crate::harness::{package, run, tool};

/// The time of adoption in the tests.
pub(crate) const NOW: &str = "2020-02-18T12:00:00Z";

/// The commit of every build.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A directory of the mirror that a script fills.
struct Script {
    root: Utf8PathBuf,
    dir: Utf8PathBuf,
}

impl Script {
    fn new(root: &Utf8Path, dir: &str) -> Self {
        Self {
            root: root.to_owned(),
            dir: root.join(dir),
        }
    }

    fn at(&self, path: &str) -> Utf8PathBuf {
        let path = self.dir.join(path);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        path
    }

    /// Writes a file.
    fn file(&self, path: &str, text: &str) -> &Self {
        fs_err::write(self.at(path), text).expect("a file");
        self
    }

    /// Writes files whose bytes are their names.
    fn files(&self, paths: &[&str]) -> &Self {
        for path in paths {
            self.file(
                path,
                &format!("{path} of {}\n", self.dir.file_name().expect("a name")),
            );
        }
        self
    }

    /// Makes a symlink.
    fn symlink(&self, path: &str, target: &str) -> &Self {
        fs_err::os::unix::fs::symlink(target, self.at(path)).expect("a symlink");
        self
    }

    /// Makes a hard link to a file of another build, as the scripts do for unchanged files.
    fn same(&self, path: &str, build: &str) -> &Self {
        let from = self.root.join(build).join(path);
        fs_err::hard_link(from, self.at(path)).expect("a hard link");
        self
    }

    /// Copies an unchanged file instead.
    fn copy(&self, path: &str, build: &str) -> &Self {
        let from = self.root.join(build).join(path);
        fs_err::copy(from, self.at(path)).expect("a copy");
        self
    }

    /// An RPM repository with a package.
    fn rpms(&self, dir: &str) -> &Self {
        fs_err::copy(package(), self.at(&format!("{dir}/message-1-1.noarch.rpm")))
            .expect("a package");
        run(&mut tool(
            "createrepo_c",
            ["--quiet", self.dir.join(dir).as_str()],
        ))
        .ok();
        self
    }

    /// A flat apt repository in the form of the scripts: `Packages.gz` and an unsigned `Release`.
    fn debs(&self, dir: &str) -> &Self {
        let work = camino_tempfile::Utf8TempDir::new().expect("a directory");
        let to = self.at(&format!("{dir}/hello_1.0_all.deb"));
        deb(work.path(), &to, &control("hello", "1.0"), &[]);
        let script = "dpkg-scanpackages --multiversion . 2>/dev/null | gzip -9n > Packages.gz\n\
             digest() { $1 Packages.gz | cut -d' ' -f1; }\n\
             size=$(stat -c %s Packages.gz)\n\
             printf 'Origin: starlingx\\nDate: Wed, 05 Feb 2020 06:00:00 UTC\\nMD5Sum:\\n %s %s Packages.gz\\nSHA256:\\n %s %s Packages.gz\\n' \
             \"$(digest md5sum)\" \"$size\" \"$(digest sha256sum)\" \"$size\" > Release\n";
        run(tool("bash", ["-euc", script]).current_dir(self.dir.join(dir))).ok();
        self
    }

    /// Sets the times of all files to so many hours after the start of the build.
    fn done(&self, hours: u64) {
        let date: BuildDate = self
            .dir
            .file_name()
            .expect("a name")
            .parse()
            .expect("a date");
        let time = SystemTime::from(date.time()) + Duration::from_secs(hours * 3600);
        age(&self.dir, time);
    }
}

/// Sets the modification time of a directory and everything below.
pub(crate) fn age(dir: &Utf8Path, time: SystemTime) {
    for entry in walkdir::WalkDir::new(dir).contents_first(true) {
        let entry = entry.expect("a readable tree");
        if entry.file_type().is_symlink() {
            let path = entry.path().to_str().expect("UTF-8");
            let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("later");
            let at = format!("@{}", since.as_secs());
            run(&mut tool("touch", ["-h", "-d", &at, path])).ok();
            continue;
        }
        let file = fs_err::File::open(entry.path()).expect("a file");
        file.file().set_modified(time).expect("a time");
    }
}

fn context() -> String {
    ["config", "fault", "metal"]
        .map(|git| format!("(cd ./cgcs-root/stx/{git} && git checkout -f {COMMIT})\n"))
        .concat()
}

/// The files that the CentOS generation publishes from one build, without marks and packages.
fn centos(build: &Script) {
    build
        .file("outputs/CONTEXT.sh", &context())
        .file(
            "outputs/BUILD_INFO.txt",
            "SW_VERSION=\"20.01\"\nJOB=\"STX_build_master\"\n",
        )
        .files(&[
            "outputs/CHANGELOG.txt",
            "outputs/iso/bootimage.iso",
            "outputs/iso/bootimage.sig",
            "outputs/installer/initrd.img",
            "outputs/installer/vmlinuz",
            "outputs/installer/squashfs.img",
            "outputs/helm-charts/stx-openstack-1.0-17-centos-stable-latest.tgz",
            "outputs/wheels/stx-centos-stable-wheels.tar",
            "outputs/image.inc",
            "outputs/centos_stable_wheels.inc",
            "inputs/downloads/grubx64.efi",
            "logs/build-std.log.txt",
        ])
        .file(
            "outputs/docker-images/images-centos-stable-versioned.lst",
            "docker.io/starlingx/stx-keystone:master-centos-stable-20200205T060000Z.0\n",
        )
        .file(
            "outputs/docker-images/images-centos-stable-latest.lst",
            "docker.io/starlingx/stx-keystone:master-centos-stable-latest\n",
        );
}

/// Everything but the undated releases.
pub(crate) fn dated(root: &Utf8Path) {
    flat(root);
    layered(root);
    debian(root);
}

/// The flat CentOS channel.
pub(crate) fn flat(root: &Utf8Path) {
    let at = |date: &str| Script::new(root, &format!("master/centos/{date}"));
    let first = "master/centos/20200205T060000Z";
    let build = at("20200205T060000Z");
    centos(&build);
    build
        .rpms("inputs/RPMS")
        .rpms("outputs/RPMS/std")
        .file("outputs/success", "")
        .file("outputs/GREEN", "");
    build.done(6);
    let build = at("20200206T060000Z");
    centos(&build);
    build.same("outputs/RPMS/std/message-1-1.noarch.rpm", first);
    run(&mut tool(
        "createrepo_c",
        ["--quiet", build.dir.join("outputs/RPMS/std").as_str()],
    ))
    .ok();
    build.copy("inputs/RPMS/message-1-1.noarch.rpm", first);
    run(&mut tool(
        "createrepo_c",
        ["--quiet", build.dir.join("inputs/RPMS").as_str()],
    ))
    .ok();
    build.file("outputs/fail", "").file("KEEP", "");
    build.done(6);
    at("20200207T060000Z")
        .files(&["outputs/iso/bootimage.iso", "logs/Success"])
        .done(6);
    at("20200208T060000Z")
        .files(&["outputs/iso/bootimage.iso", "outputs/RED"])
        .done(6);
    // There is no evidence of its result.
    at("20200209T060000Z")
        .files(&["logs/build-std.log.txt"])
        .done(6);
    // Contradictory marks.
    at("20200210T060000Z").files(&["SUCCESS", "FAIL"]).done(6);
    // Modes that the publisher does not set.
    let build = at("20200211T060000Z");
    build.files(&["outputs/Success", "outputs/iso/bootimage.iso"]);
    let iso = build.at("outputs/iso/bootimage.iso");
    fs_err::set_permissions(iso, PermissionsExt::from_mode(0o664)).expect("a mode");
    fs_err::set_permissions(
        build.dir.join("outputs/iso"),
        PermissionsExt::from_mode(0o2775),
    )
    .expect("a mode");
    build.done(6);
    // The alias is the only evidence.
    let build = at("20200216T060000Z");
    centos(&build);
    build
        .symlink("outputs/iso/latest.iso", "bootimage.iso")
        .rpms("outputs/RPMS/std");
    build.done(6);
    // The scripts are still writing this build.
    let build = at("20200218T060000Z");
    build.files(&["outputs/iso/bootimage.iso"]);
    build.done(5);
    let young = humantime("2020-02-18T11:50:00Z");
    age(&build.dir.join("outputs/iso/bootimage.iso"), young);
    Script::new(root, "master/centos")
        .symlink("latest_build", "20200216T060000Z")
        .symlink("latest_green_build", "20200205T060000Z")
        .file("SAVE_DATA", "SAVE_DAYS_GREEN=40\nSAVE_MIN_KEEP=3\n");
}

fn humantime(text: &str) -> SystemTime {
    let time: chrono::DateTime<chrono::Utc> = text.parse().expect("a time");
    time.into()
}

/// A layered CentOS branch.
fn layered(root: &Utf8Path) {
    for (layer, date) in [
        ("compiler", "20200212T010000Z"),
        ("distro", "20200212T020000Z"),
        ("flock", "20200212T030000Z"),
    ] {
        let build = Script::new(root, &format!("master/centos/{layer}/{date}"));
        build
            .file(
                "outputs/LAST_COMMITS",
                &format!("./cgcs-root/stx/config {COMMIT}\n"),
            )
            .files(&[
                "outputs/RPMS/std/rpm.lst",
                "outputs/image.inc",
                "logs/Success",
                "outputs/BUILD_INFO",
            ]);
        build.done(3);
        Script::new(root, &format!("master/centos/{layer}")).symlink("latest_build", date);
    }
    // Its build was removed, but the alias was not.
    Script::new(root, "feature/f-centos8/centos").symlink("latest_build", "20190801T000000Z");
    let build = Script::new(root, "feature/f-centos8/centos/20200101T000000Z");
    build.files(&["outputs/fail", "logs/build.log.txt"]).done(2);
}

/// Debian channels: the older form, and the form with codename and architecture.
pub(crate) fn debian(root: &Utf8Path) {
    for (channel, date) in [
        ("master/debian/monolithic", "20200213T070000Z"),
        (
            "master/debian/bullseye/amd64/monolithic",
            "20200214T041000Z",
        ),
    ] {
        let build = Script::new(root, &format!("{channel}/{date}"));
        build
            .files(&[
                "outputs/iso/starlingx-intel-x86-64-20200213094655-cd.iso",
                "outputs/iso/starlingx-intel-x86-64-20200213094655-cd.sig",
                "outputs/std/sources/hello/hello_1.0.orig.tar.gz",
                "outputs/wheels/stx-debian-stable-wheels.tar",
                "outputs/helm-charts/stx-openstack-24.09-0-debian-stable-latest.tgz",
                "outputs/remote-cli/stx-remote-cli-1.0.tgz",
                "outputs/aptly/deb-local-build/README",
                "logs/build-packages.log.txt",
                "logs/build-iso.log.txt",
            ])
            .symlink(
                "outputs/iso/starlingx-intel-x86-64-cd.iso",
                "starlingx-intel-x86-64-20200213094655-cd.iso",
            )
            .file(
                "outputs/docker-images/images-debian-stable-latest.lst",
                "docker.io/starlingx/stx-audit:master-debian-stable-latest\n",
            )
            .debs("outputs/std/packages")
            .debs("inputs/packages")
            .file("SUCCESS", "");
        let sums = "cd outputs/std/packages && for f in *.deb Packages.gz; do \
             echo \"$(sha256sum < $f | cut -d' ' -f1) $f $(stat -c '%s %Y %d %i' $f) /localdisk/$f\"; done > StxChecksums";
        run(tool("bash", ["-euc", sums]).current_dir(&build.dir)).ok();
        build.done(5);
        Script::new(root, channel)
            .symlink("latest_build", date)
            .symlink("latest_docker_image_build", date);
    }
}

/// Two small builds that can both be adopted, for tests of killed adoptions.
pub(crate) fn small(root: &Utf8Path) {
    let first = "master/centos/20200205T060000Z";
    let build = Script::new(root, first);
    build.file("outputs/CONTEXT.sh", &context()).files(&[
        "outputs/iso/bootimage.iso",
        "logs/build-std.log.txt",
        "SUCCESS",
        "KEEP",
    ]);
    let iso = build.at("outputs/iso/bootimage.iso");
    fs_err::set_permissions(iso, PermissionsExt::from_mode(0o664)).expect("a mode");
    build.done(6);
    let build = Script::new(root, "master/centos/20200206T060000Z");
    build
        .copy("outputs/CONTEXT.sh", first)
        .same("logs/build-std.log.txt", first)
        .files(&["outputs/iso/bootimage.iso"]);
    build.done(6);
    Script::new(root, "master/centos").symlink("latest_build", "20200206T060000Z");
}

/// Releases without a build date, in the forms of the real mirror.
pub(crate) fn undated(root: &Utf8Path) {
    let release = Script::new(root, "release/2.0.0/centos");
    centos(&release);
    release
        .file(
            "outputs/BUILD_INFO.txt",
            "SW_VERSION=\"19.09\"\nBUILD_ID=\"r/stx.2.0\"\nBUILD_DATE=\"2019-09-03 01:30:00 +0000\"\n",
        )
        .rpms("outputs/RPMS/std")
        .files(&["logs/Success", "KEEP"]);
    age(&release.dir, humantime("2019-09-03T07:00:00Z"));
    let release = Script::new(root, "release/8.0.0/debian/monolithic");
    release
        .files(&[
            "outputs/iso/starlingx-intel-x86-64-20200203010203-cd.iso",
            "inputs/sources/hello/hello_1.0.orig.tar.gz",
        ])
        .symlink(
            "outputs/iso/starlingx-intel-x86-64-cd.iso",
            "starlingx-intel-x86-64-20200203010203-cd.iso",
        )
        .debs("outputs/std/packages");
    age(&release.dir, humantime("2020-02-03T05:06:07Z"));
    let release = Script::new(root, "release/11.0.0/debian/bullseye/amd64/monolithic");
    release.files(&["outputs/iso/starlingx-intel-x86-64-cd.iso", "outputs/GREEN"]);
    age(&release.dir, humantime("2020-02-04T05:06:07Z"));
}

/// A small release without a build date.
pub(crate) fn small_undated(root: &Utf8Path) {
    let release = Script::new(root, "release/2.0.0/centos");
    release.file("outputs/CONTEXT.sh", &context()).files(&[
        "outputs/iso/bootimage.iso",
        "inputs/downloads/a.tar",
        "logs/Success",
    ]);
    age(&release.dir, humantime("2020-02-03T05:06:07Z"));
}
