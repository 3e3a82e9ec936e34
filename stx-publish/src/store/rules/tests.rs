use super::*;

fn id() -> BuildId {
    "master/centos/20181101T060000Z".parse().expect("a build")
}

fn at(text: &str) -> DateTime<Utc> {
    let date: BuildDate = text.parse().expect("a date");
    date.time()
}

#[test]
fn an_alias_in_any_form_and_a_pin_that_lasts_keep_a_build() {
    let latest = AliasName::latest_build();
    let pin = |until| Pin {
        build: id(),
        reason: "a customer runs it".to_owned(),
        author: "ann".to_owned(),
        until,
    };
    let end = at("20181105T060000Z");
    let other = |text: &str| AliasEntry::Other(text.to_owned());
    for (entry, pins, now, why) in [
        (None, vec![], end, None),
        (
            Some(AliasEntry::Build(id().date)),
            vec![],
            end,
            Some("latest_build points at it"),
        ),
        (
            Some(other("../centos/20181101T060000Z")),
            vec![],
            end,
            Some("latest_build points at it"),
        ),
        (Some(other("20181102T060000Z")), vec![], end, None),
        (
            None,
            vec![pin(None)],
            end,
            Some("pinned by ann: a customer runs it"),
        ),
        (None, vec![pin(Some(end))], end, None),
        (
            None,
            vec![pin(Some(end))],
            at("20181104T060000Z"),
            Some("pinned by ann: a customer runs it"),
        ),
    ] {
        let aliases = entry.clone().map(|entry| (latest.clone(), entry));
        let free = check_free(&id(), &aliases.into_iter().collect(), &pins, now);
        let reason = free.err().map(|error| match error {
            StoreError::Refused { reason, .. } => reason,
            error => panic!("{error}"),
        });
        assert_eq!(reason.as_deref(), why, "{entry:?} {pins:?}");
    }
}

#[test]
fn names_in_the_trash_round_trip() {
    let retired = retired_at(&id(), at("20181105T060000Z")).expect("a date");
    let section = Retired {
        section: Some("outputs/iso".parse().expect("a path")),
        ..retired.clone()
    };
    for (retired, name) in [
        (retired, "20181101T060000Z@20181105T060000Z"),
        (section, "20181101T060000Z@20181105T060000Z@outputs%2Fiso"),
    ] {
        assert_eq!(retired_name(&retired), name);
        assert_eq!(parse_retired_name(&id().channel, name), Some(retired));
    }
    for name in ["20181101T060000Z", "latest@20181105T060000Z", "%2Epurge"] {
        assert_eq!(parse_retired_name(&id().channel, name), None, "{name}");
    }
}

#[test]
fn an_alias_points_only_to_a_success() {
    let latest = AliasName::latest_build();
    for (result, may) in [(BuildOutcome::Success, true), (BuildOutcome::Fail, false)] {
        let record = BuildRecord::new(id(), result);
        let checked = check_target(&id().channel, &latest, &record);
        assert_eq!(checked.is_ok(), may, "{result:?}");
    }
}

#[test]
fn a_file_without_a_digest_is_not_sealed() {
    let path: BuildPath = "outputs/CONTEXT".parse().expect("a path");
    let entry = |digest| Entry::File {
        source: Utf8PathBuf::new(),
        size: 1,
        executable: false,
        digest,
    };
    let seal = |entry| {
        let entries = [(path.clone(), entry)].into();
        let record = BuildRecord::new(id(), BuildOutcome::Success);
        seal_staged(&Seal::default(), &id(), &Incoming { entries }, record)
    };
    assert!(matches!(seal(entry(None)), Err(StoreError::Refused { .. })));
    let sealed = seal(entry(Some(Sha256([1; 32])))).expect("sealed");
    assert_eq!((sealed.record.files, sealed.record.bytes), (1, 1));
}
