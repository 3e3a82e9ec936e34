//! The sweep: one run for each change and each fault, and the checks after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use nix::errno::Errno;

use super::decode::needs_room;
use super::outside::wrong;
use super::tracer::{Fault, Point, Traced, Victim, trace};
use super::tree::Tree;
use super::{TODAY, command};
use crate::harness::{Ran, in_memory, run, tool};

/// The number of parallel runs.
const SIDE_BY_SIDE: usize = 2;
/// The number of attempts for a call that a run did not reach, because another thread was faster.
const TRIES: usize = 5;

/// Finds the faults of a mirror, given its tree, the tree before the change and the expected tree after it.
type Wrong = fn(&Utf8Path, &Tree, &[&Tree]) -> Vec<String>;

/// A command to sweep.
pub(super) struct Sweep {
    /// Its name in messages.
    pub(super) name: &'static str,
    /// The arguments after `--mirror DIR`.
    pub(super) args: Vec<String>,
    /// Finds the faults that a reader would see.
    wrong: Wrong,
    /// A directory with `mirror` and the other files of the command; copied for each run.
    before: Utf8PathBuf,
    _dir: Utf8TempDir,
}

impl Sweep {
    pub(super) fn new(
        name: &'static str,
        args: &[String],
        prepare: impl FnOnce(&Utf8Path),
    ) -> Self {
        let dir = in_memory();
        let before = dir.path().join("before");
        fs_err::create_dir(&before).expect("a directory");
        prepare(&before);
        Self {
            name,
            args: args.to_vec(),
            wrong,
            before,
            _dir: dir,
        }
    }

    /// The same with another function to find faults.
    pub(super) fn judged_by(self, wrong: Wrong) -> Self {
        Self { wrong, ..self }
    }

    pub(super) fn at(&self, slot: &str) -> Utf8PathBuf {
        self.before.with_file_name(slot)
    }

    /// Makes a sandbox with the state before the command.
    pub(super) fn restore(&self, slot: &str) -> Utf8PathBuf {
        let sandbox = self.at(slot);
        if sandbox.exists() {
            fs_err::remove_dir_all(&sandbox).expect("removed");
        }
        run(&mut tool(
            "cp",
            ["-a", self.before.as_str(), sandbox.as_str()],
        ))
        .ok();
        sandbox
    }

    pub(super) fn trace(&self, slot: &str, fault: Option<(&Point, Fault)>) -> Traced {
        let sandbox = self.restore(slot);
        trace(
            &command(&sandbox, TODAY, &self.args),
            sandbox.as_std_path(),
            fault,
        )
    }

    pub(super) fn run(&self) {
        let started = Instant::now();
        let before = Tree::read(&self.before.join("mirror"));
        let undisturbed = self.trace("undisturbed", None);
        assert_eq!(undisturbed.code, Some(0), "{}", undisturbed.stderr);
        let goal = Tree::read(&self.at("undisturbed").join("mirror"));
        assert_eq!(
            (self.wrong)(
                &self.at("undisturbed").join("mirror"),
                &goal,
                &[&before, &goal]
            ),
            Vec::<String>::new()
        );
        let points: BTreeSet<_> = undisturbed.made.iter().cloned().collect();
        assert_eq!(
            points.len(),
            undisturbed.made.len(),
            "each change is one point"
        );

        let mut work = Vec::new();
        for point in &points {
            work.extend(faults(point).into_iter().map(|fault| (point, fault)));
        }
        let next = AtomicUsize::new(0);
        let reached = Mutex::new(BTreeMap::<&Point, usize>::new());
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for slot in 0..SIDE_BY_SIDE {
                let (next, reached, failed, work) = (&next, &reached, &failed, &work);
                let (before, goal) = (&before, &goal);
                scope.spawn(move || {
                    let slot = format!("slot-{slot}");
                    while let Some((point, fault)) = work.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        match self.disturb(&slot, before, goal, point, *fault) {
                            Ok(()) => {
                                *reached.lock().expect("a lock").entry(point).or_default() += 1;
                            }
                            Err(what) => failed
                                .lock()
                                .expect("a lock")
                                .push(format!("{fault:?} at {point}: {what}")),
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().expect("a lock");
        let reached = reached.into_inner().expect("a lock");
        println!(
            "{}: {} changing calls swept, {} of them in children, {} runs, {} failed, {:.0?}",
            self.name,
            reached.len(),
            reached.keys().filter(|point| point.in_child).count(),
            work.len(),
            failed.len(),
            started.elapsed(),
        );
        assert!(
            failed.is_empty(),
            "{}: {} of {} runs\n{}",
            self.name,
            failed.len(),
            work.len(),
            failed.join("\n")
        );
        assert_eq!(reached.len(), points.len(), "every call was reached");
    }

    /// Makes one run with a fault, and checks the result.
    fn disturb(
        &self,
        slot: &str,
        before: &Tree,
        goal: &Tree,
        point: &Point,
        fault: Fault,
    ) -> Result<(), String> {
        let mut traced = self.trace(slot, Some((point, fault)));
        for _ in 1..TRIES {
            if traced.reached {
                break;
            }
            traced = self.trace(slot, Some((point, fault)));
        }
        if !traced.reached {
            return Err(format!("not reached in {TRIES} runs"));
        }
        let sandbox = self.at(slot);
        let mirror = sandbox.join("mirror");
        let tree = Tree::read(&mirror);
        let mut bad = (self.wrong)(&mirror, &tree, &[before, goal]);
        bad.extend(answer(&traced, fault));
        bad.extend(claims_too_much(&traced.stderr, before, goal, &tree));
        if traced.code == Some(0) && !is_as_good(&tree, goal, point) {
            bad.push(format!(
                "it said that it was done, but {:?}",
                tree.differences(goal)
            ));
        }
        let rerun = run(&mut command(&sandbox, TODAY, &self.args));
        if rerun.code != Some(0) {
            bad.push(format!("the rerun: {}", said(&rerun)));
        }
        let tree = Tree::read(&mirror);
        bad.extend((self.wrong)(&mirror, &tree, &[before, goal]));
        if !is_as_good(&tree, goal, point) {
            bad.push(format!("after the rerun: {:?}", tree.differences(goal)));
        }
        let verified = run(&mut command(&sandbox, TODAY, &["verify"]));
        if verified.code != Some(0) {
            bad.push(format!("verify: {}", said(&verified)));
        }
        if bad.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{}\n  exit {:?}, {}",
            bad.join("\n  "),
            traced.code,
            traced.stderr
        ))
    }
}

/// The faults to inject at a change.
fn faults(point: &Point) -> Vec<Fault> {
    let mut faults = vec![
        Fault::Kill(Victim::All),
        Fault::Once(Errno::EIO),
        Fault::Once(Errno::EINTR),
        Fault::FromThenOn(Errno::EIO),
    ];
    if needs_room(point.name) {
        faults.extend([Fault::Once(Errno::ENOSPC), Fault::FromThenOn(Errno::ENOSPC)]);
    }
    if point.in_child {
        faults.extend([Fault::Kill(Victim::Command), Fault::Kill(Victim::Children)]);
    }
    faults
}

/// The mistakes in the result of the command, one per line.
fn answer(traced: &Traced, fault: Fault) -> Vec<String> {
    let mut bad = Vec::new();
    if traced.stderr.contains("panicked") {
        bad.push("it panicked".to_owned());
    }
    if let Fault::Kill(Victim::All | Victim::Command) = fault {
        if traced.code.is_some() {
            bad.push("it was not killed".to_owned());
        }
        return bad;
    }
    match traced.code {
        Some(0) => {}
        Some(2..=6) => {
            let named = traced
                .refused
                .iter()
                .any(|point| names_it(&traced.stderr, point));
            if !traced.stderr.contains("error: ") || !named {
                bad.push("it does not say what failed".to_owned());
            }
        }
        code => bad.push(format!("ended with {code:?}")),
    }
    bad
}

/// The false claim of a message that a new build is visible, or that it is not.
fn claims_too_much(message: &str, before: &Tree, goal: &Tree, tree: &Tree) -> Option<String> {
    let records = |tree: &Tree| -> BTreeSet<String> {
        let paths = tree.nodes.keys().filter(|path| !path.contains(".stx/"));
        let records = paths.filter(|path| path.ends_with("/build.json"));
        records.cloned().collect()
    };
    let (before, goal, there) = (records(before), records(goal), records(tree));
    let mut new = goal.difference(&before);
    let record = new.next()?;
    let is_there = there.contains(record);
    let says_no = [
        "nothing of the build is visible",
        "nothing was published",
        ": not published",
    ];
    let says_no = says_no.iter().any(|text| message.contains(text));
    let says_yes = message.contains("hint: the build is visible");
    ((is_there && says_no) || (!is_there && says_yes))
        .then(|| format!("it claims too much: {record} is there: {is_there}"))
}

/// True if a message names the path of a change, or the build or leftover that contains it.
fn names_it(message: &str, point: &Point) -> bool {
    if point.in_child {
        return message.contains("createrepo_c");
    }
    let mut paths = point.paths.iter().flat_map(|path| {
        let above = Utf8Path::new(path).ancestors().skip(1);
        std::iter::once(path.as_str()).chain(above.filter_map(|dir| {
            let name = dir.file_name()?;
            (name.starts_with("2020") || name.starts_with("%2E")).then_some(dir.as_str())
        }))
    });
    paths.any(|path| message.contains(path.trim_start_matches("mirror/")))
}

/// True if a tree equals the expected one. If a link could not be made, the bytes may exist twice.
fn is_as_good(tree: &Tree, goal: &Tree, point: &Point) -> bool {
    tree == goal || (point.name.starts_with("link") && tree.nodes == goal.nodes)
}

fn said(ran: &Ran) -> String {
    format!("exit {:?}: {}{}", ran.code, ran.stdout, ran.stderr)
}
