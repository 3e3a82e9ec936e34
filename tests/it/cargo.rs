//! Programs that cargo builds. The benchmarks use this, too.

use std::process::{Command, Stdio};

use camino::Utf8PathBuf;

/// The cargo that runs the tests.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    // Remove the variables that cargo sets for the programs it runs: build scripts that depend on them would run again.
    for (name, _) in std::env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if told {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The program `stx-builds`, built with these options if it is outdated.
pub(crate) fn built(options: &[&str]) -> Utf8PathBuf {
    let output = cargo()
        .args([
            "build",
            "--locked",
            "--message-format=json-render-diagnostics",
        ])
        .args(options)
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "stx-builds cannot be built");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(Utf8PathBuf::from))
        .expect("cargo names the executable")
}
