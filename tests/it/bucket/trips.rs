//! The number of times that a publish waits for a distant server.

use std::time::Duration;

use camino::Utf8Path;
use camino_tempfile::tempdir;

use super::far::{Asked, Far, chain, drawn};
use super::in_process::S3s;
use super::server::Server as _;
use super::{asked, date, publish_args};
use crate::harness::{Started, run, stx, wait};

/// The distance of the server: the time that each byte takes each way.
const DELAY: Duration = Duration::from_millis(50);

/// Three small files.
fn tiny(dir: &Utf8Path, day: u32) -> camino::Utf8PathBuf {
    let tree = dir.join(format!("tiny{day}"));
    let outputs = tree.join("outputs");
    fs_err::create_dir_all(&outputs).expect("a directory");
    for name in ["CONTEXT", "image.iso", "build.log"] {
        let text = format!("{name} of day {day}\n");
        fs_err::write(outputs.join(name), text).expect("written");
    }
    tree
}

/// Publishes a tiny tree; returns the requests.
fn publish(far: &Far, tree: &Utf8Path, day: u32) -> Vec<Asked> {
    drop(far.asked());
    let date = date(day);
    let args = publish_args(tree, &date);
    run(&mut asked(far, "s3://far/mirror", &args)).ok();
    far.asked()
}

/// The maximal number of consecutive round trips of a tiny publish, from its first connection until the lock of the channel is
/// released: the build is visible and the alias points at it.
const PUBLISHED: usize = 14;
/// The same until the pages are also written.
const SHOWN: usize = 28;

/// Counts the consecutive round trips of a publish to a server that is 50 ms away. On a busy machine, requests that are sent at the same
/// time may start one after another, which adds to the count; so the least of several days counts.
#[test]
fn a_tiny_publish_needs_few_round_trips() {
    let work = tempdir().expect("a directory");
    let server = S3s::start();
    server.make_bucket("far");
    let far = Far::from(&server, DELAY);
    let mut least = (usize::MAX, usize::MAX);
    for day in 1..=4 {
        let tree = tiny(work.path(), day);
        let all = publish(&far, &tree, day);
        let is_lock = |it: &Asked| it.what.contains("locks/master/centos/");
        let given_back = all
            .iter()
            .rposition(|it| is_lock(it) && it.what.starts_with("PUT "));
        let given_back = given_back.expect("the lock is given back");
        let published = chain(&all[..=given_back]).len();
        let shown = chain(&all).len();
        let drawing = drawn(&all);
        println!("day {day}: {published}, {shown}\n{drawing}");
        // The first build finds an empty mirror.
        if day > 1 {
            least = (least.0.min(published), least.1.min(shown));
        }
    }
    assert!(
        least.0 <= PUBLISHED && least.1 <= SHOWN,
        "{least:?} round trips one after another"
    );
}

/// Compares a bucket that is 50 ms away with a copy of it. Each build that both have takes a request for its `SHA256SUMS`; one after
/// another, they would take longer than the interval between two copies of a large mirror.
#[test]
fn a_copy_without_changes_checks_several_builds_at_a_time() {
    const BUILDS: u32 = 8;
    let work = tempdir().expect("a directory");
    let mirror = work.path().join("mirror");
    for day in 1..=BUILDS {
        let (tree, date) = (tiny(work.path(), day), date(day));
        run(stx(["--mirror", mirror.as_str()]).args(publish_args(&tree, &date))).ok();
    }
    let server = S3s::start();
    server.make_bucket("far");
    let (bucket, mirror) = ("s3://far/mirror", mirror.as_str());
    run(&mut asked(&server, bucket, &["copy", mirror, bucket])).ok();
    let far = Far::from(&server, DELAY);
    run(&mut asked(
        &far,
        bucket,
        &["copy", bucket, mirror, "--dry-run"],
    ))
    .ok();
    let mut all = far.asked();
    all.retain(|it| it.what.ends_with("/SHA256SUMS"));
    assert_eq!(all.len(), BUILDS as usize, "{}", drawn(&all));
    let waits = chain(&all).len();
    assert!(waits <= 3, "{waits} one after another\n{}", drawn(&all));
}

#[test]
fn a_publish_that_is_ended_by_a_signal_releases_its_lock() {
    use rustix::process::{Pid, Signal, kill_process};
    use std::os::unix::process::ExitStatusExt as _;

    let work = tempdir().expect("a directory");
    let server = S3s::start();
    server.make_bucket("ended");
    let far = Far::from(&server, DELAY);
    let tree = tiny(work.path(), 1);
    let date = date(1);
    let args = publish_args(&tree, &date);
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut command = asked(&far, "s3://ended/mirror", &args);
        let started = Started::new(command.stderr(std::process::Stdio::piped()));
        // Nothing but the lock is written before it is taken.
        wait("the lock is taken", || {
            let asked = far.asked();
            let writes = |it: &Asked| it.what.starts_with("PUT ") && !it.what.contains("/locks/");
            asked.iter().any(writes)
        });
        let id = i32::try_from(started.id()).expect("a process id");
        kill_process(Pid::from_raw(id).expect("a process"), signal).expect("it runs");
        let ended = started.output();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.signal(), None, "{said}");
        assert_eq!(ended.status.code(), Some(code), "{said}");
        assert!(said.contains("releasing the locks"), "{said}");
    }
    // Otherwise it would end as busy: the lease lasts for more than a minute.
    let again = run(&mut asked(&far, "s3://ended/mirror", &args)).ok();
    assert!(again.contains("published"), "{again}");
}
