//! Check a mirror against its records: verify and repair.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::Serialize;
use stx_layout::{BuildId, RootAlias};
use stx_pages::verify_pages;
use stx_publish::aliases::{AliasPolicy, RootStep, RootVerdict, settle_root};
use stx_publish::verify::{LeftName, check_root_aliases};
use stx_publish::{
    Finding, FindingKind, MirrorStore, RepairReport, Scope, StoreError, VerifyError, VerifyReport,
    repair, verify_after, verify_observed, verify_readable, verify_repositories,
};
use stx_trust::provenance::key::PublicKey;
use stx_trust::verify_stated;

use crate::error::Error;
use crate::images::Registry;
use crate::trust::{self, Keyring};
use crate::{Reader, Site, build_ref, hint_of, pages, refused};

/// The time for which pages may be outdated before that is a finding: after a change, a command needs time to make them.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest time that a publisher takes from a build to the names of its release, and the interval at which they are checked
/// meanwhile.
const BETWEEN: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);

/// The result of a verification.
#[derive(Debug, Serialize)]
pub struct Verified {
    /// The remaining findings.
    #[serde(flatten)]
    pub report: VerifyReport,
    /// The repairs; absent if none were requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<RepairReport>,
}

/// The options of a verification.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// True to repair derived data.
    pub repair: bool,
    /// Public keys one of which must have signed builds and indexes, used instead of those of the site's options.
    pub keyring: Option<Utf8PathBuf>,
    /// Public keys one of which must have signed the provenance of each build.
    pub provenance_keys: Vec<Utf8PathBuf>,
}

/// The keys of the required signatures; without keys, none are required.
struct Keys {
    openpgp: Option<Keyring>,
    provenance: Vec<PublicKey>,
}

/// Verifies once, and changes nothing.
async fn check(
    site: &Site,
    reader: &Reader,
    scope: &Scope,
    keys: &Keys,
) -> Result<VerifyReport, VerifyError> {
    let observe = |done, all, id: &BuildId| site.progress().verifying(done, all, id);
    let report = match reader {
        Reader::Own(mirror) => verify_observed(&**mirror, scope, &observe).await,
        Reader::Http(_) | Reader::Trusted(..) => {
            verify_readable(reader.store(), scope, &observe).await
        }
    };
    site.progress().finished();
    let mut report = report?;
    if let Some(keyring) = &keys.openpgp {
        let stores = (reader.store(), reader.shared());
        trust::verify(site, stores, keyring, scope, &mut report).await?;
    }
    verify_stated(reader.store(), scope, &keys.provenance, &mut report).await?;
    verify_after(reader.store(), scope, &mut report).await?;
    verify_repositories(reader.store(), scope, &mut report).await?;
    if *scope == Scope::All {
        let fail = |source| VerifyError::new(scope, source);
        let found = root_findings(site, reader).await.map_err(fail)?;
        report.findings.extend(found);
        report.findings.sort();
    }
    if let Reader::Own(mirror) = reader {
        let makes = site.options.makes_pages();
        verify_pages(&**mirror, scope, makes, PATIENCE, &mut report).await?;
    }
    Ok(report)
}

/// Finds the faults of the names above the channels. A publisher may be between a build and its names, so the check is repeated until
/// there are no faults, or until the slowest publisher must have finished.
async fn root_findings(site: &Site, reader: &Reader) -> Result<Vec<Finding>, StoreError> {
    let store = reader.store();
    let policy = site.policy_of(reader);
    let mut waited = Duration::ZERO;
    loop {
        let aliases = store.root_aliases().await?;
        let catalog = store.catalog(&Scope::All).await?;
        let found = check_root_aliases(&catalog, &aliases, policy);
        let may_pass = found.iter().any(|finding| {
            matches!(
                finding.kind,
                FindingKind::AliasNotNewest | FindingKind::AliasMissing
            )
        });
        if !may_pass || waited >= BETWEEN {
            return Ok(found);
        }
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
}

/// Repairs the names above the channels by the configuration; `release/latest_release` may move back if its target no longer exists.
/// A name that cannot be repaired is reported, with the next step for the user.
async fn repair_names(
    site: &Site,
    store: &dyn MirrorStore,
    found: &[Finding],
    done: &mut RepairReport,
) -> Result<(), StoreError> {
    let above = found.iter().filter(|finding| finding.channel.is_none());
    let wrong = above.filter(|finding| match finding.kind {
        FindingKind::AliasDangling
        | FindingKind::AliasNotNewest
        | FindingKind::AliasMalformed
        | FindingKind::AliasMissing
        | FindingKind::AliasDiffers => true,
        // The other findings are not about names above the channels.
        _ => false,
    });
    let wrong = wrong.filter_map(|finding| Some((finding.path.as_deref()?, finding.kind)));
    let wrong: BTreeMap<&str, FindingKind> = wrong.collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let policy = site.options.aliases.policy();
    let latest = RootAlias::LatestRelease.to_string();
    let forced = wrong.get(latest.as_str()) == Some(&FindingKind::AliasDangling);
    let steps = settle_root(store, policy, forced).await?;
    for name in wrong.into_keys() {
        let step = steps.iter().find(|step| step.alias.to_string() == name);
        if let Some(why) = left_by(policy, name, step) {
            done.left.push(LeftName {
                name: name.to_owned(),
                why,
            });
        }
    }
    let moved = steps.into_iter().filter(|step| step.verdict.moves());
    done.names.extend(moved);
    Ok(())
}

/// The reason why a name above the channels is still wrong after its `step`, with the next step for the user; `None` if the name is
/// now correct.
fn left_by(policy: &AliasPolicy, name: &str, step: Option<&RootStep>) -> Option<String> {
    let by_hand = || {
        format!(
            "no rule gives its target; `stx-builds alias set {name} TARGET` points it at a release or channel that has \
             builds, `stx-builds alias unset {name}` removes it"
        )
    };
    let Some(step) = step else {
        return Some(by_hand());
    };
    match step.verdict {
        RootVerdict::Create | RootVerdict::Move | RootVerdict::Stays => None,
        RootVerdict::Waits if policy.links.contains_key(&step.alias) => Some(format!(
            "the configuration says {}, which has no build; publish a build there, or change [aliases] of stx-builds.toml",
            step.to
        )),
        RootVerdict::Waits if policy.names(&step.alias) => {
            Some("no release has a build; the next publish to a release moves it".to_owned())
        }
        RootVerdict::Waits => Some(by_hand()),
    }
}

/// The error about a channel or build that does not exist; `failure` if it exists, or for the whole mirror.
async fn absent(reader: &Reader, scope: &Scope, failure: Error) -> Error {
    let Ok(catalog) = reader.store().catalog(&Scope::All).await else {
        return failure;
    };
    match scope {
        Scope::All => failure,
        Scope::Channel(channel) if catalog.channels.contains_key(channel) => failure,
        Scope::Channel(channel) => build_ref::missing_channel(&catalog, channel),
        Scope::Build(id) if catalog.build(id).is_some() => failure,
        Scope::Build(id) => build_ref::missing_build(&catalog, id),
    }
}

impl Site {
    /// Verifies a mirror, a channel or a build: sums, records, aliases, pages, repositories, signatures, images. On request, repairs
    /// derived data, and verifies again.
    pub async fn verify(&self, scope: &Scope, how: &VerifyOptions) -> Result<Verified, Error> {
        let to_repair = how.repair.then(|| self.mirror()).transpose()?;
        let reader = self.reader()?;
        let keys = Keys {
            openpgp: self.keyring(how.keyring.as_deref())?,
            provenance: self.options.provenance.trusted(&how.provenance_keys)?,
        };
        if let Reader::Http(_) = reader {
            self.note(
            "note: behind a URL, only files that the catalog and the sums name are checked, without unlisted files, modes, links and leftovers",
        );
        }
        let fail = |error: VerifyError| {
            let hint = hint_of(&error.source);
            Error {
                hint,
                ..Error::new(error.kind().into(), error)
            }
        };
        let mut report = match check(self, &reader, scope, &keys).await {
            Err(error) if matches!(error.source, StoreError::NotFound { .. }) => {
                return Err(absent(&reader, scope, fail(error)).await);
            }
            report => report.map_err(fail)?,
        };
        let mut repaired = None;
        let registry = Registry::open(self)?;
        if let Some(store) = &to_repair {
            if let Some(registry) = &registry {
                // The tags of a build are made before an alias is moved to the build.
                registry.finish_all(self, &**store, scope).await?;
            }
            let mut done = repair(&**store, &report).await.map_err(fail)?;
            let names = repair_names(self, &**store, &report.findings, &mut done).await;
            names.map_err(refused)?;
            // A moved alias also changes the pages.
            if report.findings.iter().any(Finding::is_repairable) {
                let made = pages::made(self, &**store).await?;
                (done.pages, done.removed_pages) = (made.written, made.removed);
            }
            repaired = Some(done);
            report = check(self, &reader, scope, &keys).await.map_err(fail)?;
        }
        if let Some(registry) = &registry {
            let found = registry.audit(reader.store(), scope).await?;
            report.findings.extend(found);
            report.findings.sort();
        }
        Ok(Verified { report, repaired })
    }
}
