//! The reference runner: runs scripted ends, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use async_trait::async_trait;

use super::{Cancel, Ended, Runner, Stream};
use crate::Invocation;

/// One scripted run of a phase of a [`ScriptedRunner`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scripted {
    /// Writes the lines and ends.
    Ends(Vec<String>, Ended),
    /// Hangs until its time limit if it has one, otherwise until the build is cancelled.
    Hangs,
    /// Sets `cancel` as a user would, then hangs.
    Cancels,
}

/// A [`Runner`] in memory. `PHASE` in the environment names the phase, whose scripted runs are played in order. A phase without
/// a script succeeds.
#[derive(Debug, Default)]
pub struct ScriptedRunner(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    scripts: BTreeMap<String, VecDeque<Scripted>>,
    invocations: Vec<Invocation>,
    running: usize,
    most: usize,
}

impl ScriptedRunner {
    /// A runner whose phases all succeed.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scripts the runs of `phase`, in order.
    ///
    /// # Panics
    /// If the phase runs more often, the runner panics.
    #[must_use]
    pub fn on(self, phase: &str, runs: impl IntoIterator<Item = Scripted>) -> Self {
        self.state()
            .scripts
            .insert(phase.to_owned(), runs.into_iter().collect());
        self
    }

    /// The invocations that were run, in order.
    pub fn invocations(&self) -> Vec<Invocation> {
        self.state().invocations.clone()
    }

    /// The most phases that ran at the same time.
    pub fn most_at_once(&self) -> usize {
        self.state().most
    }

    fn start(&self, invocation: &Invocation) -> Scripted {
        let mut state = self.state();
        state.invocations.push(invocation.clone());
        state.running += 1;
        state.most = state.most.max(state.running);
        let phase = invocation.variable("PHASE");
        match state.scripts.get_mut(phase) {
            None => Scripted::Ends(Vec::new(), Ended::Exited { code: 0 }),
            Some(runs) => runs
                .pop_front()
                .unwrap_or_else(|| panic!("phase {phase} ran more often than scripted")),
        }
    }
}

#[async_trait]
impl Runner for ScriptedRunner {
    async fn run(
        &self,
        invocation: &Invocation,
        output: &(dyn for<'l> Fn(Stream, &'l str) + Sync),
        cancel: &Cancel,
    ) -> Ended {
        let scripted = self.start(invocation);
        // Yield, so that phases overlap.
        let mut turns = 3;
        poll_fn(|context| {
            if turns == 0 {
                return Poll::Ready(());
            }
            turns -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        let ended = match scripted {
            Scripted::Ends(lines, ended) => {
                for line in lines {
                    output(Stream::Merged, &line);
                }
                ended
            }
            Scripted::Hangs => {
                if let Some(after) = invocation.timeout {
                    Ended::TimedOut { after }
                } else {
                    cancel.cancelled().await;
                    Ended::Cancelled
                }
            }
            Scripted::Cancels => {
                cancel.cancel();
                Ended::Cancelled
            }
        };
        self.state().running -= 1;
        ended
    }
}
