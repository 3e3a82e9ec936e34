//! `compare` and `since` on packages that a real rpmbuild made.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use serde_json::Value;

use crate::harness::{Ran, run, stx, tool};
use crate::nginx::Nginx;

/// How the package is built.
#[derive(Clone, Copy)]
struct Spec<'a> {
    version: &'a str,
    greeting: &'a str,
    requires: &'a str,
    host: &'a str,
    /// Seconds since 1970.
    time: u32,
}

const FIRST: Spec<'_> = Spec {
    version: "1.0",
    greeting: "one",
    requires: "bash",
    host: "first.example.org",
    time: 1_577_836_800,
};

const TEXT: &str = "Name: hello
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
struct Work {
    dir: Utf8TempDir,
}

impl Work {
    fn new() -> Self {
        let work = Self {
            dir: Utf8TempDir::new().expect("a temporary directory"),
        };
        // Bytes that no compression makes smaller, so that headers are told from payloads by what is transferred.
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

    fn at(&self, path: &str) -> Utf8PathBuf {
        self.dir.path().join(path)
    }

    /// Builds the package below the directory `into`; its file.
    fn build(&self, into: &str, spec: Spec<'_>) -> Utf8PathBuf {
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

    /// Publishes packages as the build of a day, made of the commit `commit`.
    fn publish(&self, day: u32, commit: &str, packages: &[(&str, &Utf8Path)]) {
        let tree = self.at(&format!("tree-{day}"));
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
        let args = ["publish", tree.as_str(), "--channel", "master/centos"];
        run(stx(["--mirror", self.at("mirror").as_str()])
            .args(args)
            .args(["--date", &date, "--result", "success"]))
        .ok();
    }

    /// `stx-builds` on the mirror.
    fn stx(&self, args: &[&str]) -> Ran {
        run(stx(["--mirror", self.at("mirror").as_str()]).args(args))
    }
}

const COMMIT: &str = "0123456789012345678901234567890123456789";

/// A mirror with one build of the package, and the package built again: another file, another requirement, another host,
/// at another time; and once more with nothing but another host and time.
struct Rebuilt {
    work: Work,
    again: Utf8PathBuf,
    noise: Utf8PathBuf,
}

fn rebuilt() -> &'static Rebuilt {
    static REBUILT: OnceLock<Rebuilt> = OnceLock::new();
    REBUILT.get_or_init(|| {
        let work = Work::new();
        let first = work.build("first", FIRST);
        work.publish(1, COMMIT, &[("std/hello-1.0-1.noarch.rpm", &first)]);
        let noise = Spec {
            host: "second.example.org",
            time: FIRST.time + 86_400,
            ..FIRST
        };
        let again = Spec {
            greeting: "two",
            requires: "bash, new-thing >= 2",
            ..noise
        };
        Rebuilt {
            again: work.build("again", again),
            noise: work.build("noise-only", noise),
            work,
        }
    })
}

/// The kinds of a list of changes or noise.
fn kinds(list: &Value) -> BTreeSet<&str> {
    let list = list.as_array().expect("a list").iter();
    list.map(|item| item["kind"].as_str().expect("a kind"))
        .collect()
}

#[test]
fn a_rebuilt_package_differs_in_what_was_changed_and_the_noise_is_apart() {
    let Rebuilt { work, again, .. } = rebuilt();
    let args = ["compare", again.as_str(), "--with", "master/centos"];
    let json = work.stx(&[&args[..], &["--format", "json", "--contents"]].concat());
    let report = json.code(1).json();
    let package = &report["packages"][0];
    assert_eq!(report["packages"].as_array().map(Vec::len), Some(1));
    assert_eq!(package["outcome"], "different", "{package:#}");
    let changes = package["changes"].as_array().expect("changes");
    let found: Vec<_> = changes
        .iter()
        .map(|change| {
            (
                change["kind"].as_str(),
                change["path"].as_str(),
                change["name"].as_str(),
                &change["to"],
            )
        })
        .collect();
    let added = serde_json::json!([">= 2"]);
    let expected = [
        (
            Some("file-changed"),
            Some("/usr/share/hello/greeting"),
            None,
            &Value::Null,
        ),
        (Some("dependency"), None, Some("new-thing"), &added),
    ];
    assert_eq!(found, expected, "{package:#}");
    let aspects = changes[0]["aspects"].as_array().expect("aspects");
    assert!(
        matches!(&aspects[..], [only] if only["aspect"] == "content"),
        "{aspects:?}"
    );
    let noise = ["build-host", "build-time", "embedded-times", "file-times"];
    assert_eq!(
        kinds(&package["noise"]),
        BTreeSet::from(noise),
        "{package:#}"
    );

    let human = work.stx(&args).code(1);
    for line in [
        "  ~ /usr/share/hello/greeting: content\n",
        "  + requires new-thing >= 2\n",
        "  noise: build host first.example.org -> second.example.org\n",
        "1 different, 0 added, 0 removed, 0 the same\n",
    ] {
        assert!(human.stdout.contains(line), "{line}\n{}", human.stdout);
    }
    let hidden = work
        .stx(&[&args[..], &["--noise", "hide"]].concat())
        .code(1);
    assert!(!hidden.stdout.contains("noise"), "{}", hidden.stdout);
}

#[test]
fn noise_is_no_difference_unless_it_is_asked_for() {
    let Rebuilt { work, noise, .. } = rebuilt();
    let args = ["compare", noise.as_str(), "--with", "master/centos"];
    // Without the contents, a compressed file with another time in it is another file.
    let shallow = work.stx(&args).code(1);
    assert!(
        shallow
            .stdout
            .contains("~ /usr/share/hello/times.gz: content"),
        "{}",
        shallow.stdout
    );
    let contents = work.stx(&[&args[..], &["--contents"]].concat()).code(0);
    assert!(
        contents
            .stdout
            .contains("noise: times within /usr/share/hello/times.gz (gzip)"),
        "{}",
        contents.stdout
    );
    let count = ["--contents", "--noise", "count", "--junit"];
    let junit = work.at("junit.xml");
    work.stx(&[&args[..], &count, &[junit.as_str()]].concat())
        .code(1);
    let junit = fs_err::read_to_string(junit).expect("junit.xml");
    assert!(
        junit.contains("<testcase name=\"hello.noarch\" classname=\"outputs.RPMS.std\">"),
        "{junit}"
    );
    assert!(junit.contains("failures=\"1\""), "{junit}");
}

#[test]
fn the_very_package_is_the_same_and_one_that_nobody_knows_is_added() {
    let Rebuilt { work, .. } = rebuilt();
    let first = work.at("first/RPMS");
    let same = work
        .stx(&["compare", first.as_str(), "--with", "master/centos"])
        .code(0);
    assert_eq!(same.stdout, "0 different, 0 added, 0 removed, 1 the same\n");
    let other = work.stx(&[
        "compare",
        first.as_str(),
        "--with",
        "master/centos",
        "--phase",
        "rt",
    ]);
    assert!(
        other
            .code(1)
            .stdout
            .starts_with("hello.noarch (rt): added\n")
    );
    work.stx(&["compare", first.as_str(), "--with", "master/debian"])
        .code(5);
    work.stx(&["compare", first.as_str()]).code(2);
    work.stx(&["compare", "no-such.rpm", "--with", "master/centos"])
        .code(5);
}

#[test]
fn from_a_url_only_headers_are_transferred() {
    let Rebuilt { work, again, .. } = rebuilt();
    let conf = "daemon off;\npid nginx.pid;\nevents {}\nhttp {\naccess_log access.log;\nserver {\nlisten 127.0.0.1:8080;\n\
        root mirror;\nlocation / {}\n}\n}\n";
    let nginx = Nginx::serve(work.dir.path(), conf);
    let compare = |more: &[&str]| {
        let args = [
            "compare",
            again.as_str(),
            "--with",
            "master/centos",
            "--format",
            "json",
        ];
        let ran = run(stx(["--mirror", &nginx.url("")]).args(args).args(more)).code(1);
        let bytes = ran.json()["transferred"].as_u64().expect("a number");
        assert!(
            ran.stderr
                .contains(&format!("{bytes} bytes came over the network")),
            "{}",
            ran.stderr
        );
        bytes
    };
    let sent = || -> u64 {
        let log = fs_err::read_to_string(work.at("access.log")).expect("a log");
        log.lines()
            .filter_map(|line| {
                line.split("\" ")
                    .nth(1)?
                    .split(' ')
                    .nth(1)?
                    .parse::<u64>()
                    .ok()
            })
            .sum()
    };
    let headers = compare(&[]);
    // The package has 400 kB that cannot be compressed.
    assert!(
        headers < 40_000,
        "{headers} bytes for a comparison of headers"
    );
    assert_eq!(headers, sent(), "what is said is what the server sent");
    let whole = compare(&["--contents"]);
    assert!(
        whole > 400_000,
        "{whole} bytes for a comparison of contents"
    );
}

#[test]
fn two_builds_are_compared_and_the_build_of_a_change_is_found() {
    let work = Work::new();
    let old = work.build("old", FIRST);
    let new = Spec {
        greeting: "two",
        ..FIRST
    };
    let new = work.build("new", new);
    let next = Spec {
        version: "1.1",
        greeting: "two",
        ..FIRST
    };
    let next = work.build("next", next);
    let repository = work.at("config");
    let git = |args: &[&str]| {
        let mut command = tool("git", ["-C", repository.as_str()]);
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.org"];
        run(command.args(who).args(args)).ok().trim().to_owned()
    };
    fs_err::create_dir(&repository).expect("a directory");
    git(&["init", "-q"]);
    let commits: Vec<_> = (0..7)
        .map(|count| {
            git(&["commit", "-q", "--allow-empty", "-m", &count.to_string()]);
            git(&["rev-parse", "HEAD"])
        })
        .collect();
    // Rebuilt each day; the change came on the 4th, the version on the 6th.
    for day in 1..=7_u32 {
        let package = match day {
            1..=3 => &old,
            4..=5 => &new,
            _ => &next,
        };
        let name = if day < 6 {
            "std/hello-1.0-1.noarch.rpm"
        } else {
            "std/hello-1.1-1.noarch.rpm"
        };
        let commit = &commits[day as usize - 1];
        let other = if day == 1 {
            "rt/gone-1-1.noarch.rpm"
        } else {
            "rt/come-1-1.noarch.rpm"
        };
        work.publish(day, commit, &[(name, package), (other, &old)]);
    }

    let compare = |from: &str, to: &str| {
        let id = |day| format!("master/centos/202001{day}T000000Z");
        let ran = work.stx(&["compare", &id(from), &id(to), "--noise", "hide"]);
        ran.code(1).stdout
    };
    assert_eq!(
        compare("02", "04"),
        "hello.noarch (outputs/RPMS/std): different\n  ~ /usr/share/hello/greeting: content\n\
         1 different, 0 added, 0 removed, 1 the same\n"
    );
    assert_eq!(
        compare("01", "02"),
        "come.noarch (outputs/RPMS/rt): added\ngone.noarch (outputs/RPMS/rt): removed\n\
         0 different, 1 added, 1 removed, 1 the same\n"
    );
    work.stx(&["compare", "master/centos", "master/centos"])
        .code(0);

    let since = |args: &[&str]| {
        let args = [
            &[
                "since",
                "hello",
                "--in",
                "master/centos",
                "--format",
                "json",
            ],
            args,
        ]
        .concat();
        work.stx(&args).code(0).json()
    };
    let file = since(&["--file", "/usr/share/hello/greeting"]);
    assert_eq!(
        file["changed"], "master/centos/20200104T000000Z",
        "{file:#}"
    );
    assert_eq!(file["before"], "master/centos/20200103T000000Z");
    let range = &file["commits"][0];
    assert_eq!(
        (&range["from"], &range["to"]),
        (&commits[2].as_str().into(), &commits[3].as_str().into())
    );
    assert_eq!(kinds(&file["changes"]), BTreeSet::from(["file-changed"]));
    assert!(file["looked_at"][0].as_u64() <= Some(4), "{file:#}");
    let package = since(&[]);
    assert_eq!(
        package["changed"], "master/centos/20200106T000000Z",
        "{package:#}"
    );
    assert_eq!(package["versions"], serde_json::json!(["1.0-1", "1.1-1"]));
    let version = since(&["--version", "1.1"]);
    assert_eq!(version["changed"], "master/centos/20200106T000000Z");
    let all = since(&["--file", "/usr/share/hello/same"]);
    assert_eq!(
        (&all["changed"], &all["oldest"]),
        (&Value::Null, &"master/centos/20200101T000000Z".into())
    );
    for (args, message) in [
        (["--version", "2"], "no build has 2 yet"),
        (["--file", "/no"], "no file /no in any retained build"),
    ] {
        let args = [&["since", "hello", "--in", "master/centos"], &args[..]].concat();
        let ran = work.stx(&args).code(5);
        assert!(ran.stderr.contains(message), "{}", ran.stderr);
    }

    // A work tree two commits ahead of the build of the 3rd.
    git(&["reset", "-q", "--hard", &commits[2]]);
    git(&["commit", "-q", "--allow-empty", "-m", "mine"]);
    git(&["commit", "-q", "--allow-empty", "-m", "mine too"]);
    let args = [
        "compare",
        new.as_str(),
        "--with",
        "master/centos",
        "--source",
        repository.as_str(),
    ];
    let ran = work.stx(&args).code(1);
    assert!(
        ran.stderr
            .contains("master/centos/20200103T000000Z is nearest"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("2 commits behind"), "{}", ran.stderr);
    assert!(
        ran.stdout.contains("~ /usr/share/hello/greeting: content"),
        "{}",
        ran.stdout
    );
}

#[test]
fn packages_that_lie_are_errors_and_the_others_are_compared() {
    let Rebuilt { work: made, .. } = rebuilt();
    let good = made.at("first/RPMS/noarch/hello-1.0-1.noarch.rpm");
    let bytes = fs_err::read(&good).expect("a package");
    let work = Work::new();
    let lie = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        let path = work.at(name);
        fs_err::write(&path, bytes).expect("a file");
        path
    };
    // A header of 4 GB; one that ends in the middle; the package of another name; no package at all.
    let huge = lie("huge", &|bytes| bytes[96 + 8..96 + 16].fill(0xff));
    let short = lie("short", &|bytes| bytes.truncate(1000));
    let page = lie("page", &|bytes| *bytes = b"<html>not found</html>".to_vec());
    let names = [
        ("std/huge-1-1.noarch.rpm", &huge, "no more than"),
        (
            "std/other-1-1.noarch.rpm",
            &good,
            "the header is that of hello.noarch, not of other.noarch",
        ),
        ("std/page-1-1.noarch.rpm", &page, "not an RPM package"),
        (
            "std/short-1-1.noarch.rpm",
            &short,
            "the file ends at byte 1000",
        ),
    ];
    let again = &rebuilt().again;
    let mut packages: Vec<_> = names
        .iter()
        .map(|(to, path, _)| (*to, path.as_path()))
        .collect();
    packages.push(("std/hello-1.0-1.noarch.rpm", &good));
    work.publish(1, COMMIT, &packages);
    // Everything else is other bytes on the second day.
    for path in [&huge, &short, &page] {
        let mut bytes = fs_err::read(path).expect("a file");
        *bytes.last_mut().expect("bytes") ^= 1;
        fs_err::write(path, bytes).expect("a file");
    }
    packages[1].1 = again;
    packages[4].1 = again;
    work.publish(2, COMMIT, &packages);
    let builds = ["compare", "master/centos/20200101T000000Z", "master/centos"];
    let ran = work
        .stx(&[&builds[..], &["--format", "json"]].concat())
        .code(4);
    let report = ran.json();
    let packages = report["packages"].as_array().expect("packages");
    for (path, _, reason) in names {
        let package = packages.iter().find(|package| {
            package["from"]
                .as_str()
                .is_some_and(|from| from.ends_with(path))
        });
        let package = package.unwrap_or_else(|| panic!("{path}: {report:#}"));
        let found = package["reason"].as_str().unwrap_or_default();
        assert!(found.contains(reason), "{path}: {package:#}");
    }
    let good = packages.iter().find(|package| package["name"] == "hello");
    assert_eq!(
        good.map(|package| &package["outcome"]),
        Some(&"different".into())
    );
}
