//! The ends of builds: phases that always run, files of failed phases, kept and removed files.

use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use camino::Utf8PathBuf;

use crate::builds::Small;
use crate::harness::{assert_whole, copy_program, run, tool, wait};

/// Like the real builds: pods that are started and stopped, a package manager that works incrementally, state that persists.
const RECIPE: &str = r#"
schema = 1
name = "pods"
distro = "centos"
state_dirs = ["downloads"]
clean = [["sh", "-c", "echo cleaned $MY_WORKSPACE >> $RECIPE_DIR/cleaned; rm -r root-owned"]]

[variables]
UPSTREAM = "${RECIPE_DIR}/upstream"
BUILD_ISO = "yes"
SW_VERSION = "26.10"

[source]
phase = "sync"
root = "tree"
repositories = [".repo/manifests", "cgcs-root"]

[[phase]]
name = "sync"
dir = "${MY_REPO_ROOT}"
script = '''
for git in tree/.repo/manifests tree/cgcs-root; do
    test -d $git || git clone -q "$UPSTREAM" $git
    git -C $git fetch -q origin "$BRANCH"
    git -C $git checkout -q -f FETCH_HEAD
done
'''

[[phase]]
name = "pods"
script = "echo started >> $RECIPE_DIR/pods"

[[phase]]
name = "packages"
needs = ["pods"]
script = '''
mkdir root-owned
cp BUILD_INFO seen
test -e $STATE_DIR/downloads/deb || echo downloaded > $STATE_DIR/downloads/deb
mkdir -p std/good std/bad std/bad/deep
echo log > std/bad/bad.build
echo log > std/good/good.build
echo deb > std/good/good.deb
sh "$MY_REPO_ROOT/tree/cgcs-root/image.sh"
'''
publish = [
  { from = "std/*/*.deb", to = "outputs/std/packages", flat = true, min = 1 },
  { from = "seen", to = "outputs/seen" },
  { from = "std/*/*.build", to = "outputs/logs/failed", flat = true, on = "failure" },
]

[[phase]]
name = "iso"
needs = ["packages"]
if = "${BUILD_ISO}"
script = "echo iso > iso"
publish = [{ from = "iso", to = "outputs/iso", min = 1 }]

[[phase]]
name = "stop"
when = "always"
script = "echo stopped >> $RECIPE_DIR/pods"
"#;

struct Pods(Small);

impl Pods {
    fn new() -> Self {
        let small = Small::new();
        fs_err::write(small.at("recipe.toml"), RECIPE).expect("a recipe");
        fs_err::write(small.at("stx-builds.toml"), "state = \"state\"\n").expect("a file");
        Self(small)
    }

    fn read(&self, name: &str) -> String {
        fs_err::read_to_string(self.0.at(name)).unwrap_or_default()
    }

    fn build(&self, date: &str) -> Utf8PathBuf {
        self.0.at("mirror/master/centos").join(date)
    }

    fn state(&self) -> Utf8PathBuf {
        self.0.at("state/master/centos")
    }
}

#[test]
fn a_build_that_fails_stops_its_pods_keeps_its_logs_and_lets_the_next_one_start_clean() {
    let pods = Pods::new();
    pods.0.commit("image.sh", "exit 1\n");
    run(&mut pods.0.build("20200101T000000Z")).code(3);
    assert_eq!(pods.read("pods"), "started\nstopped\n");
    let first = pods.build("20200101T000000Z");
    for name in ["bad.build", "good.build"] {
        let log = first.join("outputs/logs/failed").join(name);
        assert_eq!(fs_err::read_to_string(log).expect("a log"), "log\n");
    }
    assert!(!first.join("outputs/std").exists() && !first.join("outputs/iso").exists());
    let record = fs_err::read_to_string(first.join("build.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["first_failing_phase"], "packages");
    // Its own workspace is gone, and the files that the channel keeps are still there.
    assert!(!pods.0.at("cleaned").exists());
    let kept = pods.state().join("kept/downloads/deb");
    let before = fs_err::metadata(&kept).expect("a file").ino();
    pods.0.commit("image.sh", "test ! -e old; touch old\n");
    run(&mut pods.0.build("20200102T000000Z")).code(0);
    assert_eq!(
        pods.read("cleaned"),
        format!("cleaned {}\n", pods.state().join("work"))
    );
    assert_eq!(fs_err::metadata(&kept).expect("a file").ino(), before);
    assert_eq!(pods.read("pods"), "started\nstopped\nstarted\nstopped\n");
    let second = pods.build("20200102T000000Z");
    assert!(second.join("outputs/std/packages/good.deb").is_file());
    assert!(!second.join("outputs/logs/failed").exists());
    assert_whole(&pods.0.at("mirror"), "master/centos");

    // The state that the phases saw is published, including repositories in hidden directories.
    let text =
        |name: &str| fs_err::read_to_string(second.join("outputs").join(name)).expect("a file");
    assert_eq!(text("BUILD_INFO"), text("seen/seen"));
    assert!(text("BUILD_INFO").contains("SW_VERSION=\"26.10\"\n"));
    let context = text("CONTEXT");
    let gits: Vec<_> = context.lines().map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(gits, [Some("./.repo/manifests"), Some("./cgcs-root")]);
}

#[test]
fn a_variable_omits_a_phase() {
    let pods = Pods::new();
    pods.0.commit("image.sh", "true\n");
    let mut build = pods.0.build("20200101T000000Z");
    run(build.args(["--set", "BUILD_ISO=false"])).code(0);
    assert!(!pods.build("20200101T000000Z").join("outputs/iso").exists());
    let mut build = pods.0.build("20200102T000000Z");
    let failed = run(build.args(["--set", "BUILD_ISO=perhaps"])).code(2);
    assert!(
        failed.stderr.contains("is \"perhaps\"; expected true"),
        "{}",
        failed.stderr
    );
}

#[test]
fn a_cancelled_build_stops_its_pods_and_an_interrupted_one_keeps_them_for_its_resumption() {
    let pods = Pods::new();
    let waits = "touch $RECIPE_DIR/up; until test -e $RECIPE_DIR/go; do sleep 0.05; done\n";
    pods.0.commit("image.sh", waits);
    let start = |date: &str| {
        fs_err::remove_file(pods.0.at("up")).ok();
        let mut build = pods.0.build(date);
        build.stdout(Stdio::null()).stderr(Stdio::null());
        let child = build.spawn().expect("it starts");
        wait("the phase runs", || pods.0.at("up").exists());
        child
    };
    let mut child = start("20200101T000000Z");
    run(&mut pods.0.stx(&["cancel", "master/centos"])).code(0);
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    assert_eq!(pods.read("pods"), "started\nstopped\n");

    let mut child = start("20200102T000000Z");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a running process");
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    assert_eq!(pods.read("pods"), "started\nstopped\nstarted\n");
    fs_err::write(pods.0.at("go"), "").expect("a file");
    // The phase starts again in its workspace.
    fs_err::remove_dir_all(pods.state().join("work/root-owned")).expect("a directory");
    run(&mut pods.0.stx(&["resume", "master/centos"])).code(0);
    assert_eq!(pods.read("pods"), "started\nstopped\nstarted\nstopped\n");
}

#[test]
fn a_build_that_is_abandoned_stops_its_pods() {
    let pods = Pods::new();
    let waits = "touch $RECIPE_DIR/up; until test -e $RECIPE_DIR/go; do sleep 0.05; done\n";
    pods.0.commit("image.sh", waits);
    let mut build = pods.0.build("20200101T000000Z");
    build.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = build.spawn().expect("it starts");
    wait("the phase runs", || pods.0.at("up").exists());
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
    assert_eq!(pods.read("pods"), "started\n");

    run(&mut pods.0.stx(&["resume", "master/centos", "--as-failed"])).code(3);
    assert_eq!(pods.read("pods"), "started\nstopped\n");
    let failed = pods.build("20200101T000000Z");
    let record = fs_err::read_to_string(failed.join("build.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["first_failing_phase"], "packages");
    let phases = record["phases"].as_array().expect("phases").iter();
    let ends: Vec<_> = phases
        .map(|phase| (&phase["name"], &phase["status"], &phase["reason"]))
        .map(|(name, status, reason)| format!("{name} {status} {reason}").replace('"', ""))
        .collect();
    assert_eq!(
        ends,
        [
            "sync succeeded null",
            "pods succeeded null",
            "packages cancelled interrupted",
            "iso skipped interrupted",
            "stop succeeded null",
        ]
    );
    assert!(failed.join("outputs/logs/stop.log").is_file());
    // Files of a failed phase are published even if it was cut short.
    assert!(failed.join("outputs/logs/failed/bad.build").is_file());
    run(&mut pods.0.stx(&["resume", "master/centos"])).code(5);
}

#[test]
fn a_directory_that_cannot_hold_a_match_may_be_unreadable() {
    // Not as root, who can read everything.
    let pods = Pods::new();
    let closed = "mkdir -m 000 std/bad/deep/closed std/bad/closed; exit";
    pods.0.commit("image.sh", &format!("{closed} 0\n"));
    let dir = pods.0.dir.path();
    run(&mut tool("chown", ["-R", "65534:65534", dir.as_str()])).ok();
    let program = pods.0.at("stx-builds");
    copy_program(&program);
    let build = |date: &str| {
        let mut command = tool(
            "setpriv",
            ["--reuid=65534", "--regid=65534", "--clear-groups"],
        );
        command.args([program.as_str(), "--mirror", pods.0.at("mirror").as_str()]);
        command.args(["build", "--recipe", "recipe.toml", "--date", date]);
        run(command.current_dir(dir).env("HOME", dir))
    };
    build("20200101T000000Z").code(0);
    let first = pods.build("20200101T000000Z");
    assert!(first.join("outputs/std/packages/good.deb").is_file());
    let mode = fs_err::metadata(pods.state().join("work/std/bad/closed")).expect("a directory");
    assert_eq!(mode.mode() & 0o777, 0);

    // A directory that may contain a match blocks the build, and no longer does after it is made readable.
    fs_err::write(pods.0.at("upstream/image.sh"), "mkdir -m 000 std/closed\n").expect("a file");
    let git = [
        "-C",
        "upstream",
        "-c",
        "safe.directory=*",
        "-c",
        "user.name=B",
        "-c",
        "user.email=b@example.org",
    ];
    run(tool("git", git)
        .args(["commit", "-qam", "closed"])
        .current_dir(dir))
    .ok();
    let stopped = build("20200102T000000Z").code(2);
    assert!(
        stopped.stderr.contains("std/closed: Permission denied"),
        "{}",
        stopped.stderr
    );
    assert!(
        stopped
            .stderr
            .contains("hint: make it readable, then `resume`"),
        "{}",
        stopped.stderr
    );
    let closed = pods.state().join("work/std/closed");
    run(&mut tool("chmod", ["755", closed.as_str()])).ok();
    let mut resume = tool(
        "setpriv",
        ["--reuid=65534", "--regid=65534", "--clear-groups"],
    );
    resume.args([
        program.as_str(),
        "--mirror",
        pods.0.at("mirror").as_str(),
        "resume",
        "master/centos",
    ]);
    run(resume.current_dir(dir).env("HOME", dir)).code(0);
    assert_eq!(pods.read("pods"), "started\nstopped\nstarted\nstopped\n");
}
