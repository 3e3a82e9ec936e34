//! Sections that are removed before their build.

use crate::harness::{run, tool};
use crate::retention::{Mirror, january};

const NOW: &str = "2020-01-12T12:00:00Z";
const POLICY: &str = r#"
[kind.master]
tiers = [
    { section = "outputs/logs", after = "7 days" },
    { section = "inputs", after = "5 days" },
    { section = "outputs/installer", after = "5 days" },
]
"#;

fn build(day: u32) -> String {
    format!("master/centos/{}", january(day))
}

fn mirror() -> Mirror {
    let mirror = Mirror::new(12);
    mirror.policy(POLICY);
    mirror
}

#[test]
fn sections_are_removed_as_planned_and_marked_for_readers() {
    let mirror = mirror();
    let dry = mirror.json(&["prune", "--dry-run", "--now", NOW]);
    let planned: Vec<_> = dry["sections"]
        .as_array()
        .expect("sections")
        .iter()
        .map(|step| format!("{}/{}", step["build"], step["section"]).replace('"', ""))
        .collect();
    // Five days of logs, seven of inputs; there is no installer, and no build is retired.
    assert_eq!(planned.len(), 12, "{planned:?}");
    assert_eq!(dry["expire"].as_array().map(Vec::len), Some(0));
    let ran = mirror.json(&["prune", "--now", NOW]);
    let thinned = ran["thinned"].as_array().expect("thinned").iter();
    let thinned: Vec<_> = thinned
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(thinned, planned);
    assert_eq!(mirror.builds().len(), 12);
    let first = mirror.at(&format!("mirror/{}", build(1)));
    for section in ["inputs", "outputs/logs"] {
        assert!(!first.join(section).exists(), "{section}");
    }
    assert!(mirror.at(&format!("mirror/{}/inputs", build(8))).is_dir());

    // All remaining bytes are correct, and the removed sections are recorded.
    run(&mut mirror.stx(&["verify"])).ok();
    let checked = tool(
        "sha256sum",
        ["--check", "--strict", "--ignore-missing", "SHA256SUMS"],
    )
    .current_dir(&first)
    .output();
    assert!(checked.expect("sha256sum runs").status.success());
    let record = fs_err::read_to_string(first.join("THINNED.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    assert_eq!(record["sections"][0]["section"], "outputs/logs");
    assert_eq!(record["sections"][0]["since"], "2020-01-08T06:00:00Z");
    assert_eq!(record["sections"][0]["at"], "20200112T120000Z");
    let shown = mirror.say(&["show", &build(1), "--now", NOW]);
    assert!(
        shown.contains("thinned  outputs/logs on 2020-01-12"),
        "{shown}"
    );
    let listed = mirror.say(&["list", "--now", NOW]);
    assert!(listed.contains("without outputs/logs, inputs"), "{listed}");
    let why = mirror.say(&["explain", &build(1), "--now", NOW]);
    assert!(why.contains("`inputs` was removed before it"), "{why}");

    // A second run has nothing to do; and any other missing file is damage.
    let again = mirror.json(&["prune", "--dry-run", "--now", NOW]);
    assert_eq!(again["sections"], serde_json::Value::Null);
    fs_err::remove_file(first.join("outputs/iso/bootimage.iso")).expect("removed");
    let found = run(&mut mirror.stx(&["verify", &build(1)])).code(4).json();
    let findings = found["report"]["findings"]
        .as_array()
        .or(found["findings"].as_array());
    assert_eq!(findings.map(Vec::len), Some(1), "{found:#}");
}

#[test]
fn undelete_restores_sections_until_the_grace_period_ends() {
    let mirror = mirror();
    mirror.json(&["prune", "--now", NOW]);
    let trash = mirror.json(&["trash", "--now", NOW]);
    assert_eq!(trash[0]["build"], build(1));
    assert_eq!(trash[0]["section"], "inputs");
    let said = mirror.say(&["trash", "--now", NOW]);
    let row = format!("{}/outputs/logs  section ", build(1));
    assert!(said.contains(&row), "{said}");
    let back = mirror.json(&["undelete", &build(1)]);
    assert_eq!(back["restored"].as_array().map(Vec::len), Some(2));
    let first = mirror.at(&format!("mirror/{}", build(1)));
    assert!(first.join("inputs/downloads/source.tar").is_file());
    assert!(!first.join("THINNED.json").exists(), "it is whole again");
    run(&mut mirror.stx(&["verify"])).ok();
    run(&mut mirror.stx(&["undelete", &build(1)])).code(5);
    // A pinned build stays complete; the sections of the others are purged after three days.
    mirror.json(&[
        "pin",
        &build(1),
        "--reason",
        "whole",
        "--author",
        "ann",
        "--now",
        NOW,
    ]);
    mirror.json(&["prune", "--now", "2020-01-15T12:00:00Z"]);
    assert!(first.join("inputs").is_dir());
    let lost = run(&mut mirror.stx(&["undelete", &build(2)])).code(5);
    let why = "already exists without outputs/logs, inputs, which were purged";
    assert!(lost.stderr.contains(why), "{}", lost.stderr);
    run(&mut mirror.stx(&["verify"])).ok();
}

#[test]
fn a_thinned_build_is_still_the_same_build() {
    let mirror = mirror();
    mirror.json(&["prune", "--now", NOW]);
    mirror.publish("master/centos", &january(1), "success");
    run(&mut mirror.stx(&["verify"])).ok();
    // Removed bytes still exist elsewhere: a new build links or copies them, and is complete.
    mirror.publish("master/centos", &january(13), "success");
    run(&mut mirror.stx(&["verify", &build(13)])).ok();
}

#[test]
fn files_that_identify_a_build_are_not_a_section() {
    let mirror = Mirror::new(1);
    for section in ["outputs", "outputs/success", "build.json", "SHA256SUMS"] {
        let tier = format!("{{ section = \"{section}\", after = \"1 day\" }}");
        mirror.policy(&format!("[kind.master]\ntiers = [{tier}]\n"));
        let refused = run(&mut mirror.stx(&["prune", "--dry-run"])).code(2);
        assert!(refused.stderr.contains("policy.toml:2:"), "{refused:?}");
    }
}
