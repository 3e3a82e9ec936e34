//! `fetch`: files of a build, whole and right or not at all.

use std::io::ErrorKind;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use stx_layout::{AliasName, BuildId, BuildPath, Channel, Sums, counted};
use stx_publish::StoreError;
use stx_publish::fetch::{
    FetchError, FetchEvent, FetchOptions, FetchReport, Fetched, SelectError, Wanted, What, fetch,
    resolve, select,
};

use super::asked::{self, Asked};
use super::{Context, Reader, refused};
use crate::args::Fetch;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::users::denied;

/// `CHANNEL`, `CHANNEL/ALIAS` or `CHANNEL/BUILD-DATE`.
fn asked(text: &str) -> Result<Asked, Failure> {
    match text.strip_suffix('/').unwrap_or(text).parse::<Channel>() {
        Ok(channel) => Ok(Asked::Alias(channel, AliasName::latest_build())),
        Err(_) if text.contains('/') => asked::asked(text),
        Err(error) => {
            Err(Failure::usage(error).hint("expected CHANNEL, CHANNEL/ALIAS or CHANNEL/BUILD-DATE"))
        }
    }
}

/// What was fetched, for scripts.
#[derive(Serialize)]
struct Report<'a> {
    build: &'a BuildId,
    files: &'a [Fetched],
    /// The bytes that were transferred, of all files.
    transferred: u64,
    failed: Vec<String>,
}

/// One URL or path, for scripts.
#[derive(Serialize)]
struct Place {
    url: String,
    sha256: stx_layout::Sha256,
}

pub(crate) async fn run(context: &Context, args: &Fetch) -> Result<(), Failure> {
    let what = args.what.iter().map(|word| word.parse());
    let what: Vec<What> = what.collect::<Result<_, _>>().map_err(Failure::usage)?;
    let reader = context.trusted_reader(&args.trust)?;
    let id = build(context, &reader, &args.build).await?;
    reader.remember()?;
    // Where the mirror can tell its writers: the build stays until its files are here.
    let _hold = match reader.store().hold(&id).await {
        Err(error @ StoreError::NotFound { .. }) => return Err(gone(&reader, &id, error).await),
        hold => hold.map_err(refused)?,
    };
    let sums = sums(&reader, &id).await?;
    let wanted = select(&sums, &what).map_err(|error| {
        let failure = |exit| Failure::new(exit, format!("{id}: {error}"));
        match &error {
            SelectError::Several { names } => {
                let name = names.first().map_or("", BuildPath::as_str);
                let hint = format!(
                    "name the one you want, such as `fetch {} {name}`",
                    args.build
                );
                failure(Exit::Usage).hint(hint)
            }
            SelectError::Nothing { .. } | SelectError::Clash { .. } => {
                let place = reader.place(&id.to_string());
                failure(Exit::NotFound).hint(format!("{place}/SHA256SUMS names its files"))
            }
        }
    })?;
    if args.print_url {
        return print_urls(context, &reader, &id, &wanted);
    }
    let options = FetchOptions {
        parallel: args.connections,
        ..FetchOptions::default()
    };
    let progress = Progress::new(context.global.quiet);
    let report = fetch(reader.store(), &id, &wanted, &args.to, &options, &|event| {
        progress.take(event);
    })
    .await;
    progress.end();
    finish(context, &reader, &id, report).await
}

/// The build that `CHANNEL`, `CHANNEL/ALIAS` or `CHANNEL/BUILD-DATE` means.
pub(crate) async fn build(
    context: &Context,
    reader: &Reader,
    text: &str,
) -> Result<BuildId, Failure> {
    match asked(text)? {
        Asked::Build(id) => Ok(id),
        Asked::Alias(channel, alias) => {
            let id = match resolve(reader.store(), &channel, &alias).await {
                Err(StoreError::NotFound { .. }) => {
                    return Err(asked::missing_alias(reader.store(), &channel, &alias).await);
                }
                id => id.map_err(refused)?,
            };
            context.say(&format!("{channel}/{alias} is {}", id.date));
            Ok(id)
        }
    }
}

/// The sums of a build.
pub(crate) async fn sums(reader: &Reader, id: &BuildId) -> Result<Sums, Failure> {
    match reader.store().sums(id).await {
        Err(error @ StoreError::NotFound { .. }) => Err(gone(reader, id, error).await),
        sums => sums.map_err(refused),
    }
}

/// A build that is not there, with the newest one that is; or a file that is missing from a build that is there.
async fn gone(reader: &Reader, id: &BuildId, error: StoreError) -> Failure {
    let failure = Failure::new(Exit::NotFound, error);
    if reader.store().record(id).await.is_ok() {
        return failure.hint(format!(
            "the build exists, but this file is missing; `stx-builds verify {id}` checks its files"
        ));
    }
    match resolve(reader.store(), &id.channel, &AliasName::latest_build()).await {
        Ok(newest) if newest != *id => failure.hint(format!(
            "it was retired, or never was; the newest good build is {newest}"
        )),
        _ => failure.hint(format!("{} has no such build", id.channel)),
    }
}

fn print_urls(
    context: &Context,
    reader: &Reader,
    id: &BuildId,
    wanted: &[Wanted],
) -> Result<(), Failure> {
    let places: Vec<_> = wanted
        .iter()
        .map(|wanted| Place {
            url: reader.place(&format!("{id}/{}", wanted.path)),
            sha256: wanted.sha256,
        })
        .collect();
    output::print(context.format(), &places, || {
        let urls: Vec<_> = places.iter().map(|place| place.url.as_str()).collect();
        urls.join("\n") + "\n"
    })
}

async fn finish(
    context: &Context,
    reader: &Reader,
    id: &BuildId,
    report: FetchReport,
) -> Result<(), Failure> {
    let failures: Vec<_> = report
        .failed
        .iter()
        .map(|error| crate::exit::chain(error).to_string())
        .collect();
    let shown = Report {
        build: id,
        files: &report.fetched,
        transferred: report.transferred(),
        failed: failures.clone(),
    };
    output::print(context.format(), &shown, || report.to_string())?;
    context.say(&format!(
        "{} of {id} fetched and checked, {} transferred",
        counted(report.fetched.len(), "file"),
        counted(report.transferred(), "byte")
    ));
    let Some(first) = report.failed.into_iter().next() else {
        return Ok(());
    };
    let errors = failures.join("\nerror: ");
    match first {
        FetchError::Gone { .. } => {
            Err(gone(reader, id, StoreError::NotFound { what: errors }).await)
        }
        FetchError::Corrupt { .. } => Err(Failure::new(Exit::Mirror, errors)
            .hint("nothing of it was kept; another mirror may have it right")),
        FetchError::Truncated { .. } | FetchError::Store { .. } => {
            Err(Failure::new(Exit::Mirror, errors).hint("rerun the command to resume the download"))
        }
        FetchError::Local { path, source, .. } => {
            let failure = Failure::usage(errors);
            Err(match source.kind() {
                ErrorKind::PermissionDenied => failure.hint(denied(&path)),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                    failure.hint("`--to DIR` names the directory for the files")
                }
                _ => failure.hint("rerun the command to resume the download"),
            })
        }
        FetchError::Busy { .. } => {
            Err(Failure::new(Exit::Busy, errors).hint("run the same command again when it is done"))
        }
    }
}

/// How much is there, how fast it comes and how long it takes, on a terminal.
struct Progress {
    bar: ProgressBar,
    /// Files whose size is part of the bar's length.
    known: Mutex<std::collections::BTreeSet<String>>,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        let bar = if quiet {
            ProgressBar::hidden()
        } else {
            // Hidden by itself where standard error is no terminal.
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr())
        };
        let style = ProgressStyle::with_template(
            "{wide_bar} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
        );
        Self {
            bar: bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())),
            known: Mutex::default(),
        }
    }

    fn take(&self, event: FetchEvent<'_>) {
        match event {
            FetchEvent::Begun { path, size, from } => {
                let mut known = self
                    .known
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                if known.insert(path.to_string()) {
                    self.bar.inc_length(size);
                    self.bar.inc(from);
                    self.bar.reset_eta();
                }
            }
            FetchEvent::Bytes(count) => self.bar.inc(count),
            FetchEvent::Ended { .. } => {}
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
