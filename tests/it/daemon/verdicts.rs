//! Verdicts through the spool: from members of the build group, who cannot write the mirror.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use camino::Utf8Path;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Site;
use super::hostile::{MEMBER, ends_in_time, member, open_site};
use crate::harness::{Ran, run, tool};

/// Leaves a verdict as a member of the build group.
fn mark(site: &Site, build: &str, verdict: &str, more: &[&str]) -> Ran {
    let args = ["./stx-builds", "mark", build, verdict, "--spool"];
    run(member(site, &args).args(more))
}

/// The verdicts on the newest build, newest first, as every reader sees them.
pub(super) fn shown(site: &Site, build: &str) -> Vec<Value> {
    let shown = run(&mut site.stx(&["show", build, "--format", "json"])).code(0);
    let verdicts = shown.json()["verdicts"].as_array().cloned();
    verdicts.unwrap_or_default()
}

/// The requests for verdicts in the ledger, newest first.
pub(super) fn requests(site: &Site) -> Vec<Value> {
    let args = ["history", "--verdicts", "--format", "json"];
    let listed = run(&mut site.stx(&args)).code(0).json();
    listed.as_array().expect("a list").clone()
}

pub(super) fn green(site: &Site) -> Option<String> {
    let alias = site.small.at("mirror/master/centos/latest_green_build");
    alias.read_link_utf8().ok().map(|to| to.to_string())
}

#[test]
fn a_member_gives_a_verdict_and_is_its_author() {
    let (site, spool) = open_site("", "poll = \"1s\"");
    let daemon = site.start();
    site.until("the first build", || site.messages() == ["one"]);
    site.until("the alias", || {
        site.small
            .at("mirror/master/centos/latest_build")
            .is_symlink()
    });
    let date = site.small.builds()[0].clone();
    let build = format!("master/centos/{date}");

    // A member cannot write the mirror, and cannot name another author.
    let rights = ["./stx-builds", "mark", &build, "green", "--by", "root"];
    let denied = run(&mut member(&site, &rights)).code(4);
    assert!(
        denied.stderr.contains("Permission denied"),
        "{}",
        denied.stderr
    );
    mark(&site, &build, "green", &["--by", "root"]).code(2);
    let link = "https://lab.example/run/5";
    let why = ["--reason", "sanity passed", "--url", link];
    let asked = mark(&site, "master/centos/latest_build", "green", &why).code(0);
    assert_eq!(asked.stdout, format!("asked to mark {build} green\n"));
    site.until("the alias", || green(&site).as_deref() == Some(&*date));
    site.until("the record", || {
        requests(&site)[0]["end"]["outcome"] == "recorded"
    });
    let name = run(&mut tool("id", ["--user", "--name", MEMBER])).ok();
    let verdict = &shown(&site, &build)[0];
    assert_eq!(verdict["author"], name.trim());
    assert_eq!(verdict["reason"], "sanity passed");
    assert_eq!(verdict["url"], link);

    // A verdict that revokes it, while the service does not run.
    ends_in_time(daemon, "a verdict was given");
    let asked = mark(&site, &build, "red", &["--reason", "it hangs"]).code(0);
    assert!(asked.stderr.contains("no service runs"), "{}", asked.stderr);
    assert_eq!(green(&site).as_deref(), Some(&*date));
    let daemon = site.start();
    site.until("the verdict", || green(&site).is_none());

    // Invalid verdicts are not recorded, and each is refused with its reason.
    let missing = mark(&site, "master/centos/20000101T000000Z", "green", &[]).code(5);
    assert!(
        missing.stderr.contains("20000101T000000Z"),
        "{}",
        missing.stderr
    );
    let long = "x".repeat(1001);
    for (more, why) in [
        (["--reason", &*long], "at most 1000"),
        (["--reason", "a\nb"], "control character"),
        (["--url", "ftp://lab.example/"], "http:// or https://"),
        (["--url", "https://ann:secret@lab.example/"], "password"),
    ] {
        let refused = mark(&site, &build, "green", &more).code(2);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    by_hand(&site, &spool, &build);
    // The service still works.
    mark(&site, &build, "green", &["--reason", "it was the lab"]).code(0);
    site.until("the last verdict", || {
        green(&site).as_deref() == Some(&*date)
    });
    assert_eq!(shown(&site, &build).len(), 3, "{:#?}", shown(&site, &build));
    ends_in_time(daemon, "at last");
    let listed = run(&mut site.stx(&["history", "--verdicts"]))
        .code(0)
        .stdout;
    assert!(listed.contains("asked by nobody (65534)"), "{listed}");
    run(&mut site.stx(&["verify"])).code(0);
}

/// Files that a member writes into the spool without `mark`.
fn by_hand(site: &Site, spool: &Utf8Path, build: &str) {
    let put = |name: &str, text: &str| {
        let from = site.small.at("by-hand");
        fs_err::write(&from, text).expect("a file");
        // Complete at once: the service reads any file whose name does not begin with a dot.
        let part = spool.join(format!(".{name}"));
        run(&mut member(site, &["cp", from.as_str(), part.as_str()])).ok();
        let to = spool.join(name);
        run(&mut member(site, &["mv", part.as_str(), to.as_str()])).ok();
    };
    let ask = |build: &str, more: Value| {
        let mut ask = json!({"ask": "mark", "build": build, "verdict": "green"});
        let more = more.as_object().expect("an object").clone();
        ask.as_object_mut().expect("an object").extend(more);
        ask.to_string()
    };
    put("unknown", &ask("master/centos/20000101T000000Z", json!({})));
    put("escape", &ask("master/centos/../../etc", json!({})));
    put("claim", &ask(build, json!({"author": "root"})));
    put(
        "lines",
        &ask(build, json!({"reason": "a\nrun 9: published"})),
    );
    put(
        "secret",
        &ask(build, json!({"url": "https://ann:hunter2@lab.example/"})),
    );
    put("huge", &ask(build, json!({"reason": "x".repeat(70_000)})));
    put("long", &ask(build, json!({"reason": "x".repeat(2000)})));
    put("odd", &ask(build, json!({"verdict": "purple"})));
    let real = site.small.at("real");
    fs_err::write(&real, ask(build, json!({}))).expect("a file");
    fs_err::set_permissions(&real, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let link = spool.join("link");
    run(&mut member(
        site,
        &["ln", "-s", real.as_str(), link.as_str()],
    ))
    .ok();
    let log = || site.log();
    for (name, why) in [
        (
            "/escape of user 65534: refused: ",
            "not part of any mirror path",
        ),
        ("/claim of user 65534: refused: ", "unknown field `author`"),
        (
            "lines: the message of user 65534 is refused: ",
            "control character",
        ),
        ("secret: the message of user 65534 is refused: ", "password"),
        ("/huge of user 65534: refused: ", "small file"),
        ("long: the message of user 65534 is refused: ", "2000 bytes"),
        ("/odd of user 65534: refused: ", "purple"),
        ("/link of user 65534: refused: ", "symbolic links"),
        (
            ": master/centos/20000101T000000Z green: refused: ",
            "not found",
        ),
    ] {
        site.until(name, || log().contains(name));
        let log = log();
        let refusal = log.lines().find(|it| it.contains(name)).expect("a refusal");
        assert!(refusal.contains(why), "{refusal}");
        assert!(!log.contains("hunter2"), "{log}");
    }
    assert!(real.exists());
    let end = &requests(site)[0]["end"];
    assert_eq!(end["outcome"], "refused", "{end}");
}

/// A kill after the mirror recorded a verdict and before the ledger did, simulated by restoring an old ledger.
#[test]
fn a_verdict_with_a_lost_answer_is_given_once() {
    let (site, _) = open_site("", "poll = \"1s\"");
    let daemon = site.start();
    site.until("the first build", || site.messages() == ["one"]);
    let date = site.small.builds()[0].clone();
    let build = format!("master/centos/{date}");
    site.until("the end", || site.log().contains("published, success"));

    // A publisher is at work on the channel, so the verdict is filed and waits.
    let lock = site.small.at("mirror/.stx/locks/master/centos/%2Elock");
    let hold = ["-x", "--no-fork", lock.as_str(), "sleep", "1000"];
    let mut holder = Command::new("flock")
        .args(hold)
        .spawn()
        .expect("flock starts");
    site.until("the lock", || {
        let free = Command::new("flock")
            .args(["-n", lock.as_str(), "true"])
            .status();
        !free.expect("flock runs").success()
    });
    mark(&site, &build, "green", &[]).code(0);
    site.until("the wait", || site.log().contains("tried again in 60 s"));
    let status = run(&mut site.stx(&["status"])).code(0).stdout;
    assert!(
        status.contains(&format!("verdict green on {build}")),
        "{status}"
    );
    daemon.signal(Signal::KILL);
    daemon.end();
    holder.kill().expect("killed");
    holder.wait().expect("it ends");
    let copy = |from: &str, to: &str| {
        let (from, to) = (site.small.at(from), site.small.at(to));
        run(&mut tool("cp", ["-aT", from.as_str(), to.as_str()])).ok();
    };
    copy("state/.service", "before");

    let daemon = site.start();
    site.until("the verdict", || {
        requests(&site)[0]["end"]["outcome"] == "recorded"
    });
    assert_eq!(requests(&site)[0]["end"]["is_new"], true);
    daemon.signal(Signal::KILL);
    daemon.end();
    // Another author has recorded a verdict since, and revoked it.
    for (verdict, by) in [("red", "ann"), ("green", "bob")] {
        let args = ["mark", &build, verdict, "--by", by];
        run(&mut site.stx(&args)).code(0);
    }
    let before = shown(&site, &build);
    assert_eq!(before.len(), 3);
    fs_err::remove_dir_all(site.small.at("state/.service")).expect("removed");
    copy("before", "state/.service");

    let daemon = site.start();
    site.until("the answer", || {
        requests(&site)[0]["end"]["outcome"] == "recorded"
    });
    assert_eq!(requests(&site)[0]["end"]["is_new"], false);
    assert_eq!(shown(&site, &build), before);
    ends_in_time(daemon, "once");
}
