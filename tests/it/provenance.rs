//! The origin of builds and the contents of their images, checked with the tools that readers have.

use std::collections::{BTreeMap, BTreeSet};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use serde_json::Value;

use crate::builds::Small;
use crate::demo::demo;
use crate::harness::{Ran, assert_whole, builds, cache, names, package, root, run, stx, tool};
use crate::nginx::Nginx;
use crate::signing::key::Key;

mod debian;
mod images;

const STATEMENT: &str = "provenance.json";
const ENVELOPE: &str = "provenance.intoto.jsonl";

/// Reads with the libraries by the authors of the formats; see `provenance/readers.py`.
pub(crate) fn read(args: &[&str]) -> Ran {
    let script = root().join("tests/it/provenance/readers.py");
    let readers = cache().join("attestation-readers-1");
    assert!(
        readers.is_dir(),
        "{readers} is missing; `scripts/setup.sh test` installs it"
    );
    let mut python = tool("/usr/bin/python3", [script.as_str()]);
    run(python.args(args).env("PYTHONPATH", readers))
}

fn json(file: &Utf8Path) -> Value {
    let text = fs_err::read_to_string(file).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

/// The names and digests in a list of a statement, for one digest algorithm.
fn resources(list: &Value, algorithm: &str) -> BTreeMap<String, String> {
    let list = list.as_array().expect("a list").iter();
    let digests = list.filter_map(|resource| {
        let name = resource["name"].as_str()?.to_owned();
        Some((name, resource["digest"][algorithm].as_str()?.to_owned()))
    });
    digests.collect()
}

/// The files below a section of a build, hashed by coreutils.
fn hashed(build: &Utf8Path, section: &str) -> BTreeMap<String, String> {
    let files = run(tool("find", [section, "-type", "f"]).current_dir(build)).ok();
    let sums = run(tool("sha256sum", files.lines()).current_dir(build)).ok();
    let sums = sums
        .lines()
        .map(|line| (line[66..].to_owned(), line[..64].to_owned()));
    sums.collect()
}

/// A key pair of an algorithm of `openssl genpkey`: the secret key in `NAME.pem`, the public one in `NAME.pub`.
pub(crate) fn make_key(dir: &Utf8Path, name: &str, algorithm: &[&str]) {
    let (secret, public) = (
        dir.join(format!("{name}.pem")),
        dir.join(format!("{name}.pub")),
    );
    let mut openssl = tool(
        "openssl",
        ["genpkey", "-out", secret.as_str(), "-algorithm"],
    );
    run(openssl.args(algorithm)).ok();
    run(&mut tool(
        "openssl",
        [
            "pkey",
            "-in",
            secret.as_str(),
            "-pubout",
            "-out",
            public.as_str(),
        ],
    ))
    .ok();
}

const P256: [&str; 3] = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

/// A distribution whose provenance is signed by the key `key`.
fn signed() -> Small {
    let small = Small::new();
    make_key(small.dir.path(), "key", &["ed25519"]);
    make_key(small.dir.path(), "other", &["ed25519"]);
    let config =
        "[provenance]\nbuilder = \"https://builds.example.org/stx/v1\"\nkey_file = \"key.pem\"\n";
    fs_err::write(small.at("stx-builds.toml"), config).expect("a file");
    small
}

const DATE: &str = "20200101T000000Z";

fn build_of(small: &Small) -> Utf8PathBuf {
    small.at("mirror/master/centos").join(DATE)
}

#[test]
fn the_provenance_of_the_sample_lists_its_commits_and_inputs() {
    let build = demo().build(1);
    let file = build.join(STATEMENT);
    read(&["statement", file.as_str()]).ok();
    let statement = json(&file);
    assert_eq!(
        resources(&statement["subject"], "sha256"),
        hashed(&build, "outputs")
    );

    let definition = &statement["predicate"]["buildDefinition"];
    let context = fs_err::read_to_string(build.join("outputs/CONTEXT")).expect("CONTEXT");
    let commits: BTreeMap<_, _> = context
        .lines()
        .map(|line| {
            let line = line.strip_prefix("(cd ./").expect("a line of CONTEXT");
            let (path, sha) = line.split_once(" && git checkout -f ").expect("a commit");
            (path.to_owned(), sha.trim_end_matches(')').to_owned())
        })
        .collect();
    assert!(commits.len() >= 3, "{context}");
    let dependencies = &definition["resolvedDependencies"];
    assert_eq!(resources(dependencies, "gitCommit"), commits);
    let mut inputs = hashed(&build, "inputs");
    inputs.retain(|path, _| !path.contains("/repodata/"));
    assert!(!inputs.is_empty());
    let recipe = root().join("recipes/sample/recipe.toml");
    let sum = run(&mut tool("sha256sum", [recipe.as_str()])).ok();
    inputs.insert("recipe/recipe.toml".to_owned(), sum[..64].to_owned());
    assert_eq!(resources(dependencies, "sha256"), inputs);
    for dependency in dependencies.as_array().expect("a list") {
        let (uri, commit) = (&dependency["uri"], &dependency["digest"]["gitCommit"]);
        if let Some(commit) = commit.as_str() {
            let uri = uri.as_str().expect("a URI");
            assert!(uri.starts_with("git+file:///"), "{uri}");
            assert!(uri.ends_with(&format!("@{commit}")), "{uri}");
        }
    }

    let shown = |format: &str| {
        let mirror = demo().mirror();
        let mut show = stx(["--mirror", mirror.as_str(), "--format", format, "show"]);
        run(show.args(["master/centos/latest_build", "--provenance"])).ok()
    };
    let said: Value = serde_json::from_str(&shown("json")).expect("JSON");
    assert_eq!(said, statement);
    let human = shown("human");
    let words = [
        "it is not signed",
        "sample",
        "trigger",
        "started",
        "finished",
    ];
    for word in words
        .into_iter()
        .chain(commits.values().map(String::as_str))
    {
        assert!(human.contains(word), "{word} is not in\n{human}");
    }
}

/// With the exact commands of `docs/provenance.md`.
#[test]
fn openssl_and_jq_and_the_reference_implementation_check_a_signed_build() {
    let small = signed();
    run(&mut small.build(DATE)).code(0);
    assert_whole(&small.at("mirror"), "master/centos");
    let build = build_of(&small);
    assert!(!build.join(STATEMENT).exists());

    let document = fs_err::read_to_string(root().join("docs/provenance.md")).expect("a document");
    let (_, rest) = document.split_once("```sh\n").expect("commands");
    let (commands, _) = rest.split_once("```").expect("commands");
    for name in ["key.pub", "other.pub"] {
        let mut shell = tool("bash", ["-euo", "pipefail", "-c", commands]);
        let public = small.at(name);
        shell.env("PUBLIC", public).env("TMPDIR", small.dir.path());
        let checked = run(shell.current_dir(&build));
        if name == "other.pub" {
            assert_ne!(checked.code, Some(0), "{}", checked.stdout);
            continue;
        }
        let said = checked.ok();
        assert!(said.contains("Signature Verified Successfully"), "{said}");
        assert!(said.contains("outputs/iso/bootimage.iso: OK"), "{said}");
    }

    let (file, key) = (build.join(ENVELOPE), small.at("key.pub"));
    let payload = read(&["envelope", file.as_str(), key.as_str()]).ok();
    let statement = small.at("statement.json");
    fs_err::write(&statement, &payload).expect("a file");
    read(&["statement", statement.as_str()]).ok();
    let other = small.at("other.pub");
    assert_ne!(
        read(&["envelope", file.as_str(), other.as_str()]).code,
        Some(0)
    );

    let envelope = json(&file);
    let der = small.at("key.der");
    let mut openssl = tool(
        "openssl",
        [
            "pkey",
            "-pubin",
            "-in",
            key.as_str(),
            "-outform",
            "DER",
            "-out",
        ],
    );
    run(openssl.arg(&der)).ok();
    let digest = run(&mut tool("sha256sum", [der.as_str()])).ok();
    assert_eq!(envelope["signatures"][0]["keyid"], digest[..64]);
}

#[test]
fn provenance_without_a_valid_signature_is_refused() {
    let small = signed();
    run(&mut small.build(DATE)).code(0);
    let id = format!("master/centos/{DATE}");
    let verify = |key: &str| run(&mut small.stx(&["verify", "--provenance-key", key]));
    let show =
        |key: &str| run(&mut small.stx(&["show", &id, "--provenance", "--provenance-key", key]));
    verify("key.pub").code(0);
    let good = show("key.pub").ok();
    assert!(
        good.contains("good, by ") && good.contains("https://builds.example.org/stx/v1"),
        "{good}"
    );
    let unchecked = run(&mut small.stx(&["show", &id, "--provenance"])).ok();
    assert!(unchecked.contains("not checked"), "{unchecked}");
    let refused = verify("other.pub").code(4);
    assert!(
        refused.stdout.contains("not signed by a trusted key"),
        "{}",
        refused.stdout
    );
    show("other.pub").code(4);
    run(&mut small.stx(&["verify", "--provenance-key", "key.pem"])).code(2);

    // An intruder on the mirror's server replaces the image and everything derived from it.
    let build = build_of(&small);
    let image = build.join("outputs/iso/bootimage.iso");
    fs_err::remove_file(&image).expect("an image");
    fs_err::write(&image, "two\n").expect("a file");
    let old = resources(&payload(&small)["subject"], "sha256");
    let old = &old["outputs/iso/bootimage.iso"];
    let new = run(&mut tool("sha256sum", [image.as_str()])).ok()[..64].to_owned();
    let rewrite = |file: &str, change: &dyn Fn(String) -> String| {
        let file = build.join(file);
        let text = change(fs_err::read_to_string(&file).expect("a file"));
        fs_err::remove_file(&file).expect("a file");
        fs_err::write(&file, &text).expect("a file");
    };
    rewrite("SHA256SUMS", &|text| text.replace(old, &new));
    let found = run(&mut small.stx(&["verify"])).code(4);
    assert!(
        found.stdout.contains("another digest than SHA256SUMS"),
        "{}",
        found.stdout
    );
    // The statement, too, which is useless without the key.
    let statement = payload(&small).to_string().replace(old, &new);
    rewrite(ENVELOPE, &|text| {
        let mut envelope: Value = serde_json::from_str(&text).expect("JSON");
        envelope["payload"] = base64(&statement).into();
        envelope.to_string()
    });
    let envelope =
        run(&mut tool("sha256sum", [build.join(ENVELOPE).as_str()])).ok()[..64].to_owned();
    rewrite("SHA256SUMS", &|text| {
        let line = |line: &str| {
            if line.ends_with(ENVELOPE) {
                format!("{envelope}  {ENVELOPE}\n")
            } else {
                format!("{line}\n")
            }
        };
        text.lines().map(line).collect()
    });
    let found = run(&mut small.stx(&["verify"]));
    assert!(!found.stdout.contains(ENVELOPE), "{}", found.stdout);
    let found = verify("key.pub").code(4);
    assert!(
        found.stdout.contains("not signed by a trusted key"),
        "{}",
        found.stdout
    );
    show("key.pub").code(4);
}

/// The statement in the envelope of a signed build.
fn payload(small: &Small) -> Value {
    let mut jq = tool("jq", ["-r", ".payload | @base64d", ENVELOPE]);
    let text = run(jq.current_dir(build_of(small))).ok();
    serde_json::from_str(&text).expect("JSON")
}

fn base64(text: &str) -> String {
    let encoded = run(&mut tool(
        "jq",
        ["-rn", "--arg", "text", text, "$text | @base64"],
    ))
    .ok();
    encoded.trim_end().to_owned()
}

#[test]
fn a_program_can_sign_instead_of_a_key_file() {
    let small = Small::new();
    make_key(small.dir.path(), "key", &P256);
    make_key(small.dir.path(), "other", &P256);
    let configure = |public: &str| {
        let config = format!(
            "[provenance]\ncommand = [\"openssl\", \"dgst\", \"-sha256\", \"-sign\", \"{}\"]\npublic_key = \"{public}\"\n",
            small.at("key.pem")
        );
        fs_err::write(small.at("stx-builds.toml"), config).expect("a file");
    };
    // A key that does not match is noticed before anything becomes visible.
    configure("other.pub");
    let refused = run(&mut small.build(DATE)).code(4);
    assert!(
        refused.stderr.contains("not a signature by the key"),
        "{}",
        refused.stderr
    );
    assert!(small.builds().is_empty());
    configure("key.pub");
    run(&mut small.stx(&["resume", "master/centos"])).code(0);
    run(&mut small.stx(&["verify", "--provenance-key", "key.pub"])).code(0);
    run(&mut small.stx(&["verify", "--provenance-key", "other.pub"])).code(4);
    let (file, key) = (build_of(&small).join(ENVELOPE), small.at("key.pub"));
    read(&["envelope", file.as_str(), key.as_str()]).ok();
}

#[test]
fn provenance_is_the_same_over_http() {
    let small = signed();
    run(&mut small.build(DATE)).code(0);
    let conf = "daemon off; worker_processes 1; pid nginx.pid; error_log stderr; events {}\n\
        http { access_log off; server { listen 127.0.0.1:8080; root mirror; autoindex on; \
        location /.stx { return 403; } } }\n";
    let nginx = Nginx::serve(small.dir.path(), conf);
    let url = nginx.url("");
    let mut show = stx([
        "--mirror",
        &url,
        "show",
        "master/centos/latest_build",
        "--provenance",
    ]);
    let key = small.at("key.pub");
    let there = run(show.args(["--provenance-key", key.as_str()])).ok();
    let here = run(&mut small.stx(&[
        "show",
        "master/centos/latest_build",
        "--provenance",
        "--provenance-key",
        "key.pub",
    ]))
    .ok();
    assert_eq!(there, here);
    run(&mut stx([
        "--mirror",
        &url,
        "verify",
        "--provenance-key",
        key.as_str(),
    ]))
    .code(0);
    let other = small.at("other.pub");
    run(&mut stx([
        "--mirror",
        &url,
        "verify",
        "--provenance-key",
        other.as_str(),
    ]))
    .code(4);
}

#[test]
fn a_contradictory_configuration_is_refused_before_anything_runs() {
    let small = signed();
    for (table, word) in [
        ("[provenance]\nbuilder = \"our server\"\n", "named by a URI"),
        (
            "[provenance]\nbuilder = \"https://yow-lab7.example.org/\"\n[privacy]\nhosts = [\"yow-lab7\"]\n",
            "reveals this machine",
        ),
        (
            "[provenance]\nkey_file = \"key.pub\"\n",
            "others than its owner",
        ),
        (
            "[provenance]\nkey_file = \"key.pem\"\ncommand = [\"x\"]\n",
            "only one of",
        ),
        ("[provenance]\ncommand = [\"x\"]\n", "needs `public_key`"),
        (
            "[provenance]\npublic_key = \"key.pub\"\n",
            "belongs to `command`",
        ),
        ("[provenance]\nkey = \"key.pem\"\n", "unknown key"),
    ] {
        fs_err::write(small.at("stx-builds.toml"), table).expect("a file");
        let refused = run(&mut small.build(DATE)).code(2);
        assert!(refused.stderr.contains(word), "{table}: {}", refused.stderr);
    }
    assert!(small.builds().is_empty());
    let off = "[provenance]\nenabled = false\n";
    fs_err::write(small.at("stx-builds.toml"), off).expect("a file");
    run(&mut small.build(DATE)).code(0);
    assert!(
        !names(&build_of(&small))
            .iter()
            .any(|name| name.starts_with("provenance"))
    );
    run(&mut small.stx(&["verify"])).code(0);
    run(&mut small.stx(&["verify", "--provenance-key", "key.pub"])).code(4);
    let none = run(&mut small.stx(&["show", "master/centos/latest_build", "--provenance"])).code(5);
    assert!(none.stderr.contains("no provenance"), "{}", none.stderr);
}
