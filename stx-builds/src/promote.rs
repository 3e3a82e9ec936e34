//! Promote a build: publish the tested bytes as a release or a milestone.

use stx_images::{Prepared, promoted_names, recorded};
use stx_layout::{BuildDate, BuildId, Channel, ReleaseId};
use stx_publish::{
    MirrorRead, MirrorStore, PlanError, PrepareError, PromoteProblem, PromoteRequest, PublishPlan,
    Scope, StoreError, prepare_promotion, read_original,
};

use crate::error::{Error, ErrorKind};
use crate::images::{Published, Registry};
use crate::publish::{Planned, carry_out, unprepared};
use crate::retention::author;
use crate::{Mirror, Site, build_ref, refused};

/// A build to promote to a release or a milestone.
#[derive(Debug, Clone)]
pub struct Promote {
    /// The build, in any form of [`build_ref`].
    pub build: String,
    /// The release or milestone; distro, platform and layer do not change.
    pub to: ReleaseId,
    /// The date of the new build; the date of the original build if absent.
    pub date: Option<BuildDate>,
    /// The promoter; the user who runs the program if absent.
    pub by: Option<String>,
    /// The reason, as a text for people.
    pub reason: Option<String>,
    /// Promote it without the verdict `green`; this requires a reason.
    pub force: bool,
    /// Move `latest_build` even if it points at a newer build.
    pub force_alias: bool,
}

impl Promote {
    /// Promotes a green build to a release with the same date.
    pub fn new(build: impl Into<String>, to: ReleaseId) -> Self {
        Self {
            build: build.into(),
            to,
            date: None,
            by: None,
            reason: None,
            force: false,
            force_alias: false,
        }
    }
}

impl Site {
    /// Promotes a build: reads and checks every byte of it, shares the files with the new build, gives the images their new tags,
    /// commits, and moves the aliases. The same call again changes nothing, or completes an interrupted promotion.
    pub async fn promote(&self, wanted: &Promote) -> Result<Published, Error> {
        let from = build_ref::resolve(&*self.mirror()?, &wanted.build).await?;
        // The new build is sealed as configured.
        let store = Mirror::open_or_create(self, &self.root()?)?;
        // Retention must not remove anything of the build while its files are shared.
        let held = store
            .hold(&from)
            .await
            .map_err(|error| gone(&from, error))?;
        let registry = Registry::open(self)?;
        let planned = async || {
            let (plan, registry) = (plan(self, &*store, &from, wanted), registry.as_ref());
            prepared(self, &*store, registry, plan.await?).await
        };
        let published = carry_out(self, &*store, registry.as_ref(), planned).await;
        drop(held);
        published
    }

    /// Plans a promotion, and changes nothing.
    pub async fn plan_promotion(&self, wanted: &Promote) -> Result<Planned, Error> {
        let store = self.mirror()?;
        let from = build_ref::resolve(&*store, &wanted.build).await?;
        let registry = Registry::open(self)?;
        let plan = plan(self, &*store, &from, wanted).await?;
        let has_registry = registry.is_some();
        let prepared = prepared(self, &*store, registry.as_ref(), plan).await?;
        let images = has_registry.then_some(prepared.images);
        Planned::of(self, &*store, prepared.plan, images).await
    }
}

/// The plan for the mirror.
async fn plan(
    site: &Site,
    store: &dyn MirrorStore,
    from: &BuildId,
    wanted: &Promote,
) -> Result<PublishPlan, Error> {
    let to = BuildId::new(
        Channel {
            release: wanted.to.clone(),
            ..from.channel.clone()
        },
        wanted.date.unwrap_or(from.date),
    );
    let original = read_original(store, from).await;
    let original = original.map_err(|error| gone(from, error))?;
    let undated = site.options.aliases.is_undated(&to.channel);
    let images = match &site.options.registry {
        None => original.record.images.clone(),
        Some(table) => {
            let named = recorded(&original.record, &table.rules()?.registry);
            let named = promoted_names(from, &to, named);
            named.iter().map(stx_images::NamedImage::record).collect()
        }
    };
    let verdicts = store.verdicts(&Scope::Build(from.clone())).await;
    let verdict = verdicts.map_err(refused)?.pop();
    let request = PromoteRequest {
        from: original,
        to,
        images,
        verdict: verdict.map(|entry| entry.verdict),
        force: wanted.force,
        by: author(wanted.by.as_ref(), "--by")?,
        reason: wanted.reason.clone(),
        force_alias: wanted.force_alias,
        undated,
        existing: None,
        now: site.now,
    };
    prepare_promotion(store, request)
        .await
        .map_err(|error| match error {
            PrepareError::Plan(PlanError::NotPromotable { from, id, problems }) => {
                let hint = hint(&from, &problems);
                let error = PlanError::NotPromotable { from, id, problems };
                Error::new(ErrorKind::Mirror, error).hint(hint)
            }
            error => unprepared(error),
        })
}

/// The next steps for a build that cannot be promoted, each once.
fn hint(from: &BuildId, problems: &[PromoteProblem]) -> String {
    let mut steps = Vec::new();
    for problem in problems {
        let step = match problem {
            PromoteProblem::Target { .. } => {
                "`--to` takes a release or a milestone, such as `release/12.0.0`".to_owned()
            }
            PromoteProblem::Verdict { .. } | PromoteProblem::Reason => format!(
                "`mark {from} green` records that it passed its tests, and `--force --reason TEXT` promotes it without that"
            ),
            PromoteProblem::Thinned { .. } => {
                format!("`undelete {from}` restores what is still in the trash")
            }
            PromoteProblem::Failed => "choose a build that succeeded".to_owned(),
            _ => format!(
                "`verify {from}` names all damage, which `--force` does not excuse: choose another build"
            ),
        };
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps.join("; ")
}

/// The plan for the mirror, with the plan for the registry.
async fn prepared(
    site: &Site,
    store: &dyn MirrorRead,
    registry: Option<&Registry>,
    plan: PublishPlan,
) -> Result<Prepared, Error> {
    let Some(registry) = registry else {
        return Ok(Prepared::of_files(plan));
    };
    let named = recorded(&plan.record, &registry.rules.registry);
    registry.prepare(site, store, plan, named).await
}

fn gone(id: &BuildId, error: StoreError) -> Error {
    match error {
        StoreError::NotFound { .. } => {
            Error::new(ErrorKind::NotFound, format!("{id}: no such build"))
                .hint("`stx-builds list` names the channels and builds")
        }
        error => refused(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_problem_has_its_own_hint_once() {
        let from = "master/centos/20200101T000000Z".parse().expect("a build");
        let bytes = |path: &str| PromoteProblem::Bytes {
            path: path.parse().expect("a path"),
        };
        let damaged = hint(&from, &[bytes("outputs/a"), bytes("outputs/b")]);
        assert_eq!(
            damaged
                .matches("`verify master/centos/20200101T000000Z`")
                .count(),
            1,
            "{damaged}"
        );
        assert!(!damaged.contains("--reason"), "{damaged}");
        let red = hint(
            &from,
            &[PromoteProblem::Verdict { found: None }, bytes("outputs/a")],
        );
        assert!(red.contains("without that; `verify"), "{red}");
        let failed = hint(&from, &[PromoteProblem::Failed]);
        assert_eq!(failed, "choose a build that succeeded");
    }
}
