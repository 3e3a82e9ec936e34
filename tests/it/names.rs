//! Names of releases, `r2018.10` and `release/latest_release`, and paths without a date.

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use serde_json::Value;

use crate::harness::{Ran, in_memory, publish_args, run, stx, tool};

mod dry_run;
pub(crate) mod readers;

/// The specification's release.
pub(crate) const FIRST: &str = "release/2018.10/centos";
const NINTH: &str = "release/9.0.1/debian/monolithic";
const TENTH: &str = "release/10.0.0/debian/bullseye/amd64/monolithic";

/// A mirror with a configuration.
struct Mirror(Utf8TempDir);

impl Mirror {
    fn new(aliases: &str) -> Self {
        let mirror = Self(in_memory());
        mirror.configure(aliases);
        mirror
    }

    fn configure(&self, aliases: &str) {
        let text = format!("mirror = \"mirror\"\n{aliases}\n");
        fs_err::write(self.at("stx-builds.toml"), text).expect("a file");
    }

    fn at(&self, path: &str) -> Utf8PathBuf {
        self.0.path().join(path)
    }

    fn root(&self) -> Utf8PathBuf {
        self.at("mirror")
    }

    #[track_caller]
    fn stx(&self, args: &[&str]) -> Ran {
        run(stx(["--config", self.at("stx-builds.toml").as_str()]).args(args))
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        self.stx(&[args, &["--format", "json"]].concat())
            .code(0)
            .json()
    }

    #[track_caller]
    fn publish(&self, channel: &str, day: u32) -> String {
        publish(&self.at("tree"), channel, |args| self.stx(args), day)
    }

    /// The text of a symlink of the mirror.
    #[track_caller]
    fn link(&self, path: &str) -> String {
        let link = self.root().join(path).read_link_utf8();
        link.unwrap_or_else(|error| panic!("{path}: {error}"))
            .into_string()
    }

    /// The findings of `verify`: the kind and the path of each.
    fn found(&self) -> Vec<(String, String)> {
        let report = self.stx(&["verify", "--format", "json"]).json();
        let findings = report["findings"].as_array().expect("a list").clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        findings
            .iter()
            .map(|finding| (text(&finding["kind"]), text(&finding["path"])))
            .collect()
    }
}

/// Publishes a build of a day of November 2018 whose image contains its name.
pub(crate) fn publish(
    tree: &Utf8Path,
    channel: &str,
    stx: impl Fn(&[&str]) -> Ran,
    day: u32,
) -> String {
    let write = |path: &str, text: String| {
        let file = tree.join(path);
        fs_err::create_dir_all(file.parent().expect("below")).expect("a directory");
        fs_err::write(file, text).expect("a file");
    };
    write("outputs/iso/bootimage.iso", image(channel, day));
    write("inputs/downloads/source.tar", "a download".to_owned());
    let date = format!("201811{day:02}T060000Z");
    stx(&publish_args(tree.as_str(), channel, &date, "success")).ok()
}

/// The bytes of an image.
pub(crate) fn image(channel: &str, day: u32) -> String {
    format!("image of {channel} on day {day}")
}

#[test]
fn the_newest_release_is_followed_in_the_order_of_releases() {
    let mirror = Mirror::new("[aliases]\n\"r2018.10\" = \"release/2018.10\"");
    mirror.publish("master/centos", 1);
    assert!(
        !mirror.root().join("release").exists(),
        "no release, no alias"
    );
    let said = mirror.publish(FIRST, 2);
    assert!(
        said.contains("release/latest_release -> release/2018.10"),
        "{said}"
    );
    assert!(said.contains("r2018.10 -> release/2018.10"), "{said}");
    assert_eq!(mirror.link("r2018.10"), "release/2018.10");
    assert_eq!(mirror.link("release/latest_release"), "2018.10");
    for (channel, latest) in [
        (TENTH, "10.0.0"),
        // A patch of an older release is published after a newer one.
        (NINTH, "10.0.0"),
        ("release/11.0.0-rc1/debian", "10.0.0"),
        ("rc/12.0/debian", "10.0.0"),
        ("milestone/2099.05/debian", "10.0.0"),
        ("release/10.0.1/debian", "10.0.1"),
    ] {
        mirror.publish(channel, 3);
        assert_eq!(mirror.link("release/latest_release"), latest, "{channel}");
    }
    // A failure of the newest release is not shown to readers.
    let tree = mirror.at("tree");
    fs_err::remove_file(tree.join("outputs/success")).ok();
    let failed = publish_args(
        tree.as_str(),
        "release/11.0.0/debian",
        "20181104T060000Z",
        "fail",
    );
    mirror.stx(&failed).ok();
    assert_eq!(mirror.link("release/latest_release"), "10.0.1");
    mirror.stx(&["verify"]).ok();
}

#[test]
fn aliases_are_set_listed_and_removed_by_hand() {
    let mirror = Mirror::new("[aliases]");
    mirror.publish(FIRST, 1);
    mirror.publish(NINTH, 1);
    let set = ["alias", "set", "r2018.10", "release/2018.10"];
    let planned = mirror.stx(&[&set[..], &["--dry-run"]].concat()).ok();
    assert!(planned.contains("would be set"), "{planned}");
    assert!(!mirror.root().join("r2018.10").is_symlink());
    let done = mirror.stx(&set);
    assert!(done.stderr.contains("[aliases]"), "{}", done.stderr);
    done.ok();
    assert_eq!(mirror.link("r2018.10"), "release/2018.10");
    assert_eq!(
        mirror.found(),
        [("alias-unconfigured".to_owned(), "r2018.10".to_owned())],
        "a note of what a hand made"
    );
    let config = mirror.at("stx-builds.toml");
    fs_err::write(&config, "mirror = \"mirror\"\n").expect("a file");
    assert_eq!(mirror.found(), [], "nobody says what names there are");
    mirror.configure("[aliases]");
    let index: Value =
        serde_json::from_slice(&fs_err::read(mirror.root().join("index.json")).expect("an index"))
            .expect("JSON");
    assert_eq!(index["aliases"]["r2018.10"], "release/2018.10");
    let html = fs_err::read_to_string(mirror.root().join("index.html")).expect("a page");
    assert!(
        html.contains("<code>r2018.10</code> leads to <code>release/<wbr>2018.10</code>"),
        "{html}"
    );
    let listed = mirror.json(&["list"]);
    assert_eq!(listed["aliases"]["release/latest_release"], "release/9.0.1");
    let shown = mirror.json(&["show", "r2018.10/centos"]);
    assert_eq!(shown["build"], format!("{FIRST}/20181101T060000Z"));

    for (args, code) in [
        (&["r2018.10", "release/2099"][..], 5),
        (&["r2018.10", FIRST], 4),
        (&["release/9.0.1", "release/2018.10"], 4),
        (&["release/latest_release", "release/2018.10"], 4),
        (&["release/latest_release", "release/2018.10", "--force"], 0),
    ] {
        drop(mirror.stx(&[&["alias", "set"], args].concat()).code(code));
    }
    assert_eq!(mirror.link("release/latest_release"), "2018.10");
    mirror.publish(FIRST, 2);
    assert_eq!(
        mirror.link("release/latest_release"),
        "9.0.1",
        "it follows again"
    );
    mirror.stx(&["alias", "unset", "r2018.10"]).ok();
    assert!(!mirror.root().join("r2018.10").is_symlink());
    drop(mirror.stx(&["alias", "unset", "r2018.10"]).code(5));
    // Its name determines its target nevertheless.
    mirror.stx(&["show", "r2018.10/centos"]).ok();
    mirror.stx(&["verify"]).ok();

    mirror.configure("[aliases]\nlatest_release = false\nundated = []");
    mirror.publish("release/10.0.0/centos", 3);
    assert_eq!(mirror.link("release/latest_release"), "9.0.1", "left alone");
    assert!(!mirror.root().join("release/10.0.0/centos/outputs").exists());
    mirror.configure("[aliases]\n\"release/latest_release\" = \"release/2018.10\"");
    mirror.publish(FIRST, 4);
    assert_eq!(
        mirror.link("release/latest_release"),
        "2018.10",
        "as configured"
    );
}

#[test]
fn verify_finds_wrong_names_and_repairs_them() {
    let mirror = Mirror::new("[aliases]\n\"r2018.10\" = \"release/2018.10\"");
    for channel in [FIRST, NINTH, TENTH] {
        mirror.publish(channel, 1);
    }
    let put = |path: &str, text: &str| {
        let link = mirror.root().join(path);
        fs_err::remove_file(&link).ok();
        fs_err::os::unix::fs::symlink(text, link).expect("a symlink");
    };
    let first = format!("{FIRST}/outputs");
    for (path, text, kind, name) in [
        (
            "release/latest_release",
            "9.0.1",
            "alias-not-newest",
            "release/latest_release",
        ),
        (
            "release/latest_release",
            "12.0.0",
            "alias-dangling",
            "release/latest_release",
        ),
        (
            "release/latest_release",
            "/srv",
            "alias-malformed",
            "release/latest_release",
        ),
        ("r2018.10", "release/9.0.1", "alias-differs", "r2018.10"),
        (
            &first,
            "20181001T060000Z/outputs",
            "undated-dangling",
            "outputs",
        ),
        (&first, "/tmp", "undated-dangling", "outputs"),
    ] {
        put(path, text);
        assert_eq!(
            mirror.found(),
            [(kind.to_owned(), name.to_owned())],
            "{path} -> {text}"
        );
        mirror.stx(&["verify", "--repair"]).ok();
    }
    fs_err::remove_file(mirror.root().join("r2018.10")).expect("removed");
    assert_eq!(
        mirror.found(),
        [("alias-missing".to_owned(), "r2018.10".to_owned())]
    );
    mirror.stx(&["verify", "--repair"]).ok();
    assert_eq!(mirror.link("r2018.10"), "release/2018.10");
    assert_eq!(mirror.link("release/latest_release"), "10.0.0");
    assert_eq!(mirror.link(&first), "latest_build/outputs");
}

#[test]
fn names_that_cannot_be_repaired_are_reported_with_a_next_step() {
    let mirror = Mirror::new("[aliases]\n\"r2019.05\" = \"release/2019.05\"");
    mirror.publish(FIRST, 1);
    mirror.publish(FIRST, 2);
    let gone = "20181101T000000Z";
    let odd = format!("{FIRST}/latest_docker_image_build");
    let green = format!("{FIRST}/latest_green_build");
    let put = [
        (odd.as_str(), gone),
        (&green, gone),
        ("r2017.01", "release/2017.01"),
        ("r2019.05", "release/2019.05"),
    ];
    for (path, text) in put {
        fs_err::os::unix::fs::symlink(text, mirror.root().join(path)).expect("a symlink");
    }
    let mut before = mirror.found();
    // The repair makes the pages.
    before.retain(|(kind, _)| kind.starts_with("alias-"));
    assert_eq!(before.len(), 5, "{before:?}");
    let found = mirror.stx(&["verify"]).code(4).stdout;
    assert!(
        found.contains("which does not exist; point it at an existing build, or remove it"),
        "{found}"
    );
    let repaired = mirror.stx(&["verify", "--repair"]).code(4).stdout;
    for (name, why) in [
        (
            odd.as_str(),
            "no rule gives its target; point it at an existing build, or remove it",
        ),
        (
            &green,
            "no rule gives its target; point it at an existing build, or remove it",
        ),
        (
            "r2017.01",
            "no rule gives its target; `stx-builds alias set r2017.01 TARGET`",
        ),
        (
            "r2019.05",
            "the configuration says release/2019.05, which has no build; publish a build there",
        ),
    ] {
        let line = format!("{name}: not changed, {why}");
        assert!(repaired.contains(&line), "{line}\n{repaired}");
    }
    for (path, text) in put {
        assert_eq!(mirror.link(path), text);
    }
    assert_eq!(mirror.found(), before);

    // Following the advice in the report repairs all of them.
    mirror.stx(&["alias", "unset", "r2017.01"]).ok();
    mirror.publish("release/2019.05/centos", 1);
    for path in [&odd, &green] {
        fs_err::remove_file(mirror.root().join(path)).expect("removed");
    }
    fs_err::os::unix::fs::symlink("20181101T060000Z", mirror.root().join(&odd)).expect("a symlink");
    mirror.stx(&["verify", "--repair"]).ok();
    assert_eq!(mirror.found(), []);
}

#[test]
fn paths_without_a_date_follow_the_newest_build() {
    let mirror = Mirror::new("");
    mirror.publish(FIRST, 1);
    mirror.publish("master/centos", 1);
    let read = || {
        let image = mirror.root().join(FIRST).join("outputs/iso/bootimage.iso");
        fs_err::read_to_string(image).expect("an image")
    };
    assert_eq!(read(), image(FIRST, 1));
    mirror.publish(FIRST, 2);
    assert_eq!(read(), image(FIRST, 2));
    assert_eq!(
        mirror.link(&format!("{FIRST}/inputs")),
        "latest_build/inputs"
    );
    assert!(
        !mirror.root().join("master/centos/outputs").exists(),
        "for releases only"
    );
    // The next one has no inputs.
    fs_err::remove_dir_all(mirror.at("tree/inputs")).expect("removed");
    let tree = mirror.at("tree");
    let args = publish_args(tree.as_str(), FIRST, "20181103T060000Z", "success");
    mirror.stx(&args).ok();
    assert!(
        !mirror.root().join(FIRST).join("inputs").is_symlink(),
        "nothing dangles"
    );
    mirror.stx(&["verify"]).ok();
    let index = fs_err::read_to_string(mirror.root().join(FIRST).join("index.json"));
    let index: Value = serde_json::from_str(&index.expect("an index")).expect("JSON");
    assert_eq!(
        index["undated"]["outputs"]["alias"], "latest_build",
        "{index}"
    );
}

#[test]
fn retention_never_removes_the_target_of_a_name() {
    let mirror =
        Mirror::new("policy = \"policy.toml\"\n[aliases]\n\"r2018.10\" = \"release/2018.10\"");
    let policy = "[kind.release]\nkeep = \"1 day\"\nnewest = 1\n";
    fs_err::write(mirror.at("policy.toml"), policy).expect("a file");
    for day in 1..=6 {
        mirror.publish(FIRST, day);
    }
    // An older build by its date, as an older publisher's links name one.
    let link = mirror.root().join(FIRST).join("logs");
    fs_err::os::unix::fs::symlink("20181102T060000Z/logs", link).expect("a symlink");
    let plan = mirror.json(&[
        "prune",
        "--dry-run",
        "--allow",
        "10",
        "--now",
        "2019-06-01T00:00:00Z",
    ]);
    let expired: Vec<_> = plan["expire"]
        .as_array()
        .unwrap_or_else(|| panic!("{plan}"))
        .iter()
        .map(|step| step["build"].as_str().expect("a build").to_owned())
        .collect();
    let build = |day: u32| format!("{FIRST}/201811{day:02}T060000Z");
    assert!(
        expired.contains(&build(3)) && expired.contains(&build(4)),
        "{expired:?}"
    );
    // The first build stays: it determines the date of the release.
    for kept in [build(1), build(2), build(6)] {
        assert!(!expired.contains(&kept), "{kept} is in {expired:?}");
    }
    let why = mirror
        .stx(&["explain", &build(2), "--now", "2019-06-01T00:00:00Z"])
        .ok();
    assert!(why.contains("`logs` of its channel leads to it"), "{why}");
    mirror
        .stx(&["prune", "--allow", "10", "--now", "2019-06-01T00:00:00Z"])
        .ok();
    assert_eq!(mirror.link("r2018.10"), "release/2018.10");
    let shown = mirror
        .root()
        .join("r2018.10/centos/outputs/iso/bootimage.iso");
    assert_eq!(
        fs_err::read_to_string(shown).expect("an image"),
        image(FIRST, 6)
    );
}

#[test]
fn a_copy_has_the_names_of_its_original() {
    let mirror = Mirror::new(&format!(
        "[aliases]\n\"r2018.10\" = \"release/2018.10\"\n\"release/10.0.0/debian/monolithic\" = \"{TENTH}\""
    ));
    for channel in [FIRST, NINTH, TENTH] {
        mirror.publish(channel, 1);
    }
    let (from, to) = (mirror.root(), mirror.at("copy"));
    let plan = mirror
        .stx(&["copy", from.as_str(), to.as_str(), "--dry-run"])
        .ok();
    for line in [
        "point  r2018.10 -> release/2018.10",
        "offer  release/2018.10/centos/outputs",
    ] {
        assert!(plan.contains(line), "{plan}");
    }
    mirror.stx(&["copy", from.as_str(), to.as_str()]).ok();
    let links = |root: &Utf8Path| {
        let find = tool(
            "find",
            [
                ".",
                "-path",
                "./.stx",
                "-prune",
                "-o",
                "-type",
                "l",
                "-printf",
                "%p -> %l\\n",
            ],
        );
        let mut find = find;
        let mut lines: Vec<_> = run(find.current_dir(root))
            .ok()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    assert_eq!(links(&to), links(&from));
    assert!(links(&to).len() >= 12, "{:?}", links(&to));
    let again = mirror
        .stx(&["copy", from.as_str(), to.as_str(), "--dry-run"])
        .ok();
    assert!(
        !again.contains("point") && !again.contains("offer"),
        "{again}"
    );
    let at = format!("--mirror={to}");
    mirror.stx(&[&at, "verify"]).ok();
    // The copy has a newer release of its own, and its alias does not move back.
    let own = |args: &[&str]| run(stx([&at]).args(args));
    publish(&mirror.at("tree"), "release/11.0.0/debian", own, 2);
    let ran = mirror.stx(&["copy", from.as_str(), to.as_str()]).code(4);
    let said = ran.stdout + &ran.stderr;
    assert!(said.contains("shows a newer release"), "{said}");
    let latest = to.join("release/latest_release").read_link_utf8();
    assert_eq!(latest.expect("a symlink"), "11.0.0");
    // Copying one channel also copies the names that lead to it.
    let part = mirror.at("part");
    mirror
        .stx(&["copy", from.as_str(), part.as_str(), "--channel", FIRST])
        .ok();
    assert!(part.join("r2018.10").is_symlink());
    assert!(!part.join("release/latest_release").is_symlink());
}
