use std::time::Duration;

use camino_tempfile::Utf8TempDir;

use super::*;
use crate::trigger::PathRules;

async fn git(dir: &Utf8Path, args: &[&str]) -> Result<String, String> {
    super::git(dir, args, &reach("").unwrap(), Stdio::null()).await
}

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
        poll: Some(Duration::from_secs(1)),
        upstream: Some(upstream),
        paths: PathRules::new(&["src/**"]).unwrap(),
        ..Watch::new(trigger::Target {
            channel: "master/centos".parse().unwrap(),
            git: branch.into(),
            recipe: "/r".into(),
        })
    }
}

#[tokio::test]
async fn heads_and_changed_files_of_branches_and_tags_are_read() {
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
    // An annotated tag is resolved to the commit that it names.
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
    let files = ["docs/\u{fc} b.md", "src/c.c"].map(|file| ChangedFile {
        git: String::new(),
        file: file.to_owned(),
    });
    assert_eq!(after.changed, Some(files.into()));
    // The commit to compare with is gone: the changed files are unknown, and count as relevant.
    let gone = [(url.clone(), "1".repeat(40))].into();
    assert_eq!(seen("master", Some(gone)).await.unwrap().changed, None);
}

#[tokio::test]
async fn a_manifest_is_observed_with_all_its_repositories() {
    let root = Utf8TempDir::new().unwrap();
    let config = repository(root.path(), "config").await;
    let config_head = commit(&config, "src/a.c").await;
    let manifest = repository(root.path(), "manifest").await;
    let fixed = "2".repeat(40);
    let xml = format!(
        "<manifest><remote name=\"x\" fetch=\".\"/><default remote=\"x\" revision=\"master\"/>\
         <project name=\"config\"/><project name=\"fixed\" revision=\"{fixed}\"/></manifest>"
    );
    fs_err::write(manifest.join("layer.xml"), xml).unwrap();
    let include = "<manifest><include name=\"layer.xml\"/></manifest>";
    fs_err::write(manifest.join("default.xml"), include).unwrap();
    let manifest_head = commit(&manifest, "README").await;
    let upstream_of = GitUpstream::new(root.path().join("cache"));
    let upstream = self::manifest(manifest.as_str());
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
    // Remove the included file.
    fs_err::remove_file(manifest.join("layer.xml")).unwrap();
    commit(&manifest, "README2").await;
    let upstream = self::manifest(manifest.as_str());
    let error = upstream_of.observe(&watch("master", upstream), None).await;
    let error = error.unwrap_err();
    assert!(
        error.starts_with("default.xml line 1: <include name=\"layer.xml\"/>"),
        "{error}"
    );
}

#[tokio::test]
async fn a_repository_listed_twice_is_observed_at_both_revisions() {
    let root = Utf8TempDir::new().unwrap();
    let twice = repository(root.path(), "twice").await;
    let old = commit(&twice, "a.c").await;
    git(&twice, &["branch", "r/1"]).await.unwrap();
    commit(&twice, "b.c").await;
    let manifest = repository(root.path(), "manifest").await;
    let project = |path: &str, revision: &str| {
        format!("<project name=\"twice\" path=\"{path}\" revision=\"{revision}\"/>")
    };
    let write = async |projects: &str| {
        let xml = format!(
            "<manifest><remote name=\"x\" fetch=\".\"/><default remote=\"x\"/>{projects}</manifest>"
        );
        fs_err::write(manifest.join("default.xml"), xml).unwrap();
        commit(&manifest, "README").await
    };
    let upstream_of = GitUpstream::new(root.path().join("cache"));
    let watch = watch("master", self::manifest(manifest.as_str()));
    // Test both orders, so that neither revision is always the last one.
    for order in [["new", "old"], ["old", "new"]] {
        let projects = order.map(|path| match path {
            "new" => project("p/new", "master"),
            _ => project("p/old", "r/1"),
        });
        write(&projects.concat()).await;
        let before = upstream_of.observe(&watch, None).await.unwrap();
        for (branch, path) in [("r/1", "p/old"), ("master", "p/new")] {
            git(&twice, &["checkout", "-q", branch]).await.unwrap();
            let file = format!("{}-{}.c", order[0], path.replace('/', "-"));
            let head = commit(&twice, &file).await;
            let after = upstream_of.observe(&watch, Some(&before.heads)).await;
            let after = after.unwrap();
            assert_eq!(after.heads[&format!("{twice} {branch}")], head);
            let changed = after.changed.unwrap();
            let in_path = |changed: &&ChangedFile| changed.git == path && changed.file == file;
            assert_eq!(changed.iter().filter(in_path).count(), 1, "{changed:?}");
            let heads = [(format!("{twice} {branch}"), head.clone())].into();
            let cause = trigger::Cause::Commit { heads };
            assert_eq!(
                cause.to_string(),
                format!("commit twice {branch} {}", &head[..10])
            );
        }
    }
    // With one revision for both paths, its commit counts for both.
    write(&[project("p/new", "master"), project("p/old", "master")].concat()).await;
    let before = upstream_of.observe(&watch, None).await.unwrap();
    assert_ne!(before.heads[twice.as_str()], old);
    let head = commit(&twice, "both.c").await;
    let after = upstream_of.observe(&watch, Some(&before.heads)).await;
    let after = after.unwrap();
    assert_eq!(after.heads[twice.as_str()], head);
    let both = ["p/new", "p/old"].map(|path| ChangedFile {
        git: path.to_owned(),
        file: "both.c".to_owned(),
    });
    assert_eq!(after.changed, Some(both.into()));
}

/// Creates a manifest whose branches each name another commit; returns the observed heads of each branch.
async fn branches(root: &Utf8Path, names: &[&str]) -> (String, Vec<Heads>) {
    let manifest = repository(root, "manifest").await;
    let mut heads = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let fixed = number.to_string().repeat(40);
        let xml = format!(
            "<manifest><remote name=\"x\" fetch=\".\"/>\
             <project name=\"fixed\" remote=\"x\" revision=\"{fixed}\"/></manifest>"
        );
        git(&manifest, &["checkout", "-q", "-B", name])
            .await
            .unwrap();
        fs_err::write(manifest.join("default.xml"), xml).unwrap();
        let head = commit(&manifest, &format!("file{number}")).await;
        heads.push(
            [
                (manifest.to_string(), head),
                (root.join("fixed").to_string(), fixed),
            ]
            .into(),
        );
    }
    (manifest.into_string(), heads)
}

fn manifest(url: &str) -> trigger::Upstream {
    trigger::Upstream::Manifest {
        url: url.to_owned(),
        file: "default.xml".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn branches_that_are_polled_concurrently_are_not_mixed_up() {
    const TIMES: usize = 20;
    let root = Utf8TempDir::new().unwrap();
    let names = ["master", "r/2018.10", "f/antelope"];
    let (url, heads) = branches(root.path(), &names).await;
    let upstream_of = GitUpstream::new(root.path().join("cache"));
    let looks = names.iter().zip(heads).map(|(name, heads)| {
        let (upstream_of, watch) = (upstream_of.clone(), watch(name, manifest(&url)));
        tokio::spawn(async move {
            for _ in 0..TIMES {
                let seen = upstream_of.observe(&watch, None).await.unwrap();
                assert_eq!(seen.heads, heads);
            }
        })
    });
    for look in looks.collect::<Vec<_>>() {
        look.await.unwrap();
    }
}

#[tokio::test]
async fn locks_of_a_killed_git_do_not_block_the_next_poll() {
    let root = Utf8TempDir::new().unwrap();
    let (url, heads) = branches(root.path(), &["master"]).await;
    let cache = root.path().join("cache");
    let upstream_of = GitUpstream::new(cache.clone());
    let master = watch("master", manifest(&url));
    upstream_of.observe(&master, None).await.unwrap();
    let mut names = cache.read_dir_utf8().unwrap().map(|entry| entry.unwrap());
    let kept = names.find(|entry| entry.path().is_dir()).unwrap();
    let left = [
        "shallow.lock",
        "packed-refs.lock",
        "config.lock",
        "refs/stx-builds/master.lock",
    ];
    for lock in left {
        fs_err::write(kept.path().join(lock), "").unwrap();
    }
    commit(Utf8Path::new(&url), "again").await;
    let seen = upstream_of.observe(&master, None).await.unwrap();
    assert_ne!(seen.heads, heads[0]);
    assert!(left.iter().all(|lock| !kept.path().join(lock).exists()));

    // A live owner of the lock is waited for.
    let held = Cache::open(&cache, &url).await.unwrap();
    let look = upstream_of.observe(&master, None);
    let short = Duration::from_millis(300);
    tokio::time::timeout(short, look).await.unwrap_err();
    drop(held);
    upstream_of.observe(&master, None).await.unwrap();
}

#[tokio::test]
async fn only_the_fatal_line_of_git_is_reported() {
    let root = Utf8TempDir::new().unwrap();
    let url = root.path().join("none").to_string();
    let upstream = trigger::Upstream::Repositories(vec![url]);
    let upstream_of = GitUpstream::new(root.path().join("cache"));
    let error = upstream_of.observe(&watch("master", upstream), None).await;
    let error = error.unwrap_err();
    assert!(
        error.contains(": fatal: ") && !error.contains('\n'),
        "{error}"
    );
}

/// Serves the files of a bare repository to clients with the password, and counts processes with the secret in their arguments.
fn server(
    repository: Utf8PathBuf,
    secret: &'static str,
) -> (String, std::thread::JoinHandle<(usize, usize)>) {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // base64 of `jim:` and the password of the test.
    let serve = move || {
        let (mut let_in, mut seen) = (0, 0);
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let Some(request) = lines.next() else {
                continue;
            };
            let headers: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            if path == "/stop" {
                break;
            }
            for process in fs_err::read_dir("/proc").unwrap().flatten() {
                let args = fs_err::read(process.path().join("cmdline")).unwrap_or_default();
                seen += usize::from(String::from_utf8_lossy(&args).contains(secret));
            }
            let granted = headers
                .iter()
                .any(|line| line.ends_with("Basic amltOnMzY3JldC10b2tlbg=="));
            let_in += usize::from(granted);
            let path = path.split('?').next().unwrap_or_default();
            let file = fs_err::read(repository.join(path.trim_start_matches("/a.git/")));
            let (status, body) = match (granted, file) {
                (false, _) => (
                    "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"",
                    Vec::new(),
                ),
                (true, Ok(body)) => ("200 OK", body),
                (true, Err(_)) => ("404 Not Found", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let mut stream = &stream;
            stream
                .write_all(&[head.as_bytes(), &body].concat())
                .unwrap();
        }
        (let_in, seen)
    };
    (address, std::thread::spawn(serve))
}

#[tokio::test]
async fn credentials_of_a_url_reach_only_the_server() {
    use std::io::Write as _;
    const SECRET: &str = "s3cret-token";
    let root = Utf8TempDir::new().unwrap();
    let dir = repository(root.path(), "config").await;
    let head = commit(&dir, "a").await;
    git(&dir, &["update-server-info"]).await.unwrap();
    let (address, served) = server(dir.join(".git"), SECRET);
    let upstream_of = GitUpstream::new(root.path().join("cache"));
    let look = |url: String| {
        let upstream = trigger::Upstream::Repositories(vec![url]);
        let (upstream_of, watch) = (upstream_of.clone(), watch("master", upstream));
        async move { upstream_of.observe(&watch, None).await }
    };
    let seen = look(format!("http://jim:{SECRET}@{address}/a.git"))
        .await
        .unwrap();
    assert_eq!(
        seen.heads,
        [(format!("http://{address}/a.git"), head)].into()
    );
    let wrong = look(format!("http://jim:{SECRET}x@{address}/a.git"))
        .await
        .unwrap_err();
    assert!(
        wrong.contains("fatal: Authentication failed") && !wrong.contains(SECRET),
        "{wrong}"
    );
    let mut stop = std::net::TcpStream::connect(&address).unwrap();
    stop.write_all(b"GET /stop HTTP/1.1\r\n\r\n").unwrap();
    let (let_in, arguments) = served.join().unwrap();
    assert!(let_in > 0, "the helper gave the password");
    assert_eq!(arguments, 0, "processes had it as an argument");
}
