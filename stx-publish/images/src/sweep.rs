//! Publishing with images and removing their tags, interrupted at every call of mirror and registry.

use std::collections::BTreeSet;

use stx_layout::{AliasEntry, AliasName, BuildOutcome, ImageName, Qualifier};

use crate::faulty::FaultyRegistry;
use crate::registry::conformance::{sample_blobs, sample_manifest};
use crate::registry::memory::MemoryRegistry;
use crate::registry::{ImageRegistry, repository};
use crate::{
    FinishBuilds, FoundImage, Image, ImageRules, ImageUser, TagJudge, audit, finish,
    prepare_with_images, publish_with_images, untag,
};
use stx_publish::conformance::{sample_id, sample_request};
use stx_publish::faulty::{Fault, FaultyStore};
use stx_publish::memory::MemoryStore;
use stx_publish::store::{MirrorRead as _, MirrorStore, Scope};
use stx_publish::verify::{FindingKind, verify};

const HOST: &str = "registry.example";

fn rules() -> ImageRules {
    ImageRules {
        registry: HOST.to_owned(),
        org: None,
        moving: vec![Qualifier::Latest],
    }
}

fn found(name: &str, reference: &str, text: &str) -> FoundImage {
    let (config, layer) = sample_blobs(text);
    FoundImage {
        origin: format!("outputs/docker-images/{name}")
            .parse()
            .expect("a path"),
        references: vec![reference.to_owned()],
        image: Image {
            manifest: sample_manifest(&config, &layer),
            parts: Vec::new(),
            blobs: vec![config, layer],
            platform: Some("linux/amd64".to_owned()),
        },
    }
}

/// The images of a build: one of its own, one that is the same in every build, and one under a static tag.
fn images(day: u32) -> Vec<FoundImage> {
    vec![
        found("stx-nova", "stable", &format!("day {day}")),
        found(
            "stx-heat",
            "master-centos-stable-20180101T000000Z.0",
            "the same",
        ),
        found("stx-audit", "stx.6.0-v1.0.2", "the same"),
    ]
}

/// Publishes the `day`th build with its images; `false` if something failed.
async fn put(store: &dyn MirrorStore, registry: &dyn ImageRegistry, day: u32) -> bool {
    let request = sample_request(day, BuildOutcome::Success, &format!("day {day}"));
    let prepared = prepare_with_images(store, registry, &rules(), images(day), request).await;
    match prepared {
        Ok(prepared) => publish_with_images(store, registry, &prepared, &|_, _| {})
            .await
            .is_ok(),
        Err(_) => false,
    }
}

/// The invariant: the images that a visible build names are stored, no tag belongs to a build that is not visible, and the build
/// that an alias points at has all its tags.
async fn check(store: &MemoryStore, registry: &MemoryRegistry, context: &str) {
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    let mut known = BTreeSet::new();
    for (id, build) in catalog.builds() {
        for image in &build.record().expect("a record").images {
            let name = image.name.parse().expect("a name");
            let stored = registry.manifest(&name, image.digest).await;
            assert!(
                stored.expect("read").is_some(),
                "{context}: {id} names {name}, which is not stored"
            );
            known.insert((repository(&name), image.digest));
        }
    }
    for (tag, digest) in registry.shown() {
        let (repository, _) = tag.rsplit_once(':').expect("a tag");
        assert!(
            known.contains(&(repository.to_owned(), digest)),
            "{context}: {tag} is of no build"
        );
    }
    let channel = sample_id(1).channel;
    let shown = store.alias(&channel, &AliasName::latest_build()).await;
    let Some(AliasEntry::Build(date)) = shown.expect("an alias") else {
        panic!("{context}: no latest_build");
    };
    let id = stx_layout::BuildId::new(channel, date);
    let scope = Scope::Build(id.clone());
    let catalog = store.catalog(&scope).await.expect("a catalog");
    let wrong = audit(registry, &rules(), &catalog, &scope).await;
    assert_eq!(wrong, [], "{context}");
}

/// Everything is as after an undisturbed run.
async fn check_done(store: &MemoryStore, registry: &MemoryRegistry, context: &str) {
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    let wrong = audit(registry, &rules(), &catalog, &Scope::All).await;
    assert_eq!(wrong, [], "{context}");
    let wrong = verify(store, &Scope::All).await.expect("verified").findings;
    assert_eq!(wrong, [], "{context}");
    let expected = MemoryRegistry::new(HOST);
    let undisturbed = MemoryStore::new();
    for day in [1, 2] {
        assert!(put(&undisturbed, &expected, day).await);
    }
    assert_eq!(registry.shown(), expected.shown(), "{context}");
}

#[tokio::test]
async fn a_publish_with_images_survives_a_fault_at_every_call() {
    let mut runs = 0;
    for fault in Fault::ALL {
        for at in 0.. {
            let (store, registry) = (MemoryStore::new(), MemoryRegistry::new(HOST));
            assert!(put(&store, &registry, 1).await);
            let faulty = FaultyStore::new(store.clone(), fault, at);
            let done = put(
                &faulty,
                &FaultyRegistry::new(registry.clone(), faulty.fuse()),
                2,
            )
            .await;
            let context = format!("{fault:?} at call {at}");
            check(&store, &registry, &context).await;
            assert!(put(&store, &registry, 2).await, "{context}: the rerun");
            check_done(&store, &registry, &context).await;
            let sent = registry.sent();
            assert!(put(&store, &registry, 2).await, "{context}: once more");
            assert_eq!(registry.sent(), sent, "{context}: nothing is sent twice");
            runs += 1;
            if !faulty.has_failed() {
                assert!(done, "{context}");
                assert!(at > 25, "only {at} calls");
                break;
            }
        }
    }
    println!("{runs} runs");
}

#[tokio::test]
async fn a_killed_publish_of_images_is_finished_without_its_files() {
    for builds in [FinishBuilds::Newest, FinishBuilds::All] {
        finish_after_each_call(builds).await;
    }
}

async fn finish_after_each_call(builds: FinishBuilds) {
    for at in 0.. {
        let (store, registry) = (MemoryStore::new(), MemoryRegistry::new(HOST));
        assert!(put(&store, &registry, 1).await);
        let faulty = FaultyStore::new(store.clone(), Fault::FromThenOn, at);
        put(
            &faulty,
            &FaultyRegistry::new(registry.clone(), faulty.fuse()),
            2,
        )
        .await;
        let context = format!("dead at call {at}");
        let channel = sample_id(2).channel;
        let finished = finish(&store, &registry, &rules(), &channel, builds).await;
        finished.expect("finished");
        check(&store, &registry, &context).await;
        if store.record(&sample_id(2)).await.is_ok() {
            let repaired = stx_publish::verify::repair_aliases(&store, &channel).await;
            repaired.expect("repaired");
            check_done(&store, &registry, &context).await;
        }
        if !faulty.has_failed() {
            break;
        }
    }
}

#[tokio::test]
async fn tags_of_older_builds_are_created_when_all_builds_are_checked() {
    let (store, registry) = (MemoryStore::new(), MemoryRegistry::new(HOST));
    for day in [1, 2, 3] {
        assert!(put(&store, &registry, day).await);
    }
    let name = |day| {
        let tag = format!("master-centos-stable-2018110{day}T060000Z.0");
        let name = format!("{HOST}/starlingx/stx-nova:{tag}");
        name.parse::<ImageName>().expect("a name")
    };
    // The image of the first day is gone, and of that of the second only the tag.
    let first = registry.resolve(&name(1)).await.expect("read");
    let first = registry.delete(&name(1), first.expect("a tag")).await;
    first.expect("deleted");
    let before = registry.shown();
    registry.untag(&name(2)).await.expect("removed");
    let channel = sample_id(1).channel;
    let finished = finish(&store, &registry, &rules(), &channel, FinishBuilds::Newest).await;
    assert_eq!(finished.expect("finished").tagged, []);
    let finished = finish(&store, &registry, &rules(), &channel, FinishBuilds::All).await;
    assert_eq!(finished.expect("finished").tagged, [name(2)]);
    assert_eq!(registry.shown(), before);
}

#[tokio::test]
async fn an_unreadable_tag_is_created_again_unless_it_is_static() {
    let (store, registry) = (MemoryStore::new(), MemoryRegistry::new(HOST));
    let name = |rest: &str| format!("{HOST}/starlingx/{rest}").parse().expect("a name");
    assert!(put(&store, &registry, 1).await);
    registry.damage(&name("stx-nova:master-centos-stable-20181101T060000Z.0"));
    registry.damage(&name("stx-nova:master-centos-stable-latest"));
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    let found = audit(&registry, &rules(), &catalog, &Scope::All).await;
    let kinds: Vec<_> = found.iter().map(|finding| finding.kind).collect();
    assert_eq!(
        kinds,
        [FindingKind::ImageTagNotNewest, FindingKind::ImageMissing]
    );
    // The next build is not stopped by them, and `finish` makes those of the newest build.
    let channel = sample_id(1).channel;
    let finished = finish(&store, &registry, &rules(), &channel, FinishBuilds::Newest).await;
    assert_eq!(finished.expect("finished").tagged.len(), 2);
    registry.damage(&name("stx-nova:master-centos-stable-latest"));
    assert!(put(&store, &registry, 2).await);
    check_done(&store, &registry, "both are published").await;

    registry.damage(&name("stx-audit:stx.6.0-v1.0.2"));
    assert!(
        !put(&store, &registry, 3).await,
        "it may show another image"
    );
    let found = audit(&registry, &rules(), &catalog, &Scope::All).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].kind, FindingKind::ImageMissing);
}

#[tokio::test]
async fn an_unreadable_tag_does_not_keep_its_build_in_the_trash() {
    for untags in [true, false] {
        let (store, registry) = two_builds(untags).await;
        let nova = format!("{HOST}/starlingx/stx-nova:master-centos-stable-20181101T060000Z.0");
        registry.damage(&nova.parse().expect("a name"));
        assert!(take(&store, &registry).await);
        assert_eq!(registry.shown().len(), 6, "the tag stays");
    }
}

/// A mirror and a registry with the images of two builds; the registry removes single tags if `untags`.
async fn two_builds(untags: bool) -> (MemoryStore, MemoryRegistry) {
    let store = MemoryStore::new();
    let mut registry = MemoryRegistry::new(HOST);
    if !untags {
        registry = registry.without_untag();
    }
    for day in [1, 2] {
        assert!(put(&store, &registry, day).await);
    }
    (store, registry)
}

/// Removes the tags of the first build while the second is kept.
async fn take(store: &MemoryStore, registry: &dyn ImageRegistry) -> bool {
    let going = store.record(&sample_id(1)).await.expect("a record");
    let kept = store.record(&sample_id(2)).await.expect("a record");
    let user = ImageUser {
        build: sample_id(2),
        record: Ok(kept),
        pin: false,
    };
    let rules = rules();
    let mut judge = TagJudge::of_record(&going, &rules);
    judge.add_user(&user);
    untag(registry, &judge.decide()).await.is_ok()
}

#[tokio::test]
async fn removing_tags_survives_a_fault_at_every_call() {
    for untags in [true, false] {
        for fault in Fault::ALL {
            for at in 0.. {
                let (store, registry) = two_builds(untags).await;
                let before = registry.shown();
                let faulty = FaultyStore::new(store.clone(), fault, at);
                let done = take(
                    &store,
                    &FaultyRegistry::new(registry.clone(), faulty.fuse()),
                )
                .await;
                assert!(take(&store, &registry).await, "{fault:?} at call {at}");
                let gone: Vec<_> = before
                    .keys()
                    .filter(|tag| !registry.shown().contains_key(*tag))
                    .collect();
                assert_eq!(
                    gone,
                    ["starlingx/stx-nova:master-centos-stable-20181101T060000Z.0"],
                    "{fault:?} at call {at}"
                );
                if !faulty.has_failed() {
                    assert!(done);
                    break;
                }
            }
        }
    }
}
