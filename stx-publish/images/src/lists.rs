//! `images-<os>-<stream>-{versioned,latest}.lst`: the names of a build's images, one per line, for deployment tools.

use std::collections::{BTreeMap, BTreeSet};

use stx_layout::derived::{IMAGE_DIRECTORY, is_image_list};
use stx_layout::{BuildId, BuildPath, Qualifier, Tag};

use super::{NamedImage, generated};
use stx_publish::incoming::Incoming;

/// Replaces the lists of a build by those of `images`. The list of the moving names is made only if `latest` is moved for this
/// build. Without images, existing lists are kept.
pub(crate) fn add_lists(
    incoming: &mut Incoming,
    build: &BuildId,
    images: &[NamedImage],
    latest: bool,
) {
    if images.is_empty() {
        return;
    }
    let is_replaced =
        |path: &BuildPath| is_image_list(path) && path.file_name().starts_with("images-");
    incoming.entries.retain(|path, _| !is_replaced(path));
    let mut lists: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for image in images {
        let (os, stream) = kind(build, image.name.parts().tag);
        let mut add = |list: &str, name: String| {
            let list = format!("{IMAGE_DIRECTORY}/images-{os}-{stream}-{list}.lst");
            lists.entry(list).or_default().insert(name);
        };
        add("versioned", image.name.to_string());
        let moving = image.name.moving(Qualifier::Latest).filter(|_| latest);
        if let Some(moving) = moving {
            add("latest", moving.to_string());
        }
    }
    for (path, names) in lists {
        let mut text = Vec::from_iter(names).join("\n");
        text.push('\n');
        let path = path.parse().expect("a valid path");
        incoming.entries.insert(path, generated(text));
    }
}

/// The operating system and the stream in a list's name; if a tag has neither, the channel's and `stable`.
fn kind(build: &BuildId, tag: Tag<'_>) -> (String, String) {
    let distro = || build.channel.distro.to_string();
    match tag {
        Tag::Spec {
            os,
            openstack_release,
            ..
        } => (os.to_string(), openstack_release.to_owned()),
        Tag::Stream { os, stream, .. } => (os.to_string(), stream.to_string()),
        Tag::Base { stream, .. } => (distro(), stream.to_string()),
        Tag::Static { os, .. } => (
            os.map_or_else(distro, |os| os.to_string()),
            "stable".to_owned(),
        ),
        Tag::Builder { os, .. } => (os.to_string(), "stable".to_owned()),
        Tag::Other(_) => (distro(), "stable".to_owned()),
    }
}
