//! Resumes builds that a restart interrupted.

use chrono::SubsecRound as _;
use stx_layout::BuildId;

use super::runs::Job;
use super::{ServeError, Service};
use crate::OnInterrupted;
use crate::ledger::{Change, Ended, Run};

/// The number of times that a run is resumed before it is assumed to cause the restarts.
const INTERRUPTIONS: u32 = 10;

impl Service<'_> {
    /// Continues every run without a recorded end.
    pub(super) async fn recover(&mut self) -> Result<(), ServeError> {
        let runs: Vec<_> = self.state().runs.values().cloned().collect();
        if runs.is_empty() {
            return Ok(());
        }
        let unknown = |reason| ServeError::Unfinished { reason };
        let unfinished = self.builder.unfinished().await.map_err(unknown)?;
        for run in runs {
            // Skip runs that this process started before the ledger became unwritable.
            if self.builds.contains_key(&run.id) {
                continue;
            }
            let named = run.build.clone();
            let build = match named.filter(|build| unfinished.contains(build)) {
                Some(build) => Some(build),
                None => unfinished
                    .iter()
                    .find(|build| run.build.is_none() && began(&run, build))
                    .cloned(),
            };
            match build {
                Some(build) => self.go_on(&run, build)?,
                None => self.settle(&run).await?,
            }
        }
        Ok(())
    }

    fn go_on(&mut self, run: &Run, build: BuildId) -> Result<(), ServeError> {
        let id = run.id;
        let mut changes = vec![Change::Interrupted { run: id }];
        if run.build.is_none() {
            // The service died after the build reported its id, and before the ledger recorded it.
            let build = build.clone();
            changes.push(Change::Named { run: id, build });
        }
        self.record(&changes)?;
        let times = run.interruptions + 1;
        let resume = match self.setup.settings.on_interrupted {
            OnInterrupted::Resume => times <= INTERRUPTIONS,
            OnInterrupted::Fail => false,
        };
        if resume {
            self.host.say(&format!("run {id}: {build} resumes"));
            self.spawn(id, Job::Resume(build));
        } else {
            self.host.say(&format!("run {id}: {build} was interrupted"));
            let reason = match times {
                1 => "interrupted".to_owned(),
                times => format!("interrupted {times} times"),
            };
            self.spawn(id, Job::Abandon(build, reason));
        }
        Ok(())
    }

    /// Ends a run without an unfinished build: its build is published, or never existed.
    async fn settle(&mut self, run: &Run) -> Result<(), ServeError> {
        let at = self.host.now();
        let unknown = |reason| ServeError::Unfinished { reason };
        let end = match &run.build {
            Some(build) => self.builder.published(build).await.map_err(unknown)?,
            None => None,
        };
        if let Some(how) = end {
            return self.ended(run, &Ended { at, how });
        }
        let reason = "interrupted before there was a build".to_owned();
        let said = format!("run {}: {reason}", run.id);
        self.record(&[Change::Requeued {
            run: run.id,
            at,
            reason,
            unpublished: run.request.unpublished.clone().map(Box::new),
        }])?;
        self.host.say(&said);
        Ok(())
    }
}

/// True if a build can belong to a run: it is of the run's channel, and began after the run started.
fn began(run: &Run, build: &BuildId) -> bool {
    build.channel == run.request.target.channel && build.date.time() >= run.started.trunc_subsecs(0)
}
