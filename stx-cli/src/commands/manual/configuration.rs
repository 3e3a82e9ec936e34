//! `stx-builds.toml(5)`, generated from the sample configuration.

use clap_mangen::roff::{Roff, bold, roman};

/// The sample configuration, which packages install.
///
/// Empty lines divide it. `## ` begins a section; `# ` begins prose, which also describes the keys below it; keys that are commented
/// out have no space after the `#`.
const SAMPLE: &str = include_str!("sample.toml");

/// The page.
pub(super) fn page(date: &str, source: &str) -> String {
    let mut page = Roff::default();
    page.control("TH", ["stx-builds.toml", "5", date, source, super::TITLE]);
    page.control("SH", ["NAME"]);
    page.text([roman("stx-builds.toml - configuration of stx-builds")]);
    page.control("SH", ["DESCRIPTION"]);
    for (n, block) in SAMPLE.split("\n\n").enumerate() {
        add(&mut page, block, n == 0);
    }
    page.control("SH", ["FILES"]);
    for (file, text) in [
        (
            "stx-builds.toml",
            "In the current directory or the nearest one above that has it.",
        ),
        (
            "/etc/stx-builds/stx-builds.toml",
            "What the service of the packages reads.",
        ),
    ] {
        page.control("TP", []);
        page.text([bold(file)]);
        page.text([roman(text)]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([roman("stx-builds(1)")]);
    page.to_roff()
}

/// Adds a block of the sample; `begins` is true for the first block of its section.
fn add(page: &mut Roff, block: &str, mut begins: bool) {
    let mut prose = Vec::new();
    let mut keys = Vec::new();
    for line in block.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            page.control("SH", [heading.to_uppercase().as_str()]);
            begins = true;
        } else if let Some(text) = line.strip_prefix("# ") {
            prose.push(roman(format!("{text}\n")));
        } else {
            keys.push(line.strip_prefix('#').unwrap_or(line));
        }
    }
    for (n, key) in keys.iter().enumerate() {
        page.control(if n == 0 { "TP" } else { "TQ" }, []);
        page.text([bold(*key)]);
    }
    if keys.is_empty() && !begins {
        page.control("PP", []);
    }
    page.text(prose);
}
