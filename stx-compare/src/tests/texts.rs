//! Every kind of change and noise has a text, and a sample here.

use std::collections::BTreeSet;

use crate::change::{Aspect, Change, FileSummary, Noise};
use crate::package::{ChangelogEntry, Relation, Scriptlet};

fn scriptlet(script: &str) -> Scriptlet {
    Scriptlet {
        program: vec!["/bin/sh".to_owned()],
        script: script.to_owned(),
        flags: None,
    }
}

fn entry(text: &str) -> ChangelogEntry {
    ChangelogEntry {
        time: 1_577_836_800,
        author: "Jane <jane@example.org> - 1.0-1".to_owned(),
        text: text.to_owned(),
    }
}

fn dependency(from: &[&str], to: &[&str]) -> Change {
    let owned = |side: &[&str]| side.iter().copied().map(ToOwned::to_owned).collect();
    Change::Dependency {
        relation: Relation::Requires,
        name: "bash".to_owned(),
        from: owned(from),
        to: owned(to),
    }
}

/// The position of a kind of change in the list below: a new kind needs a position, and a sample.
fn place(change: &Change) -> usize {
    match change {
        Change::Version { .. } => 0,
        Change::Attribute { .. } => 1,
        Change::FileAdded { .. } => 2,
        Change::FileRemoved { .. } => 3,
        Change::FileChanged { .. } => 4,
        Change::Dependency { .. } => 5,
        Change::Soname { .. } => 6,
        Change::Scriptlet { .. } => 7,
        Change::Changelog { .. } => 8,
        Change::Payload { .. } => 9,
        Change::ControlFile { .. } => 10,
        Change::Unread => 11,
    }
}

fn aspect_place(aspect: &Aspect) -> usize {
    match aspect {
        Aspect::Content { .. } => 0,
        Aspect::Size { .. } => 1,
        Aspect::Mode { .. } => 2,
        Aspect::Owner { .. } => 3,
        Aspect::Target { .. } => 4,
        Aspect::Flags { .. } => 5,
        Aspect::Capabilities { .. } => 6,
        Aspect::Language { .. } => 7,
        Aspect::Device { .. } => 8,
        Aspect::Verify { .. } => 9,
    }
}

fn noise_place(noise: &Noise) -> usize {
    match noise {
        Noise::BuildTime { .. } => 0,
        Noise::BuildHost { .. } => 1,
        Noise::BuildTool { .. } => 2,
        Noise::Signature { .. } => 3,
        Noise::FileTimes { .. } => 4,
        Noise::EmbeddedTimes { .. } => 5,
        Noise::PayloadBytes { .. } => 6,
        Noise::Derived { .. } => 7,
    }
}

fn aspects() -> Vec<Aspect> {
    vec![
        Aspect::Content {
            from: Some("sha256:00".to_owned()),
            to: Some("sha256:11".to_owned()),
        },
        Aspect::Size { from: 1, to: 2 },
        Aspect::Mode {
            from: 0o100_644,
            to: 0o100_755,
        },
        Aspect::Owner {
            from: "root:root".to_owned(),
            to: "root:wheel".to_owned(),
        },
        Aspect::Target {
            from: None,
            to: Some("b".to_owned()),
        },
        Aspect::Flags {
            from: String::new(),
            to: "config,noreplace".to_owned(),
        },
        Aspect::Capabilities {
            from: None,
            to: Some("cap_net_raw=ep".to_owned()),
        },
        Aspect::Language {
            from: Some("de".to_owned()),
            to: None,
        },
        Aspect::Device {
            from: Some(1),
            to: Some(2),
        },
        Aspect::Verify {
            from: Some(0),
            to: Some(7),
        },
    ]
}

fn changes() -> Vec<Change> {
    let file = FileSummary {
        mode: 0o100_644,
        owner: "root:root".to_owned(),
        size: 3,
        target: None,
    };
    let link = FileSummary {
        mode: 0o120_777,
        target: Some("a".to_owned()),
        ..file.clone()
    };
    vec![
        Change::Version {
            from: "1.0-1".to_owned(),
            to: "1:1.0-2".to_owned(),
        },
        Change::Attribute {
            name: "license".to_owned(),
            from: Some("MIT".to_owned()),
            to: None,
        },
        Change::FileAdded {
            path: "/usr/a".to_owned(),
            file,
        },
        Change::FileRemoved {
            path: "/usr/b\u{1b}[31m".to_owned(),
            file: link,
        },
        Change::FileChanged {
            path: "/usr/c".to_owned(),
            aspects: aspects(),
        },
        dependency(&[], &[">= 4"]),
        dependency(&["(pre)"], &[]),
        dependency(&[""], &[">= 4", "< 6"]),
        Change::Soname {
            relation: Relation::Provides,
            name: "libz.so.1()(64bit)".to_owned(),
            added: true,
        },
        Change::Soname {
            relation: Relation::Requires,
            name: "libz.so.1()(64bit)".to_owned(),
            added: false,
        },
        Change::Scriptlet {
            name: "post".to_owned(),
            from: Some(scriptlet("a\nb\n")),
            to: Some(scriptlet("a\nc\n")),
        },
        Change::Scriptlet {
            name: "pre".to_owned(),
            from: None,
            to: Some(scriptlet("a\n")),
        },
        Change::Changelog {
            added: vec![entry("- new\n- more")],
            removed: vec![entry("- old")],
        },
        Change::Payload {
            aspect: "compression".to_owned(),
            from: "xz".to_owned(),
            to: "zstd".to_owned(),
        },
        Change::ControlFile {
            name: "triggers".to_owned(),
            from: Some("interest a\ninterest b\n".to_owned()),
            to: Some("interest a\ninterest-noawait b\n".to_owned()),
        },
        Change::Unread,
    ]
}

#[test]
fn every_kind_of_change_has_a_text() {
    let (changes, aspects) = (changes(), aspects());
    let places: BTreeSet<_> = changes.iter().map(place).collect();
    assert!(places.into_iter().eq(0..12), "a kind without a sample");
    let places: BTreeSet<_> = aspects.iter().map(aspect_place).collect();
    assert!(places.into_iter().eq(0..10), "an aspect without a sample");
    let text: Vec<_> = changes.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("changes", text.join("\n"));
    insta::assert_json_snapshot!("changes-json", changes);
}

#[test]
fn every_kind_of_noise_has_a_text() {
    let noise = vec![
        Noise::BuildTime {
            from: Some(0),
            to: Some(1_577_836_800),
        },
        Noise::BuildHost {
            from: Some("a".to_owned()),
            to: Some("b".to_owned()),
        },
        Noise::BuildTool {
            from: Some("4.11.3".to_owned()),
            to: None,
        },
        Noise::Signature {
            from: vec![],
            to: vec!["sha256:00".to_owned()],
        },
        Noise::Signature {
            from: vec!["sha256:00".to_owned()],
            to: vec![],
        },
        Noise::Signature {
            from: vec!["sha256:00".to_owned()],
            to: vec!["sha256:11".to_owned()],
        },
        Noise::FileTimes {
            paths: ["a", "b", "c", "d", "e"].map(ToOwned::to_owned).to_vec(),
        },
        Noise::EmbeddedTimes {
            path: "/a.gz".to_owned(),
            format: "gzip".to_owned(),
        },
        Noise::PayloadBytes {
            from: None,
            to: Some("00".to_owned()),
        },
        Noise::Derived {
            name: "Installed-Size".to_owned(),
            from: Some("10".to_owned()),
            to: Some("12".to_owned()),
        },
    ];
    let places: BTreeSet<_> = noise.iter().map(noise_place).collect();
    assert!(places.into_iter().eq(0..8), "a kind without a sample");
    let text: Vec<_> = noise.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("noise", text.join("\n"));
}
