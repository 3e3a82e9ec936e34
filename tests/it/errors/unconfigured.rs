//! Commands without a configuration, and with one that lacks a value.

use super::{Bed, row};

#[test]
fn a_command_without_a_configuration_names_the_file_and_the_ways_out() {
    let bed = Bed::new();
    let no_file = "there is no stx-builds.toml in ";
    let ways = ["--config FILE", "`stx-builds init` writes a new one"];
    let [given, made] = ways;
    for args in ["history", "status", "list", "stats master/centos", "prune"] {
        bed.check([row(
            args,
            2,
            &[
                "no mirror is named",
                no_file,
                "give --mirror DIR",
                given,
                made,
            ],
        )]);
    }
    bed.check([
        row("daemon", 2, &[no_file, given, made]).without(&["[service]"]),
        row("trigger master --reason x", 2, &[no_file, given, made]),
        row(
            "--mirror new build --branch master",
            2,
            &["no recipe is named", no_file, "give --recipe FILE"],
        ),
    ]);
    bed.write("low/stx-builds.toml", "state = \"state\"\n");
    let file = "low/stx-builds.toml";
    bed.check([row(
        format!("--config {file} history"),
        2,
        &[
            "no mirror is named in low/stx-builds.toml",
            "`mirror = \"DIR\"` to low/stx-builds.toml",
        ],
    )
    .without(&[no_file])]);
}
