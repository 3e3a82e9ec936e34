//! Killed builds that resume, are published as failed, or are cancelled.

use std::process::{Child, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use rustix::process::{Pid, test_kill_process};

use crate::harness::{Ran, assert_whole, builds, run, stx, tool, wait};

mod ended;
mod phases;
mod unmounted;

/// A mirror, a state directory, an upstream git repository and a recipe. Each phase records in the file `counter` that it finished,
/// and waits in its middle while a file `hold-PHASE` exists.
struct Site(Utf8TempDir);

const SYNC: &str = r#"
schema = 1
name = "small"
distro = "centos"
jobs = 2
[variables]
HERE = "${RECIPE_DIR}"
[source]
phase = "sync"
repositories = ["*"]
[[phase]]
name = "sync"
dir = "${MY_REPO_ROOT}"
script = '''
test -d config || git clone -q "$HERE/upstream" config
. "$HERE/hold"
'''
"#;

/// A phase that makes `outputs/RPMS/PHASE/PHASE.rpm` from the files of the phases that it needs.
fn phase(name: &str, needs: &[&str]) -> String {
    let inputs: Vec<_> = needs
        .iter()
        .map(|need| format!("{need}/{need}.rpm"))
        .collect();
    let needs: Vec<_> = needs.iter().map(|need| format!("{need:?}")).collect();
    format!(
        "[[phase]]\nname = {name:?}\nneeds = [{}]\nscript = '''\nrm -rf {name}; mkdir {name}\n\
         cat /dev/null {} > {name}/{name}.rpm\n. \"$HERE/hold\"\necho {name} $SOURCE_DATE_EPOCH >> {name}/{name}.rpm\n'''\n\
         publish = [{{ from = \"{name}/*.rpm\", to = \"outputs/helm-charts\", min = 1 }}]\n",
        needs.join(", "),
        inputs.join(" "),
    )
}

impl Site {
    fn new() -> Self {
        let site = Self(Utf8TempDir::new().expect("a temporary directory"));
        let phases = [
            phase("one", &[]),
            phase("two", &["one"]),
            phase("left", &["two"]),
            phase("right", &["two"]),
            phase("last", &["left", "right"]),
        ];
        site.write("recipe.toml", &format!("{SYNC}{}", phases.concat()));
        site.write(
            "hold",
            "echo $$ > \"$HERE/new-$PHASE\"; mv \"$HERE/new-$PHASE\" \"$HERE/pid-$PHASE\"\nn=0\nwhile [ -e \"$HERE/hold-$PHASE\" ] && [ $((n += 1)) -lt 6000 ]; do sleep 0.01; done\n\
             echo \"$PHASE\" >> \"$HERE/counter\"\n",
        );
        let upstream = site.at("upstream");
        fs_err::create_dir(&upstream).expect("upstream");
        site.write("upstream/message", "one\n");
        for args in [
            &["init", "-q", "-b", "master"][..],
            &["add", "."],
            &["commit", "-q", "-m", "first"],
        ] {
            let mut git = tool(
                "git",
                ["-c", "user.name=B", "-c", "user.email=b@example.org"],
            );
            git.env("GIT_COMMITTER_DATE", "2019-12-31T00:00:00Z")
                .env("GIT_AUTHOR_DATE", "2019-12-31T00:00:00Z");
            run(git.args(args).current_dir(&upstream)).ok();
        }
        site
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::write(self.at(name), text).expect("a file");
    }

    fn stx(&self, args: &[&str]) -> std::process::Command {
        let mut command = stx(["--mirror", self.at("mirror").as_str()]);
        command.args(args).current_dir(self.0.path());
        command
    }

    fn build(&self) -> std::process::Command {
        self.stx(&[
            "build",
            "--recipe",
            "recipe.toml",
            "--date",
            "20200101T000000Z",
        ])
    }

    fn resume(&self, more: &[&str]) -> Ran {
        run(self.stx(&["resume", "master/centos"]).args(more))
    }

    /// Starts a build that waits in the middle of `phase`.
    fn held(&self, phase: &str) -> Child {
        self.write(&format!("hold-{phase}"), "");
        let mut child = self
            .build()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        wait_for(&mut child, &self.at(&format!("pid-{phase}")));
        child
    }

    fn release(&self, phase: &str) {
        fs_err::remove_file(self.at(&format!("hold-{phase}"))).expect("the file that holds it");
    }

    fn pid(&self, phase: &str) -> Pid {
        let text = fs_err::read_to_string(self.at(&format!("pid-{phase}"))).expect("a pid");
        Pid::from_raw(text.trim().parse().expect("a number")).expect("a pid")
    }

    /// The finished phases, sorted; one entry per run.
    fn finished(&self) -> Vec<String> {
        let text = fs_err::read_to_string(self.at("counter")).unwrap_or_default();
        let mut phases: Vec<_> = text.lines().map(ToOwned::to_owned).collect();
        phases.sort();
        phases
    }

    /// The published files with their contents, except those that contain times.
    fn tree(&self) -> Vec<(String, String)> {
        let build = self.at("mirror/master/centos/20200101T000000Z");
        let mut files = Vec::new();
        for entry in walkdir::WalkDir::new(&build).sort_by_file_name() {
            let entry = entry.expect("a readable tree");
            let path = entry
                .path()
                .strip_prefix(&build)
                .expect("below")
                .to_str()
                .expect("UTF-8");
            if !entry.file_type().is_file() || path == "SHA256SUMS" {
                continue;
            }
            let mut text = fs_err::read_to_string(entry.path()).expect("a text");
            if path == "build.json" {
                let mut record: serde_json::Value = serde_json::from_str(&text).expect("JSON");
                for phase in record["phases"].as_array_mut().expect("phases") {
                    phase["started"].take();
                    phase["finished"].take();
                }
                for key in ["sources", "bytes"] {
                    record[key].take();
                }
                text = record.to_string();
            }
            if path.starts_with("outputs/logs/") || path == "provenance.json" {
                text.clear();
            }
            files.push((path.to_owned(), text));
        }
        files
    }

    fn record(&self) -> serde_json::Value {
        let file = self.at("mirror/master/centos/20200101T000000Z/build.json");
        serde_json::from_str(&fs_err::read_to_string(file).expect("a record")).expect("JSON")
    }

    fn builds(&self) -> Vec<String> {
        builds(&self.at("mirror"), "master/centos")
    }

    fn is_journal_there(&self) -> bool {
        self.at("mirror.state/master/centos/build.json").exists()
    }
}

const PHASES: [&str; 6] = ["sync", "one", "two", "left", "right", "last"];

fn once() -> Vec<String> {
    let mut phases = PHASES.map(ToOwned::to_owned).to_vec();
    phases.sort();
    phases
}

/// Waits until a build has written a file.
fn wait_for(child: &mut Child, file: &Utf8Path) {
    wait(&format!("{file} is there"), || {
        let over = child.try_wait().expect("a child");
        assert!(over.is_none(), "the build ended before {file} was there");
        file.exists()
    });
}

fn kill(child: &mut Child) {
    child.kill().expect("a running process");
    child.wait().expect("it ends");
}

fn assert_gone(pid: Pid) {
    wait(&format!("{pid:?} is gone"), || {
        let stat = fs_err::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        test_kill_process(pid).is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    });
}

/// The published tree of an undisturbed build.
fn undisturbed() -> Vec<(String, String)> {
    let site = Site::new();
    run(&mut site.build()).code(0);
    assert_eq!(site.finished(), once());
    assert!(!site.is_journal_there());
    site.tree()
}

#[test]
fn a_build_killed_in_any_phase_resumes_there_and_nothing_runs_twice() {
    let expected = undisturbed();
    for phase in PHASES {
        let site = Site::new();
        let mut child = site.held(phase);
        let orphan = site.pid(phase);
        // The phase that ran beside it has ended, and is recorded as ended.
        let over = match phase {
            "left" | "right" => 4,
            phase => PHASES
                .iter()
                .position(|name| *name == phase)
                .expect("a phase"),
        };
        wait(&format!("{over} phases in the journal"), || {
            journal_phases(&site).len() >= over
        });
        kill(&mut child);
        assert!(site.builds().is_empty());
        test_kill_process(orphan).expect("the orphan lives on: there is something to end");
        let resumed = site
            .stx(&["resume", "master/centos"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        assert_gone(orphan);
        site.release(phase);
        let resumed = resumed.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&resumed.stderr);
        assert!(resumed.status.success(), "{stderr}");
        assert!(stderr.contains(&format!("at phase {phase}")), "{stderr}");
        assert_eq!(site.finished(), once(), "killed in {phase}");
        assert_eq!(site.tree(), expected, "killed in {phase}");
        assert_whole(&site.at("mirror"), "master/centos");
        assert!(!site.is_journal_there());
        let again = site.resume(&[]).code(5);
        assert!(
            again.stderr.contains("there is no unfinished build"),
            "{}",
            again.stderr
        );
    }
}

/// Kills the build when its journal has `lines` lines; true if it got that far.
fn killed_at_line(site: &Site, lines: usize) -> bool {
    let journal = site.at("mirror.state/master/centos/finished.jsonl");
    let mut child = site
        .build()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    loop {
        let text = fs_err::read_to_string(&journal);
        if text.is_ok_and(|text| text.lines().count() >= lines) {
            kill(&mut child);
            return true;
        }
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
    }
}

#[test]
fn a_build_killed_at_any_line_of_its_journal_ends_normally() {
    let expected = undisturbed();
    let mut killed = 0;
    // Two lines per phase, and one for the sources.
    for lines in 0..=2 * PHASES.len() + 1 {
        let site = Site::new();
        if !killed_at_line(&site, lines) || !site.is_journal_there() {
            continue;
        }
        killed += 1;
        let before = journal_phases(&site);
        // A process that was being started when its builder was killed may hold the lock until it has executed its program.
        wait("nobody holds the lock", || {
            let ran = site.resume(&[]);
            assert!(matches!(ran.code, Some(0 | 6)), "{ran:?}");
            ran.code == Some(0)
        });
        assert_eq!(site.tree(), expected, "killed at line {lines}");
        let finished = site.finished();
        for phase in &before {
            let times = finished.iter().filter(|name| *name == phase).count();
            assert_eq!(
                times, 1,
                "{phase} was finished at line {lines}: {finished:?}"
            );
        }
    }
    assert!(killed >= 2 * PHASES.len() - 2, "killed only {killed} times");
}

/// The phases that the journal records as finished.
fn journal_phases(site: &Site) -> Vec<String> {
    let text = fs_err::read_to_string(site.at("mirror.state/master/centos/finished.jsonl"))
        .unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|entry| Some(entry["record"]["name"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn a_torn_last_line_of_the_journal_is_ignored() {
    let site = Site::new();
    let mut child = site.held("left");
    kill(&mut child);
    site.release("left");
    let journal = site.at("mirror.state/master/centos/finished.jsonl");
    let mut text = fs_err::read_to_string(&journal).expect("a journal");
    let last = text.lines().last().expect("a line").len();
    text.truncate(text.len() - last / 2);
    fs_err::write(&journal, text).expect("a journal");
    site.resume(&[]).code(0);
    assert_eq!(site.record()["result"], "success");
}

#[test]
fn an_interrupted_build_can_be_published_as_failed() {
    for by_configuration in [false, true] {
        let site = Site::new();
        let mut child = site.held("two");
        let orphan = site.pid("two");
        kill(&mut child);
        let failed = if by_configuration {
            site.write("stx-builds.toml", "on_interrupt = \"fail\"\n");
            site.resume(&[]).code(3)
        } else {
            site.resume(&["--as-failed"]).code(3)
        };
        let why = "was published as failed: phase two: interrupted";
        assert!(failed.stderr.contains(why), "{}", failed.stderr);
        let log = run(&mut site.stx(&["log", "-f", "master/centos/20200101T000000Z"])).code(3);
        let why = "published as failed: phase two: interrupted";
        assert!(log.stderr.contains(why), "{}", log.stderr);
        assert_gone(orphan);
        let record = site.record();
        assert_eq!(record["result"], "fail");
        assert_eq!(record["first_failing_phase"], "two");
        let two = &record["phases"][2];
        assert_eq!(
            (&two["name"], &two["reason"]),
            (&"two".into(), &"interrupted".into())
        );
        let build = site.at("mirror/master/centos/20200101T000000Z");
        assert!(build.join("outputs/logs/two.log").is_file());
        assert_eq!(
            (&two["status"], &two["attempts"]),
            (&"cancelled".into(), &1.into())
        );
        assert_eq!(record["phases"][5]["status"], "skipped");
        assert!(!site.at("mirror/master/centos/latest_build").exists());
        assert_whole(&site.at("mirror"), "master/centos");
        site.resume(&[]).code(5);
    }
}

#[test]
fn a_build_with_a_changed_recipe_is_not_resumed_and_names_the_phase() {
    let site = Site::new();
    let mut child = site.held("two");
    kill(&mut child);
    let recipe = fs_err::read_to_string(site.at("recipe.toml")).expect("a recipe");
    site.write(
        "recipe.toml",
        &recipe.replace("mkdir left", "mkdir -p left"),
    );
    let refused = site.resume(&[]).code(2);
    assert!(
        refused.stderr.contains("phase left changed"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("--as-failed"), "{}", refused.stderr);
    // A comment does not change any command.
    site.write("recipe.toml", &format!("# more\n{recipe}"));
    site.release("two");
    site.resume(&[]).code(0);
    assert_eq!(site.record()["result"], "success");
}

#[test]
fn a_build_of_another_version_of_the_program_is_resumed_if_its_recipe_is_unchanged() {
    let site = Site::new();
    kill(&mut site.held("two"));
    site.release("two");
    let file = site.at("mirror.state/master/centos/build.json");
    let journal = fs_err::read(&file).expect("a journal");
    let mut journal: serde_json::Value = serde_json::from_slice(&journal).expect("JSON");
    // That version set fewer variables.
    for phase in journal["plan"]["phases"].as_array_mut().expect("phases") {
        let env = phase["invocation"]["env"].as_object_mut();
        env.expect("variables")
            .remove("CHANNEL")
            .expect("it is set");
    }
    let files = journal["recipe_files"].take();
    // An early version did not record the files either.
    journal["recipe_files"] = serde_json::json!([]);
    fs_err::write(&file, journal.to_string()).expect("written");
    let refused = site.resume(&[]).code(2);
    let said = "recipe.toml, or this program, changed since: phase sync changed";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    journal["recipe_files"] = files;
    fs_err::write(&file, journal.to_string()).expect("written");
    site.resume(&[]).code(0);
    assert_eq!(site.record()["result"], "success");
}

#[test]
fn a_new_build_abandons_the_interrupted_one_and_reports_it() {
    let site = Site::new();
    let mut child = site.held("two");
    kill(&mut child);
    site.release("two");
    let built = run(&mut site.build()).code(0);
    assert!(built.stderr.contains("was interrupted"), "{}", built.stderr);
    assert!(built.stderr.contains("resume"), "{}", built.stderr);
    site.resume(&[]).code(5);
}

#[test]
fn a_new_build_reports_that_it_abandons_an_unreadable_one() {
    let site = Site::new();
    let mut child = site.held("two");
    kill(&mut child);
    site.release("two");
    let journal = site.at("mirror.state/master/centos/build.json");
    fs_err::write(&journal, "{").expect("written");
    let built = run(&mut site.build()).code(0);
    let said = format!("its journal cannot be read: {journal}");
    assert!(built.stderr.contains(&said), "{}", built.stderr);
}
