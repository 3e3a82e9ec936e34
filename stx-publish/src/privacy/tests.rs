use proptest::prelude::*;

use super::*;

fn privacy(identities: impl IntoIterator<Item = Identity>) -> Privacy {
    Privacy::new(identities, []).expect("identities")
}

fn secret(label: &str, value: &str) -> Identity {
    Identity::Secret {
        label: label.to_owned(),
        value: value.into(),
    }
}

fn redacted(identities: impl IntoIterator<Item = Identity>, text: &str) -> String {
    let (text, _) = privacy(identities).redact(text.as_bytes());
    String::from_utf8(text).expect("UTF-8")
}

/// A machine with identities of every kind.
fn everything() -> Privacy {
    privacy([
        Identity::machine("yow-lab7.example.com"),
        Identity::machine("build"),
        Identity::Host("forge".to_owned()),
        Identity::Address("10.3.1.7".parse().expect("an address")),
        Identity::Address("2001:db8::17".parse().expect("an address")),
        secret("token", "s3cr3t/Token"),
    ])
}

#[test]
fn names_of_the_machine_are_found_and_other_words_are_not() {
    let cases = [
        // Distinctive names, alone, with a domain, in other names, as part of other words.
        ("on yow-lab7 now", "on [redacted host] now"),
        ("YOW-LAB7:", "[redacted host]:"),
        ("yow-lab7.example.com.", "[redacted host]."),
        ("yow-lab7.other.org/x", "[redacted host]/x"),
        ("build_yow-lab7_1.txt", "build_[redacted host]_1.txt"),
        ("yow-lab70 xyow-lab7", "yow-lab70 xyow-lab7"),
        ("example.com", "example.com"),
        // Names of the machine that are plain words.
        (
            "build rpmbuild building build.log build-pkgs @build",
            "build rpmbuild building build.log build-pkgs @build",
        ),
        (
            "https://build/x http://build:80",
            "https://[redacted host]/x http://[redacted host]:80",
        ),
        (
            "a//build/x https://build-tools/",
            "a//build/x https://build-tools/",
        ),
        ("jenkins@build:", "[redacted account]:"),
        // Configured plain words.
        (
            "forge the forge: forged re-forge forge_x",
            "[redacted host] the [redacted host]: forged re-forge forge_x",
        ),
        // Accounts, also with a password.
        (
            "From: Jo <jo.h+x@yow-lab7.example.com>",
            "From: Jo <[redacted account]>",
        ),
        ("ssh://bot:pass@10.3.1.7/x", "ssh://[redacted account]/x"),
        ("jo@example.com", "jo@example.com"),
        // Addresses and versions.
        (
            "10.3.1.7:80 (10.3.1.7) 10.3.1.7/24 at 10.3.1.7.",
            "[redacted address]:80 ([redacted address]) [redacted address]/24 at [redacted address].",
        ),
        (
            "10.3.1.70 110.3.1.7 10.3.1.7.1 1.10.3.1.7 v10.3.1.7",
            "10.3.1.70 110.3.1.7 10.3.1.7.1 1.10.3.1.7 v10.3.1.7",
        ),
        (
            "[2001:DB8::17]:80 2001:db8:0:0:0:0:0:17 2001:0db8:0000:0000:0000:0000:0000:0017",
            "[[redacted address]]:80 [redacted address] [redacted address]",
        ),
        (
            "addr:2001:db8::17 2001:db8::17: no",
            "addr:[redacted address] [redacted address]: no",
        ),
        (
            "2001:db8::171 12001:db8::17 2001:db8::17:1 1:2001:db8::17",
            "2001:db8::171 12001:db8::17 2001:db8::17:1 1:2001:db8::17",
        ),
        // The value of BUILD_HOST, whichever host it names.
        (
            "BUILD_HOST=\"lab.other\"\nBUILD_HOST=x y",
            "BUILD_HOST=\"[redacted build host]\"\nBUILD_HOST=[redacted build host] y",
        ),
        (
            "\"BUILD_HOST\": \"a b\", BUILD_HOST: x",
            "\"BUILD_HOST\": \"[redacted build host]\", BUILD_HOST: [redacted build host]",
        ),
        (
            "BUILD_HOST=\"\"\nBUILD_HOST=$H BUILD_HOST=localhost BUILD_HOST: the name MY_BUILD_HOST=x",
            "BUILD_HOST=\"\"\nBUILD_HOST=$H BUILD_HOST=localhost BUILD_HOST: the name MY_BUILD_HOST=x",
        ),
        // Secrets: exact, and in a URL.
        (
            "xs3cr3t/Tokenx s3cr3t%2FToken S3CR3T/TOKEN",
            "x[redacted secret]x [redacted secret] S3CR3T/TOKEN",
        ),
    ];
    for (text, expected) in cases {
        let (redacted, _) = everything().redact(text.as_bytes());
        assert_eq!(String::from_utf8_lossy(&redacted), expected);
    }
}

#[test]
fn names_and_addresses_common_to_all_machines_are_ignored() {
    let text = "localhost localhost.localdomain 127.0.0.1 127.0.1.1 ::1 0.0.0.0 172.17.0.1 10.0.2.15 root@localhost";
    let addresses = [
        "127.0.0.1",
        "127.0.1.1",
        "::1",
        "0.0.0.0",
        "::",
        "172.17.0.1",
        "10.0.2.15",
    ];
    let mut identities: Vec<_> = addresses
        .iter()
        .map(|address| Identity::Address(address.parse().expect("an address")))
        .collect();
    identities.push(Identity::machine("localhost"));
    identities.push(Identity::machine("localhost.localdomain"));
    assert_eq!(redacted(identities, text), text);
    for name in ["localhost", "", "a", "two words", "x/y"] {
        let refused = Privacy::new([Identity::Host(name.to_owned())], []);
        assert!(matches!(refused, Err(PrivacyError::Host { .. })), "{name}");
    }
}

#[test]
fn only_distinctive_names_are_redacted_on_their_own() {
    for (name, alone) in [
        ("yow-lab7", true),
        ("build01", true),
        ("cengn.local", true),
        ("build", false),
        ("vm", false),
        ("vm01", false),
        ("debian-12", false),
        ("ubuntu2204", false),
        ("x86-64", false),
        ("controller-0", false),
        ("c7", false),
    ] {
        let found = redacted([Identity::machine(name)], name) != name;
        assert_eq!(found, alone, "{name}");
        let account = redacted([Identity::machine(name)], &format!("root@{name}"));
        assert_eq!(account, "[redacted account]", "{name}");
        let plain = privacy([Identity::machine(name)]);
        assert_eq!(plain.plain_names().contains(name), !alone, "{name}");
        assert!(plain.is_host(name) && plain.is_host(&format!("{name}.example.com")));
    }
    assert!(!everything().is_host("localhost"));
}

#[test]
fn a_secret_of_several_lines_is_found_line_by_line_and_never_printed() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nx=\n-----END KEY-----\n";
    let identity = secret("key", key);
    assert!(!format!("{identity:?} {:?}", privacy([identity.clone()])).contains("MIIE"));
    assert_eq!(
        redacted([identity], "-----BEGIN KEY-----\n  MIIEvQIBADANBgkq\n"),
        "-----BEGIN KEY-----\n  [redacted secret]\n"
    );
    let short = Privacy::new([secret("pin", "1234\n")], []).expect_err("too short");
    assert_eq!(
        short.to_string(),
        "secret pin: shorter than 6 bytes, or all of its lines are"
    );
}

#[test]
fn findings_have_lines() {
    let text = b"yow-lab7\n\nyow-lab7 yow-lab7\nx@yow-lab7\n";
    let findings = everything().find(text);
    insta::assert_snapshot!(serde_json::to_string(&findings).expect("JSON"), @r#"{"account":{"count":1,"lines":[4]},"host":{"count":3,"lines":[1,3]}}"#);
    assert_eq!(findings.to_string(), "1 × account, 3 × host");
}

#[test]
fn logs_are_recognised_by_their_paths() {
    for (path, log) in [
        ("outputs/logs/std/x/state", true),
        ("outputs/RPMS/std/build.log", true),
        ("outputs/build.log.1.gz", true),
        ("outputs/build.log.xz", true),
        ("outputs/logs", false),
        ("outputs/CONTEXT", false),
        ("outputs/log.txt", false),
        ("outputs/catalog", false),
    ] {
        let path: BuildPath = path.parse().expect("a path");
        assert_eq!(is_log(&path), log, "{path}");
    }
}

/// Texts in which findings touch, overlap and repeat.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("yow-lab7".to_owned()),
        Just("yow-lab7.example.com".to_owned()),
        Just("build".to_owned()),
        Just("forge".to_owned()),
        Just("10.3.1.7".to_owned()),
        Just("2001:db8::17".to_owned()),
        Just("s3cr3t/Token".to_owned()),
        Just("BUILD_HOST=".to_owned()),
        "[a-c@:./ \n\"_-]{1,4}",
        "[x.-]{100,400}",
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn redaction_does_not_depend_on_the_pieces_of_the_input(
        // Longer than the window, so that the text is searched in several parts.
        text in text(), repeat in 1_usize..60, sizes in proptest::collection::vec(1_usize..90_000, 1..8)
    ) {
        let text = text.repeat(repeat * 20);
        let privacy = everything();
        // The whole text in one piece, searched only at the end.
        let mut whole = Vec::new();
        let mut search = Search::new(&privacy);
        search.hold(text.as_bytes());
        let expected = search.finish(|piece| whole.extend_from_slice(piece));
        let mut redacted = Vec::new();
        let mut search = Search::new(&privacy);
        let mut rest = text.as_bytes();
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at((*size).min(rest.len()));
            search.push(piece, |piece| redacted.extend_from_slice(piece));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let findings = search.finish(|piece| redacted.extend_from_slice(piece));
        prop_assert_eq!(findings, expected);
        prop_assert!(redacted == whole);
    }
}

proptest! {
    #[test]
    fn redaction_removes_every_secret_and_changes_nothing_else(text in text()) {
        let privacy = everything();
        let (redacted, findings) = privacy.redact(text.as_bytes());
        let again = privacy.find(&redacted);
        prop_assert!(!redacted.windows(12).any(|window| window == b"s3cr3t/Token"));
        prop_assert_eq!(findings.is_empty(), redacted == text.as_bytes());
        prop_assert!(again.is_empty() || !findings.is_empty());
    }
}
