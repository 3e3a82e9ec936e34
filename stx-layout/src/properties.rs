//! Properties of every value and every text.

use proptest::prelude::*;

use crate::report::{self, ImageReport, PathReport, Refusal};
use crate::*;

/// The text and serde forms are equal, and both read back.
fn round_trip<T>(value: &T) -> Result<(), TestCaseError>
where
    T: std::fmt::Display
        + std::fmt::Debug
        + std::str::FromStr
        + PartialEq
        + serde::Serialize
        + serde::de::DeserializeOwned,
    T::Err: std::fmt::Debug,
{
    let text = value.to_string();
    let read: T = text.parse().expect("a text that was printed");
    prop_assert_eq!(&read, value);
    prop_assert_eq!(read.to_string(), text.as_str());
    let json = serde_json::to_string(value).expect("JSON");
    prop_assert_eq!(&json, &serde_json::to_string(&text).expect("JSON"));
    prop_assert_eq!(&serde_json::from_str::<T>(&json).expect("a value"), value);
    Ok(())
}

/// An accepted text prints back unchanged; an error has an offset within the text; a suggestion is itself accepted.
fn exact<T>(text: &str, value: Result<T, ParseError>) -> Result<(), TestCaseError>
where
    T: std::fmt::Display + std::str::FromStr<Err = ParseError>,
{
    match value {
        Ok(value) => prop_assert_eq!(value.to_string(), text),
        Err(error) => {
            prop_assert_eq!(&error.input, text);
            prop_assert!(text.is_char_boundary(error.offset), "{}", error);
            if let Some(suggestion) = &error.suggestion {
                prop_assert!(suggestion != text);
                prop_assert!(suggestion.parse::<T>().is_ok(), "{}", error);
            }
            let drawn = report::caret(&error);
            prop_assert!(drawn.lines().count() >= 2);
            prop_assert!(
                !drawn
                    .chars()
                    .any(|character| character.is_control() && character != '\n')
            );
            let refusal = serde_json::to_value(Refusal::from(&error)).expect("JSON");
            prop_assert_eq!(
                &refusal["error"]["suggestion"],
                &serde_json::json!(error.suggestion)
            );
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn values_round_trip(
        (name, release, channel, date, build) in (strategies::name(), strategies::release_id(), strategies::channel(), strategies::build_date(), strategies::build_id()),
        (alias, file, digest, path, image) in (strategies::alias_name(), strategies::build_path(), strategies::sha256(), strategies::mirror_path(), strategies::image_name()),
    ) {
        round_trip(&name)?;
        round_trip(&release)?;
        round_trip(&channel)?;
        round_trip(&channel.distro)?;
        round_trip(&date)?;
        round_trip(&build)?;
        round_trip(&alias)?;
        round_trip(&Alias::Build(alias))?;
        round_trip(&file)?;
        round_trip(&digest)?;
        round_trip(&path)?;
        round_trip(&image)?;
        if let Some(release) = path.path_release() {
            round_trip(&release)?;
        }
        for alias in path.borrowed().aliases() {
            round_trip(&alias)?;
        }
    }

    #[test]
    fn texts_are_exact(text in strategies::any_text()) {
        exact::<Name>(&text, text.parse())?;
        exact::<ReleaseId>(&text, text.parse())?;
        exact::<PathRelease>(&text, text.parse())?;
        exact::<Alias>(&text, text.parse())?;
        exact::<Channel>(&text, text.parse())?;
        exact::<BuildDate>(&text, text.parse())?;
        exact::<BuildId>(&text, text.parse())?;
        exact::<BuildPath>(&text, text.parse())?;
        if decode_url(&text).is_ok_and(|decoded| decoded == text) {
            exact::<MirrorPath>(&text, text.parse())?;
        }
        exact::<ImageName>(&text, text.parse())?;
    }

    #[test]
    fn bad_bytes_are_refused(path in strategies::mirror_text(), at in any::<prop::sample::Index>(), bad in prop::sample::select(&["\0", "\n", "\u{7f}", "\u{9b}", "\u{202a}", "\u{2069}", "\u{200b}", "\u{feff}", "\u{e0001}", "\\", "%2e", "%2F", "%00", "%5C", "//"][..])) {
        let at = path.floor_char_boundary(at.index(path.len() + 1));
        let text = format!("{}{bad}{}", &path[..at], &path[at..]);
        let error = MirrorPathRef::parse(&text).expect_err("a bad byte");
        // Among adjacent slashes, the surplus one cannot be identified.
        prop_assert!(error.offset <= at + bad.len(), "{}", error);
    }

    #[test]
    fn dots_are_refused(path in strategies::mirror_text(), dots in prop::sample::select(&["/..", "/.", "/../", "/../x"][..])) {
        let path = path.trim_end_matches('/');
        let text = format!("{path}{dots}");
        prop_assert!(MirrorPathRef::parse(&text).is_err(), "{}", text);
    }

    /// The parts of a path occur in it in their order, and nothing is left out.
    #[test]
    fn parts_make_the_path(path in strategies::mirror_path()) {
        let release = path.release().map(str::to_owned);
        let section = path.section().map(|section| section.to_string());
        let phase = path.phase().filter(|phase| path.artifact() != Some(*phase) || matches!(path.artifact(), Some("RPMS" | "SRPMS")));
        let parts: Vec<&str> = [release.as_deref(), path.distro(), path.codename(), path.arch(), path.layer(), path.build(), path.alias(), section.as_deref(), path.artifact(), phase, path.rest()]
            .into_iter()
            .flatten()
            .collect();
        if path.release().is_some() {
            prop_assert_eq!(parts.join("/"), path.path());
        } else {
            prop_assert!(parts.is_empty() && !path.path().contains('/'));
        }
        let slash = if path.is_directory() && !path.path().is_empty() { "/" } else { "" };
        let text = path.to_string();
        if !path.path().is_empty() {
            prop_assert_eq!(format!("{}{}{slash}", path.prefix(), path.path()), text);
        }
        prop_assert_eq!(path.arch().is_some(), path.arch().is_some() && path.codename().is_some());
    }

    /// Every ancestor of an accepted path is accepted, and agrees with it on their common parts.
    #[test]
    fn every_depth_is_a_path(path in strategies::mirror_path()) {
        let whole = path.path();
        for (end, _) in whole.match_indices('/') {
            let shorter = MirrorPathRef::parse(&whole[..=end]).expect("a shorter path");
            prop_assert!(shorter.release().is_none() || shorter.release() == path.release());
            prop_assert!(shorter.distro().is_none() || shorter.distro() == path.distro());
            prop_assert!(shorter.build().is_none() || shorter.build() == path.build());
            prop_assert!(shorter.section().is_none() || shorter.section() == path.section());
            prop_assert_eq!(shorter.to_string(), &whole[..=end]);
        }
    }

    #[test]
    fn urls_are_their_paths(path in strategies::mirror_path()) {
        let url = format!("https://mirror.example.org/mirror/starlingx/{}", path.path());
        let url = MirrorPathRef::parse(&url);
        if path.path().contains(['?', '#']) {
            prop_assert!(url.is_err());
        } else {
            let url = url.expect("a URL");
            let bare = MirrorPathRef::parse(path.path()).expect("a path");
            let (a, b) = (PathReport::from(url), PathReport::from(bare));
            prop_assert_eq!(PathReport { input: "", ..a }, PathReport { input: "", ..b });
        }
    }

    /// A fully encoded URL is parsed as its path, for any path.
    #[test]
    fn encoded_urls_are_their_paths(path in strategies::mirror_path()) {
        let start = "https://mirror.example.org/mirror/starlingx/";
        let url = format!("{start}{}", encode_path(path.path()));
        match url.parse::<MirrorPath>() {
            Ok(read) => prop_assert_eq!(read.path(), path.path()),
            Err(error) => {
                // A URL with `?` or `#` in its path is refused, even if they are encoded.
                prop_assert!(path.path().contains(['?', '#']), "{}", error);
                prop_assert!(["%3F", "%23"].iter().any(|mark| url[error.offset..].starts_with(mark)), "{}", error);
            }
        }
    }

    #[test]
    fn composed_paths_are_parsed_back(build in strategies::build_id(), file in strategies::build_path(), alias in strategies::alias_name()) {
        let channel = MirrorPath::of_channel(&build.channel).expect("a path");
        prop_assert_eq!(channel.channel(), Some(build.channel.clone()));
        let directory = MirrorPath::of_build(&build).expect("a path");
        prop_assert_eq!(directory.build_id(), Some(build.clone()));
        let path = MirrorPath::in_build(&build, &file).expect("a path");
        prop_assert_eq!(path.build_id(), Some(build.clone()));
        prop_assert_eq!(path.path(), format!("{build}/{file}"));
        let path = MirrorPath::of_alias(&build.channel, &alias).expect("a path");
        prop_assert_eq!(path.alias_name(), Some(alias));
    }

    #[test]
    fn builds_are_in_time_order(channel in strategies::channel(), a in strategies::build_date(), b in strategies::build_date()) {
        let order = a.time().cmp(&b.time());
        prop_assert_eq!(a.cmp(&b), order);
        prop_assert_eq!(a.to_string().cmp(&b.to_string()), order);
        prop_assert_eq!(BuildId::new(channel.clone(), a).cmp(&BuildId::new(channel, b)), order);
    }

    #[test]
    fn any_instant_has_a_date(seconds in 0_i64..4_000_000_000, nanoseconds in 0_u32..2_000_000_000) {
        if let Some(time) = chrono::DateTime::from_timestamp(seconds, nanoseconds) {
            let date = BuildDate::at(time).expect("a date");
            prop_assert_eq!(date.to_string().parse(), Ok(date));
            prop_assert_eq!(date.time().timestamp(), seconds);
        }
    }

    #[test]
    fn tags_are_exact(text in strategies::tag_text()) {
        let tag = Tag::parse(&text).expect("a tag");
        prop_assert_eq!(tag.to_string(), text.as_str());
        prop_assert_eq!(tag.compose(), Ok(text.clone()));
        let name = format!("docker.io/starlingx/stx-nova:{text}");
        let report = ImageReport::parse(&name).expect("a name");
        prop_assert_eq!((report.name, report.tag, report.form), (name.as_str(), text.as_str(), tag.form()));
        prop_assert_eq!(serde_json::to_value(&report).expect("JSON").as_object().map(serde_json::Map::len), Some(18));
    }

    #[test]
    fn sums_round_trip(sums in strategies::sums()) {
        let read: Sums = sums.to_string().parse().expect("sums");
        prop_assert_eq!(&read, &sums);
        prop_assert!(sums.lines().is_sorted_by_key(|line| &line.path));
        for line in sums.lines() {
            prop_assert_eq!(sums.get(&line.path), Some(line.digest));
        }
    }

    #[test]
    fn records_round_trip(record in strategies::build_record()) {
        let read = BuildRecord::from_json(&record.to_json()).expect("a record");
        prop_assert_eq!(&read, &record);
        let older = BuildRecord { schema: 0, ..record.clone() };
        prop_assert_eq!(BuildRecord::from_json(&older.to_json()).expect("an older record"), older);
        let newer = BuildRecord { schema: BuildRecord::SCHEMA + 1, ..record };
        let refused = matches!(BuildRecord::from_json(&newer.to_json()), Err(RecordError::TooNew { found }) if found == BuildRecord::SCHEMA + 1);
        prop_assert!(refused);
    }

    #[test]
    fn catalogs_know_their_builds(catalog in strategies::catalog()) {
        let builds: Vec<_> = catalog.builds().collect();
        prop_assert!(builds.is_sorted_by_key(|(id, _)| id.clone()));
        for (id, entry) in &builds {
            prop_assert_eq!(catalog.build(id), Some(*entry));
            prop_assert!(entry.record().is_none_or(|record| record.id == *id));
        }
        for (channel, entry) in &catalog.channels {
            let newest = builds.iter().filter(|(id, build)| id.channel == *channel && build.is_success()).map(|(id, _)| id.date).max();
            prop_assert_eq!(entry.newest_success(), newest);
        }
    }
}

/// The minimum that any version has written suffices, and unknown fields are kept.
#[test]
fn an_older_record_is_read() {
    let text = r#"{"schema":0,"id":"master/centos/20181105T060000Z","result":"fail","x-owner":{"team":"build"}}"#;
    let record = BuildRecord::from_json(text).expect("a record");
    assert_eq!(record.result, BuildOutcome::Fail);
    assert_eq!(record.other["x-owner"]["team"], "build");
    assert!(record.to_json().contains("\"x-owner\""));
    assert!(BuildRecord::from_json(r#"{"schema":1}"#).is_err());
    assert!(BuildRecord::from_json("[]").is_err());
}

/// The numbers of a later version do not drift, however often a record is rewritten.
#[test]
fn unknown_numbers_are_kept() {
    let head = r#"{"schema":1,"id":"master/centos/20181105T060000Z","result":"fail","x":"#;
    for number in [
        "9.844674407370957e19",
        "18446744073709551615",
        "-9223372036854775808",
        "0.1",
        "5e-324",
    ] {
        let record = BuildRecord::from_json(&format!("{head}{number}}}")).expect("a record");
        let again = BuildRecord::from_json(&record.to_json()).expect("a record");
        assert_eq!(again, record, "{number}");
    }
}
