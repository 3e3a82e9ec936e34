//! The reference: a ledger that forgets when it is dropped.

use std::collections::BTreeMap;

use stx_layout::Channel;

use super::{Change, Done, Filed, FiledVerdict, Ledger, LedgerError, RunRow, State};

/// A ledger in memory, strict about the contract.
#[derive(Debug, Clone, Default)]
pub struct MemoryLedger {
    state: State,
    done: BTreeMap<u64, Filed>,
    verdicts: BTreeMap<u64, FiledVerdict>,
}

impl Ledger for MemoryLedger {
    fn state(&self) -> &State {
        &self.state
    }

    fn record(&mut self, changes: &[Change]) -> Result<(), LedgerError> {
        let mut next = self.state.clone();
        let mut done = Vec::new();
        for change in changes {
            done.extend(next.apply(change)?);
        }
        self.state = next;
        for done in done {
            self.keep(done);
        }
        Ok(())
    }

    fn history(&self, channel: Option<&Channel>, limit: usize) -> Result<Vec<Filed>, LedgerError> {
        let mut all = self.done.clone();
        for request in self.state.queue.values() {
            let filed = all
                .entry(request.id)
                .or_insert_with(|| filed(request.clone()));
            filed.request = request.clone();
        }
        for run in self.state.runs.values() {
            let filed = all
                .entry(run.request.id)
                .or_insert_with(|| filed(run.request.clone()));
            filed.request = run.request.clone();
            filed.runs.push(run.clone().into());
        }
        let of_channel =
            |filed: &Filed| channel.is_none_or(|of| filed.request.target.channel == *of);
        Ok(all
            .into_values()
            .rev()
            .filter(of_channel)
            .take(limit)
            .collect())
    }

    fn verdicts(
        &self,
        channel: Option<&Channel>,
        limit: usize,
    ) -> Result<Vec<FiledVerdict>, LedgerError> {
        let mut all = self.verdicts.clone();
        all.extend(self.state.verdicts.values().map(|request| {
            let (request, end) = (request.clone(), None);
            (request.id, FiledVerdict { request, end })
        }));
        let of_channel =
            |filed: &FiledVerdict| channel.is_none_or(|of| filed.request.build.channel == *of);
        let newest = all.into_values().rev().filter(of_channel);
        Ok(newest.take(limit).collect())
    }
}

impl MemoryLedger {
    fn keep(&mut self, done: Done) {
        match done {
            Done::Request(request, at, how) => {
                let filed = self
                    .done
                    .entry(request.id)
                    .or_insert_with(|| filed((*request).clone()));
                filed.request = *request;
                filed.closed = Some((at, how));
            }
            Done::Run(run) => {
                let filed = self
                    .done
                    .entry(run.request.id)
                    .or_insert_with(|| filed(run.request.clone()));
                filed.request = run.request.clone();
                filed.runs.push(RunRow::from(*run));
            }
            Done::Verdict(request, end) => {
                let (request, end) = (*request, Some(end));
                self.verdicts
                    .insert(request.id, FiledVerdict { request, end });
            }
        }
    }
}

fn filed(request: super::Request) -> Filed {
    Filed {
        request,
        closed: None,
        runs: Vec::new(),
    }
}
