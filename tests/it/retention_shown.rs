//! A whole mirror over time: the dry run on several days, and an execution that does exactly the same.

use std::fmt::Write as _;

use crate::harness::{builds, root, run};
use crate::retention::{Mirror, expired};

const CHANNELS: [&str; 6] = [
    "master/centos",
    "feature/f-centos76/centos",
    "milestone/2020.02/centos",
    "release/2019.12/centos",
    "release/2020.01/centos",
    "release/2020.02/centos",
];

/// 06:00 on the given day of 2020, in January or February.
fn date(day: u32) -> String {
    let (month, day) = if day <= 31 { (1, day) } else { (2, day - 31) };
    format!("2020{month:02}{day:02}T060000Z")
}

/// Sixty daily `master` builds, three of them failures, four milestones, three releases and a feature.
fn mirror() -> Mirror {
    let mirror = Mirror::empty();
    for day in 1..=60 {
        let result = if [10, 45, 60].contains(&day) {
            "fail"
        } else {
            "success"
        };
        mirror.publish(CHANNELS[0], &date(day), result);
    }
    mirror.publish(CHANNELS[1], &date(5), "success");
    for day in [3, 12, 30, 50] {
        mirror.publish(CHANNELS[2], &date(day), "success");
    }
    for (channel, day) in CHANNELS[3..].iter().zip([2, 20, 56]) {
        mirror.publish(channel, &date(day), "success");
    }
    mirror
}

fn all(mirror: &Mirror) -> Vec<String> {
    let builds = CHANNELS.map(|channel| {
        let dates = builds(&mirror.at("mirror"), channel).into_iter();
        dates.map(move |date| format!("{channel}/{date}"))
    });
    builds.into_iter().flatten().collect()
}

#[test]
fn a_mirror_over_time() {
    let mirror = mirror();
    let before = all(&mirror);
    assert_eq!(before.len(), 68);
    let mut text = String::new();
    for (now, allow) in [
        ("2020-01-10T12:00:00Z", "0"),
        ("2020-02-01T12:00:00Z", "0"),
        ("2020-02-29T12:00:00Z", "0"),
        ("2020-02-29T12:00:00Z", "50"),
        ("2020-03-20T12:00:00Z", "60"),
    ] {
        let said = mirror.say(&["prune", "--dry-run", "--now", now, "--allow", allow]);
        let _ = writeln!(text, "== {now} --allow {allow}\n{said}");
    }
    insta::assert_snapshot!(text);
    assert_eq!(all(&mirror), before);

    // A clock ten years ahead: nothing is retired, and the exit code and the message give the reason.
    let wrong = run(&mut mirror.stx(&["prune", "--now", "2030-02-28T12:00:00Z"])).code(4);
    assert!(wrong.stderr.contains("check the clock"), "{wrong:?}");
    assert!(wrong.stdout.contains("clock-doubted"), "{wrong:?}");
    assert_eq!(all(&mirror), before);

    // The real run removes exactly the planned builds.
    let args = ["prune", "--now", "2020-02-29T12:00:00Z", "--allow", "50"];
    let dry = mirror.json(&[&args[..], &["--dry-run"]].concat());
    let ran = mirror.json(&args);
    assert_eq!(ran["plan"], dry);
    let after = all(&mirror);
    let mut gone: Vec<_> = before
        .iter()
        .filter(|build| !after.contains(build))
        .collect();
    gone.sort();
    let mut planned = expired(&dry);
    planned.sort_unstable();
    assert_eq!(gone, planned);
    assert!(!planned.is_empty());
    run(&mut mirror.stx(&["verify"])).ok();
}

/// The document and the crate name the same properties; the crate itself checks that each is a test.
#[test]
fn the_document_names_the_properties_of_the_crate() {
    let named = |file: &str, start: &str| -> Vec<String> {
        let text = fs_err::read_to_string(root().join(file)).expect("a text");
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix(start)?.split_once('*'));
        names.map(|(name, _)| name.to_owned()).collect()
    };
    let documented = named("docs/retention.md", "- *");
    assert!(documented.len() > 10);
    assert_eq!(documented, named("stx-retention/src/lib.rs", "//! - *"));
}

#[test]
fn a_forecast_uses_the_given_rate() {
    let mirror = Mirror::new(5);
    let now = "2020-01-06T00:00:00Z";
    let rate = "master/centos=12 hours,1000000";
    let args = ["forecast", "--days", "20", "--now", now, "--rate", rate];
    let told = mirror.json(&args);
    assert_eq!(told["bytes_per_day"], 2_000_000);
    assert_eq!(told["days"][1]["added"].as_array().map(Vec::len), Some(2));
    // The first build of January is fourteen days old on the 15th, and is retired on the day after.
    let first = &told["days"][10];
    assert_eq!(first["at"], "2020-01-16T00:00:00Z");
    assert_eq!(
        first["expire"][0]["build"],
        "master/centos/20200101T060000Z"
    );
    let said = mirror.say(&args);
    assert!(said.contains("1.91 MiB are added each day"), "{said}");
    assert!(said.contains("the disk does not fill"), "{said}");
    assert!(
        said.contains("master/centos/20200101T060000Z by rule age"),
        "{said}"
    );
    run(&mut mirror.stx(&["forecast", "--rate", "master/centos=0 days,1"])).code(2);
    run(&mut mirror.stx(&["forecast", "--rate", "master/centos"])).code(2);
    // Such forecasts would take too long.
    run(&mut mirror.stx(&["forecast", "--days", "1000000"])).code(2);
    let endless = run(&mut mirror.stx(&["forecast", "--rate", "master/centos=1s,1"])).code(2);
    let words = "2592000 builds in 30 days; a forecast has at most 100000";
    assert!(endless.stderr.contains(words), "{}", endless.stderr);
}
