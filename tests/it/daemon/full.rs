//! A service whose ledger temporarily has no room.

use std::time::Duration;

use rustix::process::{Signal, test_kill_process};

use super::Site;
use crate::full_disk::Disk;
use crate::harness::run;

#[test]
fn on_a_full_disk_the_service_waits_and_records_the_build_later() {
    // The block size of most disks. With smaller blocks, the kernel kills a process that writes to the index that SQLite maps.
    let disk = Disk::with_blocks(4096);
    let site = Site::new("", "poll = \"1s\"");
    // Only the service's own files: a build on a full disk fails anyway.
    fs_err::create_dir(site.small.at("state")).expect("a directory");
    fs_err::os::unix::fs::symlink(disk.path(), site.small.at("state/.service")).expect("a symlink");
    let daemon = site.start_and_hold_second();
    disk.exhaust();
    fs_err::remove_file(site.small.at("hold")).expect("a file");
    site.until("the second build", || site.messages() == ["one", "two"]);
    site.until("the wait", || {
        site.log()
            .contains("nothing is started until it can be written")
    });
    site.until("the notice", || {
        let notices = fs_err::read_to_string(site.small.at("notices")).unwrap_or_default();
        notices.contains("\"subject\":\"ledger\"")
    });
    // Readers see it, too.
    let is_shown = || {
        let metrics = fs_err::read_to_string(site.small.at("stx-builds.prom"));
        let alarm = "stx_builds_alarm{kind=\"disk-filling\",subject=\"ledger\"} 1";
        let status = run(&mut site.stx(&["status"])).ok();
        [
            metrics.expect("metrics").contains(alarm),
            status.contains("disk-filling ledger"),
        ]
    };
    site.until("the alarm", || is_shown() == [true, true]);
    site.commit("three");
    std::thread::sleep(Duration::from_secs(3));
    let pid = rustix::process::Pid::from_child(&daemon.0);
    test_kill_process(pid).expect("it waits");
    assert_eq!(site.messages(), ["one", "two"]);
    disk.empty();
    site.until("the third build", || {
        site.messages() == ["one", "two", "three"]
    });
    site.until("the end of the alarm", || is_shown() == [false, false]);
    assert_eq!(
        site.log().matches("nothing is started until").count(),
        1,
        "{}",
        site.log()
    );

    // A stop always ends it, even if it was started without room.
    site.small.commit("image.sh", "exit 3\n");
    disk.exhaust();
    std::thread::sleep(Duration::from_secs(2));
    daemon.signal(Signal::TERM);
    let code = daemon.end();
    assert!(code == Some(0) || code == Some(4), "{code:?}");
    let daemon = site.start();
    std::thread::sleep(Duration::from_secs(2));
    daemon.signal(Signal::TERM);
    let code = daemon.end();
    assert!(code == Some(0) || code == Some(4), "{code:?}");
    disk.empty();
    let daemon = site.start();
    site.until("the failure", || site.small.builds().len() == 4);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    let published = |filed: &serde_json::Value| {
        let runs = filed["runs"].as_array().expect("runs").clone();
        runs.into_iter()
            .filter(|run| run["end"]["outcome"] == "published")
            .count()
    };
    assert_eq!(site.history().iter().map(published).sum::<usize>(), 4);
}
