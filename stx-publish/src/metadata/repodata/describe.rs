//! Describes a package in repository metadata from its headers, as `createrepo_c` does.
//!
//! The rules are those of `createrepo_c` (`parsehdr.c`, `xml_dump.c`), with its support for the weak dependencies of old
//! SUSE packages, which distributions enable. An absent tag counts as an empty text, a zero or an empty list. One rule differs:
//! control characters in the descriptive texts of a package (summary, description, changelog, ...) are replaced by U+FFFD, while
//! `createrepo_c` lists no package with a control character anywhere. In names and dependencies they cannot be replaced, so such
//! a package is not listed here either.

use std::collections::{HashMap, HashSet};

use rpmrepo_metadata::utils::is_primary_file;
use rpmrepo_metadata::{
    Changelog, Checksum, Evr, FileType, MetadataError, Package, Requirement, RequirementType,
};
use stx_layout::rpm::{FrameError, Header, Headers, text};

use super::Candidate;

/// The reason why a file with the name of a package is not listed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unlisted {
    /// Its headers cannot be read.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It contains text that XML cannot express.
    #[error("{0}")]
    Unsayable(#[from] MetadataError),
    /// Its list of files has the format of rpm 3.
    #[error("its list of files has the form of rpm 3")]
    OldFiles,
    /// Its epoch is out of the range of the metadata.
    #[error("its epoch is not a number below 2^32")]
    Epoch,
}

/// The number of changelog entries that are listed, the newest ones.
const CHANGELOGS: usize = 10;

/// The numbers of tags, from rpm's `rpmtag.h`.
mod tag {
    pub(super) const NAME: u32 = 1000;
    pub(super) const VERSION: u32 = 1001;
    pub(super) const RELEASE: u32 = 1002;
    pub(super) const EPOCH: u32 = 1003;
    pub(super) const SUMMARY: u32 = 1004;
    pub(super) const DESCRIPTION: u32 = 1005;
    pub(super) const BUILDTIME: u32 = 1006;
    pub(super) const BUILDHOST: u32 = 1007;
    pub(super) const SIZE: u32 = 1009;
    pub(super) const VENDOR: u32 = 1011;
    pub(super) const LICENSE: u32 = 1014;
    pub(super) const PACKAGER: u32 = 1015;
    pub(super) const GROUP: u32 = 1016;
    pub(super) const URL: u32 = 1020;
    pub(super) const ARCH: u32 = 1022;
    pub(super) const OLDFILENAMES: u32 = 1027;
    pub(super) const FILEMODES: u32 = 1030;
    pub(super) const FILEFLAGS: u32 = 1037;
    pub(super) const SOURCERPM: u32 = 1044;
    pub(super) const ARCHIVESIZE: u32 = 1046;
    pub(super) const CHANGELOGTIME: u32 = 1080;
    pub(super) const CHANGELOGNAME: u32 = 1081;
    pub(super) const CHANGELOGTEXT: u32 = 1082;
    pub(super) const DIRINDEXES: u32 = 1116;
    pub(super) const BASENAMES: u32 = 1117;
    pub(super) const DIRNAMES: u32 = 1118;
    pub(super) const LONGSIZE: u32 = 5009;
    pub(super) const PAYLOADSIZEALT: u32 = 5113;
    /// In the signature header.
    pub(super) const SIG_LONGARCHIVESIZE: u32 = 271;
    /// In the signature header.
    pub(super) const SIG_PAYLOADSIZE: u32 = 1007;
}

/// The tags of one kind of dependency: names, flags, versions.
struct Kind(u32, u32, u32);

const PROVIDES: Kind = Kind(1047, 1112, 1113);
const REQUIRES: Kind = Kind(1049, 1048, 1050);
const CONFLICTS: Kind = Kind(1054, 1053, 1055);
const OBSOLETES: Kind = Kind(1090, 1114, 1115);
const RECOMMENDS: Kind = Kind(5046, 5048, 5047);
const SUGGESTS: Kind = Kind(5049, 5051, 5050);
const SUPPLEMENTS: Kind = Kind(5052, 5054, 5053);
const ENHANCES: Kind = Kind(5055, 5057, 5056);
const OLD_SUGGESTS: Kind = Kind(1156, 1158, 1157);
const OLD_ENHANCES: Kind = Kind(1159, 1161, 1160);

/// Bits of the flags of a dependency, from rpm's `rpmds.h`.
const PREREQ: u64 = 1 << 6;
const PRETRANS: u64 = 1 << 7;
const SCRIPT_PRE: u64 = 1 << 9;
const SCRIPT_POST: u64 = 1 << 10;
const MISSINGOK: u64 = 1 << 19;
const STRONG: u64 = 1 << 27;
const POSTTRANS: u64 = 1 << 5;

/// The bits of a file's mode that give its type, and the type of a directory.
const TYPE: u64 = 0o170_000;
const DIRECTORY: u64 = 0o040_000;
/// The flag of a file that the package does not contain.
const GHOST: u64 = 1 << 6;

/// The dependencies of a package that metadata cannot express, in the form of `rpm`: the epoch of their version is not a number,
/// so clients could not compare it.
pub(super) fn unsaid(main: Header<'_>) -> Vec<String> {
    let kinds = [
        PROVIDES,
        REQUIRES,
        CONFLICTS,
        OBSOLETES,
        RECOMMENDS,
        SUGGESTS,
        SUPPLEMENTS,
        ENHANCES,
        OLD_SUGGESTS,
        OLD_ENHANCES,
    ];
    let all = kinds.iter().flat_map(|kind| raw(main, kind));
    let unsaid = all.filter(|raw| !raw.name.is_empty() && raw.said().is_none());
    unsaid
        .map(|raw| format!("{} {}", text(raw.name), text(raw.version)))
        .collect()
}

/// The description of a package from its headers, or the reason why it cannot be listed.
pub(super) fn package(headers: &Headers<'_>, from: &Candidate) -> Result<Package, Unlisted> {
    let main = headers.main;
    let string = |tag| text(main.string(tag).unwrap_or_default()).into_owned();
    let is_source = main.is_source();
    let epoch = main.number(tag::EPOCH).unwrap_or_default();
    let epoch = u32::try_from(epoch).map_err(|_| Unlisted::Epoch)?;
    let mut package = Package::default();
    package
        .set_name(string(tag::NAME))
        .set_arch(if is_source {
            "src".to_owned()
        } else {
            string(tag::ARCH)
        })
        .set_evr(Evr::new(
            epoch.to_string(),
            string(tag::VERSION),
            string(tag::RELEASE),
        ))
        .set_summary(string(tag::SUMMARY))
        .set_description(string(tag::DESCRIPTION))
        .set_packager(string(tag::PACKAGER))
        .set_url(string(tag::URL))
        .set_rpm_license(string(tag::LICENSE))
        .set_rpm_vendor(string(tag::VENDOR))
        .set_rpm_group(string(tag::GROUP))
        .set_rpm_buildhost(string(tag::BUILDHOST))
        .set_rpm_sourcerpm(match main.string(tag::SOURCERPM) {
            Some(name) => text(name).into_owned(),
            // The text that rpm uses; it distinguishes a binary package without a source package from a source package.
            None if !is_source => "(none)".to_owned(),
            None => String::new(),
        })
        .set_time_build(main.number(tag::BUILDTIME).unwrap_or_default())
        .set_time_file(from.time)
        .set_size_package(from.size)
        .set_size_installed(first(&[(main, tag::LONGSIZE), (main, tag::SIZE)]))
        .set_size_archive(first(&[
            (headers.signature, tag::SIG_LONGARCHIVESIZE),
            (headers.signature, tag::SIG_PAYLOADSIZE),
            (main, tag::ARCHIVESIZE),
            (main, tag::PAYLOADSIZEALT),
        ]))
        .set_checksum(Checksum::Sha256(from.digest.to_string()))
        .set_location_href(from.href.clone())
        .set_rpm_header_range(headers.begin as u64, headers.payload as u64);
    let files = files(main, &mut package)?;
    dependencies(main, &files, &mut package);
    package.set_changelogs(changelogs(main));
    package.validate_xml_fields()?;
    Ok(package)
}

/// The value of the first tag that is present, as a number; 0 if none is.
fn first(tags: &[(Header<'_>, u32)]) -> u64 {
    let mut numbers = tags.iter().filter_map(|(header, tag)| header.number(*tag));
    numbers.next().unwrap_or_default()
}

/// Adds the files; returns their paths.
fn files(main: Header<'_>, package: &mut Package) -> Result<HashSet<Vec<u8>>, Unlisted> {
    let names = main.strings(tag::BASENAMES);
    if names.is_empty() && main.tag(tag::OLDFILENAMES).is_some() {
        return Err(Unlisted::OldFiles);
    }
    let dirs = main.strings(tag::DIRNAMES);
    if dirs.is_empty() {
        return Ok(HashSet::new());
    }
    let indexes = main.numbers(tag::DIRINDEXES);
    let flags = main.numbers(tag::FILEFLAGS);
    let modes = main.numbers(tag::FILEMODES);
    let mut paths = HashSet::new();
    for (((name, index), flags), mode) in names.into_iter().zip(indexes).zip(flags).zip(modes) {
        let dir = usize::try_from(index).ok().and_then(|at| dirs.get(at));
        let dir = dir.copied().unwrap_or_default();
        let kind = if mode & TYPE == DIRECTORY {
            FileType::Dir
        } else if flags & GHOST != 0 {
            FileType::Ghost
        } else {
            FileType::File
        };
        package.add_file_split(kind, &text(dir), &text(name));
        paths.insert([dir, name].concat());
    }
    Ok(paths)
}

/// One dependency, as in the header.
struct Raw<'a> {
    name: &'a [u8],
    flags: u64,
    version: &'a [u8],
}

/// The dependencies of one kind; none if one of the three tags is absent.
fn raw<'a>(main: Header<'a>, kind: &Kind) -> impl Iterator<Item = Raw<'a>> + use<'a> {
    let names = main.strings(kind.0).into_iter();
    let rest = main.numbers(kind.1).into_iter().zip(main.strings(kind.2));
    names.zip(rest).map(|(name, (flags, version))| Raw {
        name,
        flags,
        version,
    })
}

impl Raw<'_> {
    /// The comparison of versions; `None` if any version fits.
    fn comparison(&self) -> Option<RequirementType> {
        match self.flags & 0xf {
            2 => Some(RequirementType::LT),
            4 => Some(RequirementType::GT),
            8 => Some(RequirementType::EQ),
            10 => Some(RequirementType::LE),
            12 => Some(RequirementType::GE),
            _ => None,
        }
    }

    /// The key under which `createrepo_c` treats two dependencies as equal: name, comparison and version.
    fn key(&self) -> Vec<u8> {
        let comparison = self.comparison().map_or("", RequirementType::as_str);
        [self.name, comparison.as_bytes(), self.version].concat()
    }

    /// True if the dependency must be present before the package is installed.
    fn is_pre(&self) -> bool {
        self.flags & (PREREQ | SCRIPT_PRE | SCRIPT_POST | PRETRANS | POSTTRANS) != 0
    }

    /// The dependency in metadata; `None` if it has no name, or an epoch that is not a number, which clients could not compare.
    fn said(&self) -> Option<Requirement> {
        let version = text(self.version);
        let (epoch, rest) = match version.split_once(':') {
            None => ("0", &*version),
            Some(("", rest)) => ("0", rest),
            Some((epoch, rest)) if is_number(epoch) => (epoch, rest),
            Some(_) => return None,
        };
        if self.name.is_empty() {
            return None;
        }
        let requirement = Requirement::new(text(self.name));
        // A version without a comparison has no meaning.
        let (Some(comparison), false) = (self.comparison(), version.is_empty()) else {
            return Some(requirement.set_flags(self.comparison()));
        };
        let (version, release) = match rest.split_once('-') {
            Some((version, release)) => (version, Some(release).filter(|text| !text.is_empty())),
            None => (rest, None),
        };
        let requirement = requirement
            .set_flags(Some(comparison))
            .set_epoch(Some(epoch))
            .set_version(Some(version).filter(|text| !text.is_empty()))
            .set_release(release);
        Some(requirement)
    }
}

/// True for a whole number as C's `strtol` accepts it.
fn is_number(text: &str) -> bool {
    let digits = text.trim_start();
    let digits = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn all(main: Header<'_>, kind: &Kind) -> Vec<Requirement> {
    raw(main, kind).filter_map(|raw| raw.said()).collect()
}

fn dependencies(main: Header<'_>, files: &HashSet<Vec<u8>>, package: &mut Package) {
    let mut recommends = Vec::new();
    package
        .set_provides(all(main, &PROVIDES))
        .set_conflicts(all(main, &CONFLICTS))
        .set_obsoletes(all(main, &OBSOLETES))
        .set_requires(requires(main, files, &mut recommends));
    let [mut suggests, mut enhances, mut supplements] =
        [SUGGESTS, ENHANCES, SUPPLEMENTS].map(|kind| all(main, &kind));
    recommends.extend(all(main, &RECOMMENDS));
    // Old SUSE packages have two kinds of weak dependencies, each with two strengths.
    for (kind, strong, weak) in [
        (OLD_SUGGESTS, &mut recommends, &mut suggests),
        (OLD_ENHANCES, &mut supplements, &mut enhances),
    ] {
        for raw in raw(main, &kind) {
            let is_strong = raw.flags & STRONG != 0;
            let list = if is_strong { &mut *strong } else { &mut *weak };
            list.extend(raw.said());
        }
    }
    package
        .set_suggests(suggests)
        .set_enhances(enhances)
        .set_recommends(recommends)
        .set_supplements(supplements);
}

/// The requirements that a client must check: without those of rpm itself, those that the package itself provides and
/// duplicates, and only the highest of the C library's versions. Optional ones are added to `recommends`.
fn requires(
    main: Header<'_>,
    files: &HashSet<Vec<u8>>,
    recommends: &mut Vec<Requirement>,
) -> Vec<Requirement> {
    // A dependency that metadata cannot express is not provided.
    let provided = raw(main, &PROVIDES).filter(|raw| raw.said().is_some());
    let provided: HashSet<_> = provided.map(|raw| raw.key()).collect();
    // By name, the last listed requirement: only a repetition of that one is left out.
    let mut last: HashMap<Vec<u8>, (Vec<u8>, bool)> = HashMap::new();
    let mut libc: Option<Requirement> = None;
    let mut listed = Vec::new();
    for raw in raw(main, &REQUIRES) {
        let is_own_file = raw.name.starts_with(b"/")
            && files.contains(raw.name)
            && is_primary_file(&text(raw.name));
        let key = raw.key();
        let seen = (key, raw.is_pre());
        if raw.name.starts_with(b"rpmlib(")
            || is_own_file
            || provided.contains(&seen.0)
            || last.get(raw.name) == Some(&seen)
        {
            continue;
        }
        let Some(requirement) = raw.said() else {
            continue;
        };
        if raw.flags & MISSINGOK != 0 {
            recommends.push(requirement);
            continue;
        }
        let requirement = requirement.set_preinstall(raw.is_pre());
        if raw.name.starts_with(b"libc.so.6") {
            let is_higher = libc
                .as_ref()
                .is_none_or(|highest| is_libc_higher(highest.name(), requirement.name()));
            if is_higher {
                libc = Some(requirement);
            }
            continue;
        }
        last.insert(raw.name.to_vec(), seen);
        listed.push(requirement);
    }
    listed.extend(libc);
    listed
}

/// True if `other` needs a newer C library than `highest`, by the version between the first parentheses.
fn is_libc_higher(highest: &str, other: &str) -> bool {
    /// The version from its first digit on; without one, a number that grows with the parts that are present.
    fn version(name: &str) -> Result<&str, u8> {
        let (_, rest) = name.split_once('(').ok_or(0)?;
        let (version, _) = rest.split_once(')').ok_or(1)?;
        match version.find(|c: char| c.is_ascii_digit()) {
            Some(at) => Ok(&version[at..]),
            None if version.is_empty() => Err(2),
            None => Err(3),
        }
    }
    match (version(highest), version(other)) {
        (Ok(highest), Ok(other)) => Evr::new("", highest, "") < Evr::new("", other, ""),
        (Ok(_), Err(_)) => false,
        (Err(_), Ok(_)) => true,
        (Err(highest), Err(other)) => highest < other,
    }
}

/// The newest entries of the changelog, the oldest of them first. Entries with the same time are moved apart by one second each,
/// so that clients keep their order.
fn changelogs(main: Header<'_>) -> Vec<Changelog> {
    let times = main.numbers(tag::CHANGELOGTIME).into_iter();
    let names = main.strings(tag::CHANGELOGNAME);
    let texts = main.strings(tag::CHANGELOGTEXT);
    let mut entries: Vec<Changelog> = Vec::new();
    let mut last = 0;
    for ((time, name), said) in times.zip(names).zip(texts).take(CHANGELOGS) {
        if !entries.is_empty() && last == time {
            for (expected, entry) in (time..).zip(entries.iter_mut().rev()) {
                if entry.timestamp != expected {
                    break;
                }
                entry.timestamp += 1;
            }
        } else {
            last = time;
        }
        let name = text(name);
        entries.push(Changelog {
            author: name.trim_end_matches(' ').to_owned(),
            timestamp: time,
            description: text(said).into_owned(),
        });
    }
    entries.reverse();
    entries
}
