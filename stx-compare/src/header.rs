//! Reads packages from the bytes of their headers, by the `rpm` crate.

use std::collections::{BTreeMap, BTreeSet};

use rpm::{
    DependencyFlags, FileFlags, IndexData, IndexSignatureTag, IndexTag, PackageMetadata, Tag,
};
use sha2::Digest as _;

use stx_layout::rpm::{FrameError, Headers};

use crate::compare::SOURCE_PACKAGE;
use crate::exact::exact;
use crate::package::{
    ChangelogEntry, Dependency, File, Listing, Origin, Package, Payload, Relation, Scriptlet,
};
use crate::version::Format;

/// A package file whose headers cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// They are not safe to parse.
    #[error(transparent)]
    Frame {
        /// The reason.
        #[from]
        source: FrameError,
    },
    /// The headers do not describe a package.
    #[error("the header is damaged")]
    Damaged {
        /// The error that caused it.
        #[from]
        source: rpm::Error,
    },
}

/// Attributes with a name; others are named by their number.
const NAMES: [(u32, &str); 18] = [
    (1004, "summary"),
    (1005, "description"),
    (1010, "distribution"),
    (1011, "vendor"),
    (1014, "license"),
    (1015, "packager"),
    (1016, "group"),
    (1020, "url"),
    (1021, "operating system"),
    (1044, SOURCE_PACKAGE),
    (1098, "prefixes"),
    (1122, "compiler options"),
    (1123, "distribution url"),
    (1132, "platform"),
    (5011, "file digest algorithm"),
    (5012, "bug url"),
    (5034, "version control"),
    (5096, "module"),
];

/// Tags that become part of another field, or that follow from other fields: sizes, digests, inodes, classes, colors, the
/// cookie; and the text of the spec, which is a file of a source package as well.
fn is_covered(tag: u32) -> bool {
    matches!(tag,
        ..1000
        | 1000..=1003 | 1006..=1009 | 1022..=1043 | 1045..=1050 | 1053..=1055 | 1064..=1069
        | 1079..=1082 | 1085..=1088 | 1090..=1092 | 1094..=1097 | 1100 | 1106 | 1112..=1118
        | 1124..=1126 | 1140..=1146 | 1151..=1154 | 1156..=1161 | 1177
        | 5008..=5010 | 5020..=5027 | 5045..=5057 | 5062..=5082 | 5090..=5093 | 5097 | 5099 | 5103..=5108
        | 5112..=5113 | 5115..=5124)
}

/// The package whose file begins with `bytes`, which must contain its headers completely.
///
/// Digests of the main header in the signature header are checked; signatures are not. In a text that is not UTF-8, each byte
/// outside of a character becomes U+FFFD and two hexadecimal digits.
pub fn package(bytes: &[u8]) -> Result<Package, HeaderError> {
    let headers = Headers::parse(bytes)?;
    let metadata = PackageMetadata::parse(&mut &bytes[..headers.payload])?;
    metadata.check_digests()?.result()?;
    // The digests cover the original bytes, so they are checked first.
    Ok(read(&told_apart(metadata, bytes, &headers)?)?)
}

/// The same metadata, but with distinct texts for distinct bytes that are not UTF-8.
pub(crate) fn told_apart(
    metadata: PackageMetadata,
    bytes: &[u8],
    headers: &Headers<'_>,
) -> Result<PackageMetadata, rpm::Error> {
    match exact(&headers.main) {
        None => Ok(metadata),
        Some(header) => {
            let bytes = [&bytes[..headers.begin], &header].concat();
            PackageMetadata::parse(&mut &*bytes)
        }
    }
}

pub(crate) fn read(metadata: &PackageMetadata) -> Result<Package, rpm::Error> {
    let text = |tag| string(metadata, tag);
    let arch = if metadata.is_source_package() {
        "src"
    } else {
        metadata.get_arch()?
    };
    Ok(Package {
        format: Format::Rpm,
        name: metadata.get_name()?.to_owned(),
        epoch: metadata.get_epoch().ok(),
        version: metadata.get_version()?.to_owned(),
        release: metadata.get_release()?.to_owned(),
        arch: arch.to_owned(),
        attributes: attributes(metadata)?,
        files: files(metadata)?,
        listing: Listing::Whole,
        dependencies: dependencies(metadata)?,
        scriptlets: scriptlets(metadata)?,
        control: BTreeMap::new(),
        changelog: metadata
            .get_changelog_entries()?
            .into_iter()
            .map(|entry| ChangelogEntry {
                time: entry.timestamp,
                author: entry.name,
                text: entry.description,
            })
            .collect(),
        payload: Payload {
            format: text(IndexTag::RPMTAG_PAYLOADFORMAT).unwrap_or_default(),
            compression: text(IndexTag::RPMTAG_PAYLOADCOMPRESSOR).unwrap_or_default(),
            level: text(IndexTag::RPMTAG_PAYLOADFLAGS).unwrap_or_default(),
            digest: text(IndexTag::RPMTAG_PAYLOADSHA256),
        },
        origin: Origin {
            time: metadata.get_build_time().ok(),
            host: text(IndexTag::RPMTAG_BUILDHOST),
            tool: text(IndexTag::RPMTAG_RPMVERSION),
            signatures: signatures(metadata),
        },
    })
}

fn string(metadata: &PackageMetadata, tag: IndexTag) -> Option<String> {
    let text = metadata.header.get_entry_data_as_string(tag).ok()?;
    Some(text.to_owned())
}

fn attributes(metadata: &PackageMetadata) -> Result<BTreeMap<String, String>, rpm::Error> {
    let mut attributes = BTreeMap::new();
    for (tag, data) in metadata.header.get_all_entries()? {
        if is_covered(tag) {
            continue;
        }
        let name = NAMES.iter().find(|(number, _)| *number == tag);
        let name = name.map_or_else(|| format!("tag {tag}"), |(_, name)| (*name).to_owned());
        attributes.insert(name, shown(data));
    }
    Ok(attributes)
}

/// The values of a tag, as text.
fn shown(data: IndexData) -> String {
    fn list<T: ToString>(items: &[T]) -> String {
        let items: Vec<_> = items.iter().map(T::to_string).collect();
        items.join(" ")
    }
    match data {
        IndexData::Null => String::new(),
        IndexData::Char(items) | IndexData::Int8(items) => list(&items),
        IndexData::Int16(items) => list(&items),
        IndexData::Int32(items) => list(&items),
        IndexData::Int64(items) => list(&items),
        IndexData::StringTag(text) => text,
        IndexData::StringArray(texts) | IndexData::I18NString(texts) => texts.join("\n"),
        IndexData::Bin(bytes) => digest(&bytes),
    }
}

fn digest(bytes: &[u8]) -> String {
    let digest = stx_layout::Sha256(sha2::Sha256::digest(bytes).into());
    format!("sha256:{digest}")
}

/// The type bits of a mode, and their values for regular files and devices.
const TYPE: u16 = 0o170_000;
const REGULAR: u16 = 0o100_000;
const DEVICES: [u16; 2] = [0o020_000, 0o060_000];

fn files(metadata: &PackageMetadata) -> Result<BTreeMap<String, File>, rpm::Error> {
    let verify = metadata
        .header
        .get_entry_data_as_u32_array(IndexTag::RPMTAG_FILEVERIFYFLAGS)
        .unwrap_or_default();
    let mut files = BTreeMap::new();
    let mut index = 0;
    metadata.for_each_file_entry(|entry| {
        let mode = u16::from(entry.mode());
        let regular = mode & TYPE == REGULAR;
        let file = File {
            mode,
            owner: format!("{}:{}", entry.user(), entry.group()),
            size: if regular { entry.size() as u64 } else { 0 },
            digest: entry.digest().map(|digest| {
                let algorithm = format!("{:?}", digest.algorithm()).to_lowercase();
                format!("{}:{}", algorithm.replace("sha2_", "sha"), digest.as_hex())
            }),
            target: entry.linkto().map(ToOwned::to_owned),
            flags: flags(entry.flags()),
            capabilities: text(entry.caps()),
            language: text(entry.language()),
            device: DEVICES.contains(&(mode & TYPE)).then(|| entry.rdev()),
            verify: verify.get(index).copied(),
            modified: entry.modified_at().0,
        };
        index += 1;
        files.insert([entry.dirname(), entry.basename()].concat(), file);
        Ok(())
    })?;
    Ok(files)
}

/// A text, if it is not empty.
fn text(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

fn flags(flags: FileFlags) -> BTreeSet<String> {
    let mut left = flags;
    let mut names = BTreeSet::new();
    for (flag, name) in [
        (FileFlags::CONFIG, "config"),
        (FileFlags::DOC, "doc"),
        (FileFlags::MISSINGOK, "missingok"),
        (FileFlags::NOREPLACE, "noreplace"),
        (FileFlags::SPECFILE, "specfile"),
        (FileFlags::GHOST, "ghost"),
        (FileFlags::LICENSE, "license"),
        (FileFlags::README, "readme"),
        (FileFlags::PUBKEY, "pubkey"),
        (FileFlags::ARTIFACT, "artifact"),
    ] {
        if flags.contains(flag) {
            names.insert(name.to_owned());
            left.remove(flag);
        }
    }
    if !left.is_empty() {
        names.insert(format!("0x{:x}", left.bits()));
    }
    names
}

fn dependencies(
    metadata: &PackageMetadata,
) -> Result<BTreeMap<Relation, BTreeSet<Dependency>>, rpm::Error> {
    let mut all = BTreeMap::new();
    for (relation, dependencies) in [
        (Relation::Requires, metadata.get_requires()),
        (Relation::Provides, metadata.get_provides()),
        (Relation::Conflicts, metadata.get_conflicts()),
        (Relation::Obsoletes, metadata.get_obsoletes()),
        (Relation::Recommends, metadata.get_recommends()),
        (Relation::Suggests, metadata.get_suggests()),
        (Relation::Supplements, metadata.get_supplements()),
        (Relation::Enhances, metadata.get_enhances()),
    ] {
        let found: BTreeSet<_> = dependencies?
            .into_iter()
            .map(|found| Dependency {
                condition: condition(found.flags, &found.version),
                when: when(found.flags),
                name: found.name,
            })
            .collect();
        if !found.is_empty() {
            all.insert(relation, found);
        }
    }
    Ok(all)
}

fn condition(flags: DependencyFlags, version: &str) -> String {
    match flags.comparator_str() {
        "" => version.to_owned(),
        comparator => format!("{comparator} {version}"),
    }
}

/// The operations to which a dependency applies.
fn when(flags: DependencyFlags) -> String {
    let names = [
        (DependencyFlags::PREREQ, "prereq"),
        (DependencyFlags::PRETRANS, "pretrans"),
        (DependencyFlags::SCRIPT_PRE, "pre"),
        (DependencyFlags::SCRIPT_POST, "post"),
        (DependencyFlags::SCRIPT_PREUN, "preun"),
        (DependencyFlags::SCRIPT_POSTUN, "postun"),
        (DependencyFlags::POSTTRANS, "posttrans"),
        (DependencyFlags::PREUNTRANS, "preuntrans"),
        (DependencyFlags::POSTUNTRANS, "postuntrans"),
        (DependencyFlags::SCRIPT_VERIFY, "verify"),
        (DependencyFlags::META, "meta"),
    ];
    let names = names.iter().filter(|(flag, _)| flags.contains(*flag));
    let names: Vec<_> = names.map(|(_, name)| *name).collect();
    names.join(",")
}

fn scriptlets(metadata: &PackageMetadata) -> Result<BTreeMap<String, Scriptlet>, rpm::Error> {
    let mut all = BTreeMap::new();
    for (name, found) in [
        ("pre", metadata.get_pre_install_script()),
        ("post", metadata.get_post_install_script()),
        ("preun", metadata.get_pre_uninstall_script()),
        ("postun", metadata.get_post_uninstall_script()),
        ("pretrans", metadata.get_pre_trans_script()),
        ("posttrans", metadata.get_post_trans_script()),
        ("preuntrans", metadata.get_pre_untrans_script()),
        ("postuntrans", metadata.get_post_untrans_script()),
        ("verify", metadata.get_verify_script()),
    ] {
        match found {
            Ok(found) => {
                let scriptlet = Scriptlet {
                    program: found.program.unwrap_or_default(),
                    script: found.script,
                    flags: found.flags.map(|flags| flags.bits()),
                };
                all.insert(name.to_owned(), scriptlet);
            }
            Err(rpm::Error::TagNotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    // A scriptlet without a text is only a program.
    for (name, tag) in [
        ("pre", IndexTag::RPMTAG_PREINPROG),
        ("post", IndexTag::RPMTAG_POSTINPROG),
        ("preun", IndexTag::RPMTAG_PREUNPROG),
        ("postun", IndexTag::RPMTAG_POSTUNPROG),
        ("pretrans", IndexTag::RPMTAG_PRETRANSPROG),
        ("posttrans", IndexTag::RPMTAG_POSTTRANSPROG),
    ] {
        if let Ok(program) = metadata.header.get_entry_data_as_string_array(tag) {
            let scriptlet = all
                .entry(name.to_owned())
                .or_insert_with(Scriptlet::default);
            scriptlet.program = program.into_iter().map(ToOwned::to_owned).collect();
        }
    }
    for (kind, tags) in TRIGGERS {
        triggers(metadata, kind, tags, &mut all)?;
    }
    Ok(all)
}

/// The kinds of triggers with their tags: scripts and their programs; names, versions and flags of the conditions; and the
/// scripts to which the conditions belong.
const TRIGGERS: [(&str, [IndexTag; 6]); 3] = [
    (
        "trigger",
        [
            IndexTag::RPMTAG_TRIGGERSCRIPTS,
            IndexTag::RPMTAG_TRIGGERSCRIPTPROG,
            IndexTag::RPMTAG_TRIGGERNAME,
            IndexTag::RPMTAG_TRIGGERVERSION,
            IndexTag::RPMTAG_TRIGGERFLAGS,
            IndexTag::RPMTAG_TRIGGERINDEX,
        ],
    ),
    (
        "file trigger",
        [
            IndexTag::RPMTAG_FILETRIGGERSCRIPTS,
            IndexTag::RPMTAG_FILETRIGGERSCRIPTPROG,
            IndexTag::RPMTAG_FILETRIGGERNAME,
            IndexTag::RPMTAG_FILETRIGGERVERSION,
            IndexTag::RPMTAG_FILETRIGGERFLAGS,
            IndexTag::RPMTAG_FILETRIGGERINDEX,
        ],
    ),
    (
        "transaction file trigger",
        [
            IndexTag::RPMTAG_TRANSFILETRIGGERSCRIPTS,
            IndexTag::RPMTAG_TRANSFILETRIGGERSCRIPTPROG,
            IndexTag::RPMTAG_TRANSFILETRIGGERNAME,
            IndexTag::RPMTAG_TRANSFILETRIGGERVERSION,
            IndexTag::RPMTAG_TRANSFILETRIGGERFLAGS,
            IndexTag::RPMTAG_TRANSFILETRIGGERINDEX,
        ],
    ),
];

/// Adds the triggers of one kind.
///
/// The library's own function is not used: it panics if there are fewer programs than scripts, and anyone can craft such a
/// package.
fn triggers(
    metadata: &PackageMetadata,
    kind: &str,
    [scripts, programs, names, versions, flags, indexes]: [IndexTag; 6],
    all: &mut BTreeMap<String, Scriptlet>,
) -> Result<(), rpm::Error> {
    let header = &metadata.header;
    let scripts = match header.get_entry_data_as_string_array(scripts) {
        Ok(scripts) => scripts,
        Err(rpm::Error::TagNotFound(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let programs = header.get_entry_data_as_string_array(programs)?;
    let names = header.get_entry_data_as_string_array(names)?;
    let versions = header.get_entry_data_as_string_array(versions)?;
    let flags = header.get_entry_data_as_u32_array(flags)?;
    let indexes = header.get_entry_data_as_u32_array(indexes)?;
    let mut conditions = vec![Vec::new(); scripts.len()];
    for (((name, version), flags), index) in names.into_iter().zip(versions).zip(flags).zip(indexes)
    {
        let flags = DependencyFlags::from_bits_retain(flags);
        let text = [moment(flags), name, &condition(flags, version)].join(" ");
        if let Some(conditions) = conditions.get_mut(index as usize) {
            conditions.push(text.trim().to_owned());
        }
    }
    for (number, (script, conditions)) in scripts.into_iter().zip(conditions).enumerate() {
        let program = programs.get(number);
        let scriptlet = Scriptlet {
            program: program
                .iter()
                .map(|program| (**program).to_owned())
                .collect(),
            script: script.to_owned(),
            flags: None,
        };
        all.insert(format!("{kind} {}", conditions.join(", ")), scriptlet);
    }
    Ok(())
}

/// The event that fires a trigger.
fn moment(flags: DependencyFlags) -> &'static str {
    let moments = [
        (DependencyFlags::TRIGGERPREIN, "prein"),
        (DependencyFlags::TRIGGERIN, "in"),
        (DependencyFlags::TRIGGERUN, "un"),
        (DependencyFlags::TRIGGERPOSTUN, "postun"),
    ];
    let found = moments.iter().find(|(flag, _)| flags.contains(*flag));
    found.map_or("", |(_, name)| name)
}

/// The digests of all signatures of the package, including old forms.
fn signatures(metadata: &PackageMetadata) -> Vec<String> {
    let tags = [
        IndexSignatureTag::RPMSIGTAG_PGP,
        IndexSignatureTag::RPMSIGTAG_GPG,
        IndexSignatureTag::RPMSIGTAG_RSA,
        IndexSignatureTag::RPMSIGTAG_DSA,
        IndexSignatureTag::RPMSIGTAG_OPENPGP,
        IndexSignatureTag::RPMSIGTAG_FILESIGNATURES,
        IndexSignatureTag::RPMSIGTAG_VERITYSIGNATURES,
    ];
    let found = tags.into_iter().filter_map(|tag| {
        let data = metadata.signature.entry(tag.to_u32()).ok()?;
        Some(digest(shown(data).as_bytes()))
    });
    let digests: BTreeSet<_> = found.collect();
    digests.into_iter().collect()
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
