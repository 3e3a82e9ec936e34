//! An independent observation of the same run: `strace`.

use std::collections::BTreeMap;

use super::sweep::Sweep;
use super::{TODAY, command};
use crate::harness::{names, run, tool};

/// The numbers of successful changes of an undisturbed run by `strace`, by name; with one file per thread, so that no line is split.
pub(super) fn counted(sweep: &Sweep) -> BTreeMap<String, usize> {
    let sandbox = sweep.restore("strace");
    let command = command(&sandbox, TODAY, &sweep.args);
    let logs = sweep.at("strace-logs");
    fs_err::create_dir(&logs).expect("a directory");
    let out = logs.join("thread").into_string();
    let mut strace = tool(
        "sh",
        [
            "-c",
            "umask 077 && exec strace -ff -z -y -s 0 -e signal=none -o \"$0\" \"$@\"",
            &out,
        ],
    );
    strace
        .arg(command.get_program())
        .args(command.get_args())
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(&sandbox);
    run(&mut strace).ok();
    let mut counts = BTreeMap::new();
    for name in names(&logs) {
        let log = fs_err::read_to_string(logs.join(name)).expect("UTF-8");
        for line in log.lines() {
            let Some((name, rest)) = line.split_once('(') else {
                continue;
            };
            let target = rest.split(['<', '>']).nth(1).unwrap_or_default();
            let counted = match name {
                "creat" => true,
                "open" | "openat" | "openat2" => {
                    ["O_CREAT", "O_TRUNC", "O_WRONLY", "O_RDWR"]
                        .iter()
                        .any(|flag| rest.contains(flag))
                        && !rest.contains("\"/dev/")
                }
                "write" | "writev" | "pwrite64" => target.starts_with(sandbox.as_str()),
                _ => {
                    let words = [
                        "mkdir",
                        "mknod",
                        "rmdir",
                        "unlink",
                        "rename",
                        "link",
                        "symlink",
                        "copy_file_range",
                        "sendfile",
                        "splice",
                        "truncate",
                        "fallocate",
                        "chmod",
                        "chown",
                        "utim",
                        "setxattr",
                        "removexattr",
                        "sync",
                        "flock",
                    ];
                    words.iter().any(|word| name.contains(word)) && !name.starts_with("readlink")
                }
            };
            if counted {
                *counts.entry(name.to_owned()).or_default() += 1;
            }
        }
    }
    counts
}
