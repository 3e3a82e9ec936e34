use chrono::{TimeZone as _, Utc};
use stx_layout::{BuildEntry, BuildOutcome, BuildRecord, BuildState, Catalog, Origin};

use super::*;

/// A mirror with builds, each given by its path and, if it was promoted, its origin and the day of the promotion.
fn mirror(builds: &[(&str, Option<(&str, u32)>)]) -> Catalog {
    let mut catalog = Catalog::default();
    for (text, origin) in builds {
        let id = id(text);
        let mut record = BuildRecord::new(id.clone(), BuildOutcome::Success);
        record.origin = origin.map(|(from, day)| Origin::Promoted {
            from: self::id(from),
            at: Utc
                .with_ymd_and_hms(2020, 2, day, 0, 0, 0)
                .single()
                .expect("a time"),
            by: "ann".to_owned(),
            reason: None,
        });
        let build = BuildEntry {
            state: BuildState::Known(Box::new(record)),
            keep_file: false,
        };
        let entry = catalog.channels.entry(id.channel.clone()).or_default();
        entry.builds.insert(id.date, build);
    }
    catalog
}

/// `master/centos/3` is the build of the third day.
fn id(text: &str) -> BuildId {
    let (channel, day) = text.rsplit_once('/').expect("a day");
    let day: u32 = day.parse().expect("a number");
    format!("{channel}/202001{day:02}T000000Z")
        .parse()
        .expect("a build")
}

fn line_of(catalog: &Catalog, from: &str, to: &str) -> Vec<BuildId> {
    line(catalog, &id(from), &id(to)).expect("a line")
}

fn ids(texts: &[&str]) -> Vec<BuildId> {
    texts.iter().map(|text| id(text)).collect()
}

#[test]
fn builds_of_origins_are_sorted_between_the_releases() {
    let catalog = mirror(&[
        ("master/centos/1", None),
        ("master/centos/2", None),
        ("master/centos/3", None),
        ("master/centos/5", None),
        ("master/centos/7", None),
        ("master/centos/9", None),
        ("master/debian/4", None),
        // The origin of the second one expired.
        ("release/9.0.0/centos/2", Some(("master/centos/2", 9))),
        ("release/10.0.0/centos/6", Some(("master/centos/6", 11))),
        // Built on a branch of the earlier release, after the later one.
        ("release/9.0.1/centos/20", None),
        (
            "release/11.0.0/centos/9",
            Some(("release/10.9.0/centos/9", 12)),
        ),
        ("release/10.0.0/debian/6", None),
        (
            "milestone/2019.05b1/centos/7",
            Some(("master/centos/7", 10)),
        ),
    ]);
    let whole = line_of(
        &catalog,
        "release/9.0.0/centos/2",
        "release/10.0.0/centos/6",
    );
    let expected = [
        "release/9.0.0/centos/2",
        "release/9.0.1/centos/20",
        "release/10.0.0/centos/6",
    ];
    assert_eq!(whole, ids(&expected), "another branch lies between");

    let mut without = catalog.clone();
    let branch = "release/9.0.1/centos".parse().expect("a channel");
    without.channels.remove(&branch);
    let whole = line_of(
        &without,
        "release/9.0.0/centos/2",
        "release/10.0.0/centos/6",
    );
    let expected = [
        "release/9.0.0/centos/2",
        "master/centos/3",
        "master/centos/5",
        "release/10.0.0/centos/6",
    ];
    assert_eq!(whole, ids(&expected));
    assert_eq!(
        base(&catalog, &id("release/10.0.0/centos/6")),
        id("master/centos/6")
    );

    // From the origins' channel to a release; milestones count if no release is numbered.
    let whole = line_of(&without, "master/centos/1", "release/10.0.0/centos/6");
    let expected = [
        "master/centos/1",
        "release/9.0.0/centos/2",
        "master/centos/3",
        "master/centos/5",
        "release/10.0.0/centos/6",
    ];
    assert_eq!(whole, ids(&expected));
    let whole = line_of(&catalog, "milestone/2019.05b1/centos/7", "master/centos/9");
    assert_eq!(
        whole,
        ids(&["milestone/2019.05b1/centos/7", "master/centos/9"])
    );
}

#[test]
fn releases_are_sorted_by_number_and_the_builds_of_one_release_by_date() {
    let catalog = mirror(&[
        ("release/9.0.0/centos/1", None),
        // Built after all builds of the next release.
        ("release/9.0.1/centos/20", None),
        // Promoted in the other order.
        ("release/10.0.0/centos/5", Some(("master/centos/5", 9))),
        ("release/10.0.0/centos/7", Some(("master/centos/7", 2))),
        ("release/10.0.1/centos/8", None),
        ("release/11.0.0/centos/21", None),
    ]);
    let whole = line_of(
        &catalog,
        "release/9.0.0/centos/1",
        "release/11.0.0/centos/21",
    );
    let expected = [
        "release/9.0.0/centos/1",
        "release/9.0.1/centos/20",
        "release/10.0.0/centos/5",
        "release/10.0.0/centos/7",
        "release/10.0.1/centos/8",
        "release/11.0.0/centos/21",
    ];
    assert_eq!(whole, ids(&expected));
}

#[test]
fn a_build_and_its_promotion_are_a_line_in_both_directions() {
    let catalog = mirror(&[
        ("master/centos/1", None),
        ("release/1.0.0/centos/1", Some(("master/centos/1", 3))),
    ]);
    let (build, promoted) = ("master/centos/1", "release/1.0.0/centos/1");
    for ends in [[build, promoted], [promoted, build]] {
        assert_eq!(line_of(&catalog, ends[0], ends[1]), ids(&ends));
    }
}

#[test]
fn a_line_within_a_channel_is_its_builds() {
    let catalog = mirror(&[
        ("master/centos/1", None),
        ("master/centos/2", None),
        ("master/centos/3", None),
        ("master/centos/4", None),
        ("release/1.0.0/centos/1", Some(("master/centos/1", 3))),
        ("release/1.0.0/centos/4", Some(("master/centos/4", 5))),
    ]);
    let within = line_of(&catalog, "master/centos/1", "master/centos/3");
    assert_eq!(
        within,
        ids(&["master/centos/1", "master/centos/2", "master/centos/3"])
    );
    let promoted = line_of(&catalog, "release/1.0.0/centos/1", "release/1.0.0/centos/4");
    let expected = [
        "release/1.0.0/centos/1",
        "master/centos/2",
        "master/centos/3",
        "release/1.0.0/centos/4",
    ];
    assert_eq!(promoted, ids(&expected));
}

#[test]
fn a_range_from_a_newer_to_an_older_build_is_refused() {
    let catalog = mirror(&[
        ("master/centos/1", None),
        ("master/centos/2", None),
        ("release/1.0.0/centos/1", Some(("master/centos/1", 3))),
        ("release/2.0.0/centos/2", None),
        ("release/2.0.0/debian/3", None),
    ]);
    for (from, to) in [
        ("master/centos/2", "master/centos/1"),
        ("master/centos/1", "master/centos/1"),
        ("release/2.0.0/centos/2", "release/1.0.0/centos/1"),
        ("master/centos/2", "release/1.0.0/centos/1"),
        // Two builds of the same release.
        ("release/2.0.0/centos/2", "release/2.0.0/debian/3"),
    ] {
        let error = line(&catalog, &id(from), &id(to)).expect_err("it leads back");
        assert!(error.to_string().contains("is not older"), "{error}");
    }
    let missing = line(
        &catalog,
        &id("master/centos/3"),
        &id("release/2.0.0/centos/2"),
    );
    assert_eq!(
        missing.expect_err("it is not there").kind,
        crate::error::ErrorKind::NotFound
    );
}
