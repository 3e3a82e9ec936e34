use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn id() -> BuildId {
    "master/centos/20200105T060000Z".parse().expect("a build")
}

fn now() -> DateTime<Utc> {
    "2020-02-01T00:00:00Z".parse().expect("a time")
}

fn seen(marks: &[&str]) -> Seen {
    let at = "2020-01-05T12:00:00Z".parse().expect("a time");
    Seen {
        marks: marks.iter().map(|mark| ((*mark).to_owned(), at)).collect(),
        newest: Some(("outputs/x".to_owned(), at)),
        ..Seen::default()
    }
}

fn adopted(seen: &Seen) -> Adoption {
    match decide(seen, None, now()) {
        Decision::Adopt(adoption) => *adoption,
        Decision::Leave { message, .. } => panic!("left: {message}"),
    }
}

fn reason(seen: &Seen, assume: Option<BuildOutcome>) -> Option<Reason> {
    match decide(seen, assume, now()) {
        Decision::Adopt(_) => None,
        Decision::Leave { reason, .. } => Some(reason),
    }
}

#[test]
fn each_mark_is_evidence() {
    use BuildOutcome::{Fail, Success};
    for (mark, expected) in [
        ("outputs/success", Success),
        ("outputs/fail", Fail),
        ("outputs/Success", Success),
        ("logs/Success", Success),
        ("SUCCESS", Success),
        ("FAIL", Fail),
        ("outputs/GREEN", Success),
        ("outputs/YELLOW", Success),
        ("outputs/RED", Success),
    ] {
        let adoption = adopted(&seen(&[mark]));
        assert_eq!(adoption.result, expected, "{mark}");
        assert_eq!(adoption.evidence[0], mark);
        assert!(is_mark(&mark.parse().expect("a path")), "{mark}");
    }
    let mut latest = seen(&[]);
    latest.aliases.insert(AliasName::latest_build());
    let adoption = adopted(&latest);
    assert_eq!(adoption.result, Success);
    assert_eq!(adoption.evidence, ["latest_build points at it"]);
    let mut docker = seen(&[]);
    docker
        .aliases
        .insert("latest_docker_image_build".parse().expect("an alias"));
    assert_eq!(reason(&docker, None), Some(Reason::NoEvidence));
}

#[test]
fn a_build_without_evidence_needs_an_assumed_result() {
    assert_eq!(reason(&seen(&["KEEP"]), None), Some(Reason::NoEvidence));
    for assumed in [BuildOutcome::Success, BuildOutcome::Fail] {
        let Decision::Adopt(adoption) = decide(&seen(&[]), Some(assumed), now()) else {
            panic!("left");
        };
        assert_eq!(adoption.result, assumed);
        assert_eq!(adoption.evidence, [format!("--assume {assumed}")]);
    }
    let fails = decide(&seen(&["FAIL"]), Some(BuildOutcome::Success), now());
    let Decision::Adopt(adoption) = fails else {
        panic!("left");
    };
    assert_eq!(adoption.result, BuildOutcome::Fail, "a mark counts more");
}

#[test]
fn a_build_with_contradictory_evidence_is_not_adopted() {
    let mut alias = seen(&["outputs/fail"]);
    alias.aliases.insert(AliasName::latest_build());
    for seen in [
        seen(&["outputs/success", "outputs/fail"]),
        seen(&["FAIL", "outputs/GREEN"]),
        alias,
    ] {
        for assume in [None, Some(BuildOutcome::Success)] {
            let Decision::Leave { reason, message } = decide(&seen, assume, now()) else {
                panic!("adopted");
            };
            assert_eq!(reason, Reason::Contradiction);
            assert!(
                message.contains("(fail)") && message.contains("(success)"),
                "{message}"
            );
        }
    }
}

#[test]
fn a_recently_modified_build_is_not_adopted() {
    let mut young = seen(&["outputs/success"]);
    for (minutes, expected) in [(0, true), (59, true), (60, false), (-5, true)] {
        let at = now() - TimeDelta::minutes(minutes);
        young.newest = Some(("outputs/iso/x.iso".to_owned(), at));
        let is_left = reason(&young, None) == Some(Reason::BeingWritten);
        assert_eq!(is_left, expected, "{minutes}");
    }
}

#[test]
fn foreign_sums_and_records_are_not_replaced() {
    let mut foreign = seen(&["outputs/success"]);
    foreign.sums = FoundSums::Foreign;
    assert_eq!(reason(&foreign, None), Some(Reason::Foreign));
    foreign.sums = FoundSums::Ours;
    assert_eq!(reason(&foreign, None), None, "an adoption that died");
    foreign.record = Some("line 1, column 1".to_owned());
    assert_eq!(reason(&foreign, None), Some(Reason::Foreign));
    let mut unreadable = seen(&["outputs/success"]);
    unreadable
        .unreadable
        .push(("a\\b".to_owned(), "a backslash".to_owned()));
    assert_eq!(reason(&unreadable, None), Some(Reason::Unreadable));
}

#[test]
fn the_best_text_names_the_commits() {
    let other = COMMIT.replace('0', "f");
    let text = |name: &str, text: String| (name.to_owned(), text);
    let mut seen = seen(&["outputs/success"]);
    seen.texts = BTreeMap::from([
        text(
            "outputs/LAST_COMMITS",
            format!("./cgcs-root/stx/config {other}\n.repo/manifests {COMMIT}\n"),
        ),
        text(
            "outputs/CONTEXT.sh",
            format!("#!/bin/bash\n(cd ./cgcs-root/stx/config && git checkout -f {COMMIT})\n"),
        ),
        text("outputs/CONTEXT", "nothing of the kind\n".to_owned()),
    ]);
    let adoption = adopted(&seen);
    let config = SourceRecord {
        path: "cgcs-root/stx/config".to_owned(),
        url: None,
        commit: COMMIT.to_owned(),
    };
    assert_eq!(adoption.sources, [config]);
    assert!(
        adoption
            .evidence
            .contains(&"outputs/CONTEXT.sh: 1 git".to_owned())
    );
    seen.texts.remove("outputs/CONTEXT.sh");
    let adoption = adopted(&seen);
    let paths: Vec<_> = adoption
        .sources
        .iter()
        .map(|source| source.path.as_str())
        .collect();
    assert_eq!(paths, [".repo/manifests", "cgcs-root/stx/config"]);
    seen.texts.clear();
    let adoption = adopted(&seen);
    assert!(
        adoption
            .missing
            .iter()
            .any(|missing| missing.starts_with("sources: "))
    );
}

#[test]
fn image_lists_give_names_without_digests() {
    let mut seen = seen(&["outputs/success"]);
    let lists = [
        (
            "outputs/docker-images/images-centos-stable-latest.lst",
            "docker.io/starlingx/a:latest\n",
        ),
        (
            "outputs/docker-images/images-centos-stable-versioned.lst",
            "\ndocker.io/starlingx/a:1\ndocker.io/starlingx/b:1\n",
        ),
        (
            "outputs/docker-images/notes.lst",
            "docker.io/starlingx/c:1\n",
        ),
    ];
    seen.texts = lists
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into();
    let adoption = adopted(&seen);
    let names = ["a:1", "a:latest", "b:1"].map(|name| format!("docker.io/starlingx/{name}"));
    assert_eq!(adoption.images, names);
    let record = adoption.record(&id(), now());
    assert_eq!(record.named_images, names);
    assert!(record.images.is_empty() && record.phases.is_empty());
    assert!(record.origin.is_some_and(|origin| origin.is_adopted()));
}

#[test]
fn the_worst_of_several_verdicts_counts() {
    let adoption = adopted(&seen(&["outputs/GREEN", "outputs/RED", "KEEP"]));
    let verdict = adoption.verdict.expect("a verdict");
    assert_eq!(
        (verdict.verdict, verdict.mark.as_str()),
        (Verdict::Red, "outputs/RED")
    );
    assert!(adoption.notes[0].starts_with("outputs/GREEN is ignored"));
    assert!(adoption.pin);
}

#[test]
fn save_data_is_shell() {
    let channel = "master/centos".parse().expect("a channel");
    let text = "# ours\nSAVE_DAYS_GREEN=40\nexport SAVE_DAYS_UNKNOWN=\"3\" # few\nSAVE_MIN_KEEP=5\nSAVE_DAYS_GREEN=60\n";
    let data = texts::SaveData::read(&channel, text);
    assert_eq!(
        (data.green, data.yellow, data.red, data.unknown, data.newest),
        (60, 10, 7, 3, 5)
    );
    let policy: toml::Table = data.policy.parse().expect("TOML");
    let channel = &policy["channel"][0];
    assert_eq!(channel["keep"].as_str(), Some("60 days"));
    assert_eq!(channel["failed"].as_str(), Some("3 days"));
    assert_eq!(channel["newest"].as_integer(), Some(5));
}

#[test]
fn checksum_lines_are_read_by_their_first_two_words() {
    let digest = "0".repeat(64);
    let text = format!("{digest} a.deb 12 1 2 3 /localdisk/a.deb\nshort b 1\n\n");
    let sums = texts::checksums(&text);
    assert_eq!(sums.keys().collect::<Vec<_>>(), [&"a.deb"]);
}
