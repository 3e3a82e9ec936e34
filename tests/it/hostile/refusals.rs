//! Servers that refuse a file: the errors that mean that it does not exist.

use super::{Answer, Case, says};
use crate::site::{CHANNEL, DATES};

/// An answer without a file.
fn status(line: &str, more: &str) -> Answer {
    let head = format!("HTTP/1.1 {line}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n");
    Answer::Bytes(head.into())
}

/// The head of an answer of an object store.
const BUCKET: &str = "Content-Type: application/xml\r\nx-amz-request-id: 1\r\n";

#[test]
fn a_refused_file_is_not_reported_as_missing() {
    let case = Case::new();
    let alias = format!("{CHANNEL}/latest_build");
    for line in ["403 Forbidden", "401 Unauthorized"] {
        let server = case.serve(move |request| {
            request
                .path
                .ends_with("/build.json")
                .then(|| status(line, ""))
        });
        for name in [&*alias, CHANNEL] {
            let ran = case.run(&server, &["show", name]);
            says(&ran, 4, &format!("refuses access ({line})"));
            assert!(ran.stderr.contains(&server.url()), "{}", ran.stderr);
            assert!(!ran.stderr.contains("no such alias"), "{}", ran.stderr);
        }
        let server = case.serve(move |request| {
            request
                .path
                .ends_with("bootimage.iso")
                .then(|| status(line, ""))
        });
        let ran = case.fetch(&server);
        says(&ran, 4, &format!("refuses access ({line})"));
        assert!(!ran.stderr.contains("not found"), "{}", ran.stderr);
    }
}

#[test]
fn an_alias_in_the_index_that_is_missing_is_reported_with_a_hint() {
    let case = Case::new();
    for (line, more) in [("404 Not Found", ""), ("403 Forbidden", BUCKET)] {
        let server = case.serve(move |request| {
            request
                .path
                .ends_with("/latest_build/build.json")
                .then(|| status(line, more))
        });
        let ran = case.run(&server, &["show", &format!("{CHANNEL}/latest_build")]);
        says(&ran, 4, "lists this alias, but");
        let date = format!("hint: {CHANNEL}/{}", DATES[0]);
        assert!(ran.stderr.contains(&date), "{}", ran.stderr);
        case.run(&server, &["show", &format!("{CHANNEL}/{}", DATES[0])])
            .ok();
    }
}

#[test]
fn a_refusal_of_an_object_store_may_mean_a_missing_file() {
    let case = Case::new();
    let server = case.serve(move |request| {
        request
            .path
            .ends_with("bootimage.iso")
            .then(|| status("403 Forbidden", BUCKET))
    });
    let ran = case.fetch(&server);
    says(
        &ran,
        5,
        "(403 Forbidden: missing, or not public): not found",
    );
    // Optional files of a build are requested, too.
    let server = case.serve(move |request| {
        let optional = ["THINNED.json", "SHA256SUMS.asc", "bootimage.iso.zsync"];
        let missing = optional.iter().any(|name| request.path.ends_with(name));
        missing.then(|| status("403 Forbidden", BUCKET))
    });
    case.run(&server, &["verify"]).ok();
    case.fetch(&server).ok();
}

#[test]
fn a_server_that_omits_the_length_is_reported_as_the_cause() {
    let case = Case::new();
    let server = case.serve(|request| {
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
        let is_image = request.path.ends_with("bootimage.iso");
        is_image.then(|| Answer::Bytes(format!("{head}an image").into()))
    });
    let ran = case.fetch(&server);
    says(
        &ran,
        4,
        "does not send the length of the file (no Content-Length)",
    );
    says(
        &ran,
        4,
        "hint: the web server of a mirror must send the length",
    );
}

#[test]
fn a_refusal_does_not_suggest_a_rerun() {
    let case = Case::new();
    let image = |request: &super::Request| request.path.ends_with("bootimage.iso");
    let denied = case.serve(move |request| image(request).then(|| status("401 Unauthorized", "")));
    let circle = case.serve(move |request| image(request).then(|| Answer::redirect(&request.path)));
    for server in [denied, circle] {
        let ran = case.fetch(&server);
        says(&ran, 4, "ask the operator of the mirror");
        assert!(!ran.stderr.contains("rerun"), "{}", ran.stderr);
    }
}

#[test]
fn the_user_and_the_password_of_a_url_are_sent() {
    let case = Case::new();
    // `base64` of coreutils writes `reader:secret` so.
    let known = Some("cmVhZGVyOnNlY3JldA==");
    let server = case.serve(move |request| {
        (request.credentials.as_deref() != known).then(|| status("401 Unauthorized", ""))
    });
    let ran = case.run(&server, &["list"]);
    says(
        &ran,
        4,
        "hint: a user and a password for the server belong in the URL",
    );
    let url = server.url().replace("//", "//reader:secret@");
    let mut fetch = crate::harness::stx(["--mirror", &url, "fetch", CHANNEL, "iso"]);
    let ran = crate::harness::run(fetch.args(["--to", case.to().as_str()]));
    says(&ran, 0, "1 file");
    assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
}

#[test]
fn a_failing_proxy_is_reported() {
    let case = Case::new();
    let server = case.serve(|_| None);
    let url = server.url();
    let list = |name: &str, value: &str, except: &str| {
        let mut command = crate::harness::stx(["--mirror", &url, "list"]);
        command.env(name, value).env("no_proxy", except);
        crate::harness::run(&mut command)
    };
    // No server listens there.
    for name in ["http_proxy", "all_proxy"] {
        let ran = list(name, "http://user:secret@127.0.0.1:1", "");
        says(&ran, 4, "through the proxy http://127.0.0.1:1/");
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
        list(name, "http://127.0.0.1:1", "127.0.0.1").ok();
    }
}

#[test]
fn a_directory_at_the_path_of_a_file_is_detected_before_the_download() {
    let case = Case::new();
    let server = case.serve(|_| None);
    fs_err::create_dir(case.to().join("bootimage.iso")).expect("a directory");
    let ran = case.fetch(&server);
    says(&ran, 2, "a directory has the name of the file");
    assert_eq!(server.asked("bootimage.iso"), 0);
}

#[test]
fn a_web_page_instead_of_a_file_is_reported() {
    let case = Case::new();
    let server = case.serve(|request| {
        let page = b"\n<!DOCTYPE html><html><body>Please log in</body></html>";
        let is_image = request.path.ends_with("bootimage.iso");
        is_image.then(|| Answer::ok(page))
    });
    let ran = case.fetch(&server);
    says(&ran, 4, "the server answered with a web page");
    says(&ran, 4, "without a login or proxy in between?");
    assert_eq!(crate::harness::names(&case.to()), [""; 0]);
}
