//! Commands of retention.

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use clap::Args;
use stx_layout::Channel;
use stx_layout::config::DurationError;
use stx_retention::Rate;

use super::day_or_time;

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Print which builds would be retired and kept, and exit
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Write the plan to a file and exit
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    pub(crate) plan_out: Option<Utf8PathBuf>,

    /// Apply exactly this plan; skip builds that changed since it was made
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<Utf8PathBuf>,

    /// Allow this run to retire up to N builds of a channel, even if that exceeds its limit
    #[arg(long, value_name = "N", conflicts_with = "plan")]
    pub(crate) allow: Option<u64>,

    /// Delete everything in the trash for good before anything is retired, without waiting for the end of the grace period
    #[arg(long, conflicts_with_all = ["dry_run", "plan_out"])]
    pub(crate) empty_trash: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Pin {
    /// `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or the build's URL; an alias is resolved now, and the build stays pinned when the alias moves
    pub(crate) build: String,

    /// Reason for the pin
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) reason: String,

    /// End of the pin: YYYY-MM-DD, RFC 3339 or YYYYMMDDTHHMMSSZ [default: none; remove it with `unpin`]
    #[arg(long, value_name = "DATE", value_parser = day_or_time)]
    pub(crate) until: Option<DateTime<Utc>>,

    /// Author of the pin; a build has at most one pin for each author [default: your user name]
    #[arg(long)]
    pub(crate) author: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Unpin {
    /// `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or the build's URL
    pub(crate) build: String,

    /// Author of the pin [default: your user name]
    #[arg(long)]
    pub(crate) author: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Pins {
    /// List only this channel
    pub(crate) channel: Option<Channel>,
}

#[derive(Debug, Args)]
pub(crate) struct Undelete {
    /// The build: `CHANNEL/BUILD-DATE`, the beginning of its date, `CHANNEL/ALIAS`, or its URL
    pub(crate) build: String,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// `CHANNEL` for its newest good build, `CHANNEL/ALIAS`, `CHANNEL/BUILD-DATE` or the beginning of the date, or the build's URL
    pub(crate) build: String,
}

/// Ten years: the disk will have been replaced by then.
const LONGEST_FORECAST: u32 = 3660;

#[derive(Debug, Args)]
pub(crate) struct Forecast {
    /// Number of days, at most 3660
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(..=i64::from(LONGEST_FORECAST)))]
    pub(crate) days: u32,

    /// Interval between builds of a channel and bytes that each adds, such as `master/centos=1 day,4000000000`; at most 100,000 builds in
    /// all these days [default: those of the last 30 days]
    #[arg(long, value_name = "CHANNEL=EVERY,BYTES", value_parser = rate)]
    pub(crate) rate: Vec<(Channel, Rate)>,
}

fn rate(text: &str) -> Result<(Channel, Rate), String> {
    let parts = text.split_once('=').and_then(|(channel, rate)| {
        let (every, bytes) = rate.rsplit_once(',')?;
        Some((channel, every, bytes))
    });
    let (channel, every, bytes) = parts.ok_or("expected CHANNEL=EVERY,BYTES")?;
    let rate = Rate {
        every: every
            .parse()
            .map_err(|error: DurationError| error.to_string())?,
        bytes: bytes
            .trim()
            .parse()
            .map_err(|_| format!("{bytes:?}: expected a whole number of bytes"))?,
    };
    if rate.every.as_seconds() == 0 {
        return Err("a build every 0 seconds never ends".to_owned());
    }
    let channel = channel.parse::<Channel>();
    Ok((channel.map_err(|error| error.to_string())?, rate))
}
