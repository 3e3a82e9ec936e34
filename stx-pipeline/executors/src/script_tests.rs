use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

use proptest::prelude::*;

use camino::Utf8Path;

use super::*;
use stx_pipeline::Env;

/// A job in a temporary directory, which is deleted with the returned guard.
fn job() -> (camino_tempfile::Utf8TempDir, Job) {
    let dir = camino_tempfile::tempdir().unwrap();
    let job = Job {
        name: "p.1".into(),
        dir: dir.path().to_owned(),
        lock: dir.path().join("p.lock"),
        owner: (0, 0),
        shared: Vec::new(),
        common: Env::new(),
    };
    (dir, job)
}

/// The command that starts the script of a job, as an executor does.
#[expect(clippy::disallowed_methods, reason = "a real shell reads the script")]
fn command(job: &Job, invocation: &Invocation, lifeline: Lifeline, run: &str) -> Command {
    let file = job.run_script(invocation);
    // Nothing here needs more than a second to end.
    let text = file.text.replace("\ngrace=10 ", "\ngrace=1 ");
    fs_err::write(&file.path, text).unwrap();
    let words = job.start(lifeline);
    let mut command = Command::new(&words[0]);
    // The phase must not see variables that a login sets.
    command
        .args(&words[1..])
        .args([run, "here"])
        .env("LOGIN", "yes")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn result(job: &Job) -> Option<Ended> {
    let text = fs_err::read_to_string(job.result()).ok()?;
    outcome(&text)
}

/// Runs the script of an invocation; returns its output and its result.
fn run(invocation: &Invocation) -> (Output, Option<Ended>) {
    let (_dir, job) = job();
    let output = command(&job, invocation, Lifeline::None, "0")
        .output()
        .unwrap();
    (output, result(&job))
}

/// Waits for a file, and reads it.
fn read(file: &Utf8Path) -> String {
    for _ in 0..1000 {
        if let Ok(text) = fs_err::read_to_string(file) {
            return text;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{file} does not appear");
}

fn gone(pid: &str) -> bool {
    let state = fs_err::read_to_string(format!("/proc/{}/stat", pid.trim()));
    state.is_err() || state.unwrap().contains(") Z ")
}

fn invocation(program: &str, args: &[&str], env: &[(&str, &str)]) -> Invocation {
    let env = env
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    let mut env: Env = env.collect();
    env.entry("PATH".into()).or_insert("/usr/bin:/bin".into());
    Invocation {
        program: program.into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env,
        dir: "/".into(),
        log: "/dev/null".into(),
        log_limit: None,
        timeout: None,
        stop_grace: None,
    }
}

#[test]
fn the_phase_sees_its_environment_and_nothing_else() {
    let odd = "two\nlines 'quoted' \"twice\" $HOME `date` \\ \u{e4} * !x";
    let wanted = [
        ("ODD", odd),
        ("EMPTY", ""),
        ("UID", "the shell's own"),
        ("PWD", "/elsewhere"),
        ("IFS", "x"),
        ("not-a-name", "kept"),
    ];
    let invocation = invocation("env", &["-0"], &wanted);
    let (output, result) = run(&invocation);
    assert_eq!(result, Some(Ended::Exited { code: 0 }));
    let seen: Env = String::from_utf8(output.stdout)
        .unwrap()
        .split_terminator('\0')
        .map(|entry| {
            let (name, value) = entry.split_once('=').unwrap();
            (name.into(), value.into())
        })
        .collect();
    assert_eq!(seen, invocation.env);
}

#[test]
fn the_exit_code_or_signal_of_a_phase_is_reported() {
    let cases = [
        ("exit 0", Ended::Exited { code: 0 }),
        ("exit 7", Ended::Exited { code: 7 }),
        ("exit 137", Ended::Exited { code: 137 }),
        ("exit 255", Ended::Exited { code: 255 }),
        ("kill -KILL $$", Ended::Signalled { signal: 9 }),
        ("kill -TERM $$", Ended::Signalled { signal: 15 }),
        ("kill -PIPE $$", Ended::Signalled { signal: 13 }),
    ];
    for (script, ended) in cases {
        let (output, result) = run(&invocation("bash", &["-c", script], &[]));
        assert_eq!(result, Some(ended), "{script}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{script}");
    }
}

#[test]
fn a_program_that_cannot_start_is_named() {
    let (_, result) = run(&invocation("no-such-program", &[], &[]));
    assert_eq!(
        result.unwrap().to_string(),
        "not started: no-such-program is not in PATH on here"
    );
    let mut elsewhere = invocation("true", &[], &[]);
    elsewhere.dir = "/no/such/dir".into();
    let (_, result) = run(&elsewhere);
    assert_eq!(
        result.unwrap().to_string(),
        "not started: here cannot enter /no/such/dir"
    );
}

#[test]
fn processes_that_a_phase_leaves_are_killed() {
    let script = "sleep 61 > /dev/null 2>&1 & echo $!; exit 3";
    let (output, result) = run(&invocation("bash", &["-c", script], &[]));
    assert_eq!(result, Some(Ended::Exited { code: 3 }));
    assert!(gone(&String::from_utf8(output.stdout).unwrap()));
}

/// A phase that ends only when it is killed, and writes its process id into a file.
fn stubborn(dir: &Utf8Path) -> (Invocation, Utf8PathBuf) {
    let file = dir.join("pid");
    let script = "trap '' TERM; echo $$ > $1.new; mv $1.new $1; while :; do sleep 0.1; done";
    let args = ["-c", script, "sh", file.as_str()];
    (invocation("bash", &args, &[]), file)
}

#[test]
fn a_phase_ends_with_its_lifeline_and_leaves_no_result() {
    let (dir, job) = job();
    let (phase, file) = stubborn(dir.path());
    let mut child = command(&job, &phase, Lifeline::Stdin, "0")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = read(&file);
    assert!(!gone(&pid));
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(gone(&pid));
    assert_eq!(result(&job), None);
}

#[test]
fn a_phase_ended_by_a_signal_leaves_no_result() {
    let (dir, job) = job();
    let (phase, file) = stubborn(dir.path());
    let mut child = command(&job, &phase, Lifeline::None, "0").spawn().unwrap();
    let pid = read(&file);
    let script = i32::try_from(child.id()).unwrap();
    let script = rustix::process::Pid::from_raw(script).unwrap();
    rustix::process::kill_process(script, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(gone(&pid));
    assert_eq!(result(&job), None);
}

#[test]
fn a_second_run_waits_for_the_first_and_takes_its_result() {
    let (dir, job) = job();
    let began = dir.path().join("began");
    let go = dir.path().join("go");
    let script = "echo run >> $1; until [ -e $2 ]; do sleep 0.05; done; exit 5";
    let args = ["-c", script, "sh", began.as_str(), go.as_str()];
    let phase = invocation("bash", &args, &[]);
    let mut first = command(&job, &phase, Lifeline::None, "0").spawn().unwrap();
    read(&began);
    let mut second = command(&job, &phase, Lifeline::None, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The first one ends only once the second has reported that it waits.
    let output = BufReader::new(second.stdout.take().unwrap());
    let mut lines = output.lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("waiting for its end")));
    fs_err::write(&go, "").unwrap();
    lines.for_each(drop);
    assert_eq!(first.wait().unwrap().code(), Some(5));
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert_eq!(read(&began), "run\n");
    assert_eq!(result(&job), Some(Ended::Exited { code: 5 }));
}

#[test]
fn a_second_run_starts_once_the_first_is_gone() {
    let (dir, job) = job();
    let (phase, file) = stubborn(dir.path());
    let mut first = command(&job, &phase, Lifeline::Stdin, "0")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = read(&file);
    let script = format!("kill -0 {} && exit 1; exit 0", pid.trim());
    let check = invocation("bash", &["-c", &script], &[]);
    let mut second = command(&job, &check, Lifeline::None, "1").spawn().unwrap();
    drop(first.stdin.take());
    assert_eq!(first.wait().unwrap().code(), Some(143));
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert_eq!(result(&job), Some(Ended::Exited { code: 0 }));
}

/// Replaces itself with another program 2,000 times; the last program has an empty environment.
const CHANGING: &str =
    "#!/bin/sh\n[ \"$1\" = 0 ] || exec \"$0\" $(($1 - 1))\nexec env -i sleep 60\n";

#[test]
#[expect(clippy::disallowed_methods, reason = "a real shell looks for it")]
fn a_process_that_executes_another_program_still_belongs_to_the_phase() {
    let dir = camino_tempfile::tempdir().unwrap();
    let script = dir.path().join("changing");
    crate::runner::tests::write_script(&script, CHANGING);
    let mut child = Command::new(&script)
        .arg("2000")
        .env("MY_WORKSPACE", dir.path())
        .env("PHASE", "iso")
        .spawn()
        .unwrap();
    // Repeats the search until the process no longer counts as the phase's. Prints the number of searches and the program by
    // then.
    let looks = format!(
        "workspace={} stray=iso grace=1\n{SWEEP}\nfor ((seen = 0; ; seen++)); do\n\
         [[ $(strays) == {pid} ]] || break\ndone\nread -r comm < /proc/{pid}/comm\necho \"$comm $seen\"\n",
        dir.path(),
        pid = child.id()
    );
    let looked = Command::new("bash").args(["-c", &looks]).output().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let said = String::from_utf8(looked.stdout).unwrap();
    let (program, seen) = said.trim().split_once(' ').unwrap();
    assert_eq!(program, "sleep", "after {seen} looks");
    assert!(seen.parse::<u32>().unwrap() > 20, "{seen}");
}

#[test]
fn an_unknown_text_is_not_an_outcome() {
    for text in ["", "exit", "exit x\n", "done 3\n", "signal \n"] {
        assert_eq!(outcome(text), None, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_string_is_passed_unchanged(
        args in prop::collection::vec("[^\0]{0,12}", 0..4),
        value in "[^\0]{0,20}",
        odd in r#"['"$`\\!*?~&|;<>(){}\n\t #=-]{0,12}"#,
    ) {
        let mut words = vec!["-c", r#"printf '%s\0' "$VALUE" "$ODD" "$@""#, "sh"];
        words.extend(args.iter().map(String::as_str));
        let invocation = invocation("sh", &words, &[("VALUE", &value), ("ODD", &odd)]);
        let (output, result) = run(&invocation);
        prop_assert_eq!(result, Some(Ended::Exited { code: 0 }));
        let mut wanted = vec![value, odd];
        wanted.extend(args);
        let seen: Vec<_> = output.stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(seen.len(), wanted.len() + 1);
        for (seen, wanted) in seen.iter().zip(&wanted) {
            prop_assert_eq!(seen.as_slice(), wanted.as_bytes());
        }
    }
}
