//! The sample distribution on a cluster, one of whose nodes dies during the build.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Instant;

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;

use crate::demo::demo;
use crate::harness::{assert_whole, names, stx};
use crate::places_cluster::{Cluster, NODES};

/// The sums of the artifacts of a build. Its logs, its record, its provenance and the repositories' metadata contain times, and its
/// change log refers to the previous build.
fn artifacts(build: &Utf8Path) -> BTreeMap<String, String> {
    let sums = fs_err::read_to_string(build.join("SHA256SUMS")).expect("sums");
    sums.lines()
        .filter_map(|line| line.split_once("  "))
        .filter(|(_, path)| {
            !path.starts_with("outputs/logs/")
                && !path.contains("/repodata/")
                && !["build.json", "provenance.json", "outputs/CHANGELOG"].contains(path)
        })
        .map(|(sum, path)| (path.to_owned(), sum.to_owned()))
        .collect()
}

#[test]
fn a_phase_on_a_dead_node_is_run_again() {
    let local = demo().build(1);
    let date = local.file_name().expect("a date");
    let mut cluster = Cluster::start();
    let dir = Utf8TempDir::new().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name);
    let conf = format!(
        "state = \"state\"\n{}[[place-rule]]\nphases = [\"sync\", \"downloads\"]\nplace = \"local\"\n\n[[place-rule]]\nphases = [\"*\"]\nplace = \"farm\"\n",
        cluster.place("farm", "cpus = 1\nmemory = \"200M\"\ntime = \"30m\"")
    );
    fs_err::write(at("stx-builds.toml"), conf).expect("a configuration");
    let mirror = at("mirror");
    let manifest = format!("MANIFEST_URL={}/manifest", demo().upstream());
    let config = at("stx-builds.toml");
    let mut args = vec!["--config", config.as_str(), "--mirror", mirror.as_str()];
    args.extend(["build", "--recipe", "recipes/sample/recipe.toml", "-v"]);
    args.extend(["--date", date, "--set", &manifest]);
    let cache = std::env::var("STX_BUILDS_CACHE").map(|dir| format!("STX_BUILDS_CACHE={dir}"));
    if let Ok(cache) = &cache {
        args.extend(["--set", cache]);
    }
    let mut build = stx(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let start = Instant::now();
    let mut said = String::new();
    let mut killed = false;
    for line in BufReader::new(build.stderr.take().expect("a pipe")).lines() {
        let line = line.expect("a line");
        println!("{:6.1} {line}", start.elapsed().as_secs_f32());
        said.push_str(&line);
        said.push('\n');
        // The phase has started its work.
        if !killed && line.starts_with("rpms-std| build-pkgs") {
            let (_, node) = cluster.running("rpms-std").expect("the phase runs");
            cluster.kill_node(&node, "rpms-std");
            killed = true;
        }
    }
    let status = build.wait().expect("it ends");
    assert!(killed, "{said}");
    assert!(status.success(), "{said}");
    assert!(said.contains("started again 1 time"), "{said}");
    let used: Vec<_> = NODES
        .into_iter()
        .filter(|node| said.contains(&format!("is running on {node}")))
        .collect();
    assert!(used.len() >= 2, "{used:?}: {said}");
    assert_whole(&mirror, "master/centos");
    let build = mirror.join("master/centos").join(date);
    assert!(build.join("outputs/success").is_file());
    let (here, there) = (artifacts(&local), artifacts(&build));
    let other: Vec<_> = here
        .iter()
        .filter(|&(path, sum)| there.get(path) != Some(sum))
        .collect();
    assert!(other.is_empty() && here.len() == there.len(), "{other:?}");
    assert!(names(&at("state/master/centos/running")).is_empty());
}
