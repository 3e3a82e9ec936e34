//! Servers that speak S3.

use std::process::Command;

use crate::harness::{Ran, root, run, stx, tool};

/// The policy that the documentation shows.
fn bucket_policy() -> String {
    let text = fs_err::read_to_string(root().join("docs/buckets.md")).expect("documentation");
    let policy = text
        .split("```json\n")
        .find(|block| block.contains("s3:GetObject"));
    let (policy, _) = policy
        .and_then(|block| block.split_once("```"))
        .expect("a policy");
    policy.to_owned()
}

/// A server that speaks S3.
pub(crate) trait Server {
    /// Its URL.
    fn endpoint(&self) -> String;

    /// The name and the secret of who may do everything.
    fn credentials(&self) -> (&'static str, &'static str);

    /// Makes a bucket, for its owner only.
    fn make_bucket(&self, bucket: &str) {
        self.put(bucket, "").ok();
    }

    /// Lets everybody read what a mirror at `prefix` shows, and nothing of its private area: the policy of
    /// `docs/buckets.md`.
    fn publish_bucket(&self, bucket: &str, prefix: &str) {
        let policy = bucket_policy()
            .replace("BUCKET", bucket)
            .replace("PREFIX", prefix);
        self.put(&format!("{bucket}?policy="), &policy).ok();
    }

    /// A signed `PUT`.
    fn put(&self, path: &str, body: &str) -> Ran {
        let (key, secret) = self.credentials();
        run(&mut tool(
            "curl",
            [
                "--silent",
                "--show-error",
                "--fail-with-body",
                "--aws-sigv4",
                "aws:amz:us-east-1:s3",
                "--user",
                &format!("{key}:{secret}"),
                // Without it what is signed is not what the server takes it for.
                "--header",
                "x-amz-content-sha256: UNSIGNED-PAYLOAD",
                "--request",
                "PUT",
                "--data-binary",
                body,
                &format!("{}/{path}", self.endpoint()),
            ],
        ))
    }

    /// `stx-builds` for a mirror in a bucket of this server.
    fn stx(&self, mirror: &str, args: &[&str]) -> Command {
        let mut command = stx(["--mirror", mirror]);
        let (key, secret) = self.credentials();
        command
            .args(args)
            .env("AWS_ENDPOINT_URL", self.endpoint())
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", secret);
        command
    }
}
