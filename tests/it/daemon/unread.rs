//! Standard error that cannot be written: a full disk, a dead reader, a terminal that is gone.

use std::process::Stdio;

use rustix::process::Signal;

use super::Site;
use crate::builds::Small;
use crate::harness::{around, at_terminal, run, stx, tool, wait};

/// Standard errors to which every write fails.
fn unwritable() -> [(&'static str, Stdio); 2] {
    let mut open = fs_err::OpenOptions::new();
    let full = open.write(true).open("/dev/full").expect("a device");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    [
        ("a full disk", Stdio::from(full.into_parts().0)),
        ("a reader that died", Stdio::from(writer)),
    ]
}

#[test]
fn a_build_succeeds_with_an_unwritable_standard_error() {
    for (name, stderr) in unwritable() {
        let small = Small::new();
        let mut build = small.build("20200101T000000Z");
        build.arg("--verbose").stderr(stderr);
        let status = build.status().expect("it starts");
        assert_eq!(status.code(), Some(0), "{name}");
        assert_eq!(small.builds(), ["20200101T000000Z"], "{name}");
    }
}

#[test]
fn the_exit_code_of_a_mistake_does_not_depend_on_standard_error() {
    for args in [
        &["parse", "no/such/channel"][..],
        &["--no-such-option"],
        &["publish", "/nowhere"],
    ] {
        let expected = run(&mut stx(args)).code;
        assert_eq!(expected, Some(2), "{args:?}");
        for (name, stderr) in unwritable() {
            let status = stx(args).stderr(stderr).status().expect("it starts");
            assert_eq!(status.code(), expected, "{name}: {args:?}");
        }
    }
}

#[test]
fn the_service_works_with_an_unwritable_standard_error() {
    for (name, stderr) in unwritable() {
        let site = Site::new("", "poll = \"1s\"");
        let mut command = site.stx(&["daemon"]);
        let command = command.stdout(Stdio::null()).stderr(stderr);
        let daemon = super::Daemon(command.spawn().expect("the service starts"));
        site.until(name, || site.messages() == ["one"]);
        site.commit("two");
        site.until(name, || site.messages() == ["one", "two"]);
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.end(), Some(0), "{name}");
    }
}

#[test]
fn a_build_continues_after_its_terminal_is_closed() {
    let small = Small::new();
    small.commit("image.sh", &super::holding(small.dir.path()));
    fs_err::write(small.at("hold"), "").expect("a file");
    let build = small.build("20200101T000000Z");
    // A session of its own does not receive SIGHUP when the terminal closes.
    let session = around(tool("setsid", ["--wait"]), &build);
    let mut script = at_terminal(&session);
    let script = script.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut terminal = script.spawn().expect("script starts");
    wait("the phase that waits", || small.at("holds").exists());
    terminal.kill().expect("killed");
    terminal.wait().expect("it ends");
    fs_err::remove_file(small.at("hold")).expect("a file");
    wait("the build", || small.builds() == ["20200101T000000Z"]);
    wait("the alias", || {
        small.at("mirror/master/centos/latest_build").exists()
    });
}
