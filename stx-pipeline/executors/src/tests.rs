use std::fmt::Write as _;
use std::time::Duration;

use super::slurm::job::{JobState, Verdict, job_id, job_state, verdict};
use super::*;
use stx_pipeline::Ended;

fn places(text: &str) -> Places {
    Places::from_toml(text, Utf8Path::new("/etc/stx")).unwrap()
}

fn mistakes(text: &str) -> String {
    Places::from_toml(text, Utf8Path::new("/etc/stx"))
        .unwrap_err()
        .to_string()
}

/// A phase's invocation rewritten for the place `there` of a configuration, as text; with its script if `shows_script` is set.
fn rewritten(text: &str, shows_script: bool) -> String {
    let text = format!("{text}\n[[place-rule]]\nphases = [\"*\"]\nplace = \"there\"\n");
    let places = places(&text);
    let (_, place) = places.of("iso").unwrap();
    let env = [
        ("PATH", "/usr/bin"),
        ("PHASE", "iso"),
        ("MY_WORKSPACE", "/s/space"),
        ("TOKEN", "it's secret"),
    ];
    let map = |env: &[(&str, &str)]| {
        env.iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect::<Env>()
    };
    let invocation = Invocation {
        program: "build-iso".into(),
        args: vec!["--label".into(), "a b".into()],
        env: map(&env),
        dir: "/s/space".into(),
        log: "/s/logs/iso.log".into(),
        log_limit: None,
        timeout: Some(Duration::from_secs(90)),
        stop_grace: None,
    };
    let job = Job {
        name: "iso.ab12.7.8.0".into(),
        dir: "/s/jobs/iso.0".into(),
        lock: "/s/jobs/iso.lock".into(),
        owner: (1000, 100),
        shared: ["/s/space", "/s/sources", "/r", "/s/space/deeper"]
            .map(Utf8PathBuf::from)
            .to_vec(),
        common: map(&[("NAMESPACE", "debian-master"), ("MY_WORKSPACE", "/s/space")]),
    };
    let tools = map(&[("PATH", "/bin"), ("HOME", "/home/builder")]);
    let mut out = String::new();
    let show = |out: &mut String, what: &str, invocation: &Invocation| {
        let env: Vec<_> = invocation.env.keys().map(|name| &**name).collect();
        writeln!(out, "{what}: {invocation}\n  env {}", env.join(" ")).unwrap();
        assert!(!format!("{invocation:?}").contains("secret"));
    };
    let files = match place.rewrite(&invocation, &job, &tools) {
        Placed::Process {
            files,
            invocation,
            end,
        } => {
            show(&mut out, "run", &invocation);
            if let Some(end) = end {
                show(&mut out, "end", &end);
            }
            files
        }
        Placed::Followed {
            files,
            client,
            sweeper,
            shown,
        } => {
            show(&mut out, "run", &client);
            show(&mut out, "sweep", &sweeper);
            writeln!(out, "log: {shown}").unwrap();
            files
        }
        Placed::Submitted {
            files,
            submit,
            cancel,
            slurm: _,
        } => {
            show(&mut out, "submit", &submit);
            show(&mut out, "cancel", &cancel);
            files
        }
        Placed::Direct(_) | Placed::By(_) => panic!("it runs elsewhere"),
    };
    let script = job.script();
    assert_eq!(
        files.iter().filter(|file| file.path == script).count(),
        1,
        "it is written once"
    );
    for file in files {
        // The script is the same for each kind, and is shown once.
        if file.path == script && !shows_script {
            continue;
        }
        let own = file.text.split("# The rest is the same").next().unwrap();
        writeln!(out, "{}:\n{own}", file.path).unwrap();
    }
    match place.check(Utf8Path::new("/s/jobs/check.0/marker"), &job, &tools) {
        None => {}
        Some(Check::Prints(check)) => show(&mut out, "check", &check),
        Some(Check::PrintsBy { file, invocation }) => {
            show(&mut out, "check", &invocation);
            writeln!(out, "{}", file.path).unwrap();
        }
        Some(Check::Succeeds { invocation, .. }) => show(&mut out, "check", &invocation),
    }
    out
}

#[test]
fn ssh_runs_the_script_on_another_host() {
    insta::assert_snapshot!(rewritten(
        r#"
        [place.there]
        kind = "ssh"
        host = "builder@big"
        port = 2222
        identity = "keys/builder"
        options = ["StrictHostKeyChecking=yes"]
        "#,
        true,
    ), @r##"
    run: bash -c 'exec "$@" < <(exec sleep infinity 2> /dev/null)' lifeline ssh -T -o 'StrictHostKeyChecking=yes' -o 'BatchMode=yes' -o 'ConnectTimeout=20' -o 'ServerAliveInterval=15' -o 'ServerAliveCountMax=4' -o 'EscapeChar=none' -o 'ClearAllForwardings=yes' -o 'LogLevel=ERROR' -o 'ControlPath="/s/jobs/%C"' -o 'ControlMaster=no' -p 2222 -o 'IdentitiesOnly=yes' -i /etc/stx/keys/builder -- builder@big 'exec /usr/bin/env -i /bin/bash --noprofile --norc /s/jobs/iso.0/run stdin 0'
      env HOME MY_WORKSPACE PATH PHASE STX_CLIENT
    /s/jobs/iso.0/run:
    # One run of a phase: its command and its environment.
    job=/s/jobs/iso.0
    lock=/s/jobs/iso.lock
    work=/s/space
    program=build-iso
    path=/usr/bin
    workspace=/s/space
    stray=iso
    grace=10 patience=900
    phase() {
        export MY_WORKSPACE=/s/space
        export PATH=/usr/bin
        export PHASE=iso
        export TOKEN='it'\''s secret'
        exec /usr/bin/env -u OLDPWD -u PWD -u SHLVL -u _ build-iso --label 'a b'
    }


    check: ssh -T -o 'StrictHostKeyChecking=yes' -o 'BatchMode=yes' -o 'ConnectTimeout=20' -o 'ServerAliveInterval=15' -o 'ServerAliveCountMax=4' -o 'EscapeChar=none' -o 'ClearAllForwardings=yes' -o 'LogLevel=ERROR' -o 'ControlPath="/s/jobs/%C"' -o 'ControlMaster=auto' -o 'ControlPersist=12h' -p 2222 -o 'IdentitiesOnly=yes' -i /etc/stx/keys/builder -- builder@big 'exec /bin/sh -c '\''test -x /bin/bash && command -v flock > /dev/null || { echo '\''\'\'''\''bash or flock is missing'\''\'\'''\'' >&2; exit 1; }; exec cat /s/jobs/check.0/marker'\'''
      env HOME PATH PHASE
    "##);
}

#[test]
fn podman_runs_the_script_in_a_container() {
    insta::assert_snapshot!(rewritten(
        r#"
        [place.there]
        kind = "container"
        image = "registry.example.org/stx-builder:7"
        network = "none"
        mounts = ["/opt/cache:ro", "scratch"]
        options = ["--memory=8g"]
        "#,
        false,
    ), @r##"
    run: bash -c 'exec "$@" < <(exec sleep infinity 2> /dev/null)' lifeline podman run --rm --init --interactive --name iso.ab12.7.8.0 '--userns=keep-id' '--network=none' '--volume=/s/space:/s/space' '--volume=/s/sources:/s/sources' '--volume=/r:/r' '--volume=/s/jobs:/s/jobs' '--volume=/opt/cache:/opt/cache:ro' '--volume=/etc/stx/scratch:/etc/stx/scratch' '--memory=8g' registry.example.org/stx-builder:7 /usr/bin/env -i /bin/bash --noprofile --norc /s/jobs/iso.0/run stdin 0
      env HOME MY_WORKSPACE PATH PHASE STX_CLIENT
    end: podman kill iso.ab12.7.8.0
      env HOME PATH
    check: podman run --rm --init --interactive --name iso.ab12.7.8.0 '--userns=keep-id' '--network=none' '--volume=/s/space:/s/space' '--volume=/s/sources:/s/sources' '--volume=/r:/r' '--volume=/s/jobs:/s/jobs' '--volume=/opt/cache:/opt/cache:ro' '--volume=/etc/stx/scratch:/etc/stx/scratch' '--memory=8g' registry.example.org/stx-builder:7 /bin/sh -c 'test -x /bin/bash && command -v flock > /dev/null || { echo '\''bash or flock is missing'\'' >&2; exit 1; }; exec cat /s/jobs/check.0/marker'
      env HOME PATH PHASE
    "##);
}

#[test]
fn docker_runs_with_the_owner_of_the_files() {
    insta::assert_snapshot!(rewritten(
        r#"
        [place.there]
        kind = "container"
        engine = "docker"
        image = "stx-builder"
        "#,
        false,
    ), @r##"
    run: bash -c 'exec "$@" < <(exec sleep infinity 2> /dev/null)' lifeline docker run --rm --init --interactive --name iso.ab12.7.8.0 '--user=1000:100' '--volume=/s/space:/s/space' '--volume=/s/sources:/s/sources' '--volume=/r:/r' '--volume=/s/jobs:/s/jobs' stx-builder /usr/bin/env -i /bin/bash --noprofile --norc /s/jobs/iso.0/run stdin 0
      env HOME MY_WORKSPACE PATH PHASE STX_CLIENT
    end: docker kill iso.ab12.7.8.0
      env HOME PATH
    check: docker run --rm --init --interactive --name iso.ab12.7.8.0 '--user=1000:100' '--volume=/s/space:/s/space' '--volume=/s/sources:/s/sources' '--volume=/r:/r' '--volume=/s/jobs:/s/jobs' stx-builder /bin/sh -c 'test -x /bin/bash && command -v flock > /dev/null || { echo '\''bash or flock is missing'\'' >&2; exit 1; }; exec cat /s/jobs/check.0/marker'
      env HOME PATH PHASE
    "##);
}

#[test]
fn slurm_takes_the_script_as_a_job() {
    insta::assert_snapshot!(rewritten(
        r#"
        [place.there]
        kind = "slurm"
        partition = "build"
        cpus = 8
        memory = "16G"
        time = "2h"
        account = "stx"
        conf = "slurm.conf"
        options = ["--constraint=ssd"]
        "#,
        false,
    ), @r##"
    submit: sbatch --parsable '--job-name=iso.ab12.7.8.0' '--chdir=/' '--output=/s/jobs/iso.0/output' '--open-mode=append' --requeue '--nodes=1' '--ntasks=1' '--export=ALL' '--partition=build' '--cpus-per-task=8' '--mem=16G' '--account=stx' '--time=0-00:02:30' '--constraint=ssd' /s/jobs/iso.0/batch
      env HOME MY_WORKSPACE PATH PHASE SLURM_CONF
    cancel: scancel --quiet '--name=iso.ab12.7.8.0'
      env HOME PATH SLURM_CONF
    /s/jobs/iso.0/batch:
    #!/bin/sh
    test -r /s/jobs/iso.0/run || {
        echo "stx-builds: $SLURMD_NODENAME does not see "/s/jobs/iso.0/run >&2
        exit 78
    }
    exec /usr/bin/env -i /bin/bash --noprofile --norc /s/jobs/iso.0/run none "${SLURM_RESTART_COUNT:-0}" "$SLURMD_NODENAME"

    check: sbatch --test-only '--job-name=iso.ab12.7.8.0' '--chdir=/' '--output=/s/jobs/iso.0/output' '--open-mode=append' --requeue '--nodes=1' '--ntasks=1' '--export=ALL' '--partition=build' '--cpus-per-task=8' '--mem=16G' '--account=stx' '--time=0-02:00:00' '--constraint=ssd' /s/jobs/iso.0/batch
      env HOME PATH SLURM_CONF
    "##);
}

#[test]
fn the_first_rule_that_matches_a_phase_applies() {
    let places = places(
        r#"
        [place.farm]
        kind = "slurm"
        [place.big]
        kind = "ssh"
        host = "big"
        [[place-rule]]
        phases = ["sync"]
        place = "local"
        [[place-rule]]
        phases = ["rpms-*", "kernel"]
        place = "farm"
        [[place-rule]]
        phases = ["[a-z]*"]
        place = "big"
        "#,
    );
    let of = |phase| places.of(phase).map(|(name, _)| name);
    assert_eq!(of("sync"), Some("local"));
    assert_eq!(of("rpms-std"), Some("farm"));
    assert_eq!(of("iso"), Some("big"));
    assert_eq!(of("0"), None);
    assert_eq!(places.idle(&["sync", "rpms-rt", "iso"]), ["kernel"]);
    assert!(Places::default().of("sync").is_none());
}

#[test]
fn every_mistake_is_reported_with_its_position() {
    insta::assert_snapshot!(mistakes(
        r#"mirror = "m"
[place.Farm]
kind = "slurm"
memory = "lots"
time = "soon"
cpus = 0
options = ["-p build"]
[place.big]
kind = "ssh"
host = "-oProxyCommand=sh"
options = ["BatchMode no"]
[place.box]
kind = "docker"
[place.none]
host = "x"
[place.typo]
kind = "ssh"
hots = "x"
[place.mount]
kind = "container"
image = "i"
mounts = ["/a:/b"]
[[place-rule]]
phases = ["a["]
place = "nowhere"
[[place-rule]]
phases = []
place = "big"
"#
    ), @r##"
    line 2, column 8: place "Farm": a name is made of a-z, 0-9 and `-`
    line 4, column 10: "lots" is not a size: a number with K, M, G or T, as `4G`
    line 5, column 8: `time`: `soon` is not a duration; write a number and a unit, such as `14 days` or `90m`
    line 6, column 8: `cpus` must be at least 1
    line 7, column 12: "-p build" is not of the form --name=value
    line 10, column 8: "-oProxyCommand=sh" cannot be a host
    line 11, column 12: "BatchMode no" is not of the form Key=value
    line 13, column 8: unknown kind "docker", expected one of local, ssh, container, exec, slurm
    line 14, column 8: `kind` is missing, one of local, ssh, container, exec, slurm
    line 18, column 1: unknown key `hots`; did you mean `host`?
    line 22, column 11: expected a directory, or a directory followed by `:ro`
    line 24, column 11: error parsing glob 'a[': unclosed character class; missing ']'
    line 25, column 9: unknown place "nowhere", there are local, Farm, big, box, mount, none, typo
    line 27, column 10: `phases` names no phase
    "##);
}

fn state(line: &str) -> JobState {
    job_state(line).unwrap()
}

#[test]
fn a_line_of_scontrol_is_read() {
    let line = "JobId=5 JobName=iso.1 UserId=root(0) JobState=PENDING Reason=BeginTime Dependency=(null) Requeue=1 \
                Restarts=1 BatchFlag=1 ExitCode=0:0 BatchHost=(null) Command=/JobState=FAKE";
    assert_eq!(
        state(line),
        JobState {
            state: "PENDING".into(),
            reason: "BeginTime".into(),
            node: None,
            restarts: 1
        }
    );
    assert_eq!(job_state("slurm_load_jobs error"), None);
    assert_eq!(job_id("12\n"), Some(12));
    assert_eq!(job_id("12;east\n"), Some(12));
    assert_eq!(job_id(""), None);
}

#[test]
fn job_states_of_slurm_are_distinguished_from_the_end_of_the_phase() {
    let slurm = |time| Slurm {
        memory: Some("4G".into()),
        time,
        ..Slurm::default()
    };
    let hour = Some(Duration::from_hours(1));
    let said = |name: &str, reason: &str, time| {
        let job = JobState {
            state: name.into(),
            reason: reason.into(),
            node: Some("b3".into()),
            restarts: 0,
        };
        match verdict(7, &job, "farm", &slurm(time)) {
            Verdict::GoesOn => "goes on".to_owned(),
            Verdict::Over => "over".to_owned(),
            Verdict::Ended(ended) => ended.to_string(),
            Verdict::Held(ended) => format!("cancelled, {ended}"),
        }
    };
    assert_eq!(
        verdict(
            7,
            &state("JobState=TIMEOUT Restarts=0"),
            "farm",
            &slurm(hour)
        ),
        Verdict::Ended(Ended::TimedOut {
            after: Duration::from_hours(1)
        })
    );
    let mut out = String::new();
    for name in [
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "COMPLETING",
        "REQUEUED",
        "SUSPENDED",
        "A_STATE_OF_THE_FUTURE",
        "COMPLETED",
        "FAILED",
        "TIMEOUT",
        "DEADLINE",
        "OUT_OF_MEMORY",
        "NODE_FAIL",
        "BOOT_FAIL",
        "PREEMPTED",
        "CANCELLED",
        "REQUEUE_HOLD",
    ] {
        writeln!(out, "{name}: {}", said(name, "None", None)).unwrap();
    }
    for reason in ["Resources", "JobHeldUser", "launch_failed_requeued_held"] {
        writeln!(out, "PENDING {reason}: {}", said("PENDING", reason, None)).unwrap();
    }
    insta::assert_snapshot!(out, @r##"
    PENDING: goes on
    CONFIGURING: goes on
    RUNNING: goes on
    COMPLETING: goes on
    REQUEUED: goes on
    SUSPENDED: goes on
    A_STATE_OF_THE_FUTURE: goes on
    COMPLETED: over
    FAILED: over
    TIMEOUT: lost: Slurm job 7 at place farm, on b3: it exceeded the partition's time limit
    DEADLINE: lost: Slurm job 7 at place farm, on b3: it exceeded its deadline
    OUT_OF_MEMORY: lost: Slurm job 7 at place farm, on b3: it needed more memory than the 4G that `memory` gives
    NODE_FAIL: lost: Slurm job 7 at place farm, on b3: the node failed, and Slurm did not start the job again
    BOOT_FAIL: lost: Slurm job 7 at place farm, on b3: the node did not boot
    PREEMPTED: lost: Slurm job 7 at place farm, on b3: it was preempted by another job, and Slurm did not start it again
    CANCELLED: lost: Slurm job 7 at place farm, on b3: someone else cancelled it
    REQUEUE_HOLD: cancelled, not started: Slurm job 7 at place farm: Slurm holds it back (None)
    PENDING Resources: goes on
    PENDING JobHeldUser: cancelled, not started: Slurm job 7 at place farm: Slurm holds it back (JobHeldUser)
    PENDING launch_failed_requeued_held: cancelled, not started: Slurm job 7 at place farm: Slurm holds it back (launch_failed_requeued_held)
    "##);
}

/// The phase of [`rewritten`] at a place of kind `exec`.
fn entered(place: &str) -> String {
    let text = format!("[place.there]\nkind = \"exec\"\n{place}");
    rewritten(&text, true)
}

#[test]
fn a_pod_is_entered_with_its_own_paths_and_nothing_of_the_environment_on_the_command_line() {
    let text = entered(
        r#"
        command = ["kubectl", "exec", "-i", "-n", "${NAMESPACE}", "deploy/builder", "--"]
        paths = { "/s" = "/localdisk", "/s/space" = "/localdisk/loadbuild" }
        user = "builder"
        keep = ["MY_*", "PATH"]
        env = { KUBECONFIG = "/etc/stx/kube" }
        "#,
    );
    let enter = "kubectl exec -i -n debian-master deploy/builder -- runuser -u builder --";
    for wanted in [
        &*format!("run: {enter} /bin/bash --noprofile --norc /localdisk/jobs/iso.0/run lock 0\n"),
        &format!(
            "sweep: {enter} /usr/bin/env -i /bin/bash --noprofile --norc /localdisk/jobs/iso.0/sweep\n"
        ),
        &format!(
            "check: {enter} /usr/bin/env -i /bin/bash --noprofile --norc /localdisk/jobs/iso.0/check\n"
        ),
        "  env HOME KUBECONFIG MY_WORKSPACE PATH PHASE\n",
        "log: build-iso --label 'a b'  # /s/space is /localdisk/loadbuild, /s is /localdisk\n",
        "\njob=/localdisk/jobs/iso.0\nlock=/localdisk/jobs/iso.lock\nwork=/localdisk/loadbuild\n",
        "        case $name in MY_* | PATH) ;; *) unset -v \"$name\" ;; esac\n",
        "\n    export MY_WORKSPACE=/localdisk/loadbuild\n",
        "\n    [[ -v PATH && ${PATH@a} == *x* ]] || export PATH=/usr/bin\n",
        "\n    export TOKEN='it'\\''s secret'\n",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}

#[test]
fn a_late_place_is_not_checked_before_its_phase() {
    let command = "command = [\"docker\", \"exec\", \"-i\", \"builder\"]\n";
    let (early, late) = (
        entered(command),
        entered(&format!("{command}late = true\n")),
    );
    let (run, check) = early
        .split_once("check: docker exec -i builder ")
        .expect("a trial");
    assert!(check.contains("/s/jobs/iso.0/check"), "{check}");
    assert_eq!(late, run, "the phase runs as it does at other places");
    let no = entered(&format!("{command}late = false\n"));
    assert_eq!(no, early);
}

#[test]
fn stx_shell_takes_the_command_as_one_argument() {
    let text =
        entered("command = [\"stx\", \"shell\", \"--no-tty\", \"-c\"]\none_argument = true\n");
    let run = "run: stx shell --no-tty -c '/usr/bin/env -i /bin/bash --noprofile --norc /s/jobs/iso.0/run lock 0'\n";
    assert!(text.starts_with(run), "{text}");
}

#[test]
fn mistakes_of_an_exec_place_are_reported_with_their_positions() {
    insta::assert_snapshot!(mistakes(
        r#"[place.a]
kind = "exec"
command = []
[place.b]
kind = "exec"
command = ["-c"]
user = "-u"
keep = ["A-B", "MY_WORKSPACE"]
[place.c]
kind = "exec"
command = ["docker", "exec", "-i", "x"]
paths = { "srv" = "/x", "/srv/" = "/y", "/" = "/z" }
[place.d]
kind = "exec"
"#
    ), @r##"
    line 3, column 11: `command` names no program
    line 6, column 12: "-c" cannot be a program
    line 7, column 8: "-u" cannot be a user
    line 8, column 9: "A-B" does not name variables: letters, digits, `_`, `*`
    line 8, column 16: `MY_WORKSPACE` is set by the build
    line 12, column 11: "srv" is not an absolute path without `/` at its end
    line 12, column 25: "/srv/" is not an absolute path without `/` at its end
    line 12, column 41: `/` cannot be mapped; name the directories
    line 13, column 1: `command` is missing
    "##);
}

#[test]
fn a_container_mounts_the_build_under_its_mapped_paths() {
    let text = rewritten(
        r#"
        [place.there]
        kind = "container"
        image = "i"
        paths = { "/s" = "/localdisk" }
        "#,
        true,
    );
    for wanted in [
        "'--volume=/s/space:/localdisk/space' '--volume=/s/sources:/localdisk/sources' '--volume=/r:/r'",
        "'--volume=/s/jobs:/localdisk/jobs'",
        "/localdisk/jobs/iso.0/run stdin 0\n",
        "\n/s/jobs/iso.0/run:\n",
        "\nwork=/localdisk/space\n",
        "cat /localdisk/jobs/check.0/marker'",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}
