//! The places where the phases of a build run, as configured.

use camino::Utf8Path;
use stx_executors::{PlaceError, PlacedRunner};
use stx_pipeline::process::ProcessRunner;
use stx_pipeline::{BuildPlan, Env};

use super::{BuildArea, Watch};
use crate::error::{Error, ErrorKind};

/// The runner of the phases of a plan, after all processes of an earlier build have ended; the caller holds the lock.
pub(super) async fn runner(
    area: &BuildArea,
    state: &Utf8Path,
    plan: &BuildPlan,
) -> Result<PlacedRunner, Error> {
    let local = ProcessRunner::new(state.to_owned());
    let places = area.site.options.places.clone();
    PlacedRunner::new(local, places, place_env(), plan)
        .await
        .map_err(unusable)
}

/// Tries the places that the phases need, and reports rules that match no phase.
pub(super) async fn check(
    area: &BuildArea,
    runner: &PlacedRunner,
    plan: &BuildPlan,
    watch: Watch<'_>,
) -> Result<(), Error> {
    let phases: Vec<_> = plan.phases.iter().map(|phase| &*phase.name).collect();
    for glob in area.site.options.places.idle(&phases) {
        (watch.note)(&format!(
            "warning: place-rule: no phase of recipe {} is named {glob}",
            plan.recipe
        ));
    }
    runner.check(plan).await.map_err(unusable)
}

fn unusable(error: PlaceError) -> Error {
    match error {
        PlaceError::StillRunning { .. } => {
            Error::new(ErrorKind::Busy, error).hint("end it there; that releases the lock")
        }
        PlaceError::Unusable { ref program, .. } => {
            let hint = place_hint(program);
            Error::usage(error).hint(hint)
        }
        PlaceError::NotShared { .. } => Error::usage(error).hint(REQUIREMENTS),
        PlaceError::Prepare { .. } => Error::new(ErrorKind::Bug, error),
    }
}

const REQUIREMENTS: &str = "docs/places.md lists the requirements of a place";

/// The next step after `program` could not reach a place.
pub(crate) fn place_hint(program: &str) -> String {
    if program != "sbatch" {
        return REQUIREMENTS.to_owned();
    }
    format!(
        "`scontrol ping` tells if the controller of Slurm answers here, and `sinfo` which of its nodes are up; both and `sbatch` are in the package `slurm-client` of Debian, `slurm` elsewhere; {REQUIREMENTS}"
    )
}

/// The variables of this process's environment that `ssh`, `podman`, `kubectl`, `sbatch` and the like read.
pub(crate) fn place_env() -> Env {
    [
        "PATH",
        "HOME",
        "USER",
        "SSH_AUTH_SOCK",
        "SLURM_CONF",
        "DOCKER_HOST",
        "CONTAINER_HOST",
        "KUBECONFIG",
        "XDG_RUNTIME_DIR",
    ]
    .into_iter()
    .filter_map(|name| Some((name.into(), std::env::var(name).ok()?.into())))
    .collect()
}
