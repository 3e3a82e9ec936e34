//! The service's configuration and directories.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::Utc;
use stx_layout::{Channel, ReleaseId, counted};
use stx_pipeline::service::{OnInterrupted, ServiceConfig, Setup};
use stx_pipeline::trigger::Target;

use crate::args::Global;
use crate::commands::Context;
use crate::commands::build::{OnInterrupt, Site, read_recipe, recipe_findings};
use crate::config::{Config, FORM, Mistakes, absolute};
use crate::exit::{Exit, Failure};
use crate::users::unusable;

/// The configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) config: Config,
    /// What the file says of the service.
    pub(crate) said: ServiceConfig,
    pub(crate) setup: Setup,
}

impl Service {
    /// Reads the configuration and everything that it names. Every mistake in any of the files is reported at once.
    pub(crate) fn load(global: &Global) -> Result<Self, Failure> {
        let (config, mut mistakes) = Config::read(global)?;
        let none = || {
            Failure::usage("the configuration has no `[service]` and no `[[branch]]`")
                .hint("docs/operations.md describes them")
        };
        let file = config.file().ok_or_else(none)?.to_owned();
        let text = fs_err::read_to_string(&file).map_err(Failure::usage)?;
        let (said, findings) = ServiceConfig::read(&text);
        mistakes.find(&file, findings);
        mistakes.extend(config.mistakes_elsewhere());
        let Some(mut said) = said else {
            mistakes.none(FORM)?;
            return Err(none());
        };
        let dir = file.parent().unwrap_or(Utf8Path::new(""));
        said.resolve(&absolute(dir)?);
        let elsewhere = RefCell::new(Mistakes::default());
        let setup = said.setup(|branch| {
            let recipe = match &branch.recipe {
                Some(file) => file.clone(),
                None => config.recipe(None).map_err(|failure| failure.line())?,
            };
            match recipe_findings(&recipe).map_err(|failure| failure.words())? {
                Ok(read) => Ok((recipe, read.channel(branch.release.clone()))),
                Err(findings) => {
                    let found = Mistakes::of(&recipe, findings);
                    let words = format!(
                        "its recipe {recipe} has {}",
                        counted(found.len(), "mistake")
                    );
                    elsewhere.borrow_mut().extend(found);
                    Err(words)
                }
            }
        });
        mistakes.extend(elsewhere.into_inner());
        let mut setup = match setup {
            Ok(setup) => {
                mistakes.none(FORM)?;
                setup
            }
            Err(error) => {
                mistakes.find(&file, error.findings);
                return Err(mistakes.failure(FORM));
            }
        };
        setup.settings.on_interrupted = match config.on_interrupt() {
            OnInterrupt::Resume => OnInterrupted::Resume,
            OnInterrupt::Fail => OnInterrupted::Fail,
        };
        Ok(Self {
            config,
            said,
            setup,
        })
    }

    /// What is built of a branch or tag that no entry names.
    pub(crate) fn target(&self, release: &ReleaseId, git: &str) -> Result<Target, String> {
        let recipe = self.config.recipe(None).map_err(|failure| failure.line())?;
        let (recipe, channel) = channel(&recipe, release)?;
        let git = git.to_owned();
        Ok(Target {
            channel,
            git,
            recipe,
        })
    }

    /// The context of a command that is run now.
    pub(crate) fn context(&self, global: &Global) -> Context {
        Context {
            config: self.config.clone(),
            global: global.clone(),
            now: Utc::now(),
        }
    }

    /// Where requests are left: beside the state directory, which nobody else can enter.
    pub(crate) fn spool(&self, site: &Site) -> Utf8PathBuf {
        if let Some(dir) = &self.said.spool {
            return dir.clone();
        }
        let name = site.state.file_name().unwrap_or("state");
        site.state.with_file_name(format!("{name}.spool"))
    }
}

/// The recipe's absolute path, and where it publishes a release.
fn channel(file: &Utf8Path, release: &ReleaseId) -> Result<(Utf8PathBuf, Channel), String> {
    let file = absolute(file).map_err(|failure| failure.line())?;
    let recipe = read_recipe(&file).map_err(|failure| failure.line())?;
    Ok((file, recipe.channel(release.clone())))
}

/// Where the service keeps its own; no channel is called so.
pub(crate) fn service_dir(site: &Site) -> Utf8PathBuf {
    site.state.join(".service")
}

/// Makes a directory that only the service can enter, or makes it so.
pub(super) fn private(dir: &Utf8Path) -> Result<(), Failure> {
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

/// A disk that is full, which is no mistake of the configuration.
fn of_disk(error: &io::Error) -> Option<Failure> {
    let full = matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    );
    full.then(|| Failure::new(Exit::Mirror, error.to_string()))
}

/// The lock that only one service has.
pub(super) fn only_one(dir: &Utf8Path) -> Result<fs_err::File, Failure> {
    let lock = fs_err::File::create(dir.join("lock"))
        .map_err(|error| of_disk(&error).unwrap_or_else(|| Failure::usage(error)))?;
    match lock.file().try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::new(
            Exit::Busy,
            format!("{dir}: another service works here"),
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(Failure::new(Exit::Bug, error)),
    }
}
