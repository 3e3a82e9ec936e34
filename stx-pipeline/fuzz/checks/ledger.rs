//! Any rows in the tables of a ledger: it is opened with all of them, or refused with an error; never with some. What is
//! opened shows, in its history and after a change, what its rows say, and is the same when opened again.
//!
//! A line is a row: the table and the columns in their order, with tabs between them; `~` is NULL. Rows that the types of the
//! columns do not allow are left out, those that only the checks and the references of the schema forbid are not.

use std::cell::OnceCell;

use chrono::{DateTime, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use stx_service::Facts;
use stx_service::ledger::stats::stats;
use stx_service::ledger::{Change, Ledger as _, SqliteLedger};
use stx_service::metrics::{Prunes, Totals, metrics};

/// A database in memory that several connections see.
const DATABASE: &str = "file:/ledger?vfs=memdb";

/// The tables.
const TABLES: [&str; 10] = [
    "requests", "reasons", "runs", "phases", "marks", "channels", "built", "alarms", "messages",
    "verdicts",
];

thread_local! {
    static ROWS: OnceCell<Connection> = const { OnceCell::new() };
}

/// Reads `bytes`, if they are text, as rows.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    ROWS.with(|rows| with(rows.get_or_init(database), text));
}

/// An empty ledger, and a connection that may write anything into it.
fn database() -> Connection {
    let db = Connection::open(DATABASE).expect("a database in memory");
    drop(SqliteLedger::open(DATABASE.into()).expect("a new ledger"));
    for (name, value) in [("ignore_check_constraints", "ON"), ("foreign_keys", "OFF")] {
        db.pragma_update(None, name, value).expect("a setting");
    }
    db
}

fn with(db: &Connection, text: &str) {
    for table in TABLES {
        let empty = db.execute(&format!("DELETE FROM {table}"), []);
        empty.expect("an empty table");
    }
    for line in text.lines().take(200) {
        insert(db, line);
    }
    let Ok(mut ledger) = SqliteLedger::open(DATABASE.into()) else {
        return;
    };
    let count = |query: &str| -> usize {
        db.query_row(&format!("SELECT count(*) FROM {query}"), [], |row| {
            row.get(0)
        })
        .expect("a number")
    };
    let state = ledger.state();
    assert_eq!(state.queue.len(), count("requests WHERE state = 'waiting'"));
    assert_eq!(state.runs.len(), count("runs WHERE ended IS NULL"));
    assert_eq!(state.marks.len(), count("marks"));
    assert_eq!(state.last.len(), count("channels"));
    assert_eq!(state.alarms.len(), count("alarms"));
    assert_eq!(state.messages.len(), count("messages"));
    assert_eq!(state.verdicts.len(), count("verdicts WHERE ended IS NULL"));
    if let Ok(verdicts) = ledger.verdicts(None, usize::MAX) {
        assert_eq!(verdicts.len(), count("verdicts"));
    }
    let sources: usize = state.last.values().map(|last| last.sources.len()).sum();
    assert_eq!(sources, count("built"));
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
    }
    let prunes = Prunes::default();
    let text = metrics(state, &Facts::default(), &totals, &prunes, now);
    assert_eq!(Prunes::read(&text), prunes);
    if let Ok(history) = ledger.history(None, usize::MAX) {
        assert_eq!(history.len(), count("requests"));
        let runs = history.iter().map(|filed| filed.runs.len());
        assert_eq!(runs.sum::<usize>(), count("runs"));
        let reasons = history.iter().map(|filed| filed.request.reasons.len());
        assert_eq!(reasons.sum::<usize>(), count("reasons"));
        let phases = history.iter().flat_map(|filed| &filed.runs);
        let phases = phases.map(|run| run.phases.len());
        assert_eq!(phases.sum::<usize>(), count("phases"));
        let closed = history.iter().filter(|filed| filed.closed.is_some());
        assert_eq!(closed.count(), count("requests WHERE state = 'closed'"));
        stats(&history, 10);
    }
    go_on(&mut ledger, now);
}

/// Every change that fits the state is made, and the ledger opened again says the same.
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

fn insert(db: &Connection, line: &str) {
    let mut cells = line.split('\t');
    let Some(table) = cells.next().filter(|table| TABLES.contains(table)) else {
        return;
    };
    let values: Vec<_> = cells
        .map(|cell| match cell.parse() {
            _ if cell == "~" => Value::Null,
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Text(cell.to_owned()),
        })
        .collect();
    // Columns that later versions of the schema added are at the end, and have a value of their own.
    let columns = db
        .prepare_cached("SELECT name FROM pragma_table_info(?1)")
        .and_then(|mut names| {
            let names = names.query_map([table], |row| row.get::<_, String>(0))?;
            names.take(values.len()).collect::<Result<Vec<_>, _>>()
        });
    let columns = columns.expect("the columns").join(", ");
    let places = vec!["?"; values.len()].join(", ");
    let row = format!("INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})");
    // Not every line is a row.
    if let Ok(mut row) = db.prepare_cached(&row) {
        drop(row.execute(params_from_iter(values)));
    }
}
