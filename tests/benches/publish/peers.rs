//! Both sides of a comparison, as commands.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::BuildDate;
use stx_publish::metadata::{Earlier, PackageCache, RepoMetadata as _, Repodata};

use crate::data::Tree;
use crate::release::release;
use crate::table::Took;

pub(crate) const CHANNEL: &str = "master/centos";

/// The time `hours` hours after the start of the build of day `day`.
pub(crate) fn time(day: usize, hours: u64) -> String {
    let date: BuildDate = "20200101T060000Z".parse().expect("a date");
    let days = i64::try_from(day - 1).expect("few days");
    let hours = i64::try_from(hours).expect("few hours");
    let time = date.time() + chrono::TimeDelta::days(days) + chrono::TimeDelta::hours(hours);
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

pub(crate) fn date(day: usize) -> BuildDate {
    let time = time(day, 0).parse().expect("a time");
    BuildDate::at(time).expect("a date")
}

/// Writes the sums of all files of a directory, as a shell command.
pub(crate) fn sums(dir: &str) -> String {
    format!(
        "(cd {dir} && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum > SHA256SUMS)"
    )
}

/// The working directory of both sides, and the program to measure.
pub(crate) struct Bench {
    pub(crate) dir: Utf8PathBuf,
    program: Utf8PathBuf,
}

impl Bench {
    pub(crate) fn new(dir: &Utf8Path) -> Self {
        if dir.exists() {
            fs_err::remove_dir_all(dir).expect("removed");
        }
        fs_err::create_dir_all(dir).expect("made");
        let bench = Self {
            dir: dir.to_owned(),
            program: release(),
        };
        bench.clear();
        bench
    }

    /// Empties the directory, and waits until the data of the previous case is written to disk.
    pub(crate) fn clear(&self) {
        self.time("rm -rf mirror theirs packages ours && mkdir theirs");
        self.settle();
    }

    /// Waits until no write is pending, and no file was changed within the last two seconds.
    pub(crate) fn settle(&self) {
        self.time("sync -f .");
        std::thread::sleep(Duration::from_millis(3_100));
    }

    /// Times a shell command; it must succeed.
    pub(crate) fn time(&self, command: &str) -> Took {
        Took::of(&self.dir, command)
    }

    /// Times `stx-builds`.
    pub(crate) fn stx(&self, args: &str) -> Took {
        self.time(&format!("{} --mirror mirror {args}", self.program))
    }

    /// Times the publishing of a tree.
    pub(crate) fn publish(&self, tree: &Tree, day: usize) -> Took {
        self.publish_dir(&tree.dir, "", day)
    }

    /// Times the publishing of a directory, with more options for all commands.
    pub(crate) fn publish_dir(&self, dir: &Utf8Path, options: &str, day: usize) -> Took {
        self.stx(&format!(
            "{options} publish {dir} --channel {CHANNEL} --date {} --result success",
            date(day)
        ))
    }

    /// True if a build is visible.
    pub(crate) fn is_visible(&self, day: usize) -> bool {
        self.is_below(CHANNEL, day)
    }

    /// True if the mirror has any file of a build, in the trash or outside.
    pub(crate) fn has(&self, day: usize) -> bool {
        self.is_visible(day) || self.is_below(&format!(".stx/trash/{CHANNEL}"), day)
    }

    fn is_below(&self, dir: &str, day: usize) -> bool {
        let date = date(day).to_string();
        let names = self.dir.join("mirror").join(dir).read_dir_utf8();
        names.is_ok_and(|mut names| {
            names.any(|name| name.is_ok_and(|name| name.file_name().starts_with(&date)))
        })
    }

    /// The disk usage of a directory in bytes, without entries with these names.
    pub(crate) fn disk(&self, name: &str, without: &[&str]) -> u64 {
        let output = Command::new("du")
            .args(["-s", "--block-size=1", name])
            .args(without.iter().map(|name| format!("--exclude={name}")))
            .current_dir(&self.dir)
            .output()
            .expect("du");
        let said = String::from_utf8_lossy(&output.stdout);
        let bytes = said.split_whitespace().next().expect("a number");
        bytes.parse().expect("a number")
    }
}

/// Times the metadata of the packages in `dir`, made in this process, and moves it to `to`.
pub(crate) fn index(known: &PackageCache, dir: &Utf8Path, to: &Utf8Path) -> Took {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let lock = std::fs::File::open(dir).expect("a directory");
    let start = Instant::now();
    let made = runtime.block_on(Repodata.update(dir, date(1), known.clone(), lock));
    let wall = start.elapsed().as_secs_f64();
    made.expect("made");
    if to.exists() {
        fs_err::remove_dir_all(to).expect("removed");
    }
    fs_err::rename(dir.join("repodata"), to).expect("moved");
    Took { wall, cpu: None }
}

/// The cache of a publisher that has already published these packages.
pub(crate) fn known(
    digests: BTreeMap<String, stx_layout::Sha256>,
    earlier: Option<&Utf8Path>,
) -> PackageCache {
    PackageCache {
        digests,
        earlier: earlier.map(|repodata| Earlier {
            repodata: repodata.to_owned(),
            repomd: crate::data::digest(
                &fs_err::read(repodata.join("repomd.xml")).expect("metadata"),
            ),
        }),
    }
}
