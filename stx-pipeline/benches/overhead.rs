//! The cost of a phase that does nothing: 1,000 of them, in a chain and in parallel, in a whole build with its journal and
//! logs. Prints the best of several runs.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark starts real processes and reads the clock"
)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use chrono::Utc;
use stx_pipeline::journal::Started;
use stx_pipeline::process::{Build, BuildResult};
use stx_pipeline::{BuildRequest, Recipe, plan};

const PHASES: usize = 1000;
const RUNS: usize = 5;

fn recipe(chained: bool) -> Recipe {
    let mut text =
        "schema = 1\nname = \"bench\"\ndistro = \"centos\"\n[source]\nphase = \"p0\"\n".to_owned();
    for at in 0..PHASES {
        write!(text, "[[phase]]\nname = \"p{at}\"\nrun = [\"/bin/true\"]\n").expect("text");
        if chained && at > 1 {
            writeln!(text, "needs = [\"p{}\"]", at - 1).expect("text");
        }
    }
    Recipe::from_toml(&text).expect("a recipe")
}

fn build(chained: bool, jobs: usize, dir: &Utf8Path) -> Duration {
    let recipe = recipe(chained);
    let request = BuildRequest {
        jobs,
        base_env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
        ..BuildRequest::new(
            recipe.channel(stx_layout::ReleaseId::Master),
            "master",
            "20200101T000000Z".parse().expect("a date"),
            dir,
        )
    };
    // The same runtime as in `stx-builds build`.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let start = Instant::now();
    let plan = plan(&recipe, &request).expect("a plan");
    let started = Started::new(dir.join("recipe.toml"), request, plan, Utc::now());
    let build = Build::new(started, dir).expect("a build");
    let result = runtime.block_on(build.run()).expect("a result");
    let took = start.elapsed();
    let BuildResult::Built(done) = result else {
        panic!("{result:?}");
    };
    assert_eq!(done.record.phases.len(), PHASES);
    assert_eq!(done.record.first_failing_phase, None);
    took
}

fn main() {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("{PHASES} phases that do nothing, best of {RUNS} runs, {jobs} side by side");
    let mut kept = Vec::new();
    for (name, chained) in [("chained", true), ("wide", false)] {
        let run = |_| {
            // Removed after the measurement: to find an inode for a log, ext4 scans past every inode that was just freed.
            kept.push(camino_tempfile::tempdir().expect("a directory"));
            build(chained, jobs, kept[kept.len() - 1].path())
        };
        let best = (0..RUNS).map(run).min().expect("a run");
        println!("{name:8} {:4} ms", best.as_millis());
    }
}
