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

/// A forecast, and what it takes for granted.
#[derive(Debug, Serialize)]
pub struct Forecast {
    /// How often each channel gets a build, and the bytes that each adds.
    pub rates: BTreeMap<Channel, Rate>,
    /// Bytes that all of them add a day.
    pub bytes_per_day: u64,
    /// The days.
    #[serde(flatten)]
    pub forecast: stx_retention::Forecast,
}

impl Site {
    /// Forecasts retention and disk use of so many days; `rates` replace those that were observed.
    pub async fn forecast(
        &self,
        days: u32,
        given: impl IntoIterator<Item = (Channel, Rate)>,
    ) -> Result<Forecast, Error> {
        let store = self.mirror()?;
        let catalog = store.catalog(&Scope::All).await.map_err(refused)?;
        let facts = facts(&store, &catalog).await?;
        let policy = policy(self)?.policy;
        Ok(Forecast::new(
            &catalog, &facts, &policy, self.now, days, given,
        ))
    }
}

impl Forecast {
    /// The forecast of so many days after `now`; `given` replaces the rates that were observed.
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
