//! A registry that asks to wait, cuts connections, lies and denies; and publishers that are killed before each request.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use stx_images::registry::conformance;
use stx_images::{OciOptions, OciRegistry};

use crate::harness::{Ran, assert_whole, run, write_script};
use crate::registry::{Published, recorded};
use crate::registry_proxy::{Act, Proxy};
use crate::registry_server::{DockerRegistry, seen_digest};
use crate::retention::january;

#[test]
fn a_real_registry_keeps_the_contract() {
    let registry = DockerRegistry::start();
    let mut options = OciOptions::default();
    options.plain_http = true;
    let ours = OciRegistry::new(&registry.host(), options).expect("a registry");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(conformance::run(&ours));
}

fn answer(status: &str, headers: &str, body: &str) -> Act {
    Act::Answer(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    ))
}

#[test]
fn a_push_waits_as_long_as_the_registry_asks() {
    let registry = DockerRegistry::start();
    let proxy = Proxy::before(&registry.host());
    let here = Published::on(&proxy.host());
    // Every request fails once; the first failure asks to wait for a second.
    let failed = Mutex::new(std::collections::BTreeSet::new());
    proxy.rule(move |number, head| {
        let line = head.lines().next().unwrap_or_default();
        // Each upload has a unique URL, which ends with the digest of the blob.
        let request = match line.split_once("&digest=") {
            Some((_, digest)) => digest.to_owned(),
            None => line.to_owned(),
        };
        if !failed.lock().expect("no panic").insert(request) {
            return Act::Pass;
        }
        match number {
            0 => answer("429 Too Many Requests", "retry-after: 1\r\n", ""),
            _ => answer("503 Service Unavailable", "retry-after: 0\r\n", ""),
        }
    });
    let start = Instant::now();
    run(&mut here.publish(1)).code(0);
    assert!(start.elapsed().as_millis() >= 1000, "Retry-After is obeyed");
    assert!(seen_digest(&here.nova(1).replace(&proxy.host(), &registry.host())).is_some());
    proxy.rule(|_, _| answer("429 Too Many Requests", "retry-after: 0\r\n", ""));
    let given_up = run(&mut here.publish(2)).code(4);
    assert!(given_up.stderr.contains("429"), "{}", given_up.stderr);
    assert!(proxy.seen().len() >= 5, "it was tried again");
    assert!(!here.build(2).exists());
}

#[test]
fn an_interrupted_upload_resumes_with_the_missing_part() {
    let registry = DockerRegistry::start();
    let proxy = Proxy::before(&registry.host());
    let here = Published::on(&proxy.host());
    here.configure("parallel = 1");
    // The second upload of bytes is cut off after a few of them.
    let uploads = AtomicUsize::new(0);
    proxy.rule(move |_, head| {
        if head.starts_with("PUT ") && head.contains("/blobs/uploads/") {
            match uploads.fetch_add(1, Ordering::SeqCst) {
                1 => return Act::Cut(20),
                2 => return Act::Cut(0),
                _ => {}
            }
        }
        Act::Pass
    });
    let report = run(&mut here.publish(1)).code(0).json();
    assert_eq!(report["images"]["blobs"], 4);
    let sent = proxy.seen();
    let sent = sent
        .iter()
        .filter(|head| head.starts_with("PUT ") && head.contains("/blobs/"));
    assert_eq!(sent.count(), 6, "four blobs, one of them three times");
}

#[test]
fn a_digest_claimed_by_the_registry_is_not_trusted() {
    let registry = DockerRegistry::start();
    let proxy = Proxy::before(&registry.host());
    let here = Published::on(&proxy.host());
    run(&mut here.publish(1)).code(0);
    let digest = recorded(&here.record(1), &here.nova(1));
    let wanted = format!(
        "GET /v2/starlingx/stx-nova/manifests/master-centos-stable-{}.0 ",
        january(1)
    );
    proxy.rule(move |_, head| {
        if head.starts_with(&wanted) {
            let claim = format!(
                "docker-content-digest: sha256:{digest}\r\ncontent-type: application/vnd.oci.image.manifest.v1+json\r\n"
            );
            return answer("200 OK", &claim, "{\"schemaVersion\":2}");
        }
        Act::Pass
    });
    let verified = run(&mut here.stx(&["verify"])).code(4);
    assert!(
        verified.stdout.contains("image-changed"),
        "{}",
        verified.stdout
    );
}

const LOGIN: &str = "<html><body>Log in</body></html>";

#[test]
fn a_web_page_instead_of_a_manifest_is_not_an_image() {
    let registry = DockerRegistry::start();
    let proxy = Proxy::before(&registry.host());
    let here = Published::on(&proxy.host());
    run(&mut here.publish(1)).code(0);
    for (kind, body, said) in [
        ("text/html", LOGIN, "web page"),
        ("text/plain", "down for maintenance", "not a manifest"),
    ] {
        proxy.rule(move |_, _| answer("200 OK", &format!("content-type: {kind}\r\n"), body));
        let refused = run(&mut here.publish(2)).code(4).stderr;
        assert!(refused.contains(said), "{refused}");
        assert!(!refused.contains("another tag"), "{refused}");
        let verified = run(&mut here.stx(&["verify"])).code(4).stdout;
        assert!(verified.contains("registry-unreachable"), "{verified}");
        assert!(!verified.contains("image-changed"), "{verified}");
    }
}

#[test]
fn a_refusal_is_reported_with_its_own_next_step() {
    let registry = DockerRegistry::start();
    let proxy = Proxy::before(&registry.host());
    let here = Published::on(&proxy.host());
    let publish = |status: &'static str, method: &'static str, path: &'static str| {
        proxy.rule(move |_, head| {
            let line = head.lines().next().unwrap_or_default();
            if line.starts_with(method) && line.contains(path) {
                return answer(status, "", "");
            }
            Act::Pass
        });
        let failed = run(&mut here.publish(1)).code(4).stderr;
        assert!(!failed.contains("send the missing images"), "{failed}");
        failed
    };
    let denied = publish("403 Forbidden", "POST ", "/uploads/");
    assert!(
        denied.contains("config.json") && denied.contains("nothing of the build is visible"),
        "{denied}"
    );
    let read_only = publish("405 Method Not Allowed", "POST ", "/uploads/");
    assert!(read_only.contains("may be read-only"), "{read_only}");
    let missing = publish("404 Not Found", "POST ", "/uploads/");
    assert!(missing.contains("takes no uploads"), "{missing}");
    let large = publish("413 Payload Too Large", "PUT ", "/uploads/");
    assert!(large.contains("proxy in front of it"), "{large}");
    let immutable = publish("403 Forbidden", "PUT ", "/manifests/master");
    assert!(
        immutable.contains("config.json") && immutable.contains("the build is visible"),
        "{immutable}"
    );

    // The server speaks http, and the client https.
    let here = Published::on(&registry.host());
    let config = here.at("stx-builds.toml");
    let text = fs_err::read_to_string(&config).expect("a configuration");
    fs_err::write(&config, text.replace("plain_http = true", "")).expect("a file");
    let open = run(&mut here.publish(1)).code(4).stderr;
    assert!(open.contains("plain_http = true"), "{open}");
}

#[test]
fn an_exhausted_quota_is_not_reported_as_missing_credentials() {
    let registry = DockerRegistry::start();
    let proxy = Proxy::before(&registry.host());
    let here = Published::on(&proxy.host());
    let full = r#"{"errors":[{"code":"DENIED","message":"adding 1.0 MiB of storage resource, which when updated to current usage of 9.9 MiB will exceed the configured upper limit of 10.0 MiB."}]}"#;
    proxy.rule(move |_, head| {
        if head.starts_with("PUT ") && head.contains("/uploads/") {
            return answer("403 Forbidden", "content-type: application/json\r\n", full);
        }
        Act::Pass
    });
    let failed = run(&mut here.publish(1)).code(4).stderr;
    for words in [
        "quota on the registry is used up (the registry says 403 Forbidden, DENIED)",
        "its quota raised",
    ] {
        assert!(failed.contains(words), "{failed}");
    }
    assert!(!failed.contains("config.json"), "{failed}");
    proxy.rule(|_, _| Act::Pass);
    run(&mut here.publish(1)).code(0);
}

#[test]
fn a_tag_damaged_by_a_full_disk_is_created_again() {
    let registry = DockerRegistry::start();
    let here = Published::on(&registry.host());
    run(&mut here.publish(1)).code(0);
    let latest = "master-centos-stable-latest";
    let dated = format!("master-centos-stable-{}.0", january(1));
    registry.damage("starlingx/stx-nova", latest);
    registry.damage("starlingx/stx-nova", &dated);
    run(&mut here.publish(1)).code(0);
    let digest = recorded(&here.record(1), &here.nova(1));
    assert_eq!(seen_digest(&here.nova(1)), Some(digest.clone()));
    assert_eq!(seen_digest(&here.latest()), Some(digest));
}

/// Fails the test if the output contains a secret in any form.
fn assert_secret(ran: &Ran, secrets: &[&str]) {
    for secret in secrets {
        assert!(
            !ran.stdout.contains(secret) && !ran.stderr.contains(secret),
            "{ran:?}"
        );
    }
}

const PASSWORD: &str = "correct-horse-battery";
/// `builder:correct-horse-battery`, in the form of `config.json` and HTTP.
const BASIC: &str = "YnVpbGRlcjpjb3JyZWN0LWhvcnNlLWJhdHRlcnk=";
/// The same for htpasswd.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuSnF5tLPqPFqc0z9CY0HcSLFbSRlL67u";

#[test]
fn credentials_are_read_from_docker_and_never_shown() {
    let dir = camino_tempfile::Utf8TempDir::new().expect("a temporary directory");
    let users = dir.path().join("users");
    fs_err::write(&users, format!("builder:{HASH}\n")).expect("a file");
    let registry = DockerRegistry::with(&format!(
        "auth: {{htpasswd: {{realm: here, path: {users}}}}}\n"
    ));
    let here = Published::on(&registry.host());
    let secrets = [PASSWORD, BASIC];
    let without = run(here.publish(1).arg("-v")).code(4);
    assert!(without.stderr.contains("config.json"), "{}", without.stderr);

    let config = |text: &str| fs_err::write(here.at("config.json"), text).expect("a file");
    let host = &here.host;
    config(&format!(
        "{{\"auths\": {{\"{host}\": {{\"auth\": \"d3Jvbmc6d3Jvbmctc2VjcmV0\"}}}}}}"
    ));
    let denied = run(here.publish(1).arg("-v")).code(4);
    assert!(denied.stderr.contains("denies access"), "{}", denied.stderr);
    assert_secret(&denied, &["wrong-secret", "d3Jvbmc6d3Jvbmctc2VjcmV0"]);

    // The output of a failing helper is not passed on.
    let helper = here.at("docker-credential-test");
    let script = |text: &str| {
        write_script(&helper, &format!("#!/bin/sh\ncat > /dev/null\n{text}\n"));
    };
    let path = format!("{}:{}", here.at(""), std::env::var("PATH").expect("PATH"));
    config(&format!("{{\"credHelpers\": {{\"{host}\": \"test\"}}}}"));
    script(&format!("echo {PASSWORD}; echo {PASSWORD} >&2; exit 1"));
    let failed = run(here.publish(1).arg("-v").env("PATH", &path)).code(4);
    assert!(
        failed.stderr.contains("docker-credential-test"),
        "{}",
        failed.stderr
    );
    assert_secret(&failed, &secrets);

    script(&format!(
        "echo '{{\"Username\": \"builder\", \"Secret\": \"{PASSWORD}\"}}'"
    ));
    let accepted = run(here.publish(1).arg("-v").env("PATH", &path)).code(0);
    assert_secret(&accepted, &secrets);

    config(&format!(
        "{{\"auths\": {{\"{host}\": {{\"auth\": \"{BASIC}\"}}}}}}"
    ));
    let kept = run(here.publish(2).arg("-v")).code(0);
    assert_secret(&kept, &secrets);
    for file in walkdir::WalkDir::new(here.at("mirror")) {
        let file = file.expect("a readable tree");
        if file.file_type().is_file() {
            let bytes = std::fs::read(file.path()).expect("a file");
            for secret in secrets {
                let found = bytes
                    .windows(secret.len())
                    .any(|part| part == secret.as_bytes());
                assert!(!found, "{} holds a secret", file.path().display());
            }
        }
    }
}

#[test]
fn a_token_is_requested_from_the_named_server_and_sent_nowhere_else() {
    let registry = DockerRegistry::start();
    let proxy = Proxy::before(&registry.host());
    let elsewhere = Proxy::before(&registry.host());
    let here = Published::on(&proxy.host());
    let config = format!(
        "{{\"auths\": {{\"{}\": {{\"auth\": \"{BASIC}\"}}}}}}",
        here.host
    );
    fs_err::write(here.at("config.json"), config).expect("a file");
    let (host, other) = (proxy.host(), elsewhere.host());
    proxy.rule(move |_, head| {
        let lower = head.to_ascii_lowercase();
        if head.starts_with("GET /token?") {
            assert!(head.contains(BASIC), "the password goes to the realm");
            return answer("200 OK", "", "{\"token\": \"a.token.for.this\"}");
        }
        if !lower.contains("authorization: bearer a.token.for.this") {
            let realm = format!(
                "www-authenticate: Bearer realm=\"http://{host}/token\",service=\"here\"\r\n"
            );
            return answer("401 Unauthorized", &realm, "");
        }
        if head.starts_with("POST ") {
            // Blobs are redirected to another host, as cloud registries do.
            let location = format!("location: http://{other}/lost\r\n");
            return answer("202 Accepted", &location, "");
        }
        Act::Pass
    });
    elsewhere.rule(|_, _| answer("400 Bad Request", "", ""));
    let refused = run(here.publish(1).arg("-v")).code(4);
    assert_secret(&refused, &[PASSWORD, BASIC, "a.token.for.this"]);
    let asked = proxy.seen();
    // The digests determine which image comes first, and its refusal ends the others.
    let scopes = ["nova", "audit"]
        .map(|name| format!("scope=repository%3Astarlingx%2Fstx-{name}%3Apull%2Cpush"));
    let is_asked = |head: &String| {
        head.starts_with("GET /token?") && scopes.iter().any(|scope| head.contains(scope))
    };
    assert!(asked.iter().any(is_asked), "{asked:?}");
    let leaked = elsewhere.seen();
    assert!(!leaked.is_empty());
    for head in leaked {
        assert!(
            !head.to_ascii_lowercase().contains("authorization"),
            "{head}"
        );
    }
}

/// Publishes, and is killed before the registry receives the request with this number; true if it was still running.
fn killed_at(here: &Published, proxy: &Proxy, number: usize) -> bool {
    let pid: Arc<Mutex<Option<Pid>>> = Arc::default();
    let killed = Arc::clone(&pid);
    proxy.rule(move |now, _| {
        if now != number {
            return Act::Pass;
        }
        loop {
            // The first request may arrive before the process id is known.
            if let Some(pid) = *killed.lock().expect("no panic") {
                kill_process(pid, Signal::KILL).expect("it runs until then");
                return Act::Cut(0);
            }
            std::thread::yield_now();
        }
    });
    let mut child = here
        .publish(2)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    *pid.lock().expect("no panic") = Some(Pid::from_child(&child));
    let status = child.wait().expect("it ends");
    status.code().is_none()
}

#[test]
fn a_publish_killed_at_any_request_announces_no_missing_image() {
    let mut kills = 0;
    for number in 0.. {
        let registry = DockerRegistry::start();
        let proxy = Proxy::before(&registry.host());
        let here = Published::on(&proxy.host());
        here.configure("parallel = 1");
        run(&mut here.publish(1)).code(0);
        here.layout("stx-nova", "stable", "two");
        let killed = killed_at(&here, &proxy, number);
        proxy.rule(|_, _| Act::Pass);
        let at = |name: &str| name.replace(&proxy.host(), &registry.host());
        let built = here.build(2).join("build.json").is_file();
        let tag = seen_digest(&at(&here.nova(2)));
        let latest = seen_digest(&at(&here.latest()));
        let first = recorded(&here.record(1), &here.nova(1));
        match (&tag, built) {
            (Some(_), false) => panic!("request {number}: a tag without its build"),
            (Some(digest), true) => assert_eq!(*digest, recorded(&here.record(2), &here.nova(2))),
            (None, _) => assert_eq!(latest, Some(first.clone()), "request {number}"),
        }
        if built {
            let digest = recorded(&here.record(2), &here.nova(2));
            let stored = format!("{}@sha256:{digest}", at(&here.name("stx-nova")));
            assert!(
                seen_digest(&stored).is_some(),
                "request {number}: {stored} is not there"
            );
        }
        let alias = here
            .at("mirror/master/centos/latest_build")
            .read_link_utf8()
            .expect("an alias");
        if alias == january(2) {
            assert!(
                tag.is_some() && latest == tag,
                "request {number}: aliased before its tags"
            );
        }
        assert_whole(&here.at("mirror"), "master/centos");
        run(&mut here.publish(2)).code(0);
        run(&mut here.stx(&["verify"])).code(0);
        let second = recorded(&here.record(2), &here.nova(2));
        for name in [here.nova(2), here.latest()] {
            assert_eq!(
                seen_digest(&at(&name)),
                Some(second.clone()),
                "request {number}"
            );
        }
        if !killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 15, "killed only {kills} times");
    println!("killed before each of {kills} requests");
}
