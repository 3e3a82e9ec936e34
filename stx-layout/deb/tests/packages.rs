//! Packages made by `dpkg-deb`: compares its reports on them with the results of this crate.
#![expect(
    clippy::disallowed_methods,
    reason = "the tests run dpkg-deb, which is the judge"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::{Utf8TempDir, tempdir};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;
use stx_deb::{DebError, EntryKind, Extent, Version, control_extent, read_control, read_payload};

const CONTROL: &str = "Package: odd
Version: 2:1.0~rc1+b1-1
Architecture: all
Maintainer: Ren\u{e9} <rene@example.org>
X-Unknown:
 first
 second
Multi-Arch: foreign
Description: an odd package
 with a paragraph
 .
  and a verbatim line
";

/// A tree to be packed.
fn tree() -> Utf8TempDir {
    let dir = tempdir().expect("a directory");
    let write = |path: &str, text: &[u8]| {
        let path = dir.path().join("tree").join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, text).expect("written");
    };
    write("DEBIAN/control", CONTROL.as_bytes());
    write("DEBIAN/conffiles", b"/etc/odd.conf\n");
    write("etc/odd.conf", b"a = 1\n");
    write(
        &format!("usr/share/{}", "long/".repeat(40) + "name"),
        b"deep\n",
    );
    symlink("odd.conf", dir.path().join("tree/etc/other.conf")).expect("linked");
    dir
}

fn pack(dir: &Utf8Path, compression: &str) -> Utf8PathBuf {
    let package = dir.join(format!("{compression}.deb"));
    let status = Command::new("dpkg-deb")
        .args([
            "--root-owner-group",
            "--uniform-compression",
            &format!("-Z{compression}"),
            "--build",
        ])
        .args([dir.join("tree"), package.clone()])
        .stdout(std::process::Stdio::null())
        .status()
        .expect("dpkg-deb is needed: apt package dpkg");
    assert!(status.success(), "{compression}: {status}");
    package
}

fn say(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect(program);
    assert!(output.status.success(), "{program} {args:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn packages_of_every_compression_are_read_as_dpkg_deb_reads_them() {
    let dir = tree();
    for compression in ["none", "gzip", "xz", "zstd"] {
        let package = pack(dir.path(), compression);
        let bytes = fs::read(&package).expect("read");
        let control = read_control(&*bytes).expect(compression);
        assert_eq!(
            control.text,
            say("dpkg-deb", &["--field", package.as_str()]),
            "{compression}"
        );
        assert_eq!(control.paragraph.to_string(), CONTROL, "{compression}");
        assert_eq!(
            control.files["conffiles"], b"/etc/odd.conf\n",
            "{compression}"
        );

        let mut listed = String::new();
        let mut read = BTreeMap::new();
        read_payload(&*bytes, |entry, bytes| {
            let path = match entry.kind {
                EntryKind::Directory => format!(".{}/", entry.path.trim_end_matches('/')),
                _ => format!(".{}", entry.path),
            };
            let arrow = entry
                .target
                .as_ref()
                .map(|it| format!(" -> {it}"))
                .unwrap_or_default();
            let owner = format!("{}/{}", entry.user, entry.group);
            let _ = writeln!(listed, "{owner} {} {path}{arrow}", entry.size);
            let mut contents = String::new();
            bytes.read_to_string(&mut contents)?;
            if entry.kind == EntryKind::File {
                read.insert(entry.path.clone(), contents);
            }
            Ok(())
        })
        .expect(compression);
        let theirs = say("dpkg-deb", &["--contents", package.as_str()]);
        let mut expected = String::new();
        for line in theirs.lines() {
            // Mode, owner, size, day, time, path.
            let words: Vec<_> = line.split_whitespace().collect();
            let _ = writeln!(
                expected,
                "{} {} {}",
                words[1],
                words[2],
                words[5..].join(" ")
            );
        }
        assert_eq!(listed, expected, "{compression}");
        assert_eq!(read["/etc/odd.conf"], "a = 1\n");
        assert_eq!(read.len(), 2);
    }
}

/// The `tar` archives end long before their members do: the checksums follow them.
#[test]
fn members_are_read_to_their_ends() {
    let dir = tree();
    for compression in ["gzip", "xz", "zstd"] {
        let bytes = fs::read(pack(dir.path(), compression)).expect("read");
        let Ok(Extent::Whole(end)) = control_extent(&bytes) else {
            panic!("a whole package has its control member");
        };
        let control = usize::try_from(end).expect("fits");
        let header = control.next_multiple_of(2);
        let size = std::str::from_utf8(&bytes[header + 48..header + 58]).expect("digits");
        let data = header + 60 + size.trim_end().parse::<usize>().expect("a size");
        for (end, option) in [(control, "--info"), (data, "--contents")] {
            let mut refused = 0;
            for at in end - 32..end {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                let file = dir.path().join("damaged.deb");
                fs::write(&file, &damaged).expect("written");
                let judge = Command::new("dpkg-deb")
                    .args([option, file.as_str()])
                    .output();
                if judge.expect("dpkg-deb").status.success() {
                    continue;
                }
                refused += 1;
                let control = read_control(&*damaged).map(drop);
                let found = control.and_then(|()| read_payload(&*damaged, |_, _| Ok(())));
                assert!(
                    matches!(found, Err(DebError::Damaged { .. })),
                    "{compression} {option}, byte {at} of {end}: {found:?}"
                );
            }
            assert!(
                refused > 3,
                "{compression} {option}: dpkg-deb refuses {refused}"
            );
        }
    }
}

#[test]
fn the_control_member_is_read_from_the_bytes_before_its_end() {
    let dir = tree();
    let bytes = fs::read(pack(dir.path(), "xz")).expect("read");
    let mut have = 0;
    let end = loop {
        match control_extent(&bytes[..have]).expect("a package") {
            Extent::Whole(end) => break usize::try_from(end).expect("small"),
            Extent::More(needed) => have = usize::try_from(needed).expect("small"),
        }
    };
    assert!(have < end && end < bytes.len(), "{have} {end}");
    read_control(&bytes[..end]).expect("the control member is whole");
    for length in 0..end {
        let error = read_control(&bytes[..length]).expect_err("cut off");
        let DebError::Truncated { at, .. } = error else {
            panic!("{length}: {error:?}");
        };
        assert_eq!(at, length as u64);
    }
    for length in end..bytes.len() {
        let error = read_payload(&bytes[..length], |_, _| Ok(())).expect_err("cut off");
        // `dpkg-deb` pads the last member; the padding is not part of it.
        assert!(
            matches!(error, DebError::Truncated { .. }),
            "{length}: {error:?}"
        );
    }
}

/// A reader that always fails.
struct Broken;
impl io::Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the disk is gone"))
    }
}

/// The way in which a test damages a package.
type Break = fn(&mut Vec<u8>);

#[test]
fn an_invalid_package_is_distinguished_from_a_read_error() {
    let dir = tree();
    let good = fs::read(pack(dir.path(), "gzip")).expect("read");
    let broken = |change: Break| {
        let mut bytes = good.clone();
        change(&mut bytes);
        let control = read_control(&*bytes).map(drop);
        let error = control.and_then(|()| read_payload(&*bytes, |_, _| Ok(())));
        error.expect_err("refused").to_string()
    };
    let cases: [(Break, &str); 6] = [
        (
            |it| it[0] = b'?',
            "not a Debian package: expected an `ar` archive at byte 0",
        ),
        (
            |it| it[8] = b'?',
            "not a Debian package: expected the member `debian-binary` at byte 8",
        ),
        (
            |it| it[66] = b'?',
            "not a Debian package: expected the header of a member at byte 8",
        ),
        (
            |it| it[72] = b'?',
            "not a Debian package: expected the member `control.tar` at byte 72",
        ),
        (
            |it| it[84] = b'q',
            "`control.tar.qz` is not compressed by gzip, xz, zstd, bzip2 or lzma",
        ),
        (|it| it[160] ^= 0xff, "`control.tar.gz` is damaged"),
    ];
    for (change, expected) in cases {
        assert_eq!(broken(change), expected);
    }

    for length in [0, 4, 30, 100, 200] {
        let error = read_control(good[..length].chain(Broken)).expect_err("no bytes");
        assert!(matches!(error, DebError::Io { .. }), "{length}: {error:?}");
    }
}

/// A package of uncompressed members, made by hand.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, member) in [("debian-binary", &b"2.0\n"[..])].iter().chain(members) {
        let size = member.len();
        bytes.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
                0, 0, 0, 100_644
            )
            .bytes(),
        );
        bytes.extend(*member);
        bytes.extend(&b"\n"[..size % 2]);
    }
    bytes
}

/// A `tar` archive of one file.
fn tar_of(path: &str, contents: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len() as u64);
    tar.append_data(&mut header, path, contents).expect("added");
    tar.into_inner().expect("made")
}

#[test]
fn a_control_file_without_a_required_field_is_refused() {
    let control =
        |text: &[u8]| read_control(&*archive(&[("control.tar", &tar_of("./control", text))]));
    let error = control(b"Package: a\nArchitecture: all\n").expect_err("no version");
    assert_eq!(
        error.to_string(),
        "the file `control` has no field `Version`"
    );
    let error = control(b"Package: a\n\nPackage: b\n").expect_err("two packages");
    assert!(matches!(error, DebError::Control { .. }), "{error:?}");
    let latin = b"Package: a\nVersion: 1\nArchitecture: all\nMaintainer: Ren\xe9\n";
    let latin = control(latin).expect("an old package");
    assert_eq!(latin.paragraph.get("Maintainer"), Some("Ren\u{e9}"));
    let error = read_control(&*archive(&[("control.tar/", &tar_of("md5sums", b""))]));
    assert!(matches!(error, Err(DebError::NoControl)), "{error:?}");
}

#[test]
fn claimed_sizes_allocate_no_memory() {
    let long = vec![0; usize::try_from(stx_deb::archive::LONGEST_CONTROL).expect("small") + 1];
    let packed = zstd::encode_all(&*tar_of("control", &long), 1).expect("packed");
    let error = read_control(&*archive(&[("control.tar.zst", &packed)])).expect_err("too long");
    assert!(matches!(error, DebError::TooLong { .. }), "{error:?}");

    // A name of two megabytes.
    let mut name = tar_of("././@LongLink", &vec![b'a'; 2 << 20]);
    name[156] = b'L';
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&name[..512]);
    header.set_cksum();
    name[..512].copy_from_slice(header.as_bytes());
    let control = tar_of("control", b"Package: a\nVersion: 1\nArchitecture: all\n");
    let bytes = archive(&[("control.tar", &control), ("data.tar", &name)]);
    let error = read_payload(&*bytes, |_, _| Ok(())).expect_err("a long name");
    let DebError::Damaged { source, .. } = error else {
        panic!("{error:?}");
    };
    assert!(source.to_string().contains("1048576 bytes"), "{source}");

    for size in ["9999999999", "67108865"] {
        let mut bytes = archive(&[("control.tar", &control)]);
        bytes[72 + 48..72 + 58].copy_from_slice(format!("{size:<10}").as_bytes());
        assert!(
            matches!(control_extent(&bytes), Err(DebError::TooLong { .. })),
            "{size}"
        );
        assert!(
            matches!(read_control(&*bytes), Err(DebError::TooLong { .. })),
            "{size}"
        );
    }
}

#[test]
fn versions_are_ordered_as_dpkg_orders_them() {
    let versions = [
        "1.0",
        "1.0-1",
        "1.0-0",
        "1.0~rc1-1",
        "1:0.1",
        "0:1.0",
        "1.0+b1",
        "1.0.0",
        "1.00",
        "1.0a",
        "1.0-1~bpo12+1",
        "2.36-9+deb12u4",
        "10.0",
        "9.9",
        "1.0-1.1",
        "1.2.3-4-5",
    ];
    for one in versions {
        for two in versions {
            let ours = one
                .parse::<Version>()
                .expect(one)
                .cmp(&two.parse().expect(two));
            let word = match ours {
                std::cmp::Ordering::Less => "lt",
                std::cmp::Ordering::Equal => "eq",
                std::cmp::Ordering::Greater => "gt",
            };
            let mut judge = Command::new("dpkg");
            let status = judge
                .args(["--compare-versions", one, word, two])
                .status()
                .expect("dpkg");
            assert!(status.success(), "{one} {word} {two}");
        }
    }
}
