//! Phases at other places: the requirements of every place, over a real sshd and a real Slurm.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use camino::Utf8Path;
use rustix::process::{Pid, Signal, kill_process};

use crate::builds::Small;
use crate::harness::{Ran, assert_whole, run, tool, wait, write_script};
use crate::places_cluster::Cluster;
use crate::places_sshd::Sshd;

/// A daemon's program, which may not be in an ordinary user's `PATH`.
pub(crate) fn path(program: &str) -> String {
    let path = std::env::var("PATH").expect("PATH");
    format!("{path}:/usr/sbin:/sbin")
        .split(':')
        .map(|dir| format!("{dir}/{program}"))
        .find(|file| Utf8Path::new(file).is_file())
        .unwrap_or_else(|| panic!("{program} is not here; `scripts/setup.sh test` installs it"))
}

/// A process of this machine.
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) command: String,
}

/// The processes that are not zombies.
pub(crate) fn processes() -> Vec<Process> {
    let entries = fs_err::read_dir("/proc").expect("/proc");
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let command = fs_err::read(format!("/proc/{pid}/cmdline")).ok()?;
            (fields[0] != "Z").then(|| Process {
                pid,
                parent: fields[1].parse().unwrap_or_default(),
                command: String::from_utf8_lossy(&command).replace('\0', " "),
            })
        })
        .collect()
}

/// Kills a process, if it still runs.
pub(crate) fn kill(pid: i32) {
    let pid = Pid::from_raw(pid).expect("a process");
    kill_process(pid, Signal::KILL).ok();
}

/// A small distribution whose phase `image` runs at a place.
pub(crate) struct Placed {
    pub(crate) small: Small,
}

impl Placed {
    pub(crate) fn new(place: &str) -> Self {
        let small = Small::new();
        let rule = "[[place-rule]]\nphases = [\"im*\"]\nplace = \"there\"\n";
        fs_err::write(
            small.at("stx-builds.toml"),
            format!("state = \"state\"\n{place}\n{rule}"),
        )
        .expect("a configuration");
        Self { small }
    }

    /// Builds with another `image.sh`.
    pub(crate) fn build(&self, date: &str, script: &str) -> Ran {
        self.small.commit("image.sh", script);
        run(&mut self.small.build(date))
    }

    /// Starts a build whose phase `image` waits; returns once it has written its process id into `sleeper`.
    fn sleeping(&self, date: &str) -> (Child, i32) {
        let file = self.small.at("sleeper");
        fs_err::remove_file(&file).ok();
        self.small.commit(
            "image.sh",
            &format!(
                "echo $$ > {file}.new; mv {file}.new {file}\nwhile :; do sleep 0.1; done\n# {date}\n"
            ),
        );
        let child = self
            .small
            .build(date)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        wait("the phase runs", || file.exists());
        let pid = fs_err::read_to_string(&file).expect("a file");
        (child, pid.trim().parse().expect("a process"))
    }

    pub(crate) fn record(&self, date: &str) -> serde_json::Value {
        let build = self.small.at("mirror/master/centos").join(date);
        let text = fs_err::read_to_string(build.join("build.json")).expect("a record");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The reason of the failure of the phase `image`.
    pub(crate) fn reason(&self, date: &str) -> String {
        let record = self.record(date);
        let phases = record["phases"].as_array().expect("phases");
        let image = phases.iter().find(|phase| phase["name"] == "image");
        image.expect("the phase")["reason"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    }

    pub(crate) fn log(&self, date: &str) -> String {
        let build = self.small.at("mirror/master/centos").join(date);
        fs_err::read_to_string(build.join("outputs/logs/image.log")).expect("a log")
    }
}

pub(crate) const GOOD: &str = "mkdir -p image; cp wheels/message.whl image/bootimage.iso\n";

fn alive(pid: i32) -> bool {
    processes().iter().any(|process| process.pid == pid)
}

/// A phase does the same at a place as on the build server.
pub(crate) fn check_place(place: &str) {
    let placed = Placed::new(place);
    ends_exactly(&placed);
    says_what_it_says_at_once(&placed);
    is_ended_with_the_build(&placed);
    is_ended_by_the_next_build(&placed);
    sees_the_environment_that_it_would_see_here(&placed);
}

fn ends_exactly(placed: &Placed) {
    let cases = [
        ("exit 1", "exit status 1"),
        ("exit 7", "exit status 7"),
        ("exit 137", "exit status 137"),
        ("exit 255", "exit status 255"),
        ("sh -c 'kill -KILL $$' || exit $?", "exit status 137"),
        ("kill -KILL $$", "ended by signal 9"),
        ("kill -TERM $$", "ended by signal 15"),
    ];
    for (index, (script, reason)) in cases.into_iter().enumerate() {
        let date = format!("20200101T00000{index}Z");
        let text = format!("echo last words of {index}; {script}\n");
        placed.build(&date, &text).code(3);
        assert_eq!(placed.reason(&date), reason, "{script}");
        let log = placed.log(&date);
        assert!(log.contains(&format!(" last words of {index}\n")), "{log}");
        assert!(log.ends_with(&format!("= {reason}\n")), "{log}");
    }
    placed.build("20200102T000000Z", GOOD).code(0);
    assert_eq!(placed.small.latest(), "20200102T000000Z");
    assert_whole(&placed.small.at("mirror"), "master/centos");
}

fn says_what_it_says_at_once(placed: &Placed) {
    let go = placed.small.at("go");
    let script = format!("echo first\nwhile ! test -e {go}; do sleep 0.05; done\n{GOOD}");
    placed.small.commit("image.sh", &script);
    let mut child = placed
        .small
        .build("20200103T000000Z")
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    for line in lines {
        // The phase continues only after its output was received.
        if line.expect("a line").contains("image| first") {
            fs_err::write(&go, "").expect("a file");
        }
    }
    assert!(go.exists(), "it was never heard");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

fn is_ended_with_the_build(placed: &Placed) {
    let (mut child, sleeper) = placed.sleeping("20200104T000000Z");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a running process");
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    assert!(!alive(sleeper), "it goes on without its build");
    assert!(
        !placed
            .small
            .builds()
            .contains(&"20200104T000000Z".to_owned())
    );
}

fn is_ended_by_the_next_build(placed: &Placed) {
    let (mut child, sleeper) = placed.sleeping("20200105T000000Z");
    child.kill().expect("a running process");
    child.wait().expect("it ends");
    placed.build("20200106T000000Z", GOOD).code(0);
    assert!(!alive(sleeper), "it goes on beside the next build");
    assert_eq!(placed.small.latest(), "20200106T000000Z");
}

fn sees_the_environment_that_it_would_see_here(placed: &Placed) {
    let recipe = placed.small.at("recipe.toml");
    let text = fs_err::read_to_string(&recipe).expect("a recipe");
    let odd = r#"ODD = "two\nlines, 'quoted' \"twice\" $HOME `date` \\ * \t!é""#;
    let text = text.replace("[variables]", &format!("[variables]\n{odd}"));
    fs_err::write(&recipe, text).expect("a recipe");
    // The build dates differ.
    let script = "mkdir -p image; env -0 | grep -zv 20200107T | sort -z > image/bootimage.iso\n";
    placed.build("20200107T000000Z", script).code(0);
    fs_err::write(placed.small.at("stx-builds.toml"), "state = \"state\"\n").expect("a file");
    run(placed.small.build("20200107T000001Z").arg("--force")).code(0);
    let seen = |date: &str| {
        let build = placed.small.at("mirror/master/centos").join(date);
        fs_err::read_to_string(build.join("outputs/iso/bootimage.iso")).expect("a file")
    };
    let here = seen("20200107T000001Z");
    assert!(here.contains("ODD=two\nlines, 'quoted' \"twice\" $HOME `date` \\ * \t!é\0"));
    assert_eq!(seen("20200107T000000Z"), here);
}

#[test]
fn over_ssh_a_phase_behaves_as_it_does_locally() {
    let sshd = Sshd::start("");
    check_place(&sshd.place("there"));
    ends_with_what_it_left_behind(&Placed::new(&sshd.place("there")));
}

/// One process that holds the output, and thereby the connection, and one that holds nothing.
fn ends_with_what_it_left_behind(placed: &Placed) {
    let left = placed.small.at("left");
    let script = format!(
        "setsid sleep 20 & echo $! > {left}\n\
         setsid sleep 1000 > /dev/null 2>&1 & echo $! >> {left}\n{GOOD}"
    );
    placed.build("20200108T000000Z", &script).code(0);
    let pids = fs_err::read_to_string(&left).expect("a file");
    for pid in pids.lines().map(|pid| pid.parse().expect("a process")) {
        assert!(!alive(pid), "{pid} outlives its phase");
    }
}

#[test]
fn a_login_shell_with_a_greeting_runs_phases() {
    let sshd = Sshd::start("ForceCommand echo welcome; eval \"$SSH_ORIGINAL_COMMAND\"");
    let placed = Placed::new(&sshd.place("there"));
    placed.build("20200101T000000Z", GOOD).code(0);
}

#[test]
fn a_phase_with_a_broken_connection_is_killed_on_its_host() {
    let sshd = Sshd::start("");
    let placed = Placed::new(&sshd.place("there"));
    let (mut child, sleeper) = placed.sleeping("20200101T000000Z");
    let listener = i32::try_from(sshd.pid()).expect("a process");
    let sessions = processes()
        .into_iter()
        .filter(|process| process.parent == listener);
    let sessions: Vec<_> = sessions.map(|process| process.pid).collect();
    assert!(!sessions.is_empty());
    sessions.into_iter().for_each(kill);
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    assert_eq!(
        placed.reason("20200101T000000Z"),
        "lost: place there: the connection was refused, or it broke"
    );
    assert!(!alive(sleeper), "it goes on without a connection");
    let log = placed.log("20200101T000000Z");
    assert!(log.ends_with("refused, or it broke\n"), "{log}");
}

#[test]
fn an_unusable_place_is_reported_before_anything_runs() {
    // A host with different files under the same paths.
    let elsewhere = "ForceCommand /bin/sh -c \"$(printf %%s \"$SSH_ORIGINAL_COMMAND\" | sed 's#exec cat #&/elsewhere#')\"";
    let sshd = Sshd::start(&elsewhere.replace("%%", "%"));
    let there = sshd.place("there");
    for (place, said) in [
        (there.clone(), "place there does not see "),
        (
            there.replace("identity = \"", "identity = \"/no"),
            "Permission denied",
        ),
        (
            there.replace("\nport = ", "\nport = 1 #"),
            "Connection refused",
        ),
    ] {
        let placed = Placed::new(&place);
        let failed = run(&mut placed.small.build("20200101T000000Z")).code(2);
        assert!(
            failed.stderr.contains(said) && failed.stderr.contains("place there"),
            "{said}: {}",
            failed.stderr
        );
        assert!(
            !failed.stderr.contains("sync: started"),
            "{}",
            failed.stderr
        );
    }
}

#[test]
fn a_cluster_that_cannot_be_reached_names_the_commands_that_tell_more() {
    let placed = Placed::new("[place.there]\nkind = \"slurm\"\n");
    let bin = placed.small.at("bin");
    fs_err::create_dir(&bin).expect("a directory");
    let git = run(&mut tool("sh", ["-c", "command -v git"])).ok();
    fs_err::os::unix::fs::symlink(git.trim(), bin.join("git")).expect("a link");
    let rows = [
        (None, "sbatch is not in PATH"),
        (Some("echo 'no controller' >&2; exit 1"), "no controller"),
    ];
    for (sbatch, why) in rows {
        if let Some(text) = sbatch {
            write_script(&bin.join("sbatch"), &format!("#!/bin/sh\n{text}\n"));
        }
        let mut build = placed.small.build("20200101T000000Z");
        let build = run(build.env("PATH", &bin)).code(2);
        let doctor = run(placed.small.stx(&["doctor"]).env("PATH", &bin)).code(2);
        for text in [build.stderr, doctor.stdout] {
            for word in [why, "scontrol ping", "sinfo", "slurm-client"] {
                assert!(text.contains(word), "{word} is not in {text}");
            }
        }
    }
}

#[test]
fn a_mistake_in_the_configuration_is_reported_with_its_position() {
    let placed = Placed::new("[place.here]\nkind = \"local\"\n");
    let failed = run(&mut placed.small.build("20200101T000000Z")).code(2);
    let wanted = "stx-builds.toml:7:9: unknown place \"there\", there are local, here";
    assert!(failed.stderr.contains(wanted), "{}", failed.stderr);
    let config = "state = \"state\"\n[[place-rule]]\nphases = [\"iso*\"]\nplace = \"local\"\n";
    fs_err::write(placed.small.at("stx-builds.toml"), config).expect("a file");
    let built = run(&mut placed.small.build("20200101T000000Z")).code(0);
    let wanted = "warning: place-rule: no phase of recipe small is named iso*\n";
    assert!(built.stderr.contains(wanted), "{}", built.stderr);
}

#[test]
fn on_a_cluster_a_phase_behaves_as_it_does_locally() {
    let cluster = Cluster::start();
    let place = cluster.place("there", "cpus = 1\nmemory = \"100M\"\ntime = \"1h\"");
    check_place(&place);
    a_partition_that_is_not_there_is_named(&place);
    a_job_that_someone_else_cancels_fails_with_these_words(&cluster, &place);
    a_job_that_is_started_again_runs_again(&cluster, &place);
}

fn a_partition_that_is_not_there_is_named(place: &str) {
    let placed = Placed::new(&place.replace("\"build\"", "\"nowhere\""));
    let failed = run(&mut placed.small.build("20200101T000000Z")).code(2);
    for word in ["place there: sbatch", "invalid partition"] {
        assert!(failed.stderr.contains(word), "{}", failed.stderr);
    }
}

fn a_job_that_someone_else_cancels_fails_with_these_words(cluster: &Cluster, place: &str) {
    let placed = Placed::new(place);
    let (mut child, sleeper) = placed.sleeping("20200101T000000Z");
    let (job, _) = cluster.running("image").expect("a job");
    run(&mut cluster.client("scancel", &[&job])).ok();
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    let reason = placed.reason("20200101T000000Z");
    assert!(reason.ends_with("someone else cancelled it"), "{reason}");
    assert!(!alive(sleeper), "it goes on");
}

fn a_job_that_is_started_again_runs_again(cluster: &Cluster, place: &str) {
    let placed = Placed::new(place);
    let file = placed.small.at("runs");
    placed.small.commit(
        "image.sh",
        &format!(
            "echo run >> {file}\ntest $(wc -l < {file}) = 1 || {{ {GOOD} exit; }}\nwhile :; do sleep 0.1; done\n"
        ),
    );
    let mut child = placed
        .small
        .build("20200101T000000Z")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let runs = || fs_err::read_to_string(&file).unwrap_or_default();
    wait("the phase runs", || runs() == "run\n");
    let (job, _) = cluster.running("image").expect("a job");
    run(&mut cluster.client("scontrol", &["requeue", &job])).ok();
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(runs(), "run\nrun\n");
    assert_whole(&placed.small.at("mirror"), "master/centos");
}
