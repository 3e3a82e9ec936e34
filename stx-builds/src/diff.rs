//! A summary of the differences between two builds: packages, images and commits. It does not read packages; `compare` finds the
//! differences within them.

use std::collections::BTreeMap;

use serde::Serialize;
use stx_compare::inventory::{Entry, Inventory, Key, pair};
use stx_compare::nearest::{CommitRange, commit_ranges};
use stx_layout::{BuildId, Channel, ImageRecord};

use crate::build_ref::pairs;
use crate::compare::{once, sources};
use crate::error::Error;
use crate::trust::TrustOptions;
use crate::{Reader, Site, fetch, refused};

/// The differences between two builds, or between two releases, channel by channel.
#[derive(Debug, Clone, Serialize)]
pub struct Diffs {
    /// The pairs of builds.
    pub diffs: Vec<Diff>,
    /// Channels of the first name without a counterpart.
    pub only_from: Vec<Channel>,
    /// Channels of the second name without a counterpart.
    pub only_to: Vec<Channel>,
}

impl Diffs {
    /// True if anything differs.
    pub fn differs(&self) -> bool {
        let differs = self.diffs.iter().any(Diff::differs);
        differs || !self.only_from.is_empty() || !self.only_to.is_empty()
    }
}

/// The differences between two builds.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// The first build.
    pub from: BuildId,
    /// The second build.
    pub to: BuildId,
    /// The bytes of the files of both.
    pub bytes: (u64, u64),
    /// Packages, by directory, format, name and architecture.
    pub packages: Changes<Key>,
    /// Container images, by name without the tag.
    pub images: Changes<Image>,
    /// The commits between them, of the repositories that moved.
    pub commits: Vec<CommitRange>,
}

impl Diff {
    /// True if packages, images or commits differ.
    pub fn differs(&self) -> bool {
        self.packages.differs() || self.images.differs() || !self.commits.is_empty()
    }
}

/// The name of an image without its tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Image {
    /// `docker.io/starlingx/stx-keystone`.
    pub name: String,
}

/// Items of two builds that are identified by a key, each with a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Changes<K> {
    /// In the second build only.
    pub added: Vec<Versions<K>>,
    /// In the first build only.
    pub removed: Vec<Versions<K>>,
    /// In both builds, with different bytes.
    pub changed: Vec<Versions<K>>,
    /// The number of equal items.
    pub unchanged: usize,
}

/// An item with its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Versions<K> {
    /// The item.
    #[serde(flatten)]
    pub key: K,
    /// The version in the first build; absent if that lacks the item.
    pub from: Option<String>,
    /// The version in the second build. If both are equal, the item was rebuilt.
    pub to: Option<String>,
}

impl<K> Changes<K> {
    /// True if anything differs.
    pub fn differs(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty())
    }

    fn of(unchanged: usize, versions: impl IntoIterator<Item = Versions<K>>) -> Self {
        let mut changes = Self {
            added: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
            unchanged,
        };
        for version in versions {
            match (&version.from, &version.to) {
                (None, _) => changes.added.push(version),
                (Some(_), None) => changes.removed.push(version),
                (Some(_), Some(_)) => changes.changed.push(version),
            }
        }
        changes
    }
}

impl Site {
    /// Summarises the differences between two builds, or between the newest good builds of two releases, channel by channel.
    pub async fn diff(&self, from: &str, to: &str, trust: &TrustOptions) -> Result<Diffs, Error> {
        let reader = self.trusted_reader(trust)?;
        let found = pairs::pairs(reader.store(), from, to, &|line| self.note(line)).await?;
        let mut diffs = Diffs {
            diffs: Vec::new(),
            only_from: found.only_from,
            only_to: found.only_to,
        };
        for (from, to) in found.pairs {
            diffs.diffs.push(diff(&reader, from, to).await?);
        }
        reader.remember()?;
        Ok(diffs)
    }
}

async fn diff(reader: &Reader, from: BuildId, to: BuildId) -> Result<Diff, Error> {
    let before = Inventory::of(&fetch::sums(reader, &from).await?);
    let after = Inventory::of(&fetch::sums(reader, &to).await?);
    let (unchanged, mut pairs) = pair(&before, &after);
    once(&mut pairs);
    let version = |entry: Option<Entry>| entry.map(|entry| entry.evr());
    let packages = pairs.into_iter().map(|pair| Versions {
        key: pair.key,
        from: version(pair.from),
        to: version(pair.to),
    });
    let packages = Changes::of(unchanged, packages);
    let old = reader.store().record(&from).await.map_err(refused)?;
    let new = reader.store().record(&to).await.map_err(refused)?;
    let commits = commit_ranges(&sources(reader, &from).await?, &sources(reader, &to).await?);
    Ok(Diff {
        bytes: (old.bytes, new.bytes),
        packages,
        images: images(&old.images, &new.images),
        commits,
        from,
        to,
    })
}

/// The images of two builds by their names without tags: tags identify the build.
fn images(from: &[ImageRecord], to: &[ImageRecord]) -> Changes<Image> {
    let (old, new) = (by_name(from), by_name(to));
    let names = old
        .keys()
        .chain(new.keys().filter(|name| !old.contains_key(*name)));
    let (mut unchanged, mut versions) = (0, Vec::new());
    for name in names {
        let (from, to) = (old.get(name), new.get(name));
        if let (Some(from), Some(to)) = (from, to)
            && from.digests == to.digests
        {
            unchanged += 1;
            continue;
        }
        let tags = |tagged: Option<&Tagged<'_>>| tagged.map(|tagged| tagged.tags.join(" "));
        versions.push(Versions {
            key: Image {
                name: (*name).to_owned(),
            },
            from: tags(from),
            to: tags(to),
        });
    }
    versions.sort_by(|one, other| one.key.cmp(&other.key));
    Changes::of(unchanged, versions)
}

/// The images of one name in a build.
#[derive(Debug, Default)]
struct Tagged<'a> {
    tags: Vec<&'a str>,
    digests: Vec<stx_layout::Sha256>,
}

fn by_name(images: &[ImageRecord]) -> BTreeMap<&str, Tagged<'_>> {
    let mut by_name = BTreeMap::<_, Tagged<'_>>::new();
    for image in images {
        // A colon before a slash separates the registry's port.
        let (name, tag) = match image.name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            Some(_) | None => (image.name.as_str(), ""),
        };
        let tagged = by_name.entry(name).or_default();
        tagged.tags.push(tag);
        tagged.digests.push(image.digest);
    }
    for tagged in by_name.values_mut() {
        tagged.digests.sort_unstable();
        tagged.digests.dedup();
    }
    by_name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, digest: u8) -> ImageRecord {
        ImageRecord {
            name: name.to_owned(),
            digest: format!("{digest:064x}").parse().expect("a digest"),
            platform: None,
            size: None,
        }
    }

    #[test]
    fn images_are_matched_without_their_tags() {
        let from = [
            image("docker.io/starlingx/stx-a:1", 1),
            image("registry:5000/b:1", 2),
            image("registry:5000/gone", 3),
        ];
        let to = [
            image("docker.io/starlingx/stx-a:2", 1),
            image("registry:5000/b:2", 4),
            image("registry:5000/new:2", 5),
        ];
        let changes = images(&from, &to);
        let shown = |versions: &[Versions<Image>]| -> Vec<String> {
            let shown = versions.iter().map(|it| {
                let (from, to) = (it.from.as_deref(), it.to.as_deref());
                format!(
                    "{} {} {}",
                    it.key.name,
                    from.unwrap_or("-"),
                    to.unwrap_or("-")
                )
            });
            shown.collect()
        };
        assert_eq!(changes.unchanged, 1, "other tags of the same bytes");
        assert_eq!(shown(&changes.changed), ["registry:5000/b 1 2"]);
        assert_eq!(shown(&changes.added), ["registry:5000/new - 2"]);
        assert_eq!(shown(&changes.removed), ["registry:5000/gone  -"]);
        assert!(changes.differs());
        assert!(!images(&from, &from).differs());
    }
}
