//! Commands and the ledger's file.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::builds::Small;
use crate::harness::{run, stx, wait};

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
fn a_ledger_of_a_newer_version_is_refused_and_left_alone() {
    let small = Small::new();
    let text = "mirror = \"mirror\"\nstate = \"state\"\nrecipe = \"recipe.toml\"\n[service]\n";
    fs_err::write(small.at("stx-builds.toml"), text).expect("a configuration");
    let missing = run(&mut command(&small, &["status"])).code(5);
    assert!(
        missing.stderr.contains("`stx-builds daemon` makes it"),
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
    stopped(child);
    let status = run(&mut command(&small, &["status", "--format", "json"]));
    assert_eq!(status.code(0).json()["service_running"], false);

    // SQLite's `user_version` is the big-endian number at offset 60.
    let ledger = small.at("state/.service/ledger.sqlite");
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
