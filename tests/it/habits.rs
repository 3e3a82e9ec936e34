//! Conventions of the command line: filters and headings of lists, colours, `-C`, errors as JSON, the forms of a build.

use std::process::Command;

use serde_json::Value;

use crate::daemon::Site;
use crate::harness::{Ran, around, at_terminal, run, stx, tool};
use crate::nginx::Nginx;
use crate::retention::{Mirror, NOW, january};

const ESCAPE: char = '\u{1b}';

/// The dates of `master` and of the release in a listing, in order.
fn dates(listing: &Value) -> Vec<&str> {
    let builds = listing["builds"].as_array().expect("builds").iter();
    let builds = builds.map(|listed| listed["build"].as_str().expect("a build"));
    builds
        .map(|build| build.rsplit('/').next().expect("a date"))
        .collect()
}

#[test]
fn a_list_is_limited_by_number_time_and_result() {
    let mirror = Mirror::new(12);
    let list =
        |args: &[&str]| mirror.json(&[&["list", "--now", "2020-01-12T12:00:00Z"], args].concat());
    let day = january;
    assert_eq!(dates(&list(&[])).len(), 13);
    assert_eq!(dates(&list(&["--limit", "3"])), [day(10), day(11), day(12)]);
    assert_eq!(dates(&list(&["--limit", "0"])).len(), 0);
    // The release also has a build of the first day; both are cut together.
    assert_eq!(dates(&list(&["--limit", "12"])).len(), 12);
    assert_eq!(dates(&list(&["--failed"])), [day(10)]);
    assert_eq!(
        dates(&list(&[
            "--failed",
            "--limit",
            "1",
            "--since",
            "2020-01-11"
        ]))
        .len(),
        0
    );
    for since in [
        "2020-01-11",
        "20200111T060000Z",
        "2020-01-11T06:00:00Z",
        "36 hours",
    ] {
        assert_eq!(
            dates(&list(&["--since", since])),
            [day(11), day(12)],
            "{since}"
        );
    }
    let release = "release/2018.10/centos";
    assert_eq!(dates(&list(&[release, "--limit", "5"])), [day(1)]);
    let wrong = run(&mut mirror.stx(&["list", "--since", "yesterday"])).code(2);
    assert!(wrong.stderr.contains("7 days"), "{}", wrong.stderr);

    // The decision on a build does not depend on the other listed builds.
    let whole = list(&[]);
    let cut = list(&["--limit", "1", "--failed"]);
    let whole = whole["builds"].as_array().expect("builds").iter();
    let same: Vec<_> = whole.filter(|it| it["result"] == "fail").collect();
    assert_eq!(
        same,
        cut["builds"]
            .as_array()
            .expect("builds")
            .iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn channels_are_listed_with_their_newest_builds() {
    let mirror = Mirror::new(10);
    let listed = mirror.json(&["list", "--channels"]);
    let channels = listed["channels"].as_array().expect("channels");
    assert_eq!(channels.len(), 2, "{listed:#}");
    let master = &channels[0];
    for (key, value) in [
        ("channel", "master/centos"),
        ("newest", &january(10)),
        ("newest_result", "fail"),
    ] {
        assert_eq!(master[key], value, "{master:#}");
    }
    assert_eq!(
        (&master["builds"], &master["failed"]),
        (&10.into(), &1.into())
    );
    assert_eq!(
        master["aliases"]["latest_build"]["build"],
        january(9).as_str(),
        "{master:#}"
    );
    let shown = mirror.say(&["list", "--channels", "master/centos", "--now", NOW]);
    let words: Vec<_> = shown.split_whitespace().collect();
    assert_eq!(
        words[..5],
        ["master/centos", "10", "1", &january(10), "fail"],
        "{shown}"
    );
    assert_eq!(words.last(), Some(&january(9).as_str()), "{shown}");
    assert_eq!(shown.lines().count(), 1, "{shown}");
    run(&mut mirror.stx(&["list", "--channels", "--limit", "1"])).code(2);
}

/// Programs that read a pipe get only the columns; an empty cell is a dash.
#[test]
fn the_header_of_a_list_is_shown_on_terminals_only() {
    let mirror = Mirror::new(2);
    let list = || {
        let mut list = mirror.stx(&["list", "--now", NOW]);
        list.args(["--format", "human"]);
        list
    };
    let piped = run(&mut list()).ok();
    assert_eq!(piped.lines().count(), 4, "{piped}");
    // The last line is an alias of a release.
    for line in piped.lines().take(3) {
        let cells: Vec<_> = line.split("  ").filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells.len(), 6, "{line}");
        assert!(cells[0].contains("/centos/20200"), "{line}");
    }
    let shown = run(&mut at_terminal(&list())).ok();
    let first = shown.lines().next().unwrap_or_default();
    for name in ["BUILD", "RESULT", "AGE", "SIZE", "STAYS", "ALIASES"] {
        assert!(first.contains(name), "{shown}");
    }
    assert_eq!(shown.lines().count(), 5, "{shown}");
}

/// Fails the test unless a command prints these coloured words only when colours are requested.
#[track_caller]
fn assert_colours(command: &dyn Fn(&[&str]) -> Command, words: &[&str]) {
    let human = ["--format", "human"];
    let human = |more: &[&str]| command(&[&human[..], more].concat());
    let mut forced = human(&[]);
    forced.env("CLICOLOR_FORCE", "1");
    for mut coloured in [
        at_terminal(&human(&[])),
        human(&["--color", "always"]),
        forced,
    ] {
        let ran = run(&mut coloured);
        let shown = ran.command.clone();
        let text = ran.ok();
        for word in words {
            assert!(text.contains(word), "{shown}: {text:?}");
        }
    }
    let json = ["--format", "json", "--color", "always"];
    for ran in [
        run(&mut at_terminal(&human(&["--color", "never"]))),
        run(at_terminal(&human(&[])).env("NO_COLOR", "1")),
        run(at_terminal(&human(&[])).env("TERM", "dumb")),
        run(&mut at_terminal(&command(&json))),
        run(&mut human(&[])),
        run(command(&json[..2]).env("CLICOLOR_FORCE", "1")),
    ] {
        let shown = ran.command.clone();
        assert!(!ran.ok().contains(ESCAPE), "{shown}");
    }
}

/// A success, then a failure.
#[test]
fn requests_have_the_colours_of_their_results() {
    let site = Site::new("", "poll = \"1s\"");
    let daemon = site.start();
    site.until("the success", || site.messages() == ["one"]);
    site.small.commit("image.sh", "exit 7\n");
    site.until("the failure", || site.history_has("exit status 7"));
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.end(), Some(0));
    let (green, yellow, red) = ("\u{1b}[32m20", "\u{1b}[33mno service", "\u{1b}[31m20");
    let of = |name: &'static str| {
        let site = &site;
        move |more: &[&str]| site.stx(&[&[name], more].concat())
    };
    assert_colours(&of("history"), &[green, red]);
    assert_colours(&of("status"), &[yellow, red]);
    // Without cursor movement, nothing is redrawn.
    let watch = around(
        tool("timeout", ["--foreground", "3"]),
        &site.stx(&["status", "--watch"]),
    );
    assert!(run(&mut at_terminal(&watch)).code(124).stdout.contains(red));
    assert_eq!(
        run(at_terminal(&watch).env("TERM", "dumb"))
            .code(124)
            .stdout,
        ""
    );
}

#[test]
fn colours_are_used_on_terminals_or_on_request() {
    let mirror = Mirror::new(1);
    let list = |more: &[&str]| {
        let mut list = mirror.stx(&["list", "--format", "human"]);
        list.args(more);
        list
    };
    let any = |more: &[&str]| {
        let mirror = mirror.at("mirror");
        stx([&["--mirror", mirror.as_str(), "list"], more].concat())
    };
    assert_colours(&any, &["\u{1b}[32msuccess"]);

    // Errors and hints, and those of the argument parser.
    let wrong = run(&mut list(&["master/nosuch", "--color", "always"]))
        .code(5)
        .stderr;
    assert!(wrong.contains("\u{1b}[31merror:\u{1b}[0m"), "{wrong:?}");
    assert!(wrong.contains("hint:\u{1b}[0m"), "{wrong:?}");
    let wrong = run(&mut list(&["--nosuch", "--color", "always"]))
        .code(2)
        .stderr;
    assert!(wrong.contains(ESCAPE), "{wrong:?}");
    let wrong = run(at_terminal(&list(&["--nosuch", "--color", "never"])).env("TERM", "xterm"));
    assert!(!wrong.code(2).stdout.contains(ESCAPE));
}

#[test]
fn the_option_for_a_directory_is_applied_first() {
    let mirror = Mirror::new(1);
    let top = mirror.at("");
    fs_err::create_dir_all(mirror.at("conf/below")).expect("a directory");
    fs_err::write(
        mirror.at("conf/stx-builds.toml"),
        "mirror = \"../mirror\"\n",
    )
    .expect("a file");
    let at = |dirs: &[&str], more: &[&str]| {
        let mut command = stx(["list"]);
        for dir in dirs {
            command.args(["-C", dir]);
        }
        command.args(more).current_dir(&top);
        run(&mut command)
    };
    let build = format!("master/centos/{}", january(1));
    // The configuration is found in a parent directory, also from the directories of `-C`.
    for dirs in [
        &["conf"][..],
        &["conf/below"],
        &["conf", "below"],
        &["conf", "..", "conf"],
    ] {
        let listed = at(dirs, &[]).ok();
        assert!(listed.contains(&build), "{dirs:?}: {listed}");
    }
    at(&[], &[]).code(2);
    let named = at(&["conf/below"], &["--mirror", "../../mirror"]).ok();
    assert!(named.contains(&build), "{named}");
    let missing = at(&["conf", "nosuch"], &[]).code(2);
    for word in ["cannot change to nosuch", "hint: "] {
        assert!(missing.stderr.contains(word), "{}", missing.stderr);
    }
}

/// The error of a run as JSON, the last line of standard error.
fn error(ran: &Ran) -> Value {
    let line = ran.stderr.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr))
}

#[test]
fn an_error_is_one_line_of_json_if_json_was_requested() {
    let mirror = Mirror::new(1);
    let wrong = mirror.at("wrong.toml");
    fs_err::write(&wrong, "mirorr = 3\n").expect("a file");
    let config = ["--config", wrong.as_str(), "list"];
    let damaged = mirror.at("mirror/master/centos").join(january(1));
    for (args, code, kind, words, hint) in [
        (
            &["show", "master/nosuch"][..],
            5,
            "not-found",
            "no such channel",
            "master/centos",
        ),
        (
            &["show", "master/centos/20190101"],
            5,
            "not-found",
            "no build begins with 20190101",
            "stx-builds list",
        ),
        (&["show", "centos"], 2, "usage", "is not a build", "CHANNEL"),
        (&["show"], 2, "usage", "<BUILD>", "--help"),
        (
            &["lst"],
            2,
            "usage",
            "unrecognized subcommand 'lst'",
            "'list'",
        ),
        (
            &["list", "--limti", "1"],
            2,
            "usage",
            "unexpected argument '--limti'",
            "'--limit'",
        ),
        (&config, 2, "usage", "mirorr", ""),
    ] {
        let ran = run(&mut mirror.stx(args)).code(code);
        let error = error(&ran);
        let keys: Vec<_> = error.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            ["causes", "error", "exit_code", "hint", "kind"],
            "{error:#}"
        );
        assert_eq!(
            (&error["exit_code"], &error["kind"]),
            (&code.into(), &kind.into())
        );
        assert!(error["causes"].is_array(), "{error:#}");
        let said = error["error"].as_str().expect("a text");
        assert!(
            said.contains(words) && !said.contains("error:"),
            "{error:#}"
        );
        let hinted = error["hint"].as_str().unwrap_or_default();
        assert!(hinted.contains(hint), "{error:#}");
        assert_eq!(ran.stdout, "", "{:?}", ran.command);
    }

    // A result with findings is not an error of the program; it is printed nevertheless, with the next step.
    fs_err::write(damaged.join("outputs/CONTEXT"), "changed").expect("a file");
    let ran = run(&mut mirror.stx(&["verify"])).code(4);
    assert!(!ran.json()["findings"].as_array().is_none_or(Vec::is_empty));
    assert_eq!(error(&ran)["kind"], "mirror");
    // Text for people stays text.
    let ran = run(mirror
        .stx(&["show", "master/nosuch"])
        .args(["--format", "human"]))
    .code(5);
    assert!(
        ran.stderr
            .starts_with("error: master/nosuch: no such channel\nhint: "),
        "{}",
        ran.stderr
    );
    // A password in a URL is not printed.
    let url = "http://bob:geheim@127.0.0.1:1/mirror";
    let ran = run(&mut stx(["--mirror", url, "--format", "json", "list"]));
    assert!(
        ran.code != Some(0) && !ran.stderr.contains("geheim"),
        "{}",
        ran.stderr
    );
    assert!(error(&ran)["error"].is_string());
}

/// The commands for builds accept a build in every form.
#[test]
fn every_command_accepts_a_build_in_every_form() {
    let mirror = Mirror::new(3);
    let config = "[site]\nurl = \"https://mirror.example.org/stx\"\n";
    fs_err::write(mirror.at("stx-builds.toml"), config).expect("a file");
    let id = format!("master/centos/{}", january(3));
    let below = mirror.at("mirror").join(&id).join("build.json");
    let page = format!("https://mirror.example.org/stx/{id}.html");
    let file = format!("https://mirror.example.org/stx/{id}/outputs/iso/bootimage.iso");
    for name in [
        "master/centos",
        "master/centos/",
        "master/centos/latest_build",
        "master/centos/20200103",
        "master/centos/20200103T06",
        &id,
        below.as_str(),
        &page,
        &file,
    ] {
        let shown = mirror.json(&["show", name]);
        assert_eq!(shown["build"], id.as_str(), "{name}");
        for args in [
            &["explain", name][..],
            &["log", name],
            &["pin", name, "--reason", "x", "--author", "ann"],
            &["unpin", name, "--author", "ann"],
            &["mark", name, "green", "--by", "lab"],
            &["diff", name, &id],
            &["compare", name, &id],
            &["verify", name],
            &["adopt", "--dry-run", name],
            &["fetch", name, "iso", "--print-url"],
            &[
                "promote",
                name,
                "--to",
                "release/1.0",
                "--by",
                "ann",
                "--dry-run",
            ],
        ] {
            let ran = run(&mut mirror.stx(args)).code(0);
            let about = format!("{}{}", ran.stdout, ran.stderr);
            let counts = ["verify", "adopt", "diff", "compare"].contains(&args[0]);
            assert!(counts || about.contains(&january(3)), "{args:?}: {about}");
        }
        // One build, unless the name is that of a channel.
        let verified = mirror.json(&["verify", name]);
        let all = name.trim_end_matches('/') == "master/centos";
        assert_eq!(verified["builds"], if all { 3 } else { 1 }, "{name}");
    }
    // With every spelling of the mirror.
    fs_err::os::unix::fs::symlink("mirror", mirror.at("link")).expect("a symlink");
    for named in ["mirror", "./mirror/", "link"] {
        let args = ["--mirror", named, "--format", "json", "show"];
        let shown = run(stx(args).arg(&below).current_dir(mirror.at(""))).code(0);
        assert_eq!(shown.json()["build"], id.as_str(), "{named}");
    }
    let other = format!("https://elsewhere.example.org/stx/{id}");
    let refused = run(&mut mirror.stx(&["show", &other])).code(2);
    assert!(
        error(&refused)["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("--mirror https://elsewhere.example.org/stx")),
        "{}",
        refused.stderr
    );

    // Retired builds have no alias, and no other build has this beginning of a date.
    run(&mut mirror.stx(&["prune", "--now", "2020-03-01T00:00:00Z", "--allow", "9"])).ok();
    assert!(
        !mirror.builds().contains(&january(1)),
        "{:?}",
        mirror.builds()
    );
    let back = mirror.json(&[
        "undelete",
        "master/centos/20200101",
        "--now",
        "2020-03-01T00:00:00Z",
    ]);
    assert_eq!(back["build"], format!("master/centos/{}", january(1)));
}

/// Without a configuration, the URL of a build names its mirror as well.
#[test]
fn the_url_of_a_build_is_enough_to_read_it() {
    let mirror = Mirror::new(2);
    let server = Nginx::of_mirror(&mirror.at("nginx"), &mirror.at("mirror"), "");
    let id = format!("master/centos/{}", january(2));
    for place in [
        server.url(&format!("{id}/")),
        server.url(&format!("{id}.html")),
    ] {
        let shown = run(stx(["--format", "json", "show", &place]).current_dir("/")).code(0);
        assert_eq!(shown.json()["build"], id.as_str());
        let urls = run(stx(["fetch", &place, "iso", "--print-url"]).current_dir("/")).ok();
        assert!(urls.contains("bootimage.iso"), "{urls}");
        run(stx(["log", &place]).current_dir("/")).code(0);
    }
    run(stx(["show", "http://127.0.0.1:1/a/b"]).current_dir("/")).code(2);
}

#[test]
fn a_forecast_names_existing_builds_and_counts_future_ones() {
    let mirror = Mirror::new(3);
    let args = [
        "forecast",
        "--days",
        "90",
        "--now",
        "2020-01-03T12:00:00Z",
        "--rate",
        "master/centos=1 day,1000",
    ];
    let foretold = mirror.json(&args);
    let days = foretold["days"].as_array().expect("days");
    let expire = |day: &Value| day["expire"].as_array().expect("expire").clone();
    let all: Vec<Value> = days.iter().flat_map(expire).collect();
    let build = |entry: &Value| entry["build"].as_str().expect("a build").to_owned();
    let there: Vec<String> = all
        .iter()
        .map(build)
        .filter(|id| mirror.builds().iter().any(|date| id.ends_with(date)))
        .collect();
    let coming = all.len() - there.len();
    assert!(!there.is_empty() && coming > 10, "{all:#?}");
    let said = mirror.say(&args);
    for id in &there {
        assert!(said.contains(&format!("  {id} by rule ")), "{said}");
    }
    assert_eq!(said.matches(" by rule ").count(), there.len(), "{said}");
    assert!(
        said.contains(&format!("and {coming} builds that do not exist yet")),
        "{said}"
    );
}
