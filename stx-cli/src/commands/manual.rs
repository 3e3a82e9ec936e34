//! `manual` and `completions`: print the definition of the command line in other forms.
//!
//! The program generates both, so that the files of a package match its own binary.

mod configuration;
mod examples;

use std::fmt::Write as _;

use clap::CommandFactory as _;
use clap::{Arg, ArgAction};
use clap_complete::env::Shells;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::Context;
use crate::args::{Cli, Completions, Manual, Shell};
use crate::complete::VARIABLE;
use crate::exit::{Exit, Failure};
use crate::output;
use stx_builds::files::{self, Durable};

/// The title of the manual in the head of its pages.
const TITLE: &str = "StarlingX builds";

pub(crate) fn completions(args: &Completions) -> Result<(), Failure> {
    let shell = match args.shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    let name = Cli::command().get_name().to_owned();
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(shell).expect("it is built in");
    // The script calls the program of that name in `PATH`, wherever this program is.
    shell
        .write_registration(VARIABLE, &name, &name, &name, &mut script)
        .map_err(|error| Failure::new(Exit::Bug, error))?;
    let mut script = String::from_utf8(script).map_err(|error| Failure::new(Exit::Bug, error))?;
    if args.shell == Shell::Zsh
        && let Some(at) = script.rfind("\ncompdef _")
    {
        // zsh reads the file at the first completion, and expects it to complete.
        let call = script.split_off(at);
        let call = call.trim();
        let function = call.split(' ').nth(1).unwrap_or_default();
        let first = format!("[[ $funcstack[1] == _{name} ]]");
        let _ = write!(script, "\nif {first}; then {function}; else {call}; fi\n");
    }
    output::write(&script)
}

pub(crate) fn manual(context: &Context, args: &Manual) -> Result<(), Failure> {
    let date = context.site.now.format("%Y-%m-%d").to_string();
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&mut pages, None, &command, &date);
    let version = command.get_version().unwrap_or_default();
    let source = format!("{} {version}", command.get_name());
    pages.push((
        "stx-builds.toml.5".to_owned(),
        configuration::page(&date, &source),
    ));
    fs_err::create_dir_all(&args.to).map_err(Failure::usage)?;
    let mut written = Vec::new();
    for (name, page) in pages {
        let file = args.to.join(name);
        files::replace(&file, page.as_bytes(), Durable::No).map_err(Failure::usage)?;
        written.push(file);
    }
    output::print(context.format(), &written, || {
        let lines: Vec<_> = written.iter().map(|file| file.as_str()).collect();
        lines.join("\n")
    })
}

/// Adds the page of a command, and those of its subcommands, each with its file name.
fn add_pages(
    pages: &mut Vec<(String, String)>,
    parent: Option<&str>,
    command: &clap::Command,
    date: &str,
) {
    let man = Man::new(command.clone()).date(date).manual(TITLE);
    let name = command.get_display_name().unwrap_or(command.get_name());
    pages.push((man.get_filename(), page(&man, parent, command)));
    for subcommand in command.get_subcommands() {
        if !subcommand.is_hide_set() {
            add_pages(pages, Some(name), subcommand, date);
        }
    }
}

fn page(man: &Man, parent: Option<&str>, command: &clap::Command) -> String {
    let mut text = Vec::new();
    man.render_title(&mut text)
        .and_then(|()| man.render_name_section(&mut text))
        .expect("writing to memory does not fail");
    let mut synopsis = Roff::default();
    synopsis.control("SH", ["SYNOPSIS"]);
    synopsis.text(usage(command));
    text.extend(synopsis.to_roff().bytes());
    man.render_description_section(&mut text)
        .and_then(|()| man.render_options_section(&mut text))
        .and_then(|()| {
            if command.has_subcommands() {
                man.render_subcommands_section(&mut text)
            } else {
                Ok(())
            }
        })
        .expect("writing to memory does not fail");
    let mut page = String::from_utf8(text).expect("the text is made of texts");

    let mut rest = Roff::default();
    let additions = examples::of(&words(command));
    if let Some(additions) = additions {
        rest.control("SH", ["EXAMPLES"]);
        for (line, text) in additions.examples {
            rest.control("TP", []);
            rest.text([bold(format!("stx-builds {line}"))]);
            rest.text([roman(*text)]);
        }
    }
    if let Some(more) = command.get_after_help().map(ToString::to_string) {
        for section in more.split("\n\n") {
            let is_status = section.starts_with("Exit codes");
            rest.control("SH", [if is_status { "EXIT STATUS" } else { "NOTES" }]);
            rest.control("nf", []);
            for line in section.lines() {
                rest.text([roman(line)]);
            }
            rest.control("fi", []);
        }
    } else {
        rest.control("SH", ["EXIT STATUS"]);
        rest.text([roman("As stx-builds(1) says.")]);
    }
    rest.control("SH", ["SEE ALSO"]);
    let related = additions.map_or(&[][..], |additions| additions.see);
    let related = related
        .iter()
        .map(|name| format!("stx-builds-{}", name.replace(' ', "-")));
    let mut also: Vec<_> = parent
        .map(str::to_owned)
        .into_iter()
        .chain(related)
        .collect();
    // A subcommand may be related to its command as well.
    also.dedup();
    let mut also: Vec<_> = also.iter().map(|name| format!("{name}(1)")).collect();
    also.push("stx-builds.toml(5)".to_owned());
    rest.text([roman(also.join(", "))]);
    page.push_str(&rest.to_roff());
    page
}

/// The words of a command after the program's name.
fn words(command: &clap::Command) -> String {
    let name = command.get_bin_name().unwrap_or_default();
    let (_, words) = name.split_once(' ').unwrap_or_default();
    words.to_owned()
}

/// The synopsis: every option and argument with its value; mandatory ones have no brackets.
fn usage(command: &clap::Command) -> Vec<Inline> {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let mut line = vec![bold(name)];
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let (positionals, options): (Vec<_>, Vec<_>) = shown.partition(|arg| arg.is_positional());
    for arg in options.into_iter().chain(positionals) {
        let (open, close) = if arg.is_required_set() {
            ("", "")
        } else {
            ("[", "]")
        };
        line.push(roman(format!(" {open}")));
        line.extend(named(arg));
        let repeats = matches!(arg.get_action(), ArgAction::Append | ArgAction::Count);
        line.push(roman(format!(
            "{close}{}",
            if repeats { "..." } else { "" }
        )));
    }
    if command.has_subcommands() {
        line.extend([roman(" "), italic("COMMAND")]);
    }
    line
}

/// An argument with its value.
fn named(arg: &Arg) -> Vec<Inline> {
    let mut text = Vec::new();
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => text.push(bold(format!("--{long}"))),
        (None, Some(short)) => text.push(bold(format!("-{short}"))),
        (None, None) => {}
    }
    if arg.get_action().takes_values() {
        let values = arg.get_value_names().unwrap_or_default();
        for value in values {
            if !text.is_empty() {
                text.push(roman(" "));
            }
            text.push(italic(value.as_str()));
        }
    }
    text
}
