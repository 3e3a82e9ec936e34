use std::collections::BTreeMap;

use camino::Utf8Path;

use super::*;
use crate::recipe::{Command, Recipe};

/// Reads `recipe.toml` of these files.
fn files(files: &[(&str, &str)]) -> RecipeFiles {
    let text = |path: &Utf8Path| {
        let found = files.iter().find(|(name, _)| *name == path.as_str());
        found.map(|(_, text)| (*text).to_owned())
    };
    let entry = Utf8Path::new("recipe.toml");
    RecipeFiles::gather(entry, text(entry).expect("the recipe"), &mut |path| {
        text(path).ok_or_else(|| "not there".to_owned())
    })
}

fn read(all: &[(&str, &str)]) -> Result<Recipe, String> {
    let recipe = files(all).read(&BTreeMap::new());
    recipe.map_err(|errors| errors.to_string())
}

const COMMON: &str = r#"
schema = 1
name = "common"
distro = "debian"
timeout = "1h"
[tools]
repo = "repo"
git = "git"
[variables]
STREAM = "stable"
MIRROR = "https://mirror"
[source]
phase = "sync"
repositories = ["*"]
[[phase]]
name = "sync"
run = ["repo", "sync"]
[[phase]]
name = "packages"
run = ["build-pkgs"]
timeout = "8h"
env = { A = "1", B = "2" }
[[phase]]
name = "iso"
run = ["build-image"]
needs = ["packages"]
"#;

#[test]
fn a_file_overrides_its_includes_key_by_key() {
    let recipe = read(&[
        (
            "recipe.toml",
            r#"
schema = 1
include = ["shared/common.toml"]
name = "trixie"
[tools]
repo = { apt = "git-repo" }
docker = "docker"
[variables]
STREAM = "dev"
[source]
repositories = ["a", "b"]
[[phase]]
name = "packages"
script = "build-pkgs --parallel 4"
env = { B = "3", C = "4" }
[[phase]]
name = "charts"
run = ["charts", "${MIRROR}"]
needs = ["packages"]
"#,
        ),
        ("shared/common.toml", COMMON),
    ])
    .expect("a recipe");
    assert_eq!(
        (recipe.name.as_str(), recipe.distro.as_str()),
        ("trixie", "debian")
    );
    assert_eq!(recipe.tools["repo"].apt, "git-repo");
    assert_eq!(recipe.tools.len(), 3);
    assert_eq!(recipe.variables["STREAM"], "dev");
    assert_eq!(recipe.variables["MIRROR"], "https://mirror");
    assert_eq!(recipe.source_phase, "sync");
    assert_eq!(recipe.repositories, ["a", "b"]);
    let names: Vec<_> = recipe.phases.iter().map(|phase| &phase.name).collect();
    assert_eq!(names, ["sync", "packages", "iso", "charts"]);
    let packages = &recipe.phases[1];
    assert_eq!(
        packages.command,
        Command::Script("build-pkgs --parallel 4".into())
    );
    assert_eq!(packages.timeout, Some(std::time::Duration::from_hours(8)));
    let env: Vec<_> = packages.env.values().map(String::as_str).collect();
    assert_eq!(env, ["1", "3", "4"]);
}

#[test]
fn a_file_is_read_once_and_the_later_include_wins() {
    let recipe = read(&[
        (
            "recipe.toml",
            "schema = 1\ninclude = [\"a.toml\", \"b.toml\"]\nname = \"x\"\n",
        ),
        (
            "a.toml",
            "schema = 1\ninclude = [\"common.toml\"]\n[variables]\nSTREAM = \"a\"\n",
        ),
        // If the common file were read again, it would override `a.toml`.
        (
            "b.toml",
            "schema = 1\ninclude = [\"x/../common.toml\"]\n[variables]\nMIRROR = \"b\"\n",
        ),
        ("common.toml", COMMON),
    ])
    .expect("a recipe");
    assert_eq!(recipe.variables["STREAM"], "a");
    assert_eq!(recipe.variables["MIRROR"], "b");
}

#[test]
fn mistakes_name_the_file_that_contains_them() {
    let errors = read(&[
        (
            "recipe.toml",
            "schema = 1\ninclude = [\"common.toml\", \"more.toml\"]\ndistro = \"a/b\"\n\
             [[phase]]\nname = \"iso\"\nneeds = [\"pakages\"]\n",
        ),
        ("common.toml", COMMON),
        (
            "more.toml",
            "schema = 2\ncolour = \"red\"\n[variables]\nA = 3\nB = \"${NOPE}\"\n[[phase]]\nname = \"sync\"\nruns = [\"x\"]\n\
             [[phase]]\nname = \"new\"\nrun = [\"a\"]\n[[phase]]\nname = \"sync\"\nrun = [\"a\"]\n",
        ),
    ]);
    insta::assert_snapshot!(errors.expect_err("mistakes"));
}

#[test]
fn an_include_that_cannot_be_read_is_the_only_mistake() {
    let wrong = |more: &[(&str, &str)]| {
        let mut all = vec![("recipe.toml", "schema = 1\ninclude = [\"a.toml\"]\n")];
        all.extend(more);
        read(&all).expect_err("mistakes")
    };
    insta::assert_snapshot!(wrong(&[]), @"recipe.toml:2:12: cannot include a.toml: not there");
    insta::assert_snapshot!(
        wrong(&[("a.toml", "include = [\"sub/b.toml\"]"), ("sub/b.toml", "include = [\"c.toml\", \"../a.toml\"]"), ("sub/c.toml", "")]),
        @r#"
    a.toml:1:1: `schema` is missing
    sub/b.toml:1:1: `schema` is missing
    sub/b.toml:1:22: files include each other in a circle: a.toml -> sub/b.toml -> a.toml
    sub/c.toml:1:1: `schema` is missing
    "#
    );
    insta::assert_snapshot!(wrong(&[("a.toml", "schema = 1\ninclude = \"b.toml\"")]), @"a.toml:2:11: `include` must be a list of files");
    insta::assert_snapshot!(wrong(&[("a.toml", "schema = 1\nname = \n")]), @"a.toml:2:8: string values must be quoted, expected literal string");
    insta::assert_snapshot!(
        Recipe::from_toml("schema = 1\ninclude = [\"a.toml\"]\n").expect_err("a mistake"),
        @"line 2, column 12: cannot include a.toml: this text is not a file"
    );
    // Each includes the next one.
    let mut load = |path: &Utf8Path| {
        let number: usize = path.file_stem().and_then(|it| it.parse().ok()).unwrap_or(0);
        Ok(format!("schema = 1\ninclude = [\"{}.toml\"]\n", number + 1))
    };
    let text = load(Utf8Path::new("0.toml")).expect("a text");
    let files = RecipeFiles::gather(Utf8Path::new("0.toml"), text, &mut load);
    assert_eq!(files.iter().count(), MOST_FILES);
    insta::assert_snapshot!(files.read(&BTreeMap::new()).expect_err("too many"), @"99.toml:2:12: a recipe has at most 100 files");
}

#[test]
fn all_missing_values_are_reported_at_once() {
    let text = r#"
schema = 1
include = ["common.toml"]
[variables]
STREAM = { ask = "Which stream?" }
STX_HOME = { ask = "Where does the build server keep the builders' files?" }
MIRROR = "${STX_HOME}/mirrors"
"#;
    let all = [("recipe.toml", text), ("common.toml", COMMON)];
    let files = files(&all);
    let missing = files.read(&BTreeMap::new()).expect_err("no values");
    insta::assert_snapshot!(missing, @r#"
    recipe.toml:5:10: `STREAM`: no value; Which stream?
    recipe.toml:6:12: `STX_HOME`: no value; Where does the build server keep the builders' files?
    "#);
    let given = |stream: &str| {
        let values = [
            ("STREAM", stream),
            ("STX_HOME", "/srv/${PROJECT}"),
            ("NOT_ASKED", "x"),
        ];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        files.read(&values.into())
    };
    let recipe = given("dev").expect("a recipe");
    assert_eq!(recipe.variables["STREAM"], "dev");
    assert_eq!(recipe.variables["STX_HOME"], "/srv/${PROJECT}");
    assert!(!recipe.variables.contains_key("NOT_ASKED"));
    insta::assert_snapshot!(given("${NOPE}").expect_err("a mistake"), @"recipe.toml:5:10: unknown variable `${NOPE}`");
    assert_eq!(files.read_unanswered().expect("a recipe").phases.len(), 3);
    // A file that includes this one can answer.
    let mut all = all
        .map(|(name, text)| {
            (
                if name == "recipe.toml" {
                    "asks.toml"
                } else {
                    name
                },
                text,
            )
        })
        .to_vec();
    all.push(("recipe.toml", "schema = 1\ninclude = [\"asks.toml\"]\n[variables]\nSTREAM = \"dev\"\nSTX_HOME = \"/srv\"\n"));
    assert_eq!(read(&all).expect("a recipe").variables["STX_HOME"], "/srv");
    let wrong = "schema = 1\ninclude = [\"common.toml\"]\n[variables]\nA = { ask = 3 }\nB = { asks = \"x?\" }\nC = 3\n";
    insta::assert_snapshot!(read(&[("recipe.toml", wrong), ("common.toml", COMMON)]).expect_err("mistakes"), @r#"
    recipe.toml:4:13: `ask`: expected a string, found integer `3`
    recipe.toml:5:5: `ask` is missing
    recipe.toml:5:7: unknown key `asks`, expected ask
    recipe.toml:6:5: `C`: expected a text, or { ask = "…?" }, found integer `3`
    "#);
}
