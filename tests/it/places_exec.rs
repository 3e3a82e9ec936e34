//! Phases in running pods: after any kill, no process remains and none runs twice.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{assert_whole, run, tool, wait, wait_or_show};
use crate::places::{GOOD, Placed, check_place, kill};
use crate::places_pod::Pod;

/// A build whose phase `image` runs in a pod.
struct InPod {
    placed: Placed,
    pod: Pod,
}

/// Precedes the rest of a phase: records that it ran, and whether another run was active. Processes that the phase leaves behind also
/// hold the lock.
const ONCE: &str = r#"
cd "$RECIPE_DIR"
echo run >> runs
exec 8>> running
flock -n 8 || echo twice >> twice
cd "$MY_WORKSPACE"
"#;

impl InPod {
    fn new() -> Self {
        let placed = Placed::new("[place.there]\nkind = \"local\"\n");
        let pod = Pod::start(placed.small.dir.path());
        let there = Self { placed, pod };
        there.configure(&there.pod.place("there", there.placed.small.dir.path()));
        there
    }

    fn configure(&self, places: &str) {
        let rule = "[[place-rule]]\nphases = [\"im*\"]\nplace = \"there\"\n";
        let text = format!("state = \"state\"\n{places}{rule}");
        fs_err::write(self.at("stx-builds.toml"), text).expect("a configuration");
    }

    fn at(&self, name: &str) -> Utf8PathBuf {
        self.placed.small.at(name)
    }

    /// Sets the time that the phase has to end.
    fn stop_grace(&self, grace: &str) {
        let text = fs_err::read_to_string(self.at("recipe.toml")).expect("a recipe");
        let named = format!("name = \"image\"\nstop_grace = \"{grace}\"");
        let text = text.replace("name = \"image\"", &named);
        fs_err::write(self.at("recipe.toml"), text).expect("a recipe");
    }

    /// Starts a build with another `image.sh`.
    fn start(&self, date: &str, script: &str) -> Child {
        let text = format!("{ONCE}{script}# {date}\n");
        self.placed.small.commit("image.sh", &text);
        let mut build = self.placed.small.build(date);
        build.stdout(Stdio::null()).stderr(Stdio::null());
        build.spawn().expect("it starts")
    }

    /// Starts a build whose phase waits for the file `go` once it runs.
    fn waiting(&self, date: &str, more: &str) -> Child {
        fs_err::remove_file(self.at("go")).ok();
        fs_err::remove_file(self.at("up")).ok();
        let script = format!(
            "{more}\ntouch \"$RECIPE_DIR/up\"\nuntil test -e \"$RECIPE_DIR/go\"; do sleep 0.05; done\n{GOOD}"
        );
        let child = self.start(date, &script);
        wait("the phase runs", || self.at("up").exists());
        child
    }

    fn runs(&self) -> usize {
        let runs = fs_err::read_to_string(self.at("runs")).unwrap_or_default();
        runs.lines().count()
    }

    #[track_caller]
    fn nothing_runs_on(&self) {
        assert_eq!(self.pod.phases(), [], "it runs on");
        assert!(!self.at("twice").exists(), "it ran twice at once");
    }

    /// Builds to the end.
    #[track_caller]
    fn builds(&self, date: &str) {
        let script = format!("{ONCE}{GOOD}# {date}\n");
        self.placed.build(date, &script).code(0);
        self.nothing_runs_on();
        assert_eq!(self.placed.small.latest(), date);
    }
}

/// A process that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn code(mut child: Child) -> Option<i32> {
    child.wait().expect("it ends").code()
}

fn ask_to_end(child: &Child) {
    kill_process(Pid::from_child(child), Signal::TERM).expect("a running process");
}

#[test]
fn through_nsenter_a_phase_behaves_as_it_does_locally() {
    let pod = tool("unshare", ["--mount", "sleep", "infinity"])
        .spawn()
        .expect("unshare starts; it needs root");
    let pod = Ended(pod);
    let pid = pod.0.id();
    let command = format!("[\"nsenter\", \"-t\", \"{pid}\", \"-m\", \"--\"]");
    check_place(&format!(
        "[place.there]\nkind = \"exec\"\ncommand = {command}\n"
    ));
    // The same through a shell, as one argument.
    let command = format!("[\"nsenter\", \"-t\", \"{pid}\", \"-m\", \"--\", \"sh\", \"-c\"]");
    let more = "one_argument = true\nuser = \"root\"\n";
    let placed = Placed::new(&format!(
        "[place.there]\nkind = \"exec\"\ncommand = {command}\n{more}"
    ));
    placed.build("20200101T000000Z", GOOD).code(0);
    placed.build("20200102T000000Z", "exit 7").code(3);
    assert_eq!(placed.reason("20200102T000000Z"), "exit status 7");
}

#[test]
fn a_pod_has_the_build_under_its_own_paths_and_the_log_says_so() {
    let there = InPod::new();
    let inside = &there.pod.inside;
    let shared = there.placed.small.dir.path();
    let script = format!(
        "test ! -e {shared}/state\ntest \"$PWD\" = {inside}/state/master/centos/work\n\
         test \"$MY_REPO_ROOT\" = {inside}/state/master/centos/sources\necho \"upstream $UPSTREAM\"\n{GOOD}"
    );
    assert_eq!(code(there.start("20200101T000000Z", &script)), Some(0));
    let log = there.placed.log("20200101T000000Z");
    let place = format!("# {shared} is {inside}  # at place there\n");
    assert!(log.contains(&place), "{log}");
    assert!(
        log.contains(&format!(" upstream {inside}/upstream\n")),
        "{log}"
    );
    assert_whole(&there.at("mirror"), "master/centos");
    there.nothing_runs_on();
}

#[test]
fn variables_of_the_pod_are_visible_if_the_place_keeps_them() {
    let there = InPod::new();
    let place = there.pod.place("there", there.placed.small.dir.path());
    let inner = "\"env\", \"TOOLS=/opt/lat\", \"SECRET=x\", \"MY_WORKSPACE=/elsewhere\"]";
    let place = place.replacen("\"]", &format!("\", {inner}"), 1);
    there.configure(&format!("{place}keep = [\"T*\", \"MY_*\"]\n"));
    let script = format!(
        "test $TOOLS = /opt/lat && test -z \"${{SECRET-}}\" || exit 9\ntest $MY_WORKSPACE = $PWD\n{GOOD}"
    );
    assert_eq!(code(there.start("20200101T000000Z", &script)), Some(0));
}

#[test]
fn a_client_that_is_killed_does_not_end_the_phase() {
    let there = InPod::new();
    let child = there.waiting("20200101T000000Z", "");
    let clients = there.pod.clients();
    assert!(!clients.is_empty());
    clients.into_iter().for_each(kill);
    wait("no client is left", || there.pod.clients().is_empty());
    std::thread::sleep(Duration::from_millis(1500));
    fs_err::write(there.at("go"), "").expect("a file");
    assert_eq!(
        code(child),
        Some(0),
        "{}",
        there.placed.reason("20200101T000000Z")
    );
    assert_eq!(there.runs(), 1);
    there.nothing_runs_on();
}

#[test]
fn a_phase_ends_when_its_service_is_killed() {
    let there = InPod::new();
    // A process that leaves its group and its session is ended, too.
    let mut child = there.waiting("20200101T000000Z", "setsid sleep 1000 &");
    wait("it has left something behind", || {
        let phases = there.pod.phases();
        phases.iter().any(|(_, command)| command == "sleep 1000 ")
    });
    child.kill().expect("a running process");
    child.wait().expect("it ends");
    // No other process intervenes.
    wait("the phase ends by itself", || there.pod.phases().is_empty());
    there.builds("20200102T000000Z");
    assert_eq!(there.runs(), 2);
}

#[test]
fn a_phase_without_its_killed_script_is_killed_by_the_next_build() {
    let there = InPod::new();
    let mut child = there.waiting("20200101T000000Z", "setsid sleep 1000 &");
    kill(there.pod.script("image").expect("a script"));
    child.kill().expect("a running process");
    child.wait().expect("it ends");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!there.pod.phases().is_empty(), "it has to be a stray");
    there.builds("20200102T000000Z");
}

#[test]
fn a_phase_that_ignores_sigterm_is_killed_after_its_stop_grace() {
    let there = InPod::new();
    there.stop_grace("1s");
    let trap = "trap '' TERM; (trap '' TERM; setsid sleep 1000) &";
    let child = there.waiting("20200101T000000Z", trap);
    let start = Instant::now();
    ask_to_end(&child);
    assert_eq!(code(child), Some(3));
    assert!(start.elapsed() > Duration::from_secs(1));
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    there.nothing_runs_on();
}

#[test]
fn a_phase_has_the_stop_grace_of_its_recipe() {
    // Longer than the default of 10 seconds.
    for (grace, finished) in [("13s", true), ("1s", false)] {
        let there = InPod::new();
        there.stop_grace(grace);
        let trap = "trap 'sleep 11; touch \"$RECIPE_DIR/cleaned\"; exit 1' TERM";
        let child = there.waiting("20200101T000000Z", trap);
        ask_to_end(&child);
        assert_eq!(code(child), Some(3));
        assert_eq!(there.at("cleaned").exists(), finished, "{grace}");
        there.nothing_runs_on();
    }
}

#[test]
fn a_phase_that_times_out_is_killed_in_its_pod() {
    let there = InPod::new();
    let recipe = fs_err::read_to_string(there.at("recipe.toml")).expect("a recipe");
    let recipe = recipe.replace("name = \"image\"", "name = \"image\"\ntimeout = \"2s\"");
    fs_err::write(there.at("recipe.toml"), recipe).expect("a recipe");
    let child = there.waiting("20200101T000000Z", "");
    assert_eq!(code(child), Some(3));
    assert_eq!(
        there.placed.reason("20200101T000000Z"),
        "timed out after 2s"
    );
    there.nothing_runs_on();
}

#[test]
fn a_missing_pod_fails_the_phase_with_a_clear_message() {
    let mut there = InPod::new();
    let child = there.waiting("20200101T000000Z", "");
    there.pod.kill();
    assert_eq!(code(child), Some(3));
    let reason = there.placed.reason("20200101T000000Z");
    let wanted = "lost: place there: the connection ended with exit status 137, before the phase reported how it ended";
    assert!(reason.starts_with(wanted), "{reason}");
    let log = there.placed.log("20200101T000000Z");
    assert!(log.contains("stx-builds: command terminated\n"), "{log}");
    there.nothing_runs_on();
    // A missing program is reported before anything runs.
    let failed = run(&mut there.placed.small.build("20200102T000000Z")).code(2);
    assert!(
        failed.stderr.contains("error: pod not found"),
        "{}",
        failed.stderr
    );
}

#[test]
fn two_phases_run_in_two_pods_side_by_side() {
    let there = InPod::new();
    let shared = there.placed.small.dir.path();
    let second = Pod::start(shared);
    let recipe = fs_err::read_to_string(there.at("recipe.toml")).expect("a recipe");
    let more = "[[phase]]\nname = \"charts\"\nscript = '''\ntouch \"$RECIPE_DIR/charts-up\"\n\
                until test -e \"$RECIPE_DIR/up\"; do sleep 0.05; done\necho \"in $MY_WORKSPACE\"\n'''\n";
    fs_err::write(there.at("recipe.toml"), format!("{recipe}\n{more}")).expect("a recipe");
    let rule = "[[place-rule]]\nphases = [\"charts\"]\nplace = \"second\"\n";
    let places = [
        there.pod.place("there", shared),
        second.place("second", shared),
    ]
    .concat();
    there.configure(&format!("{places}{rule}"));
    let script = format!(
        "touch \"$RECIPE_DIR/up\"\nuntil test -e \"$RECIPE_DIR/charts-up\"; do sleep 0.05; done\necho \"in $MY_WORKSPACE\"\n{GOOD}"
    );
    assert_eq!(code(there.start("20200101T000000Z", &script)), Some(0));
    let logs = there.at("mirror/master/centos/20200101T000000Z/outputs/logs");
    for (phase, pod) in [("image", &there.pod), ("charts", &second)] {
        let log = fs_err::read_to_string(logs.join(format!("{phase}.log"))).expect("a log");
        let wanted = format!(" in {}/state/master/centos/work\n", pod.inside);
        assert!(log.contains(&wanted), "{log}");
        assert_eq!(pod.phases(), []);
    }
    there.nothing_runs_on();
}

#[test]
fn a_pod_with_other_files_under_the_paths_is_reported_before_anything_runs() {
    let there = InPod::new();
    let shared = there.placed.small.dir.path();
    let place = there
        .pod
        .place("there", shared)
        .replace("localdisk\"", "elsewhere\"");
    there.configure(&place);
    let failed = run(&mut there.placed.small.build("20200101T000000Z")).code(2);
    assert!(
        failed.stderr.contains("place there does not see "),
        "{}",
        failed.stderr
    );
    assert!(
        !failed.stderr.contains("sync: started"),
        "{}",
        failed.stderr
    );
}

/// Kills one of the processes; true if the build ends with it.
fn strike(there: &InPod, child: &mut Child, how: usize) -> bool {
    match how {
        // The build itself.
        0 => child.kill().expect("a running process"),
        // The client: the build continues.
        1 => {
            there.pod.clients().into_iter().for_each(kill);
            return false;
        }
        // The script that holds the phase: its children continue without it.
        2 => {
            let Some(script) = there.pod.script("image") else {
                return false;
            };
            kill(script);
        }
        // The script and the build.
        3 => {
            there.pod.script("image").into_iter().for_each(kill);
            child.kill().expect("a running process");
        }
        // A request to end.
        _ => ask_to_end(child),
    }
    true
}

#[test]
fn after_fifty_kills_no_phase_remains_and_none_ran_twice() {
    let there = InPod::new();
    there.stop_grace("1s");
    let recipe = fs_err::read_to_string(there.at("recipe.toml")).expect("a recipe");
    fs_err::write(
        there.at("recipe.toml"),
        recipe.replace("name = \"image\"", "name = \"image\"\nretries = 1"),
    )
    .expect("a recipe");
    let mut strays = 0;
    let mut kills = 0;
    for number in 0..50 {
        let date = format!("202001{:02}T0000{:02}Z", 1 + number / 10, number % 10);
        fs_err::remove_file(there.at("go")).ok();
        // A phase of the last build whose script was killed early may still be on its way to this line.
        let up = format!("up.{number}");
        let leaves = "(setsid sleep 1000 > /dev/null 2>&1 &)";
        let waits = format!(
            "{leaves}\ntouch \"$RECIPE_DIR/{up}\"\nuntil test -e \"$RECIPE_DIR/go\"; do sleep 0.02; done\n{GOOD}"
        );
        let mut child = there.start(&date, &waits);
        // A few early, while it starts, most while it runs.
        let early = number % 7 == 0;
        if early {
            std::thread::sleep(Duration::from_millis(30 * (number % 11) as u64));
        } else {
            wait("the phase runs", || there.at(&up).exists());
        }
        let over = strike(&there, &mut child, number % 5);
        kills += 1;
        strays += usize::from(over && !there.pod.phases().is_empty());
        fs_err::write(there.at("go"), "").expect("a file");
        child.wait().expect("it ends");
        // If script and build were killed, the next build that tries its places ends the remaining processes.
        if number % 5 != 3 && !(early && number % 5 == 4) {
            wait_or_show(
                &format!("nothing runs on after kill {number}"),
                || there.pod.phases().is_empty(),
                || format!("{:?}", there.pod.phases()),
            );
        }
        assert!(
            !there.at("twice").exists(),
            "kill {number}: it ran twice at once"
        );
    }
    there.builds("20200201T000000Z");
    assert_eq!(kills, 50);
    assert!(
        strays > 10,
        "the kills have to hit phases that run: {strays}"
    );
    assert!(there.runs() >= 40, "{}", there.runs());
}
