//! Builds of a distribution with one file, for tests for which the sample is too slow.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;

use crate::harness::{assert_whole, builds, publish_args, run, stx, tool, wait};

/// A mirror, a state directory, an upstream git and a recipe that builds it, in a directory of their own.
pub(crate) struct Small {
    pub(crate) dir: Utf8TempDir,
}

/// Copies the git to the workspace, "compiles" it in two phases, and publishes the results.
const RECIPE: &str = r#"
schema = 1
name = "small"
distro = "centos"

[tools]
git = "git"

[variables]
UPSTREAM = "${RECIPE_DIR}/upstream"

[source]
phase = "sync"
repositories = ["*"]

[[phase]]
name = "sync"
dir = "${MY_REPO_ROOT}"
script = '''
test -d config || git clone -q "$UPSTREAM" config
git -C config fetch -q origin "$BRANCH"
git -C config checkout -q -f FETCH_HEAD
'''

[[phase]]
name = "compile"
script = '''
echo "compiling at $SOURCE_DATE_EPOCH"
mkdir -p wheels
cp "$MY_REPO_ROOT/config/message" wheels/message.whl
'''
publish = [{ from = "wheels/*.whl", to = "outputs/wheels", min = 1 }]

[[phase]]
name = "image"
needs = ["compile"]
script = '''
sh "$MY_REPO_ROOT/config/image.sh"
'''
publish = [{ from = "image/*.iso", to = "outputs/iso", min = 1 }]
"#;

impl Small {
    pub(crate) fn new() -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let small = Self { dir };
        let upstream = small.at("upstream");
        fs_err::create_dir(&upstream).expect("upstream");
        fs_err::write(small.at("recipe.toml"), RECIPE).expect("a recipe");
        small.git(&["init", "-q", "-b", "master"]);
        small.commit("message", "one\n");
        small.commit(
            "image.sh",
            "mkdir image && cp wheels/message.whl image/bootimage.iso\n",
        );
        small
    }

    pub(crate) fn at(&self, name: &str) -> Utf8PathBuf {
        self.dir.path().join(name)
    }

    fn git(&self, args: &[&str]) {
        let mut git = tool(
            "git",
            [
                "-c",
                "user.name=Builder",
                "-c",
                "user.email=builder@example.org",
            ],
        );
        run(git.args(args).current_dir(self.at("upstream"))).ok();
    }

    pub(crate) fn commit(&self, file: &str, text: &str) {
        fs_err::write(self.at("upstream").join(file), text).expect("a file");
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", &format!("{file} changes")]);
    }

    pub(crate) fn stx(&self, args: &[&str]) -> Command {
        let mut command = stx(["--mirror", self.at("mirror").as_str()]);
        command.args(args).current_dir(self.dir.path());
        command
    }

    /// `build` at a given time, so that builds need not wait for the next second.
    pub(crate) fn build(&self, date: &str) -> Command {
        self.stx(&["build", "--recipe", "recipe.toml", "--date", date])
    }

    pub(crate) fn builds(&self) -> Vec<String> {
        builds(&self.at("mirror"), "master/centos")
    }

    /// Points `latest_build` at a build by hand.
    fn point_latest(&self, date: &str) {
        let link = self.at("mirror/master/centos/latest_build");
        fs_err::remove_file(&link).expect("an alias");
        fs_err::os::unix::fs::symlink(date, &link).expect("an alias");
    }

    pub(crate) fn latest(&self) -> String {
        self.at("mirror/master/centos/latest_build")
            .read_link_utf8()
            .expect("an alias")
            .into_string()
    }
}

#[test]
fn a_failed_build_is_published_with_its_logs_and_without_an_alias() {
    let small = Small::new();
    run(&mut small.build("20200101T000000Z")).code(0);
    small.commit("image.sh", "echo the disk is on fire >&2; exit 7\n");
    let failed = run(&mut small.build("20200102T000000Z")).code(3);
    let why = "published as failed: phase image: exit status 7";
    assert!(failed.stderr.contains(why), "{}", failed.stderr);
    assert_eq!(small.builds(), ["20200101T000000Z", "20200102T000000Z"]);
    assert_eq!(small.latest(), "20200101T000000Z");
    let build = small.at("mirror/master/centos/20200102T000000Z");
    assert!(build.join("outputs/fail").is_file() && !build.join("outputs/success").exists());
    let log = fs_err::read_to_string(build.join("outputs/logs/image.log")).expect("a log");
    assert!(log.contains("the disk is on fire"), "{log}");
    let record: serde_json::Value =
        serde_json::from_str(&fs_err::read_to_string(build.join("build.json")).expect("a record"))
            .expect("JSON");
    assert_eq!(record["first_failing_phase"], "image");
    assert_eq!(record["result"], "fail");
    assert_whole(&small.at("mirror"), "master/centos");
    run(&mut small.stx(&["verify"])).ok();

    // Nothing was built since the failure: the failed commits are built again, and the alias moves.
    small.commit(
        "image.sh",
        "mkdir image && cp wheels/message.whl image/bootimage.iso\n",
    );
    run(&mut small.build("20200103T000000Z")).code(0);
    assert_eq!(small.latest(), "20200103T000000Z");
}

#[test]
fn by_a_clock_that_was_never_set_nothing_is_built() {
    let small = Small::new();
    let (source, library) = (small.at("clock.c"), small.at("clock.so"));
    let text = r"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME && !failed) time->tv_sec = 86400;
    return failed;
}
";
    fs_err::write(&source, text).expect("a source file");
    run(tool("gcc", ["-shared", "-fPIC", "-o"]).args([&library, &source])).ok();
    let build = ["build", "--recipe", "recipe.toml"];
    for more in [&[][..], &["--dry-run"]] {
        let mut command = small.stx(&[&build, more].concat());
        let refused = run(command.env("LD_PRELOAD", &library)).code(2);
        for word in [
            "the clock is not set: it says 1970-01-02 00:00:00",
            "timedatectl set-ntp true",
        ] {
            assert!(refused.stderr.contains(word), "{}", refused.stderr);
        }
        assert!(!small.at("mirror").exists() && !small.at("mirror.state").exists());
    }
    let now = ["--now", "2026-01-02T00:00:00Z"];
    let mut told = small.stx(&[&build[..], &now].concat());
    run(told.env("LD_PRELOAD", &library)).code(0);
    assert_eq!(small.builds(), ["20260102T000000Z"]);
}

#[test]
fn a_date_with_which_nothing_can_be_published_is_refused_before_anything_runs() {
    let small = Small::new();
    let ahead = "20260103T000001Z";
    for more in [&[][..], &["--dry-run"]] {
        let mut command = small.build(ahead);
        let refused = run(command.args(["--now", "2026-01-02T00:00:00Z"]).args(more)).code(4);
        let why = "the build date is ahead of the clock";
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert!(!refused.stderr.contains("sync"), "{}", refused.stderr);
    }
    let mut command = small.build("20260103T000000Z");
    run(command.args(["--now", "2026-01-02T00:00:00Z"])).code(0);
}

#[test]
fn a_missing_deliverable_fails_the_build_and_is_named() {
    let small = Small::new();
    small.commit("image.sh", "true\n");
    let failed = run(&mut small.build("20200101T000000Z")).code(3);
    assert!(failed.stderr.contains("image/*.iso"), "{}", failed.stderr);
    let record = small.at("mirror/master/centos/20200101T000000Z/build.json");
    let record: serde_json::Value =
        serde_json::from_str(&fs_err::read_to_string(record).expect("a record")).expect("JSON");
    assert_eq!(
        record["missing_deliverables"].as_array().map(Vec::len),
        Some(1),
        "{record:#}"
    );
    assert!(!small.at("mirror/master/centos/latest_build").exists());
}

#[test]
fn unchanged_sources_are_not_built_again_unless_forced() {
    let small = Small::new();
    run(&mut small.build("20200101T000000Z")).code(0);
    let skipped = run(&mut small.build("20200102T000000Z")).code(0);
    assert!(
        skipped.stderr.contains("nothing changed"),
        "{}",
        skipped.stderr
    );
    assert_eq!(small.builds(), ["20200101T000000Z"]);
    run(small.build("20200103T000000Z").arg("--force")).code(0);
    assert_eq!(small.builds(), ["20200101T000000Z", "20200103T000000Z"]);
    assert_eq!(small.latest(), "20200103T000000Z");
    small.commit("message", "two\n");
    run(&mut small.build("20200104T000000Z")).code(0);
    assert_eq!(small.latest(), "20200104T000000Z");
    let changes = small.at("mirror/master/centos/20200104T000000Z/outputs/CHANGELOG");
    let changes = fs_err::read_to_string(changes).expect("a change log");
    assert!(
        changes.contains("message changes") && changes.lines().count() == 1,
        "{changes}"
    );
}

/// The state that a publisher leaves if it dies between a build and its alias.
#[test]
fn an_alias_outdated_by_a_crash_is_moved_although_nothing_changed() {
    let small = Small::new();
    run(&mut small.build("20200101T000000Z")).code(0);
    run(small.build("20200102T000000Z").arg("--force")).code(0);
    small.point_latest("20200101T000000Z");
    let again = run(&mut small.build("20200103T000000Z")).code(0);
    assert!(again.stderr.contains("nothing changed"), "{again:?}");
    assert_eq!(small.builds(), ["20200101T000000Z", "20200102T000000Z"]);
    assert_eq!(small.latest(), "20200102T000000Z");
}

#[test]
fn an_alias_moved_back_by_hand_stays_until_the_next_build() {
    let small = Small::new();
    run(&mut small.build("20200102T000000Z")).code(0);
    run(small
        .build("20200101T000000Z")
        .args(["--force", "--force-alias"]))
    .code(0);
    assert_eq!(small.latest(), "20200101T000000Z");
    run(&mut small.build("20200103T000000Z")).ok();
    run(&mut small.stx(&["verify"])).ok();
    run(&mut small.stx(&["verify", "--repair"])).ok();
    assert_eq!(small.latest(), "20200101T000000Z");
    small.commit("message", "two\n");
    run(&mut small.build("20200103T000000Z")).code(0);
    assert_eq!(small.latest(), "20200103T000000Z");
}

#[test]
fn credentials_of_urls_are_published_nowhere() {
    let small = Small::new();
    let recipe = RECIPE.replace(
        "[[phase]]\nname = \"compile\"",
        "[[phase]]\nname = \"tell\"\nrun = [\"echo\", \"-u\", \"${OPENS}\", \"it's ${ALIKE}\"]\n\n[[phase]]\nname = \"compile\"",
    );
    let recipe = recipe.replace(
        "[variables]",
        "[variables]\nOPENS = \"https://jim:s3cret@example.org/config?private_token=s3cret\"\n\
         ALIKE = \"git:s3cret@example.org:config\"",
    );
    let recipe = recipe.replace(
        "git -C config fetch",
        "echo \"$OPENS\" >&2\ngit -C config fetch",
    );
    fs_err::write(small.at("recipe.toml"), recipe).expect("a recipe");
    let build = run(small.build("20200101T000000Z").args([
        "--events",
        "-",
        "--reason",
        "see https://jim:s3cret@example.org/?t=s3cret",
    ]))
    .code(0);
    let build_dir = small.at("mirror/master/centos/20200101T000000Z");
    let log = fs_err::read_to_string(build_dir.join("outputs/logs/tell.log")).expect("a log");
    let shown = "https://[redacted]@example.org/config?[redacted]";
    assert_eq!(
        log.matches(shown).count(),
        2,
        "the command and its output: {log}"
    );
    assert!(log.contains("git:[redacted]@example.org:config"), "{log}");
    assert!(build.stdout.contains(shown), "the events: {}", build.stdout);
    let found = tool("grep", ["-rla", "s3cret", small.at("mirror").as_str()]).output();
    let found = found.expect("grep runs").stdout;
    assert_eq!(String::from_utf8_lossy(&found), "");
    for text in [&build.stdout, &build.stderr] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    let plan = run(small.build("20200102T000000Z").arg("--dry-run")).ok();
    assert!(plan.contains(shown) && !plan.contains("s3cret"), "{plan}");

    // The remote's URL is recorded as a name of the repository.
    let config = small.at("mirror.state/master/centos/sources/config");
    let secret = "https://jim:s3cret@example.org/config?private_token=s3cret";
    run(&mut tool(
        "git",
        ["-C", config.as_str(), "remote", "set-url", "origin", secret],
    ))
    .ok();
    let sync = RECIPE.replace(
        "git -C config fetch -q origin",
        "git -C config fetch -q \"$UPSTREAM\"",
    );
    fs_err::write(small.at("recipe.toml"), sync).expect("a recipe");
    run(small.build("20200103T000000Z").arg("--force")).code(0);
    let record = small.at("mirror/master/centos/20200103T000000Z/build.json");
    let record = fs_err::read_to_string(record).expect("a record");
    assert!(
        record.contains("\"https://example.org/config\""),
        "{record}"
    );
    let found = tool("grep", ["-rla", "s3cret", small.at("mirror").as_str()]).output();
    assert_eq!(
        String::from_utf8_lossy(&found.expect("grep runs").stdout),
        ""
    );

    // A tree from another source is redacted in the same way each time.
    let tree = small.at("tree");
    fs_err::create_dir_all(tree.join("outputs/logs")).expect("a tree");
    let text = format!("fetching {secret} and \u{0}{secret}\n");
    fs_err::write(tree.join("outputs/logs/made.log"), text).expect("a log");
    let publish = || {
        let args = publish_args(
            tree.as_str(),
            "master/debian",
            "20200101T000000Z",
            "success",
        );
        run(&mut small.stx(&args)).code(0).stdout
    };
    let first = publish();
    assert!(first.contains("4 × credential in a URL"), "{first}");
    publish();
    let log = small.at("mirror/master/debian/20200101T000000Z/outputs/logs/made.log");
    let log = fs_err::read_to_string(log).expect("a log");
    assert_eq!(log, format!("fetching {shown} and \u{0}{shown}\n"));
}

#[test]
fn a_build_without_a_commit_is_not_published_and_keeps_its_logs() {
    use std::os::unix::fs::PermissionsExt as _;
    let small = Small::new();
    let typo = |number: u32| {
        let date = format!("202001{number:02}T000000Z");
        run(small.build(&date).args(["--branch", "f/typo"]))
            .code(3)
            .stderr
    };
    let failed = typo(1);
    assert!(
        failed.contains("failed before its commits were known, so nothing was published"),
        "{failed}"
    );
    assert!(!small.at("mirror/feature").exists());
    let state = small.at("mirror.state/feature/typo/centos");
    let kept = state.join("unpublished");
    let log = kept.join("20200101T000000Z/sync.log");
    assert!(failed.contains(kept.as_str()), "{failed}");
    let log = fs_err::read_to_string(log).expect("a log");
    assert!(log.contains("f/typo"), "{log}");
    let mode = fs_err::metadata(&kept)
        .expect("a directory")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    // The build has ended, so it cannot be resumed, and only the logs of the newest ones are kept.
    let resumed = run(&mut small.stx(&["resume", "feature/typo/centos"])).code(5);
    assert!(
        resumed.stderr.contains("there is no unfinished build"),
        "{}",
        resumed.stderr
    );
    for number in 2..=12 {
        typo(number);
    }
    let names = crate::harness::names(&kept);
    assert_eq!((names.len(), &*names[0]), (10, "20200103T000000Z"));
    // The commit is known, so a later failure is published.
    small.commit("image.sh", "exit 7\n");
    run(&mut small.build("20200101T000000Z")).code(3);
    assert_eq!(small.builds(), ["20200101T000000Z"]);
}

/// Two builds that end at the same time both make the pages; the later pages are correct.
#[test]
fn pages_that_waited_for_other_pages_show_the_retention_of_each_build() {
    let small = Small::new();
    run(&mut small.build("20200101T000000Z")).code(0);
    let lock = fs_err::File::open(small.at("mirror/.stx/pages/lock")).expect("the lock");
    lock.file().lock().expect("nobody has it");
    let mut waiting = small.stx(&["pages"]);
    let mut waiting = waiting.stderr(Stdio::piped()).spawn().expect("it starts");
    let waits = format!("-> FLOCK  ADVISORY  WRITE {} ", waiting.id());
    wait("it waits for the lock", || {
        let locks = fs_err::read_to_string("/proc/locks").expect("locks");
        locks.contains(&waits)
    });
    let mut other = crate::harness::stx_without_pages(["--mirror", small.at("mirror").as_str()]);
    other.args([
        "build",
        "--recipe",
        "recipe.toml",
        "--date",
        "20200102T000000Z",
        "--force",
    ]);
    run(other.current_dir(small.dir.path())).code(0);
    let mut told = String::new();
    let stderr = waiting.stderr.take().expect("a pipe");
    BufReader::new(stderr).read_line(&mut told).expect("a line");
    assert!(
        told.contains("waiting for the lock of the pages: another command holds it"),
        "{told}"
    );
    drop(lock);
    assert!(waiting.wait().expect("it ends").success());
    let index = fs_err::read_to_string(small.at("mirror/master/centos/index.json"));
    let index: serde_json::Value = serde_json::from_str(&index.expect("an index")).expect("JSON");
    let builds = index["builds"].as_array().expect("builds");
    assert_eq!(builds.len(), 2, "{index:#}");
    assert!(
        builds.iter().all(|build| build["stays"].is_object()),
        "{index:#}"
    );
}

#[test]
fn a_missing_tool_is_reported_with_its_package_before_anything_runs() {
    let small = Small::new();
    let recipe = RECIPE.replace(
        "git = \"git\"",
        "stx-no-such-tool = { apt = \"no-such-deb\", dnf = \"no-such-rpm\" }",
    );
    fs_err::write(small.at("recipe.toml"), recipe).expect("a recipe");
    let failed = run(&mut small.build("20200101T000000Z")).code(2);
    for word in ["stx-no-such-tool", "no-such-deb", "no-such-rpm"] {
        assert!(failed.stderr.contains(word), "{}", failed.stderr);
    }
    assert!(small.builds().is_empty());
}

#[test]
fn a_dry_run_prints_the_plan_and_changes_nothing() {
    let small = Small::new();
    let plan = run(small.build("20200101T000000Z").arg("--dry-run")).ok();
    for word in [
        "sync",
        "compile",
        "image",
        "outputs/iso",
        "master/centos/20200101T000000Z",
    ] {
        assert!(plan.contains(word), "{plan}");
    }
    let json = run(small
        .build("20200101T000000Z")
        .args(["--dry-run", "--format", "json"]))
    .code(0)
    .json();
    assert_eq!(json["phases"].as_array().map(Vec::len), Some(3), "{json:#}");
    assert!(!small.at("mirror").exists() && !small.at("mirror.state").exists());
}

#[test]
fn a_wrong_recipe_is_refused_with_the_position() {
    let small = Small::new();
    fs_err::write(
        small.at("recipe.toml"),
        RECIPE.replace("needs = [\"compile\"]", "needs = [\"compiel\"]"),
    )
    .expect("a recipe");
    let failed = run(&mut small.build("20200101T000000Z")).code(2);
    let line = RECIPE
        .lines()
        .position(|line| line.starts_with("needs ="))
        .expect("a line")
        + 1;
    assert!(
        failed.stderr.contains("compiel") && failed.stderr.contains(&format!("{line}:")),
        "{}",
        failed.stderr
    );
}

#[test]
fn an_unknown_branch_form_is_refused_with_the_forms() {
    let small = Small::new();
    let failed =
        run(&mut small.stx(&["build", "--recipe", "recipe.toml", "--branch", "main"])).code(2);
    assert!(failed.stderr.contains("r/NAME"), "{}", failed.stderr);
}

#[test]
fn the_master_rule_of_fourteen_days_spares_what_latest_build_shows() {
    let small = Small::new();
    for day in ["01", "02", "03", "20"] {
        run(small.build(&format!("202001{day}T000000Z")).arg("--force")).code(0);
    }
    let prune = |now: &str| {
        run(&mut small.stx(&["prune", "--dry-run", "--format", "json", "--now", now]))
            .code(0)
            .json()
    };
    let expired = |plan: &serde_json::Value| -> Vec<String> {
        let expire = plan["expire"].as_array().expect("expire").iter();
        expire
            .map(|build| build["build"].as_str().expect("a build").to_owned())
            .collect()
    };
    assert!(expired(&prune("2020-01-14T23:00:00Z")).is_empty());
    assert_eq!(
        expired(&prune("2020-01-20T12:00:00Z")),
        [
            "master/centos/20200101T000000Z",
            "master/centos/20200102T000000Z"
        ]
    );
    assert_eq!(
        expired(&prune("2020-02-25T00:00:00Z")),
        [
            "master/centos/20200101T000000Z",
            "master/centos/20200102T000000Z"
        ]
    );
    assert_eq!(small.builds().len(), 4, "a dry run removes nothing");
}
