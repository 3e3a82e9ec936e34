//! The program that is measured.

use std::process::{Command, Stdio};

use camino::Utf8PathBuf;

/// The release build of `stx-builds`, made if it is not up to date.
pub(crate) fn release() -> Utf8PathBuf {
    let output = Command::new(env!("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "-p",
            "stx-cli",
            "--message-format=json-render-diagnostics",
        ])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo");
    assert!(output.status.success(), "stx-builds cannot be built");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(Utf8PathBuf::from))
        .expect("cargo names the executable")
}
