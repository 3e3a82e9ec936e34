//! Strategies for property tests: values of every type of this crate, and texts that may or may not be valid.
//!
//! Requires feature `proptest`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::{
    AliasEntry, AliasName, BuildDate, BuildEntry, BuildId, BuildOutcome, BuildPath, BuildRecord,
    BuildState, Catalog, Channel, ChannelEntry, Distro, ImageName, ImageRecord, Layer, MirrorPath,
    Name, PhaseRecord, PhaseStatus, Platform, ReleaseId, Sha256, SourceRecord, SumLine, Sums,
};

/// Any segment.
pub fn name() -> impl Strategy<Value = Name> {
    prop_oneof![
        8 => "[a-z0-9][a-z0-9._-]{0,11}",
        1 => r"[\PC&&[^/\\%]]{1,20}",
        1 => "[a-z.+~ ]{1,6}[A-Z0-9]",
    ]
    .prop_filter_map("a segment", |text| text.parse().ok())
}

/// Any release identifier.
pub fn release_id() -> impl Strategy<Value = ReleaseId> {
    prop_oneof![
        3 => Just(ReleaseId::Master),
        1 => name().prop_map(ReleaseId::Feature),
        2 => prop_oneof![name(), word(&["2018.10", "2.0.0", "11.0.0", "stx.2.0"])]
            .prop_filter("no alias", |name| name.as_str() != "latest_release")
            .prop_map(ReleaseId::Release),
        1 => name().prop_map(ReleaseId::Milestone),
        1 => prop_oneof![name(), word(&["4.0", "10.0"])].prop_map(ReleaseId::Rc),
    ]
}

/// One of some known words, as a value.
fn word<T>(words: &'static [&'static str]) -> impl Strategy<Value = T>
where
    T: std::str::FromStr + std::fmt::Debug,
{
    select(words).prop_filter_map("a value", |word| word.parse().ok())
}

/// A segment that is also a value of another type.
fn segment<T>(words: &'static [&'static str]) -> impl Strategy<Value = T>
where
    T: std::str::FromStr + std::fmt::Debug,
{
    prop_oneof![
        3 => select(words).prop_map(str::to_owned),
        1 => name().prop_map(|name| name.to_string()),
    ]
    .prop_filter_map("a value", |text| text.parse().ok())
}

/// Any distro.
pub fn distro() -> impl Strategy<Value = Distro> {
    segment(&["centos", "debian"])
}

/// Any codename and architecture.
pub fn platform() -> impl Strategy<Value = Platform> {
    let codename = segment(&["bullseye", "trixie"]);
    let arch = segment(&["amd64", "arm64"]);
    (codename, arch).prop_map(|(codename, arch)| Platform { codename, arch })
}

/// Any layer.
pub fn layer() -> impl Strategy<Value = Layer> {
    segment(&["flock", "compiler", "monolithic", "monolithic-dev1"])
}

/// Any channel.
pub fn channel() -> impl Strategy<Value = Channel> {
    let platform = option::weighted(0.3, platform());
    let layer = option::weighted(0.4, layer());
    (release_id(), distro(), platform, layer)
        .prop_map(|(release, distro, platform, layer)| Channel {
            release,
            distro,
            platform,
            layer,
        })
        // Two segments without a codename as the first are the text of another channel, so they are left out.
        .prop_filter("a channel that reads back", |channel| {
            channel.to_string().parse().as_ref() == Ok(channel)
        })
}

/// Any build date.
pub fn build_date() -> impl Strategy<Value = BuildDate> {
    // The first second of year 0 to the last of year 9999.
    prop_oneof![
        1 => -62_167_219_200_i64..=253_402_300_799,
        4 => 1_500_000_000_i64..=1_800_000_000,
    ]
    .prop_filter_map("a date", |seconds| {
        BuildDate::at(DateTime::<Utc>::from_timestamp(seconds, 0)?)
    })
}

/// Any build.
pub fn build_id() -> impl Strategy<Value = BuildId> {
    (channel(), build_date()).prop_map(|(channel, date)| BuildId::new(channel, date))
}

/// Any alias of a build.
pub fn alias_name() -> impl Strategy<Value = AliasName> {
    prop_oneof![
        3 => select(&["latest_build", "latest_green_build", "latest_docker_image_build"][..])
            .prop_map(str::to_owned),
        1 => "latest_[a-z_]{0,9}",
    ]
    .prop_filter_map("an alias", |text| text.parse().ok())
}

/// Any file of a build.
pub fn build_path() -> impl Strategy<Value = BuildPath> {
    let below = vec(name(), 0..4).prop_map(|names| {
        names.iter().fold(String::new(), |mut text, name| {
            text.push('/');
            text.push_str(name.as_str());
            text
        })
    });
    let first = prop_oneof![
        3 => select(&["outputs", "inputs", "logs", "outputs/RPMS/std", "outputs/iso", "outputs/std/packages"][..])
            .prop_map(str::to_owned),
        1 => name().prop_map(|name| name.to_string()),
    ];
    (first, below).prop_filter_map("a path", |(first, below)| {
        format!("{first}{below}").parse().ok()
    })
}

/// Any digest.
pub fn sha256() -> impl Strategy<Value = Sha256> {
    any::<[u8; 32]>().prop_map(Sha256)
}

/// Any sums.
pub fn sums() -> impl Strategy<Value = Sums> {
    vec((build_path(), sha256()), 0..8).prop_map(|lines| {
        lines
            .into_iter()
            .map(|(path, digest)| SumLine { path, digest })
            .collect()
    })
}

/// The text of an accepted path from a mirror's root: any dialect, any depth, also URLs.
pub fn mirror_text() -> impl Strategy<Value = String> {
    let release = prop_oneof![
        4 => release_id().prop_map(|release| release.to_string()),
        1 => select(&["release/latest_release", "r2018.10", "f/antelope", "r/stx.9.0", "m2018.10.b3"][..])
            .prop_map(str::to_owned),
    ];
    let channel =
        (release, option::of(distro()), vec(name(), 0..5)).prop_map(|(release, distro, more)| {
            let mut text = release;
            if let Some(distro) = distro {
                text.push('/');
                text.push_str(distro.as_str());
                for name in more {
                    text.push('/');
                    text.push_str(name.as_str());
                }
            }
            text
        });
    let point = prop_oneof![
        2 => build_date().prop_map(|date| format!("/{date}")),
        1 => alias_name().prop_map(|alias| format!("/{alias}")),
        1 => Just(String::new()),
    ];
    let below = prop_oneof![
        3 => build_path().prop_map(|path| format!("/{path}")),
        1 => Just(String::new()),
    ];
    let prefix = select(
        &[
            "",
            "",
            "",
            "http://mirror.starlingx.cengn.ca/mirror/starlingx/",
            "HTTPS://localhost:8080/mirror/starlingx/",
        ][..],
    );
    let slash = select(&["", "/"][..]);
    prop_oneof![
        8 => (prefix.clone(), channel, point, below, slash).prop_map(|(prefix, channel, point, below, slash)| {
            format!("{prefix}{channel}{point}{below}{slash}")
        }),
        1 => (prefix, select(&["", "release", "feature/", "f", "master", "rc/"][..]))
            .prop_map(|(prefix, path)| format!("{prefix}{path}")),
    ]
    .prop_filter("a path", |text| text.parse::<MirrorPath>().is_ok())
}

/// Any path from a mirror's root.
pub fn mirror_path() -> impl Strategy<Value = MirrorPath> {
    mirror_text().prop_filter_map("a path", |text| text.parse().ok())
}

/// The text of a tag.
pub fn tag_text() -> BoxedStrategy<String> {
    let prefix = || {
        prop_oneof![
            3 => select(&["master", "dev", "rc-4.0", "f-centos8", "m-2019.05b1", "r-2018.10.0"][..])
                .prop_map(str::to_owned),
            1 => "[A-Za-z0-9_][A-Za-z0-9._-]{0,12}",
        ]
    };
    let os = || select(&["centos", "ubuntu", "clear-linux", "debian", "distroless"][..]);
    let stream = || select(&["stable", "dev"][..]);
    let qualifier = || {
        prop_oneof![
            1 => Just("latest".to_owned()),
            1 => build_date().prop_map(|date| date.to_string()),
            2 => (build_date(), 0..20_u32).prop_map(|(date, patch)| format!("{date}.{patch}")),
        ]
    };
    let platform = || select(&["", "-bullseye-amd64", "-trixie-arm64"][..]);
    prop_oneof![
        (
            prefix(),
            os(),
            select(&["pike", "queens", "rocky"][..]),
            select(&["", "-latest", "-stable", "-20190513T013000Z"][..])
        )
            .prop_map(|(prefix, os, release, qualifier)| format!(
                "{prefix}-{os}-{release}{qualifier}"
            )),
        (prefix(), os(), platform(), stream(), qualifier()).prop_map(
            |(prefix, os, platform, stream, qualifier)| {
                format!("{prefix}-{os}{platform}-{stream}-{qualifier}")
            }
        ),
        (prefix(), platform(), stream(), qualifier()).prop_map(
            |(prefix, platform, stream, qualifier)| format!(
                "{prefix}{platform}-{stream}-{qualifier}"
            )
        ),
        (os(), platform(), stream(), qualifier()).prop_map(
            |(os, platform, stream, qualifier)| format!("{os}{platform}-{stream}-{qualifier}")
        ),
        (prefix(), os(), platform(), qualifier()).prop_map(
            |(prefix, os, platform, qualifier)| format!("{prefix}-{os}{platform}-{qualifier}")
        ),
        (
            "stx\\.[0-9]{1,2}\\.0-v[0-9]\\.[0-9]{1,2}(-[0-9]{1,2})?(-[0-9]{1,3}-g[0-9a-f]{7})?",
            select(&["", "-trixie", "-debian", "-debian-trixie"][..])
        )
            .prop_map(|(tag, variant)| format!("{tag}{variant}")),
        "[A-Za-z0-9_][A-Za-z0-9._-]{0,40}",
    ]
    // On the heap: all of them together are too large for the stack of a test.
    .boxed()
}

/// Any image name.
pub fn image_name() -> impl Strategy<Value = ImageName> {
    let registry = select(
        &[
            "",
            "",
            "docker.io/",
            "localhost:5000/",
            "registry.example.org/",
        ][..],
    );
    let org = select(&["starlingx", "starlingx", "mirror/starlingx"][..]);
    let image = prop_oneof![
        "stx-[a-z]{1,9}(-[a-z]{1,5})?",
        "[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?"
    ];
    (registry, org, image, tag_text()).prop_filter_map("a name", |(registry, org, image, tag)| {
        format!("{registry}{org}/{image}:{tag}").parse().ok()
    })
}

/// Any outcome.
pub fn build_outcome() -> impl Strategy<Value = BuildOutcome> {
    select(&[BuildOutcome::Success, BuildOutcome::Fail][..])
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    build_date().prop_map(BuildDate::time)
}

fn source_record() -> impl Strategy<Value = SourceRecord> {
    (
        build_path(),
        option::of("https://[a-z]{1,9}/[a-z]{1,9}"),
        "[0-9a-f]{40}",
    )
        .prop_map(|(path, url, commit)| SourceRecord {
            path: path.to_string(),
            url,
            commit,
        })
}

fn phase_record() -> impl Strategy<Value = PhaseRecord> {
    const STATES: [PhaseStatus; 5] = [
        PhaseStatus::Succeeded,
        PhaseStatus::Failed,
        PhaseStatus::TimedOut,
        PhaseStatus::Cancelled,
        PhaseStatus::Skipped,
    ];
    (
        "[a-z][a-z0-9-]{0,9}",
        select(&STATES[..]),
        any::<bool>(),
        any::<u32>(),
        option::of((instant(), instant())),
        option::of("\\PC{0,12}"),
    )
        .prop_map(
            |(name, status, required, attempts, times, reason)| PhaseRecord {
                name,
                status,
                required,
                attempts,
                started: times.map(|(started, _)| started),
                finished: times.map(|(_, finished)| finished),
                reason,
            },
        )
}

/// A field that no version of the record has, as a later one may write it.
fn unknown_field() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        "\\PC{0,8}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(serde_json::Value::from),
            btree_map("[a-z]{1,4}", inner, 0..3)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The record of a build, with fields of a later version.
pub fn build_record_of(id: BuildId) -> impl Strategy<Value = BuildRecord> {
    let others = btree_map("x-[a-z]{1,6}", unknown_field(), 0..3);
    let lists = (
        vec(source_record(), 0..3),
        vec(phase_record(), 0..3),
        vec("[a-z*/]{1,9}", 0..3),
        vec("[a-z*/]{1,9}", 0..3),
        vec((image_name(), sha256()), 0..3),
    );
    let texts = (
        option::of("\\PC{0,9}"),
        option::of("[a-z/]{1,9}"),
        option::of("[a-z]{1,9}"),
        option::of("[a-z]{1,9}"),
    );
    (build_outcome(), texts, lists, any::<(u64, u64)>(), others).prop_map(
        move |(result, texts, lists, (files, bytes), other): (_, _, _, _, BTreeMap<_, _>)| {
            let (trigger, branch, recipe, first_failing_phase) = texts;
            let (sources, phases, required_deliverables, missing_deliverables, images) = lists;
            BuildRecord {
                trigger,
                branch,
                recipe,
                sources,
                phases,
                first_failing_phase,
                required_deliverables,
                missing_deliverables,
                images: images
                    .into_iter()
                    .map(|(name, digest)| ImageRecord {
                        platform: digest.0[0]
                            .is_multiple_of(2)
                            .then(|| "linux/amd64".to_owned()),
                        size: digest.0[1]
                            .is_multiple_of(2)
                            .then(|| u64::from(digest.0[2])),
                        name: name.to_string(),
                        digest,
                    })
                    .collect(),
                files,
                bytes,
                other,
                ..BuildRecord::new(id.clone(), result)
            }
        },
    )
}

/// Any record of a build, with fields of a later version.
pub fn build_record() -> impl Strategy<Value = BuildRecord> {
    build_id().prop_flat_map(build_record_of)
}

/// Any catalog: a few channels, each with a few builds and aliases.
pub fn catalog() -> impl Strategy<Value = Catalog> {
    let build = || (option::weighted(0.9, build_outcome()), any::<bool>());
    let alias = prop_oneof![
        3 => build_date().prop_map(AliasEntry::Build),
        1 => name().prop_map(|name| AliasEntry::Other(name.to_string())),
    ];
    let entry = (
        btree_map(build_date(), build(), 0..6),
        btree_map(alias_name(), alias, 0..3),
        vec(name(), 0..3),
    );
    btree_map(channel(), entry, 0..4).prop_map(|channels| Catalog {
        channels: channels
            .into_iter()
            .map(|(channel, (builds, aliases, strays))| {
                let mut strays: Vec<String> = strays.iter().map(Name::to_string).collect();
                strays.sort();
                let builds = builds
                    .into_iter()
                    .map(|(date, (outcome, keep_file))| {
                        let id = BuildId::new(channel.clone(), date);
                        let state = match outcome {
                            Some(outcome) => {
                                BuildState::Known(Box::new(BuildRecord::new(id, outcome)))
                            }
                            None => BuildState::Unreadable("no build.json".to_owned()),
                        };
                        (date, BuildEntry { state, keep_file })
                    })
                    .collect();
                let entry = ChannelEntry {
                    builds,
                    aliases,
                    strays,
                    held: std::collections::BTreeSet::new(),
                    undated: BTreeMap::new(),
                };
                (channel, entry)
            })
            .collect(),
    })
}

/// Any text: almost a path, almost an image name, hostile, or unrelated.
pub fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        select(
            &[
                "/", "//", "..", ".", "\\", "\0", "\n", "%2e%2e", "%2F", "%00", "%5c", "%", "?",
                "#", ":", "@", " ", "\u{85}", "\u{feff}", "\u{202e}", "\u{2066}", "\u{200b}", "é"
            ][..]
        )
        .prop_map(str::to_owned),
        select(
            &[
                "master",
                "MASTER",
                "release",
                "releases",
                "r2018.10",
                "centos",
                "20181105T0600Z",
                "20181105T060000Z",
                "latest_build",
                "latest-build",
                "outputs",
                "RPMS",
                "std",
                "stx-nova",
                "stable"
            ][..]
        )
        .prop_map(str::to_owned),
        "\\PC{0,6}",
        (mirror_text(), any::<prop::sample::Index>()).prop_map(|(text, cut)| {
            let cut = text.floor_char_boundary(cut.index(text.len() + 1));
            text[cut..].to_owned()
        }),
    ];
    prop_oneof![
        4 => vec(piece, 0..6).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
        1 => "[/a-z]{200,600}",
        // Around the longest segment and the longest path, where a character may straddle the limit.
        1 => ("(master/centos/)?", prop_oneof![250_usize..258, 3050_usize..3080], "[é漢🦀]{0,2}")
            .prop_map(|(start, length, end)| format!("{start}{}{end}", "a".repeat(length))),
        1 => (1_usize..14, 0_usize..260, "[é漢🦀]{1,2}")
            .prop_map(|(segments, length, end)| format!("{}{}{end}", "a".repeat(254) + "/", "b".repeat(length)).repeat(segments)),
    ]
}
