//! `build` killed at any time: an incomplete build is never visible, and the next build succeeds.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::builds::Small;
use crate::harness::{assert_whole, run, tool, wait};

/// Starts a build, and kills it after `delay`; true if it was still running then.
fn killed_after(small: &Small, date: &str, delay: Duration) -> bool {
    let mut child = small
        .build(date)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let end = Instant::now() + delay;
    while Instant::now() < end {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::KILL).expect("a running process");
    child.wait().expect("it ends");
    true
}

/// A build date, `seconds` after a fixed one.
fn at(seconds: u64) -> String {
    format!(
        "20200201T{:02}{:02}{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[test]
fn a_killed_build_leaves_nothing_visible_and_the_next_one_succeeds() {
    let small = Small::new();
    run(&mut small.build("20200101T000000Z")).code(0);
    let mut killed = 0;
    for step in 0.. {
        let before = small.builds();
        small.commit("message", &format!("{step}\n"));
        let date = at(2 * step);
        let running = killed_after(&small, &date, Duration::from_millis(7 * step));
        // After a kill behind the commit, the build is complete; before the commit, it does not exist.
        assert_whole(&small.at("mirror"), "master/centos");
        let after = small.builds();
        if after != before {
            assert_eq!(after[..after.len() - 1], before[..]);
        }
        if !running {
            break;
        }
        killed += 1;
        if step % 5 == 0 {
            run(small.build(&at(2 * step + 1)).arg("--force")).code(0);
        }
        assert!(step < 2000, "the build never ends");
    }
    assert!(killed >= 5, "killed only {killed} times");
    run(small.build("20200401T000000Z").arg("--force")).code(0);
    assert_eq!(small.latest(), "20200401T000000Z");
    assert_whole(&small.at("mirror"), "master/centos");
    run(&mut small.stx(&["verify"])).ok();
}

/// git leaves its lock file behind if it is killed right after creating it.
#[test]
fn a_lock_of_a_killed_git_does_not_block_the_next_build() {
    let small = Small::new();
    run(&mut small.build("20200101T000000Z")).code(0);
    small.commit("message", "changed\n");
    let lock = small.at("mirror.state/master/centos/sources/config/.git/index.lock");
    fs_err::write(&lock, "").expect("written");
    let built = run(small.build("20200102T000000Z").arg("--verbose")).code(0);
    assert!(built.stderr.contains("index.lock"), "{}", built.stderr);
    assert_eq!(small.latest(), "20200102T000000Z");
}

#[test]
fn phases_of_a_killed_build_are_killed_before_the_next_one_starts() {
    let small = Small::new();
    let pid_file = small.at("sleeper");
    small.commit(
        "image.sh",
        &format!("trap '' TERM\necho $$ > {pid_file}.new && mv {pid_file}.new {pid_file}\nwhile :; do sleep 1; done\n"),
    );
    let mut child = small
        .build("20200101T000000Z")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    wait("the phase runs", || {
        let ended = child.try_wait().expect("a child");
        assert!(ended.is_none(), "the phase does not start");
        pid_file.exists()
    });
    let sleeper: i32 = fs_err::read_to_string(&pid_file)
        .expect("a pid")
        .trim()
        .parse()
        .expect("a pid");
    let sleeper = Pid::from_raw(sleeper).expect("a pid");
    child.kill().expect("a running process");
    child.wait().expect("it ends");
    test_kill_process(sleeper).expect("the orphan lives on: there is something to end");
    small.commit(
        "image.sh",
        "mkdir image && cp wheels/message.whl image/bootimage.iso\n",
    );
    run(&mut small.build("20200102T000000Z")).code(0);
    wait("the orphan has ended with the next build", || {
        test_kill_process(sleeper).is_err()
    });
    assert_eq!(small.builds(), ["20200102T000000Z"]);
}

#[test]
fn strays_are_killed_in_a_session_that_began_outside_of_the_namespace() {
    let small = Small::new();
    small.commit(
        "image.sh",
        "setsid sleep 600 &\nmkdir image && cp wheels/message.whl image/bootimage.iso\n",
    );
    let build = small.build("20200101T000000Z");
    // In a PID namespace of its own, the program's session and group have the number 0.
    let script = "\"$@\" && ! grep -sx sleep /proc/[0-9]*/comm";
    let mut unshare = tool(
        "unshare",
        ["--pid", "--fork", "--mount-proc", "sh", "-c", script, "sh"],
    );
    unshare
        .arg(build.get_program())
        .args(build.get_args())
        .current_dir(small.dir.path());
    run(&mut unshare).code(0);
    assert_eq!(small.latest(), "20200101T000000Z");
}
