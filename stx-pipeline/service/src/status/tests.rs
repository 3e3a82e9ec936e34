use super::*;
use crate::ledger::RunEnd;
use crate::ledger::{Change, MemoryLedger};
use crate::trigger::{Cause, Reason, Target};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_577_836_800 + second, 0).expect("a time")
}

fn channel(text: &str) -> Channel {
    let (release, distro) = text.rsplit_once('/').expect("a channel");
    Channel::new(
        release.parse().expect("a release"),
        distro.parse().expect("a distro"),
    )
}

fn setup() -> Setup {
    let toml = "[service]\n[[branch]]\nname = \"master\"\nschedule = \"0 6 * * *\"\n";
    let config = crate::ServiceConfig::from_toml(toml).expect("good");
    let config = config.expect("a service");
    let resolve = |branch: &crate::BranchConfig| {
        Ok((
            "/recipe.toml".into(),
            Channel::new(branch.release.clone(), "centos".parse().expect("a distro")),
        ))
    };
    config.setup(resolve).expect("a setup")
}

fn request(id: u64) -> Request {
    Request {
        id,
        target: Target {
            channel: channel("master/centos"),
            git: "master".to_owned(),
            recipe: "/recipe.toml".into(),
        },
        force: false,
        retry_failed: false,
        reasons: vec![Reason {
            at: at(0),
            cause: Cause::Manual {
                uid: 7,
                text: "please".to_owned(),
            },
        }],
        more_reasons: 0,
        unpublished: None,
    }
}

fn phase(name: &str, started: i64, finished: Option<i64>, status: Option<PhaseStatus>) -> PhaseRun {
    PhaseRun {
        name: name.to_owned(),
        attempts: 1,
        started: at(started),
        finished: finished.map(at),
        status,
    }
}

/// A request that was built in `seconds`; its compile phase failed if `fails`.
fn built(ledger: &mut MemoryLedger, from: i64, seconds: i64, fails: bool) -> u64 {
    let id = ledger.state().id(0);
    let run = id + 1;
    let build: BuildId = format!("master/centos/{}", at(from).format("%Y%m%dT%H%M%SZ"))
        .parse()
        .expect("a build");
    let status = if fails {
        PhaseStatus::Failed
    } else {
        PhaseStatus::Succeeded
    };
    let result = if fails {
        stx_layout::BuildOutcome::Fail
    } else {
        stx_layout::BuildOutcome::Success
    };
    let how = RunEnd::Published {
        result,
        reason: fails.then(|| "phase compile failed".to_owned()),
        sources: vec![stx_layout::SourceRecord {
            path: "config".into(),
            url: None,
            commit: "1".repeat(40),
        }],
    };
    let end = crate::ledger::Ended {
        at: at(from + seconds),
        how,
    };
    let changes = [
        Change::Requested(request(id)),
        Change::Started {
            run,
            request: id,
            at: at(from),
        },
        Change::Named { run, build },
        Change::Phase {
            run,
            phase: phase("compile", from, Some(from + seconds - 1), Some(status)),
        },
        Change::Ended { run, end },
    ];
    ledger.record(&changes).expect("recorded");
    id
}

fn status(ledger: &MemoryLedger, now: i64) -> (Status, PastBuilds) {
    let (setup, facts) = (setup(), Facts::default());
    let past = PastBuilds::new(ledger, &setup).expect("a past");
    let pulse = Pulse {
        ledger,
        alarms: &ledger.state().alarms,
        setup: &setup,
        facts: &facts,
        answers: &[],
        started: at(0),
        stopping: false,
        changes: 0,
        ended: 0,
    };
    (Status::new(&pulse, &past, at(now)), past)
}

#[test]
fn a_status_document_round_trips_and_is_valid_until_its_end() {
    let mut ledger = MemoryLedger::default();
    built(&mut ledger, 100, 50, true);
    ledger
        .record(&[
            Change::Requested(request(3)),
            Change::Raised {
                alarm: Alarm {
                    kind: crate::ledger::AlarmKind::Stale,
                    subject: "master/centos".to_owned(),
                },
                at: at(5),
                text: "old".to_owned(),
            },
        ])
        .expect("recorded");
    let (status, _) = status(&ledger, 200);
    let text = serde_json::to_vec(&status).expect("JSON");
    let read = |seconds: i64| Status::read(&text, at(200 + seconds)).expect("read");
    assert_eq!(read(30), Read::Fresh(Box::new(status.clone())));
    assert_eq!(read(31), Read::Stale(Box::new(status.clone())));
    assert_eq!(
        read(-31),
        Read::Stale(Box::new(status.clone())),
        "a wrong clock"
    );
    assert_eq!(
        status.entries[0].next,
        Some("2020-01-01T06:00:00Z".parse().expect("a time"))
    );
    assert!(status.alarms[0].remedy.contains("history master/centos"));
    let newer = br#"{"form": 2, "queue": "unknown"}"#;
    let refused = Status::read(newer, at(0)).expect_err("a later form");
    assert!(matches!(refused, StatusError::TooNew { found: 2 }));
    assert!(matches!(
        Status::read(b"{}", at(0)),
        Err(StatusError::Malformed(_))
    ));
}

#[test]
fn the_history_has_the_last_requests_of_a_channel_without_commits() {
    let mut ledger = MemoryLedger::default();
    let ids: Vec<_> = (0..25)
        .map(|number| built(&mut ledger, number * 100, 50, number == 24))
        .collect();
    let (status, _) = status(&ledger, 9000);
    let shown: Vec<_> = status
        .history
        .iter()
        .map(|it| it.filed.request.id)
        .collect();
    let newest: Vec<_> = ids.into_iter().rev().take(20).collect();
    assert_eq!(shown, newest);
    let failing = status.history.iter().map(|it| it.failing.as_ref());
    let failing: Vec<_> = failing.map(|it| it.map(|it| it.phase.as_str())).collect();
    assert_eq!(failing[..2], [Some("compile"), None]);
    let text = serde_json::to_string(&status).expect("JSON");
    assert!(!text.contains("1111"), "{text}");
}

#[test]
fn running_phases_are_listed_in_the_order_of_the_plan() {
    let mut ledger = MemoryLedger::default();
    for number in 0..3 {
        built(&mut ledger, number * 1000, 100 + number, false);
    }
    let id = ledger.state().id(0);
    let run = id + 1;
    ledger
        .record(&[
            Change::Requested(request(id)),
            Change::Started {
                run,
                request: id,
                at: at(5000),
            },
            Change::Phase {
                run,
                phase: phase("compile", 5002, None, None),
            },
            Change::Phase {
                run,
                phase: phase("sync", 5000, Some(5001), Some(PhaseStatus::Succeeded)),
            },
        ])
        .expect("recorded");
    let (mut status, past) = status(&ledger, 5003);
    let running = &mut status.running[0];
    past.plan(running, &["sync".into(), "compile".into(), "image".into()]);
    let phases = running.phases.iter();
    let phases: Vec<_> = phases
        .map(|phase| (phase.name.as_str(), phase.state, phase.past_seconds))
        .collect();
    assert_eq!(
        phases,
        [
            ("sync", PhaseState::Succeeded, None),
            ("compile", PhaseState::Running, Some(100)),
            ("image", PhaseState::Waiting, None),
        ]
    );
    assert_eq!(running.past_seconds, Some(101));
    assert!(matches!(status.find(id), Some(Found::Running(_))));
    assert!(matches!(status.find(1), Some(Found::Ended(_))));
    assert!(status.find(99).is_none());
}

/// The steps that a look returns, in words.
fn steps(follow: &mut Follow, ledger: &MemoryLedger) -> Vec<String> {
    let steps = follow.look(&status(ledger, 9000).0).into_iter();
    let words = steps.map(|step| match step {
        Step::Waiting { ahead } => format!("waiting {ahead}"),
        Step::Unpublished { reason } => reason,
        Step::Started { run } => format!("run {run}"),
        Step::Named(build) => build.date.to_string(),
        Step::Phase(phase) => format!("{} {}", phase.name, phase.state.as_str()),
        Step::Over(past) => format!("{:?}", past.outcome()),
        Step::Gone => "gone".to_owned(),
    });
    words.collect()
}

#[test]
fn each_step_of_a_request_is_shown_once() {
    let mut ledger = MemoryLedger::default();
    let mut other = request(1);
    other.target.channel = channel("release/2018.10/centos");
    let requested = [Change::Requested(other), Change::Requested(request(2))];
    ledger.record(&requested).expect("recorded");
    let mut follow = Follow::new(2);
    assert_eq!(steps(&mut follow, &ledger), ["waiting 1"]);
    assert_eq!(steps(&mut follow, &ledger), [""; 0]);
    let started = |run| Change::Started {
        run,
        request: 2,
        at: at(10),
    };
    let over = |run| Change::Phase {
        run,
        phase: phase("sync", 10, Some(11), Some(PhaseStatus::Succeeded)),
    };
    let runs = Change::Phase {
        run: 3,
        phase: phase("sync", 10, None, None),
    };
    ledger.record(&[started(3), runs]).expect("recorded");
    assert_eq!(steps(&mut follow, &ledger), ["run 3", "sync running"]);
    ledger.record(&[over(3)]).expect("recorded");
    assert_eq!(steps(&mut follow, &ledger), ["sync succeeded"]);
    assert_eq!(steps(&mut follow, &ledger), [""; 0]);
    // The run requeues the request, and another run takes it.
    let requeued = Change::Requeued {
        run: 3,
        at: at(12),
        reason: "busy".to_owned(),
        unpublished: None,
    };
    ledger.record(&[requeued]).expect("recorded");
    assert_eq!(steps(&mut follow, &ledger), ["waiting 1"]);
    let build: BuildId = "master/centos/20200101T000020Z".parse().expect("a build");
    let changes = [
        started(4),
        Change::Named { run: 4, build },
        over(4),
        Change::Ended {
            run: 4,
            end: crate::ledger::Ended {
                at: at(30),
                how: RunEnd::Refused {
                    reason: "no room".to_owned(),
                },
            },
        },
    ];
    ledger.record(&changes).expect("recorded");
    // The second run started and ended between two documents, and has phases of its own.
    let second = [
        "run 4",
        "20200101T000020Z",
        "sync succeeded",
        "NotPublished",
    ];
    assert_eq!(steps(&mut follow, &ledger), second);
    assert_eq!(steps(&mut Follow::new(2), &ledger), second);
    assert_eq!(steps(&mut Follow::new(77), &ledger), ["gone"]);
}

#[test]
fn a_request_without_an_answer_is_found_by_its_requester() {
    let mut ledger = MemoryLedger::default();
    built(&mut ledger, 100, 50, false);
    let id = ledger.state().id(0);
    let requested = Change::Requested(request(id));
    ledger.record(&[requested]).expect("recorded");
    let (status, _) = status(&ledger, 200);
    let asked = |user, git, text, since| status.asked_by(user, git, text, at(since));
    assert_eq!(asked(7, "master", "please", 0), Some(1));
    assert_eq!(asked(8, "master", "please", 0), None);
    assert_eq!(asked(7, "main", "please", 0), None);
    assert_eq!(asked(7, "master", "", 0), None);
    assert_eq!(asked(7, "master", "please", 1), None, "an older request");
}
