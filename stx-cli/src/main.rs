//! `stx-builds`: parses arguments, reads the configuration, calls the library, prints, and sets exit codes.

mod args;
mod commands;
mod complete;
mod exit;
mod interrupt;
mod output;
mod progress;
mod trace;

use std::process::ExitCode;

use camino::Utf8PathBuf;
use clap::Parser as _;
use stx_builds::Options;
use stx_builds::options::Executors;
use tokio::runtime::{Builder, Runtime};

use crate::args::{Cli, Command};
use crate::commands::Context;
use crate::exit::{Exit, Failure};

fn main() -> ExitCode {
    if complete::answer() {
        return ExitCode::SUCCESS;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let (format, color) = args::asked(std::env::args_os());
            output::choose(color);
            return exit::misused(&error, format);
        }
    };
    output::choose(cli.global.color);
    trace::start(cli.global.verbose);
    let format = cli.global.format;
    let result = enter(&cli.global.directory)
        .and_then(|()| runtime(&cli.command).map_err(|error| Failure::new(Exit::Bug, error)))
        .and_then(|runtime| runtime.block_on(run(cli)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(format),
    }
}

/// Changes to the directories of `-C`, each relative to the one before. No other thread may run yet.
fn enter(directories: &[Utf8PathBuf]) -> Result<(), Failure> {
    for directory in directories {
        std::env::set_current_dir(directory).map_err(|error| {
            Failure::usage(format!("cannot change to {directory}: {error}"))
                .hint("-C names a directory that exists")
        })?;
    }
    Ok(())
}

/// The runtime that waits for a command's processes, files and connections.
///
/// One thread suffices for a build, which waits for its phases: it avoids waking another thread for each of them, and files are
/// hashed and copied by separate threads anyway. Commands that constantly use connections get several threads.
fn runtime(command: &Command) -> std::io::Result<Runtime> {
    let mut builder = match command {
        Command::Build(_) | Command::Resume(_) | Command::Demo(_) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.enable_all().build()
}

async fn run(mut cli: Cli) -> Result<(), Failure> {
    let file = cli.global.config.as_deref();
    let mut options = match &cli.command {
        // An invalid configuration must not prevent these commands.
        Command::Completions(_) | Command::Init(_) | Command::Manual(_) => Options::default(),
        // These commands read it again with all files that it names, and report the mistakes of all files at once.
        Command::Daemon(_) | Command::Doctor(_) => Options::read(file, &Executors::default())?.0,
        _ => Options::load(file)?,
    };
    if cli.global.mirror.len() > 1 && !matches!(cli.command, Command::Fetch(_)) {
        return Err(Failure::usage("`--mirror` was given twice")
            .hint("only `fetch` takes several mirrors; name one"));
    }
    options.mirror = cli.global.mirror.first().cloned().or(options.mirror);
    for build in cli.command.builds() {
        if let Some(place) = options.place(build)? {
            options.mirror = place.mirror.map(Into::into).or(options.mirror);
            *build = place.build;
        }
    }
    let context = Context::new(cli.global, options);
    let changes = match &cli.command {
        Command::Publish(args) => !args.dry_run,
        Command::Promote(args) => !args.dry_run,
        Command::Prune(args) => !args.dry_run && args.plan_out.is_none(),
        Command::Verify(args) => args.repair,
        Command::Alias(args::Alias::Set(args)) => !args.dry_run,
        Command::Alias(args::Alias::Unset(args)) => !args.dry_run,
        Command::Adopt(args) => !args.dry_run,
        Command::Undelete(_) | Command::Pin(_) | Command::Unpin(_) => true,
        _ => false,
    };
    let work = async {
        let result = dispatch(&context, &cli.command).await;
        if changes {
            let failed = result.as_ref().err().and_then(Failure::chain);
            stx_builds::pages::after(&context.site, failed.as_deref()).await;
        }
        result
    };
    interrupt::releasing(&context, &cli.command, work).await
}

async fn dispatch(context: &Context, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => Box::pin(commands::demo::run(context, args)).await,
        Command::Init(args) => commands::init::run(context, args),
        Command::Build(args) => commands::build::run(context, args).await,
        Command::Resume(args) => commands::build::resume(context, args).await,
        Command::Cancel(args) => commands::build::cancel(context, args).await,
        Command::Recipe(args::Recipe::Check(args)) => commands::recipe::check(context, args),
        Command::Recipe(args::Recipe::Graph(args)) => commands::recipe::graph(context, args),
        Command::Publish(args) => commands::publish::run(context, args).await,
        Command::Adopt(args) => commands::adopt::run(context, args).await,
        Command::Fetch(args) => commands::fetch::run(context, args).await,
        Command::Promote(args) => commands::promote::run(context, args).await,
        Command::Copy(args) => commands::copy::run(context, args).await,
        Command::Compare(args) => commands::compare::run(context, args).await,
        Command::Diff(args) => commands::diff::run(context, args).await,
        Command::Since(args) => commands::since::run(context, args).await,
        Command::Log(args) => commands::log::run(context, args).await,
        Command::List(args) => commands::list::run(context, args).await,
        Command::Serve(args) => commands::serve::run(context, args).await,
        Command::Show(args) => commands::show::run(context, args).await,
        Command::Mark(args) => commands::mark::run(context, args).await,
        Command::Pages => commands::pages::run(context).await,
        Command::Trash => commands::trash::run(context).await,
        Command::Prune(args) => commands::retention::prune::prune(context, args).await,
        Command::Pin(args) => commands::retention::pins::pin(context, args).await,
        Command::Unpin(args) => commands::retention::pins::unpin(context, args).await,
        Command::Pins(args) => commands::retention::pins::pins(context, args).await,
        Command::Undelete(args) => commands::retention::undelete::undelete(context, args).await,
        Command::Explain(args) => commands::retention::explain::explain(context, args).await,
        Command::Forecast(args) => commands::retention::forecast::forecast(context, args).await,
        Command::Daemon(args) => Box::pin(commands::daemon::run(context, args)).await,
        Command::Doctor(args) => Box::pin(commands::doctor::run(context, args.offline)).await,
        Command::Trigger(args) => commands::trigger::run(context, args).await,
        Command::Status(args) => commands::status::run(context, args).await,
        Command::History(args) => commands::history::run(context, args),
        Command::Stats(args) => commands::history::stats(context, args),
        Command::Alias(args::Alias::List) => commands::alias::list(context).await,
        Command::Alias(args::Alias::Set(args)) => commands::alias::set(context, args).await,
        Command::Alias(args::Alias::Unset(args)) => commands::alias::unset(context, args).await,
        Command::Verify(args) => commands::verify::run(context, args).await,
        Command::Parse(args) => commands::parse::paths(context, args),
        Command::Image(args::Image::Parse(args)) => commands::parse::images(context, args),
        Command::Image(args::Image::Name(args)) => commands::parse::image_name(context, args),
        Command::Image(args::Image::Push(args)) => commands::images::push(context, args).await,
        Command::Completions(args) => commands::manual::completions(args),
        Command::Manual(args) => commands::manual::manual(context, args),
    }
}
