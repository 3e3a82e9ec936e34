//! The examples as programs: what another tool does with the library.
#![expect(
    clippy::disallowed_methods,
    clippy::tests_outside_test_module,
    reason = "a test that runs programs"
)]

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::{Utf8TempDir, tempdir};
use chrono::TimeDelta;
use stx_builds::{Options, Site};
use stx_layout::{BuildDate, BuildId};
use stx_publish::Scope;

/// An example, as `cargo test` built it beside this test.
fn example(name: &str, args: &[&str]) -> String {
    let own = std::env::current_exe().expect("a test");
    let dir = own
        .parent()
        .and_then(|deps| deps.parent())
        .expect("a directory");
    let program = dir.join("examples").join(name);
    assert!(
        program.is_file(),
        "run `cargo build -p stx-builds --examples`"
    );
    let output = Command::new(program).args(args).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    text
}

fn site(mirror: &Utf8Path) -> Site {
    let mut options = Options::default();
    options.mirror = Some(mirror.to_owned());
    Site::open(options)
}

async fn builds(mirror: &Utf8Path) -> Vec<BuildId> {
    let store = site(mirror).mirror().expect("a mirror");
    let catalog = store.catalog(&Scope::All).await.expect("a catalog");
    catalog.builds().map(|(id, _)| id).collect()
}

fn tree(dir: &Utf8TempDir) -> Utf8PathBuf {
    let tree = dir.path().join("tree");
    fs_err::create_dir_all(tree.join("outputs")).expect("made");
    fs_err::write(tree.join("outputs/report.txt"), "whole").expect("written");
    tree
}

#[tokio::test]
async fn a_tree_is_published_and_retention_is_applied() {
    let dir = tempdir().expect("a directory");
    let (mirror, tree) = (dir.path().join("mirror"), tree(&dir));
    let now = site(&mirror).now;
    // Master is kept for 14 days.
    let [old, kept, new] = [20, 10, 1].map(|days| {
        let date = BuildDate::at(now - TimeDelta::days(days)).expect("a date");
        format!("master/centos/{date}")
    });
    for build in [&old, &kept, &new] {
        let text = example("publish_tree", &[mirror.as_str(), tree.as_str(), build]);
        assert!(text.contains(&**build), "{text}");
    }
    assert_eq!(builds(&mirror).await.len(), 3);
    let text = example("apply_retention", &[mirror.as_str()]);
    assert!(text.contains(&format!("retired {old}")), "{text}");
    let left = builds(&mirror).await;
    let left: Vec<_> = left.iter().map(ToString::to_string).collect();
    assert_eq!(left, [kept, new]);
}

#[tokio::test]
async fn a_recipe_is_run_and_its_build_published() {
    let dir = tempdir().expect("a directory");
    let mirror = dir.path().join("mirror");
    let recipe = dir.path().join("recipe.toml");
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
    fs_err::write(&recipe, text).expect("written");
    let args = [mirror.as_str(), recipe.as_str(), "master"];
    let text = example("build_branch", &args);
    assert!(text.contains("compile: Finished"), "{text}");
    let built = builds(&mirror).await;
    assert_eq!(built.len(), 1, "{text}");
    let made = mirror
        .join(built[0].to_string())
        .join("outputs/wheels/made.txt");
    assert_eq!(fs_err::read_to_string(made).expect("published"), "made\n");
}
