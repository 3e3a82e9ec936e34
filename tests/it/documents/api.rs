//! The public API of each library. `docs/api` contains it, so that its author and the reviewer notice a change.

use camino::{Utf8Path, Utf8PathBuf};
use public_api::Builder;

use super::{ACCEPT, changed};
use crate::arrows::LAYERED;
use crate::cargo::cargo;
use crate::harness::{names, root, run};

/// The directory of the documentation of all libraries as JSON, made from the dependencies that clippy has checked. Warnings are
/// errors: no other test makes the documentation.
fn documentation() -> Utf8PathBuf {
    let target = Utf8Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("");
    let api = target.join("api");
    run(cargo()
        // The features of the tests, so that the dependencies checked with them are reused.
        .args(["doc", "--locked", "--workspace", "--all-features", "--lib"])
        .args(["--no-deps", "--quiet"])
        .env("RUSTDOC", root().join("scripts/rustdoc-json.sh"))
        .env("RUSTDOCFLAGS", "-D warnings -Z unstable-options --output-format=json")
        // Another target directory: the pages of `cargo doc` would be removed otherwise.
        .env("CARGO_TARGET_DIR", &api)
        .env("CARGO_BUILD_BUILD_DIR", target)
        .current_dir(root()))
    .ok();
    let documentation = api.join("doc");
    // Cargo checks only for pages, and would make the JSON again each time.
    for name in names(&documentation) {
        if let Some(library) = name.strip_suffix(".json") {
            let pages = documentation.join(library);
            fs_err::create_dir_all(&pages).expect("a directory");
            fs_err::write(pages.join("index.html"), "").expect("a page");
        }
    }
    documentation
}

#[test]
fn the_public_api_of_each_library_matches_docs_api() {
    let documentation = documentation();
    let mut changes = String::new();
    for (name, _) in LAYERED {
        let json = documentation.join(format!("{}.json", name.replace('-', "_")));
        let api = Builder::from_rustdoc_json(&json)
            .omit_auto_derived_impls(true)
            .omit_auto_trait_impls(true)
            .omit_blanket_impls(true)
            .build()
            .unwrap_or_else(|error| {
                panic!("{json}: {error}; does this version of public-api read the JSON of the Rust of rust-toolchain.toml?")
            });
        changes += &changed(&format!("docs/api/{name}.txt"), &api.to_string());
    }
    assert!(changes.is_empty(), "{ACCEPT}\n{changes}");
    let mut expected: Vec<_> = LAYERED
        .iter()
        .map(|(name, _)| format!("{name}.txt"))
        .collect();
    expected.sort();
    assert_eq!(names(&root().join("docs/api")), expected);
}
