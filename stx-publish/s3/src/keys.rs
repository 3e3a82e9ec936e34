//! The names of objects, relative to the mirror's root in the bucket.

use stx_layout::{AliasName, BuildDate, BuildId, BuildPath, BuildRecord, Channel, RootAlias};

use stx_publish::store::Retired;
use stx_publish::store::rules::{parse_retired_name, retired_name};

/// The private area.
pub(super) const PRIVATE: &str = ".stx";
/// Every generation of every alias.
pub(super) const ALIASES: &str = ".stx/aliases";
/// The build at which an alias is deliberately held.
pub(super) const HELD: &str = ".stx/held";
/// The marks of operations in progress in a channel.
pub(super) const MARKS: &str = ".stx/marks";
/// The tags of deleted builds that are still needed.
pub(super) const OWED: &str = ".stx/owed";
/// The manifest of each build.
pub(super) const MANIFESTS: &str = ".stx/manifests";
/// The pins of each build.
pub(super) const PINS: &str = ".stx/pins";
/// The verdicts on each build.
pub(super) const VERDICTS: &str = ".stx/verdicts";
/// Every generation of every name above the channels.
pub(super) const ROOT: &str = ".stx/root";
/// The sections that each channel offers without a date.
pub(super) const UNDATED: &str = ".stx/undated";
/// An entry for each retired build and section.
pub(super) const RETIRED: &str = ".stx/retired";

/// Replaces `/` in the name of an upload or an alias; no name of the grammar contains it.
const SLASH: &str = "%2F";

/// Ends the name of the mark that says that a retired build's files were moved aside.
const ASIDE: &str = "@@aside";

pub(super) fn build(id: &BuildId) -> String {
    id.to_string()
}

pub(super) fn record(id: &BuildId) -> String {
    format!("{id}/{}", BuildRecord::FILE_NAME)
}

/// The digests of the files that were published last, for the next publish from the same directory.
pub(super) fn inputs(channel: &Channel) -> String {
    format!("{PRIVATE}/cache/{channel}/%2Einputs")
}

pub(super) fn manifest(id: &BuildId) -> String {
    format!("{MANIFESTS}/{id}.json")
}

/// The key that a plain web server shows as an alias: the record of the build that it points at.
pub(super) fn shown_alias(channel: &Channel, alias: &AliasName) -> String {
    format!("{channel}/{alias}/{}", BuildRecord::FILE_NAME)
}

pub(super) fn alias(channel: &Channel, alias: &AliasName) -> String {
    format!("{ALIASES}/{channel}/{alias}")
}

pub(super) fn root_alias(alias: &RootAlias) -> String {
    format!("{ROOT}/{}", alias.to_string().replace('/', SLASH))
}

/// Reads the name of a prefix below [`ROOT`], which is relative to it.
pub(super) fn parse_root_alias(name: &str) -> Option<RootAlias> {
    name.replace(SLASH, "/").parse().ok()
}

/// The key of the sections that a channel offers without a date.
pub(super) fn undated(channel: &Channel) -> String {
    format!("{UNDATED}/{channel}/%2Estate")
}

/// The lock of the names above the channels.
pub(super) fn aliases_lock() -> String {
    format!("{PRIVATE}/locks/%2Ealiases")
}

pub(super) fn held(channel: &Channel, alias: &AliasName) -> String {
    format!("{HELD}/{channel}/{alias}")
}

pub(super) fn pins(id: &BuildId) -> String {
    format!("{PINS}/{id}.json")
}

pub(super) fn verdicts(id: &BuildId) -> String {
    format!("{VERDICTS}/{id}.json")
}

pub(super) fn owed(id: &BuildId) -> String {
    format!("{OWED}/{id}.json")
}

/// The lock of a channel, or that of the pages.
pub(super) fn lock(channel: Option<&Channel>) -> String {
    match channel {
        Some(channel) => format!("{PRIVATE}/locks/{channel}/%2Elock"),
        None => format!("{PRIVATE}/locks/%2Epages"),
    }
}

/// The key of the journal of a large file's upload.
pub(super) fn uploads(id: &BuildId) -> String {
    format!("{PRIVATE}/uploads/{id}")
}

pub(super) fn upload(id: &BuildId, path: &BuildPath) -> String {
    format!("{}/{}", uploads(id), path.as_str().replace('/', SLASH))
}

/// The entry of a retired build or section.
pub(super) fn retired(retired: &Retired) -> String {
    format!("{RETIRED}/{}/{}", retired.id.channel, retired_name(retired))
}

/// The mark that says that a retired build's files were moved aside.
pub(super) fn aside_mark(retired: &Retired) -> String {
    format!("{}{ASIDE}", self::retired(retired))
}

/// The prefix of a retired build's files if another build took its place.
pub(super) fn aside(retired: &Retired) -> String {
    format!("{PRIVATE}/aside/{}@{}", retired.id, retired.at)
}

/// The key of the `generation`th object of a sequence; keys sort in the order of their numbers.
pub(super) fn generation(prefix: &str, generation: u64) -> String {
    format!("{prefix}/{generation:020}")
}

/// The number of a generation.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| name.parse().ok()).flatten()
}

/// The meaning of a name of an object below [`RETIRED`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RetiredName {
    /// A retired build or section.
    Entry(Retired),
    /// The files of a retired build were moved aside.
    Aside(Retired),
}

/// Reads the name of an object below [`RETIRED`], which is relative to it.
pub(super) fn parse_retired(key: &str) -> Option<RetiredName> {
    let (key, aside) = match key.strip_suffix(ASIDE) {
        Some(key) => (key, true),
        None => (key, false),
    };
    let (channel, name) = key.rsplit_once('/')?;
    let retired = parse_retired_name(&channel.parse().ok()?, name)?;
    Some(if aside {
        RetiredName::Aside(retired)
    } else {
        RetiredName::Entry(retired)
    })
}

/// The operation in progress on a build, for the publisher that finds its mark after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Going {
    /// A purged build or section is being deleted.
    Purge,
    /// A build is being staged.
    Publish,
    /// A retired build is being restored.
    Restore,
    /// Sections are being retired or restored.
    Sections,
}

impl Going {
    const ALL: [Self; 4] = [Self::Purge, Self::Publish, Self::Restore, Self::Sections];

    fn name(self) -> &'static str {
        match self {
            Self::Purge => "purge",
            Self::Publish => "publish",
            Self::Restore => "restore",
            Self::Sections => "sections",
        }
    }
}

pub(super) fn mark(id: &BuildId, going: Going) -> String {
    format!("{MARKS}/{id}@{}", going.name())
}

/// Reads the name of an object below [`MARKS`], which is relative to it.
pub(super) fn parse_mark(key: &str) -> Option<(BuildId, Going)> {
    let (channel, name) = key.rsplit_once('/')?;
    let (date, what) = name.split_once('@')?;
    let date: BuildDate = date.parse().ok()?;
    let going = Going::ALL.into_iter().find(|going| going.name() == what)?;
    Some((BuildId::new(channel.parse().ok()?, date), going))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let id: BuildId = "master/centos/20181101T060000Z".parse().expect("a build");
        for section in [None, Some("outputs/iso".parse().expect("a path"))] {
            let entry = Retired {
                id: id.clone(),
                at: "20181105T060000Z".parse().expect("a date"),
                section,
            };
            let read = |key: String| {
                let key = key.strip_prefix(".stx/retired/").map(str::to_owned);
                parse_retired(&key.expect("below it"))
            };
            assert_eq!(
                read(retired(&entry)),
                Some(RetiredName::Entry(entry.clone()))
            );
            assert_eq!(read(aside_mark(&entry)), Some(RetiredName::Aside(entry)));
        }
        for going in Going::ALL {
            let key = mark(&id, going);
            let key = key.strip_prefix(".stx/marks/").expect("below it");
            assert_eq!(parse_mark(key), Some((id.clone(), going)));
        }
        for text in [
            "r2018.10",
            "release/latest_release",
            "release/1/debian/flock",
        ] {
            let alias = text.parse().expect("an alias");
            let key = root_alias(&alias);
            let key = key.strip_prefix(".stx/root/").expect("below it");
            assert!(!key.contains('/'), "{key}");
            assert_eq!(parse_root_alias(key), Some(alias));
        }
        let key = generation("a", 12);
        assert_eq!(number(key.strip_prefix("a/").expect("below it")), Some(12));
        assert_eq!(number("12"), None);
    }
}
