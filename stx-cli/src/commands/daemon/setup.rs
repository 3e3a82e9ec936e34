//! The service's configuration and directories.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt};

use camino::{Utf8Path, Utf8PathBuf};
use chrono::Utc;
use stx_layout::{Channel, ReleaseId};
use stx_pipeline::service::{BranchConfig, OnInterrupted, ServiceConfig, Setup};

use crate::args::Global;
use crate::commands::Context;
use crate::commands::build::{OnInterrupt, Site, read_recipe};
use crate::config::{Config, absolute};
use crate::exit::{Exit, Failure};

/// The configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) config: Config,
    /// What the file says of the service.
    pub(crate) said: ServiceConfig,
    pub(crate) setup: Setup,
}

impl Service {
    /// Reads the configuration and everything that it names.
    pub(crate) fn load(global: &Global) -> Result<Self, Failure> {
        let config = Config::load(global)?;
        let none = || {
            Failure::usage("the configuration has no `[service]` and no `[[branch]]`")
                .hint("docs/operations.md describes them")
        };
        let file = config.file().ok_or_else(none)?.to_owned();
        let text = fs_err::read_to_string(&file).map_err(Failure::usage)?;
        let wrong = |error: stx_pipeline::service::ConfigError| {
            let findings: Vec<_> = error
                .findings
                .iter()
                .map(|finding| {
                    format!(
                        "{file}:{}:{}: {}",
                        finding.line, finding.column, finding.message
                    )
                })
                .collect();
            Failure::usage(findings.join("\n")).hint("docs/operations.md describes the form")
        };
        let said = ServiceConfig::from_toml(&text)
            .map_err(wrong)?
            .ok_or_else(none)?;
        let mut setup = said
            .setup(|branch| resolve(&config, branch))
            .map_err(wrong)?;
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
            return self.config.below(dir);
        }
        let name = site.state.file_name().unwrap_or("state");
        site.state.with_file_name(format!("{name}.spool"))
    }
}

fn resolve(config: &Config, branch: &BranchConfig) -> Result<(Utf8PathBuf, Channel), String> {
    let file = match &branch.recipe {
        Some(file) => config.below(file),
        None => config.recipe(None).map_err(|failure| failure.line())?,
    };
    channel(&file, &branch.release)
}

/// The recipe's absolute path, and where it publishes a release.
pub(super) fn channel(
    file: &Utf8Path,
    release: &ReleaseId,
) -> Result<(Utf8PathBuf, Channel), String> {
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
        .map_err(|error| Failure::usage(format!("{dir}: {error}")))
}

/// The lock that only one service has.
pub(super) fn only_one(dir: &Utf8Path) -> Result<fs_err::File, Failure> {
    let lock = fs_err::File::create(dir.join("lock")).map_err(Failure::usage)?;
    match lock.file().try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Failure::new(
            Exit::Busy,
            format!("{dir}: another service works here"),
        )),
        Err(std::fs::TryLockError::Error(error)) => Err(Failure::new(Exit::Bug, error)),
    }
}
