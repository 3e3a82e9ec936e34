//! `forecast`: what will go, and how full the mirror gets, day by day.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use stx_builds::retention::{Forecast as Foretold, limited};
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
        let bytes = output::bytes(rate.bytes);
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
    for day in forecast.days.iter().filter(|day| goes(day)) {
        let _ = writeln!(text, "\n{}", day.at.format("%Y-%m-%d"));
        for entry in &day.expire {
            let _ = writeln!(text, "  {} by rule {}", entry.build, entry.rule);
        }
        for entry in &day.sections {
            let _ = writeln!(text, "  {}/{}", entry.build, entry.section);
        }
    }
    for (day, warning) in held_back(forecast) {
        let _ = writeln!(text, "\nwarning for {}: {warning}", day.format("%Y-%m-%d"));
    }
    let _ = writeln!(
        text,
        "\n{} a day come in; at most {} on {}",
        output::bytes(foretold.bytes_per_day),
        output::bytes(high.bytes),
        high.at.format("%Y-%m-%d")
    );
    let _ = match forecast.full {
        Some(full) => writeln!(text, "the disk is full on {}", full.format("%Y-%m-%d")),
        None => writeln!(text, "the disk does not fill in that time"),
    };
    text
}

/// The builds that the limits will hold back: of each channel, and of the clock, the first day.
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

/// Whether something goes that day.
fn goes(day: &ForecastDay) -> bool {
    !day.expire.is_empty() || !day.sections.is_empty()
}

fn row(day: &ForecastDay, most: u64) -> Vec<String> {
    let count = |sign: char, count: usize| match count {
        0 => String::new(),
        count => format!("{sign}{count}"),
    };
    vec![
        day.at.format("%Y-%m-%d").to_string(),
        output::bytes(day.bytes_used),
        bar(day.bytes_used, most),
        count('+', day.added.len()),
        count('-', day.expire.len()),
    ]
}

/// A bar as long as its part of the whole, 30 characters at most.
fn bar(part: u64, whole: u64) -> String {
    let length = u128::from(part) * 30 / u128::from(whole.max(1));
    "█".repeat(usize::try_from(length).unwrap_or(30))
}
