//! `verify` finds all damage by careless edits, broken disks and dead publishers.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use fs_err::os::unix::fs::symlink;

use crate::harness::{Ran, publish_args, run, stx_without_pages, tool};

const CHANNEL: &str = "master/centos";
const OLD: &str = "20200101T000000Z";
const NEW: &str = "20200102T000000Z";
const FAILED: &str = "20200103T000000Z";

/// A mirror with two successes and a failure.
struct Mirror {
    dir: Utf8TempDir,
}

impl Mirror {
    /// A copy of a mirror that is published once per run of the tests.
    fn new() -> Self {
        static ORIGINAL: OnceLock<Mirror> = OnceLock::new();
        let original = ORIGINAL.get_or_init(Self::publish);
        let dir = Utf8TempDir::new().expect("a temporary directory");
        run(&mut tool(
            "cp",
            ["-a", original.root().as_str(), dir.path().as_str()],
        ))
        .ok();
        Self { dir }
    }

    fn publish() -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let mirror = Self { dir };
        let tree = mirror.dir.path().join("tree");
        for (path, text) in [
            ("outputs/iso/bootimage.iso", "an image"),
            ("outputs/CONTEXT", "sources\n"),
        ] {
            let file = tree.join(path);
            fs_err::create_dir_all(file.parent().expect("a parent")).expect("a directory");
            fs_err::write(file, text).expect("a file");
        }
        symlink("iso/bootimage.iso", tree.join("outputs/image")).expect("a symlink");
        for (date, result) in [(OLD, "success"), (NEW, "success"), (FAILED, "fail")] {
            // No shared files, so that damage to one build does not affect another.
            fs_err::write(tree.join("outputs/iso/bootimage.iso"), date).expect("a file");
            fs_err::write(tree.join("outputs/CONTEXT"), format!("of {date}\n")).expect("a file");
            let args = publish_args(tree.as_str(), CHANNEL, date, result);
            run(&mut mirror.stx(&args)).code(0);
        }
        mirror
    }

    fn root(&self) -> Utf8PathBuf {
        self.dir.path().join("mirror")
    }

    fn channel(&self) -> Utf8PathBuf {
        self.root().join(CHANNEL)
    }

    fn stx(&self, args: &[&str]) -> std::process::Command {
        let mut command = stx_without_pages(["--mirror", self.root().as_str()]);
        command.args(args);
        command
    }

    fn verify(&self, args: &[&str]) -> Ran {
        run(self.stx(&["--format", "json", "verify"]).args(args))
    }

    /// The expected finding: kind, severity and place.
    fn found(&self) -> Vec<String> {
        let ran = self.verify(&[]);
        let findings = ran.json()["findings"].as_array().expect("a list").clone();
        let is_note = |it: &serde_json::Value| it["severity"] == "note" && it["kind"] != "leftover";
        let code = if findings.iter().all(is_note) { 0 } else { 4 };
        let ran = ran.code(code);
        let human = run(&mut self.stx(&["verify"])).code(code);
        let lines = findings.iter().map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap_or_default();
            assert!(human.stdout.contains(text("message")), "{human:?}\n{ran:?}");
            let build = text("build").rsplit('/').next().unwrap_or_default();
            format!(
                "{} {} {build}/{}",
                text("severity"),
                text("kind"),
                text("path")
            )
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        lines
    }
}

fn write(file: &Utf8Path, text: &str) {
    fs_err::write(file, text).expect("a file");
}

fn edit(file: &Utf8Path, edit: impl Fn(String) -> String) {
    let text = fs_err::read_to_string(file).expect("a text");
    write(file, &edit(text));
}

fn chmod(file: &Utf8Path, mode: u32) {
    fs_err::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("a mode");
}

fn point(alias: &Utf8Path, target: &str) {
    fs_err::remove_file(alias).expect("the alias");
    symlink(target, alias).expect("a symlink");
}

/// Damage to the directory of the channel.
type Harm = (&'static str, fn(&Utf8Path));

/// Damage, with the expected findings.
type Case = (&'static str, fn(&Utf8Path), &'static [&'static str]);

/// Damage to the content of builds and channels, which cannot be repaired by deriving it again.
const LASTING: [Harm; 20] = [
    ("a changed byte", |channel| {
        write(
            &channel.join(NEW).join("outputs/CONTEXT"),
            "of 20200102T000000Y\n",
        );
    }),
    ("a longer file", |channel| {
        edit(&channel.join(NEW).join("outputs/CONTEXT"), |text| {
            text + "x"
        });
    }),
    ("a missing file", |channel| {
        fs_err::remove_file(channel.join(NEW).join("outputs/CONTEXT")).expect("removed");
    }),
    ("the missing end of a symlink", |channel| {
        fs_err::remove_file(channel.join(NEW).join("outputs/iso/bootimage.iso")).expect("removed");
    }),
    ("a symlink out of the build", |channel| {
        point(&channel.join(NEW).join("outputs/image"), "/etc/passwd");
    }),
    ("an extra file", |channel| {
        write(&channel.join(NEW).join("outputs/extra"), "x");
    }),
    ("a name that no mirror takes", |channel| {
        write(&channel.join(NEW).join("outputs/a%20b"), "x");
    }),
    ("a file that others may write", |channel| {
        chmod(&channel.join(NEW).join("outputs/CONTEXT"), 0o666);
    }),
    ("a directory that readers cannot enter", |channel| {
        chmod(&channel.join(NEW).join("outputs/iso"), 0o700);
    }),
    ("a FIFO", |channel| {
        drop(
            run(&mut tool(
                "mkfifo",
                [channel.join(NEW).join("outputs/pipe").as_str()],
            ))
            .ok(),
        );
    }),
    ("the other marker", |channel| {
        write(&channel.join(NEW).join("outputs/fail"), "");
    }),
    ("sums cut off within a line", |channel| {
        edit(&channel.join(NEW).join("SHA256SUMS"), |text| {
            text[..100].to_owned()
        });
    }),
    ("sums cut off after a line", |channel| {
        edit(&channel.join(NEW).join("SHA256SUMS"), |text| {
            let lines: Vec<_> = text.split_inclusive('\n').collect();
            lines[..lines.len() - 1].concat()
        });
    }),
    ("no sums", |channel| {
        fs_err::remove_file(channel.join(NEW).join("SHA256SUMS")).expect("removed");
    }),
    ("an edited record", |channel| {
        edit(&channel.join(NEW).join("build.json"), |text| {
            text.replace("\"files\": 5", "\"files\": 6")
        });
    }),
    ("the record of another build", |channel| {
        let record = fs_err::read(channel.join(OLD).join("build.json")).expect("a record");
        fs_err::write(channel.join(NEW).join("build.json"), record).expect("written");
    }),
    ("no record", |channel| {
        fs_err::remove_file(channel.join(NEW).join("build.json")).expect("removed");
    }),
    ("pins that cannot be understood", |channel| {
        let pins = channel
            .ancestors()
            .nth(2)
            .expect("the root")
            .join(".stx/pins");
        fs_err::create_dir_all(pins.join(CHANNEL)).expect("a directory");
        write(&pins.join(CHANNEL).join(format!("{NEW}.json")), "{");
    }),
    ("strays in the channel", |channel| {
        write(&channel.join("notes.txt"), "x");
        fs_err::create_dir_all(channel.join("20200101_other/tool")).expect("a directory");
        write(
            &channel.join("20200101_other/build.json"),
            "{\"other\": \"tool\"}",
        );
    }),
    ("strays above the channel", |channel| {
        let above = channel.parent().expect("a parent");
        write(&above.join("notes.txt"), "x");
        fs_err::create_dir_all(above.join("someones")).expect("a directory");
        write(&above.join("someones/file"), "theirs");
    }),
];

#[test]
fn irreparable_damage_is_reported_and_not_changed() {
    let mut all = String::new();
    for (what, harm) in LASTING {
        let mirror = Mirror::new();
        harm(&mirror.channel());
        let found = mirror.found();
        assert_ne!(found, [""; 0], "{what}");
        writeln!(all, "{what}\n  {}", found.join("\n  ")).expect("text");
        // A repair changes none of it, and lists still work.
        let is_wrong = found.iter().any(|line| !line.starts_with("note "));
        mirror
            .verify(&["--repair"])
            .code(if is_wrong { 4 } else { 0 });
        assert_eq!(mirror.found(), found, "{what}, after a repair");
        run(&mut mirror.stx(&["list"])).code(0);
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_finding_names_its_file_once() {
    let mirror = Mirror::new();
    let record = mirror.channel().join(NEW).join("build.json");
    let path = format!("{CHANNEL}/{NEW}/build.json: ");
    for is_there in [true, false] {
        if is_there {
            write(&record, "{");
        } else {
            fs_err::remove_file(&record).expect("removed");
        }
        let found = run(&mut mirror.stx(&["verify"])).code(4).stdout;
        let lines: Vec<_> = found.lines().filter(|line| line.contains(&path)).collect();
        assert!(!lines.is_empty(), "{found}");
        for line in lines {
            assert_eq!(line.matches("build.json").count(), 1, "{line}");
        }
    }
}

/// Damage to derived data.
const DERIVED: [Case; 6] = [
    (
        "an alias that lags behind",
        |channel| point(&channel.join("latest_build"), OLD),
        &["warning alias-not-newest /latest_build"],
    ),
    (
        "an alias to nothing",
        |channel| point(&channel.join("latest_build"), "20191231T000000Z"),
        &["error alias-dangling /latest_build"],
    ),
    (
        "an alias to a failure",
        |channel| point(&channel.join("latest_build"), FAILED),
        &["error alias-to-failure /latest_build"],
    ),
    (
        "an alias with an absolute path",
        |channel| point(&channel.join("latest_build"), channel.join(NEW).as_str()),
        &["error alias-malformed /latest_build"],
    ),
    (
        "no alias",
        |channel| fs_err::remove_file(channel.join("latest_build")).expect("removed"),
        &["warning alias-missing /latest_build"],
    ),
    (
        "what a dead publisher staged",
        |channel| {
            let root = channel.ancestors().nth(2).expect("the root");
            let staged = root.join(".stx/staging/master/centos/20200104T000000Z/outputs");
            fs_err::create_dir_all(&staged).expect("a directory");
            write(&staged.join("half"), "x");
        },
        &["note leftover /.stx/staging/master/centos/20200104T000000Z"],
    ),
];

#[test]
fn derived_files_are_repaired() {
    for (what, harm, expected) in DERIVED {
        let mirror = Mirror::new();
        harm(&mirror.channel());
        assert_eq!(mirror.found(), expected, "{what}");
        let hint = run(&mut mirror.stx(&["verify"])).code(4).stderr;
        assert!(hint.contains("verify --repair"), "{what}: {hint}");
        let repaired = mirror.verify(&["--repair"]).code(0).json();
        assert!(repaired["repaired"].is_object(), "{what}: {repaired}");
        assert_eq!(mirror.found(), [""; 0], "{what}, after the repair");
        let shown = mirror.channel().join("latest_build").read_link_utf8();
        assert_eq!(shown.expect("an alias"), NEW, "{what}");
    }
}

#[test]
fn one_build_and_one_channel_are_verified_alone() {
    let mirror = Mirror::new();
    write(&mirror.channel().join(NEW).join("outputs/CONTEXT"), "x");
    for (scope, code) in [
        (format!("{CHANNEL}/{OLD}"), 0),
        (format!("{CHANNEL}/{NEW}"), 4),
        (CHANNEL.to_owned(), 4),
        ("master/debian".to_owned(), 5),
        (format!("{CHANNEL}/20190101T000000Z"), 5),
        ("../x".to_owned(), 2),
    ] {
        mirror.verify(&[&scope]).code(code);
    }
}
