use std::time::Duration;

use camino_tempfile::Utf8TempDir;

use super::*;
use crate::trigger::PathRules;

async fn commit(dir: &Utf8Path, file: &str) -> String {
    let path = dir.join(file);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, file).unwrap();
    git(dir, &["add", "."]).await.unwrap();
    let user = ["-c", "user.name=B", "-c", "user.email=b@example.org"];
    let commit = ["commit", "-q", "-m", "change"];
    git(dir, &[&user[..], &commit[..]].concat()).await.unwrap();
    git(dir, &["rev-parse", "HEAD"])
        .await
        .unwrap()
        .trim()
        .to_owned()
}

async fn repository(root: &Utf8Path, name: &str) -> Utf8PathBuf {
    let dir = root.join(name);
    fs_err::create_dir(&dir).unwrap();
    git(&dir, &["init", "-q", "-b", "master"]).await.unwrap();
    dir
}

fn watch(branch: &str, upstream: trigger::Upstream) -> Watch {
    Watch {
        key: "k".into(),
        git: branch.into(),
        channel: "master/centos".parse().unwrap(),
        recipe: "/r".into(),
        milestone: None,
        schedule: None,
        poll: Some(Duration::from_secs(1)),
        upstream: Some(upstream),
        paths: PathRules::new(&["src/**"]).unwrap(),
        quiet: Duration::ZERO,
        quiet_max: Duration::ZERO,
        retry_failed: false,
        max_age: None,
    }
}

#[tokio::test]
async fn heads_and_changed_files_of_branches_and_tags_are_seen() {
    let root = Utf8TempDir::new().unwrap();
    let dir = repository(root.path(), "config").await;
    let first = commit(&dir, "src/a.c").await;
    let user = ["-c", "user.name=B", "-c", "user.email=b@example.org"];
    let tag = ["tag", "-a", "-m", "annotated", "m/2020.b1"];
    git(&dir, &[&user[..], &tag[..]].concat()).await.unwrap();

    let upstream_of = GitUpstream::new(root.path().join("cache"));
    let url = dir.to_string();
    let repositories = trigger::Upstream::Repositories(vec![url.clone()]);
    let seen = |branch: &'static str, before: Option<Heads>| {
        let (upstream_of, watch) = (upstream_of.clone(), watch(branch, repositories.clone()));
        async move { upstream_of.observe(&watch, before.as_ref()).await }
    };
    let before = seen("master", None).await.unwrap();
    assert_eq!(before.heads, [(url.clone(), first.clone())].into());
    assert_eq!(before.changed, None, "there is nothing to compare with");
    // An annotated tag is the commit that it names.
    assert_eq!(seen("m/2020.b1", None).await.unwrap().heads[&url], first);
    assert!(
        seen("f/none", None)
            .await
            .unwrap_err()
            .contains("no branch or tag f/none")
    );

    commit(&dir, "docs/\u{fc} b.md").await;
    let second = commit(&dir, "src/c.c").await;
    let after = seen("master", Some(before.heads.clone())).await.unwrap();
    assert_eq!(after.heads[&url], second);
    let files = ["docs/\u{fc} b.md", "src/c.c"].map(str::to_owned);
    assert_eq!(after.changed, Some(files.into()));
    // What is compared with is gone: that is not known, and counts.
    let gone = [(url.clone(), "1".repeat(40))].into();
    assert_eq!(seen("master", Some(gone)).await.unwrap().changed, None);
}

#[tokio::test]
async fn a_manifest_is_seen_with_all_that_it_names() {
    let root = Utf8TempDir::new().unwrap();
    let config = repository(root.path(), "config").await;
    let config_head = commit(&config, "src/a.c").await;
    let manifest = repository(root.path(), "manifest").await;
    let fixed = "2".repeat(40);
    let xml = format!(
        "<manifest><remote name=\"x\" fetch=\".\"/><default remote=\"x\" revision=\"master\"/>\
         <project name=\"config\"/><project name=\"fixed\" revision=\"{fixed}\"/></manifest>"
    );
    fs_err::write(manifest.join("default.xml"), xml).unwrap();
    let manifest_head = commit(&manifest, "README").await;
    let upstream_of = GitUpstream::new(root.path().join("cache"));
    let upstream = trigger::Upstream::Manifest {
        url: manifest.to_string(),
        file: "default.xml".into(),
    };
    let seen = upstream_of
        .observe(&watch("master", upstream), None)
        .await
        .unwrap();
    let expected = [
        (manifest.to_string(), manifest_head),
        (config.to_string(), config_head),
        (root.path().join("fixed").to_string(), fixed),
    ];
    assert_eq!(seen.heads, expected.into());
}
