//! `-v` and `-vv`: the spans and events of the libraries, on standard error.

use std::os::unix::fs::MetadataExt as _;

use crate::builds::Small;
use crate::harness::{run, stx};

const BUILD: &str = "channel{channel=master/centos}:build{build=master/centos/20200101T000000Z}";

#[test]
fn the_spans_of_a_build_are_shown_on_request() {
    let small = Small::new();
    let built = run(small.build("20200101T000000Z").arg("-v")).code(0);
    for line in [
        &format!("{BUILD}:phase{{phase=sync}}: stx_pipeline::execute: attempt started attempt=1"),
        &format!("{BUILD}:phase{{phase=image}}: stx_pipeline::execute: phase finished"),
        "publish{build=master/centos/20200101T000000Z}: stx_builds::publish: published",
    ] {
        assert!(built.stderr.contains(line), "{line}: {}", built.stderr);
    }
    assert!(!built.stderr.contains("DEBUG"), "{}", built.stderr);
    let built = run(&mut small.build("20200101T000001Z")).code(0);
    for word in ["INFO", "channel{", "stx_pipeline"] {
        assert!(!built.stderr.contains(word), "{word}: {}", built.stderr);
    }
}

#[test]
fn the_steps_of_a_publish_are_details() {
    let small = Small::new();
    let built = run(small.build("20200101T000000Z").arg("-vv")).code(0);
    let id = "master/centos/20200101T000000Z";
    let span = format!("publish{{build={id}}}: stx_publish::publish");
    let mut rest = built.stderr.as_str();
    for step in [
        "channel locked channel=master/centos".to_owned(),
        format!("files added build={id} files="),
        format!("committed build={id} files="),
        format!("alias moved build={id} alias=latest_build"),
    ] {
        let line = format!("{span}: {step}");
        let at = rest
            .find(&line)
            .unwrap_or_else(|| panic!("{line}: {}", built.stderr));
        rest = &rest[at..];
    }
}

/// The details name commands and mirrors, but never the passwords in their URLs.
#[test]
fn no_password_is_shown_at_any_verbosity() {
    let small = Small::new();
    let recipe = small.at("recipe.toml");
    let mut text = fs_err::read_to_string(&recipe).expect("a recipe");
    text.push_str(
        "[[phase]]\nname = \"push\"\nrun = [\"echo\", \"https://bob:geheim@example.org/x.git\"]\n",
    );
    fs_err::write(&recipe, text).expect("written");
    let built = run(small.build("20200101T000000Z").arg("-vvv")).code(0);
    let debug = built
        .stderr
        .lines()
        .find(|line| line.contains("DEBUG") && line.contains("phase=push"));
    let debug = debug.unwrap_or_else(|| panic!("{}", built.stderr));
    assert!(debug.contains("@example.org/x.git"), "{debug}");
    let mirror = "http://bob:geheim@127.0.0.1:1/mirror";
    let listed = run(&mut stx(["--mirror", mirror, "list", "-vvv"]));
    assert_ne!(listed.code, Some(0));
    for text in [built.stderr, built.stdout, listed.stderr, listed.stdout] {
        assert!(!text.contains("geheim"), "{text}");
    }
}

/// The journal of systemd adds a time to each line; for other readers, the program prints it.
#[test]
fn lines_have_a_time_except_in_the_journal() {
    let small = Small::new();
    let events = |date: &str, journal: bool| {
        let file = fs_err::File::create(small.at("stderr")).expect("a file");
        let found = file.metadata().expect("its number");
        let number = if journal {
            found.ino()
        } else {
            found.ino() + 1
        };
        let status = small
            .build(date)
            .arg("-v")
            .env("JOURNAL_STREAM", format!("{}:{number}", found.dev()))
            .stderr(file.into_parts().0)
            .status()
            .expect("it starts");
        assert_eq!(status.code(), Some(0));
        let text = fs_err::read_to_string(small.at("stderr")).expect("lines");
        let lines = text.lines().filter(|line| line.contains("phase{"));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        assert!(lines.len() > 1, "{text}");
        lines
    };
    for line in events("20200101T000000Z", false) {
        let time = line.split_whitespace().next().unwrap_or_default();
        let parsed = chrono::DateTime::parse_from_rfc3339(time);
        assert!(parsed.is_ok(), "{line}");
    }
    for line in events("20200101T000001Z", true) {
        assert!(line.trim_start().starts_with("INFO channel{"), "{line}");
    }
}
