//! The grammar as tables: every production and example, and realistic URLs for every row.

use serde_json::{Map, Value};
use stx_layout::report::{ImageReport, PathReport};
use stx_layout::{
    Alias, BuildOutcome, Dialect, ImageName, MirrorPath, MirrorPathRef, OutputKind, ReleaseId,
    Section,
};

/// The rows of a table: the names of its columns, and each line split at tabs; `-` is null.
fn table(text: &'static str) -> impl Iterator<Item = Map<String, Value>> {
    let mut lines = text.lines();
    let names: Vec<_> = lines
        .next()
        .and_then(|line| line.strip_prefix("# "))
        .expect("a head")
        .split('\t')
        .collect();
    lines.map(move |line| {
        let values: Vec<_> = line.split('\t').collect();
        assert_eq!(values.len(), names.len(), "{line}");
        names
            .iter()
            .zip(values)
            .map(|(name, value)| {
                let value = match value {
                    "-" => Value::Null,
                    value => value.into(),
                };
                ((*name).to_owned(), value)
            })
            .collect()
    })
}

#[test]
fn paths_of_every_row() {
    let mut seen = std::collections::BTreeSet::new();
    for row in table(include_str!("fixtures/paths.tsv")) {
        let text = row["text"].as_str().expect("a text");
        let path: MirrorPath = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(path.to_string(), text);
        let report = serde_json::to_value(PathReport::from(path.borrowed())).expect("JSON");
        for (key, value) in &row {
            if key != "text" {
                assert_eq!(&report[key], value, "{key} of {text}");
            }
        }
        // A URL has the same parts as its path.
        let bare: MirrorPath = path
            .path()
            .parse()
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(bare.path(), path.path());
        assert_eq!(bare.dialect(), path.dialect(), "{text}");
        seen.insert(text.to_owned());
    }
    assert!(seen.len() >= 200, "{} paths", seen.len());
}

#[test]
fn image_names_of_every_row() {
    for row in table(include_str!("fixtures/images.tsv")) {
        let text = row["text"].as_str().expect("a text");
        let name: ImageName = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(name.to_string(), text);
        assert_eq!(name.parts().compose().as_ref(), Ok(&name));
        let report = serde_json::to_value(ImageReport::parse(text).expect("a name")).expect("JSON");
        for (key, value) in &row {
            let found = match &report[key] {
                Value::Number(number) => Value::from(number.to_string()),
                other => other.clone(),
            };
            if key != "text" {
                assert_eq!(&found, value, "{key} of {text}");
            }
        }
    }
}

/// The specification's productions, multiplied out: all of them belong to its dialect.
#[test]
fn every_production_of_the_specification() {
    let outputs = [
        "RPMS/std",
        "RPMS/rt",
        "RPMS/installer",
        "RPMS/container",
        "SRPMS/std",
        "SRPMS/rt",
        "SRPMS/installer",
        "SRPMS/container",
        "iso",
        "installer",
        "wheels",
        "helm-charts",
        "CONTEXT",
        "success",
        "fail",
        "logs",
    ]
    .map(|output| format!("outputs/{output}"));
    let inputs = ["RPMS", "SRPMS", "downloads"].map(|input| format!("inputs/{input}"));
    let mut count = 0;
    for release in [
        "master",
        "feature/centos76",
        "release/2018.10",
        "milestone/2018.10.b3",
        "r2018.10",
    ] {
        for build in ["20181105T060000Z", "latest_build"] {
            for below in inputs.iter().chain(&outputs) {
                let text = format!("{release}/centos/{build}/{below}");
                let path: MirrorPath = text.parse().unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(path.dialect(), Dialect::Spec, "{text}");
                assert_eq!(path.to_string(), text);
                assert_eq!(path.release(), Some(release));
                assert_eq!(path.distro(), Some("centos"));
                assert_eq!(path.build().or(path.alias()), Some(build));
                assert_eq!(
                    path.build_path().map(|path| path.to_string()).as_ref(),
                    Some(below)
                );
                count += 1;
                // With one word different, it belongs to the extended dialect.
                for extended in [
                    text.replace("centos/", "debian/"),
                    text.replace("centos/", "centos/flock/"),
                    text.replace("centos/", "centos/bullseye/amd64/"),
                    text.replace(build, "latest_green_build"),
                    text.replace(&format!("/{build}/"), "/"),
                    format!("{release}/centos/{build}"),
                ] {
                    let path: MirrorPath =
                        extended.parse().unwrap_or_else(|error| panic!("{error}"));
                    let link = extended.ends_with("/latest_build");
                    let feature = release == "feature/centos76" && extended.contains("debian/");
                    if !link && !feature {
                        assert_eq!(path.dialect(), Dialect::Extended, "{extended}");
                    }
                }
            }
        }
    }
    assert_eq!(count, 5 * 2 * 19);
}

#[test]
fn every_git_name() {
    for (git, release) in [
        ("master", "master"),
        ("f/centos76", "feature/centos76"),
        ("r/2018.10", "release/2018.10"),
        ("r2018.10", "release/2018.10"),
        ("r/stx.2.0", "rc/2.0"),
        ("r/stx.10.0", "rc/10.0"),
        ("m/2018.10.b3", "milestone/2018.10.b3"),
        ("m2018.10.b3", "milestone/2018.10.b3"),
    ] {
        assert_eq!(
            ReleaseId::from_git(git).map(|id| id.to_string()).as_deref(),
            Ok(release)
        );
    }
    for git in [
        "", "main", "dev", "f", "f/", "r/", "r/stx.", "rx", "m", "f/a/b", "r/..", "f/a\\b",
    ] {
        assert!(ReleaseId::from_git(git).is_err(), "{git}");
    }
}

#[test]
fn a_path_gives_its_parts_as_types() {
    let path =
        MirrorPathRef::parse("r2018.10/centos/latest_build/outputs/success").expect("a path");
    let aliases: Vec<_> = path.aliases().map(|alias| alias.to_string()).collect();
    assert_eq!(aliases, ["r2018.10", "latest_build"]);
    assert_eq!(path.outcome(), Some(BuildOutcome::Success));
    assert_eq!(path.channel(), None);
    let path = MirrorPathRef::parse("release/latest_release/debian").expect("a path");
    assert_eq!(path.aliases().collect::<Vec<_>>(), [Alias::LatestRelease]);
    let path =
        MirrorPathRef::parse("rc/4.0/centos/flock/20200101T000000Z/outputs/GREEN").expect("a path");
    assert_eq!(path.output_kind(), Some(OutputKind::Marker));
    assert_eq!(
        path.build_id().map(|id| id.to_string()).as_deref(),
        Some("rc/4.0/centos/flock/20200101T000000Z")
    );
    let path = MirrorPathRef::parse("master/centos/latest_build/logs/").expect("a path");
    assert_eq!(
        (path.section(), path.is_directory()),
        (Some(Section::Logs), true)
    );
}

/// The objects, key by key: order and nulls are part of the form.
#[test]
fn objects_have_every_key() {
    let object = |text| {
        let path = MirrorPathRef::parse(text).expect("a path");
        serde_json::to_string(&PathReport::from(path)).expect("JSON")
    };
    assert_eq!(
        object("master/centos/20181105T060000Z/outputs/RPMS/std/"),
        concat!(
            r#"{"input":"master/centos/20181105T060000Z/outputs/RPMS/std/","#,
            r#""path":"master/centos/20181105T060000Z/outputs/RPMS/std","#,
            r#""dialect":"spec","release":"master","distro":"centos","codename":null,"arch":null,"#,
            r#""layer":null,"build":"20181105T060000Z","alias":null,"section":"outputs","#,
            r#""artifact":"RPMS","phase":"std","rest":null}"#
        )
    );
    assert_eq!(
        object("release/2.0.0/centos/outputs/iso/bootimage.iso"),
        concat!(
            r#"{"input":"release/2.0.0/centos/outputs/iso/bootimage.iso","#,
            r#""path":"release/2.0.0/centos/outputs/iso/bootimage.iso","#,
            r#""dialect":"extended","release":"release/2.0.0","distro":"centos","codename":null,"#,
            r#""arch":null,"layer":null,"build":null,"alias":null,"section":"outputs","#,
            r#""artifact":"iso","phase":null,"rest":"bootimage.iso"}"#
        )
    );
    let image = ImageReport::parse("starlingx/stx-audit:stx.13.0-v1.0.2-trixie").expect("a name");
    assert_eq!(
        serde_json::to_string(&image).expect("JSON"),
        concat!(
            r#"{"input":"starlingx/stx-audit:stx.13.0-v1.0.2-trixie","#,
            r#""name":"starlingx/stx-audit:stx.13.0-v1.0.2-trixie","registry":null,"#,
            r#""org":"starlingx","image":"stx-audit","component":"audit","#,
            r#""tag":"stx.13.0-v1.0.2-trixie","form":"static","prefix":"stx.13.0","os":null,"#,
            r#""codename":"trixie","arch":null,"openstack_release":null,"stream":null,"#,
            r#""version":"v1.0.2","qualifier":null,"timestamp":null,"patch":null}"#
        )
    );
}
