use proptest::prelude::*;
use stx_layout::ReleaseId;

use super::*;
use crate::{Recipe, plan};

const RECIPE: &str = "schema = 1\nname = \"t\"\ndistro = \"centos\"\n[source]\nphase = \"sync\"\n\
    [[phase]]\nname = \"sync\"\nrun = [\"sync\"]\n[[phase]]\nname = \"a\"\nrun = [\"a\"]\n\
    [[phase]]\nname = \"b\"\nrun = [\"b\"]\n";

fn started() -> Started {
    let recipe = Recipe::from_toml(RECIPE).unwrap();
    let request = BuildRequest::new(
        recipe.channel(ReleaseId::Master),
        "master",
        "20181105T060000Z".parse().unwrap(),
        "/r",
    );
    Started {
        schema: Started::SCHEMA,
        time: DateTime::UNIX_EPOCH,
        boot: "one".into(),
        recipe: "/r/recipe.toml".into(),
        recipe_files: Vec::new(),
        force: false,
        force_alias: false,
        skip_failed: false,
        paths: Vec::new(),
        plan: plan(&recipe, &request).unwrap(),
        request,
    }
}

fn over(name: &str, status: PhaseStatus) -> Entry {
    Entry::Phase {
        record: PhaseRecord {
            name: name.into(),
            status,
            required: true,
            attempts: 1,
            started: Some(DateTime::UNIX_EPOCH),
            finished: Some(DateTime::UNIX_EPOCH),
            reason: None,
        },
    }
}

fn begins(name: &str) -> Entry {
    Entry::Attempt {
        phase: name.into(),
        attempt: 1,
        time: DateTime::UNIX_EPOCH,
    }
}

fn text(entries: &[Entry]) -> String {
    let line = |entry| serde_json::to_string(entry).unwrap() + "\n";
    entries.iter().map(line).collect()
}

fn names(journal: &Journal) -> Vec<&str> {
    let names = journal.records.iter().map(|record| record.name.as_str());
    names.collect()
}

#[test]
fn cancelled_and_unstarted_phases_are_unfinished() {
    let lines = [
        begins("sync"),
        over("sync", PhaseStatus::Succeeded),
        begins("a"),
        over("a", PhaseStatus::Cancelled),
        begins("b"),
    ];
    let journal = Journal::new(started(), &text(&lines), "one");
    assert_eq!(names(&journal), ["sync"]);
    assert_eq!(journal.unfinished(), ["a", "b"]);
    let given_up: Vec<_> = journal
        .given_up("interrupted")
        .into_iter()
        .map(|record| (record.name, record.status, record.attempts))
        .collect();
    let expected = [
        ("sync", PhaseStatus::Succeeded, 1),
        ("a", PhaseStatus::Cancelled, 1),
        ("b", PhaseStatus::Cancelled, 1),
    ];
    assert_eq!(
        given_up,
        expected.map(|(name, status, attempts)| (name.to_owned(), status, attempts))
    );
}

#[test]
fn a_build_killed_between_two_phases_failed_at_the_next_one() {
    let lines = [begins("sync"), over("sync", PhaseStatus::Succeeded)];
    let journal = Journal::new(started(), &text(&lines), "one");
    let statuses: Vec<_> = journal
        .given_up("interrupted")
        .iter()
        .map(|record| record.status)
        .collect();
    let expected = [
        PhaseStatus::Succeeded,
        PhaseStatus::Cancelled,
        PhaseStatus::Skipped,
    ];
    assert_eq!(statuses, expected);
}

#[test]
fn after_a_reboot_only_synced_lines_count() {
    let lines = [
        over("sync", PhaseStatus::Succeeded),
        over("a", PhaseStatus::Succeeded),
        Entry::Synced { lines: 1 },
        over("b", PhaseStatus::Succeeded),
    ];
    let read = |boot| Journal::new(started(), &text(&lines), boot);
    assert_eq!(names(&read("one")), ["sync", "a", "b"]);
    assert_eq!(names(&read("two")), ["sync"]);
    let unsynced = Journal::new(started(), &text(&lines[..2]), "two");
    assert!(unsynced.records.is_empty());
}

#[test]
fn the_differences_of_two_plans_name_the_phases() {
    let journal = Journal::new(started(), "", "one");
    let mut now = journal.started.plan.clone();
    assert!(journal.differences(&now).is_empty());
    now.jobs += 1;
    assert_eq!(
        journal.differences(&now),
        ["settings of all phases changed"]
    );
    now.phases[1].retries += 1;
    now.phases[2].name = "c".into();
    assert_eq!(
        journal.differences(&now),
        ["phase a changed", "phase b was removed", "phase c is new"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A journal that is cut anywhere equals the journal of an earlier moment, and is read back as it was written.
    #[test]
    fn a_truncated_journal_is_that_of_an_earlier_moment(cut in 0..2000_usize) {
        let lines = [
            begins("sync"),
            over("sync", PhaseStatus::Succeeded),
            Entry::Sources { sources: SourcesRead { records: Vec::new(), newest: Some(7) } },
            begins("a"),
            over("a", PhaseStatus::Failed),
            begins("b"),
        ];
        let whole = text(&lines);
        let cut = cut.min(whole.len());
        let count = whole[..cut].matches('\n').count();
        let journal = Journal::new(started(), &whole[..cut], "one");
        prop_assert_eq!(&journal, &Journal::new(started(), &text(&lines[..count]), "one"));
        prop_assert_eq!(&journal, &Journal::new(started(), &text(&journal.lines()), "one"));
    }
}
