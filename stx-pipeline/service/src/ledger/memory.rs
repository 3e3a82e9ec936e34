//! The reference implementation: a ledger in memory.

use std::collections::BTreeMap;

use stx_layout::Channel;

use super::history::{filed, newest, newest_verdicts, with_run};
use super::{Change, Done, Filed, FiledVerdict, Ledger, LedgerError, State};

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
        Ok(newest(self.done.clone(), &self.state, channel, limit))
    }

    fn verdicts(
        &self,
        channel: Option<&Channel>,
        limit: usize,
    ) -> Result<Vec<FiledVerdict>, LedgerError> {
        let done = self.verdicts.clone();
        Ok(newest_verdicts(done, &self.state, channel, limit))
    }
}

impl MemoryLedger {
    fn keep(&mut self, done: Done) {
        match done {
            Done::Request(request, at, how) => {
                let id = request.id;
                let filed = filed(*request, self.done.remove(&id), Some((at, how)));
                self.done.insert(id, filed);
            }
            Done::Run(run) => {
                let id = run.request.id;
                let filed = with_run(*run, self.done.remove(&id));
                self.done.insert(id, filed);
            }
            Done::Verdict(request, end) => {
                let (request, end) = (*request, Some(end));
                self.verdicts
                    .insert(request.id, FiledVerdict { request, end });
            }
        }
    }
}
