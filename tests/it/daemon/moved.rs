//! A service whose files are moved away while it runs.

use std::time::Duration;

use rustix::process::Signal;

use super::Site;
use crate::harness::{Started, run};

/// Moves the ledger with the files beside it.
fn move_ledger(from: &camino::Utf8Path, to: &camino::Utf8Path) {
    for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
        fs_err::rename(from.join(name), to.join(name)).expect("moved");
    }
}

#[test]
fn a_service_whose_ledger_is_moved_away_raises_an_alarm_and_starts_nothing_until_it_is_back() {
    let site = Site::new("", "poll = \"1s\"");
    let daemon = site.start();
    site.until("the first build", || site.messages() == ["one"]);
    site.until("its record", || site.history_has("published"));
    let own = site.small.at("state/.service");
    move_ledger(&own, site.small.dir.path());
    let alarm = "stx_builds_alarm{kind=\"disk-filling\",subject=\"ledger\"} 1";
    let alarmed = || {
        let metrics = fs_err::read_to_string(site.small.at("stx-builds.prom"));
        metrics.unwrap_or_default().contains(alarm)
    };
    site.until("the alarm", alarmed);
    let said = site.log();
    assert!(
        said.contains("was moved, removed or replaced while the service runs; move the same files back, or restart"),
        "{said}"
    );
    let shown = run(&mut site.stx(&["status"])).code(0);
    assert!(
        shown.stdout.contains("disk-filling ledger") && shown.stderr.contains("ledger.sqlite: "),
        "{shown:?}"
    );
    site.commit("two");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(site.messages(), ["one"]);
    move_ledger(site.small.dir.path(), &own);
    site.until("the second build", || site.messages() == ["one", "two"]);
    site.until("the end of the alarm", || !alarmed());

    // After a stop, the next start makes a new ledger and finds the build.
    move_ledger(&own, site.small.dir.path());
    site.until("the second alarm", alarmed);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    let daemon = site.start();
    site.until("its start", || {
        run(&mut site.stx(&["status"]))
            .stdout
            .contains("the service runs")
    });
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    assert_eq!(site.messages(), ["one", "two"]);
}

#[test]
fn status_and_trigger_work_without_a_recipe_and_status_without_the_spool() {
    let site = Site::new(
        "",
        "poll = \"1s\"\n\n[[branch]]\nname = \"f/other\"\nrecipe = \"other.toml\"",
    );
    let [recipe, other, aside] =
        ["recipe.toml", "other.toml", "aside"].map(|name| site.small.at(name));
    fs_err::copy(&recipe, &other).expect("a recipe");
    let daemon = site.start();
    site.until("the first build", || site.messages() == ["one"]);
    site.until("its record", || site.history_has("published"));

    fs_err::rename(&other, &aside).expect("moved");
    let shown = run(&mut site.stx(&["status"])).code(0);
    assert!(shown.stdout.contains("master/centos"), "{}", shown.stdout);
    assert!(
        shown.stdout.contains("the service runs"),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stderr.contains("other.toml") && shown.stderr.contains("put the file back"),
        "{}",
        shown.stderr
    );
    let asked = run(&mut site.stx(&["trigger", "--force", "master"])).code(0);
    assert!(asked.stdout.contains("request "), "{}", asked.stdout);
    site.until("the requested build", || site.small.builds().len() == 2);
    // The service itself needs all of its configuration, and the same words help there.
    let refused = run(&mut site.stx(&["daemon"])).code(2);
    assert!(
        refused.stderr.contains("put the file back"),
        "{}",
        refused.stderr
    );
    fs_err::rename(&aside, &other).expect("moved");

    let spool = site.small.at("state.spool");
    fs_err::rename(&spool, &aside).expect("moved");
    let shown = run(&mut site.stx(&["status"])).code(0);
    assert!(
        shown.stdout.contains("the service runs"),
        "{}",
        shown.stdout
    );
    let words = format!("{spool}: the directory for requests was moved or removed");
    assert!(shown.stderr.contains(&words), "{}", shown.stderr);
    let alarm = "stx_builds_alarm{kind=\"never-fires\",subject=\"spool\"} 1";
    let alarmed = || {
        let metrics = fs_err::read_to_string(site.small.at("stx-builds.prom"));
        metrics.unwrap_or_default().contains(alarm)
    };
    site.until("the alarm", alarmed);
    let shown = run(&mut site.stx(&["status"])).code(0).stdout;
    assert!(
        shown.contains("never-fires spool") && shown.contains(&words),
        "{shown}"
    );
    // Another directory in its place does not help: nobody sees there that the service runs.
    fs_err::create_dir(&spool).expect("a directory");
    let replaced = || {
        run(&mut site.stx(&["status"]))
            .stdout
            .contains("was emptied or replaced")
    };
    site.until("its reason", replaced);
    fs_err::remove_dir_all(&spool).expect("removed");
    fs_err::rename(&aside, &spool).expect("moved");
    site.until("the end of the alarm", || !alarmed());
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
}

#[test]
fn status_shows_that_the_service_is_stopping() {
    let site = Site::new("", "poll = \"1s\"");
    let daemon = site.start_and_hold_second();
    let shown = || run(&mut site.stx(&["status"])).code(0).stdout;
    let stopping = "the service is stopping";
    assert!(!shown().contains(stopping));
    let watched = site.small.at("watched");
    let file = fs_err::File::create(&watched).expect("a file");
    let _watch = Started::new(site.stx(&["status", "--watch"]).stdout(file.into_file()));
    let lines = || fs_err::read_to_string(&watched).expect("text");
    site.until("the running build", || lines().contains("runs phase"));
    assert!(!lines().contains(stopping));
    daemon.signal(Signal::TERM);
    site.until("the stop", || shown().contains(stopping));
    site.until("the watched stop", || lines().contains(stopping));
    let report = run(&mut site.stx(&["status", "--format", "json"]))
        .code(0)
        .json();
    assert_eq!(report["service_stopping"], true);
    fs_err::remove_file(site.small.at("hold")).expect("removed");
    assert_eq!(daemon.end(), Some(0));
    assert!(shown().contains("no service runs"));
}
