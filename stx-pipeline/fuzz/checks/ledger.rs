//! Inserts any rows into the tables of a ledger of version 3, and into those of the current version. The ledger is upgraded and
//! opened with all of the rows, or refused with an error, but never opened with only some. An opened ledger shows its rows in
//! its history, also after a change, and is the same when it is opened again.
//!
//! Each line is a row: the table and the columns in order, separated by tabs; `~` is NULL. Rows that the types of the columns
//! forbid are skipped; rows that only the checks and references of the schema forbid are not.

use chrono::{DateTime, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use stx_service::Facts;
use stx_service::ledger::stats::stats;
use stx_service::ledger::{Change, Ledger as _, SqliteLedger};
use stx_service::metrics::{Prunes, Totals, metrics};

/// A database in memory that several connections share.
const DATABASE: &str = "file:/ledger?vfs=memdb";

/// The tables of version 3.
const OLD: [&str; 10] = [
    "requests", "reasons", "runs", "phases", "marks", "channels", "built", "alarms", "messages",
    "verdicts",
];
/// The tables of the current version.
const TABLES: [&str; 2] = ["state", "history"];

/// Reads `bytes`, if they are text, as rows.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let db = Connection::open(DATABASE).expect("a database in memory");
    for (name, value) in [("ignore_check_constraints", "ON"), ("foreign_keys", "OFF")] {
        db.pragma_update(None, name, value).expect("a setting");
    }
    for statements in [
        include_str!("../../service/src/ledger/schema-1.sql"),
        include_str!("../../service/src/ledger/schema-2.sql"),
        include_str!("../../service/src/ledger/schema-3.sql"),
        "PRAGMA user_version = 3",
    ] {
        db.execute_batch(statements).expect("a ledger of version 3");
    }
    if moved(&db, text) {
        opened(&db, text);
    }
}

fn count(db: &Connection, query: &str) -> usize {
    db.query_row(&format!("SELECT count(*) FROM {query}"), [], |row| {
        row.get(0)
    })
    .expect("a number")
}

/// Upgrades rows of version 3; false if they are refused.
fn moved(db: &Connection, text: &str) -> bool {
    for line in text.lines().take(200) {
        insert(db, &OLD, line);
    }
    let count = |query| count(db, query);
    let (waiting, running) = (
        count("requests WHERE state = 'waiting'"),
        count("runs WHERE ended IS NULL"),
    );
    let [marks, channels, alarms, messages] =
        ["marks", "channels", "alarms", "messages"].map(count);
    let [verdicts, open_verdicts] = ["verdicts", "verdicts WHERE ended IS NULL"].map(count);
    let [requests, reasons, runs, phases] = ["requests", "reasons", "runs", "phases"].map(count);
    let (built, closed) = (count("built"), count("requests WHERE state = 'closed'"));
    let Ok(ledger) = SqliteLedger::open(DATABASE.into()) else {
        let version = db.pragma_query_value(None, "user_version", |row| row.get(0));
        assert_eq!(version, Ok(3), "what is refused is left alone");
        return false;
    };
    let state = ledger.state();
    assert_eq!(state.queue.len(), waiting);
    assert_eq!(state.runs.len(), running);
    assert_eq!(state.marks.len(), marks);
    assert_eq!(state.last.len(), channels);
    assert_eq!(state.alarms.len(), alarms);
    assert_eq!(state.messages.len(), messages);
    assert_eq!(state.verdicts.len(), open_verdicts);
    let sources: usize = state.last.values().map(|last| last.sources.len()).sum();
    assert_eq!(sources, built);
    let filed = ledger.verdicts(None, usize::MAX).expect("verdicts");
    assert_eq!(filed.len(), verdicts);
    let history = ledger.history(None, usize::MAX).expect("a history");
    assert_eq!(history.len(), requests);
    let filed = history.iter().map(|filed| filed.request.reasons.len());
    assert_eq!(filed.sum::<usize>(), reasons);
    let filed: Vec<_> = history.iter().flat_map(|filed| &filed.runs).collect();
    assert_eq!(filed.len(), runs);
    let filed = filed.iter().map(|run| run.phases.len());
    assert_eq!(filed.sum::<usize>(), phases);
    let filed = history.iter().filter(|filed| filed.closed.is_some());
    assert_eq!(filed.count(), closed);
    true
}

/// Adds rows of the current version, and opens the ledger unless it is refused.
fn opened(db: &Connection, text: &str) {
    for line in text.lines().take(200) {
        insert(db, &TABLES, line);
    }
    let Ok(mut ledger) = SqliteLedger::open(DATABASE.into()) else {
        return;
    };
    let state = ledger.state();
    let entries = state.marks.len() + state.queue.len() + state.runs.len() + state.verdicts.len();
    let entries = entries + state.last.len() + state.alarms.len() + state.messages.len();
    assert_eq!(entries, count(db, "state WHERE part <> 'last_id'"));
    for request in state.queue.values() {
        assert!(
            !request.reasons.is_empty(),
            "request {} has no reason",
            request.id
        );
        assert!(request.id <= state.last_id);
        let twice = state.runs.values().any(|run| run.request.id == request.id);
        assert!(!twice, "request {} waits and runs", request.id);
    }
    for run in state.runs.values() {
        assert!(run.end.is_none() && run.id <= state.last_id);
    }
    let now: DateTime<Utc> = DateTime::from_timestamp(1_577_836_800, 0).expect("a time");
    let mut totals = Totals::default();
    if let Ok(history) = ledger.history(None, usize::MAX) {
        totals.add(&history);
        stats(&history, 10);
        let open = state.queue.keys().copied();
        let open = open.chain(state.runs.values().map(|run| run.request.id));
        let open: Vec<_> = open.map(|id| id.to_string()).collect();
        let ended = format!(
            "history WHERE kind = 'request' AND id NOT IN ({})",
            open.join(", ")
        );
        assert_eq!(history.len(), open.len() + count(db, &ended));
    }
    let prunes = Prunes::default();
    let text = metrics(
        state,
        &state.alarms,
        &Facts::default(),
        &totals,
        &prunes,
        now,
    );
    assert_eq!(Prunes::read(&text), prunes);
    go_on(&mut ledger, now);
}

/// Makes every change that fits the state; the reopened ledger must have the same state.
fn go_on(ledger: &mut SqliteLedger, now: DateTime<Utc>) {
    let state = ledger.state().clone();
    let mut changes: Vec<_> = state
        .runs
        .keys()
        .map(|run| Change::Interrupted { run: *run })
        .collect();
    changes.extend(state.runs.iter().flat_map(|(run, of)| {
        let phases = of.phases.iter().cloned();
        phases.map(|phase| Change::Phase { run: *run, phase })
    }));
    changes.extend(state.queue.values().filter_map(|request| {
        Some(Change::Joined {
            request: request.id,
            reason: request.reasons.first()?.clone(),
            force: true,
            retry_failed: false,
        })
    }));
    changes.extend(state.marks.iter().map(|(key, mark)| Change::Marked {
        key: key.clone(),
        mark: mark.clone(),
    }));
    changes.extend(
        state
            .alarms
            .iter()
            .map(|(alarm, (_, text))| Change::Raised {
                alarm: alarm.clone(),
                at: now,
                text: text.clone(),
            }),
    );
    changes.extend(state.runs.keys().map(|run| Change::Requeued {
        run: *run,
        at: now,
        reason: "busy".to_owned(),
        unpublished: None,
    }));
    if ledger.record(&changes).is_ok() {
        let again = SqliteLedger::open(DATABASE.into()).expect("a ledger that was written");
        assert_eq!(again.state(), ledger.state());
    } else {
        assert_eq!(
            *ledger.state(),
            state,
            "what was not written did not happen"
        );
    }
}

fn insert(db: &Connection, tables: &[&str], line: &str) {
    let mut cells = line.split('\t');
    let Some(table) = cells.next().filter(|table| tables.contains(table)) else {
        return;
    };
    let values: Vec<_> = cells
        .map(|cell| match cell.parse() {
            _ if cell == "~" => Value::Null,
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Text(cell.to_owned()),
        })
        .collect();
    // Columns that later versions of the schema added are the last ones, and have default values.
    let columns = db
        .prepare_cached("SELECT name FROM pragma_table_info(?1)")
        .and_then(|mut names| {
            let names = names.query_map([table], |row| row.get::<_, String>(0))?;
            names.take(values.len()).collect::<Result<Vec<_>, _>>()
        });
    let columns = columns.expect("the columns").join(", ");
    let places = vec!["?"; values.len()].join(", ");
    let row = format!("INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})");
    // Not every line is a valid row.
    if let Ok(mut row) = db.prepare_cached(&row) {
        drop(row.execute(params_from_iter(values)));
    }
}
