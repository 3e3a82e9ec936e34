//! `mark`: verdicts, and `latest_green_build`.

use camino::Utf8PathBuf;
use serde_json::Value;

use crate::harness::run;
use crate::retention::{Mirror, NOW, january};

fn build(day: u32) -> String {
    format!("master/centos/{}", january(day))
}

/// The target of an alias in the directory.
fn alias(mirror: &Mirror, name: &str) -> Option<String> {
    let link: Utf8PathBuf = mirror.at("mirror").join("master/centos").join(name);
    link.read_link_utf8().ok().map(Utf8PathBuf::into_string)
}

fn mark(mirror: &Mirror, day: u32, verdict: &str, more: &[&str]) -> Value {
    let build = build(day);
    let words = ["mark", &build, verdict, "--now", NOW];
    mirror.json(&[&words, more].concat())
}

#[test]
fn a_verdict_moves_latest_green_build_and_nothing_else() {
    let mirror = Mirror::new(5);
    let by = ["--by", "lab"];
    let green = |mirror: &Mirror| alias(mirror, "latest_green_build");
    assert_eq!(green(&mirror), None);
    let marked = mark(&mirror, 2, "green", &by);
    assert_eq!(marked["verdict"], "green");
    assert_eq!(marked["recorded"], true);
    assert_eq!(green(&mirror), Some(january(2)));

    // An older green build does not move it back; the newest red one moves only this alias.
    mark(&mirror, 1, "green", &by);
    assert_eq!(green(&mirror), Some(january(2)));
    let results = "https://lab.example/run/5";
    mark(&mirror, 5, "green", &["--by", "lab", "--url", results]);
    assert_eq!(green(&mirror), Some(january(5)));
    let why = ["--by", "ann", "--reason", "the controller <hangs>"];
    mark(&mirror, 5, "red", &why);
    assert_eq!(green(&mirror), Some(january(2)));
    assert_eq!(alias(&mirror, "latest_build"), Some(january(5)));
    let again = mark(&mirror, 5, "red", &why);
    assert_eq!(again["recorded"], false, "a repetition adds nothing");
    run(&mut mirror.stx(&["verify"])).code(0);

    // Shown, newest first, with the history.
    let listed = mirror.say(&["list", "--now", NOW]);
    let line = |day: u32| {
        let of = listed.lines().find(|line| line.contains(&january(day)));
        of.expect("a line").to_owned()
    };
    assert!(line(5).contains("success, red"), "{listed}");
    assert!(line(2).contains("latest_green_build"), "{listed}");
    let shown = mirror.say(&["show", &build(5), "--now", NOW]);
    let (red, passed) = (shown.find("  red "), shown.find("  green "));
    assert!(red.is_some() && red < passed, "{shown}");
    assert!(shown.contains("the controller <hangs>"), "{shown}");
    let json = mirror.json(&["show", &build(5), "--now", NOW]);
    assert_eq!(json["verdicts"][0]["url"], results);
    assert_eq!(json["verdicts"][1]["author"], "ann");

    // The pages.
    let text_of =
        |name: &str| fs_err::read_to_string(mirror.at("mirror").join(name)).expect("a page");
    let index: Value = serde_json::from_str(&text_of("master/centos/index.json")).expect("JSON");
    assert_eq!(index["builds"][0]["verdicts"][1]["verdict"], "red");
    let root: Value = serde_json::from_str(&text_of("index.json")).expect("JSON");
    let channel = &root["channels"][0];
    assert_eq!(channel["latest_build"], january(5));
    assert_eq!(channel["latest_green_build"], january(2));
    let page = text_of(&format!("master/centos/{}.html", january(5)));
    assert!(page.contains("the controller &#60;hangs&#62;"), "{page}");
    assert!(page.contains(&format!("href=\"{results}\"")), "{page}");
    let page = text_of("master/centos/index.html");
    assert!(page.contains("latest_green_build"));
    assert!(text_of("index.html").contains("green"));
    let feed = text_of("master/centos/feed.xml");
    let title = format!("{}: success, red</title>", january(5));
    assert!(feed.contains(&title), "{feed}");

    // Without a green build, the alias does not exist.
    for day in [1, 2] {
        mark(&mirror, day, "yellow", &by);
    }
    assert_eq!(green(&mirror), None);
    run(&mut mirror.stx(&["verify"])).code(0);
}

#[test]
fn a_wrong_alias_is_found_and_repaired() {
    let mirror = Mirror::new(3);
    mark(&mirror, 2, "green", &["--by", "lab"]);
    let link = mirror.at("mirror").join("master/centos/latest_green_build");
    for to in [Some(january(3)), None] {
        fs_err::remove_file(&link).expect("removed");
        if let Some(to) = to {
            fs_err::os::unix::fs::symlink(to, &link).expect("a link");
        }
        let found = run(&mut mirror.stx(&["verify"])).code(4);
        assert!(
            found.stdout.contains("the newest green build is"),
            "{}",
            found.stdout
        );
        run(&mut mirror.stx(&["verify", "--repair"]));
        assert_eq!(alias(&mirror, "latest_green_build"), Some(january(2)));
        run(&mut mirror.stx(&["verify"])).code(0);
    }
}

#[test]
fn verdicts_that_cannot_be_read_hide_nothing_else() {
    let mirror = Mirror::new(3);
    mark(&mirror, 1, "green", &["--by", "lab"]);
    let file = mirror.at("mirror/.stx/verdicts").join(build(2) + ".json");
    fs_err::write(&file, "").expect("a file");
    let of_build = mirror.at("mirror").join(build(3)).join("outputs/success");
    fs_err::remove_file(&of_build).expect("removed");
    fs_err::write(&of_build, "other bytes").expect("a file");
    for verify in [&["verify"][..], &["verify", "--repair"]] {
        let found = run(&mut mirror.stx(verify)).code(4).stdout;
        for words in ["its verdicts cannot be read", "20200103T060000Z"] {
            assert!(found.contains(words), "{words}: {found}");
        }
    }
    // Lists report that they are incomplete; the build is kept, as retention states.
    let listed = run(&mut mirror.stx(&["list"])).code(0);
    let note = format!("note: {}: its verdicts cannot be read", build(2));
    assert!(listed.stderr.contains(&note), "{}", listed.stderr);
    let verdicts = &listed.json()["builds"][0]["verdicts"];
    assert_eq!(verdicts[0]["verdict"], "green");
    run(&mut mirror.stx(&["show", &build(3)])).code(0);
    // A build of another channel is shown on its page.
    mirror.publish("master/debian", &january(4), "success");
    let page = mirror.at("mirror/master/debian/index.json");
    assert!(page.exists());
    run(&mut mirror.stx(&["pages"])).code(0);
    let [from, to] = ["mirror", "copy"].map(|name| mirror.at(name));
    let copy = run(&mut mirror.stx(&["copy", from.as_str(), to.as_str()])).code(4);
    assert_eq!(copy.json()["copied"].as_array().map(Vec::len), Some(4));
    // Beside unreadable verdicts, nothing is recorded.
    let refused = run(&mut mirror.stx(&["mark", &build(2), "green", "--by", "lab"])).code(4);
    assert!(
        refused.stderr.contains("move this file away"),
        "{}",
        refused.stderr
    );
}

#[test]
fn an_invalid_mark_is_refused() {
    let mirror = Mirror::new(3);
    let by = ["--by", "lab"];
    let said = |words: &[&str], code| run(&mut mirror.stx(words)).code(code).stderr;
    let missing = said(&["mark", &build(9), "green", "--by", "lab"], 5);
    assert!(missing.contains("20200109T060000Z"), "{missing}");
    said(&["mark", &build(2), "purple", "--by", "lab"], 2);
    for url in [
        "ftp://lab.example/1",
        "javascript:alert(1)",
        "https://ann:secret@lab.example/",
    ] {
        let refused = said(
            &["mark", &build(2), "green", "--by", "lab", "--url", url],
            2,
        );
        assert!(!refused.contains("secret"), "{refused}");
    }
    // A retired build is not found; after its restoration, its verdicts and its alias exist again.
    mark(&mirror, 1, "green", &by);
    let old = ["mark", &build(1), "red", "--by", "lab"];
    said(&old, 0);
    mirror.publish("master/centos", &january(5), "success");
    mirror.json(&["prune", "--now", "2020-03-01T00:00:00Z", "--allow", "100"]);
    assert!(!mirror.builds().contains(&january(1)));
    said(&old, 5);
    mirror.json(&["undelete", &build(1)]);
    let shown = mirror.json(&["show", &build(1)]);
    assert_eq!(
        shown["verdicts"].as_array().map(Vec::len),
        Some(2),
        "{shown}"
    );
    let date = "20200104T060000Z";
    mirror.publish("master/centos", date, "fail");
    let refused = said(
        &[
            "mark",
            &format!("master/centos/{date}"),
            "green",
            "--by",
            "lab",
        ],
        4,
    );
    assert!(refused.contains("failed build"), "{refused}");
}
