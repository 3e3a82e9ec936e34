//! The bytes that the bucket already has, so that the server can copy them.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::stream::{self, StreamExt as _};
use stx_layout::derived::CONTROL_SUFFIX;
use stx_layout::{BuildDate, BuildId, Channel, Sha256, media_type};

use super::Inner;
use super::keys;
use super::objects::PARALLEL;
use stx_publish::store::StoreError;

/// The number of builds of a channel that are examined; older ones add few files that a new build shares.
const RECENT: usize = 4;

/// The files of recent builds, by digest and by name.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// By digest and media type, the preferred one.
    digests: HashMap<(Sha256, &'static str), String>,
    names: HashSet<String>,
    /// The control files, by the names of their objects.
    controls: HashMap<String, Sha256>,
}

impl Shared {
    /// True if a file of this name is likely to exist, so that hashing it before it is sent pays off.
    pub(super) fn is_likely(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// An object that may have these bytes, with the media type that `name` indicates.
    pub(super) fn find(&self, digest: &Sha256, name: &str) -> Option<&str> {
        let key = (*digest, media_type(name));
        self.digests.get(&key).map(String::as_str)
    }

    /// The zsync control file beside these bytes, and its digest.
    pub(super) fn control(&self, digest: &Sha256, name: &str) -> Option<(&str, Sha256)> {
        let beside = format!("{}{CONTROL_SUFFIX}", self.find(digest, name)?);
        let (name, digest) = self.controls.get_key_value(&beside)?;
        Some((name, *digest))
    }
}

impl Inner {
    /// The files of the newest builds of `channel`, and of the newest one of each other channel. A build whose sums cannot be read
    /// shares nothing.
    ///
    /// The builds are those with a manifest, found by one listing. They include retired builds and builds that never became
    /// visible, which share nothing.
    pub(super) async fn shared(&self, channel: &Channel) -> Result<Shared, StoreError> {
        let mut dates = BTreeMap::<Channel, Vec<BuildDate>>::new();
        for id in self.builds_with(keys::MANIFESTS).await? {
            dates.entry(id.channel).or_default().push(id.date);
        }
        let mut builds = Vec::new();
        for (known, dates) in dates {
            let count = if known == *channel { RECENT } else { 1 };
            let newest = dates.into_iter().rev().take(count);
            builds.extend(newest.map(|date| BuildId::new(known.clone(), date)));
        }
        builds.sort_by_key(|id| (id.channel != *channel, std::cmp::Reverse(id.date)));
        let read = builds.into_iter().map(|id| async move {
            let sums = self.sums(&id).await.ok()?;
            Some((id, sums))
        });
        let mut read = stream::iter(read).buffered(PARALLEL);
        let mut shared = Shared::default();
        while let Some(build) = read.next().await {
            let Some((id, sums)) = build else {
                continue;
            };
            for line in sums.lines() {
                let name = format!("{id}/{}", line.path);
                shared.names.insert(line.path.file_name().to_owned());
                if name.ends_with(CONTROL_SUFFIX) {
                    shared.controls.insert(name.clone(), line.digest);
                }
                let key = (line.digest, media_type(&name));
                shared.digests.entry(key).or_insert(name);
            }
        }
        Ok(shared)
    }
}
