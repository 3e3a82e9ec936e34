//! The cost of a phase that does nothing: 1,000 of them, chained and side by side, against GNU make and ninja.
//!
//! Every phase has its log, its registration and its lines in the journal, as in a real build. Prints the ratio to the
//! slower and to the faster of the two, each the best of several runs.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark starts real processes and reads the clock"
)]

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;
use chrono::Utc;
use stx_pipeline::journal::{Entry, Started};
use stx_pipeline::process::{self, JournalWriter, ProcessRunner};
use stx_pipeline::{BuildPlan, BuildRequest, Cancel, Execution, Recipe, Step, execute, plan};

const PHASES: usize = 1000;
const RUNS: usize = 5;

fn recipe(chained: bool, jobs: usize) -> Recipe {
    let mut text = format!(
        "schema = 1\nname = \"bench\"\ndistro = \"centos\"\njobs = {jobs}\n[source]\nphase = \"p0\"\n"
    );
    for at in 0..PHASES {
        write!(text, "[[phase]]\nname = \"p{at}\"\nrun = [\"/bin/true\"]\n").expect("text");
        if chained && at > 1 {
            writeln!(text, "needs = [\"p{}\"]", at - 1).expect("text");
        }
    }
    Recipe::from_toml(&text).expect("a recipe")
}

fn request(recipe: &Recipe, dir: &Utf8Path, jobs: usize) -> BuildRequest {
    BuildRequest {
        channel: recipe.channel(stx_layout::ReleaseId::Master),
        branch: "master".into(),
        date: "20200101T000000Z".parse().expect("a date"),
        trigger: None,
        overrides: [].into(),
        recipe_dir: dir.into(),
        source_root: dir.into(),
        workspace: dir.into(),
        logs: dir.join("logs"),
        jobs,
        base_env: [("PATH".to_owned(), "/usr/bin:/bin".to_owned())].into(),
    }
}

async fn build(plan: &BuildPlan, journal: &JournalWriter, dir: &Utf8Path) {
    let runner = ProcessRunner::new(dir.to_owned());
    let execution = Execution {
        runner: &runner,
        now: &Utc::now,
        events: &|event| {
            if let stx_pipeline::EventKind::Started { attempt, .. } = event.what {
                let (phase, time) = (event.phase, event.time);
                journal
                    .add(&Entry::Attempt {
                        phase,
                        attempt,
                        time,
                    })
                    .expect("a journal");
            }
        },
        finished: &|record| {
            let record = record.clone();
            journal.add(&Entry::Phase { record }).expect("a journal");
        },
        sleep: &|pause| Box::pin(tokio::time::sleep(pause)),
        cancel: &Cancel::new(),
        deadline: None,
    };
    let source = execute(plan, Step::Source, &execution).await;
    let rest = Step::Rest {
        done: &source.records,
        source_date_epoch: None,
    };
    let executed = execute(plan, rest, &execution).await;
    assert_eq!(executed.records.len(), PHASES);
    assert_eq!(executed.first_failing, None);
}

fn ours(chained: bool, jobs: usize, dir: &Utf8TempDir) -> Duration {
    let recipe = recipe(chained, jobs);
    let request = request(&recipe, dir.path(), jobs);
    // As `stx-builds build` does.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let start = Instant::now();
    let plan = plan(&recipe, &request).expect("a plan");
    let started = Started {
        schema: Started::SCHEMA,
        time: Utc::now(),
        boot: process::this_boot(),
        recipe: "recipe.toml".into(),
        force: false,
        force_alias: false,
        skip_failed: false,
        request,
        plan,
    };
    let journal = JournalWriter::start(dir.path(), &started).expect("a journal");
    runtime.block_on(build(&started.plan, &journal, dir.path()));
    start.elapsed()
}

fn theirs(program: &str, file: &str, text: &str, jobs: usize) -> Duration {
    let dir = camino_tempfile::tempdir().expect("a directory");
    fs_err::write(dir.path().join(file), text).expect("a file");
    let start = Instant::now();
    let status = Command::new(program)
        .arg(format!("-j{jobs}"))
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("{program}: {error}; `scripts/setup.sh bench` installs it"));
    assert!(status.success(), "{program} failed");
    start.elapsed()
}

fn makefile(chained: bool) -> String {
    let mut text = "all:".to_owned();
    for at in 0..PHASES {
        write!(text, " p{at}").expect("text");
    }
    for at in 0..PHASES {
        let need = if chained && at > 0 {
            format!(" p{}", at - 1)
        } else {
            String::new()
        };
        write!(text, "\np{at}:{need}\n\t@/bin/true\n.PHONY: p{at}\n").expect("text");
    }
    text
}

fn ninja_file(chained: bool) -> String {
    let mut text = "rule true\n  command = /bin/true\n".to_owned();
    for at in 0..PHASES {
        let need = if chained && at > 0 {
            format!(" p{}", at - 1)
        } else {
            String::new()
        };
        writeln!(text, "build p{at}: true{need}").expect("text");
    }
    text
}

fn best(mut run: impl FnMut() -> Duration) -> Duration {
    (0..RUNS).map(|_| run()).min().expect("a run")
}

fn main() {
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("{PHASES} phases that do nothing, best of {RUNS} runs, {jobs} side by side");
    let mut kept = Vec::new();
    for chained in [true, false] {
        let make = best(|| theirs("make", "Makefile", &makefile(chained), jobs));
        let ninja = best(|| theirs("ninja", "build.ninja", &ninja_file(chained), jobs));
        let ours = best(|| {
            // Removed when all is measured: ext4 walks past every inode that was given back just now, to find one for a log.
            kept.push(camino_tempfile::tempdir().expect("a directory"));
            ours(chained, jobs, &kept[kept.len() - 1])
        });
        let ratio = |other: Duration| ours.as_secs_f64() / other.as_secs_f64();
        println!(
            "{:8} stx-builds {:4} ms   make {:4} ms (ratio {:.2})   ninja {:4} ms (ratio {:.2})",
            if chained { "chained" } else { "wide" },
            ours.as_millis(),
            make.as_millis(),
            ratio(make),
            ninja.as_millis(),
            ratio(ninja),
        );
    }
}
