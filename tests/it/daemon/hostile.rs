//! A spool with hostile members of the build group.

use std::process::{Command, Stdio};
use std::time::Duration;

use camino::Utf8PathBuf;
use rustix::process::Signal;

use super::{Daemon, Site};
use crate::harness::{Ran, copy_program, run, tool, wait};

/// A member of the group who is not the service's user.
pub(super) const MEMBER: &str = "65534";

pub(super) fn member(site: &Site, args: &[&str]) -> Command {
    let ids = [&format!("--reuid={MEMBER}"), &format!("--regid={MEMBER}")];
    let mut command = tool("setpriv", ids);
    command.args(["--groups=0", "--"]).args(args);
    command.current_dir(site.small.dir.path());
    command
}

/// A site whose spool other users can reach, a copy of the program that they can run, and the spool.
pub(super) fn open_site(service: &str, branch: &str) -> (Site, Utf8PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new(service, branch);
    fs_err::set_permissions(site.small.dir.path(), PermissionsExt::from_mode(0o755))
        .expect("a mode");
    copy_program(&site.small.at("stx-builds"));
    let spool = site.small.at("state.spool");
    (site, spool)
}

pub(super) fn ends_in_time(mut daemon: Daemon, what: &str) {
    daemon.signal(Signal::TERM);
    wait(&format!("{what}: SIGTERM ends it"), || {
        daemon.0.try_wait().expect("a child").is_some()
    });
    assert_eq!(daemon.end(), Some(0), "{what}");
}

#[test]
fn an_obstacle_at_the_path_of_the_mark_does_not_stop_the_service() {
    let (site, spool) = open_site("", "");
    let daemon = site.start();
    site.until_file("state.spool/.service");
    // The lock that keeps a second service out is not in the spool.
    run(&mut site.stx(&["daemon"])).code(6);
    ends_in_time(daemon, "at first");
    let victim = site.small.at("victim");
    fs_err::write(&victim, "precious").expect("a file");
    let mark = spool.join(".service");
    for what in ["symlink", "pipe", "lock", "directory"] {
        if fs_err::symlink_metadata(&mark).is_ok_and(|found| found.is_dir()) {
            fs_err::remove_dir(&mark).expect("removed");
        } else {
            fs_err::remove_file(&mark).expect("removed");
        }
        let place = match what {
            "symlink" => vec!["ln", "-s", victim.as_str(), mark.as_str()],
            "pipe" => vec!["mkfifo", mark.as_str()],
            "directory" => vec!["mkdir", mark.as_str()],
            _ => vec!["touch", mark.as_str()],
        };
        run(&mut member(&site, &place)).ok();
        let holder = (what == "lock").then(|| {
            let hold = ["flock", "-x", "--no-fork", mark.as_str(), "sleep", "1000"];
            member(&site, &hold)
                .stdout(Stdio::null())
                .spawn()
                .expect("flock starts")
        });
        if what == "lock" {
            wait("the lock", || {
                // Closed each time: it would hold the lock.
                let file = fs_err::File::open(&mark).expect("a file");
                file.file().try_lock_shared().is_err()
            });
        }
        // Other requesters are not delayed.
        let asked = ["./stx-builds", "trigger", "master", "--reason", what];
        let asked = run(&mut member(&site, &asked)).code(0);
        assert!(
            asked.stderr.contains("no service runs"),
            "{what}: {}",
            asked.stderr
        );
        let daemon = site.start();
        let builds = site.small.builds().len();
        site.until(what, || {
            site.small.builds().len() > builds || site.history_has(what)
        });
        ends_in_time(daemon, what);
        if let Some(mut holder) = holder {
            holder.kill().expect("killed");
            holder.wait().expect("it ends");
        }
        assert_eq!(
            fs_err::read_to_string(&victim).expect("a file"),
            "precious",
            "{what}"
        );
    }
}

#[test]
fn an_invalid_file_in_the_spool_is_logged_once_and_forges_no_line() {
    let (site, spool) = open_site("", "");
    let daemon = site.start();
    site.until_file("state.spool/.service");
    let forged = spool.join("a\nrun 99: published, success\u{1b}[2J");
    run(&mut member(
        &site,
        &["sh", "-c", "echo {} > \"$0\"", forged.as_str()],
    ))
    .ok();
    let full = spool.join("full/inside");
    run(&mut member(&site, &["mkdir", "-p", full.as_str()])).ok();
    run(&mut member(&site, &["mkfifo", spool.join("pipe").as_str()])).ok();
    site.until("the reports", || {
        ["run 99", "/full of user 65534", "/pipe of user 65534"]
            .iter()
            .all(|name| site.log().contains(name))
    });
    std::thread::sleep(Duration::from_secs(3));
    let log = site.log();
    let lines = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    assert!(!log.lines().any(|line| line.starts_with("run 99")), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
    assert_eq!(lines("/full"), 2, "refused, and not removable: {log}");
    assert_eq!(lines("/pipe"), 1, "{log}");
    ends_in_time(daemon, "a full directory");
    assert!(full.exists() && !spool.join("pipe").exists());
}

#[test]
fn a_reason_that_is_too_long_and_a_branch_that_is_an_option_are_refused_at_once() {
    let (site, _) = open_site("", "");
    let daemon = site.start();
    site.until_file("state.spool/.service");
    let trigger = |args: &[&str]| -> Ran { run(site.stx(&["trigger"]).args(args)) };
    let long = "x".repeat(70_000);
    let refused = trigger(&["master", "--reason", &long]).code(2);
    assert!(
        refused.stderr.contains("at most 1000"),
        "{}",
        refused.stderr
    );
    let option = ["master", "--tag=--upload-pack=touch /tmp/x"];
    let refused = trigger(&option).code(2);
    assert!(
        refused.stderr.contains("begins with `-`"),
        "{}",
        refused.stderr
    );
    ends_in_time(daemon, "refused");
    assert_eq!(site.history(), Vec::<serde_json::Value>::new());
}

#[test]
fn only_the_requester_or_an_allowed_group_cancels() {
    let (site, _) = open_site("", "");
    let dir = site.small.dir.path().to_owned();
    site.small.commit("image.sh", &super::holding(&dir));
    fs_err::write(site.small.at("hold"), "").expect("a file");
    let daemon = site.start();
    site.until_file("state.spool/.service");
    run(&mut site.stx(&["trigger", "master", "--reason", "mine"])).code(0);
    site.until_file("holds");
    let cancel = || {
        run(&mut member(
            &site,
            &["./stx-builds", "trigger", "--cancel", "1"],
        ))
    };
    let refused = cancel().code(2);
    assert!(
        refused.stderr.contains("others asked for it, too"),
        "{}",
        refused.stderr
    );
    site.until("the refusal", || {
        site.log().contains("user 65534 may not cancel request 1")
    });
    assert!(site.small.at("holds").exists());
    // The group of user 65534, by the system's database.
    let group = run(&mut tool("id", ["--group", "--name", MEMBER])).ok();
    site.configure(&format!("cancel_group = \"{}\"", group.trim()), "");
    daemon.signal(Signal::HUP);
    site.until("the reload", || {
        site.log().contains("configuration reloaded")
    });
    cancel().code(0);
    site.until("the end", || site.log().contains("run 2: cancelled"));
    ends_in_time(daemon, "cancelled");
}
