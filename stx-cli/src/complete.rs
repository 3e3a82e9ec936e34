//! Completion: the shell calls the program for the words that can follow.
//!
//! The scripts that `completions` prints run the program with [`VARIABLE`] set and the words of the line as arguments. Names on a
//! mirror or in the configuration are completed by reading these ([`Site::known_builds`] and similar methods). An error yields no
//! completions and prints nothing: a message would appear in the line that the user types.

use std::ffi::OsStr;

use camino::Utf8PathBuf;
use clap::builder::ValueHint;
use clap::{Arg, CommandFactory as _};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use stx_builds::build_ref::BuildRef;
use stx_builds::{Options, Site};

use crate::args::Cli;

/// The environment variable in which a shell names itself.
pub(crate) const VARIABLE: &str = "STX_BUILDS_COMPLETE";

/// Answers a shell that requests completions. True if a shell did.
pub(crate) fn answer() -> bool {
    if std::env::var_os(VARIABLE).is_none_or(|shell| shell.is_empty()) {
        return false;
    }
    for dir in given("-C") {
        // A directory that does not exist yields no completions.
        std::env::set_current_dir(dir).ok();
    }
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(command).var(VARIABLE);
    // Without an answer, the shell offers nothing; an error message would spoil the line.
    asked
        .try_complete(std::env::args_os(), here.as_deref())
        .ok();
    true
}

/// The command line, with a completer for each argument.
pub(crate) fn command() -> clap::Command {
    hinted(Cli::command())
}

/// The kind of the words that complete an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Channels,
    Builds,
    Entries,
    Phases,
    Branches,
}

impl Kind {
    /// The kind of an argument, by the names of its value and by its own name.
    fn of(arg: &Arg) -> Option<Self> {
        let said = arg.get_value_names().unwrap_or_default();
        let mut said = said.iter().flat_map(|said| said.split('|'));
        let id = arg.get_id().as_str();
        if said.clone().any(|said| said == "BUILD") || id == "build" {
            return Some(Self::Builds);
        }
        if said.clone().any(|said| said == "CHANNEL") || id == "channel" {
            return Some(Self::Channels);
        }
        match id {
            "what" if said.any(|said| said == "WHAT") => Some(Self::Entries),
            "phase" => Some(Self::Phases),
            "branch" => Some(Self::Branches),
            _ => None,
        }
    }

    /// The words that complete the beginning of a word.
    fn words(self, begun: &str) -> Vec<String> {
        let Some(site) = site() else {
            return Vec::new();
        };
        match self {
            Self::Channels => site.known_channels(),
            Self::Builds => site.known_builds(begun),
            Self::Entries => site.known_entries(&build()),
            Self::Phases => site.known_phases(),
            Self::Branches => site.known_branches(),
        }
    }
}

/// The words of the line, beginning with the program's name.
fn line() -> Vec<String> {
    let words = std::env::args().skip_while(|word| word != "--").skip(1);
    words.collect()
}

/// The values of an option on the line, in order.
fn given(option: &str) -> Vec<String> {
    let line = line();
    let mut words = line.iter();
    let mut values = Vec::new();
    while let Some(word) = words.next() {
        let value = match word.strip_prefix(option) {
            Some("") => words.next().cloned(),
            Some(joined) => match joined.strip_prefix('=') {
                Some(value) => Some(value.to_owned()),
                // `-CDIR`; a longer word with two hyphens is another option.
                None => (!option.starts_with("--")).then(|| joined.to_owned()),
            },
            None => None,
        };
        values.extend(value);
    }
    values
}

/// The build on the line of `fetch`: the first word that can be one.
fn build() -> String {
    let line = line();
    let mut behind = line.into_iter().skip_while(|word| word != "fetch").skip(1);
    behind
        .find(|word| word.parse::<BuildRef>().is_ok())
        .unwrap_or_default()
}

/// The site that the command line refers to.
fn site() -> Option<Site> {
    let file = given("--config").pop();
    let file = file.or_else(|| std::env::var("STX_BUILDS_CONFIG").ok());
    let file = file.map(Utf8PathBuf::from);
    // A mistake elsewhere in the file does not prevent completion.
    let read = Options::read(file.as_deref(), &stx_builds::options::Executors::default());
    let (mut options, _) = read.ok()?;
    let mirror = given("--mirror").into_iter().next();
    options.mirror = mirror.map(Utf8PathBuf::from).or(options.mirror);
    Some(Site::open(options))
}

/// The same command with a completer for each argument, by the name of its value: files, directories, or names of the mirror.
fn hinted(command: clap::Command) -> clap::Command {
    let hint = |arg: Arg| {
        if !arg.get_action().takes_values() {
            return arg;
        }
        let said = arg.get_value_names().unwrap_or_default();
        let is = |name| {
            let mut said = said.iter().flat_map(|said| said.split('|'));
            said.any(|said| said == name)
        };
        if is("DIR") || is("GITDIR") {
            arg.value_hint(ValueHint::DirPath)
        } else if is("FILE") || is("RPM") {
            arg.value_hint(ValueHint::FilePath)
        } else if let Some(kind) = Kind::of(&arg) {
            let files = is("PACKAGE");
            arg.add(ArgValueCompleter::new(move |begun: &OsStr| {
                candidates(kind, begun, files)
            }))
        } else {
            arg.value_hint(ValueHint::Other)
        }
    };
    command.mut_args(hint).mut_subcommands(hinted)
}

/// The words of a kind that begin with `begun`; with `files`, also the files of the current directory.
fn candidates(kind: Kind, begun: &OsStr, files: bool) -> Vec<CompletionCandidate> {
    use clap_complete::engine::{PathCompleter, ValueCompleter as _};
    let words = begun.to_str().map(|begun| {
        let words = kind.words(begun).into_iter();
        words
            .filter(|word| word.starts_with(begun))
            .collect::<Vec<_>>()
    });
    let words = words.unwrap_or_default().into_iter().enumerate();
    // Keep this order: the newest build is first.
    let words =
        words.map(|(index, word)| CompletionCandidate::new(word).display_order(Some(index)));
    let files = files.then(|| PathCompleter::file().complete(begun));
    words.chain(files.into_iter().flatten()).collect()
}
