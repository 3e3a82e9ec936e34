//! Configuration, alarms and metrics.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::Channel;

use super::world::{polled, scheduled, setup, target};
use crate::health::{Blind, check};
use crate::ledger::{AlarmKind, Change, Ended, Ledger as _, MemoryLedger, Request, RunEnd, State};
use crate::metrics::{Prunes, Totals, metrics};
use crate::trigger::{Cause, Reason, Upstream};
use crate::{ChannelFacts, Disk, Facts, Pruned, ServiceConfig, Setup};

fn now() -> DateTime<Utc> {
    "2020-01-10T00:00:00Z".parse().unwrap()
}

fn hours(hours: i64) -> DateTime<Utc> {
    now() + TimeDelta::hours(hours)
}

#[test]
fn every_mistake_of_a_configuration_is_found_at_once() {
    let text = r#"
mirror = "mirror"
[service]
max_builds = 0
on_stop = "sometimes"
hook = "notify"
prune = "whenever"
colour = "blue"

[[branch]]
name = "devel"
poll = "2m"
paths = ["src/**", "[", "!docs/**"]
quiet = "5m"
quiet_max = "1m"

[[branch]]
schedule = "0 6 31 2 *"
watch = []
retry_failed = "yes"

[[milestone]]
branch = "master"
name = "%Q"

[[lab]]
name = "../lab"
channel = "["
command = []

[[lab]]
name = "sanity"
command = "true"
timeout = "0s"
"#;
    let error = ServiceConfig::from_toml(text).unwrap_err();
    insta::assert_snapshot!(error);
}

#[test]
fn a_configuration_becomes_watches() {
    let text = r#"
[[branch]]
name = "master"
schedule = "0 6 * * *"
manifest = "https://example.org/manifest"
poll = "2m"
quiet = "5m"

[[milestone]]
branch = "master"
name = "%Y.%m"
schedule = "0 6 1 * *"
"#;
    let config = ServiceConfig::from_toml(text).unwrap().unwrap();
    let resolve = |branch: &super::super::BranchConfig| {
        let target = target(&branch.release.to_string(), &branch.git);
        Ok((target.recipe, target.channel))
    };
    let setup = config.setup(resolve).unwrap();
    let keys: Vec<_> = setup
        .watches
        .iter()
        .map(|watch| watch.key.as_str())
        .collect();
    assert_eq!(
        keys,
        ["master/centos", "milestone %Y.%m of master (centos)"]
    );
    assert_eq!(setup.watches[0].quiet_max, Duration::from_mins(30));
    assert_eq!(
        setup.watches[1].target(now()).channel.to_string(),
        "milestone/2020.01/centos"
    );
    assert_eq!(ServiceConfig::from_toml("mirror = \"x\"").unwrap(), None);

    let twice = format!("{text}\n[[branch]]\nname = \"master\"\n");
    let config = ServiceConfig::from_toml(&twice).unwrap().unwrap();
    let error = config.setup(resolve).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 14, column 1: master/centos is built by another entry already"
    );
}

/// A state in which a run of `master` ended with `how`, a day ago.
fn ended(how: RunEnd) -> State {
    let mut ledger = MemoryLedger::default();
    let request = Request {
        id: 1,
        target: target("master", "master"),
        force: false,
        retry_failed: false,
        reasons: vec![Reason {
            at: hours(-24),
            cause: Cause::Commit { heads: [].into() },
        }],
        more_reasons: 0,
        unpublished: None,
    };
    let start = Change::Started {
        run: 2,
        request: 1,
        at: hours(-24),
    };
    let end = Change::Ended {
        run: 2,
        end: Ended {
            at: hours(-24),
            how,
        },
    };
    ledger
        .record(&[Change::Requested(request), start, end])
        .unwrap();
    ledger.state().clone()
}

fn kinds(state: &State, setup: &Setup, facts: &Facts) -> Vec<AlarmKind> {
    let alarms = check(state, setup, facts, &Blind::new(), None, now());
    alarms.keys().map(|alarm| alarm.kind).collect()
}

#[test]
fn each_kind_of_alarm_has_its_text() {
    let quiet = Facts::default();
    let good = ended(RunEnd::Unchanged {
        since: "master/centos/20200101T000000Z".parse().unwrap(),
        result: None,
        why: None,
    });
    let daily = setup([scheduled("master", "0 6 * * *")]);
    assert_eq!(kinds(&good, &daily, &quiet), []);
    let hourly = setup([scheduled("master", "0 * * * *")]);
    assert_eq!(kinds(&good, &hourly, &quiet), [AlarmKind::Stale]);

    let refused = ended(RunEnd::Refused {
        reason: "the disk is full".into(),
    });
    assert_eq!(kinds(&refused, &daily, &quiet), [AlarmKind::NotPublished]);

    let mut facts = Facts::default();
    let date = |days| stx_layout::BuildDate::at(now() - TimeDelta::days(days));
    let mut of = ChannelFacts {
        newest_success: date(1),
        latest_build: date(2),
    };
    let channel = target("master", "master").channel;
    facts.channels.insert(channel.clone(), of.clone());
    facts.taken = now();
    assert_eq!(kinds(&good, &setup([]), &facts), [AlarmKind::NotAliased]);
    // A clock that was ahead: until its date, nothing newer is shown.
    let wrong: stx_layout::BuildDate = "20300101T060010Z".parse().unwrap();
    let mut ahead = facts.clone();
    let both = ChannelFacts {
        newest_success: Some(wrong),
        latest_build: Some(wrong),
    };
    ahead.channels.insert(channel.clone(), both);
    assert_eq!(kinds(&good, &setup([]), &ahead), [AlarmKind::NotAliased]);
    // The survey may have been between the build's rename and the move of its alias.
    facts.taken = hours(-25);
    assert_eq!(kinds(&good, &setup([]), &facts), []);
    facts.taken = now();
    of.latest_build = of.newest_success;
    facts.channels.insert(channel, of);
    assert_eq!(kinds(&good, &setup([]), &facts), []);
    facts.disks.push(Disk {
        dir: "/srv".into(),
        total: 1000,
        free: 99,
    });
    assert_eq!(kinds(&good, &setup([]), &facts), [AlarmKind::DiskFilling]);
    facts.spool = Some("it was removed".to_owned());
    let both = [AlarmKind::DiskFilling, AlarmKind::NeverFires];
    assert_eq!(kinds(&good, &setup([]), &facts), both);
    facts.spool = None;

    // The last run ended by a clock that was a year ahead; it was put right since.
    let mut corrected = good.clone();
    let last = corrected.last.values_mut().next().unwrap();
    last.good = last.good.map(|good| good + TimeDelta::days(365));
    last.end.as_mut().unwrap().at += TimeDelta::days(365);
    facts.disks.clear();
    let of = facts.channels.values_mut().next().unwrap();
    of.latest_build = date(2);
    let found = kinds(&corrected, &hourly, &facts);
    assert_eq!(found, [AlarmKind::NotAliased, AlarmKind::Stale]);

    // A waiting commit.
    let mut waiting = good.clone();
    let mut request = waiting_request();
    waiting.queue.insert(9, request.clone());
    let polled = setup([polled("master", 60)]);
    assert_eq!(kinds(&waiting, &polled, &quiet), [AlarmKind::NotBuilt]);
    request.reasons[0].at = hours(-1);
    waiting.queue.insert(9, request);
    assert_eq!(kinds(&waiting, &polled, &quiet), []);
}

fn waiting_request() -> Request {
    Request {
        id: 9,
        target: target("master", "master"),
        force: false,
        retry_failed: false,
        reasons: vec![Reason {
            at: hours(-13),
            cause: Cause::Commit { heads: [].into() },
        }],
        more_reasons: 0,
        unpublished: None,
    }
}

#[test]
fn metrics_have_prometheus_form() {
    let mut state = ended(RunEnd::Unchanged {
        since: "master/centos/20200101T000000Z".parse().unwrap(),
        result: None,
        why: None,
    });
    let alarm = crate::ledger::Alarm {
        kind: AlarmKind::DiskFilling,
        subject: "/srv/\"quoted\"".into(),
    };
    state.alarms.insert(alarm, (now(), "1 %".into()));
    let facts = Facts {
        disks: vec![Disk {
            dir: "/srv".into(),
            total: 1000,
            free: 99,
        }],
        ..Facts::default()
    };
    let mut totals = Totals::default();
    let mut prunes = Prunes::default();
    let nothing = metrics(&state, &state.alarms, &facts, &totals, &prunes, now());
    assert_eq!(Prunes::read(&nothing), prunes);
    // A wait of exactly a bound; a clock that was put back; a requeued run, and another one.
    let mut twice = filed(5, -9, 20);
    let mut given_up = twice.runs[0].clone();
    given_up.id = 5;
    given_up.end.as_mut().unwrap().how = RunEnd::Requeued {
        reason: "busy".into(),
    };
    twice.runs.insert(0, given_up);
    let history = [filed(1, 60, 100), filed(3, 0, 4000), twice];
    totals.add(&history[..1]);
    // A run counts once, even if its request is read several times.
    totals.add(&history);
    let done = Pruned {
        retired: 3,
        purged: 2,
        bytes: 1 << 40,
        ..Pruned::default()
    };
    prunes.add(&Ok(done), now());
    prunes.add(&Err("no mirror".into()), now());
    let text = metrics(&state, &state.alarms, &facts, &totals, &prunes, now());
    // A restarted service continues from the text that it reads.
    assert_eq!(Prunes::read(&text), prunes);
    assert_eq!(Prunes::read("of another program"), Prunes::default());
    insta::assert_snapshot!(text);
}

/// A request that waited, and was then built; times in seconds.
fn filed(id: u64, waited: i64, took: i64) -> crate::ledger::Filed {
    let started = now() + TimeDelta::seconds(waited);
    let ended = started + TimeDelta::seconds(took);
    let how = RunEnd::Published {
        result: stx_layout::BuildOutcome::Success,
        reason: None,
        sources: Vec::new(),
    };
    let mut request = waiting_request();
    request.reasons[0].at = now();
    crate::ledger::Filed {
        request,
        closed: None,
        runs: vec![crate::ledger::RunRow {
            id: id + 1,
            started,
            build: None,
            interruptions: 0,
            phases: vec![crate::ledger::PhaseRun {
                name: "compile".into(),
                attempts: 1,
                started,
                finished: Some(ended),
                status: None,
            }],
            end: Some(Ended { at: ended, how }),
        }],
    }
}

#[test]
fn paths_are_relative_to_the_file() {
    let text = r#"
[service]
hook = ["./notify", "./kept"]
spool = "spool"
metrics = "/run/metrics"
[[branch]]
name = "master"
recipe = "centos.toml"
watch = ["config", "../up", "/srv/git", "https://example.org/x", "git@example.org:x", "host:x"]
[[branch]]
name = "f/x"
manifest = "manifest"
"#;
    let mut config = ServiceConfig::from_toml(text)
        .expect("right")
        .expect("a service");
    config.resolve("/etc/stx".into());
    assert_eq!(config.hook, ["/etc/stx/./notify", "./kept"]);
    assert_eq!(config.spool.as_deref(), Some("/etc/stx/spool".into()));
    assert_eq!(config.metrics.as_deref(), Some("/run/metrics".into()));
    let setup = config.setup(|branch| {
        let recipe = branch.recipe.clone().unwrap_or_default();
        Ok((
            recipe,
            Channel::new(branch.release.clone(), "centos".parse().expect("a distro")),
        ))
    });
    let watches = setup.expect("a setup").watches;
    let repositories = [
        "/etc/stx/config",
        "/etc/stx/../up",
        "/srv/git",
        "https://example.org/x",
        "git@example.org:x",
        "host:x",
    ];
    assert_eq!(watches[0].recipe, "/etc/stx/centos.toml");
    assert_eq!(
        watches[0].upstream,
        Some(Upstream::Repositories(
            repositories.map(str::to_owned).into()
        ))
    );
    let file = "default.xml".to_owned();
    let url = "/etc/stx/manifest".to_owned();
    assert_eq!(watches[1].upstream, Some(Upstream::Manifest { url, file }));
}

#[test]
fn a_circle_of_channels_that_build_upon_each_other_is_refused() {
    let text = |after: &str| {
        format!(
            "[[branch]]\nname = \"f/a\"\nafter = \"feature/b/centos\"\n\
             [[branch]]\nname = \"f/b\"\nafter = \"feature/c/centos\"\n\
             [[branch]]\nname = \"f/c\"\nafter = \"{after}\"\n\
             [[milestone]]\nbranch = \"f/b\"\nname = \"%Y.%m\"\nschedule = \"0 0 1 * *\"\n"
        )
    };
    let setup = |text: &str| {
        let config = ServiceConfig::from_toml(text).expect("right");
        config.expect("a service").setup(|branch| {
            let distro = "centos".parse().expect("a distro");
            Ok(("/r".into(), Channel::new(branch.release.clone(), distro)))
        })
    };
    let error = setup(&text("feature/a/centos")).expect_err("a circle");
    let error = error.to_string();
    assert!(
        error.starts_with("line 1,")
            && error.contains(
                "feature/a/centos after feature/b/centos after feature/c/centos after feature/a/centos"
            ),
        "{error}"
    );
    let own = setup("[[branch]]\nname = \"f/a\"\nafter = \"feature/a/centos\"\n");
    assert!(own.expect_err("a circle").to_string().contains("circle"));
    let error = ServiceConfig::from_toml(&text("no channel")).expect_err("no channel");
    assert!(error.to_string().starts_with("line 9,"), "{error}");

    let good = setup(&text("release/1.0/centos")).expect("a chain");
    let after = |release: &str, git: &str| {
        let target = target(release, git);
        let branch = good.branch(&target)?;
        branch.after.as_ref().map(ToString::to_string)
    };
    assert_eq!(
        after("feature/b", "f/b").as_deref(),
        Some("feature/c/centos")
    );
    assert_eq!(
        after("milestone/2020.01", "f/b").as_deref(),
        Some("feature/c/centos"),
        "a milestone is built upon what its branch is"
    );
    assert_eq!(after("release/2", "f/b"), None);
}
