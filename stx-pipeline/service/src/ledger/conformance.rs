//! The contract of ledgers, as a test suite that every implementation runs.

use chrono::{DateTime, TimeDelta, Utc};
use stx_layout::{BuildId, BuildOutcome, PhaseStatus, SourceRecord, Verdict, VerdictEntry};

use super::{
    Alarm, AlarmKind, Change, Closed, Ended, EndedVerdict, Ledger, LedgerError, MemoryLedger,
    PhaseRun, Request, RunEnd, State, VerdictEnd, VerdictOrigin, VerdictRequest,
};
use crate::trigger::{Cause, Mark, Pending, Reason, Target};

/// The time of a step.
fn at(step: u32) -> DateTime<Utc> {
    DateTime::from_timestamp(1_577_836_800, 123_000_000).expect("a time")
        + TimeDelta::seconds(i64::from(step))
}

fn target(number: u32) -> Target {
    let channel = [
        "master/centos",
        "release/2018.10/centos",
        "master/debian/bullseye/amd64",
    ];
    Target {
        channel: channel[number as usize % channel.len()]
            .parse()
            .expect("a channel"),
        git: "master".into(),
        recipe: "/srv/recipe.toml".into(),
    }
}

fn reason(step: u32) -> Reason {
    let cause = match step % 4 {
        0 => Cause::Manual {
            uid: 1000 + step,
            text: "for a \"friend\"\n".into(),
        },
        1 => Cause::Periodic {
            due: at(step),
            missed: step.is_multiple_of(2),
        },
        2 => Cause::After {
            build: format!("{}/20200101T000000Z", target(step).channel)
                .parse()
                .expect("a build"),
        },
        _ => Cause::Commit {
            heads: [(
                "https://example.org/config".to_owned(),
                format!("{step:040x}"),
            )]
            .into(),
        },
    };
    Reason {
        at: at(step),
        cause,
    }
}

fn end(step: u32, channel: u32) -> Ended {
    let how = match step % 5 {
        0 => RunEnd::Cancelled,
        1 => RunEnd::Refused {
            reason: "the disk is full".into(),
        },
        2 => RunEnd::Unchanged {
            since: format!("{}/20200101T000000Z", target(channel).channel)
                .parse()
                .expect("a build"),
            result: match step % 3 {
                0 => None,
                1 => Some(BuildOutcome::Success),
                _ => Some(BuildOutcome::Fail),
            },
            why: step.is_multiple_of(2).then(|| "docs only".into()),
        },
        odd => RunEnd::Published {
            result: if odd == 3 {
                BuildOutcome::Success
            } else {
                BuildOutcome::Fail
            },
            reason: (odd == 4).then(|| "phase compile failed".into()),
            sources: vec![SourceRecord {
                path: "cgcs-root/stx/config".into(),
                url: (step.is_multiple_of(2)).then(|| "https://example.org/config".into()),
                commit: format!("{step:040x}"),
            }],
        },
    };
    Ended { at: at(step), how }
}

fn verdict(id: u64, step: u32, pick: u32) -> VerdictRequest {
    VerdictRequest {
        id,
        at: at(step),
        build: tested(pick),
        origin: if pick.is_multiple_of(3) {
            VerdictOrigin::Lab {
                lab: "sanity".into(),
            }
        } else {
            VerdictOrigin::Asked { uid: 1000 + pick }
        },
        starts: 0,
        started: None,
        entry: (!pick.is_multiple_of(3)).then(|| entry(step, pick)),
    }
}

fn tested(pick: u32) -> BuildId {
    format!("{}/20200102T030405Z", target(pick).channel)
        .parse()
        .expect("a build")
}

fn entry(step: u32, pick: u32) -> VerdictEntry {
    VerdictEntry {
        build: tested(pick),
        at: at(step),
        verdict: Verdict::ALL[pick as usize % Verdict::ALL.len()],
        author: "ann".into(),
        reason: pick.is_multiple_of(2).then(|| "it \"hangs\" at 5 %".into()),
        url: None,
    }
}

/// One of four changes of verdicts.
fn verdict_change(state: &State, step: u32, pick: u32, which: u8) -> Change {
    let mut known = state.verdicts.keys().copied();
    let count = known.len().max(1);
    let request = known.nth(pick as usize % count).unwrap_or(0);
    let at = at(step);
    match which {
        0 => Change::VerdictFiled(verdict(state.id(0), step, pick)),
        1 => Change::TestStarted { request, at },
        2 => Change::TestEnded {
            request,
            entry: entry(step, pick),
        },
        _ => Change::VerdictEnded {
            request,
            end: EndedVerdict {
                at,
                how: verdict_end(pick),
            },
        },
    }
}

fn verdict_end(pick: u32) -> VerdictEnd {
    match pick % 4 {
        0 => VerdictEnd::Recorded { is_new: true },
        1 => VerdictEnd::Refused {
            why: "no such build".into(),
        },
        2 => VerdictEnd::NotTested {
            why: "not there".into(),
        },
        _ => VerdictEnd::Cancelled { uid: pick },
    }
}

fn phase(step: u32, pick: u32) -> PhaseRun {
    PhaseRun {
        name: format!("phase-{}", pick % 3),
        attempts: step,
        started: at(step),
        finished: pick.is_multiple_of(2).then(|| at(step + 1)),
        status: pick.is_multiple_of(2).then_some(PhaseStatus::TimedOut),
    }
}

fn closed(pick: u32) -> Closed {
    if pick.is_multiple_of(2) {
        return Closed::Cancelled { uid: pick };
    }
    let why = "no path matters".into();
    Closed::Skipped { why }
}

fn mark(step: u32, pick: u32) -> Mark {
    Mark {
        fired: Some(at(step)),
        considered: Some([("x".to_owned(), "y".to_owned())].into()),
        after: stx_layout::BuildDate::at(at(step))
            .map(|date| BuildId::new(target(step).channel, date)),
        pending: pick.is_multiple_of(2).then(|| Pending {
            heads: [("x".to_owned(), "z".to_owned())].into(),
            since: at(step),
            moved: at(step + 1),
        }),
    }
}

/// The change that a script's byte stands for at a step; most fit the state, some do not.
fn change(ledger: &dyn Ledger, step: u32, code: u8) -> Change {
    let state = ledger.state();
    let pick = u32::from(code / 20);
    let request = state
        .queue
        .keys()
        .nth(pick as usize % state.queue.len().max(1))
        .copied()
        .unwrap_or(0);
    let runs = state.runs.keys().copied();
    let run = runs.clone().nth(pick as usize % runs.len().max(1));
    let run = run.unwrap_or(0);
    let alarm = Alarm {
        kind: AlarmKind::ALL[pick as usize % AlarmKind::ALL.len()],
        subject: format!("/srv/{}", pick % 2),
    };
    match code % 20 {
        0..=2 => Change::Requested(Request {
            id: state.id(0),
            target: target(pick),
            force: pick.is_multiple_of(2),
            retry_failed: pick.is_multiple_of(3),
            reasons: vec![reason(step), reason(pick)],
            more_reasons: 0,
            unpublished: None,
        }),
        3 => Change::Joined {
            request,
            reason: reason(step),
            force: pick.is_multiple_of(2),
            retry_failed: true,
        },
        4 => Change::Closed {
            request,
            at: at(step),
            how: closed(pick),
        },
        5..=7 => Change::Started {
            run: state.id(0),
            request,
            at: at(step),
        },
        8 => Change::Named {
            run,
            build: format!("{}/20200102T030405Z", target(pick).channel)
                .parse()
                .expect("a build"),
        },
        9 => Change::Phase {
            run,
            phase: phase(step, pick),
        },
        10 => Change::Interrupted { run },
        11 => Change::Ended {
            run,
            end: end(step, pick),
        },
        12 => Change::Requeued {
            run,
            at: at(step),
            reason: "busy".into(),
            unpublished: None,
        },
        13 => Change::Marked {
            key: format!("watch-{}", pick % 2),
            mark: mark(step, pick),
        },
        14 if pick.is_multiple_of(2) => Change::Raised {
            alarm,
            at: at(step),
            text: "5% left".into(),
        },
        14 => Change::Lowered { alarm },
        15..=18 => verdict_change(state, step, pick, code % 20 - 15),
        _ if pick.is_multiple_of(2) => Change::Received {
            id: format!("message-{}", pick % 4),
        },
        _ => Change::Cleared {
            id: format!("message-{}", pick % 4),
        },
    }
}

/// Records the changes of a script in a ledger and in the reference; each byte is a change, each list a transaction. After each
/// transaction both must give the same answers, and so must the reopened ledger.
///
/// # Panics
/// When they differ.
pub(super) fn follows_the_reference<L: Ledger>(
    mut ledger: L,
    reopen: impl Fn(L) -> L,
    script: &[Vec<u8>],
) {
    let mut reference = MemoryLedger::default();
    let mut step = 0;
    for (index, codes) in script.iter().enumerate() {
        // Make each change fit the state that the changes before it leave.
        let mut ahead = reference.clone();
        let mut changes = Vec::new();
        for code in codes {
            step += 1;
            let change = change(&ahead, step, *code);
            let fits = ahead.record(std::slice::from_ref(&change)).is_ok();
            changes.push(change);
            if !fits {
                break;
            }
        }
        let expected = reference.record(&changes);
        let found = ledger.record(&changes);
        match (&expected, &found) {
            (Ok(()), Ok(())) => {}
            (
                Err(LedgerError::Refused { why, .. }),
                Err(LedgerError::Refused { why: also, .. }),
            ) => {
                assert_eq!(why, also);
            }
            _ => panic!("{changes:?}: {found:?}, and the reference: {expected:?}"),
        }
        if index.is_multiple_of(7) {
            ledger = reopen(ledger);
        }
        assert_eq!(ledger.state(), reference.state(), "after {changes:?}");
    }
    ledger = reopen(ledger);
    are_equal(&ledger, &reference);
}

/// Compares all answers of two ledgers.
///
/// # Panics
/// When they differ.
pub(super) fn are_equal(ledger: &dyn Ledger, reference: &MemoryLedger) {
    assert_eq!(ledger.state(), reference.state());
    for channel in [None, Some(target(0).channel), Some(target(1).channel)] {
        for limit in [1, 3, 1000] {
            assert_eq!(
                ledger.history(channel.as_ref(), limit).expect("a history"),
                reference
                    .history(channel.as_ref(), limit)
                    .expect("a history"),
            );
            assert_eq!(
                ledger.verdicts(channel.as_ref(), limit).expect("verdicts"),
                reference
                    .verdicts(channel.as_ref(), limit)
                    .expect("verdicts"),
            );
        }
    }
}

/// Checks each sentence of the contract on an empty ledger.
///
/// # Panics
/// When the ledger violates the contract.
pub(super) fn keeps_the_contract(ledger: &mut dyn Ledger) {
    let request = |id| {
        Change::Requested(Request {
            id,
            target: target(0),
            force: false,
            retry_failed: false,
            reasons: vec![reason(0)],
            more_reasons: 0,
            unpublished: None,
        })
    };
    let start = |run, request| Change::Started {
        run,
        request,
        at: at(1),
    };
    ledger
        .record(&[request(1), request(2)])
        .expect("two requests");
    ledger.record(&[start(3, 1)]).expect("a run");
    let before = ledger.state().clone();
    // All or nothing: the second change does not fit, so the first one must not be made.
    for refused in [
        vec![request(4), start(5, 2)],
        vec![request(4), request(4)],
        vec![request(4), start(5, 99)],
        vec![
            Change::Interrupted { run: 3 },
            Change::Interrupted { run: 9 },
        ],
        vec![request(1)],
    ] {
        let error = ledger.record(&refused).expect_err("it does not fit");
        assert!(matches!(error, LedgerError::Refused { .. }), "{error}");
        assert_eq!(*ledger.state(), before, "{refused:?}");
    }
    ledger
        .record(&[
            Change::Ended {
                run: 3,
                end: end(3, 0),
            },
            start(4, 2),
        ])
        .expect("the channel is free");
    let history = ledger.history(None, 10).expect("a history");
    let ids: Vec<_> = history.iter().map(|filed| filed.request.id).collect();
    assert_eq!(ids, [2, 1]);
    assert!(history[1].runs[0].end.is_some() && history[0].runs[0].end.is_none());
}

/// Changes that give a ledger each kind of entry, and each kind of end in its history.
pub(super) fn some_of_everything() -> Vec<Change> {
    let (mut changes, last) = some_requests();
    changes.extend(some_verdicts(last));
    for key in 0..2 {
        changes.push(Change::Marked {
            key: format!("watch-{key}"),
            mark: mark(12, key),
        });
        changes.push(Change::Received {
            id: format!("message-\"{key}\""),
        });
    }
    let mark = Mark::default();
    changes.push(Change::Marked {
        key: "new".into(),
        mark,
    });
    changes.extend(AlarmKind::ALL.map(|kind| Change::Raised {
        alarm: Alarm {
            kind,
            subject: "/srv/\"a\" b\\\u{1f}\u{7f}\u{e9}".into(),
        },
        at: at(13),
        text: "5% left".into(),
    }));
    changes
}

const STATUSES: [PhaseStatus; 5] = [
    PhaseStatus::Succeeded,
    PhaseStatus::Failed,
    PhaseStatus::TimedOut,
    PhaseStatus::Cancelled,
    PhaseStatus::Skipped,
];

/// Requests and runs, and the highest of their numbers.
fn some_requests() -> (Vec<Change>, u64) {
    let mut changes = Vec::new();
    let mut last = 0;
    let requested = |changes: &mut Vec<Change>, id, channel| {
        changes.push(Change::Requested(Request {
            id,
            target: target(channel),
            force: id.is_multiple_of(2),
            retry_failed: id.is_multiple_of(3),
            reasons: (0..4).map(reason).collect(),
            more_reasons: id / 4,
            unpublished: None,
        }));
    };
    let started = |changes: &mut Vec<Change>, run, request| {
        changes.push(Change::Started {
            run,
            request,
            at: at(5),
        });
    };
    let requeued = |changes: &mut Vec<Change>, run| {
        let reason = "busy".to_owned();
        changes.push(Change::Requeued {
            run,
            at: at(6),
            reason,
            unpublished: None,
        });
    };
    // Ended runs; none of the third channel was published.
    for (step, channel) in [
        (0, 0),
        (1, 2),
        (2, 0),
        (3, 0),
        (4, 1),
        (7, 1),
        (12, 2),
        (8, 1),
    ] {
        requested(&mut changes, last + 1, channel);
        changes.push(Change::Joined {
            request: last + 1,
            reason: reason(5),
            force: step == 0,
            retry_failed: false,
        });
        started(&mut changes, last + 2, last + 1);
        if channel < 2 {
            changes.push(Change::Named {
                run: last + 2,
                build: tested(channel),
            });
        }
        changes.push(Change::Ended {
            run: last + 2,
            end: end(step, channel),
        });
        last += 2;
    }
    // Requests that are closed and requests that wait, each without a run and after one.
    for (pick, runs) in [(0, 0), (1, 0), (0, 2), (5, 0), (5, 1)] {
        let request = last + 1;
        requested(&mut changes, request, 0);
        last += 1;
        for _ in 0..runs {
            last += 1;
            started(&mut changes, last, request);
            requeued(&mut changes, last);
        }
        if pick < 5 {
            changes.push(Change::Closed {
                request,
                at: at(7),
                how: closed(pick),
            });
        }
    }
    // Two running runs.
    requested(&mut changes, last + 1, 0);
    started(&mut changes, last + 2, last + 1);
    requeued(&mut changes, last + 2);
    started(&mut changes, last + 3, last + 1);
    let run = last + 3;
    let build = tested(0);
    changes.push(Change::Named { run, build });
    changes.extend(STATUSES.map(|status| Change::Phase {
        run,
        phase: PhaseRun {
            name: format!("is {status:?}"),
            status: Some(status),
            ..phase(8, 0)
        },
    }));
    changes.push(Change::Phase {
        run,
        phase: phase(9, 1),
    });
    changes.push(Change::Interrupted { run });
    requested(&mut changes, last + 4, 1);
    started(&mut changes, last + 5, last + 4);
    last += 5;
    (changes, last)
}

/// Verdicts with numbers after `last`: four that wait or are tested, and four that ended.
fn some_verdicts(mut last: u64) -> Vec<Change> {
    let mut changes = Vec::new();
    for number in 0..8 {
        last += 1;
        changes.push(Change::VerdictFiled(verdict(last, 9, number)));
        let request = last;
        let at = at(10);
        match number {
            0 => changes.push(Change::TestStarted { request, at }),
            3 => {
                changes.push(Change::TestStarted { request, at });
                let entry = entry(11, number);
                changes.push(Change::TestEnded { request, entry });
            }
            4.. => changes.push(Change::VerdictEnded {
                request,
                end: EndedVerdict {
                    at,
                    how: verdict_end(number),
                },
            }),
            _ => {}
        }
    }
    changes
}
