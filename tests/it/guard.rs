//! Private data that must not be published: a hostile tree, a machine with a name, and the messages of a publish.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;
use fs_err::os::unix::fs::symlink;

use crate::harness::{Ran, assert_whole, binary, copy_program, run, tool};

mod linked;
mod packages;

const CHANNEL: &str = "master/centos";
const CONFIG: &str = r#"
mirror = "mirror"

[privacy]
hosts = ["yow-lab7"]
secrets = [{ name = "registry", file = "registry.key" }]
secrets_file = "secrets"
"#;
/// The texts that must not occur on the mirror.
const HIDDEN: [&str; 5] = [
    "yow-lab7",
    "jenkins@",
    "hunter2-registry",
    "tok-0123456789",
    "corp.example",
];

/// A directory with a configuration, a tree and possibly a mirror.
struct Place {
    dir: Utf8TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: Utf8TempDir::new().expect("a temporary directory"),
        };
        place.write("stx-builds.toml", CONFIG);
        place.write("registry.key", "hunter2-registry\n");
        place.write("secrets", "# of the builder\n\ntok-0123456789\n");
        place.write("tree/outputs/iso/bootimage.iso", "an image\0 of yow-lab7");
        place.write("tree/inputs/downloads/notes.txt", "rpmbuild on some host\n");
        place
    }

    fn path(&self, path: &str) -> Utf8PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let file = self.path(path);
        fs_err::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs_err::write(file, text).expect("a file");
    }

    /// Another program that then executes `stx-builds publish`.
    fn publish_by(&self, program: &str, before: &[&str], date: &str) -> Command {
        let mut command = tool(program, before);
        command
            .args([
                "publish",
                "tree",
                "--channel",
                CHANNEL,
                "--result",
                "success",
            ])
            .args(["--date", date])
            .current_dir(self.dir.path())
            .env_remove("STX_BUILDS_CONFIG");
        command
    }

    fn publish(&self, date: &str) -> Command {
        self.publish_by(binary().as_str(), &[], date)
    }

    fn stx(&self, args: &[&str]) -> Command {
        let mut command = tool(binary().as_str(), args);
        command
            .current_dir(self.dir.path())
            .env_remove("STX_BUILDS_CONFIG");
        command
    }

    fn build(&self, date: &str, path: &str) -> Utf8PathBuf {
        self.path("mirror").join(CHANNEL).join(date).join(path)
    }
}

/// Fails the test if a text contains a hidden value.
#[track_caller]
fn assert_hidden(what: &str, text: &[u8]) {
    for hidden in HIDDEN {
        let found = text
            .windows(hidden.len())
            .any(|window| window == hidden.as_bytes());
        assert!(
            !found,
            "{what} holds {hidden}:\n{}",
            String::from_utf8_lossy(text)
        );
    }
}

#[track_caller]
fn assert_said_nothing(ran: &Ran) {
    assert_hidden(&ran.command, ran.stdout.as_bytes());
    assert_hidden(&ran.command, ran.stderr.as_bytes());
}

/// A tree with all kinds of private data, owned by root, and readable by all users except where noted.
fn hostile() -> Place {
    let place = Place::new();
    let outputs = place.path("tree/outputs");
    for (name, target) in [
        ("link-absolute", "/etc/passwd"),
        ("link-dangling", "nowhere"),
        ("link-good", "iso/bootimage.iso"),
        ("link-loop", "link-loop"),
        ("link-outside", "../../registry.key"),
        ("link-to-refused", "setuid"),
    ] {
        symlink(target, outputs.join(name)).expect("a symlink");
    }
    for args in [["block", "b", "7", "0"], ["character", "c", "1", "3"]] {
        run(tool("mknod", args).current_dir(&outputs)).ok();
    }
    run(tool("mkfifo", ["fifo"]).current_dir(&outputs)).ok();
    drop(std::os::unix::net::UnixListener::bind(outputs.join("socket")).expect("a socket"));
    for (name, mode) in [
        ("setuid", 0o4755),
        ("setgid", 0o2755),
        ("unreadable", 0o600),
        ("unreadable-dir/file", 0o644),
    ] {
        place.write(&format!("tree/outputs/{name}"), "x");
        let permissions = std::fs::Permissions::from_mode(mode);
        fs_err::set_permissions(outputs.join(name), permissions).expect("a mode");
    }
    let closed = std::fs::Permissions::from_mode(0o700);
    fs_err::set_permissions(outputs.join("unreadable-dir"), closed).expect("a mode");
    for name in [
        &b"name-\xff-not-utf8"[..],
        b"name-\n-newline",
        b"name-\x1b[31m-control",
        b"name-100%25",
        b"name-back\\slash",
    ] {
        let name = std::ffi::OsStr::from_bytes(name);
        fs_err::write(outputs.as_std_path().join(name), "x").expect("a file");
    }
    let deep = (0..13).fold(outputs.clone(), |dir, _| dir.join("d".repeat(250)));
    fs_err::create_dir_all(&deep).expect("a deep directory");
    fs_err::write(deep.join("deep"), "x").expect("a deep file");

    place.write(
        "tree/outputs/BUILD_INFO",
        "OS=\"centos\"\nBUILD_HOST=\"192.0.2.77\"\n",
    );
    place.write(
        "tree/outputs/CHANGELOG",
        "stx/config 0123 2020-01-01 jenkins@yow-lab7.corp.example Fix\nx\nsee yow-lab7 and yow-lab7\n",
    );
    place.write("tree/outputs/helm.json", "{\"auth\": \"hunter2-registry\"}");
    place.write("tree/outputs/logs/YOW-LAB7.log", "fine");
    place.write("tree/outputs/logs/packed.log.xz", b"\xfd7zXZ\0\0\0");
    place.write(
        "tree/outputs/logs/damaged.log.gz",
        b"\x1f\x8b\x08\0half of it",
    );
    place
}

#[test]
fn a_hostile_tree_is_refused_all_at_once() {
    let place = hostile();
    // Root can read everything, so an ordinary user runs a copy of the program.
    let open = std::fs::Permissions::from_mode(0o755);
    fs_err::set_permissions(place.dir.path(), open).expect("a mode");
    let program = place.path("stx-builds");
    copy_program(&program);
    let nobody = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        program.as_str(),
    ];
    let refused = run(&mut place.publish_by("setpriv", &nobody, "20200101T000000Z")).code(4);
    assert_eq!(refused.stdout, "");
    insta::assert_snapshot!(refused.stderr.replace(&"d".repeat(250), "ddd"));
    // Except for the name of a file, which must be reported.
    assert_hidden(
        "the report",
        refused
            .stderr
            .to_lowercase()
            .replace("yow-lab7.log", "")
            .as_bytes(),
    );
    assert!(!place.path("mirror").exists(), "nothing is published");

    let json = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        program.as_str(),
        "--format",
        "json",
    ];
    let refused = run(&mut place.publish_by("setpriv", &json, "20200101T000000Z")).code(4);
    let problems = refused.json();
    let kinds: BTreeSet<_> = problems["refused"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|problem| problem["problem"].as_str().expect("a kind"))
        .collect();
    let expected = [
        "absolute-link",
        "dangling-link",
        "link-loop",
        "name",
        "not-a-file",
        "outside-link",
        "private",
        "private-name",
        "set-id",
        "unreadable",
        "unsearchable",
    ];
    assert_eq!(kinds, expected.into_iter().collect());
}

#[test]
fn logs_are_redacted_in_the_same_way_every_time_and_secrets_are_never_shown() {
    let place = Place::new();
    // Hidden values span every kind of boundary.
    let mut log = String::new();
    for line in 0..8_000 {
        log.push_str(&"x".repeat(line % 97));
        log.push_str(
            " jenkins@yow-lab7.corp.example: docker login -p hunter2-registry # tok-0123456789\n",
        );
    }
    place.write("tree/outputs/logs/big.log", &log);
    place.write(
        "tree/outputs/std/build.log",
        "on yow-lab7, rpmbuild of building\n",
    );
    place.write("tree/outputs/logs/clean.log", "nothing\n");
    run(tool("gzip", ["--keep", "big.log"]).current_dir(place.path("tree/outputs/logs"))).ok();
    let plan = run(place
        .publish("20200101T000000Z")
        .args(["--dry-run", "--format", "json"]))
    .code(0);
    assert_said_nothing(&plan);
    assert!(
        !place.path("mirror").exists(),
        "a dry run publishes nothing"
    );
    let again = run(place
        .publish("20200101T000000Z")
        .args(["--dry-run", "--format", "json"]))
    .ok();
    assert_eq!(plan.stdout, again, "the same tree has the same plan");
    let published = run(place.publish("20200101T000000Z").args(["--format", "json"])).code(0);
    assert_said_nothing(&published);
    let redacted = &published.json()["privacy"]["redacted"];
    assert_eq!(redacted, &plan.json()["privacy"]["redacted"]);
    for name in ["big.log", "big.log.gz"] {
        let of_file = &redacted[format!("outputs/logs/{name}")];
        for what in ["account", "secret registry", "secret secrets:3"] {
            assert_eq!(of_file[what]["count"], 8_000, "{name}: {what}: {of_file}");
        }
    }
    assert_eq!(
        redacted["outputs/std/build.log"]["host"]["lines"],
        serde_json::json!([1])
    );
    assert_eq!(
        redacted.as_object().expect("an object").len(),
        3,
        "{redacted}"
    );

    let text = |path: &str| fs_err::read(place.build("20200101T000000Z", path)).expect("a file");
    let big = text("outputs/logs/big.log");
    assert_hidden("big.log", &big);
    assert_eq!(
        String::from_utf8_lossy(&big).lines().nth(3),
        Some("xxx [redacted account]: docker login -p [redacted secret] # [redacted secret]")
    );
    let packed = place.build("20200101T000000Z", "outputs/logs/big.log.gz");
    let unpacked = run(&mut tool("zcat", [packed.as_str()])).ok();
    assert!(
        unpacked.as_bytes() == big,
        "what is packed is the same text"
    );
    assert_eq!(
        text("outputs/std/build.log"),
        b"on [redacted host], rpmbuild of building\n"
    );
    assert_eq!(text("outputs/logs/clean.log"), b"nothing\n");
    // A file that is not text is published unchanged.
    assert_eq!(text("outputs/iso/bootimage.iso"), b"an image\0 of yow-lab7");

    // The same tree again is the same build, and another one shares its bytes.
    let again = run(&mut place.publish("20200101T000000Z")).code(0);
    assert_said_nothing(&again);
    assert!(
        again.stdout.contains("published already, the same files"),
        "{}",
        again.stdout
    );
    run(&mut place.publish("20200102T000000Z")).code(0);
    let inode = |date| {
        fs_err::metadata(place.build(date, "outputs/logs/big.log.gz"))
            .expect("a file")
            .ino()
    };
    assert_eq!(inode("20200101T000000Z"), inode("20200102T000000Z"));
    assert_whole(&place.path("mirror"), CHANNEL);
}

#[test]
fn names_and_addresses_of_the_machine_are_redacted() {
    let place = Place::new();
    place.write("stx-builds.toml", "mirror = \"mirror\"\n");
    place.write(
        "tree/outputs/logs/build.log",
        "yow-lab7 yow-lab70 10.77.3.9 110.77.3.9 2001:db8:77::9 127.0.0.1 root@localhost root@yow-lab7\n",
    );
    let script = "echo \"$1\" >/proc/sys/kernel/hostname; ip addr add 10.77.3.9/24 dev lo; \
        ip addr add 2001:db8:77::9/64 dev lo nodad; shift; exec \"$@\"";
    let publish = |name: &str, date: &str| {
        let before = [
            "--uts",
            "--net",
            "sh",
            "-euc",
            script,
            "sh",
            name,
            binary().as_str(),
        ];
        run(&mut place.publish_by("unshare", &before, date))
    };
    publish("yow-lab7", "20200101T000000Z").code(0);
    let log =
        |date| fs_err::read_to_string(place.build(date, "outputs/logs/build.log")).expect("a log");
    assert_eq!(
        log("20200101T000000Z"),
        "[redacted host] yow-lab70 [redacted address] 110.77.3.9 [redacted address] 127.0.0.1 root@localhost [redacted account]\n"
    );
    // If the name of a machine is a common word, no text is damaged.
    place.write(
        "tree/outputs/logs/build.log",
        "build rpmbuild: building root@build:/build\n",
    );
    place.write("tree/outputs/build.cfg", "build = build\n");
    publish("build", "20200102T000000Z").code(0);
    assert_eq!(
        log("20200102T000000Z"),
        "build rpmbuild: building [redacted account]:/build\n"
    );
    place.write("tree/outputs/build.cfg", "server = 10.77.3.9\n");
    let refused = publish("build", "20200103T000000Z").code(4);
    assert!(
        refused
            .stderr
            .contains("outputs/build.cfg: reveals the build server: address in line 1"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_package_that_names_the_build_server_is_refused() {
    let place = Place::new();
    place.write(
        "p.spec",
        "Name: p\nVersion: 1\nRelease: 1\nSummary: p\nLicense: none\nBuildArch: noarch\n%description\np\n%files\n",
    );
    let rpms = place.path("tree/outputs/RPMS/std");
    let package = |host: &str| {
        let (top, dir) = (
            format!("_topdir {}", place.path("top")),
            format!("_rpmdir {rpms}"),
        );
        let host = format!("_buildhost {host}");
        let defines = ["--define", &top, "--define", &dir, "--define", &host];
        run(tool(
            "rpmbuild",
            ["-bb", "--quiet", place.path("p.spec").as_str()],
        )
        .args(defines))
        .ok();
    };
    package("yow-lab7.corp.example");
    let refused = run(&mut place.publish("20200101T000000Z")).code(4);
    assert!(
        refused
            .stderr
            .contains("p-1-1.noarch.rpm: built with the build server's name in the header")
            && refused.stderr.contains("_buildhost"),
        "{}",
        refused.stderr
    );
    package("stx");
    run(&mut place.publish("20200101T000000Z")).code(0);
}

#[test]
fn an_allowed_file_is_published_unchanged_and_reported() {
    let place = Place::new();
    place.write("tree/outputs/CONTEXT", "# on yow-lab7\n");
    place.write("tree/outputs/logs/x.log.xz", b"\xfd7zXZ\0");
    run(&mut place.publish("20200101T000000Z")).code(4);
    let allow = format!("{CONFIG}allow = [\"outputs/CONTEXT\", \"**/*.xz\"]\n");
    place.write("stx-builds.toml", allow);
    let published = run(&mut place.publish("20200101T000000Z")).ok();
    assert!(
        published.contains("not searched, allowed: outputs/CONTEXT"),
        "{published}"
    );
    place.write(
        "stx-builds.toml",
        "mirror = \"mirror\"\n[privacy]\nenabled = false\n",
    );
    place.write("tree/outputs/logs/x.log", "on yow-lab7\n");
    let published = run(&mut place.publish("20200102T000000Z")).code(0);
    assert!(
        published.stderr.contains("files are not searched"),
        "{}",
        published.stderr
    );
}

#[test]
fn an_unusable_privacy_configuration_is_refused_without_showing_secrets() {
    let place = Place::new();
    for (privacy, said) in [
        (
            "secrets = [{ name = \"pin\", file = \"pin\" }]",
            "secret pin: shorter than 6 bytes",
        ),
        (
            "secrets = [{ name = \"pin\", env = \"NO_SUCH\" }]",
            "secret pin: the environment has no NO_SUCH",
        ),
        (
            "secrets = [{ name = \"pin\" }]",
            "secret pin: give either `file` or `env`",
        ),
        ("secrets_file = \"gone\"", "gone"),
        ("hosts = [\"localhost\"]", "host \"localhost\""),
        ("allow = [\"a[\"]", "allow \"a[\""),
    ] {
        place.write("pin", "4711");
        place.write(
            "stx-builds.toml",
            format!("mirror = \"mirror\"\n[privacy]\n{privacy}\n"),
        );
        let refused = run(&mut place.publish("20200101T000000Z")).code(2);
        assert!(
            refused.stderr.contains(said),
            "{privacy}: {}",
            refused.stderr
        );
        assert!(!refused.stderr.contains("4711"), "{}", refused.stderr);
    }
}
