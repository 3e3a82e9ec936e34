//! Forecasts the builds that will be retired, and the space that the mirror uses, day by day.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use stx_layout::{Catalog, Channel};
use stx_publish::Scope;
use stx_retention::{Policy, PolicyInputs, Rate};

use super::{facts, policy};
use crate::error::Error;
use crate::{Site, refused};

/// The most builds that given rates may add.
const MOST: u64 = 100_000;

/// A forecast, with its assumptions.
#[derive(Debug, Serialize)]
pub struct Forecast {
    /// The build rate of each channel, and the bytes that each build adds.
    pub rates: BTreeMap<Channel, Rate>,
    /// The bytes that all channels add per day.
    pub bytes_per_day: u64,
    /// The days.
    #[serde(flatten)]
    pub forecast: stx_retention::Forecast,
}

impl Site {
    /// Forecasts retention and disk use for `days` days; `rates` replace the observed ones.
    pub async fn forecast(
        &self,
        days: u32,
        given: impl IntoIterator<Item = (Channel, Rate)>,
    ) -> Result<Forecast, Error> {
        let given: Vec<_> = given.into_iter().collect();
        check(days, &given)?;
        let store = self.mirror()?;
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        let facts = facts(&store, &catalog).await?;
        let policy = policy(self)?.policy;
        Ok(Forecast::new(
            &catalog, &facts, &policy, self.now, days, given,
        ))
    }
}

/// Fails if so many builds would be added that the forecast takes too long: each day plans retention for all of them.
fn check(days: u32, given: &[(Channel, Rate)]) -> Result<(), Error> {
    let seconds = u64::from(days) * 24 * 60 * 60;
    let coming = |(_, rate): &(Channel, Rate)| seconds / rate.every.as_seconds().max(1);
    let builds = given.iter().map(coming).fold(0, u64::saturating_add);
    if builds <= MOST {
        return Ok(());
    }
    let error = format!(
        "the given rates make {builds} builds in {days} days; a forecast has at most {MOST}"
    );
    Err(Error::usage(error).hint("give fewer days, or longer intervals between builds"))
}

impl Forecast {
    /// The forecast of so many days after `now`; `given` replaces the observed rates.
    pub(crate) fn new(
        catalog: &Catalog,
        facts: &PolicyInputs,
        policy: &Policy,
        now: DateTime<Utc>,
        days: u32,
        given: impl IntoIterator<Item = (Channel, Rate)>,
    ) -> Self {
        let mut rates = stx_retention::observe(catalog, facts, now);
        rates.extend(given);
        Self {
            bytes_per_day: rates.values().map(Rate::bytes_per_day).sum(),
            forecast: stx_retention::forecast(catalog, facts, policy, now, days, &rates),
            rates,
        }
    }
}
