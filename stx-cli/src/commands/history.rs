//! `history` and `stats`: list requests and their outcomes; summarise durations.

use chrono::{DateTime, Utc};
use stx_layout::{BuildOutcome, Channel, counted, printable};
use stx_service::ledger::stats::{Series, sparkline, stats as durations};
use stx_service::ledger::{
    Closed, Filed, FiledVerdict, Ledger as _, RunEnd, RunRow, SqliteLedger, VerdictEnd,
    VerdictOrigin,
};

use super::Context;
use crate::args::{History, Stats};
use crate::exit::Failure;
use crate::output::{self, Cell, Tone};
use stx_builds::daemon::unreadable;
use stx_builds::users::user;

pub(crate) fn run(context: &Context, args: &History) -> Result<(), Failure> {
    let ledger = match context.site.ledger() {
        Ok(ledger) => ledger,
        Err(error) => return shown(context, args, error.into()),
    };
    if let Some(request) = args.log {
        return logs(context, request);
    }
    if args.verdicts {
        return verdicts(context, &ledger, args);
    }
    let history = ledger
        .history(args.channel.as_ref(), args.limit)
        .map_err(unreadable)?;
    if history.is_empty() {
        note_nothing(context, args.channel.as_ref());
    }
    output::print(context.format(), &history, || {
        let rows = history
            .iter()
            .flat_map(|filed| rows(filed, context.site.now));
        output::table(&rows.collect::<Vec<_>>())
    })
}

/// Notes that the service does not know a channel, whose name may be misspelt.
fn note_nothing(context: &Context, channel: Option<&Channel>) {
    if let Some(channel) = channel {
        context.say(&format!(
            "note: the service had no request for {channel}; `stx-builds status` names its channels"
        ));
    }
}

/// The same from the status document of the service, for users who cannot read the ledger.
fn shown(context: &Context, args: &History, unreadable: Failure) -> Result<(), Failure> {
    let Some(status) = super::status_document(context, &unreadable) else {
        return Err(unreadable);
    };
    if args.log.is_some() || args.verdicts {
        return Err(
            unreadable.hint("the status document in the spool has requests for builds only")
        );
    }
    let of_channel = |filed: &Filed| {
        let channel = &filed.request.target.channel;
        args.channel.as_ref().is_none_or(|wanted| wanted == channel)
    };
    let filed = status.filed().into_iter().filter(of_channel);
    let filed: Vec<_> = filed.take(args.limit).collect();
    if filed.is_empty() {
        note_nothing(context, args.channel.as_ref());
    }
    output::print(context.format(), &filed, || {
        let rows = filed.iter().flat_map(|filed| rows(filed, context.site.now));
        output::table(&rows.collect::<Vec<_>>())
    })
}

/// Lists the requests for verdicts.
fn verdicts(context: &Context, ledger: &SqliteLedger, args: &History) -> Result<(), Failure> {
    let filed = ledger
        .verdicts(args.channel.as_ref(), args.limit)
        .map_err(unreadable)?;
    output::print(context.format(), &filed, || {
        output::table(&filed.iter().map(verdict_row).collect::<Vec<_>>())
    })
}

fn verdict_row(filed: &FiledVerdict) -> Vec<Cell> {
    let FiledVerdict { request, end } = filed;
    let from = match &request.origin {
        VerdictOrigin::Asked { uid } => format!("asked by {}", user(*uid)),
        VerdictOrigin::Lab { lab } => format!("lab {lab}"),
    };
    let (tone, how) = match end.as_ref().map(|end| &end.how) {
        None if request.started.is_some() => (Tone::Plain, "is tested".to_owned()),
        None => (Tone::Plain, "waits".to_owned()),
        Some(VerdictEnd::Recorded { is_new: true }) => (Tone::Plain, "recorded".to_owned()),
        Some(VerdictEnd::Recorded { is_new: false }) => {
            (Tone::Plain, "repeats the one before it".to_owned())
        }
        Some(VerdictEnd::Refused { why }) => (Tone::Bad, format!("refused: {why}")),
        Some(VerdictEnd::NotTested { why }) => (Tone::Doubtful, format!("not tested: {why}")),
        Some(VerdictEnd::Cancelled { uid }) => {
            (Tone::Doubtful, format!("cancelled by {}", user(*uid)))
        }
    };
    let entry = request.entry.as_ref();
    let reason = entry.and_then(|entry| entry.reason.as_deref());
    let reason = reason.map(printable).unwrap_or_default();
    let how = match entry {
        Some(entry) if tone == Tone::Plain => {
            Cell::new(entry.verdict, format!("{}, {how}", entry.verdict))
        }
        Some(entry) => Cell::new(tone, format!("{}, {how}", entry.verdict)),
        None => Cell::new(tone, how),
    };
    vec![
        request.at.format("%Y-%m-%d %H:%M:%S").to_string().into(),
        format!("#{}", request.id).into(),
        request.build.to_string().into(),
        how,
        from.into(),
        reason.into_owned().into(),
    ]
}

/// Prints the logs of a request whose builds were not published.
fn logs(context: &Context, request: u64) -> Result<(), Failure> {
    let logs = context.site.request_logs(request)?;
    output::print(context.format(), &logs, || {
        let texts = logs
            .iter()
            .map(|log| format!("==> {} {} <==\n{}", log.build, log.phase, log.text));
        texts.collect::<Vec<_>>().join("\n")
    })
}

fn rows(filed: &Filed, now: DateTime<Utc>) -> Vec<Vec<Cell>> {
    let request = &filed.request;
    let reasons: Vec<_> = request
        .reasons
        .iter()
        .map(|reason| match &reason.cause {
            cause @ stx_service::trigger::Cause::Manual { uid, .. } => {
                format!("{cause}, by {}", user(*uid))
            }
            cause => cause.to_string(),
        })
        .collect();
    let row = |at: DateTime<Utc>, what: Cell| {
        let at = at.format("%Y-%m-%d %H:%M:%S").to_string();
        let number = format!("#{}", request.id);
        vec![
            at.into(),
            number.into(),
            request.target.channel.to_string().into(),
            what,
            reasons.join("; ").into(),
        ]
    };
    if let Some((at, closed)) = &filed.closed {
        return vec![row(*at, closed_as(closed))];
    }
    let asked = request.reasons.first().map_or(now, |reason| reason.at);
    if filed.runs.is_empty() {
        return vec![row(asked, "waits".into())];
    }
    filed
        .runs
        .iter()
        .rev()
        .map(|run| row(run.started, ran(run)))
        .collect()
}

/// The result of a request, in a line.
pub(crate) fn outcome(filed: &Filed) -> Cell {
    match (&filed.closed, filed.runs.last()) {
        (Some((_, closed)), _) => closed_as(closed),
        (None, Some(run)) => ran(run),
        (None, None) => "waits".into(),
    }
}

fn closed_as(closed: &Closed) -> Cell {
    let text = match closed {
        Closed::Cancelled { uid } => format!("cancelled by {}", user(*uid)),
        Closed::Skipped { why } => format!("skipped: {why}"),
    };
    Cell::new(Tone::Doubtful, text)
}

fn ran(run: &RunRow) -> Cell {
    let date = run
        .build
        .as_ref()
        .map(|build| format!("{} ", build.date))
        .unwrap_or_default();
    let times = match run.interruptions {
        0 => String::new(),
        1 => ", interrupted once".to_owned(),
        times => format!(", interrupted {times} times"),
    };
    let Some(end) = &run.end else {
        return format!("{date}runs{times}").into();
    };
    let took = (end.at - run.started).num_seconds().max(0);
    match &end.how {
        RunEnd::Published { result, reason, .. } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}"));
            let reason = reason.unwrap_or_default();
            Cell::new(
                *result,
                format!("{date}{result} in {took} s{times}{reason}"),
            )
        }
        RunEnd::Unchanged { since, result, why } => {
            let (tone, failed) = match result {
                Some(BuildOutcome::Fail) => (Tone::Bad, ", which failed"),
                Some(BuildOutcome::Success) | None => (Tone::Plain, ""),
            };
            let why = why.as_ref().map(|why| format!(": {why}"));
            let why = why.unwrap_or_default();
            let since = since.date;
            Cell::new(tone, format!("unchanged since {since}{failed}{times}{why}"))
        }
        RunEnd::Refused { reason } => Cell::new(
            Tone::Bad,
            format!("{date}nothing was published{times}: {reason}"),
        ),
        RunEnd::Cancelled => Cell::new(Tone::Doubtful, format!("{date}cancelled{times}")),
        RunEnd::Requeued { reason } => Cell::new(
            Tone::Doubtful,
            format!("{date}starts over{times}: {reason}"),
        ),
    }
}

pub(crate) fn stats(context: &Context, args: &Stats) -> Result<(), Failure> {
    let ledger = context.site.ledger()?;
    // Read the whole history: if little changes, many requests end without a build.
    let history = ledger
        .history(Some(&args.channel), usize::MAX)
        .map_err(unreadable)?;
    if history.is_empty() {
        note_nothing(context, Some(&args.channel));
    }
    let stats = durations(&history, args.builds);
    output::print(context.format(), &stats, || {
        let rows: Vec<_> = stats.series.iter().map(row).collect();
        let count = counted(stats.builds.len(), "build");
        format!("{count}\n{}", output::columns(&rows))
    })
}

fn row(series: &Series) -> Vec<String> {
    let newest = series.seconds.last().copied().flatten();
    let seconds =
        |value: Option<i64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value} s"));
    let trend = series
        .trend_percent
        .map(|percent| format!("{percent:+} %"))
        .unwrap_or_default();
    vec![
        series.name.clone(),
        sparkline(&series.seconds),
        format!("last {}", seconds(newest)),
        format!("median {}", seconds(series.median)),
        trend,
    ]
}
