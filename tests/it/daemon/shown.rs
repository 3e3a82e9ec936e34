//! The status document and the logs of running builds, as members of the spool's group see them.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use camino::Utf8Path;
use rustix::process::Signal;
use serde_json::Value;

use super::{Site, holding};
use crate::harness::{Ran, Started, copy_program, run, tool};

impl Site {
    /// The status document; `Null` if it does not exist.
    fn shown(&self) -> Value {
        let text = fs_err::read_to_string(self.small.at("state.spool/status.json"));
        text.map_or(Value::Null, |text| {
            serde_json::from_str(&text).expect("a whole document")
        })
    }

    /// The program, run by a member of the spool's group who cannot read the state.
    fn of_member(&self, args: &[&str]) -> Command {
        let binary = self.small.at("stx-builds");
        if !binary.exists() {
            copy_program(&binary);
        }
        let user = ["--reuid=65534", "--regid=65534", "--groups=0", "--"];
        let mut command = tool("setpriv", user);
        command.arg(binary.as_str()).args(args);
        command.current_dir(self.small.dir.path());
        command
    }

    fn as_member(&self, args: &[&str]) -> Ran {
        run(&mut self.of_member(args))
    }

    /// Reads a file of the spool as a member of its group, or as another user.
    fn read_as(&self, group: &str, name: &str) -> Ran {
        let file = self.small.at("state.spool").join(name);
        run(&mut tool(
            "setpriv",
            [
                "--reuid=65534",
                "--regid=65534",
                group,
                "--",
                "cat",
                file.as_str(),
            ],
        ))
    }
}

#[test]
fn the_group_watches_builds_and_reads_their_redacted_logs_while_they_run() {
    let site = Site::new("", "schedule = \"0 6 * * *\"");
    fs_err::set_permissions(site.small.dir.path(), PermissionsExt::from_mode(0o755))
        .expect("a mode");
    let text = fs_err::read_to_string(site.small.at("stx-builds.toml")).expect("a configuration");
    let text = format!("{text}\n[privacy]\nhosts = [\"secret-builder.example\"]\n");
    fs_err::write(site.small.at("stx-builds.toml"), text).expect("a configuration");
    let dir = site.small.dir.path().to_owned();
    let says = format!("echo made on secret-builder.example\n{}", holding(&dir));
    site.small.commit("image.sh", &says);
    fs_err::write(site.small.at("hold"), "").expect("a file");

    let daemon = site.start();
    site.until("the document", || site.shown()["form"] == 1);
    let asked = run(&mut site.stx(&[
        "trigger", "master", "--reason", "please", "--format", "json",
    ]));
    let request = asked.code(0).json()["request"].as_u64().expect("a number");
    site.until_file("holds");
    let running = || site.shown()["running"][0].clone();
    let phase = |name: &str| {
        let running = running();
        let phases = running["phases"].as_array().cloned().unwrap_or_default();
        phases.into_iter().find(|phase| phase["name"] == name)
    };
    site.until("the phase", || {
        phase("image").is_some_and(|it| it["state"] == "running")
    });
    assert_eq!(running()["request"], request);
    let log = phase("image").expect("a phase")["log"].clone();
    let log = log.as_str().expect("a path").to_owned();
    let of_group = |name: &str| site.read_as("--groups=0", name);
    site.until("the line", || {
        let ran = of_group(&log);
        ran.stdout.contains("made on [redacted host]")
    });
    assert!(!of_group(&log).stdout.contains("secret-builder"));
    assert!(of_group("status.json").code(0).stdout.contains("please"));
    // Other users have no access, and the log itself is readable by the service only.
    for name in ["status.json", log.as_str()] {
        site.read_as("--clear-groups", name).code(1);
    }
    of_group("../state/master/centos/logs/image.log").code(1);

    // Members cannot read the state, and follow the copy in the spool.
    fs_err::set_permissions(site.small.at("state"), PermissionsExt::from_mode(0o700))
        .expect("a mode");
    let mut follows = site.of_member(&["log", "-f", "master/centos", "image"]);
    let follows = Started::new(follows.stdout(Stdio::piped()).stderr(Stdio::piped()));
    follows.until_it_reads(&site.small.at("state.spool/running"));

    // After a kill, it shows the logs of the run again, and nothing of the previous run.
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.end(), None);
    let stray = site.small.at("state.spool/running/99");
    fs_err::create_dir(&stray).expect("a directory");
    fs_err::remove_file(site.small.at("holds")).expect("a file");
    let daemon = site.start();
    site.until_file("holds");
    site.until("the line again", || {
        of_group(&log).stdout.contains("made on")
    });
    assert!(!stray.exists());
    assert_eq!(running()["interruptions"], 1);

    // The history shows the last lines of a failed build; no log remains after a stop.
    site.small
        .commit("image.sh", "echo it breaks here; exit 3\n");
    fs_err::remove_file(site.small.at("hold")).expect("a file");
    site.until("the end", || site.shown()["history"][0]["id"] == request);
    // A follower sees both attempts, though each service has made a copy of its own.
    let output = follows.output();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.matches("made on").count(), 2, "{text}");
    run(&mut site.stx(&["trigger", "master"])).code(0);
    site.until("the failure", || {
        let lines = &site.shown()["history"][0]["failing"]["log"];
        lines.to_string().contains("it breaks here")
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    assert!(!site.small.at("state.spool/running").exists());
}

#[test]
fn a_request_is_followed_to_the_end_of_its_build() {
    let site = Site::new("", "schedule = \"0 6 * * *\"");
    fs_err::set_permissions(site.small.dir.path(), PermissionsExt::from_mode(0o755))
        .expect("a mode");
    let member = |args: &[&str]| site.as_member(args);
    let wait = ["trigger", "master", "--wait", "--reason", "please"];

    // With `--wait`, no message is left if no service runs.
    let daemon = site.start();
    site.until("the document", || site.shown()["form"] == 1);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    let refused = member(&wait).code(5);
    assert!(
        refused.stderr.contains("no service runs"),
        "{}",
        refused.stderr
    );
    let left =
        |name: &str| Utf8Path::new(name).extension() == Some("json") && name != "status.json";
    let names = site
        .small
        .at("state.spool")
        .read_dir_utf8()
        .expect("a list");
    let mut names = names.map(|it| it.expect("an entry").file_name().to_owned());
    assert!(!names.any(|name| left(&name)));

    let daemon = site.start();
    site.until("the start", || site.log().matches(" serves ").count() == 2);
    let built = member(&wait).code(0);
    for step in [
        "request ",
        " started",
        "master/centos/",
        "phase image: succeeded",
    ] {
        assert!(built.stderr.contains(step), "{step}: {}", built.stderr);
    }
    assert!(built.stdout.contains("success in "), "{}", built.stdout);
    assert_eq!(site.messages(), ["one"]);
    // Nothing has changed since, which is a success.
    let same = member(&wait).code(0);
    assert!(same.stdout.contains("unchanged since"), "{}", same.stdout);

    site.small
        .commit("image.sh", "echo it breaks here; exit 3\n");
    let failed = member(&[&wait[..], &["--format", "json"]].concat()).code(3);
    assert_eq!(failed.json()["failing"]["phase"], "image");
    assert!(
        failed.stderr.contains("it breaks here"),
        "{}",
        failed.stderr
    );

    // Cancelled by another user, and not ended in time.
    let dir = site.small.dir.path().to_owned();
    site.small.commit("image.sh", &holding(&dir));
    fs_err::write(site.small.at("hold"), "").expect("a file");
    let late = member(&[&wait[..], &["--timeout", "2s"]].concat()).code(6);
    assert!(
        late.stderr.contains("did not end in time"),
        "{}",
        late.stderr
    );
    site.until_file("holds");
    let request = site.shown()["running"][0]["request"].to_string();
    let cancelled = std::thread::scope(|scope| {
        let waits = scope.spawn(|| member(&[&wait[..], &["--force"]].concat()));
        site.until("the request", || site.shown()["queue"][0]["force"] == true);
        let queued = site.shown()["queue"][0]["id"].to_string();
        run(&mut site.stx(&["trigger", "--cancel", &queued])).code(0);
        waits.join().expect("it ends")
    });
    let cancelled = cancelled.code(3);
    assert!(
        cancelled.stderr.contains("cancelled by"),
        "{}",
        cancelled.stderr
    );
    run(&mut site.stx(&["trigger", "--cancel", &request])).code(0);
    site.until("the end", || site.shown()["running"][0].is_null());

    // The history for users who cannot read the ledger equals that of the ledger, as far as it reaches.
    let shown = member(&["history"]).code(0);
    assert!(
        shown.stderr.contains("cannot read the ledger"),
        "{}",
        shown.stderr
    );
    let own = run(&mut site.stx(&["history"])).ok();
    assert_eq!(shown.stdout, own);
    member(&["history", "--log", "1"]).code(2);
    let status = member(&["status"]).code(0);
    let is_last = |line: &str| line.starts_with("last ") && line.contains("cancelled by");
    assert!(status.stdout.lines().any(is_last), "{}", status.stdout);
    assert!(
        status.stderr.contains("cannot read the ledger"),
        "{}",
        status.stderr
    );
    let started = "master/centos: master, next at ";
    assert!(site.log().contains(started), "{}", site.log());
    assert!(site.log().contains(" serves "), "{}", site.log());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    let stale = member(&["history", "--limit", "1"]).code(0);
    assert_eq!(stale.stdout.lines().count(), 1, "{}", stale.stdout);
}

#[test]
fn the_metrics_pass_promtool_and_agree_with_the_dashboard() {
    let more = "prune = \"* * * * * *\"\ndashboard = \"dashboard.html\"";
    let site = Site::new(more, "poll = \"1s\"");
    let metrics = || fs_err::read_to_string(site.small.at("stx-builds.prom")).unwrap_or_default();
    let value = |name: &str| {
        let text = metrics();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<u64>().ok())
    };
    let daemon = site.start();
    site.until("the first build", || site.messages() == ["one"]);
    site.small
        .commit("image.sh", "echo 'it <b>breaks</b> here'; exit 3\n");
    let (good, bad) = (
        "stx_builds_runs_total{channel=\"master/centos\",result=\"success\"}",
        "stx_builds_runs_total{channel=\"master/centos\",result=\"fail\"}",
    );
    site.until("both results", || {
        (value(good), value(bad)) == (Some(1), Some(1))
    });
    site.until("retention", || value("stx_builds_prunes_total") > Some(0));
    let judge = |text: &str| {
        let file = site.small.at("judged.prom");
        fs_err::write(&file, text).expect("a file");
        let script = format!("promtool check metrics < {file}");
        run(&mut tool("sh", ["-c", &script]))
    };
    let judged = judge(&metrics()).code(0);
    assert_eq!((judged.stdout.as_str(), judged.stderr.as_str()), ("", ""));
    // The check can fail: a counter whose name is not that of a counter.
    judge(&metrics().replace("runs_total", "runs")).code(3);
    for name in [
        "stx_builds_build_duration_seconds_count{channel=\"master/centos\"}",
        "stx_builds_phase_duration_seconds_count{channel=\"master/centos\",phase=\"image\"}",
        "stx_builds_queue_wait_seconds_count{channel=\"master/centos\"}",
    ] {
        assert_eq!(value(name), Some(2), "{name}");
    }

    let page = || fs_err::read_to_string(site.small.at("dashboard.html")).unwrap_or_default();
    site.until("the page", || {
        page().contains("it &#60;b&#62;breaks") && page().contains("The mirror uses")
    });
    let file = site.small.at("judged.html");
    fs_err::write(&file, page()).expect("a file");
    let judged = run(&mut tool("tidy", ["-quiet", "-errors", file.as_str()])).code(0);
    assert_eq!(judged.stderr, "");

    // Killed and restarted, it continues the counters.
    let prunes = value("stx_builds_prunes_total");
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.end(), None);
    let pulse = value("stx_builds_pulse_seconds");
    let daemon = site.start();
    site.until("the next metrics", || {
        value("stx_builds_pulse_seconds") > pulse
    });
    assert_eq!((value(good), value(bad)), (Some(1), Some(1)));
    assert!(value("stx_builds_prunes_total") >= prunes);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
}
