//! The settings of a measurement, from the environment, and the summary of several runs.

use camino::Utf8PathBuf;

/// How often, where, and with how much data.
pub(crate) struct Settings {
    /// `STX_BENCH_RUNS`: how often each case is run.
    pub(crate) runs: u64,
    /// `STX_BENCH_MIB`, in bytes.
    pub(crate) bytes: u64,
    /// `STX_BENCH_DIR`: an empty directory, or one to be made.
    pub(crate) dir: Utf8PathBuf,
}

impl Settings {
    /// Those of the benchmark `name`, which runs each case `runs` times where nothing else is said; 2 GiB. `None` where
    /// nothing is to be measured: `cargo test --benches` asks for a list, or for a quick try.
    pub(crate) fn of(name: &str, runs: u64) -> Option<Self> {
        if !std::env::args().any(|argument| argument == "--bench") {
            return None;
        }
        let number = |name: &str, default: u64| {
            std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
        };
        let dir = std::env::var("STX_BENCH_DIR").map_or_else(
            |_| Utf8PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name),
            Utf8PathBuf::from,
        );
        Some(Self {
            runs: number("STX_BENCH_RUNS", runs),
            bytes: number("STX_BENCH_MIB", 2_048) << 20,
            dir,
        })
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
