//! Many builds from one.

use std::fmt::Write as _;

use camino::Utf8Path;
use sha2::{Digest as _, Sha256};
use walkdir::WalkDir;

/// Makes the build `CHANNEL/DATE` of the directory `to` from the build `first` of another directory `CHANNEL/DATE`: its files are
/// hard links; its record and sums are its own.
pub(crate) fn copy_build(first: &Utf8Path, to: &Utf8Path, mirror: &Utf8Path) {
    let own = ["build.json", "SHA256SUMS"];
    for entry in WalkDir::new(first) {
        let entry = entry.expect("a readable build");
        let path = Utf8Path::from_path(entry.path()).expect("UTF-8");
        let there = to.join(path.strip_prefix(first).expect("below"));
        if entry.file_type().is_dir() {
            fs_err::create_dir_all(there).expect("a directory");
        } else if !own.contains(&path.file_name().unwrap_or_default()) {
            fs_err::hard_link(path, there).expect("a link");
        }
    }
    let id = |build: &Utf8Path| {
        let id = build.strip_prefix(mirror).expect("below the mirror");
        format!("\"id\": \"{id}\"")
    };
    let record = fs_err::read_to_string(first.join("build.json")).expect("a record");
    let record = record.replace(&id(first), &id(to));
    let mut digest = String::new();
    for byte in Sha256::digest(&record) {
        write!(digest, "{byte:02x}").expect("text");
    }
    let sums = fs_err::read_to_string(first.join("SHA256SUMS")).expect("sums");
    let sums: Vec<_> = sums
        .lines()
        .map(|line| match line.strip_suffix("  build.json") {
            Some(_) => format!("{digest}  build.json\n"),
            None => format!("{line}\n"),
        })
        .collect();
    fs_err::write(to.join("build.json"), record).expect("a record");
    fs_err::write(to.join("SHA256SUMS"), sums.concat()).expect("sums");
}
