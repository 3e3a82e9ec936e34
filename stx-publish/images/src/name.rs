//! Makes the names of a build's images.

use std::collections::BTreeMap;

use stx_layout::{
    BuildId, BuildPath, ImageName, ImageNameRef, Os, Qualifier, ReleaseId, Stream, Tag,
};

use super::{FoundImage, NamedImage};

/// The rules for the names of images, and the tags that move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRules {
    /// The registry, `HOST[:PORT]`; every name begins with it.
    pub registry: String,
    /// The organisation; without one, that of the image's own name, else `starlingx`.
    pub org: Option<String>,
    /// The moving tags that a successful build moves.
    pub moving: Vec<Qualifier>,
}

/// An image that cannot be named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {reason}")]
#[non_exhaustive]
pub struct NameError {
    /// Its layout or archive.
    pub origin: BuildPath,
    /// The reason.
    pub reason: String,
}

const DEFAULT_ORG: &str = "starlingx";

/// Names the images of a build, by name.
///
/// A reference of a layout or archive is `[REGISTRY/][ORG/]IMAGE:TAG` or a `TAG` alone; then the image is named after its
/// directory or archive. The registry always comes from the rules. A dated or static tag is kept. A moving tag gets the build's
/// date in place of its qualifier; `stable`, `dev` or a missing tag becomes `PREFIX-OS[-CODENAME-ARCH]-STREAM-DATE.0` of the
/// build's channel.
pub fn name(
    build: &BuildId,
    found: Vec<FoundImage>,
    rules: &ImageRules,
) -> Result<Vec<NamedImage>, NameError> {
    let mut named: BTreeMap<ImageName, Taken> = BTreeMap::new();
    for FoundImage {
        origin,
        references,
        image,
    } in found
    {
        let fail = |reason: String| NameError {
            origin: origin.clone(),
            reason,
        };
        let none = [String::new()];
        let references = match references.as_slice() {
            [] => &none[..],
            references => references,
        };
        for reference in references {
            let name = one(build, &origin, reference, rules).map_err(&fail)?;
            let new = NamedImage {
                name: name.clone(),
                digest: image.digest(),
                platform: image.platform.clone(),
                size: Some(image.size()),
                image: Some(image.clone()),
            };
            match named.get(&name) {
                Some(other) if other.image.digest == new.digest => {}
                Some(other) => {
                    return Err(fail(other.clash(&new, reference.is_empty())));
                }
                None => {
                    let taken = Taken {
                        image: new,
                        origin: origin.clone(),
                        unnamed: reference.is_empty(),
                    };
                    named.insert(name, taken);
                }
            }
        }
    }
    Ok(named.into_values().map(|taken| taken.image).collect())
}

/// A name that an image already has.
struct Taken {
    image: NamedImage,
    origin: BuildPath,
    /// True if the image has no reference of its own.
    unnamed: bool,
}

impl Taken {
    /// The reason why another image cannot have the same name.
    fn clash(&self, other: &NamedImage, other_unnamed: bool) -> String {
        let Self { image, origin, .. } = self;
        let which = |digest, unnamed| {
            let unnamed = if unnamed { " (without a name)" } else { "" };
            format!("sha256:{digest}{unnamed}")
        };
        let mut reason = format!(
            "its image {} and the image {} of {origin} would both be called {}",
            which(other.digest, other_unnamed),
            which(image.digest, self.unnamed),
            image.name
        );
        if self.unnamed || other_unnamed {
            reason.push_str(
                "; give each a name: the annotation org.opencontainers.image.ref.name in a layout, RepoTags in an archive",
            );
        }
        reason
    }
}

/// The full name that a reference stands for.
fn one(
    build: &BuildId,
    origin: &BuildPath,
    reference: &str,
    rules: &ImageRules,
) -> Result<ImageName, String> {
    let own = origin.file_name();
    let own = own.strip_suffix(".tar").unwrap_or(own);
    let (repository, tag) = match reference.rsplit_once(':') {
        // A colon before a slash begins the port of a registry.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        Some(_) => (reference, ""),
        None if reference.contains('/') => (reference, ""),
        None => (own, reference),
    };
    let (org, image) = match repository.rsplit_once('/') {
        None => (None, repository),
        Some((before, image)) => (organisation(before), image),
    };
    let org = rules.org.as_deref().or(org).unwrap_or(DEFAULT_ORG);
    let tag = tag_of(build, tag)?;
    let name = ImageNameRef {
        registry: Some(&rules.registry),
        org,
        image,
        tag: Tag::parse(&tag).map_err(|error| error.to_string())?,
    };
    name.compose().map_err(|error| error.to_string())
}

/// The organisation in the part of a name before the image, without the registry.
fn organisation(before: &str) -> Option<&str> {
    match before.split_once('/') {
        Some((first, rest)) if is_registry(first) => Some(rest),
        None if is_registry(before) => None,
        Some(_) | None => Some(before),
    }
}

fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost"
}

/// The fixed tag of this build's image.
fn tag_of(build: &BuildId, text: &str) -> Result<String, String> {
    let numbered = Qualifier::Built {
        timestamp: build.date,
        patch: Some(0),
    };
    let stream = match text {
        "" | "latest" | "stable" => Stream::Stable,
        "dev" => Stream::Dev,
        _ => {
            let tag = Tag::parse(text).map_err(|error| error.to_string())?;
            if !tag.moves() {
                return Ok(text.to_owned());
            }
            // The form of the specification has no number after the date.
            let plain = Qualifier::Built {
                timestamp: build.date,
                patch: None,
            };
            let mut forms = [numbered, plain].into_iter();
            let dated = forms.find_map(|qualifier| tag.with_qualifier(qualifier));
            return dated.ok_or_else(|| format!("the tag {text} moves, and has no dated form"));
        }
    };
    let channel = &build.channel;
    let prefix = prefix(&channel.release);
    let distro = channel.distro.as_str();
    let os = Os::ALL.into_iter().find(|os| os.as_str() == distro);
    let os = os.ok_or_else(|| {
        format!("it has no tag of its own, and a tag cannot name the operating system {distro}")
    })?;
    let platform = channel.platform.as_ref();
    let tag = Tag::Stream {
        prefix: &prefix,
        os,
        codename: platform.map(|platform| platform.codename.as_str()),
        arch: platform.map(|platform| platform.arch.as_str()),
        stream,
        qualifier: numbered,
    };
    tag.compose().map_err(|error| error.to_string())
}

/// The images of a build under their names after a promotion to `to`, by name: a tag that begins with the release of `from` gets
/// the release and the date of `to`; other tags are kept.
pub fn promoted_names(from: &BuildId, to: &BuildId, images: Vec<NamedImage>) -> Vec<NamedImage> {
    let (before, after) = (prefix(&from.channel.release), prefix(&to.channel.release));
    // The specification's tags of `master` begin with `dev`.
    let is_before = |found: &str| {
        found == before || (from.channel.release == ReleaseId::Master && found == "dev")
    };
    let rename = |name: &ImageName| {
        let parts = name.parts();
        let patch = match parts.tag.qualifier()? {
            Qualifier::Built { patch, .. } => patch,
            Qualifier::Latest | Qualifier::Stable => return None,
        };
        parts.tag.prefix().filter(|found| is_before(found))?;
        let tag = parts.tag.with_prefix(&after)?;
        let tag = tag.with_qualifier(Qualifier::Built {
            timestamp: to.date,
            patch,
        })?;
        let tag = Tag::parse(&tag).ok()?;
        ImageNameRef { tag, ..parts }.compose().ok()
    };
    let images = images.into_iter().map(|image| NamedImage {
        name: rename(&image.name).unwrap_or(image.name),
        ..image
    });
    let mut images: Vec<_> = images.collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    images
}

/// A release identifier as a prefix of image tags: `master`, `f-centos76`, `r-2018.10`, `m-2019.05b1`, `rc-4.0`.
fn prefix(release: &ReleaseId) -> String {
    match release {
        ReleaseId::Master => "master".to_owned(),
        ReleaseId::Feature(name) => format!("f-{name}"),
        ReleaseId::Release(name) => format!("r-{name}"),
        ReleaseId::Milestone(name) => format!("m-{name}"),
        ReleaseId::Rc(name) => format!("rc-{name}"),
    }
}

#[cfg(test)]
mod tests {
    use stx_layout::Sha256;

    use super::{ImageRules, NamedImage, name, promoted_names};
    use crate::registry::conformance::{sample_blobs, sample_manifest};
    use crate::{FoundImage, Image};

    fn found(origin: &str, references: &[&str], text: &str) -> FoundImage {
        let (config, layer) = sample_blobs(text);
        FoundImage {
            origin: origin.parse().expect("a path"),
            references: references.iter().copied().map(str::to_owned).collect(),
            image: Image {
                manifest: sample_manifest(&config, &layer),
                parts: Vec::new(),
                blobs: vec![config, layer],
                platform: None,
            },
        }
    }

    fn named(build: &str, origin: &str, references: &[&str]) -> Result<Vec<String>, String> {
        let rules = ImageRules {
            registry: "hub.example:5000".to_owned(),
            org: None,
            moving: Vec::new(),
        };
        let build = build.parse().expect("a build");
        let names = name(&build, vec![found(origin, references, "x")], &rules);
        let names = names.map_err(|error| error.to_string())?;
        Ok(names.iter().map(|image| image.name.to_string()).collect())
    }

    const MASTER: &str = "master/centos/20181105T060000Z";

    #[test]
    fn an_incomplete_image_name_is_completed() {
        let layout = "outputs/docker-images/stx-nova";
        for (build, origin, reference, expected) in [
            (
                MASTER,
                layout,
                "master-centos-stable-20180101T000000Z.0",
                "starlingx/stx-nova:master-centos-stable-20180101T000000Z.0",
            ),
            (
                MASTER,
                layout,
                "stx.6.0-v1.0.2",
                "starlingx/stx-nova:stx.6.0-v1.0.2",
            ),
            (
                MASTER,
                layout,
                "master-centos-dev-latest",
                "starlingx/stx-nova:master-centos-dev-20181105T060000Z.0",
            ),
            (
                MASTER,
                layout,
                "dev-centos-pike-latest",
                "starlingx/stx-nova:dev-centos-pike-20181105T060000Z",
            ),
            (
                MASTER,
                layout,
                "master-debian-trixie-amd64-latest",
                "starlingx/stx-nova:master-debian-trixie-amd64-20181105T060000Z.0",
            ),
            (
                MASTER,
                layout,
                "jenkins-agent-latest",
                "starlingx/stx-nova:jenkins-agent-20181105T060000Z.0",
            ),
            (
                MASTER,
                layout,
                "stx.13.0-v18.2.2-0",
                "starlingx/stx-nova:stx.13.0-v18.2.2-0",
            ),
            (
                MASTER,
                layout,
                "dev",
                "starlingx/stx-nova:master-centos-dev-20181105T060000Z.0",
            ),
            (
                MASTER,
                layout,
                "",
                "starlingx/stx-nova:master-centos-stable-20181105T060000Z.0",
            ),
            (
                MASTER,
                "outputs/docker-images/rvmc.tar",
                "1.0",
                "starlingx/rvmc:1.0",
            ),
            (
                MASTER,
                layout,
                "docker.io/openstack/nova:1.0",
                "openstack/nova:1.0",
            ),
            (
                MASTER,
                layout,
                "localhost:5000/nova",
                "starlingx/nova:master-centos-stable-20181105T060000Z.0",
            ),
            (
                MASTER,
                layout,
                "nova:latest",
                "starlingx/nova:master-centos-stable-20181105T060000Z.0",
            ),
            (
                "rc/4.0/debian/bullseye/amd64/20181105T060000Z",
                layout,
                "stable",
                "starlingx/stx-nova:rc-4.0-debian-bullseye-amd64-stable-20181105T060000Z.0",
            ),
            (
                "feature/centos8/centos/20181105T060000Z",
                layout,
                "stable",
                "starlingx/stx-nova:f-centos8-centos-stable-20181105T060000Z.0",
            ),
        ] {
            let expected = format!("hub.example:5000/{expected}");
            assert_eq!(
                named(build, origin, &[reference]),
                Ok(vec![expected]),
                "{reference}"
            );
        }
    }

    #[test]
    fn an_image_without_a_valid_name_is_refused_with_its_place() {
        for (build, reference, word) in [
            (MASTER, "Nova:1.0", "small letters"),
            (MASTER, "nova:", "nova:"),
            (
                "master/suse/20181105T060000Z",
                "stable",
                "cannot name the operating system suse",
            ),
        ] {
            let result = named(build, "outputs/docker-images/stx-nova", &[reference]);
            match result {
                Err(error) => assert!(
                    error.contains("outputs/docker-images/stx-nova") && error.contains(word)
                        || word == "nova:",
                    "{error}"
                ),
                Ok(names) => assert_eq!(word, "nova:", "{names:?}"),
            }
        }
    }

    #[test]
    fn a_promoted_image_is_named_after_the_release() {
        let build = |text: &str| text.parse().expect("a build");
        let to = build("release/1.0.0/centos/20181107T060000Z");
        for (name, expected) in [
            (
                "h.example/starlingx/a:master-centos-stable-20181105T060000Z.3",
                "h.example/starlingx/a:r-1.0.0-centos-stable-20181107T060000Z.3",
            ),
            (
                "h.example/starlingx/a:dev-centos-pike-20181105T060000Z",
                "h.example/starlingx/a:r-1.0.0-centos-pike-20181107T060000Z",
            ),
            (
                "h.example/starlingx/a:f-x-centos-stable-20181105T060000Z.0",
                "h.example/starlingx/a:f-x-centos-stable-20181105T060000Z.0",
            ),
            (
                "h.example/starlingx/stx-centos:master-stable-20181105T060000Z.0",
                "h.example/starlingx/stx-centos:r-1.0.0-stable-20181107T060000Z.0",
            ),
            (
                "h.example/starlingx/a:stx.6.0-v1.0.2",
                "h.example/starlingx/a:stx.6.0-v1.0.2",
            ),
        ] {
            let image = NamedImage {
                name: name.parse().expect("a name"),
                digest: Sha256([1; 32]),
                platform: None,
                size: None,
                image: None,
            };
            let named = promoted_names(&build(MASTER), &to, vec![image]);
            assert_eq!(named[0].name.as_str(), expected);
        }
    }

    #[test]
    fn two_images_with_the_same_name_are_refused() {
        let rules = ImageRules {
            registry: "hub.example".to_owned(),
            org: Some("mine".to_owned()),
            moving: Vec::new(),
        };
        let build = MASTER.parse().expect("a build");
        let (one, two) = (
            "outputs/docker-images/one.tar",
            "outputs/docker-images/two.tar",
        );
        let twice = vec![
            found(one, &["a/x:1"], "same"),
            found(two, &["b/x:1"], "same"),
        ];
        let names = name(&build, twice, &rules).expect("the same image");
        assert_eq!(names[0].name.as_str(), "hub.example/mine/x:1");
        assert_eq!(names.len(), 1);
        let differ = vec![found(one, &[], "one"), found(one, &[], "two")];
        let digests: Vec<_> = differ.iter().map(|found| found.image.digest()).collect();
        let error = name(&build, differ, &rules)
            .expect_err("two images without names")
            .to_string();
        for said in [
            &format!("{}", digests[0]),
            &format!("{}", digests[1]),
            "(without a name)",
            "org.opencontainers.image.ref.name",
            "RepoTags",
        ] {
            assert!(error.contains(said), "{said} is not in {error}");
        }
        let differ = vec![found(one, &["x:1"], "one"), found(two, &["x:1"], "two")];
        let error = name(&build, differ, &rules)
            .expect_err("two images")
            .to_string();
        assert!(
            error.contains("one.tar") && error.contains("two.tar"),
            "{error}"
        );
    }
}
