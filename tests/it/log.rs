//! `log`: show the logs of phases, of running and of ended builds.

use std::process::{Command, Stdio};

use crate::builds::Small;
use crate::harness::{Ran, Started, run, tool, wait};
use crate::nginx::Nginx;

/// A distribution whose image waits while a file `hold` exists, after it has printed unusual characters.
fn holding(end: &str) -> Small {
    let small = Small::new();
    fs_err::write(small.at("hold"), "").expect("a file");
    let dir = small.dir.path();
    let script = format!(
        "printf 'first \\033[2J\\377\\n'\ntouch {dir}/started\nwhile [ -e {dir}/hold ]; do sleep 0.05; done\n\
         echo 'the last words'\n{end}\nmkdir image && cp wheels/message.whl image/bootimage.iso\n"
    );
    small.commit("image.sh", &script);
    small
}

fn log(small: &Small, args: &[&str]) -> Ran {
    run(&mut small.stx(&[&["log"], args].concat()))
}

fn started(command: &mut Command) -> Started {
    Started::new(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// The standard output and error of a program that has ended, and its exit status.
fn ended(started: Started) -> (String, String, Option<i32>) {
    let output = started.output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.code(),
    )
}

#[test]
fn a_running_build_is_followed_to_its_end_and_to_its_exit_code() {
    for (end, code) in [("", 0), ("exit 7", 3)] {
        let small = holding(end);
        let none = log(&small, &[]).code(5);
        assert!(
            none.stderr.contains("no build is running"),
            "{}",
            none.stderr
        );
        let build = Started::new(small.build("20200101T000000Z").stderr(Stdio::null()));
        wait("the image", || small.at("started").exists());
        wait("its output", || {
            log(&small, &["-n", "1"]).stdout.contains("first")
        });

        // Without a name: the only running build, and its running phase.
        let shown = small.stx(&["log"]).output().expect("it runs");
        let file = small.at("mirror.state/master/centos/logs/image.log");
        let file = fs_err::read(file).expect("a log");
        let expected = [b"==> image <==\n", &file[..]].concat();
        assert_eq!(shown.stdout, expected, "byte for byte, in a pipe");
        let done = log(&small, &["master/centos", "compile"]).ok();
        assert!(done.contains("compiling at"), "{done}");
        let waiting = log(&small, &["master/centos", "imag"]).code(5);
        assert!(
            waiting.stderr.contains("did you mean image?"),
            "{}",
            waiting.stderr
        );

        let all = started(&mut small.stx(&["log", "-f", "master/centos"]));
        let one = started(&mut small.stx(&["log", "-f", "-n", "0", "master/centos", "image"]));
        // They start to follow before more is written.
        for follower in [&all, &one] {
            follower.until_it_reads(&small.at("mirror.state/master/centos/logs"));
        }
        fs_err::remove_file(small.at("hold")).expect("a file");
        let (stdout, stderr, status) = ended(all);
        assert_eq!(status, Some(code), "{stdout}{stderr}");
        assert_eq!(stdout.matches("first ").count(), 1, "{stdout}");
        assert_eq!(stdout.matches("the last words").count(), 1, "{stdout}");
        let said = if code == 0 {
            "is a success"
        } else {
            "published as failed: phase image: exit status 7"
        };
        assert!(stderr.contains(said), "{stderr}");
        let (stdout, stderr, status) = ended(one);
        assert_eq!(status, Some(code), "{stdout}{stderr}");
        assert!(
            stdout.contains("the last words") && !stdout.contains("first"),
            "{stdout}"
        );
        drop(build);
    }
}

#[test]
fn a_reader_of_a_log_does_not_block_the_next_build() {
    let small = Small::new();
    run(&mut small.build("20200101T000000Z")).code(0);
    // Another process holds the lock briefly, as a reader that checks whether a build runs.
    let lock = small.at("mirror.state/master/centos/lock");
    let script = format!("while :; do flock --shared {lock} true; sleep 0.01; done");
    let mut looker = tool("sh", ["-c", &script]).spawn().expect("sh starts");
    for day in 2..6 {
        small.commit("message", &format!("{day}\n"));
        run(&mut small.build(&format!("202001{day:02}T000000Z"))).code(0);
    }
    looker.kill().expect("killed");
    looker.wait().expect("it ends");
}

#[test]
fn the_log_of_an_ended_build_is_shown_from_the_mirror_and_over_http() {
    let small = Small::new();
    run(&mut small.build("20200101T000000Z")).code(0);
    small.commit(
        "image.sh",
        "seq 100000; echo the disk is on fire >&2; exit 7\n",
    );
    let failed = run(&mut small.build("20200102T000000Z")).code(3);
    let build = "master/centos/20200102T000000Z";
    let file = small.at(&format!("mirror/{build}/outputs/logs/image.log"));
    let whole = fs_err::read_to_string(&file).expect("a log");

    // The report of the build ends with the last lines and the path of the log.
    let last: Vec<_> = whole.lines().rev().take(20).collect();
    let end = failed
        .stderr
        .find("the disk is on fire")
        .expect("the last lines");
    assert!(
        last.iter().all(|line| failed.stderr.contains(line)),
        "{}",
        failed.stderr
    );
    assert!(!failed.stderr.contains(" 99970\n"), "{}", failed.stderr);
    assert!(
        failed.stderr[..end].contains(file.as_str()),
        "{}",
        failed.stderr
    );

    let server = Nginx::of_mirror(&small.at("nginx"), &small.at("mirror"), "");
    let url = server.url("");
    for mirror in [small.at("mirror").as_str(), &url] {
        let stx = |args: &[&str]| {
            let mut command = crate::harness::stx(["--mirror", mirror, "log"]);
            run(command.args(args))
        };
        // A failed build: its failing phase; a channel: its newest build; a beginning of a date.
        for name in [build, "master/centos", "master/centos/20200102"] {
            assert_eq!(
                stx(&[name]).ok(),
                format!("==> image <==\n{whole}"),
                "{mirror}"
            );
        }
        assert_eq!(stx(&[build, "image"]).ok(), whole, "{mirror}");
        let tail = run(&mut tool("tail", ["-n", "1234", file.as_str()])).ok();
        assert_eq!(stx(&[build, "image", "-n", "1234"]).ok(), tail, "{mirror}");
        stx(&[build, "-f", "-n", "1"]).code(3);
        let followed = stx(&[build, "-f"]).code(3).stdout;
        let tail = run(&mut tool("tail", ["-n", "10", file.as_str()])).ok();
        assert_eq!(followed, format!("==> image <==\n{tail}"), "{mirror}");
        // A success: its phases.
        let phases = stx(&["master/centos/latest_build", "--format", "json"])
            .code(0)
            .json();
        let names: Vec<_> = phases["phases"]
            .as_array()
            .expect("phases")
            .iter()
            .map(|phase| {
                assert!(phase["bytes"].as_u64() > Some(0), "{phase}");
                phase["phase"].as_str().expect("a name").to_owned()
            })
            .collect();
        assert_eq!(names, ["sync", "compile", "image"]);
        stx(&["master/centos/latest_build", "-f"]).code(0);
        let json = stx(&[build, "image", "-n", "2", "--format", "json"]).ok();
        let line: serde_json::Value =
            serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
        assert!(
            line["line"]
                .as_str()
                .expect("a line")
                .ends_with("the disk is on fire"),
            "{json}"
        );
        stx(&["master/centos/20200105T000000Z"]).code(5);
        stx(&[build, "assemble"]).code(5);
        // A reader that closes the pipe early is not an error.
        let mut head = tool("sh", ["-c", "\"$@\" | head -n 1", "sh"]);
        head.args([
            crate::harness::binary().as_str(),
            "--mirror",
            mirror,
            "log",
            build,
            "image",
        ]);
        assert!(run(&mut head).code(0).stderr.is_empty());
    }
}

#[test]
fn the_log_of_a_build_that_was_not_published_is_in_the_state_directory() {
    let small = Small::new();
    run(&mut small.build("20200101T000000Z")).code(0);
    let mut wrong = small.build("20200102T000000Z");
    let failed = run(wrong.args(["--branch", "f/typo"])).code(3);
    let words = "couldn't find remote ref f/typo";
    assert!(failed.stderr.contains(words), "{}", failed.stderr);
    let channel = "feature/typo/centos";
    let shown = log(&small, &[channel]).ok();
    assert!(
        shown.starts_with("==> sync <==\n") && shown.contains(words),
        "{shown}"
    );
    let shown = log(
        &small,
        &["feature/typo/centos/20200102T000000Z", "sync", "-f"],
    )
    .code(3);
    assert!(shown.stdout.contains(words), "{}", shown.stdout);
}

#[test]
fn the_log_of_a_killed_build_says_that_it_was_interrupted() {
    let small = holding("");
    let build = Started::new(small.build("20200101T000000Z").stderr(Stdio::null()));
    wait("the image", || small.at("started").exists());
    let follows = started(&mut small.stx(&["log", "-f", "master/centos"]));
    follows.until_it_reads(&small.at("mirror.state/master/centos/logs"));
    // Dropping it kills it.
    drop(build);
    let (_, stderr, code) = ended(follows);
    let said = "interrupted; nothing was published";
    assert!(stderr.contains(said) && code == Some(3), "{stderr}");
    let later = log(&small, &["-f", "master/centos"]).code(3);
    assert!(later.stderr.contains(said), "{}", later.stderr);
    for words in ["==> image <==\n", "first "] {
        assert!(later.stdout.contains(words), "{}", later.stdout);
    }
    assert!(
        later.stderr.contains("resume master/centos"),
        "{}",
        later.stderr
    );
    // A phase that ended earlier has its own end.
    log(&small, &["-f", "master/centos", "compile"]).code(0);
    log(&small, &["-f", "master/centos", "image"]).code(3);
    log(&small, &["master/centos"]).code(0);
}

/// Follows a build of which only the source phase ran, and whose journal is then removed.
fn followed_after_its_sources(small: &Small, journal: &[(&str, String)]) -> (String, Option<i32>) {
    let state = small.at("mirror.state/master/centos");
    for (name, text) in journal {
        fs_err::write(state.join(name), text).expect("a journal");
    }
    let lock = fs_err::File::create(state.join("lock")).expect("the lock");
    lock.file().lock().expect("locked");
    let follows = started(&mut small.stx(&["log", "-f", "master/centos"]));
    // It has noticed the running build.
    follows.until_it_reads(&state.join("logs"));
    for (name, _) in journal {
        fs_err::remove_file(state.join(name)).expect("removed");
    }
    drop(lock);
    let (_, stderr, code) = ended(follows);
    (stderr, code)
}

#[test]
fn a_build_cancelled_after_its_source_phase_does_not_count_as_unchanged() {
    let small = holding("");
    fs_err::remove_file(small.at("hold")).expect("a file");
    run(&mut small.build("20200101T000000Z")).code(0);
    fs_err::remove_file(small.at("started")).expect("a file");
    small.commit("message", "another one\n");
    fs_err::write(small.at("hold"), "").expect("a file");
    let build = Started::new(small.build("20200102T000000Z").stderr(Stdio::null()));
    wait("the image", || small.at("started").exists());
    let state = small.at("mirror.state/master/centos");
    let read = |name: &str| fs_err::read_to_string(state.join(name)).expect("a journal");
    let whole = read("finished.jsonl");
    let sources = whole.find("\"sources\"").expect("the commits");
    let line = whole[sources..].find('\n').expect("a line") + sources;
    let journal = [
        ("build.json", read("build.json")),
        ("finished.jsonl", whole[..=line].to_owned()),
    ];
    // Interrupted, not published: its commits are new.
    drop(build);
    fs_err::remove_file(small.at("hold")).expect("a file");
    let (stderr, code) = followed_after_its_sources(&small, &journal);
    assert!(stderr.contains("it was cancelled"), "{stderr}");
    assert_eq!(code, Some(3));
    // The same with the commits of the last success, after they were built.
    run(&mut small.build("20200103T000000Z")).code(0);
    let (stderr, code) = followed_after_its_sources(&small, &journal);
    assert_eq!(code, Some(0), "{stderr}");
}
