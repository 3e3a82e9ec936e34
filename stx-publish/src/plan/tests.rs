use bytes::Bytes;
use chrono::TimeDelta;
use proptest::prelude::*;
use stx_layout::BuildEntry;

use super::*;
use crate::conformance::{sample_id, sample_request};

fn catalog(builds: &[(u32, BuildOutcome)], latest: Option<u32>) -> Catalog {
    let mut entry = ChannelEntry::default();
    for (day, result) in builds {
        let id = sample_id(*day);
        let state = BuildState::Known(Box::new(BuildRecord::new(id.clone(), *result)));
        entry.builds.insert(
            id.date,
            BuildEntry {
                state,
                keep_file: false,
            },
        );
    }
    if let Some(day) = latest {
        entry.aliases.insert(
            AliasName::latest_build(),
            AliasEntry::Build(sample_id(day).date),
        );
    }
    Catalog {
        channels: [(sample_id(1).channel, entry)].into(),
    }
}

fn verdict(builds: &[(u32, BuildOutcome)], latest: Option<u32>, force: bool) -> AliasVerdict {
    let mut request = sample_request(10, BuildOutcome::Success, "x");
    request.force_alias = force;
    let plan = plan(&catalog(builds, latest), request).expect("a plan");
    plan.aliases[0].verdict.clone()
}

#[test]
fn an_alias_moves_forward_to_a_success() {
    use BuildOutcome::{Fail, Success};
    let newer = sample_id(12).date;
    assert_eq!(verdict(&[], None, false), AliasVerdict::Create);
    assert_eq!(verdict(&[(9, Success)], Some(9), false), AliasVerdict::Move);
    assert_eq!(
        verdict(&[(12, Success)], Some(12), false),
        AliasVerdict::Older { newer }
    );
    assert_eq!(
        verdict(&[(12, Success)], Some(12), true),
        AliasVerdict::Force { newer }
    );
    assert_eq!(
        verdict(&[(12, Fail)], Some(12), false),
        AliasVerdict::Move,
        "an alias at a failure is wrong"
    );
    assert_eq!(
        verdict(&[], Some(12), false),
        AliasVerdict::Move,
        "a dangling alias is wrong"
    );
    assert_eq!(
        verdict(&[(9, Success), (12, Success)], Some(9), false),
        AliasVerdict::Older { newer }
    );
    assert_eq!(verdict(&[], Some(10), false), AliasVerdict::Stays);
}

#[test]
fn an_unknown_build_keeps_the_alias() {
    let mut catalog = catalog(&[], Some(12));
    let entry = BuildEntry {
        state: BuildState::Unreadable("no build.json".to_owned()),
        keep_file: false,
    };
    catalog
        .channels
        .values_mut()
        .next()
        .expect("a channel")
        .builds
        .insert(sample_id(12).date, entry);
    let plan = plan(&catalog, sample_request(10, BuildOutcome::Success, "x")).expect("a plan");
    assert_eq!(
        plan.aliases[0].verdict,
        AliasVerdict::Older {
            newer: sample_id(12).date
        }
    );
}

#[test]
fn differences_are_named() {
    let there = sample_request(10, BuildOutcome::Success, "there");
    let mut request = sample_request(10, BuildOutcome::Success, "here");
    request
        .tree
        .incoming_mut()
        .entries
        .remove(&"inputs/downloads/source.tar".parse().expect("a path"));
    request.existing = there.tree.incoming().sums().map(|(sums, _)| sums);
    let error = plan(&catalog(&[(10, BuildOutcome::Success)], None), request).expect_err("refused");
    insta::assert_snapshot!(error);
}

#[test]
fn a_bill_of_materials_is_compared_only_if_the_build_contains_it() {
    let (image, bill) = ("outputs/iso/b.iso", "outputs/iso/b.iso.cdx.json");
    let file = |text: &str| Entry::File {
        source: text.into(),
        size: text.len() as u64,
        executable: false,
        digest: Some(crate::incoming::digest_of(text.as_bytes())),
    };
    let made = |text: &'static str| Entry::Generated(Bytes::from_static(text.as_bytes()));
    let publish = |now: Option<Entry>, then: Option<Entry>| {
        let request = |bill_entry: Option<Entry>| {
            let mut request = sample_request(10, BuildOutcome::Success, "x");
            let entries = &mut request.tree.incoming_mut().entries;
            entries.insert(image.parse().expect("a path"), file("image"));
            entries.extend(bill_entry.map(|entry| (bill.parse().expect("a path"), entry)));
            request
        };
        let existing = plan(&Catalog::default(), request(then)).expect("a plan");
        let mut request = request(now);
        request.existing = existing.incoming.sums().map(|(sums, _)| sums);
        plan(&catalog(&[(10, BuildOutcome::Success)], None), request)
    };
    for (now, then, same) in [
        (Some(made("1")), Some(made("2")), true),
        (Some(made("1")), None, true),
        (None, Some(made("2")), true),
        (Some(file("1")), Some(file("1")), true),
        (Some(file("1")), Some(file("2")), false),
        (Some(file("1")), None, false),
    ] {
        let planned = publish(now.clone(), then.clone());
        assert_eq!(planned.is_ok(), same, "{now:?} {then:?}: {planned:?}");
    }
}

#[test]
fn all_forbidden_files_are_refused_at_once() {
    let mut request = sample_request(10, BuildOutcome::Success, "x");
    let symlinks = [
        ("a", "/etc/passwd"),
        ("b", "../../../etc"),
        ("c", "nothing"),
        ("d", "d"),
        ("e", "."),
        ("f", "e/../outputs/CONTEXT"),
    ];
    for (name, target) in symlinks {
        let path = format!("outputs/{name}").parse().expect("a path");
        request.tree.incoming_mut().entries.insert(
            path,
            Entry::Symlink {
                target: target.to_owned(),
            },
        );
    }
    for path in [
        "outputs/fail",
        "other/file",
        "build.json",
        "outputs/CONTEXT/below",
    ] {
        request.tree.incoming_mut().entries.insert(
            path.parse().expect("a path"),
            Entry::Generated(Bytes::new()),
        );
    }
    let error = plan(&Catalog::default(), request).expect_err("refused");
    let PlanError::Refused { problems, .. } = error else {
        panic!("{error}")
    };
    let named: Vec<_> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(named.join("\n"));
}

#[test]
fn a_build_ahead_of_the_clock_is_refused() {
    let mut request = sample_request(10, BuildOutcome::Success, "x");
    request.now = request.record.id.date.time() - TimeDelta::days(2);
    assert!(matches!(
        plan(&Catalog::default(), request),
        Err(PlanError::Ahead { .. })
    ));
}

#[test]
fn existing_metadata_is_left_out_of_the_plan() {
    let mut request = sample_request(10, BuildOutcome::Success, "x");
    for path in [
        "outputs/RPMS/std/a.rpm",
        "outputs/RPMS/std/repodata/repomd.xml",
    ] {
        request.tree.incoming_mut().entries.insert(
            path.parse().expect("a path"),
            Entry::Generated(Bytes::new()),
        );
    }
    let plan = plan(&Catalog::default(), request).expect("a plan");
    insta::assert_snapshot!(plan);
    let json = serde_json::to_value(&plan).expect("JSON");
    assert_eq!(json["aliases"][0]["verdict"], "create");
    assert_eq!(
        json["incoming"]["outputs/iso/latest.iso"]["target"],
        "bootimage.iso"
    );
}

proptest! {
    /// On any mirror, an unforced plan never moves an alias to a failure or behind a newer success.
    #[test]
    fn an_alias_never_goes_back(
        builds in prop::collection::btree_map(1_u32..20, any::<bool>(), 0..8),
        latest in prop::option::of(1_u32..20),
        success in any::<bool>(),
    ) {
        let outcome = |success| if success { BuildOutcome::Success } else { BuildOutcome::Fail };
        let builds: Vec<_> = builds.into_iter().filter(|(day, _)| *day != 10).map(|(day, success)| (day, outcome(success))).collect();
        let catalog = catalog(&builds, latest);
        let plan = plan(&catalog, sample_request(10, outcome(success), "x")).expect("a plan");
        let newest = catalog.channels.values().next().and_then(ChannelEntry::newest_success);
        if plan.aliases[0].verdict.moves() {
            prop_assert!(success);
            prop_assert!(newest.is_none_or(|newest| newest < plan.id.date));
        }
        prop_assert_eq!(plan.action, PublishAction::New);
    }
}

#[test]
fn a_repository_with_a_symlink_loop_is_refused() {
    let package = ("outputs/RPMS/std/a.rpm", None);
    for (entries, loops) in [
        (
            &[package, ("outputs/RPMS/std/x", Some("."))][..],
            &["outputs/RPMS/std/x"][..],
        ),
        (
            &[package, ("outputs/RPMS/std/x", Some("../../.."))],
            &["outputs/RPMS/std/x"],
        ),
        // Each of the two points to the other.
        (
            &[
                ("outputs/RPMS/a/a.rpm", None),
                ("outputs/RPMS/a/x", Some("../b")),
                ("outputs/RPMS/b/b.rpm", None),
                ("outputs/RPMS/b/y", Some("../a")),
            ],
            &["outputs/RPMS/a/x", "outputs/RPMS/b/y"],
        ),
        // The target of the repository's symlink contains a loop.
        (
            &[
                package,
                ("outputs/RPMS/std/x", Some("../../root")),
                ("outputs/root/X11", Some(".")),
            ],
            &["outputs/root/X11"],
        ),
        (&[package, ("outputs/RPMS/std/x", Some("a.rpm"))], &[]),
        (
            &[
                package,
                ("outputs/RPMS/std/x", Some("../../iso")),
                ("outputs/iso/i", None),
            ],
            &[],
        ),
        // The loop is in a directory that no repository reaches.
        (
            &[
                package,
                ("outputs/root/bin/X11", Some(".")),
                ("outputs/root/bin/ls", None),
            ],
            &[],
        ),
    ] {
        let mut request = sample_request(10, BuildOutcome::Success, "x");
        for (path, target) in entries {
            let entry = match target {
                None => Entry::Generated(Bytes::from_static(b"x")),
                Some(target) => Entry::Symlink {
                    target: (*target).to_owned(),
                },
            };
            request
                .tree
                .incoming_mut()
                .entries
                .insert(path.parse().expect("a path"), entry);
        }
        let found: Vec<_> = match plan(&catalog(&[], None), request) {
            Err(PlanError::Refused { problems, .. }) => {
                problems.into_iter().map(|problem| problem.path).collect()
            }
            planned => {
                planned.expect("a plan");
                Vec::new()
            }
        };
        assert_eq!(found, loops, "{entries:?}");
    }
}
