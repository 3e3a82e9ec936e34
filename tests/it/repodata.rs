//! The metadata of RPM repositories: it equals that of `createrepo_c`, even for odd packages; omissions are reported; and the build's
//! own groups, modules and updates are kept.

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use serde_json::{Value, json};

use crate::demo::demo;
use crate::harness::{Ran, assert_whole, builds, in_memory, names, package, run, stx, tool};
use crate::rpms::{Parts, build, odd};

/// Prints all facts about each package in a `repodata/`, one per line, in their original order. The order of packages does not depend
/// on that in the file.
const FACTS: &str = r#"
import glob, gzip, sys
import xml.etree.ElementTree as xml

def facts(element, path):
    path += "/" + element.tag.split("}")[1] + str(sorted(element.attrib.items()))
    yield path + ": " + (repr(element.text or "") if len(element) == 0 else "")
    for child in element:
        yield from facts(child, path)

for kind in "primary", "filelists", "other":
    [file] = glob.glob(sys.argv[1] + "/*-" + kind + ".xml.gz")
    root = xml.parse(gzip.open(file)).getroot()
    assert int(root.attrib["packages"]) == len(root)
    for package in sorted(list(facts(package, "")) for package in root):
        print(kind, *package, sep="\n")
"#;

fn facts(repodata: &Utf8Path) -> String {
    run(&mut tool(
        "/usr/bin/python3",
        ["-I", "-c", FACTS, repodata.as_str()],
    ))
    .ok()
}

/// Fails the test at the first fact that differs.
#[track_caller]
fn assert_same(ours: &str, theirs: &str) {
    let mut lines = ours.lines().zip(theirs.lines());
    if let Some((ours, theirs)) = lines.find(|(ours, theirs)| ours != theirs) {
        panic!("ours:   {ours}\ntheirs: {theirs}");
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

#[test]
fn the_metadata_of_the_sample_agrees_with_createrepo_c() {
    let channel = "master/centos";
    let mirror = demo().mirror();
    let mut repositories = 0;
    // The metadata of the first build is made from the packages alone, that of the second one also from the first build's.
    for build in builds(&mirror, channel) {
        let build = mirror.join(channel).join(build);
        for dir in [
            "inputs/RPMS",
            "outputs/RPMS/std",
            "outputs/RPMS/rt",
            "outputs/RPMS/installer",
            "outputs/SRPMS/std",
        ] {
            let (dir, copy) = (build.join(dir), Utf8TempDir::new().expect("a directory"));
            run(&mut tool(
                "cp",
                ["-a", &format!("{dir}/."), copy.path().as_str()],
            ))
            .ok();
            let ours = facts(&copy.path().join("repodata"));
            fs_err::remove_dir_all(copy.path().join("repodata")).expect("removed");
            let theirs = ["--quiet", "--no-database", copy.path().as_str()];
            run(&mut tool("createrepo_c", theirs)).ok();
            let theirs = facts(&copy.path().join("repodata"));
            assert_same(&ours, &theirs);
            let packages = names(&dir)
                .iter()
                .filter(|name| Utf8Path::new(name).extension() == Some("rpm"))
                .count();
            assert!(packages == 0 || ours.contains("pkgid"), "{dir}: {ours}");
            repositories += 1;
        }
    }
    assert_eq!(repositories, 10);
}

const DATE: &str = "20200101T000000Z";
const CHANNEL: &str = "master/centos";
const STD: &str = "outputs/RPMS/std";

/// A tree to publish, and a mirror.
struct Tree {
    dir: Utf8TempDir,
}

impl Tree {
    /// A tree with this configuration.
    fn new(config: &str) -> Self {
        let tree = Self { dir: in_memory() };
        let text = format!("mirror = \"mirror\"\n{config}\n[site]\nenabled = false\n");
        fs_err::write(tree.at("stx-builds.toml"), text).expect("a file");
        tree
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    /// Adds a file to the tree.
    fn write(&self, path: &str, bytes: &[u8]) -> &Self {
        let file = self.at("tree").join(path);
        fs_err::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        fs_err::write(file, bytes).expect("a file");
        self
    }

    /// Adds a changed package to the tree.
    fn package(&self, name: &str, from: &Utf8Path, change: impl FnOnce(Parts) -> Parts) -> &Self {
        let parts = Parts::read(&fs_err::read(from).expect("a package"));
        self.write(&format!("{STD}/{name}"), &change(parts).write())
    }

    fn stx(&self, args: &[&str]) -> Ran {
        let config = self.at("stx-builds.toml");
        let config = ["--config", config.as_str()];
        run(&mut stx(config.into_iter().chain(args.iter().copied())))
    }

    fn publish(&self, result: &str) -> Ran {
        let tree = self.at("tree");
        let args = [
            "--format",
            "json",
            "publish",
            tree.as_str(),
            "--channel",
            CHANNEL,
        ];
        self.stx(&[&args[..], &["--date", DATE, "--result", result]].concat())
    }

    /// The published repository.
    fn published(&self) -> Utf8PathBuf {
        self.at("mirror").join(CHANNEL).join(DATE).join(STD)
    }

    /// The metadata of the published repository by `createrepo_c`.
    fn theirs(&self) -> String {
        let copy = self.at("copy");
        fs_err::create_dir(&copy).expect("a directory");
        let from = format!("{}/.", self.published());
        run(&mut tool("cp", ["-a", &from, copy.as_str()])).ok();
        fs_err::remove_dir_all(copy.join("repodata")).expect("removed");
        run(&mut tool(
            "createrepo_c",
            ["--quiet", "--no-database", copy.as_str()],
        ))
        .ok();
        facts(&copy.join("repodata"))
    }

    /// The kinds and paths of the findings of `verify`.
    fn verify(&self) -> Vec<(String, String)> {
        let found = self.stx(&["--format", "json", "verify"]).json();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let findings = found["findings"].as_array().expect("findings").iter();
        findings
            .map(|it| (text(&it["kind"]), text(&it["path"])))
            .collect()
    }
}

/// The package `odd`, its part without files, and its source package.
fn odds() -> [&'static Utf8Path; 3] {
    let find = |part: &str| {
        let mut odd = odd().iter();
        odd.find(|path| path.file_name().is_some_and(|name| name.contains(part)))
            .unwrap_or_else(|| panic!("rpmbuild makes {part}"))
            .as_path()
    };
    [find("git2-1.noarch"), find("empty"), find("src")]
}

#[test]
fn odd_packages_are_listed_as_createrepo_c_lists_them() {
    let [odd, empty, source] = odds();
    let tree = Tree::new("");
    tree.package("odd.rpm", odd, |it| it)
        .package("empty.rpm", empty, |it| it)
        .package("source.src.rpm", source, |it| it)
        .package("old.rpm", odd, Parts::of_4_11);
    // Tags that old packages lack, or that were removed: names, sizes, times, versions, files, changelog, ...
    for tag in [
        1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1009, 1014, 1016, 1022, 1028, 1030, 1034,
        1037, 1044, 1047, 1048, 1049, 1050, 1054, 1055, 1080, 1081, 1082, 1090, 1112, 1113, 1114,
        1115, 1116, 1117, 1118, 5046, 5047, 5048, 5062,
    ] {
        tree.package(&format!("without-{tag}.rpm"), odd, |it| it.without(&[tag]));
        tree.package(&format!("empty-without-{tag}.rpm"), empty, |it| {
            it.without(&[tag])
        });
    }
    tree.package("source-without-1106.src.rpm", source, |it| {
        it.without(&[1106])
    });
    // Texts in Latin-1, with characters that are punctuation in Windows-1252, with line ends and with tabs; invalid epochs.
    for (name, old, new) in [
        ("latin-name", &b"plainname"[..], &b"pl\xe4inn\xf6me"[..]),
        ("latin-mixed", "Grüße".as_bytes(), b"Gr\xfc\x85\xdf\xa0e"),
        ("latin-file", b"odd.conf", b"odd\xb0con\xff"),
        ("latin-changelog", "Émile".as_bytes(), b"\xc9mile "),
        ("line-end", b"plainname", b"pla\nin\rme"),
        ("tab", b"plainname", b"pla\tname "),
        ("author", b"org> - 1.0-9", b"org> 1.0-9  "),
        ("no-epoch", b"1:2-3", b":12-3"),
        ("bad-epoch", b"1:2-3", b"x:2-3"),
        ("negative-epoch", b"1:2-3", b"-1:23"),
        ("no-version", b"1:2-3", b"1:-23"),
        ("no-release", b"1:2-3", b"1:23-"),
        ("delete", b"plainname", b"pla\x7fname "),
    ] {
        tree.package(&format!("{name}.rpm"), odd, |it| it.replace(old, new));
    }
    // Flags that are no longer written: those of optional requirements, and invalid comparisons.
    for (name, bits) in [
        ("missingok", 1 << 19),
        ("serial", 1),
        ("contradiction", 6_u32),
    ] {
        tree.package(&format!("{name}.rpm"), odd, |mut it| {
            for tag in it
                .main
                .iter_mut()
                .filter(|it| [1048, 1112].contains(&it.number))
            {
                for word in tag.data.chunks_exact_mut(4) {
                    word[0] |= bits.to_be_bytes()[0];
                    word[1] |= bits.to_be_bytes()[1];
                    word[3] |= bits.to_be_bytes()[3];
                }
            }
            it
        });
    }
    let ran = tree.publish("success").code(0);
    let metadata = &ran.json()["metadata"][STD];
    let packages = names(&tree.at("tree").join(STD)).len();
    assert_eq!(metadata["listed"], json!(packages), "{metadata}");
    assert_eq!(metadata["unlisted"], Value::Null);
    // The packages that `createrepo_c` warns about.
    let left_out =
        "bad-epoch.rpm: the dependency `prov-epoch x:2-3` is left out: its epoch is not a number";
    assert_eq!(metadata["warnings"], json!([left_out]));
    assert!(ran.stderr.contains(left_out), "{}", ran.stderr);
    assert_same(&facts(&tree.published().join("repodata")), &tree.theirs());
    assert_eq!(tree.verify(), []);
}

/// The packages that are published but not listed, by both programs that make metadata, with a part of the reason.
const UNLISTED: [(&str, [&str; 2]); 8] = [
    (
        "control-dependency.rpm",
        ["dependency name", "Forbidden control chars"],
    ),
    ("control-file.rpm", ["file name", "Forbidden control chars"]),
    (
        "control-name.rpm",
        ["package name", "Forbidden control chars"],
    ),
    ("cut.rpm", ["the file ends at byte 300", "cut.rpm"]),
    (
        "empty.rpm",
        ["the file ends at byte 0", "the file ends at byte 0"],
    ),
    ("lies.rpm", ["points outside of the header", "lies.rpm"]),
    ("page.rpm", ["no lead at byte 0", "no lead at byte 0"]),
    ("pointer.rpm", ["no lead at byte 0", "no lead at byte 0"]),
];

/// A tree with the packages of [`UNLISTED`], one package in three files, and two packages that are listed.
fn incomplete(config: &str) -> Tree {
    let (tree, [odd, empty, _]) = (Tree::new(config), odds());
    let bytes = fs_err::read(odd).expect("a package");
    let main = Parts::read(&bytes);
    let begin = bytes.len() - main.payload.len();
    let mut lies = bytes.clone();
    // The count of the last tag's entry.
    let index = lies[..begin]
        .windows(8)
        .rposition(|it| it == [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0])
        .expect("a header");
    lies[index + 16 + 16 + 12..][..4].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
    tree.package("control-dependency.rpm", odd, |it| {
        it.replace(b"plainname", b"plain\x1bame")
    })
    .package("control-file.rpm", odd, |it| {
        it.replace(b"odd.conf", b"odd\x01conf")
    })
    .package("control-name.rpm", odd, |it| {
        it.replace(b"odd\0", b"o\x02d\0")
    })
    .write(&format!("{STD}/cut.rpm"), &bytes[..300])
    .write(&format!("{STD}/empty.rpm"), b"")
    .write(&format!("{STD}/lies.rpm"), &lies)
    .write(
        &format!("{STD}/page.rpm"),
        b"<html><body>404 Not Found</body></html>",
    )
    .write(
        &format!("{STD}/pointer.rpm"),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    )
    .package("odd.rpm", odd, |it| it)
    .package("sub/again.rpm", odd, |it| it)
    .package("sub/old.rpm", odd, Parts::of_4_11)
    .package("single.rpm", empty, |it| it);
    tree
}

#[test]
fn packages_that_are_not_listed_are_reported() {
    for (at, backend) in ["built-in", "createrepo_c"].into_iter().enumerate() {
        let tree = incomplete(&format!("[metadata]\nmade_by = \"{backend}\""));
        let ran = tree.publish("success").code(0);
        let metadata = &ran.json()["metadata"][STD];
        assert_eq!(metadata["listed"], json!(4), "{metadata}");
        let unlisted = metadata["unlisted"].as_object().expect("an object");
        let found: Vec<_> = unlisted.keys().map(String::as_str).collect();
        assert_eq!(found, UNLISTED.map(|(name, _)| name), "{backend}");
        for (name, reasons) in UNLISTED {
            let reason = unlisted[name].as_str().expect("a text");
            assert!(reason.contains(reasons[at]), "{backend}: {name}: {reason}");
            let warned = format!("warning: {STD}/{name} is not in the repository metadata: ");
            assert!(ran.stderr.contains(&warned), "{}", ran.stderr);
        }
        let duplicates =
            json!({"odd-3:1.0~rc1^git2-1.noarch": ["odd.rpm", "sub/again.rpm", "sub/old.rpm"]});
        assert_eq!(metadata["duplicates"], duplicates, "{backend}");
        assert!(
            ran.stderr.contains(
                "lists odd-3:1.0~rc1^git2-1.noarch more than once: odd.rpm, sub/again.rpm"
            )
        );
        assert_same(&facts(&tree.published().join("repodata")), &tree.theirs());
        let found =
            UNLISTED.map(|(name, _)| ("not-in-repodata".to_owned(), format!("{STD}/{name}")));
        assert_eq!(tree.verify(), found, "{backend}");
        tree.stx(&["verify"]).code(4);
        assert_whole(&tree.at("mirror"), CHANNEL);
    }
}

#[test]
fn a_strict_mirror_refuses_an_incomplete_success() {
    for backend in ["built-in", "createrepo_c"] {
        let tree = incomplete(&format!(
            "[metadata]\nmade_by = \"{backend}\"\nstrict = true"
        ));
        let refused = tree.publish("success").code(4);
        for (name, _) in UNLISTED {
            assert!(
                refused.stderr.contains(&format!("{STD}/{name} is not in")),
                "{}",
                refused.stderr
            );
        }
        assert!(
            refused.stderr.contains("strict = false"),
            "{}",
            refused.stderr
        );
        assert_eq!(
            builds(&tree.at("mirror"), CHANNEL),
            [""; 0],
            "nothing is published"
        );
        // The logs of a failure are published, regardless of its packages.
        tree.publish("fail").code(0);
    }
    // Two files of one package are listed, so there is no omission.
    let tree = Tree::new("[metadata]\nstrict = true");
    tree.package("a.rpm", package(), |it| it)
        .package("b.rpm", package(), |it| it);
    let ran = tree.publish("success").code(0);
    assert!(
        ran.stderr.contains("more than once: a.rpm, b.rpm"),
        "{}",
        ran.stderr
    );
}

#[test]
fn control_characters_in_descriptions_hide_no_package() {
    // The only difference to createrepo_c, which does not list these packages.
    let [odd, ..] = odds();
    let tree = Tree::new("");
    for (name, old, new) in [
        ("summary", &b"Fish &"[..], &b"Fis\x1b &"[..]),
        ("description", b"goodbye", b"good\x08ye"),
        ("changelog", b"- nine", b"- ni\x1be"),
    ] {
        tree.package(&format!("{name}.rpm"), odd, |it| it.replace(old, new));
    }
    let report = tree.publish("success").code(0).json();
    assert_eq!(report["metadata"][STD]["listed"], json!(3));
    let ours = facts(&tree.published().join("repodata"));
    for text in ["Fis\u{fffd} &", "good\u{fffd}ye", "- ni\u{fffd}e"] {
        assert_eq!(ours.matches(text).count(), 1, "{text}");
    }
    assert!(!tree.theirs().contains("pkgid"));
}

#[test]
fn a_requirement_of_a_transaction_scriptlet_is_marked() {
    // createrepo_c 0.17 does not mark them, later versions do; everything else is equal.
    let spec = "Name: trans\nVersion: 1\nRelease: 1\nSummary: s\nLicense: MIT\nBuildArch: noarch\n\
        Requires(pretrans): before\nRequires(posttrans): after\n%description\nd\n%files\n";
    let built = build("trans", spec);
    let tree = Tree::new("");
    tree.package("trans.rpm", &built[0], |it| it);
    tree.publish("success").code(0);
    let (ours, theirs) = (facts(&tree.published().join("repodata")), tree.theirs());
    let marked = "), ('pre', '1')]";
    assert_eq!(ours.matches(marked).count(), 2, "{ours}");
    assert_eq!(ours.replace(marked, ")]"), theirs.replace(marked, ")]"));
}

/// Groups, modules and updates, as `dnf` reads them.
const COMPS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps><group><id>greetings</id><name>Greeting people</name><default>true</default><uservisible>true</uservisible>
<packagelist><packagereq type="mandatory">message</packagereq></packagelist></group></comps>
"#;
const UPDATES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<updates><update from="a@example.org" status="final" type="security" version="1"><id>STX-2020:1</id>
<title>A message that is safe</title><issued date="2020-01-01 00:00:00"/><pkglist><collection short="std"><name>std</name>
<package name="message" version="1" release="1" epoch="0" arch="noarch" src="message-1-1.src.rpm">
<filename>message-1-1.noarch.rpm</filename></package></collection></pkglist></update></updates>
"#;
const MODULES: &str = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: talk\n  stream: \"1\"\n  version: 1\n  \
    context: c0ffee00\n  arch: noarch\n  summary: Talk\n  description: Talk\n  license:\n    module: [MIT]\n  \
    artifacts:\n    rpms: [\"talk-0:1-1.noarch\"]\n...\n";

/// Runs `dnf` with only this repository.
fn dnf(work: &Utf8Path, repository: &Utf8Path, args: &[&str]) -> String {
    fs_err::create_dir_all(work.join("repos")).expect("a directory");
    let conf = format!(
        "[main]\nreposdir={work}/repos\ncachedir={work}/cache\nlogdir={work}/log\npersistdir={work}/persist\n"
    );
    let repo =
        format!("[stx]\nname=stx\nbaseurl=file://{repository}\ngpgcheck=0\nmodule_hotfixes=0\n");
    fs_err::write(work.join("dnf.conf"), conf).expect("a file");
    fs_err::write(work.join("repos/stx.repo"), repo).expect("a file");
    let (conf, root) = (work.join("dnf.conf"), work.join("root"));
    let always = [
        "-c",
        conf.as_str(),
        "--disableplugin=local",
        "--repo=stx",
        "--releasever=7",
        "--installroot",
    ];
    run(&mut tool(
        "dnf",
        [&always[..], &[root.as_str()], args].concat(),
    ))
    .ok()
}

#[test]
fn groups_modules_and_updates_of_the_build_are_kept() {
    for backend in ["built-in", "createrepo_c"] {
        let tree = Tree::new(&format!("metadata = \"{backend}\""));
        let own = tree.at("tree").join(STD);
        fs_err::create_dir_all(&own).expect("a directory");
        fs_err::copy(package(), own.join("message-1-1.noarch.rpm")).expect("copied");
        // Databases, too: they have the age of the lists and are replaced with them.
        let comps = tree.at("comps.xml");
        fs_err::write(&comps, COMPS).expect("a file");
        run(&mut tool(
            "createrepo_c",
            ["--quiet", "--groupfile", comps.as_str(), own.as_str()],
        ))
        .ok();
        for (name, text) in [
            ("updateinfo.xml", UPDATES),
            ("modules.yaml", MODULES),
            ("odd", "odd\n"),
        ] {
            let file = tree.at(name);
            fs_err::write(&file, text).expect("a file");
            let repodata = own.join("repodata");
            run(&mut tool(
                "modifyrepo_c",
                [file.as_str(), repodata.as_str()],
            ))
            .ok();
        }
        // Its file is damaged.
        let odd = names(&own.join("repodata"));
        let odd = odd.iter().find(|name| name.contains("odd")).expect("there");
        fs_err::write(own.join("repodata").join(odd), "even").expect("written");
        tree.write(&format!("{STD}/repodata/forgotten"), b"text");

        let ran = tree.publish("success").code(0);
        let metadata = &ran.json()["metadata"][STD];
        assert_eq!(metadata["listed"], json!(1), "{backend}");
        let carried = ["group", "group_gz", "modules", "updateinfo"];
        assert_eq!(metadata["carried"], json!(carried), "{backend}: {metadata}");
        let left: Vec<_> = metadata["not_carried"]
            .as_object()
            .expect("an object")
            .keys()
            .collect();
        assert_eq!(left, ["odd", "repodata/forgotten"], "{backend}");
        assert!(
            ran.stderr
                .contains("`odd` of the build's own repository metadata is left out: "),
            "{}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("has another digest than it says"),
            "{}",
            ran.stderr
        );
        assert_eq!(tree.verify(), [], "{backend}");
        assert_whole(&tree.at("mirror"), CHANNEL);

        let (work, repository) = (tree.at("dnf"), tree.published());
        let groups = dnf(&work, &repository, &["group", "list"]);
        assert!(groups.contains("Greeting people"), "{backend}: {groups}");
        let updates = dnf(&work, &repository, &["repoquery", "--advisory=STX-2020:1"]);
        assert!(
            updates.contains("message-0:1-1.noarch"),
            "{backend}: {updates}"
        );
        let modules = dnf(&work, &repository, &["module", "list"]);
        assert!(modules.contains("talk"), "{backend}: {modules}");

        let again = tree.publish("success").code(0).json();
        assert_eq!(again["action"], json!("same"), "{backend}");
    }
}
