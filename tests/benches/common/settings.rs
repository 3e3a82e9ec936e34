//! The settings of a measurement, from the environment, and the summary of several runs.

use camino::Utf8PathBuf;

/// The number of runs, the directory, and the amount of data.
pub(crate) struct Settings {
    /// `STX_BENCH_RUNS`: the number of runs of each case.
    pub(crate) runs: u64,
    /// `STX_BENCH_MIB`, in bytes.
    pub(crate) bytes: u64,
    /// `STX_BENCH_DIR`: an empty directory, or one to be made.
    pub(crate) dir: Utf8PathBuf,
}

impl Settings {
    /// The settings of the benchmark `name`; by default, `runs` runs of each case, and 2 GiB. `None` if nothing should be measured:
    /// `cargo test --benches` requests a list, or a quick try.
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

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}
