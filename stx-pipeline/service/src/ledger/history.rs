//! The history: the ended requests, and those of the state.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use stx_layout::Channel;

use super::{Closed, Filed, FiledVerdict, Request, Run, RunRow, State};

/// A request with the runs in `earlier`.
pub(super) fn filed(
    request: Request,
    earlier: Option<Filed>,
    closed: Option<(DateTime<Utc>, Closed)>,
) -> Filed {
    let runs = earlier.map_or_else(Vec::new, |earlier| earlier.runs);
    Filed {
        request,
        closed,
        runs,
    }
}

/// The request of a run, with this run and the runs in `earlier`.
pub(super) fn with_run(run: Run, earlier: Option<Filed>) -> Filed {
    let mut filed = filed(run.request.clone(), earlier, None);
    filed.runs.push(RunRow::from(run));
    filed
}

/// The newest `limit` requests of a channel, or of all channels: those in `ended`, which have ended or have ended runs, and
/// those of the state.
pub(super) fn newest(
    mut ended: BTreeMap<u64, Filed>,
    state: &State,
    channel: Option<&Channel>,
    limit: usize,
) -> Vec<Filed> {
    for request in state.queue.values() {
        let open = filed(request.clone(), ended.remove(&request.id), None);
        ended.insert(request.id, open);
    }
    for run in state.runs.values() {
        let id = run.request.id;
        let open = with_run(run.clone(), ended.remove(&id));
        ended.insert(id, open);
    }
    let of_channel = |filed: &Filed| channel.is_none_or(|of| filed.request.target.channel == *of);
    let newest = ended.into_values().rev().filter(of_channel);
    newest.take(limit).collect()
}

/// The newest `limit` requests for verdicts on builds of a channel, or of all: those that `ended`, and those of the state.
pub(super) fn newest_verdicts(
    mut ended: BTreeMap<u64, FiledVerdict>,
    state: &State,
    channel: Option<&Channel>,
    limit: usize,
) -> Vec<FiledVerdict> {
    ended.extend(state.verdicts.values().map(|request| {
        let (request, end) = (request.clone(), None);
        (request.id, FiledVerdict { request, end })
    }));
    let of_channel =
        |filed: &FiledVerdict| channel.is_none_or(|of| filed.request.build.channel == *of);
    let newest = ended.into_values().rev().filter(of_channel);
    newest.take(limit).collect()
}
