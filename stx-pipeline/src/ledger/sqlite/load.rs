//! Rows as values.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Params, Row, params};
use serde::de::DeserializeOwned;
use stx_layout::{Channel, SourceRecord};

use super::io;
use crate::ledger::{Alarm, Filed, Last, LedgerError, PhaseRun, Request, Run, RunRow, State};
use crate::trigger::{Reason, Target};

type Loaded<T> = Result<T, LedgerError>;

/// One row, read column by column.
struct Cells<'a>(&'a Row<'a>);

impl Cells<'_> {
    fn get<T: rusqlite::types::FromSql>(&self, column: &str) -> Loaded<T> {
        self.0.get(column).map_err(io("read"))
    }

    fn parsed<T: FromStr<Err: std::fmt::Display>>(&self, column: &str) -> Loaded<T> {
        parse(column, &self.get::<String>(column)?)
    }

    fn maybe<T: FromStr<Err: std::fmt::Display>>(&self, column: &str) -> Loaded<Option<T>> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| parse(column, &text)).transpose()
    }

    fn time(&self, column: &str) -> Loaded<DateTime<Utc>> {
        self.parsed(column)
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> Loaded<T> {
        from_json(column, &self.get::<String>(column)?)
    }

    fn maybe_json<T: DeserializeOwned>(&self, column: &str) -> Loaded<Option<T>> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| from_json(column, &text)).transpose()
    }

    fn word<T: DeserializeOwned>(&self, column: &str) -> Loaded<T> {
        from_json(column, &format!("\"{}\"", self.get::<String>(column)?))
    }

    /// A word, as serde writes a value without fields.
    fn maybe_word<T: DeserializeOwned>(&self, column: &str) -> Loaded<Option<T>> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| from_json(column, &format!("\"{text}\"")))
            .transpose()
    }
}

fn damaged(column: &str, text: &str, reason: impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged {
        what: format!("{column} {text:?}"),
        reason: reason.to_string(),
    }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(column: &str, text: &str) -> Loaded<T> {
    text.parse().map_err(|error| damaged(column, text, error))
}

fn from_json<T: DeserializeOwned>(column: &str, text: &str) -> Loaded<T> {
    serde_json::from_str(text).map_err(|error| damaged(column, text, error))
}

fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Cells<'_>) -> Loaded<T>,
) -> Loaded<Vec<T>> {
    let mut statement = db.prepare_cached(sql).map_err(io("read"))?;
    let mut rows = statement.query(params).map_err(io("read"))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(io("read"))? {
        found.push(read(&Cells(row))?);
    }
    Ok(found)
}

pub(super) fn state(db: &Connection) -> Loaded<State> {
    let last_id: Option<u64> = db
        .query_row(
            "SELECT max(id) FROM (SELECT id FROM requests UNION ALL SELECT id FROM runs)",
            [],
            |row| row.get(0),
        )
        .map_err(io("read"))?;
    let marks = all(db, "SELECT * FROM marks", [], |row| {
        Ok((row.get("key")?, row.json("mark")?))
    })?;
    let queue = all(
        db,
        "SELECT * FROM requests WHERE state = 'waiting'",
        [],
        |row| {
            let request = request(db, row)?;
            Ok((request.id, request))
        },
    )?;
    let runs = all(db, "SELECT * FROM runs WHERE ended IS NULL", [], |row| {
        let run = open_run(db, row)?;
        Ok((run.id, run))
    })?;
    let last = all(db, "SELECT * FROM channels", [], |row| {
        Ok((row.parsed("channel")?, last(db, row)?))
    })?;
    let alarms = all(db, "SELECT * FROM alarms", [], |row| {
        let alarm = Alarm {
            kind: row.word("kind")?,
            subject: row.get("subject")?,
        };
        Ok((alarm, (row.time("since")?, row.get("text")?)))
    })?;
    let messages = all(db, "SELECT id FROM messages", [], |row| row.get("id"))?;
    Ok(State {
        last_id: last_id.unwrap_or(0),
        marks: marks.into_iter().collect(),
        queue: queue.into_iter().collect(),
        runs: runs.into_iter().collect(),
        last: last.into_iter().collect(),
        alarms: alarms.into_iter().collect(),
        messages: messages.into_iter().collect(),
    })
}

fn request(db: &Connection, row: &Cells<'_>) -> Loaded<Request> {
    let id: u64 = row.get("id")?;
    let reasons = all(
        db,
        "SELECT detail FROM reasons WHERE request = ?1 ORDER BY number",
        [id],
        |row| row.json::<Reason>("detail"),
    )?;
    Ok(Request {
        id,
        target: Target {
            channel: row.parsed("channel")?,
            git: row.get("git")?,
            recipe: row.get::<String>("recipe")?.into(),
        },
        force: row.get("force")?,
        retry_failed: row.get("retry_failed")?,
        reasons,
    })
}

fn run_row(db: &Connection, row: &Cells<'_>) -> Loaded<RunRow> {
    let id: u64 = row.get("id")?;
    let phases = all(
        db,
        "SELECT * FROM phases WHERE run = ?1 ORDER BY number",
        [id],
        |row| {
            Ok(PhaseRun {
                name: row.get("name")?,
                attempts: row.get("attempts")?,
                started: row.time("started")?,
                finished: row.maybe("finished")?,
                status: row.maybe_word("status")?,
            })
        },
    )?;
    Ok(RunRow {
        id,
        started: row.time("started")?,
        build: row.maybe("build")?,
        interruptions: row.get("interruptions")?,
        phases,
        end: row.maybe_json("detail")?,
    })
}

fn open_run(db: &Connection, row: &Cells<'_>) -> Loaded<Run> {
    let of: u64 = row.get("request")?;
    let requests = all(db, "SELECT * FROM requests WHERE id = ?1", [of], |row| {
        request(db, row)
    })?;
    let RunRow {
        id,
        started,
        build,
        interruptions,
        phases,
        end,
    } = run_row(db, row)?;
    let request = requests.into_iter().next();
    Ok(Run {
        id,
        request: request.ok_or_else(|| damaged("request", &of.to_string(), "there is none"))?,
        started,
        build,
        interruptions,
        phases,
        end,
    })
}

fn last(db: &Connection, row: &Cells<'_>) -> Loaded<Last> {
    let channel: String = row.get("channel")?;
    let sources = all(
        db,
        "SELECT * FROM built WHERE channel = ?1 ORDER BY number",
        [channel],
        |row| {
            Ok(SourceRecord {
                path: row.get("repository")?,
                url: row.get("url")?,
                commit: row.get("commit_id")?,
            })
        },
    )?;
    Ok(Last {
        end: row.maybe_json("ended")?,
        build: row.maybe("build")?,
        result: row.maybe_word("result")?,
        good: row.maybe("good")?,
        sources,
    })
}

pub(super) fn history(
    db: &Connection,
    channel: Option<&Channel>,
    limit: usize,
) -> Loaded<Vec<Filed>> {
    // One transaction: what is read belongs together.
    let snapshot = db.unchecked_transaction().map_err(io("read"))?;
    let channel = channel.map(ToString::to_string);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    all(
        &snapshot,
        "SELECT * FROM requests WHERE ?1 IS NULL OR channel = ?1 ORDER BY id DESC LIMIT ?2",
        params![channel, limit],
        |row| {
            let request = request(&snapshot, row)?;
            let runs = all(
                &snapshot,
                "SELECT * FROM runs WHERE request = ?1 ORDER BY id",
                [request.id],
                |row| run_row(&snapshot, row),
            )?;
            let closed_at: Option<DateTime<Utc>> = row.maybe("closed_at")?;
            let closed = row.maybe_json("closed")?;
            Ok(Filed {
                request,
                closed: closed_at.zip(closed),
                runs,
            })
        },
    )
}
