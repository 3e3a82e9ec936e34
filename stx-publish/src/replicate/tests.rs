use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;
use camino_tempfile::{Utf8TempDir, tempdir};
use stx_layout::{BuildOutcome, BuildPath, BuildRecord, Sums};

use super::*;
use crate::Cleared;
use crate::conformance::retention::{sample_pin, sample_section};
use crate::conformance::{sample_id, sample_request};
use crate::faulty::{Fault, FaultyStore};
use crate::incoming::{Entry, Incoming};
use crate::local::LocalStore;
use crate::memory::MemoryStore;
use crate::plan::PublishRequest;
use crate::publish::{prepare, publish};
use crate::store::{Depth, MirrorStore, read_all};
use crate::verify::{FindingKind, repair, verify};

async fn put(store: &dyn MirrorStore, day: u32, result: BuildOutcome, text: &str) {
    let plan = prepare(store, sample_request(day, result, text)).await;
    let published = publish(store, &plan.expect("a plan")).await;
    drop(published.expect("published"));
}

fn mirror() -> (Utf8TempDir, LocalStore) {
    let dir = tempdir().expect("a directory");
    let store = LocalStore::create(dir.path().join("mirror")).expect("a mirror");
    (dir, store)
}

async fn planned(from: &dyn MirrorStore, to: &dyn MirrorStore, delete: bool) -> CopyPlan {
    let request = CopyRequest {
        delete,
        thinned: true,
        ..CopyRequest::default()
    };
    let (mut one, mut other) = survey(from, to, &request).await.expect("read");
    for (store, side) in [(from, &mut one), (to, &mut other)] {
        side.pins = store.pins(&Scope::All).await.expect("pins");
    }
    plan(&one, &other, &request)
}

async fn copied(
    from: &dyn MirrorStore,
    to: &dyn MirrorStore,
    delete: bool,
) -> Result<CopyReport, CopyError> {
    let plan = planned(from, to, delete).await;
    let work = tempdir().expect("a directory");
    let now = sample_id(20).date.time();
    copy(from, to, &plan, work.path(), now, &|_| {}).await
}

#[tokio::test]
async fn each_build_is_copied_once_in_order_of_date() {
    let ((_one, from), (_other, to)) = (mirror(), mirror());
    for day in [3, 1, 2] {
        let text = format!("day {day}");
        put(&from, day, BuildOutcome::Success, &text).await;
    }
    put(&from, 4, BuildOutcome::Fail, "day 4").await;
    let report = copied(&from, &to, false).await.expect("copied");
    assert_eq!(report.copied, [1, 2, 3, 4].map(sample_id));
    assert_eq!(report.moved, ["master/centos/latest_build"]);
    assert!(report.shared > 0, "what is there is not brought again");
    for day in 1..=4 {
        for name in [BuildRecord::FILE_NAME, Sums::FILE_NAME] {
            let path = name.parse().expect("a path");
            let read = async |store: &LocalStore| {
                let read = read_all(store, &sample_id(day), &path, 10_000).await;
                read.expect("read")
            };
            assert_eq!(read(&from).await, read(&to).await, "{day}: {name}");
        }
    }
    let report = verify(&to, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, []);
    let again = planned(&from, &to, true).await;
    assert!(again.is_noop(), "{again}");
    assert_eq!(again.problems(), [""; 0]);
}

/// Files of zeros and equal files, from a mirror on which they are read in place and from one from which they are fetched.
#[tokio::test]
async fn holes_and_shared_files_are_kept_by_a_copy() {
    let (dir, near) = mirror();
    let afar = MemoryStore::new();
    let tree = dir.path().join("tree");
    fs_err::create_dir_all(tree.join("outputs")).expect("made");
    let mut image = vec![0; 8 << 20];
    image[5 << 20] = 1;
    let image = Bytes::from(image);
    let mut generated = Incoming::default();
    for name in ["outputs/one.img", "outputs/other.img"] {
        fs_err::write(tree.join(name), &image).expect("written");
        let path = name.parse().expect("a path");
        let entry = Entry::Generated(image.clone());
        generated.entries.insert(path, entry);
    }
    let id = sample_id(1);
    let scanned = crate::scan::scan(&tree).expect("scanned");
    for (from, incoming, shared) in [
        (&near as &dyn MirrorStore, scanned, 8 << 20),
        (&afar as &dyn MirrorStore, generated, 0),
    ] {
        let record = BuildRecord::new(id.clone(), BuildOutcome::Success);
        let request = PublishRequest::new(
            record,
            Cleared::unsearched(incoming, "made for a test"),
            id.date.time(),
        );
        let plan = prepare(from, request).await.expect("a plan");
        let published = publish(from, &plan).await.expect("published");
        assert_eq!(published.shared, shared, "{from:?}");
        let (_dir, to) = mirror();
        copied(from, &to, false).await.expect("copied");
        let build = to.root().join(id.to_string());
        let of = |name: &str| fs_err::metadata(build.join("outputs").join(name)).expect("a file");
        let (one, other) = (of("one.img"), of("other.img"));
        assert_eq!((one.size(), one.ino()), (8 << 20, other.ino()));
        assert!(one.blocks() < 100, "{} blocks", one.blocks());
        let report = verify(&to, &Scope::All).await.expect("verified");
        assert_eq!(report.findings, []);
    }
}

#[tokio::test]
async fn a_copy_moves_no_alias_back_unless_forced() {
    let ((_one, from), (_other, to)) = (mirror(), mirror());
    put(&from, 1, BuildOutcome::Success, "day 1").await;
    put(&to, 2, BuildOutcome::Success, "its own").await;
    let report = copied(&from, &to, false).await.expect("copied");
    assert_eq!(report.copied, [sample_id(1)]);
    assert_eq!(report.moved, [""; 0]);
    assert_eq!(report.left.len(), 1, "{report:?}");
    let report = copied(&from, &to, true).await.expect("copied");
    assert_eq!(report.moved, ["master/centos/latest_build"]);
    assert_eq!(report.retired, [sample_id(2)]);
    let report = verify(&to, &Scope::All).await.expect("verified");
    assert_eq!(report.findings, []);
    // Retired builds are not copied, and can be restored.
    let writer = to.lock(&sample_id(2).channel).await.expect("the lock");
    let retired = to.retired().await.expect("a list");
    writer.restore(&retired[0]).await.expect("restored");
}

#[tokio::test]
async fn a_different_build_with_the_same_date_is_not_a_copy() {
    let ((_one, from), (_other, to)) = (mirror(), mirror());
    put(&from, 1, BuildOutcome::Success, "one").await;
    put(&to, 1, BuildOutcome::Success, "another").await;
    let plan = planned(&from, &to, false).await;
    assert_eq!(plan.builds[0].verdict, BuildVerdict::Different);
    assert!(!plan.problems().is_empty());
    let report = copied(&from, &to, false).await.expect("nothing to do");
    assert_eq!(report.copied, []);
}

/// Takes sections from the build of a day; the mirror has a newer build.
async fn thin(store: &dyn MirrorStore, day: u32, sections: &[&str]) {
    let sections: Vec<_> = sections
        .iter()
        .map(|name| sample_section(name, 10))
        .collect();
    let writer = store.lock(&sample_id(day).channel).await.expect("the lock");
    let taken = writer.thin(sample_id(day).date, &sections).await;
    assert_eq!(taken.expect("thinned").len(), sections.len());
}

#[tokio::test]
async fn a_thinned_build_is_copied_as_thinned() {
    let (_one, near) = mirror();
    let afar = MemoryStore::new();
    for from in [&near as &dyn MirrorStore, &afar] {
        for day in [1, 2] {
            put(from, day, BuildOutcome::Success, &format!("day {day}")).await;
        }
        thin(from, 1, &["inputs", "outputs/iso"]).await;
        let (_other, to) = mirror();
        let report = copied(from, &to, false).await.expect("copied");
        assert_eq!(
            (report.copied, report.left),
            ([1, 2].map(sample_id).to_vec(), vec![])
        );
        for store in [from, &to] {
            let found = store.inspect(&sample_id(1), Depth::Listing).await;
            let found = found.expect("there");
            assert_eq!(
                found.thinned,
                thinned(from, &sample_id(1)).await.expect("a record")
            );
            let names: Vec<_> = found.found.keys().map(BuildPath::as_str).collect();
            assert!(!names.iter().any(|name| name.contains("iso")), "{names:?}");
        }
        let report = verify(&to, &Scope::All).await.expect("verified");
        assert_eq!(report.findings, []);
        assert!(planned(from, &to, true).await.is_noop());
        // No signature covers the record of the sections.
        let request = CopyRequest::default();
        let (_third, third) = mirror();
        let (one, other) = survey(from, &third, &request).await.expect("read");
        let plan = plan(&one, &other, &request);
        assert_eq!(plan.builds[0].verdict, BuildVerdict::Thinned);
        assert!(plan.problems()[0].contains("no signature says which"));
    }
}

#[tokio::test]
async fn pins_are_copied_and_never_shortened() {
    let ((_one, from), (_other, to)) = (mirror(), mirror());
    put(&from, 1, BuildOutcome::Success, "day 1").await;
    let pin = |author, day: Option<u32>| {
        let until = day.map(|day| sample_id(day).date.time());
        sample_pin(&sample_id(1), author, until)
    };
    let set = async |store: &dyn MirrorStore, pin: &Pin| {
        let writer = store.lock(&pin.build.channel).await.expect("the lock");
        writer.pin(pin).await.expect("pinned");
    };
    let pins = async |store: &dyn MirrorStore| store.pins(&Scope::All).await.expect("pins");
    set(&from, &pin("anna", None)).await;
    set(&from, &pin("ben", Some(20))).await;
    let report = copied(&from, &to, false).await.expect("copied");
    assert_eq!(report.pinned, 2);
    assert_eq!(pins(&to).await, pins(&from).await);
    // A pin of another author does not replace one, and a longer pin replaces the same author's.
    set(&to, &pin("zoe", None)).await;
    set(&from, &pin("cleo", Some(22))).await;
    set(&to, &pin("cleo", Some(20))).await;
    set(&from, &pin("dora", Some(20))).await;
    let report = copied(&from, &to, false).await.expect("copied");
    assert_eq!(report.pinned, 2);
    let expected = [
        pin("anna", None),
        pin("ben", Some(20)),
        pin("cleo", Some(22)),
        pin("dora", Some(20)),
        pin("zoe", None),
    ];
    assert_eq!(pins(&to).await, expected);
    assert!(planned(&from, &to, false).await.is_noop());
    // On the other mirror, one pin of the same author ends later, and one ends earlier.
    set(&to, &pin("ben", Some(21))).await;
    set(&to, &pin("anna", Some(21))).await;
    let plan = planned(&from, &to, false).await;
    assert_eq!(plan.pins, [pin("anna", None)]);
    assert!(
        !plan.is_noop() && plan.to_string().contains("pin    master/centos/"),
        "{plan}"
    );
    copied(&from, &to, false).await.expect("copied");
    assert_eq!(
        pins(&to).await[..2],
        [pin("anna", None), pin("ben", Some(21))]
    );
}

#[tokio::test]
async fn an_interrupted_copy_is_resumed() {
    let (_one, from) = mirror();
    for day in [1, 2] {
        let text = format!("day {day}");
        put(&from, day, BuildOutcome::Success, &text).await;
    }
    thin(&from, 1, &["inputs"]).await;
    let pin = sample_pin(&sample_id(1), "anna", None);
    let writer = from.lock(&pin.build.channel).await.expect("the lock");
    writer.pin(&pin).await.expect("pinned");
    drop(writer);
    for fault in Fault::ALL {
        for at in 0.. {
            let (_other, to) = mirror();
            let faulty = FaultyStore::new(to.clone(), fault, at);
            let request = CopyRequest {
                thinned: true,
                ..CopyRequest::default()
            };
            let context = format!("{fault:?} at call {at}");
            let done = match survey(&from, &faulty, &request).await {
                Err(_) => false,
                Ok((mut one, other)) => {
                    one.pins.push(pin.clone());
                    let plan = plan(&one, &other, &request);
                    let work = tempdir().expect("a directory");
                    let now = sample_id(20).date.time();
                    copy(&from, &faulty, &plan, work.path(), now, &|_| {})
                        .await
                        .is_ok()
                }
            };
            let report = verify(&to, &Scope::All).await.expect("verified");
            let wrong = report.findings.iter().filter(|finding| {
                !matches!(
                    finding.kind,
                    FindingKind::Leftover | FindingKind::AliasMissing | FindingKind::AliasNotNewest
                )
            });
            assert_eq!(wrong.count(), 0, "{context}: {report}");
            copied(&from, &to, false).await.expect("the rerun");
            let report = verify(&to, &Scope::All).await.expect("verified");
            repair(&to, &report).await.expect("repaired");
            let report = verify(&to, &Scope::All).await.expect("verified");
            assert_eq!(report.findings, [], "{context}");
            let pins = to.pins(&Scope::All).await.expect("pins");
            assert_eq!(pins, std::slice::from_ref(&pin), "{context}");
            if !faulty.has_failed() {
                assert!(done, "{context}");
                assert!(at > 10, "only {at} calls");
                break;
            }
        }
    }
}

/// A mirror with this many channels of one build, each with an alias, a verdict and a pin.
fn numbered(channels: u32) -> Side {
    let mut side = Side::default();
    for number in 0..channels {
        let id = format!("feature/{number}/centos/20181101T060000Z");
        let id: BuildId = id.parse().expect("a build");
        side.pins.push(sample_pin(&id, "anna", None));
        side.verdicts.push(VerdictEntry {
            build: id.clone(),
            at: id.date.time(),
            verdict: stx_layout::Verdict::Green,
            author: "lab".to_owned(),
            reason: None,
            url: None,
        });
        side.sums.insert(id.clone(), Ok(Sha256([0; 32])));
        let record = BuildRecord::new(id.clone(), BuildOutcome::Success);
        let build = stx_layout::BuildEntry {
            state: BuildState::Known(Box::new(record)),
            keep_file: false,
        };
        let channel = side.catalog.channels.entry(id.channel).or_default();
        channel.builds.insert(id.date, build);
        let latest = AliasName::latest_build();
        channel.aliases.insert(latest, AliasEntry::Build(id.date));
    }
    side
}

/// Two channels with builds of the same date, and pins of the same author.
#[test]
fn builds_of_two_channels_are_distinguished() {
    let (from, mut to) = (numbered(2), numbered(2));
    let other = to.pins[1].build.clone();
    to.sums.insert(other, Ok(Sha256([1; 32])));
    to.pins.remove(0);
    to.verdicts.remove(0);
    let plan = plan(&from, &to, &CopyRequest::default());
    let builds = plan.builds.iter().map(|step| &step.verdict);
    assert!(builds.eq(&[BuildVerdict::Same, BuildVerdict::Different]));
    let aliases = plan.aliases.iter().map(|step| &step.verdict);
    assert!(aliases.eq(&[AliasVerdict::Same, AliasVerdict::NoBuild]));
    assert_eq!(plan.pins, from.pins[..1]);
    assert_eq!(plan.verdicts, from.verdicts[..1]);
}

/// Plans a large mirror once, and a small one so often that the number of builds is the same. Both take about the same time, unless
/// each build is searched for in a list of all: then the large mirror takes many times as long. Other load on the machine may slow
/// down one of the two, but hardly in every round.
#[test]
fn a_plan_takes_time_in_proportion_to_the_builds() {
    const SMALL: u32 = 300;
    const TIMES: u32 = 64;
    let request = CopyRequest::default();
    let mirrors = [(SMALL * TIMES, 1), (SMALL, TIMES)];
    let mirrors = mirrors.map(|(channels, times)| (numbered(channels), numbered(channels), times));
    let mut rounds = Vec::new();
    let is_linear = (0..5).any(|_| {
        let round = mirrors.each_ref().map(|(one, other, times)| {
            let start = std::time::Instant::now();
            for _ in 0..*times {
                assert!(plan(one, other, &request).is_noop());
            }
            start.elapsed()
        });
        rounds.push(round);
        round[0] < round[1] * 3
    });
    assert!(is_linear, "a large mirror, many small ones: {rounds:?}");
}

/// A mirror of three builds, the second one damaged in several ways; it is read in place, and fetched.
#[tokio::test]
async fn a_damaged_build_is_skipped_and_all_others_are_copied() {
    let path = |name: &str| name.parse::<BuildPath>().expect("a path");
    for what in [
        "outputs/RPMS/std/a.rpm",
        "no file",
        "SHA256SUMS",
        "build.json",
    ] {
        for latest in [2, 3] {
            let (afar, (_one, near)) = (MemoryStore::new(), mirror());
            let mut stores: [(&dyn MirrorStore, bool); 2] = [(&afar, true), (&near, false)];
            for (from, is_afar) in &mut stores {
                for day in 1..=latest {
                    put(*from, day, BuildOutcome::Success, &format!("day {day}")).await;
                }
                let id = sample_id(2);
                let sums = from.sums(&id).await.expect("sums");
                let first = sums.lines().iter().map(|line| line.path.clone());
                let first = first.clone().find(|it| it.as_str().starts_with("outputs/"));
                let first = first.expect("an output");
                let (file, bytes) = match what {
                    "no file" => (first, None),
                    "SHA256SUMS" => {
                        let lines = sums.lines().iter().filter(|line| line.path != first);
                        let rest: Sums = lines.cloned().collect();
                        (path(what), Some(rest.to_string()))
                    }
                    "build.json" => (path(what), Some("{".to_owned())),
                    _ => (first, Some("other bytes".to_owned())),
                };
                tamper(&afar, near.root(), *is_afar, &id, &file, bytes);
                let (_other, to) = mirror();
                let report = copied(*from, &to, false).await.expect("the rest");
                let others: Vec<_> = [1, 3].into_iter().filter(|day| *day <= latest).collect();
                let others: Vec<_> = others.into_iter().map(sample_id).collect();
                assert_eq!(report.copied, others, "{what}");
                let about = format!("{id}: ");
                assert!(report.left[0].starts_with(&about), "{what}: {report:?}");
                let is_moved = report.moved == ["master/centos/latest_build"];
                assert_eq!(is_moved, latest == 3, "{what}: {report:?}");
                let found = verify(&to, &Scope::All).await.expect("verified").findings;
                let is_alias = |kind| kind == FindingKind::AliasMissing;
                assert!(
                    found.iter().all(|it| is_alias(it.kind)),
                    "{what}: {found:?}"
                );
            }
        }
    }
}

/// Retention does not wait for a copy that takes hours.
#[tokio::test]
async fn builds_that_were_retired_meanwhile_are_skipped() {
    let ((_one, from), (_other, to)) = (mirror(), mirror());
    for day in [1, 2, 3] {
        put(&from, day, BuildOutcome::Success, &format!("day {day}")).await;
    }
    let plan = planned(&from, &to, false).await;
    // The plan's alias moves to a newer build, and its old build is retired, too.
    put(&from, 4, BuildOutcome::Success, "day 4").await;
    let now = sample_id(20).date.time();
    for day in [1, 3] {
        let writer = from.lock(&sample_id(day).channel).await.expect("the lock");
        let retired = writer.retire(sample_id(day).date, now).await;
        drop(retired.expect("retired"));
    }
    let work = tempdir().expect("a directory");
    let report = copy(&from, &to, &plan, work.path(), now, &|_| {}).await;
    let report = report.expect("copied");
    assert_eq!(report.copied, [sample_id(2)]);
    assert_eq!(report.gone, [1, 3].map(sample_id));
    assert_eq!(report.left, [""; 0]);
    let report = copied(&from, &to, false).await.expect("copied");
    assert_eq!(report.copied, [sample_id(4)]);
    assert_eq!(report.moved, ["master/centos/latest_build"]);
}

/// Writes into a build of one of two mirrors, as a bad disk would.
fn tamper(
    afar: &MemoryStore,
    near: &camino::Utf8Path,
    is_afar: bool,
    id: &BuildId,
    file: &BuildPath,
    bytes: Option<String>,
) {
    if is_afar {
        return afar.tamper_file(id, file, bytes.map(Bytes::from));
    }
    let file = near.join(id.to_string()).join(file.as_str());
    match bytes {
        Some(bytes) => {
            // Removed first, because a file of another build may be a link to it.
            fs_err::remove_file(&file).expect("removed");
            fs_err::write(&file, bytes).expect("written");
        }
        None => fs_err::remove_file(&file).expect("removed"),
    }
}

#[tokio::test]
async fn a_plan_retires_nothing_that_the_mirror_keeps() {
    let ((_one, from), (_other, to)) = (mirror(), mirror());
    put(&from, 2, BuildOutcome::Success, "day 2").await;
    for day in [1, 3, 4] {
        put(&to, day, BuildOutcome::Success, &format!("day {day}")).await;
    }
    let id = sample_id(1);
    let writer = to.lock(&id.channel).await.expect("the lock");
    let pin = sample_pin(&id, "ann", None);
    writer.pin(&pin).await.expect("pinned");
    // An alias that the first mirror does not have stays.
    let (own, three) = ("latest_docker_images", sample_id(3).date);
    let own: AliasName = own.parse().expect("an alias");
    writer.point(&own, None, Some(three)).await.expect("moved");
    drop(writer);
    let plan = planned(&from, &to, true).await;
    assert_eq!(plan.retire, [sample_id(4)]);
    let kept: Vec<_> = plan.kept.iter().map(|kept| kept.build.clone()).collect();
    assert_eq!(kept, [id, sample_id(3)]);
    let report = copied(&from, &to, true).await.expect("copied");
    assert_eq!(report.retired, plan.retire);
    assert_eq!(report.left, plan.problems());
}
