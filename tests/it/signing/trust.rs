//! `--keyring`: the data that a reader refuses.

use camino::{Utf8Path, Utf8PathBuf};

use super::key::Key;
use super::{CHANNEL, DATES, Signed, change};
use crate::harness::{run, tool};

/// The keys of `key` as a file.
fn keyring(signed: &Signed, key: &Key) -> Utf8PathBuf {
    let file = signed.at(&format!("{}.asc", key.fingerprint()));
    fs_err::write(&file, key.public()).expect("a file");
    file
}

#[test]
fn one_changed_byte_is_refused_from_every_server() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let signed = Signed::new(&key.signing());
    signed.publish(DATES[0]).ok();
    let ring = keyring(&signed, &key);
    let nginx = signed.serve();
    let root = signed.at("mirror");
    let build = format!("{CHANNEL}/{}", DATES[0]);
    for mirror in [nginx.url(""), root.to_string()] {
        signed.fetch(&mirror, &ring, &[]).ok();
        for (file, said) in [
            ("index.json".to_owned(), "signed other bytes"),
            (format!("{CHANNEL}/index.json"), "signed other bytes"),
            (format!("{build}/SHA256SUMS"), "signed other bytes"),
            (format!("{build}/outputs/iso/bootimage.iso"), "corrupt"),
        ] {
            let file = signed.mirror(&file);
            let old = change(&file);
            let refused = signed.fetch(&mirror, &ring, &[]).code(4);
            assert!(refused.stderr.contains(said), "{file}: {}", refused.stderr);
            fs_err::write(&file, old).expect("written");
        }
        for file in [
            "index.json.asc".to_owned(),
            format!("{CHANNEL}/index.json.asc"),
            format!("{build}/SHA256SUMS.asc"),
        ] {
            let file = signed.mirror(&file);
            let old = fs_err::read(&file).expect("a signature");
            fs_err::remove_file(&file).expect("removed");
            let refused = signed.fetch(&mirror, &ring, &[]).code(4);
            assert!(
                refused.stderr.contains("not signed"),
                "{file}: {}",
                refused.stderr
            );
            let found = signed.stx(&["--mirror", &mirror, "verify", "--keyring", ring.as_str()]);
            let found = found.code(4).stdout;
            assert!(found.contains("not signed"), "{file}: {found}");
            fs_err::write(&file, old).expect("written");
        }
        signed.fetch(&mirror, &ring, &[]).ok();
        let dated = [&format!("{CHANNEL}/{}", DATES[0]), "iso"];
        let to = signed.at("dated");
        let args = [
            "--mirror",
            &mirror,
            "fetch",
            dated[0],
            dated[1],
            "--to",
            to.as_str(),
        ];
        signed
            .stx(&[&args[..], &["--keyring", ring.as_str()]].concat())
            .ok();
    }
}

#[test]
fn unsigned_mirrors_and_other_keys_are_refused() {
    let (key, other) = (
        Key::new("StarlingX builds <builds@example.org>"),
        Key::new("Somebody else <else@example.org>"),
    );
    let signed = Signed::new("");
    signed.publish(DATES[0]).ok();
    let (ring, mirror) = (keyring(&signed, &key), signed.at("mirror"));
    let refused = signed.fetch(mirror.as_str(), &ring, &[]).code(4);
    assert!(refused.stderr.contains("not signed"), "{}", refused.stderr);
    assert!(!signed.mirror("index.json.asc").exists());

    // A mirror that starts to sign still has earlier builds without signatures.
    signed.configure(&key.signing());
    signed.stx(&["pages"]).ok();
    let refused = signed.fetch(mirror.as_str(), &ring, &[]).code(4);
    assert!(
        refused.stderr.contains("SHA256SUMS: not trusted"),
        "{}",
        refused.stderr
    );
    signed.publish(DATES[1]).ok();
    signed.fetch(mirror.as_str(), &ring, &[]).ok();

    let others = keyring(&signed, &other);
    let refused = signed.fetch(mirror.as_str(), &others, &[]).code(4);
    assert!(
        refused.stderr.contains("not in the keyring"),
        "{}",
        refused.stderr
    );
    // One of two keys suffices.
    let both = signed.at("both.asc");
    fs_err::write(&both, other.public() + &key.public()).expect("a file");
    signed.fetch(mirror.as_str(), &both, &[]).ok();
    // In gpg's binary form; and a file that is not a keyring is reported as such.
    let binary = signed.at("keys.gpg");
    key.gpg(&["--output", binary.as_str(), "--export"]).ok();
    signed.fetch(mirror.as_str(), &binary, &[]).ok();
    fs_err::write(&binary, "not a key\n").expect("a file");
    signed.fetch(mirror.as_str(), &binary, &[]).code(2);

    // A mirror that stops signing.
    signed.configure("");
    signed.stx(&["pages"]).ok();
    assert!(!signed.mirror("index.json.asc").exists());
    signed.fetch(mirror.as_str(), &ring, &[]).code(4);
}

/// The time `days` days from now.
fn in_days(days: i64) -> String {
    let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
    (now + chrono::TimeDelta::days(days)).to_rfc3339()
}

/// The current index pages of a mirror.
fn pages(signed: &Signed) -> Vec<(Utf8PathBuf, Vec<u8>)> {
    ["", "master/centos/"]
        .into_iter()
        .flat_map(|dir| [format!("{dir}index.json"), format!("{dir}index.json.asc")])
        .map(|name| {
            let file = signed.mirror(&name);
            let bytes = fs_err::read(&file).expect("a page");
            (file, bytes)
        })
        .collect()
}

fn put(pages: &[(Utf8PathBuf, Vec<u8>)]) {
    for (file, bytes) in pages {
        fs_err::write(file, bytes).expect("written");
    }
}

#[test]
fn a_mirror_that_is_rolled_back_or_frozen_is_detected() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let signed = Signed::new(&key.signing());
    let ring = keyring(&signed, &key);
    signed.publish(DATES[0]).ok();
    let old = pages(&signed);
    let nginx = signed.serve();
    let mirror = nginx.url("");
    signed.write("outputs/iso/bootimage.iso", b"a newer image");
    signed.publish(DATES[1]).ok();
    let new = pages(&signed);

    // A reader that never saw the newer one cannot notice this.
    put(&old);
    signed.fetch(&mirror, &ring, &[]).ok();
    put(&new);
    signed.fetch(&mirror, &ring, &[]).ok();
    for (rolled_back, what) in [(&old[..], "both"), (&old[2..], "the channel's")] {
        put(rolled_back);
        let refused = signed.fetch(&mirror, &ring, &[]).code(4);
        let said = &refused.stderr;
        assert!(said.contains("goes back in time"), "{what}: {said}");
        assert!(said.contains("--allow-stale"), "{what}: {said}");
        signed.fetch(&mirror, &ring, &["--allow-stale"]).ok();
        // Accepting it once does not erase the memory.
        signed.fetch(&mirror, &ring, &[]).code(4);
        put(&new);
        signed.fetch(&mirror, &ring, &[]).ok();
    }

    // A reader without a memory notices that the channel's index is older than the root index states.
    put(&old[2..]);
    fs_err::remove_dir_all(signed.at("reader")).expect("removed");
    let refused = signed.fetch(&mirror, &ring, &[]).code(4);
    assert!(
        refused.stderr.contains("goes back in time"),
        "{}",
        refused.stderr
    );
    // A refused index is not remembered.
    put(&old);
    signed.fetch(&mirror, &ring, &[]).ok();
    put(&new);

    let later = in_days(8);
    let refused = signed.fetch(&mirror, &ring, &["--now", &later]).code(4);
    assert!(
        refused.stderr.contains("not kept up to date"),
        "{}",
        refused.stderr
    );
    signed
        .fetch(&mirror, &ring, &["--now", &later, "--allow-stale"])
        .ok();
    let found = signed
        .stx(&["verify", "--keyring", ring.as_str(), "--now", &later])
        .code(4);
    assert!(
        found.stdout.contains("not kept up to date"),
        "{}",
        found.stdout
    );
    // `pages` signs again, without a change.
    let made = signed.stx(&["pages", "--now", &later]).ok();
    assert!(
        made.contains("wrote master/centos/index.json.asc"),
        "{made}"
    );
    signed.fetch(&mirror, &ring, &["--now", &later]).ok();
    let made = signed.stx(&["pages", "--now", &later]).ok();
    assert_eq!(made, "", "what is fresh is not signed again");

    // A change of another channel renews the signature of an index after half of its time, even if the index did not change.
    for days in [8, 13] {
        let now = in_days(days);
        let date = chrono::DateTime::parse_from_rfc3339(&now).expect("a time");
        let date = date.format("%Y%m%dT%H%M%SZ").to_string();
        let tree = signed.at("tree");
        let other = ["publish", tree.as_str(), "--channel", "master/debian"];
        let as_of = ["--date", &date, "--result", "success", "--now", &now];
        signed.stx(&[&other[..], &as_of].concat()).ok();
    }
    signed.fetch(&mirror, &ring, &["--now", &in_days(16)]).ok();
}

#[test]
fn expired_and_revoked_keys_are_refused_with_the_reason() {
    let expiring = Key::with("Short <short@example.org>", "10d", &[]);
    let signed = Signed::new(&expiring.signing());
    let (ring, mirror) = (keyring(&signed, &expiring), signed.at("mirror"));
    signed.publish(DATES[0]).ok();
    signed.fetch(mirror.as_str(), &ring, &[]).ok();
    let later = in_days(11);
    let late = ["--now", &later, "--allow-stale"];
    let refused = signed.fetch(mirror.as_str(), &ring, &late).code(4);
    assert!(
        refused.stderr.contains("which expired at"),
        "{}",
        refused.stderr
    );
    let refused = signed.stx(&["pages", "--now", &later]).code(2);
    assert!(
        refused.stderr.contains("expired"),
        "it signs nothing either: {}",
        refused.stderr
    );
    // Its owner extends the key: earlier signatures are valid again.
    expiring
        .gpg(&["--quick-set-expire", expiring.fingerprint(), "1y"])
        .ok();
    let ring = keyring(&signed, &expiring);
    signed.fetch(mirror.as_str(), &ring, &late).ok();

    expiring.revoke();
    let ring = keyring(&signed, &expiring);
    let refused = signed.fetch(mirror.as_str(), &ring, &[]).code(4);
    assert!(refused.stderr.contains("was revoked"), "{}", refused.stderr);
    let refused = signed.publish(DATES[1]).code(2);
    assert!(refused.stderr.contains("revoked"), "{}", refused.stderr);
}

#[test]
fn an_expired_subkey_is_named() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let print = key.fingerprint().to_owned();
    let loopback = ["--pinentry-mode", "loopback", "--passphrase", ""];
    let add = ["--quick-add-key", &print, "ed25519", "sign", "10d"];
    key.gpg(&[&loopback[..], &add].concat()).ok();
    let signed = Signed::new(&key.signing());
    let (ring, mirror) = (keyring(&signed, &key), signed.at("mirror"));
    signed.publish(DATES[0]).ok();
    signed.fetch(mirror.as_str(), &ring, &[]).ok();
    let late = ["--now", &in_days(11), "--allow-stale"];
    let refused = signed.fetch(mirror.as_str(), &ring, &late).code(4);
    let named = format!(" (subkey of {print}), which expired at");
    assert!(refused.stderr.contains(&named), "{}", refused.stderr);
}

#[test]
fn an_invalid_keyring_is_reported_with_its_actual_type() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let signed = Signed::new(&key.signing());
    let mirror = signed.at("mirror");
    signed.publish(DATES[0]).ok();
    let secret = signed.at("secret");
    let text = signed.at("text");
    fs_err::write(&text, "no key").expect("a file");
    let print = key.fingerprint();
    let loopback = ["--pinentry-mode", "loopback", "--passphrase", "", "--yes"];
    for (file, form, says) in [
        (
            &secret,
            Some("--no-armor"),
            "holds a secret key, not public keys",
        ),
        (
            &secret,
            Some("--armor"),
            "holds a secret key, not public keys",
        ),
        (&text, None, "holds no OpenPGP public key"),
    ] {
        if let Some(form) = form {
            let export = [
                form,
                "--output",
                file.as_str(),
                "--export-secret-keys",
                print,
            ];
            key.gpg(&[&loopback[..], &export].concat()).ok();
        }
        let refused = signed.fetch(mirror.as_str(), file, &[]).code(2);
        for words in [says, "`gpg --armor --export"] {
            assert!(
                refused.stderr.contains(words),
                "{form:?}: {}",
                refused.stderr
            );
        }
    }
}

#[test]
fn signing_subkeys_and_weak_signatures() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let print = key.fingerprint().to_owned();
    let loopback = ["--pinentry-mode", "loopback", "--passphrase", ""];
    key.gpg(
        &[
            &loopback[..],
            &["--quick-add-key", &print, "ed25519", "sign", "1y"],
        ]
        .concat(),
    )
    .ok();
    let signed = Signed::new(&key.signing());
    let (ring, mirror) = (keyring(&signed, &key), signed.at("mirror"));
    signed.publish(DATES[0]).ok();
    signed.fetch(mirror.as_str(), &ring, &[]).ok();

    // The same bytes, signed with a digest that can be forged, or as text.
    let sums = signed.mirror(&format!("{CHANNEL}/{}/SHA256SUMS", DATES[0]));
    let signature = Utf8PathBuf::from(format!("{sums}.asc"));
    for how in [["--digest-algo", "SHA1"], ["--textmode", "--quiet"]] {
        fs_err::remove_file(&signature).expect("removed");
        let sign = [
            "--local-user",
            &format!("{print}!"),
            "--detach-sign",
            "--armor",
            sums.as_str(),
        ];
        key.gpg(&[&how[..], &sign].concat()).ok();
        let refused = signed.fetch(mirror.as_str(), &ring, &[]).code(4);
        assert!(
            refused.stderr.contains("proves nothing"),
            "{how:?}: {}",
            refused.stderr
        );
    }
    // Output of a program that is not a signature of these bytes is refused before the publication.
    let forger = key.home().join("forger.sh");
    let old = signed.mirror("index.json.asc");
    super::key::executable(
        &forger,
        &format!("#!/bin/sh\ncat >/dev/null; exec cat {old}\n"),
    );
    signed.configure(&format!(
        "[signing]\ncommand = [\"{forger}\"]\npublic_key = \"{ring}\""
    ));
    let refused = signed.publish(DATES[1]).code(4);
    assert!(
        refused.stderr.contains("signed other bytes"),
        "{}",
        refused.stderr
    );
    assert!(!signed.mirror(&format!("{CHANNEL}/{}", DATES[1])).exists());
    executable_is_named(&signed, &ring);
}

/// A missing program is named.
fn executable_is_named(signed: &Signed, ring: &Utf8Path) {
    signed.configure(&format!(
        "[signing]\ncommand = [\"no-such-signer\"]\npublic_key = \"{ring}\""
    ));
    let refused = signed.publish(DATES[1]).code(2);
    assert!(
        refused.stderr.contains("no-such-signer: not installed"),
        "{}",
        refused.stderr
    );
    let empty = run(&mut tool("ls", [signed.at("mirror/.stx/staging")]));
    assert!(!empty.stdout.contains(DATES[1]), "{}", empty.stdout);
}

/// A package whose only file contains `text`.
fn greeting(version: u8, text: &str) -> Vec<u8> {
    let spec = format!(
        "Name: greeting\nVersion: {version}\nRelease: 1\nSummary: A greeting\nLicense: MIT\nBuildArch: noarch\n\
        %description\nA greeting.\n%install\nmkdir -p %{{buildroot}}/etc\necho {text} > %{{buildroot}}/etc/greeting\n\
        %files\n/etc/greeting\n"
    );
    let built = crate::rpms::build(&format!("greeting-{version}"), &spec);
    fs_err::read(&built[0]).expect("rpmbuild makes it")
}

#[test]
fn comparisons_and_searches_verify_whole_packages_by_the_sums() {
    let key = Key::new("StarlingX builds <builds@example.org>");
    let signed = Signed::new(&key.signing());
    for (date, version, text) in [(DATES[0], 1, "hello"), (DATES[1], 2, "good morning")] {
        drop(fs_err::remove_dir_all(signed.at("tree/outputs/RPMS")));
        let to = format!("outputs/RPMS/std/greeting-{version}-1.noarch.rpm");
        signed.write(&to, &greeting(version, text));
        signed.publish(date).ok();
    }
    let ring = keyring(&signed, &key);
    let nginx = signed.serve();
    let [old, new] = DATES.map(|date| format!("{CHANNEL}/{date}"));
    let newer = signed.at("tree/outputs/RPMS/std/greeting-2-1.noarch.rpm");
    for mirror in [nginx.url(""), signed.at("mirror").to_string()] {
        let ask = |args: &[&str], ring: &[&str]| {
            signed.stx(&[&["--mirror", &mirror], args, ring].concat())
        };
        let with = ["--keyring", ring.as_str()];
        let asked: [&[&str]; 3] = [
            &["compare", &old, &new],
            &["compare", newer.as_str(), "--with", &old],
            &["since", "greeting", "--in", CHANNEL],
        ];
        let answers = asked.map(|args| {
            let plain = ask(args, &[]);
            assert!(matches!(plain.code, Some(0 | 1)), "{}", plain.stderr);
            let trusted = ask(args, &with);
            assert_eq!(trusted.stdout, plain.stdout, "{}", trusted.stderr);
            plain.code
        });
        // Beyond the headers: only the sum of the complete file reveals it.
        let package = signed.mirror(&format!("{old}/outputs/RPMS/std/greeting-1-1.noarch.rpm"));
        let bytes = fs_err::read(&package).expect("a package");
        let mut changed = bytes.clone();
        *changed.last_mut().expect("a payload") ^= 1;
        fs_err::write(&package, changed).expect("written");
        for (args, code) in asked.iter().zip(answers) {
            assert_eq!(ask(args, &[]).code, code, "{args:?}");
            let refused = ask(args, &with);
            assert_eq!(refused.code, Some(4), "{args:?}: {}", refused.stdout);
            let said = refused.stdout + &refused.stderr;
            assert!(said.contains("corrupt"), "{said}");
        }
        fs_err::write(&package, bytes).expect("written");
        let sums = signed.mirror(&format!("{old}/SHA256SUMS"));
        let bytes = change(&sums);
        for args in asked {
            let refused = ask(args, &with).code(4);
            assert!(
                refused.stderr.contains("signed other bytes"),
                "{}",
                refused.stderr
            );
        }
        fs_err::write(&sums, bytes).expect("written");
    }
}
