//! Servers that refuse: the error names the mirror as the user does, says why, and what to do next.

use super::{CHANNEL, Lying, S3s, Server, asked, date, publish_args, run, tempdir, tree};

/// The arguments of a command that fails at this mirror, and its error.
#[track_caller]
fn refused(server: &dyn Server, secret: Option<&str>, mirror: &str, args: &[&str]) -> String {
    let mut command = asked(server, mirror, args);
    if let Some(secret) = secret {
        command.env("AWS_SECRET_ACCESS_KEY", secret);
    }
    let ran = run(&mut command);
    assert_ne!(ran.code, Some(0), "{}", ran.command);
    assert!(!ran.stderr.contains("AmazonS3("), "{}", ran.stderr);
    ran.stderr
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} in\n{said}");
    }
}

#[test]
fn who_is_not_let_in_is_told_which_credentials_to_look_at() {
    let server = S3s::start();
    server.make_bucket("refused");
    let mirror = "s3://refused/mirror";
    let parts = ["error: s3://refused/mirror/", "SignatureDoesNotMatch"];
    let said = refused(&server, Some("wrong"), mirror, &["list"]);
    says(&said, &parts);
    says(&said, &["hint: ", "AWS_SECRET_ACCESS_KEY"]);
    let work = tempdir().expect("a directory");
    let (tree, date) = (tree(work.path(), 1), date(1));
    let said = refused(&server, Some("wrong"), mirror, &publish_args(&tree, &date));
    says(&said, &["hint: ", "AWS_SECRET_ACCESS_KEY"]);
    // The pages cannot be made for the same reason, which is said once.
    assert_eq!(said.matches("SignatureDoesNotMatch").count(), 1, "{said}");
}

#[test]
fn who_may_only_read_is_told_so() {
    let work = tempdir().expect("a directory");
    let (tree, date) = (tree(work.path(), 1), date(1));
    let server = Lying::start_with("403 Forbidden");
    let args = publish_args(&tree, &date);
    let said = refused(&server, None, "s3://stx/mirror", &args);
    says(
        &said,
        &[
            "s3://stx/mirror/.stx/",
            "the server says 403 Forbidden",
            "nothing of the build is visible",
            "these credentials may not do that",
        ],
    );
    assert_eq!(said.matches("403 Forbidden").count(), 1, "{said}");
}

#[test]
fn a_bucket_that_is_not_there_is_to_be_made() {
    let work = tempdir().expect("a directory");
    let (tree, date) = (tree(work.path(), 1), date(1));
    let server = S3s::start();
    for args in [&["list"][..], &publish_args(&tree, &date)] {
        let said = refused(&server, None, "s3://nothing/mirror", args);
        says(
            &said,
            &["s3://nothing/mirror: no such bucket", "make the bucket"],
        );
        assert_eq!(said.matches("no such bucket").count(), 1, "{said}");
    }
}

/// The mirror's URL does not name the server.
#[test]
fn a_server_that_does_not_answer_is_named() {
    let mut command = asked(&S3s::start(), "s3://stx/mirror", &["show", CHANNEL]);
    // Nobody listens there.
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let said = run(&mut command).code(4).stderr;
    says(&said, &["http://127.0.0.1:1: ", "Connection refused"]);
    command.env("http_proxy", "http://127.0.0.1:2");
    let said = run(&mut command).code(4).stderr;
    says(&said, &["proxy http://127.0.0.1:2"]);
}
