//! The state of the service from its ledger, with the site's additional knowledge.

use serde::Serialize;
use stx_service::health::ledger_alarm;
use stx_service::ledger::{Ledger as _, SqliteLedger, State};
use stx_service::status::{Past, PastBuilds, PhaseNow, RunningBuild, TimeLeft, newest_failures};

use crate::Site;
use crate::daemon::{Service, unreadable};
use crate::error::Error;
use crate::layers::Layer;
use crate::log::LogEnd;

/// The state of the service at one moment.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ServiceReport {
    /// True if the service runs.
    pub service_running: bool,
    /// True if it runs, but is stopping and starts no more builds; left out of JSON if false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub service_stopping: bool,
    /// The waiting requests, the runs, and the history of earlier ones.
    #[serde(flatten)]
    pub state: State,
    /// The channels of a distribution in layers, lower channels first; left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
    /// The running builds with their remaining time; left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<Progress>,
    /// The ends of the logs of the newest builds that failed; left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<LogEnd>,
    /// The running builds, for output to people; programs read `progress`.
    #[serde(skip)]
    pub running: Vec<RunningBuild>,
}

/// The progress of a running build.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// The run.
    pub run: u64,
    /// Its phases.
    pub phases: Vec<PhaseNow>,
    /// The remaining time.
    pub left: TimeLeft,
}

impl Site {
    /// Reports on the service from its ledger, as [`ledger`](Self::ledger) opens it.
    pub async fn service_report(
        &self,
        service: &Service,
        ledger: &SqliteLedger,
    ) -> Result<ServiceReport, Error> {
        let state = ledger.state();
        let past = PastBuilds::new(ledger, &service.setup).map_err(unreadable)?;
        let running = self.running_builds(state, &past)?;
        let mut failing = Vec::new();
        for build in newest_failures(past.ended()).filter_map(Past::build) {
            // A build that no longer exists, or an unreadable mirror, must not hide the rest of the report.
            failing.extend(self.failing_log(build).await.ok().flatten());
        }
        let progress = running.iter().map(|run| Progress {
            run: run.run,
            phases: run.phases.clone(),
            left: run.time_left(self.now),
        });
        let service_running = self.service_running(service)?;
        let layers = self.layers(service, state).await?;
        let mut state = state.clone();
        // The ledger cannot contain an alarm about itself; only the service knows it.
        let mut service_stopping = false;
        if let Some(status) = self.running_status(service)? {
            service_stopping = status.stopping;
            let mut alarms = status.alarms.into_iter();
            let of_ledger = alarms.find(|now| now.alarm == ledger_alarm());
            let of_ledger = of_ledger.map(|now| (now.alarm, (now.since, now.text)));
            state.alarms.extend(of_ledger);
        }
        Ok(ServiceReport {
            service_running,
            service_stopping,
            state,
            layers,
            progress: progress.collect(),
            failing,
            running,
        })
    }
}
