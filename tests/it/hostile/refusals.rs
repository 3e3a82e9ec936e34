//! Servers that refuse a file: which of the errors say that it does not exist.

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
fn a_refused_file_is_not_called_missing() {
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
fn the_index_and_a_missing_alias_are_not_set_against_each_other() {
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
fn an_object_store_that_refuses_may_have_no_such_file() {
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
    // Files that a build need not have are looked for, too.
    let server = case.serve(move |request| {
        let optional = ["THINNED.json", "SHA256SUMS.asc", "bootimage.iso.zsync"];
        let missing = optional.iter().any(|name| request.path.ends_with(name));
        missing.then(|| status("403 Forbidden", BUCKET))
    });
    case.run(&server, &["verify"]).ok();
    case.fetch(&server).ok();
}
