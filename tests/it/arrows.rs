//! The dependency arrows of docs/ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::{root, run, tool};

/// The crates that extend another one and lie in its folder, with the one that they extend.
const EXTRAS: [(&str, &str); 5] = [
    ("stx-executors", "stx-pipeline"),
    ("stx-images", "stx-publish"),
    ("stx-publish-s3", "stx-publish"),
    ("stx-service", "stx-pipeline"),
    ("stx-trust", "stx-publish"),
];

/// The direct dependencies of each crate of the workspace, development ones left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = run(tool(
        env!("CARGO"),
        ["metadata", "--format-version=1", "--no-deps", "--locked"],
    )
    .current_dir(root()))
    .code(0)
    .json();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter();
            let normal = dependencies
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| dependency["name"].as_str().expect("a name").to_owned())
                .collect();
            (package["name"].as_str().expect("a name").to_owned(), normal)
        })
        .collect()
}

#[test]
fn only_the_command_line_knows_more_than_one_sibling() {
    let crates = dependencies();
    for (name, dependencies) in &crates {
        let siblings: Vec<_> = dependencies
            .iter()
            .filter(|name| crates.contains_key(*name))
            .collect();
        match name.as_str() {
            "stx-builds" | "stx-cli" => assert!(siblings.len() >= 4, "{siblings:?}"),
            "stx-layout" => assert!(siblings.is_empty(), "{name} -> {siblings:?}"),
            // It tests all of them.
            "stx-tests" => {}
            _ => {
                let extended = EXTRAS.iter().filter(|(extra, _)| extra == name);
                let expected = ["stx-layout"].into_iter();
                let expected: Vec<_> = expected.chain(extended.map(|(_, it)| *it)).collect();
                assert_eq!(siblings, expected, "{name}");
            }
        }
    }
    assert_eq!(
        crates.len(),
        8 + EXTRAS.len(),
        "a new crate has to be named in docs/ARCHITECTURE.md and here"
    );
}

#[test]
fn the_leaf_reaches_no_io_async_or_network() {
    let tree = run(tool(
        env!("CARGO"),
        [
            "tree",
            "-p",
            "stx-layout",
            "-e",
            "normal",
            "--prefix=none",
            "--locked",
        ],
    )
    .current_dir(root()))
    .ok();
    let found: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(found.contains("stx-layout"), "{tree}");
    let banned = [
        "tokio",
        "mio",
        "async-std",
        "smol",
        "futures",
        "futures-util",
        "fs-err",
        "rustix",
        "nix",
        "walkdir",
        "tempfile",
        "reqwest",
        "ureq",
        "hyper",
        "socket2",
        "rusqlite",
    ];
    for name in banned {
        assert!(
            !found.contains(name),
            "stx-layout depends on {name}:\n{tree}"
        );
    }
}
