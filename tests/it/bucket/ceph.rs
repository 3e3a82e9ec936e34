//! A real object store: Ceph with its RADOS gateway, in memory, on free ports of the loopback interface.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use camino_tempfile::Utf8TempDir;
use rustix::process::{Pid, Signal, kill_process};

use super::server::{Server, ended};
use super::{free_port, wait_or_show};

/// A running cluster of one monitor, one store and one gateway; ends with this value.
pub(crate) struct Ceph {
    /// The monitor is first, so that the other daemons end before it.
    daemons: Vec<(&'static str, Child)>,
    port: u16,
    dir: Utf8TempDir,
    /// The environment of its daemons.
    environment: &'static [(&'static str, &'static str)],
    /// The options of its gateway.
    gateway: &'static str,
}

const KEY: &str = "AKTEST";
const SECRET: &str = "SKTEST";

/// `PATH`, extended by the directories of its programs.
fn path() -> String {
    let path = std::env::var("PATH").expect("PATH");
    format!("{path}:/usr/sbin:/sbin")
}

impl Ceph {
    /// Starts one with room for `bytes` bytes, which sends its answers without delay.
    pub(crate) fn start(bytes: u64, environment: &'static [(&'static str, &'static str)]) -> Self {
        Self::start_with(bytes, environment, "tcp_nodelay=1")
    }

    /// Starts one whose gateway has these options.
    pub(crate) fn start_with(
        bytes: u64,
        environment: &'static [(&'static str, &'static str)],
        gateway: &'static str,
    ) -> Self {
        // Not below the project: the paths of its sockets have to be short.
        let dir = Utf8TempDir::new().expect("a temporary directory");
        let [messages, old_messages, port] = [(); 3].map(|()| free_port());
        let mut ceph = Self {
            daemons: Vec::new(),
            port,
            dir,
            environment,
            gateway,
        };
        ceph.configure(messages, old_messages, bytes);
        for (program, name) in [("ceph-mon", "a"), ("ceph-mgr", "x")] {
            ceph.daemon(program, &["-i", name]);
        }
        // A monitor may end at once, for example on a full disk. `ceph` would wait a minute for it and only report "timed out".
        ceph.wait("ceph-mon", messages);
        let (uuid, key) = (ceph.admin("uuidgen", &[]), ceph.key());
        ceph.store(uuid.trim(), key.trim());
        ceph.daemon("ceph-osd", &["-i", "0"]);
        ceph.daemon("radosgw", &["-n", "client.rgw"]);
        ceph.wait("radosgw", port);
        let user = ["--uid=stx", "--display-name=stx"];
        let keys = [format!("--access-key={KEY}"), format!("--secret={SECRET}")];
        let mut create = vec!["-c", "ceph.conf", "user", "create"];
        create.extend(user);
        create.extend(keys.iter().map(String::as_str));
        ceph.admin("radosgw-admin", &create);
        ceph
    }

    fn root(&self) -> &Utf8Path {
        self.dir.path()
    }

    /// Runs one of its tools to the end.
    fn admin(&self, program: &str, args: &[&str]) -> String {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.root());
        ended(command.env("PATH", path()).env("LC_ALL", "C.UTF-8"))
    }

    fn key(&self) -> String {
        self.admin("ceph-authtool", &["--gen-print-key"])
    }

    /// Writes the configuration, the keys and an empty monitor. Authentication is required: without it the gateway does not find the
    /// monitor.
    fn configure(&self, messages: u16, old_messages: u16, bytes: u64) {
        let (root, port) = (self.root(), self.port);
        for dir in ["mon.a", "mgr.x", "osd.0", "rgw", "run", "log"] {
            fs_err::create_dir_all(root.join("d").join(dir)).expect("a directory");
        }
        let id = self.admin("uuidgen", &[]);
        let (id, address) = (
            id.trim(),
            format!("[v2:127.0.0.1:{messages},v1:127.0.0.1:{old_messages}]"),
        );
        let conf = include_str!("ceph.conf")
            .replace("@ID@", id)
            .replace("@ADDRESS@", &address)
            .replace("@DIR@", root.as_str())
            .replace("@GATEWAY@", self.gateway)
            .replace("@BYTES@", &bytes.to_string())
            .replace("@PORT@", &port.to_string());
        fs_err::write(root.join("ceph.conf"), conf).expect("a file");
        self.admin(
            "monmaptool",
            &[
                "--create", "--fsid", id, "--addv", "a", &address, "d/monmap",
            ],
        );
        for (first, name, caps) in [
            (true, "mon.", &["--cap", "mon", "allow *"][..]),
            (
                false,
                "client.admin",
                &[
                    "--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *",
                ],
            ),
            (
                false,
                "mgr.x",
                &[
                    "--cap",
                    "mon",
                    "allow profile mgr",
                    "--cap",
                    "osd",
                    "allow *",
                ],
            ),
            (
                false,
                "client.rgw",
                &[
                    "--cap",
                    "mon",
                    "allow rw",
                    "--cap",
                    "osd",
                    "allow rwx",
                    "--cap",
                    "mgr",
                    "allow rw",
                ],
            ),
        ] {
            let mut args = Vec::new();
            if first {
                args.push("--create-keyring");
            }
            args.extend(["d/kr", "--gen-key", "-n", name]);
            args.extend(caps);
            self.admin("ceph-authtool", &args);
        }
        let mon = [
            "--mkfs",
            "-i",
            "a",
            "--monmap",
            "d/monmap",
            "--keyring",
            "d/kr",
        ];
        let mut args = vec!["-c", "ceph.conf"];
        args.extend(mon);
        self.admin("ceph-mon", &args);
    }

    /// Creates the store of objects, and registers it with the monitor.
    fn store(&self, uuid: &str, key: &str) {
        let secret = self.root().join("d/secret");
        fs_err::write(&secret, format!("{{\"cephx_secret\": \"{key}\"}}")).expect("a file");
        self.admin(
            "ceph",
            &[
                "-c",
                "ceph.conf",
                "--connect-timeout=60",
                "osd",
                "new",
                uuid,
                "-i",
                secret.as_str(),
            ],
        );
        let keyring = "d/osd.0/keyring";
        self.admin(
            "ceph-authtool",
            &["--create-keyring", keyring, "-n", "osd.0", "--add-key", key],
        );
        self.admin(
            "ceph-osd",
            &["-c", "ceph.conf", "-i", "0", "--mkfs", "--osd-uuid", uuid],
        );
    }

    fn daemon(&mut self, program: &'static str, args: &[&str]) {
        let log = log_of(self.root(), program);
        let log = fs_err::File::create(&log).expect("a log").into_parts().0;
        let child = Command::new(program)
            .args(["-c", "ceph.conf"])
            .args(args)
            .arg("-f")
            .current_dir(self.root())
            .env("PATH", path())
            .envs(self.environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("{program}: {error}; `scripts/setup.sh test` installs what the tests need")
        });
        self.daemons.push((program, child));
    }

    /// Waits until a daemon listens.
    fn wait(&mut self, program: &str, port: u16) {
        let log = log_of(self.root(), program);
        let log = || fs_err::read_to_string(&log).unwrap_or_default();
        let listens = || {
            for (program, daemon) in &mut self.daemons {
                let ended = daemon.try_wait().expect("a child");
                let log = log_of(self.dir.path(), program);
                assert!(
                    ended.is_none(),
                    "{program} ended, {ended:?}\n{}",
                    fs_err::read_to_string(log).unwrap_or_default()
                );
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        };
        wait_or_show(&format!("{program} listens"), listens, log);
    }
}

/// The output of a daemon.
fn log_of(root: &Utf8Path, program: &str) -> Utf8PathBuf {
    root.join("d/log").join(format!("{program}.out"))
}

impl Server for Ceph {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn credentials(&self) -> (&'static str, &'static str) {
        (KEY, SECRET)
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        for (_, daemon) in self.daemons.iter_mut().rev() {
            // Its data is discarded, so an orderly end is unnecessary.
            let _ = kill_process(Pid::from_child(daemon), Signal::KILL);
            drop(daemon.wait());
        }
    }
}
