//! One module per command, and the items that several of them share.

pub(crate) mod adopt;
pub(crate) mod alias;
pub(crate) mod build;
pub(crate) mod compare;
pub(crate) mod copy;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod fetch;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod log;
pub(crate) mod manual;
pub(crate) mod mark;
pub(crate) mod pages;
pub(crate) mod parse;
pub(crate) mod promote;
pub(crate) mod provenance;
pub(crate) mod publish;
pub(crate) mod recipe;
pub(crate) mod retention;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod since;
pub(crate) mod status;
pub(crate) mod trash;
pub(crate) mod trigger;
pub(crate) mod verify;

use std::sync::Arc;

use stx_builds::daemon::{ReadOptions, Service};
use stx_builds::options::Executors;
use stx_builds::{Options, Site};
use stx_layout::config::ConfigErrors;
use stx_service::ledger::LedgerError;
use stx_service::status::{Read, Status};

use crate::args::{Format, Global};
use crate::exit::Failure;
use crate::progress::Terminal;

/// The context of a command: the site, and the options that every command has.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Mirror, state and options.
    pub(crate) site: Site,
    /// The options of every command.
    pub(crate) global: Global,
}

impl Context {
    /// The context of a command with the options of its configuration.
    pub(crate) fn new(global: Global, mut options: Options) -> Self {
        options.mirror = global.mirror.first().cloned().or(options.mirror);
        let progress = Terminal::new(global.quiet, global.verbose > 0);
        let site = Site::open(options).with_progress(Arc::new(progress));
        let site = match global.now {
            Some(now) => site.at(now),
            None => site,
        };
        Self { site, global }
    }

    pub(crate) fn format(&self) -> Format {
        self.global.format
    }

    /// Prints a note to standard error, unless `--quiet` was given.
    pub(crate) fn say(&self, text: &str) {
        if !self.global.quiet {
            crate::output::note(text);
        }
    }

    /// Reads the configuration, with all of its mistakes.
    pub(crate) fn read_options(&self) -> Arc<ReadOptions> {
        let Global { config, mirror, .. } = self.global.clone();
        Arc::new(move || {
            let (mut options, mistakes): (Options, ConfigErrors) =
                Options::read(config.as_deref(), &Executors::default())?;
            options.mirror = mirror.first().cloned().or(options.mirror);
            Ok((options, mistakes))
        })
    }

    /// The configuration of the service, for a command that shows or asks: without the entries whose recipe cannot be read, which a
    /// warning names.
    pub(crate) fn readable_service(&self) -> Result<Service, Failure> {
        let (service, error) = Service::partly(&*self.read_options())?;
        if let Some(error) = error {
            self.say(&format!(
                "warning: a part of the configuration cannot be read and is left out: {}",
                error.line()
            ));
        }
        Ok(service)
    }

    /// The same without the warning.
    pub(crate) fn partial_service(&self) -> Result<Service, Failure> {
        Ok(Service::partly(&*self.read_options())?.0)
    }
}

/// The end of a message about a failed build; see `BuildRecord::failure`.
fn published_as_failed(reason: Option<&str>) -> String {
    match reason {
        Some(why) => format!("published as failed: {why}"),
        None => "published as failed".to_owned(),
    }
}

/// The status document of the service, for a caller who was denied the ledger, or cannot read it because the running service is older
/// than this program; notes the source of the answer. After any other error only if the service runs. `None` if the document cannot be
/// read either.
pub(crate) fn status_document(context: &Context, unreadable: &Failure) -> Option<Box<Status>> {
    let error = unreadable.error.as_deref();
    let (is_trouble, why) = match error.and_then(|error| error.downcast_ref()) {
        Some(error @ LedgerError::TooOld { .. }) => (false, error.to_string()),
        _ if unreadable.is_denied() => (
            false,
            "you cannot read the ledger of the service".to_owned(),
        ),
        _ => (true, unreadable.chain()?),
    };
    let service = context.partial_service().ok()?;
    let read = context.site.service_status(&service).ok()?;
    // After any other error, the document is current only while the service runs.
    if is_trouble
        && (matches!(read, Read::Stale(_)) || !context.site.service_running(&service).ok()?)
    {
        return None;
    }
    let word = if is_trouble { "warning" } else { "note" };
    let file = context.site.spool(&service).ok()?.join("status.json");
    let written = |status: &Status| status.written.format("%Y-%m-%d %H:%M:%S");
    match &read {
        Read::Fresh(status) => context.say(&format!(
            "{word}: {why}; this is from {file}, written at {}",
            written(status)
        )),
        Read::Stale(status) => context.say(&format!(
            "note: {why}; this is from {file}, and out of date: the service wrote it at {} and has not since, so it does not run or \
             hangs",
            written(status)
        )),
    }
    Some(read.into_status())
}
