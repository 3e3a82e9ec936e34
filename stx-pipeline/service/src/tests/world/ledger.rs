//! A ledger that fails on request of a test, and the points at which a test kills the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stx_layout::Channel;

use super::World;
use crate::ledger::{
    Change, Filed, FiledVerdict, Ledger, LedgerError, MemoryLedger, State, VerdictEnd,
};

/// More events than a test has.
const FUSE: u32 = 1_000_000;

/// The point at which the service is killed.
#[derive(Debug, Clone, Copy)]
pub(in crate::tests) enum Kill {
    Never,
    BeforeWrite(u32),
    AfterWrite(u32),
    Event(u32),
}

impl Kill {
    /// Every event, and the moments before and after every write; `counts` are the numbers of writes and events.
    pub(in crate::tests) fn everywhere((writes, events): (u32, u32)) -> impl Iterator<Item = Self> {
        let at_writes = (0..writes).flat_map(|n| [Self::BeforeWrite(n), Self::AfterWrite(n)]);
        (0..events).map(Self::Event).chain(at_writes)
    }

    /// Kills the service at this point, counted from now.
    pub(in crate::tests) fn arm(self, world: &World, ledger: &mut Breaking) {
        ledger.writes = 0;
        let (fuse, breaks) = match self {
            Self::Never => (FUSE, None),
            Self::BeforeWrite(n) => (FUSE, Some((n, false))),
            Self::AfterWrite(n) => (FUSE, Some((n, true))),
            Self::Event(n) => (n, None),
        };
        world.lock().fuse = Some(fuse);
        ledger.breaks = breaks;
    }

    /// Lets the service live from now on. Returns the numbers of writes and of events since [`arm`](Self::arm).
    pub(in crate::tests) fn disarm(world: &World, ledger: &mut Breaking) -> (u32, u32) {
        ledger.breaks = None;
        let left = world.lock().fuse.take();
        (ledger.writes, FUSE - left.unwrap_or(0).min(FUSE))
    }
}

/// A ledger that breaks at its n-th transaction, before or after it is written, and that cannot be written while its disk is
/// full.
pub(in crate::tests) struct Breaking {
    inner: MemoryLedger,
    writes: u32,
    breaks: Option<(u32, bool)>,
    /// True while the disk is full.
    pub(in crate::tests) full: Arc<AtomicBool>,
}

impl Breaking {
    pub(in crate::tests) fn new() -> Self {
        Self {
            inner: MemoryLedger::default(),
            writes: 0,
            breaks: None,
            full: Arc::default(),
        }
    }

    pub(in crate::tests) fn history(&self) -> Vec<Filed> {
        self.inner.history(None, usize::MAX).unwrap()
    }

    /// The ends of the requests for verdicts, in the order in which they were filed.
    pub(in crate::tests) fn verdict_ends(&self) -> Vec<Option<VerdictEnd>> {
        let filed = self.verdicts(None, usize::MAX).unwrap();
        let ends = filed.into_iter().rev();
        ends.map(|filed| filed.end.map(|end| end.how)).collect()
    }
}

impl Ledger for Breaking {
    fn state(&self) -> &State {
        self.inner.state()
    }

    fn record(&mut self, changes: &[Change]) -> Result<(), LedgerError> {
        if self.full.load(Ordering::Relaxed) {
            let source = "database or disk is full".into();
            return Err(LedgerError::Unavailable {
                op: "write",
                source,
            });
        }
        let broken = || LedgerError::Io {
            op: "write",
            source: "killed".into(),
        };
        let at = self.writes;
        self.writes += 1;
        match self.breaks {
            Some((n, false)) if n == at => Err(broken()),
            Some((n, true)) if n == at => {
                self.inner.record(changes)?;
                Err(broken())
            }
            _ => self.inner.record(changes),
        }
    }

    fn history(&self, channel: Option<&Channel>, limit: usize) -> Result<Vec<Filed>, LedgerError> {
        self.inner.history(channel, limit)
    }

    fn verdicts(
        &self,
        channel: Option<&Channel>,
        limit: usize,
    ) -> Result<Vec<FiledVerdict>, LedgerError> {
        self.inner.verdicts(channel, limit)
    }
}
