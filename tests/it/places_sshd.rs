//! A real sshd on a free port of the loopback interface, with keys of its own.

use std::process::{Child, Stdio};

use camino_tempfile::Utf8TempDir;

use crate::harness::{free_port, run, tool, wait_for_server};
use crate::places::path;

/// A running sshd; ends with this value.
pub(crate) struct Sshd {
    child: Child,
    port: u16,
    dir: Utf8TempDir,
}

impl Sshd {
    /// Starts one; `more` is added to its configuration.
    pub(crate) fn start(more: &str) -> Self {
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let at = |name: &str| dir.path().join(name);
        for key in ["host_key", "user_key"] {
            let file = at(key);
            let args = ["-q", "-t", "ed25519", "-N", "", "-f", file.as_str()];
            run(&mut tool("ssh-keygen", args)).ok();
        }
        fs_err::copy(at("user_key.pub"), at("authorized_keys")).expect("a key");
        let port = free_port();
        let base = dir.path();
        let conf = format!(
            "ListenAddress 127.0.0.1:{port}\n\
             HostKey {base}/host_key\n\
             AuthorizedKeysFile {base}/authorized_keys\n\
             PidFile none\n\
             StrictModes no\n\
             UsePAM no\n\
             PasswordAuthentication no\n\
             KbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\n\
             {more}\n"
        );
        fs_err::write(at("sshd_config"), conf).expect("a configuration");
        let key = fs_err::read_to_string(at("host_key.pub")).expect("a key");
        fs_err::write(at("known_hosts"), format!("[127.0.0.1]:{port} {key}")).expect("a file");
        // sshd must be called by its path, and as root requires a directory that no other user can enter.
        let sshd = path("sshd");
        if rustix::process::getuid().is_root() {
            fs_err::create_dir_all("/run/sshd").expect("a directory");
        }
        let log = fs_err::File::create(at("log")).expect("a log");
        let mut child = tool(
            sshd.as_str(),
            ["-D", "-e", "-f", at("sshd_config").as_str()],
        )
        .stdin(Stdio::null())
        .stderr(log.into_parts().0)
        .spawn()
        .expect("sshd starts; `scripts/setup.sh test` installs it");
        wait_for_server(&mut child, port, || {
            fs_err::read_to_string(at("log")).unwrap_or_default()
        });
        Self { child, port, dir }
    }

    /// A place of this host.
    pub(crate) fn place(&self, name: &str) -> String {
        format!(
            "[place.{name}]\n\
             kind = \"ssh\"\n\
             host = \"127.0.0.1\"\n\
             port = {}\n\
             identity = \"{1}/user_key\"\n\
             options = [\"UserKnownHostsFile={1}/known_hosts\", \"StrictHostKeyChecking=yes\"]\n",
            self.port,
            self.dir.path()
        )
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child
            .kill()
            .expect("sshd is there until it is stopped");
        self.child.wait().expect("it ends");
    }
}
