//! A member of the spool's group, without further rights, sees a build run and the reason of its failure.

use std::process::Stdio;

use super::hostile::{ends_in_time, member, open_site};
use super::{Site, holding};
use crate::harness::{Ran, Started, run};

/// The output of a member's program that has ended.
fn ended(started: Started) -> Ran {
    let output = started.output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        command: "as a member".to_owned(),
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

fn start(site: &Site, args: &[&str]) -> Started {
    let mut command = member(site, &[&["./stx-builds"], args].concat());
    Started::new(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

#[test]
fn a_member_of_the_group_sees_a_build_run_and_why_it_failed() {
    use std::os::unix::fs::PermissionsExt;
    let (site, _spool) = open_site("", "");
    let dir = site.small.dir.path().to_owned();
    let script = format!(
        "echo the first words\n{}echo the disk is on fire\nexit 7\n",
        holding(&dir)
    );
    site.small.commit("image.sh", &script);
    fs_err::write(site.small.at("hold"), "").expect("a file");
    let daemon = site.start();
    site.until_file("state.spool/status.json");
    // Members cannot read the state.
    fs_err::set_permissions(site.small.at("state"), PermissionsExt::from_mode(0o700))
        .expect("a mode");
    run(&mut member(&site, &["ls", "state"])).code(2);

    let wait = start(
        &site,
        &["trigger", "master", "--reason", "please", "--wait"],
    );
    let watched = site.small.at("watched");
    let file = fs_err::File::create(&watched).expect("a file");
    let mut watch = member(&site, &["./stx-builds", "status", "--watch"]);
    let mut watch = Started::new(watch.stdout(file.into_file()));
    site.until_file("holds");
    site.until("the log", || {
        let log = ["./stx-builds", "log", "master/centos"];
        run(&mut member(&site, &log))
            .stdout
            .contains("the first words")
    });
    let status = run(&mut member(&site, &["./stx-builds", "status"])).code(0);
    assert!(
        status.stdout.contains("phase image (3 of 3)")
            && status.stdout.contains("time left unknown"),
        "{}",
        status.stdout
    );
    let all = start(&site, &["log", "-f"]);
    let one = start(&site, &["log", "-f", "master/centos", "image", "-n", "0"]);
    // They start to follow before more is written.
    for follower in [&all, &one] {
        follower.until_it_reads(&site.small.at("state.spool/running"));
    }
    let lines = || fs_err::read_to_string(&watched).expect("text");
    site.until("the phase", || lines().contains("runs phase image"));
    fs_err::remove_file(site.small.at("hold")).expect("a file");

    let all = ended(all).code(3);
    assert_eq!(
        all.stdout.matches("the first words").count(),
        1,
        "{}",
        all.stdout
    );
    assert_eq!(
        all.stdout.matches("the disk is on fire").count(),
        1,
        "{}",
        all.stdout
    );
    assert!(
        all.stderr
            .contains("published as failed: phase image: exit status 7"),
        "{}",
        all.stderr
    );
    let one = ended(one).code(3);
    assert!(
        one.stdout.contains("the disk is on fire") && !one.stdout.contains("the first words"),
        "{}",
        one.stdout
    );
    ended(wait).code(3);
    // The log is that of the published build, named by its channel.
    for (args, words) in [
        (&["history"][..], "phase image: exit status 7"),
        (&["status"], "the disk is on fire"),
        (&["log", "master/centos"], "the disk is on fire"),
    ] {
        let ran = run(&mut member(&site, &[&["./stx-builds"], args].concat())).code(0);
        assert!(ran.stdout.contains(words), "{args:?}: {}", ran.stdout);
    }

    // One line per change.
    site.until("the last change", || lines().contains("exit status 7"));
    watch.kill().expect("killed");
    drop(watch.output());
    let lines = lines();
    for wanted in ["runs phase image", "phase image: exit status 7"] {
        assert_eq!(lines.matches(wanted).count(), 1, "{wanted}: {lines}");
    }
    // The service's user sees the same from the ledger.
    let own = run(&mut site.stx(&["status", "--format", "json"]))
        .code(0)
        .json();
    let last = own["failing"][0]["lines"].as_array().expect("lines");
    assert!(
        last.iter().any(|line| line
            .as_str()
            .is_some_and(|it| it.ends_with("the disk is on fire"))),
        "{own:#}"
    );
    ends_in_time(daemon, "at the end");
}
