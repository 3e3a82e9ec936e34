use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_577_836_800 + seconds, 0).unwrap()
}

pub(crate) fn watch() -> Watch {
    Watch {
        poll: Some(Duration::from_mins(1)),
        quiet: Duration::from_mins(5),
        quiet_max: Duration::from_mins(30),
        ..Watch::new(Target {
            channel: "master/centos".parse().unwrap(),
            git: "master".into(),
            recipe: "/recipe.toml".into(),
        })
    }
}

fn seen(commit: &str, changed: Option<&[&str]>) -> Observation {
    Observation {
        heads: [("git://x/config.git".to_owned(), commit.to_owned())].into(),
        changed: changed.map(|paths| {
            let file = |path: &&str| ChangedFile {
                git: "stx/config".into(),
                file: (*path).to_owned(),
            };
            paths.iter().map(file).collect()
        }),
    }
}

/// The times, in seconds, at which a build is requested.
fn builds(watch: &Watch, looks: &[(i64, &str)]) -> Vec<i64> {
    let mut mark = Mark::default();
    let mut builds = Vec::new();
    for (second, commit) in looks {
        match judge(watch, &mark, &seen(commit, None), time(*second)) {
            Verdict::Same => {}
            Verdict::Gather { mark: next, .. } | Verdict::Irrelevant { mark: next, .. } => {
                mark = next;
            }
            Verdict::Build { mark: next, .. } => {
                mark = next;
                builds.push(*second);
            }
        }
    }
    builds
}

#[test]
fn pushes_are_collected_until_a_quiet_period() {
    let looks = [
        (0, "a"),
        (60, "b"),
        (120, "c"),
        (360, "c"),
        (420, "c"),
        (480, "c"),
    ];
    assert_eq!(builds(&watch(), &looks), [420]);
}

#[test]
fn continual_pushes_are_built_after_the_maximum_delay() {
    let commits: Vec<_> = (0..100).map(|n| (n * 60, format!("c{n}"))).collect();
    let looks: Vec<_> = commits
        .iter()
        .map(|(at, commit)| (*at, commit.as_str()))
        .collect();
    assert_eq!(builds(&watch(), &looks)[..3], [1800, 3660, 5520]);
}

#[test]
fn a_reverted_push_is_not_built() {
    let mut quick = watch();
    quick.quiet = Duration::ZERO;
    let Verdict::Build { mark, .. } = judge(&quick, &Mark::default(), &seen("a", None), time(0))
    else {
        panic!("the first look builds");
    };
    let Verdict::Gather { mark, .. } = judge(&watch(), &mark, &seen("b", None), time(10)) else {
        panic!("it is gathered");
    };
    let Verdict::Gather { mark, .. } = judge(&watch(), &mark, &seen("a", None), time(20)) else {
        panic!("it is forgotten");
    };
    assert_eq!(mark.pending, None);
    assert_eq!(
        judge(&watch(), &mark, &seen("a", None), time(9999)),
        Verdict::Same
    );
}

#[test]
fn path_rules_select_commits_and_unknown_paths_match() {
    let mut docs = watch();
    docs.quiet = Duration::ZERO;
    docs.paths = PathRules::new(&["!docs/**"]).unwrap();
    let judged = |changed| judge(&docs, &Mark::default(), &seen("a", changed), time(0));
    assert!(matches!(
        judged(Some(&["docs/a.md"][..])),
        Verdict::Irrelevant { .. }
    ));
    assert!(matches!(
        judged(Some(&["docs/a.md", "src/b.c"][..])),
        Verdict::Build { .. }
    ));
    assert!(matches!(judged(None), Verdict::Build { .. }));
    // Paths in the source tree are matched too; the last match decides.
    docs.paths = PathRules::new(&["!stx/config/doc/**", "!stx/test/**", "**/keep"]).unwrap();
    let judged = |file: &str| judge(&docs, &Mark::default(), &seen("a", Some(&[file])), time(0));
    assert!(matches!(judged("doc/a.md"), Verdict::Irrelevant { .. }));
    for file in ["doc/keep", "test/a.c", "config/doc/a.md"] {
        assert!(matches!(judged(file), Verdict::Build { .. }), "{file}");
    }
}

#[test]
fn globs_that_exclude_everything_are_refused() {
    assert!(PathRules::new(&["src/**", "!**"]).is_err());
    assert!(PathRules::new(&["[", "x"]).is_err());
}

#[test]
fn a_milestone_channel_is_named_by_its_time() {
    let mut milestone = watch();
    milestone.milestone = Some("%Y.%m".into());
    assert_eq!(
        milestone.target(time(0)).channel.to_string(),
        "milestone/2020.01/centos"
    );
    assert!(milestone_name("%Q", time(0)).is_err());
    assert!(milestone_name("%Y/%m", time(0)).is_err());
}

#[test]
fn a_cause_is_shown_as_text() {
    let cause = Cause::Commit {
        heads: [
            ("https://x/stx/config.git", "0123456789abcdef"),
            ("/srv/metal", "f00"),
        ]
        .map(|(url, commit)| (url.to_owned(), commit.to_owned()))
        .into(),
    };
    assert_eq!(cause.to_string(), "commit metal f00, config 0123456789");
}

proptest! {
    /// For any pushes and any times of polls: once pushes end and polls continue, the last commit has been built. No two
    /// consecutive builds are of the same heads.
    #[test]
    fn the_last_commit_is_always_built(
        looks in prop::collection::vec((1_i64..1000, 0_u8..4), 1..40),
        quiet in 0_u64..900,
    ) {
        let mut watch = watch();
        watch.quiet = Duration::from_secs(quiet);
        let mut now = time(0);
        let mut mark = Mark::default();
        let mut built = Vec::new();
        let last = looks.last().unwrap().1;
        let tail = [(2000, last), (1, last)];
        for (step, commit) in looks.into_iter().chain(tail) {
            now += TimeDelta::seconds(step);
            let seen = seen(&commit.to_string(), None);
            match judge(&watch, &mark, &seen, now) {
                Verdict::Same => {}
                Verdict::Gather { mark: next, .. } => mark = next,
                Verdict::Irrelevant { .. } => prop_assert!(false),
                Verdict::Build { mark: next, .. } => {
                    mark = next;
                    built.push(commit);
                }
            }
        }
        prop_assert_eq!(built.last(), Some(&last));
        prop_assert!(built.windows(2).all(|pair| pair[0] != pair[1]));
        prop_assert_eq!(mark.pending, None);
    }
}
