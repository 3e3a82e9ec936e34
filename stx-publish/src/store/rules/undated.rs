//! The rules of paths without a date: `release/8.0.0/centos/outputs/…` shows the sections of a build.

use std::collections::{BTreeMap, BTreeSet};

use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildPath, Channel, ChannelEntry, Section,
    UndatedEntry,
};

use super::StoreError;

/// The build whose sections are offered without a date: that of `latest_build`.
pub fn check_offer(
    channel: &Channel,
    latest: Option<&AliasEntry>,
) -> Result<BuildDate, StoreError> {
    match latest {
        Some(AliasEntry::Build(date)) => Ok(*date),
        Some(AliasEntry::Other(_)) | None => Err(StoreError::NotFound {
            what: format!("{channel}/{}", AliasName::latest_build()),
        }),
    }
}

/// The sections that contain these files of a build.
pub fn sections_of<'a>(paths: impl IntoIterator<Item = &'a BuildPath>) -> BTreeSet<Section> {
    let words = paths
        .into_iter()
        .filter_map(|path| path.as_str().split_once('/'));
    words
        .filter_map(|(word, _)| Section::from_word(word))
        .collect()
}

/// The entries of sections that follow `latest_build`.
pub fn following(sections: &BTreeSet<Section>) -> BTreeMap<Section, UndatedEntry> {
    let entry = || UndatedEntry::Alias(AliasName::latest_build());
    sections.iter().map(|section| (*section, entry())).collect()
}

/// True if exactly these sections can be read without a date, as those of the build `date`.
pub fn is_offered(entry: &ChannelEntry, sections: &BTreeSet<Section>, date: BuildDate) -> bool {
    entry.undated.keys().eq(sections)
        && sections
            .iter()
            .all(|section| entry.undated_build(*section) == Some(date))
}

/// Refuses to remove a build that a path without a date links to. A store that keeps copies at these paths need not call this.
pub fn check_undated(
    id: &BuildId,
    undated: &BTreeMap<Section, UndatedEntry>,
) -> Result<(), StoreError> {
    let leads = |to: &UndatedEntry| match to {
        UndatedEntry::Build(date) => *date == id.date,
        UndatedEntry::Other(text) => text.contains(&id.date.to_string()),
        UndatedEntry::Alias(_) => false,
    };
    match undated.iter().find(|(_, to)| leads(to)) {
        None => Ok(()),
        Some((section, _)) => Err(StoreError::Refused {
            what: id.to_string(),
            reason: format!("{}/{} leads to it", id.channel, section.as_str()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_segment_of_a_path_is_its_section() {
        let paths = [
            "build.json",
            "outputs/iso/a.iso",
            "logs/a.log",
            "outputs/b",
            "inputs",
            "x/y",
        ];
        let paths: Vec<BuildPath> = paths.map(|path| path.parse().expect(path)).into();
        let found = sections_of(&paths);
        assert_eq!(found, [Section::Outputs, Section::Logs].into());
    }

    #[test]
    fn undated_paths_are_offered_only_if_complete_and_of_one_build() {
        let (date, other): (BuildDate, BuildDate) = (
            "20181105T060000Z".parse().expect("a date"),
            "20181106T060000Z".parse().expect("a date"),
        );
        let sections: BTreeSet<_> = [Section::Inputs, Section::Outputs].into();
        let mut entry = ChannelEntry {
            undated: following(&sections),
            ..ChannelEntry::default()
        };
        assert!(!is_offered(&entry, &sections, date), "no alias to follow");
        let latest = AliasName::latest_build();
        entry.aliases.insert(latest, AliasEntry::Build(date));
        assert!(is_offered(&entry, &sections, date));
        assert!(!is_offered(&entry, &sections, other));
        assert!(!is_offered(&entry, &[Section::Outputs].into(), date));
        for (shown, offered) in [
            (UndatedEntry::Build(date), true),
            (UndatedEntry::Build(other), false),
            (UndatedEntry::Other("/srv/outputs".to_owned()), false),
        ] {
            entry.undated.insert(Section::Outputs, shown);
            assert_eq!(is_offered(&entry, &sections, date), offered);
        }
    }
}
