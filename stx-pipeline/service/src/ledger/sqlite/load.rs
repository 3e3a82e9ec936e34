//! Reads rows as values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::str::FromStr;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, params};
use serde::de::DeserializeOwned;
use stx_layout::Channel;

use super::{io, store::json as to_json};
use crate::ledger::history::{newest, newest_verdicts};
use crate::ledger::{
    Filed, FiledVerdict, LedgerError, Request, State, VerdictOrigin, VerdictRequest,
};

type Loaded<T> = Result<T, LedgerError>;

fn damaged(what: &str, reason: impl Display) -> LedgerError {
    LedgerError::Damaged {
        what: what.to_owned(),
        reason: reason.to_string(),
    }
}

fn json<T: DeserializeOwned>(what: &str, text: &str) -> Loaded<T> {
    serde_json::from_str(text).map_err(|error| damaged(what, format!("{error} in {text:?}")))
}

fn column<T: FromSql>(row: &Row<'_>, index: usize) -> Loaded<T> {
    row.get(index).map_err(io("read"))
}

fn each(
    db: &Connection,
    sql: &str,
    params: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Loaded<()>,
) -> Loaded<()> {
    let mut statement = db.prepare_cached(sql).map_err(io("read"))?;
    let mut rows = statement.query(params).map_err(io("read"))?;
    while let Some(row) = rows.next().map_err(io("read"))? {
        read(row)?;
    }
    Ok(())
}

/// Refuses a damaged database, in which queries could omit rows without an error.
fn whole(db: &Connection) -> Loaded<()> {
    let found: String = db
        .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
        .map_err(io("check"))?;
    if found == "ok" {
        return Ok(());
    }
    let lines: Vec<_> = found.lines().map(str::trim).collect();
    Err(damaged("its database", lines.join(": ")))
}

pub(super) fn state(db: &Connection) -> Loaded<State> {
    whole(db)?;
    let state = entries(db, "SELECT part, key, value FROM state")?;
    let newest: Option<u64> = db
        .query_row("SELECT max(id) FROM history", [], |row| row.get(0))
        .map_err(io("read"))?;
    let open = state.queue.keys().chain(state.runs.keys());
    let ids = open.chain(state.verdicts.keys()).copied().chain(newest);
    let highest = ids.max().unwrap_or(0);
    if highest > state.last_id {
        let what = format!("last_id {}", state.last_id);
        return Err(damaged(&what, format!("the number {highest} is in use")));
    }
    Ok(state)
}

/// The part of the state that the rows of a query hold.
fn entries(db: &Connection, sql: &str) -> Loaded<State> {
    let mut state = State::default();
    each(db, sql, [], |row| {
        let (part, key): (String, String) = (column(row, 0)?, column(row, 1)?);
        let (what, text) = (format!("{part} {key:?}"), column::<String>(row, 2)?);
        match part.as_str() {
            "last_id" => state.last_id = json(&what, &text)?,
            "marks" => insert(&mut state.marks, &key, &what, &text)?,
            "queue" => insert(&mut state.queue, &key, &what, &text)?,
            "runs" => insert(&mut state.runs, &key, &what, &text)?,
            "verdicts" => insert(&mut state.verdicts, &key, &what, &text)?,
            "last" => insert(&mut state.last, &key, &what, &text)?,
            "alarms" => {
                let alarm = json(&what, &key)?;
                own(&what, &key, Ok(to_json(&alarm)))?;
                state.alarms.insert(alarm, json(&what, &text)?);
            }
            "messages" => drop(state.messages.insert(key)),
            _ => return Err(damaged(&what, "the state has no such part")),
        }
        Ok(())
    })?;
    for (id, request) in &state.queue {
        own(&format!("queue \"{id}\""), id, asked(request))?;
    }
    let mut busy = BTreeSet::new();
    for (id, run) in &state.runs {
        let what = format!("runs \"{id}\"");
        own(&what, id, asked(&run.request).map(|_| run.id))?;
        if run.end.is_some() || !busy.insert(&run.request.target.channel) {
            return Err(damaged(
                &what,
                "it has ended, or another run of its channel has not either",
            ));
        }
        if state.queue.contains_key(&run.request.id) {
            return Err(damaged(&what, "its request waits"));
        }
    }
    for (id, request) in &state.verdicts {
        own(&format!("verdicts \"{id}\""), id, on_one_build(request))?;
    }
    Ok(state)
}

/// Adds an entry to a map of the state.
fn insert<K, V>(map: &mut BTreeMap<K, V>, key: &str, what: &str, text: &str) -> Loaded<()>
where
    K: FromStr<Err: Display> + ToString + Ord,
    V: DeserializeOwned,
{
    let parsed: K = key.parse().map_err(|error| damaged(what, error))?;
    own(what, &key.to_owned(), Ok(parsed.to_string()))?;
    map.insert(parsed, json(what, text)?);
    Ok(())
}

/// Refuses a value that has an error, or does not belong to the key of its row.
fn own<K: PartialEq>(what: &str, key: &K, of: Result<K, &str>) -> Loaded<()> {
    match of {
        Ok(of) if of == *key => Ok(()),
        Ok(_) => Err(damaged(
            what,
            "its number or its channel is that of another one",
        )),
        Err(reason) => Err(damaged(what, reason)),
    }
}

/// The number of a request.
fn asked(request: &Request) -> Result<u64, &'static str> {
    let is_asked = !request.reasons.is_empty();
    is_asked.then_some(request.id).ok_or("it has no request")
}

/// The number of a request for a verdict.
fn on_one_build(request: &VerdictRequest) -> Result<u64, &'static str> {
    let is_asked = matches!(request.origin, VerdictOrigin::Asked { .. });
    let entry = request.entry.as_ref();
    if is_asked && entry.is_none() || entry.is_some_and(|entry| entry.build != request.build) {
        return Err("it has no verdict, or one on another build");
    }
    Ok(request.id)
}

/// A request with its ended runs, if it has any.
pub(super) fn ended(db: &Connection, id: u64) -> Loaded<Option<Filed>> {
    let query = "SELECT value FROM history WHERE id = ?1 AND kind = 'request'";
    let mut statement = db.prepare_cached(query).map_err(io("read"))?;
    let found = statement.query_row([id], |row| row.get::<_, String>(0));
    let found = found.optional().map_err(io("read"))?;
    let filed = found.map(|text| json(&format!("request {id} of the history"), &text));
    filed.transpose()
}

/// The newest `limit` rows of a kind, by their numbers; `of` checks a value, and returns its number and channel.
fn past<T: DeserializeOwned>(
    db: &Connection,
    kind: &str,
    channel: Option<&Channel>,
    limit: usize,
    of: impl Fn(&T) -> Result<(u64, String), &'static str>,
) -> Loaded<BTreeMap<u64, T>> {
    let mut found = BTreeMap::new();
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    // Two queries, because an OR would prevent the use of the index on channels.
    let (columns, newest) = ("SELECT id, channel, value FROM history", "ORDER BY id DESC");
    let sql = match channel {
        Some(_) => format!("{columns} WHERE kind = ?1 AND channel = ?2 {newest} LIMIT ?3"),
        None => format!("{columns} WHERE kind = ?1 AND ?2 IS NULL {newest} LIMIT ?3"),
    };
    let channel = channel.map(ToString::to_string);
    each(db, &sql, params![kind, channel, limit], |row| {
        let (id, channel): (u64, String) = (column(row, 0)?, column(row, 1)?);
        let what = format!("{kind} {id} of the history");
        let value: T = json(&what, &column::<String>(row, 2)?)?;
        own(&what, &(id, channel), of(&value))?;
        found.insert(id, value);
        Ok(())
    })?;
    Ok(found)
}

/// The entries of the state that the history shows.
const OPEN: &str = "SELECT part, key, value FROM state WHERE part IN ('queue', 'runs', 'verdicts')";

pub(super) fn history(
    db: &Connection,
    channel: Option<&Channel>,
    limit: usize,
) -> Loaded<Vec<Filed>> {
    let past = past(db, "request", channel, limit, |filed: &Filed| {
        let channel = filed.request.target.channel.to_string();
        Ok((asked(&filed.request)?, channel))
    })?;
    Ok(newest(past, &entries(db, OPEN)?, channel, limit))
}

pub(super) fn verdicts(
    db: &Connection,
    channel: Option<&Channel>,
    limit: usize,
) -> Loaded<Vec<FiledVerdict>> {
    let past = past(db, "verdict", channel, limit, |filed: &FiledVerdict| {
        let channel = filed.request.build.channel.to_string();
        Ok((on_one_build(&filed.request)?, channel))
    })?;
    Ok(newest_verdicts(past, &entries(db, OPEN)?, channel, limit))
}

/// Refuses a damaged ledger of version 3: moving its rows could omit some without an error.
pub(super) fn check_version_3(db: &Connection) -> Loaded<()> {
    whole(db)?;
    each(db, include_str!("../damage-3.sql"), [], |row| {
        Err(damaged(
            &column::<String>(row, 0)?,
            column::<String>(row, 1)?,
        ))
    })
}
