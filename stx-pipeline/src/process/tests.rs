use std::sync::Mutex;
use std::time::Instant;

use camino::Utf8Path;

use super::super::end_orphans;
use super::super::group::members;
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
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        dir: dir.to_owned(),
        log: dir.join("logs/p.log"),
        timeout,
    }
}

/// Runs a script; how it ended, its lines, its log.
async fn run(
    script: &str,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> (Ended, Vec<String>, String) {
    let dir = camino_tempfile::tempdir().unwrap();
    let runner = ProcessRunner {
        state: dir.path().join("state"),
        grace: Duration::from_millis(300),
    };
    let lines = Mutex::new(Vec::new());
    let output = |_, line: &str| lines.lock().unwrap().push(line.to_owned());
    let invocation = bash(dir.path(), script, timeout);
    let ended = runner.run(&invocation, &output, cancel).await;
    let log = fs_err::read_to_string(&invocation.log).unwrap();
    assert_eq!(
        fs_err::read_dir(dir.path().join("state/running")).map_or(0, Iterator::count),
        0
    );
    (ended, lines.into_inner().unwrap(), log)
}

fn gone(pid: &str) -> bool {
    group::stat(pid.parse().unwrap()).is_none_or(|stat| stat.state == b'Z')
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
        log.starts_with("$ bash -c ") && log.ends_with("\nend\n"),
        "{log}"
    );
}

#[tokio::test]
async fn a_grandchild_that_ignores_being_asked_is_killed() {
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
async fn what_a_phase_leaves_behind_is_ended() {
    let (ended, lines, _) = run("sleep 60 & echo $!", None, &Cancel::new()).await;
    assert_eq!(ended, Ended::Exited { code: 0 });
    assert!(gone(&lines[0]));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
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
async fn orphans_are_ended_and_strangers_left_alone() {
    let dir = camino_tempfile::tempdir().unwrap();
    let (mut ours, _pipe) = start(&bash(dir.path(), "sleep 60", None)).unwrap();
    let (other, _pipe) = start(&bash(dir.path(), "sleep 60", None)).unwrap();
    let ours_file = dir.path().join(format!("running/{}", ours.group));
    let other_file = dir.path().join(format!("running/{}", other.group));
    std::mem::forget(orphan::register(dir.path(), ours.group, "p", "/w").unwrap());
    let grace = Duration::from_secs(2);
    assert_eq!(
        end_orphans(dir.path(), grace).await.unwrap(),
        [],
        "our builder is alive"
    );
    let text = fs_err::read_to_string(&ours_file).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines[3] = "1";
    fs_err::write(&ours_file, lines.join("\n")).unwrap();
    lines[1] = "1";
    fs_err::write(&other_file, lines.join("\n")).unwrap();
    let ended = end_orphans(dir.path(), grace).await.unwrap();
    assert_eq!(
        ended
            .into_iter()
            .map(|orphan| orphan.kind)
            .collect::<Vec<_>>(),
        [orphan::OrphanKind::Group(ours.group)]
    );
    assert!(members(ours.group).is_empty());
    assert!(!members(other.group).is_empty());
    drop(ours.child.wait());
    ours.over = true;
}
