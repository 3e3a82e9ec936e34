//! Checks of every place before the first phase starts.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::command::{said, said_within};
use super::{END, PlaceError, PlacedRunner, files};
use crate::{Check, Executor, JobFile};
use stx_layout::counted;
use stx_pipeline::BuildPlan;
use tracing::debug;

/// The time limit for the check of an `exec` place. The check also ends processes that an earlier build left there.
const LOOK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 300 });

impl PlacedRunner {
    /// Waits until no phase of an earlier build runs at a place, and removes that build's jobs.
    pub(super) async fn clear(&self) -> Result<(), PlaceError> {
        let dir = self.dir();
        let prepare = |source| PlaceError::Prepare {
            dir: dir.clone(),
            source,
        };
        for lock in files::locks(&dir).map_err(prepare)? {
            let end = files::noted_end(&lock).unwrap_or(END) * 2;
            if !files::gone(&lock, end).await {
                return Err(PlaceError::StillRunning { lock });
            }
        }
        self.close().await;
        match fs_err::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(prepare(error)),
            _ => Ok(()),
        }
    }

    /// Tests every place that runs a phase of the plan: the place must be reachable, and must see the build's files.
    ///
    /// # Errors
    /// The first place that fails the test.
    pub async fn check(&self, plan: &BuildPlan) -> Result<(), PlaceError> {
        let used: BTreeMap<&str, &dyn Executor> = plan
            .phases
            .iter()
            .filter_map(|phase| self.places.of(&phase.name))
            .collect();
        for (name, place) in used {
            self.try_place(name, place).await?;
        }
        Ok(())
    }

    pub(super) async fn try_place(
        &self,
        name: &str,
        place: &dyn Executor,
    ) -> Result<(), PlaceError> {
        let job = self.job("check");
        debug!(place = name, "place is checked");
        let marker = JobFile {
            path: job.dir.join("marker"),
            text: format!("{}\n", job.name),
        };
        let mut by = None;
        let (check, file) = match place.check(&marker.path, &job, &self.tools) {
            None => return Ok(()),
            Some(Check::Prints(invocation)) => (invocation, &marker),
            Some(Check::PrintsBy {
                ref file,
                invocation,
            }) => {
                by = Some(file.clone());
                (invocation, &marker)
            }
            Some(Check::Succeeds {
                ref file,
                invocation,
            }) => (invocation, &file.clone()),
        };
        let prepare = |source| PlaceError::Prepare {
            dir: job.dir.clone(),
            source,
        };
        let written: Vec<_> = std::iter::once(file.clone()).chain(by.clone()).collect();
        files::write(&job.dir, &written).map_err(prepare)?;
        // A place that shares locks with the build server sees that this one is held.
        let held = match &by {
            Some(_) => Some(files::hold(&marker.path).map_err(prepare)?),
            None => None,
        };
        let program = check.program.clone();
        let unusable = |reason| PlaceError::Unusable {
            place: name.to_owned(),
            program: program.clone(),
            reason,
        };
        // A container may have to fetch its image first; ssh and Slurm have time limits of their own.
        let said = match &by {
            Some(_) => said_within(check, LOOK).await,
            None => said(check).await.map(Some),
        };
        let said = said.map_err(|error| unusable(error.to_string()))?;
        let said = said.ok_or_else(|| {
            let time = counted(LOOK.as_secs(), "second");
            unusable(format!("{program} gave no answer within {time}"))
        })?;
        drop(held);
        // A start-up file of the shell there may print text before the marker.
        let other = file == &marker && said.ok() && !said.stdout.ends_with(&marker.text);
        // Mapped paths differ there, but the job's own directory keeps its name.
        let unseen = match &by {
            Some(_) => format!("/{}/", job.dir.file_name().unwrap_or_default()),
            None => marker.path.to_string(),
        };
        if other || said.stderr.contains(&unseen) {
            return Err(PlaceError::NotShared {
                place: name.to_owned(),
                dir: self.local.state().to_owned(),
            });
        }
        if said.ok() {
            Ok(())
        } else {
            Err(unusable(said.failure(&program)))
        }
    }
}
