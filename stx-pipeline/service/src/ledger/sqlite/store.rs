//! Writes changes as SQL statements.

use rusqlite::{Connection, Params, params};
use serde::Serialize;

use super::{io, load};
use crate::ledger::history::{filed, with_run};
use crate::ledger::{Change, Done, FiledVerdict, LedgerError, Request, State, VerdictRequest};

const ENDED: &str =
    "INSERT OR REPLACE INTO history (id, kind, channel, value) VALUES (?1, ?2, ?3, ?4)";

type Stored = Result<(), LedgerError>;

pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our values are JSON")
}

fn execute(db: &Connection, sql: &str, params: impl Params) -> Stored {
    let mut statement = db.prepare_cached(sql).map_err(io("write"))?;
    statement.execute(params).map_err(io("write"))?;
    Ok(())
}

/// Writes a change that `state` has already applied; `done` is the entry that it removed from the state.
pub(super) fn change(
    db: &Connection,
    state: &State,
    change: &Change,
    done: Option<Done>,
) -> Stored {
    let request = |id: &u64| entry(db, "queue", &id.to_string(), state.queue.get(id));
    let run = |id: &u64| entry(db, "runs", &id.to_string(), state.runs.get(id));
    let verdict = |id: &u64| entry(db, "verdicts", &id.to_string(), state.verdicts.get(id));
    match change {
        Change::Marked { key, .. } => entry(db, "marks", key, state.marks.get(key)),
        Change::Requested(Request { id, .. })
        | Change::Joined { request: id, .. }
        | Change::Closed { request: id, .. } => request(id),
        Change::Started {
            run: id,
            request: of,
            ..
        } => request(of).and_then(|()| run(id)),
        Change::Named { run: id, .. }
        | Change::Phase { run: id, .. }
        | Change::Interrupted { run: id }
        | Change::Ended { run: id, .. }
        | Change::Requeued { run: id, .. } => run(id),
        Change::Raised { alarm, .. } | Change::Lowered { alarm } => {
            entry(db, "alarms", &json(alarm), state.alarms.get(alarm))
        }
        Change::Received { id } | Change::Cleared { id } => {
            entry(db, "messages", id, state.messages.get(id))
        }
        Change::VerdictFiled(VerdictRequest { id, .. })
        | Change::TestStarted { request: id, .. }
        | Change::TestEnded { request: id, .. }
        | Change::VerdictEnded { request: id, .. } => verdict(id),
    }?;
    let filed = match done {
        None => return Ok(()),
        Some(Done::Verdict(request, end)) => {
            let (request, end) = (*request, Some(end));
            let filed = FiledVerdict { request, end };
            let (id, channel) = (filed.request.id, filed.request.build.channel.to_string());
            return execute(db, ENDED, params![id, "verdict", channel, json(&filed)]);
        }
        Some(Done::Request(request, at, how)) => {
            let earlier = load::ended(db, request.id)?;
            filed(*request, earlier, Some((at, how)))
        }
        Some(Done::Run(run)) => {
            let channel = &run.request.target.channel;
            entry(db, "last", &channel.to_string(), state.last.get(channel))?;
            let earlier = load::ended(db, run.request.id)?;
            with_run(*run, earlier)
        }
    };
    // The request of a requeued run waits again.
    request(&filed.request.id)?;
    let (id, channel) = (filed.request.id, filed.request.target.channel.to_string());
    execute(db, ENDED, params![id, "request", channel, json(&filed)])
}

/// Writes an entry of the state, or removes it if `value` is `None`.
pub(super) fn entry<T: Serialize>(
    db: &Connection,
    part: &str,
    key: &str,
    value: Option<&T>,
) -> Stored {
    match value {
        Some(value) => execute(
            db,
            "INSERT INTO state (part, key, value) VALUES (?1, ?2, ?3)
             ON CONFLICT (part, key) DO UPDATE SET value = excluded.value",
            params![part, key, json(value)],
        ),
        None => execute(
            db,
            "DELETE FROM state WHERE part = ?1 AND key = ?2",
            params![part, key],
        ),
    }
}
