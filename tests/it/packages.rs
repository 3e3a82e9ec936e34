//! The packages of stx-builds itself: their contents, and their life on a server.

use std::process::Command;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;

use crate::harness::{binary, in_memory, names, root, run, stx, tool};

mod completions;
mod sample;

/// Makes packages of the binary under test in a directory, as the documentation calls the script.
fn make(dir: &Utf8Path, shell: &str) {
    let script = root().join("scripts/packages.sh");
    let call = format!("{shell} exec \"$@\"");
    let args = [
        "-c",
        &call,
        "sh",
        script.as_str(),
        "--fast",
        binary().as_str(),
        dir.as_str(),
    ];
    run(&mut tool("sh", args)).ok();
}

/// The packages, made once per run of the tests.
fn packages() -> &'static Utf8Path {
    static PACKAGES: OnceLock<Utf8PathBuf> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let dir = Utf8Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        if dir.exists() {
            fs_err::remove_dir_all(&dir).expect("old packages go");
        }
        make(&dir, "");
        dir
    })
}

/// The only package of a kind, `deb` or `rpm`.
fn package(kind: &str) -> Utf8PathBuf {
    let mut names = names(packages());
    names.retain(|name| name.ends_with(kind));
    assert_eq!(names.len(), 1, "{names:?}");
    packages().join(names.remove(0))
}

#[test]
fn the_packages_are_reproducible_in_another_place_and_by_another_user() {
    let dir = in_memory();
    let there = dir.path().join("there");
    let elsewhere = dir.path().join("elsewhere");
    fs_err::create_dir(&elsewhere).expect("a directory");
    let shell = format!(
        "umask 077; export TMPDIR='{elsewhere}' TZ=Asia/Tokyo LC_ALL=C HOME='{elsewhere}' CARGO_HOME='{}';",
        cargo_home()
    );
    make(&there, &shell);
    let made = names(packages());
    assert_eq!(made, names(&there));
    assert_eq!(made.len(), 2, "{made:?}");
    for name in made {
        let bytes = |dir: &Utf8Path| fs_err::read(dir.join(&name)).expect("a package");
        assert!(bytes(packages()) == bytes(&there), "{name} differs");
    }
}

fn cargo_home() -> String {
    std::env::var("CARGO_HOME").unwrap_or_else(|_| {
        let home = std::env::var("HOME").expect("there is a HOME");
        format!("{home}/.cargo")
    })
}

#[test]
fn lintian_and_rpmlint_find_no_error() {
    let deb = package("deb");
    run(&mut tool(
        "lintian",
        ["--fail-on", "error", "--allow-root", deb.as_str()],
    ))
    .ok();
    let filters = root().join("packaging/rpm/rpmlint.toml");
    let rpm = package("rpm");
    run(&mut tool("rpmlint", ["-c", filters.as_str(), rpm.as_str()])).ok();
}

#[test]
fn every_page_of_the_manual_is_valid() {
    let dir = Utf8TempDir::new().expect("a directory");
    let man = dir.path().join("man");
    run(&mut stx([
        "--now",
        "20181105T060000Z",
        "manual",
        "--to",
        man.as_str(),
    ]))
    .ok();
    let pages = names(&man);
    let has = |page: &str| pages.iter().any(|name| name == page);
    for page in [
        "stx-builds.1",
        "stx-builds-recipe-check.1",
        "stx-builds.toml.5",
    ] {
        assert!(has(page), "{page}: {pages:?}");
    }
    let help = run(&mut stx(["--help"])).ok();
    for command in crate::documents::commands(&help) {
        assert!(has(&format!("stx-builds-{command}.1")), "{command}");
    }
    for page in &pages {
        let page = man.join(page);
        run(&mut tool(
            "mandoc",
            ["-T", "lint", "-W", "error", page.as_str()],
        ))
        .ok();
        let shown = run(tool("man", ["--warnings", "-l", page.as_str()]).env("MANWIDTH", "80"));
        assert_eq!(shown.stderr, "", "{page}");
        assert!(shown.ok().contains("2018-11-05"), "{page}");
    }
}

/// Installs, configures, starts, queries, upgrades and removes the package in a copy of this system that runs its own systemd.
fn live(kind: &str) {
    let dir = in_memory();
    let files = dir.path().join("files");
    fs_err::create_dir(&files).expect("a directory");
    let package = package(kind);
    let name = package.file_name().expect("a name");
    fs_err::copy(&package, files.join(name)).expect("a package");
    let here = root().join("tests/it/packages");
    for name in ["life.sh", "recipe.toml"] {
        fs_err::copy(here.join(name), files.join(name)).expect("a file");
    }
    fs_err::write(files.join("kind"), kind).expect("a file");
    let script = here.join("root.sh");
    let args = [
        "--signal=KILL",
        "600",
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--net",
        "--uts",
        "--ipc",
        "--cgroup",
        script.as_str(),
        dir.path().as_str(),
        "/files/life.sh",
    ];
    let lived = run(&mut as_root("timeout", &args));
    let log = fs_err::read_to_string(files.join("log")).unwrap_or_default();
    let console = fs_err::read_to_string(files.join("console")).unwrap_or_default();
    assert!(
        lived.code == Some(0) && log.ends_with("the package lived\n"),
        "{lived:?}\n--- log\n{log}\n--- console\n{console}"
    );
}

fn as_root(program: &str, args: &[&str]) -> Command {
    if rustix::process::geteuid().is_root() {
        return tool(program, args);
    }
    tool("sudo", ["--non-interactive", program].iter().chain(args))
}

#[test]
fn the_deb_is_installed_upgraded_and_removed_on_a_server() {
    live("deb");
}

#[test]
fn the_rpm_is_installed_upgraded_and_removed_on_a_server() {
    live("rpm");
}

#[test]
fn each_crate_can_be_published() {
    let cargo = |args: &[&str]| run(tool(env!("CARGO"), args).current_dir(root()));
    let metadata = cargo(&["metadata", "--format-version=1", "--no-deps", "--locked"])
        .code(0)
        .json();
    let crates = metadata["packages"].as_array().expect("packages").iter();
    let (public, private): (Vec<_>, Vec<_>) =
        crates.partition(|package| package["publish"].is_null());
    let private: Vec<_> = private.iter().map(|package| &package["name"]).collect();
    assert_eq!(private, ["stx-tests"]);
    for package in public {
        let name = package["name"].as_str().expect("a name");
        for field in ["description", "license", "readme", "rust_version"] {
            assert!(package[field].is_string(), "{name}: {field}");
        }
        // The files that users of the crate need, and a version for every path dependency.
        let files = cargo(&["package", "--list", "--allow-dirty", "--locked", "-p", name]).ok();
        for file in ["LICENSE", "README.md", "Cargo.lock"] {
            assert!(
                files.lines().any(|line| line == file),
                "{name}: {file}\n{files}"
            );
        }
        for dependency in package["dependencies"].as_array().expect("a list") {
            assert!(dependency["req"] != "*", "{name} -> {}", dependency["name"]);
        }
    }
}
