use async_trait::async_trait;
use stx_layout::{BuildOutcome, BuildPath, BuildRecord, ImageName, ImageRecord, Qualifier, Sha256};

use super::{ImageUser, TagDecision, TagJudge, untag};
use crate::ImageRules;
use crate::registry::conformance::{sample_blobs, sample_manifest};
use crate::registry::memory::MemoryRegistry;
use crate::registry::{Blob, ImageRegistry, Manifest, Pushed, RegistryError, Untagged};
use stx_publish::conformance::sample_id;
use stx_publish::store::{OwedTag, OwedTags};

const NOVA: &str = "r.example/starlingx/stx-nova";

fn rules() -> ImageRules {
    ImageRules {
        registry: "r.example".to_owned(),
        org: None,
        moving: vec![Qualifier::Latest],
    }
}

fn dated(day: u32) -> ImageName {
    let name = format!("{NOVA}:master-centos-stable-201811{day:02}T060000Z.0");
    name.parse().expect("a name")
}

fn latest() -> ImageName {
    format!("{NOVA}:master-centos-stable-latest")
        .parse()
        .expect("a name")
}

/// The record of a build whose image has the build's date in its name.
fn record(day: u32, digest: Sha256) -> BuildRecord {
    let mut record = BuildRecord::new(sample_id(day), BuildOutcome::Success);
    record.images = vec![ImageRecord {
        name: dated(day).to_string(),
        digest,
        platform: None,
        size: None,
    }];
    record
}

/// The charts of a build as uncompressed bytes, or the reason why one cannot be read.
type Charts = Vec<(BuildPath, Result<Vec<u8>, String>)>;

fn user(day: u32, digest: Sha256, charts: Charts) -> (ImageUser, Charts) {
    let user = ImageUser {
        build: sample_id(day),
        record: Ok(record(day, digest)),
        pin: false,
    };
    (user, charts)
}

/// Decides about the tags of a purged build.
fn decisions(
    going: &BuildRecord,
    rules: &ImageRules,
    users: impl IntoIterator<Item = (ImageUser, Charts)>,
) -> Vec<TagDecision> {
    let mut judge = TagJudge::of_record(going, rules);
    for (user, charts) in users {
        judge.add_user(&user);
        for (path, text) in charts {
            let text = text.as_deref().map_err(String::as_str);
            judge.add_chart(&user.build, &path, text);
        }
    }
    judge.decide()
}

fn chart(text: &str) -> Charts {
    let path = "outputs/helm-charts/nova.tgz".parse().expect("a path");
    vec![(path, Ok(text.as_bytes().to_vec()))]
}

/// The decision about the tag of the first build, with its reason.
fn decision(users: Vec<(ImageUser, Charts)>) -> Option<String> {
    let decisions = decisions(&record(1, Sha256([1; 32])), &rules(), users);
    let decision = decisions
        .iter()
        .find(|decision| decision.name == dated(1))
        .expect("a decision");
    decision.kept.as_ref().map(ToString::to_string)
}

#[test]
fn a_tag_is_removed_unless_something_needs_or_may_need_it() {
    let (own, other) = (Sha256([1; 32]), Sha256([2; 32]));
    assert_eq!(decision(vec![]), None);
    assert_eq!(decision(vec![user(2, other, Charts::new())]), None);
    assert_eq!(
        decision(vec![user(2, own, Charts::new())]),
        None,
        "the same image under another tag"
    );
    let named = ImageUser {
        record: Ok(record(1, own)),
        ..user(2, own, Charts::new()).0
    };
    let tag = dated(1).parts().tag.to_string();
    let pin = |day| {
        let pin = ImageUser {
            pin: true,
            build: sample_id(day),
            ..user(9, other, Charts::new()).0
        };
        (pin, Charts::new())
    };
    let damaged = ImageUser {
        record: Err("torn".to_owned()),
        ..user(2, other, Charts::new()).0
    };
    let torn = vec![(
        "outputs/helm-charts/nova.tgz".parse().expect("a path"),
        Err("torn".to_owned()),
    )];
    for (user, why) in [
        ((named, Charts::new()), "has it too"),
        (
            user(2, other, chart(&format!("tag: {tag}\n"))),
            "nova.tgz names it",
        ),
        (
            user(
                2,
                other,
                chart(&format!("image: docker.io/starlingx/stx-nova:{tag}")),
            ),
            "nova.tgz names it",
        ),
        (
            user(2, other, chart(&format!("image: stx-nova@sha256:{own}"))),
            "nova.tgz names it",
        ),
        (user(2, other, torn), "is not known"),
        ((damaged, Charts::new()), "is not known"),
        (pin(1), "is pinned"),
    ] {
        let said = decision(vec![user]).expect("it stays");
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(decision(vec![pin(2)]), None, "the pin of another build");
    let longer = chart(&format!("tag: {tag}1"));
    assert_eq!(decision(vec![user(2, other, longer)]), None, "another tag");
}

#[test]
fn a_moving_tag_stays_as_long_as_a_build_has_it() {
    let going = record(1, Sha256([1; 32]));
    let kept = |users: Vec<(ImageUser, Charts)>| -> Vec<bool> {
        let decisions = decisions(&going, &rules(), users);
        let latest = latest();
        let moving = decisions.iter().filter(|decision| decision.name == latest);
        moving
            .map(|decision: &TagDecision| decision.kept.is_some())
            .collect()
    };
    assert_eq!(kept(vec![]), [false]);
    assert_eq!(kept(vec![user(2, Sha256([2; 32]), Charts::new())]), [true]);
}

/// A registry that removes the image, with all its tags, when it is asked to remove one tag (goharbor/harbor#8717).
#[derive(Debug)]
struct Greedy(MemoryRegistry);

#[async_trait]
impl ImageRegistry for Greedy {
    fn host(&self) -> &str {
        self.0.host()
    }
    async fn resolve(&self, name: &ImageName) -> Result<Option<Sha256>, RegistryError> {
        self.0.resolve(name).await
    }
    async fn tags(&self, name: &ImageName) -> Result<Vec<String>, RegistryError> {
        self.0.tags(name).await
    }
    async fn manifest(
        &self,
        name: &ImageName,
        digest: Sha256,
    ) -> Result<Option<Manifest>, RegistryError> {
        self.0.manifest(name, digest).await
    }
    async fn push_blob(
        &self,
        name: &ImageName,
        blob: &Blob,
        from: Option<&ImageName>,
    ) -> Result<Pushed, RegistryError> {
        self.0.push_blob(name, blob, from).await
    }
    async fn push_manifest(
        &self,
        name: &ImageName,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        self.0.push_manifest(name, manifest).await
    }
    async fn tag(&self, name: &ImageName, digest: Sha256) -> Result<(), RegistryError> {
        self.0.tag(name, digest).await
    }
    async fn untag(&self, name: &ImageName) -> Result<Untagged, RegistryError> {
        let Some(digest) = self.0.resolve(name).await? else {
            return Ok(Untagged::Absent);
        };
        self.0.delete(name, digest).await?;
        Ok(Untagged::Removed)
    }
    async fn delete(&self, name: &ImageName, digest: Sha256) -> Result<(), RegistryError> {
        self.0.delete(name, digest).await
    }
}

/// Stores an image that holds `text`, under these names.
async fn store(registry: &dyn ImageRegistry, text: &str, names: &[ImageName]) -> Sha256 {
    let (config, layer) = sample_blobs(text);
    let manifest = sample_manifest(&config, &layer);
    for name in names {
        for blob in [&config, &layer] {
            registry.push_blob(name, blob, None).await.expect("sent");
        }
        registry
            .push_manifest(name, &manifest)
            .await
            .expect("stored");
        registry.tag(name, manifest.digest()).await.expect("tagged");
    }
    manifest.digest()
}

#[tokio::test]
async fn tags_that_a_registry_removed_in_addition_are_restored() {
    let registry = Greedy(MemoryRegistry::new("r.example"));
    let digest = store(&registry, "one", &[dated(1), dated(2), latest()]).await;
    let users = vec![user(2, digest, Charts::new())];
    let decisions = decisions(&record(1, digest), &rules(), users);
    let report = untag(&registry, &decisions).await.expect("untagged");
    assert_eq!(report.removed, [dated(1)]);
    for (name, shown) in [
        (dated(1), None),
        (dated(2), Some(digest)),
        (latest(), Some(digest)),
    ] {
        assert_eq!(
            registry.resolve(&name).await.expect("read"),
            shown,
            "{name}"
        );
    }
}

#[tokio::test]
async fn without_untag_an_image_is_removed_only_with_all_its_tags() {
    let registry = MemoryRegistry::new("r.example").without_untag();
    let stranger: ImageName = format!("{NOVA}:by-hand").parse().expect("a name");
    let digest = store(&registry, "one", &[dated(1), stranger.clone()]).await;
    let decisions = decisions(&record(1, digest), &rules(), []);
    let report = untag(&registry, &decisions).await.expect("an answer");
    assert!(report.left[&dated(1)].contains("by-hand"), "{report:?}");
    assert_eq!(
        registry.resolve(&dated(1)).await.expect("read"),
        Some(digest)
    );
    let other = store(&registry, "another", &[stranger]).await;
    let report = untag(&registry, &decisions).await.expect("untagged");
    assert_eq!(report.removed, [dated(1)]);
    assert_eq!(registry.shown().into_values().collect::<Vec<_>>(), [other]);
}

#[tokio::test]
async fn a_tag_that_now_points_to_another_image_is_kept() {
    let registry = MemoryRegistry::new("r.example");
    let digest = store(&registry, "one", &[dated(1)]).await;
    let other = store(&registry, "another", &[dated(1)]).await;
    let decisions = decisions(&record(1, digest), &rules(), []);
    let report = untag(&registry, &decisions).await.expect("an answer");
    assert_eq!(report.removed, []);
    assert_eq!(
        registry.resolve(&dated(1)).await.expect("read"),
        Some(other)
    );
}

#[tokio::test]
async fn a_needed_tag_is_owed_until_nothing_needs_it() {
    let registry = MemoryRegistry::new("r.example").without_untag();
    let digest = store(&registry, "one", &[dated(1), dated(3)]).await;
    let rules = rules();
    let tag = dated(1).parts().tag.to_string();
    let needed = || [user(2, Sha256([2; 32]), chart(&tag))];
    let report = untag(&registry, &decisions(&record(1, digest), &rules, needed()))
        .await
        .expect("an answer");
    // The moving tag does not exist, so it is not owed.
    let owed = OwedTags {
        build: sample_id(1),
        tags: report.owed,
    };
    let names: Vec<_> = owed.tags.iter().map(|tag| &tag.name).collect();
    assert_eq!(names, [&dated(1)]);
    assert!(owed.tags[0].why.contains("nova.tgz names it"), "{owed:?}");

    // The chart no longer needs the tag, but the image has another tag, which this registry cannot keep.
    let fates_of = |owed: &OwedTags| TagJudge::of_owed(owed, &rules).decide();
    let report = untag(&registry, &fates_of(&owed)).await.expect("an answer");
    assert!(
        report.owed[0].why.contains("is the same image"),
        "{report:?}"
    );

    // The other tag is owed too, so both are removed.
    let other = OwedTags {
        build: sample_id(3),
        tags: vec![OwedTag {
            name: dated(3),
            ..owed.tags[0].clone()
        }],
    };
    let both = [fates_of(&owed), fates_of(&other)].concat();
    let report = untag(&registry, &both).await.expect("untagged");
    assert_eq!(report.owed, []);
    assert_eq!(report.removed, [dated(1), dated(3)]);
    assert!(registry.shown().is_empty());

    let elsewhere = ImageRules {
        registry: "other.example".to_owned(),
        ..rules
    };
    assert!(TagJudge::of_owed(&owed, &elsewhere).is_empty());
}
