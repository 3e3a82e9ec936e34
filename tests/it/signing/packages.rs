//! Packages of rpm 4.11 and of current rpm, signed together, and verified by `rpm`, by `dnf` and by `verify --keyring`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use camino::{Utf8Path, Utf8PathBuf};

use super::key::Key;
use super::{CHANNEL, DATES, REPOSITORY, Signed, install_all};
use crate::harness::{Ran, assert_whole, run, tool};
use crate::rpms::{Parts, build, tag};

/// The current packages: one with files, one without.
fn built() -> &'static [Utf8PathBuf; 2] {
    static BUILT: OnceLock<[Utf8PathBuf; 2]> = OnceLock::new();
    BUILT.get_or_init(|| {
    let spec = "Name: greeting\nVersion: 1\nRelease: 1\nSummary: A greeting\nLicense: MIT\nBuildArch: noarch\n\
        %description\nA greeting.\n%install\nmkdir -p %{buildroot}/etc\necho hello > %{buildroot}/etc/greeting\n\
        %files\n/etc/greeting\n%package meta\nSummary: All of it\n%description meta\nAll of it.\n%files meta\n";
    let built = build("greeting", spec);
    let find = |part: &str| {
        let mut all = built.iter();
        let found = all.find(|path| path.file_name().is_some_and(|name| name.contains(part)));
        found.expect("rpmbuild makes it").clone()
    };
    [find("greeting-1"), find("greeting-meta")]
})
}

/// A tree with both kinds: current `greeting` and `greeting-meta`; `message` and `message-meta` of rpm 4.11.
fn mixed(signing: &str) -> Signed {
    let signed = Signed::new(signing);
    let rpm = fs_err::read(crate::harness::package()).expect("a package");
    let old = Parts::read(&rpm).of_4_11();
    signed.write("outputs/RPMS/std/message-1-1.noarch.rpm", &old.write());
    let [greeting, meta] = built();
    for path in [greeting, meta] {
        let bytes = fs_err::read(path).expect("a package");
        let name = path.file_name().expect("a name");
        signed.write(&format!("outputs/RPMS/std/{name}"), &bytes);
    }
    let bytes = fs_err::read(meta).expect("a package");
    let old = Parts::read(&bytes)
        .of_4_11()
        .replace(b"greeting-meta\0", b"messages-meta\0");
    signed.write(
        "outputs/RPMS/std/messages-meta-1-1.noarch.rpm",
        &old.write(),
    );
    signed
}

const NAMES: [&str; 4] = [
    "greeting-1-1.noarch.rpm",
    "greeting-meta-1-1.noarch.rpm",
    "message-1-1.noarch.rpm",
    "messages-meta-1-1.noarch.rpm",
];

/// `rpmkeys --checksig` with these keys, with required signatures: otherwise an unsigned package would pass.
fn checksig(signed: &Signed, keys: &Utf8Path, package: &Utf8Path) -> Ran {
    let db = format!("--dbpath={}", signed.at("rpmdb"));
    run(&mut tool("rpmkeys", [&db, "--import", keys.as_str()])).ok();
    let level = ["--define", "_pkgverify_level all"];
    let check = ["--checksig", "--verbose", package.as_str()];
    run(tool("rpmkeys", [&db]).args(level).args(check))
}

/// The packages that `verify --keyring` refuses, with the reasons.
fn refused(signed: &Signed, keys: &Utf8Path) -> BTreeMap<String, String> {
    let found = signed.stx(&["--format", "json", "verify", "--keyring", keys.as_str()]);
    let found = found.json();
    let findings = found["findings"].as_array().expect("findings").iter();
    let refused = findings.filter(|it| it["kind"] == "untrusted");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    refused
        .map(|it| {
            let path = text(&it["path"]);
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            (name, text(&it["message"]))
        })
        .collect()
}

#[test]
fn old_and_new_packages_are_signed_so_that_rpm_and_dnf_accept_them() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let signed = mixed(&key.signing());
    signed.publish(DATES[0]).ok();
    assert_whole(&signed.at("mirror"), CHANNEL);
    let (keys, repository) = (signed.mirror("KEYS"), signed.mirror(REPOSITORY));
    for name in NAMES {
        let checked = checksig(&signed, &keys, &repository.join(name)).ok();
        let old = name.starts_with("message");
        for (line, expected) in [
            ("Header V4 RSA/SHA256 Signature", true),
            ("Header SHA1 digest: OK", true),
            ("Header SHA256 digest: OK", !old),
            ("Payload SHA256 digest: OK", !old),
            // Header and payload together.
            ("MD5 digest: OK", true),
        ] {
            assert_eq!(
                checked.contains(line),
                expected,
                "{name}: {line}\n{checked}"
            );
        }
        let both = checked
            .lines()
            .filter(|line| line.contains("Signature") && line.ends_with(": OK"));
        assert_eq!(both.count(), if old { 2 } else { 1 }, "{checked}");
        // The signature header keeps its other tags: sizes and digests that old clients need.
        let before = signed.at("tree/outputs/RPMS/std").join(name);
        let parts = |path: &Utf8Path| Parts::read(&fs_err::read(path).expect("a package"));
        let (before, after) = (parts(&before), parts(&repository.join(name)));
        for kept in [tag::SHA1, tag::SIZE, tag::MD5, tag::PAYLOADSIZE] {
            let data = |parts: &Parts| {
                let mut tags = parts.signature.iter();
                tags.find(|it| it.number == kept).map(|it| it.data.clone())
            };
            assert!(data(&before).is_some(), "{name}: {kept}");
            assert_eq!(data(&before), data(&after), "{name}: {kept}");
        }
        let whole = after.signature.iter().any(|it| it.number == tag::PGP);
        assert_eq!(whole, old, "{name}");
    }
    let url = format!("file://{repository}");
    let names = ["greeting", "greeting-meta", "message", "messages-meta"];
    install_all(&signed.at("dnf"), &url, &keys, 1, &names).ok();
    for file in ["etc/greeting", "etc/message"] {
        assert!(signed.at("dnf/root").join(file).exists(), "{file}");
    }
    assert_eq!(refused(&signed, &keys), BTreeMap::new());
    signed.stx(&["verify", "--keyring", keys.as_str()]).ok();

    // Signatures are remembered, even without the copies; a package that is already signed by the key is unchanged.
    let again = signed.publish(DATES[0]).ok();
    assert!(again.contains("published already"), "{again}");
    fs_err::remove_dir_all(signed.at("state")).expect("removed");
    let again = signed.publish(DATES[0]).ok();
    assert!(again.contains("published already"), "{again}");
    let copy = Signed::new(&key.signing());
    for name in NAMES {
        let bytes = fs_err::read(repository.join(name)).expect("a package");
        copy.write(&format!("outputs/RPMS/std/{name}"), &bytes);
    }
    copy.publish(DATES[0]).ok();
    for name in NAMES {
        let published = fs_err::read(copy.mirror(REPOSITORY).join(name)).expect("a package");
        let given = fs_err::read(copy.at("tree/outputs/RPMS/std").join(name)).expect("a package");
        assert!(published == given, "{name}");
    }
}

#[test]
fn an_old_package_with_only_its_header_signed_is_signed_again() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let signed = mixed(&key.signing());
    signed.publish(DATES[0]).ok();
    let (keys, repository) = (signed.mirror("KEYS"), signed.mirror(REPOSITORY));
    // In the form of earlier versions of this program.
    let name = "message-1-1.noarch.rpm";
    let bytes = fs_err::read(repository.join(name)).expect("a package");
    let half = Parts::read(&bytes).without_signature(&[tag::PGP, tag::MD5, tag::PAYLOADSIZE]);
    signed.write(&format!("outputs/RPMS/std/{name}"), &half.write());
    let given = signed.at("tree/outputs/RPMS/std").join(name);
    checksig(&signed, &keys, &given).code(1);
    signed.publish(DATES[1]).ok();
    checksig(&signed, &keys, &signed.mirror(REPOSITORY).join(name)).ok();
}

/// A package with one byte of its payload changed.
fn damaged(parts: &Parts) -> Vec<u8> {
    let mut parts = parts.clone();
    let middle = parts.payload.len() / 2;
    parts.payload[middle] ^= 1;
    parts.write()
}

/// A package with one byte of a digest changed.
fn misstated(parts: &Parts, tag: u32) -> Vec<u8> {
    let mut bytes = parts.write();
    let parts = Parts::read(&bytes);
    let mut tags = parts.signature.iter();
    let data = &tags.find(|it| it.number == tag).expect("a digest").data;
    let mut all = bytes.windows(data.len());
    let at = all.position(|it| it == data).expect("there");
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    bytes
}

/// Packages that clients refuse, with the reasons, made from an old and a new signed package.
fn bad(old: &Parts, new: &Parts) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let without = |tag| old.clone().without_signature(&[tag]).write();
    let unsigned = fs_err::read(&built()[0]).expect("a package");
    vec![
        // In the form of other programs: the MD5 is right, but dnf requires a signature of the payload.
        (
            "half.rpm",
            without(tag::PGP),
            "the signature of its header and payload is not of a trusted key: not signed",
        ),
        (
            "uncovered.rpm",
            without(tag::MD5),
            "no digest covers its payload",
        ),
        ("unsigned.rpm", unsigned, "not signed"),
        (
            "old-damaged.rpm",
            damaged(old),
            "the signature of its header and payload",
        ),
        ("new-damaged.rpm", damaged(new), "its digest of the payload"),
        (
            "old-sha1.rpm",
            misstated(old, tag::SHA1),
            "its SHA-1 of the header",
        ),
        (
            "new-sha256.rpm",
            misstated(new, tag::SHA256),
            "its SHA-256 of the header",
        ),
        ("new-md5.rpm", misstated(new, tag::MD5), "its MD5"),
        ("page.rpm", b"<html>".to_vec(), "not an RPM package"),
    ]
}

#[test]
fn verify_refuses_the_packages_that_rpm_refuses() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let other = Key::new("Somebody else <else@example.org>");
    let good = mixed(&key.signing());
    good.publish(DATES[0]).ok();
    let keys = good.mirror("KEYS");
    let whole = |name: &str| {
        let path = good.mirror(REPOSITORY).join(name);
        Parts::read(&fs_err::read(path).expect("a package"))
    };
    let (old, new) = (
        whole("message-1-1.noarch.rpm"),
        whole("greeting-1-1.noarch.rpm"),
    );
    // A mirror that signs its builds, but not its packages, which are published unchanged.
    let mirror = Signed::new(&format!("{}\npackages = false", key.signing()));
    let write = |name: &str, bytes: &[u8]| mirror.write(&format!("outputs/RPMS/std/{name}"), bytes);
    write("message-1-1.noarch.rpm", &old.write());
    write("new.rpm", &new.write());
    let cases = bad(&old, &new);
    for (name, bytes, _) in &cases {
        write(name, bytes);
    }
    let others = mirror.at("tree/outputs/RPMS/std/others.rpm");
    fs_err::copy(&built()[0], &others).expect("copied");
    other.rpmsign(&others);
    mirror.publish(DATES[0]).ok();
    // If the configuration disables signatures of packages, they are not checked.
    assert_eq!(refused(&mirror, &keys), BTreeMap::new());
    mirror.configure(&key.signing());
    let found = refused(&mirror, &keys);
    let expected = cases.iter().map(|(name, _, why)| (*name, *why));
    let expected: BTreeMap<_, _> = expected
        .chain([("others.rpm", "is not in the keyring")])
        .collect();
    assert_eq!(
        found.keys().map(String::as_str).collect::<Vec<_>>(),
        expected.keys().copied().collect::<Vec<_>>()
    );
    for (name, why) in &expected {
        assert!(found[*name].contains(why), "{name}: {}", found[*name]);
        let package = mirror.mirror(REPOSITORY).join(name);
        let checked = checksig(&mirror, &keys, &package);
        assert_ne!(checked.code, Some(0), "{name}: {}", checked.stdout);
    }
    for name in ["message-1-1.noarch.rpm", "new.rpm"] {
        checksig(&mirror, &keys, &mirror.mirror(REPOSITORY).join(name)).ok();
    }
}
