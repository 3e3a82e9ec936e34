//! Images that a build pushed itself: their names come from the lists that it wrote, their digests from the registry.
//!
//! ```text
//! images-*-versioned.lst ──> names ──> registry ──> NamedImage, recorded with its digest; nothing is sent
//! ```
//!
//! A build may push under staging tags, which people do not use. The tags without the staging prefix are made after the commit,
//! like the tags of images that the publisher sends.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use stx_layout::{BuildPath, ImageName, ImageNameRef, Sha256, Tag};

use super::{ImageRules, NamedImage};
use crate::registry::{ImageRegistry, Manifest, RegistryError, Untagged};

/// The rules for images that a build pushes itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PushedRules {
    /// The prefix of the tags under which the build pushes; the published names do not have the prefix.
    pub staging: Option<String>,
}

impl PushedRules {
    /// Rules with this prefix of staging tags.
    pub fn new(staging: Option<String>) -> Self {
        Self { staging }
    }
}

/// A line of a list that does not name an image of the build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{list} line {line}: {name:?}: {reason}")]
#[non_exhaustive]
pub struct ListError {
    /// The list.
    pub list: BuildPath,
    /// The line, from 1.
    pub line: usize,
    /// The text.
    pub name: String,
    /// The reason that the line is refused.
    pub reason: String,
}

/// An image that a list of the build names as pushed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushedName {
    /// The name that it has in the build.
    pub name: ImageName,
    /// The name under which it was pushed, if that is another one.
    pub staged: Option<ImageName>,
}

/// The images that the lists of a build name as pushed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PushedNames {
    /// The images of the versioned lists, by name.
    pub names: BTreeSet<PushedName>,
    /// The lists as they are published: without staging prefixes.
    pub lists: BTreeMap<BuildPath, String>,
}

/// Reads the lists that a build wrote. The lists of versioned names are the images that it pushed. The lists of latest names are
/// only published: the publisher moves their tags.
///
/// # Errors
/// The first line that is not a name on this registry, whose tag moves, or whose tag lacks the staging prefix if there is one.
pub fn pushed_names(
    lists: &BTreeMap<BuildPath, String>,
    rules: &ImageRules,
    pushed: &PushedRules,
) -> Result<PushedNames, ListError> {
    let mut found = PushedNames::default();
    for (list, text) in lists {
        let is_versioned = list.as_str().ends_with("-versioned.lst");
        let mut published = String::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            let wrong = |reason: String| ListError {
                list: list.clone(),
                line: index + 1,
                name: line.to_owned(),
                reason,
            };
            let image = image(line, rules, pushed, is_versioned).map_err(wrong)?;
            published.push_str(image.name.as_str());
            published.push('\n');
            if is_versioned {
                found.names.insert(image);
            }
        }
        found.lists.insert(list.clone(), published);
    }
    Ok(found)
}

/// The image that a line names.
fn image(
    line: &str,
    rules: &ImageRules,
    pushed: &PushedRules,
    is_versioned: bool,
) -> Result<PushedName, String> {
    let written: ImageName = line
        .parse()
        .map_err(|error: stx_layout::ParseError| error.to_string())?;
    let parts = written.parts();
    let host = rules.registry.as_str();
    if parts.registry != Some(host) {
        return Err(format!(
            "the image is not on {host}; `host` of [registry] names the registry that the build pushes to"
        ));
    }
    let tag = parts.tag.to_string();
    let tag = match pushed.staging.as_deref() {
        // The build does not push the latest names, so both forms are accepted: with the prefix and without it.
        Some(staging) if !is_versioned => tag.strip_prefix(staging).unwrap_or(&tag),
        Some(staging) => tag.strip_prefix(staging).ok_or_else(|| {
            format!("the tag does not begin with {staging:?}, as staging tags do")
        })?,
        None => &tag,
    };
    let tag = Tag::parse(tag).map_err(|error| error.to_string())?;
    if is_versioned && tag.moves() {
        return Err("the tag moves; the build needs one of its own".to_owned());
    }
    let name = ImageNameRef { tag, ..parts }.compose();
    let name = name.map_err(|error| error.to_string())?;
    let staged = (name != written).then_some(written.clone());
    Ok(PushedName { name, staged })
}

/// The pushed images, as found on the registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PushedImages {
    /// The images that exist, by name.
    pub images: Vec<NamedImage>,
    /// The names that the registry does not have.
    pub missing: Vec<ImageName>,
    /// The staging tags that exist.
    pub staged: Vec<(ImageName, Sha256)>,
}

/// Asks the registry for the digests of images that a build pushed. An image without its staging tag is looked up by its published
/// name: an earlier attempt published it.
pub async fn pushed_images(
    registry: &dyn ImageRegistry,
    names: &BTreeSet<PushedName>,
) -> Result<PushedImages, RegistryError> {
    let parallel = registry.parallel().max(1);
    let asked = names.iter().map(|image| async move {
        let staged = match &image.staged {
            Some(staged) => registry
                .resolve(staged)
                .await?
                .map(|digest| (staged, digest)),
            None => None,
        };
        let digest = match staged {
            Some((_, digest)) => Some(digest),
            None => registry.resolve(&image.name).await?,
        };
        let Some(digest) = digest else {
            return Ok::<_, RegistryError>((image, None, None));
        };
        let manifest = registry.manifest(&image.name, digest).await?;
        let found = NamedImage {
            name: image.name.clone(),
            digest,
            platform: None,
            size: manifest.as_ref().and_then(size),
            image: None,
        };
        Ok((image, Some(found), staged))
    });
    let mut asked = stream::iter(asked).buffered(parallel);
    let mut found = PushedImages::default();
    while let Some((image, there, staged)) = asked.try_next().await? {
        match there {
            Some(there) => found.images.push(there),
            None => found
                .missing
                .push(image.staged.as_ref().unwrap_or(&image.name).clone()),
        }
        found
            .staged
            .extend(staged.map(|(name, digest)| (name.clone(), digest)));
    }
    Ok(found)
}

/// The total size of a manifest, its configuration and its layers; `None` for an index, which names only manifests.
fn size(manifest: &Manifest) -> Option<u64> {
    let json: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    let mut size = manifest.bytes.len() as u64;
    let layers = json["layers"].as_array()?;
    for part in layers.iter().chain([&json["config"]]) {
        size = size.checked_add(part["size"].as_u64()?)?;
    }
    Some(size)
}

/// Removes the staging tags of images that now have their own tags. A staging tag is kept if the registry cannot remove a single
/// tag, or if the tag names another image by now.
pub async fn unstage(
    registry: &dyn ImageRegistry,
    staged: &[(ImageName, Sha256)],
) -> Result<(), RegistryError> {
    for (name, digest) in staged {
        if registry.resolve(name).await? == Some(*digest) {
            match registry.untag(name).await? {
                Untagged::Removed | Untagged::Absent => {}
                Untagged::Unsupported => return Ok(()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
