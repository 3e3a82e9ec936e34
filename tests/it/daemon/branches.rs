//! Branches of one manifest, polled in parallel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::Site;
use crate::builds::Small;
use crate::harness::{run, tool};

/// Git branches and the channels that they are built for.
const BRANCHES: [(&str, &str); 3] = [
    ("master", "master/centos"),
    ("r/2018.10", "release/2018.10/centos"),
    ("f/antelope", "feature/antelope/centos"),
];

/// Publishes the files of the manifest's and its only project's commits.
const RECIPE: &str = r#"
schema = 1
name = "branches"
distro = "centos"

[tools]
git = "git"

[variables]
UPSTREAM = "${RECIPE_DIR}"

[source]
phase = "sync"
repositories = ["*"]

[[phase]]
name = "sync"
dir = "${MY_REPO_ROOT}"
script = '''
for git in manifest config; do
    test -d $git || git clone -q "$UPSTREAM/$git" $git
    git -C $git fetch -q origin "+refs/heads/*:refs/remotes/origin/*"
    git -C $git checkout -q -f "origin/$BRANCH"
done
'''

[[phase]]
name = "wheels"
script = '''
mkdir wheels
cat "$MY_REPO_ROOT/manifest/message" "$MY_REPO_ROOT/config/message" > wheels/message.whl
'''
publish = [{ from = "wheels/*.whl", to = "outputs/wheels", min = 1 }]
"#;

/// A manifest and its project, each of whose branches is built in a channel of its own.
struct Branches(Site);

impl Branches {
    fn new() -> Self {
        let site = Site {
            small: Small::new(),
        };
        let branches = Self(site);
        let dir = branches.0.small.dir.path();
        let mut config = format!(
            "mirror = \"mirror\"\nstate = \"state\"\nrecipe = \"recipe.toml\"\n\n[service]\nsurvey = \"1s\"\nmin_free_percent = 1\n\
             hook = [\"sh\", \"-c\", \"cat >> {dir}/notices\"]\n"
        );
        for (git, _) in BRANCHES {
            let entry = format!(
                "\n[[branch]]\nname = \"{git}\"\nmanifest = \"{dir}/manifest\"\npoll = \"1s\"\n"
            );
            config.push_str(&entry);
        }
        fs_err::write(branches.0.small.at("stx-builds.toml"), config).expect("a configuration");
        fs_err::write(branches.0.small.at("recipe.toml"), RECIPE).expect("a recipe");
        for repository in ["manifest", "config"] {
            fs_err::create_dir(branches.0.small.at(repository)).expect("a repository");
            branches.git(repository, &["init", "-q", "-b", "master"]);
        }
        for (git, _) in BRANCHES {
            let xml = format!(
                "<manifest><remote name=\"here\" fetch=\".\"/><default remote=\"here\" revision=\"{git}\"/>\
                 <project name=\"config\"/></manifest>\n"
            );
            for repository in ["manifest", "config"] {
                if git != "master" {
                    branches.git(repository, &["checkout", "-q", "-b", git]);
                }
            }
            fs_err::write(branches.0.small.at("manifest/default.xml"), xml).expect("a manifest");
            branches.record("config", git, "0");
            branches.record("manifest", git, "0");
        }
        branches
    }

    fn git(&self, repository: &str, args: &[&str]) {
        let user = ["-c", "user.name=B", "-c", "user.email=b@example.org"];
        let mut git = tool("git", user);
        run(git.args(args).current_dir(self.0.small.at(repository))).ok();
    }

    fn commit(&self, repository: &str, git: &str, message: &str) {
        self.git(repository, &["checkout", "-q", git]);
        self.record(repository, git, message);
    }

    /// Commits to the branch that is checked out.
    fn record(&self, repository: &str, git: &str, message: &str) {
        let file = self.0.small.at(repository).join("message");
        fs_err::write(file, format!("{repository} {git} {message}\n")).expect("a file");
        self.git(repository, &["add", "."]);
        self.git(repository, &["commit", "-q", "-m", message]);
    }

    /// The commits of the builds that were published in a channel, oldest first.
    fn published(&self, channel: &str) -> Vec<String> {
        let mirror = self.0.small.at("mirror");
        let builds = crate::harness::builds(&mirror, channel);
        let message = |build: &String| {
            let file = mirror
                .join(channel)
                .join(build)
                .join("outputs/wheels/message.whl");
            fs_err::read_to_string(file).expect("a build")
        };
        builds.iter().map(message).collect()
    }
}

/// The duration of the test; a run of several minutes finds rarer faults.
fn duration() -> Duration {
    let seconds = std::env::var("STX_TEST_BRANCHES_SECONDS").map_or(15, |text| {
        text.parse().expect("STX_TEST_BRANCHES_SECONDS is a number")
    });
    Duration::from_secs(seconds)
}

#[test]
fn each_branch_of_a_manifest_is_built_once_per_commit_in_its_channel() {
    let branches = Branches::new();
    let site = &branches.0;
    let daemon = site.start();
    let mut expected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let text = |git: &str, manifest: u32, config: u32| {
        format!("manifest {git} {manifest}\nconfig {git} {config}\n")
    };
    for (git, channel) in BRANCHES {
        expected.insert(channel, vec![text(git, 0, 0)]);
    }
    let settled = |expected: &BTreeMap<&str, Vec<String>>| {
        site.until("every commit is built", || {
            let built =
                |(channel, texts): (&&str, &Vec<String>)| branches.published(channel) == *texts;
            expected.iter().all(built)
        });
    };
    settled(&expected);
    let end = Instant::now() + duration();
    let mut commits = BRANCHES.len();
    for round in 1.. {
        if Instant::now() >= end {
            break;
        }
        // One repository at a time: a build that starts between two commits may have either state.
        let repository = ["config", "manifest"][round as usize % 2];
        for (git, channel) in BRANCHES {
            branches.commit(repository, git, &round.to_string());
            let config = if repository == "config" {
                round
            } else {
                round - 1
            };
            let manifest = if repository == "manifest" {
                round
            } else {
                round - 1
            };
            let texts = expected.get_mut(channel).expect("a channel");
            texts.push(text(git, manifest, config));
            commits += 1;
        }
        settled(&expected);
    }
    // A commit that was noticed late would be built late.
    std::thread::sleep(Duration::from_secs(3));
    settled(&expected);
    let status = run(&mut site.stx(&["status", "--format", "json"])).code(0);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end(), Some(0));

    let log = site.log();
    assert!(!log.contains("commits cannot be read"), "{log}");
    assert_eq!(status.json()["alarms"], serde_json::json!([]), "{log}");
    let notices = fs_err::read_to_string(site.small.at("notices")).unwrap_or_default();
    assert_eq!(notices, "");
    // The ledger agrees: each head is the reason of one request, and each request has one build.
    let history = site.history();
    let mut heads = BTreeMap::<String, BTreeSet<String>>::new();
    for filed in &history {
        let channel = filed["channel"].as_str().expect("a channel");
        let runs = filed["runs"].as_array().expect("runs");
        let ends: Vec<_> = runs.iter().map(|run| &run["end"]).collect();
        assert!(
            matches!(ends[..], [end] if end["outcome"] == "published" && end["result"] == "success"),
            "{filed:#}"
        );
        for reason in filed["reasons"].as_array().expect("reasons") {
            let Value::Object(moved) = &reason["heads"] else {
                panic!("{filed:#}");
            };
            for commit in moved.values() {
                let commit = commit.as_str().expect("a commit").to_owned();
                let new = heads.entry(channel.to_owned()).or_default().insert(commit);
                assert!(new, "seen twice: {filed:#}");
            }
        }
    }
    assert_eq!(history.len(), commits);
    for (git, channel) in BRANCHES {
        let repositories = ["manifest", "config"];
        let of_branch = repositories.iter().flat_map(|repository| {
            let mut log = tool("git", ["log", "--format=%H", git, "--not"]);
            if git != "master" {
                log.arg("master");
            }
            let log = run(log.current_dir(site.small.at(repository))).ok();
            log.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        let of_branch: BTreeSet<_> = of_branch.collect();
        let seen = &heads[channel];
        let others: Vec<_> = seen.difference(&of_branch).collect();
        assert!(others.is_empty(), "{channel} was built for {others:?}");
    }
    println!(
        "{commits} commits on {} branches in {} s, {} builds",
        BRANCHES.len(),
        duration().as_secs(),
        history.len()
    );
}
