//! Refused texts: the byte offset of each error, and its suggestion.

use stx_layout::report::Refusal;
use stx_layout::{
    Alias, AliasName, Arch, BranchRelease, BuildId, BuildPath, BuildPhase, Channel, Codename,
    Distro, ImageName, ImageNameRef, Layer, LegacyRelease, MirrorPath, MirrorPathRef, Name,
    ParseError, PathRelease, ReleaseId, Tag,
};

/// Text, byte offset of the error, suggestion.
type Refused = (&'static str, usize, Option<&'static str>);

const PATHS: &[Refused] = &[
    ("master/../etc", 7, None),
    ("..", 0, None),
    ("master/./centos", 7, None),
    ("./master", 0, Some("master")),
    ("/master/centos", 0, Some("master/centos")),
    ("/", 0, Some("")),
    ("master//centos", 7, Some("master/centos")),
    ("master/centos//", 14, Some("master/centos/")),
    ("master\\centos", 6, Some("master/centos")),
    ("master/cent\0os", 11, None),
    ("master/cent\u{1b}os", 11, None),
    ("master/cent\u{85}os", 11, None),
    ("master/cen\u{202e}tos", 10, Some("master/centos")),
    ("\u{feff}master/centos", 0, Some("master/centos")),
    ("feature/a\u{200b}b/centos", 9, Some("feature/ab/centos")),
    (
        "master/centos/latest-build",
        20,
        Some("master/centos/latest_build"),
    ),
    (
        "master/debian/Latest_Green-build/outputs/iso",
        14,
        Some("master/debian/latest_green_build/outputs/iso"),
    ),
    ("master/latest-build", 7, Some("master/centos/latest_build")),
    ("master/%2e%2e/etc", 7, None),
    ("master/%2E./etc", 7, None),
    ("master%2Fcentos", 6, None),
    ("master/a%00b", 8, None),
    (
        "master/debian/latest_build/outputs/std/packages/g%2B%2B_4%3a12.deb",
        49,
        Some("master/debian/latest_build/outputs/std/packages/g++_4:12.deb"),
    ),
    (
        "master/debian/latest_build/outputs/std/packages/x_4%3A12.deb",
        51,
        Some("master/debian/latest_build/outputs/std/packages/x_4:12.deb"),
    ),
    (
        "master/debian/latest_build/outputs/std/packages/x_4%3a12.dsc",
        51,
        Some("master/debian/latest_build/outputs/std/packages/x_4:12.dsc"),
    ),
    ("master/a%5cb", 8, None),
    (
        "master/centos/latest_build/outputs/RPMS/std/libstdc%2B%2B.rpm",
        51,
        Some("master/centos/latest_build/outputs/RPMS/std/libstdc++.rpm"),
    ),
    (
        "https://mirror.example.org/mirror/starlingx/master/centos/latest_build/outputs/iso/a%2Fb.iso",
        84,
        None,
    ),
    (
        "https://mirror.example.org/mirror/starlingx/%6Daster/centos/%2E%2E/iso/a.iso",
        60,
        None,
    ),
    ("MASTER/centos", 0, Some("master/centos")),
    ("MASTER/../etc", 0, None),
    ("releases/", 0, Some("release/")),
    ("releases/2.0.0/centos", 0, Some("release/2.0.0/centos")),
    ("Feature/x", 0, Some("feature/x")),
    ("R2018.10/centos", 0, Some("r2018.10/centos")),
    ("centos/master", 0, None),
    (
        "master/centos/20181105T0600Z",
        27,
        Some("master/centos/20181105T060000Z"),
    ),
    (
        "master/centos/2018-11-05T06:00:00Z/outputs",
        18,
        Some("master/centos/20181105T060000Z/outputs"),
    ),
    (
        "master/centos/20181105t060000z",
        22,
        Some("master/centos/20181105T060000Z"),
    ),
    ("master/centos/20181305T060000Z", 18, None),
    ("master/centos/20181105", 22, None),
    (
        "master/20181105T060000Z/outputs",
        7,
        Some("master/centos/20181105T060000Z/outputs"),
    ),
    (
        "release/2.0.0/outputs/iso",
        14,
        Some("release/2.0.0/centos/outputs/iso"),
    ),
    (
        "mirror.starlingx.cengn.ca/mirror/starlingx/master/",
        0,
        Some("master/"),
    ),
    ("/mirror/starlingx/master/", 0, Some("master/")),
    ("ftp://host/mirror/starlingx/master", 0, Some("master")),
    ("http://host/mirror/centos/7", 19, None),
    ("http:///mirror/starlingx/", 7, None),
    ("http://u@host/mirror/starlingx/", 8, None),
    (
        "http://host/mirror/starlingx//master",
        29,
        Some("http://host/mirror/starlingx/master"),
    ),
    ("http://host/mirror/starlingx/../x", 29, None),
    (
        "http://host/mirror/starlingx/master/?C=M;O=D",
        36,
        Some("http://host/mirror/starlingx/master/"),
    ),
    (
        "https://host/mirror/starlingx/MASTER",
        30,
        Some("https://host/mirror/starlingx/master"),
    ),
    (" master/centos\n", 0, Some("master/centos")),
];

#[test]
fn wrong_paths_are_refused_at_their_offset() {
    let mut wrong = Vec::new();
    for (text, offset, suggestion) in PATHS {
        let error = text.parse::<MirrorPath>().expect_err(text);
        if (error.offset, error.suggestion.as_deref()) != (*offset, *suggestion) {
            wrong.push(format!("{error}; not byte {offset}, {suggestion:?}"));
        }
        assert_eq!(error.input, *text);
        let refusal = serde_json::to_value(Refusal::from(&error)).expect("JSON");
        assert_eq!(refusal["error"]["offset"], *offset);
        let keys: Vec<_> = refusal["error"]
            .as_object()
            .expect("an object")
            .keys()
            .collect();
        assert_eq!(keys.len(), 4);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn length_limits_are_enforced() {
    let long = format!("master/{}", "x".repeat(255));
    assert!(MirrorPathRef::is_accepted(&long));
    let error = format!("{long}x/")
        .parse::<MirrorPath>()
        .expect_err("too long");
    assert_eq!(error.offset, 7 + 255);
    let deep = format!("master{}", "/x".repeat(1533));
    assert_eq!(deep.len(), 3072);
    assert!(MirrorPathRef::is_accepted(&deep));
    let error = format!("{deep}/x")
        .parse::<MirrorPath>()
        .expect_err("too long");
    assert_eq!(error.offset, 3072);
    let error = MirrorPathRef::from_bytes(b"master/\xff").expect_err("not text");
    assert_eq!((error.offset, error.input.as_str()), (7, "master/\u{fffd}"));
}

/// A limit in bytes may be within a character; the offset is the beginning of that character.
#[test]
fn length_limits_within_a_character() {
    let segment = format!("master/centos/{}é", "a".repeat(254));
    let error = segment.parse::<MirrorPath>().expect_err("too long");
    assert_eq!(error.offset, 14 + 254);
    assert!(stx_layout::report::caret(&error).contains("255 bytes"));
    let deep = format!("{}é", "a/".repeat(1535) + "a");
    assert_eq!(deep.len(), 3073);
    for (error, offset) in [
        (deep.parse::<BuildPath>().expect_err("too long"), 3071),
        (
            format!("http://host/mirror/starlingx/{deep}")
                .parse::<MirrorPath>()
                .expect_err("too long"),
            29 + 3071,
        ),
        (
            format!("{}é", "a".repeat(254))
                .parse::<Name>()
                .expect_err("too long"),
            254,
        ),
    ] {
        assert_eq!(error.offset, offset, "{error}");
        stx_layout::report::caret(&error);
    }
}

/// Two names that look the same would be two different paths on the mirror.
#[test]
fn names_with_bidi_or_invisible_characters_are_refused() {
    fn offset<T: std::str::FromStr<Err = ParseError>>(text: &str) -> usize {
        match text.parse::<T>() {
            Ok(_) => panic!("{} accepts {text:?}", std::any::type_name::<T>()),
            Err(error) => error.offset,
        }
    }
    let bidi = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
    let unseen = ('\u{200b}'..='\u{200f}').chain(['\u{61c}', '\u{ad}', '\u{2060}', '\u{feff}']);
    for bad in bidi.chain(unseen) {
        let with = |before: &str| format!("{before}{bad}x");
        for (offset, at) in [
            (offset::<Name>(&with("ab")), 2),
            (offset::<AliasName>(&with("latest_")), 7),
            (offset::<Alias>(&with("latest_")), 7),
            (offset::<Alias>(&with("r2018")), 5),
            (offset::<LegacyRelease>(&with("r2018")), 5),
            (offset::<BranchRelease>(&with("f/a")), 3),
            (offset::<ReleaseId>(&with("feature/a")), 9),
            (offset::<PathRelease>(&with("rc/4")), 4),
            (offset::<Distro>(&with("centos")), 6),
            (offset::<Codename>(&with("bullseye")), 8),
            (offset::<Arch>(&with("amd64")), 5),
            (offset::<Layer>(&with("flock")), 5),
            (offset::<BuildPhase>(&with("std")), 3),
            (offset::<BuildPath>(&with("outputs/iso/a")), 13),
            (offset::<Channel>(&with("master/centos/flock")), 19),
            (
                offset::<BuildId>(&(with("master/cen") + "/20181105T060000Z")),
                10,
            ),
            (
                offset::<MirrorPath>(&with("master/centos/latest_build/outputs/a")),
                36,
            ),
            (
                offset::<ImageName>(&(with("starlingx/stx") + ":dev-centos-pike")),
                13,
            ),
            (offset::<ImageName>(&with("starlingx/stx-nova:dev")), 22),
            (
                ReleaseId::from_git(&with("f/a"))
                    .expect_err("a branch")
                    .offset,
                3,
            ),
        ] {
            assert_eq!(offset, at, "{bad:?}");
        }
    }
}

#[test]
fn a_misspelt_alias_is_suggested_right() {
    for text in ["latest-build", "Latest_build", "LATEST_BUILD"] {
        let error = text.parse::<AliasName>().expect_err("misspelt");
        assert_eq!(error.suggestion.as_deref(), Some("latest_build"), "{error}");
        let error = text.parse::<Alias>().expect_err("misspelt");
        assert_eq!(error.suggestion.as_deref(), Some("latest_build"), "{error}");
    }
}

#[test]
fn wrong_image_names_are_refused() {
    let long = format!("starlingx/a:{}", "x".repeat(129));
    for (text, offset, suggestion) in [
        ("stx-nova:latest", 0, Some("starlingx/stx-nova:latest")),
        (
            "docker.io/stx-nova:latest",
            10,
            Some("docker.io/starlingx/stx-nova:latest"),
        ),
        ("starlingx/stx-nova", 18, None),
        ("starlingx/stx-nova:", 19, None),
        ("starlingx/Stx-nova:v1", 10, Some("starlingx/stx-nova:v1")),
        ("starlingx/stx-nova:-a", 19, None),
        ("starlingx/stx-nova:a b", 20, None),
        ("starlingx/../a:b", 0, None),
        ("starlingx//a:b", 10, None),
        ("starlingx/a\0:b", 11, None),
        ("starlingx/a%2fb:c", 11, None),
        ("docker.io:x/starlingx/a:b", 10, None),
        ("starlingx/a:b@sha256:00", 11, Some("starlingx/a:b")),
        ("docker://starlingx/a:b", 7, Some("starlingx/a:b")),
        (&long, 12 + 128, None),
        ("", 0, None),
    ] {
        let error = ImageNameRef::parse(text).expect_err(text);
        if text != "starlingx/../a:b" {
            assert_eq!(
                (error.offset, error.suggestion.as_deref()),
                (offset, suggestion),
                "{error}"
            );
        }
    }
    let parts = ImageNameRef::parse("starlingx/stx-nova:dev-centos-pike").expect("a name");
    let Tag::Spec { os, .. } = parts.tag else {
        panic!("{parts:?}");
    };
    let tag = Tag::Spec {
        prefix: "dev",
        os,
        openstack_release: "stable",
        qualifier: None,
    };
    assert!(ImageNameRef { tag, ..parts }.compose().is_err());
}
