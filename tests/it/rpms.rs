//! Packages in forms that are no longer built: made by `rpmbuild`, taken apart, changed and reassembled.

use std::fmt::Write as _;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::Digest as _;
use stx_layout::rpm::{Header, Headers, LEAD};

use crate::harness::{names, run, tool};

/// Tags of headers, from rpm's `rpmtag.h`.
pub(crate) mod tag {
    /// The region of a signature header.
    const SIGNATURES: u32 = 62;
    /// The region of a main header.
    const IMMUTABLE: u32 = 63;
    pub(crate) const REGIONS: [u32; 2] = [SIGNATURES, IMMUTABLE];
    pub(crate) const SHA1: u32 = 269;
    pub(crate) const SHA256: u32 = 273;
    /// The size of main header and payload.
    pub(crate) const SIZE: u32 = 1000;
    pub(crate) const PGP: u32 = 1002;
    pub(crate) const MD5: u32 = 1004;
    pub(crate) const PAYLOADSIZE: u32 = 1007;
    pub(crate) const RESERVEDSPACE: u32 = 1008;
    pub(crate) const PAYLOADDIGEST: u32 = 5092;
    pub(crate) const PAYLOADDIGESTALGO: u32 = 5093;
    pub(crate) const PAYLOADDIGESTALT: u32 = 5097;
}

/// A tag: its number, type, count and data.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    pub(crate) number: u32,
    pub(crate) kind: u32,
    pub(crate) count: u32,
    pub(crate) data: Vec<u8>,
}

/// A package in its parts.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    lead: Vec<u8>,
    pub(crate) signature: Vec<Tag>,
    pub(crate) main: Vec<Tag>,
    pub(crate) payload: Vec<u8>,
}

impl Parts {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let headers = Headers::parse(bytes).expect("a package");
        let tags = |header: Header<'_>| {
            let tags = header.tags().map(|tag| Tag {
                number: tag.tag,
                kind: tag.kind,
                count: tag.count,
                data: tag.data.to_vec(),
            });
            tags.filter(|tag| !tag::REGIONS.contains(&tag.number))
                .collect()
        };
        Self {
            lead: bytes[..LEAD].to_vec(),
            signature: tags(headers.signature),
            main: tags(headers.main),
            payload: bytes[headers.payload..].to_vec(),
        }
    }

    /// Removes these tags from both headers.
    pub(crate) fn without(mut self, tags: &[u32]) -> Self {
        self.main.retain(|it| !tags.contains(&it.number));
        self.without_signature(tags)
    }

    /// Removes these tags from the signature header.
    pub(crate) fn without_signature(mut self, tags: &[u32]) -> Self {
        self.signature.retain(|it| !tags.contains(&it.number));
        self
    }

    /// Replaces `old` in the main header, which must contain it.
    pub(crate) fn replace(mut self, old: &[u8], new: &[u8]) -> Self {
        assert_eq!(old.len(), new.len());
        let mut found = 0;
        for tag in &mut self.main {
            for at in 0..(tag.data.len() + 1).saturating_sub(old.len()) {
                if tag.data[at..].starts_with(old) {
                    tag.data[at..at + old.len()].copy_from_slice(new);
                    found += 1;
                }
            }
        }
        assert!(found > 0, "{} is not there", old.escape_ascii());
        self
    }

    /// The form of rpm 4.11 of CentOS 7: no digest of the payload in the header, no SHA-256 of the header, no room for signatures.
    pub(crate) fn of_4_11(self) -> Self {
        self.without(&[
            tag::PAYLOADDIGEST,
            tag::PAYLOADDIGESTALGO,
            tag::PAYLOADDIGESTALT,
            tag::SHA256,
            tag::RESERVEDSPACE,
        ])
    }

    /// The package, with recomputed digests.
    pub(crate) fn write(&self) -> Vec<u8> {
        let main = header(&self.main, tag::REGIONS[1]);
        let whole = [&main[..], &self.payload].concat();
        let mut signature = self.signature.clone();
        for tag in &mut signature {
            match tag.number {
                tag::SHA1 => tag.data = hex(&sha1::Sha1::digest(&main)),
                tag::SHA256 => tag.data = hex(&sha2::Sha256::digest(&main)),
                tag::MD5 => tag.data = md5::Md5::digest(&whole).to_vec(),
                tag::SIZE => tag.data = size(&whole).to_be_bytes().to_vec(),
                _ => {}
            }
        }
        let mut bytes = self.lead.clone();
        bytes.extend(header(&signature, tag::REGIONS[0]));
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(whole);
        bytes
    }
}

/// The number of items, as a header field.
fn size<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).expect("packages here are small")
}

/// The hexadecimal digits, terminated by a zero byte.
fn hex(digest: &[u8]) -> Vec<u8> {
    let digits = digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    (digits + "\0").into_bytes()
}

/// A header with a region around its tags.
fn header(tags: &[Tag], region: u32) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for tag in tags {
        let alignment = [1, 1, 1, 2, 4, 8, 1, 1, 1, 1][tag.kind as usize];
        data.resize(data.len().next_multiple_of(alignment), 0);
        index.extend([tag.number, tag.kind, size(&data), tag.count]);
        data.extend_from_slice(&tag.data);
    }
    let entries = size(tags) + 1;
    let first = [region, 7, size(&data), 16];
    let back = (16 * entries).wrapping_neg();
    data.extend([region, 7, back, 16].map(u32::to_be_bytes).concat());
    let intro = [0x8ead_e801, 0, entries, size(&data)];
    let words = intro.into_iter().chain(first).chain(index);
    let mut header: Vec<_> = words.flat_map(u32::to_be_bytes).collect();
    header.append(&mut data);
    header
}

/// Builds the packages of a specification, including the source package; returns their paths.
pub(crate) fn build(name: &str, spec: &str) -> Vec<Utf8PathBuf> {
    let dir = Utf8Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("rpms")
        .join(name);
    drop(fs_err::remove_dir_all(&dir));
    fs_err::create_dir_all(&dir).expect("a directory");
    let file = dir.join(format!("{name}.spec"));
    fs_err::write(&file, spec).expect("a file");
    let top = format!("_topdir {dir}");
    let defines = ["--define", &top, "--define", "_buildhost builder"];
    run(tool("rpmbuild", ["-ba", "--quiet"])
        .args(defines)
        .arg(&file))
    .ok();
    let below = |sub: &str| {
        let dir = dir.join(sub);
        let files = names(&dir).into_iter().map(move |name| dir.join(name));
        files.collect::<Vec<_>>()
    };
    [below("RPMS/noarch"), below("RPMS/x86_64"), below("SRPMS")].concat()
}

/// Packages that together have all kinds of metadata, built once per run of the tests.
pub(crate) fn odd() -> &'static [Utf8PathBuf] {
    static ODD: OnceLock<Vec<Utf8PathBuf>> = OnceLock::new();
    ODD.get_or_init(|| build("odd", ODD_SPEC))
}

const ODD_SPEC: &str = r#"
Name: odd
Epoch: 3
Version: 1.0~rc1^git2
Release: 1
Summary: Fish & <chips>, "Grüße"
License: MIT and (GPL or 'X')
Vendor: Vendor & Sons
Packager: Somebody <somebody@example.org>
Group: System/Base
URL: https://example.org/?a=1&b=2
BuildArch: noarch
AutoReqProv: no
Provides: prov = 3, plainname, prov-epoch = 1:2-3, prov-less < 2, prov-atmost <= 1.5-2, prov-more > 2-1, prov-least >= 0:7
Provides: prov-tilde = 1~rc1-1^x, prov-zero = 0:0-0, config(odd) = 1.0, bundled(thing) = 4
Requires: req >= 1.2-3, self = 1, /bin/sh, /etc/odd.conf, /usr/share/odd/data, /usr/bin/odd, twice, twice, twice = 2, twice
Provides: self = 1
Requires: libc.so.6()(64bit), libc.so.6(GLIBC_2.3.4)(64bit), libc.so.6(GLIBC_2.14)(64bit), libc.so.6(GLIBC_2.4)(64bit)
Requires: (one or two), (three if four else five), (six >= 2:1-1 with six < 3)
Requires(pre): pre-needed
Requires(post): post-needed >= 1:1
Requires(preun): preun-needed
Conflicts: enemy < 2:1, foe
Obsoletes: older <= 0.9, oldest
Recommends: nice, (nicer or nicest >= 3)
Suggests: idea = 1:1-1
Supplements: (odd and thing)
Enhances: better > 2
%description
Says "hello",
and 'goodbye' & more.

	Indented by a tab.
%prep
%install
mkdir -p %{buildroot}/usr/bin %{buildroot}/usr/share/odd/empty %{buildroot}/etc %{buildroot}/usr/sbin %{buildroot}/var/log
echo x > %{buildroot}/usr/bin/odd
echo x > %{buildroot}/usr/share/odd/data
echo x > "%{buildroot}/usr/share/odd/a & b <c> 'd' Grüße"
echo x > %{buildroot}/etc/odd.conf
ln -s odd %{buildroot}/usr/bin/odd-link
ln -s ../bin %{buildroot}/usr/sbin/bindir
touch %{buildroot}/var/log/odd
%pre
true
%post -p /sbin/ldconfig
%files
%attr(4755,root,root) /usr/bin/odd
/usr/bin/odd-link
/usr/sbin/bindir
%config(noreplace) /etc/odd.conf
%ghost /var/log/odd
%ghost %dir /var/log
/usr/share/odd
%changelog
* Thu Nov 01 2018 Émile <emile@example.org> - 1.0-12
- first line of many,
  the second line

- a & b < c > d "e"
* Thu Nov 01 2018 Somebody <somebody@example.org> - 1.0-11
- of the same day
* Thu Nov 01 2018 Somebody <somebody@example.org> - 1.0-10
- of the same day, too
* Wed Oct 31 2018 Somebody <somebody@example.org> - 1.0-9
- nine
* Tue Oct 30 2018 Somebody <somebody@example.org> - 1.0-8
- eight
* Mon Oct 29 2018 Somebody <somebody@example.org> - 1.0-7
- seven
* Sun Oct 28 2018 Somebody <somebody@example.org> - 1.0-6
- six
* Sun Oct 28 2018 Somebody <somebody@example.org> - 1.0-5
- five
* Fri Oct 26 2018 Somebody <somebody@example.org> - 1.0-4
- four
* Thu Oct 25 2018 Somebody <somebody@example.org> - 1.0-3
- three
* Wed Oct 24 2018 Somebody <somebody@example.org> - 1.0-2
- the eleventh, which is not listed
* Tue Oct 23 2018 Somebody <somebody@example.org> - 1.0-1
- the twelfth

%package empty
Summary: Nothing
%description empty
Nothing.
%files empty
"#;
