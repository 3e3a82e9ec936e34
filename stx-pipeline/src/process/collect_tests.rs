use camino_tempfile::Utf8TempDir;
use stx_layout::{BuildOutcome, PhaseStatus, ReleaseId};

use super::*;
use crate::execute::Scripted;
use crate::process::{SourceRunner, missing_tools, read_changes, read_sources};
use crate::{
    BuildRequest, Cancel, Ended, Recipe, Runner as _, ScriptedRunner, changelog, conclude, context,
    plan,
};

const RECIPE: &str = r#"
schema = 1
name = "t"
distro = "centos"
tools = { no-such-tool = { apt = "a", dnf = "d" }, sh = "dash" }
source = { phase = "sync", repositories = ["*", "stx/*"] }
[[phase]]
name = "sync"
script = "true"
[[phase]]
name = "a"
script = "true"
publish = [
  { from = "rpms/**/*.rpm", except = ["*.src.rpm"], to = "outputs/RPMS/std", min = 1 },
  { from = "iso/boot.iso", to = "outputs/iso", min = 1 },
]
[[phase]]
name = "b"
script = "true"
required = false
publish = [{ from = "other/*", to = "outputs/RPMS/std/x", min = 1 }]
"#;

fn planned(dir: &Utf8TempDir) -> BuildPlan {
    let recipe = Recipe::from_toml(RECIPE).unwrap();
    let root = dir.path();
    plan(
        &recipe,
        &BuildRequest {
            recipe_dir: root.join("recipe"),
            source_root: root.join("src"),
            workspace: root.join("ws[1]"),
            base_env: [("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())].into(),
            ..BuildRequest::new(
                recipe.channel(ReleaseId::Master),
                "master",
                "20181105T060000Z".parse().unwrap(),
                root,
            )
        },
    )
    .unwrap()
}

fn record(name: &str, status: PhaseStatus, required: bool) -> PhaseRecord {
    PhaseRecord {
        name: name.into(),
        status,
        required,
        attempts: 1,
        started: None,
        finished: None,
        reason: None,
    }
}

fn records(b: PhaseStatus) -> [PhaseRecord; 3] {
    [
        record("sync", PhaseStatus::Succeeded, true),
        record("a", PhaseStatus::Succeeded, true),
        record("b", b, false),
    ]
}

fn write(path: &Utf8Path) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, "x").unwrap();
}

#[test]
fn files_are_found_below_their_glob_and_missing_files_are_named() {
    let dir = camino_tempfile::tempdir().unwrap();
    let plan = planned(&dir);
    let ws = &plan.workspace;
    for file in [
        "rpms/x/a.rpm",
        "rpms/x/a.src.rpm",
        "rpms/b.rpm",
        "rpms/notes",
        "outside/c.rpm",
        "other/a.rpm",
    ] {
        write(&ws.join(file));
    }
    write(&dir.path().join("logs/a.log"));
    fs_err::os::unix::fs::symlink("../outside", ws.join("rpms/link")).unwrap();
    fs_err::os::unix::fs::symlink("dangling", ws.join("rpms/d.rpm")).unwrap();
    let collection = collect(&plan, &records(PhaseStatus::Failed)).unwrap();
    let paths: Vec<_> = collection
        .deliverables
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(
        paths,
        [
            "outputs/RPMS/std/b.rpm",
            "outputs/RPMS/std/d.rpm",
            "outputs/RPMS/std/x/a.rpm",
            "outputs/logs/a.log"
        ]
    );
    assert_eq!(
        collection.missing.len(),
        1,
        "the optional phase that failed owes nothing"
    );
    assert_eq!(
        collection.missing[0].to_string(),
        "phase a: iso/boot.iso: 0 files, at least 1 required"
    );
    let build = conclude(&plan, &[], &records(PhaseStatus::Failed), &collection);
    assert_eq!(
        (build.result, build.missing_deliverables.len()),
        (BuildOutcome::Fail, 1)
    );
    assert_eq!(build.first_failing_phase, None);

    write(&ws.join("iso/boot.iso"));
    let collection = collect(&plan, &records(PhaseStatus::Failed)).unwrap();
    let build = conclude(&plan, &[], &records(PhaseStatus::Failed), &collection);
    assert_eq!(build.result, BuildOutcome::Success);

    let conflict = collect(&plan, &records(PhaseStatus::Succeeded)).unwrap_err();
    assert!(
        matches!(conflict, CollectError::Conflict { path, .. } if path.as_str() == "outputs/RPMS/std/x/a.rpm")
    );
}

#[expect(clippy::disallowed_methods, reason = "a test with a real git")]
fn git(dir: &Utf8Path, args: &[&str]) {
    let mut command = std::process::Command::new("git");
    let identity = [
        "-c",
        "user.name=A B",
        "-c",
        "user.email=a@b",
        "-c",
        "commit.gpgsign=false",
    ];
    let time = [
        ("GIT_COMMITTER_DATE", "2018-11-05T06:00:00Z"),
        ("GIT_AUTHOR_DATE", "2018-11-05T06:00:00Z"),
    ];
    let status = command
        .args(identity)
        .args(args)
        .current_dir(dir)
        .envs(time)
        .output()
        .unwrap();
    assert!(status.status.success(), "{status:?}");
}

/// Locks of a git process that ended between creating and recording them.
#[tokio::test]
async fn locks_of_killed_gits_are_removed_before_the_sources_are_synced() {
    let dir = camino_tempfile::tempdir().unwrap();
    let plan = planned(&dir);
    let (tools, config) = (
        plan.source_root.join("tools"),
        plan.source_root.join("stx/config"),
    );
    for tree in [&tools, &config] {
        fs_err::create_dir_all(tree).unwrap();
    }
    git(&tools, &["init", "-q"]);
    fs_err::write(tools.join("Cargo.lock"), "not git's").unwrap();
    git(&tools, &["add", "."]);
    git(&tools, &["commit", "-q", "-m", "first"]);
    git(
        &tools,
        &["worktree", "add", "-q", config.as_str(), "-b", "b"],
    );
    let left = [
        "index.lock",
        "HEAD.lock",
        "packed-refs.lock",
        "refs/heads/b.lock",
        "objects/info/commit-graphs/commit-graph-chain.lock",
        "worktrees/config/index.lock",
    ];
    let kept = ["hooks/mine.lock", "objects/ab/not.lock", "config"];
    for name in left.iter().chain(&kept) {
        let file = tools.join(".git").join(name);
        fs_err::create_dir_all(file.parent().unwrap()).unwrap();
        fs_err::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .unwrap();
    }
    let scripted = ScriptedRunner::new();
    let runner = SourceRunner::new(&scripted, &plan);
    let said = std::sync::Mutex::new(Vec::new());
    let source = &plan.phases[0].invocation;
    let note = |_, line: &str| said.lock().unwrap().push(line.to_owned());
    runner.run(source, &note, &Cancel::new()).await;
    assert_eq!(
        scripted.invocations().as_slice(),
        std::slice::from_ref(source)
    );
    let said = said.into_inner().unwrap();
    assert_eq!(said.len(), left.len(), "{said:?}");
    for name in left {
        assert!(!tools.join(".git").join(name).exists(), "{name}");
        assert!(
            said.iter().any(|line| line.contains(name)),
            "{name}: {said:?}"
        );
    }
    for name in kept {
        assert!(tools.join(".git").join(name).exists(), "{name}");
    }
    assert!(tools.join("Cargo.lock").exists());
    for tree in [&tools, &config] {
        git(tree, &["checkout", "-q", "-f", "HEAD"]);
    }
}

/// Without a repository here, git searches the parent directories, and finds an unrelated one.
#[tokio::test]
async fn the_repository_around_a_broken_work_tree_is_not_used() {
    let dir = camino_tempfile::tempdir().unwrap();
    let plan = planned(&dir);
    git(dir.path(), &["init", "-q"]);
    git(
        dir.path(),
        &["commit", "-q", "--allow-empty", "-m", "first"],
    );
    let lock = dir.path().join(".git/index.lock");
    fs_err::write(&lock, "").unwrap();
    fs_err::create_dir_all(plan.source_root.join("tools/.git")).unwrap();
    let scripted = ScriptedRunner::new();
    let runner = SourceRunner::new(&scripted, &plan);
    let source = &plan.phases[0].invocation;
    runner.run(source, &|_, _| {}, &Cancel::new()).await;
    assert!(lock.exists());
    let read = read_sources(&plan).unwrap_err().to_string();
    assert!(read.contains("not a git repository"), "{read}");
}

/// The previous attempt may still run at its place, and its git with it.
#[tokio::test]
async fn after_a_lost_attempt_git_locks_are_kept() {
    let dir = camino_tempfile::tempdir().unwrap();
    let plan = planned(&dir);
    let tree = plan.source_root.join("tools");
    fs_err::create_dir_all(&tree).unwrap();
    git(&tree, &["init", "-q"]);
    let lock = tree.join(".git/index.lock");
    let ends = |ended| Scripted::Ends(Vec::new(), ended);
    let lost = Ended::Lost {
        reason: "the connection broke".into(),
    };
    let ended = Ended::Exited { code: 1 };
    let scripted = ScriptedRunner::new().on("sync", [ends(lost), ends(ended.clone()), ends(ended)]);
    let runner = SourceRunner::new(&scripted, &plan);
    let source = &plan.phases[0].invocation;
    for stays in [false, true, false] {
        fs_err::write(&lock, "").unwrap();
        runner.run(source, &|_, _| {}, &Cancel::new()).await;
        assert_eq!(lock.exists(), stays);
    }
}

#[test]
fn sources_are_read_from_the_work_trees() {
    let dir = camino_tempfile::tempdir().unwrap();
    let plan = planned(&dir);
    read_sources(&plan).unwrap_err();
    for path in ["tools", "stx/config"] {
        let tree = plan.source_root.join(path);
        fs_err::create_dir_all(tree.join("not/a/git")).unwrap();
        git(&tree, &["init", "-q"]);
        git(&tree, &["commit", "-q", "--allow-empty", "-m", "first"]);
    }
    let config = plan.source_root.join("stx/config");
    git(
        &config,
        &[
            "remote",
            "add",
            "starlingx",
            "https://me:secret@example.org/stx/config",
        ],
    );
    let old = read_sources(&plan).unwrap();
    assert_eq!(old.newest, Some(1_541_397_600));
    let gits: Vec<_> = old
        .records
        .iter()
        .map(|git| (&*git.path, git.url.as_deref()))
        .collect();
    assert_eq!(
        gits,
        [
            ("stx/config", Some("https://example.org/stx/config")),
            ("tools", None)
        ]
    );
    assert!(context(&old.records).starts_with("(cd ./stx/config && git checkout -f "));

    let subject = "second\u{1b}[2J\u{202e}";
    git(&config, &["commit", "-q", "--allow-empty", "-m", subject]);
    let new = read_sources(&plan).unwrap();
    let log = changelog(&read_changes(&plan, &old.records, &new.records).unwrap());
    assert_eq!(
        log,
        format!(
            "stx/config {} 2018-11-05T06:00:00Z A B second\\u{{1b}}[2J\\u{{202e}}\n",
            new.records[0].commit
        )
    );
}

#[test]
fn missing_tools_name_their_packages() {
    let recipe = Recipe::from_toml(RECIPE).unwrap();
    let missing: Vec<_> = missing_tools(&recipe, "/usr/bin:/bin")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        missing,
        ["no-such-tool is not in PATH: `apt install a` or `dnf install d` installs it"]
    );
}

/// The recipe, with these rules in place of those of phase `a`.
fn ruled(dir: &Utf8TempDir, rules: &str) -> BuildPlan {
    let start = RECIPE.find("publish = [").unwrap();
    let end = start + RECIPE[start..].find("\n]\n").unwrap() + 3;
    let text = format!(
        "{}publish = [{rules}]\n{}",
        &RECIPE[..start],
        &RECIPE[end..]
    );
    let recipe = Recipe::from_toml(&text).unwrap();
    let request = BuildRequest::new(
        recipe.channel(ReleaseId::Master),
        "master",
        "20181105T060000Z".parse().unwrap(),
        dir.path(),
    );
    plan(&recipe, &request).unwrap()
}

fn paths(collection: &Collection) -> Vec<String> {
    let files = collection.deliverables.iter();
    files.map(|file| file.path.to_string()).collect()
}

#[test]
fn a_flat_rule_keeps_file_names_and_refuses_duplicates() {
    let dir = camino_tempfile::tempdir().unwrap();
    let plan = ruled(
        &dir,
        r#"{ from = "std/*/*.deb", to = "outputs/std/packages", flat = true }"#,
    );
    for file in [
        "std/a/a.deb",
        "std/b/b.deb",
        "std/a/deep/x.deb",
        "std/b/a.deb",
    ] {
        write(&plan.workspace.join(file));
    }
    let done = records(PhaseStatus::Succeeded);
    // `a.deb` exists twice, with the same bytes.
    let wanted = ["outputs/std/packages/a.deb", "outputs/std/packages/b.deb"];
    assert_eq!(paths(&collect(&plan, &done).unwrap()), wanted);
    for other in ["y", "xx"] {
        fs_err::write(plan.workspace.join("std/b/a.deb"), other).unwrap();
        let error = collect(&plan, &done).unwrap_err().to_string();
        assert!(
            error.starts_with("outputs/std/packages/a.deb: published from both "),
            "{error}"
        );
    }
}

#[test]
fn every_file_of_a_list_must_exist() {
    let dir = camino_tempfile::tempdir().unwrap();
    let plan = ruled(
        &dir,
        r#"{ from = "binaries/**/*.deb", from-list = "required/binaries.txt", to = "inputs/packages" }"#,
    );
    for file in ["binaries/a.deb", "binaries/b.deb", "binaries/x/c.deb"] {
        write(&plan.workspace.join(file));
    }
    let list = plan.workspace.join("required/binaries.txt");
    let done = records(PhaseStatus::Failed);
    let error = collect(&plan, &done).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot read {list}, which `from-list` names")
    );
    write(&list);
    fs_err::write(&list, "# what is needed\n\na.deb\n./x/c.deb\n").unwrap();
    let collection = collect(&plan, &done).unwrap();
    assert_eq!(
        paths(&collection),
        ["inputs/packages/a.deb", "inputs/packages/x/c.deb"]
    );
    assert_eq!(collection.missing, []);
    fs_err::write(&list, "a.deb\ngone.deb\n").unwrap();
    let collection = collect(&plan, &done).unwrap();
    assert_eq!(collection.missing[0].glob, "binaries/**/*.deb (gone.deb)");
    assert_eq!(
        conclude(&plan, &[], &done, &collection).result,
        BuildOutcome::Fail
    );
}

#[test]
fn a_failed_phase_publishes_only_its_files_for_failure() {
    let dir = camino_tempfile::tempdir().unwrap();
    let plan = ruled(
        &dir,
        r#"{ from = "std/*/*.deb", to = "outputs/std", min = 1 },
           { from = "std/*/*.build", to = "outputs/logs/std", on = "failure", flat = true }"#,
    );
    for file in ["std/a/a.deb", "std/a/a.build", "std/b/b.build"] {
        write(&plan.workspace.join(file));
    }
    let mut records = records(PhaseStatus::Failed);
    assert_eq!(
        paths(&collect(&plan, &records).unwrap()),
        ["outputs/std/a/a.deb"]
    );
    records[1].status = PhaseStatus::Failed;
    let wanted = ["outputs/logs/std/a.build", "outputs/logs/std/b.build"];
    assert_eq!(paths(&collect(&plan, &records).unwrap()), wanted);
    // A phase that never ran left no files.
    records[1].status = PhaseStatus::Skipped;
    records[1].attempts = 0;
    assert_eq!(paths(&collect(&plan, &records).unwrap()), [""; 0]);
    // Problems with its files do not hold back the rest of a failed build.
    records[1].status = PhaseStatus::TimedOut;
    records[1].attempts = 1;
    fs_err::write(plan.workspace.join("std/b/a.build"), "another").unwrap();
    assert_eq!(paths(&collect(&plan, &records).unwrap()), wanted);
}
