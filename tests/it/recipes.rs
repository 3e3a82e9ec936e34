//! Recipe files as the binary reads them: every mistake at once, drawings, matrices.

use camino_tempfile::Utf8TempDir;

use crate::harness::{root, run, stx};

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

/// A directory with a recipe in it, and a command that runs there.
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
fn a_recipe_without_mistakes_is_said_to_have_none() {
    for name in [
        "starlingx-centos.toml",
        "starlingx-debian.toml",
        "sample/recipe.toml",
        "sample-debian/recipe.toml",
    ] {
        let file = root().join("recipes").join(name);
        let checked = run(&mut stx([
            "recipe",
            "check",
            file.as_str(),
            "--format",
            "json",
        ]))
        .code(0)
        .json();
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
fn a_matrix_is_a_phase_for_each_combination() {
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
