//! `copy`: builds of one mirror on another.

use std::io::IsTerminal as _;

use camino::{Utf8Path, Utf8PathBuf};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::Digest as _;
use stx_layout::counted;
use stx_publish::replicate::{
    CopyError, CopyEvent, CopyPlan, CopyReport, CopyRequest, copy, plan, survey,
};
use stx_publish::{MemoryStore, MirrorRead, StoreError};

use super::{Context, Mirror, Reader, exit_of, pages, refused};
use crate::args::Copy;
use crate::config::{Place, anywhere};
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) async fn run(context: &Context, args: &Copy) -> Result<(), Failure> {
    if same_place(&args.from, &args.to) {
        return Err(
            Failure::usage(format!("{} and {} are the same mirror", args.from, args.to))
                .hint("copy FROM TO: name another mirror as TO"),
        );
    }
    let from = context.trusted(Reader::open(context, &args.from)?, &args.trust)?;
    let request = CopyRequest {
        channels: args.channel.iter().cloned().collect(),
        delete: args.delete,
    };
    let target = match Mirror::open(context, &args.to) {
        Ok(target) => Some(target),
        Err(failure) if failure.exit == Exit::NotFound => {
            Mirror::may_create(&args.to)?;
            None
        }
        Err(failure) => return Err(failure),
    };
    let empty = MemoryStore::new();
    let there: &dyn MirrorRead = match &target {
        Some(target) => &**target,
        None => &empty,
    };
    let (one, other) = survey(from.store(), there, &request)
        .await
        .map_err(refused)?;
    for channel in &request.channels {
        if !one.catalog.channels.contains_key(channel) {
            let failure = Failure::new(Exit::NotFound, format!("{channel}: not on {}", args.from));
            return Err(failure.hint(format!(
                "`stx-builds list --mirror {}` names the channels",
                args.from
            )));
        }
    }
    let planned = plan(&one, &other, &request);
    if args.dry_run {
        output::print(context.format(), &planned, || planned.to_string())?;
        return left(&planned.problems(), false);
    }
    let target = match target {
        Some(target) => target,
        None => Mirror::open_or_create(context, &args.to)?,
    };
    let work = match &args.work {
        Some(work) => work.clone(),
        None => work_dir(&args.to)?,
    };
    let report = copied(context, &from, &target, &planned, &work).await;
    // The pages are those of the second mirror, and come last. Where there is nothing to copy, an earlier run may have been
    // killed before it made them; where this one broke off, some builds are there.
    pages::renew(context, &*target, context.now).await;
    let report = report?;
    from.remember()?;
    output::print(context.format(), &report, || human(&report))?;
    left(&report.left, context.format() == crate::args::Format::Human)
}

/// Whether two names are those of one mirror.
fn same_place(from: &Utf8Path, to: &Utf8Path) -> bool {
    let real = |name: &Utf8Path| match Place::of(name) {
        Place::Directory => name.canonicalize_utf8().ok(),
        Place::Bucket | Place::Web => Some(name.as_str().trim_end_matches('/').into()),
    };
    real(from).is_some_and(|from| real(to) == Some(from))
}

async fn copied(
    context: &Context,
    from: &Reader,
    target: &Mirror,
    planned: &CopyPlan,
    work: &Utf8Path,
) -> Result<CopyReport, Failure> {
    let shown = std::io::stderr().is_terminal() && !context.global.quiet;
    let bar = if shown {
        ProgressBar::new(0)
    } else {
        ProgressBar::hidden()
    };
    let style = ProgressStyle::with_template(
        "{msg} {bar:20} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let observe = |event: CopyEvent<'_>| match event {
        CopyEvent::Build {
            build,
            done,
            of,
            bytes,
        } => {
            bar.set_length(bytes);
            bar.set_position(0);
            bar.reset_eta();
            bar.set_message(format!("{build} ({} of {of})", done + 1));
        }
        CopyEvent::Bytes(bytes) => bar.inc(bytes),
    };
    let report = copy(
        from.store(),
        &**target,
        planned,
        work,
        context.now,
        &observe,
    )
    .await;
    bar.finish_and_clear();
    // Empty, unless the copy broke off.
    drop(fs_err::remove_dir(work));
    report.map_err(failed)
}

/// Where files on their way are kept: beside a mirror in a directory, else in the user's cache; another one for each mirror.
fn work_dir(to: &Utf8Path) -> Result<Utf8PathBuf, Failure> {
    let to = anywhere(to)?;
    if Place::of(&to) == Place::Directory {
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
        Failure::usage("no directory for files on their way: HOME is not set")
            .hint("`--work DIR` names one")
    })?;
    Ok(cache.join("stx-builds/copy").join(name))
}

/// What was left as it is fails the command, so that nobody takes the mirrors for equal.
fn left(problems: &[String], said: bool) -> Result<(), Failure> {
    if problems.is_empty() {
        return Ok(());
    }
    if said {
        for problem in problems {
            output::note(&format!("left {}", stx_layout::printable(problem)));
        }
    }
    Err(Failure::said(Exit::Mirror)
        .hint("all else was copied, or would be; `verify` says which mirror is wrong"))
}

fn human(report: &CopyReport) -> String {
    let copied = report
        .copied
        .iter()
        .map(|build| format!("copied {build}\n"));
    let moved = report.moved.iter().map(|alias| format!("moved {alias}\n"));
    let retired = report
        .retired
        .iter()
        .map(|build| format!("retired {build}\n"));
    let lines: Vec<_> = copied.chain(moved).chain(retired).collect();
    format!(
        "{}{} copied, {} transferred, {} already existed\n",
        lines.concat(),
        counted(report.copied.len(), "build"),
        output::bytes(report.transferred),
        output::bytes(report.shared)
    )
}

fn failed(error: CopyError) -> Failure {
    let again = "what was copied stays; rerun the command to resume";
    match &error {
        CopyError::Target {
            source: StoreError::Busy { .. },
            ..
        } => Failure::new(Exit::Busy, error).hint("run the same command again when it is done"),
        CopyError::Source { source, .. } | CopyError::Target { source, .. } => {
            Failure::new(exit_of(source), error).hint(again)
        }
        CopyError::AfterEffect { .. } => Failure::new(Exit::Mirror, error)
            .hint("rerun the command: it makes the copy durable and resumes"),
        CopyError::File { .. } => Failure::new(Exit::Mirror, error).hint(again),
        CopyError::Work { .. } => {
            Failure::usage(error).hint("`--work DIR` names another directory")
        }
    }
}
