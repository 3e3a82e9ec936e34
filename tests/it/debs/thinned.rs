//! `since`, `compare` and `fetch` on builds from which retention removed the packages.

use serde_json::Value;

use super::{CHANNEL, Deb, HELLO, PLACE, Work, date};
use crate::harness::{Ran, run, stx};
use crate::nginx::Nginx;

/// The removed section, its build, and the next step.
const TAKEN: &str = "retention took outputs/std from ";

/// A package with a greeting.
fn greets(greeting: &str) -> Deb<'_> {
    Deb { greeting, ..HELLO }
}

/// Builds whose packages have these `greetings`; retention removed the packages of all but the last `kept` builds.
fn thinned(greetings: &[&str], kept: u32) -> Work {
    let work = Work::new();
    let days = u32::try_from(greetings.len()).expect("few");
    for (day, greeting) in (1..).zip(greetings) {
        work.publish(day, &[(PLACE, greets(greeting))]);
    }
    let policy = "[kind.master]\ntiers = [{ section = \"outputs/std\", after = \"1 day\" }]\n";
    fs_err::write(work.at("policy.toml"), policy).expect("a file");
    fs_err::write(work.at("stx-builds.toml"), "policy = \"policy.toml\"\n").expect("a file");
    let config = work.at("stx-builds.toml");
    // The newest success and the one before it stay whole.
    let now = format!("2020-01-{:02}T12:00:00Z", days - kept + 2);
    let prune = ["--config", config.as_str(), "prune", "--now", &now];
    work.stx(&prune).ok();
    for day in 1..=days {
        let file = work.at(&format!("mirror/{}/outputs/{PLACE}", date(day)));
        assert_eq!(file.exists(), day > days - kept, "{file}");
    }
    work
}

fn since(work: &Work, more: &[&str]) -> Ran {
    let asked = ["--format", "json", "since", "hello", "--in", CHANNEL];
    work.stx(&[&asked[..], more].concat())
}

fn found(ran: &Ran) -> [Value; 3] {
    let found = ran.json();
    ["changed", "before", "oldest"].map(|name| found[name].clone())
}

#[test]
fn builds_without_packages_are_skipped_if_others_give_the_answer() {
    // The first builds differ, which is unknown until a later build has the same file.
    let work = thinned(&["one", "one", "one", "one", "two", "two"], 3);
    assert_eq!(
        found(&since(&work, &[]).code(0)),
        [date(5), date(4), date(1)]
    );
    // The same over the network.
    let conf = "daemon off;\npid nginx.pid;\nevents {}\nhttp {\naccess_log off;\nserver {\nlisten 127.0.0.1:8080;\n\
        root mirror;\nlocation / {}\n}\n}\n";
    let nginx = Nginx::serve(work.dir.path(), conf);
    let asked = ["--format", "json", "since", "hello", "--in", CHANNEL];
    let ran = run(stx(["--mirror", &nginx.url("")]).args(asked)).code(0);
    assert_eq!(found(&ran), [date(5), date(4), date(1)]);
    // Every build has the version, even those without packages: a file with the same digest proves it.
    let version = since(&work, &["--version", "1.0"]).code(0);
    assert_eq!(found(&version), [Value::Null, Value::Null, date(1).into()]);

    // The content of the oldest builds is unknown, and the answer does not need it.
    let work = thinned(&["zero", "zero", "one", "two", "two"], 3);
    assert_eq!(
        found(&since(&work, &[]).code(0)),
        [date(4), date(3), date(1)]
    );
}

#[test]
fn an_answer_that_needs_thinned_builds_names_retention_as_the_cause() {
    // The package is the same in all remaining builds.
    let work = thinned(&["one", "one", "two", "two"], 2);
    let ran = since(&work, &[]).code(0);
    assert_eq!(found(&ran), [Value::Null, Value::Null, date(3).into()]);
    let note = format!("builds before {} were skipped: {TAKEN}{}", date(3), date(2));
    assert!(ran.stderr.contains(&note), "{}", ran.stderr);
    let passed = &ran.json()["passed_over"];
    assert_eq!(
        (&passed["build"], &passed["section"]),
        (&date(2).into(), &"outputs/std".into())
    );
    let human = work.stx(&["since", "hello", "--in", CHANNEL]).code(0);
    let text = format!(
        "since the oldest build that still has the package, {}",
        date(3)
    );
    assert!(human.stdout.contains(&text), "{}", human.stdout);
    assert!(
        human.stderr.contains("`stx-builds undelete "),
        "{}",
        human.stderr
    );

    // It changed in one of the builds without packages: a pin keeps an older one complete.
    let work = Work::new();
    for (day, greeting) in (1..).zip(["one", "other", "two", "two"]) {
        work.publish(day, &[(PLACE, greets(greeting))]);
    }
    let second = work.at(&format!("mirror/{}", date(2)));
    fs_err::remove_dir_all(second.join("outputs/std")).expect("removed");
    let record = r#"{"schema": 1, "sections": [{"section": "outputs/std", "since": "2020-01-03T00:00:00Z",
        "at": "20200104T120000Z", "rule": "it is old"}]}"#;
    fs_err::write(second.join("THINNED.json"), record).expect("written");
    let ran = since(&work, &[]).code(5);
    for text in [
        format!("changed after {} and no later than {}", date(1), date(3)),
        format!("{TAKEN}{} on 2020-01-04 12:00 UTC", date(2)),
        format!(
            "until 2020-01-07 12:00 UTC, `stx-builds undelete {}`",
            date(2)
        ),
    ] {
        assert!(ran.stderr.contains(&text), "{text}: {}", ran.stderr);
    }
}

#[test]
fn files_of_a_section_removed_by_retention_are_not_reported_as_missing() {
    let work = thinned(&["one", "two", "three", "four"], 2);
    let to = work.at("to/x");
    let fetch = |what: &str| {
        let asked = ["fetch", &date(1), what, "--to", to.as_str()];
        work.stx(&asked).code(5).stderr
    };
    let one = fetch(&format!("outputs/{PLACE}"));
    assert!(
        one.contains(&format!(
            "outputs/{PLACE}: not on the mirror: {TAKEN}{}",
            date(1)
        )),
        "{one}"
    );
    // One line, regardless of the number of files in the section.
    let all = fetch("debs");
    assert_eq!(all.matches("not on the mirror").count(), 1, "{all}");
    // With `--print-url`, existing files come first.
    let urls = work.stx(&["fetch", &date(1), "**", "--print-url"]).code(5);
    assert!(urls.stdout.contains("/build.json\n"), "{}", urls.stdout);
    assert!(!urls.stdout.contains(PLACE), "{}", urls.stdout);
    assert_eq!(urls.stderr.matches(TAKEN).count(), 1, "{}", urls.stderr);
    let compared = work.stx(&["compare", &date(1), &date(2)]).code(4);
    let line = format!("not compared: {TAKEN}{}", date(1));
    assert!(compared.stdout.contains(&line), "{}", compared.stdout);
    for text in [one, all, urls.stderr, compared.stderr] {
        assert!(text.contains("`stx-builds undelete "), "{text}");
        assert!(!text.contains("verify"), "{text}");
    }
}
