//! The running build service: the real binary, a real git, signals and kills.

mod blocked;
mod branches;
mod drawn;
mod full;
mod hostile;
mod labs;
mod moved;
mod shown;
mod unpublished;
mod unread;
mod verdicts;
mod watched;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use camino::Utf8Path;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::builds::Small;
use crate::harness::{assert_whole, copy_program, run, tool, wait_or_show};

/// A site with a service.
pub(crate) struct Site {
    pub(crate) small: Small,
}

impl Site {
    pub(crate) fn new(service: &str, branch: &str) -> Self {
        let site = Self {
            small: Small::new(),
        };
        site.configure(service, branch);
        site
    }

    fn configure(&self, service: &str, branch: &str) {
        let small = &self.small;
        let text = format!(
            "mirror = \"mirror\"\nstate = \"state\"\nrecipe = \"recipe.toml\"\n\n[service]\nmetrics = \"stx-builds.prom\"\n\
             survey = \"1s\"\nhook = [\"sh\", \"-c\", \"cat >> {0}/notices\"]\n{service}\n\n[[branch]]\nname = \"master\"\n\
             watch = [\"{0}/upstream\"]\n{branch}\n",
            small.dir.path()
        );
        fs_err::write(small.at("stx-builds.toml"), text).expect("a configuration");
    }

    pub(crate) fn stx(&self, args: &[&str]) -> Command {
        let mut command = crate::harness::stx(args.iter().copied());
        command.current_dir(self.small.dir.path());
        command
    }

    pub(crate) fn start(&self) -> Daemon {
        let log = fs_err::OpenOptions::new();
        let mut log = log;
        let log = log
            .create(true)
            .append(true)
            .open(self.small.at("daemon.log"))
            .expect("a log");
        let child = self
            .stx(&["daemon"])
            .stdout(Stdio::null())
            .stderr(Stdio::from(log.into_parts().0))
            .spawn()
            .expect("the service starts");
        Daemon(child)
    }

    fn log(&self) -> String {
        fs_err::read_to_string(self.small.at("daemon.log")).unwrap_or_default()
    }

    fn history(&self) -> Vec<Value> {
        let ran = run(&mut self.stx(&["history", "--format", "json", "--limit", "1000000"]));
        let history = ran.code(0).json();
        history.as_array().expect("a list").clone()
    }

    /// True if a request has this reason.
    pub(crate) fn history_has(&self, reason: &str) -> bool {
        let all = serde_json::to_string(&self.history()).expect("JSON");
        all.contains(reason)
    }

    /// Waits until the condition holds.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, so: impl FnMut() -> bool) {
        wait_or_show(what, so, || self.log());
    }

    /// Starts a service that publishes a first build and holds the phase of a second one until the file `hold` is removed.
    fn start_and_hold_second(&self) -> Daemon {
        self.small
            .commit("image.sh", &holding(self.small.dir.path()));
        let daemon = self.start();
        self.until("the first build", || self.messages() == ["one"]);
        fs_err::write(self.small.at("hold"), "").expect("a file");
        self.commit("two");
        self.until_file("holds");
        daemon
    }

    fn until_file(&self, name: &str) {
        self.until(name, || self.small.at(name).exists());
    }

    /// The built messages, oldest first.
    pub(crate) fn messages(&self) -> Vec<String> {
        let mirror = self.small.at("mirror/master/centos");
        self.small
            .builds()
            .iter()
            .map(|build| mirror.join(build).join("outputs/wheels/message.whl"))
            .filter_map(|file| fs_err::read_to_string(file).ok())
            .map(|text| text.trim().to_owned())
            .collect()
    }

    fn commit(&self, message: &str) {
        self.small.commit("message", &format!("{message}\n"));
    }
}

pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("the service runs");
    }

    pub(crate) fn end(mut self) -> Option<i32> {
        self.0.wait().expect("it ends").code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A failed test must not leave the service running.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// An `image.sh` that writes its process id to `holds`, and waits in its middle while a file `hold` exists.
fn holding(dir: &Utf8Path) -> String {
    format!(
        "echo $$ > {dir}/holds.new && mv {dir}/holds.new {dir}/holds\nwhile [ -e {dir}/hold ]; do sleep 0.05; done\n\
         rm -f {dir}/holds\nmkdir -p image && cp wheels/message.whl image/bootimage.iso\n"
    )
}

/// A directory blocks the path of the alias: the build is published nevertheless, and is reported as published.
#[test]
fn a_build_whose_alias_cannot_be_moved_counts_as_published() {
    let site = Site::new("", "poll = \"1s\"");
    let daemon = site.start();
    site.until("the first build", || site.messages() == ["one"]);
    let alias = site.small.at("mirror/master/centos/latest_build");
    site.until("the alias", || alias.is_symlink());
    fs_err::remove_file(&alias).expect("an alias");
    fs_err::create_dir_all(alias.join("in the way")).expect("a directory");
    site.commit("two");
    site.until("the second build", || site.messages() == ["one", "two"]);
    let failed = "published, but latest_build could not be moved";
    site.until("the log", || site.log().contains(failed));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    let history = run(&mut site.stx(&["history"])).ok();
    assert!(!history.contains("nothing was published"), "{history}");
    assert_eq!(history.matches("success").count(), 2, "{history}");
}

#[test]
fn each_commit_is_built_once_despite_crashes_of_the_service() {
    let poll = "poll = \"1s\"\nschedule = \"*/2 * * * * *\"";
    let site = Site::new("on_stop = \"interrupt\"", poll);
    let dir = site.small.dir.path().to_owned();
    site.small.commit("image.sh", &holding(&dir));
    let mut expected = vec!["one".to_owned()];

    let daemon = site.start();
    site.until("the first build", || site.messages() == expected);
    // A second service is refused.
    run(&mut site.stx(&["daemon"])).code(6);

    // Killed in the middle of a phase.
    fs_err::write(site.small.at("hold"), "").expect("a file");
    site.commit("two");
    site.until_file("holds");
    let orphan = fs_err::read_to_string(site.small.at("holds")).expect("a pid");
    let orphan = Pid::from_raw(orphan.trim().parse().expect("a pid")).expect("a pid");
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.end(), None);
    test_kill_process(orphan).expect("there is something to end");
    fs_err::remove_file(site.small.at("holds")).expect("a file");

    // After a restart, it ends the orphan and resumes the phase.
    let daemon = site.start();
    site.until("the orphan's end", || test_kill_process(orphan).is_err());
    site.until_file("holds");

    // An invalid configuration is refused; a valid one takes effect, and the build continues.
    let good = fs_err::read_to_string(site.small.at("stx-builds.toml")).expect("a configuration");
    site.configure("max_builds = 0\nnothing = 1", "poll = \"never\"");
    daemon.signal(Signal::HUP);
    site.until("the refusal", || {
        site.log().contains("keeping the previous one")
    });
    for mistake in [
        "max_builds",
        "unknown key `nothing`",
        "`never` is not a duration",
    ] {
        assert!(site.log().contains(mistake), "{mistake}: {}", site.log());
    }
    fs_err::write(site.small.at("stx-builds.toml"), good).expect("a configuration");
    daemon.signal(Signal::HUP);
    site.until("the reload", || {
        site.log().contains("configuration reloaded")
    });

    // Interrupted by a clean stop.
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(site.messages(), expected, "nothing half-built is visible");
    fs_err::remove_file(site.small.at("hold")).expect("a file");
    expected.push("two".into());
    let daemon = site.start();
    site.until("the second build", || site.messages() == expected);

    // Requested by hand, forced.
    let asked = run(&mut site.stx(&["trigger", "master", "--reason", "for the demo", "--force"]));
    assert!(!asked.code(0).stderr.contains("no service runs"));
    expected.push("two".into());
    site.until("the forced build", || site.messages() == expected);
    for message in ["three", "four"] {
        site.commit(message);
        expected.push(message.into());
        site.until(message, || site.messages() == expected);
    }
    let mirror = site.small.at("mirror");
    site.until("the alias", || {
        site.small.builds().last() == Some(&site.small.latest())
    });
    assert_whole(&mirror, "master/centos");
    site.until("the metrics", || {
        let text = fs_err::read_to_string(site.small.at("stx-builds.prom")).unwrap_or_default();
        text.contains("stx_builds_last_success_seconds{channel=\"master/centos\"}")
    });
    // Ticks without a change are recorded.
    site.until("a tick", || {
        let newest = site.history().swap_remove(0);
        newest["runs"][0]["end"]["outcome"] == "unchanged"
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));

    // The ledger contains the whole history.
    let history = site.history();
    let all = serde_json::to_string(&history).expect("JSON");
    assert!(all.contains("for the demo"), "{all}");
    let of = |outcome: &str| {
        let runs = history
            .iter()
            .flat_map(|filed| filed["runs"].as_array().expect("runs"));
        runs.filter(|run| run["end"]["outcome"] == outcome).count()
    };
    assert_eq!(of("published"), expected.len());
    assert!(of("unchanged") > 0, "{all}");
    let runs = history
        .iter()
        .flat_map(|filed| filed["runs"].as_array().expect("runs"));
    let interruptions: Vec<_> = runs
        .filter_map(|run| run["interruptions"].as_u64())
        .filter(|n| *n > 0)
        .collect();
    assert_eq!(
        interruptions,
        [2],
        "the second build was killed once and stopped once"
    );
    for table in [&["history"][..], &["status"], &["stats", "master/centos"]] {
        let text = run(&mut site.stx(table)).ok();
        assert!(
            text.contains("master/centos") || text.contains("compile"),
            "{text}"
        );
    }
    run(&mut site.stx(&["verify"])).ok();
}

#[test]
fn a_cancelled_build_is_recorded_as_cancelled_and_not_as_failed() {
    let site = Site::new("", "");
    let dir = site.small.dir.path().to_owned();
    site.small.commit("image.sh", &holding(&dir));
    fs_err::write(site.small.at("hold"), "").expect("a file");
    let daemon = site.start();
    site.until_file("state.spool/.service");
    run(&mut site.stx(&["trigger", "master", "--reason", "mine"])).code(0);
    site.until_file("holds");
    run(&mut site.stx(&["cancel", "master/centos"])).code(0);
    site.until("the end", || site.log().contains("run 2: cancelled"));
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(site.history()[0]["runs"][0]["end"]["outcome"], "cancelled");
    let status = run(&mut site.stx(&["status"])).ok();
    assert!(status.contains("cancelled, never good"), "{status}");
    assert!(!status.contains("not-published"), "{status}");
    let notices = fs_err::read_to_string(site.small.at("notices")).unwrap_or_default();
    assert!(
        !notices.contains("failure") && !notices.contains("not-published"),
        "{notices}"
    );
}

#[test]
fn a_second_service_with_the_same_spool_is_refused() {
    let site = Site::new("", "");
    let daemon = site.start();
    site.until_file("state.spool/status.json");
    let text = fs_err::read_to_string(site.small.at("stx-builds.toml")).expect("a configuration");
    let other = text
        .replace("state = \"state\"", "state = \"other\"")
        .replace("[service]", "[service]\nspool = \"state.spool\"");
    fs_err::write(site.small.at("other.toml"), other).expect("a configuration");
    let refused = run(&mut site.stx(&["--config", "other.toml", "daemon"])).code(6);
    let spool = site.small.at("state.spool");
    assert!(
        refused.stderr.contains(spool.as_str()),
        "{}",
        refused.stderr
    );
    assert!(spool.join("running").is_dir(), "it keeps what it shows");
    let status = run(&mut site.stx(&["status"])).ok();
    assert!(status.starts_with("the service runs"), "{status}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn failures_and_recoveries_are_notified_despite_a_hanging_hook() {
    let site = Site::new("hook_timeout = \"1s\"", "poll = \"1s\"");
    let daemon = site.start();
    site.until("the first build", || site.messages() == ["one"]);
    site.small.commit("image.sh", "exit 3\n");
    let notices = || fs_err::read_to_string(site.small.at("notices")).unwrap_or_default();
    site.until("the failure", || {
        notices().contains("\"event\":\"failure\"")
    });
    // It is not built again without a reason.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(site.small.builds().len(), 2);
    let text = fs_err::read_to_string(site.small.at("stx-builds.toml")).expect("a configuration");
    let hangs = text.replace("cat >>", "sleep 1000; cat >>");
    fs_err::write(site.small.at("stx-builds.toml"), hangs).expect("a configuration");
    daemon.signal(Signal::HUP);
    site.until("the reload", || {
        site.log().contains("configuration reloaded")
    });
    site.small.commit(
        "image.sh",
        "mkdir image && cp wheels/message.whl image/bootimage.iso\n",
    );
    site.until("the recovery", || {
        site.log().contains("ended after more than 1 s")
    });
    site.commit("two");
    site.until("the next build", || {
        site.messages().last().is_some_and(|last| last == "two")
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn only_the_build_group_can_request_and_the_requester_is_recorded() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new("", "");
    // Other users must be able to reach the spool.
    fs_err::set_permissions(site.small.dir.path(), PermissionsExt::from_mode(0o755))
        .expect("a mode");
    let early = run(&mut site.stx(&["trigger", "master"])).code(2);
    assert!(
        early
            .stderr
            .contains("the service creates it when it starts"),
        "{}",
        early.stderr
    );
    let daemon = site.start();
    site.until_file("state.spool");
    let mode = |path: &str| {
        let found = fs_err::symlink_metadata(site.small.at(path)).expect("metadata");
        found.permissions().mode() & 0o7777
    };
    site.until("the modes", || {
        mode("state.spool") == 0o3770 && mode("state/.service") == 0o700
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));

    // As another user, with and without the group.
    let binary = site.small.at("stx-builds");
    copy_program(&binary);
    let as_user = |group: &str| {
        let mut command = tool("setpriv", ["--reuid=65534", "--regid=65534", group, "--"]);
        command.args([
            binary.as_str(),
            "trigger",
            "r/2018.10",
            "--reason",
            "please",
            "--new-channel",
        ]);
        command.current_dir(site.small.dir.path());
        run(&mut command)
    };
    let refused = as_user("--clear-groups").code(2);
    assert!(refused.stderr.contains("build group"), "{}", refused.stderr);
    let asked = as_user("--groups=0").code(0);
    assert!(asked.stderr.contains("no service runs"), "{}", asked.stderr);
    let mut branch = tool("git", ["branch", "r/2018.10"]);
    run(branch.current_dir(site.small.at("upstream"))).ok();
    run(&mut site.stx(&[
        "trigger",
        "milestone/2019.05b1",
        "--tag",
        "r/2018.10",
        "--new-channel",
    ]))
    .ok();
    run(&mut site.stx(&["trigger", "main"])).code(2);
    // A file that is not a message, or another user's file under a second name, is refused.
    fs_err::write(site.small.at("state.spool/bad.json"), "{}").expect("a file");
    let stolen = site.small.at("state.spool/stolen.json");
    fs_err::write(
        site.small.at("mine.json"),
        r#"{"ask":"cancel","request":1}"#,
    )
    .expect("a file");
    fs_err::hard_link(site.small.at("mine.json"), stolen).expect("a link");

    let daemon = site.start();
    for channel in ["release/2018.10/centos", "milestone/2019.05b1/centos"] {
        let alias = site.small.at("mirror").join(channel).join("latest_build");
        site.until(channel, || alias.exists());
    }
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    let history = site.history();
    let reasons: Vec<_> = history.iter().map(|filed| &filed["reasons"][0]).collect();
    let asked = reasons
        .iter()
        .find(|reason| reason["text"] == "please")
        .expect("the request");
    assert_eq!(asked["uid"], 65534, "{asked}");
    assert_eq!(history.len(), 2);
    for name in ["bad.json", "stolen.json"] {
        assert!(
            site.log().contains(&format!("{name} of user 0: refused")),
            "{}",
            site.log()
        );
    }
}

#[test]
fn a_typo_is_refused_and_a_run_without_a_build_is_shown_by_history_only() {
    let site = Site::new("", "poll = \"1s\"");
    let daemon = site.start();
    site.until("the first build", || site.messages() == ["one"]);
    let unnamed = run(&mut site.stx(&["trigger", "f/typo"])).code(2);
    assert!(
        unnamed.stderr.contains("--new-channel"),
        "{}",
        unnamed.stderr
    );
    let typo = ["trigger", "f/typo", "--new-channel"];
    let nowhere = run(&mut site.stx(&typo)).code(5);
    assert!(
        nowhere.stderr.contains("no branch or tag f/typo upstream"),
        "{}",
        nowhere.stderr
    );
    // A message written by hand has no further rights.
    let asks = |name: &str, new_channel: bool| {
        let ask = format!(
            r#"{{"ask":"build","release":"feature/{name}","git":"f/{name}","reason":"","force":false,"new_channel":{new_channel}}}"#
        );
        fs_err::write(site.small.at("part.json"), ask).expect("a file");
        let spool = site.small.at("state.spool").join(format!("{name}.json"));
        fs_err::rename(site.small.at("part.json"), spool).expect("a message");
    };
    asks("unnamed", false);
    asks("typo", true);
    site.until("both are closed", || {
        let history = site.history();
        let closed = history.iter().filter(|filed| filed["closed"].is_array());
        closed.count() == 2
    });

    // A branch that is deleted before it is built.
    let mut branch = tool("git", ["branch", "f/brief"]);
    run(branch.current_dir(site.small.at("upstream"))).ok();
    let recipe = fs_err::read_to_string(site.small.at("recipe.toml")).expect("a recipe");
    let gone = recipe.replace("\"$BRANCH\"", "\"$BRANCH-gone\"");
    fs_err::write(site.small.at("recipe.toml"), gone).expect("a recipe");
    run(&mut site.stx(&["trigger", "f/brief", "--new-channel"])).ok();
    let brief = || {
        let history = site.history();
        let mut filed = history
            .into_iter()
            .filter(|filed| filed["git"] == "f/brief");
        filed.next()
    };
    site.until("the end of the build", || {
        brief().is_some_and(|filed| !filed["runs"][0]["end"].is_null())
    });
    let filed = brief().expect("a request");
    let end = &filed["runs"][0]["end"];
    assert_eq!(end["outcome"], "refused", "{filed:#}");
    let number = filed["id"].to_string();
    for table in ["history", "stats"] {
        let nothing = run(&mut site.stx(&[table, "master/centso"])).code(0);
        let said = "had no request for master/centso";
        assert!(nothing.stderr.contains(said), "{nothing:?}");
    }
    let logs = run(&mut site.stx(&["history", "--log", &number])).ok();
    assert!(
        logs.contains("sync") && logs.contains("f/brief-gone"),
        "{logs}"
    );
    let logs = run(&mut site.stx(&["history", "--log", "1"])).code(5);
    assert!(logs.stderr.contains("outputs/logs"), "{}", logs.stderr);
    assert!(!site.small.at("mirror/feature").exists());
    let pages = fs_err::read_to_string(site.small.at("mirror/index.html")).expect("pages");
    assert!(!pages.contains("feature/"), "{pages}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn all_mistakes_of_a_configuration_are_reported_at_once() {
    let site = Site::new(
        "on_stop = \"never\"",
        "schedule = \"0 6 30 2 *\"\npaths = [\"!**\"]\nquiet = 5",
    );
    let failed = run(&mut site.stx(&["daemon", "--check"])).code(2);
    for mistake in [
        "expected one of finish, interrupt",
        "never happens",
        "excludes every path",
        "`quiet`: expected a string",
    ] {
        assert!(
            failed.stdout.contains(mistake),
            "{mistake}: {}",
            failed.stdout
        );
    }
    let lines = failed
        .stdout
        .lines()
        .filter(|line| line.starts_with("error: ") && line.contains("stx-builds.toml:"));
    assert_eq!(lines.count(), 4, "{}", failed.stdout);
    site.configure("", "schedule = \"0 6 * * *\"");
    let checked = run(&mut site.stx(&["daemon", "--check", "--now", "2020-02-28T12:00:00Z"])).ok();
    assert!(checked.contains("next 2020-02-29 06:00:00"), "{checked}");
    assert!(!site.small.at("state").exists());
}
