use proptest::prelude::*;
use stx_layout::{BuildOutcome, PhaseStatus};

use super::stats::stats;
use super::*;

#[test]
fn memory_keeps_the_contract() {
    conformance::keeps_the_contract(&mut MemoryLedger::default());
}

#[test]
fn durations_have_a_median_and_a_trend() {
    let time = |seconds: i64| DateTime::from_timestamp(1_577_836_800 + seconds, 0).unwrap();
    let build = |number: i64, seconds: i64, status| Filed {
        request: Request {
            id: number.cast_unsigned() * 2,
            target: Target {
                channel: "master/centos".parse().unwrap(),
                git: "master".into(),
                recipe: "/r".into(),
            },
            force: false,
            retry_failed: false,
            reasons: Vec::new(),
            more_reasons: 0,
            unpublished: None,
        },
        closed: None,
        runs: vec![RunRow {
            id: number.cast_unsigned() * 2 + 1,
            started: time(number * 1000),
            build: Some(
                format!("master/centos/2020010{}T000000Z", number + 1)
                    .parse()
                    .unwrap(),
            ),
            interruptions: 0,
            phases: vec![PhaseRun {
                name: "compile".into(),
                attempts: 1,
                started: time(number * 1000),
                finished: Some(time(number * 1000 + seconds)),
                status: Some(status),
            }],
            end: Some(Ended {
                at: time(number * 1000 + seconds + 5),
                how: RunEnd::Published {
                    result: BuildOutcome::Success,
                    reason: None,
                    sources: Vec::new(),
                },
            }),
        }],
    };
    let good = PhaseStatus::Succeeded;
    let history = [
        build(4, 150, good),
        build(3, 100, PhaseStatus::Failed),
        build(2, 100, good),
        build(1, 100, good),
        build(0, 999, good),
    ];
    let stats = stats(&history, 4);
    assert_eq!(
        stats.builds[0].to_string(),
        "master/centos/20200102T000000Z"
    );
    let compile = &stats.series[1];
    assert_eq!(compile.seconds, [Some(100), Some(100), None, Some(150)]);
    assert_eq!(
        (compile.median, compile.trend_percent),
        (Some(100), Some(50))
    );
    assert_eq!(stats.series[0].seconds[0], Some(105));
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use super::*;

    #[test]
    fn keeps_the_contract() {
        let dir = camino_tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        conformance::keeps_the_contract(&mut SqliteLedger::open(&file).unwrap());
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let dir = camino_tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        drop(SqliteLedger::open(&file).unwrap());
        let newer = SqliteLedger::SCHEMA + 1;
        rusqlite::Connection::open(&file)
            .unwrap()
            .pragma_update(None, "user_version", newer)
            .unwrap();
        for error in [SqliteLedger::open(&file), SqliteLedger::read(&file)].map(Result::unwrap_err)
        {
            assert!(
                matches!(error, LedgerError::TooNew { found, .. } if found == newer),
                "{error}"
            );
            assert!(error.to_string().contains("newer stx-builds"), "{error}");
        }
        let version: u32 = rusqlite::Connection::open(&file)
            .unwrap()
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(version, newer);
    }

    #[test]
    fn a_ledger_of_the_first_version_is_migrated() {
        let dir = camino_tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        let db = rusqlite::Connection::open(&file).unwrap();
        db.execute_batch(include_str!("schema-1.sql")).unwrap();
        db.pragma_update(None, "user_version", 1).unwrap();
        db.execute_batch(
            "INSERT INTO requests VALUES (1, 'master/centos', 'master', '/r', 0, 0, 'waiting', NULL, NULL);
             INSERT INTO reasons VALUES (1, 0, '2020-01-01T00:00:00Z', 'manual', 7,
                 '{\"at\":\"2020-01-01T00:00:00Z\",\"cause\":\"manual\",\"uid\":7,\"text\":\"x\"}');",
        )
        .unwrap();
        drop(db);
        let refused = SqliteLedger::read(&file).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("restart the service, which upgrades it")
        );
        let ledger = SqliteLedger::open(&file).unwrap();
        let request = &ledger.state().queue[&1];
        assert_eq!((request.reasons.len(), request.more_reasons), (1, 0));
        assert!(request.is_of(7) && !request.is_of(8));
        drop(ledger);
        assert!(SqliteLedger::read(&file).is_ok());
    }

    #[test]
    fn a_full_ledger_takes_the_same_change_later() {
        let dir = camino_tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        let mut ledger = SqliteLedger::open(&file).unwrap();
        ledger.limit_pages(1);
        let long = |id: u32| Change::Received {
            id: format!("{id}{}", "x".repeat(8000)),
        };
        let mut full = None;
        for id in 0..100 {
            if let Err(error) = ledger.record(&[long(id)]) {
                full = Some((id, error));
                break;
            }
        }
        let (id, error) = full.expect("no room");
        assert!(matches!(error, LedgerError::Unavailable { .. }), "{error}");
        assert_eq!(ledger.state().messages.len(), id as usize);
        ledger.limit_pages(1_000_000);
        ledger.record(&[long(id)]).unwrap();
        assert_eq!(ledger.state().messages.len(), id as usize + 1);
        drop(ledger);
        let read = SqliteLedger::read(&file).unwrap();
        assert_eq!(read.state().messages.len(), id as usize + 1);
    }

    #[test]
    fn a_reader_sees_what_was_recorded_and_cannot_write() {
        let dir = camino_tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        assert!(SqliteLedger::read(&file).is_err(), "there is none yet");
        let mut writer = SqliteLedger::open(&file).unwrap();
        let change = Change::Received { id: "a".into() };
        writer.record(std::slice::from_ref(&change)).unwrap();
        let mut reader = SqliteLedger::read(&file).unwrap();
        assert_eq!(reader.state(), writer.state());
        assert!(matches!(
            reader.record(&[Change::Cleared { id: "a".into() }]),
            Err(LedgerError::Unavailable { .. })
        ));
    }

    #[test]
    fn a_file_that_is_not_a_ledger_is_an_error() {
        let dir = camino_tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        #[expect(clippy::disallowed_methods, reason = "the test damages a file")]
        std::fs::write(
            &file,
            "no database, but long enough to be looked at".repeat(100),
        )
        .unwrap();
        assert!(matches!(
            SqliteLedger::open(&file),
            Err(LedgerError::Io { .. })
        ));
    }

    /// A ledger of one request that runs, one that waits and one that is closed, and a published build.
    fn written(file: &camino::Utf8Path) {
        let at = DateTime::from_timestamp(1_577_836_800, 0).unwrap();
        let request = |id, channel: &str| {
            Change::Requested(Request {
                id,
                target: Target {
                    channel: channel.parse().unwrap(),
                    git: "master".into(),
                    recipe: "/r".into(),
                },
                force: false,
                retry_failed: false,
                reasons: vec![Reason {
                    at,
                    cause: Cause::Manual {
                        uid: 1000,
                        text: String::new(),
                    },
                }],
                more_reasons: 0,
                unpublished: None,
            })
        };
        let started = |run, request| Change::Started { run, request, at };
        let phase = |name: &str| Change::Phase {
            run: 6,
            phase: PhaseRun {
                name: name.into(),
                attempts: 1,
                started: at,
                finished: None,
                status: None,
            },
        };
        let published = RunEnd::Published {
            result: BuildOutcome::Success,
            reason: None,
            sources: vec![SourceRecord {
                path: "a".into(),
                url: None,
                commit: "1".into(),
            }],
        };
        let changes = [
            request(1, "master/centos"),
            request(2, "master/debian"),
            request(3, "release/4.0/centos"),
            started(4, 1),
            Change::Ended {
                run: 4,
                end: Ended { at, how: published },
            },
            request(5, "master/centos"),
            started(6, 5),
            phase("sync"),
            phase("build"),
            Change::Closed {
                request: 3,
                at,
                how: Closed::Cancelled { uid: 1000 },
            },
        ];
        SqliteLedger::open(file).unwrap().record(&changes).unwrap();
    }

    /// Damages the file without the checks of the schema.
    fn damage(file: &camino::Utf8Path, statements: &str) {
        let db = rusqlite::Connection::open(file).unwrap();
        db.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF")
            .unwrap();
        assert!(db.execute(statements, []).unwrap() > 0, "{statements}");
    }

    #[test]
    fn a_damaged_ledger_is_refused_and_never_read_in_part() {
        for (statement, told) in [
            (
                "UPDATE state SET part = 'waiting' WHERE part = 'queue'",
                "CHECK",
            ),
            (
                "UPDATE state SET value = json_set(value, '$.reasons', json('[]')) WHERE part = 'queue'",
                "queue \"2\" cannot be read: it has no request",
            ),
            (
                "UPDATE state SET value = json_remove(value, '$.reasons') WHERE part = 'queue'",
                "queue \"2\" cannot be read: missing field `reasons`",
            ),
            (
                "UPDATE state SET key = '02' WHERE part = 'queue'",
                "that of another one",
            ),
            (
                "UPDATE state SET key = '1' WHERE part = 'queue'",
                "queue \"1\" cannot be read: its number",
            ),
            (
                "UPDATE state SET value = json_set(value, '$.channel', 'rc') WHERE part = 'queue'",
                "queue \"2\" cannot be read",
            ),
            (
                "UPDATE state SET value = substr(value, 9) WHERE part = 'runs'",
                "runs \"6\" cannot be read",
            ),
            (
                "UPDATE state SET value = json_set(value, '$.end', json('{\"at\":\"2020-01-01T00:00:00Z\",\"outcome\":\"cancelled\"}'))
                 WHERE part = 'runs'",
                "it has ended",
            ),
            (
                "INSERT INTO state SELECT part, '4', json_set(value, '$.id', 4) FROM state WHERE part = 'runs'",
                "another run of its channel",
            ),
            (
                "INSERT INTO state SELECT 'queue', '5', value ->> 'request' FROM state WHERE part = 'runs'",
                "its request waits",
            ),
            ("DELETE FROM state WHERE part = 'last_id'", "6 is in use"),
            (
                "UPDATE state SET key = 'rc' WHERE part = 'last'",
                "last \"rc\" cannot be read",
            ),
            (
                "INSERT INTO state VALUES ('alarms', '{ \"kind\":\"stale\",\"subject\":\"x\"}', '[\"2020-01-01T00:00:00Z\",\"x\"]')",
                "that of another one",
            ),
            (
                "INSERT INTO state VALUES ('verdicts', '3', '{\"id\":3,\"build\":\"master/centos/20200101T000000Z\",
                 \"at\":\"2020-01-01T00:00:00Z\",\"origin\":\"asked\",\"uid\":7}')",
                "it has no verdict",
            ),
        ] {
            let dir = camino_tempfile::tempdir().unwrap();
            let file = dir.path().join("ledger.sqlite");
            written(&file);
            damage(&file, statement);
            for opened in [SqliteLedger::open(&file), SqliteLedger::read(&file)] {
                let error = opened.expect_err(statement);
                assert!(
                    matches!(error, LedgerError::Damaged { .. }),
                    "{statement}: {error}"
                );
                assert!(error.to_string().contains(told), "{statement}: {error}");
            }
        }
    }

    #[test]
    fn a_damaged_request_is_not_silently_left_out_of_the_history() {
        for (statement, told) in [
            (
                "UPDATE history SET value = json_set(value, '$.closed', 1) WHERE id = 3",
                "request 3 of the history",
            ),
            (
                "UPDATE history SET value = json_remove(value, '$.runs') WHERE id = 3",
                "missing field `runs`",
            ),
            (
                "UPDATE history SET channel = 'master/debian' WHERE id = 3",
                "that of another one",
            ),
            (
                "UPDATE history SET id = 4 WHERE id = 3",
                "request 4 of the history",
            ),
        ] {
            let dir = camino_tempfile::tempdir().unwrap();
            let file = dir.path().join("ledger.sqlite");
            written(&file);
            damage(&file, statement);
            let ledger = SqliteLedger::read(&file).unwrap();
            let error = ledger.history(None, 10).expect_err(statement);
            assert!(matches!(error, LedgerError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    /// A ledger of [`conformance::some_of_everything`] as version 3 wrote it.
    fn of_version_3(file: &camino::Utf8Path) -> rusqlite::Connection {
        let db = rusqlite::Connection::open(file).unwrap();
        for statements in [
            include_str!("schema-1.sql"),
            include_str!("schema-2.sql"),
            include_str!("schema-3.sql"),
            include_str!("version-3.sql"),
        ] {
            db.execute_batch(statements).unwrap();
        }
        db.pragma_update(None, "user_version", 3).unwrap();
        db
    }

    #[test]
    fn a_ledger_of_the_third_version_is_migrated_completely() {
        let dir = camino_tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        drop(of_version_3(&file));
        let mut reference = MemoryLedger::default();
        reference
            .record(&conformance::some_of_everything())
            .unwrap();
        let mut ledger = SqliteLedger::open(&file).unwrap();
        conformance::are_equal(&ledger, &reference);
        let request = *ledger.state().queue.keys().next().unwrap();
        let (at, how) = (DateTime::UNIX_EPOCH, Closed::Cancelled { uid: 7 });
        let change = [Change::Closed { request, at, how }];
        ledger.record(&change).unwrap();
        reference.record(&change).unwrap();
        drop(ledger);
        conformance::are_equal(&SqliteLedger::read(&file).unwrap(), &reference);
    }

    /// Statements that damage a ledger of version 3, and a part of the resulting error.
    const DAMAGE_3: &[(&str, &str)] = &[
        (
            "UPDATE requests SET state = 'waitinh' WHERE id = 22",
            "CHECK",
        ),
        (
            "DELETE FROM reasons WHERE request = 22",
            "it has no request",
        ),
        ("DELETE FROM reasons WHERE request = 1", "it has no request"),
        (
            "UPDATE reasons SET number = 7 WHERE request = 22 AND number = 1",
            "request 22 cannot be read: one of its reasons is missing",
        ),
        (
            "DELETE FROM reasons WHERE request = 22 AND number = 0",
            "request 22",
        ),
        (
            "DELETE FROM requests WHERE id = 1",
            "belongs to none of requests",
        ),
        (
            "UPDATE requests SET state = 'waiting' WHERE id = 25",
            "is not taken",
        ),
        (
            "UPDATE requests SET channel = 'rc' WHERE id = 22",
            "channel",
        ),
        (
            "UPDATE runs SET ended = NULL WHERE id = 4",
            "run 4 cannot be read: only one of the columns ended and detail",
        ),
        (
            "UPDATE runs SET detail = NULL WHERE id = 4",
            "ended and detail",
        ),
        (
            "UPDATE runs SET ended = NULL, detail = NULL WHERE id = 2",
            "has not either",
        ),
        ("UPDATE runs SET detail = '{' WHERE id = 4", "end of run 4"),
        ("UPDATE phases SET number = 9 WHERE number = 1", "run 27"),
        ("DELETE FROM phases WHERE number = 0", "run 27"),
        ("DELETE FROM channels", "it has sources and no row"),
        (
            "UPDATE built SET number = 1",
            "one of its sources is missing",
        ),
        (
            "UPDATE requests SET closed = NULL WHERE id = 18",
            "request 18",
        ),
        (
            "UPDATE requests SET closed_at = NULL WHERE id = 18",
            "request 18",
        ),
        (
            "UPDATE requests SET closed_at = '2020-01-01T00:00:00Z' WHERE id = 22",
            "request 22",
        ),
        (
            "UPDATE marks SET mark = '{' WHERE key = 'new'",
            "marks \"new\"",
        ),
        (
            "UPDATE verdicts SET channel = 'master' WHERE id = 30",
            "verdict 30",
        ),
        (
            "UPDATE verdicts SET ended = NULL WHERE id = 34",
            "verdict 34",
        ),
        (
            "UPDATE verdicts SET detail = '{' WHERE id = 34",
            "verdict 34",
        ),
        (
            "UPDATE alarms SET kind = 'unknown' WHERE kind = 'stale'",
            "alarms",
        ),
    ];

    #[test]
    fn a_damaged_ledger_of_the_third_version_is_refused_and_left_alone() {
        for (statement, told) in DAMAGE_3 {
            let dir = camino_tempfile::tempdir().unwrap();
            let file = dir.path().join("ledger.sqlite");
            drop(of_version_3(&file));
            damage(&file, statement);
            for _ in 0..2 {
                let error = SqliteLedger::open(&file).expect_err(statement);
                assert!(
                    matches!(error, LedgerError::Damaged { .. }),
                    "{statement}: {error}"
                );
                assert!(error.to_string().contains(told), "{statement}: {error}");
            }
            let db = rusqlite::Connection::open(&file).unwrap();
            let version: u32 = db
                .pragma_query_value(None, "user_version", |row| row.get(0))
                .unwrap();
            assert_eq!(version, 3);
        }
    }

    /// The JSON of each type in the file. A change needs a new version of the schema, or a default.
    #[test]
    fn the_form_of_the_rows_is_unchanged() {
        let dir = camino_tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        let mut ledger = SqliteLedger::open(&file).unwrap();
        ledger.record(&conformance::some_of_everything()).unwrap();
        let db = rusqlite::Connection::open(&file).unwrap();
        let mut lines = Vec::new();
        for query in [
            "SELECT part || ' ' || key, value FROM state ORDER BY part, key",
            "SELECT concat(id, ' ', kind, ' ', channel), value FROM history ORDER BY id",
        ] {
            let mut rows = db.prepare(query).unwrap();
            let rows = rows.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            });
            for row in rows.unwrap() {
                let (key, value) = row.unwrap();
                lines.extend([key, format!("    {value}")]);
            }
        }
        insta::assert_snapshot!(lines.join("\n"));
    }

    /// Damages or removes pages of the file instead of rows.
    #[test]
    fn a_ledger_with_a_damaged_page_is_read_completely_or_refused() {
        let dir = camino_tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        written(&file);
        let db = rusqlite::Connection::open(&file).unwrap();
        db.pragma_update(None, "journal_mode", "DELETE").unwrap();
        drop(db);
        let whole = SqliteLedger::read(&file).unwrap().state().clone();
        #[expect(clippy::disallowed_methods, reason = "the test damages a file")]
        let bytes = std::fs::read(&file).unwrap();
        let mut refused = 0;
        for page in 1..bytes.len() / 4096 {
            for fill in [0, 0xff] {
                let mut damaged = bytes.clone();
                damaged[page * 4096..][..4096].fill(fill);
                #[expect(clippy::disallowed_methods, reason = "the test damages a file")]
                std::fs::write(&file, damaged).unwrap();
                match SqliteLedger::read(&file) {
                    Ok(ledger) => assert_eq!(*ledger.state(), whole, "page {page}"),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 6, "{refused}");
    }

    #[test]
    fn the_count_of_interruptions_does_not_overflow() {
        let dir = camino_tempfile::tempdir().unwrap();
        let file = dir.path().join("ledger.sqlite");
        written(&file);
        damage(
            &file,
            "UPDATE state SET value = json_set(value, '$.interruptions', 4294967295) WHERE part = 'runs'",
        );
        let mut ledger = SqliteLedger::open(&file).unwrap();
        ledger.record(&[Change::Interrupted { run: 6 }]).unwrap();
        assert_eq!(SqliteLedger::read(&file).unwrap().state(), ledger.state());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn follows_the_reference(script in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..6), 1..60)) {
            let dir = camino_tempfile::tempdir().unwrap();
            let file = dir.path().join("ledger.sqlite");
            let open = || SqliteLedger::open(&file).unwrap();
            conformance::follows_the_reference(open(), |old| { drop(old); open() }, &script);
        }
    }
}
