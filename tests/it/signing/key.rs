//! Keys of a real `gpg`, each with a home directory of its own.

use camino::Utf8Path;
use camino_tempfile::Utf8TempDir;

use crate::harness::{Ran, run, tool};

/// A key pair without a passphrase.
pub(crate) struct Key {
    home: Utf8TempDir,
    fingerprint: String,
}

impl Key {
    pub(crate) fn new(user: &str) -> Self {
        Self::with(user, "never", &[])
    }

    /// A key that expires, made with further options.
    pub(crate) fn with(user: &str, expires: &str, more: &[&str]) -> Self {
        // Its agent has its socket there, whose path must be short.
        let home = Utf8TempDir::with_prefix("gpg").expect("a directory");
        let mut key = Self {
            home,
            fingerprint: String::new(),
        };
        let make = ["--quick-gen-key", user, "rsa2048", "sign", expires];
        key.gpg(
            &[
                more,
                &["--pinentry-mode", "loopback", "--passphrase", ""],
                &make,
            ]
            .concat(),
        )
        .ok();
        let listed = key.gpg(&["--with-colons", "--list-keys"]).ok();
        let line = listed.lines().find(|line| line.starts_with("fpr:"));
        let print = line.and_then(|line| line.split(':').nth(9));
        print
            .expect("a fingerprint")
            .clone_into(&mut key.fingerprint);
        key
    }

    pub(crate) fn home(&self) -> &Utf8Path {
        self.home.path()
    }

    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The configuration that signs with this key.
    pub(crate) fn signing(&self) -> String {
        let (key, home) = (&self.fingerprint, self.home());
        format!("[signing]\ngpg = \"{key}\"\ngpg_home = \"{home}\"")
    }

    #[track_caller]
    pub(crate) fn gpg(&self, args: &[&str]) -> Ran {
        let home = ["--homedir", self.home().as_str(), "--batch", "--no-tty"];
        run(&mut tool("gpg", [&home[..], args].concat()))
    }

    pub(crate) fn public(&self) -> String {
        self.gpg(&["--armor", "--export"]).ok()
    }

    pub(crate) fn export_secret(&self, to: &Utf8Path) {
        let secret = self.gpg(&["--armor", "--export-secret-keys"]).ok();
        fs_err::write(to, secret).expect("a file");
        run(&mut tool("chmod", ["600", to.as_str()])).ok();
    }

    /// Signs a package as packagers do.
    pub(crate) fn rpmsign(&self, package: &Utf8Path) {
        let defines = [
            format!("_gpg_name {}", self.fingerprint),
            format!("_gpg_path {}", self.home()),
            "__gpg /usr/bin/gpg".to_owned(),
        ];
        let defines = defines.iter().flat_map(|define| ["--define", define]);
        run(tool("rpmsign", defines).args(["--addsign", package.as_str()])).ok();
    }

    /// Revokes it with the certificate that `gpg` made along with it.
    pub(crate) fn revoke(&self) {
        let file = self
            .home()
            .join(format!("openpgp-revocs.d/{}.rev", self.fingerprint));
        let text = fs_err::read_to_string(file).expect("a certificate");
        // The file has a colon that prevents an accidental import.
        let text = text.replace(":-----BEGIN", "-----BEGIN");
        let ready = self.home().join("revocation.asc");
        fs_err::write(&ready, text).expect("a file");
        self.gpg(&["--import", ready.as_str()]).ok();
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let home = ["--homedir", self.home().as_str(), "--kill", "gpg-agent"];
        run(&mut tool("gpgconf", home)).ok();
    }
}

/// Writes an executable file.
pub(crate) fn executable(file: &Utf8Path, text: &str) {
    fs_err::write(file, text).expect("a file");
    run(&mut tool("chmod", ["755", file.as_str()])).ok();
}
