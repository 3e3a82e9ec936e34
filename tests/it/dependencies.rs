//! Checks the dependencies against `deny.toml`: licences, bans, wildcards, sources, duplicates.
//!
//! cargo-deny applies the same file, but would have to be compiled first, so the gate does not use it.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use spdx::{Expression, Licensee, ParseMode};

use crate::harness::{root, run, tool};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn deny_toml_accepts_every_dependency() {
    let rules = fs_err::read_to_string(root().join("deny.toml")).expect("the rules");
    let rules: Value = toml::from_str(&rules).expect("deny.toml is TOML");
    // `judge` denies these by default; cargo-deny denies them by these keys.
    for (section, key) in [
        ("bans", "multiple-versions"),
        ("bans", "wildcards"),
        ("sources", "unknown-git"),
        ("sources", "unknown-registry"),
    ] {
        assert_eq!(rules[section][key], "deny", "deny.toml: [{section}] {key}");
    }
    let mut metadata = tool(
        env!("CARGO"),
        [
            "metadata",
            "--locked",
            "--offline",
            "--format-version=1",
            "--all-features",
        ],
    );
    // The crates of other platforms were not downloaded by the build, so cargo cannot read them offline.
    for target in list(&rules["graph"]["targets"]) {
        metadata.args(["--filter-platform", text(target)]);
    }
    let metadata = run(metadata.current_dir(root())).code(0).json();
    let refusals = judge(&metadata, &rules);
    assert!(
        refusals.is_empty(),
        "{} breaches of deny.toml; replace the dependencies, or change the rules and give the reason there:\n\n{}\n",
        refusals.len(),
        refusals.join("\n")
    );
}

/// The breaches of `rules`, the contents of `deny.toml`, by the graph in `metadata`, the output of `cargo metadata`.
fn judge(metadata: &Value, rules: &Value) -> Vec<String> {
    let graph = Graph::new(metadata);
    let licences: Vec<_> = list(&rules["licenses"]["allow"])
        .iter()
        .map(|name| Licensee::parse(text(name)).expect("[licenses] allow has names of SPDX"))
        .collect();
    let mut refusals = Vec::new();

    let everything = graph.reached(true);
    for id in everything.keys() {
        let package = &graph.packages[id];
        let mut refuse = |why: &str| refusals.push(graph.refusal(&everything, id, why));
        if let Err(why) = licensed(package, &licences) {
            refuse(&why);
        }
        for banned in list(&rules["bans"]["deny"]) {
            if names(text(&banned["crate"]), package) {
                refuse(&format!("is banned: {}", text(&banned["reason"])));
            }
        }
        if graph.members.contains(id) {
            for dependency in list(&package["dependencies"]) {
                if dependency["req"] == "*" {
                    let name = text(&dependency["name"]);
                    refuse(&format!("accepts every version of {name}; name one"));
                }
            }
        } else if package["source"] != CRATES_IO {
            let source = package["source"].as_str().unwrap_or("a directory");
            refuse(&format!("comes from {source}, not from crates.io"));
        }
    }

    // Only tests need the others; `multiple-versions-include-dev = false` also excludes them from cargo-deny's search.
    let normal = graph.reached(false);
    let mut versions = BTreeMap::<_, Vec<_>>::new();
    for id in normal.keys() {
        let name = text(&graph.packages[id]["name"]);
        versions.entry(name).or_default().push(*id);
    }
    let skips = list(&rules["bans"]["skip"]);
    let skipped = |id: &str| {
        let package = graph.packages[id];
        skips.iter().any(|it| names(text(&it["crate"]), package))
    };
    for (name, ids) in &versions {
        let left: Vec<_> = ids.iter().filter(|id| !skipped(id)).collect();
        if left.len() > 1 {
            for id in left {
                let why = "is one of several versions; agree on one, or list all but one in `[bans] skip`";
                refusals.push(graph.refusal(&normal, id, why));
            }
        } else if left.is_empty() {
            refusals.push(format!(
                "deny.toml: `[bans] skip` lists every version of {name}; remove the last one"
            ));
        }
    }
    for skip in skips {
        let spec = text(&skip["crate"]);
        if !normal.keys().any(|id| names(spec, graph.packages[id])) {
            refusals.push(format!(
                "deny.toml: `[bans] skip` lists {spec}, which is not used any more; remove it"
            ));
        }
        if skip["reason"].as_str().is_none_or(str::is_empty) {
            refusals.push(format!(
                "deny.toml: `[bans] skip` lists {spec} without a reason"
            ));
        }
    }
    refusals
}

/// The reached packages, each with the package from which it was reached; `None` for a crate of this workspace.
type Reached<'a> = BTreeMap<&'a str, Option<&'a str>>;

struct Edge<'a> {
    to: &'a str,
    /// Set if only tests, examples and benchmarks need it.
    dev: bool,
}

/// The graph of `cargo metadata`, by package id.
struct Graph<'a> {
    packages: BTreeMap<&'a str, &'a Value>,
    members: Vec<&'a str>,
    edges: BTreeMap<&'a str, Vec<Edge<'a>>>,
}

impl<'a> Graph<'a> {
    fn new(metadata: &'a Value) -> Self {
        let packages: BTreeMap<_, _> = list(&metadata["packages"])
            .iter()
            .map(|package| (text(&package["id"]), package))
            .collect();
        let mut edges = BTreeMap::<_, Vec<_>>::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let from = text(&node["id"]);
            for dependency in list(&node["deps"]) {
                let to = text(&dependency["pkg"]);
                let kinds: Vec<_> = list(&packages[from]["dependencies"])
                    .iter()
                    .filter(|it| it["name"] == packages[to]["name"])
                    .filter(|it| {
                        let name = it["rename"].as_str().map(|name| name.replace('-', "_"));
                        name.is_none_or(|name| dependency["name"] == name)
                    })
                    .filter(|it| enabled(it, node, packages[from]))
                    .map(|it| &it["kind"])
                    .filter(|kind| {
                        list(&dependency["dep_kinds"])
                            .iter()
                            .any(|it| it["kind"] == **kind)
                    })
                    .collect();
                if !kinds.is_empty() {
                    let dev = kinds.iter().all(|kind| *kind == "dev");
                    edges.entry(from).or_default().push(Edge { to, dev });
                }
            }
        }
        let members = list(&metadata["workspace_members"]);
        let members = members.iter().map(text).collect();
        Self {
            packages,
            members,
            edges,
        }
    }

    /// The packages of the workspace and everything that they depend on, each by one of the shortest chains; with the dependencies of tests
    /// if `dev` is set.
    fn reached(&self, dev: bool) -> Reached<'a> {
        let mut reached: Reached<'a> = self.members.iter().map(|id| (*id, None)).collect();
        let mut queue: VecDeque<_> = self.members.iter().copied().collect();
        while let Some(from) = queue.pop_front() {
            for edge in self.edges.get(from).into_iter().flatten() {
                if (dev || !edge.dev) && !reached.contains_key(edge.to) {
                    reached.insert(edge.to, Some(from));
                    queue.push_back(edge.to);
                }
            }
        }
        reached
    }

    fn refusal(&self, reached: &Reached<'a>, id: &str, why: &str) -> String {
        let shown = |id| {
            let package = &self.packages[id];
            format!("{} {}", text(&package["name"]), text(&package["version"]))
        };
        let mut chain = shown(id);
        let mut at = id;
        while let Some(by) = reached[at] {
            chain = format!("{} -> {chain}", shown(by));
            at = by;
        }
        format!("{}: {why}\n    {chain}", shown(id))
    }
}

/// True if the features of a node enable a dependency. `NAME?/FEATURE` does not, although cargo lists NAME in the graph.
fn enabled(dependency: &Value, node: &Value, package: &Value) -> bool {
    let name = dependency["rename"].as_str();
    let name = name.unwrap_or_else(|| text(&dependency["name"]));
    let enables = |value: &str| {
        value.strip_prefix("dep:") == Some(name)
            || value.split_once('/').is_some_and(|(it, _)| it == name)
    };
    let mut features = list(&node["features"])
        .iter()
        .flat_map(|feature| list(&package["features"][text(feature)]));
    dependency["optional"] != true || features.any(|value| enables(text(value)))
}

fn licensed(package: &Value, allowed: &[Licensee]) -> Result<(), String> {
    let licence = package["license"]
        .as_str()
        .ok_or("has no licence expression")?;
    let expression = Expression::parse_mode(licence, ParseMode::LAX).map_err(|error| {
        let reason = error.reason;
        format!("has the licence `{licence}`, which is not an expression of SPDX: {reason}")
    })?;
    if expression.evaluate(|required| allowed.iter().any(|it| it.satisfies(required))) {
        Ok(())
    } else {
        Err(format!(
            "has the licence `{licence}`, which `[licenses] allow` does not satisfy"
        ))
    }
}

/// True if `spec`, a crate or `CRATE@VERSION`, names this package.
fn names(spec: &str, package: &Value) -> bool {
    assert!(
        !spec.contains(':'),
        "deny.toml: expected CRATE or CRATE@VERSION, found {spec}"
    );
    let (name, version) = spec
        .split_once('@')
        .map_or((spec, None), |(name, version)| (name, Some(version)));
    package["name"] == name && version.is_none_or(|version| package["version"] == version)
}

#[track_caller]
fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("expected a string, found {value}"))
}

/// The elements of an array; empty if the key is absent.
#[track_caller]
fn list(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        _ => value
            .as_array()
            .unwrap_or_else(|| panic!("expected an array, found {value}")),
    }
}

/// The metadata of packages, each with its dependencies; `dev:` marks a dependency of tests. The first package is ours, the others
/// are from crates.io.
fn metadata(packages: &[(&str, &[&str])]) -> Value {
    let split = |id: &str| {
        let (name, version) = id.split_once(' ').expect("a name and a version");
        (name.to_owned(), version.to_owned())
    };
    let kind = |id: &str| id.starts_with("dev:").then_some("dev");
    let described = packages.iter().enumerate().map(|(nth, (id, uses))| {
        let (name, version) = split(id);
        let dependencies = uses.iter().map(|it| {
            let (name, version) = split(it.trim_start_matches("dev:"));
            json!({"name": name, "req": format!("^{version}"), "kind": kind(it), "optional": false})
        });
        json!({
            "id": id, "name": name, "version": version, "license": "MIT",
            "source": (nth > 0).then_some(CRATES_IO),
            "features": {}, "dependencies": dependencies.collect::<Vec<_>>(),
        })
    });
    let nodes = packages.iter().map(|(id, uses)| {
        let deps = uses.iter().map(|it| {
            let id = it.trim_start_matches("dev:");
            json!({"name": split(id).0, "pkg": id, "dep_kinds": [{"kind": kind(it)}]})
        });
        json!({"id": id, "features": [], "deps": deps.collect::<Vec<_>>()})
    });
    json!({
        "packages": described.collect::<Vec<_>>(),
        "resolve": {"nodes": nodes.collect::<Vec<_>>()},
        "workspace_members": [packages[0].0],
    })
}

/// Rules that refuse `bad`, licences other than MIT, and duplicates that are not listed.
fn rules(skip: &[&str]) -> Value {
    let skip = skip
        .iter()
        .map(|it| json!({"crate": it, "reason": "old needs it"}));
    json!({
        "licenses": {"allow": ["MIT"]},
        "bans": {"deny": [{"crate": "bad", "reason": "it is bad"}], "skip": skip.collect::<Vec<_>>()},
    })
}

/// A graph with two versions of `leaf`: `old` needs one of them, and our package the one that `ours` names.
fn twice(ours: &str) -> Value {
    metadata(&[
        ("ours 0.1.0", &["old 1.0.0", ours]),
        ("old 1.0.0", &["leaf 1.0.0"]),
        ("leaf 1.0.0", &[]),
        ("leaf 2.0.0", &[]),
    ])
}

#[test]
fn a_licence_must_be_allowed() {
    let mut metadata = metadata(&[
        ("ours 0.1.0", &["old 1.0.0"]),
        ("old 1.0.0", &["leaf 2.0.0"]),
        ("leaf 2.0.0", &[]),
    ]);
    let mut with = |licence: Value| {
        metadata["packages"][2]["license"] = licence;
        judge(&metadata, &rules(&[]))
    };
    for accepted in [
        "MIT",
        "MIT/Apache-2.0",
        "Apache-2.0 / MIT",
        "GPL-2.0 OR MIT",
    ] {
        assert_eq!(with(accepted.into()), [""; 0], "{accepted}");
    }
    let chain = "ours 0.1.0 -> old 1.0.0 -> leaf 2.0.0";
    for (refused, why) in [
        (
            json!("MIT AND Apache-2.0"),
            "has the licence `MIT AND Apache-2.0`, which `[licenses] allow` does not satisfy",
        ),
        (
            json!("see LICENSE"),
            "has the licence `see LICENSE`, which is not an expression of SPDX: unknown term",
        ),
        (Value::Null, "has no licence expression"),
    ] {
        let expected = format!("leaf 2.0.0: {why}\n    {chain}");
        assert_eq!(with(refused), [expected]);
    }
}

#[test]
fn every_breach_is_reported_at_once_with_a_chain() {
    let mut metadata = metadata(&[
        ("ours 0.1.0", &["old 1.0.0", "dev:bad 3.0.0"]),
        ("old 1.0.0", &["path 1.0.0", "git 1.0.0"]),
        ("path 1.0.0", &[]),
        ("git 1.0.0", &[]),
        ("bad 3.0.0", &[]),
        ("unused 1.0.0", &[]),
    ]);
    assert_eq!(judge(&metadata, &rules(&[])).len(), 1);
    metadata["packages"][0]["dependencies"][0]["req"] = "*".into();
    metadata["packages"][2]["source"] = Value::Null;
    metadata["packages"][3]["source"] = "git+https://example.org/git".into();
    // No package depends on it.
    metadata["packages"][5]["license"] = Value::Null;
    assert_eq!(
        judge(&metadata, &rules(&[])),
        [
            "bad 3.0.0: is banned: it is bad\n    ours 0.1.0 -> bad 3.0.0",
            "git 1.0.0: comes from git+https://example.org/git, not from crates.io\n    ours 0.1.0 -> old 1.0.0 -> git 1.0.0",
            "ours 0.1.0: accepts every version of old; name one\n    ours 0.1.0",
            "path 1.0.0: comes from a directory, not from crates.io\n    ours 0.1.0 -> old 1.0.0 -> path 1.0.0",
        ]
    );
}

#[test]
fn a_duplicate_must_be_listed_while_it_exists() {
    let twice = twice("leaf 2.0.0");
    let why = "is one of several versions; agree on one, or list all but one in `[bans] skip`";
    assert_eq!(
        judge(&twice, &rules(&[])),
        [
            format!("leaf 1.0.0: {why}\n    ours 0.1.0 -> old 1.0.0 -> leaf 1.0.0"),
            format!("leaf 2.0.0: {why}\n    ours 0.1.0 -> leaf 2.0.0"),
        ]
    );
    assert_eq!(judge(&twice, &rules(&["leaf@1.0.0"])), [""; 0]);

    let every = "deny.toml: `[bans] skip` lists every version of leaf; remove the last one";
    assert_eq!(judge(&twice, &rules(&["leaf"])), [every]);
    assert_eq!(
        judge(&twice, &rules(&["leaf@1.0.0", "leaf@3.0.0"])),
        ["deny.toml: `[bans] skip` lists leaf@3.0.0, which is not used any more; remove it"]
    );
    let mut silent = rules(&["leaf@1.0.0"]);
    silent["bans"]["skip"][0]["reason"] = "".into();
    assert_eq!(
        judge(&twice, &silent),
        ["deny.toml: `[bans] skip` lists leaf@1.0.0 without a reason"]
    );
}

#[test]
fn tests_and_disabled_features_cause_no_duplicates() {
    assert_eq!(judge(&twice("dev:leaf 2.0.0"), &rules(&[])), [""; 0]);

    let mut optional = twice("leaf 2.0.0");
    let old = &mut optional["packages"][1];
    old["dependencies"][0]["optional"] = true.into();
    old["dependencies"][0]["rename"] = "leaf-1".into();
    old["features"] =
        json!({"alloc": ["leaf-1?/alloc"], "leaf-1": ["dep:leaf-1"], "all": ["leaf-1/all"]});
    optional["resolve"]["nodes"][1]["deps"][0]["name"] = "leaf_1".into();
    for (features, breaches) in [(vec!["alloc"], 0), (vec!["leaf-1"], 2), (vec!["all"], 2)] {
        optional["resolve"]["nodes"][1]["features"] = json!(features);
        let refusals = judge(&optional, &rules(&[]));
        assert_eq!(refusals.len(), breaches, "{features:?}: {refusals:?}");
    }
}
