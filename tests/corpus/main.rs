//! Checks the inputs that the fuzzers have found so far, each as its fuzz target does: `docs/fuzzing.md`.
//!
//! One test per fuzz crate, so that a fixed input stays fixed without running a fuzzer.

#[path = "../../stx-publish/fuzz/checks/archive.rs"]
mod archive;
#[path = "../../stx-layout/fuzz/checks/control.rs"]
mod control;
#[path = "../../stx-layout/fuzz/checks/deb.rs"]
mod deb;
#[path = "../../stx-layout/fuzz/checks/image.rs"]
mod image;
#[path = "../../stx-publish/fuzz/checks/images.rs"]
mod images;
#[path = "../../stx-publish/fuzz/checks/iso.rs"]
mod iso;
#[path = "../../stx-publish/fuzz/checks/layout.rs"]
mod layout;
#[path = "../../stx-pipeline/fuzz/checks/ledger.rs"]
mod ledger;
#[path = "../../stx-pipeline/fuzz/checks/message.rs"]
mod message;
#[path = "../../stx-compare/fuzz/checks/package.rs"]
mod package;
#[path = "../../stx-layout/fuzz/checks/path.rs"]
mod path;
#[path = "../../stx-pipeline/fuzz/checks/recipe.rs"]
mod recipe;
#[path = "../../stx-layout/fuzz/checks/record.rs"]
mod record;
#[path = "../../stx-publish/fuzz/checks/rpm.rs"]
mod rpm;
#[path = "../../stx-publish/fuzz/checks/scratch.rs"]
mod scratch;
#[path = "../../stx-publish/fuzz/checks/zsync.rs"]
mod zsync;

use std::alloc::System;
use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The maximal size of an input, here and in `make fuzz`.
const LONGEST: u64 = 64 * 1024;
/// The longest time of an input, even on a busy machine.
const SLOWEST: Duration = Duration::from_secs(5);
/// The maximal number of bytes that an input may allocate, including freed ones.
const LARGEST: usize = 256 << 20;

type Check = fn(&[u8]);

/// Checks every input of every target of a fuzz crate. Serial: allocations are counted for the whole process.
fn replay(name: &str, targets: &[(&str, Check)]) {
    static SERIAL: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _serial = SERIAL
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let fuzz = Utf8PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .join(name)
        .join("fuzz");
    let known: BTreeSet<_> = targets
        .iter()
        .map(|(target, _)| (*target).to_owned())
        .collect();
    assert_eq!(names(&fuzz.join("corpus")), known, "corpora");
    let sources = names(&fuzz.join("fuzz_targets"));
    let sources = sources.iter().filter_map(|file| file.strip_suffix(".rs"));
    assert_eq!(
        sources.map(str::to_owned).collect::<BTreeSet<_>>(),
        known,
        "targets"
    );
    let mut wrong = Vec::new();
    for (target, check) in targets {
        let corpus = fuzz.join("corpus").join(target);
        let inputs = names(&corpus);
        assert!(!inputs.is_empty(), "{corpus} is empty");
        for input in inputs {
            let input = corpus.join(input);
            if let Err(why) = one(&input, *check) {
                wrong.push(format!("{input}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn one(input: &Utf8Path, check: Check) -> Result<(), String> {
    let bytes = fs_err::read(input).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("has {} bytes", bytes.len()));
    }
    let start = Instant::now();
    let region = Region::new(ALLOCATOR);
    let checked = catch_unwind(|| check(&bytes));
    let allocated = region.change().bytes_allocated;
    let time = start.elapsed();
    match checked {
        // The panic message was already printed.
        Err(_) => Err("panics".to_owned()),
        Ok(()) if time > SLOWEST => Err(format!("takes {time:?}")),
        Ok(()) if allocated > LARGEST => Err(format!("allocates {allocated} bytes")),
        Ok(()) => Ok(()),
    }
}

/// The entries of a directory.
fn names(dir: &Utf8Path) -> BTreeSet<String> {
    let entries = dir
        .read_dir_utf8()
        .unwrap_or_else(|error| panic!("{dir}: {error}"));
    entries
        .map(|entry| entry.expect("an entry").file_name().to_owned())
        .collect()
}

#[test]
fn the_corpus_of_paths_image_names_records_and_debian_packages_passes() {
    replay(
        "stx-layout",
        &[
            ("control", control::check),
            ("deb", deb::check),
            ("image", image::check),
            ("path", path::check),
            ("record", record::check),
        ],
    );
}

#[test]
fn the_corpus_of_recipes_messages_and_ledgers_passes() {
    replay(
        "stx-pipeline",
        &[
            ("ledger", ledger::check),
            ("message", message::check),
            ("recipe", recipe::check),
        ],
    );
}

#[test]
fn the_corpus_of_compared_packages_passes() {
    replay("stx-compare", &[("package", package::check)]);
}

#[test]
fn the_corpus_of_published_packages_images_and_isos_passes() {
    replay(
        "stx-publish",
        &[
            ("archive", archive::check),
            ("iso", iso::check),
            ("layout", layout::check),
            ("rpm", rpm::check),
            ("zsync", zsync::check),
        ],
    );
}
