//! Copy builds from one mirror to another.

use camino::{Utf8Path, Utf8PathBuf};
use sha2::Digest as _;
use stx_layout::{Channel, Pin};
use stx_publish::replicate::{
    CopyError, CopyEvent, CopyPlan, CopyReport, CopyRequest, copy, plan, survey,
};
use stx_publish::verdicts::readable_verdicts;
use stx_publish::{MemoryStore, MirrorRead, Scope, StoreError};

use crate::error::{DONE, Error, ErrorKind, answer_below};
use crate::options::{MirrorLocation, anywhere};
use crate::trust::TrustOptions;
use crate::verdicts::verdicts;
use crate::{Mirror, Reader, Site, pages, refused};

/// The builds to copy, and the options.
#[derive(Debug, Clone)]
pub struct Copy {
    /// The source: a directory, `s3://BUCKET/PREFIX`, or a URL.
    pub from: Utf8PathBuf,
    /// The target: a directory, created if it does not exist, or `s3://BUCKET/PREFIX`.
    pub to: Utf8PathBuf,
    /// The channels; all if empty.
    pub channels: Vec<Channel>,
    /// Retire builds of the target that are missing from the source.
    pub delete: bool,
    /// The directory for partial downloads; a default beside the target, or in the user's cache.
    pub work: Option<Utf8PathBuf>,
    /// The trusted signatures.
    pub trust: TrustOptions,
}

impl Site {
    /// Copies builds from one mirror to another: builds first, aliases and pages last. The same call resumes an interrupted copy.
    pub async fn copy(&self, wanted: &Copy) -> Result<CopyReport, Error> {
        let prepared = prepared(self, wanted).await?;
        let target = match prepared.target {
            Some(target) => target,
            None => Mirror::open_or_create(self, &wanted.to)?,
        };
        let work = match &wanted.work {
            Some(work) => work.clone(),
            None => work_dir(&wanted.to)?,
        };
        let report = copied(self, &prepared.from, &target, &prepared.plan, &work).await;
        // The target has its own pages, made last. They may be outdated even if there is nothing to copy, since an earlier run may
        // have been killed before it made them; and an interrupted copy has added some builds.
        pages::renew(self, &*target, self.now).await;
        let report = report?;
        prepared.from.remember()?;
        Ok(report)
    }

    /// Plans a copy, and changes nothing.
    pub async fn plan_copy(&self, wanted: &Copy) -> Result<CopyPlan, Error> {
        Ok(prepared(self, wanted).await?.plan)
    }
}

/// A prepared copy.
struct Prepared {
    from: Reader,
    /// `None` if it is still to be created.
    target: Option<Mirror>,
    plan: CopyPlan,
}

async fn prepared(site: &Site, wanted: &Copy) -> Result<Prepared, Error> {
    if same_place(&wanted.from, &wanted.to) {
        return Err(Error::usage(format!(
            "{} and {} are the same mirror",
            wanted.from, wanted.to
        ))
        .hint("copy FROM TO: name another mirror as TO"));
    }
    let from = site.trusted(Reader::open(site, &wanted.from)?, &wanted.trust)?;
    let request = CopyRequest {
        channels: wanted.channels.iter().cloned().collect(),
        delete: wanted.delete,
        thinned: !from.is_trusted(),
    };
    let target = match Mirror::open(site, &wanted.to) {
        Ok(target) => Some(target),
        Err(error) if error.kind == ErrorKind::NotFound => {
            Mirror::may_create(&wanted.to)?;
            None
        }
        Err(error) => return Err(error),
    };
    let empty = MemoryStore::new();
    let there: &dyn MirrorRead = match &target {
        Some(target) => &**target,
        None => &empty,
    };
    let (mut one, mut other) = survey(from.store(), there, &request)
        .await
        .map_err(refused)?;
    one.verdicts = verdicts(site, &from, &one.catalog).await?;
    // Pins are private: a web server does not show them, and no signature covers them.
    if let Reader::Own(from) = &from {
        one.pins = pins(site, from).await?;
    }
    if let Some(target) = &target {
        other.pins = pins(site, target).await?;
        let read = readable_verdicts(&**target, &Scope::All, &other.catalog).await;
        other.verdicts = read.map_err(refused)?.history;
    }
    for channel in &request.channels {
        if !one.catalog.channels.contains_key(channel) {
            let error = format!("{channel}: not on {}", wanted.from);
            return Err(Error::new(ErrorKind::NotFound, error).hint(format!(
                "`stx-builds list --mirror {}` names the channels",
                wanted.from
            )));
        }
    }
    // An unmounted disk, or a wrong directory name, must not empty the target.
    if request.delete && one.catalog.builds().next().is_none() {
        let error = format!(
            "{}: holds no build, and everything would be retired",
            wanted.from
        );
        return Err(Error::new(ErrorKind::NotFound, error)
            .hint("is it the root of the mirror, and is its file system mounted?"));
    }
    let plan = plan(&one, &other, &request);
    Ok(Prepared { from, target, plan })
}

/// The pins of a mirror that are in force.
async fn pins(site: &Site, mirror: &Mirror) -> Result<Vec<Pin>, Error> {
    let mut pins = mirror.pins(&Scope::All).await.map_err(refused)?;
    pins.retain(|pin| pin.holds(site.now));
    Ok(pins)
}

/// True if two names refer to the same mirror.
fn same_place(from: &Utf8Path, to: &Utf8Path) -> bool {
    let real = |name: &Utf8Path| match MirrorLocation::of(name) {
        MirrorLocation::Directory => name.canonicalize_utf8().ok(),
        MirrorLocation::Bucket | MirrorLocation::Web => {
            Some(name.as_str().trim_end_matches('/').into())
        }
    };
    real(from).is_some_and(|from| real(to) == Some(from))
}

async fn copied(
    site: &Site,
    from: &Reader,
    target: &Mirror,
    planned: &CopyPlan,
    work: &Utf8Path,
) -> Result<CopyReport, Error> {
    let observe = |event: CopyEvent<'_>| site.progress().copying(event);
    let report = copy(from.store(), &**target, planned, work, site.now, &observe).await;
    site.progress().finished();
    // Empty, unless the copy was interrupted.
    fs_err::remove_dir(work).ok();
    report.map_err(failed)
}

/// The directory for partial downloads: beside a mirror in a directory, else in the user's cache; a separate one for each mirror.
fn work_dir(to: &Utf8Path) -> Result<Utf8PathBuf, Error> {
    let to = anywhere(to)?;
    if MirrorLocation::of(&to) == MirrorLocation::Directory {
        let name = to.file_name().unwrap_or("mirror");
        return Ok(to.with_file_name(format!("{name}.copy")));
    }
    let name = sha2::Sha256::digest(to.as_str());
    let name = name
        .iter()
        .take(8)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let cache = std::env::var("XDG_CACHE_HOME").map(Utf8PathBuf::from);
    let cache =
        cache.or_else(|_| std::env::var("HOME").map(|home| Utf8PathBuf::from(home).join(".cache")));
    let cache = cache.map_err(|_| {
        Error::usage("no directory for temporary files: HOME is not set")
            .hint("give one with `--work DIR`")
    })?;
    Ok(cache.join("stx-builds/copy").join(name))
}

fn failed(error: CopyError) -> Error {
    let hint = match &error {
        CopyError::Target {
            source: StoreError::Busy { .. },
            ..
        } => DONE,
        CopyError::AfterEffect { .. } => "rerun the command: it makes the copy durable and resumes",
        CopyError::Work { .. } => "give another directory with `--work DIR`",
        // Copies are made build by build: a failure leaves completed copies intact.
        _ => "copied files are kept; rerun the command to resume",
    };
    let hint = match answer_below(&error) {
        Some(answer) => format!("copied files are kept; {answer}"),
        None => hint.to_owned(),
    };
    Error::new(error.kind().into(), error).hint(hint)
}
