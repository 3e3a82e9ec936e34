//! Commands and the ledger's file.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::{Child, Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::process::{Pid, Signal, kill_process};
use stx_service::ledger::{Change, Ledger as _, SqliteLedger};

use crate::builds::Small;
use crate::harness::{copy_program, run, stx, tool, wait};

fn command(small: &Small, args: &[&str]) -> Command {
    let mut command = stx(args.iter().copied());
    command.current_dir(small.dir.path());
    command
}

fn stopped(mut child: Child) {
    kill_process(Pid::from_child(&child), Signal::TERM).expect("the service runs");
    assert!(child.wait().expect("it ends").success());
}

/// A site with a service that ran once, and its ledger.
fn served() -> (Small, Utf8PathBuf) {
    let small = Small::new();
    let child = serve(&small);
    stopped(child);
    let ledger = small.at("state/.service/ledger.sqlite");
    (small, ledger)
}

/// Configures and starts a service.
fn serve(small: &Small) -> Child {
    let text = "mirror = \"mirror\"\nstate = \"state\"\nrecipe = \"recipe.toml\"\n[service]\n";
    fs_err::write(small.at("stx-builds.toml"), text).expect("a configuration");
    let child = command(small, &["daemon"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the service starts");
    // A service that is stopped at once may end without a status document.
    wait("the service is up", || {
        small.at("state.spool/status.json").exists()
    });
    child
}

/// Writes the version of the schema: `SQLite`'s `user_version`, the big-endian number at offset 60.
fn set_version(ledger: &Utf8Path, version: u32) {
    let mut file = fs_err::OpenOptions::new()
        .write(true)
        .open(ledger)
        .expect("a ledger");
    file.seek(SeekFrom::Start(60)).expect("a position");
    file.write_all(&version.to_be_bytes()).expect("four bytes");
}

#[test]
fn status_reads_the_ledger_of_a_running_and_of_a_stopped_service() {
    let small = Small::new();
    let child = serve(&small);
    let is_running = || {
        let status = run(&mut command(&small, &["status", "--format", "json"]));
        status.code(0).json()["service_running"] == true
    };
    assert!(is_running());
    let second = run(&mut command(&small, &["daemon"])).code(6);
    let lock = small.at("state/.service/lock");
    assert!(
        second.stderr.contains(&format!("`fuser -v {lock}`")),
        "{}",
        second.stderr
    );
    stopped(child);
    assert!(!is_running());
    fs_err::remove_dir_all(small.at("state")).expect("removed");
    let missing = run(&mut command(&small, &["status"])).code(5);
    assert!(
        missing.stderr.contains("`stx-builds daemon` creates it"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_value_that_no_version_writes_is_reported_as_damage() {
    let (small, ledger) = served();
    // A new ledger has no values yet.
    let message = Change::Received { id: "a".into() };
    let opened = SqliteLedger::open(&ledger);
    opened
        .and_then(|mut ledger| ledger.record(&[message]))
        .expect("a ledger");
    let mut bytes = fs_err::read(&ledger).expect("a ledger");
    let at = bytes.windows(7).rposition(|part| part == b"last_id");
    bytes[at.expect("the highest number")] = b'm';
    fs_err::write(&ledger, bytes).expect("a file");
    for args in [&["daemon"][..], &["status"], &["history"]] {
        let refused = run(&mut command(&small, args)).code(4);
        let said = refused.stderr;
        assert!(said.contains("put a backup"), "{said}");
    }
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_unchanged() {
    let (small, ledger) = served();
    set_version(&ledger, 77);
    let before = fs_err::read(&ledger).expect("a ledger");
    for args in [&["daemon"][..], &["status"], &["history"]] {
        let refused = run(&mut command(&small, args)).code(2);
        assert!(
            refused.stderr.contains("schema version 77")
                && refused.stderr.contains("newer stx-builds"),
            "{}",
            refused.stderr
        );
    }
    let found = run(&mut command(&small, &["doctor", "--offline"]))
        .code(2)
        .stdout;
    assert!(found.contains("schema version 77"), "{found}");
    assert_eq!(fs_err::read(&ledger).expect("a ledger"), before);
}

/// The program is newer than the service between the installation of a package and the restart of the service.
#[test]
fn status_and_history_answer_for_a_service_of_an_older_version() {
    let (small, ledger) = served();
    set_version(&ledger, 3);
    for args in [&["status"][..], &["history"]] {
        let shown = run(&mut command(&small, args)).code(0);
        let note = "old schema version 3; restart the service, which upgrades it: `systemctl restart stx-builds`; this is from";
        assert!(shown.stderr.contains(note), "{}", shown.stderr);
    }
    run(&mut command(&small, &["stats", "master/centos"])).code(2);
}

#[test]
fn a_file_that_is_not_a_ledger_is_named_with_the_next_step_and_its_consequences() {
    let (small, ledger) = served();
    fs_err::write(&ledger, "no database at all\n".repeat(1000)).expect("a file");
    for (args, code) in [
        (&["daemon"][..], 4),
        (&["status"], 4),
        (&["doctor", "--offline"], 2),
    ] {
        let refused = run(&mut command(&small, args)).code(code);
        let said = refused.stdout + &refused.stderr;
        for words in [
            ledger.as_str(),
            "not a database",
            "move it away",
            "the history",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}

/// A command that runs as nobody.
fn as_nobody(small: &Small, args: &[&str]) -> Command {
    let ids = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut command = tool("setpriv", ids);
    command.arg(small.at("stx-builds")).args(args);
    command.current_dir(small.dir.path());
    command
}

#[test]
fn a_ledger_that_cannot_be_written_is_reported_at_the_start_with_its_cause() {
    let small = Small::new();
    let text = "mirror = \"mirror\"\nstate = \"state\"\nrecipe = \"recipe.toml\"\n[service]\n";
    fs_err::write(small.at("stx-builds.toml"), text).expect("a configuration");
    // `nobody` cannot enter the directory of the program of the tests.
    copy_program(&small.at("stx-builds"));
    let own = |what: &str, owner: &str| {
        let mut chown = tool("chown", ["-R", owner, small.at(what).as_str()]);
        run(&mut chown).code(0);
    };
    own("", "65534:65534");
    let service = small.at("state/.service");
    let ledger = service.join("ledger.sqlite");
    let child = as_nobody(&small, &["daemon"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the service starts");
    // A service that is stopped at once may end without a status document.
    wait("the service is up", || {
        small.at("state.spool/status.json").exists()
    });
    stopped(child);

    let refused = |code: i32, words: &[&str]| {
        let daemon = run(&mut as_nobody(&small, &["daemon"])).code(code);
        let doctor = run(&mut as_nobody(&small, &["doctor", "--offline"])).code(2);
        for word in words {
            assert!(daemon.stderr.contains(word), "{word}: {}", daemon.stderr);
        }
        // The history is not lost, so nothing advises to give it up.
        let said = daemon.stderr + &doctor.stdout;
        assert!(!said.contains("move it away"), "{said}");
        assert!(!said.contains("serves"), "{said}");
        said
    };
    own("state/.service/ledger.sqlite", "root:root");
    let said = refused(
        2,
        &[
            "ledger.sqlite",
            "belongs to root (0), and you are nobody (65534)",
        ],
    );
    assert!(said.contains(&format!("chown nobody {ledger}*")), "{said}");
    own("state/.service/ledger.sqlite", "65534:65534");

    let bind =
        |args: &[&str]| run(tool("mount", args.iter().copied()).arg(service.as_str())).code(0);
    bind(&["--bind", service.as_str()]);
    bind(&["-o", "remount,bind,ro"]);
    let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        refused(4, &["Read-only file system", "dmesg"])
    }));
    run(&mut tool("umount", [service.as_str()])).code(0);
    let said = said.expect("a report");
    assert!(said.contains("its file system is read-only"), "{said}");
    run(&mut as_nobody(&small, &["doctor", "--offline"])).code(0);
}
