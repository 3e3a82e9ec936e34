//! Servers that refuse: the error names the mirror as the user does, the reason, and the next step.

use super::{CHANNEL, Lying, S3s, Server, asked, date, publish_args, root, run, tempdir, tree};

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
fn a_rejected_login_names_the_credentials_to_check() {
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
    // The pages cannot be made for the same reason, which is reported only once.
    assert_eq!(said.matches("SignatureDoesNotMatch").count(), 1, "{said}");
}

#[test]
fn a_refused_write_reports_missing_permissions() {
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
            "these credentials do not permit this",
        ],
    );
    assert_eq!(said.matches("403 Forbidden").count(), 1, "{said}");
}

/// This server creates a bucket with its first object, so only readers find that the bucket does not exist.
#[test]
fn a_missing_bucket_is_reported_with_the_hint_to_create_it() {
    let said = refused(&S3s::start(), None, "s3://nothing/mirror", &["list"]);
    says(
        &said,
        &["s3://nothing/mirror: no such bucket", "create the bucket"],
    );
    assert_eq!(said.matches("no such bucket").count(), 1, "{said}");
}

/// Commands for directories do not ignore the configured mirror in a bucket, or take its URL for a path.
#[test]
fn a_configured_bucket_is_never_ignored_by_commands_for_directories() {
    let work = tempdir().expect("a directory");
    let dir = work.path();
    let mirror = "s3://stx/mirror";
    let server = S3s::start();
    let at = dir.join("site");
    let set = format!("recipe={}", root().join("recipes/sample/recipe.toml"));
    let init = ["-C", dir.as_str(), "init", "site", "--yes", "--set", &set];
    run(&mut asked(&server, mirror, &init)).ok();
    let config = fs_err::read_to_string(at.join("stx-builds.toml")).expect("a configuration");
    assert!(
        config.contains("\nmirror = \"s3://stx/mirror\"\n"),
        "{config}"
    );
    let demo = ["-C", dir.as_str(), "demo", "demo"];
    let said = refused(&server, None, mirror, &demo);
    says(
        &said,
        &[
            "error: `demo` makes its mirror in a new directory",
            "copy DIR/mirror",
        ],
    );
    let fetch = [
        "-C",
        dir.as_str(),
        "fetch",
        CHANNEL,
        "iso",
        "--to",
        "s3://stx/other",
    ];
    let said = refused(&server, None, mirror, &fetch);
    says(
        &said,
        &["error: s3://stx/other: `fetch` writes to a directory"],
    );
    let made: Vec<_> = dir.read_dir_utf8().expect("a directory").collect();
    assert_eq!(made.len(), 1, "the configuration: {made:?}");
}

/// Objects of the private area that the program did not write.
#[test]
fn a_damaged_object_is_reported_with_the_hint_to_remove_it() {
    let work = tempdir().expect("a directory");
    let (tree, date) = (tree(work.path(), 1), date(1));
    let server = S3s::start();
    server.make_bucket("damaged");
    let mirror = "s3://damaged/mirror";
    let lock = format!("damaged/mirror/.stx/locks/{CHANNEL}/%252Elock/00000000000000000099");
    server.put(&lock, "damaged");
    let said = refused(&server, None, mirror, &publish_args(&tree, &date));
    says(
        &said,
        &[
            "00000000000000000099: cannot be understood",
            "remove this object",
        ],
    );
}

/// The mirror's URL does not name the server.
#[test]
fn a_server_that_gives_no_answer_is_named() {
    let mut command = asked(&S3s::start(), "s3://stx/mirror", &["show", CHANNEL]);
    // No server listens there.
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let said = run(&mut command).code(4).stderr;
    says(&said, &["http://127.0.0.1:1: ", "Connection refused"]);
    command.env("http_proxy", "http://127.0.0.1:2");
    let said = run(&mut command).code(4).stderr;
    says(&said, &["proxy http://127.0.0.1:2"]);
}
