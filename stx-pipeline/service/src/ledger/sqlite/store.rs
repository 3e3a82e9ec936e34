//! Changes as statements.

use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::{Connection, Params, params};
use serde::Serialize;
use stx_layout::Channel;

use super::io;
use crate::ledger::{Change, Done, LedgerError, PhaseRun, Request, Run, State, VerdictRequest};
use crate::trigger::{Cause, Reason};

type Stored = Result<(), LedgerError>;

pub(super) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

pub(super) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our values are JSON")
}

/// The word that serde writes for a value without fields.
pub(super) fn word<T: Serialize>(value: &T) -> String {
    json(value).trim_matches('"').to_owned()
}

fn run(db: &Connection, sql: &str, params: impl Params) -> Stored {
    let mut statement = db.prepare_cached(sql).map_err(io("write"))?;
    statement.execute(params).map_err(io("write"))?;
    Ok(())
}

/// Writes a change that `state` has made already; `done` is what it took out of it.
pub(super) fn change(
    db: &Connection,
    state: &State,
    change: &Change,
    done: Option<&Done>,
) -> Stored {
    match change {
        Change::Marked { key, mark } => run(
            db,
            "INSERT INTO marks (key, mark) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET mark = excluded.mark",
            params![key, json(mark)],
        ),
        Change::Requested(filed) => request(db, filed),
        Change::Joined { request, .. } => joined(db, &state.queue[request]),
        Change::Closed { request, at, how } => run(
            db,
            "UPDATE requests SET state = 'closed', closed_at = ?2, closed = ?3 WHERE id = ?1",
            params![request, time(*at), json(how)],
        ),
        Change::Started {
            run: id,
            request,
            at,
        } => {
            run(
                db,
                "UPDATE requests SET state = 'taken' WHERE id = ?1",
                params![request],
            )?;
            run(
                db,
                "INSERT INTO runs (id, request, started) VALUES (?1, ?2, ?3)",
                params![id, request, time(*at)],
            )
        }
        Change::Named { run: id, build } => run(
            db,
            "UPDATE runs SET build = ?2 WHERE id = ?1",
            params![id, build.to_string()],
        ),
        Change::Phase { run: id, phase: of } => phase(db, &state.runs[id], of),
        Change::Interrupted { run: id } => run(
            db,
            "UPDATE runs SET interruptions = ?2 WHERE id = ?1",
            params![id, state.runs[id].interruptions],
        ),
        Change::Ended { .. } | Change::Requeued { .. } => match done {
            Some(Done::Run(over)) => ended(db, state, over, change),
            Some(Done::Request(..) | Done::Verdict(..)) | None => Ok(()),
        },
        Change::Raised { alarm, at, text } => run(
            db,
            "INSERT OR REPLACE INTO alarms (kind, subject, since, text) VALUES (?1, ?2, ?3, ?4)",
            params![alarm.kind.as_str(), alarm.subject, time(*at), text],
        ),
        Change::Lowered { alarm } => run(
            db,
            "DELETE FROM alarms WHERE kind = ?1 AND subject = ?2",
            params![alarm.kind.as_str(), alarm.subject],
        ),
        Change::Received { id } => run(db, "INSERT INTO messages (id) VALUES (?1)", [id]),
        Change::Cleared { id } => run(db, "DELETE FROM messages WHERE id = ?1", [id]),
        Change::VerdictFiled(request) => verdict(db, request),
        Change::TestStarted { request, .. } | Change::TestEnded { request, .. } => run(
            db,
            "UPDATE verdicts SET detail = ?2 WHERE id = ?1",
            params![request, json(&state.verdicts[request])],
        ),
        Change::VerdictEnded { request, end } => run(
            db,
            "UPDATE verdicts SET ended = ?2, outcome = ?3 WHERE id = ?1",
            params![request, time(end.at), json(end)],
        ),
    }
}

fn verdict(db: &Connection, request: &VerdictRequest) -> Stored {
    let channel = request.build.channel.to_string();
    run(
        db,
        "INSERT INTO verdicts (id, channel, detail) VALUES (?1, ?2, ?3)",
        params![request.id, channel, json(request)],
    )
}

fn request(db: &Connection, request: &Request) -> Stored {
    run(
        db,
        "INSERT INTO requests (id, channel, git, recipe, force, retry_failed, more_reasons, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'waiting')",
        params![
            request.id,
            request.target.channel.to_string(),
            request.target.git,
            request.target.recipe.as_str(),
            request.force,
            request.retry_failed,
            request.more_reasons
        ],
    )?;
    let mut reasons = request.reasons.iter().enumerate();
    reasons.try_for_each(|(number, of)| reason(db, request.id, number, of))
}

fn joined(db: &Connection, request: &Request) -> Stored {
    run(
        db,
        "UPDATE requests SET force = ?2, retry_failed = ?3, more_reasons = ?4 WHERE id = ?1",
        params![
            request.id,
            request.force,
            request.retry_failed,
            request.more_reasons
        ],
    )?;
    // The last one is new, or took the place of another, or is as it was.
    let number = request.reasons.len() - 1;
    reason(db, request.id, number, &request.reasons[number])
}

fn reason(db: &Connection, request: u64, number: usize, reason: &Reason) -> Stored {
    let (cause, uid) = match &reason.cause {
        Cause::Periodic { .. } => ("periodic", None),
        Cause::Commit { .. } => ("commit", None),
        Cause::After { .. } => ("after", None),
        Cause::Manual { uid, .. } => ("manual", Some(*uid)),
    };
    run(
        db,
        "INSERT OR REPLACE INTO reasons (request, number, at, cause, uid, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            request,
            i64::try_from(number).unwrap_or(i64::MAX),
            time(reason.at),
            cause,
            uid,
            json(reason)
        ],
    )
}

fn phase(db: &Connection, of: &Run, phase: &PhaseRun) -> Stored {
    let number = of.phases.iter().position(|known| known.name == phase.name);
    run(
        db,
        "INSERT OR REPLACE INTO phases (run, number, name, attempts, started, finished, status)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            of.id,
            number.and_then(|number| i64::try_from(number).ok()),
            phase.name,
            phase.attempts,
            time(phase.started),
            phase.finished.map(time),
            phase.status.as_ref().map(word)
        ],
    )
}

fn ended(db: &Connection, state: &State, over: &Run, change: &Change) -> Stored {
    if let Some(end) = &over.end {
        let detail = json(end);
        let outcome = serde_json::from_str::<serde_json::Value>(&detail)
            .ok()
            .and_then(|value| Some(value.get("outcome")?.as_str()?.to_owned()));
        run(
            db,
            "UPDATE runs SET ended = ?2, outcome = ?3, detail = ?4 WHERE id = ?1",
            params![over.id, time(end.at), outcome, detail],
        )?;
    }
    if let Change::Requeued { .. } = change {
        return run(
            db,
            "UPDATE requests SET state = 'waiting' WHERE id = ?1",
            [over.request.id],
        );
    }
    channel(db, state, &over.request.target.channel)
}

fn channel(db: &Connection, state: &State, channel: &Channel) -> Stored {
    let Some(last) = state.last.get(channel) else {
        return Ok(());
    };
    let name = channel.to_string();
    run(
        db,
        "INSERT OR REPLACE INTO channels (channel, ended, build, result, good) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            name,
            last.end.as_ref().map(json),
            last.build.as_ref().map(ToString::to_string),
            last.result.as_ref().map(word),
            last.good.map(time)
        ],
    )?;
    run(db, "DELETE FROM built WHERE channel = ?1", [&name])?;
    for (number, source) in (0_i64..).zip(&last.sources) {
        run(
            db,
            "INSERT INTO built (channel, number, repository, url, commit_id) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![name, number, source.path, source.url, source.commit],
        )?;
    }
    Ok(())
}
