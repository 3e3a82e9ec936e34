//! The service's configuration and directories.

use std::cell::{Cell, RefCell};
use std::io::{self};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use stx_layout::config::ConfigErrors;
use stx_layout::{Channel, ReleaseId, counted};
use stx_service::trigger::Target;
use stx_service::{BranchConfig, OnInterrupted, ServiceConfig, Setup};

use super::SERVICE_DIR;
use crate::build::{BuildArea, OnInterrupt, exclusive, read_recipe, recipe_findings};
use crate::error::{Error, ErrorKind, unusable};
use crate::options::{FORM, Options, absolute};

/// The next step for recipes that cannot be opened.
const MISSING: &str = "put the file back, or correct `recipe` in stx-builds.toml";

/// Reads the options: when the service starts, and again at each reload.
pub type ReadOptions = dyn Fn() -> Result<(Options, ConfigErrors), Error> + Send + Sync;

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Service {
    /// The options of every operation.
    pub options: Options,
    /// The service's part of the file.
    pub config: ServiceConfig,
    /// The same part, checked, with the recipes that it names.
    pub setup: Setup,
    /// True if entries are missing in `setup`, because their recipe cannot be read; see [`Service::partly`].
    pub is_partial: bool,
}

impl Service {
    /// Reads the configuration and everything that it names. Every mistake in any of the files is reported at once.
    pub fn load(read: &ReadOptions) -> Result<Self, Error> {
        match Self::partly(read)? {
            (service, None) => Ok(service),
            (_, Some(error)) => Err(error),
        }
    }

    /// Reads the configuration without the entries whose recipe cannot be read, for commands that only show or ask. Also returns
    /// the error about every mistake.
    pub fn partly(read: &ReadOptions) -> Result<(Self, Option<Error>), Error> {
        let (options, mut mistakes) = read()?;
        let none = || {
            let error = "the configuration has no `[service]` and no `[[branch]]`";
            let none = || Error::usage(error).hint("docs/operations.md describes them");
            options.no_file().unwrap_or_else(none)
        };
        let file = options.file().ok_or_else(none)?.to_owned();
        let text = fs_err::read_to_string(&file).map_err(Error::usage)?;
        let (said, findings) = ServiceConfig::read(&text);
        mistakes.extend(findings.in_file(&file));
        mistakes.extend(options.mistakes_elsewhere());
        let Some(mut said) = said else {
            Error::unless(mistakes, FORM)?;
            return Err(none());
        };
        let dir = file.parent().unwrap_or(Utf8Path::new(""));
        said.resolve(&absolute(dir)?);
        let elsewhere = RefCell::new(ConfigErrors::default());
        let unopened = Cell::new(0);
        let resolve = |branch: &BranchConfig| {
            let recipe = match &branch.recipe {
                Some(file) => file.clone(),
                None => options.recipe(None).map_err(|failure| failure.line())?,
            };
            let found = recipe_findings(&recipe, &options.variables).map_err(|failure| {
                unopened.set(unopened.get() + 1);
                failure.chain()
            })?;
            match found {
                Ok(read) => Ok((recipe, read.channel(branch.release.clone()))),
                Err(found) => {
                    let words = format!(
                        "its recipe {recipe} has {}",
                        counted(found.len(), "mistake")
                    );
                    elsewhere.borrow_mut().extend(found);
                    Err(words)
                }
            }
        };
        let setup = said.setup(resolve);
        let unopened_files = unopened.get();
        mistakes.extend(elsewhere.take());
        let is_partial = setup.is_err();
        let setup = setup.or_else(|error| {
            mistakes.extend(error.in_file(&file));
            said.branches.retain(|branch| resolve(branch).is_ok());
            said.setup(resolve)
        });
        // If nothing else is wrong, the form is right.
        let is_form_right = unopened_files > 0 && mistakes.iter().count() == unopened_files;
        let hint = if is_form_right { MISSING } else { FORM };
        let error = Error::unless(mistakes, hint).err();
        let (mut setup, error) = match (setup, error) {
            (Ok(setup), error) => (setup, error),
            (Err(_), Some(error)) => return Err(error),
            (Err(errors), None) => return Err(Error::config(errors, FORM)),
        };
        setup.settings.on_interrupted = match options.on_interrupt() {
            OnInterrupt::Resume => OnInterrupted::Resume,
            OnInterrupt::Fail => OnInterrupted::Fail,
        };
        let service = Self {
            options,
            config: said,
            setup,
            is_partial,
        };
        Ok((service, error))
    }

    /// The target of a build of a branch or tag that no entry names.
    pub fn target(&self, release: &ReleaseId, git: &str) -> Result<Target, String> {
        let recipe = self
            .options
            .recipe(None)
            .map_err(|failure| failure.line())?;
        let (recipe, channel) = channel(&recipe, release, &self.options)?;
        let git = git.to_owned();
        Ok(Target {
            channel,
            git,
            recipe,
        })
    }

    /// The directory for requests: beside the state directory, which no other user can enter.
    pub fn spool(&self, area: &BuildArea) -> Utf8PathBuf {
        if let Some(dir) = &self.config.spool {
            return dir.clone();
        }
        let name = area.state.file_name().unwrap_or("state");
        area.state.with_file_name(format!("{name}.spool"))
    }
}

/// The recipe's absolute path, and the channel in which it publishes a release.
fn channel(
    file: &Utf8Path,
    release: &ReleaseId,
    options: &Options,
) -> Result<(Utf8PathBuf, Channel), String> {
    let file = absolute(file).map_err(|failure| failure.line())?;
    let recipe = read_recipe(&file, &options.variables).map_err(|failure| failure.line())?;
    Ok((file, recipe.channel(release.clone())))
}

/// The directory for the service's own files.
pub(crate) fn service_dir(area: &BuildArea) -> Utf8PathBuf {
    area.state.join(SERVICE_DIR)
}

/// Makes a directory that only the service can enter; restricts an existing one.
pub(super) fn private(dir: &Utf8Path) -> Result<(), Error> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.and_then(|()| fs_err::set_permissions(dir, PermissionsExt::from_mode(0o700)))
        .map_err(|error| {
            let named = io::Error::new(error.kind(), format!("{dir}: {error}"));
            of_disk(&error).unwrap_or_else(|| unusable(dir, named))
        })
}

/// The error about a disk that is full or read-only, which is not a mistake of the configuration.
pub(super) fn of_disk(error: &io::Error) -> Option<Error> {
    let of_disk = || Error::new(ErrorKind::Mirror, error.to_string());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(of_disk()),
        // Linux makes a file system read-only after an error of its disk.
        io::ErrorKind::ReadOnlyFilesystem => Some(of_disk().hint(
            "the kernel's log (`dmesg`) tells if its disk has failed; else `mount -o remount,rw` makes it writable",
        )),
        _ => None,
    }
}

/// True if a service holds the lock of its own directory; false for callers who cannot enter it.
pub(super) fn is_locked(dir: &Utf8Path) -> bool {
    fs_err::File::open(dir.join("lock")).is_ok_and(|lock| {
        matches!(
            lock.file().try_lock_shared(),
            Err(std::fs::TryLockError::WouldBlock)
        )
    })
}

/// The lock that keeps out a second service.
pub(super) fn only_one(dir: &Utf8Path) -> Result<fs_err::File, Error> {
    let lock = fs_err::File::create(dir.join("lock"))
        .map_err(|error| of_disk(&error).unwrap_or_else(|| Error::usage(error)))?;
    match exclusive(&lock) {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Busy,
            format!("{dir}: another service works here"),
        )
        .hint(format!(
            "`systemctl status stx-builds` shows whether it is the installed one; `fuser -v {dir}/lock` names its process"
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(Error::new(ErrorKind::Bug, error)),
    }
}
