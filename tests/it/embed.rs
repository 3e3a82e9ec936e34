//! The examples of `stx-builds` as programs: uses of the library by another tool.

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::tempdir;
use chrono::{TimeDelta, Utc};
use stx_layout::BuildDate;

use crate::cargo::built;
use crate::harness::{run, stx, tool};

/// The output of an example, which is built if it is outdated.
fn example(name: &str, args: &[&str]) -> String {
    let program = built(&["--workspace", "--all-features", "--example", name]);
    run(&mut tool(program.as_str(), args.iter().copied())).ok()
}

/// A mirror, a recipe whose phase prints its niceness, and a configuration with this place.
fn nice_site(dir: &Utf8Path, place: &str) -> [Utf8PathBuf; 3] {
    let recipe = r#"
schema = 1
name = "one"
distro = "centos"
source = { phase = "sync" }

[[phase]]
name = "sync"
run = ["true"]

[[phase]]
name = "compile"
script = "echo nice $(nice) > made.txt"
publish = [{ from = "made.txt", to = "outputs/wheels", min = 1 }]
"#;
    let config = format!(
        "mirror = \"mirror\"\n[place.idle]\n{place}\n[[place-rule]]\nphases = [\"compile\"]\nplace = \"idle\"\n"
    );
    fs_err::write(dir.join("recipe.toml"), recipe).expect("written");
    fs_err::write(dir.join("stx-builds.toml"), config).expect("written");
    ["mirror", "recipe.toml", "stx-builds.toml"].map(|name| dir.join(name))
}

/// An executor of another crate, which the configuration names by its kind, runs a phase.
#[test]
fn an_executor_of_another_crate_runs_a_phase() {
    let dir = tempdir().expect("a directory");
    let own: i32 = run(&mut tool("nice", [""; 0]))
        .ok()
        .trim()
        .parse()
        .expect("a level");
    let [mirror, recipe, config] = nice_site(dir.path(), "kind = \"nice\"\nlevel = 3");
    let args = [config.as_str(), recipe.as_str(), "master"];
    let text = example("own_executor", &args);
    assert!(text.contains("compile: Finished"), "{text}");
    let build = &builds(&mirror)[0];
    let made = mirror.join(build).join("outputs/wheels/made.txt");
    let level = (own + 3).min(19);
    assert_eq!(
        fs_err::read_to_string(made).expect("published"),
        format!("nice {level}\n")
    );
    let log = fs_err::read_dir(mirror.join(build).join("outputs/logs")).expect("logs");
    assert!(log.count() > 0);
    // The command line knows only the built-in kinds, and reports the other one; the example program also knows `nice`.
    let refused = run(&mut stx(["--config", config.as_str(), "list"])).code(2);
    let known = "unknown kind \"nice\", expected one of local, ssh, container, exec, slurm";
    assert!(refused.stderr.contains(known), "{}", refused.stderr);
    nice_site(dir.path(), "kind = \"nasty\"");
    let program = built(&["--workspace", "--all-features", "--example", "own_executor"]);
    let refused = run(&mut tool(program.as_str(), args)).code(1);
    let known = "stx-builds.toml:3:8: unknown kind \"nasty\", expected one of local, ssh, container, exec, slurm, nice";
    assert!(refused.stdout.contains(known), "{}", refused.stdout);
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
    // Builds of master are kept for 14 days.
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
