//! Executes a plan: hashes, and completes each build as soon as its files are hashed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stx_layout::{BuildId, BuildPath, Channel, ChannelEntry, Pin, VerdictEntry};
use stx_publish::local::Adopter;
use stx_publish::{LocalStore, StoreError};

use super::decide::{Adoption, Decision, MarkedVerdict, Reason};
use super::hash::{Digests, HashError};
use super::look::{Looked, look};
use super::report::{AdoptReport, Adopted, LeftBuild};
use super::{AdoptPlan, PlannedBuild, link, texts, work};
use crate::Site;
use crate::error::chain;
use crate::site::AdoptEvent;

/// The author of the pins that `KEEP` asks for, and of verdicts.
const AUTHOR: &str = "adopt";

/// The number of bytes to read between two saves of the digests: some seconds of work.
const WRITE_DOWN: u64 = 4 << 30;

/// The number of attempts to lock a channel in which another publisher works, and the pause between them.
const PATIENCE: u32 = 50;
const ASK_EVERY: Duration = Duration::from_millis(100);

/// The locks of the channels, one holder in this process at a time.
pub(super) struct Locks<'a> {
    store: &'a LocalStore,
    channels: BTreeMap<Channel, Mutex<()>>,
    /// Channels whose lock did not become free in time: each further build of them would wait as long.
    busy: Mutex<BTreeSet<Channel>>,
}

impl<'a> Locks<'a> {
    pub(super) fn new<'b>(
        store: &'a LocalStore,
        builds: impl Iterator<Item = &'b BuildId>,
    ) -> Self {
        let channels = builds.map(|id| (id.channel.clone(), Mutex::default()));
        Self {
            store,
            channels: channels.collect(),
            busy: Mutex::default(),
        }
    }

    /// The lock of a channel of this mirror, held as long as the result lives.
    pub(super) fn take(
        &self,
        channel: &Channel,
    ) -> Result<(Adopter, Option<MutexGuard<'_, ()>>), StoreError> {
        let alone = self.channels.get(channel);
        let alone = alone.map(|it| it.lock().unwrap_or_else(PoisonError::into_inner));
        let busy = || self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = if busy().contains(channel) {
            0
        } else {
            PATIENCE
        };
        for _ in 0..patience {
            match self.store.adopter(channel) {
                // The other publisher may finish soon.
                Err(StoreError::Busy { .. }) => std::thread::sleep(ASK_EVERY),
                taken => return Ok((taken?, alone)),
            }
        }
        let taken = self.store.adopter(channel);
        if let Err(StoreError::Busy { .. }) = taken {
            busy().insert(channel.clone());
        }
        Ok((taken?, alone))
    }
}

/// A build that becomes a full build.
struct Work<'a> {
    adoption: &'a Adoption,
    looked: &'a Looked,
}

/// Executes a plan. Blocks.
pub(super) fn apply(site: &Site, store: &LocalStore, plan: AdoptPlan) -> AdoptReport {
    let AdoptPlan {
        mut builds,
        options,
        full,
        full_builds,
        without_alias,
        ..
    } = plan;
    let mut report = AdoptReport {
        full,
        ..AdoptReport::default()
    };
    let ids: Vec<_> = builds.iter().map(|build| build.build.clone()).collect();
    let locks = Locks::new(store, ids.iter().chain(&full_builds));
    sweep(&locks, &mut report);
    let moved = builds
        .iter_mut()
        .filter_map(|build| move_parts(&locks, build));
    let without_alias: BTreeSet<_> = moved.chain(without_alias).collect();
    if options.fix_modes {
        // Before anything is hashed: this changes the timestamps by which hashed files are recognised.
        for build in &mut builds {
            fix_modes(&locks, build, &mut report);
        }
    }
    let jobs = options.jobs.unwrap_or_else(work::default_jobs);
    adopt_all(site, &locks, jobs, &builds, &mut report);
    for channel in &without_alias {
        let shown = locks.take(channel);
        let shown = shown.and_then(|(adopter, _alone)| adopter.show_newest());
        if let Err(error) = shown {
            report
                .problems
                .push(format!("{channel}: {}", chain(&error)));
        }
    }
    if options.link {
        let adopted = report.adopted.iter().map(|adopted| adopted.build.clone());
        let builds = adopted.chain(full_builds).collect();
        let problems = &mut report.problems;
        report.linked = Some(link::link(store.root(), &locks, &builds, problems));
    }
    report
}

/// Hashes the files of the builds that become full builds, and adopts each as soon as its last file is read.
fn adopt_all(
    site: &Site,
    locks: &Locks<'_>,
    jobs: NonZeroUsize,
    builds: &[PlannedBuild],
    report: &mut AdoptReport,
) {
    let mut work = Vec::new();
    for planned in builds {
        match (&planned.decision, &planned.looked) {
            (Decision::Adopt(adoption), Some(looked)) => work.push(Work { adoption, looked }),
            (Decision::Leave { reason, message }, _) => report.left.push(LeftBuild {
                build: planned.build.clone(),
                reason: *reason,
                message: message.clone(),
            }),
            (Decision::Adopt(_), None) => {}
        }
    }
    let looked: Vec<_> = work.iter().map(|work| work.looked).collect();
    let digests = Digests::of(&looked, locks.store.adopted_digests());
    let (read, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let found = Mutex::new((Vec::new(), Vec::new()));
    let count = work.len() as u64;
    site.progress().adopting(AdoptEvent::Begun {
        bytes: digests.bytes(),
        builds: count,
    });
    let finish = |index: usize| {
        let id = &work[index].looked.id;
        let result = adopt(site, locks, &digests, index, &work[index]);
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(adopted) => found.0.push(adopted),
            Err(left) => found.1.push(*left),
        }
        site.progress().adopting(AdoptEvent::Adopted {
            build: id,
            done: done.fetch_add(1, Ordering::Relaxed) + 1,
            of: count,
        });
    };
    let empty: Vec<_> = digests.complete().collect();
    work::each(jobs, empty.len(), |index| finish(empty[index]));
    work::each(jobs, digests.len(), |slot| {
        let (bytes, was_read, complete) = digests.hash(slot);
        if was_read {
            read.fetch_add(bytes, Ordering::Relaxed);
        }
        site.progress().adopting(AdoptEvent::Bytes(bytes));
        complete.into_iter().for_each(finish);
    });
    site.progress().finished();
    if let Some(hints) = digests.to_write_down(1) {
        // All digests are now in a `SHA256SUMS`, except those of builds that were skipped. The lock of any free channel will do: the
        // stored digests are those of the whole mirror.
        let mut free = locks.channels.keys();
        let adopter = free.find_map(|channel| locks.take(channel).ok());
        if let Some((adopter, _alone)) = adopter {
            adopter.keep_digests(hints);
        }
    }
    let (adopted, left) = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.adopted = adopted;
    report.left.extend(left);
    report.read = read.into_inner();
    report.files = digests.len() as u64;
    report.adopted.sort_by(|a, b| a.build.cmp(&b.build));
    report.left.sort_by(|a, b| a.build.cmp(&b.build));
}

/// Removes the leftovers of a killed adoption, even if no build remains to be adopted.
fn sweep(locks: &Locks<'_>, report: &mut AdoptReport) {
    for channel in locks.channels.keys() {
        match locks
            .store
            .adopter(channel)
            .and_then(|adopter| adopter.sweep())
        {
            // A publisher sweeps before it begins.
            Ok(_) | Err(StoreError::Busy { .. }) => {}
            Err(error) => report.problems.push(chain(&error).to_string()),
        }
    }
}

/// Moves the parts of an undated release into its build. Returns its channel if it moved them.
fn move_parts(locks: &Locks<'_>, planned: &mut PlannedBuild) -> Option<Channel> {
    planned.adoptable()?;
    let undated = planned.undated.as_ref()?;
    let id = planned.build.clone();
    let moved = locks.take(&id.channel);
    let moved = moved.and_then(|(adopter, _alone)| adopter.take_in(&id, &undated.parts));
    match moved {
        Ok(()) => Some(id.channel),
        Err(error) => {
            planned.decision = failed(&error);
            None
        }
    }
}

/// Gives files and directories the owner and mode that the publisher would give them.
fn fix_modes(locks: &Locks<'_>, planned: &mut PlannedBuild, report: &mut AdoptReport) {
    if planned.repairs.is_empty() || planned.adoptable().is_none() {
        return;
    }
    let id = planned.build.clone();
    let fixed = locks.take(&id.channel).and_then(|(adopter, _alone)| {
        for repair in &planned.repairs {
            let (owner, mode) = (repair.owner, repair.mode);
            let (owner, mode) = (owner.map(|(_, to)| to), mode.map(|(_, to)| to));
            adopter.set_owner_and_mode(&id, repair.path.as_ref(), owner, mode)?;
            report.repaired += 1;
        }
        Ok(())
    });
    if let Err(error) = fixed {
        planned.decision = failed(&error);
        return;
    }
    // The timestamps of the files have changed.
    if let Some(looked) = &mut planned.looked {
        looked.refresh();
    }
}

fn failed(error: &StoreError) -> Decision {
    Decision::Leave {
        reason: reason_of(error),
        message: chain(error).to_string(),
    }
}

fn reason_of(error: &StoreError) -> Reason {
    match error {
        StoreError::Busy { .. } => Reason::Busy,
        _ => Reason::Failed,
    }
}

/// Adopts a build whose files are hashed.
fn adopt(
    site: &Site,
    locks: &Locks<'_>,
    digests: &Digests,
    index: usize,
    work: &Work<'_>,
) -> Result<Adopted, Box<LeftBuild>> {
    let (id, looked) = (&work.looked.id, work.looked);
    let left = |reason: Reason, message: String| {
        Box::new(LeftBuild {
            build: id.clone(),
            reason,
            message,
        })
    };
    if let Some((file, HashError { reason, message })) = digests.failure(index) {
        let path = &looked.files[file].path;
        return Err(left(*reason, format!("{path}: {message}")));
    }
    let again = look(id, &looked.dir, &ChannelEntry::default(), 0);
    let again = again.map_err(|error| left(Reason::Unreadable, error.to_string()))?;
    if let Some(path) = looked.difference(&again) {
        let message = format!("{path} changed while the build was read; rerun the command later");
        return Err(left(Reason::BeingWritten, message));
    }
    let entries = looked.entries(|file| digests.digest(index, file));
    let record = work.adoption.record(id, site.now);
    let mut notes = work.adoption.notes.clone();
    notes.extend(looked.notes.iter().cloned());
    notes.extend(checksums(digests, index, looked));
    let sealed = locks.take(&id.channel).and_then(|(adopter, _alone)| {
        if work.adoption.pin {
            // Pin first: retention may retire an unpinned build as soon as its record tells its age.
            adopter.pin(&pin(id))?;
        }
        if let Some(marked) = &work.adoption.verdict {
            adopter.mark(&verdict(id, marked))?;
        }
        let sealed = adopter.seal(record, &entries)?;
        if let Some(hints) = digests.to_write_down(WRITE_DOWN) {
            adopter.keep_digests(hints);
        }
        Ok(sealed)
    });
    let record = sealed.map_err(|error| left(reason_of(&error), chain(&error).to_string()))?;
    Ok(Adopted {
        build: id.clone(),
        result: record.result,
        files: record.files,
        bytes: record.bytes,
        pinned: work.adoption.pin,
        verdict: work.adoption.verdict.as_ref().map(|marked| marked.verdict),
        notes,
    })
}

/// The pin of a build with a `KEEP` file.
fn pin(id: &BuildId) -> Pin {
    Pin {
        build: id.clone(),
        reason: format!("it contains the file {}", super::decide::KEEP),
        author: AUTHOR.to_owned(),
        until: None,
    }
}

/// The verdict that a mark records.
fn verdict(id: &BuildId, marked: &MarkedVerdict) -> VerdictEntry {
    VerdictEntry {
        build: id.clone(),
        at: marked.at,
        verdict: marked.verdict,
        author: AUTHOR.to_owned(),
        reason: Some(format!("it contains the file {}", marked.mark)),
        url: None,
    }
}

/// The files whose digests differ from the `StxChecksums` beside them. This is only a note: a file may have been replaced on purpose.
fn checksums(digests: &Digests, index: usize, looked: &Looked) -> Vec<String> {
    let files: BTreeMap<&BuildPath, usize> = looked
        .files
        .iter()
        .map(|file| &file.path)
        .zip(0..)
        .collect();
    let mut differ = Vec::new();
    for (name, text) in &looked.seen.texts {
        let Some(dir) = name.strip_suffix(texts::CHECKSUMS) else {
            continue;
        };
        for (name, said) in texts::checksums(text) {
            let Ok(path) = format!("{dir}{name}").parse::<BuildPath>() else {
                continue;
            };
            let digest = files
                .get(&path)
                .and_then(|file| digests.digest(index, *file));
            if digest.is_some_and(|digest| digest != said) {
                differ.push(path);
            }
        }
    }
    let mut note = String::new();
    if let Some(first) = differ.first() {
        let _ = write!(note, "{first}");
        if differ.len() > 1 {
            let _ = write!(note, " and {} more", differ.len() - 1);
        }
        note.push_str(": other bytes than StxChecksums says");
    }
    if note.is_empty() {
        Vec::new()
    } else {
        vec![note]
    }
}
