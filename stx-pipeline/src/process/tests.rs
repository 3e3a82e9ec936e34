use std::sync::Mutex;
use std::time::Instant;

use camino::Utf8Path;

use super::super::proc;
use super::super::{OrphanKind, end_orphans};
use super::*;

fn bash(dir: &Utf8Path, script: &str, timeout: Option<Duration>) -> Invocation {
    Invocation {
        program: "bash".into(),
        args: vec!["-c".into(), script.into()],
        env: [
            ("PATH", "/usr/bin:/bin"),
            ("PHASE", "p"),
            ("MY_WORKSPACE", dir.as_str()),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into(),
        dir: dir.to_owned(),
        log: dir.join("logs/p.log"),
        log_limit: None,
        timeout,
        stop_grace: None,
    }
}

/// Runs a script; returns its end, its lines and its log.
async fn run(
    script: &str,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> (Ended, Vec<String>, String) {
    let dir = camino_tempfile::tempdir().unwrap();
    let mut runner = ProcessRunner::new(dir.path().join("state"));
    runner.grace = Duration::from_millis(300);
    let lines = Mutex::new(Vec::new());
    let output = |_, line: &str| lines.lock().unwrap().push(line.to_owned());
    let invocation = bash(dir.path(), script, timeout);
    let ended = runner.run(&invocation, &output, cancel).await;
    let log = fs_err::read_to_string(&invocation.log).unwrap();
    drop(runner);
    assert_eq!(
        fs_err::read_dir(dir.path().join("state/running")).map_or(0, Iterator::count),
        0
    );
    (ended, lines.into_inner().unwrap(), log)
}

fn gone(pid: &str) -> bool {
    proc::stat(pid.parse().unwrap()).is_none_or(|stat| stat.is_dead())
}

#[tokio::test]
async fn output_goes_to_the_log_and_to_the_events() {
    let (ended, lines, log) = run(
        "echo a; echo b >&2; cat; env; printf end; exit 3",
        None,
        &Cancel::new(),
    )
    .await;
    assert_eq!(ended, Ended::Exited { code: 3 });
    assert_eq!(
        (&*lines[0], &*lines[1], &*lines[lines.len() - 1]),
        ("a", "b", "end")
    );
    assert!(!lines.iter().any(|line| line.starts_with("HOME=")));
    assert!(
        log.lines().next().unwrap()[25..].starts_with("$ bash -c ")
            && log.lines().rev().nth(1).unwrap().ends_with("Z end")
            && log.ends_with("= exit status 3\n"),
        "{log}"
    );
}

#[tokio::test]
async fn a_grandchild_that_ignores_sigterm_is_killed() {
    let script = "trap '' TERM; (trap '' TERM; echo $BASHPID; exec sleep 60) & sleep 60; wait";
    let start = Instant::now();
    let (ended, lines, _) = run(script, Some(Duration::from_millis(500)), &Cancel::new()).await;
    assert_eq!(
        ended,
        Ended::TimedOut {
            after: Duration::from_millis(500)
        }
    );
    assert!(gone(&lines[0]));
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn cancelling_ends_the_group() {
    let cancel = Cancel::new();
    let switch = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        switch.cancel();
    });
    let (ended, lines, _) = run("echo $$; sleep 60", None, &cancel).await;
    assert_eq!(ended, Ended::Cancelled);
    assert!(gone(&lines[0]));
}

#[tokio::test]
async fn processes_that_a_phase_leaves_are_killed() {
    let (ended, lines, _) = run("sleep 60 & echo $!", None, &Cancel::new()).await;
    assert_eq!(ended, Ended::Exited { code: 0 });
    assert!(gone(&lines[0]));
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named() {
    let dir = camino_tempfile::tempdir().unwrap();
    let mut invocation = bash(dir.path(), "", None);
    invocation.program = "no-such-program".into();
    let ended = ProcessRunner::new(dir.path().join("state"))
        .run(&invocation, &|_, _| (), &Cancel::new())
        .await;
    assert_eq!(
        ended.to_string(),
        "not started: no-such-program is not in PATH"
    );
}

#[tokio::test]
async fn orphans_are_killed_and_unrelated_processes_are_not() {
    let dir = camino_tempfile::tempdir().unwrap();
    let (mut ours, _pipe) = start(&bash(dir.path(), "sleep 60", None)).unwrap();
    let (other, _pipe) = start(&bash(dir.path(), "sleep 60", None)).unwrap();
    let running = Running::new(dir.path());
    let files = [proc::own(), 1].map(|builder| dir.path().join(format!("running/{builder}.0")));
    let registered = running.register(ours.tree.leader(), "p", "/w").unwrap();
    let grace = Duration::from_secs(2);
    assert_eq!(
        end_orphans(dir.path(), "/none".into(), grace)
            .await
            .unwrap(),
        [],
        "our builder is alive"
    );
    let text = fs_err::read_to_string(&files[0]).unwrap();
    drop(registered);
    let idle = fs_err::read_to_string(&files[0]).unwrap();
    assert!(
        text.starts_with(&idle) && idle.lines().count() == 3,
        "{text}"
    );
    let mut lines: Vec<_> = text.lines().collect();
    // Pretend that the builder is gone.
    lines[2] = "1";
    fs_err::write(&files[0], lines.join("\n")).unwrap();
    let other_group = other.tree.leader().to_string();
    (lines[3], lines[4]) = (&other_group, "1");
    fs_err::write(&files[1], lines.join("\n")).unwrap();
    let ended = end_orphans(dir.path(), "/none".into(), grace)
        .await
        .unwrap();
    assert_eq!(
        ended
            .into_iter()
            .map(|orphan| orphan.kind)
            .collect::<Vec<_>>(),
        [OrphanKind::Group(ours.tree.leader())]
    );
    assert!(files.iter().all(|file| !file.exists()));
    assert!(ours.tree.members().is_empty());
    assert!(!other.tree.members().is_empty());
    drop(ours.child.wait());
    ours.over = true;
}

/// The case that the builder was killed before it registered the group.
#[tokio::test]
async fn the_process_group_of_a_stray_is_killed() {
    let dir = camino_tempfile::tempdir().unwrap();
    let script = "env -i sleep 60 & echo $! > new && mv new child; wait";
    let (mut ours, _pipe) = start(&bash(dir.path(), script, None)).unwrap();
    let file = dir.path().join("child");
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let child = fs_err::read_to_string(file).unwrap().trim().to_owned();
    assert!(!gone(&child));
    let grace = Duration::from_secs(2);
    let state = dir.path().join("state");
    let ended = end_orphans(&state, dir.path(), grace).await.unwrap();
    assert!(!ended.is_empty());
    assert!(gone(&child));
    drop(ours.child.wait());
    ours.over = true;
}

#[tokio::test]
async fn a_process_with_its_own_session_ends_with_its_own_phase_only() {
    let stray = "setsid bash -c 'trap \"\" TERM; echo $$ > new; mv new stray; exec sleep 60' & \
        while [ ! -e stray ]; do sleep 0.01; done";
    let (one, two) = (
        camino_tempfile::tempdir().unwrap(),
        camino_tempfile::tempdir().unwrap(),
    );
    let pid = |dir: &Utf8Path| {
        fs_err::read_to_string(dir.join("stray"))
            .unwrap()
            .trim()
            .to_owned()
    };
    let runner = |dir: &Utf8Path| {
        let mut runner = ProcessRunner::new(dir.join("state"));
        runner.grace = Duration::from_millis(100);
        runner
    };
    let long = format!("{stray}; while [ ! -e over ]; do sleep 0.01; done");
    let (long, short) = (bash(one.path(), &long, None), bash(two.path(), stray, None));
    let cancel = Cancel::new();
    let (first, second) = (runner(one.path()), runner(two.path()));
    let quiet = |_, _: &str| ();
    let short = async {
        while !one.path().join("stray").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ended = second.run(&short, &quiet, &cancel).await;
        assert!(gone(&pid(two.path())));
        assert!(
            !gone(&pid(one.path())),
            "the phase that runs lost its process"
        );
        fs_err::write(one.path().join("over"), "").unwrap();
        ended
    };
    let (long, short) = tokio::join!(first.run(&long, &quiet, &cancel), short);
    assert_eq!(
        (long, short),
        (Ended::Exited { code: 0 }, Ended::Exited { code: 0 })
    );
    assert!(gone(&pid(one.path())));
}

#[tokio::test]
async fn an_endless_line_is_split_without_loss() {
    let (_, lines, log) = run(
        "head -c 40000 /dev/zero | tr '\\0' Q; echo; echo end",
        None,
        &Cancel::new(),
    )
    .await;
    let sizes: Vec<_> = lines.iter().map(String::len).collect();
    assert_eq!(sizes, [16384, 16384, 7232, 3]);
    assert_eq!(log.matches('Q').count(), 40001);
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test is of processes that no runner starts"
)]
#[tokio::test]
async fn processes_that_the_runner_did_not_start_are_not_killed() {
    use std::os::unix::process::CommandExt as _;
    let mut other = std::process::Command::new("sleep")
        .arg("60")
        .process_group(0)
        .env_clear()
        .spawn()
        .unwrap();
    let mut short = std::process::Command::new("true")
        .process_group(0)
        .spawn()
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (ended, ..) = run("set -m; sleep 60 & echo $!", None, &Cancel::new()).await;
    assert_eq!(ended, Ended::Exited { code: 0 });
    assert!(short.wait().unwrap().success(), "it was reaped by another");
    assert!(other.try_wait().unwrap().is_none(), "it was ended");
    other.kill().unwrap();
    other.wait().unwrap();
}
