//! The running phases of a build: their memory, their events, their attempts.

use std::process::Stdio;
use std::time::Duration;

use super::{SYNC, Site};
use crate::harness::run;

#[test]
fn a_long_log_needs_no_memory_and_says_how_much_is_omitted() {
    let site = Site::new();
    let recipe = format!(
        "{}[[phase]]\nname = \"loud\"\nscript = '''\nfor i in $(seq 100); do printf 'line %s\\n' \"$i\"; head -c 1048576 /dev/zero | tr '\\\\0' 'x' | fold -w 100; echo; done\n'''\n",
        SYNC.replace("distro =", "log_limit = \"1 MiB\"\ndistro =")
    );
    site.write("recipe.toml", &recipe);
    let mut child = site
        .build()
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary starts");
    let mut peak = 0;
    while child.try_wait().expect("a child").is_none() {
        peak = peak.max(own_memory(child.id()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().expect("it ended").success());
    let log = site.at("mirror/master/centos/20200101T000000Z/outputs/logs/loud.log");
    let text = fs_err::read_to_string(log).expect("a log");
    assert!(text.len() < 1_100_000, "{} bytes", text.len());
    assert!(text.contains("line 1\n"), "its beginning is not there");
    assert!(text.ends_with("= exit status 0\n"), "its end is not there");
    let said = text
        .lines()
        .find(|line| line.starts_with("[..."))
        .expect("a line that says so");
    let left_out: usize = said
        .split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{said}"));
    // A hundred times a mebibyte, with a timestamp on each line of a hundred bytes.
    assert!(left_out > 100_000_000, "{said}");
    assert!(
        text.lines()
            .filter(|line| !line.starts_with("[..."))
            .all(|line| { line.get(10..11) == Some("T") && line.get(23..25) == Some("Z ") })
    );
    assert!(peak > 0 && peak < 24 * 1024, "{peak} KiB");
}

/// The private memory of a process, in KiB, without the pages of a large debug binary.
fn own_memory(pid: u32) -> Option<u64> {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn each_event_is_one_line_of_json() {
    let site = Site::new();
    let built = run(site.build().args(["--events", "events.jsonl"])).code(0);
    assert!(
        built.stdout.contains("20200101T000000Z"),
        "{}",
        built.stdout
    );
    let text = fs_err::read_to_string(site.at("events.jsonl")).expect("events");
    let events: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((of("started"), of("finished")), (6, 6), "{text}");
    assert!(
        events
            .iter()
            .all(|event| event["time"].is_string() && event["phase"].is_string())
    );
}

#[test]
fn a_failed_attempt_is_retried_after_a_doubling_pause() {
    let site = Site::new();
    let recipe = format!(
        "{SYNC}[[phase]]\nname = \"flaky\"\nretries = 2\nbackoff = \"300ms\"\nscript = '''\n\
         date +%s%N >> \"$HERE/attempts\"\n[ $(wc -l < \"$HERE/attempts\") = 3 ]\n'''\n"
    );
    site.write("recipe.toml", &recipe);
    run(&mut site.build()).code(0);
    let attempts: Vec<u64> = fs_err::read_to_string(site.at("attempts"))
        .expect("attempts")
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    let pauses: Vec<_> = attempts
        .windows(2)
        .map(|two| (two[1] - two[0]) / 1_000_000)
        .collect();
    assert!(pauses[0] >= 300 && pauses[1] >= 600, "{pauses:?}");
    assert_eq!(site.record()["phases"][1]["attempts"], 3);
}
