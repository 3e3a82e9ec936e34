//! Servers that speak S3. The benchmarks use this, too.

use std::process::{Command, Stdio};

/// A server that speaks S3.
pub(crate) trait Server {
    /// Its URL.
    fn endpoint(&self) -> String;

    /// The name and the secret of a user with all permissions.
    fn credentials(&self) -> (&'static str, &'static str);

    /// Makes a private bucket.
    fn make_bucket(&self, bucket: &str) {
        self.put(bucket, "");
    }

    /// A signed `PUT`.
    fn put(&self, path: &str, body: &str) {
        self.signed(&["--request", "PUT", "--data-binary", body], path);
    }

    /// A signed request by `curl`, with further options; returns the answer.
    fn signed(&self, more: &[&str], path: &str) -> String {
        let (key, secret) = self.credentials();
        let mut command = Command::new("curl");
        command.args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--aws-sigv4",
            "aws:amz:us-east-1:s3",
            "--user",
            &format!("{key}:{secret}"),
            // Without this header, the signed text differs from the one that the server expects.
            "--header",
            "x-amz-content-sha256: UNSIGNED-PAYLOAD",
        ]);
        ended(
            command
                .args(more)
                .arg(format!("{}/{path}", self.endpoint())),
        )
    }
}

/// Runs a tool, which must succeed; returns its standard output.
#[track_caller]
pub(crate) fn ended(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{shown}: {error}; `scripts/setup.sh test` installs what the tests need")
    });
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (said(&output.stdout), said(&output.stderr));
    assert!(
        output.status.success(),
        "{shown}: {}\n{stdout}\n{stderr}",
        output.status
    );
    stdout
}
