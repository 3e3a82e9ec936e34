//! Packages of a real `rpmbuild`, and the mirrors to which they are published.

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;

use crate::harness::{Ran, run, stx, tool};

/// The parameters of the package.
#[derive(Clone, Copy)]
pub(super) struct Spec<'a> {
    pub(super) version: &'a str,
    pub(super) greeting: &'a str,
    pub(super) requires: &'a str,
    pub(super) host: &'a str,
    /// Seconds since 1970.
    pub(super) time: u32,
}

pub(super) const FIRST: Spec<'_> = Spec {
    version: "1.0",
    greeting: "one",
    requires: "bash",
    host: "first.example.org",
    time: 1_577_836_800,
};

pub(super) const TEXT: &str = "Name: hello
Version: %{v}
Release: 1
Summary: greets
License: MIT
BuildArch: noarch
Requires: %{needs}
%description
greets
%install
dir=%{buildroot}/usr/share/hello
mkdir -p $dir
printf '%s' '%{greeting}' > $dir/greeting
printf same > $dir/same
touch -d @%{at} $dir/same
printf '\\037\\213\\010\\000%%s\\000\\003text' '%{stamp}' > $dir/times.gz
head -c 400000 %{noise} > $dir/large
%files
/usr/share/hello
";

/// A directory with packages, trees and a mirror.
pub(super) struct Work {
    pub(super) dir: Utf8TempDir,
}

impl Work {
    pub(super) fn new() -> Self {
        let work = Self {
            dir: Utf8TempDir::new().expect("a temporary directory"),
        };
        // Incompressible bytes, so that the transferred amount distinguishes headers from payloads.
        let mut state = 1_u64;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(50_000)
        .flatten()
        .collect();
        fs_err::write(work.at("noise"), bytes).expect("a file");
        fs_err::write(work.at("hello.spec"), TEXT).expect("a spec file");
        work
    }

    pub(super) fn at(&self, path: &str) -> Utf8PathBuf {
        self.dir.path().join(path)
    }

    /// Builds the package below the directory `into`; returns its file.
    pub(super) fn build(&self, into: &str, spec: Spec<'_>) -> Utf8PathBuf {
        let top = self.at(into);
        let stamp = format!("{:04}", spec.time % 10_000);
        let mut command = tool("rpmbuild", ["-bb", "--nodeps"]);
        for (name, value) in [
            ("_topdir", top.as_str()),
            ("v", spec.version),
            ("greeting", spec.greeting),
            ("needs", spec.requires),
            ("_buildhost", spec.host),
            ("at", &spec.time.to_string()),
            ("stamp", &stamp),
            ("noise", self.at("noise").as_str()),
            ("use_source_date_epoch_as_buildtime", "1"),
            ("_build_id_links", "none"),
        ] {
            command.arg("--define").arg(format!("{name} {value}"));
        }
        command
            .arg(self.at("hello.spec"))
            .env("SOURCE_DATE_EPOCH", spec.time.to_string());
        run(&mut command).ok();
        top.join(format!("RPMS/noarch/hello-{}-1.noarch.rpm", spec.version))
    }

    /// Builds a package whose file, provides and changelog contain `caf` and a byte that is not UTF-8, as old packages do; returns
    /// its file.
    pub(super) fn build_in_latin_1(&self, into: &str, byte: u8) -> Utf8PathBuf {
        let top = self.at(into);
        let text = "Name: old\nVersion: 1.0\nRelease: 1\nSummary: old\nLicense: MIT\nBuildArch: noarch\n\
             Provides: caf_\n%description\nold\n%install\nmkdir -p %{buildroot}/usr/share/old\n\
             printf same > %{buildroot}/usr/share/old/caf_\n%files\n/usr/share/old\n\
             %changelog\n* Wed Jan 01 2020 A B <a@example.org> - 1.0-1\n- caf_\n";
        let mut text = text.as_bytes().to_vec();
        for letter in text.iter_mut().filter(|letter| **letter == b'_') {
            *letter = byte;
        }
        let spec = self.at("old.spec");
        fs_err::write(&spec, text).expect("a spec file");
        let mut command = tool("rpmbuild", ["-bb", "--nodeps"]);
        for (name, value) in [
            ("_topdir", top.as_str()),
            ("_buildhost", FIRST.host),
            ("use_source_date_epoch_as_buildtime", "1"),
            ("_invalid_encoding_terminates_build", "0"),
        ] {
            command.arg("--define").arg(format!("{name} {value}"));
        }
        command
            .arg(spec)
            .env("SOURCE_DATE_EPOCH", FIRST.time.to_string());
        run(&mut command).ok();
        top.join("RPMS/noarch/old-1.0-1.noarch.rpm")
    }

    /// Builds a package `epochs` with a version and an epoch; returns its file.
    pub(super) fn build_of_epoch(
        &self,
        into: &str,
        epoch: Option<u32>,
        version: &str,
    ) -> Utf8PathBuf {
        let epoch = epoch.map_or_else(String::new, |epoch| format!("Epoch: {epoch}\n"));
        let text = format!(
            "Name: epochs\nVersion: {version}\nRelease: 1\nSummary: epochs\nLicense: MIT\nBuildArch: noarch\n{epoch}\
             %description\nepochs\n%files\n"
        );
        let spec = self.at("epochs.spec");
        fs_err::write(&spec, text).expect("a spec file");
        let top = self.at(into);
        let mut command = tool("rpmbuild", ["-bb", "--nodeps"]);
        for define in [
            format!("_topdir {top}"),
            format!("_buildhost {}", FIRST.host),
        ] {
            command.arg("--define").arg(define);
        }
        command.arg(spec);
        run(&mut command).ok();
        top.join(format!("RPMS/noarch/epochs-{version}-1.noarch.rpm"))
    }

    /// Publishes packages as the build of a day, with the commit `commit`.
    pub(super) fn publish(&self, day: u32, commit: &str, packages: &[(&str, &Utf8Path)]) {
        self.publish_to("master/centos", day, commit, packages);
    }

    /// The same, in another channel.
    pub(super) fn publish_to(
        &self,
        channel: &str,
        day: u32,
        commit: &str,
        packages: &[(&str, &Utf8Path)],
    ) {
        let tree = self.at(&format!("tree-{day}-{}", channel.replace('/', "-")));
        for (to, package) in packages {
            let to = tree.join("outputs/RPMS").join(to);
            fs_err::create_dir_all(to.parent().expect("a parent")).expect("a directory");
            fs_err::copy(package, to).expect("a copy");
        }
        fs_err::write(
            tree.join("outputs/CONTEXT"),
            format!("(cd ./stx/config && git checkout -f {commit})\n"),
        )
        .expect("CONTEXT");
        let date = format!("202001{day:02}T000000Z");
        let args = ["publish", tree.as_str(), "--channel", channel];
        run(stx(["--mirror", self.at("mirror").as_str()])
            .args(args)
            .args(["--date", &date, "--result", "success"]))
        .ok();
    }

    /// `stx-builds` on the mirror.
    pub(super) fn stx(&self, args: &[&str]) -> Ran {
        run(stx(["--mirror", self.at("mirror").as_str()]).args(args))
    }
}
