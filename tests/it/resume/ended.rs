//! Builds that are ended by a cancellation or a signal, with all processes that they started.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{SYNC, Site, assert_gone, kill, wait_for};
use crate::harness::run;

#[test]
fn a_running_build_is_cancelled_from_elsewhere_and_nothing_is_published() {
    let site = Site::new();
    let none = run(&mut site.stx(&["cancel", "master/centos"])).code(5);
    assert!(
        none.stderr.contains("no build is running or interrupted"),
        "{}",
        none.stderr
    );
    let child = site.held("left");
    let phase = site.pid("left");
    let other = run(&mut site.stx(&["cancel", "master/centos/20190101T000000Z"])).code(5);
    assert!(
        other.stderr.contains("20200101T000000Z"),
        "{}",
        other.stderr
    );
    let busy = site.resume(&[]).code(6);
    assert!(busy.stderr.contains("another build"), "{}", busy.stderr);
    let cancelled = run(&mut site.stx(&["cancel", "master/centos/20200101T000000Z"])).code(0);
    assert!(
        cancelled.stdout.contains("was cancelled"),
        "{}",
        cancelled.stdout
    );
    let output = child.wait_with_output().expect("it ended");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("cancelled; nothing was published"),
        "{stderr}"
    );
    assert_gone(phase);
    assert!(site.builds().is_empty());
    site.resume(&[]).code(5);
}

#[test]
fn a_build_that_a_signal_ended_can_be_resumed() {
    let site = Site::new();
    let child = site.held("left");
    let phase = site.pid("left");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a running process");
    let output = child.wait_with_output().expect("it ended");
    assert_eq!(output.status.code(), Some(3));
    assert_gone(phase);
    site.release("left");
    site.resume(&[]).code(0);
    assert_eq!(site.record()["result"], "success");
    let finished = site.finished();
    assert_eq!(
        finished.iter().filter(|name| *name == "two").count(),
        1,
        "{finished:?}"
    );
}

#[test]
fn a_process_outside_of_its_session_that_ignores_signals_is_killed() {
    let site = Site::new();
    let recipe = format!(
        "{SYNC}[[phase]]\nname = \"daemon\"\ntimeout = \"2s\"\nscript = '''\n\
         setsid bash -c 'trap \"\" TERM HUP INT; echo $$ > \"$HERE/new\"; mv \"$HERE/new\" \"$HERE/pid-stray\"; sleep 600 & wait; sleep 600' &\n\
         env -i setsid bash -c 'trap \"\" TERM; echo $$ > '\"$HERE\"'/bare; mv '\"$HERE\"'/bare '\"$HERE\"'/pid-bare; exec sleep 600' &\n\
         while [ ! -e \"$HERE/pid-stray\" ] || [ ! -e \"$HERE/pid-bare\" ]; do sleep 0.01; done\n\
         [ -e \"$HERE/quick\" ] || sleep 600\n'''\n"
    );
    site.write("recipe.toml", &recipe);
    // Once by the time limit, and once because the phase has ended.
    for quick in [false, true] {
        if quick {
            site.write("quick", "");
        }
        for name in ["pid-stray", "pid-bare"] {
            fs_err::remove_file(site.at(name)).ok();
        }
        let date = if quick {
            "20200102T000000Z"
        } else {
            "20200101T000000Z"
        };
        let build = [
            "build",
            "--force",
            "--recipe",
            "recipe.toml",
            "--date",
            date,
        ];
        run(&mut site.stx(&build)).code(if quick { 0 } else { 3 });
        assert_gone(site.pid("stray"));
        assert_gone(site.pid("bare"));
    }
    // A killed build leaves the daemon running; the next build ends it.
    fs_err::remove_file(site.at("quick")).expect("a file");
    fs_err::remove_file(site.at("pid-stray")).expect("a file");
    let mut child = site
        .stx(&[
            "build",
            "--force",
            "--recipe",
            "recipe.toml",
            "--date",
            "20200103T000000Z",
        ])
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    wait_for(&mut child, &site.at("pid-stray"));
    kill(&mut child);
    let stray = site.pid("stray");
    test_kill_process(stray).expect("it lives on: there is something to end");
    site.resume(&["--as-failed"]).code(3);
    assert_gone(stray);
}

#[test]
fn abandoning_an_interrupted_build_kills_its_remaining_processes() {
    let site = Site::new();
    let mut child = site.held("left");
    let phase = site.pid("left");
    kill(&mut child);
    let other = run(&mut site.stx(&["cancel", "master/centos/20190101T000000Z"])).code(5);
    assert!(
        other.stderr.contains("20200101T000000Z is"),
        "{}",
        other.stderr
    );
    test_kill_process(phase).expect("it lives on");
    let cancelled = run(&mut site.stx(&["cancel", "master/centos"])).code(0);
    assert!(
        cancelled.stdout.contains("was cancelled"),
        "{}",
        cancelled.stdout
    );
    assert_gone(phase);
    assert!(site.builds().is_empty());
    site.resume(&[]).code(5);
    run(&mut site.stx(&["cancel", "master/centos"])).code(5);
}
