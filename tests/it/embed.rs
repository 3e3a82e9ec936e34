//! The examples of `stx-builds` as programs: what another tool does with the library.

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::tempdir;
use chrono::{TimeDelta, Utc};
use stx_layout::BuildDate;

use crate::cargo::built;
use crate::harness::{run, stx, tool};

/// What an example prints. It is built if it is not up to date.
fn example(name: &str, args: &[&str]) -> String {
    let program = built(&["--workspace", "--all-features", "--example", name]);
    run(&mut tool(program.as_str(), args.iter().copied())).ok()
}

/// The builds of a mirror.
fn builds(mirror: &Utf8Path) -> Vec<String> {
    let list = run(&mut stx([
        "--mirror",
        mirror.as_str(),
        "list",
        "--format",
        "json",
    ]))
    .code(0);
    let list = list.json();
    let builds = list["builds"].as_array().expect("builds").iter();
    let builds = builds.map(|build| build["build"].as_str().expect("a build").to_owned());
    builds.collect()
}

#[test]
fn a_tree_is_published_and_retention_is_applied() {
    let dir = tempdir().expect("a directory");
    let (mirror, tree) = (dir.path().join("mirror"), dir.path().join("tree"));
    fs_err::create_dir_all(tree.join("outputs")).expect("made");
    fs_err::write(tree.join("outputs/report.txt"), "whole").expect("written");
    // Master is kept for 14 days.
    let [old, kept, new] = [20, 10, 1].map(|days| {
        let date = BuildDate::at(Utc::now() - TimeDelta::days(days)).expect("a date");
        format!("master/centos/{date}")
    });
    for build in [&old, &kept, &new] {
        let text = example("publish_tree", &[mirror.as_str(), tree.as_str(), build]);
        assert!(text.contains(&**build), "{text}");
    }
    assert_eq!(builds(&mirror).len(), 3);
    let text = example("apply_retention", &[mirror.as_str()]);
    assert!(text.contains(&format!("retired {old}")), "{text}");
    assert_eq!(builds(&mirror), [kept, new]);
}

#[test]
fn a_recipe_is_run_and_its_build_published() {
    let dir = tempdir().expect("a directory");
    let at = |name: &str| -> Utf8PathBuf { dir.path().join(name) };
    let text = r#"
schema = 1
name = "one"
distro = "centos"

[source]
phase = "sync"

[[phase]]
name = "sync"
run = ["true"]

[[phase]]
name = "compile"
script = "echo made > made.txt"
publish = [{ from = "made.txt", to = "outputs/wheels", min = 1 }]
"#;
    fs_err::write(at("recipe.toml"), text).expect("written");
    let (mirror, recipe) = (at("mirror"), at("recipe.toml"));
    let args = [mirror.as_str(), recipe.as_str(), "master"];
    let text = example("build_branch", &args);
    assert!(text.contains("compile: Finished"), "{text}");
    let built = builds(&mirror);
    assert_eq!(built.len(), 1, "{text}");
    let made = mirror.join(&built[0]).join("outputs/wheels/made.txt");
    assert_eq!(fs_err::read_to_string(made).expect("published"), "made\n");
}
