//! The examples and the related pages of each command. Tests parse every example, and check that every command has one.

/// The additions to the page of a command.
pub(super) struct Additions {
    /// The command, `recipe check` for a subcommand.
    pub(super) command: &'static str,
    /// Command lines without the program's name, each with its effect.
    pub(super) examples: &'static [(&'static str, &'static str)],
    /// Related commands.
    pub(super) see: &'static [&'static str],
}

/// The additions to a page, if any.
pub(super) fn of(command: &str) -> Option<&'static Additions> {
    ALL.iter().find(|additions| additions.command == command)
}

const fn page(
    command: &'static str,
    examples: &'static [(&'static str, &'static str)],
    see: &'static [&'static str],
) -> Additions {
    Additions {
        command,
        examples,
        see,
    }
}

#[rustfmt::skip]
const ALL: &[Additions] = &[
    page("", &[("init builds", "Write a first configuration in builds/."), ("doctor", "Find what is still wrong."), ("build --branch master", "Build a branch and publish the result.")], &["init", "doctor", "build", "daemon", "list", "fetch"]),
    page("init", &[("init builds", "Ask, and write builds/stx-builds.toml and builds/retention.toml."), ("init builds --yes --set mirror=/srv/mirror --set keep=30d", "Take the defaults and two answers.")], &["doctor", "build"]),
    page("doctor", &[("doctor --config /etc/stx-builds/stx-builds.toml", "Check the configuration of the service."), ("doctor --offline --format json", "The same for a program, without contacting other machines.")], &["init", "daemon", "recipe check"]),
    page("demo", &[("demo", "Build the sample distribution twice into demo/mirror."), ("demo --distro debian there", "The same as Debian packages.")], &["init", "serve"]),
    page("build", &[("build --branch r/stx.12.0 --dry-run", "Show what would be run, and what published."), ("build --branch master --force --reason 'new compiler'", "Build although no commit is new.")], &["resume", "cancel", "trigger"]),
    page("resume", &[("resume master/centos", "Resume the interrupted build of a channel."), ("resume master/centos --as-failed", "Publish it as failed instead.")], &["build", "cancel"]),
    page("cancel", &[("cancel master/centos", "End the running build of a channel.")], &["build", "resume", "trigger"]),
    page("log", &[("log master/centos", "Print the logs of a build."), ("log master/centos sync --follow", "Follow the log of a phase that runs.")], &["status", "show", "history"]),
    page("recipe", &[("recipe check my.toml", "Report every mistake in a recipe.")], &["recipe check", "recipe graph"]),
    page("recipe check", &[("recipe check my.toml --set GIT_USER=me", "Check with a value that the recipe asks for.")], &["recipe graph", "doctor"]),
    page("recipe graph", &[("recipe graph my.toml --as dot", "Draw the phases for Graphviz.")], &["recipe check"]),
    page("publish", &[("publish tree --channel master/centos --date 20181105T060000Z --result success", "Publish tree/inputs and tree/outputs.")], &["build", "promote", "verify"]),
    page("promote", &[("promote master/debian --to release/12.0.0 --dry-run", "Show what the newest good build would become."), ("promote master/debian/20260101T060000Z --to release/12.0.0", "Publish a tested build as a release.")], &["mark", "alias", "publish"]),
    page("adopt", &[("adopt --dry-run", "Show what builds of an older publisher would become."), ("adopt release/2018.10/centos --assume success", "Adopt the builds of one channel.")], &["verify", "publish"]),
    page("mark", &[("mark master/centos/20181105T060000Z green --reason 'sanity passed'", "Record that the tests of a build passed."), ("mark master/centos red --spool", "Leave the verdict for the service.")], &["promote", "show"]),
    page("alias", &[("alias list", "List the names of releases and channels.")], &["alias list", "alias set", "alias unset", "promote"]),
    page("alias list", &[("alias list --format json", "List them for a program.")], &["alias set"]),
    page("alias set", &[("alias set r2018.10 release/2018.10", "Point an old name at a release.")], &["alias unset", "alias list"]),
    page("alias unset", &[("alias unset r2018.10", "Remove the name.")], &["alias set"]),
    page("verify", &[("verify", "Read every byte of the mirror."), ("verify master/centos --repair", "Repair interrupted changes in a channel.")], &["adopt", "pages"]),
    page("pages", &[("pages", "Rewrite the pages.")], &["verify", "serve"]),
    page("prune", &[("prune --dry-run", "Show what the policy would retire, and why."), ("prune --plan-out plan.json", "Write the plan, to review it."), ("prune --plan plan.json", "Apply the reviewed plan.")], &["explain", "forecast", "pin", "undelete"]),
    page("explain", &[("explain master/centos/20181105T060000Z", "Explain why a build is kept or retired.")], &["prune", "forecast"]),
    page("forecast", &[("forecast --days 90", "Show the next three months.")], &["prune", "explain"]),
    page("pin", &[("pin master/centos/20181105T060000Z --reason 'lab reference' --until 2019-06-01", "Keep a build until a day.")], &["unpin", "pins", "prune"]),
    page("unpin", &[("unpin master/centos/20181105T060000Z", "Let retention decide again.")], &["pin", "pins"]),
    page("pins", &[("pins master/centos", "List the pins of a channel.")], &["pin", "unpin"]),
    page("trash", &[("trash", "List what can be restored, and until when.")], &["undelete", "prune"]),
    page("undelete", &[("undelete master/centos/20181105T060000Z", "Restore a build from the trash.")], &["trash", "pin"]),
    page("list", &[("list", "List the channels."), ("list master/centos", "List the builds of one.")], &["show", "fetch"]),
    page("show", &[("show master/centos", "Show the newest good build."), ("show master/centos/20181105T060000Z --provenance", "Show who built it of what.")], &["list", "compare"]),
    page("fetch", &[("fetch master/centos iso --mirror https://mirror.example.org/starlingx --to images", "Download the newest good image, checked."), ("fetch release/12.0.0/debian debs --keyring starlingx.asc", "Download packages of a release that a trusted key signed.")], &["show", "copy"]),
    page("copy", &[("copy https://mirror.example.org/starlingx /srv/mirror --dry-run", "Show what a downstream mirror lacks."), ("copy /srv/mirror s3://bucket/mirror --channel release/12.0.0/debian", "Copy one channel into a bucket.")], &["fetch", "verify"]),
    page("compare", &[("compare hello.rpm --with master/centos", "Compare a package with the newest good build."), ("compare master/centos/20181104T060000Z master/centos/20181105T060000Z", "Compare two builds.")], &["since", "show"]),
    page("diff", &[("diff master/centos/20181104T060000Z master/centos/20181105T060000Z", "Sum up what changed between two builds.")], &["compare", "since"]),
    page("since", &[("since kernel --in master/centos", "Find the build that last changed a package.")], &["compare", "show"]),
    page("serve", &[("serve --port 8081", "Serve the mirror to this machine.")], &["pages", "demo"]),
    page("parse", &[("parse https://mirror.example.org/mirror/starlingx/rc/4.0/centos/flock/", "Explain the parts of a URL.")], &["image parse"]),
    page("image", &[("image parse docker.io/starlingx/stx-nova:master-centos-stable-latest", "Explain the parts of an image's name.")], &["image parse", "image name", "image push"]),
    page("image parse", &[("image parse docker.io/starlingx/stx-nova:master-centos-stable-latest", "Explain the parts of an image's name.")], &["image name", "parse"]),
    page("image name", &[("image name --component stx-nova --prefix master --os centos --stream stable", "Form the name that an image of a component gets.")], &["image parse"]),
    page("image push", &[("image push master/centos", "Push the images of a build, and make their tags.")], &["image parse", "publish"]),
    page("daemon", &[("daemon --config /etc/stx-builds/stx-builds.toml", "Run the service."), ("daemon --check --offline", "Check its configuration.")], &["doctor", "trigger", "status"]),
    page("trigger", &[("trigger r/stx.12.0 --reason 'for QA'", "Ask for a build."), ("trigger --cancel 17", "Take request 17 back, or end its build.")], &["history", "status", "daemon"]),
    page("status", &[("status", "Show the queue, running builds and alarms."), ("status --watch", "Watch running builds.")], &["history", "stats", "trigger"]),
    page("history", &[("history master/centos --limit 10", "List the latest requests of a channel."), ("history --log 17", "Print the logs of a build that was not published.")], &["status", "stats"]),
    page("stats", &[("stats master/centos", "Show how long its phases took.")], &["history", "status"]),
    page("completions", &[("completions bash", "Print the script; source it, or install it.")], &["manual"]),
    page("manual", &[("manual --to man", "Write the pages to a directory.")], &["completions"]),
];

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::args::Cli;

    /// Collects the names of commands; the name of a subcommand includes that of its command.
    fn names(command: &clap::Command, above: &str, all: &mut Vec<String>) {
        for command in command
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
        {
            let name = format!("{above} {}", command.get_name()).trim().to_owned();
            names(command, &name, all);
            all.push(name);
        }
    }

    #[test]
    fn examples_are_command_lines_and_related_pages_exist() {
        let mut known = Vec::new();
        names(
            &Cli::command().disable_help_subcommand(true),
            "",
            &mut known,
        );
        for Additions {
            command,
            examples,
            see,
        } in ALL
        {
            assert!(
                command.is_empty() || known.iter().any(|name| name == command),
                "{command}: no such command"
            );
            assert!(!examples.is_empty(), "{command}");
            for (line, text) in *examples {
                assert!(
                    line.starts_with(command) && text.ends_with('.'),
                    "{line}: {text}"
                );
                let words = shell_words::split(line).expect("a command line");
                let words = std::iter::once("stx-builds".to_owned()).chain(words);
                let parsed = Cli::command().try_get_matches_from(words);
                assert!(
                    parsed.is_ok(),
                    "{line}: {}",
                    parsed
                        .err()
                        .map(|error| error.to_string())
                        .unwrap_or_default()
                );
            }
            for other in *see {
                assert!(
                    known.iter().any(|name| name == other),
                    "{command}: see also {other}"
                );
            }
        }
    }

    #[test]
    fn every_command_has_an_example() {
        let mut known = Vec::new();
        names(
            &Cli::command().disable_help_subcommand(true),
            "",
            &mut known,
        );
        let missing = known.iter().filter(|name| of(name).is_none());
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new());
    }
}
