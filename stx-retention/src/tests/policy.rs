//! Policies in TOML.

use stx_layout::config::Position;

use crate::{
    Calendar, ChannelRules, Limits, Overlay, Policy, PolicyFile, Retention, Rules, Span, Tier,
    VerdictRules, channel_glob,
};

#[test]
fn an_empty_policy_is_the_default() {
    assert_eq!(
        PolicyFile::from_toml("").expect("a policy").policy,
        Policy::default()
    );
}

#[test]
fn a_policy_in_text_equals_one_in_code() {
    let text = r#"
        free-space = 1_000
        [limits]
        percent = 10
        silence = "never"
        [kind.milestone]
        keep = "1 year"
        newest = 3
        failed = "36 hours"
        green = "2 years"
        yellow = "forever"
        tiers = [{ section = "inputs", after = "2 weeks" }]
        [[channel]]
        match = "feature/*/centos"
        keep = "forever"
        red = "3 days"
        newest-green = 5
        [calendar]
        learn = false
        releases = { "2018.10" = 2018-10-30 }
    "#;
    let mut policy = Policy {
        free_space: Some(1000),
        limits: Limits {
            percent: 10,
            allow: None,
            silence: None,
        },
        channels: vec![ChannelRules {
            channels: channel_glob("feature/*/centos").expect("a glob"),
            rules: Overlay {
                keep: Some(Retention::Forever),
                verdicts: VerdictRules {
                    red: Some(Retention::For(Span::days(3))),
                    newest_green: Some(5),
                    ..VerdictRules::default()
                },
                ..Overlay::default()
            },
        }],
        calendar: Calendar {
            releases: [(
                "2018.10".parse().expect("a name"),
                "2018-10-30".parse().expect("a day"),
            )]
            .into(),
            learn: false,
        },
        ..Policy::default()
    };
    policy.kinds.milestone = Rules {
        keep: Retention::For(Span::days(365)),
        newest: 3,
        failed: Retention::For(Span::hours(36)),
        tiers: vec![Tier {
            section: "inputs".parse().expect("a path"),
            after: Span::days(14),
        }],
        verdicts: VerdictRules {
            green: Some(Retention::For(Span::days(730))),
            yellow: Some(Retention::Forever),
            ..VerdictRules::default()
        },
    };
    let file = PolicyFile::from_toml(text).expect("a policy");
    assert_eq!(file.policy, policy);
    assert_eq!(
        file.lines.channels,
        [Position {
            line: 13,
            column: 9
        }]
    );
}

#[test]
fn all_mistakes_are_reported_with_their_places() {
    let text = r#"free-space = "much"
[limits]
percent = 101
[kind.master]
keep = "0 days"
newest = -1
faild = "7 days"
[kind.tag]
[kind.feature]
keep = "5 days"
failed = "6 days"
tiers = [{ section = "/logs", after = 3 }, { after = "9 days", section = "outputs/logs" }, { after = "1 day", section = "outputs/fail" }]
[[channel]]
keep = "soon"
[[channel]]
match = "feature/[a"
[calendar]
learn = "no"
releases = { "a" = 2018-10-30T00:00:00Z, ".." = 2018-10-30 }
"#;
    let error = PolicyFile::from_toml(text).expect_err("mistakes");
    insta::assert_snapshot!(error);
}

#[test]
fn mistakes_in_rules_by_verdict_are_reported_with_their_places() {
    let text = r#"[kind.master]
keep = "14 days"
green = "7 days"
yellow = "1 week"
red = "3 days"
[kind.feature]
blue = "7 days"
[kind.rc]
green = "soon"
newest-green = -1
[[channel]]
match = "master/**"
keep = "10 days"
green = "9 days"
[[channel]]
match = "feature/**"
newest_green = 3
red = 3
[kind.milestone]
keep = "10 days"
green = "20 days"
tiers = [{ section = "inputs", after = "15 days" }, { section = "outputs/logs", after = "20 days" }]
"#;
    let error = PolicyFile::from_toml(text).expect_err("mistakes");
    insta::assert_snapshot!(error);
}

#[test]
fn broken_text_is_reported_with_its_places() {
    let error = PolicyFile::from_toml("[kind.master\nkeep = \n").expect_err("mistakes");
    insta::assert_snapshot!(error);
}

#[test]
fn later_exceptions_win_and_stars_stop_at_slashes() {
    let text = r#"
        [[channel]]
        match = "feature/**"
        keep = "3 days"
        newest = 9
        [[channel]]
        match = "feature/*/debian"
        keep = "5 days"
    "#;
    let policy = PolicyFile::from_toml(text).expect("a policy").policy;
    let rules = |channel: &str| policy.rules(&channel.parse().expect("a channel"));
    let days = |days| Retention::For(Span::days(days));
    assert_eq!(rules("feature/x/debian").keep, days(5));
    assert_eq!(rules("feature/x/debian").newest, 9);
    assert_eq!(rules("feature/x/debian/bullseye/amd64").keep, days(3));
    assert_eq!(rules("feature/x/centos").failed, days(3));
    assert_eq!(rules("master/centos"), policy.kinds.master);
}
