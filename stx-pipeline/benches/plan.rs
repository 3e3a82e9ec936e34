//! Measures reading and planning recipes of 10,000 phases.
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use stx_pipeline::{BuildRequest, Recipe, plan};

const PHASES: usize = 10_000;
const RUNS: usize = 30;

/// Each phase needs up to three others, near and far.
fn text() -> String {
    let mut text = "schema = 1\nname = \"bench\"\ndistro = \"centos\"\n[variables]\n\
        MY_REPO = \"${MY_REPO_ROOT}/cgcs-root\"\nPATH = \"${MY_REPO}/build-tools:${PATH}\"\n\
        [source]\nphase = \"p0\"\n"
        .to_owned();
    for at in 0..PHASES {
        write!(
            text,
            "[[phase]]\nname = \"p{at}\"\nrun = [\"build-pkgs\", \"--out\", \"${{MY_WORKSPACE}}/${{PHASE}}\"]\n"
        )
        .expect("text");
        if at > 3 {
            writeln!(
                text,
                "needs = [\"p{}\", \"p{}\", \"p{}\"]",
                at - 1,
                at - 2,
                1 + (at - 3) / 2
            )
            .expect("text");
        }
    }
    text
}

/// The best of several runs; dropping the result of a run is not measured.
fn best<T>(run: impl Fn() -> T) -> Duration {
    let time = |_| {
        let start = Instant::now();
        let result = run();
        let time = start.elapsed();
        drop(result);
        time
    };
    (0..RUNS).map(time).min().expect("a run")
}

fn main() {
    let text = text();
    let recipe = Recipe::from_toml(&text).expect("a recipe");
    let request = BuildRequest::new(
        recipe.channel(stx_layout::ReleaseId::Master),
        "master",
        "20200101T000000Z".parse().expect("a date"),
        "/r",
    );
    let read = best(|| Recipe::from_toml(&text).expect("a recipe"));
    let planned = best(|| plan(&recipe, &request).expect("a plan"));
    let met = if planned <= Duration::from_millis(50) {
        "met"
    } else {
        "missed"
    };
    println!(
        "{PHASES} phases: read in {:.1} ms, planned in {:.1} ms (target 50 ms, {met})",
        read.as_secs_f64() * 1e3,
        planned.as_secs_f64() * 1e3
    );
}
