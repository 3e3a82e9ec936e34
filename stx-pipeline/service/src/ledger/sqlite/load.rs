//! Rows as values.

use std::collections::BTreeSet;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Params, Row, params};
use serde::de::DeserializeOwned;
use stx_layout::{Channel, SourceRecord};

use super::io;
use crate::ledger::{
    Alarm, Ended, EndedVerdict, Filed, FiledVerdict, Last, LedgerError, PhaseRun, Request, Run,
    RunRow, State, VerdictOrigin, VerdictRequest,
};
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

/// Refuses a database that is damaged: what its indexes, checks and references do not find would be left out in silence.
fn whole(db: &Connection) -> Loaded<()> {
    let damaged = |reason: String| LedgerError::Damaged {
        what: "its database".to_owned(),
        reason: format!("{reason}; put a backup of the ledger in its place"),
    };
    let found: String = db
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(io("check"))?;
    if found != "ok" {
        return Err(damaged(found));
    }
    let lost = all(db, "PRAGMA foreign_key_check", [], |row| {
        Ok((row.get::<String>("table")?, row.get::<String>("parent")?))
    })?;
    if let Some((table, parent)) = lost.first() {
        return Err(damaged(format!(
            "a row of {table} belongs to none of {parent}"
        )));
    }
    let lost = all(
        db,
        "SELECT channel FROM built WHERE channel NOT IN (SELECT channel FROM channels)",
        [],
        |row| row.get::<String>("channel"),
    )?;
    match lost.first() {
        Some(channel) => Err(damaged(format!(
            "a row of built belongs to no channel {channel:?}"
        ))),
        None => Ok(()),
    }
}

/// The values of rows that are numbered from 0 without a gap: what is added gets the next number.
fn numbered<T>(of: &str, rows: Vec<(i64, T)>) -> Loaded<Vec<T>> {
    let rows = (0..).zip(rows).map(|(expected, (number, value))| {
        if number == expected {
            return Ok(value);
        }
        let reason = format!("{expected} has to be the next number");
        Err(damaged(of, &number.to_string(), reason))
    });
    rows.collect()
}

pub(super) fn state(db: &Connection) -> Loaded<State> {
    whole(db)?;
    let last_id: Option<u64> = db
        .query_row(
            "SELECT max(id) FROM (SELECT id FROM requests UNION ALL SELECT id FROM runs UNION ALL SELECT id FROM verdicts)",
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
    let mut busy = BTreeSet::new();
    for (id, run) in &runs {
        if !busy.insert(&run.request.target.channel) {
            let reason = "another run of its channel has not ended either";
            return Err(damaged("run", &id.to_string(), reason));
        }
    }
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
    let open = "SELECT * FROM verdicts WHERE ended IS NULL";
    let verdicts = all(db, open, [], |row| {
        let FiledVerdict { request, .. } = verdict(row)?;
        Ok((request.id, request))
    })?;
    let messages = all(db, "SELECT id FROM messages", [], |row| row.get("id"))?;
    Ok(State {
        last_id: last_id.unwrap_or(0),
        marks: marks.into_iter().collect(),
        queue: queue.into_iter().collect(),
        runs: runs.into_iter().collect(),
        verdicts: verdicts.into_iter().collect(),
        last: last.into_iter().collect(),
        alarms: alarms.into_iter().collect(),
        messages: messages.into_iter().collect(),
    })
}

fn request(db: &Connection, row: &Cells<'_>) -> Loaded<Request> {
    let id: u64 = row.get("id")?;
    let reasons = all(
        db,
        "SELECT number, detail FROM reasons WHERE request = ?1 ORDER BY number",
        [id],
        |row| Ok((row.get("number")?, row.json::<Reason>("detail")?)),
    )?;
    if reasons.is_empty() {
        return Err(damaged("request", &id.to_string(), "nothing asked for it"));
    }
    Ok(Request {
        id,
        target: Target {
            channel: row.parsed("channel")?,
            git: row.get("git")?,
            recipe: row.get::<String>("recipe")?.into(),
        },
        force: row.get("force")?,
        retry_failed: row.get("retry_failed")?,
        reasons: numbered("reason", reasons)?,
        more_reasons: row.get("more_reasons")?,
    })
}

fn run_row(db: &Connection, row: &Cells<'_>) -> Loaded<RunRow> {
    let id: u64 = row.get("id")?;
    let phases = all(
        db,
        "SELECT * FROM phases WHERE run = ?1 ORDER BY number",
        [id],
        |row| {
            let phase = PhaseRun {
                name: row.get("name")?,
                attempts: row.get("attempts")?,
                started: row.time("started")?,
                finished: row.maybe("finished")?,
                status: row.maybe_word("status")?,
            };
            Ok((row.get("number")?, phase))
        },
    )?;
    let end: Option<Ended> = row.maybe_json("detail")?;
    if row.get::<Option<String>>("ended")?.is_some() != end.is_some() {
        let reason = "one of the columns ended and detail is there, and one is not";
        return Err(damaged("run", &id.to_string(), reason));
    }
    Ok(RunRow {
        id,
        started: row.time("started")?,
        build: row.maybe("build")?,
        interruptions: row.get("interruptions")?,
        phases: numbered("phase", phases)?,
        end,
    })
}

fn open_run(db: &Connection, row: &Cells<'_>) -> Loaded<Run> {
    let of: u64 = row.get("request")?;
    let requests = all(
        db,
        "SELECT * FROM requests WHERE id = ?1 AND state = 'taken'",
        [of],
        |row| request(db, row),
    )?;
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
        request: request.ok_or_else(|| {
            damaged(
                "request",
                &of.to_string(),
                "no request of that number is taken",
            )
        })?,
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
            let source = SourceRecord {
                path: row.get("repository")?,
                url: row.get("url")?,
                commit: row.get("commit_id")?,
            };
            Ok((row.get("number")?, source))
        },
    )?;
    Ok(Last {
        end: row.maybe_json("ended")?,
        build: row.maybe("build")?,
        result: row.maybe_word("result")?,
        good: row.maybe("good")?,
        sources: numbered("source", sources)?,
    })
}

fn verdict(row: &Cells<'_>) -> Loaded<FiledVerdict> {
    let request: VerdictRequest = row.json("detail")?;
    let end: Option<EndedVerdict> = row.maybe_json("outcome")?;
    let wrong = |reason| Err(damaged("verdict", &request.id.to_string(), reason));
    let channel = request.build.channel.to_string();
    if (row.get("id")?, row.get("channel")?) != (request.id, channel) {
        return wrong("its number or its channel is that of another one");
    }
    let is_asked = matches!(request.origin, VerdictOrigin::Asked { .. });
    let entry = request.entry.as_ref();
    if is_asked && entry.is_none() || entry.is_some_and(|entry| entry.build != request.build) {
        return wrong("it has no verdict, or one on another build");
    }
    if row.maybe::<DateTime<Utc>>("ended")? != end.as_ref().map(|end| end.at) {
        return wrong("the columns ended and outcome do not agree");
    }
    Ok(FiledVerdict { request, end })
}

pub(super) fn verdicts(
    db: &Connection,
    channel: Option<&Channel>,
    limit: usize,
) -> Loaded<Vec<FiledVerdict>> {
    let channel = channel.map(ToString::to_string);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    all(
        db,
        "SELECT * FROM verdicts WHERE ?1 IS NULL OR channel = ?1 ORDER BY id DESC LIMIT ?2",
        params![channel, limit],
        verdict,
    )
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
            let closed = match (
                row.get::<String>("state")?.as_str(),
                row.maybe("closed_at")?,
            ) {
                ("closed", Some(at)) => Some((at, row.json("closed")?)),
                ("closed", None) | (_, Some(_)) => {
                    let reason = "is closed without a time, or has one and is not";
                    return Err(damaged("request", &request.id.to_string(), reason));
                }
                (_, None) => None,
            };
            Ok(Filed {
                request,
                closed,
                runs,
            })
        },
    )
}
