//! The page of one build.

use std::collections::BTreeMap;

use askama::Template;
use sha2::Digest as _;
use stx_layout::index::{BuildIndex, PageName};
use stx_layout::{
    BuildPath, Channel, Origin, PhaseRecord, PhaseStatus, Sha256, Sums, VerdictEntry, counted,
    encode_path,
};
use stx_publish::seal::SUMS_SIGNATURE;
use stx_publish::thinning::ThinnedSection;

use super::files::{File, Group, groups};
use super::{
    Bar, Row, breakable, file_name, in_shell, in_url, is_web, moment, printed, rfc3339, size,
    title, way_up,
};
use crate::site::Site;
use crate::sources;

/// The version of the page; increase it when the code here renders something else. Changes to the templates are detected
/// automatically.
const FORM: u32 = 1;

/// The largest number of commits on a page.
const MOST_COMMITS: usize = 200;

/// The largest number of changed packages that are shown without a click.
const FEW: usize = 20;

/// The contents of a build that its page shows.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Every file with its size, and every symlink without.
    pub(crate) files: BTreeMap<BuildPath, Option<u64>>,
    /// The sections that retention removed.
    pub(crate) taken: Vec<ThinnedSection>,
    /// True if its sums have a signature.
    pub(crate) is_signed: bool,
    /// The text that names its commits: its path, its first lines, and true if there are no more.
    pub(crate) commits: Option<(BuildPath, String, bool)>,
}

/// The digest of everything on the pages of builds that does not come from a build.
pub(crate) fn look(site: &Site, keys: Option<&str>) -> Sha256 {
    let mut hash = sha2::Sha256::new();
    for text in [
        &format!("{FORM} {}", env!("CARGO_PKG_VERSION")),
        title(site),
        site.url.as_deref().unwrap_or("\0"),
        keys.unwrap_or("\0"),
        include_str!("../../templates/base.html"),
        include_str!("../../templates/build.html"),
        include_str!("../../templates/style.css"),
        include_str!("../../templates/mirror.js"),
    ] {
        hash.update(text);
        // A separator: without it, the end of one text could be the beginning of the next.
        hash.update([0xff]);
    }
    Sha256(hash.finalize().into())
}

/// The text of the page.
pub(crate) fn build_page(
    site: &Site,
    channel: &Channel,
    build: &BuildIndex,
    keys: Option<&str>,
    facts: &Facts,
) -> String {
    let row = Row::new(build);
    let place = Place {
        url: site.url.as_deref(),
        build: format!("{channel}/{}", build.date),
    };
    let found = |path: &str| {
        let path = path.parse::<BuildPath>().ok()?;
        facts.files.contains_key(&path).then_some(path)
    };
    let record = build.record.as_ref();
    let phases = record.iter().flat_map(|record| &record.phases);
    let phases = phases.map(|phase| Phase {
        record: phase,
        bar: row.phases.iter().find(|bar| bar.phase.name == phase.name),
        log: found(&format!("outputs/logs/{}.log", phase.name)),
    });
    let snippets = sources::of_build(site, channel, build, keys);
    let snippets = snippets.into_iter().filter_map(|(name, text)| {
        Some(Snippet {
            install: place.install(name)?,
            file: name.file_name().into_owned(),
            text: text?,
        })
    });
    let page = BuildPage {
        title: title(site),
        channel,
        root: way_up(channel),
        checks: place.checks(build, facts.is_signed && keys.is_some()),
        papers: papers(facts),
        groups: groups(facts),
        phases: phases.collect(),
        snippets: snippets.collect(),
        commits: facts.commits.as_ref().map(Commits::new),
        taken: &facts.taken,
        row: &row,
    };
    printed(page.render())
}

#[derive(Template)]
#[template(path = "build.html")]
struct BuildPage<'a> {
    title: &'a str,
    channel: &'a Channel,
    /// The relative path to the root.
    root: String,
    row: &'a Row<'a>,
    checks: Vec<Check>,
    papers: Vec<Paper>,
    groups: Vec<Group>,
    phases: Vec<Phase<'a>>,
    snippets: Vec<Snippet>,
    commits: Option<Commits<'a>>,
    taken: &'a [ThinnedSection],
}

impl BuildPage<'_> {
    /// The verdicts, newest first.
    fn verdicts(&self) -> impl Iterator<Item = &VerdictEntry> {
        self.row.build.verdicts.iter().rev()
    }
}

/// True if a list is short enough to be shown without a click.
fn few(count: usize) -> bool {
    count <= FEW
}

/// A phase, its place in the chart, and its log.
struct Phase<'a> {
    record: &'a PhaseRecord,
    bar: Option<&'a Bar<'a>>,
    log: Option<BuildPath>,
}

impl Phase<'_> {
    fn status(&self) -> &'static str {
        self.record.status.as_str()
    }

    /// The class of the mark that shows its outcome.
    fn class(&self) -> &'static str {
        match self.record.status {
            PhaseStatus::Succeeded => "success",
            PhaseStatus::Failed | PhaseStatus::TimedOut => "fail",
            PhaseStatus::Cancelled | PhaseStatus::Skipped => "unknown",
        }
    }
}

/// A way to check a download.
struct Check {
    what: &'static str,
    line: String,
}

/// A file that makes `apt` or `dnf` install from the build.
struct Snippet {
    /// The command that installs it.
    install: String,
    file: String,
    text: String,
}

/// A file that describes the build.
struct Paper {
    name: String,
    path: String,
    what: &'static str,
}

/// The placeholder for the URL of a mirror that is not configured; a script replaces it.
const SOME_MIRROR: &str = "URL-of-this-mirror";

/// The location of the build, for commands that are pasted into a shell.
struct Place<'a> {
    url: Option<&'a str>,
    /// The build's path in the mirror.
    build: String,
}

impl Place<'_> {
    fn root(&self) -> &str {
        self.url.unwrap_or(SOME_MIRROR).trim_end_matches('/')
    }

    /// The URL of a path of the mirror, quoted for a shell.
    fn url(&self, path: &str) -> String {
        in_shell(format!("{}/{}", self.root(), encode_path(path)))
    }

    fn of_build(&self, name: &str) -> String {
        self.url(&format!("{}/{name}", self.build))
    }

    /// The ways to check a download, each one line for a shell.
    fn checks(&self, build: &BuildIndex, is_signed: bool) -> Vec<Check> {
        let sums = self.of_build(Sums::FILE_NAME);
        let mut checks = Vec::with_capacity(3);
        let has_iso = !build.iso.is_empty();
        checks.push(if has_iso {
            Check {
                what: "In the directory of the downloaded image",
                line: format!(
                    "curl -fsS {sums} | sed -n 's|  outputs/iso/|  |p' | sha256sum -c --ignore-missing"
                ),
            }
        } else {
            Check {
                what: "In a directory that holds files of the build under their paths, outputs/… for example",
                line: format!("curl -fsS {sums} | sha256sum -c --ignore-missing"),
            }
        });
        if is_signed {
            checks.push(Check {
                what: "Who signed the checksums; compare the fingerprint with one from another source",
                line: format!(
                    "curl -fsS --remote-name-all {} {sums} {} && gpg --import KEYS && gpg --verify {SUMS_SIGNATURE} {}",
                    self.url("KEYS"),
                    self.of_build(SUMS_SIGNATURE),
                    Sums::FILE_NAME,
                ),
            });
        }
        let what = if has_iso { "iso" } else { "outputs" };
        let keyring = if is_signed { " --keyring KEYS" } else { "" };
        checks.push(Check {
            what: if is_signed {
                "All of it at once, with that key, while it downloads"
            } else {
                "Or checked while it downloads"
            },
            line: format!(
                "stx-builds fetch {} {what} --mirror {}{keyring}",
                in_shell(&self.build),
                in_shell(format!("{}/", self.root())),
            ),
        });
        checks
    }

    /// The command that installs a file for `apt` or `dnf`.
    fn install(&self, name: PageName) -> Option<String> {
        let channel = self
            .build
            .rsplit_once('/')
            .map_or("", |(channel, _)| channel);
        let file = self.url(&format!("{channel}/{}", name.file_name()));
        match name {
            PageName::AptSourcesOf(_) => {
                let to = "/etc/apt/sources.list.d/stx.sources";
                Some(format!(
                    "sudo curl -fsSo {to} {file} && sudo apt-get update"
                ))
            }
            PageName::DnfRepoOf(_) => Some(format!("sudo dnf config-manager --add-repo {file}")),
            PageName::IndexJson
            | PageName::IndexSignature
            | PageName::IndexHtml
            | PageName::Feed
            | PageName::Keys
            | PageName::AptSources
            | PageName::DnfRepo
            | PageName::HtmlOf(_) => None,
        }
    }
}

/// The files that describe the build: record, sums, provenance, bills of materials and commits.
fn papers(facts: &Facts) -> Vec<Paper> {
    let paper = |path: &str, what| Paper {
        name: path.rsplit('/').next().unwrap_or(path).to_owned(),
        path: path.to_owned(),
        what,
    };
    let mut papers = vec![paper(Sums::FILE_NAME, "digests of all files")];
    if facts.is_signed {
        papers.push(paper(SUMS_SIGNATURE, "their signature"));
    }
    for path in facts.files.keys() {
        let what = match path.as_str() {
            "build.json" => "record of the build",
            "provenance.json" => "provenance (SLSA)",
            "provenance.intoto.jsonl" => "provenance (SLSA), signed",
            "origin/provenance.json" | "origin/provenance.intoto.jsonl" => {
                "provenance of the build that was promoted"
            }
            "outputs/CONTEXT" | "outputs/CONTEXT.sh" => {
                "commits that it was built of, to build it again"
            }
            "outputs/CHANGELOG" | "outputs/CHANGELOG.txt" => "commits since the build before",
            "outputs/LAST_COMMITS" => "last commit of each repository",
            "outputs/BUILD_INFO" | "outputs/BUILD_INFO.txt" => "description of the build",
            other if other.ends_with(".cdx.json") => "bill of materials (CycloneDX)",
            _ => continue,
        };
        papers.push(paper(path.as_str(), what));
    }
    papers
}

/// The commits of a build, by git.
struct Commits<'a> {
    path: &'a BuildPath,
    gits: BTreeMap<&'a str, Vec<Commit<'a>>>,
    /// Lines that are not commits.
    others: Vec<&'a str>,
    listed: usize,
    /// True if the text has no more commits.
    is_whole: bool,
}

/// A line of a `CHANGELOG`.
struct Commit<'a> {
    id: &'a str,
    day: &'a str,
    /// Committer and subject.
    text: &'a str,
}

impl<'a> Commits<'a> {
    fn new((path, text, is_whole): &'a (BuildPath, String, bool)) -> Self {
        let mut commits = Self {
            path,
            gits: BTreeMap::new(),
            others: Vec::new(),
            listed: 0,
            is_whole: *is_whole,
        };
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if commits.listed == MOST_COMMITS {
                commits.is_whole = false;
                break;
            }
            commits.listed += 1;
            match commit(line) {
                Some((git, commit)) => commits.gits.entry(git).or_default().push(commit),
                None => commits.others.push(line),
            }
        }
        commits
    }
}

/// Parses `<git> <sha> <iso date> <committer> <subject>`. Other lines are shown unchanged: anybody may have written the text.
fn commit(line: &str) -> Option<(&str, Commit<'_>)> {
    let mut words = line.splitn(4, ' ');
    let (git, id, date, text) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let is_id = matches!(id.len(), 40 | 64) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return None;
    }
    let commit = Commit {
        id: &id[..12],
        day: date.split('T').next()?,
        text,
    };
    Some((git, commit))
}

/// The size of a file, or the word `symlink`.
fn shown(file: &File) -> String {
    file.size.map_or_else(|| "symlink".to_owned(), size)
}
