//! Documents that must match the program.

mod api;
mod sentences;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::harness::{root, run, stx};

/// The hint about an outdated document.
const ACCEPT: &str = "the documents below are old; if the change is right, accept it by \
    UPDATE_DOCS=1 cargo test -p stx-tests --test it -- documents::";

/// The lines of a document that differ from the text that a test made, with three lines of context; empty if there are none. Writes
/// the text instead if `UPDATE_DOCS` is set.
fn changed(document: &str, text: &str) -> String {
    let file = root().join(document);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs_err::write(&file, text).expect("a document");
    }
    let written = fs_err::read_to_string(&file).unwrap_or_default();
    difference(document, &written, text)
}

fn difference(document: &str, written: &str, text: &str) -> String {
    let diff = similar::TextDiff::from_lines(written, text);
    diff.unified_diff().header(document, "the code").to_string()
}

#[test]
fn the_difference_of_a_document_shows_its_lines() {
    let written = "pub fn a()\npub fn b()\npub fn c()\n";
    assert_eq!(difference("docs/api/x.txt", written, written), "");
    let text = "pub fn a()\npub fn b(u64)\npub fn c()\n";
    assert_eq!(
        difference("docs/api/x.txt", written, text),
        "--- docs/api/x.txt\n+++ the code\n@@ -1,3 +1,3 @@\n pub fn a()\n-pub fn b()\n+pub fn b(u64)\n pub fn c()\n"
    );
}

/// The commands that the help of the program names, group by group.
pub(crate) fn commands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| !line.starts_with("Usage:"))
        .take_while(|line| *line != "Options:")
        .filter_map(|line| {
            line.strip_prefix("  ")?
                .split(' ')
                .next()
                .filter(|name| !name.is_empty())
        })
        .filter(|name| *name != "help")
        .map(ToOwned::to_owned)
        .collect()
}

/// `docs/cli.md` from the real `--help`.
fn reference() -> String {
    let mut text = "# Command line\n\n\
        Written by the tests from `--help`; `UPDATE_DOCS=1 cargo test -p stx-tests documents` writes it anew.\n"
        .to_owned();
    let mut page = |title: &str, args: &[&str]| {
        let help = run(stx(args.iter().copied()).env("COLUMNS", "100")).ok();
        let lines: Vec<_> = help.lines().map(str::trim_end).collect();
        write!(
            text,
            "\n## {title}\n```text\n{}\n```\n",
            lines.join("\n").trim_end()
        )
        .expect("text");
        help
    };
    let help = page("stx-builds", &["--help"]);
    let commands = commands(&help);
    assert!(commands.len() >= 7, "{commands:?}");
    for command in commands {
        page(&command, &[&command, "--help"]);
    }
    text
}

#[test]
fn the_command_reference_matches_the_binary() {
    let changes = changed("docs/cli.md", &reference());
    assert!(changes.is_empty(), "{ACCEPT}\n{changes}");
}

#[test]
fn every_test_file_is_part_of_the_tests() {
    let main = fs_err::read_to_string(root().join("tests/it/main.rs")).expect("main.rs");
    for name in crate::harness::names(&root().join("tests/it")) {
        let Some(module) = name.strip_suffix(".rs") else {
            continue;
        };
        assert!(
            matches!(module, "main" | "lib") || main.contains(&format!("mod {module};\n")),
            "{name} is not in main.rs"
        );
    }
}

/// `scripts/setup.sh` cannot be tested on Fedora here. A single wrong name makes `dnf install` fail for all packages.
#[test]
fn the_packages_of_fedora_were_looked_up() {
    let script = fs_err::read_to_string(root().join("scripts/setup.sh")).expect("a script");
    let (_, table) = script.split_once("needs='\n").expect("a table");
    let (table, _) = table.split_once("\n'\n").expect("its end");
    let named = table.lines().map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, _, _, dnf, _] = cells[..] else {
            panic!("no need: {line}");
        };
        dnf.to_owned()
    });
    let named: BTreeSet<_> = named.filter(|name| name != "-").collect();
    let list = fs_err::read_to_string(root().join("scripts/fedora-packages.txt")).expect("a list");
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let found = lines.map(|line| {
        let (name, how) = line.split_once("  ").expect("a name and how it was found");
        let how = how.trim();
        assert!(["page", "spec", "other"].contains(&how), "{line}");
        name.to_owned()
    });
    assert_eq!(named, found.collect());
}

#[test]
fn the_real_recipes_can_be_planned() {
    let dir = camino_tempfile::Utf8TempDir::new().expect("a temporary directory");
    let config = dir.path().join("stx-builds.toml");
    fs_err::write(&config, crate::recipes::answers()).expect("a configuration");
    for (name, word) in [
        ("starlingx-centos", "build-pkgs"),
        ("starlingx-debian-trixie", "build-image"),
    ] {
        let recipe = root().join(format!("recipes/{name}.toml"));
        let mut command = stx([
            "--mirror",
            "/nonexistent/mirror",
            "build",
            "--dry-run",
            "--date",
            "20200101T000000Z",
        ]);
        command.args(["--recipe", recipe.as_str(), "--config", config.as_str()]);
        command.env("USER", "builder");
        let plan = run(&mut command).ok();
        assert!(plan.contains(word), "{plan}");
    }
}

/// The lines of the help of all commands that break docs/STYLE.md: a description that is not in the imperative, or a phrase
/// that needs decoding.
fn unclear(reference: &str) -> Vec<&str> {
    const BANNED: [&str; 16] = [
        "came of",
        "comes of",
        "gone on with",
        "goes on",
        "is said",
        "are said",
        "takes back",
        "takes that back",
        "out of sight",
        "what may go",
        "is no ",
        "are no ",
        "all the same",
        "is meant",
        "not be so",
        "does nothing",
    ];
    reference
        .lines()
        .filter(|line| {
            let lower = line.to_lowercase();
            // A description follows the indentation and the name of the command or option, or is a line of its own.
            let description = line.trim().rsplit("  ").next().unwrap_or_default();
            let first = description.split(' ').next().unwrap_or_default();
            let third_person = first.len() > 3
                && first.ends_with('s')
                && first.starts_with(|first: char| first.is_ascii_uppercase())
                && ![
                    "Results",
                    "Builds",
                    "Commands",
                    "Options",
                    "Arguments",
                    "Names",
                    "Paths",
                    "Seconds",
                    "URLs",
                ]
                .contains(&first.trim_end_matches(':'));
            third_person
                || description.starts_with("What ")
                || description.starts_with("Whether ")
                || BANNED.iter().any(|phrase| lower.contains(phrase))
        })
        .collect()
}

#[test]
fn help_texts_are_imperative_and_plain() {
    assert_eq!(
        unclear(
            "  status  Says what waits and runs\n  --force  Moves the alias\n  list    List builds\n"
        ),
        [
            "  status  Says what waits and runs",
            "  --force  Moves the alias"
        ]
    );
    let reference = fs_err::read_to_string(root().join("docs/cli.md")).expect("docs/cli.md");
    let unclear = unclear(&reference);
    assert!(
        unclear.is_empty(),
        "docs/STYLE.md has the rules:\n{}",
        unclear.join("\n")
    );
}

/// The texts of the product that contain a phrase that docs/STYLE.md replaces: file, line and text.
fn decoded(source: &str) -> Vec<&str> {
    const REPLACED: [&str; 12] = [
        "goes on",
        "gone on with",
        "would have gone on",
        "all the same",
        "is there already",
        "were there already",
        "longer than nothing",
        "for no time",
        "the old one holds",
        "is wanted here",
        "which is meant",
        "is given up",
    ];
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().map(str::trim);
    lines
        .filter(|line| !line.starts_with("//") && line.contains('"'))
        .filter(|line| REPLACED.iter().any(|phrase| line.contains(phrase)) || negates(line))
        .collect()
}

/// True for "it is no build"; "there is no build" and "it is no longer one" are usual.
fn negates(line: &str) -> bool {
    let mut found = line.match_indices(" is no ");
    found.any(|(at, _)| !line[..at].ends_with("there") && !line[at..].starts_with(" is no longer"))
}

#[test]
fn errors_and_hints_use_the_words_of_the_style() {
    assert_eq!(
        decoded(
            "// \"goes on\"\nhint(\"the same command goes on\")\nhint(\"rerun the command\")\n\
             (\"x is no build\")\n(\"there is no build\")\n(\"x is no longer a build\")"
        ),
        ["hint(\"the same command goes on\")", "(\"x is no build\")"]
    );
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(root()) {
        let entry = entry.expect("a readable tree");
        let path = entry.path().strip_prefix(root()).expect("below");
        let path = path.to_str().expect("UTF-8");
        let is_source = path.starts_with("stx-")
            && path.contains("/src/")
            && entry.path().extension().is_some_and(|it| it == "rs")
            && !path.contains("tests");
        if is_source {
            let source = fs_err::read_to_string(entry.path()).expect("source");
            found.extend(
                decoded(&source)
                    .into_iter()
                    .map(|line| format!("{path}: {line}")),
            );
        }
    }
    assert!(
        found.is_empty(),
        "docs/STYLE.md has the words:\n{}",
        found.join("\n")
    );
}
