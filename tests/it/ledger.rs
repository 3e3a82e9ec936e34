//! Commands and the ledger's file.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use stx_service::ledger::{Change, Ledger as _, SqliteLedger};

use crate::builds::Small;
use crate::harness::{Ran, copy_program, run, stx, tool, wait};

fn command(small: &Small, args: &[&str]) -> Command {
    let mut command = stx(args.iter().copied());
    command.current_dir(small.dir.path());
    command
}

fn stopped(mut child: Child) {
    kill_process(Pid::from_child(&child), Signal::TERM).expect("the service runs");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_ledger_of_a_newer_version_is_refused_and_unchanged() {
    let small = Small::new();
    let text = "mirror = \"mirror\"\nstate = \"state\"\nrecipe = \"recipe.toml\"\n[service]\n";
    fs_err::write(small.at("stx-builds.toml"), text).expect("a configuration");
    let missing = run(&mut command(&small, &["status"])).code(5);
    assert!(
        missing.stderr.contains("`stx-builds daemon` creates it"),
        "{}",
        missing.stderr
    );

    let child = command(&small, &["daemon"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the service starts");
    wait("the service is up", || {
        small.at("state.spool/.service").exists()
    });
    // A reader while the service runs.
    let status = run(&mut command(&small, &["status", "--format", "json"]));
    assert_eq!(status.code(0).json()["service_running"], true);
    let second = run(&mut command(&small, &["daemon"])).code(6);
    let lock = small.at("state/.service/lock");
    assert!(
        second.stderr.contains(&format!("`fuser -v {lock}`")),
        "{}",
        second.stderr
    );
    stopped(child);
    let status = run(&mut command(&small, &["status", "--format", "json"]));
    assert_eq!(status.code(0).json()["service_running"], false);

    let ledger = small.at("state/.service/ledger.sqlite");
    // A value that no version writes is damage, and not a bug of this program. A new ledger has no values yet.
    let message = Change::Received { id: "a".into() };
    let opened = SqliteLedger::open(&ledger);
    opened
        .and_then(|mut ledger| ledger.record(&[message]))
        .expect("a ledger");
    let whole = fs_err::read(&ledger).expect("a ledger");
    let at = whole.windows(7).rposition(|part| part == b"last_id");
    let mut damaged = whole.clone();
    damaged[at.expect("the highest number")] = b'm';
    fs_err::write(&ledger, damaged).expect("a file");
    for args in [&["daemon"][..], &["status"], &["history"]] {
        let refused = run(&mut command(&small, args)).code(4);
        let said = refused.stderr;
        assert!(said.contains("put a backup"), "{said}");
    }
    fs_err::write(&ledger, whole).expect("a file");

    // SQLite's `user_version` is the big-endian number at offset 60.
    let mut file = fs_err::OpenOptions::new()
        .write(true)
        .open(&ledger)
        .expect("a ledger");
    file.seek(SeekFrom::Start(60)).expect("a position");
    file.write_all(&77_u32.to_be_bytes()).expect("four bytes");
    drop(file);
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

    // A new program beside a service of an older version, as between the installation of a package and the restart of the service.
    let mut file = fs_err::OpenOptions::new()
        .write(true)
        .open(&ledger)
        .expect("a ledger");
    file.seek(SeekFrom::Start(60)).expect("a position");
    file.write_all(&3_u32.to_be_bytes()).expect("four bytes");
    drop(file);
    for args in [&["status"][..], &["history"]] {
        let shown = run(&mut command(&small, args)).code(0);
        let note = "old schema version 3; restart the service, which upgrades it: `systemctl restart stx-builds`; this is from";
        assert!(shown.stderr.contains(note), "{}", shown.stderr);
    }
    run(&mut command(&small, &["stats", "master/centos"])).code(2);

    // Another file in its place: the error names the path, the next step, and its consequences.
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

/// Runs a command as nobody, whose directory and files belong to it.
fn as_nobody(small: &Small, args: &[&str]) -> Ran {
    let program = small.at("stx-builds");
    let mut command = tool(
        "setpriv",
        ["--reuid=65534", "--regid=65534", "--clear-groups"],
    );
    command
        .arg(program)
        .args(args)
        .current_dir(small.dir.path());
    run(&mut command)
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
    let child = tool(
        "setpriv",
        ["--reuid=65534", "--regid=65534", "--clear-groups"],
    )
    .arg(small.at("stx-builds"))
    .arg("daemon")
    .current_dir(small.dir.path())
    .stderr(Stdio::null())
    .spawn()
    .expect("the service starts");
    wait("the service is up", || {
        small.at("state.spool/.service").exists()
    });
    stopped(child);

    let refused = |code: i32, words: &[&str]| {
        let daemon = as_nobody(&small, &["daemon"]).code(code);
        let doctor = as_nobody(&small, &["doctor", "--offline"]).code(2);
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
    as_nobody(&small, &["doctor", "--offline"]).code(0);
}
