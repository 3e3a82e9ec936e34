//! Recipe files as the binary reads them: all mistakes at once, graphs, matrices.

use camino_tempfile::Utf8TempDir;

use crate::builds::Small;
use crate::harness::{root, run, stx, tool};

/// Values for all variables that the recipes of `recipes/` require.
pub(crate) const ASKED: [&str; 5] = [
    "STX_BUILD_HOME=/srv/stx/${PROJECT}",
    "GIT_USER=Builder",
    "GIT_EMAIL=builder@example.org",
    "BUILDRC=/home/builder/buildrc",
    "CONTAINER_BUILD_OPTIONS=--build-arg MYUID=1000",
];

/// The same for `stx-builds.toml`.
pub(crate) fn answers() -> String {
    let line = |value: &str| {
        let (name, value) = value.split_once('=').expect("a value");
        format!("{name} = \"{value}\"\n")
    };
    let lines = ASKED.into_iter().map(line).collect::<String>();
    format!("[variables]\n{lines}")
}

/// Eight different mistakes.
const WRONG: &str = r#"schema = 1
name = "wrong"
distro = "centos"
timeout = "soon"
colour = "red"

[source]
phase = "sync"
repositories = ["*"]

[[phase]]
name = "sync"
run = ["repo", "sync", "-j${JBOS}"]

[[phase]]
name = "rpms"
matrix = { BUILD_PHASE = ["std", "rt"] }
run = ["build-pkgs", "${BUILD_PHASE}"]
needs = ["downlaods"]
publish = [{ from = "${BUILD_PHASE}/RPMS/*.rpm", to = "outputs/RPMS/${BUILD_PHASE}" }]

[[phase]]
name = "installer"
run = ["build-installer"]
needs = ["iso"]
publish = [
  { from = "installer/./vmlinuz", to = "outputs/installer" },
  { from = "boot/bootimage.iso", to = "outputs/iso" },
]

[[phase]]
name = "iso"
run = ["build-iso"]
script = "build-iso"
needs = ["installer", "rpms"]

[[phase]]
name = "second-iso"
run = ["build-iso"]
needs = ["rpms-rt"]
publish = [{ from = "export/bootimage.iso", to = "outputs/iso" }]
"#;

/// A directory with a recipe; commands run there.
fn recipe(text: &str) -> Utf8TempDir {
    let dir = Utf8TempDir::new().expect("a temporary directory");
    fs_err::write(dir.path().join("recipe.toml"), text).expect("a recipe");
    dir
}

#[test]
fn eight_different_mistakes_are_eight_findings_with_their_positions() {
    let dir = recipe(WRONG);
    let checked = run(stx(["recipe", "check", "recipe.toml"]).current_dir(dir.path())).code(2);
    insta::assert_snapshot!("eight_mistakes", checked.stdout);
    assert!(checked.stderr.contains("8 mistakes"), "{}", checked.stderr);
    let json =
        run(stx(["recipe", "check", "recipe.toml", "--format", "json"]).current_dir(dir.path()))
            .code(2)
            .json();
    insta::assert_json_snapshot!("eight_mistakes_as_json", json);
}

#[test]
fn a_recipe_without_mistakes_is_reported_as_valid() {
    let dir = root().join("recipes");
    let names = crate::harness::names(&dir).into_iter();
    let mut files: Vec<_> = names.filter(|name| name.contains(".toml")).collect();
    assert!(files.len() >= 10, "{files:?}");
    files.extend(["sample/recipe.toml", "sample-debian/recipe.toml"].map(str::to_owned));
    for name in files {
        let file = dir.join(&name);
        let text = fs_err::read_to_string(&file).expect("a recipe");
        assert!(!text.contains("guess"), "{file}");
        let mut command = stx(["recipe", "check", file.as_str(), "--format", "json"]);
        for value in ASKED {
            command.args(["--set", value]);
        }
        let checked = run(&mut command).code(0).json();
        assert_eq!(checked["findings"], serde_json::json!([]), "{checked:#}");
    }
    let gone = run(&mut stx(["recipe", "check", "no-such-file.toml"])).code(2);
    assert!(gone.stderr.contains("no-such-file.toml"), "{}", gone.stderr);
}

const MATRIX: &str = r#"schema = 1
name = "matrix"
distro = "centos"
[source]
phase = "sync"
[[phase]]
name = "sync"
run = ["sync"]
[[phase]]
name = "rpms"
matrix = { BUILD_PHASE = ["std", "rt"], ARCH = ["x86"] }
run = ["build-pkgs", "${BUILD_PHASE}", "${ARCH}"]
publish = [{ from = "${BUILD_PHASE}/*.rpm", to = "outputs/RPMS/${BUILD_PHASE}", min = 1 }]
[[phase]]
name = "check"
matrix = { BUILD_PHASE = ["std", "rt"] }
run = ["check", "${PHASE}"]
needs = ["rpms-${BUILD_PHASE}-x86"]
required = false
[[phase]]
name = "iso"
run = ["build-iso"]
needs = ["rpms"]
"#;

#[test]
fn graphs_are_drawn_for_mermaid_and_for_graphviz() {
    let dir = recipe(MATRIX);
    let graph = |language: &str| {
        run(stx(["recipe", "graph", "recipe.toml", "--as", language]).current_dir(dir.path())).ok()
    };
    insta::assert_snapshot!("mermaid", graph("mermaid"));
    insta::assert_snapshot!("dot", graph("dot"));
}

#[test]
fn a_matrix_becomes_a_phase_for_each_combination() {
    let dir = recipe(MATRIX);
    let plan = run(stx([
        "--mirror",
        "mirror",
        "build",
        "--dry-run",
        "--recipe",
        "recipe.toml",
        "--date",
        "20200101T000000Z",
        "--format",
        "json",
    ])
    .current_dir(dir.path()))
    .code(0)
    .json();
    let phases: Vec<_> = plan["phases"].as_array().expect("phases").iter().collect();
    let shown: Vec<_> = phases
        .iter()
        .map(|phase| {
            format!(
                "{} {} {} after {} to {}",
                phase["name"],
                phase["invocation"]["args"],
                phase["invocation"]["env"]["BUILD_PHASE"],
                phase["needs"],
                phase["publish"][0]["to"]
            )
        })
        .collect();
    insta::assert_snapshot!("matrix", shown.join("\n"));
}

/// A recipe in two files, one of which requires the location of its upstream.
fn shared() -> Small {
    let small = Small::new();
    let recipe = fs_err::read_to_string(small.at("recipe.toml")).expect("a recipe");
    let asks = recipe.replace(
        "\"${RECIPE_DIR}/upstream\"",
        "{ ask = \"Where is the upstream?\" }",
    );
    fs_err::create_dir(small.at("shared")).expect("a directory");
    fs_err::write(small.at("shared/common.toml"), asks).expect("a recipe");
    let own = "schema = 1\ninclude = [\"shared/common.toml\"]\n[[phase]]\nname = \"image\"\nretries = 1\n";
    fs_err::write(small.at("recipe.toml"), own).expect("a recipe");
    small
}

#[test]
fn every_command_reports_a_variable_without_a_value() {
    let small = shared();
    let check = |more: &[&str]| {
        let mut args = vec!["recipe", "check", "recipe.toml"];
        args.extend(more);
        run(&mut small.stx(&args))
    };
    let asked = check(&[]).code(2);
    insta::assert_snapshot!(asked.stdout, @"shared/common.toml:10:12: `UPSTREAM`: no value; Where is the upstream?");
    assert!(
        asked.stderr.contains("`[variables]` of stx-builds.toml"),
        "{}",
        asked.stderr
    );
    let asked = check(&["--format", "json"]).code(2).json();
    insta::assert_json_snapshot!(asked, @r#"
    {
      "file": "recipe.toml",
      "findings": [
        {
          "column": 12,
          "file": "shared/common.toml",
          "line": 10,
          "message": "`UPSTREAM`: no value; Where is the upstream?"
        }
      ],
      "includes": [
        "shared/common.toml"
      ],
      "name": null,
      "phases": 0
    }
    "#);
    for args in [
        &["build", "--recipe", "recipe.toml"][..],
        &["build", "--dry-run", "--recipe", "recipe.toml"],
    ] {
        let failed = run(&mut small.stx(args)).code(2);
        assert!(
            failed.stderr.contains("Where is the upstream?"),
            "{}",
            failed.stderr
        );
    }
    run(&mut small.stx(&["recipe", "graph", "recipe.toml"])).code(0);
    let gone = "schema = 1\ninclude = [\"gone.toml\"]\n";
    fs_err::write(small.at("gone-too.toml"), gone).expect("a recipe");
    let gone = run(&mut small.stx(&["recipe", "check", "gone-too.toml"])).code(2);
    insta::assert_snapshot!(gone.stdout, @"gone-too.toml:2:12: cannot include gone.toml: No such file or directory (os error 2)");
    check(&["--set", "UPSTREAM=${RECIPE_DIR}/upstream"]).code(0);
    let config = "[variables]\nUPSTREAM = \"${RECIPE_DIR}/upstream\"\nOF_ANOTHER_RECIPE = \"x\"\n";
    fs_err::write(small.at("stx-builds.toml"), config).expect("a configuration");
    check(&[]).code(0);
}

#[test]
fn a_build_records_the_digests_of_all_files_of_its_recipe() {
    let small = shared();
    let config = "[variables]\nUPSTREAM = \"/nowhere\"\n";
    fs_err::write(small.at("stx-builds.toml"), config).expect("a configuration");
    let date = "20200101T000000Z";
    let mut build = small.build(date);
    // The order's own value takes precedence over the configuration's.
    run(build.args(["--set", "UPSTREAM=${RECIPE_DIR}/upstream"])).code(0);
    let file = |name: &str| {
        let path = small.at(&format!("mirror/master/centos/{date}/{name}"));
        let text = fs_err::read_to_string(path).expect("a file of the build");
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    let digest = |name: &str| {
        let sum = run(&mut tool("sha256sum", [small.at(name).as_str()])).ok();
        sum.split(' ').next().expect("a digest").to_owned()
    };
    let expected = ["recipe.toml", "shared/common.toml"];
    let expected = expected.map(|path| serde_json::json!({ "path": path, "sha256": digest(path) }));
    assert_eq!(
        file("build.json")["recipe_files"],
        serde_json::json!(expected)
    );
    let stated = file("provenance.json");
    let resolved = stated["predicate"]["buildDefinition"]["resolvedDependencies"].as_array();
    let recipe = resolved.expect("a list").iter().filter_map(|it| {
        let name = it["name"].as_str()?.strip_prefix("recipe/")?;
        Some(serde_json::json!({ "path": name, "sha256": it["digest"]["sha256"] }))
    });
    assert_eq!(recipe.collect::<Vec<_>>(), expected);
    run(&mut small.stx(&["verify"])).code(0);
}
