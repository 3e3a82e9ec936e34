//! The dependency arrows of docs/ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::harness::{root, run, tool};

/// The crates that extend another one and are in its folder, each with the crate that it extends.
const EXTRAS: [(&str, &str); 8] = [
    ("stx-deb", "stx-layout"),
    ("stx-executors", "stx-pipeline"),
    ("stx-images", "stx-publish"),
    ("stx-pages", "stx-publish"),
    ("stx-publish-s3", "stx-publish"),
    ("stx-service", "stx-pipeline"),
    ("stx-trust", "stx-publish"),
    ("stx-zsync", "stx-publish"),
];

/// The direct dependencies of each crate of the workspace, development ones left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = run(tool(
        env!("CARGO"),
        ["metadata", "--format-version=1", "--no-deps", "--locked"],
    )
    .current_dir(root()))
    .code(0)
    .json();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter();
            let normal = dependencies
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| dependency["name"].as_str().expect("a name").to_owned())
                .collect();
            (package["name"].as_str().expect("a name").to_owned(), normal)
        })
        .collect()
}

#[test]
fn only_the_command_line_depends_on_several_siblings() {
    let crates = dependencies();
    for (name, dependencies) in &crates {
        let siblings: Vec<_> = dependencies
            .iter()
            .filter(|name| crates.contains_key(*name))
            // Like `stx-layout`, it is a leaf, which only reads packages: every crate may use it.
            .filter(|sibling| *sibling != "stx-deb")
            .collect();
        match name.as_str() {
            "stx-builds" | "stx-cli" => assert!(siblings.len() >= 4, "{siblings:?}"),
            // The first is below all others; the second implements a file format that is independent of mirrors.
            "stx-layout" | "stx-zsync" => assert!(siblings.is_empty(), "{name} -> {siblings:?}"),
            "stx-deb" => assert_eq!(siblings, ["stx-layout"]),
            "stx-publish" => assert_eq!(siblings, ["stx-layout", "stx-zsync"]),
            // It tests all of them.
            "stx-tests" => {}
            _ => {
                let extended = EXTRAS.iter().filter(|(extra, _)| extra == name);
                let expected = ["stx-layout"].into_iter();
                let expected: Vec<_> = expected.chain(extended.map(|(_, it)| *it)).collect();
                assert_eq!(siblings, expected, "{name}");
            }
        }
    }
    assert_eq!(
        crates.len(),
        8 + EXTRAS.len(),
        "a new crate has to be named in docs/ARCHITECTURE.md and here"
    );
}

#[test]
fn the_leaf_crate_uses_no_io_async_or_network() {
    let tree = run(tool(
        env!("CARGO"),
        [
            "tree",
            "-p",
            "stx-layout",
            "-e",
            "normal",
            "--prefix=none",
            "--locked",
        ],
    )
    .current_dir(root()))
    .ok();
    let found: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(found.contains("stx-layout"), "{tree}");
    let banned = [
        "tokio",
        "mio",
        "async-std",
        "smol",
        "futures",
        "futures-util",
        "fs-err",
        "rustix",
        "nix",
        "walkdir",
        "tempfile",
        "reqwest",
        "ureq",
        "hyper",
        "socket2",
        "rusqlite",
    ];
    for name in banned {
        assert!(
            !found.contains(name),
            "stx-layout depends on {name}:\n{tree}"
        );
    }
}

/// The libraries, each with its directory. The dependencies of their modules have one direction only.
pub(crate) const LAYERED: &[(&str, &str)] = &[
    ("stx-layout", "stx-layout"),
    ("stx-deb", "stx-layout/deb"),
    ("stx-retention", "stx-retention"),
    ("stx-pipeline", "stx-pipeline"),
    ("stx-executors", "stx-pipeline/executors"),
    ("stx-service", "stx-pipeline/service"),
    ("stx-publish", "stx-publish"),
    ("stx-publish-s3", "stx-publish/s3"),
    ("stx-images", "stx-publish/images"),
    ("stx-pages", "stx-publish/pages"),
    ("stx-trust", "stx-publish/trust"),
    ("stx-zsync", "stx-publish/zsync"),
    ("stx-compare", "stx-compare"),
    ("stx-builds", "stx-builds"),
];

/// The words after `crate::` in a source: `a` of `crate::a::b`, `a` and `c` of `crate::{a::b, c}`.
fn crate_words(source: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        let end = |letter: char| !(letter.is_alphanumeric() || letter == '_');
        text.split(end).next().unwrap_or_default().to_owned()
    };
    let mut words = BTreeSet::new();
    for rest in source.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            words.insert(word(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, true);
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && !letter.is_whitespace() => {
                    words.insert(word(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    words
}

/// The modules of a crate, each with the siblings that it names, without tests.
fn modules(dir: &str) -> BTreeMap<String, BTreeSet<String>> {
    let source = root().join(dir).join("src");
    let head = ["lib.rs", "main.rs"].map(|name| source.join(name));
    let head = head.iter().find(|file| file.is_file()).expect("a crate");
    let head = fs_err::read_to_string(head).expect("its head");
    let mut modules = BTreeMap::new();
    // An item that the crate exports at its root belongs to a module, too.
    let mut owner = BTreeMap::<String, String>::new();
    for line in head.lines() {
        let line = line
            .trim_start_matches("pub(crate) ")
            .trim_start_matches("pub ");
        if let Some(name) = line
            .strip_prefix("mod ")
            .and_then(|it| it.strip_suffix(';'))
        {
            if name.contains("test") {
                continue;
            }
            modules.insert(name.to_owned(), BTreeSet::new());
            owner.insert(name.to_owned(), name.to_owned());
        }
    }
    for statement in head.split("pub use ").skip(1) {
        let statement = statement.split(';').next().unwrap_or_default();
        let Some((module, names)) = statement.split_once("::") else {
            continue;
        };
        let module = module.trim_start_matches("self::");
        for name in names.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')) {
            owner
                .entry(name.to_owned())
                .or_insert_with(|| module.to_owned());
        }
    }
    for (module, knows) in &mut modules {
        let walk = walkdir::WalkDir::new(&source).into_iter();
        for entry in walk.map(|entry| entry.expect("a readable tree")) {
            let path = entry.path().strip_prefix(&source).expect("below");
            let path = path.to_str().expect("UTF-8");
            let file = path.strip_suffix(".rs").unwrap_or_default();
            let is_own = file == module || file.starts_with(&format!("{module}/"));
            if !is_own || file.contains("test") || file.contains("conformance") {
                continue;
            }
            let text = fs_err::read_to_string(entry.path()).expect("a source");
            let code = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default();
            let code = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let mut code = code.collect::<Vec<_>>().join("\n");
            if file == module {
                code = code.replace("super::", "crate::");
            }
            let words = crate_words(&code);
            knows.extend(words.iter().filter_map(|word| owner.get(word).cloned()));
        }
        knows.remove(module);
    }
    modules
}

/// The modules in layers: each depends only on modules of earlier layers. The remaining ones form cycles.
fn layers(modules: &BTreeMap<String, BTreeSet<String>>) -> (Vec<Vec<String>>, Vec<String>) {
    let mut left: BTreeSet<_> = modules.keys().cloned().collect();
    let mut layers = Vec::new();
    loop {
        let free = |name: &&String| modules[*name].is_disjoint(&left);
        let layer: Vec<_> = left.iter().filter(free).cloned().collect();
        if layer.is_empty() {
            return (layers, left.into_iter().collect());
        }
        left.retain(|name| !layer.contains(name));
        layers.push(layer);
    }
}

#[test]
fn the_drawing_of_the_modules_is_current_and_has_no_circle() {
    let mut drawing = String::new();
    for &(name, dir) in LAYERED {
        let (layers, circles) = layers(&modules(dir));
        assert!(circles.is_empty(), "{name}: {circles:?} know each other");
        let layers: Vec<_> = layers.iter().map(|layer| layer.join(" ")).collect();
        let _ = writeln!(drawing, "{name}: {}", layers.join(" | "));
    }
    let file = root().join("docs/ARCHITECTURE.md");
    let text = fs_err::read_to_string(&file).expect("the architecture");
    let (before, rest) = text.split_once("```layers\n").expect("a drawing");
    let (drawn, after) = rest.split_once("```").expect("its end");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{before}```layers\n{drawing}```{after}");
        fs_err::write(&file, text).expect("written");
    } else {
        assert!(
            drawn == drawing,
            "the drawing of docs/ARCHITECTURE.md is old; UPDATE_DOCS=1 cargo test -p stx-tests arrows\n{drawing}"
        );
    }
}

#[test]
fn circular_module_dependencies_are_found() {
    let of = |name: &str, knows: &[&str]| {
        let knows = knows.iter().map(ToString::to_string).collect();
        (name.to_owned(), knows)
    };
    let modules = BTreeMap::from([of("a", &[]), of("b", &["a", "c"]), of("c", &["b"])]);
    let found = layers(&modules);
    assert_eq!(found.0, [["a"]]);
    assert_eq!(found.1, ["b", "c"]);
    let words = crate_words("use crate::{a::{b, c}, d};\nuse crate::e::f;");
    assert_eq!(words.into_iter().collect::<Vec<_>>(), ["a", "d", "e"]);
}
