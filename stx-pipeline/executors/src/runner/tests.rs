//! Failures of clusters and hosts, which real ones seldom show; small scripts stand in for their programs.

use std::process::Command;
use std::sync::Mutex;

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;

use super::*;

/// Accepts the job, but its answer is lost.
const SBATCH: &str = r#"
for batch; do :; done
SLURMD_NODENAME=n1 sh "$batch" >> "${batch%batch}output" 2>&1 &
echo 'Socket timed out on send/recv operation' >&2
exit 1
"#;

/// Does not answer while the job runs, and has forgotten the job afterwards.
const SCONTROL: &str = r#"
if test -e "$HOME"/state/jobs/p.0/result; then
    echo 'slurm_load_jobs error: Invalid job id specified' >&2
else
    echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2
fi
exit 1
"#;

/// Writes an executable script.
///
/// A child process writes the file. Processes that other tests start meanwhile inherit the descriptors of this process, and a
/// file that any process has open for writing cannot be executed.
#[expect(clippy::disallowed_methods, reason = "a real shell writes the file")]
pub(crate) fn write_script(path: &Utf8Path, text: &str) {
    let write = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let mut shell = Command::new("sh");
    let written = shell.args(["-c", write, path.as_str(), text]).status();
    assert!(written.unwrap().success());
}

/// A runner below `dir`, with a place whose programs are scripts.
fn runner_at(dir: &Utf8Path, place: &str, programs: &[(&str, &str)]) -> PlacedRunner {
    let bin = dir.join("bin");
    fs_err::create_dir(&bin).unwrap();
    for (name, script) in programs {
        let file = bin.join(name);
        write_script(&file, &format!("#!/bin/bash\n{script}"));
    }
    let config =
        format!("[place.there]\n{place}\n[[place-rule]]\nphases = [\"p\"]\nplace = \"there\"\n");
    let tools = [
        ("PATH", format!("{bin}:/usr/bin:/bin")),
        ("HOME", dir.to_string()),
    ];
    PlacedRunner {
        local: ProcessRunner::new(dir.join("state")),
        places: Places::from_toml(&config, Utf8Path::new("/")).unwrap(),
        tools: tools
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        // A sweep ends all processes of its series, so each test has its own.
        series: dir.file_name().unwrap().into(),
        shared: Vec::new(),
        common: Env::new(),
        started: AtomicU32::new(0),
    }
}

/// Runs a phase at a place whose programs are scripts; returns its end and the reported lines.
async fn run(place: &str, programs: &[(&str, &str)], phase: &str) -> (Ended, Vec<String>) {
    let dir = Utf8TempDir::new().unwrap();
    let state = dir.path().join("state");
    let runner = runner_at(dir.path(), place, programs);
    let env = [("PATH", "/usr/bin:/bin"), ("PHASE", "p")];
    let invocation = Invocation {
        program: "bash".into(),
        args: vec!["-c".into(), phase.into()],
        env: env.map(|(name, value)| (name.into(), value.into())).into(),
        dir: "/".into(),
        log: dir.path().join("p.log"),
        log_limit: None,
        timeout: None,
        stop_grace: None,
    };
    let lines = Mutex::new(Vec::new());
    let output = |_, line: &str| lines.lock().unwrap().push(line.to_owned());
    let ended = runner.run(&invocation, &output, &Cancel::new()).await;
    drop(runner);
    let running = fs_err::read_dir(state.join("running")).map_or(0, Iterator::count);
    assert_eq!(running, 0, "it is still registered");
    assert!(
        !state.join("jobs/p.0/run").exists(),
        "its script is still there"
    );
    assert!(
        !state.join("jobs/p.0/output").exists(),
        "its output is still there after {ended:?}"
    );
    (ended, lines.into_inner().unwrap())
}

#[tokio::test]
async fn a_hanging_client_times_out() {
    let dir = Utf8TempDir::new().unwrap();
    let place = "kind = \"exec\"\ncommand = [\"client\"]";
    let runner = runner_at(dir.path(), place, &[("client", "sleep 90; true")]);
    let (name, executor) = runner.places.of("p").unwrap();
    let tried = runner.try_place(name, executor);
    let tried = tokio::time::timeout(Duration::from_mins(1), tried).await;
    let error = tried.expect("it is given up").unwrap_err().to_string();
    assert_eq!(error, "place there: client gave no answer within 1 second");
}

#[tokio::test]
async fn an_answer_that_is_lost_does_not_lose_the_job() {
    let programs = [
        ("sbatch", SBATCH),
        ("squeue", "echo 5"),
        ("scontrol", SCONTROL),
    ];
    let (ended, lines) = run(
        "kind = \"slurm\"",
        &programs,
        "sleep 0.5; echo done; exit 3",
    )
    .await;
    assert_eq!(ended, Ended::Exited { code: 3 });
    assert!(lines.contains(&"done".to_owned()), "{lines:?}");
    let silent = "stx-builds: still following job 5: scontrol ended with status 1: \
                  slurm_load_jobs error: Unable to contact slurm controller";
    assert_eq!(lines.iter().filter(|line| *line == silent).count(), 1);
}

#[tokio::test]
async fn a_job_that_is_refused_never_started() {
    let programs = [
        ("sbatch", "echo 'sbatch: error: no' >&2; exit 1"),
        ("squeue", ""),
        ("scancel", ""),
    ];
    let (ended, _) = run("kind = \"slurm\"", &programs, "exit 0").await;
    let wanted = "not started: place there: sbatch ended with status 1: sbatch: error: no";
    assert_eq!(ended.to_string(), wanted);
}

/// Accepts the job, which the stand-in for `scontrol` runs.
const SBATCH_ALONE: &str = r#"
for batch; do :; done
echo "$batch" > "$HOME/batch"
echo 5
"#;

#[tokio::test]
async fn the_result_of_a_phase_overrides_the_job_state_of_slurm() {
    let states = [
        "PENDING Reason=launch_failed_requeued_held",
        "NODE_FAIL Reason=NodeDown",
        "CANCELLED Reason=None",
    ];
    for state in states {
        let scontrol = format!(
            "batch=$(cat \"$HOME/batch\")\n\
             test -e \"${{batch%batch}}result\" || SLURMD_NODENAME=n1 sh \"$batch\" >> \"${{batch%batch}}output\" 2>&1\n\
             echo JobId=5 JobState={state} BatchHost=n1 Restarts=1"
        );
        let programs = [
            ("sbatch", SBATCH_ALONE),
            ("scontrol", &*scontrol),
            ("scancel", ""),
            ("squeue", ""),
        ];
        let (ended, lines) = run("kind = \"slurm\"", &programs, "echo done; exit 3").await;
        assert_eq!(ended, Ended::Exited { code: 3 }, "{state}");
        assert!(lines.contains(&"done".to_owned()), "{state}: {lines:?}");
    }
}

#[tokio::test]
async fn a_node_that_does_not_see_the_files_is_named() {
    let state = "JobState=FAILED Reason=NonZeroExitCode Restarts=0 BatchHost=n7";
    let scontrol = format!("echo '{state}'");
    let programs = [("sbatch", "echo 5"), ("scontrol", &*scontrol)];
    let (ended, _) = run("kind = \"slurm\"", &programs, "exit 0").await;
    let ended = ended.to_string();
    assert!(
        ended.starts_with(
            "lost: place there: Slurm job 5 ended as FAILED without a result: does n7 see /"
        ),
        "{ended}"
    );
}

#[tokio::test]
async fn the_output_file_of_a_followed_phase_is_as_small_as_its_log() {
    // The phase's standard output is the file that the builder follows. The last line reports that file's blocks and length.
    // It waits for the builder, which a busy machine may delay.
    let phase = "yes $(printf %01023d 0) | head -c 32M\n\
        for tries in {1..60}; do\n\
            sleep 0.5\n\
            (($(stat -L -c %b /proc/$$/fd/1) > 16384)) || break\n\
        done\n\
        stat -L -c 'room %b %s' /proc/$$/fd/1";
    let place = "kind = \"exec\"\ncommand = [\"enter\"]";
    let (ended, lines) = run(place, &[("enter", "exec \"$@\"")], phase).await;
    assert_eq!(ended, Ended::Exited { code: 0 });
    assert_eq!(lines.len(), 32 * 1024 + 1);
    let last = lines.last().unwrap();
    let room = last.strip_prefix("room ").and_then(|it| it.split_once(' '));
    let (blocks, size) = room.unwrap_or_else(|| panic!("{last}"));
    assert_eq!(size, (32 << 20).to_string());
    assert!(blocks.parse::<u64>().unwrap() * 512 <= 8 << 20, "{last}");
}

#[test]
fn output_that_is_read_too_slowly_loses_its_middle() {
    let dir = Utf8TempDir::new().unwrap();
    let output = dir.path().join("output");
    let lines: Vec<_> = (0..1_000_000).map(|line| format!("{line:09}\n")).collect();
    let text = lines.concat();
    fs_err::write(&output, &text).unwrap();
    let invocation = Invocation {
        program: "true".into(),
        args: Vec::new(),
        env: Env::new(),
        dir: "/".into(),
        log: dir.path().join("p.log"),
        log_limit: Some(1 << 20),
        timeout: None,
        stop_grace: None,
    };
    // The bytes that were shown or left out, the last line, and the bytes that were left out.
    let seen = Mutex::new((0, String::new(), 0));
    let events = |_, line: &str| {
        let mut seen = seen.lock().unwrap();
        if let Some(left_out) = line.strip_prefix("[... ") {
            let bytes: usize = left_out.split(' ').next().unwrap().parse().unwrap();
            seen.0 += bytes;
            seen.2 += bytes;
        } else if !line.is_empty() {
            seen.0 += line.len() + 1;
            seen.1 = line.to_owned();
        }
    };
    let lines = stx_pipeline::process::Lines::open(&invocation, "true", &events).unwrap();
    let mut tail = follow::Tail::new(lines, invocation.log_limit);
    tail.follow(&output).unwrap();
    tail.finish(&Ended::Exited { code: 0 }).unwrap();
    let (bytes, last, left_out) = seen.into_inner().unwrap();
    // A line that was cut in two has an additional line ending.
    assert!((text.len()..text.len() + 3).contains(&bytes), "{bytes}");
    assert_eq!(last, "000999999");
    // The middle is not even read: a log of 1 MiB lags by at most that.
    assert!(left_out > 5_000_000, "{left_out}");
    let log = fs_err::metadata(&invocation.log).unwrap().len();
    assert!(log < 4 << 20, "{log}");
}

#[tokio::test]
async fn the_exit_status_of_ssh_is_distinguished_from_that_of_the_phase() {
    let place = "kind = \"ssh\"\nhost = \"h\"";
    let runs = [("ssh", r#"for last; do :; done; sh -c "$last"; exit 255"#)];
    let (ended, _) = run(place, &runs, "exit 255").await;
    assert_eq!(ended, Ended::Exited { code: 255 });
    let (ended, _) = run(place, &[("ssh", "exit 255")], "exit 0").await;
    let wanted = "lost: place there: the connection was refused, or it broke";
    assert_eq!(ended.to_string(), wanted);
    let (ended, _) = run(place, &[("ssh", "exit 0")], "exit 0").await;
    let wanted = "lost: place there: exit status 0, before the phase reported how it ended";
    assert_eq!(ended.to_string(), wanted);
}

#[tokio::test]
async fn a_shared_connection_stays_open_after_the_phases() {
    let dir = Utf8TempDir::new().unwrap();
    let ssh = dir.path().join("ssh");
    let script = "#!/bin/bash\nsetsid sleep 60 > /dev/null 2>&1 &\necho $!\n";
    write_script(&ssh, script);
    let phase = Invocation {
        program: "true".into(),
        args: Vec::new(),
        env: [
            ("PATH", "/usr/bin:/bin"),
            ("PHASE", "p"),
            ("MY_WORKSPACE", dir.path().as_str()),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into(),
        dir: dir.path().to_owned(),
        log: dir.path().join("p.log"),
        log_limit: None,
        timeout: None,
        stop_grace: None,
    };
    let runner = ProcessRunner::new(dir.path().join("state"));
    // From now on this process becomes the parent of orphaned processes.
    runner.run(&phase, &|_, _| {}, &Cancel::new()).await;
    let tools = Env::from([(
        "PATH".into(),
        format!("{}:/usr/bin:/bin", dir.path()).into(),
    )]);
    let job = Job {
        name: "check".into(),
        dir: dir.path().join("jobs/check"),
        lock: dir.path().join("jobs/check.lock"),
        owner: (0, 0),
        shared: Vec::new(),
        common: Env::new(),
    };
    let place = crate::Ssh {
        host: "h".into(),
        ..Default::default()
    };
    let Some(crate::Check::Prints(check)) = place.check(&job.script(), &job, &tools) else {
        panic!("it is tried by what it prints")
    };
    let master: i32 = said(check).await.unwrap().stdout.trim().parse().unwrap();
    runner.run(&phase, &|_, _| {}, &Cancel::new()).await;
    // State and parent follow the name, which is in parentheses.
    let stat = fs_err::read_to_string(format!("/proc/{master}/stat")).unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let fields: Vec<_> = after.split_whitespace().take(2).collect();
    let [state, parent] = fields[..] else {
        panic!("it is gone: {stat:?}")
    };
    assert!(!["Z", "X"].contains(&state), "{stat}");
    assert_eq!(parent, own().to_string(), "{stat}");
    let master = rustix::process::Pid::from_raw(master).unwrap();
    rustix::process::kill_process(master, rustix::process::Signal::KILL).unwrap();
}
