//! Programs that make repositories: their trees are published unchanged, and they mirror ours.

use camino::Utf8Path;
use serde_json::json;

use super::debian::{Client, Debian, signed};
use super::{CHANNEL, STD};
use crate::harness::{run, tool};
use crate::signing::key::Key;

#[test]
fn hand_made_lists_are_replaced_and_trees_of_aptly_are_kept() {
    let debian = Debian::new("");
    debian.pack("hello_1.0_all.deb", "hello", "1.0");
    // As the builders leave them, with lists of other packages than the existing ones.
    let dir = debian.tree(STD);
    run(tool(
        "sh",
        [
            "-ec",
            "dpkg-scanpackages -t deb . | gzip > Packages.gz; apt-ftparchive release . > Release",
        ],
    )
    .current_dir(&dir))
    .ok();
    debian.pack("other_1.0_all.deb", "other", "1.0");
    aptly(
        &debian,
        &dir.join("hello_1.0_all.deb"),
        &debian.tree("outputs/aptly/deb-local-build"),
    );

    let report = debian.publish(1).to_string();
    assert!(
        report.contains(r#""replaced":["Packages.gz","Release"]"#),
        "{report}"
    );
    let nginx = debian.serve();
    let base = nginx.url(&format!("{CHANNEL}/latest_build"));
    let client = Client::new();
    client.write(
        "etc/apt/sources.list",
        &format!("deb [trusted=yes] {base}/{STD} ./\n"),
    );
    client.apt(&["update"]).ok();
    client.apt(&["install", "other"]).ok();
    assert_eq!(client.installed("other"), "1.0");
    let client = Client::new();
    client.write(
        "etc/apt/sources.list",
        &format!("deb [trusted=yes] {base}/outputs/aptly/deb-local-build bookworm main\n"),
    );
    client.apt(&["update"]).ok();
    client.apt(&["install", "hello"]).ok();
    assert_eq!(client.installed("hello"), "1.0");
    assert_eq!(debian.findings(&[]), []);

    // A package that is missing from every list of the tree.
    let stray = debian.tree("outputs/aptly/deb-local-build/pool/main/o/other/other_1.0_all.deb");
    fs_err::copy(dir.join("other_1.0_all.deb"), stray).expect("copied");
    debian.publish(2);
    let path = "outputs/aptly/deb-local-build/pool/main/o/other/other_1.0_all.deb";
    let expected = [("not-in-repodata".to_owned(), path.to_owned())];
    assert_eq!(debian.findings(&[]), expected);
}

/// Publishes a package with `aptly`, and copies its repository, with `dists/` and `pool/`.
fn aptly(debian: &Debian, package: &Utf8Path, to: &Utf8Path) {
    let root = debian.at("aptly");
    let aptly = |args: &[&str]| drop(aptly_in(&root, args));
    aptly(&[
        "repo",
        "create",
        "-distribution=bookworm",
        "-component=main",
        "build",
    ]);
    aptly(&["repo", "add", "build", package.as_str()]);
    aptly(&["publish", "repo", "-skip-signing", "build"]);
    run(&mut tool(
        "cp",
        ["-rL", root.join("public").as_str(), to.as_str()],
    ))
    .ok();
}

/// Runs `aptly` with all of its files below `root`; returns its standard output.
fn aptly_in(root: &Utf8Path, args: &[&str]) -> String {
    fs_err::create_dir_all(root).expect("a directory");
    let conf = root.join("aptly.conf");
    let text = json!({"rootDir": root, "architectures": ["amd64", "all"]});
    fs_err::write(&conf, text.to_string()).expect("a file");
    run(tool("aptly", [format!("-config={conf}")]).args(args)).ok()
}

#[test]
fn aptly_and_reprepro_mirror_it() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let debian = signed(&key);
    debian.publish(1);
    let nginx = debian.serve();
    let url = nginx.url(&format!("{CHANNEL}/latest_build/{STD}/"));
    let keyring = debian.at("trusted.gpg");
    run(&mut tool(
        "gpg",
        [
            "--homedir",
            key.home().as_str(),
            "--batch",
            "--output",
            keyring.as_str(),
            "--export",
        ],
    ))
    .ok();
    let mirrored = debian.at("mirrored");
    let aptly = |args: &[&str]| aptly_in(&mirrored, args);
    let keyring_arg = format!("-keyring={keyring}");
    aptly(&["mirror", "create", &keyring_arg, "stx", &url, "./"]);
    aptly(&["mirror", "update", &keyring_arg, "stx"]);
    let shown = aptly(&["mirror", "show", "-with-packages", "stx"]);
    assert!(
        shown.contains("hello_1.0_all") && shown.contains("other_3:1+b1_all"),
        "{shown}"
    );

    let base = debian.at("reprepro");
    fs_err::create_dir_all(base.join("conf")).expect("a directory");
    let distributions = "Codename: mine\nArchitectures: amd64\nComponents: main\nUpdate: stx\n";
    fs_err::write(base.join("conf/distributions"), distributions).expect("a file");
    let updates = format!(
        "Name: stx\nMethod: {url}\nSuite: .\nFlat: main\nArchitectures: amd64\nVerifyRelease: {}\n",
        &key.fingerprint()[24..]
    );
    fs_err::write(base.join("conf/updates"), updates).expect("a file");
    run(tool("reprepro", ["-b", base.as_str(), "update"]).env("GNUPGHOME", key.home())).ok();
    let listed = run(&mut tool("reprepro", ["-b", base.as_str(), "list", "mine"])).ok();
    assert!(
        listed.contains("hello 1.0") && listed.contains("other 3:1+b1"),
        "{listed}"
    );
}
