//! The plan to push a build's images to the registry: a pure function of the images and the state of the registry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use stx_layout::{BuildId, BuildRecord, ImageName, Qualifier, Sha256};

use super::NamedImage;
use stx_publish::plan::AliasVerdict;

/// The tags and manifests that were found on the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegistryState {
    /// The digest that each tag names, of the tags that exist.
    pub tags: BTreeMap<ImageName, Sha256>,
    /// The existing manifests, each by a name in its repository.
    pub manifests: BTreeSet<(ImageName, Sha256)>,
}

/// The plan for a build's images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImagePlan {
    /// The build.
    pub build: BuildId,
    /// The images under their fixed names, by name.
    pub images: Vec<ImageStep>,
    /// The tags that move, by name.
    pub moving: Vec<MovingStep>,
}

/// The plan for one image and its dated or static tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageStep {
    /// The name.
    pub name: ImageName,
    /// The digest of its manifest.
    pub digest: Sha256,
    /// True if the registry already has the image, under any tag or none.
    pub stored: bool,
    /// The decision about the tag.
    pub tag: TagVerdict,
}

/// The decision about a tag that never moves. If the tag names another image, there is no plan at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TagVerdict {
    /// It does not exist and is made.
    Create,
    /// It already names this image.
    Stays,
}

/// The plan for one tag that moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovingStep {
    /// The name with that tag.
    pub name: ImageName,
    /// The image that it will name.
    pub digest: Sha256,
    /// The digest that it names now.
    pub shown: Option<Sha256>,
    /// The decision, with its reason.
    #[serde(flatten)]
    pub verdict: AliasVerdict,
}

/// A dated or static tag that names an image other than the build's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} shows sha256:{shown} on the registry, and is sha256:{expected} in this build")]
pub struct ImageClash {
    /// The name.
    pub name: ImageName,
    /// The image on the registry.
    pub shown: Sha256,
    /// The build's image.
    pub expected: Sha256,
}

impl ImagePlan {
    /// True if the plan changes nothing.
    pub fn is_noop(&self) -> bool {
        self.images
            .iter()
            .all(|step| step.stored && step.tag == TagVerdict::Stays)
            && !self.moving.iter().any(|step| step.verdict.moves())
    }
}

/// Makes the plan. `alias` is the decision about `latest_build`, which moving tags follow. All fixed tags that would have to move
/// are reported at once.
pub fn plan(
    build: &BuildId,
    images: &[NamedImage],
    moving: &[Qualifier],
    alias: &AliasVerdict,
    seen: &RegistryState,
) -> Result<ImagePlan, Vec<ImageClash>> {
    let mut clashes = Vec::new();
    let mut steps = Vec::new();
    let mut moved = BTreeMap::new();
    for image in images {
        let tag = match seen.tags.get(&image.name) {
            None => TagVerdict::Create,
            Some(shown) if *shown == image.digest => TagVerdict::Stays,
            Some(shown) => {
                clashes.push(ImageClash {
                    name: image.name.clone(),
                    shown: *shown,
                    expected: image.digest,
                });
                continue;
            }
        };
        let stored = tag == TagVerdict::Stays
            || seen.manifests.contains(&(image.name.clone(), image.digest));
        steps.push(ImageStep {
            name: image.name.clone(),
            digest: image.digest,
            stored,
            tag,
        });
        for qualifier in moving {
            if let Some(name) = image.name.moving(*qualifier) {
                let shown = seen.tags.get(&name).copied();
                let step = MovingStep {
                    verdict: moving_verdict(alias, shown, image.digest),
                    digest: image.digest,
                    shown,
                    name: name.clone(),
                };
                // Of two images whose names differ only in their dates, the later one comes last.
                moved.insert(name, step);
            }
        }
    }
    if !clashes.is_empty() {
        return Err(clashes);
    }
    Ok(ImagePlan {
        build: build.clone(),
        images: steps,
        moving: moved.into_values().collect(),
    })
}

/// The decision about a moving tag, which follows the one about `latest_build`.
fn moving_verdict(alias: &AliasVerdict, shown: Option<Sha256>, digest: Sha256) -> AliasVerdict {
    match alias {
        AliasVerdict::Failed => AliasVerdict::Failed,
        AliasVerdict::Older { newer } => AliasVerdict::Older { newer: *newer },
        AliasVerdict::Create
        | AliasVerdict::Move
        | AliasVerdict::Stays
        | AliasVerdict::Force { .. }
            if shown == Some(digest) =>
        {
            AliasVerdict::Stays
        }
        AliasVerdict::Force { newer } => AliasVerdict::Force { newer: *newer },
        AliasVerdict::Create | AliasVerdict::Move | AliasVerdict::Stays => match shown {
            None => AliasVerdict::Create,
            Some(_) => AliasVerdict::Move,
        },
    }
}

/// The images that a record names on this registry, without their files. Names of other registries and texts that are not names
/// are left out.
pub fn recorded(record: &BuildRecord, registry: &str) -> Vec<NamedImage> {
    let images = record.images.iter().filter_map(|image| {
        let name: ImageName = image.name.parse().ok()?;
        (name.parts().registry == Some(registry)).then(|| NamedImage {
            name,
            digest: image.digest,
            platform: image.platform.clone(),
            size: image.size,
            image: None,
        })
    });
    images.collect()
}

impl fmt::Display for ImageStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            digest,
            stored,
            tag,
        } = self;
        let what = match (stored, tag) {
            (_, TagVerdict::Stays) => "already exists",
            (true, TagVerdict::Create) => "is stored, and gets this tag",
            (false, TagVerdict::Create) => "is sent",
        };
        write!(f, "{name} {what} (sha256:{digest})")
    }
}

impl fmt::Display for MovingStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.verdict {
            AliasVerdict::Create => write!(f, "{name} is made"),
            AliasVerdict::Move => write!(f, "{name} is moved"),
            AliasVerdict::Force { newer } => {
                write!(f, "{name} is moved back, although {newer} is newer")
            }
            AliasVerdict::Stays => write!(f, "{name} shows this image already"),
            AliasVerdict::Failed => write!(f, "{name} is not moved: the build failed"),
            AliasVerdict::Older { newer } => write!(f, "{name} is not moved: {newer} is newer"),
        }
    }
}

impl fmt::Display for ImagePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.images {
            writeln!(f, "image {step}")?;
        }
        self.moving
            .iter()
            .try_for_each(|step| writeln!(f, "image {step}"))
    }
}

#[cfg(test)]
mod tests {
    use stx_layout::{BuildDate, Qualifier, Sha256};

    use super::{RegistryState, TagVerdict, plan};
    use crate::NamedImage;
    use stx_publish::conformance::sample_id;
    use stx_publish::plan::AliasVerdict;

    const NAME: &str = "r.example/starlingx/stx-nova:master-centos-stable-20181105T060000Z.0";
    const LATEST: &str = "r.example/starlingx/stx-nova:master-centos-stable-latest";

    fn image(name: &str, byte: u8) -> NamedImage {
        NamedImage {
            name: name.parse().expect("a name"),
            digest: Sha256([byte; 32]),
            platform: None,
            size: None,
            image: None,
        }
    }

    fn seen(tags: &[(&str, u8)]) -> RegistryState {
        let tags = tags
            .iter()
            .map(|(name, byte)| (name.parse().expect("a name"), Sha256([*byte; 32])));
        RegistryState {
            tags: tags.collect(),
            ..RegistryState::default()
        }
    }

    fn older() -> AliasVerdict {
        let newer: BuildDate = "20181106T060000Z".parse().expect("a date");
        AliasVerdict::Older { newer }
    }

    #[test]
    fn a_dated_tag_is_created_kept_or_refused() {
        let images = [image(NAME, 1)];
        let decide = |seen: &RegistryState| {
            plan(&sample_id(5), &images, &[], &AliasVerdict::Create, seen)
                .map(|plan| plan.images[0].tag)
        };
        assert_eq!(decide(&seen(&[])), Ok(TagVerdict::Create));
        assert_eq!(decide(&seen(&[(NAME, 1)])), Ok(TagVerdict::Stays));
        let clashes = decide(&seen(&[(NAME, 2)])).expect_err("another image");
        assert_eq!(clashes[0].shown, Sha256([2; 32]));
    }

    #[test]
    fn a_moving_tag_follows_latest_build() {
        let images = [image(NAME, 1)];
        let decide = |alias: &AliasVerdict, seen: &RegistryState| {
            let plan = plan(&sample_id(5), &images, &[Qualifier::Latest], alias, seen);
            plan.expect("no clash").moving.remove(0).verdict
        };
        let none = seen(&[]);
        for (alias, without, with_other, with_this) in [
            (
                AliasVerdict::Create,
                AliasVerdict::Create,
                AliasVerdict::Move,
                AliasVerdict::Stays,
            ),
            (
                AliasVerdict::Move,
                AliasVerdict::Create,
                AliasVerdict::Move,
                AliasVerdict::Stays,
            ),
            (
                AliasVerdict::Stays,
                AliasVerdict::Create,
                AliasVerdict::Move,
                AliasVerdict::Stays,
            ),
            (
                AliasVerdict::Failed,
                AliasVerdict::Failed,
                AliasVerdict::Failed,
                AliasVerdict::Failed,
            ),
            (older(), older(), older(), older()),
        ] {
            assert_eq!(decide(&alias, &none), without);
            assert_eq!(decide(&alias, &seen(&[(LATEST, 2)])), with_other);
            assert_eq!(decide(&alias, &seen(&[(LATEST, 1)])), with_this);
        }
    }
}
