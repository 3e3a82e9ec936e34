//! The sample configuration: the program accepts it, and it contains everything that the program supports.

use camino::Utf8PathBuf;
use camino_tempfile::Utf8TempDir;

use crate::harness::{Ran, root, run, stx};
use serde_json::Value;

fn sample() -> String {
    let file = root().join("stx-cli/src/commands/manual/sample.toml");
    let text = fs_err::read_to_string(file).expect("the sample");
    // The uninstalled recipes.
    let recipes = root().join("recipes");
    text.replace("/usr/share/stx-builds/recipes", recipes.as_str())
}

/// The sample with everything that is commented out enabled.
fn whole() -> String {
    let lines = sample();
    let lines = lines.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with([' ', '#']) => rest,
        _ => line,
    });
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// The answer of `doctor` to a configuration, as JSON.
fn checked(text: &str) -> Ran {
    let dir = Utf8TempDir::new().expect("a directory");
    let file: Utf8PathBuf = dir.path().join("stx-builds.toml");
    fs_err::write(&file, text).expect("a file");
    // The policy that the sample names.
    fs_err::write(dir.path().join("retention.toml"), "").expect("a file");
    let args = ["--format", "json", "doctor", "--offline", "--config"];
    run(stx(args).arg(&file))
}

/// The messages of the findings about the form of the file.
fn misformed(checked: &Ran) -> Vec<String> {
    let diagnosis = checked.json();
    let findings = diagnosis["findings"].as_array().expect("a list").iter();
    findings
        .filter(|finding| finding["subject"] == "configuration")
        .map(|finding| finding["message"].as_str().expect("a text").to_owned())
        .collect()
}

#[test]
fn the_service_accepts_the_sample_unchanged_and_with_all_keys() {
    // Unchanged, it lacks only the values that the recipe requires, and things that this machine does not have.
    let checked = checked(&sample());
    assert_eq!(misformed(&checked), Vec::<String>::new());
    let diagnosis = checked.code(0).json();
    let findings = diagnosis["findings"].as_array().expect("a list");
    assert!(
        findings.iter().all(|it| it["severity"] == "warning"),
        "{findings:#?}"
    );
    assert!(
        findings.iter().any(|it| it["message"]
            .as_str()
            .is_some_and(|it| it.contains("no value"))),
        "{findings:#?}"
    );
    // The programs, keys and hosts of the complete sample are fictitious; its form is correct.
    let checked = self::checked(&whole());
    assert_eq!(misformed(&checked), Vec::<String>::new());
    let planned = checked.json()["planned"]
        .as_array()
        .expect("a list")
        .clone();
    let builds: Vec<&Value> = planned.iter().map(|planned| &planned["builds"]).collect();
    assert_eq!(
        builds,
        [
            "master/debian/trixie/amd64/monolithic",
            "milestone %Y.%m of master (debian)",
            "lab sanity"
        ]
    );
}

/// The accepted words of a refusal: "one of" a list, or one thing "or" another, with or without backticks.
fn known(refusal: &str) -> Vec<String> {
    let (_, list) = refusal
        .split_once("expected ")
        .unwrap_or_else(|| panic!("no list of what is known: {refusal}"));
    let list = list.lines().next().unwrap_or_default();
    let list = list.trim_start_matches("one of ").replace(" or ", ", ");
    list.split(", ")
        .map(|word| word.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn the_sample_has_every_key_that_the_program_knows() {
    let text = whole();
    let mut tables = vec![String::new()];
    tables.extend(
        text.lines()
            .filter(|line| line.starts_with('['))
            .map(|line| format!("{line}\n")),
    );
    let mut all = 0;
    for table in tables {
        // An unknown key, first in the table.
        let wrong = if table.is_empty() {
            format!("nobodys = 1\n{text}")
        } else {
            text.replacen(&table, &format!("{table}nobodys = 1\n"), 1)
        };
        let refusals = misformed(&checked(&wrong).code(2));
        let refusal = refusals.iter().find(|it| it.contains("`nobodys`"));
        let known = known(refusal.unwrap_or_else(|| panic!("{table}: {refusals:?}")));
        all += known.len();
        for key in known {
            let said = [
                format!("\n{key} = "),
                format!("`{key} = "),
                format!("[{key}]"),
                format!("[{key}."),
            ];
            assert!(
                said.iter().any(|said| text.contains(said)),
                "sample.toml does not say {key:?} of {table:?}"
            );
        }
    }
    assert!(all > 40, "{all} keys");
}
