//! Random sequences of all operations that change a mirror, also interrupted ones, compared with a mirror that is a map.
//!
//! [`mirror::Mirror`] predicts the effect of a [`mirror::Step`] on a channel: a list of states, from the one before to the one
//! after. A complete step must end in the last state; an interrupted one may end in any of them, and the store is then reopened.
//! After each step the store must show what the model predicts, and every build must verify.
//!
//! `PROPTEST_CASES` sets the number of sequences.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use stx_layout::{AliasEntry, AliasName, BuildDate, BuildState};

use crate::conformance::{sample_id, sample_request};
use crate::faulty::{Fault, FaultyStore};
use crate::memory::MemoryStore;
use crate::publish::{prepare, publish};
use crate::store::{MirrorStore, Retired, Scope, read_all};
use crate::verify::{FindingKind, repair, verify};

mod mirror;

use mirror::{Build, Mirror, Shown, Step};

/// The point at which a step is interrupted.
#[derive(Debug, Clone, Copy)]
enum Stop {
    /// It is not interrupted.
    Never,
    /// At a call of the store.
    AtCall(Fault, usize),
    /// At an internal step of the store, as by a crash; at a call if the store has no internal steps.
    AtStep(usize),
}

/// A step of a generated test, and the point of its interruption.
#[derive(Clone)]
struct Move {
    step: Step,
    stop: Stop,
}

impl fmt::Debug for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stop {
            Stop::Never => write!(f, "{:?}", self.step),
            stop => write!(f, "{:?}, stopped {stop:?}", self.step),
        }
    }
}

/// The reference model, from which steps are generated. It assumes that an interrupted step does nothing; the real effect is
/// observed when the step runs.
struct Moves;

impl ReferenceStateMachine for Moves {
    type State = Mirror;
    type Transition = Move;

    fn init_state() -> BoxedStrategy<Mirror> {
        Just(Mirror::empty()).boxed()
    }

    fn transitions(mirror: &Mirror) -> BoxedStrategy<Move> {
        let fault = prop::sample::select(Fault::ALL.as_slice());
        let stop = prop_oneof![
            3 => Just(Stop::Never),
            1 => (fault, 0..20_usize).prop_map(|(fault, at)| Stop::AtCall(fault, at)),
            1 => (0..16_usize).prop_map(Stop::AtStep),
        ];
        (mirror.steps(), stop)
            .prop_map(|(step, stop)| Move { step, stop })
            .boxed()
    }

    fn apply(mirror: Mirror, next: &Move) -> Mirror {
        let (mut states, _) = mirror.run(&next.step);
        match next.stop {
            Stop::Never => states.pop().unwrap_or(mirror),
            Stop::AtCall(..) | Stop::AtStep(_) => states.swap_remove(0),
        }
    }
}

/// A mirror that exists longer than its stores.
trait Medium: Sized + 'static {
    type Store: MirrorStore + Clone + 'static;

    fn new() -> Self;

    fn store(&self) -> Self::Store;

    /// The same mirror, interrupted at a step.
    fn stopped(&self, at: usize) -> Box<dyn MirrorStore>;
}

/// A real store under test, and the model of its contents.
struct Running<M> {
    medium: M,
    runtime: tokio::runtime::Runtime,
    mirror: Mirror,
    /// True if leftovers may exist.
    is_dirty: bool,
}

struct Publishing<M>(PhantomData<M>);

impl<M: Medium> StateMachineTest for Publishing<M> {
    type SystemUnderTest = Running<M>;
    type Reference = Moves;

    fn init_test(mirror: &Mirror) -> Running<M> {
        Running {
            medium: M::new(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime"),
            mirror: mirror.clone(),
            is_dirty: false,
        }
    }

    fn apply(mut running: Running<M>, _: &Mirror, next: Move) -> Running<M> {
        let store: Box<dyn MirrorStore> = match next.stop {
            Stop::Never => Box::new(running.medium.store()),
            Stop::AtCall(fault, at) => {
                Box::new(FaultyStore::new(running.medium.store(), fault, at))
            }
            Stop::AtStep(at) => running.medium.stopped(at),
        };
        let (states, is_right) = running.mirror.run(&next.step);
        let hour = running.mirror.hour;
        let done = running.runtime.block_on(perform(&*store, &next.step, hour));
        drop(store);
        let shown = running.runtime.block_on(contents(&running.medium.store()));
        let last = states.last().expect("at least the state before");
        match (done, next.stop) {
            (Ok(()), _) => {
                assert!(is_right, "{next:?} succeeds, and should be refused");
                assert!(
                    last.fits(&shown),
                    "{next:?} succeeds: {shown:?}, not {last:?}"
                );
                running.is_dirty &= !next.step.sweeps();
            }
            (Err(error), Stop::Never) => {
                assert!(!is_right, "{next:?}: {error}");
                assert!(
                    last.fits(&shown),
                    "{next:?} is refused: {shown:?}, not {last:?}"
                );
            }
            (Err(_), Stop::AtCall(..) | Stop::AtStep(_)) => {
                running.is_dirty = true;
            }
        }
        running.mirror = Mirror::reached(&states, &shown)
            .unwrap_or_else(|| panic!("{next:?}: {shown:#?}\nis none of {states:#?}"));
        running
    }

    fn check_invariants(running: &Running<M>, _: &Mirror) {
        let store = running.medium.store();
        let report = running.runtime.block_on(verify(&store, &Scope::All));
        let findings = report.expect("verified").findings;
        let mut expected = running.mirror.finding();
        for finding in findings {
            let left = finding.kind == FindingKind::Leftover && running.is_dirty;
            let known = left || expected.take_if(|kind| *kind == finding.kind).is_some();
            assert!(known, "{finding}");
        }
        assert_eq!(expected, None, "not found");
    }
}

/// Executes a step as a program would; the error is a line with all causes.
async fn perform(store: &dyn MirrorStore, step: &Step, hour: u32) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| crate::error::chain(error);
    let channel = sample_id(1).channel;
    match step {
        Step::Publish { day, build, force } => {
            let mut request = sample_request(*day, build.result, &build.content());
            request.force_alias = *force;
            let plan = prepare(store, request).await.map_err(|e| text(&e))?;
            publish(store, &plan).await.map_err(|e| text(&e))?;
        }
        Step::Retire { day } => {
            let writer = store.lock(&channel).await.map_err(|e| text(&e))?;
            let retired = writer.retire(sample_id(*day).date, at(hour).time()).await;
            retired.map_err(|e| text(&e))?;
        }
        Step::Restore { day, hour } => {
            let writer = store.lock(&channel).await.map_err(|e| text(&e))?;
            let restored = writer.restore(&retired(*day, *hour)).await;
            restored.map_err(|e| text(&e))?;
        }
        Step::Purge { day, hour } => {
            let writer = store.lock(&channel).await.map_err(|e| text(&e))?;
            let purged = writer.purge(&retired(*day, *hour)).await;
            purged.map_err(|e| text(&e))?;
        }
        Step::Repair => {
            let report = verify(store, &Scope::All).await.map_err(|e| text(&e))?;
            repair(store, &report).await.map_err(|e| text(&e))?;
        }
        Step::Sweep => {
            let writer = store.lock(&channel).await.map_err(|e| text(&e))?;
            writer.sweep().await.map_err(|e| text(&e))?;
        }
    }
    Ok(())
}

/// The builds and aliases that a reader of the store sees.
async fn contents(store: &dyn MirrorStore) -> Shown {
    let mut mirror = Shown::default();
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    let context = "outputs/CONTEXT".parse().expect("a path");
    for (id, entry) in catalog.builds() {
        let BuildState::Known(record) = &entry.state else {
            panic!("{id}: {:?}", entry.state);
        };
        let bytes = read_all(store, &id, &context, 100).await.expect("read");
        let build = Build::of(record.result, &Bytes::from(bytes));
        mirror.builds.insert(day(id.date), build);
    }
    let channel = catalog.channels.get(&sample_id(1).channel);
    mirror.held = channel.is_some_and(|channel| channel.held.contains(&AliasName::latest_build()));
    for retired in store.retired().await.expect("a list") {
        let hour = retired.at.time().signed_duration_since(at(0).time());
        let hour = u32::try_from(hour.num_hours()).expect("after the start");
        mirror.retired.insert((day(retired.id.date), hour));
    }
    let latest = AliasName::latest_build();
    let alias = store.alias(&sample_id(1).channel, &latest).await;
    mirror.latest = alias.expect("an alias").map(|alias| match alias {
        AliasEntry::Build(date) => day(date),
        AliasEntry::Other(text) => panic!("latest_build -> {text}"),
    });
    mirror
}

/// The time `hour` hours after the last build.
fn at(hour: u32) -> BuildDate {
    let time = sample_id(20).date.time() + chrono::TimeDelta::hours(hour.into());
    BuildDate::at(time).expect("a date")
}

fn retired(day: u32, hour: u32) -> Retired {
    let id = sample_id(day);
    Retired {
        id,
        at: at(hour),
        section: None,
    }
}

fn day(date: BuildDate) -> u32 {
    let mut days = 1..=mirror::DAYS;
    let day = days.find(|day| sample_id(*day).date == date);
    day.unwrap_or_else(|| panic!("{date} was never published"))
}

/// Runs `cases` sequences, unless `PROPTEST_CASES` sets another number.
fn config(cases: u32) -> Config {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => Config::default(),
        None => Config::with_cases(cases),
    }
}

struct Memory(MemoryStore);

impl Medium for Memory {
    type Store = MemoryStore;

    fn new() -> Self {
        Self(MemoryStore::new())
    }

    fn store(&self) -> MemoryStore {
        self.0.clone()
    }

    fn stopped(&self, at: usize) -> Box<dyn MirrorStore> {
        Box::new(FaultyStore::new(self.store(), Fault::FromThenOn, at))
    }
}

prop_state_machine! {
    #![proptest_config(config(256))]

    #[test]
    fn a_mirror_in_memory_matches_the_model(sequential 1..24 => Publishing<Memory>);
}

#[cfg(feature = "local")]
mod local;
