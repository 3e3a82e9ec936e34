//! `forecast`: predict the builds to retire, and the use of the mirror's disk, day by day.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use stx_builds::retention::{Forecast as Foretold, limited};
use stx_layout::{BuildId, counted, size};
use stx_retention::{ForecastDay, Warning};

use crate::args::Forecast;
use crate::commands::Context;
use crate::exit::Failure;
use crate::output;

pub(crate) async fn forecast(context: &Context, args: &Forecast) -> Result<(), Failure> {
    let rates = args.rate.iter().cloned();
    let foretold = context.site.forecast(args.days, rates).await?;
    output::print(context.format(), &foretold, || human(&foretold))
}

fn human(foretold: &Foretold) -> String {
    let mut text = String::new();
    for (channel, rate) in &foretold.rates {
        let bytes = size(rate.bytes);
        let _ = writeln!(
            text,
            "{channel}: a build every {}, {bytes} each",
            rate.every
        );
    }
    let forecast = &foretold.forecast;
    let high = forecast.high_water;
    let rows: Vec<_> = forecast
        .days
        .iter()
        .map(|day| row(day, high.bytes))
        .collect();
    text.push_str(&output::columns(&rows));
    let coming: BTreeSet<_> = forecast.days.iter().flat_map(|day| &day.added).collect();
    let is_there = |build: &BuildId| !coming.contains(build);
    for day in &forecast.days {
        let builds = day.expire.iter().filter(|entry| is_there(&entry.build));
        let sections = day.sections.iter().filter(|entry| is_there(&entry.build));
        let builds = builds.map(|entry| format!("  {} by rule {}\n", entry.build, entry.rule));
        let sections = sections.map(|entry| format!("  {}/{}\n", entry.build, entry.section));
        let lines: String = builds.chain(sections).collect();
        if !lines.is_empty() {
            let _ = write!(text, "\n{}\n{lines}", day.at.format("%Y-%m-%d"));
        }
    }
    text.push_str(&rest(forecast, is_there));
    for (day, warning) in held_back(forecast) {
        let _ = writeln!(text, "\nwarning for {}: {warning}", day.format("%Y-%m-%d"));
    }
    let _ = writeln!(
        text,
        "\n{} are added each day; at most {} on {}",
        size(foretold.bytes_per_day),
        size(high.bytes),
        high.at.format("%Y-%m-%d")
    );
    let _ = match forecast.full {
        Some(full) => writeln!(text, "the disk is full on {}", full.format("%Y-%m-%d")),
        None => writeln!(text, "the disk does not fill in that time"),
    };
    text
}

/// The builds that a limit will hold back: the first day for each channel, and for the clock.
fn held_back(forecast: &stx_retention::Forecast) -> Vec<(DateTime<Utc>, &Warning)> {
    let mut told = BTreeSet::new();
    let mut first = Vec::new();
    for day in &forecast.days {
        for warning in day.warnings.iter().filter(|it| it.allow().is_some()) {
            if told.insert(limited(warning)) {
                first.push((day.at, warning));
            }
        }
    }
    first
}

/// The number of builds to retire that do not exist yet: their dates are unknown.
fn rest(forecast: &stx_retention::Forecast, is_there: impl Fn(&BuildId) -> bool) -> String {
    let days = &forecast.days;
    let builds = days.iter().flat_map(|day| &day.expire);
    let builds = builds.filter(|entry| !is_there(&entry.build)).count();
    let sections = days.iter().flat_map(|day| &day.sections);
    let sections = sections.filter(|entry| !is_there(&entry.build)).count();
    let counts = [(builds, "build"), (sections, "section")].map(|(count, noun)| match count {
        0 => None,
        count => Some(counted(count, noun)),
    });
    let counts: Vec<_> = counts.into_iter().flatten().collect();
    match counts.as_slice() {
        [] => String::new(),
        counts => format!("\nand {} that do not exist yet\n", counts.join(" and ")),
    }
}

fn row(day: &ForecastDay, most: u64) -> Vec<String> {
    let count = |sign: char, count: usize| match count {
        0 => String::new(),
        count => format!("{sign}{count}"),
    };
    vec![
        day.at.format("%Y-%m-%d").to_string(),
        size(day.bytes_used),
        bar(day.bytes_used, most),
        count('+', day.added.len()),
        count('-', day.expire.len()),
    ]
}

/// A bar whose length shows the share of the whole, at most 30 characters.
fn bar(part: u64, whole: u64) -> String {
    let length = u128::from(part) * 30 / u128::from(whole.max(1));
    "█".repeat(usize::try_from(length).unwrap_or(30))
}
