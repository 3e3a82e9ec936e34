//! The time of adopting a mirror of an older publisher, compared with `sha256sum` over the same files.
//!
//! 300 builds of 2,000 files, of which 440 are new in each, as between two builds of the real mirror (1,445 of 1,847 packages were
//! the same): the others are hard links to those of the previous build. `sha256sum` reads each inode once and does nothing else;
//! `adopt` determines these inodes, inspects each build twice, and writes records and sums durably. Its speed must be at least 0.15
//! of that of `sha256sum`, which is 6.67 times its time.
//!
//! `STX_BENCH_RUNS` sets the number of runs of each side, `STX_BENCH_DIR` the directory, `STX_BENCH_MIB` the amount of data.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a benchmark prints its table, and what it waits for"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "runs and times real processes on real files"
)]

#[path = "common/release.rs"]
mod release;
#[path = "common/settings.rs"]
mod settings;
#[path = "publish/table.rs"]
#[expect(dead_code, reason = "the benchmark of publishing prints more")]
mod table;

use std::io::Write as _;

use camino::Utf8Path;
use settings::Settings;
use stx_layout::BuildDate;
use table::Took;

const BUILDS: usize = 300;
const FILES: usize = 2_000;
/// The files of a build that the previous build does not have.
const NEW: usize = 440;

fn main() {
    let Some(Settings { runs, bytes, dir }) = Settings::of("adopt", 3) else {
        return;
    };
    if dir.exists() {
        fs_err::remove_dir_all(&dir).expect("removed");
    }
    let inodes = make(&dir, bytes);
    table::begin(&format!(
        "{BUILDS} builds of {FILES} files, {inodes} inodes, {bytes} bytes, {runs} runs"
    ));
    let program = release::release();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // Load all data into the page cache, so that both sides find it there.
    Took::of(&dir, "xargs -0 cat < inodes > /dev/null");
    for _ in 0..runs {
        theirs.push(Took::of(&dir, "xargs -0 sha256sum < inodes > theirs"));
        ours.push(Took::of(
            &dir,
            // The files have just been written; `--now` makes them old enough.
            &format!("{program} --mirror mirror --now 2120-01-01T00:00:00Z adopt > ours"),
        ));
        check(&dir);
        Took::of(
            &dir,
            "rm -rf mirror/.stx && find mirror -maxdepth 4 \\( -name SHA256SUMS -o -name build.json \\) -delete && sync -f .",
        );
    }
    let case = format!("adopt, {BUILDS} builds");
    table::row(&case, "sha256sum over the inodes", &ours, &theirs, 6.67);
    fs_err::remove_dir_all(&dir).expect("removed");
}

/// Makes the mirror, and the list of one path for each inode. Returns their number.
fn make(dir: &Utf8Path, bytes: u64) -> usize {
    let inodes = FILES + (BUILDS - 1) * NEW;
    let size = usize::try_from(bytes).expect("a length") / inodes;
    let (mut list, mut written) = (Vec::new(), 0);
    let mut before: Option<camino::Utf8PathBuf> = None;
    let mut content = vec![0_u8; size.max(16)];
    let mut state = 1_u64;
    for build in 0..BUILDS {
        let date: BuildDate = "20200101T060000Z".parse().expect("a date");
        let days = i64::try_from(build).expect("few builds");
        let date = BuildDate::at(date.time() + chrono::TimeDelta::days(days)).expect("a date");
        let path = dir.join("mirror/master/centos").join(date.to_string());
        let packages = path.join("outputs/RPMS/std");
        fs_err::create_dir_all(&packages).expect("a directory");
        for file in 0..FILES {
            let name = format!("package-{file}-1.0-1.tis.x86_64.rpm");
            let to = packages.join(&name);
            // Different files are new in each build, so that the links lead to many earlier builds.
            let is_new = (file + build * NEW) % FILES < NEW;
            if let Some(before) = before.as_ref().filter(|_| !is_new) {
                fs_err::hard_link(before.join(&name), to).expect("a link");
                continue;
            }
            for chunk in content.chunks_mut(8) {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
            }
            fs_err::write(&to, &content).expect("a file");
            let shown = to.strip_prefix(dir).expect("below").as_str();
            list.extend_from_slice(shown.as_bytes());
            list.push(0);
            written += 1;
        }
        fs_err::write(path.join("outputs/success"), "").expect("a file");
        before = Some(packages);
    }
    let mut file = fs_err::File::create(dir.join("inodes")).expect("a file");
    file.write_all(&list).expect("written");
    written
}

/// Fails unless every build has the digests that `sha256sum` computed.
fn check(dir: &Utf8Path) {
    let took = Took::of(
        dir,
        "test $(find mirror -maxdepth 4 -name build.json | wc -l) = 300; \
         cut -d' ' -f1 theirs | sort -u > wanted; \
         cat mirror/master/centos/*/SHA256SUMS | grep RPMS | cut -d' ' -f1 | sort -u | cmp - wanted",
    );
    eprintln!("    checked in {:.1} s", took.wall);
}
