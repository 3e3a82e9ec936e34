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
            Err(LedgerError::Io { .. })
        ));
    }

    #[test]
    fn a_file_that_is_no_ledger_is_an_error() {
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
